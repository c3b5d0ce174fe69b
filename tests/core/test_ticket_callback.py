"""What tickets carry, and whether one is used: the callbacks around a session ticket."""

from __future__ import annotations

import contextlib
import copy
import datetime
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import openssl_tickets
from openssl_tickets import SSL, ReceivedTicket, TicketReturn, TicketStatus, ticket_stats
from openssl_tickets._core import ticket_callback
from tests.support import native
from tests.support.callbacks import InBetween, Lying, Recorder, in_threads
from tests.support.ends import WANTS
from tests.support.libraries import (
    ERRORS,
    ask_for_certificate,
    cache_mode,
    close,
    context_of,
    move,
    no_tickets,
    pointer,
    set_cache_mode,
    show_certificate,
    switch_by_server_name,
)
from tests.support.policies import Policy, appdata_of, pointer_of

ABORT, IGNORE, IGNORE_RENEW, USE, USE_RENEW = TicketReturn
CLOSED = SSL.SESS_CACHE_NO_INTERNAL_LOOKUP


class TestTable:
    """The table of OPENSSL_FACTS.md, row by row."""

    def test_first_handshake(self, policy: Policy) -> None:
        """Generate runs; decrypt runs with EMPTY in TLS 1.2, and not at all in TLS 1.3."""
        policy.install(data="any")
        pair = policy.handshake()
        assert not pair.reused
        recorder = policy.recorder
        assert recorder.generated == ["any"] * policy.tickets
        assert policy.statuses == ([] if policy.of_tls13 else ["EMPTY"])
        assert [(t.session, t.appdata) for t in recorder.tickets] in ([], [(None, None)])
        assert all(each is pair.server for each in recorder.connections)
        assert appdata_of(pair.server) == b"data"
        assert appdata_of(pair.client) == b""

    @pytest.mark.parametrize(
        ("answer", "reused", "tickets"),
        [
            (None, True, None),
            (IGNORE, False, 0),
            (IGNORE_RENEW, False, 2),
            (USE, True, 0),
            (USE_RENEW, True, 1),
        ],
    )
    def test_answer(
        self, policy: Policy, answer: TicketReturn | None, reused: bool, tickets: int | None
    ) -> None:
        """What decrypt answers decides on the resumption, and on new tickets."""
        policy.install()
        session = policy.session()
        policy.recorder.clear()
        policy.recorder.answer = answer
        pair = policy.handshake(session)
        if tickets is None:  # what OpenSSL does by itself
            tickets = 1 if policy.of_tls13 else 0
        assert (pair.reused, pair.received) == (reused, min(tickets, policy.tickets))
        assert len(policy.recorder.generated) == pair.received
        assert policy.statuses == ["SUCCESS_RENEW" if policy.of_tls13 else "SUCCESS"]
        (ticket,) = policy.recorder.tickets
        assert (ticket.appdata, len(ticket.key_name)) == (b"data", 16)
        assert all(each is pair.server for each in policy.recorder.connections)

    @pytest.mark.parametrize(("key_answer", "generates"), [(1, False), (2, True)])
    def test_default_with_a_ticket_key_callback(
        self, policy: Policy, key_answer: int, generates: bool
    ) -> None:
        """By default it is the ticket key callback that decides on the renewal."""
        native.lib.set_ticket_key_answers(pointer(policy.server_context), 1, 1)
        policy.install()
        session = policy.session()
        policy.recorder.clear()
        native.lib.set_ticket_key_answers(pointer(policy.server_context), 1, key_answer)
        assert policy.handshake(session).reused
        assert bool(policy.recorder.generated) is generates
        assert len(policy.recorder.tickets) == 1

    @pytest.mark.parametrize("when", ["at the first", "later"])
    def test_default_without_a_key(self, policy: Policy, when: str) -> None:
        """
        A key callback that answers 0 gives out empty tickets, which a TLS 1.3 client does not
        offer. If it answers 0 to a ticket that it has issued, that is NO_DECRYPT.
        """
        later = when == "later"
        native.lib.set_ticket_key_answers(pointer(policy.server_context), later, later)
        policy.install()
        first = policy.handshake()
        session = first.session()
        policy.recorder.clear()
        native.lib.set_ticket_key_answers(pointer(policy.server_context), later, 0)
        assert not policy.handshake(session).reused
        assert policy.recorder.generated
        if later:
            assert policy.statuses == ["NO_DECRYPT"]
            assert policy.recorder.tickets[0].key_name == b"tests' only key\0"
        else:
            assert policy.statuses == ([] if policy.of_tls13 else ["EMPTY"])

    def test_abort(self, policy: Policy) -> None:
        """ABORT ends the handshake on both sides, and is no exception of the program's."""
        policy.install()
        session = policy.session()
        policy.recorder.answer = None if policy.of_tls13 else IGNORE_RENEW
        policy.set(None, lambda *_: ABORT)
        pair = policy.pair(session)
        with pytest.raises(ERRORS):
            pair.handshake()
        move(pair)
        with pytest.raises(ERRORS, match=r"(?i)alert"):
            pair.client.do_handshake()

    def test_over_sockets(self, policy: Policy) -> None:
        """Over real sockets the data comes back with the resumption, on the same object."""
        policy.install()
        session = policy.session()
        policy.recorder.clear()
        with policy.sockets() as (server, client):
            openssl_tickets.set_session(client, session)
            in_threads(2, lambda number: (server, client)[number].do_handshake())
            server.send(b"!")
            assert client.recv(1) == b"!"
            assert openssl_tickets.session_reused(client)
            assert [ticket.appdata for ticket in policy.recorder.tickets] == [b"data"]
            assert all(each is server for each in policy.recorder.connections)


