"""
TLS clients that are not OpenSSL's, one module for each, and all asked the same way.

A driver runs its program once for a few connections, one after the other. On each the client offers
the session that it has kept, sends a line, and waits for the reply, which comes after the tickets.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

TIMEOUT = 30.0  # seconds, for all connections of one program
REQUEST = "hello\n"
REPLY = "welcome\n"


@dataclass(frozen=True)
class Visit:
    """What a client saw of one connection."""

    connected: bool  # whether its handshake came to an end
    resumed: bool  # as the client itself says
    tickets: int  # how many came on this connection
    data: str  # what came from the server
    error: str = ""  # what ended the connection, in the client's words; nothing after a good end
    announced: int | None = None  # how many of them the library itself takes up, if it says so


@dataclass(frozen=True)
class Visits:
    """What a client's program did: it makes no more connections after one that failed."""

    each: tuple[Visit, ...]
    exit_code: int
    output: str = field(repr=False)  # all that it printed

    @property
    def went_well(self) -> bool:
        """Whether every connection did, with the reply of the server."""
        return self.exit_code == 0 and all(
            visit.connected and visit.data == REPLY and not visit.error for visit in self.each
        )

    @property
    def resumed(self) -> list[bool]:
        return [visit.resumed for visit in self.each]

    @property
    def tickets(self) -> list[int]:
        return [visit.tickets for visit in self.each]


BOTH: frozenset[str] = frozenset({"1.2", "1.3"})
NEITHER: frozenset[str] = frozenset()


class Peer:
    """The driver of one client program, and what is particular to the client."""

    #: Of the tickets of one connection, which does it offer on the next? 0 the first, -1 the last.
    offers = -1
    #: The versions in which it offers a ticket once more, where it knows of no other.
    reuses = BOTH
    #: The versions in which a ticket that came with a resumption takes the place of the old one.
    renews = BOTH
    #: The versions in which it fails where its ticket is not used, and what it says then.
    fails_if_refused: ClassVar[Mapping[str, str]] = {}
    #: What its error says where the server has sent the alert internal_error.
    internal_error: str

    def visit(self, port: int, version: str, connections: int = 1) -> Visits:
        """Connects so often to the server on a loopback *port*, in one program."""
        raise NotImplementedError


class Script(Peer):
    """
    A program of ours, in which a library is the client.

    It takes its task as arguments, and prints a :class:`Visit` as a line of JSON for each
    connection.
    """

    def __init__(self, command: list[str], ca_file: Path) -> None:
        self._command = command
        self._ca_file = ca_file

    def visit(self, port: int, version: str, connections: int = 1) -> Visits:
        task = [str(port), version, str(self._ca_file), str(connections)]
        process = start([*self._command, *task], subprocess.DEVNULL, subprocess.STDOUT)
        try:
            output, _ = process.communicate(timeout=TIMEOUT)
        finally:
            end(process)
        lines = [line for line in output.splitlines() if line.startswith("{")]
        visits = tuple(Visit(**json.loads(line)) for line in lines)
        return Visits(visits, process.returncode, output)


def start(command: list[str], stdin: int, stderr: int) -> subprocess.Popen[str]:
    """Starts a program as the leader of a process group of its own; :func:`end` it."""
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Kills whatever is left of the program, and of what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
