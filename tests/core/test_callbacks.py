"""How long callbacks live, and what threads, forks and the end of the interpreter do to them."""

from __future__ import annotations

import gc
import resource
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import ReceivedTicket, TicketReturn
from openssl_tickets._core import callbacks
from tests.support import processes, tls


class Callback:
    """Something that can be called, and of which one can see that it is gone."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer

    def __call__(self, *_: Any) -> Any:
        return self.answer


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Runs *work* in *count* threads at once, and raises what any of them raised."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


class TestLifetime:
    def test_goes_with_the_context(self, server_file: Path) -> None:
        """Callbacks and their data are freed with the context."""
        gc.collect()  # what other tests have left
        before = len(callbacks.policies)
        contexts = [tls.server_context(server_file) for _ in range(100)]
        alive = []
        for context in contexts:
            objects = [Callback(), Callback(), Callback()]
            context.set_session_ticket_callback(*objects)
            alive += [weakref.ref(each) for each in objects]
        del objects
        assert len(callbacks.policies) == before + 100
        assert all(ref() is not None for ref in alive)
        del context, contexts
        gc.collect()
        assert len(callbacks.policies) == before
        assert all(ref() is None for ref in alive)

    def test_replaced_callbacks_are_freed(self, server_context: Any) -> None:
        """Replaced and removed callbacks are freed at once."""
        gc.collect()
        before = len(callbacks.policies)
        old = Callback()
        ref = weakref.ref(old)
        server_context.set_session_ticket_callback(old)
        del old
        server_context.set_session_ticket_callback(Callback())
        assert ref() is None
        for _ in range(100):
            server_context.set_session_ticket_callback(Callback(), Callback())
        assert len(callbacks.policies) == before + 1

    def test_kept_for_a_connection_in_its_handshake(
        self, server_context: Any, client_context: Any
    ) -> None:
        """A connection keeps the callbacks that its handshake began with, until it is freed."""
        old = Callback()
        ref = weakref.ref(old)
        server_context.set_session_ticket_callback(old)
        pair = tls.Pair(server_context, client_context).handshake()
        del old
        server_context.set_session_ticket_callback()
        gc.collect()
        assert ref() is not None
        del pair
        gc.collect()
        assert ref() is None

    def test_outlives_the_python_context(self, server_context: Any, client_context: Any) -> None:
        """A connection's SSL_CTX, and so its callbacks, outlives the program's context."""
        callback = Callback(b"data")
        server_context.set_session_ticket_callback(callback)
        pair = tls.Pair(server_context, client_context)
        gone = weakref.ref(server_context)
        del server_context
        pair.handshake()
        session = openssl_tickets.get_session(pair.server)
        assert session is not None
        assert session.ticket_appdata == b"data"
        assert gone() is not None  # pyOpenSSL's connections hold their context

    def test_first_contexts_callbacks_after_an_sni_switch(
        self, server_file: Path, version: str
    ) -> None:
        """After a switch by server name the first context's callbacks run, though it is garbage."""
        calls = []
        first = tls.server_context(server_file, version)
        second = tls.server_context(server_file, version)

        def switch(connection: Any) -> None:
            connection.set_context(second)
            gc.collect()

        def generate(connection: Any, data: str) -> bytes:
            calls.append(("generate", connection, first_context() is None))
            return b"by the first"

        def decrypt(connection: Any, ticket: ReceivedTicket, data: str) -> None:
            calls.append(("decrypt", connection, first_context() is None))

        def never(*_: Any) -> None:
            raise AssertionError("the second context's callbacks do not run")

        first.set_tlsext_servername_callback(switch)
        first.set_session_ticket_callback(generate, decrypt)
        first.set_num_tickets(1)
        second.set_session_ticket_callback(never, never)
        second.set_num_tickets(5)
        first_context = weakref.ref(first)
        # pyOpenSSL would free its own callback while libssl is in it.
        keep_pyopenssls_callback = first._tlsext_servername_callback

        client_context = tls.client_context(version)
        pair = tls.Pair(first, client_context)
        pair.client.set_tlsext_host_name(b"second.example.org")
        del first
        pair.handshake()
        assert pair.server.get_context() is second
        assert first_context() is None
        assert [name for name, *_ in calls] == (
            ["decrypt", "generate"] if version == "1.2" else ["generate"]
        )
        assert {connection for _, connection, _ in calls} == {pair.server}
        assert calls[-1][2]  # with the first context gone
        assert pair.received == 1
        assert keep_pyopenssls_callback


