"""The package on the standard library's ``ssl``: contexts, sockets and objects."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import json
import os
import signal
import socket
import ssl
import sys
import textwrap
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import ReceivedTicket, TicketReturn, TicketStatus, stdlib
from openssl_tickets._adapters import stdlib as adapter
from openssl_tickets._core import callbacks
from openssl_tickets._native import shared_object
from tests.core.test_callbacks import Callback, in_threads
from tests.core.test_ticket_callback import Boom, Recorder, Unraisable
from tests.support import native, processes, stdlib_tls, tls

ABORT, IGNORE, IGNORE_RENEW, USE, USE_RENEW = TicketReturn


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Unraisable]:
    hook = Unraisable()
    monkeypatch.setattr(sys, "unraisablehook", hook)
    yield hook
    hook.seen.clear()


class Setting:
    """A server's and a client's context of one TLS version, and a recorder for the callbacks."""

    def __init__(self, server_file: Path, version: str = "1.3") -> None:
        self.version = version
        self.server_file = server_file
        self.server_context = stdlib_tls.server_context(server_file, version)
        self.client_context = stdlib_tls.client_context(version)
        self.recorder = Recorder()

    def install(self, data: Any = None) -> None:
        self.set(self.recorder.generate, self.recorder.decrypt, data)

    def set(self, generate: Any = None, decrypt: Any = None, data: Any = None) -> None:
        openssl_tickets.set_session_ticket_callback(self.server_context, generate, decrypt, data)

    def pair(self, session: Any = None, server_name: str | None = None) -> stdlib_tls.Pair:
        return stdlib_tls.Pair(self.server_context, self.client_context, session, server_name)

    def handshake(self, session: Any = None) -> stdlib_tls.Pair:
        return self.pair(session).handshake()

    def session(self) -> Any:
        return self.handshake().session()

    def ask_for_certificates(self, client_file: Path, ca_file: Path) -> None:
        """Has the server ask for a certificate after the handshake."""
        self.server_context.verify_mode = ssl.CERT_REQUIRED
        self.server_context.load_verify_locations(ca_file)
        self.client_context.load_cert_chain(client_file)
        for context in (self.server_context, self.client_context):
            context.post_handshake_auth = True


@pytest.fixture
def setting(server_file: Path, version: str) -> Setting:
    return Setting(server_file, version)


@pytest.fixture
def setting13(server_file: Path) -> Setting:
    return Setting(server_file)


def appdata_of(connection: Any) -> bytes:
    session = openssl_tickets.get_session(connection)
    assert session is not None
    return session.ticket_appdata


class TestCounts:
    @pytest.mark.parametrize("number", [0, 1, 2, 10, 100_000])
    def test_context_agrees_with_cpython(self, setting13: Setting, number: int) -> None:
        """What is set through us is read through CPython, and the other way round."""
        context = setting13.server_context
        assert openssl_tickets.get_num_tickets(context) == context.num_tickets == 2
        openssl_tickets.set_num_tickets(context, number)
        assert context.num_tickets == openssl_tickets.get_num_tickets(context) == number
        context.num_tickets = number + 1
        assert openssl_tickets.get_num_tickets(context) == number + 1

    @pytest.mark.parametrize("number", [0, 1, 2, 3])
    def test_tickets_sent(self, setting13: Setting, number: int) -> None:
        """A full handshake brings the context's number, a resumption 1, or 0 where it is 0."""
        session = setting13.session()
        openssl_tickets.set_num_tickets(setting13.server_context, number)
        assert setting13.handshake().received == number
        resumed = setting13.handshake(session)
        assert (resumed.reused, resumed.received) == (True, min(number, 1))

    def test_connection_has_its_own_number(self, setting13: Setting) -> None:
        """A connection starts with its context's number, and can be given another."""
        openssl_tickets.set_num_tickets(setting13.server_context, 3)
        pair = setting13.pair()
        assert openssl_tickets.get_num_tickets(pair.server) == 3
        openssl_tickets.set_num_tickets(pair.server, 5)
        assert setting13.server_context.num_tickets == 3
        assert pair.handshake().received == 5
        assert openssl_tickets.get_num_tickets(pair.server) == 5

    def test_of_a_socket(self, setting13: Setting) -> None:
        """The number of a socket is set before its handshake, as that of an object is."""
        with (
            stdlib_tls.sockets() as (plain, other),
            stdlib_tls.Client(other, setting13.client_context) as client,
            setting13.server_context.wrap_socket(
                plain, server_side=True, do_handshake_on_connect=False
            ) as server,
        ):
            openssl_tickets.set_num_tickets(server, 4)
            assert openssl_tickets.get_num_tickets(server) == 4
            server.do_handshake()
        assert client.tickets == 4

    @pytest.mark.parametrize(
        ("number", "error"), [(True, TypeError), ("1", TypeError), (-1, ValueError)]
    )
    def test_wrong_numbers(self, setting13: Setting, number: Any, error: type[Exception]) -> None:
        """A wrong number is refused, and nothing is changed."""
        for target in (setting13.server_context, setting13.pair().server):
            with pytest.raises(error, match="num_tickets must be"):
                openssl_tickets.set_num_tickets(target, number)
            assert openssl_tickets.get_num_tickets(target) == 2


class TestOnDemand:
    @pytest.mark.parametrize("number", [0, 2])
    def test_goes_out_with_the_next_write(self, setting13: Setting, number: int) -> None:
        """Tickets that are asked for go ahead of the next write's data, also where N is 0."""
        openssl_tickets.set_num_tickets(setting13.server_context, number)
        setting13.install()
        pair = setting13.handshake()
        setting13.recorder.clear()
        openssl_tickets.new_session_ticket(pair.server)
        openssl_tickets.new_session_ticket(pair.server)
        assert (setting13.recorder.generated, pair.client_reads()) == ([], b"")
        pair.server.write(b"welcome")
        assert setting13.recorder.generated == [None, None]
        assert (pair.client_reads(), pair.received) == (b"welcome", number + 2)
        assert setting13.handshake(pair.session()).reused

    def test_goes_out_with_do_handshake(self, setting13: Setting) -> None:
        """Without a write, do_handshake sends them."""
        pair = setting13.handshake()
        openssl_tickets.new_session_ticket(pair.server)
        pair.server.do_handshake()
        pair.client_reads()
        assert pair.received == 3

    def test_of_a_socket(self, setting13: Setting) -> None:
        """A socket sends them with its next sendall."""
        openssl_tickets.set_num_tickets(setting13.server_context, 0)
        with (
            stdlib_tls.sockets() as (plain, other),
            stdlib_tls.Client(other, setting13.client_context) as client,
            setting13.server_context.wrap_socket(plain, server_side=True) as server,
        ):
            openssl_tickets.new_session_ticket(server)
            server.sendall(b"welcome")
        assert (client.error, client.data, client.tickets) == (None, b"welcome", 1)

    def test_where_there_are_none(self, server_file: Path, setting13: Setting) -> None:
        """A client, TLS 1.2 and a connection before its handshake each get an Error saying so."""
        with pytest.raises(openssl_tickets.Error, match="is a client"):
            openssl_tickets.new_session_ticket(setting13.handshake().client)
        with pytest.raises(openssl_tickets.Error, match="handshake is not done"):
            openssl_tickets.new_session_ticket(setting13.pair().server)
        with pytest.raises(openssl_tickets.Error, match=r"speaks TLSv1\.2"):
            openssl_tickets.new_session_ticket(Setting(server_file, "1.2").handshake().server)


