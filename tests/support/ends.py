"""One interface to a connection in memory, of pyOpenSSL or ``ssl``."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

import OpenSSL.SSL

import openssl_tickets
from openssl_tickets import SSL

WANTS = (SSL.WantReadError, ssl.SSLWantReadError)


class End:
    """One end of a connection in memory."""

    def __init__(self, context: Any, server_side: bool = False) -> None:
        """Makes a connection of *context*. *context* may also be a connection of pyOpenSSL."""
        self.connection: Any
        self._incoming: ssl.MemoryBIO | None = None
        self._outgoing: ssl.MemoryBIO | None = None
        if isinstance(context, ssl.SSLContext):
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.connection = context.wrap_bio(self._incoming, self._outgoing, server_side)
        elif isinstance(context, OpenSSL.SSL.Connection):
            self.connection = context
        else:
            self.connection = SSL.Connection(context, None)
            if server_side:
                self.connection.set_accept_state()
            else:
                self.connection.set_connect_state()

    def give(self, data: bytes) -> None:
        if self._incoming is not None:
            self._incoming.write(data)
        elif data:
            self.connection.bio_write(data)

    def take(self) -> bytes:
        if self._outgoing is not None:
            return self._outgoing.read()
        data = b""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                data += self.connection.bio_read(1 << 16)
        return data

    def step(self) -> bool:
        """Continues the handshake as far as possible, and returns whether it is done."""
        try:
            self.connection.do_handshake()
        except WANTS:
            return False
        return True

    def read(self) -> bytes:
        """Returns the data that has come."""
        data = b""
        with contextlib.suppress(*WANTS):
            while True:
                piece = self.connection.read(1 << 14)
                if not piece:
                    return data
                data += piece
        return data

    @property
    def reused(self) -> bool:
        return openssl_tickets.session_reused(self.connection)
