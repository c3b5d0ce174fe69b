"""The server behind the fixtures, the demo and ``serve``."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openssl_tickets._testing import server as server_module
from openssl_tickets._testing.server import Server, Taken, TLSServer
from tests.support import processes, stdlib_tls, tls

CONTEXTS: dict[str, Callable[[Path], Any]] = {
    "ssl": stdlib_tls.server_context,
    "pyopenssl": tls.server_context,
}

Start = Callable[..., Server]


@pytest.fixture
def start() -> Iterator[Start]:
    """``start(handle, ...)`` starts a server, which is closed at the end."""
    with contextlib.ExitStack() as at_the_end:

        def start(*arguments: Any, **options: Any) -> Server:
            server = Server(*arguments, **options)
            at_the_end.callback(server.close)
            return server

        yield start


def connect(server: Server) -> socket.socket:
    return socket.create_connection((server.host, server.port), tls.TIMEOUT)


def send_and_wait(taken: Taken) -> None:
    """Says hello, and waits for the end of the client."""
    taken.plain.sendall(b"hello")
    while taken.plain.recv(100):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_at_once(start: Start, host: str) -> None:
    """No more connections than that are handled at a time; the next one has its turn afterwards."""
    ended = threading.Event()
    server = start(send_and_wait, host, at_once=1, connections=2, ended=ended.set)
    with connect(server) as first, connect(server) as second:
        assert first.recv(5) == b"hello"
        second.settimeout(0.2)
        with pytest.raises(TimeoutError):
            second.recv(5)
        assert server.taken == 1
        first.close()
        second.settimeout(tls.TIMEOUT)
        assert second.recv(5) == b"hello"
        assert not ended.is_set()
    assert ended.wait(tls.TIMEOUT)
    with pytest.raises(ConnectionRefusedError):
        connect(server)


def test_limit(start: Start) -> None:
    """A connection that takes too long is shut down, and knows it; it cannot be held up."""
    seen: list[Taken] = []

    def handle(taken: Taken) -> None:
        send_and_wait(taken)
        seen.append(taken)

    ended = threading.Event()
    server = start(handle, limit=0.2, connections=1, ended=ended.set)
    with connect(server) as client:
        assert client.recv(5) == b"hello"
        assert ended.wait(tls.TIMEOUT)
        assert [(each.is_late, each.is_stopped) for each in seen] == [(True, False)]
        assert client.recv(5) == b""


@pytest.mark.parametrize("how", ["end", "close"])
def test_end(start: Start, how: str) -> None:
    """At the end a connection sees its client's end, and ``end`` lets it say goodbye."""

    def handle(taken: Taken) -> None:
        send_and_wait(taken)
        assert taken.is_stopped
        with contextlib.suppress(BrokenPipeError):
            taken.plain.sendall(b"bye")

    server = start(handle)
    with connect(server) as client:
        assert client.recv(5) == b"hello"
        if how == "end":
            server.end(tls.TIMEOUT)
        assert server.close() == []
        assert client.recv(5) == (b"bye" if how == "end" else b"")


def test_stuck_handler(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that does not return is named, and does not keep the server from ending."""
    monkeypatch.setattr(server_module, "GRACE", 0.05)
    release, ended = threading.Event(), threading.Event()
    server = start(lambda _: release.wait(), limit=0.05, connections=1, ended=ended.set)
    with connect(server):
        assert ended.wait(tls.TIMEOUT)
        assert server.close() == ["connection 1"]
        release.set()
    server.wait(tls.TIMEOUT)
    assert server.close() == []


def test_no_more_descriptors() -> None:
    """If all descriptors are in use it says so, and goes on as soon as there is one."""
    output = processes.run(
        """
        import contextlib, io, os, resource, socket
        from openssl_tickets._testing.server import Server
        server = Server(lambda taken: taken.plain.sendall(b"hello"))
        client = socket.socket()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        kept = []
        with contextlib.suppress(OSError):
            while True:
                kept.append(os.dup(0))
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            client.connect((server.host, server.port))
            while "no connection could be taken" not in errors.getvalue():
                pass
            for descriptor in kept:
                os.close(descriptor)
            print(client.recv(5), errors.getvalue().splitlines()[0])
        client.close()
        assert server.close() == []
        """.replace("\n        ", "\n")
    )
    assert output.startswith("b'hello' error: no connection could be taken: [Errno 24]")


class TestTLSServer:
    @pytest.fixture(params=CONTEXTS)
    def server(self, request: pytest.FixtureRequest, server_file: Path) -> Iterator[TLSServer]:
        server = TLSServer(CONTEXTS[request.param](server_file), timeout=0.5)
        yield server
        server.close()

    @pytest.fixture
    def client(self, server: TLSServer) -> Iterator[ssl.SSLSocket]:
        context = stdlib_tls.client_context()
        with connect(server) as plain, context.wrap_socket(plain) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
            yield client

    def test_a_client_that_closes(self, server: TLSServer, client: ssl.SSLSocket) -> None:
        """A client that ends without a close_notify is no error of an echo."""
        socket.socket.shutdown(client, socket.SHUT_WR)  # ssl's own would forget the TLS too
        server.wait(tls.TIMEOUT)
        assert server.errors == []

    @pytest.mark.usefixtures("client")
    def test_a_client_that_stalls(self, server: TLSServer) -> None:
        """A client that does nothing for too long is an error of its connection."""
        server.wait(tls.TIMEOUT)
        assert [type(error) for error in server.errors] == [TimeoutError]

    def test_a_client_that_never_speaks(self, server: TLSServer) -> None:
        """Nor does a client that never begins its handshake hold up anything."""
        with connect(server) as plain:
            assert plain.recv(5) == b""
        server.wait(tls.TIMEOUT)
        assert [type(error) for error in server.errors] == [TimeoutError]
