"""Handshakes with pyOpenSSL, in memory and over loopback sockets."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from openssl_tickets import SSL
from tests.support import native

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
TIMEOUT = 20.0  # seconds; nothing on loopback takes this long


def server_context(
    server_file: Path, version: str = "1.3", context_class: Any = SSL.Context
) -> Any:
    context = _context(version, context_class)
    context.use_privatekey_file(str(server_file))
    context.use_certificate_chain_file(str(server_file))
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def client_context(version: str = "1.3", context_class: Any = SSL.Context) -> Any:
    """Returns a context whose connections count their tickets, see :func:`received`."""
    context = _context(version, context_class)
    context.set_info_callback(_count_tickets)
    return context


def _context(version: str, context_class: Any) -> Any:
    context = context_class(SSL.TLS_METHOD)
    context.set_min_proto_version(VERSIONS[version])
    context.set_max_proto_version(VERSIONS[version])
    return context


def _count_tickets(connection: Any, where: int, _: int) -> None:
    if where == SSL.SSL_CB_CONNECT_LOOP and b"read server session ticket" in (
        connection.get_state_string()
    ):
        vars(connection)["tickets_seen"] = received(connection) + 1


def received(client: Any) -> int:
    """Returns how many tickets *client* has received so far."""
    return int(vars(client).get("tickets_seen", 0))


class Pair:
    """A client and a server, connected through memory."""

    def __init__(
        self,
        server_context: Any,
        client_context: Any,
        session: Any = None,
        connection_class: Any = SSL.Connection,
    ) -> None:
        self.server = connection_class(server_context, None)
        self.server.set_accept_state()
        self.client = connection_class(client_context, None)
        self.client.set_connect_state()
        if session is not None:
            self.client.set_session(session)

    def handshake(self) -> Pair:
        """Does the handshake, and lets the client read its tickets."""
        waiting = [self.client, self.server]
        for _ in range(10):
            for side in list(waiting):
                with contextlib.suppress(SSL.WantReadError):
                    side.do_handshake()
                    waiting.remove(side)
                self.move()
            if not waiting:
                self.client_reads()
                return self
        raise AssertionError("the handshake does not come to an end")

    def move(self) -> None:
        """Carries the data of each side to the other."""
        for source, sink in ((self.client, self.server), (self.server, self.client)):
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    sink.bio_write(source.bio_read(1 << 16))

    def client_reads(self) -> bytes:
        """Lets the client read its tickets and its data, and returns the data."""
        self.move()
        data = b""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                data += self.client.recv(1 << 16)
        return data

    @property
    def received(self) -> int:
        """How many tickets the client has received so far."""
        return received(self.client)

    @property
    def reused(self) -> bool:
        """Whether the server resumed a session."""
        return session_reused(self.server)

    def session(self) -> Any:
        """Closes the client, as a real one would, and returns its session."""
        session = self.client.get_session()
        # SSL_free without a shutdown would mark the session as not resumable.
        self.client.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        self.server.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        return session


def session_reused(connection: Any) -> bool:
    """Whether *connection* resumed a session. pyOpenSSL cannot tell."""
    return bool(native.lib.reused(connection._ssl))


class Server:
    """
    A TLS server on a free loopback port. It serves one connection after the other.

    ``errors`` has the exceptions of ``serve(connection)``.
    """

    def __init__(
        self, context: Any, serve: Callable[[Any], None], connection_class: Any = SSL.Connection
    ) -> None:
        self.context = context
        self.errors: list[BaseException] = []
        self._serve = serve
        self._connection_class = connection_class
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(TIMEOUT)
        self.port: int = self._socket.getsockname()[1]
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="tls-server")

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), TIMEOUT).close()
        self._thread.join(TIMEOUT)
        self._socket.close()
        assert not self._thread.is_alive(), "the server thread did not end"

    def _run(self) -> None:
        while True:
            plain, _ = self._socket.accept()
            with plain:
                if self._stopping:
                    return
                set_timeouts(plain)
                connection = self._connection_class(self.context, plain)
                connection.set_accept_state()
                try:
                    self._serve(connection)
                except BaseException as error:
                    self.errors.append(error)
                else:
                    with contextlib.suppress(SSL.Error):
                        connection.shutdown()


def set_timeouts(plain: socket.socket) -> None:
    """Limits each blocking call of libssl on *plain*, which then ends with a SysCallError."""
    seconds = struct.pack("ll", int(TIMEOUT), 0)
    plain.settimeout(None)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)


@contextlib.contextmanager
def connected(context: Any, port: int, session: Any = None) -> Iterator[Any]:
    """Yields a client after its handshake with the server on a loopback *port*."""
    plain = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    with plain:
        set_timeouts(plain)
        client = SSL.Connection(context, plain)
        client.set_connect_state()
        if session is not None:
            client.set_session(session)
        client.do_handshake()
        yield client
        client.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
