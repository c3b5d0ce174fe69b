"""Clients that are asked for their certificate after the handshake, and the tickets that follow."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

import openssl_tickets
from openssl_tickets import SSL, ReceivedTicket, Session
from tests.support import libraries, native, stdlib_tls, tls
from tests.support.ends import WANTS
from tests.support.libraries import ERRORS, ask_for_certificate, certificate_in, move


class Setting(libraries.Setting):
    """A server that asks for certificates late, a client that has one, and what was seen."""

    def __init__(
        self, library: str, server_file: Path, client_file: Path | None, ca_file: Path
    ) -> None:
        super().__init__(library, "1.3", server_file)
        self.received: list[Session] = []  # the client's tickets
        self.generated: list[bytes | None] = []  # the client's certificate, in generate
        self.offered: list[bytes | None] = []  # that of the ticket, in decrypt
        ask_for_certificate(self.server_context, ca_file, required=True, later=True)
        if client_file is not None:
            libraries.show_certificate(self.client_context, client_file)
        openssl_tickets.set_session_ticket_callback(
            self.server_context, self.generate, self.decrypt
        )
        openssl_tickets.set_new_session_callback(self.client_context, self.receive)
        openssl_tickets.set_post_handshake_auth(self.client_context, True)

    def generate(self, connection: Any, data: Any) -> None:
        session = openssl_tickets.get_session(connection)
        assert session is not None
        self.generated.append(session.peer_certificate_der)

    def decrypt(self, connection: Any, ticket: ReceivedTicket, data: Any) -> None:
        assert ticket.session is not None
        self.offered.append(ticket.session.peer_certificate_der)

    def receive(self, connection: Any, session: Session, data: Any) -> None:
        self.received.append(session)

    def seen(self) -> tuple[int, list[bytes | None]]:
        """Returns how many tickets the client has got since, and what generate has seen since."""
        seen = len(self.received), self.generated[:]
        self.received.clear()
        self.generated.clear()
        return seen

    def asks(self, pair: Any) -> None:
        """The server asks for the certificate, and the client reads that and answers."""
        openssl_tickets.verify_client_post_handshake(pair.server)
        pair.server.do_handshake()
        pair.client_reads()

    def gets_answer(self, pair: Any) -> None:
        """The server reads the client's answer, and the client what follows."""
        move(pair)
        try:
            with contextlib.suppress(*WANTS):
                pair.server.read(1)
        finally:
            pair.client_reads()

    def authenticate(self, pair: Any) -> None:
        self.asks(pair)
        self.gets_answer(pair)


@pytest.fixture
def kind(library: str) -> Callable[..., Setting]:
    """Makes a setting of each library."""
    return partial(Setting, library)


@pytest.fixture
def setting(
    kind: Callable[..., Setting], server_file: Path, client_file: Path, ca_file: Path
) -> Setting:
    return kind(server_file, client_file, ca_file)


@pytest.fixture
def certificate(client_file: Path) -> bytes:
    """The client's certificate, in DER."""
    return certificate_in(client_file)