class TestPolicy:
    def test_first_handshake(self, setting: Setting) -> None:
        """Generate runs for each ticket; decrypt runs with EMPTY in TLS 1.2, not in TLS 1.3."""
        setting.install(data="any")
        pair = setting.handshake()
        recorder = setting.recorder
        statuses = [ticket.status for ticket in recorder.tickets]
        if setting.version == "1.2":
            assert (recorder.generated, statuses) == (["any"], [TicketStatus.EMPTY])
        else:
            assert (recorder.generated, statuses) == (["any"] * 2, [])
        assert not pair.reused
        assert appdata_of(pair.server) == b"data"

    @pytest.mark.parametrize(
        ("answer", "resumed", "generates"),
        [
            (None, True, None),
            (IGNORE, False, False),
            (IGNORE_RENEW, False, True),
            (USE, True, False),
            (USE_RENEW, True, True),
        ],
    )
    def test_answers(
        self,
        setting: Setting,
        answer: TicketReturn | None,
        resumed: bool,
        generates: bool | None,
    ) -> None:
        """Each answer of decrypt does what OpenSSL's manual says, in both versions."""
        setting.install()
        session = setting.session()
        recorder = setting.recorder
        recorder.clear()
        recorder.answer = answer
        pair = setting.handshake(session)
        (ticket,) = recorder.tickets
        assert ticket.status in (TicketStatus.SUCCESS, TicketStatus.SUCCESS_RENEW)
        assert (ticket.appdata, len(ticket.key_name)) == (b"data", 16)
        if generates is None:
            generates = ticket.status is TicketStatus.SUCCESS_RENEW
        assert (pair.reused, bool(recorder.generated)) == (resumed, generates)
        assert pair.received == len(recorder.generated)
        assert all(connection is pair.server for connection in recorder.connections)

    def test_abort(self, setting: Setting) -> None:
        """ABORT ends the handshake for both sides, with an SSLError."""
        session = setting.session()
        setting.recorder.answer = ABORT
        setting.install()
        pair = setting.pair(session)
        with pytest.raises(ssl.SSLError):
            pair.handshake()
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            pair.client.do_handshake()

    @pytest.mark.parametrize("answer", [IGNORE, IGNORE_RENEW, None])
    def test_unknown_key(self, setting: Setting, answer: TicketReturn | None) -> None:
        """A ticket of another server's keys is NO_DECRYPT, and leads to a full handshake."""
        issuer = stdlib_tls.server_context(setting.server_file, setting.version)
        session = stdlib_tls.Pair(issuer, setting.client_context).handshake().session()
        setting.recorder.answer = answer
        setting.install()
        pair = setting.handshake(session)
        (ticket,) = setting.recorder.tickets
        assert ticket.status is TicketStatus.NO_DECRYPT
        assert (ticket.session, ticket.appdata, pair.reused) == (None, None, False)
        assert bool(pair.received) is (answer is not IGNORE)

    def test_data_is_carried_over_and_renewed(self, setting13: Setting) -> None:
        """None from generate carries a ticket's data on; bytes replace it, and b"" clears it."""
        setting13.install()
        session = setting13.session()
        seen = []
        for appdata in (None, b"new", b"", None):
            setting13.recorder.appdata = appdata
            pair = setting13.handshake(session)
            assert pair.reused
            seen.append(appdata_of(pair.server))
            session = pair.session()
        assert seen == [b"data", b"new", b"", b""]

    def test_data_set_in_decrypt(self, setting13: Setting) -> None:
        """What decrypt sets on the ticket's session goes into the renewed ticket."""

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn:
            assert ticket.session is not None
            ticket.session.ticket_appdata = (ticket.appdata or b"") + b"+"
            return USE_RENEW

        setting13.install()
        session = setting13.session()
        setting13.set(None, decrypt)
        session = setting13.handshake(session).session()
        assert appdata_of(setting13.handshake(session).server) == b"data++"

    def test_server_name(self, setting: Setting) -> None:
        """The name of the client's hello is known in decrypt, before ssl itself has it."""
        session = setting.session()
        names = []

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> None:
            names.append(ticket.server_name)

        setting.set(None, decrypt)
        for name in (None, "a.example"):
            setting.pair(session, name).handshake()
        assert names == [None, b"a.example"]

    def test_sessions(self, setting: Setting) -> None:
        """Both sides have a session once they have shaken hands, and none before."""
        pair = setting.pair()
        assert openssl_tickets.get_session(pair.server) is None
        setting.install()
        pair.handshake()
        assert appdata_of(pair.server) == b"data"
        assert appdata_of(pair.client) == b""

    def test_too_much_data(self, setting: Setting, unraisable: Unraisable) -> None:
        """Data that does not fit a ticket is refused in generate."""
        setting.recorder.appdata = b"x" * 65_281
        setting.install()
        with pytest.raises(ssl.SSLError):
            setting.handshake()
        ((error, _),) = unraisable.seen
        assert isinstance(error, ValueError)
        assert "do not fit a ticket" in str(error)

    @pytest.mark.parametrize("callbacks_of", ["generate", "decrypt", "both", "none"])
    def test_removed(self, setting: Setting, callbacks_of: str) -> None:
        """Callbacks that are removed, one or both, are asked no more."""
        setting.install()
        session = setting.session()
        setting.recorder.clear()
        setting.set(
            setting.recorder.generate if callbacks_of in ("generate", "both") else None,
            setting.recorder.decrypt if callbacks_of in ("decrypt", "both") else None,
        )
        setting.recorder.answer = USE_RENEW
        assert setting.handshake(session).reused
        assert len(setting.recorder.tickets) == (callbacks_of in ("decrypt", "both"))
        # Where decrypt is not asked, a TLS 1.2 ticket is not renewed by itself.
        renewed = setting.version == "1.3" or callbacks_of == "both"
        assert bool(setting.recorder.generated) is (
            renewed and callbacks_of in ("generate", "both")
        )

    def test_stateful_tickets_are_refused(self, setting13: Setting) -> None:
        """Decrypt is refused on a context with OP_NO_TICKET, and generate is not."""
        setting13.server_context.options |= ssl.OP_NO_TICKET
        with pytest.raises(ValueError, match="OP_NO_TICKET is set"):
            setting13.install()
        setting13.set(setting13.recorder.generate)
        assert setting13.handshake().received == 2
        assert len(setting13.recorder.generated) == 2

    def test_stateful_tickets_later(self, setting13: Setting) -> None:
        """With OP_NO_TICKET set after decrypt was, no ticket that would escape it is issued."""
        stdlib.raise_callback_errors(setting13.server_context)
        setting13.install()
        setting13.server_context.options |= ssl.OP_NO_TICKET
        with pytest.raises(RuntimeError, match="this ticket would be stateful"):
            setting13.handshake()

    def test_session_cache_does_not_get_past_decrypt(self, server_file: Path) -> None:
        """A TLS 1.2 client is not resumed by its session id, out of the cache that ssl has on."""
        setting = Setting(server_file, "1.2")
        setting.server_context.options |= ssl.OP_NO_TICKET
        pair = setting.handshake()
        session = pair.session()
        # libssl drops the session of a connection that is freed without a word.
        with contextlib.suppress(ssl.SSLWantReadError):
            pair.client.unwrap()
        pair.server.unwrap()
        assert setting.handshake(session).reused
        setting.server_context.options &= ~ssl.OP_NO_TICKET
        setting.recorder.answer = IGNORE
        setting.install()
        assert not setting.handshake(session).reused


class MyObject(ssl.SSLObject):
    """A user's own class."""


class MySocket(ssl.SSLSocket):
    """A user's own class."""


class TestWhatCallbacksAreGiven:
    """The very object that the user holds."""

    @pytest.mark.parametrize("raising", [False, True])
    @pytest.mark.parametrize("own_class", [False, True])
    def test_object(self, setting: Setting, own_class: bool, raising: bool) -> None:
        """An SSLObject, of the user's own class too."""
        if own_class:
            setting.server_context.sslobject_class = MyObject
        if raising:
            stdlib.raise_callback_errors(setting.server_context)
        setting.install()
        for session in (None, setting.session()):
            setting.recorder.clear()
            pair = setting.handshake(session)
            assert isinstance(pair.server, MyObject if own_class else ssl.SSLObject)
            assert setting.recorder.connections
            assert all(each is pair.server for each in setting.recorder.connections)

    @pytest.mark.parametrize("raising", [False, True])
    @pytest.mark.parametrize("own_class", [False, True])
    @pytest.mark.parametrize("at_once", [False, True])
    def test_socket(self, setting: Setting, own_class: bool, raising: bool, at_once: bool) -> None:
        """An SSLSocket, of the user's own class too, also while wrap_socket has not returned."""
        if own_class:
            setting.server_context.sslsocket_class = MySocket
        if raising:
            stdlib.raise_callback_errors(setting.server_context)
        setting.install()
        session = None
        for _ in range(2):
            setting.recorder.clear()
            with (
                stdlib_tls.sockets() as (plain, other),
                stdlib_tls.Client(other, setting.client_context, session) as client,
                setting.server_context.wrap_socket(
                    plain, server_side=True, do_handshake_on_connect=at_once
                ) as server,
            ):
                server.sendall(b"!")
                assert server.session_reused is (session is not None)
                stdlib_tls.say_goodbye(server)
            assert (client.error, client.data) == (None, b"!")
            assert isinstance(server, MySocket if own_class else ssl.SSLSocket)
            assert setting.recorder.connections
            assert all(each is server for each in setting.recorder.connections)
            session = client.session
        assert [ticket.appdata for ticket in setting.recorder.tickets] == [b"data"]

    def test_without_owner(self, setting: Setting) -> None:
        """Where ssl's classes were not used, the object of _ssl itself, which works as well."""
        setting.install()
        pair = setting.pair()
        pair.server = setting.server_context._wrap_bio(pair.to_server, pair.to_client, True)
        pair.handshake()
        assert setting.recorder.connections
        assert all(each is pair.server for each in setting.recorder.connections)
        assert openssl_tickets.get_num_tickets(pair.server) == 2
        assert openssl_tickets.get_session(pair.server) is not None

    def test_works_within_the_callback(self, setting13: Setting) -> None:
        """In a callback the package's functions take the connection, and so do ssl's methods."""
        seen = []

        def generate(connection: Any, data: Any) -> None:
            session = openssl_tickets.get_session(connection)
            seen.append((openssl_tickets.get_num_tickets(connection), session is not None))
            seen.append((connection.server_side, connection.context is setting13.server_context))

        openssl_tickets.set_num_tickets(setting13.server_context, 1)
        setting13.set(generate)
        setting13.handshake()
        assert seen == [(1, True), (True, True)]

    def test_sni_switch(self, setting: Setting) -> None:
        """After a switch by name the first context's callbacks go on, with the same connection."""

        def never(*_: Any) -> None:
            raise AssertionError("the second context's callbacks do not run")

        second = stdlib_tls.server_context(setting.server_file, setting.version)
        openssl_tickets.set_session_ticket_callback(second, never, never)
        openssl_tickets.set_num_tickets(second, 5)

        def switch(connection: Any, name: str | None, context: Any) -> None:
            connection.context = second

        setting.server_context.sni_callback = switch
        setting.install()
        session = setting.pair(None, "second.example").handshake().session()
        setting.recorder.clear()
        pair = setting.pair(session, "second.example").handshake()
        assert (pair.server.context, pair.reused) == (second, True)
        assert [ticket.appdata for ticket in setting.recorder.tickets] == [b"data"]
        assert {id(each) for each in setting.recorder.connections} == {id(pair.server)}


