"""What all callbacks share: their exceptions, how long they live, threads, and processes."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import shutil
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import traceback
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import SSL, ReceivedTicket, TicketReturn, TicketStatus
from openssl_tickets._core import callbacks
from openssl_tickets._native.shared_object import our_libssl
from tests.support import native, processes, tls
from tests.support.callbacks import (
    Boom,
    Callback,
    Raising,
    Unraisable,
    in_threads,
    peak_memory,
    traced,
)
from tests.support.ends import WANTS
from tests.support.libraries import ERRORS, context_of, move, switch_by_server_name
from tests.support.policies import Policy, appdata_of

ROOT = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """Its attributes cannot be set, ``__traceback__`` included."""

    message: str


class Stubborn(Exception):
    """It has a mind of its own about everything that is asked of it on its way."""

    def with_traceback(self, _: Any) -> Any:
        raise RuntimeError("no traceback")

    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError(f"no {name}")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


KINDS = [Boom, KeyboardInterrupt, SystemExit, GeneratorExit, Frozen, Stubborn]


@pytest.fixture(params=["pyOpenSSL", "ssl"])
def told(request: pytest.FixtureRequest, version: str, server_file: Path) -> Policy:
    """A server whose connections cannot raise what its callbacks raise: the hook is told."""
    return Policy(request.param, version, server_file, raises=False)


class TestExceptions:
    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, unraisable: Unraisable) -> Iterator[None]:
        """What a test expects of the hook, it takes from there."""
        yield
        assert unraisable.seen == []

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("of", ["generate", "decrypt"])
    def test_is_raised(self, policy: Policy, kind: type[BaseException], of: str) -> None:
        """The very exception comes out of do_handshake; the client gets an alert and no data."""
        session = policy.session()
        callback = Raising(kind)
        policy.set(**{of: callback})
        pair = policy.pair(session if of == "decrypt" else None)
        with pytest.raises(kind) as caught:
            pair.handshake()
        ((error, connection),) = callback.raised
        assert caught.value is error
        assert connection is pair.server
        assert error.__context__ is None
        assert caught.traceback[-1].name == "__call__"  # the callback's
        assert native.lib.peek_error() == 0
        with pytest.raises(ERRORS):
            pair.server.write(b"no way")
        if of == "generate":
            move(pair)
            with pytest.raises(ERRORS, match=r"(?i)alert internal error"):
                pair.client.read(1)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("of", ["generate", "decrypt"])
    def test_is_told(
        self, told: Policy, unraisable: Unraisable, kind: type[BaseException], of: str
    ) -> None:
        """
        If the connection cannot raise it, its library's own error is raised, and the hook gets the
        exception with the connection.
        """
        session = told.session()
        callback = Raising(kind)
        told.set(**{of: callback})
        pair = told.pair(session if of == "decrypt" else None)
        with pytest.raises(ERRORS):
            pair.handshake()
        ((error, connection),) = unraisable.seen
        unraisable.seen.clear()
        assert error is callback.raised[0][0]
        assert connection is callback.raised[0][1] is pair.server
        frames = traceback.extract_tb(error.__traceback__)
        assert frames[-1].name == "__call__"  # the callback's
        assert native.lib.peek_error() == 0
        with pytest.raises(ERRORS):
            pair.server.write(b"no way")

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_an_announcement_is_told(
        self, policy: Policy, unraisable: Unraisable, kind: type[BaseException]
    ) -> None:
        """What a callback for new sessions raises goes to the hook, and the connection goes on."""
        callback = Raising(kind)
        openssl_tickets.set_new_session_callback(policy.server_context, callback)
        pair = policy.handshake()
        assert pair.received == policy.tickets
        assert list(map(id, callback.raised[0])) == list(map(id, unraisable.seen[0]))
        assert len(unraisable.seen) == policy.tickets
        unraisable.seen.clear()

    @pytest.mark.parametrize("raises", [True, False])
    def test_context_is_kept(self, told: Policy, unraisable: Unraisable, raises: bool) -> None:
        """
        An exception that was raised while handling another still says so; the hook's does not get
        what the connection's caller happens to handle.
        """
        if raises:
            told = Policy(
                "ssl" if told.library == "ssl" else "drop-in", told.version, told.server_file
            )

        def generate(connection: Any, data: Any) -> bytes:
            try:
                raise KeyError("first")
            except KeyError:
                raise Boom("second")  # noqa: B904

        told.set(generate)
        pair = told.pair()
        try:
            if not raises:
                raise OSError
            pair.handshake()
        except OSError:
            with pytest.raises(ERRORS):
                pair.handshake()
        except Boom as raised:
            error = raised
        if not raises:
            error = unraisable.seen[0][0]
        assert isinstance(error.__context__, KeyError)
        unraisable.seen.clear()

    @pytest.mark.parametrize(
        ("library", "call"),
        [
            *(("drop-in", call) for call in ("send", "write", "sendall", "do_handshake")),
            *(("ssl", call) for call in ("write", "do_handshake")),
        ],
    )
    def test_of_a_ticket_on_demand(self, server_file: Path, library: str, call: str) -> None:
        """A ticket on demand is made by the next write, so that is what raises."""
        policy = Policy(library, "1.3", server_file)
        pair = policy.handshake()
        policy.set(Raising())
        openssl_tickets.new_session_ticket(pair.server)
        with pytest.raises(Boom):
            getattr(pair.server, call)(*[b"x"] * (call != "do_handshake"))

    @pytest.mark.parametrize(
        ("library", "read"),
        [
            ("drop-in", lambda c: c.recv(1)),
            ("drop-in", lambda c: c.read(1)),
            ("drop-in", lambda c: c.recv_into(bytearray(1))),
            ("drop-in", lambda c: c.recv(1, socket.MSG_PEEK)),  # a peek
            ("ssl", lambda c: c.read(1)),
            ("ssl", lambda c: c.read(1, bytearray(1))),
        ],
    )
    def test_of_a_handshake_within_a_read(
        self, server_file: Path, version: str, library: str, read: Any
    ) -> None:
        """A handshake that a read carries out raises from the read."""
        policy = Policy(library, version, server_file)
        policy.set(Raising())
        pair = policy.pair()
        with pytest.raises(Boom):  # noqa: PT012 (the read that raises differs with the version)
            for _ in range(3):
                with contextlib.suppress(*WANTS):
                    pair.client.do_handshake()
                move(pair)
                with contextlib.suppress(*WANTS):
                    read(pair.server)
                move(pair)

    @pytest.mark.parametrize("call", ["read", "goodbye"])
    def test_of_a_late_certificate(
        self, policy13: Policy, client_file: Path, ca_file: Path, call: str
    ) -> None:
        """Reading a certificate that was asked for later makes tickets, and raises too."""
        server, client = policy13.server_context, policy13.client_context
        server.load_verify_locations(str(ca_file))
        if policy13.library == "ssl":
            server.verify_mode = ssl.CERT_REQUIRED
            client.load_cert_chain(client_file)
        else:
            server.set_session_id(b"tests")
            server.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_POST_HANDSHAKE)
            client.use_privatekey_file(str(client_file))
            client.use_certificate_chain_file(str(client_file))
        for context in (server, client):
            openssl_tickets.set_post_handshake_auth(context, True)
        pair = policy13.handshake()
        policy13.set(Raising())
        openssl_tickets.verify_client_post_handshake(pair.server)
        pair.server.do_handshake()
        move(pair)
        pair.client_reads()
        move(pair)
        with pytest.raises(Boom):  # noqa: PT012 (the first shutdown sends, and the second reads)
            for _ in range(2):
                if call == "read":
                    pair.server.read(1)
                elif policy13.library == "ssl":
                    pair.server.unwrap()
                else:
                    pair.server.shutdown()

    @pytest.mark.parametrize("answer", [True, 3, "USE", b"", TicketStatus.SUCCESS])
    def test_wrong_answer_of_decrypt(self, policy: Policy, answer: Any) -> None:
        """Anything but a TicketReturn and None is a TypeError, and no resumption."""
        session = policy.session()
        policy.set(None, lambda *_: answer)
        with pytest.raises(TypeError, match="must return a TicketReturn or None"):
            policy.handshake(session)

    @pytest.mark.parametrize("next_call", [True, False])
    def test_call_past_the_class_does_not_lose_it(
        self, policy: Policy, unraisable: Unraisable, next_call: bool
    ) -> None:
        """
        If libssl is not called by a method that can raise the exception, the next one that fails
        raises it; or the hook is told when the connection goes.
        """
        callback = Raising()
        policy.set(callback)
        pair = policy.pair()
        for _ in range(2):
            with contextlib.suppress(*WANTS):
                pair.client.do_handshake()
            move(pair)
            if policy.library == "ssl":
                with contextlib.suppress(ssl.SSLError):
                    pair.server._sslobj.do_handshake()
            else:
                SSL._lib.SSL_do_handshake(pair.server._ssl)
                SSL._lib.ERR_clear_error()
            move(pair)
        ((error, _),) = callback.raised
        assert unraisable.seen == []
        if next_call:
            with pytest.raises(Boom) as caught:
                pair.server.do_handshake()
            assert caught.value is error
            return
        callback.raised.clear()
        del pair, error, _
        gc.collect()
        assert [type(each) for each, _ in unraisable.seen] == [Boom]
        unraisable.seen.clear()

    def test_nested_handshakes_keep_their_exceptions_apart(self, policy: Policy) -> None:
        """A handshake within a callback raises its own exception there, and the outer goes on."""
        inner = Policy(policy.library, policy.version, policy.server_file)
        inner.set(Raising())
        caught = []

        def generate(connection: Any, data: Any) -> None:
            with pytest.raises(Boom) as info:
                inner.handshake()
            caught.append(str(info.value))
            if len(caught) == 2:
                raise KeyError("outer")

        policy.set(generate)
        if not policy.of_tls13:  # one ticket each
            policy.handshake()
        with pytest.raises(KeyError, match="outer"):
            policy.handshake()
        assert caught == ["number 0", "number 1"]

    def test_of_another_connection(self, policy: Policy, unraisable: Unraisable) -> None:
        """What belongs to another connection is not raised by the call that is under way."""
        library = "ssl" if policy.library == "ssl" else "pyOpenSSL"
        inner = Policy(library, policy.version, policy.server_file, raises=False)
        callback = Raising()
        inner.set(callback)

        def generate(connection: Any, data: Any) -> None:
            with pytest.raises(ERRORS):
                inner.handshake()

        policy.set(generate)
        assert policy.handshake().received == policy.tickets
        assert [list(map(id, each)) for each in unraisable.seen] == [
            list(map(id, each)) for each in callback.raised
        ]
        unraisable.seen.clear()

    def test_two_threads_in_callbacks(self, policy: Policy) -> None:
        """Each of two threads that are in callbacks at once raises its own exception."""
        inside = threading.Barrier(2)

        def generate(connection: Any, data: Any) -> None:
            inside.wait(tls.TIMEOUT)
            raise Boom(threading.get_ident())

        def work(_: int) -> None:
            with pytest.raises(Boom) as caught:
                policy.handshake()
            assert caught.value.args == (threading.get_ident(),)

        policy.set(generate)
        in_threads(2, work)

    @pytest.mark.parametrize("raises", [True, False])
    def test_keeps_nothing_alive(self, told: Policy, unraisable: Unraisable, raises: bool) -> None:
        """When the caller is done with an exception it is gone, without a garbage collection."""
        if raises:
            told = Policy(
                "ssl" if told.library == "ssl" else "drop-in", told.version, told.server_file
            )
        alive = []

        def made() -> Boom:
            boom = Boom()
            alive.append(weakref.ref(boom))
            return boom

        def generate(connection: Any, data: Any) -> None:
            raise made()

        told.set(generate)
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                pair = told.pair()
                with contextlib.suppress(Boom, *ERRORS):
                    pair.handshake()
                unraisable.seen.clear()
            assert [ref() for ref in alive] == [None] * 3
            server = weakref.ref(pair.server)
            del pair
            assert server() is None
        finally:
            gc.enable()

    def test_other_errors_and_results_are_untouched(self, policy: Policy) -> None:
        """Without an exception of a callback, the library's own are as they were."""
        policy.install()
        pair = policy.pair()
        with pytest.raises(WANTS):
            pair.server.do_handshake()
        if policy.library == "ssl":
            pair.to_server.write(b"no TLS at all")
        else:
            pair.server.bio_write(b"no TLS at all")
        with pytest.raises(ERRORS):
            pair.server.do_handshake()
        pair = policy.handshake()
        assert pair.server.write(b"four") == 4
        assert pair.client_reads() == b"four"

    def test_errors_left_by_a_callback_do_no_harm(self, policy: Policy) -> None:
        """What a callback leaves in OpenSSL's error queue does not reach the handshake."""
        policy.set(lambda *_: native.lib.put_error(), lambda *_: native.lib.put_error())
        assert policy.handshake(policy.session()).reused
        assert native.lib.peek_error() == 0