class TestTickets:
    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_after_a_full_handshake(
        self, setting: Setting, certificate: bytes, number: int
    ) -> None:
        """As many tickets as are set follow, and generate sees the certificate that has come."""
        openssl_tickets.set_num_tickets(setting.server_context, number)
        pair = setting.handshake()
        assert setting.seen() == (number, [None] * number)
        setting.asks(pair)
        assert setting.seen() == (0, [])
        setting.gets_answer(pair)
        assert setting.seen() == (number, [certificate] * number)

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_after_a_resumption(self, setting: Setting, certificate: bytes, number: int) -> None:
        """One ticket follows, and none where the number is 0."""
        setting.handshake()
        session = setting.received[-1]
        setting.seen()
        openssl_tickets.set_num_tickets(setting.server_context, number)
        pair = setting.handshake(session)
        assert openssl_tickets.session_reused(pair.server)
        assert setting.seen() == (min(number, 1), [None] * min(number, 1))
        setting.authenticate(pair)
        assert setting.seen() == (min(number, 1), [certificate] * min(number, 1))

    @pytest.mark.parametrize("number", [0, 1, 3])
    @pytest.mark.parametrize("asked", [False, True])
    def test_number_in_between(self, setting: Setting, number: int, asked: bool) -> None:
        """What counts is the connection's number when the answer is read."""
        pair = setting.handshake()
        assert setting.seen()[0] == 2
        if asked:
            setting.asks(pair)
        openssl_tickets.set_num_tickets(pair.server, number)
        if not asked:
            setting.asks(pair)
        setting.gets_answer(pair)
        assert setting.seen()[0] == number

    def test_identity_of_a_resumption(self, setting: Setting, certificate: bytes) -> None:
        """A ticket from after it brings the certificate to the resumption; one from before not."""
        pair = setting.handshake()
        before = setting.received[-1]
        setting.authenticate(pair)
        after = setting.received[-1]
        for session, expected in ((before, None), (after, certificate)):
            setting.generated.clear()
            resumed = setting.handshake(session).server
            assert openssl_tickets.session_reused(resumed)
            now = openssl_tickets.get_session(resumed)
            assert now is not None
            assert now.peer_certificate_der == expected
            assert setting.generated == [expected]
        assert setting.offered == [None, certificate]

    def test_identity_after_a_resumption(self, setting: Setting, certificate: bytes) -> None:
        """A client that is asked in a resumed connection has a ticket with its identity as well."""
        setting.handshake()
        setting.authenticate(setting.handshake(setting.received[-1]))
        resumed = setting.handshake(setting.received[-1]).server
        assert openssl_tickets.session_reused(resumed)
        session = openssl_tickets.get_session(resumed)
        assert session is not None
        assert session.peer_certificate_der == certificate

    def test_asked_again(self, setting: Setting, certificate: bytes) -> None:
        """A client that has answered can be asked again, and gets as many tickets again."""
        pair = setting.handshake()
        setting.seen()
        for _ in range(3):
            setting.authenticate(pair)
            assert setting.seen() == (2, [certificate] * 2)

    def test_appdata(self, setting: Setting, certificate: bytes) -> None:
        """Generate can put into the ticket who the client has turned out to be."""

        def generate(connection: Any, data: Any) -> bytes:
            session = openssl_tickets.get_session(connection)
            assert session is not None
            return b"a guest" if session.peer_certificate_der is None else b"a member"

        openssl_tickets.set_session_ticket_callback(setting.server_context, generate)
        pair = setting.handshake()
        sessions = [setting.received[-1]]
        setting.authenticate(pair)
        sessions.append(setting.received[-1])
        carried = []
        for session in sessions:
            now = openssl_tickets.get_session(setting.handshake(session).server)
            assert now is not None
            carried.append(now.ticket_appdata)
        assert carried == [b"a guest", b"a member"]

    def test_request_with_the_next_write(self, setting: Setting, certificate: bytes) -> None:
        """The request goes out ahead of what is written next; the data comes through."""
        pair = setting.handshake()
        setting.seen()
        openssl_tickets.verify_client_post_handshake(pair.server)
        pair.server.write(b"a reply")
        assert pair.client_reads() == b"a reply"
        setting.gets_answer(pair)
        assert setting.seen() == (2, [certificate] * 2)


