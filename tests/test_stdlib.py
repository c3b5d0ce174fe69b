"""More for programs on ``ssl``: raise_callback_errors, on objects, sockets and asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import stdlib
from tests.support import processes, stdlib_tls
from tests.support.callbacks import Boom, Unraisable, in_threads
from tests.support.policies import Policy

READS: dict[str, Callable[[Any], object]] = {
    "read": lambda c: c.read(1),
    "read into": lambda c: c.read(1, bytearray(1)),
    "recv": lambda c: c.recv(1),
    "recv_into": lambda c: c.recv_into(bytearray(1)),
}
WRITES: dict[str, Callable[[Any], object]] = {
    "write": lambda c: c.write(b"x"),
    "send": lambda c: c.send(b"x"),
    "sendall": lambda c: c.sendall(b"x"),
    "do_handshake": lambda c: c.do_handshake(),
}
CALLS = {**READS, **WRITES}


ERROR = Boom("from a callback")


def raising(*_: Any) -> Any:
    raise ERROR


class MySocket(ssl.SSLSocket):
    """A user's own class."""


@pytest.fixture
def setting(version: str, server_file: Path) -> Policy:
    return Policy("ssl", version, server_file)


@pytest.fixture
def setting13(server_file: Path) -> Policy:
    return Policy("ssl", "1.3", server_file)


@pytest.fixture(autouse=True)
def _nothing_is_left(unraisable: Unraisable) -> Iterator[None]:
    """What a test expects of the hook, it takes from there."""
    yield
    assert unraisable.seen == []


class TestSockets:
    @pytest.mark.parametrize("call", sorted(CALLS))
    def test_shakes_hands(self, setting: Policy, call: str) -> None:
        """Whatever method of an SSLSocket carries the handshake out raises."""
        setting.set(raising)
        with (
            stdlib_tls.sockets() as (plain, other),
            stdlib_tls.Client(other, setting.client_context),
            setting.server_context.wrap_socket(
                plain, server_side=True, do_handshake_on_connect=False
            ) as server,
        ):
            with pytest.raises(Boom) as caught:
                CALLS[call](server)
            assert caught.value is ERROR
            # Not at connect, so the socket is the caller's to close.
            assert server.fileno() != -1

    @pytest.mark.parametrize("call", sorted(WRITES))
    def test_writes_a_ticket_on_demand(self, setting13: Policy, call: str) -> None:
        """A ticket on demand is made by the next write of a socket, so that is what raises."""
        with (
            stdlib_tls.sockets() as (plain, other),
            stdlib_tls.Client(other, setting13.client_context) as client,
            setting13.server_context.wrap_socket(plain, server_side=True) as server,
        ):
            setting13.set(raising)
            openssl_tickets.new_session_ticket(server)
            with pytest.raises(Boom):
                WRITES[call](server)
        assert client.error is not None

    @pytest.mark.parametrize("how", ["wrap_socket", "accept"])
    def test_at_connect(self, setting: Policy, how: str) -> None:
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

    def test_hook_at_connect(self, version: str, server_file: Path, unraisable: Unraisable) -> None:
        """Without it, wrap_socket raises an SSLError, and the hook has the socket, closed."""
        setting = Policy("ssl", version, server_file, raises=False)
        setting.set(raising)
        with (
            stdlib_tls.sockets() as (plain, other),
            stdlib_tls.Client(other, setting.client_context) as client,
            pytest.raises(ssl.SSLError),
        ):
            setting.server_context.wrap_socket(plain, server_side=True)
        ((error, server),) = unraisable.seen
        unraisable.seen.clear()
        assert error is ERROR
        assert type(server) is ssl.SSLSocket
        assert server.fileno() == -1
        assert client.error is not None

    @pytest.mark.parametrize("closed", [False, True])
    def test_handshake_without_tls(self, setting13: Policy, closed: bool) -> None:
        """On a socket that is not connected yet, or is closed, the error is ssl's own."""
        with setting13.server_context.wrap_socket(socket.socket()) as unconnected:
            if closed:
                unconnected.close()
            with pytest.raises(OSError, match=r"not connected|Bad file descriptor"):
                unconnected.do_handshake()

    def test_exit_with_a_daemon_thread_in_a_read(self, server_file: Path) -> None:
        """The interpreter ends without a word while a thread waits for data on a live socket."""
        output = processes.run(
            f"""
import socket, sys, threading
sys.path.append({str(Path(__file__).parents[1])!r})
from pathlib import Path
from openssl_tickets import SSL  # before tests.support imports OpenSSL.SSL
from tests.support.policies import Policy
setting = Policy("ssl", "1.3", Path({str(server_file)!r}))
setting.install()
reading = threading.Event()
def serve(plain):
    server = setting.server_context.wrap_socket(plain, server_side=True)
    reading.set()
    server.recv(1)
one, other = socket.socketpair()
threading.Thread(target=serve, args=(one,), daemon=True).start()
client = setting.client_context.wrap_socket(other)
assert reading.wait(60)
print("alive")
"""
        )
        assert output == "alive\n"

    def test_later_handshake_leaves_the_socket_open(self, setting13: Policy) -> None:
        """Only at connect does ssl close the socket; of a later do_handshake it is the caller's."""
        with (
            stdlib_tls.sockets() as (plain, other),
            stdlib_tls.Client(other, setting13.client_context),
            setting13.server_context.wrap_socket(plain, server_side=True) as server,
        ):
            setting13.set(raising)
            openssl_tickets.new_session_ticket(server)
            with pytest.raises(Boom):
                server.do_handshake()
            assert server.fileno() != -1

    def test_two_threads_on_one_socket(self, setting13: Policy) -> None:
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
            setting13.set(raising)
            openssl_tickets.new_session_ticket(server)
            with pytest.raises(Boom):
                server.send(b"x")
            client.close()
            reader.join(stdlib_tls.TIMEOUT)
            assert not reader.is_alive()
        assert len(outcome) == 1
        assert outcome[0] == b"" or isinstance(outcome[0], OSError)