def raising(error: BaseException) -> Callable[..., Any]:
    def callback(*_: Any) -> Any:
        raise error

    return callback


KINDS = [Boom, KeyboardInterrupt, SystemExit]


class TestExceptions:
    """Without raise_callback_errors: an SSLError, and the exception goes to the hook."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_generate(
        self, setting: Setting, unraisable: Unraisable, kind: type[BaseException]
    ) -> None:
        """The handshake ends with an SSLError for the server and with an alert for the client."""
        error = kind("from generate")
        setting.set(raising(error))
        pair = setting.pair()
        with pytest.raises(ssl.SSLError):
            pair.handshake()
        assert unraisable.seen == [(error, pair.server)]
        assert native.lib.peek_error() == 0
        with pytest.raises(ssl.SSLError, match=r"(?i)alert internal error"):
            pair.client.read()

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_decrypt(
        self, setting: Setting, unraisable: Unraisable, kind: type[BaseException]
    ) -> None:
        """Nothing is resumed, and nothing can be sent."""
        session = setting.session()
        error = kind("from decrypt")
        setting.set(None, raising(error))
        pair = setting.pair(session)
        with pytest.raises(ssl.SSLError):
            pair.handshake()
        assert unraisable.seen == [(error, pair.server)]
        assert native.lib.peek_error() == 0
        with pytest.raises(ssl.SSLError):
            pair.server.write(b"no way")

    def test_on_a_socket(self, setting: Setting, unraisable: Unraisable) -> None:
        """wrap_socket raises the SSLError, closes the socket, and the hook has it as the object."""
        error = Boom("on a socket")
        setting.set(raising(error))
        with (
            stdlib_tls.sockets() as (plain, other),
            stdlib_tls.Client(other, setting.client_context) as client,
            pytest.raises(ssl.SSLError),
        ):
            setting.server_context.wrap_socket(plain, server_side=True)
        ((seen, server),) = unraisable.seen
        assert seen is error
        assert isinstance(server, ssl.SSLSocket)
        assert server.fileno() == -1
        assert client.error is not None

    @pytest.mark.parametrize("answer", [True, 3, "USE", b"", TicketStatus.SUCCESS])
    def test_wrong_answer(self, setting: Setting, unraisable: Unraisable, answer: Any) -> None:
        """Anything but a TicketReturn and None is a TypeError, and no resumption."""
        session = setting.session()
        setting.recorder.answer = answer
        setting.install()
        pair = setting.pair(session)
        with pytest.raises(ssl.SSLError):
            pair.handshake()
        ((error, connection),) = unraisable.seen
        assert connection is pair.server
        assert isinstance(error, TypeError)
        assert "must return a TicketReturn" in str(error)

    @pytest.mark.parametrize("appdata", ["text", 3, bytearray(b"x")])
    def test_wrong_data(self, setting: Setting, unraisable: Unraisable, appdata: Any) -> None:
        """Anything but bytes and None from generate is a TypeError, and ends the connection."""
        setting.recorder.appdata = appdata
        setting.install()
        with pytest.raises(ssl.SSLError):
            setting.handshake()
        assert [type(error) for error, _ in unraisable.seen] == [TypeError]

    @pytest.mark.parametrize("answer", [USE, USE_RENEW])
    def test_use_of_the_undecrypted(
        self, setting: Setting, unraisable: Unraisable, answer: TicketReturn
    ) -> None:
        """USE for a ticket that no key opens is a ValueError, and ends the handshake."""
        issuer = stdlib_tls.server_context(setting.server_file, setting.version)
        session = stdlib_tls.Pair(issuer, setting.client_context).handshake().session()
        setting.recorder.answer = answer
        setting.install()
        with pytest.raises(ssl.SSLError):
            setting.handshake(session)
        ((error, _),) = unraisable.seen
        assert isinstance(error, ValueError)
        assert "only a decrypted ticket can be used" in str(error)

    def test_without_owner(self, setting13: Setting, unraisable: Unraisable) -> None:
        """An object of _ssl itself is the hook's object."""
        error = Boom()
        setting13.set(raising(error))
        pair = setting13.pair()
        pair.server = setting13.server_context._wrap_bio(pair.to_server, pair.to_client, True)
        with pytest.raises(ssl.SSLError):
            pair.handshake()
        assert unraisable.seen == [(error, pair.server)]


READS: dict[str, Callable[[Any], object]] = {
    "read": lambda c: c.read(1),
    "read into": lambda c: c.read(1, bytearray(1)),
    "recv": lambda c: c.recv(1),
    "recv_into": lambda c: c.recv_into(bytearray(1)),
    "do_handshake": lambda c: c.do_handshake(),
}
WRITES: dict[str, Callable[[Any], object]] = {
    "write": lambda c: c.write(b"x"),
    "send": lambda c: c.send(b"x"),
    "sendall": lambda c: c.sendall(b"x"),
    "do_handshake": lambda c: c.do_handshake(),
}
OF_OBJECTS = {"read", "read into", "write", "do_handshake"}