class TestUndecryptable:
    """A ticket whose key is unknown: status NO_DECRYPT."""

    @pytest.mark.parametrize(
        ("answer", "generates"), [(None, True), (IGNORE_RENEW, True), (IGNORE, False)]
    )
    def test_full_handshake(
        self, policy: Policy, answer: TicketReturn | None, generates: bool
    ) -> None:
        """There is a full handshake, with new tickets unless decrypt says IGNORE."""
        session = policy.foreign_session()
        policy.recorder.answer = answer
        policy.install()
        pair = policy.handshake(session)
        assert not pair.reused
        (ticket,) = policy.recorder.tickets
        assert ticket.status is TicketStatus.NO_DECRYPT
        assert (ticket.session, ticket.appdata, len(ticket.key_name)) == (None, None, 16)
        assert len(policy.recorder.generated) == pair.received == policy.tickets * generates

    @pytest.mark.parametrize("answer", [USE, USE_RENEW])
    def test_cannot_be_used(self, policy: Policy, answer: TicketReturn) -> None:
        """USE for a ticket that was not decrypted is the program's error, and no resumption."""
        session = policy.foreign_session()
        policy.recorder.answer = answer
        policy.install()
        with pytest.raises(ValueError, match=f"{answer.name} for a ticket with status NO_DECRYPT"):
            policy.handshake(session)

    def test_empty_ticket_cannot_be_used(self, policy12: Policy) -> None:
        """Nor can an empty one."""
        policy12.recorder.answer = USE
        policy12.install()
        with pytest.raises(ValueError, match="USE for a ticket with status EMPTY"):
            policy12.handshake()