class TestClasses:
    def test_idempotent(self, setting13: Policy) -> None:
        """Called again it does nothing; contexts of one class get one subclass."""
        context = setting13.server_context
        classes = (context.sslsocket_class, context.sslobject_class)
        stdlib.raise_callback_errors(context)
        assert (context.sslsocket_class, context.sslobject_class) == classes
        other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        assert (other.sslsocket_class, other.sslobject_class) == (ssl.SSLSocket, ssl.SSLObject)
        stdlib.raise_callback_errors(other)
        assert (other.sslsocket_class, other.sslobject_class) == classes

    def test_own_classes_are_kept(self, setting13: Policy) -> None:
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
        setting13.set(raising)
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

    def test_needs_a_context(self, server_context: Any) -> None:
        """Anything but an SSLContext is a TypeError, also a context of pyOpenSSL."""
        wrong: Any
        for wrong in (None, 3, ssl.SSLContext, object(), server_context):
            with pytest.raises(TypeError, match=r"expected an ssl\.SSLContext"):
                stdlib.raise_callback_errors(wrong)

    def test_earlier_connections_are_left(self, setting13: Policy, unraisable: Unraisable) -> None:
        """A connection that was made before goes on to report to the hook."""
        context = setting13.server_context
        context.sslobject_class = ssl.SSLObject
        pair = setting13.pair()
        stdlib.raise_callback_errors(context)
        setting13.set(raising)
        with pytest.raises(ssl.SSLError):
            pair.handshake()
        assert unraisable.seen == [(ERROR, pair.server)]
        unraisable.seen.clear()

    def test_own_error_of_the_call_does_not_hide_it(
        self, setting13: Policy, unraisable: Unraisable
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
        setting13.set(raising)
        pair = setting13.pair()
        with pytest.raises(KeyError):
            pair.handshake()
        assert unraisable.seen == [(ERROR, pair.server)]
        unraisable.seen.clear()


class TestAsyncio:
    """An asyncio server: the loop's exception handler gets the very exception."""

    def serve(self, setting: Policy, welcome: bool, session: Any = None) -> list[Any]:
        """Serves one client; returns what the loop's exception handler was given."""
        handled: list[Any] = []

        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: handled.append(context))
            closed = asyncio.Event()

            async def on_client(reader: Any, writer: Any) -> None:
                if welcome:
                    setting.set(raising)
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
    def test_handshake(
        self, version: str, server_file: Path, unraisable: Unraisable, raises: bool
    ) -> None:
        """Without raise_callback_errors, the hook has it, and the loop the SSLError."""
        setting = Policy("ssl", version, server_file, raises=raises)
        setting.set(raising)
        handled = self.serve(setting, welcome=False)
        assert (ERROR in handled) is raises
        assert [(error, type(of)) for error, of in unraisable.seen] == (
            [] if raises else [(ERROR, ssl.SSLObject)]
        )
        unraisable.seen.clear()

    def test_ticket_on_demand(self, setting13: Policy) -> None:
        """An exception in the generate of a ticket that a write sends."""
        assert ERROR in self.serve(setting13, welcome=True)

    def test_works(self, setting: Policy) -> None:
        """Without an exception the callbacks run with the ssl_object of the transport."""
        setting.install()
        assert self.serve(setting, welcome=False) == []
        classes = {type(each) for each in setting.recorder.connections}
        assert classes == {setting.server_context.sslobject_class}