class TestRaiseCallbackErrors:
    @pytest.fixture(autouse=True)
    def _nothing_reaches_the_hook(self, unraisable: Unraisable) -> Iterator[None]:
        yield
        assert unraisable.seen == []

    @pytest.fixture
    def setting(self, setting: Setting) -> Setting:
        stdlib.raise_callback_errors(setting.server_context)
        return setting

    @pytest.fixture
    def setting13(self, setting13: Setting) -> Setting:
        stdlib.raise_callback_errors(setting13.server_context)
        return setting13

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_generate(self, setting: Setting, kind: type[BaseException]) -> None:
        """The very exception comes out of do_handshake, without a context, and the queue empty."""
        error = kind("from generate")
        setting.set(raising(error))
        pair = setting.pair()
        with pytest.raises(kind) as caught:
            pair.handshake()
        assert caught.value is error
        assert error.__context__ is None
        assert native.lib.peek_error() == 0
        with pytest.raises(ssl.SSLError, match=r"(?i)alert internal error"):
            pair.client.read()

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_decrypt(self, setting: Setting, kind: type[BaseException]) -> None:
        """The very exception comes out of do_handshake, and nothing is resumed."""
        session = setting.session()
        error = kind("from decrypt")
        setting.set(None, raising(error))
        pair = setting.pair(session)
        with pytest.raises(kind) as caught:
            pair.handshake()
        assert caught.value is error
        with pytest.raises(ssl.SSLError):
            pair.server.write(b"no way")

    @pytest.mark.parametrize("call", ["read", "read into"])
    def test_object_reads(self, setting: Setting, call: str) -> None:
        """A handshake that an SSLObject's read carries out raises from the read."""
        setting.set(raising(Boom()))
        pair = setting.pair()
        with pytest.raises(Boom):  # noqa: PT012 (the read that raises differs with the version)
            for _ in range(3):
                with contextlib.suppress(ssl.SSLWantReadError):
                    pair.client.do_handshake()
                with contextlib.suppress(ssl.SSLWantReadError):
                    READS[call](pair.server)

    @pytest.mark.parametrize("call", sorted(WRITES.keys() & OF_OBJECTS))
    def test_object_writes_a_ticket_on_demand(self, setting13: Setting, call: str) -> None:
        """A ticket on demand is made by the next write, so that is what raises."""
        pair = setting13.handshake()
        setting13.set(raising(Boom()))
        openssl_tickets.new_session_ticket(pair.server)
        with pytest.raises(Boom):
            WRITES[call](pair.server)

    @pytest.mark.parametrize("call", sorted({*READS, *WRITES}))
    def test_socket_shakes_hands(self, setting: Setting, call: str) -> None:
        """Whatever method of an SSLSocket carries the handshake out raises."""
        error = Boom()
        setting.set(raising(error))
        with (
            stdlib_tls.sockets() as (plain, other),
            stdlib_tls.Client(other, setting.client_context),
            setting.server_context.wrap_socket(
                plain, server_side=True, do_handshake_on_connect=False
            ) as server,
        ):
            with pytest.raises(Boom) as caught:
                {**READS, **WRITES}[call](server)
            assert caught.value is error
            # Not at connect, so the socket is the caller's to close.
            assert server.fileno() != -1

    @pytest.mark.parametrize("call", sorted(WRITES))
    def test_socket_writes_a_ticket_on_demand(self, setting13: Setting, call: str) -> None:
        """A ticket on demand is made by the next write of a socket, so that is what raises."""
        with (
            stdlib_tls.sockets() as (plain, other),
            stdlib_tls.Client(other, setting13.client_context) as client,
            setting13.server_context.wrap_socket(plain, server_side=True) as server,
        ):
            setting13.set(raising(Boom()))
            openssl_tickets.new_session_ticket(server)
            with pytest.raises(Boom):
                WRITES[call](server)
        assert client.error is not None

    @pytest.mark.parametrize("how", ["wrap_socket", "accept"])
    def test_socket_at_connect(self, setting: Setting, how: str) -> None:
        """wrap_socket and accept raise it and close the socket, as they do for an SSLError."""
        connections = []

        def generate(connection: Any, data: Any) -> None:
            connections.append(connection)
            raise Boom

        context = setting.server_context
        setting.set(generate)
        call: Callable[[], object]
        with contextlib.ExitStack() as stack:
            if how == "accept":
                plain = socket.create_server(("127.0.0.1", 0))
                listener = stack.enter_context(context.wrap_socket(plain, server_side=True))
                address = listener.getsockname()
                other = stack.enter_context(socket.create_connection(address, stdlib_tls.TIMEOUT))
                call = listener.accept
            else:
                plain, other = stack.enter_context(stdlib_tls.sockets())
                call = functools.partial(context.wrap_socket, plain, server_side=True)
            client = stack.enter_context(stdlib_tls.Client(other, setting.client_context))
            with pytest.raises(Boom):
                call()
            (connection,) = connections
            assert connection.fileno() == -1
        assert client.error is not None

    @pytest.mark.parametrize("call", ["read", "unwrap"])
    def test_late_certificate(
        self, setting13: Setting, client_file: Path, ca_file: Path, call: str
    ) -> None:
        """Reading a certificate that was asked for later makes tickets, and raises too."""
        setting13.ask_for_certificates(client_file, ca_file)
        pair = setting13.handshake()
        setting13.set(raising(Boom()))
        pair.server.verify_client_post_handshake()
        pair.server.do_handshake()
        pair.client_reads()
        with pytest.raises(Boom):
            getattr(pair.server, call)()

    def test_idempotent(self, setting13: Setting) -> None:
        """Called again it does nothing; contexts of one class get one subclass."""
        context = setting13.server_context
        classes = (context.sslsocket_class, context.sslobject_class)
        stdlib.raise_callback_errors(context)
        assert (context.sslsocket_class, context.sslobject_class) == classes
        other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        assert (other.sslsocket_class, other.sslobject_class) == (ssl.SSLSocket, ssl.SSLObject)
        stdlib.raise_callback_errors(other)
        assert (other.sslsocket_class, other.sslobject_class) == classes

    def test_own_classes_are_kept(self, setting13: Setting) -> None:
        """Classes that the user has set are subclassed, and their own methods go on to run."""
        calls = []

        class Own(ssl.SSLObject):
            def do_handshake(self) -> None:
                calls.append(self)
                super().do_handshake()

        context = setting13.server_context
        context.sslobject_class = Own
        context.sslsocket_class = MySocket
        stdlib.raise_callback_errors(context)
        assert issubclass(context.sslobject_class, Own)
        assert issubclass(context.sslsocket_class, MySocket)
        setting13.set(raising(Boom()))
        pair = setting13.pair()
        with pytest.raises(Boom):
            pair.handshake()
        assert {id(each) for each in calls} == {id(pair.server)}

    def test_classes_do_not_leak(self) -> None:
        """A class that was made for one context, as truststore does, goes with the context."""

        class Own(ssl.SSLObject):
            pass

        context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslobject_class = Own
        stdlib.raise_callback_errors(context)
        subclass = weakref.ref(context.sslobject_class)
        own = weakref.ref(Own)
        gc.collect()
        assert subclass() is not None
        del context, Own
        for _ in range(2):  # the subclass, and then what it was made from
            gc.collect()
        assert (own(), subclass()) == (None, None)

    def test_later_handshake_leaves_the_socket_open(self, setting13: Setting) -> None:
        """Only at connect does ssl close the socket; of a later do_handshake it is the caller's."""
        with (
            stdlib_tls.sockets() as (plain, other),
            stdlib_tls.Client(other, setting13.client_context),
            setting13.server_context.wrap_socket(plain, server_side=True) as server,
        ):
            setting13.set(raising(Boom()))
            openssl_tickets.new_session_ticket(server)
            with pytest.raises(Boom):
                server.do_handshake()
            assert server.fileno() != -1

    @pytest.mark.parametrize("wrong", [None, 3, ssl.SSLContext, object()])
    def test_needs_a_context(self, wrong: Any) -> None:
        """Anything but an SSLContext is a TypeError."""
        with pytest.raises(TypeError, match=r"expected an ssl\.SSLContext"):
            stdlib.raise_callback_errors(wrong)

    def test_pyopenssls_context_is_none(self, server_context: Any) -> None:
        """A context of pyOpenSSL is a TypeError; its drop-in connections raise by themselves."""
        with pytest.raises(TypeError, match=r"expected an ssl\.SSLContext"):
            stdlib.raise_callback_errors(server_context)

    def test_earlier_connections_are_left(self, setting13: Setting, unraisable: Unraisable) -> None:
        """A connection that was made before goes on to report to the hook."""
        context = setting13.server_context
        context.sslobject_class = ssl.SSLObject
        pair = setting13.pair()
        stdlib.raise_callback_errors(context)
        error = Boom()
        setting13.set(raising(error))
        with pytest.raises(ssl.SSLError):
            pair.handshake()
        assert unraisable.seen == [(error, pair.server)]
        unraisable.seen.clear()

    def test_other_errors_are_ssls_own(self, setting: Setting) -> None:
        """Without an exception of a callback, ssl's own errors and results are as they were."""
        setting.install()
        pair = setting.pair()
        with pytest.raises(ssl.SSLWantReadError):
            pair.server.do_handshake()
        pair.to_server.write(b"no TLS at all")
        with pytest.raises(ssl.SSLError):
            pair.server.do_handshake()
        pair = setting.handshake()
        assert pair.server.write(b"four") == 4
        assert pair.client_reads() == b"four"
        pair.client.write(b"data")
        buffer = bytearray(4)
        assert pair.server.read(4, buffer) == 4
        assert buffer == b"data"

    def test_own_error_of_the_call_does_not_hide_it(
        self, setting13: Setting, unraisable: Unraisable
    ) -> None:
        """Where the method raises something else, that is raised, and the hook has ours."""

        class Own(ssl.SSLObject):
            def do_handshake(self) -> None:
                try:
                    super().do_handshake()
                except ssl.SSLWantReadError:
                    raise
                except ssl.SSLError:
                    raise KeyError("the class's own") from None

        context = setting13.server_context
        context.sslobject_class = Own
        stdlib.raise_callback_errors(context)
        error = Boom()
        setting13.set(raising(error))
        pair = setting13.pair()
        with pytest.raises(KeyError):
            pair.handshake()
        assert unraisable.seen == [(error, pair.server)]
        unraisable.seen.clear()

    def test_nested_handshake_keeps_the_exceptions_apart(self, setting13: Setting) -> None:
        """A handshake within a callback raises its own exception there, and the outer goes on."""
        inner = Setting(setting13.server_file)
        stdlib.raise_callback_errors(inner.server_context)
        inner.set(raising(Boom("inner")))
        caught = []

        def generate(connection: Any, data: Any) -> None:
            with pytest.raises(Boom) as info:
                inner.handshake()
            caught.append(str(info.value))
            if len(caught) == 2:
                raise KeyError("outer")

        setting13.set(generate)
        with pytest.raises(KeyError, match="outer"):
            setting13.handshake()
        assert caught == ["inner", "inner"]

    @pytest.mark.parametrize("past_the_class", [False, True])
    def test_nested_handshake_that_cannot_raise(
        self, setting13: Setting, unraisable: Unraisable, past_the_class: bool
    ) -> None:
        """What belongs to another connection is not raised by the call that is under way."""
        inner = Setting(setting13.server_file)
        error = Boom("inner")
        inner.set(raising(error))
        if past_the_class:
            stdlib.raise_callback_errors(inner.server_context)
        pair = inner.pair()
        server = pair.server
        if past_the_class:
            pair.server = server._sslobj

        def generate(connection: Any, data: Any) -> None:
            with pytest.raises(ssl.SSLError):
                pair.handshake()

        openssl_tickets.set_num_tickets(setting13.server_context, 1)
        setting13.set(generate)
        assert setting13.handshake().received == 1
        assert unraisable.seen == [(error, server)]
        unraisable.seen.clear()

    def test_two_threads_in_callbacks(self, setting13: Setting) -> None:
        """Each of two threads that are in callbacks at once raises its own exception."""
        inside = threading.Barrier(2)

        def generate(connection: Any, data: Any) -> None:
            inside.wait(stdlib_tls.TIMEOUT)
            raise Boom(threading.get_ident())

        def work(_: int) -> None:
            with pytest.raises(Boom) as caught:
                setting13.handshake()
            assert caught.value.args == (threading.get_ident(),)

        setting13.set(generate)
        in_threads(2, work)

    def test_signal_at_the_first_line_of_the_trampoline(self, setting: Setting) -> None:
        """A KeyboardInterrupt that came while libssl was at work is raised by the call as well."""

        def interrupt(frame: Any, event: str, argument: Any) -> None:
            if event == "call" and frame.f_code.co_name == "openssl_tickets_generate":
                sys.settrace(None)
                raise KeyboardInterrupt

        setting.install()
        pair = setting.pair()
        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                pair.handshake()
        finally:
            sys.settrace(before)
        assert setting.recorder.generated == []

    def test_two_threads_on_one_socket(self, setting13: Setting) -> None:
        """The thread whose call ran the callback gets the exception, and not the one that reads."""
        outcome: list[Any] = []

        with (
            stdlib_tls.sockets() as (plain, other),
            setting13.client_context.wrap_socket(other, do_handshake_on_connect=False) as client,
            setting13.server_context.wrap_socket(
                plain, server_side=True, do_handshake_on_connect=False
            ) as server,
        ):
            in_threads(2, lambda number: (client, server)[number].do_handshake())

            def read() -> None:
                try:
                    outcome.append(server.recv(1))
                except BaseException as error:
                    outcome.append(error)

            reader = threading.Thread(target=read)
            reader.start()
            # Long enough to be in its wait for data, which ssl does without libssl.
            reader.join(0.2)
            setting13.set(raising(Boom()))
            openssl_tickets.new_session_ticket(server)
            with pytest.raises(Boom):
                server.send(b"x")
            client.close()
            reader.join(stdlib_tls.TIMEOUT)
            assert not reader.is_alive()
        assert len(outcome) == 1
        assert outcome[0] == b"" or isinstance(outcome[0], OSError)

    @pytest.mark.parametrize("with_hook", [False, True])
    def test_exceptions_do_not_leak(
        self, setting: Setting, monkeypatch: pytest.MonkeyPatch, with_hook: bool
    ) -> None:
        """When the caller is done with an exception it is gone, without a garbage collection."""
        if with_hook:
            setting.server_context.sslobject_class = ssl.SSLObject
            monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
        alive = []

        def made() -> Boom:
            boom = Boom()
            alive.append(weakref.ref(boom))
            return boom

        def generate(connection: Any, data: Any) -> None:
            raise made()

        setting.set(generate)
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                pair = setting.pair()
                with contextlib.suppress(Boom, ssl.SSLError):
                    pair.handshake()
            assert len(alive) == 3
            assert [ref() for ref in alive] == [None] * 3
            server = weakref.ref(pair.server)
            del pair
            assert server() is None
        finally:
            gc.enable()


