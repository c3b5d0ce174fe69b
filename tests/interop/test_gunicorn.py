"""examples/gunicorn_conf.py, with the real gunicorn: how many of a client's visits are resumed."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openssl_tickets import Session, get_session, set_session
from tests.support import shell, tls

CONFIGURATION = Path(__file__).parents[2] / "examples" / "gunicorn_conf.py"
WORKERS = 2
VISITS = 20

APPLICATION = """
import os

def app(environ, start_response):
    body = b"%d" % os.getpid()
    start_response("200 OK", [("Connection", "close"), ("Content-Length", str(len(body)))])
    return [body]
"""


@contextlib.contextmanager
def gunicorn(kind: str, folder: Path, server_file: Path, *options: str) -> Iterator[int]:
    """Runs gunicorn with workers of a *kind*; yields its port once all of them are there."""
    (folder / "application.py").write_text(APPLICATION)
    port = shell.free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", kind, "--workers", str(WORKERS), "--threads", "2"]
    command += ["--certfile", str(server_file), "--keyfile", str(server_file)]
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *options, "application:app"],
            cwd=folder,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + tls.TIMEOUT
        while log.read_text().count("Booting worker with pid") < WORKERS:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.wait(tls.TIMEOUT) == 0, log.read_text()
        assert not re.search("Traceback|ERROR", log.read_text()), log.read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def visit_all(port: int, ca_file: Path) -> list[bool]:
    """
    Visits VISITS times, each time with the newest ticket; returns which of them were resumed.

    One worker may serve all who come one by one, so it is made to wait in the end.
    """
    context = ssl.create_default_context(cafile=ca_file)
    session: Session | None = None
    resumed, worker = [], 0
    try:
        for number in range(VISITS):
            if number == VISITS - 3:
                os.kill(worker, signal.SIGSTOP)
            with (
                socket.create_connection(("127.0.0.1", port), tls.TIMEOUT) as plain,
                context.wrap_socket(
                    plain, server_hostname="localhost", do_handshake_on_connect=False
                ) as connection,
            ):
                if session is not None:
                    set_session(connection, session)
                connection.sendall(
                    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
                with http.client.HTTPResponse(connection) as response:
                    response.begin()
                    who = int(response.read())
                assert response.status == 200
                resumed.append(bool(connection.session_reused))
                # gunicorn sends no close_notify, and libssl 3.5 spoils a session for that: a copy.
                received = get_session(connection)
                assert received is not None
                session = received.copy()
            assert number < VISITS - 3 or who != worker
            worker = worker if number >= VISITS - 3 else who
    finally:
        os.kill(worker, signal.SIGCONT)
    return resumed


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_every_visit_is_resumed(
    kind: str, tmp_path: Path, server_file: Path, ca_file: Path
) -> None:
    """With the recipe each visit but the first is resumed, whichever worker it comes to."""
    options = ["--config", str(CONFIGURATION)]
    with gunicorn(kind, tmp_path, server_file, *options) as port:
        assert visit_all(port, ca_file) == [False] + [True] * (VISITS - 1)


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_none_is_without(kind: str, tmp_path: Path, server_file: Path, ca_file: Path) -> None:
    """Without the recipe no visit is: so it is the recipe that does it."""
    with gunicorn(kind, tmp_path, server_file) as port:
        assert not any(visit_all(port, ca_file))
