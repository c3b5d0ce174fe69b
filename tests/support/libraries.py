"""One interface to both libraries, so that one test covers both."""

from __future__ import annotations

import contextlib
import re
import ssl
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import OpenSSL.SSL

from openssl_tickets import (
    SSL,
    VERIFY_POST_HANDSHAKE,
    Session,
    TicketReturn,
    set_new_session_callback,
    set_session,
    set_session_ticket_callback,
)
from openssl_tickets._adapters import to_ssl_ctx
from tests.support import native, stdlib_tls, tls
from tests.support.callbacks import Announced
from tests.support.ends import WANTS

LIBRARIES = ["drop-in", "pyOpenSSL", "ssl"]
ERRORS = (SSL.Error, ssl.SSLError)


class Setting:
    """The contexts of a server and a client, for one library and one TLS version."""

    def __init__(self, library: str, version: str, server_file: Path) -> None:
        self.library = library
        self.version = version
        self.server_file = server_file
        self.of_tls13 = version == "1.3"
        self.tickets = 2 if self.of_tls13 else 1  # after a full handshake
        self.server_context = self.make_server_context()
        self.client_context = self.make_client_context()

    @property
    def _module(self) -> Any:
        return SSL if self.library == "drop-in" else OpenSSL.SSL

    def make_server_context(self) -> Any:
        if self.library == "ssl":
            return stdlib_tls.server_context(self.server_file, self.version)
        return tls.server_context(self.server_file, self.version, self._module.Context)

    def make_client_context(self) -> Any:
        if self.library == "ssl":
            return stdlib_tls.client_context(self.version)
        return tls.client_context(self.version, self._module.Context)

    def pair(
        self, session: Any = None, server_name: str | None = None, server_context: Any = None
    ) -> Any:
        """Returns a client and a server in memory. The client offers *session*."""
        made: Any
        contexts = server_context or self.server_context, self.client_context
        if self.library == "ssl":
            made = stdlib_tls.Pair(*contexts, server_name=server_name)
        else:
            made = tls.Pair(*contexts, connection_class=self._module.Connection)
            if server_name is not None:
                made.client.set_tlsext_host_name(server_name.encode())
        if session is not None:
            set_session(made.client, session)
        return made

    def handshake(self, session: Any = None) -> Any:
        return self.pair(session).handshake()

    def session(self) -> Session:
        """Returns the session of a client that has closed its connection."""
        announced = Announced()
        set_new_session_callback(self.client_context, announced)
        close(self.handshake())
        set_new_session_callback(self.client_context, None)
        return announced.sessions[-1]

    def wrapped(self, plain: Any, server_side: bool) -> Any:
        """Returns a connection on the socket *plain*, before its handshake."""
        context = self.server_context if server_side else self.client_context
        if self.library == "ssl":
            return context.wrap_socket(
                plain, server_side=server_side, do_handshake_on_connect=False
            )
        tls.set_timeouts(plain)
        connection = self._module.Connection(context, plain)
        (connection.set_accept_state if server_side else connection.set_connect_state)()
        return connection

    @contextlib.contextmanager
    def sockets(self) -> Iterator[tuple[Any, Any]]:
        """Yields a server's and a client's connection over loopback, before the handshake."""
        with stdlib_tls.sockets() as (server, client):
            sides = self.wrapped(server, True), self.wrapped(client, False)
            try:
                yield sides
            finally:
                if self.library == "ssl":
                    for side in sides:
                        side.close()

    def use_session_ids(self) -> None:
        """Makes a server use its session cache. Its TLS 1.3 tickets only name a cached session."""
        no_tickets(self.server_context)
        set_cache_mode(self.server_context, SSL.SESS_CACHE_SERVER)

    def renew(self) -> None:
        """Makes the server send a new ticket in each resumption."""
        set_session_ticket_callback(self.server_context, None, renewing)


