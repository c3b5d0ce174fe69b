"""Outputs that are closed, full, or read by nobody, under each command that prints and ends."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import openssl_tickets
from tests.support import tls
from tests.support.shell import sh

pytestmark = pytest.mark.slow

COMMANDS = ["doctor", "demo", "inspect s.der", "inspect --json s.der", "--help"]
COMMANDS += [f"{name} --help" for name in ("doctor", "demo", "inspect", "run", "serve")]


@pytest.fixture
def folder(tmp_path: Path, server_file: Path) -> Path:
    """A folder with a session in s.der."""
    pair = tls.Pair(tls.server_context(server_file), tls.client_context()).handshake()
    session = openssl_tickets.get_session(pair.client)
    assert session is not None
    (tmp_path / "s.der").write_bytes(session.to_der())
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_output_that_fails(folder: Path, command: str) -> None:
    """It is an error only if it cannot be written; there is never a traceback."""
    command = f"openssl-tickets {command}"
    for output, status, message in (
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
        ("> /dev/full", 1, "error: the output cannot be written: No space left on device\n"),
        ("> /dev/full 2>&1", 1, ""),
    ):
        assert sh(f"{command} {output}", folder, status=status) == ("", message)
    _, errors = sh(f"({command}; echo $? > status) | true", folder)
    assert (errors, (folder / "status").read_text()) == ("", "0\n")
    first, _ = sh(f"{command} | head -n 1", folder)
    assert first.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("inspect missing", "error: missing: No such file or directory\n"),
        ("inspect - <&-", "error: -: the standard input is closed\n"),
        ("inspect - < /dev/null", "error: - is empty\n"),
    ],
)
def test_error(folder: Path, arguments: str, message: str) -> None:
    """An error is a line on standard error, and goes nowhere else if that is closed."""
    command = f"openssl-tickets {arguments}"
    assert sh(command, folder, status=1) == ("", message)
    for errors in ("2>&-", "2> /dev/full"):
        assert sh(f"{command} {errors}", folder, status=1) == ("", "")


def test_encoding(folder: Path) -> None:
    """A name that the output's encoding does not have is escaped."""
    sh("mv s.der Zoë.der", folder)
    command = f"PYTHONIOENCODING=ascii {sys.executable} -m openssl_tickets inspect Zoë.der"
    output, errors = sh(command, folder)
    assert "Zo\\xeb.der" in output
    assert errors == ""
