"""Sessions, and the application data that they carry."""

from __future__ import annotations

import gc
import ssl
from pathlib import Path
from typing import Any

import OpenSSL.SSL
import pytest
from hypothesis import given, strategies as st

import openssl_tickets
from openssl_tickets import SSL
from tests import stdlib_tls, tls


@pytest.fixture
def session(server_context: Any, client_context: Any) -> openssl_tickets.Session:
    pair = tls.Pair(server_context, client_context).handshake()
    found = openssl_tickets.get_session(pair.server)
    assert found is not None
    return found


def test_none_before_the_handshake() -> None:
    """A connection without a handshake has no session."""
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    assert openssl_tickets.get_session(connection) is None


def test_outlives_its_connection(session: openssl_tickets.Session) -> None:
    """A session stays valid when its connection and its context are gone."""
    gc.collect()
    session.ticket_appdata = b"still here"
    assert session.ticket_appdata == b"still here"


def test_no_data_is_empty_bytes(session: openssl_tickets.Session) -> None:
    """A session without application data has b""."""
    assert session.ticket_appdata == b""


def test_both_sides_have_one(server_context: Any, client_context: Any) -> None:
    """The client's connection has a session too; the server's data is not in it."""
    server_context.set_session_ticket_callback(lambda *_: b"for the server alone")
    pair = tls.Pair(server_context, client_context).handshake()
    client_session = openssl_tickets.get_session(pair.client)
    assert client_session is not None
    assert client_session.ticket_appdata == b""


def _pair_of(library: str, server_file: Path) -> Any:
    module = tls if library == "OpenSSL" else stdlib_tls
    return module.Pair(module.server_context(server_file), module.client_context()).handshake()


@pytest.mark.parametrize("library", ["OpenSSL", "ssl"])
def test_of_a_session_object(library: str, server_file: Path) -> None:
    """A session of pyOpenSSL or ssl can be looked into, also when its connection is gone."""
    pair = _pair_of(library, server_file)
    theirs = pair.session()
    expected = openssl_tickets.get_session(pair.client)
    assert expected is not None
    del pair
    gc.collect()
    found = openssl_tickets.get_session(theirs)
    assert found is not None
    assert found.peer_certificate_der == expected.peer_certificate_der
    # What is set through ours is in theirs, so it is the one session.
    found.ticket_appdata = b"the same"
    del found
    again = openssl_tickets.get_session(theirs)
    del theirs
    gc.collect()
    assert again is not None
    assert again.ticket_appdata == b"the same"


def test_of_a_session_object_without_a_session() -> None:
    """A pyOpenSSL Session that no connection has given is refused."""
    with pytest.raises(ValueError, match="holds no SSL_SESSION"):
        openssl_tickets.get_session(OpenSSL.SSL.Session())


def test_of_what_only_says_that_it_is_a_session() -> None:
    """An object that lies about its class is refused, and not read from."""

    class Liar:
        __class__ = ssl.SSLSession  # type: ignore[assignment]

    with pytest.raises(TypeError):
        openssl_tickets.get_session(Liar())


@pytest.mark.parametrize("wrong", [None, "text", 3, bytearray(b"x"), memoryview(b"x")])
def test_data_must_be_bytes(session: openssl_tickets.Session, wrong: Any) -> None:
    """Only bytes can be set; the data stays as it was."""
    session.ticket_appdata = b"before"
    with pytest.raises(TypeError, match=f"must be bytes, not {type(wrong).__name__}"):
        session.ticket_appdata = wrong
    assert session.ticket_appdata == b"before"


