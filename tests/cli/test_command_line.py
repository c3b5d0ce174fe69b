"""Every example on the page of the command line is run, as it stands there but for the port."""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import openssl_tickets
from tests.support.shell import examples, free_port, sh

pytestmark = pytest.mark.slow

EXAMPLES = examples("command-line.md", "sh")
EXPECTED = {
    "demo": "ok .*resumed, 1 ticket",
    "doctor": "openssl_tickets .*OpenSSL",
    "run": "^OpenSSL 3|^OpenSSL 4",
    "keys": r"ticket\.key: [0-9a-f]{32} AES-256 encrypts\n.*decrypts",
    "serve": '"event": "resumption", .*"appdata": "alice"',
    "free port": r"Verify return code: 0 \(ok\)",
    "policy": '"event": "resumption", .*"visit 1".*\n.*"event": "refusal", .*"visit 2"',
    "probe": r"resumed: +8 of 8",
    "probe for scripts": '"resumed": 20,',
    "inspect": '(?s)by its ticket.*"key_name": "[0-9a-f]{32}".*, DER',
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, tmp_path: Path) -> None:
    """The example does what the page says."""
    script = "set -e\n" + EXAMPLES[name].replace("4433", str(free_port()))
    output, _ = sh(script, tmp_path)
    assert re.search(EXPECTED[name], output, re.M), output


COMMANDS = ("demo", "doctor", "run", "keys", "serve", "probe", "inspect")


def test_main_help(tmp_path: Path) -> None:
    """The help names each command, and its examples begin with each of them."""
    text, _ = sh("openssl-tickets --help", tmp_path)
    for command in COMMANDS:
        assert re.search(rf"^ +{command} +\w", text, re.M), command
        assert re.search(rf"^ +openssl-tickets {command}\b", text, re.M), command


@pytest.mark.parametrize("command", ["", *COMMANDS, "keys new", "keys show", "keys rotate"])
def test_help_fits(tmp_path: Path, command: str) -> None:
    """Each help fits 80 columns, in a wider terminal too, and names its command."""
    text, errors = sh(f"openssl-tickets {command} --help", tmp_path, COLUMNS="200")
    assert text.startswith(f"usage: openssl-tickets {command}".rstrip())
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert errors == ""


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "name a command: demo, doctor, "),
        ("nonsense", "invalid choice: 'nonsense'"),
        ("--nonsense", "unrecognized arguments: --nonsense"),
        *((f"{name} --nonsense", "--nonsense") for name in ("demo", "doctor", "run", "serve")),
        *((f"{name} x --nonsense", "--nonsense") for name in ("probe", "inspect", "keys show")),
        ("run", "name a script"),
        ("keys", "new|show|rotate"),
        ("inspect", "FILE"),
        ("probe", "HOST[:PORT]"),
    ],
)
def test_usage_error(tmp_path: Path, command: str, message: str) -> None:
    """A wrong command line is one line on standard error, without the usage, and status 2."""
    output, errors = sh(f"openssl-tickets {command}", tmp_path, status=2)
    assert output == ""
    assert errors.startswith("error: ")
    assert message in errors
    assert errors.count("\n") == 1


def test_version(tmp_path: Path) -> None:
    """--version names the package's version and libssl's."""
    shown, errors = sh("openssl-tickets --version", tmp_path)
    assert shown.startswith(f"openssl-tickets {openssl_tickets.__version__} (")
    assert (shown.count(openssl_tickets.OPENSSL_VERSION), errors) == (1, "")


@pytest.fixture
def script() -> str:
    """The console script that was installed with the package."""
    files = importlib.metadata.files("openssl_tickets") or ()
    (found,) = [str(file.locate()) for file in files if file.name == "openssl-tickets"]
    return found


def test_script(script: str, tmp_path: Path) -> None:
    """The installed script is the command, and `python -m openssl_tickets` is the same."""
    expected, _ = sh("python -m openssl_tickets --help", tmp_path)
    assert sh(f"{script} --help", tmp_path) == (expected, "")
    assert sh(f"{script} nonsense", tmp_path, status=2)[0] == ""


def test_script_runs_what_is_here(script: str, tmp_path: Path) -> None:
    """`run -m` finds modules of the current folder, as `python -m` does, and `run` its own."""
    (tmp_path / "here.py").write_text("import sys; print(__name__, sys.path[0], sys.argv[1:])")
    (tmp_path / "other").mkdir()
    assert sh(f"{script} run -m here a", tmp_path)[0] == f"__main__ {tmp_path} ['a']\n"
    expected = f"__main__ {tmp_path} ['b']\n"
    assert sh(f"cd other && {script} run ../here.py b", tmp_path)[0] == expected


@pytest.mark.parametrize("command", ["serve --tickets 300", "nonsense", "inspect missing"])
@pytest.mark.parametrize("variable", ["", "NO_COLOR"])
def test_colour_of_errors(tmp_path: Path, command: str, variable: str) -> None:
    """An error is red on a terminal only, and not if NO_COLOR is set."""
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    ours, theirs = os.openpty()
    subprocess.run(
        [sys.executable, "-I", "-m", "openssl_tickets", *command.split()],
        env={**environment, "TERM": "xterm", **({variable: "1"} if variable else {})},
        cwd=tmp_path,
        stderr=theirs,
        timeout=60,
    )
    os.close(theirs)
    shown = os.read(ours, 10000).decode()
    os.close(ours)
    assert shown.startswith("error: " if variable else "\x1b[31merror:\x1b[0m ")
    assert "\x1b" not in sh(f"openssl-tickets {command}", tmp_path, status=None)[1]


def test_interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends a command with one line and the status that a shell expects."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-I", "-m", "openssl_tickets", "probe", target]
        with subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            # A shell has what it puts into the background ignore it, and so do the tests then.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            taken, _ = silent.accept()
            with taken:
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "error: interrupted\n")
