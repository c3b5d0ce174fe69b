"""examples/prefork_server.py, with Python's own client: which worker resumes whose tickets."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import stdlib_tls, tls

PROGRAM = Path(__file__).parents[2] / "examples" / "prefork_server.py"
WORKERS = 4
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Reply(NamedTuple):
    """What a worker has said, and the session that the client has afterwards."""

    worker: str
    process: int
    resumed: bool
    session: ssl.SSLSession


class Server:
    def __init__(self, port: int, output: list[str], ca_file: Path, version: str) -> None:
        self.port = port
        self.output = output
        self.context = ssl.create_default_context(cafile=ca_file)
        self.context.minimum_version = stdlib_tls.VERSIONS[version]
        self.context.maximum_version = stdlib_tls.VERSIONS[version]

    @contextlib.contextmanager
    def connected(self, session: ssl.SSLSession | None) -> Iterator[ssl.SSLSocket]:
        with (
            socket.create_connection(("127.0.0.1", self.port), tls.TIMEOUT) as plain,
            self.context.wrap_socket(
                plain, server_hostname="localhost", session=session
            ) as connection,
        ):
            yield connection

    def ask_all(self, session: ssl.SSLSession | None = None) -> list[Reply]:
        """
        Returns what each of the workers says to a client that offers *session*.

        A worker serves one client at a time: as many as are connected at once have one each.
        """
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(self.connected(session)) for _ in range(WORKERS)]
            replies = [ask(connection) for connection in connections]
        assert len({reply.process for reply in replies}) == WORKERS
        assert len({reply.worker for reply in replies}) == WORKERS
        return replies


def ask(connection: ssl.SSLSocket) -> Reply:
    connection.sendall(REQUEST)
    page = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    found = re.search(r"^(worker \d), process (\d+): (resumed|full handshake)$", page, re.MULTILINE)
    assert found, page
    resumed: bool = found[3] == "resumed"
    assert bool(connection.session_reused) == resumed
    assert connection.session is not None
    return Reply(found[1], int(found[2]), resumed, connection.session)


@contextlib.contextmanager
def running(
    server_file: Path, ca_file: Path, version: str, *options: str, end_with: signal.Signals
) -> Iterator[Server]:
    """Runs the example; it must end when it is told to, and all of its workers with it."""
    command = [sys.executable, str(PROGRAM), str(server_file), "--port=0", *options]
    with subprocess.Popen(
        [*command, f"--workers={WORKERS}"],
        cwd=server_file.parent,  # not where the package's source is
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        output: list[str] = []
        started = threading.Event()

        def read(lines: Iterator[str]) -> None:
            for line in lines:
                output.append(line)
                if line.startswith("Running on "):
                    started.set()
            started.set()

        reader = threading.Thread(target=read, args=(process.stdout,))
        reader.start()
        try:
            assert started.wait(tls.TIMEOUT), output
            found = re.search(r"^Running on https://127\.0\.0\.1:(\d+)$", "".join(output), re.M)
            assert found, output
            yield Server(int(found[1]), output, ca_file, version)
            process.send_signal(end_with)
            assert process.wait(tls.TIMEOUT) == 0, output
            # The workers were in the same group, and there is none in it any more.
            with pytest.raises(ProcessLookupError):
                os.killpg(process.pid, 0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            reader.join(tls.TIMEOUT)
    assert not re.search("Traceback|Exception|Error|Warning", "".join(output)), output


def resumptions(server: Server) -> tuple[int, int]:
    """Returns what the workers say in the end: how many connections, how many of them resumed."""
    counts = re.findall(
        r"^worker \d: (\d+) connections, (\d+) resumed$", "".join(server.output), re.M
    )
    assert len(counts) == WORKERS, server.output
    return sum(int(count) for count, _ in counts), sum(int(resumed) for _, resumed in counts)


@pytest.mark.parametrize("shared", [False, True])
def test_share(shared: bool, server_file: Path, ca_file: Path, version: str) -> None:
    """
    Of 4 workers, one resumes a ticket without shared keys: the one that issued it. With shared keys
    all of them do.
    """
    options = ["--shared-keys"] if shared else []
    with running(server_file, ca_file, version, *options, end_with=signal.SIGTERM) as server:
        first = server.ask_all()
        assert not any(reply.resumed for reply in first)
        for _ in range(3):
            for issued in first:
                for reply in server.ask_all(issued.session):
                    assert reply.resumed is (shared or reply.process == issued.process)
    count = 3 * WORKERS * WORKERS
    assert resumptions(server) == (WORKERS + count, count if shared else count // WORKERS)


def test_worker_replaced(server_file: Path, ca_file: Path, version: str) -> None:
    """A worker that takes the place of one that died has the shared keys, too."""
    with running(server_file, ca_file, version, "--shared-keys", end_with=signal.SIGINT) as server:
        first = server.ask_all()
        for issued in first[:2]:
            os.kill(issued.process, signal.SIGKILL)
        # Until then one that is about to die may still accept.
        end = time.monotonic() + tls.TIMEOUT
        while len(re.findall("has died, and is replaced", "".join(server.output))) < 2:
            assert time.monotonic() < end, server.output
            time.sleep(0.01)
        for issued in first:
            replies = server.ask_all(issued.session)
            assert all(reply.resumed for reply in replies)
            new = {reply.process for reply in replies} - {reply.process for reply in first}
            assert len(new) == 2
    assert len(re.findall("has died, and is replaced", "".join(server.output))) == 2
    assert resumptions(server) == (4 * WORKERS + 2, 4 * WORKERS)


@pytest.mark.parametrize("end_with", [signal.SIGINT, signal.SIGTERM])
def test_end(end_with: signal.Signals, server_file: Path, ca_file: Path) -> None:
    """The server ends when it is told to, also with clients that say nothing."""
    with contextlib.ExitStack() as clients:
        with running(server_file, ca_file, "1.3", end_with=end_with) as server:
            for _ in range(2):
                plain = socket.create_connection(("127.0.0.1", server.port), tls.TIMEOUT)
                clients.enter_context(plain)
                clients.enter_context(server.connected(None))
        resumptions(server)  # each worker has had its last word