class TestAppdata:
    @pytest.mark.parametrize("appdata", [b"", b"x", b"\0" * 7, bytes(range(256)) * 40])
    def test_round_trip(self, policy: Policy, appdata: bytes) -> None:
        """What generate returns is in the ticket, and in the session that is resumed from it."""
        policy.recorder.appdata = appdata
        policy.install()
        session = policy.session()
        policy.recorder.clear()
        pair = policy.handshake(session)
        assert pair.reused
        assert policy.recorder.tickets[0].appdata == appdata_of(pair.server) == appdata

    def test_carried_on_and_cleared(self, policy13: Policy) -> None:
        """None carries a renewed ticket's data on; bytes replace it, and b"" clears it."""
        policy13.install()
        session = policy13.session()
        seen = []
        for policy13.recorder.appdata in (None, None, b"new", b"", None):
            pair = policy13.handshake(session)
            assert pair.reused
            seen.append(appdata_of(pair.server))
            session = pair.session()
        assert seen == [b"data", b"data", b"new", b"", b""]
        assert policy13.offer(session).appdata == b""

    def test_each_ticket_has_its_own(self, policy13: Policy) -> None:
        """Generate runs for each of several tickets, and each keeps what was said for it."""
        numbers = iter(range(100))
        policy13.set(lambda *_: b"%d" % next(numbers), policy13.recorder.decrypt)
        assert policy13.offer(policy13.session()).appdata == b"1"  # the last one is kept

    @pytest.mark.parametrize("appdata", ["text", 3, bytearray(b"x"), memoryview(b"x"), [b"x"]])
    def test_wrong_type(self, policy: Policy, appdata: Any) -> None:
        """Anything but bytes and None ends the connection with a TypeError."""
        policy.recorder.appdata = appdata
        policy.install()
        with pytest.raises(TypeError, match="must be bytes, not"):
            policy.handshake()

    def test_largest(self, policy: Policy) -> None:
        """The largest data that is accepted makes a ticket, and more is refused."""
        sizes: list[int] = []

        def generate(connection: Any, data: Any) -> bytes:
            low, high = 60_000, 66_000
            session = openssl_tickets.get_session(connection)
            assert session is not None
            while high - low > 1:
                middle = (low + high) // 2
                try:
                    session.ticket_appdata = b"x" * middle
                except ValueError:
                    high = middle
                else:
                    low = middle
            sizes.append(low)
            return b"x" * low

        policy.set(generate)
        policy.handshake()
        assert 65_000 < sizes[0] < 65_280

        # Another session's numbers may encode to a few bytes less.
        policy.recorder.appdata = b"x" * (sizes[0] + 32)
        policy.install()
        with pytest.raises(ValueError, match=f"{sizes[0] + 32} bytes .* do not fit a ticket"):
            policy.handshake()

    def test_refused_data_changes_nothing(self, policy: Policy) -> None:
        """Data that does not fit leaves what was there before."""
        pair = policy.handshake()
        session = openssl_tickets.get_session(pair.server)
        assert session is not None
        session.ticket_appdata = b"before"
        for size in (65_280, 65_281, 10**6):
            with pytest.raises(ValueError, match="do not fit a ticket"):
                session.ticket_appdata = b"x" * size
            assert session.ticket_appdata == b"before"

    def test_counts_the_clients_certificate(
        self, policy13: Policy, client_file: Path, ca_file: Path
    ) -> None:
        """With a client's certificate in the session, less data fits, and that is seen in time."""
        ask_for_certificate(policy13.server_context, ca_file, required=True)
        show_certificate(policy13.client_context, client_file)
        policy13.recorder.appdata = b"x" * 65_000
        policy13.install()
        with pytest.raises(ValueError, match="do not fit a ticket"):
            policy13.handshake()
        policy13.recorder.appdata = b"x" * 60_000
        assert policy13.offer(policy13.session()).appdata == b"x" * 60_000

    def test_certificate_that_leaves_no_room(self, policy13: Policy, tmp_path: Path) -> None:
        """Then not even a few bytes fit."""

        def large(size: int) -> Policy:
            policy = Policy(policy13.library, "1.3", policy13.server_file)
            path = tmp_path / f"{size}.pem"
            path.write_bytes(large_certificate(size))
            ask_for_certificate(policy.server_context, path, required=True)
            show_certificate(policy.client_context, path)
            return policy

        session = openssl_tickets.get_session(large(60_000).handshake().server)
        assert session is not None
        policy = large(60_000 + 65_280 - 100 - len(session.to_der()))
        policy.recorder.appdata = b"x" * 10
        policy.install()
        policy.handshake()  # beside OpenSSL 3.5's key share, the ticket is too long to be offered
        assert ticket_stats(policy.server_context).issued == 2
        policy.recorder.appdata = b"x" * 200
        with pytest.raises(RuntimeError, match="leaves no room"):
            policy.handshake()
        assert ticket_stats(policy.server_context).failed == 1

    @pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 1000])
    def test_sizes(self, policy: Policy, size: int) -> None:
        """C has room for 256 bytes."""
        policy.recorder.appdata = bytes(range(1, 256)) * 4
        policy.recorder.appdata = policy.recorder.appdata[:size]
        policy.install()
        assert policy.offer(policy.session()).appdata == policy.recorder.appdata

    @pytest.mark.parametrize("size", [3, 300])
    @pytest.mark.parametrize("length", [0, 200, 60_000])
    def test_wrong_length(self, policy13: Policy, size: int, length: int) -> None:
        """No __len__ of a subclass makes C read more than there is."""
        policy13.recorder.appdata = Lying(b"x" * size, length)
        policy13.install()
        assert policy13.offer(policy13.session()).appdata == b"x" * size


