"""Fixtures: the servers that s_client talks to; and no test leaves a process behind."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from openssl_tickets import SSL
from openssl_tickets._testing.server import TLSServer, read
from tests.support.tls import TIMEOUT


@pytest.fixture(autouse=True)
def new_children() -> Iterator[Callable[[], set[str]]]:
    """Gives the children that the test has now; every test must end without one."""
    before, threads = children(), set(threading.enumerate())
    yield lambda: children() - before
    assert children() - before == set()
    assert set(threading.enumerate()) - threads == set()


def children() -> set[str]:
    """The children of this process, zombies included: their ids and names."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            name, _, rest = stat.read_text().rpartition(")")
            if rest.split()[1] == str(os.getpid()):
                found.add(name)
    return found


@pytest.fixture
def s_server(server_file: Path) -> Callable[..., AbstractContextManager[int]]:
    """``openssl s_server`` that answers each line with its reverse (``-rev``); gives its port."""

    @contextlib.contextmanager
    def start(
        *arguments: str, answers: str | None = "-rev", address: str = "127.0.0.1:0"
    ) -> Iterator[int]:
        command = ["openssl", "s_server", "-accept", address, "-cert", str(server_file), *arguments]
        with subprocess.Popen(
            command if answers is None else [*command, answers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as server:
            try:
                yield accept_port(server)
            finally:
                server.kill()

    return start


def accept_port(server: subprocess.Popen[bytes]) -> int:
    assert server.stdout is not None
    printed = b""
    while not (found := re.search(rb"ACCEPT \S*:(\d+)\n", printed)):
        assert select.select([server.stdout], [], [], TIMEOUT)[0], printed
        more = os.read(server.stdout.fileno(), 65536)
        assert more, printed
        printed += more
    return int(found[1])


@pytest.fixture
def python_server(server_file: Path) -> Callable[..., AbstractContextManager[int]]:
    """
    A server on ``openssl_tickets.SSL``: *serve* gets each connection, which is then read to its
    end; *set_up* gets its context. Gives its port.
    """

    @contextlib.contextmanager
    def start(
        serve: Callable[[Any], object] = lambda connection: None,
        set_up: Callable[[Any], object] = lambda context: None,
    ) -> Iterator[int]:
        def serve_and_read(connection: Any) -> None:
            serve(connection)
            with contextlib.suppress(SSL.SysCallError):  # what serve() has cut
                while read(connection):
                    pass

        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_privatekey_file(str(server_file))
        context.use_certificate_chain_file(str(server_file))
        set_up(context)
        server = TLSServer(context, serve_and_read, TIMEOUT)
        try:
            yield server.port
        finally:
            server.close()
        assert server.errors == []

    return start


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """``script(body)`` is a program for /bin/sh, in place of the real openssl or around it."""

    def write(body: str) -> Path:
        path = tmp_path / "script"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    return write