class TestSignals:
    @pytest.mark.parametrize("where", ["openssl_tickets_generate", "openssl_tickets_decrypt"])
    def test_at_the_first_line_of_a_callback(
        self, policy: Policy, unraisable: Unraisable, where: str
    ) -> None:
        """A KeyboardInterrupt that came while libssl was at work is raised by the call as well."""

        def interrupt(frame: Any, event: str, argument: Any) -> None:
            if event == "call" and frame.f_code.co_name == where:
                sys.settrace(None)
                raise KeyboardInterrupt

        session = policy.session()
        policy.install()
        pair = policy.pair(session if where.endswith("decrypt") else None)
        with traced(interrupt), pytest.raises(KeyboardInterrupt):
            pair.handshake()
        assert unraisable.seen == []
        assert policy.recorder.generated == []

    @pytest.mark.slow
    @pytest.mark.parametrize("where", ["it is kept", "it is raised"])
    def test_as_the_exception_is_handed_over(
        self, policy: Policy, unraisable: Unraisable, where: str
    ) -> None:
        """A KeyboardInterrupt there loses nothing: the exception is raised too, or hooked."""
        kept = type(policy.pair().server)._keep_callback_exception.__code__
        code = kept if where == "it is kept" else callbacks.Unraised.raise_first.__code__
        lines = {line for *_, line in code.co_lines() if line} - {code.co_firstlineno}
        for number in sorted(lines):

            def interrupt(frame: Any, event: str, argument: Any, number: int = number) -> Any:
                if event == "line" and frame.f_lineno == number:
                    sys.settrace(None)
                    raise KeyboardInterrupt
                return interrupt

            callback = Raising()
            policy.set(callback)
            pair = policy.pair()
            seen: list[Any] = []
            with traced(lambda frame, *_: interrupt if frame.f_code is code else None):
                try:
                    pair.handshake()
                except (Boom, KeyboardInterrupt, *ERRORS) as error:
                    seen = [type(error), type(error.__context__)]
            callback.raised.clear()
            native.lib.clear_errors()
            del pair
            gc.collect()
            seen += [type(error) for error, _ in unraisable.seen]
            unraisable.seen.clear()
            assert Boom in seen, number

    def test_as_a_context_is_freed(self, policy13: Policy) -> None:
        """
        No Python runs as a context is freed: a signal's handler would run there, what it raises
        would be lost, and the callables would stay.
        """
        before = sizes()
        context = policy13.make_server_context()
        callback = Callback()
        alive = weakref.ref(callback)
        openssl_tickets.set_session_ticket_callback(context, callback, callback)
        openssl_tickets.set_new_session_callback(context, callback)
        del callback
        frames: list[str] = []
        traced_before = sys.gettrace()
        sys.settrace(lambda frame, *_: frames.append(frame.f_code.co_name))
        try:
            del context
        finally:
            sys.settrace(traced_before)
        assert (frames, alive()) == ([], None)
        assert sizes() == before


