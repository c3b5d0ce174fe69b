"""The callback for new sessions."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import textwrap
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import OpenSSL.SSL
import pytest

from openssl_tickets import (
    SSL,
    Session,
    TicketReturn,
    get_session,
    new_session_ticket,
    session_stats,
    set_new_session_callback,
    set_num_tickets,
    set_session_ticket_callback,
    stdlib,
)
from openssl_tickets._core import callbacks, new_session
from tests.support import native, processes, stdlib_tls, tls
from tests.support.callbacks import (
    Announced,
    Boom,
    Callback,
    InBetween,
    Raising,
    Unraisable,
    in_threads,
)
from tests.support.libraries import (
    ERRORS,
    LIBRARIES,
    Setting,
    cache_mode,
    close,
    context_of,
    move,
    no_tickets,
    pointer,
    set_cache_mode,
    shake,
    switch_by_server_name,
    switch_context,
    talk,
)

CACHE_OFF, CACHE_CLIENT, CACHE_SERVER, CACHE_BOTH, NO_STORE, NO_LOOKUP = (
    SSL.SESS_CACHE_OFF,
    SSL.SESS_CACHE_CLIENT,
    SSL.SESS_CACHE_SERVER,
    SSL.SESS_CACHE_BOTH,
    SSL.SESS_CACHE_NO_INTERNAL_STORE,
    SSL.SESS_CACHE_NO_INTERNAL_LOOKUP,
)


def announcing(setting: Setting) -> tuple[Announced, Announced]:
    """Returns what the server's and the client's context announce from now on."""
    by_server, by_client = Announced(), Announced()
    set_new_session_callback(setting.server_context, by_server, "server's")
    set_new_session_callback(setting.client_context, by_client, "client's")
    return by_server, by_client


@pytest.fixture
def announced(setting: Setting) -> tuple[Announced, Announced]:
    return announcing(setting)


def ends_sessions(setting: Setting) -> bool:
    """
    Whether a connection that is freed without a shutdown takes its session with it. libssl does so;
    newer versions of ssl see to it that it does not.
    """
    pair = Setting(setting.library, setting.version, setting.server_file).handshake()
    session = get_session(pair.client)
    assert session is not None
    del pair
    gc.collect()
    ends = not session.is_resumable
    assert ends or setting.library == "ssl"
    return ends


class TestCounts:
    """How often new sessions are announced, on both sides."""

    @pytest.mark.parametrize("number", [0, 1, 2, 10])
    def test_full_handshake(self, setting: Setting, number: int) -> None:
        """Each ticket is announced once on each side; TLS 1.2 knows one only."""
        by_server, by_client = announcing(setting)
        set_num_tickets(setting.server_context, number)
        pair = setting.handshake()
        expected = number if setting.of_tls13 else 1
        assert (len(by_server), len(by_client), pair.received) == (expected,) * 3

    @pytest.mark.parametrize("at_first", [0, 2])
    def test_on_demand(self, setting13: Setting, at_first: int) -> None:
        """A server announces a ticket on demand as it writes it, a client as it comes."""
        by_server, by_client = announcing(setting13)
        set_num_tickets(setting13.server_context, at_first)
        pair = setting13.handshake()
        for _ in range(3):
            new_session_ticket(pair.server)
        assert (len(by_server), len(by_client)) == (at_first, at_first)
        pair.server.write(b"!")
        assert (len(by_server), len(by_client)) == (at_first + 3, at_first)
        assert pair.client_reads() == b"!"
        assert len(by_client) == len(set(by_client.sessions)) == at_first + 3

    def test_resumption(self, setting: Setting, announced: tuple[Announced, Announced]) -> None:
        """A resumption has one new ticket in TLS 1.3, and none in TLS 1.2."""
        by_server, by_client = announced
        setting.handshake()
        by_server.take()
        pair = setting.handshake(by_client.take()[-1])
        assert pair.reused
        assert len(by_server) == len(by_client) == setting.tickets - 1

    def test_renewed_ticket(self, setting: Setting, announced: tuple[Announced, Announced]) -> None:
        """
        A ticket that replaces the used one is announced once on each side; but libssl tells no
        TLS 1.2 client: there, get_session() returns the renewed session.
        """
        by_server, by_client = announced
        setting.renew()
        setting.handshake()
        session = by_client.take()[-1]
        for _ in range(3):
            by_server.take()
            pair = setting.handshake(session)
            assert pair.reused
            assert (len(by_server), pair.received) == (1, 1)
            renewed = get_session(pair.client)
            assert renewed is not None
            assert renewed != session
            assert renewed.ticket != session.ticket
            assert by_client.take() == ([renewed] if setting.of_tls13 else [])
            close(pair)
            session = renewed

    def test_session_ids(self, setting12: Setting) -> None:
        """In TLS 1.2 without tickets, session ids are announced, and go on to be resumed."""
        setting12.use_session_ids()
        by_server, by_client = announcing(setting12)
        pair = setting12.handshake()
        assert (len(by_server), len(by_client)) == (1, 1)
        assert by_server.sessions == by_client.sessions
        assert by_server.sessions[0].session_id
        assert not by_client.sessions[0].has_ticket
        assert all(by_server.agree + by_client.agree)
        assert session_stats(setting12.server_context).number == 1
        close(pair)
        assert setting12.handshake(by_client.sessions[0]).reused
        assert (len(by_server), len(by_client)) == (1, 1)

    def test_session_ids_without_a_cache(self, setting12: Setting) -> None:
        """If the server's cache is off, it gives out no session id, and nobody announces."""
        no_tickets(setting12.server_context)
        set_cache_mode(setting12.server_context, CACHE_OFF)
        by_server, by_client = announcing(setting12)
        setting12.handshake()
        assert len(by_server) == len(by_client) == 0

    def test_stateful_tickets(self, setting13: Setting) -> None:
        """Stateful tickets of TLS 1.3 are announced once each, and go on to be resumed."""
        setting13.use_session_ids()
        by_server, by_client = announcing(setting13)
        pair = setting13.handshake()
        assert (len(by_server), len(by_client)) == (2, 2)
        assert session_stats(setting13.server_context).number == 2
        close(pair)
        assert setting13.handshake(by_client.sessions[-1]).reused
        assert (len(by_server), len(by_client)) == (3, 3)

    def test_one_side_only(self, setting: Setting) -> None:
        """Either side announces without the other, and no more once its callback is removed."""
        by_server, by_client = Announced(), Announced()
        set_new_session_callback(setting.server_context, by_server)
        setting.handshake()
        set_new_session_callback(setting.server_context, None)
        set_new_session_callback(setting.client_context, by_client)
        setting.handshake()
        assert len(by_server) == len(by_client) == setting.tickets
        set_new_session_callback(setting.client_context, None)
        setting.handshake()
        assert len(by_server) == len(by_client) == setting.tickets

    def test_one_context_on_both_sides(self, server_file: Path) -> None:
        """A context of clients and servers at once announces what either gets."""
        context = tls.server_context(server_file)
        announced = Announced()
        set_new_session_callback(context, announced)
        pair = tls.Pair(context, context).handshake()
        connections = [connection for connection, _, _ in announced.calls]
        assert connections == [pair.server, pair.server, pair.client, pair.client]