def large_certificate(size: int) -> bytes:
    """Returns a certificate with *size* bytes in an extension, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(size)), False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return certificate.public_bytes(pem) + key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class TestReceivedTicket:
    def test_key_name_is_the_same_for_one_key(self, policy: Policy) -> None:
        """Tickets of one context have one key name, of 16 bytes."""
        policy.install()
        sessions = policy.session(), policy.session()
        names = {policy.offer(session).key_name for session in sessions}
        assert [len(name) for name in names] == [16]

    def test_session_can_be_kept(self, policy: Policy) -> None:
        """A session that a callback took stays valid after its connection and context are gone."""
        kept: list[Any] = []

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn:
            kept.append(ticket.session)
            assert ticket.session is ticket.session
            return IGNORE_RENEW  # libssl drops its own reference at once

        policy.install()
        session = policy.session()
        policy.set(None, decrypt)
        policy.handshake(session)
        del policy.server_context, session
        assert kept[0].ticket_appdata == b"data"

    def test_session_not_taken_in_time(self, policy: Policy) -> None:
        """A session that the callback did not ask for cannot be had later; all else can."""
        policy.install()
        ticket = policy.offer(policy.session())
        assert ticket.appdata == b"data"
        for name in ("session", "server_name"):
            with pytest.raises(RuntimeError, match=f"the {name} .* within the decrypt callback"):
                getattr(ticket, name)

    @pytest.mark.parametrize("name", [None, "a.example", ".".join(["x" * 63] * 4)[:253]])
    def test_server_name(self, policy: Policy, name: str | None) -> None:
        """Decrypt is told the name that the client asks for now, which libssl does not know yet."""
        names: list[Any] = []

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> None:
            names.append(ticket.server_name)
            if policy.library != "ssl":
                assert connection.get_servername() is None

        session = policy.session()
        policy.set(None, decrypt)
        policy.pair(session, name).handshake()
        assert names == [None if name is None else name.encode()]

    def test_bound_to_the_server_name(self, policy: Policy) -> None:
        """A ticket can be bound to the name that it was issued for, in a few lines."""

        def generate(connection: Any, data: Any) -> bytes:
            session = openssl_tickets.get_session(connection)
            assert session is not None
            if policy.library == "ssl":
                return session.server_name or b""
            return bytes(connection.get_servername())

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
            return None if ticket.appdata == ticket.server_name else IGNORE_RENEW

        if policy.library == "ssl":  # libssl keeps the name only if someone looks at it
            policy.server_context.sni_callback = lambda *_: None
        else:
            policy.server_context.set_tlsext_servername_callback(lambda _: None)
        policy.set(generate, decrypt)
        pair = policy.pair(None, "a.example").handshake()
        session = openssl_tickets.get_session(pair.client)
        assert session is not None
        session = session.copy()
        close(pair)
        assert policy.pair(session, "a.example").handshake().reused
        assert not policy.pair(session.copy(), "b.example").handshake().reused

    def test_appdata_can_be_changed_in_decrypt(self, policy13: Policy) -> None:
        """What decrypt sets on the session goes into the renewed ticket."""

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn:
            assert ticket.session is not None
            ticket.session.ticket_appdata = (ticket.appdata or b"") + b"+"
            return USE_RENEW

        policy13.install()
        session = policy13.session()
        policy13.set(None, decrypt)
        pair = policy13.handshake(session)
        assert appdata_of(policy13.handshake(pair.session()).server) == b"data++"

    def test_cannot_be_made_by_hand(self) -> None:
        """Tickets and sessions come from libssl only."""
        with pytest.raises(TypeError, match="made for a decrypt callback"):
            ReceivedTicket()
        with pytest.raises(TypeError, match="comes from get_session"):
            openssl_tickets.Session()

    def test_holds_no_pointer_that_outlives_the_callback(self, policy: Policy) -> None:
        """A ticket can be neither copied, nor asked from another thread, nor made to lie."""
        problems: list[Any] = []

        def ask(ticket: ReceivedTicket) -> None:
            for name in ("session", "server_name"):
                with pytest.raises(RuntimeError, match="on its thread"):
                    getattr(ticket, name)
            problems.append(None)

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> None:
            with pytest.raises(TypeError, match="cannot be copied"):
                copy.copy(ticket)
            if ticket.status == TicketStatus.EMPTY:
                ticket.status = TicketStatus.SUCCESS
                assert ticket.session is None
                return
            thread = threading.Thread(target=ask, args=(ticket,))
            thread.start()
            thread.join()

        policy.set(None, decrypt)
        assert policy.handshake(policy.session()).reused
        assert problems == [None]

    def test_repr_shows_no_data(self, policy: Policy) -> None:
        """What is printed in a log is the status and the key's name, not the data."""
        policy.recorder.appdata = b"secret-identity"
        policy.install()
        session = policy.session()
        assert "15 bytes" in repr(openssl_tickets.get_session(policy.handshake().server))
        ticket = policy.offer(session)
        assert ticket.status.name in repr(ticket)
        assert ticket.key_name.hex() in repr(ticket)
        assert "secret" not in repr(ticket)


