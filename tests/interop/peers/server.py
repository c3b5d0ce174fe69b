"""The server that the clients meet: ours, on pyOpenSSL or on the standard ``ssl``."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import openssl_tickets
from openssl_tickets import SSL, ReceivedTicket, TicketReturn, TicketStatus
from tests.interop import peers
from tests.support import native, tls

ERRORS = (OSError, SSL.Error)  # what connections end with, of ssl and of pyOpenSSL


@dataclass
class Connection:
    """What the server saw of one connection."""

    reused: bool | None = None  # None where its handshake failed
    data: bytes = b""
    error: Exception | None = None


class Server:
    """
    A server of *context*, on a free loopback port, which serves one connection after the other.

    It answers each line of a client's, and before that calls ``on_request[n]`` with the connection,
    if there is one for the *n*-th.
    """

    def __init__(self, context: Any) -> None:
        self.context = context
        self.connections: list[Connection] = []
        self.on_request: dict[int, Callable[[Any], None]] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(tls.TIMEOUT)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="peers-server")
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), tls.TIMEOUT).close()
        self._thread.join(2 * tls.TIMEOUT)
        self._listener.close()
        assert not self._thread.is_alive(), "the server thread did not end"

    @property
    def reused(self) -> list[bool | None]:
        """Which connections resumed a session, in the order of their coming."""
        return [connection.reused for connection in self.connections]

    @property
    def errors(self) -> list[Exception]:
        """What connections ended with that did not end well."""
        return [connection.error for connection in self.connections if connection.error]

    def _run(self) -> None:
        while True:
            plain, _ = self._listener.accept()
            with plain:
                if self._stopping:
                    return
                # Or Nagle's algorithm holds the reply back until the tickets are acknowledged.
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections.append(Connection())
                with _wrapped(self.context, plain) as connection:
                    try:
                        self._serve(connection, self.connections[-1])
                    except Exception as error:
                        self.connections[-1].error = error
                if native.lib.peek_error():
                    left = AssertionError("something is left in OpenSSL's error queue")
                    self.connections[-1].error = left

    def _serve(self, connection: Any, seen: Connection) -> None:
        connection.do_handshake()
        seen.reused = openssl_tickets.session_reused(connection)
        with contextlib.suppress(SSL.ZeroReturnError):  # so the end is called in pyOpenSSL
            while line := connection.recv(1000):
                seen.data += line
                self.on_request.get(len(self.connections), lambda _: None)(connection)
                connection.sendall(peers.REPLY.encode())
        assert not native.lib.peek_error(), "something is left in OpenSSL's error queue"
        # The client may not wait for our close_notify.
        try:
            connection.unwrap() if isinstance(connection, ssl.SSLSocket) else connection.shutdown()
        except ERRORS:
            native.lib.clear_errors()  # both libraries leave what the system has said


@contextlib.contextmanager
def _wrapped(context: Any, plain: socket.socket) -> Iterator[Any]:
    if isinstance(context, ssl.SSLContext):
        plain.settimeout(tls.TIMEOUT)
        with context.wrap_socket(
            plain, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
        ) as connection:
            yield connection
    else:
        tls.set_timeouts(plain)
        accepted = SSL.Connection(context, plain)
        accepted.set_accept_state()
        yield accepted


class Policy:
    """
    Callbacks that write down what they see.

    Each ticket has data of its own, ``b"ticket 1"`` and so on, or those that are given; after those
    ``generate`` leaves them as they are.
    """

    def __init__(
        self, context: Any, answer: TicketReturn | None = None, appdata: list[bytes] | None = None
    ) -> None:
        self.generated = 0  # how many tickets have been made
        self.seen: list[tuple[TicketStatus, bytes | None]] = []  # the tickets that were offered
        self.key_names: list[bytes] = []  # theirs
        self._answer = answer  # for tickets that were decrypted
        self._appdata = appdata
        openssl_tickets.set_session_ticket_callback(context, self._generate, self._decrypt)

    def _generate(self, _: Any, __: Any) -> bytes | None:
        self.generated += 1
        if self._appdata is None:
            return b"ticket %d" % self.generated
        return self._appdata.pop(0) if self._appdata else None

    def _decrypt(self, _: Any, ticket: ReceivedTicket, __: Any) -> TicketReturn | None:
        if ticket.status is TicketStatus.EMPTY:  # in TLS 1.2 a client's wish for a ticket
            return None
        self.seen.append((ticket.status, ticket.appdata))
        self.key_names.append(ticket.key_name)
        return None if ticket.status is TicketStatus.NO_DECRYPT else self._answer