class TestWhatItIsGiven:
    """The connection, the session and the data."""

    def test_arguments(self, setting: Setting, announced: tuple[Announced, Announced]) -> None:
        """It is given the connection of the user, that one's session of now, and the data."""
        pair = setting.handshake()
        for calls, connection, data in zip(
            announced, (pair.server, pair.client), ("server's", "client's"), strict=True
        ):
            assert len(calls) == setting.tickets
            assert all(of is connection for of, _, _ in calls.calls)
            assert {given for *_, given in calls.calls} == {data}
            assert all(calls.agree)
            assert get_session(connection) == calls.sessions[-1]
        assert len(set(announced[1].sessions)) == setting.tickets

    def test_data_is_none_without(self, setting: Setting) -> None:
        """Without data the callback is given None."""
        announced = Announced()
        set_new_session_callback(setting.client_context, announced)
        setting.handshake()
        assert {data for *_, data in announced.calls} == {None}

    def test_clients_session(
        self, setting: Setting, announced: tuple[Announced, Announced]
    ) -> None:
        """
        A client's session is complete, and a copy: it stays resumable when its connection is freed
        without a shutdown, and does not change the connection's own.
        """
        pair = setting.handshake()
        own = get_session(pair.client)
        assert own is not None
        sessions = announced[1].take()
        announced[0].take()
        for session in sessions:
            assert session.ticket
            assert session.has_ticket
            assert session.protocol == f"TLSv{setting.version}"
            assert session.ticket_lifetime_hint > 0
        sessions[-1].timeout = 17
        assert own.timeout != 17
        assert own == sessions[-1]
        del pair
        gc.collect()
        assert own.is_resumable is not ends_sessions(setting)
        assert all(session.is_resumable for session in sessions)
        written = sessions[-1].to_der()
        for session in [*sessions, Session.from_der(written)]:
            pair = setting.handshake(session)
            assert pair.reused
            close(pair)
            # libssl marks a TLS 1.3 session that was used; one of TLS 1.2 may be used again.
            assert session.is_resumable is not setting.of_tls13

    def test_sockets(self, setting: Setting, announced: tuple[Announced, Announced]) -> None:
        """Over sockets too, the connection is the user's own, in whichever call it comes."""
        with setting.sockets() as sides:

            def serve(_: int) -> None:
                sides[0].do_handshake()
                sides[0].send(b"!")

            def connect(_: int) -> None:
                sides[1].do_handshake()
                assert sides[1].recv(1) == b"!"

            in_threads(2, lambda number: (serve, connect)[number](number))
            for calls, side in zip(announced, sides, strict=True):
                assert [connection for connection, _, _ in calls.calls] == [side] * setting.tickets


class TestCacheMode:
    """Nobody has to know of the modes of the session cache."""

    @pytest.mark.parametrize(
        "mode",
        [
            CACHE_OFF,
            CACHE_CLIENT,
            CACHE_SERVER,
            CACHE_BOTH,
            CACHE_SERVER | SSL.SESS_CACHE_NO_AUTO_CLEAR,
            CACHE_BOTH | SSL.SESS_CACHE_NO_INTERNAL,
            CACHE_SERVER | NO_LOOKUP,
            CACHE_CLIENT | NO_STORE,
        ],
    )
    def test_any_mode(self, setting: Setting, mode: int) -> None:
        """Whatever mode was set before, all is announced, and the mode's own flags stay."""
        contexts = setting.server_context, setting.client_context
        for context in contexts:
            set_cache_mode(context, mode)
        by_server, by_client = announcing(setting)
        setting.handshake()
        assert len(by_server) == len(by_client) == setting.tickets
        assert cache_mode(setting.server_context) == mode | CACHE_CLIENT
        own = mode & (CACHE_CLIENT | NO_STORE)
        assert cache_mode(setting.client_context) == mode | CACHE_CLIENT | (0 if own else NO_STORE)
        # A server's tickets are announced in any mode that is set later, too.
        set_cache_mode(setting.server_context, mode)
        setting.handshake()
        assert len(by_server) == 2 * setting.tickets

    def test_server_keeps_its_cache(self, setting: Setting) -> None:
        """What is added for clients is taken away with a server's first hello, and only then."""
        setting.use_session_ids()
        announcing(setting)
        assert cache_mode(setting.server_context) == CACHE_BOTH | NO_STORE
        session = setting.handshake().session()
        assert cache_mode(setting.server_context) == CACHE_BOTH
        assert session_stats(setting.server_context).number == setting.tickets
        assert setting.handshake(session).reused
        # Set by the program, it stays.
        set_cache_mode(setting.server_context, CACHE_BOTH | NO_STORE)
        before = session_stats(setting.server_context).number
        setting.handshake()
        assert cache_mode(setting.server_context) == CACHE_BOTH | NO_STORE
        assert session_stats(setting.server_context).number == before

    def test_read_and_set_again(self, setting12: Setting) -> None:
        """A server resumes by session id still when its mode is read and set with a flag more."""
        setting12.use_session_ids()
        announcing(setting12)
        mode = cache_mode(setting12.server_context) | SSL.SESS_CACHE_NO_AUTO_CLEAR
        set_cache_mode(setting12.server_context, mode)
        assert setting12.handshake(setting12.handshake().session()).reused

    def test_caches_stay_empty(
        self, setting: Setting, announced: tuple[Announced, Announced]
    ) -> None:
        """Neither a client's sessions nor a server's tickets are put into libssl's cache."""
        for _ in range(20):
            setting.handshake()
        assert len(announced[0]) == len(announced[1]) == 20 * setting.tickets
        assert session_stats(setting.client_context).number == 0
        assert session_stats(setting.server_context).number == 0