class TestAsyncio:
    """An asyncio server: the loop's exception handler gets the very exception."""

    def serve(self, setting: Setting, welcome: bool, session: Any = None) -> list[Any]:
        """Serves one client; returns what the loop's exception handler was given."""
        handled: list[Any] = []

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: handled.append(context))
            closed = asyncio.Event()

            async def on_client(reader: Any, writer: Any) -> None:
                if welcome:
                    setting.set(raising(ERROR))
                    openssl_tickets.new_session_ticket(writer.get_extra_info("ssl_object"))
                    writer.write(b"welcome")
                writer.close()
                with contextlib.suppress(OSError, Boom):
                    await writer.wait_closed()
                closed.set()

            server = await asyncio.start_server(
                on_client, "127.0.0.1", 0, ssl=setting.server_context
            )
            port = server.sockets[0].getsockname()[1]
            # Its end is read to, and no part of what is looked at.
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=setting.client_context
                )
                try:
                    await reader.read()
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
            if welcome:
                await closed.wait()
            server.close()
            await server.wait_closed()

        asyncio.run(asyncio.wait_for(main(), stdlib_tls.TIMEOUT))
        return [context.get("exception") for context in handled]

    @pytest.mark.parametrize("raises", [True, False])
    def test_handshake(self, setting: Setting, unraisable: Unraisable, raises: bool) -> None:
        """An exception in the handshake's generate, with raise_callback_errors and without."""
        if raises:
            stdlib.raise_callback_errors(setting.server_context)
        setting.set(raising(ERROR))
        handled = self.serve(setting, welcome=False)
        if raises:
            assert ERROR in handled
            assert unraisable.seen == []
        else:
            assert ERROR not in handled
            assert [(error, type(of)) for error, of in unraisable.seen] == [(ERROR, ssl.SSLObject)]

    def test_ticket_on_demand(self, setting13: Setting, unraisable: Unraisable) -> None:
        """An exception in the generate of a ticket that a write sends."""
        stdlib.raise_callback_errors(setting13.server_context)
        assert ERROR in self.serve(setting13, welcome=True)
        assert unraisable.seen == []

    def test_works(self, setting: Setting) -> None:
        """Without an exception the callbacks run with the ssl_object of the transport."""
        stdlib.raise_callback_errors(setting.server_context)
        setting.install()
        assert self.serve(setting, welcome=False) == []
        assert setting.recorder.connections
        assert {type(each) for each in setting.recorder.connections} == {
            setting.server_context.sslobject_class
        }


ERROR = Boom("from a callback")


FUNCTIONS_OF_CONNECTIONS: dict[str, Callable[[Any], object]] = {
    "get_num_tickets": openssl_tickets.get_num_tickets,
    "set_num_tickets": lambda c: openssl_tickets.set_num_tickets(c, 1),
    "new_session_ticket": openssl_tickets.new_session_ticket,
    "get_session": openssl_tickets.get_session,
}
FUNCTIONS_OF_CONTEXTS: dict[str, Callable[[Any], object]] = {
    "get_num_tickets": openssl_tickets.get_num_tickets,
    "set_num_tickets": lambda c: openssl_tickets.set_num_tickets(c, 1),
    "set_session_ticket_callback": openssl_tickets.set_session_ticket_callback,
}


class MyContext(ssl.SSLContext):
    """A user's own context, with fields of its own."""

    __slots__ = ("more",)


