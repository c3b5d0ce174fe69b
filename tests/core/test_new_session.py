"""Announcements of new sessions, and of those that are to be forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import selectors
import socket
import ssl
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import OpenSSL.SSL
import pytest

from openssl_tickets import (
    SSL,
    Session,
    TicketReturn,
    callbacks,
    get_session,
    new_session_ticket,
    session_stats,
    set_new_session_callback,
    set_num_tickets,
    set_remove_session_callback,
    set_session,
    set_session_ticket_callback,
    stdlib,
)
from openssl_tickets._adapters import to_ssl_ctx
from tests.core.test_callbacks import Callback, in_threads
from tests.core.test_ticket_callback import Boom, Unraisable
from tests.support import native, processes, stdlib_tls, tls
from tests.support.ends import WANTS

DAY = 86_400  # seconds
CACHE_OFF, CACHE_CLIENT, CACHE_SERVER, CACHE_BOTH = (
    SSL.SESS_CACHE_OFF,
    SSL.SESS_CACHE_CLIENT,
    SSL.SESS_CACHE_SERVER,
    SSL.SESS_CACHE_BOTH,
)


class Setting:
    """A server's and a client's context of one library and one TLS version."""

    def __init__(self, library: str, version: str, server_file: Path) -> None:
        self.library = library
        self.version = version
        self.server_file = server_file
        self.of_tls13 = version == "1.3"
        self.server_context = self.make_server_context()
        self.client_context = self.make_client_context()

    def make_server_context(self) -> Any:
        if self.library == "ssl":
            return stdlib_tls.server_context(self.server_file, self.version)
        return tls.server_context(self.server_file, self.version, self._module().Context)

    def make_client_context(self) -> Any:
        if self.library == "ssl":
            return stdlib_tls.client_context(self.version)
        return tls.client_context(self.version, self._module().Context)

    def _module(self) -> Any:
        return SSL if self.library == "drop-in" else OpenSSL.SSL

    def pair(self, session: Any = None) -> Any:
        made: Any
        if self.library == "ssl":
            made = stdlib_tls.Pair(self.server_context, self.client_context)
        else:
            made = tls.Pair(
                self.server_context, self.client_context, None, self._module().Connection
            )
        if session is not None:
            set_session(made.client, session)
        return made

    def handshake(self, session: Any = None) -> Any:
        return self.pair(session).handshake()

    def use_session_ids(self) -> None:
        """Has a TLS 1.2 server give out session ids, and look them up in its cache."""
        no_tickets(self.server_context)
        native.lib.set_session_cache_mode(pointer(self.server_context), CACHE_SERVER)

    def renew(self) -> None:
        """Has the server send a new ticket in each resumption."""
        set_session_ticket_callback(self.server_context, None, renewing)


def ends_sessions(setting: Setting) -> bool:
    """
    Whether a connection that is freed without a shutdown takes its session with it. libssl does so;
    newer versions of ssl see to it that it does not.
    """
    other = Setting(setting.library, setting.version, setting.server_file)
    pair = other.handshake()
    session = get_session(pair.client)
    assert session is not None
    del pair
    gc.collect()
    ends = not session.is_resumable
    assert ends or setting.library == "ssl"
    return ends


def skip_unless_sessions_end(setting: Setting) -> None:
    if not ends_sessions(setting):
        pytest.skip("this version of ssl lets no session end with its connection")


def no_tickets(context: Any) -> None:
    if isinstance(context, ssl.SSLContext):
        context.options |= ssl.OP_NO_TICKET
    else:
        context.set_options(SSL.OP_NO_TICKET)


def renewing(connection: Any, ticket: Any, data: Any) -> TicketReturn | None:
    return TicketReturn.USE_RENEW if ticket.session is not None else None


def pointer(context: Any) -> Any:
    return to_ssl_ctx(context).pointer


def cache_mode(context: Any) -> int:
    return int(native.lib.get_session_cache_mode(pointer(context)))


class Announced:
    """A callback that keeps what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Session, Any]] = []
        self.agree: list[bool] = []

    def __call__(self, connection: Any, session: Session, data: Any) -> None:
        assert type(session) is Session
        self.calls.append((connection, session, data))
        self.agree.append(get_session(connection) == session)

    @property
    def sessions(self) -> list[Session]:
        return [session for _, session, _ in self.calls]

    def __len__(self) -> int:
        return len(self.calls)

    def take(self) -> list[Session]:
        """Returns the sessions so far, and forgets them."""
        sessions = self.sessions
        self.calls.clear()
        return sessions


class Removed(Announced):
    """The same for removed sessions, with a context."""

    def __call__(self, context: Any, session: Session, data: Any) -> None:
        assert type(session) is Session
        self.calls.append((context, session, data))


def wait_until(condition: Callable[[], object]) -> None:
    """Lets the main thread run bytecodes, pending calls among them, until *condition* holds."""
    deadline = time.monotonic() + tls.TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it has not come"


def run_pending_calls() -> None:
    """Lets the main thread come round to what is pending by now."""
    for _ in range(1000):
        len(())