class TestInfoCallback:
    """The program's info callback is never touched."""

    @pytest.mark.parametrize("library", ["drop-in", "pyOpenSSL"])
    @pytest.mark.parametrize("own", [None, "before", "after"])
    def test_of_the_context(self, setting: Setting, own: str | None) -> None:
        """It sees the same events with our callback as without, and both are called."""
        events: list[list[tuple[int, int]]] = []
        for with_ours in (False, True):
            context = setting._module.Context(SSL.TLS_METHOD)
            context.set_max_proto_version(tls.VERSIONS[setting.version])
            setting.client_context = context
            seen: list[tuple[int, int]] = []
            announced = Announced()

            def info(_: Any, where: int, result: int, seen: list[Any] = seen) -> None:
                seen.append((where, result))

            if own == "before":
                context.set_info_callback(info)
            if with_ours:
                set_new_session_callback(context, announced)
                set_new_session_callback(context, announced)
            if own == "after":
                context.set_info_callback(info)
            setting.handshake()
            assert len(announced) == (setting.tickets if with_ours else 0)
            events.append(seen)
        assert events[0] == events[1]
        assert bool(events[0]) is (own is not None)

    def test_none_of_ours(self, setting: Setting) -> None:
        """Where the program has none, there is none."""
        context = setting.make_server_context()
        set_new_session_callback(context, Announced())
        assert not native.lib.has_info_callback(pointer(context))

    @pytest.mark.parametrize("library", ["drop-in", "pyOpenSSL"])
    def test_of_the_connection(self, setting12: Setting) -> None:
        """A client with one of its own is told of its session, and has the renewed one."""
        if not hasattr(OpenSSL.SSL.Connection, "set_info_callback"):
            pytest.skip("this version's connections have no info callback")
        by_server, by_client = announcing(setting12)
        setting12.renew()
        session = None
        for _ in range(2):
            pair = setting12.pair(session)
            seen: list[int] = []
            pair.client.set_info_callback(lambda _, where, __, seen=seen: seen.append(where))
            pair.handshake()
            assert SSL.SSL_CB_HANDSHAKE_DONE in seen
            assert pair.reused is (session is not None)
            renewed = get_session(pair.client)
            assert renewed != session
            session = renewed
        assert (len(by_server), len(by_client)) == (2, 1)

    def test_after_a_switch_by_server_name(self, server_file: Path) -> None:
        """Each context's sees the events that it sees without our callbacks."""
        seen: list[list[tuple[int, int]]] = []
        for ours in ((), (0,), (0, 1)):
            events: list[tuple[int, int]] = []
            contexts = [tls.server_context(server_file) for _ in range(2)]
            for place, context in enumerate(contexts):

                def info(
                    _: Any, where: int, __: int, place: int = place, events: list[Any] = events
                ) -> None:
                    events.append((place, where))

                context.set_info_callback(info)
                if place in ours:
                    context.set_new_session_callback(lambda *_: None)
            switch_by_server_name(*contexts)
            pair = tls.Pair(contexts[0], tls.client_context())
            pair.client.set_tlsext_host_name(b"second.example.org")
            pair.handshake()
            seen.append(events)
        assert seen[0] == seen[1] == seen[2]
        assert (0, SSL.SSL_CB_ACCEPT_EXIT) in seen[0]

    def test_that_was_replaced_is_not_called(self, server_file: Path) -> None:
        """A second context's old info callback, which pyOpenSSL has freed, is never called."""
        output = run(
            server_file,
            """
            import gc
            first, second = (tls.server_context(SERVER_FILE) for _ in range(2))
            calls = []
            first.set_tlsext_servername_callback(lambda connection: connection.set_context(second))
            second.set_info_callback(lambda *_: calls.append("old"))
            second.set_new_session_callback(lambda *_: None)
            second.set_info_callback(lambda *_: calls.append("new"))
            first.set_new_session_callback(lambda *_: calls.append("session"))
            gc.collect()
            # It might have the place of the one that is freed.
            kind = "void (*)(void *, int, int)"
            other = SSL._ffi.callback(kind, lambda *_: calls.append("other"))
            pair = tls.Pair(first, tls.client_context())
            pair.client.set_tlsext_host_name(b"localhost")
            pair.handshake()
            assert not {"old", "other"} & set(calls), calls
            print(calls.count("session"))
            """,
        )
        assert output == "2\n"