class TestBadInput:
    """Each works or gets a clear error, never a crash."""

    @pytest.mark.parametrize("raises", [False, True])
    def test_context_subclass_works(
        self, server_file: Path, setting: Setting, raises: bool
    ) -> None:
        """A context of a subclass of SSLContext is as any other."""
        setting.server_context = stdlib_tls.server_context(server_file, setting.version, MyContext)
        if raises:
            stdlib.raise_callback_errors(setting.server_context)
        openssl_tickets.set_num_tickets(setting.server_context, 3)
        assert setting.server_context.num_tickets == 3
        setting.install()
        pair = setting.handshake(setting.session())
        assert pair.reused
        assert appdata_of(pair.server) == b"data"

    def test_client_context_works(self, setting13: Setting) -> None:
        """A client's context takes numbers and callbacks, which mean nothing to a client."""
        context = setting13.client_context
        openssl_tickets.set_session_ticket_callback(context, raising(Boom()), raising(Boom()))
        openssl_tickets.set_num_tickets(context, 5)
        assert openssl_tickets.get_num_tickets(context) == 5
        assert setting13.handshake(setting13.session()).reused

    @pytest.mark.parametrize("protocol", ["PROTOCOL_TLS", "PROTOCOL_TLSv1_2"])
    def test_old_protocols_work(self, protocol: str) -> None:
        """Contexts of the deprecated protocols are as any other."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = ssl.SSLContext(getattr(ssl, protocol))
        openssl_tickets.set_num_tickets(context, 5)
        assert openssl_tickets.get_num_tickets(context) == context.num_tickets == 5

    @pytest.mark.parametrize("name", FUNCTIONS_OF_CONNECTIONS)
    def test_object_at_each_time(self, setting: Setting, name: str) -> None:
        """An SSLObject works, or gets an Error, ahead of, amid, after and past its handshake."""
        pair = setting.pair()
        for _ in range(3):
            for side in (pair.server, pair.client):
                with contextlib.suppress(openssl_tickets.Error):
                    FUNCTIONS_OF_CONNECTIONS[name](side)
            with contextlib.suppress(ssl.SSLWantReadError):
                pair.client.do_handshake()
            with contextlib.suppress(ssl.SSLWantReadError):
                pair.server.do_handshake()
        pair.client_reads()
        with contextlib.suppress(ssl.SSLWantReadError):
            pair.client.unwrap()
        pair.server.unwrap()
        with contextlib.suppress(openssl_tickets.Error):
            FUNCTIONS_OF_CONNECTIONS[name](pair.server)

    @pytest.mark.parametrize("name", FUNCTIONS_OF_CONNECTIONS)
    @pytest.mark.parametrize("how", ["close", "shutdown", "unwrap"])
    def test_socket_without_its_tls(self, setting: Setting, name: str, how: str) -> None:
        """A socket that was closed, shut down or unwrapped gets a ValueError that says so."""
        with (
            stdlib_tls.sockets() as (plain, other),
            setting.client_context.wrap_socket(other, do_handshake_on_connect=False) as client,
            setting.server_context.wrap_socket(
                plain, server_side=True, do_handshake_on_connect=False
            ) as server,
        ):
            in_threads(2, lambda number: (client, server)[number].do_handshake())
            if how == "close":
                server.close()
            elif how == "shutdown":
                server.shutdown(socket.SHUT_RDWR)
            else:
                in_threads(2, lambda number: (client, server)[number].unwrap())
            with pytest.raises(ValueError, match="there is no TLS on this SSLSocket"):
                FUNCTIONS_OF_CONNECTIONS[name](server)

    @pytest.mark.parametrize("name", FUNCTIONS_OF_CONNECTIONS)
    def test_detached_socket(self, setting13: Setting, name: str) -> None:
        """A detached socket still has its TLS, and works as far as it goes without the socket."""
        with stdlib_tls.sockets() as (plain, _):
            server = setting13.server_context.wrap_socket(
                plain, server_side=True, do_handshake_on_connect=False
            )
            os.close(server.detach())
            with contextlib.suppress(openssl_tickets.Error):
                FUNCTIONS_OF_CONNECTIONS[name](server)
            server.close()
            with pytest.raises(ValueError, match="there is no TLS"):
                FUNCTIONS_OF_CONNECTIONS[name](server)

    @pytest.mark.parametrize("name", FUNCTIONS_OF_CONNECTIONS)
    def test_unconnected_socket(self, setting13: Setting, name: str) -> None:
        """A socket that is not connected yet, or listens, gets a ValueError that says so."""
        for context, listens in (
            (setting13.client_context, False),
            (setting13.server_context, True),
        ):
            plain = socket.create_server(("127.0.0.1", 0)) if listens else socket.socket()
            with context.wrap_socket(plain, server_side=listens) as unconnected:
                assert unconnected._sslobj is None
                with pytest.raises(ValueError, match="it is not connected yet"):
                    FUNCTIONS_OF_CONNECTIONS[name](unconnected)

    @pytest.mark.parametrize("name", FUNCTIONS_OF_CONNECTIONS)
    @pytest.mark.parametrize("kind", [ssl.SSLObject, ssl.SSLSocket, MyObject, MySocket])
    def test_never_initialised(self, name: str, kind: Any) -> None:
        """What __new__ alone has made gets a ValueError."""
        made = kind.__new__(kind)
        with pytest.raises(ValueError, match=f"there is no TLS on this {kind.__name__}"):
            FUNCTIONS_OF_CONNECTIONS[name](made)
        for sslobj in (3, object(), made, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)):
            made._sslobj = sslobj
            with pytest.raises(ValueError, match="there is no TLS"):
                FUNCTIONS_OF_CONNECTIONS[name](made)
        made._sslobj = None

    @pytest.mark.parametrize("name", FUNCTIONS_OF_CONTEXTS)
    def test_context_made_by_new_alone(self, name: str) -> None:
        """A context that __new__ alone has made has its SSL_CTX, and works."""
        FUNCTIONS_OF_CONTEXTS[name](ssl.SSLContext.__new__(ssl.SSLContext, ssl.PROTOCOL_TLS_SERVER))

    @pytest.mark.parametrize(
        "wrong", [None, 3, "context", ssl, ssl.SSLContext, ssl.SSLObject, ssl.MemoryBIO()]
    )
    def test_neither(self, wrong: Any) -> None:
        """Whatever else is handed in gets a TypeError that names what is expected."""
        for function in (*FUNCTIONS_OF_CONTEXTS.values(), *FUNCTIONS_OF_CONNECTIONS.values()):
            with pytest.raises(TypeError, match=r"expected .*ssl.*, not "):
                function(wrong)

    def test_one_for_the_other(self, setting13: Setting) -> None:
        """A connection for a context, or a context for a connection, gets a TypeError."""
        with pytest.raises(TypeError, match=r"expected an OpenSSL\.SSL\.Context or an ssl\.SSLC"):
            openssl_tickets.set_session_ticket_callback(setting13.pair().server)
        for function in (openssl_tickets.get_session, openssl_tickets.new_session_ticket):
            with pytest.raises(TypeError, match=r"an ssl\.SSLSocket or an ssl\.SSLObject, not "):
                function(setting13.server_context)

    @pytest.mark.parametrize("wrong", [3, "f", b"", object()])
    def test_callbacks_must_be_callable(self, setting13: Setting, wrong: Any) -> None:
        """What cannot be called is refused when it is set."""
        for arguments in ((wrong, None), (None, wrong)):
            with pytest.raises(TypeError, match="must be callable or None"):
                setting13.set(*arguments)

    def test_what_only_says_that_it_is_one(self) -> None:
        """
        What gives itself out for a class of ssl through ``__class__`` gets a TypeError or
        ValueError: truststore's SSLContext does, and so does a Mock with a spec.
        """
        errors = run(
            """
            import _ssl, ssl
            from unittest.mock import Mock
            import openssl_tickets as t
            class Wrapping:  # as in truststore
                def __init__(self):
                    self._ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                @property
                def __class__(self):
                    return ssl.SSLContext
            holder = ssl.SSLObject.__new__(ssl.SSLObject)
            holder._sslobj = Mock(spec=_ssl._SSLSocket)
            cases = [Wrapping(), Mock(spec=ssl.SSLContext), Mock(spec=ssl.SSLSocket),
                     Mock(spec=ssl.SSLObject, _sslobj=Mock(spec=_ssl._SSLSocket)), holder]
            errors = []
            for case in cases:
                for call in (t.get_num_tickets, lambda c: t.set_num_tickets(c, 1),
                             t.set_session_ticket_callback, t.get_session, t.new_session_ticket):
                    try: errors.append(repr(call(case)))
                    except (TypeError, ValueError) as error: errors.append(type(error).__name__)
            print(json.dumps(errors))
            """
        )
        assert set(errors) <= {"TypeError", "ValueError"}

    def test_pointer_keeps_what_it_points_to(self, setting13: Setting) -> None:
        """While a function of ours has the SSL *, closing the connection does not free it."""
        pair = setting13.pair()
        context = weakref.ref(setting13.server_context)
        pointer = adapter.to_ssl(pair.server)
        setting13.server_context = None
        del pair
        gc.collect()
        # The object that frees the SSL with itself holds the context.
        assert context() is not None
        del pointer
        gc.collect()
        assert context() is None

    def test_closed_by_another_thread(self, setting13: Setting) -> None:
        """A socket that another thread closes meanwhile works or gets a ValueError."""
        stop = threading.Event()
        current: list[Any] = []
        asked = [0, 0]

        def ask(number: int) -> None:
            while not stop.is_set():
                for connection in list(current):
                    try:
                        openssl_tickets.get_session(connection)
                        openssl_tickets.set_num_tickets(connection, number)
                        asked[0] += 1
                    except ValueError:
                        asked[1] += 1

        def close() -> None:
            try:
                # Bounded, since two busy threads leave this one little of the interpreter.
                end = time.monotonic() + 1
                while time.monotonic() < end:
                    plain, other = socket.socketpair()
                    with other:
                        server = setting13.server_context.wrap_socket(
                            plain, server_side=True, do_handshake_on_connect=False
                        )
                        current[:] = [server]
                        threading.Event().wait(0.001)
                        server.close()
            finally:
                stop.set()

        in_threads(3, lambda number: ask(number) if number else close())
        assert asked[0] > 0


class TestLifetime:
    def test_goes_with_the_context(self, setting13: Setting) -> None:
        """Callbacks and their data are freed with the context."""
        gc.collect()
        before = len(callbacks.policies)
        contexts = [stdlib_tls.server_context(setting13.server_file) for _ in range(20)]
        alive = []
        for context in contexts:
            objects = [Callback(), Callback(), Callback()]
            openssl_tickets.set_session_ticket_callback(context, *objects)
            alive += [weakref.ref(each) for each in objects]
        del objects
        assert len(callbacks.policies) == before + 20
        assert all(ref() is not None for ref in alive)
        del context, contexts
        gc.collect()
        assert len(callbacks.policies) == before
        assert all(ref() is None for ref in alive)

    def test_replaced_callbacks_are_freed(self, setting13: Setting) -> None:
        """Replaced and removed callbacks are freed at once."""
        old = Callback()
        ref = weakref.ref(old)
        setting13.set(old)
        del old
        assert ref() is not None
        setting13.set(Callback())
        assert ref() is None

    def test_kept_for_a_connection(self, setting: Setting) -> None:
        """A connection keeps its handshake's callbacks, though the program drops the context."""
        callback = Callback(b"data")
        ref = weakref.ref(callback)
        setting.set(callback)
        del callback
        pair = setting.pair()
        setting.server_context = None
        gc.collect()
        pair.handshake()
        assert appdata_of(pair.server) == b"data"
        assert ref() is not None
        del pair
        gc.collect()
        assert ref() is None

    def test_first_context_is_garbage_after_an_sni_switch(self, setting: Setting) -> None:
        """The first context's callbacks run to the end of the handshake, though it is gone."""
        first = weakref.ref(setting.server_context)
        second = stdlib_tls.server_context(setting.server_file, setting.version)
        gone = []

        def switch(connection: Any, name: str | None, context: Any) -> None:
            connection.context = second

        def generate(connection: Any, data: Any) -> bytes:
            gc.collect()
            gone.append(first() is None)
            return b"by the first"

        setting.server_context.sni_callback = switch
        setting.set(generate)
        pair = setting.pair(None, "second.example")
        setting.server_context = None
        pair.handshake()
        # In TLS 1.2 the ticket is made within the call that has switched.
        assert gone
        assert gone[-1] or setting.version == "1.2"
        assert appdata_of(pair.server) == b"by the first"
        assert first() is None

    def test_nothing_keeps_the_connection(self, setting: Setting) -> None:
        """A connection that is dropped is freed at once, callbacks or not."""
        setting.install()
        pair = setting.handshake()
        setting.recorder.clear()
        assert openssl_tickets.get_session(pair.server) is not None
        server = weakref.ref(pair.server)
        gc.disable()
        try:
            del pair
            assert server() is None
        finally:
            gc.enable()


