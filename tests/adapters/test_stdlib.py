"""What is known of ``ssl``'s objects: the proof, the pointers, and the way back to the user."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import platform
import socket
import ssl
import sys
import textwrap
import threading
import time
import types
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import stdlib
from openssl_tickets._adapters import stdlib as adapter
from openssl_tickets._native import shared_object
from openssl_tickets._native._libssl import ffi, lib
from tests.support import processes, stdlib_tls, tls
from tests.support.callbacks import Boom, Recorder, Unraisable, in_threads
from tests.support.policies import Policy, appdata_of


@pytest.fixture
def setting(version: str, server_file: Path) -> Policy:
    return Policy("ssl", version, server_file, raises=False)


@pytest.fixture
def setting13(server_file: Path) -> Policy:
    return Policy("ssl", "1.3", server_file, raises=False)


def raising(*_: Any) -> Any:
    raise Boom


class MyObject(ssl.SSLObject):
    """A user's own class."""


class MySocket(ssl.SSLSocket):
    """A user's own class."""


class TestWhatCallbacksAreGiven:
    """The very object that the user holds."""

    @pytest.mark.parametrize("raising", [False, True])
    @pytest.mark.parametrize("own_class", [False, True])
    def test_object(self, setting: Policy, own_class: bool, raising: bool) -> None:
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
    def test_socket(self, setting: Policy, own_class: bool, raising: bool, at_once: bool) -> None:
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

    def test_without_owner(self, setting: Policy) -> None:
        """Where ssl's classes were not used, the object of _ssl itself, which works as well."""
        setting.install()
        pair = setting.pair()
        pair.server = setting.server_context._wrap_bio(pair.to_server, pair.to_client, True)
        pair.handshake()
        assert setting.recorder.connections
        assert all(each is pair.server for each in setting.recorder.connections)
        assert openssl_tickets.get_num_tickets(pair.server) == 2
        assert openssl_tickets.get_session(pair.server) is not None

    def test_works_within_the_callback(self, setting13: Policy) -> None:
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
    def test_context_subclass_works(self, server_file: Path, setting: Policy, raises: bool) -> None:
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

    @pytest.mark.parametrize("protocol", ["PROTOCOL_TLS", "PROTOCOL_TLSv1_2"])
    def test_old_protocols_work(self, protocol: str) -> None:
        """Contexts of the deprecated protocols are as any other."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = ssl.SSLContext(getattr(ssl, protocol))
        openssl_tickets.set_num_tickets(context, 5)
        assert openssl_tickets.get_num_tickets(context) == context.num_tickets == 5

    @pytest.mark.parametrize("name", FUNCTIONS_OF_CONNECTIONS)
    def test_object_at_each_time(self, setting: Policy, name: str) -> None:
        """An SSLObject works, or gets an Error, ahead of, amid, after and past its handshake."""
        pair = setting.pair()
        for _ in range(3):
            with contextlib.suppress(openssl_tickets.Error):
                FUNCTIONS_OF_CONNECTIONS[name](pair.server)
            with contextlib.suppress(openssl_tickets.Error, ValueError):  # it is a client
                FUNCTIONS_OF_CONNECTIONS[name](pair.client)
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
    def test_socket_without_its_tls(self, setting: Policy, name: str, how: str) -> None:
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
    def test_detached_socket(self, setting13: Policy, name: str) -> None:
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
    def test_unconnected_socket(self, setting13: Policy, name: str) -> None:
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

    def test_one_for_the_other(self, setting13: Policy) -> None:
        """A connection for a context, or a context for a connection, gets a TypeError."""
        with pytest.raises(TypeError, match=r"expected an OpenSSL\.SSL\.Context or an ssl\.SSLC"):
            openssl_tickets.set_session_ticket_callback(setting13.pair().server)
        for function in (openssl_tickets.get_session, openssl_tickets.new_session_ticket):
            with pytest.raises(TypeError, match=r"an ssl\.SSLSocket or an ssl\.SSLObject, not "):
                function(setting13.server_context)

    @pytest.mark.needs_ssl
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

    def test_pointer_keeps_what_it_points_to(self, setting13: Policy) -> None:
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

    def test_closed_by_another_thread(self, setting13: Policy) -> None:
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


def run(program: str) -> Any:
    """
    Runs *program* in a process of its own and returns its result.

    It must print nothing but the result as JSON, and end well.
    """
    return json.loads(processes.run("import json\n" + textwrap.dedent(program)))


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
        lambda: t.resume_sessions(context),
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
        assert len(messages) == 8
        for message in messages:
            first, second = message.splitlines()
            assert f"ssl runs on {version} (in " in first
            assert theirs in first
            assert f"{openssl_tickets.OPENSSL_VERSION} (in {shared_object.our_libssl()})" in first
            assert "whose ssl is linked to the system's libssl" in second
            assert "OPENSSL_DIR" not in second  # nothing else can be linked to such a libssl

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
    @pytest.mark.needs_ssl
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
                adapter.is_context = lambda value, look: isinstance(value, ssl.SSLContext)
                messages = refusals(context, RuntimeError)
                numbers = [context.num_tickets, twin.num_tickets]
                print(json.dumps([messages, numbers, adapter._proved_module is not None]))
                """
            )
        )
        assert (numbers, proved) == ([9, 7], False)
        assert len(messages) == 8
        for message in messages:
            assert "are not as openssl_tickets knows them, so nothing was done" in message
            assert "doctor" in message

    @pytest.mark.needs_ssl
    def test_done_once(self) -> None:
        """After the first use nothing is compared any more."""
        assert run(
            """
            import ssl
            import openssl_tickets
            from openssl_tickets._adapters import stdlib as adapter
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            assert adapter._proved_module is None
            openssl_tickets.get_num_tickets(context)
            adapter._prove_library = adapter._prove_layout = None
            print(json.dumps(openssl_tickets.get_num_tickets(context) == 2))
            """
        )

    @pytest.mark.parametrize(
        ("module", "make"),
        [
            ("_ssl", "ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)"),
            ("OpenSSL.SSL", "SSL.Context(SSL.TLS_METHOD)"),
        ],
    )
    @pytest.mark.needs_ssl
    def test_remembered(self, module: str, make: str) -> None:
        """After the first use of a library's objects, nothing is looked up in ``sys.modules``."""
        assert run(
            f"""
            import ssl, sys
            import openssl_tickets
            from openssl_tickets import SSL
            class Modules(dict):
                def get(self, name, default=None):
                    asked.append(name)
                    return super().get(name, default)
                __getitem__ = get
            def use():
                made = {make}
                if "{module}" == "_ssl":
                    connection = made.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
                else:
                    connection = SSL.Connection(made)
                    connection.set_accept_state()
                asked.clear()
                openssl_tickets.set_num_tickets(made, 3)
                openssl_tickets.set_session_ticket_callback(made, lambda *_: None)
                openssl_tickets.get_num_tickets(connection)
                openssl_tickets.get_session(connection)
                return list(asked)
            asked, modules = [], sys.modules
            use()
            sys.modules = Modules(modules)
            seen = use()
            sys.modules = modules
            print(json.dumps(seen == []))
            """
        )

    @pytest.mark.needs_ssl
    def test_another_module_in_its_place(self) -> None:
        """What is put under the name _ssl after the proof is not believed, and is left alone."""
        assert run(
            """
            import ssl, sys, types
            import openssl_tickets
            openssl_tickets.get_num_tickets(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            class _SSLContext:
                __slots__ = ("first",)
                def __init__(self): self.first = "not an SSL_CTX"
            for file in (None, sys.modules["_ssl"].__file__):
                fake = types.ModuleType("_ssl")
                fake._SSLContext, fake.__file__ = _SSLContext, file
                sys.modules["_ssl"] = fake
                context = _SSLContext()
                for call in (
                    openssl_tickets.get_num_tickets,
                    lambda context: openssl_tickets.set_num_tickets(context, 3),
                    openssl_tickets.set_session_ticket_callback,
                ):
                    try: call(context)
                    except Exception: continue
                    print("believed")
                assert context.first == "not an SSL_CTX"
            print("true")
            """
        )

    def test_verify_callback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A verify callback is ssl's own if it is code of ``_ssl``, and has one name then."""
        adapter.prove_same_libssl()
        module: Any = sys.modules["_ssl"]
        code = shared_object.symbol_of(module.__file__, "PyInit__ssl")
        assert code is not None
        name = adapter.verify_callback_at(int(ffi.cast("uintptr_t", code)) + 8)
        assert name == f"ssl of {platform.python_version()}"
        libssl = int(ffi.cast("uintptr_t", lib.TLS_method()))
        for other in (0, 8, libssl):
            assert adapter.verify_callback_at(other) is None
        # The module that has been proved counts, whatever is put into its place.
        monkeypatch.setitem(sys.modules, "_ssl", types.ModuleType("_ssl"))
        assert adapter.verify_callback_at(int(ffi.cast("uintptr_t", code)) + 8) == name

    @pytest.mark.needs_ssl
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
        """
        Neither the import nor bad input loads ssl; the stdlib module of ours does. The import loads
        _ssl, so that both are on one libssl.
        """
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
        assert loaded == [["_ssl"], True]

    @pytest.mark.parametrize("first", ["ssl", "OpenSSL.SSL"])
    @pytest.mark.needs_ssl
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

    def test_beside_pyopenssl_on_the_systems(self, setting: Policy, unraisable: Unraisable) -> None:
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
