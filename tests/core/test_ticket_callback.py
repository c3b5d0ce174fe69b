"""What tickets carry, and whether one is used: the callbacks around a session ticket."""

from __future__ import annotations

import contextlib
import copy
import gc
import itertools
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import OpenSSL.SSL
import pytest

import openssl_tickets
from openssl_tickets import SSL, ReceivedTicket, TicketReturn, TicketStatus
from tests.support import native, tls

ABORT, IGNORE, IGNORE_RENEW, USE, USE_RENEW = TicketReturn


class Recorder:
    """A pair of callbacks that write down how they were called."""

    def __init__(self, appdata: bytes | None = b"data", answer: TicketReturn | None = None) -> None:
        self.appdata = appdata
        self.answer = answer
        self.generated: list[Any] = []
        self.tickets: list[ReceivedTicket] = []
        self.connections: list[Any] = []

    def generate(self, connection: Any, data: Any) -> bytes | None:
        self.generated.append(data)
        self.connections.append(connection)
        return self.appdata

    def decrypt(self, connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
        self.tickets.append(ticket)
        self.connections.append(connection)
        return self.answer

    def clear(self) -> None:
        for calls in (self.generated, self.tickets, self.connections):
            calls.clear()


class Unraisable:
    """What reached ``sys.unraisablehook``."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, unraisable: Any) -> None:
        self.seen.append((unraisable.exc_value, unraisable.object))


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Unraisable]:
    hook = Unraisable()
    monkeypatch.setattr(sys, "unraisablehook", hook)
    yield hook
    hook.seen.clear()


class Setting:
    """A server's and a client's context of one TLS version, and a recorder for the callbacks."""

    def __init__(self, server_file: Path, version: str) -> None:
        self.version = version
        self.server_context = tls.server_context(server_file, version)
        self.client_context = tls.client_context(version)
        self.recorder = Recorder()

    def install(self, data: Any = None) -> None:
        self.server_context.set_session_ticket_callback(
            self.recorder.generate, self.recorder.decrypt, data
        )

    def handshake(self, session: Any = None) -> tls.Pair:
        return tls.Pair(self.server_context, self.client_context, session).handshake()

    def session(self) -> Any:
        return self.handshake().session()


@pytest.fixture
def setting(server_file: Path, version: str) -> Setting:
    return Setting(server_file, version)


class TestTable:
    """The table of OPENSSL_FACTS.md, row by row."""

    def test_first_handshake(self, setting: Setting) -> None:
        """Generate runs; decrypt runs with EMPTY in TLS 1.2, and not at all in TLS 1.3."""
        setting.install(data="any")
        pair = setting.handshake()
        assert not pair.reused
        recorder = setting.recorder
        statuses = [ticket.status for ticket in recorder.tickets]
        if setting.version == "1.2":
            assert (recorder.generated, statuses) == (["any"], [TicketStatus.EMPTY])
            assert recorder.tickets[0].session is None
            assert recorder.tickets[0].appdata is None
        else:
            assert (recorder.generated, statuses) == (["any", "any"], [])
        assert set(recorder.connections) == {pair.server}

    @pytest.mark.parametrize(
        ("answer", "reused", "generates", "tickets"),
        [
            (IGNORE, False, False, 0),
            (IGNORE_RENEW, False, True, 2),
            (USE, True, False, 0),
            (USE_RENEW, True, True, 1),
        ],
    )
    def test_answer(
        self, setting: Setting, answer: TicketReturn, reused: bool, generates: bool, tickets: int
    ) -> None:
        """What decrypt answers decides on the resumption, and on new tickets."""
        setting.install()
        session = setting.session()
        setting.recorder.clear()
        setting.recorder.answer = answer
        pair = setting.handshake(session)
        assert pair.reused is reused
        assert bool(setting.recorder.generated) is generates
        assert len(setting.recorder.tickets) == 1
        assert pair.received == (min(tickets, 1) if setting.version == "1.2" else tickets)

    @pytest.mark.parametrize(("key_answer", "generates"), [(1, False), (2, True)])
    def test_default_with_a_ticket_key_callback(
        self, setting: Setting, key_answer: int, generates: bool
    ) -> None:
        """By default it is the ticket key callback that decides on the renewal."""
        native.lib.set_ticket_key_answers(setting.server_context._context, 1, 1)
        setting.install()
        session = setting.session()
        setting.recorder.clear()
        native.lib.set_ticket_key_answers(setting.server_context._context, 1, key_answer)
        pair = setting.handshake(session)
        assert pair.reused
        assert bool(setting.recorder.generated) is generates
        assert len(setting.recorder.tickets) == 1

    def test_default_with_a_ticket_key_callback_without_keys(self, setting: Setting) -> None:
        """One that answers 0 gives out empty tickets, which a TLS 1.3 client does not offer."""
        native.lib.set_ticket_key_answers(setting.server_context._context, 0, 0)
        setting.install()
        session = setting.session()
        setting.recorder.clear()
        assert not setting.handshake(session).reused
        assert setting.recorder.generated
        statuses = [ticket.status for ticket in setting.recorder.tickets]
        assert statuses == ([TicketStatus.EMPTY] if setting.version == "1.2" else [])

    def test_default_with_a_key_that_is_gone(self, setting: Setting) -> None:
        """One that answers 0 to a ticket it has issued leads to NO_DECRYPT in both versions."""
        native.lib.set_ticket_key_answers(setting.server_context._context, 1, 1)
        setting.install()
        session = setting.session()
        setting.recorder.clear()
        native.lib.set_ticket_key_answers(setting.server_context._context, 1, 0)
        assert not setting.handshake(session).reused
        assert setting.recorder.generated
        assert [t.status for t in setting.recorder.tickets] == [TicketStatus.NO_DECRYPT]
        assert setting.recorder.tickets[0].key_name == b"tests' only key\0"

    def test_default_without_a_ticket_key_callback(self, setting: Setting) -> None:
        """Without one, TLS 1.2 resumes as it is, and TLS 1.3 with a new ticket."""
        setting.install()
        session = setting.session()
        setting.recorder.clear()
        pair = setting.handshake(session)
        assert pair.reused
        (ticket,) = setting.recorder.tickets
        if setting.version == "1.2":
            assert (ticket.status, setting.recorder.generated) == (TicketStatus.SUCCESS, [])
        else:
            assert (ticket.status, setting.recorder.generated) == (
                TicketStatus.SUCCESS_RENEW,
                [None],
            )

    def test_abort(self, setting: Setting) -> None:
        """ABORT ends the handshake on both sides, and is no exception of the program's."""
        setting.install()
        session = setting.session()
        setting.recorder.answer = ABORT
        pair = tls.Pair(setting.server_context, setting.client_context, session)
        with pytest.raises(SSL.Error):
            pair.handshake()
        pair.move()
        with pytest.raises(SSL.Error, match="alert"):
            pair.client.do_handshake()

    def test_over_sockets(self, setting: Setting) -> None:
        """Over real sockets: the data comes back with the resumption, on the same object."""
        setting.install()
        session = setting.session()
        setting.recorder.clear()
        served = []

        def serve(connection: Any) -> None:
            connection.do_handshake()
            served.append(connection)
            connection.sendall(b"!")

        with (
            tls.Server(setting.server_context, serve) as server,
            tls.connected(setting.client_context, server.port, session) as client,
        ):
            assert client.recv(1) == b"!"
            assert tls.session_reused(client)
        assert server.errors == []
        assert [ticket.appdata for ticket in setting.recorder.tickets] == [b"data"]
        assert set(map(id, setting.recorder.connections)) == {id(served[0])}


class TestUndecryptable:
    """A ticket whose key is unknown: status NO_DECRYPT."""

    @pytest.fixture
    def foreign_session(self, server_file: Path, setting: Setting) -> Any:
        issuer = tls.server_context(server_file, setting.version)
        return tls.Pair(issuer, setting.client_context).handshake().session()

    @pytest.mark.parametrize(
        ("answer", "generates"), [(None, True), (IGNORE_RENEW, True), (IGNORE, False)]
    )
    def test_full_handshake(
        self, setting: Setting, foreign_session: Any, answer: TicketReturn | None, generates: bool
    ) -> None:
        """There is a full handshake, with new tickets unless decrypt says IGNORE."""
        setting.recorder.answer = answer
        setting.install()
        pair = setting.handshake(foreign_session)
        assert not pair.reused
        (ticket,) = setting.recorder.tickets
        assert ticket.status is TicketStatus.NO_DECRYPT
        assert (ticket.session, ticket.appdata) == (None, None)
        assert len(ticket.key_name) == 16
        assert bool(setting.recorder.generated) is generates

    @pytest.mark.parametrize("answer", [USE, USE_RENEW])
    def test_cannot_be_used(
        self, setting: Setting, foreign_session: Any, answer: TicketReturn
    ) -> None:
        """USE for a ticket that was not decrypted is the program's error, and no resumption."""
        setting.recorder.answer = answer
        setting.install()
        pair = tls.Pair(setting.server_context, setting.client_context, foreign_session)
        with pytest.raises(ValueError, match=f"{answer.name} for a ticket with status NO_DECRYPT"):
            pair.handshake()

    def test_empty_ticket_cannot_be_used(self, server_file: Path) -> None:
        """Nor can an empty one."""
        setting = Setting(server_file, "1.2")
        setting.recorder.answer = USE
        setting.install()
        with pytest.raises(ValueError, match="USE for a ticket with status EMPTY"):
            setting.handshake()


class TestAppdata:
    @pytest.mark.parametrize("appdata", [b"", b"x", b"\0" * 7, bytes(range(256)) * 40])
    def test_round_trip(self, setting: Setting, appdata: bytes) -> None:
        """What generate returns is in the ticket, and in the session that is resumed from it."""
        setting.recorder.appdata = appdata
        setting.install()
        session = setting.session()
        setting.recorder.tickets.clear()
        pair = setting.handshake(session)
        assert pair.reused
        assert setting.recorder.tickets[0].appdata == appdata
        resumed = openssl_tickets.get_session(pair.server)
        assert resumed is not None
        assert resumed.ticket_appdata == appdata

    def test_none_carries_the_data_on(self, server_file: Path) -> None:
        """A renewed ticket has its predecessor's data where generate returns None."""
        setting = Setting(server_file, "1.3")
        setting.install()
        session = setting.session()
        setting.recorder.appdata = None
        for _ in range(3):
            session = setting.handshake(session).session()
        assert [ticket.appdata for ticket in setting.recorder.tickets] == [b"data"] * 3

    def test_empty_bytes_clear_the_data(self, server_file: Path) -> None:
        """And none where it returns b""."""
        setting = Setting(server_file, "1.3")
        setting.install()
        session = setting.session()
        setting.recorder.appdata = b""
        session = setting.handshake(session).session()
        setting.handshake(session)
        assert [ticket.appdata for ticket in setting.recorder.tickets] == [b"data", b""]

    def test_each_ticket_has_its_own(self, server_file: Path) -> None:
        """Generate runs for each of several tickets, and each keeps what was said for it."""
        setting = Setting(server_file, "1.3")
        numbers = iter(range(100))
        setting.server_context.set_session_ticket_callback(
            lambda connection, data: b"%d" % next(numbers), setting.recorder.decrypt
        )
        session = setting.session()  # the client keeps the last one
        setting.handshake(session)
        assert setting.recorder.tickets[0].appdata == b"1"

    @pytest.mark.parametrize("appdata", ["text", 3, bytearray(b"x"), memoryview(b"x"), [b"x"]])
    def test_wrong_type(self, setting: Setting, appdata: Any) -> None:
        """Anything but bytes and None ends the connection with a TypeError."""
        setting.recorder.appdata = appdata
        setting.install()
        with pytest.raises(TypeError, match="must be bytes, not"):
            setting.handshake()

    def test_largest(self, setting: Setting) -> None:
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

        setting.server_context.set_session_ticket_callback(generate)
        setting.handshake()
        assert 65_000 < sizes[0] < 65_280

        # Another session's numbers may encode to a few bytes less.
        setting.recorder.appdata = b"x" * (sizes[0] + 32)
        setting.install()
        with pytest.raises(ValueError, match=f"{sizes[0] + 32} bytes .* do not fit a ticket"):
            setting.handshake()

    def test_refused_data_changes_nothing(self, setting: Setting) -> None:
        """Data that does not fit leaves what was there before."""
        setting.install()
        pair = setting.handshake()
        session = openssl_tickets.get_session(pair.server)
        assert session is not None
        session.ticket_appdata = b"before"
        for size in (65_280, 65_281, 10**6):
            with pytest.raises(ValueError, match="do not fit a ticket"):
                session.ticket_appdata = b"x" * size
            assert session.ticket_appdata == b"before"

    def test_counts_the_clients_certificate(
        self, server_file: Path, client_file: Path, ca_file: Path
    ) -> None:
        """With a client's certificate in the session, less data fits, and that is seen in time."""
        setting = Setting(server_file, "1.3")
        setting.server_context.load_verify_locations(str(ca_file))
        setting.server_context.set_session_id(b"tests")
        setting.server_context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        setting.client_context.use_privatekey_file(str(client_file))
        setting.client_context.use_certificate_chain_file(str(client_file))
        setting.recorder.appdata = b"x" * 65_000
        setting.install()
        with pytest.raises(ValueError, match="do not fit a ticket"):
            setting.handshake()
        setting.recorder.appdata = b"x" * 60_000
        session = setting.session()
        pair = setting.handshake(session)
        assert pair.reused
        assert setting.recorder.tickets[-1].appdata == b"x" * 60_000


class TestReceivedTicket:
    def test_key_name_is_the_same_for_one_key(self, setting: Setting) -> None:
        """Tickets of one context have one key name, of 16 bytes."""
        setting.install()
        session = setting.session()
        other = setting.session()
        setting.recorder.tickets.clear()
        for each in (session, other):
            setting.handshake(each)
        names = {ticket.key_name for ticket in setting.recorder.tickets}
        assert {len(name) for name in names} == {16}
        assert len(names) == 1

    def test_session_can_be_kept(self, setting: Setting) -> None:
        """A session that a callback took stays valid after its connection and context are gone."""
        kept: list[Any] = []

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn:
            kept.append(ticket.session)
            assert ticket.session is ticket.session
            return IGNORE_RENEW  # libssl drops its own reference at once

        setting.install()
        session = setting.session()
        setting.server_context.set_session_ticket_callback(None, decrypt)
        setting.handshake(session)
        del setting, session
        assert kept[0].ticket_appdata == b"data"

    def test_session_not_taken_in_time(self, setting: Setting) -> None:
        """A session that the callback did not ask for cannot be had later; all else can."""
        setting.install()
        session = setting.session()
        setting.recorder.tickets.clear()
        setting.handshake(session)
        (ticket,) = setting.recorder.tickets
        assert ticket.appdata == b"data"
        with pytest.raises(RuntimeError, match="within the decrypt callback"):
            ticket.session  # noqa: B018

    @pytest.mark.parametrize("name", [None, b"a.example", b"x" * 255])
    def test_server_name(self, setting: Setting, name: bytes | None) -> None:
        """Decrypt is told the name that the client asks for now, which libssl does not know yet."""
        names: list[Any] = []
        kept: list[ReceivedTicket] = []

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> None:
            names.append((ticket.server_name, connection.get_servername()))
            kept.append(ticket)

        session = setting.session()
        setting.server_context.set_session_ticket_callback(None, decrypt)
        pair = tls.Pair(setting.server_context, setting.client_context, session)
        if name is not None:
            pair.client.set_tlsext_host_name(name)
        pair.handshake()
        assert names == [(name, None)]
        with pytest.raises(RuntimeError, match=r"server_name .* within the decrypt callback"):
            kept[0].server_name  # noqa: B018

    def test_bound_to_the_server_name(self, setting: Setting) -> None:
        """A ticket can be bound to the name that it was issued for, in a few lines."""

        def generate(connection: Any, data: Any) -> bytes:
            return bytes(connection.get_servername())

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
            return None if ticket.appdata == ticket.server_name else IGNORE_RENEW

        setting.server_context.set_session_ticket_callback(generate, decrypt)

        def handshake(name: bytes, session: Any = None) -> tls.Pair:
            pair = tls.Pair(setting.server_context, setting.client_context, session)
            pair.client.set_tlsext_host_name(name)
            return pair.handshake()

        session = handshake(b"a.example").session()
        assert handshake(b"a.example", session).reused
        assert not handshake(b"b.example", session).reused

    def test_appdata_can_be_changed_in_decrypt(self, server_file: Path) -> None:
        """What decrypt sets on the session goes into the renewed ticket."""
        setting = Setting(server_file, "1.3")

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn:
            assert ticket.session is not None
            ticket.session.ticket_appdata = (ticket.appdata or b"") + b"+"
            return USE_RENEW

        setting.install()
        session = setting.session()
        setting.server_context.set_session_ticket_callback(None, decrypt)
        session = setting.handshake(session).session()
        resumed = openssl_tickets.get_session(setting.handshake(session).server)
        assert resumed is not None
        assert resumed.ticket_appdata == b"data++"

    def test_cannot_be_made_by_hand(self) -> None:
        """Tickets and sessions come from libssl only."""
        with pytest.raises(TypeError, match="made for a decrypt callback"):
            ReceivedTicket()
        with pytest.raises(TypeError, match="comes from get_session"):
            openssl_tickets.Session()

    def test_holds_no_pointer_that_outlives_the_callback(self, setting: Setting) -> None:
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

        setting.server_context.set_session_ticket_callback(None, decrypt)
        session = setting.session()
        assert setting.handshake(session).reused
        assert problems == [None]

    def test_repr_shows_no_data(self, setting: Setting) -> None:
        """What is printed in a log is the status and the key's name, not the data."""
        setting.recorder.appdata = b"secret-identity"
        setting.install()
        session = setting.session()
        setting.recorder.tickets.clear()
        pair = setting.handshake(session)
        (ticket,) = setting.recorder.tickets
        assert ticket.status.name in repr(ticket)
        assert "secret" not in repr(ticket)
        assert "15 bytes" in repr(openssl_tickets.get_session(pair.server))


class Boom(Exception):
    pass


def _raise(error: BaseException) -> Any:
    def callback(*_: Any) -> Any:
        raise error

    return callback


def _raise_anew(*_: Any) -> Any:
    raise Boom


class TestExceptions:
    @pytest.mark.parametrize("kind", [Boom, KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_of_generate_is_raised(self, setting: Setting, kind: type[BaseException]) -> None:
        """The very exception of generate comes out of do_handshake, and the client is refused."""
        error = kind("from generate")
        setting.server_context.set_session_ticket_callback(_raise(error))
        pair = tls.Pair(setting.server_context, setting.client_context)
        with pytest.raises(kind) as caught:
            pair.handshake()
        assert caught.value is error
        assert error.__context__ is None
        pair.move()
        with pytest.raises(SSL.Error, match="alert internal error"):
            pair.client.recv(1)

    @pytest.mark.parametrize("kind", [Boom, KeyboardInterrupt])
    def test_of_decrypt_is_raised(self, setting: Setting, kind: type[BaseException]) -> None:
        """The very exception of decrypt comes out of do_handshake, and nothing is resumed."""
        session = setting.session()
        error = kind("from decrypt")
        setting.server_context.set_session_ticket_callback(None, _raise(error))
        pair = tls.Pair(setting.server_context, setting.client_context, session)
        with pytest.raises(kind) as caught:
            pair.handshake()
        assert caught.value is error
        with pytest.raises(SSL.Error):
            pair.server.send(b"no way")

    def test_context_of_the_exception_is_kept(self, setting: Setting) -> None:
        """An exception that was raised while handling another still says so."""

        def generate(connection: Any, data: Any) -> bytes:
            try:
                raise KeyError("first")
            except KeyError:
                raise Boom("second")  # noqa: B904

        setting.server_context.set_session_ticket_callback(generate)
        with pytest.raises(Boom) as caught:
            setting.handshake()
        assert isinstance(caught.value.__context__, KeyError)

    @pytest.mark.parametrize(
        "call",
        [
            lambda c: c.send(b"x"),
            lambda c: c.write(b"x"),
            lambda c: c.sendall(b"x"),
            lambda c: c.do_handshake(),
        ],
        ids=["send", "write", "sendall", "do_handshake"],
    )
    def test_of_a_ticket_on_demand_is_raised_by_the_write(
        self, server_context: Any, client_context: Any, call: Any
    ) -> None:
        """An on-demand ticket is made by the next write, so that is what raises."""
        pair = tls.Pair(server_context, client_context).handshake()
        server_context.set_session_ticket_callback(_raise(Boom()))
        pair.server.new_session_ticket()
        with pytest.raises(Boom):
            call(pair.server)

    @pytest.mark.parametrize(
        "call",
        [
            lambda c: c.recv(1),
            lambda c: c.read(1),
            lambda c: c.recv_into(bytearray(1)),
            lambda c: c.recv(1, 2),
        ],
        ids=["recv", "read", "recv_into", "peek"],
    )
    def test_of_a_handshake_within_a_read(self, setting: Setting, call: Any) -> None:
        """A handshake that a read carries out raises from the read."""
        setting.server_context.set_session_ticket_callback(_raise(Boom()))
        pair = tls.Pair(setting.server_context, setting.client_context)
        with pytest.raises(Boom):  # noqa: PT012 (the read that raises differs with the version)
            for _ in range(3):
                with contextlib.suppress(SSL.WantReadError):
                    pair.client.do_handshake()
                pair.move()
                with contextlib.suppress(SSL.WantReadError):
                    call(pair.server)
                pair.move()

    def test_of_a_ticket_within_a_shutdown(
        self, server_context: Any, client_context: Any, client_file: Path, ca_file: Path
    ) -> None:
        """A shutdown that reads the client's late certificate makes tickets, and raises too."""
        server_context.load_verify_locations(str(ca_file))
        server_context.set_session_id(b"tests")
        server_context.set_num_tickets(1)
        answers = iter([b"at the handshake"])
        server_context.set_session_ticket_callback(lambda *_: next(answers))
        client_context.use_privatekey_file(str(client_file))
        client_context.use_certificate_chain_file(str(client_file))
        pair = tls.Pair(server_context, client_context)
        native.lib.allow_post_handshake_auth(pair.client._ssl)
        pair.handshake()
        pair.server.set_verify(SSL.VERIFY_PEER)
        assert native.lib.request_client_certificate(pair.server._ssl)
        pair.server.do_handshake()
        pair.client_reads()
        pair.move()
        assert pair.server.shutdown() is False
        with pytest.raises(StopIteration):
            pair.server.shutdown()

    @pytest.mark.parametrize("answer", [True, 3, "USE", b"", TicketStatus.SUCCESS])
    def test_wrong_answer_of_decrypt(self, setting: Setting, answer: Any) -> None:
        """Anything but a TicketReturn and None is a TypeError, and no resumption."""
        session = setting.session()
        setting.recorder.answer = answer
        setting.install()
        with pytest.raises(TypeError, match="must return a TicketReturn or None"):
            setting.handshake(session)

    def test_plain_connection_reports_to_the_hook(
        self, server_file: Path, setting: Setting, unraisable: Unraisable
    ) -> None:
        """A connection of pyOpenSSL's own class gets an SSL.Error, the hook the exception."""
        for error in (Boom("plain"), KeyboardInterrupt()):
            context = tls.server_context(server_file, setting.version, OpenSSL.SSL.Context)
            openssl_tickets.set_session_ticket_callback(context, _raise(error))
            pair = tls.Pair(
                context, setting.client_context, connection_class=OpenSSL.SSL.Connection
            )
            with pytest.raises(SSL.Error):
                pair.handshake()
            assert unraisable.seen == [(error, pair.server)]
            unraisable.seen.clear()

    def test_other_exception_of_the_call_does_not_hide_it(
        self, setting: Setting, unraisable: Unraisable
    ) -> None:
        """Where the call itself raises something else, that is raised, and the hook has ours."""
        boom = Boom()

        def generate(connection: Any, data: Any) -> bytes:
            # As pyOpenSSL does with a problem of another of its callbacks.
            connection.get_context()._verify_helper = Problem()
            raise boom

        class Problem:
            def raise_if_problem(self) -> None:
                raise KeyError("of pyOpenSSL's own callback")

        setting.server_context.set_session_ticket_callback(generate)
        pair = tls.Pair(setting.server_context, setting.client_context)
        with pytest.raises(KeyError) as kept:
            pair.handshake()
        assert unraisable.seen == [(boom, pair.server)], kept

    def test_call_past_pyopenssl_does_not_hide_it(
        self, setting: Setting, unraisable: Unraisable
    ) -> None:
        """Where libssl is not called by a method that can raise the exception, the hook has it."""
        boom = Boom()
        setting.server_context.set_session_ticket_callback(_raise(boom))
        pair = tls.Pair(setting.server_context, setting.client_context)
        for _ in range(2):
            with contextlib.suppress(SSL.WantReadError):
                pair.client.do_handshake()
            pair.move()
            SSL._lib.SSL_do_handshake(pair.server._ssl)
            pair.move()
        assert unraisable.seen == [(boom, pair.server)]
        SSL._lib.ERR_clear_error()

    def test_signal_ahead_of_the_exception_does_not_hide_it(
        self, setting: Setting, unraisable: Unraisable
    ) -> None:
        """What a KeyboardInterrupt keeps the call from raising is raised by the next, or hooked."""
        setting.server_context.set_session_ticket_callback(_raise_anew)

        def interrupt(frame: Any, event: str, argument: Any) -> None:
            if event == "call" and frame.f_code is SSL._Unraised.__call__.__code__:
                sys.settrace(None)
                raise KeyboardInterrupt

        def interrupted() -> tls.Pair:
            pair = tls.Pair(setting.server_context, setting.client_context)
            before = sys.gettrace()
            sys.settrace(interrupt)
            try:
                with pytest.raises(KeyboardInterrupt):
                    pair.handshake()
            finally:
                sys.settrace(before)
                SSL._lib.ERR_clear_error()
            return pair

        with pytest.raises(Boom):
            interrupted().server.do_handshake()
        assert unraisable.seen == []

        interrupted()
        gc.collect()
        assert [type(exception) for exception, _ in unraisable.seen] == [Boom]

    @pytest.mark.slow
    def test_signal_in_the_middle_loses_nothing(
        self, setting: Setting, unraisable: Unraisable
    ) -> None:
        """Wherever a signal comes while an exception is handed over, it is raised or hooked."""
        connection = SSL.Connection(setting.server_context, None)
        raising = SSL._Unraised.__call__.__code__
        # What surface() sees where do_handshake has called libssl.
        caller: Any = type("", (), {"f_code": SSL.Connection.do_handshake.__code__})
        caller.f_locals = {"self": connection}
        delays = itertools.cycle(microseconds / 1e6 for microseconds in range(1, 30))
        interrupted = 0

        class Interrupt(BaseException):
            pass

        def handler(number: int, frame: Any) -> None:
            if frame.f_code is raising:
                raise Interrupt

        before = signal.signal(signal.SIGALRM, handler)
        try:
            end = time.monotonic() + 60.0
            while interrupted < 20 and time.monotonic() < end:
                unraisable.seen.clear()
                assert connection._keep_callback_exception(Boom(), caller, True)
                came = chained = False
                signal.setitimer(signal.ITIMER_REAL, next(delays))  # once
                try:
                    with contextlib.suppress(Boom):
                        connection._raise_ssl_error(connection._ssl, 1)
                except Interrupt as interrupt:
                    came, chained = True, isinstance(interrupt.__context__, Boom)
                # Only now, as the traceback of the interrupt holds it.
                vars(connection).pop("_raise_ssl_error", None)
                if came:
                    interrupted += 1
                    gc.collect()
                    kinds = [type(exception) for exception, _ in unraisable.seen]
                    assert chained or kinds == [Boom]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert interrupted == 20

    def test_signal_as_the_exception_is_kept(
        self, setting: Setting, unraisable: Unraisable
    ) -> None:
        """A KeyboardInterrupt there goes to the hook with the exception, and the call fails."""
        keeping = SSL.Connection._keep_callback_exception.__code__
        setting.server_context.set_session_ticket_callback(_raise_anew)
        lines = {line for *_, line in keeping.co_lines() if line} - {keeping.co_firstlineno}

        for number in lines:

            def interrupt(frame: Any, event: str, argument: Any, number: int = number) -> Any:
                if event == "line" and frame.f_lineno == number:
                    sys.settrace(None)
                    raise KeyboardInterrupt
                return interrupt if frame.f_code is keeping or event == "call" else None

            def tracer(frame: Any, event: str, argument: Any) -> Any:
                return interrupt if frame.f_code is keeping else None

            unraisable.seen.clear()
            before = sys.gettrace()
            pair = tls.Pair(setting.server_context, setting.client_context)
            sys.settrace(tracer)
            try:
                with pytest.raises((Boom, SSL.Error)):
                    pair.handshake()
            finally:
                sys.settrace(before)
            kinds = [type(exception) for exception, _ in unraisable.seen]
            assert kinds in ([], [KeyboardInterrupt, Boom])

    def test_signal_at_the_first_line_of_the_trampoline(
        self, setting: Setting, unraisable: Unraisable
    ) -> None:
        """A KeyboardInterrupt that came while libssl was at work is raised by the call as well."""

        def interrupt(frame: Any, event: str, argument: Any) -> None:
            if event == "call" and frame.f_code.co_name == "openssl_tickets_generate":
                sys.settrace(None)
                raise KeyboardInterrupt

        setting.install()
        pair = tls.Pair(setting.server_context, setting.client_context)
        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                pair.handshake()
        finally:
            sys.settrace(before)
        assert unraisable.seen == []
        assert setting.recorder.generated == []

    def test_context_of_an_unraisable_exception_is_kept(
        self, server_file: Path, setting: Setting, unraisable: Unraisable
    ) -> None:
        """What the caller happens to be handling does not become the exception's context."""

        def generate(connection: Any, data: Any) -> bytes:
            try:
                raise KeyError("first")
            except KeyError:
                raise Boom("second")  # noqa: B904

        context = tls.server_context(server_file, setting.version, OpenSSL.SSL.Context)
        openssl_tickets.set_session_ticket_callback(context, generate)
        pair = tls.Pair(context, setting.client_context, connection_class=OpenSSL.SSL.Connection)
        try:
            raise OSError
        except OSError:
            with pytest.raises(SSL.Error):
                pair.handshake()
        assert isinstance(unraisable.seen[0][0].__context__, KeyError)

    def test_exception_keeps_nothing_alive(self, setting: Setting) -> None:
        """A raised exception that is dropped leaves no cycle behind, so the connection goes."""
        gc.collect()
        gc.disable()
        try:
            setting.server_context.set_session_ticket_callback(_raise_anew)
            pair = tls.Pair(setting.server_context, setting.client_context)
            gone = weakref.ref(pair.server)
            with contextlib.suppress(Boom):
                pair.handshake()
            del pair
            assert gone() is None
        finally:
            gc.enable()

    def test_traceback_leads_to_the_callback(self, setting: Setting) -> None:
        """The traceback ends in the callback."""

        def generate(connection: Any, data: Any) -> bytes:
            return undefined_name  # type: ignore  # noqa: F821

        setting.server_context.set_session_ticket_callback(generate)
        with pytest.raises(NameError) as caught:
            setting.handshake()
        assert caught.traceback[-1].name == "generate"

    def test_other_errors_of_the_connection_are_untouched(self, setting: Setting) -> None:
        """An SSL.Error that no callback caused stays what it is."""
        setting.install()
        pair = tls.Pair(setting.server_context, setting.client_context)
        pair.server.bio_write(b"this is not TLS at all")
        with pytest.raises(SSL.Error):
            pair.server.do_handshake()

    def test_errors_left_by_a_callback_do_no_harm(self, setting: Setting) -> None:
        """What a callback leaves in OpenSSL's error queue does not reach the handshake."""

        def generate(connection: Any, data: Any) -> None:
            native.lib.put_error()

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> None:
            native.lib.put_error()

        setting.server_context.set_session_ticket_callback(generate, decrypt)
        session = setting.session()
        assert setting.handshake(session).reused
        assert native.lib.peek_error() == 0


class TestStateful:
    """Stateful tickets, of which decrypt would not hear."""

    def test_no_ticket_option_refuses_decrypt(self, server_context: Any) -> None:
        """OP_NO_TICKET makes tickets stateful, so a decrypt policy is refused."""
        server_context.set_options(SSL.OP_NO_TICKET)
        with pytest.raises(ValueError, match=r"OP_NO_TICKET is set.*keep OP_NO_TICKET off"):
            server_context.set_session_ticket_callback(None, lambda *_: None)
        server_context.set_session_ticket_callback(lambda *_: None)  # generate alone is fine

    def test_early_data_refuses_decrypt(self, server_context: Any) -> None:
        """So does early data, unless anti-replay is off."""
        assert native.lib.set_max_early_data(server_context._context, 1000)
        with pytest.raises(ValueError, match="max_early_data is above 0"):
            server_context.set_session_ticket_callback(None, lambda *_: None)
        native.lib.set_options(server_context._context, native.lib.SSL_OP_NO_ANTI_REPLAY)
        server_context.set_session_ticket_callback(None, lambda *_: None)

    def test_without_the_check_the_policy_is_skipped(
        self, server_context: Any, client_context: Any
    ) -> None:
        """The reason for all this: libssl resumes a stateful ticket and asks nobody."""
        recorder = Recorder()
        server_context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        server_context.set_session_id(b"tests")
        server_context.set_options(SSL.OP_NO_TICKET)
        server_context.set_session_ticket_callback(recorder.generate)
        session = tls.Pair(server_context, client_context).handshake().session()
        pair = tls.Pair(server_context, client_context, session).handshake()
        assert pair.reused
        assert len(recorder.generated) == 3

    @pytest.mark.parametrize("how", ["context option", "connection option", "early data"])
    def test_option_that_changes_later_ends_the_connection(
        self, server_context: Any, client_context: Any, how: str
    ) -> None:
        """A stateful ticket is not issued once there is a policy that it would escape."""
        recorder = Recorder()
        server_context.set_session_ticket_callback(None, recorder.decrypt)
        if how == "context option":
            native.lib.set_options(server_context._context, native.lib.SSL_OP_NO_TICKET)
        pair = tls.Pair(server_context, client_context)
        if how == "connection option":
            native.lib.set_connection_options(pair.server._ssl, native.lib.SSL_OP_NO_TICKET)
        if how == "early data":
            native.lib.set_connection_max_early_data(pair.server._ssl, 1000)
        with pytest.raises(RuntimeError, match="this ticket would be stateful"):
            pair.handshake()

    def test_early_data_does_not_concern_tls_1_2(self, server_file: Path) -> None:
        """TLS 1.2 has no early data, and its tickets are never stateful."""
        setting = Setting(server_file, "1.2")
        setting.install()
        native.lib.set_max_early_data(setting.server_context._context, 1000)
        session = setting.session()
        assert setting.handshake(session).reused

    def test_stateful_session_from_before_the_policy(
        self, server_context: Any, client_context: Any
    ) -> None:
        """A stateful ticket that was issued before there was a policy does not get past it."""
        server_context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        server_context.set_session_id(b"tests")
        native.lib.set_options(server_context._context, native.lib.SSL_OP_NO_TICKET)
        session = tls.Pair(server_context, client_context).handshake().session()
        server_context.set_num_tickets(0)
        native.lib.clear_options(server_context._context, native.lib.SSL_OP_NO_TICKET)
        server_context.set_session_ticket_callback(None, lambda *_: IGNORE)
        native.lib.set_options(server_context._context, native.lib.SSL_OP_NO_TICKET)
        assert not tls.Pair(server_context, client_context, session).handshake().reused


class TestSessionCache:
    """TLS 1.2's resumption by session id, of which decrypt would not hear either."""

    @pytest.fixture
    def setting(self, server_file: Path) -> Setting:
        setting = Setting(server_file, "1.2")
        setting.server_context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        setting.server_context.set_session_id(b"tests")
        setting.client_context.set_options(SSL.OP_NO_TICKET)
        return setting

    def test_resumes_without_a_policy(self, setting: Setting) -> None:
        """A client without tickets is resumed by its session id, as ever."""
        session = setting.session()
        assert setting.handshake(session).reused

    def test_does_not_get_past_decrypt(self, setting: Setting) -> None:
        """With a decrypt policy it is not, as the policy would not be asked."""
        session = setting.session()
        setting.server_context.set_session_ticket_callback(None, lambda *_: ABORT)
        pair = setting.handshake(session)
        assert not pair.reused

    def test_a_mode_that_is_set_later_does_not_open_it(self, setting: Setting) -> None:
        """A cache mode that the program sets after the policy does not lead past it either."""
        session = setting.session()
        setting.server_context.set_session_ticket_callback(None, lambda *_: ABORT)
        native.lib.set_session_cache_mode(setting.server_context._context, SSL.SESS_CACHE_SERVER)
        assert not setting.handshake(session).reused
        assert not setting.handshake(session).reused

    @pytest.mark.parametrize("answer", [None, IGNORE, IGNORE_RENEW])
    def test_removal_within_decrypt_does_not_open_it(
        self, server_file: Path, answer: TicketReturn | None
    ) -> None:
        """Callbacks that are removed while decrypt runs do not overrule what it answers."""
        setting = Setting(server_file, "1.2")
        context = setting.server_context
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        context.set_session_id(b"tests")
        first = tls.Pair(context, setting.client_context)
        native.lib.set_connection_options(first.client._ssl, native.lib.SSL_OP_NO_TICKET)
        session = first.handshake().session()

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
            context.set_session_ticket_callback()
            return answer

        context.set_session_ticket_callback(None, decrypt)
        assert not setting.handshake(session).reused
        assert setting.handshake(session).reused  # there is no policy any more

    def test_generate_alone_leaves_it_open(self, setting: Setting) -> None:
        """Where only generate is set, a client without tickets is resumed as ever."""
        setting.server_context.set_session_ticket_callback(setting.recorder.generate)
        session = setting.session()
        assert setting.handshake(session).reused
        assert setting.recorder.generated == []

    def test_nothing_is_written_to_a_session_in_the_cache(self, server_file: Path) -> None:
        """
        A client that is resumed from the cache and asks for a ticket is refused.

        libssl would make the ticket from the cached session itself, which other connections share.
        """
        setting = Setting(server_file, "1.2")
        setting.server_context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        setting.server_context.set_session_id(b"tests")
        first = tls.Pair(setting.server_context, setting.client_context)
        native.lib.set_connection_options(first.client._ssl, native.lib.SSL_OP_NO_TICKET)
        session = first.handshake().session()
        setting.server_context.set_session_ticket_callback(setting.recorder.generate)
        with pytest.raises(RuntimeError, match="made from a session in the context's cache"):
            setting.handshake(session)
        assert setting.recorder.generated == []
        cached = openssl_tickets.get_session(first.server)
        assert cached is not None
        assert cached.ticket_appdata == b""
        assert setting.handshake().received == 1  # others are served

    def test_resumes_again_without_the_policy(self, setting: Setting) -> None:
        """Removing the policy restores the mode, and leaves alone what the program had set."""
        context = setting.server_context
        before = context.get_session_cache_mode()
        context.set_session_ticket_callback(None, lambda *_: None)
        context.set_session_ticket_callback(None, lambda *_: None)
        assert context.get_session_cache_mode() == before | SSL.SESS_CACHE_NO_INTERNAL_LOOKUP
        context.set_session_ticket_callback(None, None)
        assert context.get_session_cache_mode() == before
        own = SSL.SESS_CACHE_BOTH | SSL.SESS_CACHE_NO_INTERNAL_LOOKUP
        context.set_session_cache_mode(own)
        context.set_session_ticket_callback(None, lambda *_: None)
        context.set_session_ticket_callback()
        assert context.get_session_cache_mode() == own
        context.set_session_cache_mode(before)
        context.set_session_ticket_callback(None, lambda *_: None)
        context.set_session_cache_mode(own)
        context.set_session_ticket_callback()
        assert context.get_session_cache_mode() == own


class TestSetting:
    @pytest.mark.parametrize("wrong", [3, "f", b"", object()])
    def test_callbacks_must_be_callable(self, server_context: Any, wrong: Any) -> None:
        """What is not callable is refused when it is set."""
        with pytest.raises(TypeError, match="generate must be callable or None"):
            server_context.set_session_ticket_callback(wrong)
        with pytest.raises(TypeError, match="decrypt must be callable or None"):
            server_context.set_session_ticket_callback(None, wrong)

    def test_takes_contexts_only(self, server_context: Any) -> None:
        """Callbacks belong to a context, not to a connection."""
        for wrong in (None, 3, SSL.Connection(server_context, None)):
            with pytest.raises(
                TypeError, match=r"expected an OpenSSL\.SSL\.Context or an ssl\.SSLContext, not"
            ):
                openssl_tickets.set_session_ticket_callback(wrong)

    def test_removed_callbacks_are_not_called(self, setting: Setting) -> None:
        """Both None removes them, and tickets work as OpenSSL has them."""
        setting.install()
        setting.server_context.set_session_ticket_callback()
        session = setting.session()
        pair = setting.handshake(session)
        assert pair.reused
        assert pair.received == (0 if setting.version == "1.2" else 1)
        assert (setting.recorder.generated, setting.recorder.tickets) == ([], [])

    @pytest.mark.parametrize("which", ["generate", "decrypt"])
    def test_either_alone(self, setting: Setting, which: str) -> None:
        """One of the two may be None."""
        recorder = setting.recorder
        if which == "generate":
            setting.server_context.set_session_ticket_callback(recorder.generate)
        else:
            setting.server_context.set_session_ticket_callback(decrypt=recorder.decrypt)
        session = setting.session()
        assert setting.handshake(session).reused
        assert bool(recorder.generated) is (which == "generate")
        assert bool(recorder.tickets) is (which == "decrypt")

    def test_ticket_on_demand_uses_the_current_callbacks(
        self, server_context: Any, client_context: Any
    ) -> None:
        """A handshake keeps its pair of callbacks; a ticket on demand takes the current one."""
        old, new = Recorder(), Recorder()
        server_context.set_session_ticket_callback(old.generate)
        pair = tls.Pair(server_context, client_context).handshake()
        server_context.set_session_ticket_callback(new.generate)
        pair.server.new_session_ticket()
        pair.server.do_handshake()
        assert (len(old.generated), len(new.generated)) == (2, 1)

    def test_replaced_within_a_handshake(self, setting: Setting) -> None:
        """A pair that is replaced in the middle of a handshake serves it to its end."""
        old, new = Recorder(), Recorder()

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn:
            setting.server_context.set_session_ticket_callback(new.generate, new.decrypt)
            return USE_RENEW

        session = setting.session()
        setting.server_context.set_session_ticket_callback(old.generate, decrypt)
        pair = setting.handshake(session)
        assert pair.reused
        assert (len(old.generated), len(new.generated)) == (1, 0)
        setting.handshake(pair.session())
        assert new.tickets

    def test_renegotiation_is_a_handshake_of_its_own(self, server_file: Path) -> None:
        """A TLS 1.2 renegotiation takes the callbacks that are current when it begins."""
        setting = Setting(server_file, "1.2")
        setting.install()
        pair = setting.handshake(setting.session())
        assert pair.reused
        new = Recorder(b"new", IGNORE_RENEW)
        setting.server_context.set_session_ticket_callback(new.generate, new.decrypt)
        assert pair.server.renegotiate()
        for _ in range(5):
            for step in (pair.server.do_handshake, pair.client_reads, lambda: pair.server.recv(1)):
                with contextlib.suppress(SSL.WantReadError):
                    step()
                pair.move()
        assert pair.server.total_renegotiations() == 1
        assert not tls.session_reused(pair.server)
        assert [ticket.status for ticket in new.tickets] == [TicketStatus.SUCCESS]
        assert new.generated == [None]

    def test_values_are_openssls(self) -> None:
        """The enumerations have OpenSSL's values and names."""
        assert [(s.name, int(s)) for s in TicketStatus] == [
            ("EMPTY", 3),
            ("NO_DECRYPT", 4),
            ("SUCCESS", 5),
            ("SUCCESS_RENEW", 6),
        ]
        assert [(r.name, int(r)) for r in TicketReturn] == [
            ("ABORT", 0),
            ("IGNORE", 1),
            ("IGNORE_RENEW", 2),
            ("USE", 3),
            ("USE_RENEW", 4),
        ]
