"""OpenSSL's own server, without us: the real ``openssl s_server``, where it can show a row."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import socket
import subprocess
import time
from contextlib import ExitStack
from typing import Any

import openssl_tickets
from openssl_tickets import SSL, Session
from openssl_tickets.s_client import SClient
from tests.conformance.memory import Client
from tests.conformance.server import Files
from tests.conformance.table import Case, Outcome
from tests.conformance.with_s_client import new_session_file, s_client
from tests.support import tls

_CLIENTS = ("s_client", "pyOpenSSL", "ssl")

_LINE, _REPLY = b"hello\n", b"olleh\n"  # s_server -rev sends lines back in reverse
_MORE = b"more\n"  # what it sends without -rev, where the first letter could be a command


def clients(section: str, case: Case) -> tuple[str, ...]:
    """Returns the clients that s_server can show *case* to: where it needs no program of ours."""
    if case["callbacks"] != "none" or section == "keys":
        return ()
    if section == "answers":
        return _CLIENTS if (case["returns"], case["key"]) == ("None", "none") else ()
    if "resumed" in case["event"] and (case["version"], case["number"]) == ("1.3", "0"):
        return ()  # with no tickets at all there is none to come back with
    if case["event"] in ("full", "resumed"):
        return _CLIENTS
    is_asked = case["event"] in ("certificate after full", "certificate after resumed")
    return _CLIENTS[:1] if is_asked and case["version"] == "1.3" else ()


def observe_s_server(section: str, case: Case, files: Files, client: str) -> Outcome:
    """Plays *case* through with s_server and one of its clients; no process is left behind."""
    case = {"status": "", "event": "", "number": "default", **case, "library": client}
    with ExitStack() as at_the_end:
        is_asked = case["event"].startswith("certificate")
        server = at_the_end.enter_context(_SServer(files, case["number"], echoes=not is_asked))
        if is_asked:
            return _observe_certificate(server, case, files)
        offered = None
        if case["status"] in ("SUCCESS", "SUCCESS_RENEW") or case["event"] == "resumed":
            _, _, offered = _visit(server, case, files)
        elif case["status"] == "NO_DECRYPT":
            other = at_the_end.enter_context(_SServer(files, case["number"]))  # has other keys
            _, _, offered = _visit(other, case, files)
        reused, tickets, _ = _visit(server, case, files, offered)
    return Outcome("resumed" if reused else "full", tickets, None, None, None)


def _observe_certificate(server: _SServer, case: Case, files: Files) -> Outcome:
    offered = None
    if case["event"] == "certificate after resumed":
        kept = new_session_file(files)
        with s_client(files, case, server.port, kept) as program:
            _talk(server, program)
            program.close()
        offered = Session.from_pem(kept.read_bytes())
    with s_client(files, case, server.port, new_session_file(files), offered) as program:
        before = _talk(server, program)
        server.write(b"c\n")  # its command to ask for a certificate
        server.read_until(rb"^(SSL_do_handshake -> 1)$")
        server.write(_MORE)
        program.wait_for(_MORE)  # s_client has read the request by then
        after = _talk(server, program)
        seen = program.close()
    return Outcome("resumed" if seen.reused else "full", after - before, None, None, None)


def _talk(server: _SServer, program: SClient) -> int:
    """Both write, s_client first, and read; returns how many tickets have come by then."""
    program.send(_LINE)
    server.read_until(rb"^(hello)$")
    server.write(_MORE)
    program.wait_for(_MORE)
    return len(program.wait_for_tickets(0))


def _visit(
    server: _SServer, case: Case, files: Files, offered: Session | None = None
) -> tuple[bool, int, Session | None]:
    """Returns whether the session was resumed, how many tickets came, and the last's session."""
    # As for servers of ours, see observe.py.
    wants_ticket = (case["version"], case["status"]) != ("1.2", "NONE")
    if case["library"] != "s_client":
        return _visit_of_ours(server, case, files, offered, wants_ticket)
    kept = new_session_file(files)
    with s_client(files, case, server.port, kept, offered, wants_ticket=wants_ticket) as program:
        program.send(_LINE)
        program.wait_for(_REPLY)
        seen = program.close()
    assert seen.reused is not None
    session = Session.from_pem(kept.read_bytes()) if kept.exists() else None
    return seen.reused, len(seen.tickets), session


def _visit_of_ours(
    server: _SServer, case: Case, files: Files, offered: Session | None, wants_ticket: bool
) -> tuple[bool, int, Session | None]:
    client = Client()
    context = client.context(case, files, wants_ticket=wants_ticket)
    with socket.create_connection(("127.0.0.1", server.port), tls.TIMEOUT) as plain:
        connection: Any
        if case["library"] == "ssl":
            connection = context.wrap_socket(plain, do_handshake_on_connect=False)
        else:
            tls.set_timeouts(plain)
            connection = SSL.Connection(context, plain)
            connection.set_connect_state()
        with contextlib.closing(connection):
            if offered is not None:
                openssl_tickets.set_session(connection, offered)
            connection.do_handshake()
            connection.sendall(_LINE)
            reply = b""
            while reply != _REPLY:
                piece = connection.recv(100)
                assert piece, "s_server ended the connection"
                reply += piece
            reused = openssl_tickets.session_reused(connection)
    return reused, len(client.sessions), client.sessions[-1] if client.sessions else None


class _SServer:
    """A running ``openssl s_server`` on a free port, with keys of its own."""

    def __init__(self, files: Files, number: str, *, echoes: bool = True) -> None:
        command = ["openssl", "s_server", "-accept", "127.0.0.1:0"]
        command += ["-cert", str(files.server), "-key", str(files.server)]
        command += ["-CAfile", str(files.authority)]
        command += ["-rev"] if echoes else []
        command += ["-num_tickets", number] if number != "default" else []
        self._process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._output = b""
        self.port = 0

    def __enter__(self) -> _SServer:
        try:
            self.port = int(self.read_until(rb"^ACCEPT .*:(\d+)\n"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(tls.TIMEOUT)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def write(self, line: bytes) -> None:
        """Types *line*: a command, or what is sent to the client."""
        assert self._process.stdin is not None
        self._process.stdin.write(line)

    def read_until(self, pattern: bytes) -> bytes:
        """Returns what the group in *pattern* is in the output, once it is there, and skips it."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + tls.TIMEOUT
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not (found := re.search(pattern, self._output, re.MULTILINE)):
                piece = b""
                if selector.select(max(0.0, deadline - time.monotonic())):
                    piece = os.read(self._process.stdout.fileno(), 1 << 16)
                if not piece:
                    raise RuntimeError(f"openssl s_server has only printed {self._output!r}")
                self._output += piece
        self._output = self._output[found.end() :]
        return found[1]
