"""Sessions, and the application data that they carry."""

from __future__ import annotations

import ast
import base64
import contextlib
import copy
import gc
import os
import pickle
import socket
import ssl
import subprocess
import sys
import time
import weakref
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import OpenSSL.SSL
import pytest
from hypothesis import given, strategies as st

from openssl_tickets import (
    SSL,
    Session,
    TicketReturn,
    get_session,
    session_reused,
    session_stats,
    set_new_session_callback,
    set_num_tickets,
    set_session,
    set_session_ticket_callback,
    set_session_timeout,
)
from openssl_tickets._native._libssl import lib
from tests.support import native, stdlib_tls, tls
from tests.support.callbacks import Announced
from tests.support.der import (
    CIPHER,
    MASTER_KEY,
    SESSION_ID,
    SSL_VERSION,
    TICKET,
    fields_of,
    secret_of,
    sequence,
)
from tests.support.ends import End
from tests.support.libraries import Setting, ask_for_certificate, certificate_in, show_certificate

ROOT = Path(__file__).parents[2]


@pytest.fixture
def session(server_context: Any, client_context: Any) -> Session:
    pair = tls.Pair(server_context, client_context).handshake()
    found = get_session(pair.server)
    assert found is not None
    return found


def test_none_before_the_handshake() -> None:
    """A connection without a handshake has no session."""
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    assert get_session(connection) is None


def test_outlives_its_connection(session: Session) -> None:
    """A session stays valid when its connection and its context are gone."""
    gc.collect()
    session.ticket_appdata = b"still here"
    assert session.ticket_appdata == b"still here"


def test_no_data_is_empty_bytes(session: Session) -> None:
    """A session without application data has b""."""
    assert session.ticket_appdata == b""


def test_both_sides_have_one(server_context: Any, client_context: Any) -> None:
    """The client's connection has a session too; the server's data is not in it."""
    server_context.set_session_ticket_callback(lambda *_: b"for the server alone")
    pair = tls.Pair(server_context, client_context).handshake()
    client_session = get_session(pair.client)
    assert client_session is not None
    assert client_session.ticket_appdata == b""


def test_of_a_session_object(setting13: Setting) -> None:
    """A session of pyOpenSSL or ssl can be looked into, also when its connection is gone."""
    pair = setting13.handshake()
    theirs = pair.session()
    expected = get_session(pair.client)
    assert expected is not None
    del pair
    gc.collect()
    found = get_session(theirs)
    assert found is not None
    assert found.peer_certificate_der == expected.peer_certificate_der
    # What is set through ours is in theirs, so it is the one session.
    found.ticket_appdata = b"the same"
    del found
    again = get_session(theirs)
    del theirs
    gc.collect()
    assert again is not None
    assert again.ticket_appdata == b"the same"


def test_of_a_session_object_without_a_session() -> None:
    """A pyOpenSSL Session that no connection has given is refused."""
    with pytest.raises(ValueError, match="holds no SSL_SESSION"):
        get_session(OpenSSL.SSL.Session())


def test_of_what_only_says_that_it_is_a_session() -> None:
    """An object that lies about its class is refused, and not read from."""

    class Liar:
        __class__ = ssl.SSLSession  # type: ignore[assignment]

    with pytest.raises(TypeError):
        get_session(Liar())  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, "text", 3, bytearray(b"x"), memoryview(b"x")])
def test_data_must_be_bytes(session: Session, wrong: Any) -> None:
    """Only bytes can be set; the data stays as it was."""
    session.ticket_appdata = b"before"
    with pytest.raises(TypeError, match=f"must be bytes, not {type(wrong).__name__}"):
        session.ticket_appdata = wrong
    assert session.ticket_appdata == b"before"