class TestAnswers:
    @pytest.fixture
    def without(self, kind: Callable[..., Setting], server_file: Path, ca_file: Path) -> Setting:
        """A setting whose client has no certificate."""
        return kind(server_file, None, ca_file)

    def test_none_refused(self, without: Setting) -> None:
        """A client without a certificate ends the connection where one is required."""
        pair = without.handshake()
        without.seen()
        without.asks(pair)
        with pytest.raises(ERRORS) as caught:
            without.gets_answer(pair)
        # The client has read the alert by then, and what it raised is the context.
        raised = caught.value.__context__ or caught.value
        assert "peer did not return a certificate" in str(raised).replace("_", " ").lower()
        assert without.seen() == (0, [])
        assert native.lib.peek_error() == 0

    def test_none_taken(self, without: Setting, ca_file: Path) -> None:
        """A client without a certificate goes on where none is required, and gets its tickets."""
        ask_for_certificate(without.server_context, ca_file, required=False, later=True)
        pair = without.handshake()
        without.seen()
        without.authenticate(pair)
        assert without.seen() == (2, [None, None])
        pair.server.write(b"welcome")
        assert pair.client_reads() == b"welcome"

    def test_untrusted(
        self, kind: Callable[..., Setting], server_file: Path, ca_file: Path, tmp_path: Path
    ) -> None:
        """A certificate of an authority that is not trusted ends the connection, with no ticket."""
        stranger = tmp_path / "stranger.pem"
        issued = trustme.CA().issue_cert("stranger@example.org", key_type=trustme.KeyType.ECDSA)
        issued.private_key_and_cert_chain_pem.write_to_path(str(stranger))
        setting = kind(server_file, stranger, ca_file)
        pair = setting.handshake()
        setting.seen()
        setting.asks(pair)
        with pytest.raises(ERRORS) as caught:
            setting.gets_answer(pair)
        raised = caught.value.__context__ or caught.value
        assert "certificate verify failed" in str(raised).replace("_", " ").lower()
        assert setting.seen() == (0, [])
        assert native.lib.peek_error() == 0


def refused(connection: Any, reason: str) -> None:
    """Asking must fail with OpenSSL's *reason*, and leave nothing behind."""
    with pytest.raises(openssl_tickets.Error, match=reason):
        openssl_tickets.verify_client_post_handshake(connection)
    assert native.lib.peek_error() == 0


class TestVerifyClient:
    def test_client(self, setting: Setting) -> None:
        """A client cannot ask."""
        refused(setting.handshake().client, "not server")

    def test_before_the_handshake(self, setting: Setting) -> None:
        """Before the handshake is done, there is nothing to ask for."""
        pair = setting.pair()
        # Until the hello has come, libssl has no version to go by.
        refused(pair.server, "still in init|wrong ssl version")
        with contextlib.suppress(*WANTS):
            pair.client.do_handshake()
        move(pair)
        with contextlib.suppress(*WANTS):
            pair.server.do_handshake()
        refused(pair.server, "still in init")
        pair.handshake()
        setting.authenticate(pair)

    def test_twice(self, setting: Setting) -> None:
        """Until the client has answered it is not asked again, and the first request goes on."""
        pair = setting.handshake()
        setting.seen()
        openssl_tickets.verify_client_post_handshake(pair.server)
        refused(pair.server, "request pending|still in init")
        pair.server.do_handshake()
        refused(pair.server, "request sent")
        pair.client_reads()
        refused(pair.server, "request sent")
        setting.gets_answer(pair)
        assert setting.seen()[0] == 2

    def test_not_announced(self, setting: Setting) -> None:
        """A client that has not said that it can be asked is not, and the connection goes on."""
        openssl_tickets.set_post_handshake_auth(setting.client_context, False)
        pair = setting.handshake()
        refused(pair.server, "extension not received")
        pair.server.write(b"still here")
        assert pair.client_reads() == b"still here"

    def test_tls_1_2(self, setting12: libraries.Setting) -> None:
        """Before TLS 1.3 there is no such thing."""
        refused(setting12.handshake().server, "wrong ssl version")

    def test_verify_mode(self, setting: Setting) -> None:
        """A verify mode that asks for nothing makes no request; another can be set later."""
        if setting.library == "ssl":
            setting.server_context.verify_mode = ssl.CERT_NONE
        else:
            setting.server_context.set_verify(SSL.VERIFY_NONE)
        pair = setting.handshake()
        setting.seen()
        refused(pair.server, "invalid config")
        if isinstance(pair, tls.Pair):
            pair.server.set_verify(SSL.VERIFY_PEER)
            setting.authenticate(pair)
            assert setting.seen()[0] == 2
        else:
            pair.server.write(b"still here")
            assert pair.client_reads() == b"still here"

    def test_no_tls(self) -> None:
        """A socket that is not connected has no TLS."""
        with (
            stdlib_tls.client_context().wrap_socket(socket.socket()) as unconnected,
            pytest.raises(ValueError, match="there is no TLS on this SSLSocket"),
        ):
            openssl_tickets.verify_client_post_handshake(unconnected)


