"""The demo and the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-I", "-m", "openssl_tickets"]


def run_demo(path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if path is not None:
        environment["PATH"] = path
    return subprocess.run(
        [*COMMAND, "demo"], capture_output=True, text=True, timeout=60, env=environment
    )


def test_every_step_goes_as_told() -> None:
    """The demo shows each step with what OpenSSL reported, and ends with 0."""
    result = run_demo()
    assert (result.returncode, result.stderr) == (0, "")
    rows = [line for line in result.stdout.splitlines() if line.startswith("ok")]
    assert len(rows) == 8
    assert "FAILED" not in result.stdout
    for words in ("3 tickets", "resumed, 1 ticket", "b'guest 1'", "revoked", "login", "0 tickets"):
        assert words in result.stdout


def test_step_that_fails_ends_it_with_an_error(tmp_path: Path) -> None:
    """With an s_client that never offers its session, the demo says what failed, and ends so."""
    real = shutil.which("openssl")
    fake = tmp_path / "openssl"
    fake.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        "arguments = sys.argv[1:]\n"
        "if '-sess_in' in arguments:\n"
        "    at = arguments.index('-sess_in')\n"
        "    del arguments[at:at + 2]\n"
        f"os.execv({real!r}, ['openssl', *arguments])\n"
    )
    fake.chmod(0o755)
    result = run_demo(f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert result.returncode == 1
    assert result.stderr == ""
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 4
    assert "new session, 3 tickets" in failed[0]


def test_missing_openssl_program(tmp_path: Path) -> None:
    """Without an openssl program it says so, without a traceback."""
    result = run_demo(str(tmp_path))
    assert result.returncode == 1
    assert "openssl" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_and_bad_usage() -> None:
    """--help names the commands, and no command is an error."""
    result = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert "demo" in result.stdout
    result = subprocess.run(COMMAND, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