class TestThreads:
    @pytest.mark.slow
    def test_replaced_while_threads_shake_hands(self, setting13: Setting) -> None:
        """8 threads on one context under 300 replacements: each handshake sees one whole pair."""
        context = setting13.server_context
        stdlib.raise_callback_errors(context)
        done = threading.Event()
        handshakes = [0] * 8
        with_callbacks = [0] * 8

        def pair_of_callbacks(number: int) -> tuple[Any, Any]:
            def generate(connection: Any, data: Any) -> bytes:
                connection.seen.append(("generate", number, data))
                return b"%d" % number

            def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn:
                connection.seen.append(("decrypt", number, data))
                return USE_RENEW

            return generate, decrypt

        def shake(thread: int) -> None:
            session = None
            # At least once, however soon the replacing ends.
            while not done.is_set() or handshakes[thread] < 3:
                pair = setting13.pair(session)
                pair.server.seen = []
                pair.handshake()
                assert pair.reused is (session is not None)
                seen = pair.server.seen
                whole = ["decrypt", "generate"] if session else ["generate", "generate"]
                assert [name for name, *_ in seen] in ([], whole)
                assert len({(number, data) for _, number, data in seen}) <= 1
                assert all(number == data for _, number, data in seen)
                handshakes[thread] += 1
                with_callbacks[thread] += bool(seen)
                session = pair.session() if handshakes[thread] % 3 else None

        def replace() -> None:
            try:
                for number in range(300):
                    if number % 4 == 3:
                        setting13.set()
                    else:
                        setting13.set(*pair_of_callbacks(number), number)
                    threading.Event().wait(0.002)
            finally:
                done.set()

        # The very first pair may come between a handshake's two tickets: its first callback is then
        # that of the second.
        setting13.set(*pair_of_callbacks(0), 0)
        in_threads(9, lambda thread: replace() if thread == 8 else shake(thread))
        assert min(handshakes) >= 3
        assert sum(with_callbacks) > 0

    def test_proof_from_many_threads_at_once(self, server_file: Path) -> None:
        """The first use may come from many threads at once."""
        counts = run(
            """
            import ssl, threading
            import openssl_tickets
            barrier = threading.Barrier(8)
            counts = []
            def work():
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.num_tickets = 3
                barrier.wait(60)
                counts.append(openssl_tickets.get_num_tickets(context))
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            print(json.dumps(counts))
            """
        )
        assert counts == [3] * 8


ROOT = str(Path(__file__).parents[2])


def run(program: str, server_file: Path | None = None) -> Any:
    """
    Runs *program* in a process of its own and returns its result.

    It must print nothing but the result as JSON, and end well. Given *server_file*, there are
    contexts, callbacks, ``pair(session=None)`` and a ``session`` to begin with.
    """
    source = "import json\n"
    if server_file is not None:
        source += textwrap.dedent(
            f"""
            import os, sys, threading, time
            sys.path.append({ROOT!r})
            import openssl_tickets
            from tests.support import stdlib_tls
            server_context = stdlib_tls.server_context({str(server_file)!r})
            client_context = stdlib_tls.client_context()
            def generate(connection, data): return b"data"
            def decrypt(connection, ticket, data): return None
            openssl_tickets.set_session_ticket_callback(server_context, generate, decrypt)
            def pair(session=None): return stdlib_tls.Pair(server_context, client_context, session)
            session = pair().handshake().session()
            """
        )
    return json.loads(processes.run(source + textwrap.dedent(program)))


class TestProcesses:
    """Each runs in a process of its own."""

    def test_exit_with_live_connections(self, server_file: Path) -> None:
        """The interpreter ends without a word with connections and callbacks alive."""
        assert run(
            """
            pairs = [pair(session) for _ in range(10)]
            for each in pairs[:5]:
                each.handshake()
            sys.modules["kept"] = pairs
            print("true")
            """,
            server_file,
        )

    def test_exit_with_daemon_threads_in_handshakes(self, server_file: Path) -> None:
        """It ends without a word while daemon threads are in the middle of handshakes."""
        assert run(
            """
            counts = [0, 0, 0]
            def work(number):
                while True:
                    pair(session).handshake()
                    counts[number] += 1
            for number in range(3):
                threading.Thread(target=work, args=(number,), daemon=True).start()
            while min(counts) < 5:
                time.sleep(0.01)
            print("true")
            sys.stdout.flush()
            """,
            server_file,
        )

    def test_exit_with_a_daemon_thread_in_a_read(self, server_file: Path) -> None:
        """It ends without a word while a daemon thread waits for data on a live socket."""
        assert run(
            """
            from openssl_tickets import stdlib
            stdlib.raise_callback_errors(server_context)
            reading = threading.Event()
            def serve(plain):
                server = server_context.wrap_socket(plain, server_side=True)
                reading.set()
                server.recv(1)
            import socket
            one, other = socket.socketpair()
            threading.Thread(target=serve, args=(one,), daemon=True).start()
            client = client_context.wrap_socket(other)
            assert reading.wait(60)
            print("true")
            sys.stdout.flush()
            """,
            server_file,
        )

    def test_handshake_while_the_interpreter_ends(self, server_file: Path) -> None:
        """A handshake that begins after the end of the interpreter has begun fails closed."""
        results = run(
            """
            import ssl
            class Late:
                def __init__(self):
                    # Held here, since modules are taken down before this runs.
                    self.pair = pair(session)
                    self.error = ssl.SSLError
                    self.write = os.write
                def __del__(self):
                    try:
                        self.pair.handshake()
                    except self.error:
                        self.write(1, b'"refused"')
                    except Exception as error:
                        self.write(1, b'"another error"')
                    else:
                        self.write(1, b'"resumed"' if self.pair.reused else b'"not resumed"')
            sys.modules["late"] = Late()
            """,
            server_file,
        )
        assert results == "refused"

    def test_fork(self, server_file: Path) -> None:
        """A child goes on with its parent's contexts, sessions and callbacks."""
        statuses = run(
            """
            import warnings
            stop = threading.Event()
            def at_the_lock():
                while not stop.is_set():
                    openssl_tickets.set_session_ticket_callback(server_context, generate, decrypt)
            threads = [threading.Thread(target=at_the_lock) for _ in range(2)]
            for thread in threads: thread.start()
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork with threads
            statuses = []
            for _ in range(20):
                child = os.fork()
                if child == 0:
                    try:
                        resumed = pair(session).handshake()
                        assert resumed.reused
                        assert openssl_tickets.get_session(resumed.server).ticket_appdata == b"data"
                        openssl_tickets.set_session_ticket_callback(server_context)
                        openssl_tickets.set_num_tickets(server_context, 1)
                        assert pair().handshake().received == 1
                    except BaseException:
                        os._exit(1)
                    os._exit(0)
                statuses.append(os.waitpid(child, 0)[1])
            stop.set()
            for thread in threads: thread.join()
            print(json.dumps(statuses))
            """,
            server_file,
        )
        assert statuses == [0] * 20

    def test_imported_again(self, server_file: Path) -> None:
        """A context of a package that was imported anew is not given another one's callbacks."""
        reused, seen = run(
            """
            from openssl_tickets import TicketReturn
            answer = lambda *_: TicketReturn.IGNORE_RENEW
            openssl_tickets.set_session_ticket_callback(server_context, None, answer)
            for name in list(sys.modules):
                if name.split(".")[0] == "openssl_tickets":
                    del sys.modules[name]
            import openssl_tickets as anew
            assert anew is not openssl_tickets
            import ssl
            second = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            seen = []
            anew.set_session_ticket_callback(second, None, lambda *_: seen.append(1))
            sys.unraisablehook = lambda unraisable: None
            resumed = pair(session)
            try:
                resumed.handshake()
            except ssl.SSLError:
                pass
            print(json.dumps([resumed.reused, seen]))
            """,
            server_file,
        )
        assert (reused, seen) == (False, [])