def use_early_data(policy: Policy) -> None:
    assert native.lib.set_max_early_data(pointer(policy.server_context), 1000)


def use_no_ticket(policy: Policy) -> None:
    native.lib.set_options(pointer(policy.server_context), native.lib.SSL_OP_NO_TICKET)


class TestStateful:
    """Stateful tickets, of which decrypt would not hear."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (use_no_ticket, r"OP_NO_TICKET is set.*keep OP_NO_TICKET off"),
            (use_early_data, "max_early_data is above 0"),
        ],
    )
    def test_decrypt_is_refused(
        self, policy13: Policy, change: Callable[[Policy], None], message: str
    ) -> None:
        """With OP_NO_TICKET, or early data and anti-replay, tickets would be stateful."""
        change(policy13)
        with pytest.raises(ValueError, match=message):
            policy13.install()
        policy13.set(policy13.recorder.generate)  # alone it is fine
        assert policy13.handshake().received == len(policy13.recorder.generated) == 2
        if change is use_early_data:
            option = native.lib.SSL_OP_NO_ANTI_REPLAY
            native.lib.set_options(pointer(policy13.server_context), option)
            policy13.install()

    @pytest.mark.parametrize("how", ["context option", "connection option", "early data"])
    def test_option_that_changes_later_ends_the_connection(
        self, policy13: Policy, how: str
    ) -> None:
        """A stateful ticket is not issued once there is a policy that it would escape."""
        policy13.install()
        if how == "context option":
            use_no_ticket(policy13)
        pair = policy13.pair()
        if how == "connection option":
            native.lib.set_connection_options(pointer_of(pair.server), native.lib.SSL_OP_NO_TICKET)
        if how == "early data":
            native.lib.set_connection_max_early_data(pointer_of(pair.server), 1000)
        with pytest.raises(RuntimeError, match="this ticket would be stateful"):
            pair.handshake()
        assert policy13.recorder.generated == []

    def test_early_data_does_not_concern_tls_1_2(self, policy12: Policy) -> None:
        """TLS 1.2 has no early data, and its tickets are never stateful."""
        policy12.install()
        use_early_data(policy12)
        assert policy12.handshake(policy12.session()).reused

    def test_stateful_session_from_before_the_policy(self, policy13: Policy) -> None:
        """A stateful ticket that was issued before there was a policy does not get past it."""
        set_cache_mode(policy13.server_context, SSL.SESS_CACHE_SERVER)
        use_no_ticket(policy13)
        session = policy13.session()
        assert policy13.handshake(session.copy()).reused  # so it would
        context = pointer(policy13.server_context)
        native.lib.clear_options(context, native.lib.SSL_OP_NO_TICKET)
        policy13.set(None, lambda *_: IGNORE)
        openssl_tickets.set_num_tickets(policy13.server_context, 0)
        use_no_ticket(policy13)
        assert not policy13.handshake(session).reused


class Cached:
    """A session that is in a server's cache, and whose client asks for tickets."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.at_server_name: Callable[[], object] = lambda: None
        if policy.library == "ssl":
            policy.server_context.sni_callback = lambda *_: self.at_server_name()
        else:
            policy.server_context.set_tlsext_servername_callback(lambda _: self.at_server_name())
        self.set_mode()
        if policy.of_tls13:
            use_no_ticket(policy)  # its tickets are keys into the cache
        first = policy.pair()
        if not policy.of_tls13:
            option = native.lib.SSL_OP_NO_TICKET
            native.lib.set_connection_options(pointer_of(first.client), option)
        first.handshake()
        session = openssl_tickets.get_session(first.client)
        assert session is not None
        self.session = session.copy()
        self.user = first.server  # another connection that uses it
        self.alive = [first]

    def set_mode(self) -> None:
        set_cache_mode(self.policy.server_context, SSL.SESS_CACHE_SERVER)

    def offer(self) -> Any:
        pair = self.policy.pair(self.session.copy(), "localhost")
        self.alive.append(pair)  # one that ends without a goodbye takes its session with it
        return pair.handshake()