def sizes() -> tuple[int, int]:
    """Returns how many contexts have callbacks."""
    gc.collect()
    return len(callbacks.ticket_callbacks), len(callbacks.new_session_callbacks)


class TestLifetime:
    def test_goes_with_the_context(self, policy13: Policy) -> None:
        """Callbacks and their data are freed with the context."""
        before = sizes()
        contexts = [policy13.make_server_context() for _ in range(50)]
        alive = []
        for context in contexts:
            objects = [Callback() for _ in range(5)]
            openssl_tickets.set_session_ticket_callback(context, *objects[:3])
            openssl_tickets.set_new_session_callback(context, *objects[3:])
            alive += [weakref.ref(each) for each in objects]
        del objects
        assert sizes() == (before[0] + 50, before[1] + 50)
        assert all(ref() is not None for ref in alive)
        del context, contexts
        assert sizes() == before
        assert all(ref() is None for ref in alive)

    def test_goes_as_an_exception_comes_up(self, policy13: Policy, unraisable: Unraisable) -> None:
        """A context that goes with the frame of an exception leaves the exception as it is."""

        def made() -> Any:
            context = policy13.make_server_context()
            openssl_tickets.set_session_ticket_callback(context, lambda *_: None)
            return context

        nothing: dict[str, object] = {}
        before = sizes()
        for _ in range(3):
            with pytest.raises((OSError, SSL.Error)):
                made().load_verify_locations("/nonexistent")
            with pytest.raises(KeyError, match="x"):
                _ = (made(), nothing["x"])
        assert (unraisable.seen, sizes()) == ([], before)

    @pytest.mark.parametrize("by", [Callback(), None])
    def test_replaced_callbacks_are_freed(self, policy13: Policy, by: Callback | None) -> None:
        """Replaced and removed callbacks are freed at once, whatever connections there are."""
        objects = [Callback(b"x") for _ in range(5)]
        alive = [weakref.ref(each) for each in objects]
        policy13.set(*objects[:3])
        openssl_tickets.set_new_session_callback(policy13.server_context, *objects[3:])
        del objects
        pair = policy13.handshake()
        assert all(ref() is not None for ref in alive)
        before = sizes()
        policy13.set(by, by)
        openssl_tickets.set_new_session_callback(policy13.server_context, by)
        assert all(ref() is None for ref in alive)
        assert sizes() == (before[0], before[1] - (by is None))
        assert pair.received == 2

    @pytest.mark.parametrize("switches", [False, True])
    def test_kept_for_a_connection(self, policy: Policy, switches: bool) -> None:
        """
        A connection keeps its first context's callbacks, though the program drops that context,
        also after a switch by server name; what is kept goes with the connection.
        """
        callback = Callback(b"by the first")
        alive = weakref.ref(callback)
        first = weakref.ref(policy.server_context)
        gone = []

        def generate(connection: Any, data: Any) -> Any:
            gc.collect()
            gone.append(first() is None)
            return data()

        second = policy.make_server_context()
        if switches:
            switch_by_server_name(policy.server_context, second)
        # pyOpenSSL would free its own callback while libssl is in it.
        keep = getattr(policy.server_context, "_tlsext_servername_callback", None)
        policy.set(generate, None, callback)
        del callback
        pair = policy.pair(None, "second.example")
        del policy.server_context
        pair.handshake()
        assert (context_of(pair.server) is second) is switches
        assert appdata_of(pair.server) == b"by the first"
        assert alive() is not None
        assert first() is None or not switches
        if policy.of_tls13:  # in TLS 1.2 the ticket is made within the call that has switched
            assert gone[-1] is switches
        del pair, keep
        gc.collect()
        assert alive() is None

    def test_nothing_keeps_the_connection(self, policy: Policy) -> None:
        """A connection that is dropped is freed at once, callbacks or not."""
        policy.install()
        pair = policy.handshake()
        policy.recorder.clear()
        assert openssl_tickets.get_session(pair.server) is not None
        server = weakref.ref(pair.server)
        gc.disable()
        try:
            del pair
            assert server() is None
        finally:
            gc.enable()

    def test_no_callback_of_a_freed_context(self, server_file: Path) -> None:
        """
        After a switch by server name, nothing is called that the program has replaced: neither the
        second context's callbacks, nor what stands for them in libssl.

        A client is switched too, in the middle of a callback that drops the context before it.
        """
        output = run_with(
            "tls",
            server_file,
            """
            import gc
            calls = []
            first, second = tls.server_context(SERVER_FILE), tls.server_context(SERVER_FILE)
            first.set_tlsext_servername_callback(lambda connection: connection.set_context(second))
            def old(*_): calls.append("old")
            def new(*_): calls.append("new")
            second.set_info_callback(old)
            second.set_new_session_callback(lambda *_: calls.append("second's"))
            second.set_info_callback(new)
            first.set_new_session_callback(lambda *_: calls.append("announced"))
            del old
            gc.collect()
            other = SSL._ffi.callback("void (*)(void *, int, int)", lambda *_: calls.append("!"))
            pair = tls.Pair(first, client_context)
            pair.client.set_tlsext_host_name(b"localhost")
            pair.handshake()
            print(sorted(set(calls)), calls.count("announced"))

            a, b = tls.client_context("1.2"), tls.client_context("1.2")
            server = tls.server_context(SERVER_FILE, "1.2")
            def leave(connection, where, _):
                if where & SSL.SSL_CB_HANDSHAKE_DONE:
                    connection.set_context(a)
                    gc.collect()
            b.set_info_callback(leave)
            keep = b._info_callback  # pyOpenSSL's own closure must outlive its call
            b.set_new_session_callback(lambda *_: calls.append("of the client"))
            pair = tls.Pair(server, a)
            pair.client.set_context(b)
            del b
            pair.handshake()
            pair.handshake()
            print("done")
            """,
        )
        assert output == "['announced', 'new'] 2\ndone\n"