# The functions, to be called with what is refused, in a process of its own.
REFUSALS = """
import ssl, _ssl
import openssl_tickets as t
from openssl_tickets._adapters import stdlib as adapter
def refusals(context, of):
    connection = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    messages = []
    for call in (
        lambda: t.get_num_tickets(context),
        lambda: t.set_num_tickets(context, 1),
        lambda: t.get_num_tickets(connection),
        lambda: t.set_num_tickets(connection, 1),
        lambda: t.new_session_ticket(connection),
        lambda: t.get_session(connection),
        lambda: t.set_session_ticket_callback(context, lambda *_: None, lambda *_: None),
    ):
        try:
            messages.append(repr(call()))
        except of as error:
            messages.append(str(error))
    return messages
"""


class TestProof:
    """The proof that ssl is on our libssl, and that its objects are as they are known to be."""

    @pytest.mark.parametrize(
        ("spoil", "theirs"),
        [
            ("del _ssl.__file__", sys.executable),
            ("_ssl.__file__ = '/no/such/file.so'", "/no/such/file.so"),
            ("import _cffi_backend; _ssl.__file__ = _cffi_backend.__file__", "_cffi_backend"),
        ],
        ids=["built in", "not loaded", "no libssl"],
    )
    def test_another_libssl(self, spoil: str, theirs: str) -> None:
        """Where it cannot be proved, nothing is touched, and two lines name both and a remedy."""
        version, messages, number = run(
            REFUSALS
            + textwrap.dedent(
                f"""
                {spoil}
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.num_tickets = 9
                messages = refusals(context, t.LibraryMismatchError)
                print(json.dumps([_ssl.OPENSSL_VERSION, messages, context.num_tickets]))
                """
            )
        )
        assert number == 9
        assert len(messages) == 7
        for message in messages:
            first, second = message.splitlines()
            assert f"ssl runs on {version} (in " in first
            assert theirs in first
            assert f"{openssl_tickets.OPENSSL_VERSION} (in {shared_object.our_libssl()})" in first
            assert "OPENSSL_DIR" in second

    @pytest.mark.parametrize(
        "spoil",
        [
            # Another header, or fields in other places.
            *(f"adapter._HEADER += {shift}" for shift in (-16, -8, 8, 16, 24)),
            # Each of the fields in turn is not what it is taken for; fields(x) is the real one.
            "adapter._fields = lambda x: [fields(x)[0], fields(x)[1], fields(x)[0]]",
            "adapter._fields = lambda x: [fields(x)[0], ffi.NULL, fields(x)[2]]",
            "adapter._fields = lambda x: [fields(x)[0], fields(x)[1] + 1, fields(x)[2]]",
            "adapter._fields = lambda x: [fields(x)[0], fields(other)[1], fields(x)[2]]",
            "adapter._fields = lambda x: [fields(twin)[0], fields(x)[1], fields(x)[2]]",
            # What CPython sets, or what it reads, is another number than libssl has.
            "count(lambda context: number.__get__(context), lambda context, value: None)",
            "count(lambda context: 7, number.__set__)",
        ],
    )
    def test_other_objects(self, spoil: str) -> None:
        """Where CPython's objects are not as known, there is a clear error, and no write."""
        messages, numbers, proved = run(
            REFUSALS
            + textwrap.dedent(
                f"""
                from openssl_tickets._native._libssl import ffi
                fields = adapter._fields
                twin = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                twin.num_tickets = 7  # the number that is compared first
                other = twin.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)._sslobj
                number = _ssl._SSLContext.num_tickets
                def count(getter, setter):
                    others = {{"num_tickets": property(getter, setter)}}
                    _ssl._SSLContext = type("_SSLContext", (_ssl._SSLContext,), others)
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.num_tickets = 9
                {spoil}
                # Whatever it is taken for, it is to be looked at.
                adapter.is_context = lambda value: isinstance(value, ssl.SSLContext)
                messages = refusals(context, RuntimeError)
                numbers = [context.num_tickets, twin.num_tickets]
                print(json.dumps([messages, numbers, adapter._proved]))
                """
            )
        )
        assert (numbers, proved) == ([9, 7], False)
        assert len(messages) == 7
        for message in messages:
            assert "are not as openssl_tickets knows them, so nothing was done" in message
            assert "doctor" in message

    def test_done_once(self) -> None:
        """After the first use nothing is compared any more."""
        assert run(
            """
            import ssl
            import openssl_tickets
from openssl_tickets._adapters import stdlib as adapter
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            assert not adapter._proved
            openssl_tickets.get_num_tickets(context)
            adapter._prove_library = adapter._prove_layout = None
            print(json.dumps(openssl_tickets.get_num_tickets(context) == 2))
            """
        )

    def test_fork_in_the_middle(self) -> None:
        """A child that is forked while another thread is at the proof makes its own."""
        status = run(
            """
            import os, signal, ssl, threading, warnings
            import openssl_tickets
from openssl_tickets._adapters import stdlib as adapter
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork with threads
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            inside, go_on = threading.Event(), threading.Event()
            prove = adapter._prove_layout
            def slow(module):
                inside.set()
                go_on.wait(60)
                prove(module)
            adapter._prove_layout = slow
            thread = threading.Thread(target=openssl_tickets.get_num_tickets, args=(context,))
            thread.start()
            inside.wait(60)
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                adapter._prove_layout = prove
                os._exit(openssl_tickets.get_num_tickets(context) != 2)
            status = os.waitpid(child, 0)[1]
            go_on.set()
            thread.join()
            print(status)
            """
        )
        assert status == 0

    def test_import_loads_no_ssl(self) -> None:
        """Neither the import nor bad input loads ssl or _ssl; the stdlib module of ours does."""
        loaded = run(
            """
            import sys
            import openssl_tickets
            for function in (openssl_tickets.get_num_tickets, openssl_tickets.get_session):
                try: function(3)
                except TypeError: pass
            before = [name for name in ("ssl", "_ssl") if name in sys.modules]
            import openssl_tickets.stdlib
            print(json.dumps([before, "ssl" in sys.modules]))
            """
        )
        assert loaded == [[], True]

    @pytest.mark.parametrize("first", ["ssl", "OpenSSL.SSL"])
    def test_beside_pyopenssl_as_it_comes(self, first: str) -> None:
        """It works beside a pyOpenSSL that is on an OpenSSL of its own."""
        numbers = run(
            f"""
            import {first}
            import ssl, OpenSSL.SSL
            import openssl_tickets
            theirs = OpenSSL.SSL.Context(OpenSSL.SSL.TLS_METHOD)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            numbers = []
            for _ in range(2):
                openssl_tickets.set_num_tickets(context, 7)
                numbers.append(context.num_tickets)
                try: numbers.append(openssl_tickets.get_num_tickets(theirs))
                except openssl_tickets.LibraryMismatchError as error: numbers.append(2)
            print(json.dumps(numbers))
            """
        )
        assert numbers == [7, 2] * 2

    def test_beside_pyopenssl_on_the_systems(
        self, setting: Setting, unraisable: Unraisable
    ) -> None:
        """Callbacks of both libraries' contexts run in one process, each with its connection."""
        theirs = tls.server_context(setting.server_file, setting.version)
        recorder = Recorder(b"of pyOpenSSL")
        theirs.set_session_ticket_callback(recorder.generate, recorder.decrypt)
        setting.install()
        for turn in range(2):
            ours = setting.handshake(setting.session() if turn else None)
            pair = tls.Pair(theirs, tls.client_context(setting.version)).handshake()
            assert {id(each) for each in recorder.connections} == {id(pair.server)}
            assert id(ours.server) in {id(each) for each in setting.recorder.connections}
            assert appdata_of(ours.server) == b"data"
            assert appdata_of(pair.server) == b"of pyOpenSSL"
            recorder.clear()
        assert unraisable.seen == []


class TestInTheMiddle:
    def test_freed_by_an_exception(self, unraisable: Unraisable) -> None:
        """A context that goes as an exception comes up is forgotten, and the exception stays."""

        def made() -> ssl.SSLContext:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            openssl_tickets.set_session_ticket_callback(context, lambda *_: None)
            return context

        nothing: dict[str, object] = {}
        before = len(callbacks.policies)
        for _ in range(3):
            with pytest.raises(FileNotFoundError):
                made().load_cert_chain("/nonexistent")
            with pytest.raises(KeyError):
                _ = (made(), nothing["x"])
        assert unraisable.seen == []
        assert len(callbacks.policies) == before

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="3.10 runs handlers ahead of a finally")
    def test_signals_leave_no_connection_behind(self, setting13: Setting) -> None:
        """Whenever a signal's handler raises, the thread is in no call afterwards."""

        def interrupt(*_: object) -> None:
            if shaking:
                raise Boom

        stdlib.raise_callback_errors(setting13.server_context)
        shaking = False
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            for turn in range(1000):
                server = setting13.pair().server
                with contextlib.suppress(Boom):
                    shaking = True
                    signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + turn % 60))
                    for _ in range(100):
                        with contextlib.suppress(ssl.SSLWantReadError):
                            server.do_handshake()
                shaking = False
                signal.setitimer(signal.ITIMER_REAL, 0)
                assert stdlib._call.connection is None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