class TestSetPostHandshakeAuth:
    def can_be_asked(self, setting: Setting, pair: Any) -> bool:
        pair.handshake()
        setting.seen()
        try:
            setting.authenticate(pair)
        except openssl_tickets.Error as error:
            assert "extension not received" in str(error)  # noqa: PT017 (the other way is no error)
            return False
        return setting.seen()[0] == 2

    @pytest.mark.parametrize("context", [False, True])
    @pytest.mark.parametrize("connection", [False, True])
    def test_connection(self, setting: Setting, context: bool, connection: bool) -> None:
        """What a connection says counts, whatever its context says."""
        openssl_tickets.set_post_handshake_auth(setting.client_context, context)
        pair = setting.pair()
        openssl_tickets.set_post_handshake_auth(pair.client, connection)
        assert self.can_be_asked(setting, pair) is connection

    def test_context_is_for_later_connections(self, setting: Setting) -> None:
        """What a context says is for the connections that are made from then on."""
        pair = setting.pair()
        openssl_tickets.set_post_handshake_auth(setting.client_context, False)
        assert self.can_be_asked(setting, pair)
        assert not self.can_be_asked(setting, setting.pair())

    def test_after_the_first_message(self, setting: Setting) -> None:
        """Once the handshake has begun it is too late, on either side, and nothing changes."""
        pair = setting.pair()
        with contextlib.suppress(*WANTS):
            pair.client.do_handshake()
        with pytest.raises(ValueError, match="handshake has begun"):
            openssl_tickets.set_post_handshake_auth(pair.client, False)
        pair.handshake()
        for side in (pair.client, pair.server):
            with pytest.raises(ValueError, match="handshake has begun"):
                openssl_tickets.set_post_handshake_auth(side, False)
        assert self.can_be_asked(setting, pair)

    def test_server(self, setting: Setting) -> None:
        """A server need not say anything, and nothing comes of it if it does."""
        for enabled in (False, True):
            openssl_tickets.set_post_handshake_auth(setting.server_context, enabled)
            pair = setting.pair()
            assert self.can_be_asked(setting, pair)

    def test_methods(self, server_file: Path, client_file: Path, ca_file: Path) -> None:
        """The drop-in classes have both as methods."""
        setting = Setting("drop-in", server_file, client_file, ca_file)
        setting.client_context.set_post_handshake_auth(False)
        pair = setting.pair()
        pair.client.set_post_handshake_auth(True)
        pair.handshake()
        setting.seen()
        pair.server.verify_client_post_handshake()
        pair.server.do_handshake()
        pair.client_reads()
        setting.gets_answer(pair)
        assert setting.seen()[0] == 2
        pair = setting.handshake()
        with pytest.raises(openssl_tickets.Error, match="extension not received"):
            pair.server.verify_client_post_handshake()

    def test_of_ssl(self, server_file: Path, client_file: Path, ca_file: Path) -> None:
        """The standard library's own attribute does the same."""
        setting = Setting("ssl", server_file, client_file, ca_file)
        openssl_tickets.set_post_handshake_auth(setting.client_context, False)
        setting.client_context.post_handshake_auth = True
        assert self.can_be_asked(setting, setting.pair())


def test_session_id_context(server_file: Path, client_file: Path, ca_file: Path) -> None:
    """Without a session id context, a pyOpenSSL server cannot resume a client that it verifies."""

    setting = Setting("drop-in", server_file, client_file, ca_file)
    setting.server_context.set_session_id(b"")
    with pytest.raises(RuntimeError, match="no session id context"):
        setting.handshake()
