"""GnuTLS, by its own program ``gnutls-cli``, and by a script of ours."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

from tests.interop import peers

_SCRIPT = Path(__file__).with_name("gnutls_client.py")
_TICKET = "NEW SESSION TICKET (4) was received"
_CONNECTED = "Handshake was completed\n"
_RESUMED = "*** This is a resumed session"


class GnutlsCli(peers.Peer):
    """
    ``gnutls-cli``, which takes ``^resume^`` among the lines to send for what ``--resume`` does.

    With ``--resume`` it sends nothing on its first connection, and reads one ticket at most.
    Its debug messages tell of the tickets; nothing else does.
    """

    # A connection that was resumed hands on nothing: its own ticket no more than the old one.
    reuses = peers.NEITHER
    renews = peers.NEITHER
    internal_error = "Received alert [80]: Internal error"

    def __init__(self, gnutls_cli: str, ca_file: Path) -> None:
        self._command = [gnutls_cli, "--debug=4", f"--x509cafile={ca_file}"]

    def visit(self, port: int, version: str, connections: int = 1) -> peers.Visits:
        return self._run(port, version, ["--inline-commands"], _first_and_again(connections))

    def resume(self, port: int, version: str) -> peers.Visits:
        """Makes two connections with ``--resume``, the first without a word."""
        return self._run(port, version, ["--resume"], _WITHOUT_A_WORD)

    def _run(
        self, port: int, version: str, options: list[str], steps: list[tuple[str, str]]
    ) -> peers.Visits:
        task = [f"--priority=NORMAL:-VERS-ALL:+VERS-TLS{version}", f"--port={port}", "127.0.0.1"]
        with tempfile.TemporaryFile("w+") as debug:
            command = [*self._command, *options, *task]
            process = peers.start(command, subprocess.PIPE, debug.fileno())
            # A program that hangs is killed, and that ends what is being read from it.
            watchdog = threading.Timer(peers.TIMEOUT, process.kill)
            watchdog.start()
            try:
                output = _converse(process, steps)
                process.wait(peers.TIMEOUT)
            finally:
                watchdog.cancel()
                peers.end(process)
            if process.returncode == -signal.SIGKILL:
                raise TimeoutError(f"gnutls-cli took longer than {peers.TIMEOUT} seconds")
            debug.seek(0)
            return _understand(output, debug.read(), process.returncode)


class Libgnutls(peers.Script):
    """libgnutls itself, by a script of ours: it has what ``gnutls-cli`` cannot show."""

    # A session of TLS 1.2 that was resumed is handed out as it was offered, with its old ticket;
    # one of TLS 1.3 has what came on its own connection.
    reuses = frozenset({"1.2"})
    renews = frozenset({"1.3"})
    internal_error = "received alert: Internal error"

    def __init__(self, ca_file: Path) -> None:
        super().__init__([sys.executable, "-I", str(_SCRIPT)], ca_file)


# What to wait for, and what to type then.
_WITHOUT_A_WORD = [("- Resume Handshake was completed\n", peers.REQUEST), (peers.REPLY, "")]


def _first_and_again(connections: int) -> list[tuple[str, str]]:
    steps = [(_CONNECTED, peers.REQUEST), (peers.REPLY, "^resume^\n")] * connections
    return [*steps[:-1], (peers.REPLY, "")]


def _converse(process: subprocess.Popen[str], steps: list[tuple[str, str]]) -> str:
    """Takes the steps, and returns what was printed meanwhile."""
    assert process.stdin is not None
    assert process.stdout is not None
    output = ""
    for wait_for, line in steps:
        output += _read(process.stdout, wait_for)
        _type(process.stdin, line)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    return output + process.stdout.read()


def _type(stdin: IO[str], line: str) -> None:
    # A program that has ended says why in what it printed.
    with contextlib.suppress(BrokenPipeError):
        stdin.write(line)
        stdin.flush()


def _read(stdout: IO[str], wait_for: str) -> str:
    """Returns all lines up to the one that ends so, or to the end of the program."""
    output = ""
    while not output.endswith(wait_for) and (line := stdout.readline()):
        output += line
    return output


def _understand(output: str, debug: str, exit_code: int) -> peers.Visits:
    """The two parts, of standard output and of standard error, begin anew for each connection."""
    printed = output.split("- Connecting again")
    logged = debug.split("CLIENT HELLO was queued")[1:]
    visits = []
    for text, messages in zip(printed, logged, strict=True):
        errors = re.findall(r"^\*\*\* (?!This is a resumed)(.+)$", text + messages, re.MULTILINE)
        visits.append(
            peers.Visit(
                connected=_CONNECTED in text,
                resumed=_RESUMED in text,
                tickets=messages.count(_TICKET),
                data=peers.REPLY if text.count("\n" + peers.REPLY) == 1 else "",
                error="; ".join(errors),
            )
        )
    return peers.Visits(tuple(visits), exit_code, output + debug)
