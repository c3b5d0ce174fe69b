"""What docs/understand/security.md says of stolen tickets and keys is what libssl does."""

from __future__ import annotations

import contextlib
import hmac
import os
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import openssl_tickets
from openssl_tickets import (
    SSL,
    ReceivedTicket,
    Session,
    TicketKey,
    TicketKeys,
    TicketReturn,
    TicketStatus,
    get_session,
    set_ticket_keys,
)
from tests.support import stdlib_tls, tls

DECRYPTED = (TicketStatus.SUCCESS, TicketStatus.SUCCESS_RENEW)


class Recorder(tls.Pair):
    """What is on the wire is kept, as a list of who has sent what."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.wire: list[tuple[str, bytes]] = []

    def move(self) -> None:
        for source, sink, name in (
            (self.client, self.server, "client"),
            (self.server, self.client, "server"),
        ):
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    data = source.bio_read(1 << 16)
                    self.wire.append((name, data))
                    sink.bio_write(data)

    def handshake(self) -> Recorder:
        super().handshake()
        return self

    def sent_by(self, name: str) -> bytes:
        return b"".join(data for sender, data in self.wire if sender == name)


def secret_of(session: bytes) -> bytes:
    """Returns the secret in a session in DER: the fifth field, an OCTET STRING."""
    at = 2 + (session[1] & 0x7F if session[1] & 0x80 else 0)
    for _ in range(4):
        assert session[at + 1] < 0x80
        at += 2 + session[at + 1]
    assert session[at] == 4
    return session[at + 2 : at + 2 + session[at + 1]]


def open_ticket(ticket: bytes, key: TicketKey) -> bytes:
    """Decrypts *ticket* as RFC 5077, 4, recommends it: name, IV, ciphertext, HMAC."""
    assert ticket[:16] == key.name
    assert hmac.digest(key.hmac_key, ticket[:-32], "sha256") == ticket[-32:]
    decryptor = Cipher(algorithms.AES(key.aes_key), modes.CBC(ticket[16:32])).decryptor()
    padded = decryptor.update(ticket[32:-32]) + decryptor.finalize()
    return padded[: -padded[-1]]


def seal_ticket(state: bytes, key: TicketKey) -> bytes:
    iv = os.urandom(16)
    padding = 16 - len(state) % 16
    encryptor = Cipher(algorithms.AES(key.aes_key), modes.CBC(iv)).encryptor()
    sealed = encryptor.update(state + padding * bytes([padding])) + encryptor.finalize()
    ticket = key.name + iv + sealed
    return ticket + hmac.digest(key.hmac_key, ticket, "sha256")


@pytest.fixture
def key() -> TicketKey:
    return TicketKey.generate()


@pytest.fixture
def asked() -> list[tuple[TicketStatus, bytes | None]]:
    """What decrypt was asked about."""
    return []


@pytest.fixture
def server_context(
    server_file: Path, version: str, key: TicketKey, asked: list[tuple[TicketStatus, bytes | None]]
) -> Any:
    """A context whose tickets carry ``b"nobody"``."""
    context = tls.server_context(server_file, version)
    set_ticket_keys(context, TicketKeys([key]))

    def generate(connection: Any, data: Any) -> bytes | None:
        return None if connection.session_reused() else b"nobody"

    def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> None:
        if ticket.status != TicketStatus.EMPTY:
            asked.append((ticket.status, ticket.appdata))

    context.set_session_ticket_callback(generate, decrypt)
    return context


@pytest.fixture
def client_context(version: str) -> Any:
    return tls.client_context(version)


def test_where_a_ticket_is_in_the_clear(
    server_context: Any, client_context: Any, version: str
) -> None:
    """TLS 1.2 sends a ticket in the clear, TLS 1.3 does not; a client offers it in the clear."""
    first = Recorder(server_context, client_context).handshake()
    session = get_session(first.session())
    assert session is not None
    assert (session.ticket in first.sent_by("server")) == (version == "1.2")
    assert session.ticket not in first.sent_by("client")
    second = Recorder(server_context, client_context, session).handshake()
    assert second.reused
    assert session.ticket in second.sent_by("client")


def test_a_ticket_without_its_secret(
    server_context: Any, client_context: Any, asked: list[tuple[TicketStatus, bytes | None]]
) -> None:
    """Who has overheard a ticket does not get in; but decrypt is asked, and told SUCCESS."""
    session = get_session(tls.Pair(server_context, client_context).handshake().session())
    assert session is not None
    der = session.to_der()
    secret = secret_of(der)
    assert der.count(secret) == 1
    overheard = Session.from_der(der.replace(secret, bytes(len(secret))))
    with pytest.raises(SSL.Error):
        tls.Pair(server_context, client_context, overheard).handshake()
    ((status, appdata),) = asked
    assert status in DECRYPTED
    assert appdata == b"nobody"
    assert tls.Pair(server_context, client_context, Session.from_der(der)).handshake().reused


def test_a_key_reads_tickets(server_context: Any, client_context: Any, key: TicketKey) -> None:
    """Who has the ticket key reads the session's secret and its data from the ticket alone."""
    session = get_session(tls.Pair(server_context, client_context).handshake().session())
    assert session is not None
    state = open_ticket(session.ticket, key)
    assert secret_of(session.to_der()) in state
    assert b"nobody" in state


