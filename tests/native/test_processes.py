"""
How processes begin and end: forks before and after there are contexts, multiprocessing, and the end
of the interpreter with callbacks and reads under way. test_callbacks.py, test_stdlib.py and
test_session_callback.py have more, each for its own part.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.support import processes

pytestmark = pytest.mark.slow

ROOT = str(Path(__file__).parents[2])


@pytest.fixture(params=["tls", "stdlib_tls"], ids=["pyOpenSSL", "ssl"])
def module(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(module: str, server_file: Path, program: str) -> str:
    """Runs *program* after a common beginning; it must end well and print no error."""
    source = textwrap.dedent(
        f"""
        import os, socket, sys, threading, warnings
        sys.path.append({ROOT!r})
        import openssl_tickets
        from openssl_tickets import SSL, set_session_ticket_callback, stdlib
        from tests.support import tls, stdlib_tls, workers
        MODULE, SERVER_FILE = {module!r}, {str(server_file)!r}
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        def shake(contexts):
            return {module}.Pair(*contexts).handshake()
        def start(work, *arguments):
            threading.Thread(target=work, args=arguments, daemon=True).start()
        def server_side(context, plain):
            "The server's end of a blocking connection; its handshake has not begun."
            if MODULE == "stdlib_tls":
                return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            connection = SSL.Connection(context, plain)
            connection.set_accept_state()
            return connection
        def client_side(context, plain):
            "The client's end, after its handshake."
            if MODULE == "stdlib_tls":
                return context.wrap_socket(plain)
            connection = SSL.Connection(context, plain)
            connection.set_connect_state()
            connection.do_handshake()
            return connection
        def wait_for(children):
            return [os.waitpid(child, 0)[1] for child in children]
        """
    )
    return processes.run(source + textwrap.dedent(program))


class TestExit:
    def test_daemon_threads_in_callbacks(self, module: str, server_file: Path) -> None:
        """The interpreter ends without a word while daemon threads are in callbacks."""
        output = run(
            module,
            server_file,
            """
            inside = threading.Barrier(5)
            def wait(*_):
                inside.wait(60)
                threading.Event().wait()
            def spin(*_):
                inside.wait(60)
                while True: pass
            for stay in (wait, spin):
                for callbacks in ((stay, None), (None, stay)):
                    contexts = workers.new_contexts(MODULE, SERVER_FILE)
                    session = shake(contexts).session()
                    set_session_ticket_callback(contexts[0], *callbacks)
                    pair = eval(MODULE).Pair(*contexts, session)
                    start(pair.handshake)
            inside.wait(60)
            print("inside")
            """,
        )
        assert output == "inside\n"

    def test_daemon_threads_in_reads(self, module: str, server_file: Path) -> None:
        """It does so while they wait for a hello, and for data, on blocking sockets."""
        output = run(
            module,
            server_file,
            """
            contexts = workers.new_contexts(MODULE, SERVER_FILE)
            about_to, kept = threading.Semaphore(0), []
            def serve(plain):
                connection = server_side(contexts[0], plain)
                about_to.release()
                connection.do_handshake()
                about_to.release()
                connection.recv(1)
            for is_client_there in (False, True):
                ours, theirs = socket.socketpair()
                start(serve, ours)
                kept.append(client_side(contexts[1], theirs) if is_client_there else theirs)
            for _ in range(3):
                assert about_to.acquire(timeout=60)
            print("waiting")
            """,
        )
        assert output == "waiting\n"

    def test_main_thread_in_a_callback(self, module: str, server_file: Path) -> None:
        """A callback may end the program: what it raises is raised, and it ends without a word."""
        output = run(
            module,
            server_file,
            """
            contexts = workers.new_contexts(MODULE, SERVER_FILE)
            if MODULE == "stdlib_tls":
                stdlib.raise_callback_errors(contexts[0])
            kept = [shake(contexts) for _ in range(5)]
            def leave(*_):
                print("leaving")
                sys.exit(0)
            set_session_ticket_callback(contexts[0], leave)
            shake(contexts)
            print("not left")
            """,
        )
        assert output == "leaving\n"


class TestFork:
    def test_before_there_are_contexts(self, module: str, server_file: Path) -> None:
        """Children make contexts of their own, and end as any program does, with them alive."""
        output = run(
            module,
            server_file,
            """
            children = []
            for _ in range(4):
                child = os.fork()
                if child == 0:
                    contexts = workers.new_contexts(MODULE, SERVER_FILE)
                    assert workers.resume(MODULE, *contexts) == b"data"
                    sys.modules["kept"] = shake(contexts)
                    sys.exit(0)
                children.append(child)
            print(wait_for(children))
            """,
        )
        assert output == f"{[0] * 4}\n"

    def test_after_there_are_contexts(self, module: str, server_file: Path) -> None:
        """Children go on with the parent's contexts and connections; so does the parent."""
        output = run(
            module,
            server_file,
            """
            contexts = workers.new_contexts(MODULE, SERVER_FILE)
            pair, children = shake(contexts), []
            for number in range(4):
                child = os.fork()
                if child == 0:
                    assert workers.resume(MODULE, *contexts) == b"data"
                    seen = []
                    set_session_ticket_callback(contexts[0], lambda *_: seen.append(None))
                    before = pair.received
                    openssl_tickets.new_session_ticket(pair.server)
                    pair.server.write(b"x") if MODULE == "stdlib_tls" else pair.server.send(b"x")
                    assert pair.client_reads() == b"x"
                    assert (pair.received, len(seen)) == (before + 1, 1)
                    sys.exit(0)
                children.append(child)
            statuses = wait_for(children)
            assert workers.resume(MODULE, *contexts) == b"data"
            print(statuses)
            """,
        )
        assert output == f"{[0] * 4}\n"

    @pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
    def test_multiprocessing(self, module: str, server_file: Path, method: str) -> None:
        """Workers of each start method make contexts of their own, whatever the parent has."""
        output = run(
            module,
            server_file,
            f"""
            from concurrent.futures import ProcessPoolExecutor
            from multiprocessing import get_context
            if __name__ == "__main__":
                workers.of_the_parent = workers.new_contexts(MODULE, SERVER_FILE)
                kept = shake(workers.of_the_parent)
                with ProcessPoolExecutor(2, mp_context=get_context({method!r})) as pool:
                    work = pool.map(
                        workers.resume_on_new_contexts, [MODULE] * 4, [SERVER_FILE] * 4, timeout=90)
                    print(list(work))
                    if {method!r} == "fork":
                        print(pool.submit(workers.resume_on_the_parents, MODULE).result(90))
            """,
        )
        of_the_parent = "b'data'\n" if method == "fork" else ""
        assert output == f"{[b'data'] * 4}\n{of_the_parent}"