class TestSessionCache:
    """TLS 1.2's resumption by session id, of which decrypt would not hear either."""

    @pytest.fixture
    def by_id(self, policy12: Policy) -> Policy:
        """A server that keeps sessions in its cache; its client does not ask for tickets."""
        set_cache_mode(policy12.server_context, SSL.SESS_CACHE_SERVER)
        no_tickets(policy12.client_context)
        return policy12

    @pytest.fixture
    def cached(self, policy12: Policy) -> Cached:
        return Cached(policy12)

    def test_resumes_without_a_policy(self, by_id: Policy) -> None:
        """A client without tickets is resumed by its session id, as ever."""
        assert by_id.handshake(by_id.session()).reused

    @pytest.mark.parametrize("which", ["generate", "decrypt"])
    def test_does_not_get_past_a_policy(self, by_id: Policy, which: str) -> None:
        """With a callback it is not resumed: libssl does not look into its cache."""
        session = by_id.session()
        before = cache_mode(by_id.server_context)
        by_id.set(**{which: lambda *_: None})
        assert cache_mode(by_id.server_context) == before | CLOSED
        assert not by_id.handshake(session).reused

    def test_a_mode_that_is_set_later_does_not_open_it(self, by_id: Policy) -> None:
        """A cache mode that the program sets after the policy does not lead past it either."""
        session = by_id.session()
        by_id.install()
        for _ in range(2):
            set_cache_mode(by_id.server_context, SSL.SESS_CACHE_SERVER)
            assert not by_id.handshake(session.copy()).reused
            assert cache_mode(by_id.server_context) == SSL.SESS_CACHE_SERVER | CLOSED

    @pytest.mark.parametrize("answer", [None, IGNORE, IGNORE_RENEW])
    @pytest.mark.parametrize("what", ["remove", "set_mode"])
    def test_what_decrypt_does_not_open_it(
        self, cached: Cached, what: str, answer: TicketReturn | None
    ) -> None:
        """Nor does a removal or a mode of decrypt's own: it is asked ahead of the look there."""

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
            if what == "remove":
                cached.policy.set()
            else:
                cached.set_mode()
            return answer

        cached.policy.set(None, decrypt)
        assert not cached.offer().reused

    def test_stays_closed_without_the_policy(self, by_id: Policy) -> None:
        """Nothing is put back when the callbacks are removed; then the mode is the program's."""
        session = by_id.session()
        by_id.install()
        by_id.set()
        assert cache_mode(by_id.server_context) & CLOSED
        assert not by_id.handshake(session.copy()).reused
        set_cache_mode(by_id.server_context, SSL.SESS_CACHE_SERVER)
        assert by_id.handshake(session).reused
        assert cache_mode(by_id.server_context) == SSL.SESS_CACHE_SERVER

    @pytest.mark.parametrize("how", ["external cache", "first callbacks", "mode"])
    @pytest.mark.parametrize("asked", ["generate", "decrypt"])
    def test_nothing_is_written_to_a_session_in_the_cache(
        self, cached: Cached, how: str, asked: str
    ) -> None:
        """
        A client that is resumed from the cache and asks for a ticket is refused: libssl would make
        the ticket from the cached session itself, which other connections share.

        It is found in a cache outside of libssl; or the first callbacks are set after libssl has
        looked into its cache; or the mode is set after the hello.
        """
        policy, context = cached.policy, pointer(cached.policy.server_context)
        seen = openssl_tickets.get_session(cached.user)
        assert seen is not None
        assert cached.offer().reused  # without callbacks it is
        callbacks = {asked: getattr(policy.recorder, asked)}
        if how == "first callbacks":
            cached.at_server_name = lambda: policy.set(**callbacks)
        else:
            policy.set(**callbacks)
            assert not cached.offer().reused  # libssl does not look
            if how == "external cache":
                native.lib.set_external_session(context, seen._pointer)
            else:
                native.lib.open_cache_after_hello(context)
                if asked == "decrypt":  # it closes the cache once more, and nothing is found
                    assert not cached.offer().reused
                    return
        policy.recorder.clear()
        try:
            with pytest.raises(RuntimeError, match="made from a session in the context's cache"):
                cached.offer()
            assert policy.recorder.generated == []
            assert seen.ticket_appdata == appdata_of(cached.user) == b""
            assert policy.handshake().received == 1  # others are served
        finally:
            native.lib.set_external_session(context, native.NULL)

    def test_tls_1_3_writes_to_a_copy(self, policy13: Policy) -> None:
        """In TLS 1.3, libssl makes each ticket of a resumption from a copy: generate is asked."""
        cached = Cached(policy13)
        seen = openssl_tickets.get_session(cached.user)
        assert seen is not None
        cached.at_server_name = lambda: policy13.set(policy13.recorder.generate)
        assert cached.offer().reused
        assert len(policy13.recorder.generated) == 1
        assert seen.ticket_appdata == appdata_of(cached.user) == b""