def test_any_bytes_are_kept(session: openssl_tickets.Session) -> None:
    """Whatever fits comes back as it was set."""

    @given(pattern=st.binary(min_size=1, max_size=64), size=st.integers(0, 60_000))
    def check(pattern: bytes, size: int) -> None:
        data = (pattern * (size // len(pattern) + 1))[:size]
        session.ticket_appdata = data
        assert session.ticket_appdata == data

    check()


@pytest.mark.parametrize("size", [48_896, 48_897, 65_000])
def test_around_the_measured_sizes(session: openssl_tickets.Session, size: int) -> None:
    """Where the package begins to measure the encoded session, nothing changes for the user."""
    session.ticket_appdata = b"x" * size
    assert len(session.ticket_appdata) == size


@pytest.mark.parametrize("size", [65_280, 65_281, 1 << 20, 1 << 26])
def test_too_large(session: openssl_tickets.Session, size: int) -> None:
    """Data that could not go into a ticket is refused when it is set."""
    with pytest.raises(ValueError, match=f"{size} bytes of ticket application data do not fit"):
        session.ticket_appdata = b"x" * size
    assert session.ticket_appdata == b""


class TestPeerCertificate:
    """``Session.peer_certificate_der``, on the contexts of both libraries."""

    @pytest.fixture(params=["pyOpenSSL", "ssl"])
    def library(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def contexts(
        self, library: str, version: str, server_file: Path, client_file: Path, ca_file: Path
    ) -> Any:
        """Returns the contexts, and a function that shakes hands, of mutual TLS."""
        server_context: Any
        client_context: Any
        if library == "ssl":
            server_context = stdlib_tls.server_context(server_file, version)
            server_context.verify_mode = ssl.CERT_OPTIONAL
            client_context = stdlib_tls.client_context(version)
            client_context.load_cert_chain(client_file)
            make: Any = stdlib_tls.Pair
        else:
            server_context = tls.server_context(server_file, version)
            server_context.set_verify(SSL.VERIFY_PEER)
            server_context.set_session_id(b"tests")
            client_context = tls.client_context(version)
            client_context.use_privatekey_file(str(client_file))
            client_context.use_certificate_chain_file(str(client_file))
            make = tls.Pair
        server_context.load_verify_locations(str(ca_file))
        return server_context, client_context, make

    def test_of_a_client(
        self, library: str, version: str, server_file: Path, client_file: Path, ca_file: Path
    ) -> None:
        """The client's certificate is known in both callbacks and after, resumed or not."""
        server_context, client_context, make = self.contexts(
            library, version, server_file, client_file, ca_file
        )
        seen: list[tuple[str, bytes | None]] = []

        def generate(connection: Any, data: Any) -> None:
            found = openssl_tickets.get_session(connection)
            assert found is not None
            seen.append(("generate", found.peer_certificate_der))

        def decrypt(connection: Any, ticket: Any, data: Any) -> openssl_tickets.TicketReturn | None:
            if ticket.session is None:  # TLS 1.2 asks about an empty ticket as well
                return None
            seen.append(("decrypt", ticket.session.peer_certificate_der))
            return openssl_tickets.TicketReturn.USE_RENEW

        openssl_tickets.set_session_ticket_callback(server_context, generate, decrypt)
        openssl_tickets.set_num_tickets(server_context, 1)
        expected = ssl.PEM_cert_to_DER_cert(_first_certificate(client_file))
        offered = found = None
        for resumed in (False, True):
            seen.clear()
            pair = make(server_context, client_context, offered).handshake()
            assert pair.reused is resumed
            found = openssl_tickets.get_session(pair.server)
            assert found is not None
            assert found.peer_certificate_der == expected
            names = ["decrypt", "generate"] if resumed else ["generate"]
            assert seen == [(name, expected) for name in names]
            offered = pair.session()
        del pair, server_context, client_context
        gc.collect()
        assert found is not None
        assert found.peer_certificate_der == expected

    def test_of_the_server(
        self, library: str, version: str, server_file: Path, client_file: Path, ca_file: Path
    ) -> None:
        """On a client it is the server's certificate."""
        server_context, client_context, make = self.contexts(
            library, version, server_file, client_file, ca_file
        )
        made = make(server_context, client_context).handshake()
        found = openssl_tickets.get_session(made.client)
        assert found is not None
        assert found.peer_certificate_der == ssl.PEM_cert_to_DER_cert(
            _first_certificate(server_file)
        )

    def test_none(
        self, library: str, version: str, server_file: Path, client_file: Path, ca_file: Path
    ) -> None:
        """It is None where the client has none to show, resumed or not."""
        server_context, _, make = self.contexts(library, version, server_file, client_file, ca_file)
        tls_of = stdlib_tls if library == "ssl" else tls
        client_context = tls_of.client_context(version)
        offered = None
        for resumed in (False, True):
            pair = make(server_context, client_context, offered).handshake()
            assert pair.reused is resumed
            found = openssl_tickets.get_session(pair.server)
            assert found is not None
            assert found.peer_certificate_der is None
            offered = pair.session()

    def test_cannot_be_set(self, session: openssl_tickets.Session) -> None:
        """It is libssl's to say."""
        with pytest.raises(AttributeError):
            session.peer_certificate_der = b""  # type: ignore[misc]


def _first_certificate(file: Path) -> str:
    """Returns the first certificate of a PEM *file*, which may have a key ahead of it."""
    begin = "-----BEGIN CERTIFICATE-----"
    end = "-----END CERTIFICATE-----"
    return begin + file.read_text().split(begin)[1].split(end)[0] + end