def ask_for_certificate(
    context: Any, ca_file: Path, required: bool = False, later: bool = False
) -> None:
    """Makes a server ask for a client certificate: in the handshake, or *later* on demand."""
    context.load_verify_locations(str(ca_file))
    if isinstance(context, ssl.SSLContext):
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        context.post_handshake_auth = later
    else:
        context.set_session_id(b"tests")
        mode = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if required else 0)
        context.set_verify(mode | (VERIFY_POST_HANDSHAKE if later else 0))


def show_certificate(context: Any, client_file: Path) -> None:
    """Makes a client send its certificate if the server asks for it."""
    if isinstance(context, ssl.SSLContext):
        context.load_cert_chain(client_file)
    else:
        context.use_privatekey_file(str(client_file))
        context.use_certificate_chain_file(str(client_file))


def certificate_in(file: Path) -> bytes:
    """Returns the first certificate of a PEM *file*, in DER. A key may come before it."""
    pem = re.search("-----BEGIN CERTIFICATE-----.*?-----END.*?\n", file.read_text(), re.DOTALL)
    assert pem is not None
    return ssl.PEM_cert_to_DER_cert(pem[0])


def renewing(connection: Any, ticket: Any, data: Any) -> TicketReturn | None:
    return TicketReturn.USE_RENEW if ticket.session is not None else None


def no_tickets(context: Any) -> None:
    if isinstance(context, ssl.SSLContext):
        context.options |= ssl.OP_NO_TICKET
    else:
        context.set_options(SSL.OP_NO_TICKET)


def pointer(context: Any) -> Any:
    """Returns the ``SSL_CTX *`` of a context."""
    return to_ssl_ctx(context).pointer


def cache_mode(context: Any) -> int:
    return int(native.lib.get_session_cache_mode(pointer(context)))


def set_cache_mode(context: Any, mode: int) -> None:
    native.lib.set_session_cache_mode(pointer(context), mode)


def move(pair: Any) -> None:
    """Carries the data of each side to the other. With ``ssl`` there is nothing to do."""
    if isinstance(pair, tls.Pair):
        pair.move()


def close(pair: Any) -> None:
    """Closes both sides with a shutdown, so that their sessions stay resumable."""
    if isinstance(pair, tls.Pair):
        pair.session()
    else:
        for side in (pair.client, pair.server, pair.client):
            with contextlib.suppress(*WANTS, ssl.SSLSyscallError):
                side.unwrap()


def switch_by_server_name(first: Any, second: Any) -> list[Any]:
    """
    Switches connections of *first* that ask for a server name to *second*.

    Returns a list that gets each switched connection.
    """
    switched: list[Any] = []

    def switch(connection: Any, *_: Any) -> None:
        switched.append(weakref.ref(connection))
        switch_context(connection, second)

    if isinstance(first, ssl.SSLContext):
        first.sni_callback = switch
    else:
        first.set_tlsext_servername_callback(switch)
    return switched


def switch_context(connection: Any, context: Any) -> None:
    if isinstance(connection, OpenSSL.SSL.Connection):
        connection.set_context(context)
    else:
        connection.context = context


def context_of(connection: Any) -> Any:
    if isinstance(connection, OpenSSL.SSL.Connection):
        return connection.get_context()
    return connection.context


def talk(pair: Any) -> None:
    """Checks that each side can read what the other writes."""
    for source, sink in ((pair.server, pair.client), (pair.client, pair.server)):
        source.write(b"still here")
        move(pair)
        assert sink.read(100) == b"still here"


def shake(pair: Any) -> None:
    """Does the handshake. The client does not read its tickets yet."""
    waiting = [pair.client, pair.server]
    for _ in range(20):
        for side in list(waiting):
            with contextlib.suppress(*WANTS):
                side.do_handshake()
                waiting.remove(side)
            move(pair)
        if not waiting:
            return
    raise AssertionError("the handshake does not come to an end")
