"""
The demo, ``openssl-tickets demo``: a real pyOpenSSL server and the real ``openssl s_client``.

Each step compares what is expected with what s_client saw, or with what the server's callbacks got.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import openssl_tickets
from openssl_tickets import OPENSSL_VERSION, SSL, ReceivedTicket, TicketReturn
from openssl_tickets._cli.output import GREEN, RED, coloured, complain
from openssl_tickets._cli.parser import parser_of
from openssl_tickets._testing.certificates import make_certificate
from openssl_tickets._testing.server import TIMEOUT, TLSServer, read
from openssl_tickets.s_client import SClient, SClientEnded, SClientError, SClientResult

_REPLY = b"reply-after-the-tickets"

_DESCRIPTION = """\
Shows each feature with a pyOpenSSL server and the real openssl s_client. It
needs pyOpenSSL."""

_EPILOG = """\
exit status: 0 if each step went as expected; 1 if not; 2 if the command line is
wrong."""


class Step(NamedTuple):
    """What a step expects, and what was seen."""

    title: str
    expected: str
    seen: str

    @property
    def went_as_told(self) -> bool:
        return self.expected == self.seen


def main(arguments: Sequence[str]) -> int:
    """Runs the command that *arguments* name, and returns the exit status."""
    parser_of("demo", description=_DESCRIPTION, epilog=_EPILOG).parse_args(arguments)
    try:
        return _demo()
    except SClientError as error:
        print(error.output)
        complain(error)
    except (OSError, RuntimeError) as error:
        complain(error)
    return 1


def _demo() -> int:
    print(f"openssl_tickets on {OPENSSL_VERSION}: a pyOpenSSL server, `openssl s_client` as client")
    with tempfile.TemporaryDirectory(prefix="openssl_tickets-demo-") as name:
        folder = Path(name)
        server = _Server(make_certificate(folder))
        try:
            steps = list(_steps(server, folder))
        finally:
            server.close()
            for error in server.errors:
                print(f"The server failed: {error!r}")
    print(_table(steps))
    return 0 if all(step.went_as_told for step in steps) and not server.errors else 1


def _steps(server: _Server, folder: Path) -> Iterator[Step]:
    guest, bob = folder / "guest.pem", folder / "bob.pem"

    server.context.set_num_tickets(3)
    full = server.visit(b"hello\n", sess_out=guest)
    yield Step("a full handshake, num_tickets 3", "new session, 3 tickets", _told(full))

    server.received.clear()
    resumed = server.visit(b"hello\n", sess_in=guest)
    yield Step("the last ticket comes back", "resumed, 1 ticket", _told(resumed))

    yield Step(
        "  and what decrypt was told",
        f"b'guest 1', SUCCESS_RENEW, key {full.tickets[-1].key_name.hex()[:8]}...",
        _brought(server.received),
    )

    server.revoked.add(b"guest 1")
    refused = server.visit(b"hello\n", sess_in=guest)
    yield Step("the ticket of a revoked client", "new session, 3 tickets", _told(refused))

    server.context.set_num_tickets(1)
    with server.client(sess_out=bob) as client:
        before = len(client.wait_for_tickets(1))
        client.send(b"login bob\n")
        client.wait_for(_REPLY)
        after = len(client.wait_for_tickets(2))
        client.close()
    yield Step(
        "a ticket on demand, after a login", "1 ticket, then 2", f"{before} ticket, then {after}"
    )

    server.received.clear()
    resumed = server.visit(b"hello\n", sess_in=bob)
    yield Step("  this ticket comes back", "resumed, 1 ticket", _told(resumed))
    yield Step(
        "  and what decrypt was told",
        f"b'bob', SUCCESS_RENEW, key {full.tickets[-1].key_name.hex()[:8]}...",
        _brought(server.received),
    )

    server.context.set_num_tickets(0)
    none = server.visit(b"hello\n")
    yield Step("a full handshake, num_tickets 0", "new session, 0 tickets", _told(none))


def _told(result: SClientResult) -> str:
    if result.reused is None:
        return f"no connection: {result.alert}"
    count = len(result.tickets)
    session = "resumed" if result.reused else "new session"
    return f"{session}, {count} ticket{'' if count == 1 else 's'}"


def _brought(tickets: list[ReceivedTicket]) -> str:
    return "; ".join(
        f"{ticket.appdata!r}, {ticket.status.name}, key {ticket.key_name.hex()[:8]}..."
        for ticket in tickets
    )


class _Server(TLSServer):
    """A pyOpenSSL server with a ticket policy."""

    def __init__(self, certificate: Path) -> None:
        self.received: list[ReceivedTicket] = []
        self.revoked: set[bytes | None] = set()
        self.context = SSL.Context(SSL.TLS_METHOD)
        self.context.set_min_proto_version(SSL.TLS1_3_VERSION)
        self.context.use_privatekey_file(str(certificate))
        self.context.use_certificate_file(str(certificate))
        self.context.set_session_ticket_callback(self._generate, self._decrypt)
        self._guests = itertools.count(1)
        self._certificate = certificate
        super().__init__(self.context, self._talk)

    def client(self, **files: Any) -> SClient:
        """Starts an s_client."""
        return SClient(self.host, self.port, ca_file=self._certificate, timeout=TIMEOUT, **files)

    def visit(self, line: bytes, **files: Any) -> SClientResult:
        """Connects an s_client, which sends *line* and waits for the reply after all tickets."""
        with self.client(**files) as client, contextlib.suppress(SClientEnded):
            client.send(line)
            client.wait_for(_REPLY)
        return client.close()

    def _generate(self, connection: SSL.Connection, data: None) -> bytes | None:
        user = connection.get_app_data()
        if user is not None:
            return bytes(user)
        session = openssl_tickets.get_session(connection)
        if session is not None and session.ticket_appdata:
            return None  # another ticket of the same client, which keeps its data
        return b"guest %d" % next(self._guests)

    def _decrypt(
        self, connection: SSL.Connection, ticket: ReceivedTicket, data: None
    ) -> TicketReturn | None:
        self.received.append(ticket)
        if ticket.appdata in self.revoked:
            return TicketReturn.IGNORE_RENEW
        return None

    def _talk(self, connection: SSL.Connection) -> None:
        command, *arguments = connection.recv(100).split()
        if command == b"login":
            connection.set_app_data(arguments[0])
            connection.new_session_ticket()
        connection.sendall(_REPLY)
        read(connection)  # the client is done


def _table(steps: list[Step]) -> str:
    rows = [("", "step", "expected", "seen by OpenSSL")]
    rows += [("ok" if s.went_as_told else "FAILED", s.title, s.expected, s.seen) for s in steps]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    head, *lines = (
        [cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows
    )
    for step, cells in zip(steps, lines, strict=True):
        cells[0] = coloured(cells[0], GREEN if step.went_as_told else RED, sys.__stdout__)
    title, *told = ("  ".join(cells).rstrip() for cells in [head, *lines])
    return "\n".join([title, "-" * len(title), *told])
