"""Our server against real programs, over loopback. Here is what these tests share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from openssl_tickets import SSL
from tests.support import native, tls

# What the client's line is answered with. It comes after the tickets of the handshake, so a client
# that has it has them all.
REPLY = b"welcome\n"


def answer(connection: Any) -> None:
    """Shakes hands and answers each line with :data:`REPLY`; nothing is left in the error queue."""
    try:
        connection.do_handshake()
        for _ in requests(connection):
            connection.sendall(REPLY)
    finally:
        assert native.lib.peek_error() == 0


def requests(connection: Any) -> Iterator[bytes]:
    """Yields the client's lines, each of them sent once the one before is answered."""
    with contextlib.suppress(SSL.ZeroReturnError):
        while True:
            yield connection.recv(1 << 14)


@contextlib.contextmanager
def serving(
    context: Any, serve: Callable[[Any], None] = answer, connection_class: Any = SSL.Connection
) -> Iterator[tls.Server]:
    """A server none of whose connections may fail: what one raised is raised in the end."""
    server = tls.Server(context, serve, connection_class)
    try:
        with server:
            yield server
    finally:
        for error in server.errors:
            raise error
