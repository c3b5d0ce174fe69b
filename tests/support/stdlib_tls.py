"""Handshakes with ``ssl``, in memory and over loopback sockets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
TIMEOUT = 20.0  # seconds; nothing on loopback takes this long


def server_context(
    server_file: Path, version: str = "1.3", context_class: Any = ssl.SSLContext
) -> Any:
    context = context_class(ssl.PROTOCOL_TLS_SERVER)
    _set_version(context, version)
    context.load_cert_chain(server_file)
    return context


def client_context(version: str = "1.3") -> Any:
    """Returns a context whose connections count their tickets, see :func:`received`."""
    context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _set_version(context, version)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # It is private, but nothing else in ssl reports each ticket.
    context._msg_callback = _count_tickets
    return context


def _set_version(context: ssl.SSLContext, version: str) -> None:
    context.minimum_version = context.maximum_version = VERSIONS[version]


def _count_tickets(
    connection: Any, direction: str, _version: Any, _content: Any, message: Any, _data: bytes
) -> None:
    if direction == "read" and getattr(message, "name", "") == "NEWSESSION_TICKET":
        connection.tickets_seen = received(connection) + 1


def received(client: Any) -> int:
    """Returns how many tickets *client* has received so far."""
    return int(getattr(client, "tickets_seen", 0))


class Pair:
    """A client and a server, both ``SSLObject``, connected through memory."""

    def __init__(
        self,
        server_context: Any,
        client_context: Any,
        session: Any = None,
        server_name: str | None = None,
    ) -> None:
        self.to_server, self.to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server_context.wrap_bio(self.to_server, self.to_client, server_side=True)
        self.client = client_context.wrap_bio(
            self.to_client, self.to_server, server_hostname=server_name, session=session
        )

    def handshake(self) -> Pair:
        """Does the handshake, and lets the client read its tickets."""
        waiting = [self.client, self.server]
        for _ in range(10):
            for side in list(waiting):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
                    waiting.remove(side)
            if not waiting:
                self.client_reads()
                return self
        raise AssertionError("the handshake does not come to an end")

    def client_reads(self) -> bytes:
        """Lets the client read its tickets and its data, and returns the data."""
        data = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while True:
                data += self.client.read(1 << 16)
        return data

    @property
    def received(self) -> int:
        """How many tickets the client has received so far."""
        return received(self.client)

    @property
    def reused(self) -> bool:
        """Whether the server resumed a session."""
        return bool(self.server.session_reused)

    def session(self) -> Any:
        """Returns the client's session, with the newest ticket."""
        return self.client.session


@contextlib.contextmanager
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yields the server's and the client's end of a connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), TIMEOUT)
        server, _ = listener.accept()
    server.settimeout(TIMEOUT)
    with server, client:
        yield server, client


def say_goodbye(connection: Any) -> None:
    """
    Ends *connection* with a close_notify. The other side is a :class:`Client`, which sends none.

    Without it, libssl 3.0 would offer the client's session again, and libssl 3.5 would not.
    """
    with contextlib.suppress(OSError):
        connection.unwrap()


class Client:
    """
    A client in a thread of its own. It does the handshake on *plain*, then reads until the end.

    Afterwards it has its ``data``, its ``session``, and the ``error`` that ended it, if any.
    """

    def __init__(self, plain: socket.socket, context: Any, session: Any = None) -> None:
        self._plain = plain
        self._context = context
        self._offered = session
        self._thread = threading.Thread(target=self._run, name="tls-client")
        self.data = b""
        self.tickets = 0
        self.session: Any = None
        self.error: OSError | None = None

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join()

    def join(self) -> None:
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive(), "the client thread did not end"

    def _run(self) -> None:
        connection = None
        try:
            connection = self._context.wrap_socket(
                self._plain, session=self._offered, do_handshake_on_connect=False
            )
            connection.do_handshake()
            while piece := connection.recv(1 << 16):
                self.data += piece
        except OSError as error:
            self.error = error
        if connection is not None:
            self.tickets = received(connection)
            self.session = connection.session
            connection.close()