class TestSwitchedContexts:
    """libssl goes on with a connection's first context, and so does the callback."""

    @pytest.mark.parametrize("session_ids", [False, True])
    def test_by_server_name(self, setting: Setting, session_ids: bool) -> None:
        """It is the first context's callback that is called, as for everything about tickets."""
        first, second = setting.server_context, setting.make_server_context()
        by_first, by_second = Announced(), Announced()
        if session_ids:
            setting.use_session_ids()
            no_tickets(second)
            set_cache_mode(second, CACHE_SERVER)
        switch_by_server_name(first, second)
        set_new_session_callback(second, by_second)
        for callback, expected in ((by_first, setting.tickets), (None, 0)):
            set_new_session_callback(first, callback)
            pair = setting.pair(server_name="second.example.org").handshake()
            assert context_of(pair.server) is second
            assert len(by_second) == 0
            assert [of for of, _, _ in by_first.calls] == [pair.server] * expected
            by_first.take()

    def test_by_server_name_without_the_first(self, setting: Setting) -> None:
        """It lives on for a connection when its Context is garbage, and then no longer."""
        first, second = setting.server_context, setting.make_server_context()
        before = len(callbacks.new_session_callbacks)
        announced = Announced()
        gone = weakref.ref(announced)
        set_new_session_callback(first, announced)
        switch_by_server_name(first, second)
        # pyOpenSSL would free its own callback while libssl is in it.
        kept = getattr(first, "_tlsext_servername_callback", None)
        pair = setting.pair(server_name="second.example.org")
        context = weakref.ref(first)
        garbage: list[bool] = []

        def generate(*_: Any) -> None:
            gc.collect()
            garbage.append(context() is None)

        set_session_ticket_callback(first, generate)
        setting.server_context = None
        del first
        pair.handshake()
        assert garbage == [True] * setting.tickets
        assert [of for of, _, _ in announced.calls] == [pair.server] * setting.tickets
        announced.take()
        del announced
        assert gone() is not None
        del pair
        gc.collect()
        assert gone() is None
        assert len(callbacks.new_session_callbacks) == before
        del kept

    @pytest.mark.parametrize("dropped", [False, True])
    def test_client_before_its_handshake(self, setting: Setting, dropped: bool) -> None:
        """A client that is given another context is told of its tickets by its first's callback."""
        by_first, by_other = Announced(), Announced()
        other = setting.make_client_context()
        set_new_session_callback(setting.client_context, by_first)
        set_new_session_callback(other, by_other)
        pair = setting.pair()
        switch_context(pair.client, other)
        if dropped:
            setting.client_context = None
            gc.collect()
        pair.handshake()
        assert context_of(pair.client) is other
        assert len(by_other) == 0
        assert [of for of, _, _ in by_first.calls] == [pair.client] * setting.tickets
        assert by_first.sessions[-1] == get_session(pair.client)

    def test_dropped_within_callbacks(self, server_file: Path) -> None:
        """Callbacks may give the connection another context, whose last reference they drop."""
        output = run(
            server_file,
            """
            import gc
            from openssl_tickets import TicketReturn
            told = []
            def plain():
                # pyOpenSSL frees an info callback with its context, while libssl is in it.
                context = SSL.Context(SSL.TLS_METHOD)
                context.set_max_proto_version(tls.VERSIONS[version])
                return context
            for version in ("1.2", "1.3"):
                server_context = tls.server_context(SERVER_FILE, version)
                pair = tls.Pair(server_context, tls.client_context(version))
                session = pair.handshake().session()
                server_context.set_session_ticket_callback(
                    decrypt=lambda *a: TicketReturn.USE_RENEW if a[1].status >= 5 else None
                )
                def switch(connection, *_):
                    connection.set_context(plain())
                    told.append(gc.collect())
                def info(connection, where, result):
                    if where & SSL.SSL_CB_HANDSHAKE_DONE:
                        switch(connection)
                for _ in range(3):
                    first, second = plain(), plain()
                    second.set_info_callback(info)
                    kept = second._info_callback
                    for context in (first, second):
                        context.set_new_session_callback(switch)
                    pair = tls.Pair(server_context, first)
                    pair.client.set_context(second)
                    openssl_tickets.set_session(pair.client, session)
                    del first, second, context
                    pair.handshake()
                    assert openssl_tickets.session_reused(pair.client)
                    session = openssl_tickets.get_session(pair.client).copy()
                    del pair
            print(len(told))
            """,
        )
        # The info callback of each, and a ticket in TLS 1.3.
        assert output == f"{3 * 1 + 3 * 2}\n"