def test_a_key_makes_tickets(
    server_context: Any,
    client_context: Any,
    key: TicketKey,
    asked: list[tuple[TicketStatus, bytes | None]],
) -> None:
    """Who has the ticket key gets in with whatever data it likes."""
    session = get_session(tls.Pair(server_context, client_context).handshake().session())
    assert session is not None
    state = open_ticket(session.ticket, key)
    assert state.count(b"nobody") == 1
    forged = seal_ticket(state.replace(b"nobody", b"admin!"), key)
    pair = tls.Pair(
        server_context,
        client_context,
        Session.from_der(session.to_der().replace(session.ticket, forged)),
    ).handshake()
    assert pair.reused
    assert pair.server.get_session().ticket_appdata == b"admin!"
    assert asked[0][1] == b"admin!"
    # And without the key it is no ticket.
    other = seal_ticket(state, TicketKey(key.name, os.urandom(32), key.aes_key))
    pair = tls.Pair(
        server_context,
        client_context,
        Session.from_der(session.to_der().replace(session.ticket, other)),
    ).handshake()
    assert not pair.reused
    assert asked[1] == (TicketStatus.NO_DECRYPT, None)


def test_a_ticket_is_good_more_than_once(server_context: Any, client_context: Any) -> None:
    """A server takes one ticket as often as it is offered."""
    session = get_session(tls.Pair(server_context, client_context).handshake().session())
    assert session is not None
    for _ in range(3):
        assert tls.Pair(server_context, client_context, session.copy()).handshake().reused


def test_the_size_tells(server_context: Any, version: str, client_file: Path) -> None:
    """A ticket with a client's certificate in it is longer by the certificate."""
    server_context.set_session_id(b"size")
    server_context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    lengths = []
    for file in (None, client_file):
        client_context = tls.client_context(version)
        if file:
            client_context.use_privatekey_file(str(file))
            client_context.use_certificate_chain_file(str(file))
        session = get_session(tls.Pair(server_context, client_context).handshake().session())
        assert session is not None
        lengths.append(len(session.ticket))
    assert lengths[1] - lengths[0] > 200


@pytest.mark.slow
def test_renewals_have_no_end(server_file: Path, client_context: Any, version: str) -> None:
    """In TLS 1.3 each new ticket begins a new lifetime; in TLS 1.2 there is but the first."""
    context = tls.server_context(server_file, version)
    openssl_tickets.set_session_timeout(context, 4)

    def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
        return TicketReturn.USE_RENEW if ticket.status in DECRYPTED else None

    context.set_session_ticket_callback(decrypt=decrypt)
    session = tls.Pair(context, client_context).handshake().session()
    reused = []
    for _ in range(3):
        time.sleep(2.6)  # a ticket has whole seconds only: after two of these it is more than 4
        pair = tls.Pair(context, client_context, session).handshake()
        reused.append(pair.reused)
        session = pair.session()
    if version == "1.3":
        assert reused == [True, True, True]
    else:
        assert reused[:2] == [True, False]


def test_one_ring_for_two_kinds_of_contexts(server_file: Path, ca_file: Path, version: str) -> None:
    """With ssl, who got a ticket where no certificate is asked for is resumed where one is."""
    keys = TicketKeys([TicketKey.generate()])
    open_to_all, for_members = (stdlib_tls.server_context(server_file, version) for _ in "12")
    for_members.load_verify_locations(ca_file)
    for_members.verify_mode = ssl.CERT_REQUIRED
    for context in (open_to_all, for_members):
        set_ticket_keys(context, keys)
    client = stdlib_tls.client_context(version)
    session = stdlib_tls.Pair(open_to_all, client).handshake().session()
    assert stdlib_tls.Pair(for_members, client, session).handshake().reused