class TestThreads:
    @pytest.mark.slow
    def test_callbacks_on_one_context(self, server_file: Path) -> None:
        """4 threads with 250 handshakes each: every callback runs, on its own connection."""
        context = tls.server_context(server_file)
        context.set_num_tickets(1)
        client_context = tls.client_context()
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

        context.set_session_ticket_callback(generate, decrypt)

        def work(number: int) -> None:
            session = None
            for turn in range(250):
                pair = tls.Pair(context, client_context, session)
                vars(pair.server)["owner"] = threading.get_ident()
                pair.handshake()
                assert pair.reused is (session is not None)
                assert pair.received == 1
                session = pair.session()
                if turn % 50 == 0:
                    gc.collect()

        gc.collect()
        before = len(callbacks.policies)
        in_threads(4, work)
        assert (len(generated), len(received)) == (1000, 1000 - 4)
        peak = peak_memory()
        in_threads(4, work)
        assert peak_memory() - peak < 8 << 20
        gc.collect()
        assert len(callbacks.policies) == before

    @pytest.mark.slow
    def test_replaced_while_threads_shake_hands(self, server_file: Path) -> None:
        """1,000 replacements and removals under 4 threads: each handshake sees one whole pair."""
        context = tls.server_context(server_file)
        context.set_num_tickets(2)
        client_context = tls.client_context()
        done = threading.Event()
        handshakes = [0] * 4
        with_callbacks = [0] * 4

        def pair_of_callbacks(number: int) -> tuple[Any, Any]:
            def generate(connection: Any, data: Any) -> bytes:
                connection.seen.append(("generate", number, data))
                return b"%d" % number

            def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn:
                connection.seen.append(("decrypt", number, data))
                return TicketReturn.USE_RENEW

            return generate, decrypt

        def shake(thread: int) -> None:
            session = None
            while not done.is_set():
                pair = tls.Pair(context, client_context, session)
                seen: list[Any] = []
                vars(pair.server)["seen"] = seen
                pair.handshake()
                if session is None:
                    whole = ["generate", "generate"]
                else:
                    assert pair.reused
                    whole = ["decrypt", "generate"]
                assert [name for name, *_ in seen] in ([], whole)
                assert len({(number, data) for _, number, data in seen}) <= 1
                assert all(number == data for _, number, data in seen)
                handshakes[thread] += 1
                with_callbacks[thread] += bool(seen)
                session = pair.session() if handshakes[thread] % 3 else None

        def replace() -> None:
            try:
                for number in range(1000):
                    if number % 4 == 3:
                        context.set_session_ticket_callback()
                    else:
                        context.set_session_ticket_callback(*pair_of_callbacks(number), number)
                    threading.Event().wait(0.001)
            finally:
                done.set()

        # The very first pair may come between a handshake's two tickets: its first callback is then
        # that of the second.
        context.set_session_ticket_callback(*pair_of_callbacks(0), 0)
        in_threads(5, lambda thread: replace() if thread == 4 else shake(thread))
        assert min(handshakes) > 10
        assert 0 < sum(with_callbacks) < sum(handshakes)

    def test_first_set_while_threads_shake_hands(self, server_file: Path) -> None:
        """The first callbacks of a context may be set while other threads shake hands on it."""
        client_context = tls.client_context()
        for _ in range(20):
            context = tls.server_context(server_file)
            started = threading.Barrier(4)

            def work(
                number: int, context: Any = context, started: threading.Barrier = started
            ) -> None:
                started.wait(60)
                if number == 0:
                    context.set_session_ticket_callback(Callback(b"x"), Callback())
                else:
                    for _ in range(3):
                        tls.Pair(context, client_context).handshake()

            in_threads(4, work)
            resumed = openssl_tickets.get_session(
                tls.Pair(context, client_context).handshake().server
            )
            assert resumed is not None
            assert resumed.ticket_appdata == b"x"

    def test_appdata_of_one_session(self, server_context: Any, client_context: Any) -> None:
        """One session's data may be set and read by several threads."""
        pair = tls.Pair(server_context, client_context).handshake()
        session = openssl_tickets.get_session(pair.server)
        assert session is not None
        session.ticket_appdata = b""
        values = {b""} | {bytes([65 + number]) * 1000 * (number + 1) for number in range(4)}

        def work(number: int) -> None:
            for _ in range(2000):
                session.ticket_appdata = bytes([65 + number]) * 1000 * (number + 1)
                assert session.ticket_appdata in values

        in_threads(4, work)