class TestBesideTicketCallbacks:
    """Together with set_session_ticket_callback."""

    @pytest.mark.parametrize("tickets_first", [False, True])
    def test_either_order(self, setting: Setting, tickets_first: bool) -> None:
        """Whichever is set first, generate is asked first, and its data is in the announced."""
        order: list[tuple[str, Any]] = []

        def generate(connection: Any, data: Any) -> bytes:
            order.append(("generate", connection))
            return b"data"

        def announce(connection: Any, session: Session, data: Any) -> None:
            order.append((session.ticket_appdata.decode(), connection))

        setters: list[Callable[[], None]] = [
            lambda: set_new_session_callback(setting.server_context, announce),
            lambda: set_session_ticket_callback(setting.server_context, generate),
        ]
        for setter in reversed(setters) if tickets_first else setters:
            setter()
        server = setting.handshake().server
        assert order == [("generate", server), ("data", server)] * setting.tickets

    def test_generate_that_raises(self, setting: Setting, unraisable: Unraisable) -> None:
        """A ticket that generate has refused is not announced."""
        announced, generate = Announced(), Raising(Boom)
        set_new_session_callback(setting.server_context, announced)
        set_session_ticket_callback(setting.server_context, generate)
        with pytest.raises((Boom, *ERRORS)) as caught:
            setting.handshake()
        error = generate.raised[0][0]
        assert caught.value is error or unraisable.seen[0][0] is error
        assert len(announced) == 0

    def test_removing_one_leaves_the_other(self, setting: Setting) -> None:
        """The two kinds of callbacks are set and removed apart from each other."""
        announced = Announced()
        generated: list[Any] = []

        def generate(connection: Any, data: Any) -> None:
            generated.append(connection)

        set_new_session_callback(setting.server_context, announced)
        set_session_ticket_callback(setting.server_context, generate)
        set_session_ticket_callback(setting.server_context)
        setting.handshake()
        assert (len(announced), len(generated)) == (setting.tickets, 0)
        set_session_ticket_callback(setting.server_context, generate)
        set_new_session_callback(setting.server_context, None)
        setting.handshake()
        assert (len(announced), len(generated)) == (setting.tickets, setting.tickets)

    @pytest.mark.parametrize("answer", [TicketReturn.IGNORE, TicketReturn.IGNORE_RENEW])
    def test_ignored_ticket(
        self, setting: Setting, announced: tuple[Announced, Announced], answer: TicketReturn
    ) -> None:
        """What decrypt ignores is followed by as many announcements as there are tickets."""
        # Else a TLS 1.2 server gives out a session id where it sends no ticket.
        set_cache_mode(setting.server_context, CACHE_OFF)
        by_server, by_client = announced
        close(setting.handshake())
        session = by_client.take()[-1]
        by_server.take()
        set_session_ticket_callback(setting.server_context, None, lambda *_: answer)
        pair = setting.handshake(session)
        assert not pair.reused
        expected = setting.tickets if answer == TicketReturn.IGNORE_RENEW else 0
        assert pair.received == len(by_server) == len(by_client) == expected


@dataclass(frozen=True)
class Frozen(Exception):
    """An exception whose attributes cannot be set."""

    text: str


KINDS = [Boom, KeyboardInterrupt, SystemExit, Frozen]


def by_id(caught: Sequence[tuple[BaseException, Any]]) -> list[tuple[int, int]]:
    return sorted((id(error), id(of)) for error, of in caught)


RAISING = [*LIBRARIES, "ssl, raise_callback_errors"]


@pytest.fixture(params=RAISING)
def raising(request: pytest.FixtureRequest, version: str, server_file: Path) -> Setting:
    """Settings whose connections raise what other callbacks raise, and others."""
    return raising_setting(request.param, version, server_file)


def raising_setting(name: str, version: str, server_file: Path) -> Setting:
    setting = Setting(name.partition(",")[0], version, server_file)
    if "raise" in name:
        stdlib.raise_callback_errors(setting.server_context)
        stdlib.raise_callback_errors(setting.client_context)
    return setting


@pytest.fixture(params=RAISING)
def raising13(request: pytest.FixtureRequest, server_file: Path) -> Setting:
    return raising_setting(request.param, "1.3", server_file)