@pytest.fixture(params=["drop-in", "pyOpenSSL", "ssl"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def setting(library: str, version: str, server_file: Path) -> Setting:
    return Setting(library, version, server_file)


@pytest.fixture
def setting12(library: str, server_file: Path) -> Setting:
    return Setting(library, "1.2", server_file)


@pytest.fixture
def setting13(library: str, server_file: Path) -> Setting:
    return Setting(library, "1.3", server_file)


@pytest.fixture
def announced(setting: Setting) -> tuple[Announced, Announced]:
    """What the server's and the client's context of *setting* announce."""
    return announcing(setting)


def announcing(setting: Setting) -> tuple[Announced, Announced]:
    by_server, by_client = Announced(), Announced()
    set_new_session_callback(setting.server_context, by_server, "server's")
    set_new_session_callback(setting.client_context, by_client, "client's")
    return by_server, by_client


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Unraisable]:
    hook = Unraisable()
    monkeypatch.setattr(sys, "unraisablehook", hook)
    yield hook
    hook.seen.clear()


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

    def test_on_the_server_before_the_client(self, setting13: Setting) -> None:
        """A server announces a ticket as it makes it, a client as it comes."""
        by_server, by_client = announcing(setting13)
        pair = setting13.handshake()
        assert (len(by_server), len(by_client)) == (2, 2)
        new_session_ticket(pair.server)
        assert (len(by_server), len(by_client)) == (2, 2)
        pair.server.write(b"!")
        assert (len(by_server), len(by_client)) == (3, 2)
        assert pair.client_reads() == b"!"
        assert (len(by_server), len(by_client)) == (3, 3)

    def test_on_demand(self, setting13: Setting) -> None:
        """Tickets on demand are announced as they are written, where there were none before."""
        by_server, by_client = announcing(setting13)
        set_num_tickets(setting13.server_context, 0)
        pair = setting13.handshake()
        for _ in range(3):
            new_session_ticket(pair.server)
        pair.server.write(b"!")
        pair.client_reads()
        assert (len(by_server), len(by_client)) == (3, 3)
        assert len(set(by_client.sessions)) == 3

    def test_resumption(self, setting: Setting, announced: tuple[Announced, Announced]) -> None:
        """A resumption has one new ticket in TLS 1.3, and none in TLS 1.2."""
        by_server, by_client = announced
        setting.handshake()
        by_server.take()
        session = by_client.take()[-1]
        pair = setting.handshake(session)
        assert pair.reused
        expected = 1 if setting.of_tls13 else 0
        assert (len(by_server), len(by_client)) == (expected, expected)

    def test_renewed_ticket(self, setting: Setting, announced: tuple[Announced, Announced]) -> None:
        """A ticket that replaces the one that was used is announced once on each side."""
        by_server, by_client = announced
        setting.renew()
        setting.handshake()
        for _ in range(3):
            by_server.take()
            session = by_client.take()[-1]
            pair = setting.handshake(session)
            assert pair.reused
            assert (len(by_server), len(by_client)) == (1, 1)
            assert by_client.sessions[0] != session
            assert by_client.sessions[0].ticket != session.ticket

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
        # libssl's own cache is as it was, and still looked into.
        pair = setting12.handshake(by_client.sessions[0])
        assert pair.reused
        assert (len(by_server), len(by_client)) == (1, 1)

    def test_session_ids_without_a_cache(self, setting12: Setting) -> None:
        """Where the server's cache is off, it gives out no session id, and nobody announces."""
        no_tickets(setting12.server_context)
        native.lib.set_session_cache_mode(pointer(setting12.server_context), CACHE_OFF)
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
        """Either side announces without the other."""
        by_server, by_client = Announced(), Announced()
        set_new_session_callback(setting.server_context, by_server)
        setting.handshake()
        set_new_session_callback(setting.server_context, None)
        set_new_session_callback(setting.client_context, by_client)
        setting.handshake()
        expected = 2 if setting.of_tls13 else 1
        assert (len(by_server), len(by_client)) == (expected, expected)

    def test_new_connections_of_one_context_on_both_sides(self, server_file: Path) -> None:
        """A context of clients and servers at once announces what either gets."""
        context = tls.server_context(server_file)
        announced = Announced()
        set_new_session_callback(context, announced)
        pair = tls.Pair(context, context).handshake()
        connections = [connection for connection, _, _ in announced.calls]
        assert connections == [pair.server, pair.server, pair.client, pair.client]


def close(pair: Any) -> None:
    """Closes both sides as they should be, so that their sessions stay resumable."""
    if isinstance(pair, tls.Pair):
        pair.session()
    else:
        for side in (pair.client, pair.server, pair.client):
            with contextlib.suppress(*WANTS, ssl.SSLSyscallError):
                side.unwrap()


class TestWhatItIsGiven:
    """The connection, the session and the data."""

    def test_arguments(self, setting: Setting, announced: tuple[Announced, Announced]) -> None:
        """Callbacks are given the very connection of the user, and the data as it is."""
        by_server, by_client = announced
        pair = setting.handshake()
        assert by_server.calls
        assert by_client.calls
        assert all(connection is pair.server for connection, _, _ in by_server.calls)
        assert all(connection is pair.client for connection, _, _ in by_client.calls)
        assert {data for *_, data in by_server.calls} == {"server's"}
        assert {data for *_, data in by_client.calls} == {"client's"}

    def test_data_is_none_without(self, setting: Setting) -> None:
        """Without data the callback is given None."""
        announced = Announced()
        set_new_session_callback(setting.client_context, announced)
        setting.handshake()
        assert {data for *_, data in announced.calls} == {None}

    def test_session_equals_the_connections(
        self, setting: Setting, announced: tuple[Announced, Announced]
    ) -> None:
        """At the time of the call, the session is what get_session returns."""
        by_server, by_client = announced
        pair = setting.handshake()
        assert all(by_server.agree)
        assert all(by_client.agree)
        assert get_session(pair.client) == by_client.sessions[-1]
        assert get_session(pair.server) == by_server.sessions[-1]
        assert len(set(by_client.sessions)) == len(by_client)

    def test_clients_session_has_its_ticket(self, setting: Setting) -> None:
        """A client's session is complete: it has the ticket, the protocol and its lifetime."""
        announced = Announced()
        set_new_session_callback(setting.client_context, announced)
        setting.handshake()
        for session in announced.sessions:
            assert session.ticket
            assert session.has_ticket
            assert session.is_resumable
            assert session.protocol == f"TLSv{setting.version}"
            assert session.ticket_lifetime_hint > 0

    def test_survives_its_connection(
        self, setting: Setting, announced: tuple[Announced, Announced]
    ) -> None:
        """Each session stays resumable when its connection is freed without a shutdown."""
        _, by_client = announced
        pair = setting.handshake()
        own = get_session(pair.client)
        assert own is not None
        by_client.calls = [(None, session, None) for session in by_client.sessions]
        announced[0].calls.clear()
        del pair
        gc.collect()
        assert own.is_resumable is not ends_sessions(setting)
        sessions = by_client.take()
        assert all(session.is_resumable for session in sessions)
        for session in sessions:
            assert setting.handshake(session).reused
        by_client.take()

    def test_is_a_copy(self, setting: Setting) -> None:
        """What is set in an announced session does not change the client's own."""
        announced = Announced()
        set_new_session_callback(setting.client_context, announced)
        pair = setting.handshake()
        announced.sessions[-1].timeout = 17
        own = get_session(pair.client)
        assert own is not None
        assert own.timeout != 17
        assert own == announced.sessions[-1]

    def test_goes_through_der(
        self, setting: Setting, announced: tuple[Announced, Announced]
    ) -> None:
        """An announced session that was written down and read again resumes."""
        setting.handshake()
        written = announced[1].sessions[-1].to_der()
        announced[1].take()
        assert setting.handshake(Session.from_der(written)).reused

    def test_used_session_is_not_resumable(self, setting: Setting) -> None:
        """A TLS 1.3 session that was used is marked so; one of TLS 1.2 may be used again."""
        announced = Announced()
        set_new_session_callback(setting.client_context, announced)
        close(setting.handshake())
        session = announced.sessions[-1]
        close(setting.handshake(session))
        assert session.is_resumable is not setting.of_tls13

    def test_socket(self, library: str, version: str, server_file: Path) -> None:
        """Over sockets too, the connection is the user's own, in whichever call it comes."""
        setting = Setting(library, version, server_file)
        by_server, by_client = announcing(setting)
        with stdlib_tls.sockets() as (server, client):
            sides: list[Any] = [None, None]

            def serve(_: int) -> None:
                sides[0] = connection = wrapped(setting, server, True)
                connection.do_handshake()
                connection.send(b"!")

            def connect(_: int) -> None:
                sides[1] = connection = wrapped(setting, client, False)
                connection.do_handshake()
                assert connection.recv(1) == b"!"

            in_threads(2, lambda number: (serve, connect)[number](number))
            expected = 2 if setting.of_tls13 else 1
            assert [connection for connection, _, _ in by_server.calls] == [sides[0]] * expected
            assert [connection for connection, _, _ in by_client.calls] == [sides[1]] * expected
            for side in sides:
                if setting.library == "ssl":
                    side.close()


def wrapped(setting: Setting, plain: Any, server_side: bool) -> Any:
    """Returns a connection on *plain*, before its handshake."""
    context = setting.server_context if server_side else setting.client_context
    if setting.library == "ssl":
        return context.wrap_socket(plain, server_side=server_side, do_handshake_on_connect=False)
    tls.set_timeouts(plain)
    connection = setting._module().Connection(context, plain)
    (connection.set_accept_state if server_side else connection.set_connect_state)()
    return connection


MODES = [
    CACHE_OFF,
    CACHE_CLIENT,
    CACHE_SERVER,
    CACHE_BOTH,
    CACHE_SERVER | SSL.SESS_CACHE_NO_AUTO_CLEAR,
    CACHE_BOTH | SSL.SESS_CACHE_NO_INTERNAL,
    CACHE_SERVER | SSL.SESS_CACHE_NO_INTERNAL_LOOKUP,
    CACHE_CLIENT | SSL.SESS_CACHE_NO_INTERNAL_STORE,
]


class TestCacheMode:
    """Nobody has to know of the modes of the session cache, and nobody's mode is lost."""

    @pytest.mark.parametrize("mode", MODES)
    def test_any_mode_set_before(self, setting: Setting, mode: int) -> None:
        """The callbacks are called whatever mode was set; it is back when they are removed."""
        for context in (setting.server_context, setting.client_context):
            native.lib.set_session_cache_mode(pointer(context), mode)
        by_server, by_client = announcing(setting)
        setting.handshake()
        expected = 2 if setting.of_tls13 else 1
        assert (len(by_server), len(by_client)) == (expected, expected)
        for context in (setting.server_context, setting.client_context):
            set_new_session_callback(context, None)
            assert cache_mode(context) == mode

    @pytest.mark.parametrize("mode", MODES)
    def test_any_mode_set_in_between(self, setting: Setting, mode: int) -> None:
        """
        A mode that is set while there are callbacks is heeded, and stays when they go; but for what
        was added for clients, if all of it is set again.
        """
        added = CACHE_CLIENT | SSL.SESS_CACHE_NO_INTERNAL_STORE
        own = mode & ~added if mode & added == added else mode
        native.lib.set_session_cache_mode(pointer(setting.server_context), CACHE_SERVER)
        by_server, by_client = announcing(setting)
        for context in (setting.server_context, setting.client_context):
            native.lib.set_session_cache_mode(pointer(context), mode)
        setting.handshake()
        expected = 2 if setting.of_tls13 else 1
        assert (len(by_server), len(by_client)) == (expected, expected)
        for context in (setting.server_context, setting.client_context):
            set_new_session_callback(context, None)
            assert cache_mode(context) == own

    def test_read_and_set_again(self, setting: Setting) -> None:
        """A server resumes by session id still when its mode is read and set with a flag more."""
        setting.use_session_ids()
        announcing(setting)
        context = pointer(setting.server_context)
        native.lib.set_session_cache_mode(
            context, native.lib.get_session_cache_mode(context) | SSL.SESS_CACHE_NO_AUTO_CLEAR
        )
        if not setting.of_tls13:
            session = setting.handshake().session()
            assert setting.handshake(session).reused
        set_new_session_callback(setting.server_context, None)
        assert cache_mode(setting.server_context) == CACHE_SERVER | SSL.SESS_CACHE_NO_AUTO_CLEAR

    def test_as_pyopenssl_sees_it(self) -> None:
        """pyOpenSSL's own methods set and get the mode around the callbacks."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_new_session_callback(lambda *_: None)
        assert context.get_session_cache_mode() & SSL.SESS_CACHE_CLIENT
        context.set_remove_session_callback(lambda *_: None)
        context.set_new_session_callback(None)
        assert context.get_session_cache_mode() & SSL.SESS_CACHE_CLIENT
        context.set_remove_session_callback(None)
        assert context.get_session_cache_mode() == SSL.SESS_CACHE_OFF

    def test_with_a_decrypt_callback(self, setting: Setting) -> None:
        """The mode comes back piece by piece, whichever kind of callback is removed first."""
        context = setting.server_context
        before = cache_mode(context)
        lookup = SSL.SESS_CACHE_NO_INTERNAL_LOOKUP
        for announcing_first in (False, True):
            set_new_session_callback(context, Announced())
            set_session_ticket_callback(context, None, renewing)
            assert cache_mode(context) & (CACHE_CLIENT | lookup) == CACHE_CLIENT | lookup
            if announcing_first:
                set_new_session_callback(context, None)
                assert cache_mode(context) == before | lookup
                set_session_ticket_callback(context)
            else:
                set_session_ticket_callback(context)
                assert cache_mode(context) & (CACHE_CLIENT | lookup) == CACHE_CLIENT
                set_new_session_callback(context, None)
            assert cache_mode(context) == before

    def test_clients_cache_stays_empty(self, setting: Setting) -> None:
        """A client's sessions are not put into libssl's cache, where nobody looks for them."""
        announced = Announced()
        set_new_session_callback(setting.client_context, announced)
        for _ in range(50):
            setting.handshake()
        assert len(announced) == (100 if setting.of_tls13 else 50)
        assert session_stats(setting.client_context).number == 0

    def test_clients_cache_with_a_remove_callback(self, setting: Setting) -> None:
        """They are where a remove callback is to be told of their end."""
        set_new_session_callback(setting.client_context, Announced())
        set_remove_session_callback(setting.client_context, Removed())
        pairs = [setting.handshake() for _ in range(5)]
        expected = 10 if setting.of_tls13 else 5
        assert session_stats(setting.client_context).number == expected
        set_remove_session_callback(setting.client_context, None)
        pairs += [setting.handshake() for _ in range(5)]
        assert session_stats(setting.client_context).number == expected

    def test_servers_cache_is_not_used_for_tickets(self, setting: Setting) -> None:
        """A server's tickets are announced, and not put into its cache."""
        by_server, _ = announcing(setting)
        pairs = [setting.handshake() for _ in range(5)]
        assert len(by_server) == (2 if setting.of_tls13 else 1) * len(pairs)
        assert session_stats(setting.server_context).number == 0


class TestInfoCallback:
    """The program's own info callback and ours have one place in libssl."""

    @pytest.mark.parametrize("kind", [SSL.Context, OpenSSL.SSL.Context])
    @pytest.mark.parametrize("own", ["before", "after"])
    def test_both_are_called(self, server_file: Path, version: str, own: str, kind: Any) -> None:
        """The program's own goes on being called, and renewed tickets are announced."""
        setting = Setting("drop-in", version, server_file)
        setting.renew()
        setting.client_context = client_context = kind(SSL.TLS_METHOD)
        client_context.set_max_proto_version(tls.VERSIONS[version])
        seen: list[Any] = []

        def info(connection: Any, where: int, result: int) -> None:
            seen.append((connection, where))

        announced = Announced()
        if own == "before":
            client_context.set_info_callback(info)
        set_new_session_callback(client_context, announced)
        if own == "after":
            client_context.set_info_callback(info)
        session = None
        for _ in range(3):
            seen.clear()
            pair = setting.handshake(session)
            assert pair.reused is (session is not None)
            assert {connection for connection, _ in seen} == {pair.client}
            assert [where for _, where in seen].count(SSL.SSL_CB_HANDSHAKE_START) >= 1
            # The first handshake is a full one, which brings ours back to its place.
            count = 2 if setting.of_tls13 and session is None else 1
            assert len(announced) == count
            session = announced.take()[-1]
        seen.clear()
        set_new_session_callback(client_context, None)
        setting.handshake(session)
        assert seen
        assert len(announced) == 0

    def test_own_is_called_once_for_each_event(self, server_file: Path, version: str) -> None:
        """With ours in front, the program's own sees the same events as without."""
        server_context = tls.server_context(server_file, version)
        events: list[list[int]] = []
        for with_ours in (False, True):
            context = SSL.Context(SSL.TLS_METHOD)
            context.set_max_proto_version(tls.VERSIONS[version])
            seen: list[int] = []

            def info(_: Any, where: int, result: int, seen: list[int] = seen) -> None:
                seen.append(where)

            context.set_info_callback(info)
            if with_ours:
                context.set_new_session_callback(Announced())
                context.set_new_session_callback(Announced())
            tls.Pair(server_context, context).handshake()
            events.append(seen)
        assert events[0] == events[1] != []

    def test_goes_with_the_callback(self, setting: Setting) -> None:
        """Where the program has none, there is none again when the callback is removed."""
        context = setting.make_server_context()
        assert not native.lib.has_info_callback(pointer(context))
        set_new_session_callback(context, Announced())
        assert native.lib.has_info_callback(pointer(context))
        set_new_session_callback(context, None)
        assert not native.lib.has_info_callback(pointer(context))


class TestServerName:
    """After a switch of contexts by server name."""

    @pytest.mark.parametrize("session_ids", [False, True])
    def test_first_context_is_called(self, setting: Setting, session_ids: bool) -> None:
        """It is the first context's callback that is called, as for everything about tickets."""
        first, second = setting.server_context, setting.make_server_context()
        by_first, by_second = Announced(), Announced()
        if session_ids:
            setting.use_session_ids()
            no_tickets(second)
            native.lib.set_session_cache_mode(pointer(second), CACHE_SERVER)
        if setting.library == "ssl":

            def switch(connection: Any, name: Any, context: Any) -> None:
                connection.context = second

            first.sni_callback = switch
        else:
            first.set_tlsext_servername_callback(lambda connection: connection.set_context(second))
        set_new_session_callback(first, by_first)
        set_new_session_callback(second, by_second)
        if setting.library == "ssl":
            pair: Any = stdlib_tls.Pair(
                first, setting.client_context, server_name="second.example.org"
            )
        else:
            pair = setting.pair()
            pair.client.set_tlsext_host_name(b"second.example.org")
        pair.handshake()
        of = pair.server.context if setting.library == "ssl" else pair.server.get_context()
        assert of is second
        assert len(by_second) == 0
        assert len(by_first) == (2 if setting.of_tls13 else 1)
        assert all(connection is pair.server for connection, _, _ in by_first.calls)

    def test_first_context_has_none(self, setting: Setting) -> None:
        """Where only the second context has a callback, it is not called."""
        if setting.library == "ssl":
            pytest.skip("the one above will do")
        by_second = Announced()
        second = setting.make_server_context()
        set_new_session_callback(second, by_second)
        setting.server_context.set_tlsext_servername_callback(
            lambda connection: connection.set_context(second)
        )
        pair = setting.pair()
        pair.client.set_tlsext_host_name(b"second.example.org")
        pair.handshake()
        assert pair.server.get_context() is second
        assert len(by_second) == 0


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

        def set_tickets() -> None:
            set_session_ticket_callback(setting.server_context, generate)

        if tickets_first:
            set_tickets()
        set_new_session_callback(setting.server_context, announce)
        if not tickets_first:
            set_tickets()
        server = setting.handshake().server
        number = 2 if setting.of_tls13 else 1
        assert order == [("generate", server), ("data", server)] * number

    def test_generate_that_raises(self, setting: Setting, unraisable: Unraisable) -> None:
        """A ticket that generate has refused is not announced."""
        announced, error = Announced(), Boom("of generate")

        def generate(connection: Any, data: Any) -> None:
            raise error

        set_new_session_callback(setting.server_context, announced)
        set_session_ticket_callback(setting.server_context, generate)
        with pytest.raises((Boom, SSL.Error, ssl.SSLError)) as caught:
            setting.handshake()
        assert caught.value is error or unraisable.seen[0][0] is error
        assert len(announced) == 0

    def test_removing_one_leaves_the_other(self, setting: Setting) -> None:
        """The two kinds of callbacks are set and removed apart from each other."""
        announced = Announced()
        generated: list[Any] = []

        def generate(connection: Any, data: Any) -> None:
            generated.append(connection)

        number = 2 if setting.of_tls13 else 1
        set_new_session_callback(setting.server_context, announced)
        set_session_ticket_callback(setting.server_context, generate)
        set_session_ticket_callback(setting.server_context)
        setting.handshake()
        assert (len(announced), len(generated)) == (number, 0)
        set_session_ticket_callback(setting.server_context, generate)
        set_new_session_callback(setting.server_context, None)
        setting.handshake()
        assert (len(announced), len(generated)) == (number, number)

    @pytest.mark.parametrize("answer", [TicketReturn.IGNORE, TicketReturn.IGNORE_RENEW])
    def test_ignored_ticket(
        self, setting: Setting, announced: tuple[Announced, Announced], answer: TicketReturn
    ) -> None:
        """What decrypt ignores is followed by as many announcements as there are tickets."""
        # Else a TLS 1.2 server gives out a session id where it sends no ticket.
        native.lib.set_session_cache_mode(pointer(setting.server_context), CACHE_OFF)
        by_server, by_client = announced
        close(setting.handshake())
        session = by_client.take()[-1]
        by_server.take()
        set_session_ticket_callback(setting.server_context, None, lambda *_: answer)
        pair = setting.handshake(session)
        assert not pair.reused
        expected = 0
        if answer == TicketReturn.IGNORE_RENEW:
            expected = 2 if setting.of_tls13 else 1
        assert pair.received == expected
        assert (len(by_server), len(by_client)) == (expected, expected)


@pytest.fixture
def removed(setting: Setting) -> tuple[Removed, Removed]:
    """What the server's and the client's context of *setting* tell of the end of sessions."""
    return removing(setting)


def removing(setting: Setting) -> tuple[Removed, Removed]:
    of_server, of_client = Removed(), Removed()
    set_remove_session_callback(setting.server_context, of_server, "server's")
    set_remove_session_callback(setting.client_context, of_client, "client's")
    return of_server, of_client


class TestRemoved:
    """What set_remove_session_callback tells of, and with what."""

    def test_connection_freed_without_a_shutdown(
        self,
        setting: Setting,
        announced: tuple[Announced, Announced],
        removed: tuple[Removed, Removed],
    ) -> None:
        """The session of a connection that is freed without a shutdown is told of, with data."""
        skip_unless_sessions_end(setting)
        pair = setting.handshake()
        of_client = announced[1].take()[-1]
        of_server = announced[0].take()[-1]
        run_pending_calls()
        assert len(removed[0]) == len(removed[1]) == 0
        del pair
        gc.collect()
        wait_until(lambda: removed[1].calls)
        assert removed[1].calls == [(setting.client_context, of_client, "client's")]
        assert removed[1].calls[0][0] is setting.client_context
        if setting.of_tls13:
            wait_until(lambda: removed[0].calls)
            assert removed[0].calls == [(setting.server_context, of_server, "server's")]
            assert removed[0].calls[0][0] is setting.server_context
        else:  # a server does not know a TLS 1.2 session with a ticket again
            run_pending_calls()
            assert len(removed[0]) == 0

    def test_closed_connection(self, setting: Setting, removed: tuple[Removed, Removed]) -> None:
        """A connection that is closed as it should be leaves its session alone."""
        pair = setting.handshake()
        close(pair)
        del pair
        gc.collect()
        run_pending_calls()
        assert len(removed[0]) == len(removed[1]) == 0

    def test_used_session(
        self,
        setting: Setting,
        announced: tuple[Announced, Announced],
        removed: tuple[Removed, Removed],
    ) -> None:
        """A client is told of a TLS 1.3 session that it has used, and of none of TLS 1.2."""
        pairs = [setting.handshake()]
        used = announced[1].sessions[0]
        pairs.append(setting.handshake(used))
        assert pairs[-1].reused
        run_pending_calls()
        assert removed[1].sessions == ([used] if setting.of_tls13 else [])

    def test_renewed_session(self, setting12: Setting) -> None:
        """A TLS 1.2 client is told of the session whose ticket has been replaced."""
        _, announced = announcing(setting12)
        _, removed = removing(setting12)
        setting12.renew()
        pairs = [setting12.handshake()]
        used = announced.sessions[0]
        pairs.append(setting12.handshake(used))
        assert pairs[-1].received == 1
        wait_until(lambda: removed.calls)
        assert removed.sessions == [used]

    def test_cache_is_full(
        self,
        setting: Setting,
        announced: tuple[Announced, Announced],
        removed: tuple[Removed, Removed],
    ) -> None:
        """Each session that has to leave a full cache is told of."""
        native.lib.set_session_cache_size(pointer(setting.client_context), 3)
        pairs = [setting.handshake() for _ in range(10)]
        kept = session_stats(setting.client_context).number
        assert kept in (2, 3)  # libssl counts the one that is coming, in some versions
        expected = announced[1].sessions[:-kept]
        wait_until(lambda: len(removed[1]) >= len(expected))
        assert removed[1].sessions == expected
        assert session_stats(setting.client_context).cache_full == len(expected)
        assert all(pair.client is not None for pair in pairs)

    def test_time_is_over(
        self,
        setting: Setting,
        announced: tuple[Announced, Announced],
        removed: tuple[Removed, Removed],
    ) -> None:
        """Sessions whose time is over are told of when the cache is flushed."""
        pairs = [setting.handshake() for _ in range(5)]
        native.lib.flush_sessions(pointer(setting.client_context), 0)
        run_pending_calls()
        assert len(removed[1]) == 0
        native.lib.flush_sessions(pointer(setting.client_context), DAY)
        wait_until(lambda: len(removed[1]) >= len(announced[1]))
        assert set(removed[1].sessions) == set(announced[1].sessions)
        assert len(removed[1]) == len(announced[1]) == (10 if setting.of_tls13 else 5)
        assert session_stats(setting.client_context).number == 0
        assert pairs

    @pytest.mark.parametrize("session_ids", [False, True])
    def test_servers_cache(self, setting: Setting, session_ids: bool) -> None:
        """A server tells of the sessions in its cache: session ids, and all of TLS 1.3."""
        if session_ids:
            setting.use_session_ids()
        native.lib.set_session_cache_mode(pointer(setting.server_context), CACHE_SERVER)
        by_server, _ = announcing(setting)
        removed, _ = removing(setting)
        pairs = [setting.handshake() for _ in range(3)]
        in_cache = by_server.sessions if session_ids or setting.of_tls13 else []
        assert session_stats(setting.server_context).number == len(in_cache)
        native.lib.flush_sessions(pointer(setting.server_context), DAY)
        wait_until(lambda: len(removed) >= len(in_cache))
        run_pending_calls()
        assert len(removed) == len(in_cache) == len(set(removed.sessions))
        assert set(removed.sessions) == set(in_cache)
        assert pairs

    def test_context_freed(self, setting: Setting) -> None:
        """When the context is freed its sessions are told of soon, with None for the context."""
        _, announced = announcing(setting)
        _, removed = removing(setting)
        pair = setting.handshake()
        close(pair)
        sessions = announced.take()
        gone = weakref.ref(setting.client_context)
        del pair
        setting.client_context = None
        gc.collect()
        assert gone() is None
        wait_until(lambda: len(removed) >= len(sessions))
        assert set(removed.sessions) == set(sessions)
        assert len(removed) == len(sessions)
        assert {context for context, *_ in removed.calls} == {None}
        assert {data for *_, data in removed.calls} == {"client's"}

    def test_removed_callback(self, setting: Setting, removed: tuple[Removed, Removed]) -> None:
        """Without a callback nobody is told, and a server's TLS 1.3 tickets leave its cache."""
        native.lib.set_session_cache_mode(pointer(setting.server_context), CACHE_SERVER)
        for context in (setting.server_context, setting.client_context):
            set_remove_session_callback(context, None)
        setting.handshake()
        assert session_stats(setting.server_context).number == 0
        assert session_stats(setting.client_context).number == 0
        gc.collect()
        run_pending_calls()
        assert len(removed[0]) == len(removed[1]) == 0

    def test_replaced_callback(self, setting: Setting, removed: tuple[Removed, Removed]) -> None:
        """The newest callback is told."""
        skip_unless_sessions_end(setting)
        pair = setting.handshake()
        newest = Removed()
        set_remove_session_callback(setting.client_context, newest)
        del pair
        gc.collect()
        wait_until(lambda: newest.calls)
        assert len(removed[1]) == 0
        assert {data for *_, data in newest.calls} == {None}

    def test_on_the_main_thread(self, setting: Setting) -> None:
        """What another thread removes is told on the main thread."""
        threads: list[int] = []
        set_remove_session_callback(
            setting.client_context, lambda *_: threads.append(threading.get_ident())
        )
        pair = setting.handshake()
        in_threads(1, lambda _: native.lib.flush_sessions(pointer(setting.client_context), DAY))
        wait_until(lambda: threads)
        assert set(threads) == {threading.get_ident()}
        assert pair

    @pytest.mark.parametrize("side", ["server", "client"])
    def test_in_the_next_handshake(self, setting: Setting, side: str) -> None:
        """While the main thread is busy in C, the next handshake of a context tells of it."""
        threads: list[int] = []
        set_remove_session_callback(
            setting.client_context, lambda *_: threads.append(threading.get_ident())
        )
        # Of another context, which has no remove callback.
        other = Setting(setting.library, setting.version, setting.server_file)
        context = other.server_context if side == "server" else other.client_context
        set_new_session_callback(context, Announced())

        def work(_: int) -> None:
            # By and by the main thread waits for this one, in C.
            deadline = time.monotonic() + tls.TIMEOUT
            while threading.get_ident() not in threads:
                assert time.monotonic() < deadline, "it has not come"
                pair = setting.handshake()
                native.lib.flush_sessions(pointer(setting.client_context), DAY)
                other.handshake()
                close(pair)

        in_threads(1, work)

    def test_without_a_new_session_callback(self, setting: Setting) -> None:
        """It works alone: what is told of equals the connection's session."""
        skip_unless_sessions_end(setting)
        _, removed = removing(setting)
        pair = setting.handshake()
        own = get_session(pair.client)
        del pair
        gc.collect()
        wait_until(lambda: removed.calls)
        assert own in removed.sessions


class Raising:
    """A callback that raises something else each time."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind
        self.raised: list[tuple[BaseException, Any]] = []

    def __call__(self, of: Any, session: Session, data: Any) -> None:
        error = self.kind(f"number {len(self.raised)}")
        self.raised.append((error, of))
        raise error


KINDS = [Boom, KeyboardInterrupt, SystemExit]
Caught = list[tuple[BaseException, Any]]


def without_traceback(error: BaseException) -> BaseException:
    """Lets go of the traceback, which holds the exceptions that came behind *error*."""
    return error.with_traceback(None)


def shake(pair: Any) -> Caught:
    """Shakes hands, goes on after each exception of a callback, and returns those."""
    caught: Caught = []
    waiting = [pair.client, pair.server]
    for _ in range(20):
        for side in list(waiting):
            try:
                side.do_handshake()
            except WANTS:
                pass
            except tuple(KINDS) as error:
                caught.append((without_traceback(error), side))
            else:
                waiting.remove(side)
            if isinstance(pair, tls.Pair):
                pair.move()
        if not waiting:
            return caught
    raise AssertionError("the handshake does not come to an end")


def shake_until_it_fails(pair: Any) -> Caught:
    """Shakes hands until a callback's exception comes, which ends the connection."""
    try:
        pair.handshake()
    except tuple(KINDS) as error:
        return [(without_traceback(error), pair.server)]
    raise AssertionError("it has not come")


def read(connection: Any) -> tuple[bytes, Caught]:
    """Reads all that has come, and goes on after each exception of a callback."""
    data = b""
    caught: Caught = []
    while True:
        try:
            data += connection.read(1 << 16)
        except WANTS:
            return data, caught
        except tuple(KINDS) as error:
            caught.append((without_traceback(error), connection))


def talk(pair: Any) -> None:
    """Sees to it that both sides can read what the other writes."""
    for source, sink in ((pair.server, pair.client), (pair.client, pair.server)):
        source.write(b"still here")
        if isinstance(pair, tls.Pair):
            pair.move()
        assert sink.read(100) == b"still here"


def by_id(caught: Sequence[tuple[BaseException, Any]]) -> list[tuple[int, int]]:
    return sorted((id(error), id(of)) for error, of in caught)


class TestExceptions:
    """What a callback raises does not end the connection, and comes out once."""

    @pytest.fixture(params=["drop-in", "ssl"])
    def raising(self, request: pytest.FixtureRequest, version: str, server_file: Path) -> Setting:
        """A setting whose connections raise what callbacks raise."""
        setting = Setting(request.param, version, server_file)
        if setting.library == "ssl":
            stdlib.raise_callback_errors(setting.server_context)
            stdlib.raise_callback_errors(setting.client_context)
        return setting

    @pytest.fixture
    def raising13(self, raising: Setting) -> Setting:
        if not raising.of_tls13:
            pytest.skip("of TLS 1.3 only")
        return raising

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("library", ["pyOpenSSL", "ssl"])
    def test_to_the_hook(
        self, setting: Setting, unraisable: Unraisable, kind: type[BaseException]
    ) -> None:
        """Of a plain connection it goes to sys.unraisablehook, with the connection."""
        of_server, of_client = Raising(kind), Raising(kind)
        set_new_session_callback(setting.server_context, of_server)
        set_new_session_callback(setting.client_context, of_client)
        pair = setting.handshake()
        expected = 2 if setting.of_tls13 else 1
        assert len(of_server.raised) == len(of_client.raised) == expected
        assert {id(of) for _, of in of_server.raised} == {id(pair.server)}
        assert {id(of) for _, of in of_client.raised} == {id(pair.client)}
        assert by_id(unraisable.seen) == by_id(of_server.raised + of_client.raised)
        assert native.lib.peek_error() == 0
        talk(pair)

    @pytest.mark.parametrize("kind", KINDS)
    def test_raised_by_the_server(
        self, raising: Setting, unraisable: Unraisable, kind: type[BaseException]
    ) -> None:
        """The server's do_handshake raises the first; further ones go to the hook."""
        callback = Raising(kind)
        set_new_session_callback(raising.server_context, callback)
        pair = raising.pair()
        caught = shake(pair)
        assert len(callback.raised) == (2 if raising.of_tls13 else 1)
        assert by_id(caught) == by_id(callback.raised[:1])
        assert caught[0][1] is pair.server
        assert by_id(unraisable.seen) == by_id(callback.raised[1:])
        assert caught[0][0].__context__ is None
        assert native.lib.peek_error() == 0
        talk(pair)
        pair.client_reads()
        assert pair.received == len(callback.raised)

    @pytest.mark.parametrize("kind", KINDS)
    def test_raised_by_the_client(
        self, raising: Setting, unraisable: Unraisable, kind: type[BaseException]
    ) -> None:
        """A client's do_handshake raises it (TLS 1.2); a read hands it to the hook (TLS 1.3)."""
        callback = Raising(kind)
        set_new_session_callback(raising.client_context, callback)
        pair = raising.pair()
        caught = shake(pair)
        if raising.of_tls13:
            assert not caught
            assert not callback.raised
            assert read(pair.client) == (b"", [])
        assert len(callback.raised) == (2 if raising.of_tls13 else 1)
        assert len(caught) == (0 if raising.of_tls13 else 1)
        assert {id(of) for _, of in caught + unraisable.seen} == {id(pair.client)}
        assert by_id(caught + unraisable.seen) == by_id(callback.raised)
        assert native.lib.peek_error() == 0
        talk(pair)
        assert by_id(caught + unraisable.seen) == by_id(callback.raised)

    @pytest.mark.parametrize("kind", KINDS)
    def test_data_is_not_lost(
        self, raising13: Setting, unraisable: Unraisable, kind: type[BaseException]
    ) -> None:
        """Where data comes with the tickets, the read returns it, and the hook has the rest."""
        callback = Raising(kind)
        set_new_session_callback(raising13.client_context, callback)
        pair = raising13.pair()
        shake(pair)
        pair.server.write(b"data")
        if isinstance(pair, tls.Pair):
            pair.move()
        assert pair.client.read(100) == b"data"
        assert len(callback.raised) == 2
        assert by_id(unraisable.seen) == by_id(callback.raised)
        talk(pair)
        assert len(unraisable.seen) == 2

    @pytest.mark.parametrize("method", ["recv_into", "recv", "peek"])
    def test_other_reads_of_the_drop_in(
        self, server_file: Path, unraisable: Unraisable, method: str
    ) -> None:
        """No way to read raises it, whether there is data or not."""
        setting = Setting("drop-in", "1.3", server_file)
        callback = Raising(Boom)
        set_new_session_callback(setting.client_context, callback)
        set_num_tickets(setting.server_context, 1)
        pair = setting.pair()

        def call() -> Any:
            if method == "recv_into":
                return pair.client.recv_into(bytearray(100))
            if method == "peek":
                return pair.client.recv(100, socket.MSG_PEEK)
            return pair.client.recv(100)

        shake(pair)
        with pytest.raises(SSL.WantReadError):
            call()
        new_session_ticket(pair.server)
        pair.server.write(b"data")
        pair.move()
        assert call() in (4, b"data")
        assert len(callback.raised) == 2
        assert by_id(unraisable.seen) == by_id(callback.raised)

    def test_on_demand(self, raising13: Setting, unraisable: Unraisable) -> None:
        """do_handshake raises it for a ticket on demand; a write has written, and does not."""
        callback = Raising(Boom)
        set_num_tickets(raising13.server_context, 0)
        set_new_session_callback(raising13.server_context, callback)
        pair = raising13.pair()
        assert shake(pair) == []
        new_session_ticket(pair.server)
        with pytest.raises(Boom) as caught:
            pair.server.do_handshake()
        assert caught.value is callback.raised[0][0]
        assert unraisable.seen == []
        new_session_ticket(pair.server)
        assert pair.server.write(b"data") == 4
        assert by_id(unraisable.seen) == by_id(callback.raised[1:])
        assert len(callback.raised) == 2
        assert pair.client_reads() == b"data"
        assert pair.received == 2

    def test_renewed_ticket(self, raising: Setting, unraisable: Unraisable) -> None:
        """It is the same for the ticket that a resumption renews."""
        announced = Announced()
        raising.renew()
        set_new_session_callback(raising.client_context, announced)
        raising.handshake()
        callback = Raising(Boom)
        set_new_session_callback(raising.client_context, callback)
        pair = raising.pair(announced.take()[-1])
        caught = shake(pair)
        if raising.of_tls13:
            assert caught == []
            assert read(pair.client) == (b"", [])
            caught = unraisable.seen
        else:
            assert unraisable.seen == []
        assert pair.reused
        assert by_id(caught) == by_id(callback.raised)
        assert [of for _, of in caught] == [pair.client]
        talk(pair)

    def test_failure_is_not_hidden(self, raising13: Setting, unraisable: Unraisable) -> None:
        """What ends the connection in the same read is raised, and not the callback's exception."""
        callback = Raising(Boom)
        set_num_tickets(raising13.server_context, 0)
        set_new_session_callback(raising13.client_context, callback)
        pair = raising13.pair()
        assert shake(pair) == []
        new_session_ticket(pair.server)
        pair.server.do_handshake()
        forged = b"\x17\x03\x03\x00\x20" + bytes(32)
        if isinstance(pair, tls.Pair):
            pair.move()
            pair.client.bio_write(forged)
        else:
            pair.to_client.write(forged)
        with pytest.raises((SSL.Error, ssl.SSLError), match=r"(?i)decryption failed or bad record"):
            pair.client.read(100)
        assert len(callback.raised) == 1
        assert by_id(unraisable.seen) == by_id(callback.raised)

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

    def test_session_resumes_all_the_same(self, raising: Setting, unraisable: Unraisable) -> None:
        """The session that a raising callback was given is as good as any."""
        kept: list[Session] = []

        def keep(connection: Any, session: Session, data: Any) -> None:
            kept.append(session)
            raise Boom

        set_new_session_callback(raising.client_context, keep)
        pair = raising.pair()
        shake(pair)
        read(pair.client)
        set_new_session_callback(raising.client_context, None)
        assert raising.handshake(kept[-1]).reused
        unraisable.seen.clear()

    def test_fatal_one_goes_first(self, raising: Setting, unraisable: Unraisable) -> None:
        """With one that ends the connection behind it, none of the two is lost."""
        callback, fatal = Raising(Boom), Boom("of generate")
        generated: list[Any] = []

        def generate(connection: Any, data: Any) -> None:
            generated.append(connection)
            if len(generated) == 2:
                raise fatal

        if not raising.of_tls13:
            pytest.skip("TLS 1.2 has one ticket only")
        set_new_session_callback(raising.server_context, callback)
        set_session_ticket_callback(raising.server_context, generate)
        pair = raising.pair()
        ((error, side),) = shake_until_it_fails(pair)
        assert (error, side) == (callback.raised[0][0], pair.server)
        assert unraisable.seen == [(fatal, pair.server)]

    def test_sockets(self, raising: Setting, unraisable: Unraisable) -> None:
        """Sockets raise it from do_handshake as well, and from nothing else, and go on."""
        of_server, of_client = Raising(Boom), Raising(Boom)
        set_new_session_callback(raising.server_context, of_server)
        set_new_session_callback(raising.client_context, of_client)
        set_num_tickets(raising.server_context, 1)
        caught: dict[str, BaseException] = {}
        sides: dict[str, Any] = {}
        with stdlib_tls.sockets() as plain:

            def work(number: int) -> None:
                name = ("server", "client")[number]
                side = sides[name] = wrapped(raising, plain[number], name == "server")
                try:
                    side.do_handshake()
                except Boom as error:
                    caught[name] = error

            in_threads(2, work)
            server, client = sides["server"], sides["client"]
            if raising.of_tls13:
                assert "client" not in caught
                wait_for_data(client)
                client.setblocking(False)
                with pytest.raises(WANTS):
                    client.recv(1)
                ((caught["client"], of),) = unraisable.seen
                assert of is client
                unraisable.seen.clear()
                client.setblocking(True)
            assert caught["server"] is of_server.raised[0][0]
            assert caught["client"] is of_client.raised[0][0]
            assert len(of_server.raised) == len(of_client.raised) == 1
            for source, sink in ((server, client), (client, server)):
                source.send(b"!")
                assert sink.recv(1) == b"!"
            assert unraisable.seen == []
            for side in (server, client):
                side.close()

    def test_wrap_socket(self, version: str, server_file: Path, unraisable: Unraisable) -> None:
        """A wrap_socket that shakes hands raises it, and leaves no open socket behind."""
        setting = Setting("ssl", version, server_file)
        stdlib.raise_callback_errors(setting.server_context)
        callback = Raising(Boom)
        set_new_session_callback(setting.server_context, callback)
        set_num_tickets(setting.server_context, 1)
        with stdlib_tls.sockets() as (server, client):
            with stdlib_tls.Client(client, setting.client_context), pytest.raises(Boom) as caught:
                setting.server_context.wrap_socket(server, server_side=True)
            assert caught.value is callback.raised[0][0]
            caught.value.__traceback__ = None
        assert unraisable.seen == []

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_a_remove_callback(
        self, setting: Setting, unraisable: Unraisable, kind: type[BaseException]
    ) -> None:
        """Of a remove callback it goes to the hook, with the context, for every session."""
        callback = Raising(kind)
        set_remove_session_callback(setting.client_context, callback)
        pair = setting.handshake()
        native.lib.flush_sessions(pointer(setting.client_context), DAY)
        wait_until(lambda: len(callback.raised) == (2 if setting.of_tls13 else 1))
        run_pending_calls()
        assert {id(of) for _, of in callback.raised} == {id(setting.client_context)}
        assert by_id(unraisable.seen) == by_id(callback.raised)
        talk(pair)

    def test_of_a_remove_callback_without_its_context(
        self, setting: Setting, unraisable: Unraisable
    ) -> None:
        """Where the context is gone, there is no object."""
        callback = Raising(Boom)
        set_remove_session_callback(setting.client_context, callback)
        close(setting.handshake())
        setting.client_context = None
        gc.collect()
        wait_until(lambda: callback.raised)
        run_pending_calls()
        assert {of for _, of in unraisable.seen} == {None}
        assert by_id(unraisable.seen) == by_id(callback.raised)


def wait_for_data(connection: Any) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        assert selector.select(tls.TIMEOUT)


class TestLifetime:
    """How long callbacks live."""

    @pytest.mark.parametrize("how", ["gone", "removed", "replaced"])
    def test_goes_with_the_context(self, setting: Setting, how: str) -> None:
        """Callbacks and their data are freed when the context is, or when others come."""
        gc.collect()
        run_pending_calls()
        before = len(callbacks.policies)
        contexts = [setting.make_server_context() for _ in range(20)]
        alive = []
        for context in contexts:
            objects = [Callback() for _ in range(4)]
            set_new_session_callback(context, objects[0], objects[1])
            set_remove_session_callback(context, objects[2], objects[3])
            alive += [weakref.ref(each) for each in objects]
        del objects
        assert len(callbacks.policies) == before + 40
        assert all(ref() is not None for ref in alive)
        if how == "gone":
            del context, contexts
            gc.collect()
        else:
            callback = None if how == "removed" else Callback()
            for context in contexts:
                set_new_session_callback(context, callback)
                set_remove_session_callback(context, callback)
        assert len(callbacks.policies) == before + (40 if how == "replaced" else 0)
        assert all(ref() is None for ref in alive)

    def test_after_handshakes(self, setting: Setting) -> None:
        """Nothing is left behind by connections that were announced, closed or not."""
        gc.collect()
        run_pending_calls()
        before = len(callbacks.policies)
        by_server, by_client = announcing(setting)
        removed = removing(setting)
        alive = [weakref.ref(each) for each in (by_server, by_client, *removed)]
        for number in range(10):
            pair = setting.handshake()
            if number % 2:
                close(pair)
        del pair
        gc.collect()
        by_server.take()
        by_client.take()
        run_pending_calls()
        for each in removed:
            each.take()
        del by_server, by_client, removed, each
        contexts = [weakref.ref(setting.server_context), weakref.ref(setting.client_context)]
        setting.server_context = setting.client_context = None
        gc.collect()
        # What is told now has no context to hold any more.
        wait_until(lambda: len(callbacks.policies) == before)
        assert all(ref() is None for ref in alive + contexts)

    def test_queued_removals_keep_their_callback(self, setting: Setting) -> None:
        """A removal that is still to be told of is told to the callback of its time."""
        pair = setting.handshake()
        told: list[Any] = []
        seen_at_once: list[int] = []

        def work(_: int) -> None:
            # The main thread waits in C, so that nothing is told yet.
            set_remove_session_callback(
                setting.client_context, lambda context, *_: told.append(context)
            )
            pairs.append(setting.handshake())
            native.lib.flush_sessions(pointer(setting.client_context), DAY)
            set_remove_session_callback(setting.client_context, None)
            seen_at_once.append(len(told))

        pairs = [pair]
        in_threads(1, work)
        assert seen_at_once == [0]
        wait_until(lambda: told)
        assert set(told) == {setting.client_context}

    def test_first_contexts_callback_after_an_sni_switch(
        self, server_file: Path, version: str
    ) -> None:
        """After a switch by server name the first context's callback lives on, for this one."""
        first, second = (tls.server_context(server_file, version) for _ in range(2))
        announced = Announced()
        first.set_new_session_callback(announced)
        first.set_tlsext_servername_callback(lambda connection: connection.set_context(second))
        # pyOpenSSL would free its own callback while libssl is in it.
        keep_pyopenssls_callback = first._tlsext_servername_callback
        gone = weakref.ref(announced)
        pair = tls.Pair(first, tls.client_context(version))
        pair.client.set_tlsext_host_name(b"second.example.org")
        del first
        pair.handshake()
        assert len(announced) == (2 if version == "1.3" else 1)
        announced.take()
        del announced
        assert gone() is not None
        del pair
        gc.collect()
        assert gone() is None
        assert keep_pyopenssls_callback


class TestThreads:
    """Callbacks under several threads."""

    def test_each_on_its_own_connection(self, setting: Setting) -> None:
        """4 threads with 60 handshakes each: every session is announced, on its own thread."""
        removed = removing(setting)
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
        expected = 120 if setting.of_tls13 else 60
        assert counts == {"server": [expected] * 4, "client": [expected] * 4}
        native.lib.flush_sessions(pointer(setting.client_context), DAY)
        wait_until(lambda: len(removed[1]) >= 4 * expected)
        assert len(set(removed[1].sessions)) == 4 * expected

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
                    for context in (setting.server_context, setting.client_context):
                        for setter in (set_new_session_callback, set_remove_session_callback):
                            setter(
                                context,
                                None if number % 4 == 3 else callback_number(number),
                                number,
                            )
                    done.wait(0.001)
            finally:
                done.set()

        in_threads(4, lambda thread: replace() if thread == 3 else shake_hands(thread))
        run_pending_calls()
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

    def test_remove_callback_sets_callbacks(self, setting: Setting) -> None:
        """A remove callback may do so too, and shake hands."""
        skip_unless_sessions_end(setting)
        calls: list[bool] = []

        def forget(context: Any, session: Session, data: Any) -> None:
            set_remove_session_callback(context, None)
            calls.append(bool(get_session(setting.handshake().client)))

        set_remove_session_callback(setting.client_context, forget)
        setting.handshake()
        gc.collect()
        wait_until(lambda: calls)
        assert calls == [True]

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
        assert reused == [True] * (2 if setting.of_tls13 else 1)

    @pytest.mark.slow
    def test_removing_while_another_thread_frees(self, server_file: Path) -> None:
        """
        libssl holds the lock of the SSL_CTX as it removes sessions from a full cache, and ssl
        holds the GIL as it frees a connection, which takes that lock: neither waits for the other.
        """
        output = run(
            server_file,
            """
            server_context = stdlib_tls.server_context(SERVER_FILE)
            client_context = stdlib_tls.client_context()
            told = []
            for context in (server_context, client_context):
                openssl_tickets.set_remove_session_callback(context, lambda *_: told.append(1))
                native.lib.set_session_cache_size(to_ssl_ctx(context).pointer, 2)
            sys.setswitchinterval(1e-5)
            def work():
                for _ in range(150):
                    stdlib_tls.Pair(server_context, client_context).handshake()
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for _ in range(1000):
                len(())
            # Each handshake has 2 tickets on each side, and all but a few are gone.
            assert len(told) >= 4 * 150 * 2 * 2 - 8, len(told)
            print("no deadlock")
            """,
        )
        assert output == "no deadlock\n"


def run(server_file: Path, program: str) -> str:
    """Runs *program* after a common beginning; it must end well and print no error."""
    source = textwrap.dedent(
        f"""
        import faulthandler, os, sys, threading, time
        faulthandler.dump_traceback_later(60, exit=True)
        sys.path.append({str(Path(__file__).parents[2])!r})
        import openssl_tickets
        from openssl_tickets import SSL, set_new_session_callback, set_remove_session_callback
from openssl_tickets._adapters import to_ssl_ctx
        from tests.support import native, stdlib_tls, tls
        SERVER_FILE = {str(server_file)!r}
        def both(module, callback, data=None, version="1.3"):
            contexts = module.server_context(SERVER_FILE, version), module.client_context(version)
            for context in contexts:
                set_new_session_callback(context, callback, data)
                set_remove_session_callback(context, callback, data)
            return contexts
        """
    ) + textwrap.dedent(program)
    return processes.run(source)


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
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork with threads
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
                        announced = [of for of in calls if of in (pair.server, pair.client)]
                        assert announced == [pair.server] * 2 + [pair.client] * 2, calls
                        calls.clear()
                        announced.clear()
                        own = openssl_tickets.get_session(pair.client)
                        del pair
                        old.clear()
                        for _ in range(1000):
                            len(())
                        # The last session of each client at least.
                        assert own.is_resumable or calls.count(contexts[1]) >= 4, calls
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
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork with threads
            inside, go_on = threading.Barrier(3), threading.Event()
            def slow(of, session, data):
                if data and threading.current_thread() is not threading.main_thread():
                    if not go_on.is_set():
                        inside.wait(60)
                        go_on.wait(60)
            def enter():
                contexts = {module}.server_context(SERVER_FILE), {module}.client_context()
                set_new_session_callback(contexts[0], slow, True)
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


SETTERS = [set_new_session_callback, set_remove_session_callback]


@pytest.mark.parametrize("setter", SETTERS)
class TestBadInput:
    """What is refused, and what is not."""

    @pytest.mark.parametrize("wrong", [None, 3, "context", object(), SSL.Context, ssl.SSLContext])
    def test_not_a_context(self, setter: Any, wrong: Any) -> None:
        """Only a context will do."""
        before = len(callbacks.policies)
        with pytest.raises(TypeError, match="expected an OpenSSL"):
            setter(wrong, Callback())
        assert len(callbacks.policies) == before

    def test_connection(self, setter: Any, setting: Setting) -> None:
        """A connection is not a context."""
        pair = setting.pair()
        with pytest.raises(TypeError, match="expected an OpenSSL"):
            setter(pair.client, Callback())
        with pytest.raises(TypeError, match="expected an OpenSSL"):
            setter(pair.client, None)

    @pytest.mark.parametrize("wrong", [3, "callback", [], b"", False])
    def test_not_callable(self, setter: Any, setting: Setting, wrong: Any) -> None:
        """What cannot be called is refused, and what was set stays."""
        announced = Announced()
        set_new_session_callback(setting.client_context, announced)
        before = len(callbacks.policies)
        with pytest.raises(TypeError, match="callback must be callable or None, not"):
            setter(setting.client_context, wrong)
        assert len(callbacks.policies) == before
        setting.handshake()
        assert announced.calls

    def test_none_without_any(self, setter: Any, setting: Setting) -> None:
        """To remove what was never set does nothing."""
        before = cache_mode(setting.client_context)
        policies = len(callbacks.policies)
        for _ in range(2):
            setter(setting.client_context, None)
            setter(setting.server_context, None)
        assert cache_mode(setting.client_context) == before
        assert len(callbacks.policies) == policies
        setting.handshake()

    def test_keeps_the_callback_of_a_bad_call(self, setter: Any, setting: Setting) -> None:
        """The callback is an argument that must be given."""
        with pytest.raises(TypeError):
            setter(setting.client_context)

    def test_never_initialised(self, setter: Any) -> None:
        """A context without its __init__ is refused."""
        with pytest.raises(ValueError, match="holds no SSL_CTX"):
            setter(SSL.Context.__new__(SSL.Context), Callback())


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


def test_methods_of_the_drop_in(server_file: Path) -> None:
    """The drop-in's methods do what the functions do, with and without data."""
    server_context = tls.server_context(server_file)
    client_context = tls.client_context()
    announced, removed = Announced(), Removed()
    client_context.set_new_session_callback(announced, "new")
    client_context.set_remove_session_callback(removed, "removed")
    pair = tls.Pair(server_context, client_context).handshake()
    assert [data for *_, data in announced.calls] == ["new", "new"]
    announced.take()
    del pair
    gc.collect()
    wait_until(lambda: removed.calls)
    assert [data for *_, data in removed.calls] == ["removed"]