def peak_memory() -> int:
    """Returns the largest resident size so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class TestProcesses:
    """Each runs in a process of its own."""

    def run(self, server_file: Path, program: str) -> str:
        """Runs *program* after a common beginning; it must end well and print no error."""
        source = textwrap.dedent(
            f"""
            import os, sys, threading, time
            sys.path.append({str(Path(__file__).parents[2])!r})
            from openssl_tickets import SSL
            from tests.support import tls
            SERVER_FILE = {str(server_file)!r}
            server_context = tls.server_context(SERVER_FILE)
            client_context = tls.client_context()
            def generate(connection, data): return b"data"
            def decrypt(connection, ticket, data): return None
            server_context.set_session_ticket_callback(generate, decrypt)
            session = tls.Pair(server_context, client_context).handshake().session()
            """
        ) + textwrap.dedent(program)
        return processes.run(source)

    def test_exit_with_live_connections(self, server_file: Path) -> None:
        """The interpreter ends without a word with connections and callbacks alive."""
        output = self.run(
            server_file,
            """
            pairs = [tls.Pair(server_context, client_context, session) for _ in range(10)]
            for pair in pairs[:5]:
                pair.handshake()
            sys.modules["kept"] = pairs
            print("alive")
            """,
        )
        assert output == "alive\n"

    def test_exit_with_daemon_threads_in_handshakes(self, server_file: Path) -> None:
        """It ends without a word while daemon threads are in the middle of handshakes."""
        output = self.run(
            server_file,
            """
            counts = [0, 0, 0]
            def work(number):
                while True:
                    tls.Pair(server_context, client_context, session).handshake()
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

    def test_handshake_while_the_interpreter_ends(self, server_file: Path) -> None:
        """A handshake that begins after the end of the interpreter has begun fails closed."""
        output = self.run(
            server_file,
            """
            class Late:
                def __init__(self):
                    # Held here, since modules are taken down before this runs.
                    self.pair = tls.Pair(server_context, client_context, session)
                    self.error = SSL.Error
                    self.write = os.write
                def __del__(self):
                    try:
                        self.pair.handshake()
                    except self.error:
                        self.write(1, b"refused\\n")
                    except Exception as error:
                        self.write(1, repr(error).encode())
                    else:
                        self.write(1, b"resumed" if self.pair.reused else b"not resumed")
            sys.modules["late"] = Late()
            """,
        )
        assert output == "refused\n"

    @pytest.mark.slow
    def test_fork(self, server_file: Path) -> None:
        """
        A child goes on with its parent's contexts, though it was forked while threads were in
        callbacks and at this package's lock.

        (The threads are not in the middle of libssl's own work: its locks do not survive a fork.)
        """
        output = self.run(
            server_file,
            """
            inside, go_on = threading.Barrier(3), threading.Event()
            def slow(*_):
                if threading.current_thread() is not threading.main_thread() and not go_on.is_set():
                    inside.wait(60)
                    go_on.wait(60)
            def in_callbacks(context):
                tls.Pair(context, tls.client_context()).handshake()
            def at_the_lock():
                one = openssl_tickets.get_session(pair.server)
                while not go_on.is_set():
                    one.ticket_appdata = b"x" * 100
                    server_context.set_session_ticket_callback(generate, decrypt)
            import openssl_tickets, warnings
            pair = tls.Pair(server_context, client_context).handshake()
            slow_context = tls.server_context(SERVER_FILE)
            slow_context.set_session_ticket_callback(slow, slow)
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
            for _ in range(30):
                child = os.fork()
                if child == 0:
                    for context in (server_context, slow_context):
                        fresh = tls.client_context()
                        session = tls.Pair(context, fresh).handshake().session()
                        context.set_session_ticket_callback(generate, decrypt, 1)
                        assert tls.Pair(context, fresh, session).handshake().reused
                    os._exit(0)
                statuses.append(os.waitpid(child, 0)[1])
            go_on.set()
            for thread in threads:
                thread.join()
            print(statuses)
            """,
        )
        assert output == f"{[0] * 30}\n"