class TestExceptions:
    """What a callback raises goes to sys.unraisablehook, and the connection goes on."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_a_handshake(
        self, raising: Setting, unraisable: Unraisable, kind: type[BaseException]
    ) -> None:
        """No do_handshake and no read raises it; the hook has each, with its connection."""
        of_server, of_client = Raising(kind), Raising(kind)
        set_new_session_callback(raising.server_context, of_server)
        set_new_session_callback(raising.client_context, of_client)
        pair = raising.handshake()
        assert len(of_server.raised) == len(of_client.raised) == pair.received == raising.tickets
        assert {id(of) for _, of in of_server.raised} == {id(pair.server)}
        assert {id(of) for _, of in of_client.raised} == {id(pair.client)}
        assert by_id(unraisable.seen) == by_id(of_server.raised + of_client.raised)
        for error, _ in unraisable.seen:
            assert error.__context__ is None
            assert error.__traceback__ is not None
            assert error.__traceback__.tb_next.tb_frame.f_code is Raising.__call__.__code__
        assert native.lib.peek_error() == 0
        talk(pair)
        assert len(unraisable.seen) == 2 * raising.tickets

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_a_read_and_a_write(
        self, raising13: Setting, unraisable: Unraisable, kind: type[BaseException]
    ) -> None:
        """A write has written, and a read returns the data that comes with the tickets."""
        of_server, of_client = Raising(kind), Raising(kind)
        pair = raising13.pair()
        shake(pair)
        set_new_session_callback(raising13.server_context, of_server)
        set_new_session_callback(raising13.client_context, of_client)
        new_session_ticket(pair.server)
        pair.server.do_handshake()
        new_session_ticket(pair.server)
        assert pair.server.write(b"data") == 4
        assert by_id(unraisable.seen) == by_id(of_server.raised)
        assert len(of_server.raised) == 2
        move(pair)
        assert pair.client.read(100) == b"data"
        assert len(of_client.raised) == pair.received == 4
        assert by_id(unraisable.seen) == by_id(of_server.raised + of_client.raised)
        talk(pair)

    @pytest.mark.parametrize("method", ["recv_into", "recv", "peek"])
    def test_of_other_reads_of_the_drop_in(
        self, server_file: Path, unraisable: Unraisable, method: str
    ) -> None:
        """No way to read raises it, whether there is data or not."""
        setting = Setting("drop-in", "1.3", server_file)
        callback = Raising(Boom)
        set_new_session_callback(setting.client_context, callback)
        set_num_tickets(setting.server_context, 1)
        pair = setting.pair()
        calls: dict[str, Callable[[], Any]] = {
            "recv_into": lambda: pair.client.recv_into(bytearray(100)),
            "recv": lambda: pair.client.recv(100),
            "peek": lambda: pair.client.recv(100, socket.MSG_PEEK),
        }
        call = calls[method]
        shake(pair)
        with pytest.raises(SSL.WantReadError):
            call()
        new_session_ticket(pair.server)
        pair.server.write(b"data")
        pair.move()
        assert call() in (4, b"data")
        assert len(callback.raised) == 2
        assert by_id(unraisable.seen) == by_id(callback.raised)

    def test_failure_is_not_hidden(self, raising13: Setting, unraisable: Unraisable) -> None:
        """What ends the connection in the same read is raised."""
        callback = Raising(Boom)
        set_num_tickets(raising13.server_context, 0)
        set_new_session_callback(raising13.client_context, callback)
        pair = raising13.pair()
        shake(pair)
        new_session_ticket(pair.server)
        pair.server.do_handshake()
        forged = b"\x17\x03\x03\x00\x20" + bytes(32)
        move(pair)
        (pair.to_client.write if raising13.library == "ssl" else pair.client.bio_write)(forged)
        # ssl tells the last error of libssl only, which from OpenSSL 3.2 on is another.
        with pytest.raises(ERRORS, match=r"(?i)decryption failed or bad record|record layer fail"):
            pair.client.read(100)
        assert len(callback.raised) == 1
        assert by_id(unraisable.seen) == by_id(callback.raised)

    def test_beside_one_of_generate(self, raising13: Setting, unraisable: Unraisable) -> None:
        """With one that ends the connection behind it, none of the two is lost."""
        callback, fatal = Raising(Boom), Boom("of generate")
        generated: list[Any] = []

        def generate(connection: Any, data: Any) -> None:
            generated.append(connection)
            if len(generated) == 2:
                raise fatal

        set_new_session_callback(raising13.server_context, callback)
        set_session_ticket_callback(raising13.server_context, generate)
        pair = raising13.pair()
        with pytest.raises((Boom, *ERRORS)) as caught:
            pair.handshake()
        expected = [(callback.raised[0][0], pair.server)]
        if not isinstance(caught.value, Boom):
            expected.append((fatal, pair.server))
        assert caught.value is fatal or len(expected) == 2
        assert by_id(unraisable.seen) == by_id(expected)

    def test_session_resumes_all_the_same(self, raising: Setting, unraisable: Unraisable) -> None:
        """The session that a raising callback was given is as good as any."""
        kept: list[Session] = []

        def keep(connection: Any, session: Session, data: Any) -> None:
            kept.append(session)
            raise Boom

        set_new_session_callback(raising.client_context, keep)
        raising.handshake()
        set_new_session_callback(raising.client_context, None)
        assert raising.handshake(kept[-1]).reused
        assert len(unraisable.seen) == raising.tickets

    def test_sockets(self, raising: Setting, unraisable: Unraisable) -> None:
        """It is the same with sockets."""
        of_server, of_client = Raising(Boom), Raising(Boom)
        set_new_session_callback(raising.server_context, of_server)
        set_new_session_callback(raising.client_context, of_client)
        with raising.sockets() as sides:
            in_threads(2, lambda number: sides[number].do_handshake())
            for source, sink in (sides, sides[::-1]):
                source.send(b"!")
                assert sink.recv(1) == b"!"
            assert by_id(unraisable.seen) == by_id(of_server.raised + of_client.raised)
            assert len(unraisable.seen) == 2 * raising.tickets
            assert {id(of) for _, of in unraisable.seen} == {id(side) for side in sides}

    def test_asyncio(self, server_file: Path, unraisable: Unraisable) -> None:
        """asyncio, which reads until there is no more, goes on with what it has read."""
        setting = Setting("ssl", "1.3", server_file)
        stdlib.raise_callback_errors(setting.client_context)
        callback = Raising(Boom)
        set_num_tickets(setting.server_context, 1)
        set_new_session_callback(setting.client_context, callback)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            new_session_ticket(writer.get_extra_info("ssl_object"))
            writer.write(b", world")
            await writer.drain()
            await reader.read()
            writer.close()

        async def main() -> bytes:
            server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=setting.server_context)
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=setting.client_context, server_hostname=""
            )
            data = await reader.readexactly(12)
            writer.close()
            server.close()
            return data

        assert asyncio.run(asyncio.wait_for(main(), tls.TIMEOUT)) == b"hello, world"
        assert len(callback.raised) == 2
        # asyncio of CPython 3.10 has a ResourceWarning of its own.
        seen = [(error, of) for error, of in unraisable.seen if isinstance(error, Boom)]
        assert by_id(seen) == by_id(callback.raised)


class TestLifetime:
    """How long callbacks live."""

    @pytest.mark.parametrize("how", ["gone", "removed", "replaced"])
    def test_goes_with_the_context(self, setting: Setting, how: str) -> None:
        """Callbacks and their data are freed when the context is, or when others come."""
        gc.collect()
        kept = callbacks.new_session_callbacks
        before = len(kept)
        contexts = [setting.make_server_context() for _ in range(20)]
        alive = []
        for context in contexts:
            objects = [Callback() for _ in range(2)]
            set_new_session_callback(context, *objects)
            alive += [weakref.ref(each) for each in objects]
        del objects
        assert len(kept) == before + 20
        assert all(ref() is not None for ref in alive)
        if how == "gone":
            del context, contexts
            gc.collect()
        else:
            for context in contexts:
                set_new_session_callback(context, None if how == "removed" else Callback())
        assert len(kept) == before + (20 if how == "replaced" else 0)
        assert all(ref() is None for ref in alive)

    def test_after_handshakes(self, setting: Setting) -> None:
        """Nothing is left behind by connections that were announced, closed or not."""
        gc.collect()
        before = len(callbacks.new_session_callbacks)
        by_server, by_client = announcing(setting)
        alive = [weakref.ref(each) for each in (by_server, by_client)]
        for number in range(10):
            pair = setting.handshake()
            if number % 2:
                close(pair)
        del pair
        by_server.take()
        by_client.take()
        del by_server, by_client
        contexts = [weakref.ref(setting.server_context), weakref.ref(setting.client_context)]
        setting.server_context = setting.client_context = None
        gc.collect()
        assert len(callbacks.new_session_callbacks) == before
        assert all(ref() is None for ref in alive + contexts)


class TestThreads:
    """Callbacks under several threads, and callbacks that set callbacks."""

    def test_each_on_its_own_connection(self, setting: Setting) -> None:
        """4 threads with 60 handshakes each: every session is announced, on its own thread."""
        owners: dict[int, int] = {}
        counts = {"server": [0] * 4, "client": [0] * 4}
        number_of_thread = threading.local()

        def announce(connection: Any, session: Session, data: str) -> None:
            assert owners[id(connection)] == threading.get_ident()
            counts[data][number_of_thread.value] += 1

        set_new_session_callback(setting.server_context, announce, "server")
        set_new_session_callback(setting.client_context, announce, "client")

        def work(number: int) -> None:
            number_of_thread.value = number
            for turn in range(60):
                pair = setting.pair()
                owners[id(pair.server)] = owners[id(pair.client)] = threading.get_ident()
                pair.handshake()
                if turn % 2:
                    close(pair)

        in_threads(4, work)
        expected = [60 * setting.tickets] * 4
        assert counts == {"server": expected, "client": expected}

    @pytest.mark.parametrize("last", [True, False])
    def test_set_by_threads_at_once(
        self, setting13: Setting, monkeypatch: pytest.MonkeyPatch, last: bool
    ) -> None:
        """C reports sessions if there is a callback, whatever other threads set meanwhile."""
        announced = Announced()
        context = setting13.server_context

        def install(is_wanted: bool) -> None:
            set_new_session_callback(context, announced if is_wanted else None)

        with monkeypatch.context() as patch:
            in_between = InBetween("openssl_tickets_set_new_session", lambda: install(last))
            patch.setattr(new_session, "lib", in_between)
            install(not last)
        setting13.handshake()
        assert len(announced) == (2 if last else 0)

    def test_replaced_while_threads_shake_hands(self, setting: Setting) -> None:
        """500 replacements and removals under 3 threads: the data fits its callback."""
        done = threading.Event()
        handshakes = [0] * 3
        calls: list[bool] = []

        def callback_number(number: int) -> Callable[..., None]:
            def callback(of: Any, session: Session, data: int) -> None:
                calls.append(data == number and type(session) is Session)

            return callback

        def shake_hands(thread: int) -> None:
            while not done.is_set():
                setting.handshake()
                handshakes[thread] += 1

        def replace() -> None:
            try:
                for number in range(500):
                    callback = None if number % 4 == 3 else callback_number(number)
                    for context in (setting.server_context, setting.client_context):
                        set_new_session_callback(context, callback, number)
                    done.wait(0.001)
            finally:
                done.set()

        in_threads(4, lambda thread: replace() if thread == 3 else shake_hands(thread))
        assert min(handshakes) > 3
        assert calls
        assert all(calls)

    def test_callback_sets_callbacks(self, setting: Setting) -> None:
        """A callback may replace and remove itself."""
        calls: list[str] = []

        def first(connection: Any, session: Session, data: Any) -> None:
            calls.append("first")
            set_new_session_callback(setting.client_context, second)

        def second(connection: Any, session: Session, data: Any) -> None:
            calls.append("second")
            set_new_session_callback(setting.client_context, None)

        set_new_session_callback(setting.client_context, first)
        set_num_tickets(setting.server_context, 10)
        for _ in range(3):
            setting.handshake()
        assert calls == ["first", "second"]

    def test_handshake_within(self, setting: Setting) -> None:
        """A callback may resume the session at once, on another connection."""
        reused: list[bool] = []

        def resume(connection: Any, session: Session, data: Any) -> None:
            if len(reused) < 2:
                reused.append(False)
                pair = setting.handshake(session)
                assert pair.client is not connection
                reused[reused.index(False)] = pair.reused

        set_new_session_callback(setting.client_context, resume)
        setting.handshake()
        assert reused == [True] * setting.tickets


def run(server_file: Path, program: str) -> str:
    """Runs *program* after a common beginning; it must end well and print no error."""
    beginning = f"""
        import faulthandler, os, sys, threading, time, warnings
        faulthandler.dump_traceback_later(60, exit=True)
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork with threads
        sys.path.append({str(Path(__file__).parents[2])!r})
        import openssl_tickets
        from openssl_tickets import SSL, set_new_session_callback
        from tests.support import stdlib_tls, tls
        SERVER_FILE = {str(server_file)!r}
        def both(module, callback, data=None, version="1.3"):
            contexts = module.server_context(SERVER_FILE, version), module.client_context(version)
            for context in contexts:
                set_new_session_callback(context, callback, data)
            return contexts
        """
    return processes.run(textwrap.dedent(beginning) + textwrap.dedent(program))


@pytest.mark.parametrize("module", ["tls", "stdlib_tls"])
class TestProcesses:
    """Each runs in a process of its own."""

    def test_exit_with_all_alive(self, server_file: Path, module: str) -> None:
        """The interpreter ends without a word, with connections, sessions and callbacks alive."""
        output = run(
            server_file,
            f"""
            kept = []
            for version in ("1.2", "1.3"):
                contexts = both({module}, lambda *arguments: kept.append(arguments), kept, version)
                for number in range(10):
                    kept.append({module}.Pair(*contexts))
                    if number % 2:
                        kept[-1].handshake()
            sys.modules["kept"] = kept
            {module}.Pair(*contexts).handshake()
            print("alive")
            """,
        )
        assert output == "alive\n"

    def test_exit_with_all_dropped(self, server_file: Path, module: str) -> None:
        """It does so too where its end frees all of them."""
        output = run(
            server_file,
            f"""
            def ignore(*_): pass
            contexts = both({module}, ignore)
            pairs = [{module}.Pair(*contexts).handshake() for _ in range(10)]
            print("alive")
            """,
        )
        assert output == "alive\n"

    def test_exit_with_daemon_threads(self, server_file: Path, module: str) -> None:
        """It does so while daemon threads shake hands and are told of sessions."""
        output = run(
            server_file,
            f"""
            counts, calls = [0] * 3, []
            contexts = both({module}, lambda *_: calls.append(None))
            def work(number):
                while True:
                    {module}.Pair(*contexts).handshake()
                    counts[number] += 1
            for number in range(3):
                threading.Thread(target=work, args=(number,), daemon=True).start()
            while min(counts) < 5:
                time.sleep(0.01)
            assert calls
            print("busy")
            sys.stdout.flush()
            """,
        )
        assert output == "busy\n"

    def test_late_handshake(self, server_file: Path, module: str) -> None:
        """Once the interpreter is going down, handshakes work and nothing is announced."""
        output = run(
            server_file,
            f"""
            calls = []
            contexts = both({module}, lambda *_: calls.append(None))
            class Late:
                def __init__(self):
                    # Held here, since modules are taken down before this runs.
                    self.pair, self.calls, self.write = {module}.Pair(*contexts), calls, os.write
                def __del__(self):
                    try:
                        self.pair.handshake()
                    except BaseException as error:
                        self.write(1, repr(error).encode())
                    else:
                        self.write(1, b"%d calls" % len(self.calls))
            sys.modules["late"] = Late()
            """,
        )
        assert output == "0 calls"

    def test_fork(self, server_file: Path, module: str) -> None:
        """A child goes on with its parent's contexts, and is told of its own sessions."""
        output = run(
            server_file,
            f"""
            calls = []
            contexts = both({module}, lambda of, session, data: calls.append(of))
            old = [{module}.Pair(*contexts).handshake() for _ in range(3)]
            statuses = []
            for _ in range(5):
                calls.clear()
                child = os.fork()
                if child == 0:
                    try:
                        pair = {module}.Pair(*contexts).handshake()
                        assert calls == [pair.server] * 2 + [pair.client] * 2, calls
                        del pair
                        old.clear()
                        set_new_session_callback(contexts[0], None)
                        os._exit(0)
                    except BaseException as error:
                        print(repr(error), file=sys.stderr, flush=True)
                        os._exit(1)
                statuses.append(os.waitpid(child, 0)[1])
            print(statuses)
            """,
        )
        assert output == f"{[0] * 5}\n"

    def test_fork_with_threads_in_callbacks(self, server_file: Path, module: str) -> None:
        """A child forked while threads are in callbacks works on."""
        output = run(
            server_file,
            f"""
            inside, go_on = threading.Barrier(3), threading.Event()
            def slow(of, session, data):
                if not go_on.is_set():
                    inside.wait(60)
                    go_on.wait(60)
            def enter():
                contexts = {module}.server_context(SERVER_FILE), {module}.client_context()
                set_new_session_callback(contexts[0], slow)
                {module}.Pair(*contexts).handshake()
            threads = [threading.Thread(target=enter) for _ in range(2)]
            for thread in threads:
                thread.start()
            inside.wait(60)
            statuses = []
            for _ in range(5):
                child = os.fork()
                if child == 0:
                    calls = []
                    contexts = both({module}, lambda *_: calls.append(None))
                    pair = {module}.Pair(*contexts).handshake()
                    os._exit(len(calls) != 4)
                statuses.append(os.waitpid(child, 0)[1])
            go_on.set()
            for thread in threads:
                thread.join()
            print(statuses)
            """,
        )
        assert output == f"{[0] * 5}\n"