class TestThreads:
    @pytest.mark.slow
    def test_callbacks_on_one_context(self, policy13: Policy) -> None:
        """4 threads with 250 handshakes each: every callback runs, on its own connection."""
        openssl_tickets.set_num_tickets(policy13.server_context, 1)
        generated: list[Any] = []
        received: list[Any] = []

        def generate(connection: Any, data: Any) -> bytes:
            assert connection.owner == threading.get_ident()
            generated.append(None)
            return b"%d" % connection.owner

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> None:
            assert connection.owner == threading.get_ident()
            assert ticket.appdata == b"%d" % connection.owner
            assert ticket.session is not None
            received.append(None)

        policy13.set(generate, decrypt)

        def work(number: int) -> None:
            session = None
            for turn in range(250):
                pair = policy13.pair(session)
                vars(pair.server)["owner"] = threading.get_ident()
                pair.handshake()
                assert pair.reused is (session is not None)
                assert pair.received == 1
                found = openssl_tickets.get_session(pair.client)
                assert found is not None
                session = found.copy()
                if turn % 50 == 0:
                    gc.collect()

        before = sizes()
        in_threads(4, work)
        assert (len(generated), len(received)) == (1000, 1000 - 4)
        peak = peak_memory()
        in_threads(4, work)
        assert peak_memory() - peak < 8 << 20
        assert sizes() == before

    @pytest.mark.slow
    def test_replaced_while_threads_shake_hands(self, policy13: Policy) -> None:
        """
        300 replacements and removals under 4 threads: each callback is called with its own data. A
        handshake that overlaps a replacement may ask an old one and then a new one.
        """
        openssl_tickets.set_num_tickets(policy13.server_context, 2)
        done = threading.Event()
        handshakes, with_callbacks = [0] * 4, [0] * 4

        def pair_of_callbacks(number: int) -> tuple[Any, Any]:
            def generate(connection: Any, data: Any) -> bytes:
                connection.seen.append(("generate", number, data))
                return b"%d" % number

            def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn:
                connection.seen.append(("decrypt", number, data))
                return TicketReturn.USE_RENEW

            return generate, decrypt

        def shake_hands(thread: int) -> None:
            session = None
            while not done.is_set() or handshakes[thread] < 3:
                pair = policy13.pair(session)
                seen: list[Any] = []
                vars(pair.server)["seen"] = seen
                pair.handshake()
                assert pair.reused is (session is not None)
                names = [name for name, *_ in seen]
                whole = ["decrypt", "generate"] if session else ["generate"] * 2
                assert names in ([], whole, whole[:1], whole[1:])
                numbers = [number for _, number, _ in seen]
                assert numbers == sorted(numbers)
                assert all(number == data for _, number, data in seen)
                handshakes[thread] += 1
                with_callbacks[thread] += bool(seen)
                found = openssl_tickets.get_session(pair.client)
                assert found is not None
                session = found.copy() if handshakes[thread] % 3 else None

        def replace() -> None:
            try:
                for number in range(300):
                    if number % 4 == 3:
                        policy13.set()
                    else:
                        policy13.set(*pair_of_callbacks(number), number)
                    threading.Event().wait(0.002)
            finally:
                done.set()

        in_threads(5, lambda thread: replace() if thread == 4 else shake_hands(thread))
        assert min(handshakes) >= 3
        assert sum(with_callbacks) > 0

    def test_first_set_while_threads_shake_hands(self, policy13: Policy) -> None:
        """The first callbacks of a context may be set while other threads shake hands on it."""
        for _ in range(20):
            policy13.server_context = policy13.make_server_context()
            started = threading.Barrier(4)

            def work(number: int, started: threading.Barrier = started) -> None:
                started.wait(60)
                if number == 0:
                    policy13.set(Callback(b"x"), Callback())
                else:
                    for _ in range(3):
                        policy13.handshake()

            in_threads(4, work)
            assert appdata_of(policy13.handshake().server) == b"x"

    def test_appdata_of_one_session(self, server_context: Any, client_context: Any) -> None:
        """One session's data may be set and read by several threads."""
        pair = tls.Pair(server_context, client_context).handshake()
        session = openssl_tickets.get_session(pair.server)
        assert session is not None
        values = {b""} | {bytes([65 + number]) * 1000 * (number + 1) for number in range(4)}

        def work(number: int) -> None:
            for _ in range(2000):
                session.ticket_appdata = bytes([65 + number]) * 1000 * (number + 1)
                assert session.ticket_appdata in values

        in_threads(4, work)


