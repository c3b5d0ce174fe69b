"""Tickets that a server accepts or makes, and that libssl then does not resume from."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Any

import OpenSSL.SSL
import pytest

import openssl_tickets
from openssl_tickets import (
    SSL,
    TicketKey,
    TicketKeys,
    TicketReturn,
    get_session,
    set_session,
    set_session_ticket_callback,
    set_ticket_keys,
)
from tests.support import stdlib_tls, tls
from tests.support.ends import End

LIBRARIES = {"pyopenssl": tls, "ssl": stdlib_tls}
SHA256, SHA384 = b"TLS_AES_128_GCM_SHA256", b"TLS_AES_256_GCM_SHA384"


@pytest.fixture(params=LIBRARIES)
def server_context(request: pytest.FixtureRequest, server_file: Path) -> Any:
    """A context for TLS 1.3 servers, of either library."""
    return LIBRARIES[request.param].server_context(server_file)


def client_with(cipher_suite: bytes, session: Any = None) -> End:
    context = tls.client_context()
    assert SSL._lib.SSL_CTX_set_ciphersuites(context._context, cipher_suite)
    client = End(context)
    if session is not None:
        set_session(client.connection, session)
    return client


def shake_hands(client: End, server: End) -> None:
    for _ in range(4):
        client.step()
        server.give(client.take())
        server.step()
        client.give(server.take())
    client.read()


class TestOtherHash:
    """
    A TLS 1.3 ticket is good for cipher suites of its own hash only. libssl asks ``decrypt`` before
    it compares them, then shakes hands in full. Before OpenSSL 3.0.21 it sent no ticket after that.
    """

    def visit(
        self, server_context: Any, cipher_suite: bytes, session: Any = None
    ) -> tuple[End, End, int]:
        """Returns the two ends, and how many tickets the client has been sent."""
        client, server = client_with(cipher_suite, session), End(server_context, server_side=True)
        shake_hands(client, server)
        return client, server, tls.received(client.connection)

    @pytest.mark.parametrize("answer", [None, TicketReturn.USE, TicketReturn.USE_RENEW])
    @pytest.mark.parametrize("suites", [(SHA256, SHA384), (SHA384, SHA256)])
    def test_new_tickets_follow(
        self, server_context: Any, suites: tuple[bytes, bytes], answer: TicketReturn | None
    ) -> None:
        """After a ticket that decrypt accepted, a full handshake brings the usual tickets."""
        asked: list[Any] = []

        def decrypt(connection: Any, ticket: Any, data: Any) -> TicketReturn | None:
            asked.append(ticket.appdata)
            return answer

        set_session_ticket_callback(server_context, lambda *_: b"data", decrypt)
        openssl_tickets.set_num_tickets(server_context, 3)
        client, _, tickets = self.visit(server_context, suites[0])
        assert tickets == 3
        client, server, tickets = self.visit(
            server_context, suites[1], get_session(client.connection)
        )
        assert (server.reused, asked, tickets) == (False, [b"data"], 3)
        _, server, _ = self.visit(server_context, suites[1], get_session(client.connection))
        assert server.reused

    def test_with_keys_alone(self, server_context: Any) -> None:
        """The same without callbacks, where the context has ticket keys."""
        set_ticket_keys(server_context, TicketKeys([TicketKey.generate()]))
        client, _, _ = self.visit(server_context, SHA256)
        client, server, tickets = self.visit(server_context, SHA384, get_session(client.connection))
        assert (server.reused, tickets) == (False, 2)

    def test_libssl_by_itself(self, server_context: Any) -> None:
        """Before OpenSSL 3.0.21 it sends none; one call afterwards brings all that are missing."""
        client, _, _ = self.visit(server_context, SHA256)
        client, server, tickets = self.visit(server_context, SHA384, get_session(client.connection))
        assert not server.reused
        assert tickets in (0, 2)
        openssl_tickets.new_session_ticket(server.connection)
        server.step()
        client.give(server.take())
        client.read()
        assert tls.received(client.connection) == max(tickets + 1, 2)

    @pytest.mark.parametrize(("num_tickets", "received"), [(0, 1), (1, 1), (3, 3)])
    def test_asked_for_after_ignore(
        self, server_context: Any, num_tickets: int, received: int
    ) -> None:
        """After IGNORE, one call for a ticket brings those of the handshake as well."""
        client, _, _ = self.visit(server_context, SHA256)
        set_session_ticket_callback(server_context, decrypt=lambda *_: TicketReturn.IGNORE)
        openssl_tickets.set_num_tickets(server_context, num_tickets)
        client, server, tickets = self.visit(server_context, SHA256, get_session(client.connection))
        assert (server.reused, tickets) == (False, 0)
        openssl_tickets.new_session_ticket(server.connection)
        server.step()
        client.give(server.take())
        client.read()
        assert tls.received(client.connection) == received

    def test_same_hash(self, server_context: Any) -> None:
        """Another cipher suite of the same hash resumes."""
        set_session_ticket_callback(server_context, lambda *_: b"data", lambda *_: None)
        client, _, _ = self.visit(server_context, SHA256)
        chacha = b"TLS_CHACHA20_POLY1305_SHA256"
        _, server, tickets = self.visit(server_context, chacha, get_session(client.connection))
        assert (server.reused, tickets) == (True, 1)


MESSAGE = r"no session id context.*context\.set_session_id\("


class TestSessionIdContext:
    """A pyOpenSSL server that asks for client certificates, and has no session id context."""

    @pytest.fixture
    def context(self, server_file: Path, ca_file: Path, version: str) -> Any:
        context = tls.server_context(server_file, version)
        context.load_verify_locations(str(ca_file))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        return context

    @pytest.fixture
    def client_context(self, client_file: Path, version: str) -> Any:
        context = tls.client_context(version)
        context.use_privatekey_file(str(client_file))
        context.use_certificate_chain_file(str(client_file))
        return context

    @pytest.fixture(params=["generate", "decrypt", "keys"])
    def install(self, request: pytest.FixtureRequest, context: Any) -> None:
        if request.param == "keys":
            set_ticket_keys(context, TicketKeys([TicketKey.generate()]))
        else:
            set_session_ticket_callback(context, **{request.param: lambda *_: None})

    def test_first_visit_says_what_is_missing(
        self, install: None, context: Any, client_context: Any
    ) -> None:
        """The first ticket is refused, with what to call; not the second visit, without a word."""
        with pytest.raises(RuntimeError, match=MESSAGE):
            tls.Pair(context, client_context).handshake()

    def test_plain_connection(
        self, install: None, context: Any, client_context: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """pyOpenSSL's own connection reports it to the hook."""
        seen: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda raised: seen.append(raised.exc_value))
        with pytest.raises(SSL.Error):
            tls.Pair(context, client_context, None, OpenSSL.SSL.Connection).handshake()
        (error,) = seen
        with pytest.raises(RuntimeError, match=MESSAGE):
            raise error

    def test_with_one(self, install: None, context: Any, client_context: Any) -> None:
        """With a session id context, set before the callbacks or after them, it resumes."""
        context.set_session_id(b"tests")
        session = tls.Pair(context, client_context).handshake().session()
        assert tls.Pair(context, client_context, session).handshake().reused

    def test_without_certificates(self, install: None, context: Any, client_context: Any) -> None:
        """A server that asks for none needs none."""
        context.set_verify(SSL.VERIFY_NONE)
        session = tls.Pair(context, client_context).handshake().session()
        assert tls.Pair(context, client_context, session).handshake().reused

    def test_libssl_by_itself(self, context: Any, client_context: Any) -> None:
        """Without this package, it is the second visit that fails, and libssl says little."""
        session = tls.Pair(context, client_context).handshake().session()
        with pytest.raises(SSL.Error, match="session id context uninitialized"):
            tls.Pair(context, client_context, session).handshake()

    def test_ssl_has_one(
        self, server_file: Path, ca_file: Path, client_file: Path, version: str
    ) -> None:
        """``ssl`` sets one by itself."""
        context = stdlib_tls.server_context(server_file, version)
        context.load_verify_locations(ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
        client = stdlib_tls.client_context(version)
        client.load_cert_chain(client_file)
        set_ticket_keys(context, TicketKeys([TicketKey.generate()]))
        session = stdlib_tls.Pair(context, client).handshake().session()
        assert stdlib_tls.Pair(context, client, session).handshake().reused