class TestSetting:
    @pytest.mark.parametrize("last", ["decrypt", "generate", "none"])
    def test_by_threads_at_once(
        self, policy13: Policy, monkeypatch: pytest.MonkeyPatch, last: str
    ) -> None:
        """C asks for the callbacks that are there, whatever other threads set in the meantime."""
        recorder = policy13.recorder
        pairs = {
            "decrypt": (None, recorder.decrypt),
            "generate": (recorder.generate, None),
            "none": (None, None),
        }
        for first in pairs.keys() - {last}:
            session = policy13.session()
            with monkeypatch.context() as patch:
                in_between = InBetween(
                    "openssl_tickets_set_ticket_callback", lambda: policy13.set(*pairs[last])
                )
                patch.setattr(ticket_callback, "lib", in_between)
                policy13.set(*pairs[first])
            recorder.clear()
            policy13.handshake(session)
            assert (len(recorder.tickets), len(recorder.generated)) == (
                int(last == "decrypt"),
                int(last == "generate"),
            )

    @pytest.mark.parametrize("wrong", [3, "f", b"", object()])
    def test_callbacks_must_be_callable(self, policy13: Policy, wrong: Any) -> None:
        """What is not callable is refused when it is set."""
        for name in ("generate", "decrypt"):
            with pytest.raises(TypeError, match=f"{name} must be callable or None"):
                policy13.set(**{name: wrong})

    def test_takes_contexts_only(self, policy13: Policy) -> None:
        """Callbacks belong to a context, not to a connection."""
        wrong: Any
        for wrong in (None, 3, policy13.pair().server):
            with pytest.raises(
                TypeError, match=r"expected an OpenSSL\.SSL\.Context or an ssl\.SSLContext, not"
            ):
                openssl_tickets.set_session_ticket_callback(wrong)

    @pytest.mark.parametrize("left", [(), ("generate",), ("decrypt",), ("generate", "decrypt")])
    def test_removed_callbacks_are_not_called(self, policy: Policy, left: tuple[str, ...]) -> None:
        """One or both of the callbacks can be removed, and tickets work as OpenSSL has them."""
        policy.install()
        session = policy.session()
        policy.recorder.clear()
        policy.recorder.answer = USE_RENEW
        policy.set(**{name: getattr(policy.recorder, name) for name in left})
        pair = policy.handshake(session)
        assert pair.reused
        # Without a decrypt callback, a TLS 1.2 ticket is not renewed.
        assert pair.received == (policy.of_tls13 or "decrypt" in left)
        assert len(policy.recorder.tickets) == ("decrypt" in left)
        assert len(policy.recorder.generated) == pair.received * ("generate" in left)

    def test_ticket_on_demand_uses_the_current_callbacks(self, policy13: Policy) -> None:
        """A ticket on demand takes the callbacks that are there then."""
        old, new = Recorder(), Recorder()
        policy13.set(old.generate)
        pair = policy13.handshake()
        policy13.set(new.generate)
        openssl_tickets.new_session_ticket(pair.server)
        pair.server.do_handshake()
        assert (len(old.generated), len(new.generated)) == (2, 1)

    def test_replaced_within_a_handshake(self, policy: Policy) -> None:
        """What is set in the middle of a handshake is asked from then on, as one."""
        old, new = Recorder(), Recorder(b"new")

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn:
            policy.set(new.generate, new.decrypt, "new")
            return USE_RENEW

        session = policy.session()
        policy.set(old.generate, decrypt, "old")
        pair = policy.handshake(session)
        assert pair.reused
        assert (old.generated, new.generated) == ([], ["new"])
        policy.handshake(pair.session())
        assert [ticket.appdata for ticket in new.tickets] == [b"new"]

    def test_renegotiation_takes_the_current_callbacks(self, server_file: Path) -> None:
        """A TLS 1.2 renegotiation is a handshake of its own."""
        policy = Policy("drop-in", "1.2", server_file)
        policy.install()
        pair = policy.handshake(policy.session())
        assert pair.reused
        new = Recorder(b"new", IGNORE_RENEW)
        policy.set(new.generate, new.decrypt)
        assert pair.server.renegotiate()
        for _ in range(5):
            for step in (pair.server.do_handshake, pair.client_reads, lambda: pair.server.recv(1)):
                with contextlib.suppress(*WANTS):
                    step()
                pair.move()
        assert pair.server.total_renegotiations() == 1
        assert not openssl_tickets.session_reused(pair.server)
        assert [ticket.status for ticket in new.tickets] == [TicketStatus.SUCCESS]
        assert new.generated == [None]

    def test_first_contexts_callbacks_after_an_sni_switch(self, policy: Policy) -> None:
        """After a switch by server name, the first context's callbacks run for the connection."""

        def never(*_: Any) -> None:
            raise AssertionError("the second context's callbacks do not run")

        second = policy.make_server_context()
        openssl_tickets.set_session_ticket_callback(second, never, never)
        openssl_tickets.set_num_tickets(second, 5)
        switch_by_server_name(policy.server_context, second)
        policy.install()
        pair = policy.pair(None, "second.example").handshake()
        session = openssl_tickets.get_session(pair.client)
        assert session is not None
        session = session.copy()
        policy.recorder.clear()
        pair = policy.pair(session, "second.example").handshake()
        assert (context_of(pair.server), pair.reused) == (second, True)
        assert [ticket.appdata for ticket in policy.recorder.tickets] == [b"data"]
        assert all(each is pair.server for each in policy.recorder.connections)

    def test_values_are_openssls(self) -> None:
        """The enumerations have OpenSSL's values and names."""
        assert {s.name: int(s) for s in TicketStatus} == {
            "EMPTY": 3,
            "NO_DECRYPT": 4,
            "SUCCESS": 5,
            "SUCCESS_RENEW": 6,
        }
        assert [r.name for r in sorted(TicketReturn)] == [
            "ABORT",
            "IGNORE",
            "IGNORE_RENEW",
            "USE",
            "USE_RENEW",
        ]
        assert sorted(TicketReturn) == list(range(5))
