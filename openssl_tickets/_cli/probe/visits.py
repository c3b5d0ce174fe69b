"""
One connection to a server: its handshake, whether it resumed, and the tickets that came.

A visit may offer a session. If the server speaks TLS from the first byte, ``ssl`` makes the visit.
If the server starts with another protocol, ``openssl s_client -starttls`` makes it.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from openssl_tickets import (
    Session,
    get_session,
    session_reused,
    set_new_session_callback,
    set_session,
)
from openssl_tickets.s_client import SClient, SClientEnded, SClientError

When = Literal["handshake", "data"]
Version = Literal["1.2", "1.3"]
VERSIONS: tuple[Version, ...] = ("1.3", "1.2")

_POLL = 0.02  # seconds between two looks at what s_client has seen


class StartTLS(NamedTuple):
    """A protocol that switches to TLS, and that ``s_client -starttls`` knows."""

    port: int
    #: The command that ends the connection. It is empty if a close_notify is enough.
    goodbye: bytes


STARTTLS = {
    "smtp": StartTLS(25, b"QUIT\r\n"),
    "imap": StartTLS(143, b"a LOGOUT\r\n"),
    "ftp": StartTLS(21, b"QUIT\r\n"),
    "ldap": StartTLS(389, b""),
    "postgres": StartTLS(5432, b""),
}


class Ticket(NamedTuple):
    """A ticket from the server."""

    key_name: bytes
    lifetime_hint: int  # seconds
    when: When


@dataclass
class Visit:
    """What was seen in one connection."""

    protocol: str | None = None  # None if the handshake was not completed
    cipher: str | None = None
    resumed: bool = False
    tickets: list[Ticket] = field(default_factory=list)
    session: Session | None = None  # the newest one
    error: str | None = None


class Visitor(Protocol):
    """Makes visits."""

    def visit(
        self,
        address: str,
        version: Version | None = None,
        session: Session | None = None,
        wait_for: When | None = None,
    ) -> Visit:
        """
        Makes one connection. If it fails, the visit's ``error`` says why.

        Args:
            address: where to connect.
            version: the only version to offer; None for all.
            session: the session to offer; None for a full handshake.
            wait_for: None to count all tickets. The visit then waits until no more come, sends a
                request, and waits again. If you know when tickets come, pass that: the visit then
                waits for one ticket only.
        """


class SSLVisitor:
    """
    Makes visits with ``ssl``.

    Args:
        port: the port of the server.
        server_name: the name to ask for (SNI), or None.
        request: the data to send, to see whether tickets come with the first data. It may be empty.
        wait: how long to wait for one more ticket, in seconds.
        timeout: how long each part of a connection may take, in seconds.

    Raises:
        LibraryMismatchError: ``ssl`` uses another libssl.
    """

    def __init__(
        self, port: int, server_name: str | None, request: bytes, wait: float, timeout: float
    ) -> None:
        self._port = port
        self._server_name = server_name
        self._request = request
        self._wait = wait
        self._timeout = timeout
        self._sessions: list[Session] = []  # those that came in the current visit
        self._contexts = {version: self._context(version) for version in (None, *VERSIONS)}

    def _context(self, version: Version | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # The probe asks what the server does with tickets, not who it is. It sends nothing secret.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if version is not None:
            number = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
            context.minimum_version = context.maximum_version = number
        set_new_session_callback(context, lambda _, session, __: self._sessions.append(session))
        return context

    def visit(
        self,
        address: str,
        version: Version | None = None,
        session: Session | None = None,
        wait_for: When | None = None,
    ) -> Visit:
        visit = Visit()
        self._sessions = []
        with (
            _errors_of(visit),
            socket.create_connection((address, self._port), self._timeout) as plain,
            self._contexts[version].wrap_socket(
                plain, server_hostname=self._server_name, do_handshake_on_connect=False
            ) as connection,
        ):
            if session is not None:
                set_session(connection, session.copy())  # a copy, because libssl marks a used one
            connection.do_handshake()
            visit.protocol = connection.version()
            visit.cipher = (connection.cipher() or (None,))[0]
            visit.resumed = session_reused(connection)
            if visit.protocol == "TLSv1.3":
                self._read_tickets(visit, connection, wait_for)
            else:
                _take_session(visit, connection, session)
            connection.settimeout(0)  # send a close_notify, and do not wait for the server's
            with contextlib.suppress(OSError, ValueError):
                connection.unwrap()
        return visit

    def _read_tickets(self, visit: Visit, connection: ssl.SSLSocket, wait_for: When | None) -> None:
        """Reads TLS 1.3 tickets, which come after the handshake."""
        end = time.monotonic() + self._timeout
        with_handshake = 0

        def is_enough() -> bool:
            return wait_for is not None and bool(self._sessions)

        try:
            data = None
            if wait_for != "data":
                data = self._read(connection, is_enough, end)
            with_handshake = len(self._sessions)
            if is_enough():
                return
            if data is None and self._request:
                connection.settimeout(self._timeout)
                connection.sendall(self._request)
                data = b"?"
            while data and not is_enough() and time.monotonic() < end:
                data = self._read(connection, is_enough, end)
        finally:
            for place, session in enumerate(self._sessions):
                when: When = "handshake" if place < with_handshake else "data"
                visit.tickets.append(Ticket(session.key_name, session.ticket_lifetime_hint, when))
                visit.session = session

    def _read(
        self, connection: ssl.SSLSocket, is_enough: Callable[[], bool], end: float
    ) -> bytes | None:
        """Returns the next data, ``b""`` at the end, or None if no data comes."""
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        connection.settimeout(0)
        seen, quiet = -1, 0.0
        while not is_enough():
            try:
                return connection.recv(1 << 14)
            except ssl.SSLWantReadError:
                now = time.monotonic()
                if len(self._sessions) != seen:
                    seen, quiet = len(self._sessions), now + self._wait
                if now >= min(quiet, end):
                    return None
                poll.poll(1 + 1000 * (min(quiet, end) - now))
            except ConnectionError:
                return b""
        return None


def _take_session(visit: Visit, connection: ssl.SSLSocket, offered: Session | None) -> None:
    """Takes the session of TLS 1.2, which is complete at the end of the handshake."""
    session = get_session(connection)
    if session is None or not session.is_resumable:
        return
    if visit.resumed and offered is not None and session.ticket == offered.ticket:
        return  # the server sent no new ticket
    visit.session = session.copy()
    if session.has_ticket:
        visit.tickets.append(Ticket(session.key_name, session.ticket_lifetime_hint, "handshake"))


@contextlib.contextmanager
def _errors_of(visit: Visit) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        visit.error = "no answer in time"
    except ssl.SSLError as error:
        visit.error = (error.reason or str(error)).lower().replace("_", " ")
    except OSError as error:
        visit.error = error.strerror or str(error)
    except ValueError as error:  # for example, a server name that no certificate can have
        visit.error = str(error)


class SClientVisitor:
    """
    Makes visits with ``openssl s_client -starttls``.

    Args:
        port: the port of the server.
        server_name: the name to ask for (SNI), or None.
        protocol: a key of ``STARTTLS``.
        wait: how long to wait for one more ticket, in seconds.
        timeout: how long each part of a connection may take, in seconds.
    """

    def __init__(
        self, port: int, server_name: str | None, protocol: str, wait: float, timeout: float
    ) -> None:
        self._port = port
        self._server_name = server_name
        self._protocol = protocol
        self._wait = wait
        self._timeout = timeout

    def visit(
        self,
        address: str,
        version: Version | None = None,
        session: Session | None = None,
        wait_for: When | None = None,
    ) -> Visit:
        visit = Visit()
        with tempfile.TemporaryDirectory(prefix="openssl_tickets-probe-") as name:
            offered, received = Path(name, "offered.pem"), Path(name, "received.pem")
            if session is not None:
                offered.write_bytes(session.to_pem())
            try:
                with SClient(
                    address,
                    self._port,
                    tls_version=version,
                    server_name=self._server_name,
                    sess_in=offered if session is not None else None,
                    sess_out=received,
                    extra_args=["-starttls", self._protocol],
                    timeout=self._timeout,
                ) as client:
                    with_handshake = self._talk(client, version, wait_for)
                    seen = client.close()
            except SClientEnded as error:
                alert = error.result.alert
                lines = [line for line in error.output.splitlines() if line.strip()]
                words = f"alert {alert.name}" if alert else (lines or [str(error)])[-1]
                visit.error = words.replace("_", " ")
                return visit
            except SClientError as error:
                visit.error = str(error).splitlines()[0]
                return visit
            if received.exists():
                visit.session = Session.from_pem(received.read_bytes())
        visit.protocol, visit.resumed = seen.protocol, bool(seen.reused)
        found = re.search(r"^Ciphersuite: (\S+)", seen.output, re.MULTILINE)
        visit.cipher = found[1] if found else None
        for place, ticket in enumerate(seen.tickets):
            when: When = "handshake" if place < with_handshake else "data"
            visit.tickets.append(Ticket(ticket.key_name, ticket.lifetime_hint, when))
        if visit.protocol is None:
            visit.error = f"alert {seen.alert.name}" if seen.alert else "no handshake"
        return visit

    def _talk(self, client: SClient, version: Version | None, wait_for: When | None) -> int:
        """Waits for tickets, then ends the conversation. Returns how many came before that."""
        count, quiet = 0, time.monotonic() + self._wait
        end = time.monotonic() + self._timeout
        with contextlib.suppress(SClientEnded):
            # In TLS 1.2, the ticket is part of the handshake.
            while wait_for != "data" and version != "1.2" and time.monotonic() < min(quiet, end):
                tickets = len(client.wait_for_tickets(0))
                if tickets and wait_for is not None:
                    count = tickets
                    break
                if tickets != count:
                    count, quiet = tickets, time.monotonic() + self._wait
                time.sleep(_POLL)
            goodbye = STARTTLS[self._protocol].goodbye
            if goodbye:
                client.send(goodbye)
                client.wait_for_end()
        return 1 if version == "1.2" else count