class TestBadInput:
    """What is refused, and what is not."""

    @pytest.mark.parametrize("wrong", [3, "callback", [], b"", False])
    def test_not_callable(self, setting: Setting, wrong: Any) -> None:
        """What cannot be called is refused, and what was set stays."""
        announced = Announced()
        set_new_session_callback(setting.client_context, announced)
        before = dict(callbacks.new_session_callbacks)
        with pytest.raises(TypeError, match="callback must be callable or None, not"):
            set_new_session_callback(setting.client_context, wrong)
        assert callbacks.new_session_callbacks == before
        setting.handshake()
        assert announced.take()

    def test_none_without_any(self, setting: Setting) -> None:
        """To remove what was never set does nothing."""
        before = cache_mode(setting.client_context)
        for _ in range(2):
            set_new_session_callback(setting.client_context, None)
            set_new_session_callback(setting.server_context, None)
        assert cache_mode(setting.client_context) == before
        setting.handshake()

    def test_no_callback(self, setting: Setting) -> None:
        """The callback is an argument that must be given."""
        with pytest.raises(TypeError):
            set_new_session_callback(setting.client_context)  # type: ignore[call-overload]


def test_context_subclasses(server_file: Path, version: str) -> None:
    """Subclasses of both libraries' contexts work."""

    class MyContext(SSL.Context):
        pass

    class MySSLContext(ssl.SSLContext):
        pass

    for module, kind in ((tls, MyContext), (stdlib_tls, MySSLContext)):
        announced = Announced()
        server_context = module.server_context(server_file, version, kind)
        set_new_session_callback(server_context, announced)
        module.Pair(server_context, module.client_context(version)).handshake()
        assert len(announced) == (2 if version == "1.3" else 1)


def test_method_of_the_drop_in(server_file: Path) -> None:
    """The drop-in's method does what the function does, with and without data."""
    client_context = tls.client_context()
    announced = Announced()
    for arguments, data in (((announced, "new"), "new"), ((announced,), None)):
        client_context.set_new_session_callback(*arguments)
        tls.Pair(tls.server_context(server_file), client_context).handshake()
        assert {of for *_, of in announced.calls} == {data}
        announced.take()