def test_any_bytes_are_kept(session: Session) -> None:
    """Whatever fits comes back as it was set."""

    @given(pattern=st.binary(min_size=1, max_size=64), size=st.integers(0, 60_000))
    def check(pattern: bytes, size: int) -> None:
        data = (pattern * (size // len(pattern) + 1))[:size]
        session.ticket_appdata = data
        assert session.ticket_appdata == data

    check()


@pytest.mark.parametrize("size", [48_896, 48_897, 65_000])
def test_around_the_measured_sizes(session: Session, size: int) -> None:
    """Where the package begins to measure the encoded session, nothing changes for the user."""
    session.ticket_appdata = b"x" * size
    assert len(session.ticket_appdata) == size


@pytest.mark.parametrize("size", [65_280, 65_281, 1 << 20, 1 << 26])
def test_too_large(session: Session, size: int) -> None:
    """Data that could not go into a ticket is refused when it is set."""
    with pytest.raises(ValueError, match=f"{size} bytes of ticket application data do not fit"):
        session.ticket_appdata = b"x" * size
    assert session.ticket_appdata == b""


@pytest.mark.parametrize("size", [48_896, 48_897, 60_000, 65_280, 65_281])
def test_before_the_cipher_is_chosen(version: str, size: int) -> None:
    """Until then, data whose size must be measured is refused, and the error says why."""
    session = _session_of(_greeting(version))
    session.ticket_appdata = b"before"
    if size == 48_896:
        session.ticket_appdata = b"x" * size
        assert len(session.ticket_appdata) == size
        return
    reason = "do not fit a ticket" if size > 65_280 else "the handshake has not chosen a cipher"
    with pytest.raises(ValueError, match=f"^{size} bytes of ticket application data .*{reason}"):
        session.ticket_appdata = b"x" * size
    assert session.ticket_appdata == b"before"
    assert lib.ERR_get_error() == 0


class TestPeerCertificate:
    """``Session.peer_certificate_der``, on the contexts of both libraries."""

    @pytest.fixture
    def mutual(self, setting: Setting, client_file: Path, ca_file: Path) -> Setting:
        """A server that asks for a certificate, and a client that has one."""
        ask_for_certificate(setting.server_context, ca_file)
        show_certificate(setting.client_context, client_file)
        return setting

    def test_of_a_client(self, mutual: Setting, client_file: Path) -> None:
        """The client's certificate is known in both callbacks and after, resumed or not."""
        seen: list[tuple[str, bytes | None]] = []

        def generate(connection: Any, data: Any) -> None:
            seen.append(("generate", _session_of(connection).peer_certificate_der))

        def decrypt(connection: Any, ticket: Any, data: Any) -> TicketReturn | None:
            if ticket.session is None:  # TLS 1.2 asks about an empty ticket as well
                return None
            seen.append(("decrypt", ticket.session.peer_certificate_der))
            return TicketReturn.USE_RENEW

        set_session_ticket_callback(mutual.server_context, generate, decrypt)
        set_num_tickets(mutual.server_context, 1)
        expected = certificate_in(client_file)
        offered = found = None
        for resumed in (False, True):
            seen.clear()
            pair = mutual.handshake(offered)
            assert pair.reused is resumed
            found = _session_of(pair.server)
            assert found.peer_certificate_der == expected
            names = ["decrypt", "generate"] if resumed else ["generate"]
            assert seen == [(name, expected) for name in names]
            offered = pair.session()
        del pair
        mutual.server_context = mutual.client_context = None
        gc.collect()
        assert found is not None
        assert found.peer_certificate_der == expected

    def test_of_the_server(self, mutual: Setting, server_file: Path) -> None:
        """On a client it is the server's certificate."""
        found = _session_of(mutual.handshake().client)
        assert found.peer_certificate_der == certificate_in(server_file)

    def test_none(self, setting: Setting, ca_file: Path) -> None:
        """It is None where the client has none to show, resumed or not."""
        ask_for_certificate(setting.server_context, ca_file)
        offered = None
        for resumed in (False, True):
            pair = setting.handshake(offered)
            assert pair.reused is resumed
            assert _session_of(pair.server).peer_certificate_der is None
            offered = pair.session()

    def test_cannot_be_set(self, session: Session) -> None:
        """It is libssl's to say."""
        with pytest.raises(AttributeError):
            session.peer_certificate_der = b""  # type: ignore[misc]


# What follows is over both libraries, in both versions.

LIBRARIES: dict[str, Any] = {"OpenSSL": tls, "ssl": stdlib_tls}
SIDES = ["client", "server"]

ATTRIBUTES = [
    "ticket_appdata",
    "peer_certificate_der",
    "has_ticket",
    "ticket",
    "key_name",
    "ticket_lifetime_hint",
    "time",
    "timeout",
    "session_id",
    "protocol",
    "cipher",
    "server_name",
    "alpn_selected",
    "max_early_data",
    "is_resumable",
]


@pytest.fixture
def pair(setting: Setting) -> Any:
    """A pair that has shaken hands; it keeps the sessions resumable for as long as it lives."""
    return setting.handshake()


@pytest.fixture(params=SIDES)
def either(request: pytest.FixtureRequest, pair: Any) -> Session:
    """The session of a client or of a server."""
    return _session_of(getattr(pair, request.param))


@pytest.fixture(scope="session")
def plain_sessions(server_file: Path) -> list[Session]:
    """One session of each kind: a client's and a server's, in TLS 1.2 and TLS 1.3."""
    pairs = [Setting("ssl", version, server_file).handshake() for version in tls.VERSIONS]
    return [_session_of(getattr(one, side)).copy() for one in pairs for side in SIDES]


def _session_of(connection: Any) -> Session:
    session = get_session(connection)
    assert session is not None
    return session


def _changed(session: Session, index: int, value: bytes) -> Session:
    """Returns *session* with another value in one of its DER fields."""
    fields = fields_of(session.to_der())
    fields[index] = fields[index][0], value
    return Session.from_der(sequence(fields))


def _master_key(session: Session) -> bytes:
    key = secret_of(session)
    assert len(key) >= 32
    return key


def _assert_not_in(secret: bytes, text: str) -> None:
    """No four bytes of *secret* in a row are in *text*: as they are, as an escape, or in hex."""
    assert len(secret) >= 4
    for start in range(len(secret) - 3):
        run = secret[start : start + 4]
        assert run.decode("latin-1") not in text
        assert repr(run)[2:-1] not in text
        assert run.hex() not in text.lower().replace(":", "").replace(" ", "")


class TestAttributes:
    def test_of_a_client(self, pair: Any, version: str) -> None:
        """A client's session has the ticket, and all that the server said of it."""
        session = _session_of(pair.client)
        assert session.has_ticket is True
        assert len(session.ticket) > 100
        assert session.key_name == session.ticket[:16]
        assert session.protocol == f"TLSv{version}"
        assert session.cipher == _cipher(pair.client)
        assert session.timeout == session.ticket_lifetime_hint == 7200
        assert len(session.session_id) == 32
        assert session.is_resumable is True
        assert abs(session.time - time.time()) < 100
        assert (session.server_name, session.alpn_selected) == (None, None)
        assert (session.max_early_data, session.ticket_appdata) == (0, b"")

    def test_of_a_server(self, pair: Any, version: str) -> None:
        """A server's session has no ticket, and no id where it is for a TLS 1.2 ticket."""
        session = _session_of(pair.server)
        assert (session.has_ticket, session.ticket, session.key_name) == (False, b"", b"")
        assert session.protocol == f"TLSv{version}"
        assert session.cipher == _cipher(pair.client)
        assert (session.timeout, session.ticket_lifetime_hint) == (7200, 0)
        assert len(session.session_id) == {"1.2": 0, "1.3": 32}[version]
        assert session.is_resumable is (version == "1.3")
        assert abs(session.time - time.time()) < 100

    def test_are_those_of_ssl(self, version: str, server_file: Path) -> None:
        """They are what ssl tells of its own session object."""
        pair = Setting("ssl", version, server_file).handshake()
        theirs, ours = pair.session(), _session_of(pair.client)
        assert (ours.session_id, ours.time, ours.timeout) == (
            theirs.id,
            theirs.time,
            theirs.timeout,
        )
        assert (ours.has_ticket, ours.ticket_lifetime_hint) == (
            theirs.has_ticket,
            theirs.ticket_lifetime_hint,
        )

    def test_names_agreed_on(self, setting: Setting) -> None:
        """The server name and the application protocol are known on both sides, resumed or not."""
        server, client = setting.server_context, setting.client_context
        if setting.library == "ssl":
            server.sni_callback = lambda *_: None
            server.set_alpn_protocols(["h2"])
            client.set_alpn_protocols(["http/1.1", "h2"])
        else:
            server.set_tlsext_servername_callback(lambda connection: None)
            server.set_alpn_select_callback(lambda connection, offered: b"h2")
            client.set_alpn_protos([b"http/1.1", b"h2"])
        offered, pairs = None, []
        for resumed in (False, True):
            pair = setting.pair(offered, "a.example").handshake()
            pairs.append(pair)
            assert pair.reused is resumed
            for side in (pair.client, pair.server):
                session = _session_of(side)
                assert (session.server_name, session.alpn_selected) == (b"a.example", b"h2")
                again = Session.from_der(session.to_der())
                assert (again.server_name, again.alpn_selected) == (b"a.example", b"h2")
            offered = _session_of(pair.client)

    def test_early_data(self, server_file: Path) -> None:
        """The client is told how much early data the server takes."""
        server_context, client_context = tls.server_context(server_file), tls.client_context()
        assert native.lib.set_max_early_data(server_context._context, 12_345)
        pair = tls.Pair(server_context, client_context).handshake()
        session = _session_of(pair.client)
        assert session.max_early_data == 12_345
        assert Session.from_der(session.to_der()).max_early_data == 12_345

    def test_timeouts(self, setting: Setting) -> None:
        """The server's timeout is the client's hint; the session's own is that of its context."""
        set_session_timeout(setting.server_context, 1234)
        set_session_timeout(setting.client_context, 555)
        pair = setting.handshake()
        assert _session_of(pair.client).ticket_lifetime_hint == 1234
        assert _session_of(pair.client).timeout == 555
        assert _session_of(pair.server).timeout == 1234

    def test_stateful(self, version: str, server_file: Path) -> None:
        """Without tickets a TLS 1.2 client has a session id; in TLS 1.3 it is a short ticket."""
        server_context = tls.server_context(server_file, version)
        server_context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        server_context.set_session_id(b"tests")
        server_context.set_options(SSL.OP_NO_TICKET)
        pair = tls.Pair(server_context, tls.client_context(version)).handshake()
        client, server = _session_of(pair.client), _session_of(pair.server)
        assert client.is_resumable is True
        if version == "1.2":
            assert (client.has_ticket, client.ticket, client.key_name) == (False, b"", b"")
            assert client.session_id == server.session_id != b""
            # One secret and one id: it is the same session.
            assert client == server
            assert hash(client) == hash(server)
        else:
            assert client.ticket == server.session_id
            assert client != server

    @pytest.mark.parametrize("name", ["time", "timeout"])
    def test_set(self, either: Session, name: str) -> None:
        """Times are whole seconds, of any integer type, and come back as they are set."""
        for seconds in (1, 2**31 - 1, 86_400):
            setattr(either, name, seconds)
            assert getattr(either, name) == seconds
            assert type(getattr(either, name)) is int

        class Index:
            def __index__(self) -> int:
                return 77

        setattr(either, name, Index())
        assert getattr(either, name) == 77

    @pytest.mark.parametrize("name", ["time", "timeout"])
    @pytest.mark.parametrize("wrong", [True, False, 1.0, "1", b"1", None, [1]])
    def test_set_to_another_type(self, session: Session, name: str, wrong: Any) -> None:
        """What is no integer is refused, a bool and a float too; the time stays as it was."""
        before = getattr(session, name)
        with pytest.raises(TypeError, match=f"{name} must be an int, not"):
            setattr(session, name, wrong)
        assert getattr(session, name) == before

    @pytest.mark.parametrize(
        ("name", "wrong"),
        [
            ("time", 0),
            ("time", -1),
            ("time", 2**63),
            ("time", 2**64 + 1),
            ("timeout", 0),
            ("timeout", -1),
            ("timeout", 2**31),
            ("timeout", 2**32 + 1),
            ("timeout", 2**64 + 1),
        ],
    )
    def test_set_out_of_range(self, session: Session, name: str, wrong: int) -> None:
        """What libssl would cut off is refused; the time stays as it was."""
        before = getattr(session, name)
        with pytest.raises(ValueError, match=f"{name} must be .*, not {wrong}$"):
            setattr(session, name, wrong)
        assert getattr(session, name) == before

    @pytest.mark.parametrize("seconds", [2**33, 2**35, 2**40, 2**62, 2**63 - 1])
    def test_far_times(self, session: Session, seconds: int) -> None:
        """A time that is taken is kept as it is; libssl from 3.3 on holds nanoseconds."""
        with contextlib.suppress(ValueError):
            session.time = seconds
            assert session.time == seconds
            assert Session.from_der(session.to_der()).time == seconds

    @pytest.mark.parametrize(
        "name", sorted({*ATTRIBUTES} - {"ticket_appdata", "time", "timeout"} | {"other"})
    )
    def test_others_cannot_be_set(self, session: Session, name: str) -> None:
        """All else is libssl's to say."""
        with pytest.raises(AttributeError):
            setattr(session, name, getattr(session, name, None))


def _cipher(connection: Any) -> str:
    if isinstance(connection, OpenSSL.SSL.Connection):
        name = connection.get_cipher_name()
    else:
        name = connection.cipher()[0]
    assert isinstance(name, str)
    return name


class TestObject:
    """A session as a Python object."""

    def test_equal(self, pair: Any, either: Session) -> None:
        """A session equals its copies and what is read back, whatever is set in them."""
        twins = [
            either.copy(),
            Session.from_der(either.to_der()),
            Session.from_pem(either.to_pem()),
        ]
        for twin in twins:
            twin.time, twin.timeout, twin.ticket_appdata = 1_000_000, 17, b"changed"
            assert twin == either
            assert (twin != either) is False
            assert hash(twin) == hash(either)
            assert twin is not either
        assert {either, *twins} == {either}
        assert twins[0] in {either: None}

    def test_the_same_of_one_connection(self, pair: Any) -> None:
        """What get_session returns twice is equal; client and server have different ones."""
        assert _session_of(pair.client) == _session_of(pair.client)
        assert _session_of(pair.client) is not _session_of(pair.client)
        assert _session_of(pair.server) == _session_of(pair.server)
        assert _session_of(pair.client) != _session_of(pair.server)

    def test_of_another_handshake(self, setting: Setting) -> None:
        """Sessions of two handshakes differ, on either side."""
        pairs = [setting.handshake() for _ in range(2)]
        assert _session_of(pairs[0].client) != _session_of(pairs[1].client)
        assert _session_of(pairs[0].server) != _session_of(pairs[1].server)

    def test_of_another_ticket(self, setting13: Setting) -> None:
        """Two tickets of one handshake are two sessions."""
        announced = Announced()
        set_new_session_callback(setting13.client_context, announced)
        pair = setting13.handshake()
        sessions = announced.sessions
        assert len(sessions) == len(set(sessions)) == pair.received == 2
        assert sessions[0] != sessions[1] == _session_of(pair.client)
        assert (sessions[0] == sessions[1]) is False

    @pytest.mark.parametrize("field", ["protocol", "session_id", "master key", "ticket"])
    def test_each_part_counts(self, pair: Any, field: str) -> None:
        """Sessions that differ in a single bit of what makes them one are not equal."""
        session = _session_of(pair.client)
        fields = fields_of(session.to_der())
        index = {
            "protocol": SSL_VERSION,
            "session_id": SESSION_ID,
            "master key": MASTER_KEY,
            "ticket": [tag for tag, _ in fields].index(TICKET),
        }[field]
        value = fields[index][1]
        other = _changed(session, index, value[:-1] + bytes([value[-1] ^ 1]))
        assert other != session
        assert _changed(session, index, value) == session

    def test_of_other_types(self, pair: Any, either: Session) -> None:
        """It equals nothing that is not a session of this package."""
        others = [either.to_der(), either.to_pem(), repr(either), None, 0, object()]
        others.append(_their_session(pair.client))
        for other in others:
            assert either != other
            assert (either == other) is False
        assert either.__eq__(other) is NotImplemented

    def test_of_two_unfinished_handshakes(self, version: str) -> None:
        """Two connections in the midst of their handshakes do not have the same session."""
        clients = [_greeting(version) for _ in range(2)]
        assert _session_of(clients[0]) == _session_of(clients[0])
        assert _session_of(clients[0]) != _session_of(clients[1])

    def test_repr(self, either: Session, version: str) -> None:
        """It tells what kind of session it is, and none of its secrets."""
        either.ticket_appdata = b"user=alice"
        shown = repr(either)
        assert shown == str(either) == f"{either}"
        assert shown.startswith(f"<openssl_tickets.Session TLSv{version}, {either.cipher}")
        assert "10 bytes of ticket_appdata" in shown
        assert (f"a ticket of {len(either.ticket)} bytes" in shown) is either.has_ticket
        assert ("not resumable" in shown) is not either.is_resumable
        _assert_not_in(_master_key(either), shown)
        _assert_not_in(b"user=alice", shown)
        if either.has_ticket:
            _assert_not_in(either.ticket, shown)

    def test_no_attribute_is_the_secret(self, either: Session) -> None:
        """The secret is in no attribute, only in what to_der() and to_pem() return."""
        key = _master_key(either)
        assert key in either.to_der()
        assert set(ATTRIBUTES) == {
            name for name, value in vars(Session).items() if isinstance(value, property)
        }
        for name in ATTRIBUTES:
            value = getattr(either, name)
            shown = value if isinstance(value, bytes) else str(value).encode()
            assert not any(key[start : start + 8] in shown for start in range(len(key) - 7))

    @pytest.mark.parametrize("make", ["copy", "copy.copy", "copy.deepcopy"])
    def test_copy(self, either: Session, make: str) -> None:
        """A copy is as the original was, and neither changes with the other from then on."""
        either.ticket_appdata = b"before"
        makers: dict[str, Callable[[Any], Any]] = {
            "copy": Session.copy,
            "copy.copy": copy.copy,
            "copy.deepcopy": copy.deepcopy,
        }
        made = makers[make](either)
        assert type(made) is Session
        assert made is not either
        assert made.to_der() == either.to_der()
        for name in ATTRIBUTES:
            assert getattr(made, name) == getattr(either, name)
        either.ticket_appdata, either.time = b"original", 1000
        made.timeout = 99
        assert (made.ticket_appdata, either.ticket_appdata) == (b"before", b"original")
        assert (made.time == 1000, either.time) == (False, 1000)
        assert (made.timeout, either.timeout) == (99, 7200)

    def test_copies_in_a_container(self, either: Session) -> None:
        """copy.deepcopy of what holds a session makes a copy of it."""
        copied = copy.deepcopy({"sessions": [either]})["sessions"][0]
        assert copied == either
        assert copied is not either

    def test_copy_outlives_the_connection(self, setting: Setting) -> None:
        """What a connection does to its session as it is freed does not befall the copy."""
        first = setting.handshake()
        original = _session_of(first.client)
        copied = original.copy()
        del first
        gc.collect()
        if setting.library != "ssl":  # ssl may have made a copy, or shut the connection down
            assert original.is_resumable is False
            assert "not resumable" in repr(original)
        assert original == copied
        assert copied.is_resumable is True
        for offered, resumes in ((original, original.is_resumable), (copied, True)):
            assert setting.handshake(offered).reused is resumes

    def test_not_pickled(self, either: Session) -> None:
        """A session, and the drop-in's too, is not pickled, and the message says how to do it."""
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match=r"secrets: use to_der\(\) and Session.from_der"):
                pickle.dumps(either, protocol)
            with pytest.raises(TypeError, match="secrets"):
                pickle.dumps([either], protocol)

    def test_no_constructor(self) -> None:
        """None can be made up; one without anything inside breaks nothing."""
        with pytest.raises(TypeError, match=r"comes from get_session\(\)"):
            Session()
        empty = Session.__new__(Session)
        for use in (Session.to_der, Session.copy, hash, repr):
            with pytest.raises(AttributeError):
                use(empty)

    def test_weak_reference(self, either: Session) -> None:
        """It can be referred to weakly, and held in a WeakSet."""
        held = either.copy()
        reference = weakref.ref(held)
        container = weakref.WeakSet([held])
        assert reference() is held
        assert either in container
        del held
        gc.collect()
        assert reference() is None
        assert len(container) == 0

    def test_nothing_leaks(self, either: Session) -> None:
        """Copies and what is decoded do not stay in memory."""
        either.ticket_appdata = b"x" * 60_000
        der, pem = either.to_der(), either.to_pem()

        def use() -> None:
            twin = either.copy()
            assert twin == Session.from_der(der)
            assert twin == Session.from_pem(pem)
            assert (len(twin.to_der()), len(twin.to_pem())) == (len(der), len(pem))
            repr(twin)
            with pytest.raises(ValueError, match="after it"):
                Session.from_der(der + b"x")
            with pytest.raises(ValueError, match="after it"):
                Session.from_pem(pem + b"x")

        for _ in range(20):
            use()
        before = _resident()
        for _ in range(300):
            use()
        # One of each that stays would be over 100 MB.
        assert _resident() - before < 10 << 20


def _resident() -> int:
    """Returns how many bytes of memory this process has."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("there is no /proc to tell how much memory is in use")
    pages = int(statm.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _greeting(version: str) -> Any:
    """Returns a client that has sent its hello, and knows of no answer."""
    client = SSL.Connection(tls.client_context(version), None)
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    return client


class TestEncoding:
    """to_der, from_der, to_pem and from_pem."""

    def test_round_trip(self, plain_sessions: list[Session]) -> None:
        """What is written is read back as it was, whatever it carries."""

        @given(
            session=st.sampled_from(plain_sessions),
            appdata=st.binary(max_size=300),
            made=st.integers(1, 2**33),
            timeout=st.integers(1, 2**31 - 1),
        )
        def check(session: Session, appdata: bytes, made: int, timeout: int) -> None:
            session = session.copy()
            session.ticket_appdata, session.time, session.timeout = appdata, made, timeout
            der, pem = session.to_der(), session.to_pem()
            for again in (Session.from_der(der), Session.from_pem(pem), session.copy()):
                assert (again.ticket_appdata, again.time, again.timeout) == (appdata, made, timeout)
                assert again == session
                assert hash(again) == hash(session)
                for name in ATTRIBUTES:
                    assert getattr(again, name) == getattr(session, name)
                assert (again.to_der(), again.to_pem()) == (der, pem)

        check()

    def test_pem_is_der_in_base64(self, either: Session) -> None:
        """The PEM is OpenSSL's own kind of block."""
        pem = either.to_pem()
        lines = pem.decode("ascii").splitlines()
        assert lines[0] == "-----BEGIN SSL SESSION PARAMETERS-----"
        assert lines[-1] == "-----END SSL SESSION PARAMETERS-----"
        assert base64.b64decode("".join(lines[1:-1]), validate=True) == either.to_der()
        assert pem.endswith(b"-\n")

    def test_largest(self, session: Session) -> None:
        """A session with all the data that a ticket can hold is read back."""
        session.ticket_appdata = b"x" * 65_000
        again = Session.from_pem(session.to_pem())
        assert again.ticket_appdata == session.ticket_appdata
        assert Session.from_der(session.to_der()) == session

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda b: array("B", b)])
    def test_bytes_like(self, either: Session, kind: Callable[[bytes], Any]) -> None:
        """Any bytes-like object will do."""
        assert Session.from_der(kind(either.to_der())) == either
        assert Session.from_pem(kind(either.to_pem())) == either

    def test_of_a_part_of_a_buffer(self, either: Session) -> None:
        """A view of a part of a buffer, or of every other byte of one, is read as what it shows."""
        der = either.to_der()
        part: Any = memoryview(b"xx" + der + b"x")[2:-1]
        assert Session.from_der(part) == either
        spread = bytes(byte for pair in zip(der, der, strict=True) for byte in pair)
        part = memoryview(spread)[::2]
        assert Session.from_der(part) == either

    @pytest.mark.parametrize("name", ["der", "pem"])
    @pytest.mark.parametrize("wrong", ["text", None, 3, [48], Path("session.pem")])
    def test_other_types(self, name: str, wrong: Any) -> None:
        """Text, paths and numbers are refused."""
        with pytest.raises(TypeError, match=f"{name} must be bytes, not {type(wrong).__name__}"):
            getattr(Session, f"from_{name}")(wrong)

    @pytest.mark.parametrize("name", ["der", "pem"])
    @pytest.mark.parametrize("kind", [bytes, memoryview, lambda b: array("I", b)])
    def test_too_large(self, name: str, kind: Callable[[bytes], Any]) -> None:
        """More than 1 MiB is refused unread; up to there it is looked at."""
        read = getattr(Session, f"from_{name}")
        with pytest.raises(
            ValueError, match=f"{name} has 1048580 bytes, and a session has at most"
        ):
            read(kind(bytes((1 << 20) + 4)))
        with pytest.raises(ValueError, match="is not a TLS session"):
            read(kind(bytes(1 << 20)))

    def test_text_before_up_to_the_limit(self, either: Session) -> None:
        """1 MiB is read whole."""
        pem = either.to_pem()
        text = b"x" * 79 + b"\n"
        text = (text * ((1 << 20) // len(text) + 1))[len(pem) - (1 << 20) :]
        assert len(text + pem) == 1 << 20
        assert Session.from_pem(text + pem) == either
        with pytest.raises(ValueError, match="at most"):
            Session.from_pem(b"x" + text + pem)

    def test_every_prefix(self, plain_sessions: list[Session]) -> None:
        """What is cut off is refused, wherever it is cut."""
        for session in plain_sessions:
            der, pem = session.to_der(), session.to_pem()
            for size in range(len(der)):
                with pytest.raises(ValueError, match=f"der is not a TLS session.* {size} bytes"):
                    Session.from_der(der[:size])
                assert lib.ERR_get_error() == 0
            # The last line may do without its end.
            for size in range(len(pem) - 1):
                with pytest.raises(ValueError, match=rf"pem .* {size} bytes"):
                    Session.from_pem(pem[:size])
                assert lib.ERR_get_error() == 0
            assert Session.from_pem(pem[:-1]) == session

    @pytest.mark.parametrize("extra", [b"\0", b"\n", b"x", b"\x30\x00"])
    def test_more_behind_der(self, either: Session, extra: bytes) -> None:
        """Not a byte may be behind a DER."""
        with pytest.raises(ValueError, match="has something after it"):
            Session.from_der(either.to_der() + extra)
        with pytest.raises(ValueError, match="has something after it"):
            Session.from_der(either.to_der() * 2)

    def test_around_pem(self, either: Session, server_file: Path) -> None:
        """Text may be before a PEM, empty space around it, and its lines may end as they like."""
        pem = either.to_pem()
        lines = pem.splitlines(keepends=True)
        for good in (
            pem.replace(b"\n", b"\r\n"),
            b"CONNECTED(00000003)\n---\n\n" + pem,
            b"-----BEGIN nothing\n" + pem,
            pem + b" \r\n\t\n",
            lines[0] + b"".join(lines[1:-1]).replace(b"\n", b"") + b"\n" + lines[-1],
        ):
            assert Session.from_pem(good) == either
        for bad, reason in (
            (pem + b"x", "1 more bytes after"),
            (pem + b"\0", "1 more bytes after"),
            (pem + pem, f"{len(pem)} more bytes after"),
            (pem + server_file.read_bytes(), "more bytes after"),
            (server_file.read_bytes() + pem, "its first block is of another kind"),
            (pem.replace(b"SSL SESSION PARAMETERS", b"CERTIFICATE"), "is of another kind"),
            (b" " + pem, "no start line"),
            (b"", "no start line"),
            (either.to_der(), "no start line"),
            (lines[0] + lines[-1], "pem .*no TLS session|not a TLS session"),
            (pem.replace(lines[2], b"!" + lines[2][1:]), "bad base64 decode"),
            (lines[0] + base64.b64encode(b"no session") + b"\n" + lines[-1], "has no TLS session"),
        ):
            with pytest.raises(ValueError, match=reason):
                Session.from_pem(bad)
            assert lib.ERR_get_error() == 0
        with pytest.raises(ValueError, match="der is not a TLS session in DER"):
            Session.from_der(pem)

    def test_encrypted_pem(self, either: Session) -> None:
        """An encrypted block is refused, and nobody is asked for a passphrase."""
        pem = _encrypted(either)
        with pytest.raises(ValueError, match="its block has headers, as an encrypted one"):
            Session.from_pem(pem)
        # A process with a terminal of its own, where libssl could ask.
        code = (
            "import fcntl, sys, termios\n"
            "from openssl_tickets import Session\n"
            "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
            "open('/dev/tty').close()\n"
            "try:\n"
            f"    Session.from_pem({pem!r})\n"
            "except ValueError as error:\n"
            "    sys.stdout.write(str(error))\n"
        )
        try:
            terminal, stdin = os.openpty()
        except OSError as error:
            pytest.skip(f"there are no terminals: {error}")
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-c", code],
                stdin=stdin,
                capture_output=True,
                text=True,
                timeout=tls.TIMEOUT,
                start_new_session=True,
            )
        finally:
            os.close(stdin)
            os.set_blocking(terminal, False)
            try:
                shown = os.read(terminal, 1000)
            except OSError:
                shown = b""
            os.close(terminal)
        assert (done.returncode, done.stderr, shown) == (0, "", b"")
        assert "its block has headers" in done.stdout

    def test_messages_show_no_secret(self, either: Session) -> None:
        """What is wrong is told without what it was in."""
        key, der, pem = _master_key(either), either.to_der(), either.to_pem()
        wrong: list[tuple[Callable[[Any], object], Any]] = [
            (Session.from_der, der + b"x"),
            (Session.from_der, der[:-1]),
            (Session.from_pem, pem + b"x"),
            (Session.from_der, pem.decode()),
            (Session.from_pem, [der]),
        ]
        for read, data in wrong:
            with pytest.raises((TypeError, ValueError)) as caught:
                read(data)
            _assert_not_in(key, str(caught.value))
            _assert_not_in(pem[60:], str(caught.value))

    def test_unknown_cipher(self, either: Session) -> None:
        """A cipher that this libssl does not know is refused, and the message has a reason."""
        for cipher in (b"\xfe\xfe", b"\0\0", b"\x13", b"\x13\x01\x00", b""):
            with pytest.raises(ValueError, match=r"der is not a TLS session in DER, .+: "):
                _changed(either, CIPHER, cipher)
            assert lib.ERR_get_error() == 0

    @pytest.mark.parametrize("value", [b"\x02\x00", b"\x05\x00", b"\x00", b"\x7f"])
    def test_unknown_protocol(self, either: Session, value: bytes) -> None:
        """What is of no TLS version is refused."""
        with pytest.raises(ValueError, match="unsupported ssl version"):
            _changed(either, SSL_VERSION, value)

    def test_unnamed_protocol(self, either: Session) -> None:
        """A version that is not known by name is shown as its number."""
        assert _changed(either, SSL_VERSION, b"\x03\x77").protocol == "unknown (0x0377)"
        assert _changed(either, SSL_VERSION, b"\x03\x01").protocol == "TLSv1"

    def test_too_long_parts(self, either: Session) -> None:
        """An id or a secret that is longer than libssl's place for it is refused."""
        for index in (SESSION_ID, MASTER_KEY):
            with pytest.raises(ValueError, match="is not a TLS session in DER"):
                _changed(either, index, b"x" * 4096)
            assert lib.ERR_get_error() == 0
        assert _changed(either, SESSION_ID, b"x" * 32).session_id == b"x" * 32

    def test_before_a_cipher(self, version: str) -> None:
        """In the midst of a handshake there is a session that cannot be encoded yet."""
        session = _session_of(_greeting(version))
        assert session.cipher is None
        assert session.is_resumable is False
        assert "no cipher yet" in repr(session)
        assert session.copy().cipher is None
        with pytest.raises(ValueError, match="has not chosen a cipher"):
            session.to_der()
        assert lib.ERR_get_error() == 0

    def test_before_a_cipher_in_pem(self, version: str) -> None:
        """In PEM it cannot be encoded either."""
        with pytest.raises(ValueError, match="has not chosen a cipher"):
            _session_of(_greeting(version)).to_pem()


def _encrypted(session: Session) -> bytes:
    headers = (
        b"-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n"
    )
    return session.to_pem().replace(b"-----\n", headers, 1)


class TestBroken:
    """Sessions with a bit changed somewhere: they may be anything, but libssl has to survive."""

    @pytest.mark.slow
    def test_every_byte(self, plain_sessions: list[Session]) -> None:
        """Each is refused, or is a session that can be looked into, copied and encoded."""
        read = 0
        for session in plain_sessions:
            der = session.to_der()
            for position in range(len(der)):
                for bits in (0x01, 0x10, 0x80, 0xFF):
                    broken: Any = bytearray(der)
                    broken[position] ^= bits
                    try:
                        found = Session.from_der(broken)
                    except ValueError:
                        continue
                    finally:
                        assert lib.ERR_get_error() == 0
                    read += 1
                    for name in ATTRIBUTES:
                        getattr(found, name)
                    assert repr(found).startswith("<openssl_tickets.Session ")
                    twin = found.copy()
                    assert twin == found
                    assert hash(twin) == hash(found)
                    assert Session.from_der(found.to_der()).to_der() == (found.to_der())
                    assert lib.ERR_get_error() == 0
        assert read > 1000

    def test_every_byte_of_pem(self, plain_sessions: list[Session]) -> None:
        """So it is in PEM."""
        for session in plain_sessions:
            pem = session.to_pem()
            for position in range(len(pem)):
                broken: Any = bytearray(pem)
                broken[position] ^= 1 << position % 8
                with contextlib.suppress(ValueError):
                    repr(Session.from_pem(broken))
                assert lib.ERR_get_error() == 0

    def test_any_bytes(self) -> None:
        """Bytes of any kind are refused, and nothing is left behind."""

        @given(st.binary(max_size=200))
        def check(data: bytes) -> None:
            for read in (Session.from_der, Session.from_pem):
                with pytest.raises(ValueError, match="not a TLS session"):
                    read(data)
                assert lib.ERR_get_error() == 0

        check()

    def test_offered(self, server_file: Path, version: str) -> None:
        """Offered, some of them lead to a resumption, a full handshake, or an error of libssl."""
        server_context = tls.server_context(server_file, version)
        client_context = tls.client_context(version)
        first = tls.Pair(server_context, client_context).handshake()
        der = _session_of(first.client).to_der()
        ends: set[object] = set()
        for position in range(0, len(der), 7):
            broken: Any = bytearray(der)
            broken[position] ^= 1 << position % 8
            try:
                session = Session.from_der(broken)
            except ValueError:
                continue
            pair = tls.Pair(server_context, client_context)
            pair.client.set_session(session)
            try:
                ends.add(pair.handshake().reused)
            except SSL.Error:
                ends.add("error")
        assert {True, False} <= ends

    @pytest.mark.slow
    @pytest.mark.needs_ssl
    def test_offered_in_a_process_of_its_own(self, server_file: Path, version: str) -> None:
        """Changed in any byte, or in a whole field, an offered session ends no process."""
        done = subprocess.run(
            [sys.executable, "-I", "-Xfaulthandler", "-c", _OFFER, version, str(server_file), ROOT],
            capture_output=True,
            text=True,
            timeout=3 * tls.TIMEOUT,
        )
        assert (done.returncode, done.stderr[-4000:]) == (0, "")
        ends = ast.literal_eval(done.stdout)
        assert set(ends) <= {"refused", "resumed", "full handshake", "SSLError"}
        assert min(ends["refused"], ends["resumed"], ends["full handshake"]) > 10


# Run by itself, so that a crash is seen as one.
_OFFER = """
import collections, ssl, sys
version, server_file, root = sys.argv[1:]
sys.path.append(root)
from openssl_tickets import SSL  # before pyOpenSSL
from openssl_tickets import Session, get_session, set_session
from openssl_tickets._native._libssl import lib
from tests.support import stdlib_tls
from tests.support.der import fields_of, sequence

server_context = stdlib_tls.server_context(server_file, version)
client_context = stdlib_tls.client_context(version)
first = stdlib_tls.Pair(server_context, client_context).handshake()
der = get_session(first.client).to_der()
fields = fields_of(der)

def broken():
    for position in range(len(der)):
        for bits in (1 << position % 8, 0xFF):
            yield der[:position] + bytes([der[position] ^ bits]) + der[position + 1:]
    for index, (tag, value) in enumerate(fields):
        yield sequence(fields[:index] + fields[index + 1:])
        for other in (b"", b"\\0", b"\\xff" * len(value), value * 2, value[:-1],
                      value + b"x" * 300, b"\\4\\0", b"\\4\\1x", b"\\2\\1\\xff",
                      b"\\4\\x83\\1\\x11\\x70" + b"t" * 70000):
            yield sequence([*fields[:index], (tag, other), *fields[index + 1:]])
    for first_byte in (0x00, 0x13, 0xC0, 0xCC):
        for second in range(256):
            yield sequence([*fields[:2], (4, bytes([first_byte, second])), *fields[3:]])

ends = collections.Counter()
for one in broken():
    try:
        session = Session.from_der(one)
    except ValueError:
        ends["refused"] += 1
        continue
    finally:
        assert lib.ERR_get_error() == 0
    pair = stdlib_tls.Pair(server_context, client_context)
    set_session(pair.client, session)
    try:
        pair.handshake()
        ends["resumed" if pair.reused else "full handshake"] += 1
    except ssl.SSLError:
        ends["SSLError"] += 1
        while lib.ERR_get_error():
            pass
print(dict(ends))
"""


def _shake(client: End, server: End) -> bool:
    """Shakes hands, lets the client read its tickets, and returns whether a session was resumed."""
    for _ in range(10):
        done = client.step()
        server.give(client.take())
        done &= server.step()
        client.give(server.take())
        if done:
            break
    else:
        raise AssertionError("the handshake does not come to an end")
    assert client.read() == b""
    assert server.reused is client.reused
    return client.reused


FORMS: dict[str, Callable[[Any], Any]] = {
    "ours": _session_of,
    "copied": lambda connection: _session_of(connection).copy(),
    "read back": lambda connection: Session.from_pem(_session_of(connection).to_pem()),
    "of a session": lambda connection: get_session(_their_session(connection)),
    "theirs": lambda connection: _their_session(connection),
}


def _their_session(connection: Any) -> Any:
    """Returns what pyOpenSSL or ssl itself has for a session."""
    if isinstance(connection, OpenSSL.SSL.Connection):
        session = OpenSSL.SSL.Connection.get_session(connection)
        assert not isinstance(session, Session)
        return session
    return connection.session


class TestSetSession:
    @pytest.mark.parametrize("server_library", list(LIBRARIES))
    @pytest.mark.parametrize("target", list(LIBRARIES))
    @pytest.mark.parametrize("form", list(FORMS))
    @pytest.mark.parametrize("source", list(LIBRARIES))
    def test_of_either_library(
        self,
        target: str,
        source: str,
        form: str,
        server_library: str,
        version: str,
        server_file: Path,
    ) -> None:
        """A session of a client of either library resumes with a client of either library."""
        server_context = LIBRARIES[server_library].server_context(server_file, version)
        first = End(LIBRARIES[source].client_context(version))
        first_server = End(server_context, server_side=True)
        assert _shake(first, first_server) is False
        session = FORMS[form](first.connection)
        second = End(LIBRARIES[target].client_context(version))
        second_server = End(server_context, server_side=True)
        set_session(second.connection, session)
        assert session_reused(second.connection) is False
        assert _shake(second, second_server) is True

    @pytest.mark.parametrize("form", list(FORMS))
    @pytest.mark.parametrize("source", list(LIBRARIES))
    def test_on_a_socket(self, source: str, form: str, version: str, server_file: Path) -> None:
        """An SSLSocket takes any of them too, before its handshake."""
        server_context = stdlib_tls.server_context(server_file, version)
        first = End(LIBRARIES[source].client_context(version))
        assert _shake(first, End(server_context, server_side=True)) is False
        session = FORMS[form](first.connection)
        with stdlib_tls.sockets() as (plain_server, plain_client):
            server = stdlib_tls.Client(plain_server, _ServerSide(server_context))
            plain_client.settimeout(tls.TIMEOUT)
            client = stdlib_tls.client_context(version).wrap_socket(
                plain_client, do_handshake_on_connect=False
            )
            with server, client:
                set_session(client, session)
                client.do_handshake()
                assert session_reused(client) is True
                assert client.session_reused is True
                with pytest.raises(ValueError, match="handshake has begun"):
                    set_session(client, session)
        with pytest.raises(ValueError, match="there is no TLS on this SSLSocket"):
            session_reused(client)

    def test_after_all_else_is_gone(self, setting: Setting) -> None:
        """A session resumes when the context and the connection that it came from are gone."""
        pair = setting.handshake()
        session = _session_of(pair.client).copy()
        reference = weakref.ref(setting.client_context)
        del pair
        setting.client_context = None
        gc.collect()
        assert reference() is None
        setting.client_context = setting.make_client_context()
        second = setting.pair(session)
        del session
        gc.collect()
        assert second.handshake().reused is True

    def test_the_last_one_counts(self, setting: Setting, pair: Any) -> None:
        """Before the handshake one session can take the place of another."""
        good = _session_of(pair.client)
        broken = _changed(good, MASTER_KEY, bytes(48))
        second = setting.pair()
        set_session(second.client, broken)
        set_session(second.client, good)
        assert _session_of(second.client) == good
        assert second.handshake().reused is True

    def test_twice(self, setting: Setting, pair: Any) -> None:
        """One session resumes as many connections as it is offered on."""
        session = _session_of(pair.client)
        pairs = []
        for _ in range(2):
            pairs.append(setting.handshake(session))
            assert pairs[-1].reused is True

    @pytest.mark.parametrize("side", SIDES)
    def test_when_the_handshake_has_begun(self, setting: Setting, pair: Any, side: str) -> None:
        """Then it is too late, and the handshake goes on without."""
        session = _session_of(pair.client)
        second = setting.pair()
        for connection in (second.client, second.server):
            with pytest.raises((SSL.WantReadError, ssl.SSLWantReadError)):
                connection.do_handshake()
        refused = r"handshake has begun: set its session before do_handshake\(\)"
        with pytest.raises(ValueError, match=refused):
            set_session(getattr(second, side), session)
        assert second.handshake().reused is False
        with pytest.raises(ValueError, match=refused):
            set_session(getattr(second, side), session)
        assert _session_of(second.client) != session

    def test_on_a_server(self, setting: Setting, pair: Any) -> None:
        """A server refuses it."""
        session = _session_of(pair.client)
        second = setting.pair()
        with pytest.raises(ValueError, match="only a client offers a session, and the connection"):
            set_session(second.server, session)
        assert second.handshake().reused is False
        assert _session_of(second.server) != session

    @pytest.mark.parametrize("method", ["TLS_METHOD", "TLS_CLIENT_METHOD"])
    @pytest.mark.parametrize("form", list(FORMS))
    @pytest.mark.parametrize("source", list(LIBRARIES))
    @pytest.mark.parametrize("how", ["function", "method"])
    def test_before_it_is_a_client(
        self, source: str, form: str, version: str, server_file: Path, how: str, method: str
    ) -> None:
        """A pyOpenSSL connection that has not been told its side takes any, and resumes it."""
        module = LIBRARIES[source]
        server_context = module.server_context(server_file, version)
        client_context = module.client_context(version)
        first = module.Pair(server_context, client_context).handshake()
        session = FORMS[form](first.client)
        if not isinstance(session, OpenSSL.SSL.Session):  # pyOpenSSL's own check is for those
            client_context = SSL.Context(getattr(SSL, method))
            client_context.set_max_proto_version(tls.VERSIONS[version])
        connection = SSL.Connection(client_context, None)
        if how == "method":
            connection.set_session(session)
        else:
            set_session(connection, session)
        connection.set_connect_state()
        client, server = End(connection), End(server_context, server_side=True)
        assert _shake(client, server) is True

    def test_before_it_is_a_server(self, pair: Any, version: str, server_file: Path) -> None:
        """One that becomes a server after all does not resume it; one that is, refuses it."""
        session = _session_of(pair.client)
        second = tls.Pair(tls.server_context(server_file, version), tls.client_context(version))
        second.server = SSL.Connection(second.server.get_context(), None)
        second.server.set_session(session)
        second.server.set_accept_state()
        with pytest.raises(ValueError, match="only a client offers a session, and the connection"):
            second.server.set_session(session)
        assert lib.ERR_get_error() == 0
        assert second.handshake().reused is False
        assert _session_of(second.server) != session

    @pytest.mark.parametrize("wrong", [None, 3, b"der", "text", object(), [], Session])
    def test_what_is_no_session(self, setting: Setting, pair: Any, wrong: Any) -> None:
        """Anything else is refused."""
        second = setting.pair()
        with pytest.raises(TypeError, match=r"session must be an openssl_tickets\.Session, an"):
            set_session(second.client, wrong)
        assert second.handshake().reused is False

    @pytest.mark.parametrize("wrong", [None, 3, b"text", object(), ssl.SSLContext])
    def test_what_is_no_connection(self, session: Session, wrong: Any) -> None:
        """So is what is no connection, a context for one."""
        for connection in (wrong, tls.client_context(), stdlib_tls.client_context()):
            with pytest.raises(TypeError, match=r"expected an OpenSSL\.SSL\.Connection"):
                set_session(connection, session)
            with pytest.raises(TypeError, match=r"expected an OpenSSL\.SSL\.Connection"):
                session_reused(connection)

    @pytest.mark.parametrize("kind", ["der", "pem"])
    def test_encoded_by_mistake(self, server_file: Path, kind: str) -> None:
        """Who forgets from_der or from_pem does not find a secret in the message, and in a log."""
        session = _session_of(Setting("ssl", "1.2", server_file).handshake().server)
        # A secret that begins with text, to know it again however it is shown.
        session = _changed(session, MASTER_KEY, b"secret" * 8)
        encoded = getattr(session, f"to_{kind}")()
        with pytest.raises(TypeError) as caught:
            set_session(SSL.Connection(tls.client_context(), None), encoded)
        shown = str(caught.value)
        assert "secr" not in shown
        if kind == "pem":
            assert encoded[60:68].decode() not in shown

    def test_empty_session_of_pyopenssl(self) -> None:
        """A pyOpenSSL Session that no connection has given is refused."""
        connection = SSL.Connection(tls.client_context(), None)
        with pytest.raises(ValueError, match="holds no SSL_SESSION"):
            set_session(connection, OpenSSL.SSL.Session())

    def test_on_a_socket_without_tls(self, session: Session) -> None:
        """An SSLSocket that is not connected has no place for a session yet."""
        with stdlib_tls.client_context().wrap_socket(socket.socket()) as client:
            with pytest.raises(ValueError, match="no TLS on this SSLSocket: it is not connected"):
                set_session(client, session)
            with pytest.raises(ValueError, match="no TLS on this SSLSocket"):
                session_reused(client)

    @pytest.mark.parametrize("first", list(tls.VERSIONS))
    def test_of_another_version(self, library: str, first: str, server_file: Path) -> None:
        """A session of a version that the client does not speak leads to a full handshake."""
        settings = {each: Setting(library, each, server_file) for each in tls.VERSIONS}
        context = settings["1.2"].server_context
        if library == "ssl":
            context.maximum_version = ssl.TLSVersion.TLSv1_3
        else:
            context.set_max_proto_version(SSL.TLS1_3_VERSION)
        settings["1.3"].server_context = context
        pair = settings[first].handshake()
        for version, setting in settings.items():
            second = setting.handshake(_session_of(pair.client))
            assert second.reused is (version == first)
            assert _session_of(second.client).protocol == f"TLSv{version}"

    def test_not_resumable(self, setting: Setting, pair: Any, server_file: Path) -> None:
        """One that is not resumable is not offered: a full handshake, and no error."""
        server = _session_of(Setting("ssl", "1.2", server_file).handshake().server)
        assert server.is_resumable is False
        assert setting.handshake(server).reused is False

    def test_without_ticket_and_id(self, setting: Setting, pair: Any) -> None:
        """One that has lost its ticket is not resumable, or not known to the server."""
        session = _session_of(pair.client)
        fields = fields_of(session.to_der())
        bare = [field for field in fields if field[0] != TICKET]
        assert len(bare) == len(fields) - 1
        bare[SESSION_ID] = bare[SESSION_ID][0], b""
        empty = Session.from_der(sequence(bare))
        assert (empty.has_ticket, empty.is_resumable) == (False, False)
        assert setting.handshake(empty).reused is False

    def test_after_the_hint(self, setting: Setting, pair: Any) -> None:
        """A TLS 1.3 client does not offer a ticket after the time that the server gave it."""
        session = _session_of(pair.client).copy()
        session.time -= session.ticket_lifetime_hint + 100
        second = setting.pair(session)
        # In TLS 1.2 it is the server alone who looks at the time, and at the one in the ticket.
        assert second.handshake().reused is not setting.of_tls13

    def test_after_the_time_of_the_server(self, setting: Setting) -> None:
        """A ticket whose session is out of time leads to a full handshake."""
        server_context = setting.server_context
        set_session_timeout(server_context, 1000)
        ages = [990, 1010]

        def generate(connection: Any, data: Any) -> None:
            _session_of(connection).time = int(time.time()) - ages[0]

        set_session_ticket_callback(server_context, generate)
        for resumes in (True, False):
            pair = setting.handshake()
            second = setting.pair(_session_of(pair.client))
            before = session_stats(server_context)
            assert second.handshake().reused is resumes
            after = session_stats(server_context)
            assert (after.hits - before.hits, after.timeouts - before.timeouts) == (
                (1, 0) if resumes else (0, 1)
            )
            ages.pop(0)

    def test_reused_before_the_handshake(self, setting: Setting, pair: Any) -> None:
        """session_reused is False, and of the type bool, until the handshake is done."""
        second = setting.pair(_session_of(pair.client))
        for side in (second.client, second.server):
            assert session_reused(side) is False
        second.handshake()
        for side in (second.client, second.server):
            assert session_reused(side) is True


class _ServerSide:
    """A context of ssl that wraps a socket for a server."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def wrap_socket(self, plain: socket.socket, **_: object) -> ssl.SSLSocket:
        return self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)


class TestDropIn:
    """What openssl_tickets.SSL makes of pyOpenSSL's own sessions."""

    def test_is_both(self, version: str, server_file: Path) -> None:
        """get_session returns a session of pyOpenSSL and of this package at once."""
        pair = Setting("drop-in", version, server_file).handshake()
        for connection in (pair.client, pair.server):
            session = connection.get_session()
            assert type(session) is SSL.Session
            assert isinstance(session, OpenSSL.SSL.Session)
            assert isinstance(session, Session)
            assert session == get_session(connection)
            assert session == get_session(session)
            assert hash(session) == hash(_session_of(connection))
            assert session.to_der() == _session_of(connection).to_der()
            assert type(session.copy()) is Session
            assert type(copy.copy(session)) is Session
            with pytest.raises(TypeError, match="secrets"):
                pickle.dumps(session)
            assert "TLSv" in repr(session)

    def test_none(self) -> None:
        """There is none before the handshake, as in pyOpenSSL."""
        assert SSL.Connection(tls.client_context(), None).get_session() is None

    @pytest.mark.parametrize("connection_class", [SSL.Connection, OpenSSL.SSL.Connection])
    @pytest.mark.parametrize("context_class", [SSL.Context, OpenSSL.SSL.Context])
    def test_resumes(
        self, version: str, server_file: Path, context_class: Any, connection_class: Any
    ) -> None:
        """Its session resumes with a plain Connection, whatever the class of the Context."""
        server_context = tls.server_context(server_file, version)
        client_context = tls.client_context(version, context_class)
        first = tls.Pair(server_context, client_context).handshake()
        session = first.client.get_session()
        second = tls.Pair(
            server_context, client_context, session, connection_class=connection_class
        )
        assert second.handshake().reused is True
        assert session_reused(second.client) is True
        assert SSL.Connection.session_reused(second.client) is True

    def test_outlives_its_connection(self, version: str, server_file: Path) -> None:
        """It is valid for as long as it lives, for pyOpenSSL too."""
        server_context = tls.server_context(server_file, version)
        client_context = tls.client_context(version)
        first = tls.Pair(server_context, client_context).handshake()
        session = first.session()
        del first
        gc.collect()
        assert session.is_resumable is True
        second = tls.Pair(server_context, client_context, session).handshake()
        del session
        gc.collect()
        assert second.reused is True

    @pytest.mark.parametrize("form", ["ours", "copied", "read back"])
    def test_takes_ours(self, version: str, server_file: Path, form: str) -> None:
        """set_session takes a Session of this package, on another context as well."""
        server_context = tls.server_context(server_file, version)
        first = tls.Pair(server_context, tls.client_context(version)).handshake()
        session = FORMS[form](first.client)
        second = tls.Pair(server_context, tls.client_context(version), session)
        assert second.handshake().reused is True
        assert second.client.session_reused() is second.server.session_reused() is True

    def test_takes_that_of_ssl(self, version: str, server_file: Path) -> None:
        """It takes one of ssl too."""
        server_context = stdlib_tls.server_context(server_file, version)
        first = stdlib_tls.Pair(server_context, stdlib_tls.client_context(version)).handshake()
        client = End(tls.client_context(version))
        client.connection.set_session(first.session())
        assert _shake(client, End(server_context, server_side=True)) is True

    @pytest.mark.parametrize("drop_in", [True, False])
    def test_keeps_the_check_of_pyopenssl(self, server_file: Path, drop_in: bool) -> None:
        """What pyOpenSSL says of its own session on another context is not changed."""
        server_context = tls.server_context(server_file)
        first = tls.Pair(server_context, tls.client_context()).handshake()
        session = first.client.get_session() if drop_in else _their_session(first.client)
        ends: list[tuple[type, str]] = []
        for connection_class in (SSL.Connection, OpenSSL.SSL.Connection):
            second = tls.Pair(
                server_context, tls.client_context(), connection_class=connection_class
            )
            try:
                second.client.set_session(session)
            except Exception as error:
                ends.append((type(error), str(error)))
            else:
                ends.append((bool, str(second.handshake().reused)))
        assert ends[0] == ends[1]
        is_tied = tuple(map(int, OpenSSL.__version__.split(".")[:2])) >= (26, 3)
        assert ends[0][0] is (ValueError if is_tied else bool)
        # The function leaves it to the user.
        third = tls.Pair(server_context, tls.client_context())
        set_session(third.client, session)
        assert third.handshake().reused is True

    @pytest.mark.parametrize("wrong", [None, 3, b"der", object()])
    def test_what_is_no_session(self, wrong: Any) -> None:
        """Anything else is a TypeError, as in pyOpenSSL."""
        for connection_class in (SSL.Connection, OpenSSL.SSL.Connection):
            connection: Any = connection_class(tls.client_context(), None)
            with pytest.raises(TypeError):
                connection.set_session(wrong)
