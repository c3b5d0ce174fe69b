"""
Python's clients with ``resume_sessions``, against a real server: as docs/recipes/clients.md shows
them, each block of it as it stands there, but for the host.
"""

from __future__ import annotations

import contextlib
import http.server
import importlib
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openssl_tickets import FileSessionStore, MemorySessionStore, Session, resume_sessions
from tests.support import stdlib_tls
from tests.support.callbacks import in_threads
from tests.support.pages import blocks_of
from tests.support.processes import run

PAGE = Path(__file__).parents[2] / "docs" / "recipes" / "clients.md"
BLOCKS = {block.name: block.source for block in blocks_of(PAGE.read_text()) if block.name}

CLIENTS = [
    "urllib",
    "urllib3",
    "requests",
    "httpx",
    "aiohttp",
    "asyncio",
    "uvloop",
    "trio",
    "anyio",
]
ONE_FULL = [False, True, True, True]


class Server(http.server.ThreadingHTTPServer):
    """An HTTPS server that writes down which connections were resumed."""

    daemon_threads = True
    request_queue_size = 200

    def __init__(self, context: ssl.SSLContext, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.context = context
        self.in_order = False
        self.resumed: list[bool] = []

    def get_request(self) -> Any:
        plain, address = self.socket.accept()
        plain.settimeout(stdlib_tls.TIMEOUT)
        connection = self.context.wrap_socket(
            plain, server_side=True, do_handshake_on_connect=False
        )
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        if self.in_order:
            with contextlib.suppress(OSError):
                request.unwrap()
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that refuses the certificate


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        connection: Any = self.connection
        self.server.resumed.append(connection.session_reused)
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(context: ssl.SSLContext, port: int = 0) -> Iterator[Server]:
    with Server(context, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(server_file: Path, version: str) -> Iterator[Server]:
    with serving(stdlib_tls.server_context(server_file, version)) as server:
        yield server


@pytest.fixture
def server13(server_file: Path) -> Iterator[Server]:
    with serving(stdlib_tls.server_context(server_file, "1.3")) as server:
        yield server


@pytest.fixture
def context(ca_file: Path) -> ssl.SSLContext:
    """As the page makes it, but that it trusts the tests' authority."""
    source = BLOCKS["context"].replace("context()", f"context(cafile={str(ca_file)!r})")
    return execute(source, {})["context"]  # type: ignore[no-any-return]


def execute(source: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(source, names)  # noqa: S102 (it is ours)
    return names


def needs(name: str) -> Any:
    """Imports a client; in CI it must be there."""
    if os.environ.get("CI"):
        return importlib.import_module(name)
    return pytest.importorskip(name)


def source_of(client: str, port: int) -> str:
    """Returns the block of the page, for a server on a loopback *port*."""
    needs({"asyncio": "asyncio", "urllib": "urllib"}.get(client, client))
    source = BLOCKS["asyncio" if client == "uvloop" else client]
    if client == "uvloop":
        source = source.replace("asyncio.run", "uvloop.run").replace("import", "import uvloop,")
    return (
        source.replace("https://example.org", f"https://localhost:{port}")
        .replace('"example.org", 443', f'"localhost", {port}')
        .replace("print(", "len(str(")
        .replace("len(str(len(data))", "len(data)")
    )


def ask(port: int, context: ssl.SSLContext, times: int = 1) -> None:
    for _ in range(times):
        with urllib.request.urlopen(f"https://localhost:{port}", context=context) as response:
            assert response.read() == b"hello"


@pytest.mark.parametrize("in_order", [True, False], ids=["closed", "cut"])
@pytest.mark.parametrize("client", CLIENTS)
def test_client(client: str, in_order: bool, server: Server, context: ssl.SSLContext) -> None:
    """One full handshake, then three resumptions, each time with everything of the client new."""
    server.in_order = in_order
    source = source_of(client, server.server_port)
    for _ in range(4):
        execute(source, {"context": context})
    assert server.resumed == ONE_FULL


@pytest.mark.parametrize("client", ["urllib", "asyncio", "trio"])
def test_without(client: str, server13: Server, ca_file: Path) -> None:
    """So do they not by themselves: the tests above can fail."""
    context = ssl.create_default_context(cafile=ca_file)
    for _ in range(2):
        execute(source_of(client, server13.server_port), {"context": context})
    assert server13.resumed == [False, False]


TWISTED = """
import sys
{block}
from twisted.internet import defer, reactor, task
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import readBody

root = trustRootFromCertificates([Certificate.loadPEM(open({ca_file!r}, "rb").read())])

async def main():
    for _ in range(4):
        agent = Agent(reactor, ResumingPolicy(root))
        response = await agent.request(b"GET", b"https://localhost:{port}/")
        await response.deliverBody(defer.Deferred()) if False else await readBody(response)

import warnings
warnings.simplefilter("ignore")
task.react(lambda _: defer.ensureDeferred(main()))
"""


def test_twisted(server: Server, ca_file: Path) -> None:
    """
    Twisted's Agent. It asks for no tickets, which leaves TLS 1.2 with session ids; a server forgets
    those of connections that it does not close in order.
    """
    server.in_order = True
    run_twisted(server.server_port, ca_file)
    assert server.resumed == ONE_FULL


def run_twisted(port: int, ca_file: Path) -> None:
    run(TWISTED.format(block=BLOCKS["twisted"], ca_file=str(ca_file), port=port))


class TestServers:
    def test_two_behind_one_name(
        self, context: ssl.SSLContext, server_file: Path, version: str
    ) -> None:
        """Each has keys of its own, and a port; nothing fails, and each resumes its own."""
        contexts = [stdlib_tls.server_context(server_file, version) for _ in range(2)]
        with serving(contexts[0]) as first, serving(contexts[1]) as second:
            for _ in range(3):
                ask(first.server_port, context)
                ask(second.server_port, context)
            assert first.resumed == second.resumed == [False, True, True]

    def test_two_behind_one_address(
        self, context: ssl.SSLContext, server: Server, server_file: Path, version: str
    ) -> None:
        """A balancer sends clients to one of two servers with keys of their own: nothing fails."""
        contexts = [server.context, stdlib_tls.server_context(server_file, version)]
        for number in range(12):
            server.context = contexts[number // 2 % 2]
            ask(server.server_port, context)
        assert len(server.resumed) == 12
        assert sum(server.resumed) >= 5

    def test_restarts(self, context: ssl.SSLContext, server_file: Path, version: str) -> None:
        """A server that starts again has other keys: a full handshake, then resumptions again."""
        with serving(stdlib_tls.server_context(server_file, version)) as server:
            port = server.server_port
            for _ in range(3):
                ask(port, context)
        with serving(stdlib_tls.server_context(server_file, version), port) as server:
            for _ in range(4):
                ask(port, context)
            # Two tickets of TLS 1.3 may be left of the server before.
            assert server.resumed[0] is False
            assert server.resumed[-1] is True

    def test_threads(self, context: ssl.SSLContext, server: Server) -> None:
        """Eight threads with 20 requests each share a context."""
        in_threads(8, lambda _: ask(server.server_port, context, 20))
        assert len(server.resumed) == 160
        assert sum(server.resumed) >= 100


class TestVerification:
    def test_requests(self, server13: Server, ca_file: Path, monkeypatch: Any) -> None:
        """
        ``verify=False``, then ``verify=True``: requests sets the mode of one context anew for each
        connection. What came without verification lets nobody in.
        """
        requests = needs("requests")
        warnings.simplefilter("ignore")
        context = ssl.create_default_context()  # which does not know the server
        resume_sessions(context)
        url = f"https://localhost:{server13.server_port}"
        names = execute(source_of("requests", server13.server_port).partition("with ")[0], locals())
        session = requests.Session()
        session.mount("https://", names["ResumingAdapter"]())
        context.check_hostname = False
        for _ in range(2):
            assert session.get(url, verify=False).text == "hello"
        with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            session.get(url, verify=True)
        assert session.get(url, verify=str(ca_file)).text == "hello"
        assert server13.resumed == [False, True, False]

    def test_lazy_anchors(self, server13: Server, ca_file: Path, tmp_path: Path) -> None:
        """A folder of trust anchors is read as libssl needs them, and clients resume with it."""
        folder = tmp_path / "anchors"
        folder.mkdir()
        (folder / "ca.pem").write_bytes(ca_file.read_bytes())
        subprocess.run(["openssl", "rehash", str(folder)], check=True)
        context = ssl.create_default_context(capath=folder)
        resume_sessions(context)
        for _ in range(4):
            ask(server13.server_port, context)
        assert server13.resumed == ONE_FULL


CLIENT = """
import ssl, sys, urllib.request
from openssl_tickets import FileSessionStore, resume_sessions
context = ssl.create_default_context(cafile=sys.argv[1])
resume_sessions(context, FileSessionStore(sys.argv[2]))
for _ in range(int(sys.argv[4])):
    urllib.request.urlopen(f"https://localhost:{sys.argv[3]}", context=context).read()
"""


class TestStores:
    def start(self, ca_file: Path, path: Path, port: int, count: int) -> Any:
        arguments = [str(argument) for argument in (ca_file, path, port, count)]
        return subprocess.Popen([sys.executable, "-I", "-c", CLIENT, *arguments])

    def test_one_after_the_other(self, server: Server, ca_file: Path, tmp_path: Path) -> None:
        """A program that is started again and again resumes."""
        for _ in range(3):
            with self.start(ca_file, tmp_path / "sessions", server.server_port, 1) as process:
                assert process.wait(60) == 0
        assert server.resumed == [False, True, True]

    def test_at_once(self, server: Server, ca_file: Path, tmp_path: Path) -> None:
        """Processes share their sessions, and none fails."""
        with contextlib.ExitStack() as stack:
            processes = [
                stack.enter_context(
                    self.start(ca_file, tmp_path / "sessions", server.server_port, 10)
                )
                for _ in range(4)
            ]
            assert [process.wait(120) for process in processes] == [0] * 4
        assert len(server.resumed) == 40
        assert sum(server.resumed) >= 30

    def test_page(
        self, server: Server, context: ssl.SSLContext, monkeypatch: Any, tmp_path: Path
    ) -> None:
        """The page's own block."""
        monkeypatch.chdir(tmp_path)
        names = {"context": context, "resume_sessions": resume_sessions}
        for _ in range(2):
            execute(BLOCKS["file"], names)
            ask(server.server_port, context)
        assert server.resumed == [False, True]
        assert (tmp_path / "sessions.sqlite").stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("kind", ["raises", "lies", "slow", "damaged"])
    def test_bad(self, kind: str, server: Server, ca_file: Path, tmp_path: Path) -> None:
        """Whatever a store does, each request is answered."""
        if kind == "damaged":
            store: Any = FileSessionStore(tmp_path / "sessions")
            (tmp_path / "sessions").write_bytes(b"x" * 10_000)
        else:
            store = Bad(kind)
        context = ssl.create_default_context(cafile=ca_file)
        resume_sessions(context, store)
        in_threads(4, lambda _: ask(server.server_port, context, 3))
        assert len(server.resumed) == 12
        if kind != "slow":
            assert not any(server.resumed) or kind == "lies"


class Bad(MemorySessionStore):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.all: list[Session] = []

    def put(self, key: str, session: Session) -> None:
        self._act()
        self.all.append(session)
        super().put(key, session)

    def take(self, key: str) -> Session | None:
        self._act()
        if self.kind == "lies":  # the oldest that there was for anybody, again and again
            return self.all[0] if self.all else None
        return super().take(key)

    def _act(self) -> None:
        if self.kind == "raises":
            raise OSError("no space left")
        if self.kind == "slow":
            time.sleep(0.05)


def test_every_block_is_run() -> None:
    """No block of the page is passed over."""
    ran = {*CLIENTS, "context", "twisted", "file", "ftplib"} - {"uvloop"}
    assert set(BLOCKS) == ran
    assert all(block.name for block in blocks_of(PAGE.read_text()))
    assert 'BLOCKS["ftplib"]' in (Path(__file__).parent / "test_ftps.py").read_text()