def run_with(module: str, server_file: Path, program: str, **environment: str) -> str:
    """
    Runs *program* in a process of its own, with contexts of the library behind ``tests.support``'s
    *module*, callbacks, ``pair(session=None)`` and a ``session``; it must end well.
    """
    beginning = textwrap.dedent(
        f"""
        import os, ssl, sys, threading, time
        sys.path.append({str(ROOT)!r})
        import openssl_tickets
        from openssl_tickets import SSL, TicketReturn
        from tests.support import {module} as tls
        SERVER_FILE = {str(server_file)!r}
        server_context, client_context = tls.server_context(SERVER_FILE), tls.client_context()
        errors = SSL.Error, ssl.SSLError
        def generate(connection, data): return b"data"
        def decrypt(connection, ticket, data): return None
        openssl_tickets.set_session_ticket_callback(server_context, generate, decrypt)
        def pair(session=None):
            made = tls.Pair(server_context, client_context)
            if session is not None:
                openssl_tickets.set_session(made.client, session.copy())
            return made
        first = pair().handshake()
        session = openssl_tickets.get_session(first.client).copy()
        del first
        """
    )
    return processes.run(beginning + textwrap.dedent(program), **environment)


@pytest.mark.parametrize("module", ["tls", "stdlib_tls"])
class TestProcesses:
    """Each runs in a process of its own, with each library."""

    def test_exit_with_live_connections(self, server_file: Path, module: str) -> None:
        """The interpreter ends without a word with connections and callbacks alive."""
        output = run_with(
            module,
            server_file,
            """
            pairs = [pair(session) for _ in range(10)]
            for each in pairs[:5]:
                each.handshake()
            sys.modules["kept"] = pairs
            print("alive")
            """,
        )
        assert output == "alive\n"

    def test_exit_with_daemon_threads_in_handshakes(self, server_file: Path, module: str) -> None:
        """It ends without a word while daemon threads are in the middle of handshakes."""
        output = run_with(
            module,
            server_file,
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
            print("busy")
            sys.stdout.flush()
            """,
        )
        assert output == "busy\n"

    def test_handshake_while_the_interpreter_ends(self, server_file: Path, module: str) -> None:
        """A handshake that begins after the end of the interpreter has begun fails closed."""
        output = run_with(
            module,
            server_file,
            """
            from openssl_tickets import stdlib
            stdlib.raise_callback_errors(server_context) if module_is_ssl else None
            class Late:
                def __init__(self):
                    # Held here, since modules are taken down before this runs.
                    self.pair, self.errors, self.write = pair(session), errors, os.write
                def __del__(self):
                    try:
                        self.pair.handshake()
                    except self.errors:
                        self.write(1, b"refused\\n")
                    except Exception as error:
                        self.write(1, repr(error).encode())
                    else:
                        self.write(1, b"resumed" if self.pair.reused else b"not resumed")
            sys.modules["late"] = Late()
            """.replace("module_is_ssl", str(module == "stdlib_tls")),
        )
        assert output == "refused\n"

    @pytest.mark.slow
    def test_fork(self, server_file: Path, module: str) -> None:
        """
        A child goes on with its parent's contexts, though it was forked while threads were in
        callbacks and at this package's lock.

        (The threads are not in the middle of libssl's own work: its locks do not survive a fork.)
        """
        output = run_with(
            module,
            server_file,
            """
            inside, go_on = threading.Barrier(3), threading.Event()
            def slow(*_):
                if threading.current_thread() is not threading.main_thread() and not go_on.is_set():
                    inside.wait(60)
                    go_on.wait(60)
            def in_callbacks(context):
                tls.Pair(context, tls.client_context()).handshake()
            one = openssl_tickets.get_session(pair().handshake().server)
            def at_the_lock():
                while not go_on.is_set():
                    one.ticket_appdata = b"x" * 100
                    openssl_tickets.set_session_ticket_callback(server_context, generate, decrypt)
            import warnings
            slow_context = tls.server_context(SERVER_FILE)
            openssl_tickets.set_session_ticket_callback(slow_context, slow, slow)
            enter = lambda: in_callbacks(slow_context)
            threads = [threading.Thread(target=enter) for _ in range(2)]
            for thread in threads:
                thread.start()
            inside.wait(60)
            threads += [threading.Thread(target=at_the_lock) for _ in range(2)]
            for thread in threads[2:]:
                thread.start()
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork with threads
            statuses = []
            for _ in range(20):
                child = os.fork()
                if child == 0:
                    try:
                        assert pair(session).handshake().reused
                        for server_context in (server_context, slow_context):
                            first = pair().handshake()
                            offered = openssl_tickets.get_session(first.client)
                            openssl_tickets.set_session_ticket_callback(
                                server_context, generate, decrypt, 1
                            )
                            assert pair(offered).handshake().reused
                    except BaseException:
                        os._exit(1)
                    os._exit(0)
                statuses.append(os.waitpid(child, 0)[1])
            go_on.set()
            for thread in threads:
                thread.join()
            print(statuses)
            """,
        )
        assert output == f"{[0] * 20}\n"

    def test_two_copies(self, server_file: Path, module: str, tmp_path: Path) -> None:
        """
        A copy of the package in another folder is refused a context that has callbacks of the
        first, which goes on; it works on contexts of its own.
        """
        shutil.copytree(Path(openssl_tickets.__file__).parent, tmp_path / "openssl_tickets")
        output = run_with(
            module,
            server_file,
            IMPORTED_ANEW.replace("FOLDER", repr(str(tmp_path)))
            + """
            assert anew.__file__.startswith(sys.path[0])
            keys = anew.TicketKeys([anew.TicketKey.generate()])
            refused = []
            for call in (
                lambda: anew.set_session_ticket_callback(server_context, generate, decrypt),
                lambda: anew.set_new_session_callback(server_context, generate),
                lambda: anew.set_ticket_keys(server_context, keys),
            ):
                try:
                    call()
                except anew.Error as error:
                    refused.append("another copy" in str(error))
            print(refused, pair(session).handshake().reused)
            ours = tls.server_context(SERVER_FILE)
            seen = []
            anew.set_session_ticket_callback(ours, lambda *_: seen.append(1))
            try:
                openssl_tickets.set_session_ticket_callback(ours, generate)
            except openssl_tickets.Error as error:
                print("another copy" in str(error))
            tls.Pair(ours, client_context).handshake()
            print(seen)
            """,
        )
        assert output == "[True, True, True] True\nTrue\n[1, 1]\n"

    def test_imported_anew(self, server_file: Path, module: str) -> None:
        """If the package is imported again, contexts that it had before fail closed."""
        output = run_with(
            module,
            server_file,
            IMPORTED_ANEW.replace("FOLDER", repr(str(Path(openssl_tickets.__file__).parents[1])))
            + """
            second = tls.server_context(SERVER_FILE)
            seen = []
            anew.set_session_ticket_callback(second, None, lambda *_: seen.append(1))
            sys.unraisablehook = lambda unraisable: None
            resumed = pair(session)
            try:
                resumed.handshake()
            except errors:
                print("refused", seen)
            """,
        )
        assert output == "refused []\n"

    @pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD")
    def test_no_memory_for_what_is_kept_with_a_connection(
        self, server_file: Path, module: str, tmp_path: Path
    ) -> None:
        """
        If libssl cannot keep the session that decrypt is asked about, or what it answered, the
        handshake is ended. (Without, a ticket might be shown without its session.)
        """
        source, library = tmp_path / "shim.c", tmp_path / "shim.so"
        source.write_text(f'#define LIBSSL "{our_libssl()}"\n{SHIM}')
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        output = run_with(
            module,
            server_file,
            """
            import ctypes
            shim, asked = ctypes.CDLL(None), []
            def decrypt(connection, ticket, data):
                asked.append(ticket.session is not None)
            def generate(connection, data):
                asked.append("generate")
            for version in ("1.3", "1.2"):
                server_context = tls.server_context(SERVER_FILE, version)
                client_context = tls.client_context(version)
                openssl_tickets.set_session_ticket_callback(server_context, generate, decrypt)
                first = pair().handshake()
                session = openssl_tickets.get_session(first.client).copy()
                for offered in (session, None):
                    for number in (0, 1, 3):
                        asked.clear()
                        made = pair(offered)
                        shim.fail_set_ex_data(number)
                        try:
                            made.handshake()
                            print(version, number, asked, made.reused)
                        except errors:
                            print(version, number, asked, "ended")
                        finally:
                            shim.fail_set_ex_data(0)
            """,
            LD_PRELOAD=str(library),
        )
        assert output.splitlines() == [
            "1.3 0 [True, 'generate'] True",
            "1.3 1 [] ended",  # as it is kept for decrypt
            "1.3 3 [True] ended",  # as generate begins
            "1.3 0 ['generate', 'generate'] False",
            "1.3 1 [] ended",
            "1.3 3 ['generate'] ended",  # the second ticket
            "1.2 0 [True] True",
            "1.2 1 [] ended",
            "1.2 3 [True] ended",  # what decrypt has answered
            "1.2 0 [False, 'generate'] False",
            "1.2 1 [] ended",
            "1.2 3 [False] ended",
        ]

    @pytest.mark.parametrize("answer", [0, 1000])
    def test_function_that_cannot_be_called(
        self, server_file: Path, module: str, answer: int
    ) -> None:
        """
        If cffi cannot call generate at all, it returns 0: no ticket is made. Nor is one for an
        answer that makes no sense, or that C itself has refused.
        """
        output = run_with(
            module,
            server_file,
            f"""
            from openssl_tickets._native._libssl import ffi
            for name in ("generate", "refuse"):
                ffi.def_extern("openssl_tickets_" + name)(lambda *_: {answer})
            def stateful(context):  # C refuses its tickets
                if isinstance(context, ssl.SSLContext):
                    context.options |= ssl.OP_NO_TICKET
                else:
                    context.set_options(SSL.OP_NO_TICKET)
            for change in (lambda context: None, stateful):
                server_context = tls.server_context(SERVER_FILE)
                openssl_tickets.set_session_ticket_callback(server_context, generate, decrypt)
                change(server_context)
                try:
                    pair().handshake()
                except errors:
                    stats = openssl_tickets.ticket_stats(server_context)
                    print(stats.failed, stats.issued)
            """,
        )
        assert output == "1 0\n1 0\n"


IMPORTED_ANEW = """
            sys.path.insert(0, FOLDER)
            for name in [name for name in sys.modules if name.split(".")[0] == "openssl_tickets"]:
                del sys.modules[name]
            import openssl_tickets as anew
            assert anew is not openssl_tickets
            """

SHIM = """
#include <dlfcn.h>
static int left = 0;
void fail_set_ex_data(int number) { left = number; }
int SSL_set_ex_data(void *ssl, int index, void *data)
{
    void *libssl = dlopen(LIBSSL, RTLD_LAZY);
    int (*real)(void *, int, void *) = dlsym(libssl, "SSL_set_ex_data");
    if (left > 0 && --left == 0)
        return 0;
    return real(ssl, index, data);
}
"""


class TestReentrancy:
    @pytest.mark.parametrize(
        ("library", "version", "action"),
        [
            *(("drop-in", version, "do_handshake") for version in ("1.2", "1.3")),
            *(("ssl", version, "do_handshake") for version in ("1.2", "1.3")),
            ("drop-in", "1.2", "renegotiate"),
        ],
    )
    def test_handshake_within_a_callback_is_refused(
        self, server_file: Path, library: str, version: str, action: str
    ) -> None:
        """
        do_handshake() within a callback of the same connection is a RuntimeError there, whichever
        callback it is, and the handshake goes on. (libssl would corrupt its memory.)
        """
        output = run_with(
            "tls",
            server_file,
            f"""
            import contextlib, faulthandler
            from pathlib import Path
            from tests.support.policies import Policy
            faulthandler.enable()
            policy = Policy({library!r}, {version!r}, Path(SERVER_FILE))
            if {library!r} == "ssl":
                openssl_tickets.stdlib.raise_callback_errors(policy.client_context)
            session = policy.session()
            seen = set()
            def act(name):
                def callback(connection, *_):
                    if {action!r} == "renegotiate":
                        connection.renegotiate()
                    try:
                        connection.do_handshake()
                        seen.add((name, "not refused"))
                    except RuntimeError as error:
                        seen.add((name, "inside a callback of its own" in str(error)))
                return callback
            names = ["decrypt", "generate", "server's session", "client's session"]
            for name in names:
                policy.set(
                    act(name) if name == "generate" else None,
                    act(name) if name == "decrypt" else None,
                )
                for side in ("server", "client"):
                    openssl_tickets.set_new_session_callback(
                        getattr(policy, side + "_context"),
                        act(name) if name.startswith(side) else None,
                    )
                for offered in (None, session.copy()):
                    made = policy.pair(offered)
                    if {action!r} == "renegotiate":  # it may come to nothing, but not to a crash
                        with contextlib.suppress(*errors):
                            made.handshake().server.do_handshake()
                    else:
                        made.handshake().server.write(b"x")
                        assert made.client_reads() == b"x"
                        made.server.do_handshake()  # afterwards it is not refused
            print(sorted(seen) == sorted((name, True) for name in names), sorted(seen))
            """,
        )
        assert output.startswith("True "), output
