"""cheroot's pyOpenSSL adapter with the ticket functions on its context: curl gets its pages."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import OpenSSL.SSL
import pytest
from cheroot import wsgi
from cheroot.ssl.pyopenssl import pyOpenSSLAdapter

import openssl_tickets
from openssl_tickets import ReceivedTicket, TicketReturn
from openssl_tickets.s_client import Alert, SClientResult
from tests.support import tls

# cheroot loads its keys and certificates in ways that pyOpenSSL 26 advises against.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:cheroot.ssl.pyopenssl")

PAGE = b"a page over " + openssl_tickets.OPENSSL_VERSION.encode() + b"\n"
AT_ONCE = 4


class Site:
    """A server, whose tickets carry the client's address, and what it saw of its clients."""

    def __init__(self, server_file: Path) -> None:
        adapter: Any = pyOpenSSLAdapter(str(server_file), str(server_file))
        adapter.context = self.context = adapter.get_context()
        openssl_tickets.set_session_ticket_callback(self.context, self.generate, self.decrypt)
        self.server: Any = wsgi.Server(("127.0.0.1", 0), self.page, numthreads=2 * AT_ONCE)
        self.server.ssl_adapter = adapter
        self.answer: Callable[[], TicketReturn | None] = lambda: None
        self.clients: list[bytes] = []  # a page's program has their addresses from cheroot
        self.generated: list[tuple[bytes, bool, int]] = []  # client, whether resumed, thread
        self.offered: list[bytes | None] = []
        self._at_once = threading.Barrier(AT_ONCE)

    @property
    def port(self) -> int:
        return int(self.server.bind_addr[1])

    def generate(self, connection: Any, data: Any) -> bytes:
        assert type(connection) is OpenSSL.SSL.Connection
        client = "{}:{}".format(*connection.getpeername()).encode()
        self.generated.append((client, tls.session_reused(connection), threading.get_ident()))
        return client

    def decrypt(self, connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
        self.offered.append(ticket.appdata)
        return self.answer()

    def page(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/at-once":
            self._at_once.wait(tls.TIMEOUT)
        self.clients.append("{REMOTE_ADDR}:{REMOTE_PORT}".format(**environ).encode())
        body = f"a page over {environ['SSL_VERSION_LIBRARY']}\n".encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


@pytest.fixture
def site(server_file: Path) -> Iterator[Site]:
    """A site that is served, and must have had no errors in the end."""
    site = Site(server_file)
    errors: list[str] = []
    site.server.error_log = lambda message="", *_, **__: errors.append(message)
    site.server.prepare()
    thread = threading.Thread(target=site.server.serve)
    thread.start()
    try:
        yield site
    finally:
        site.server.stop()
        thread.join(tls.TIMEOUT)
    assert not thread.is_alive()
    assert errors == []


@pytest.fixture
def get(site: Site, ask: Callable[..., SClientResult]) -> Callable[..., SClientResult]:
    """``get(...)`` asks for the page with s_client, and returns what it saw."""
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    return partial(ask, site.port, send=request, wait_for=PAGE)


@pytest.fixture
def curl(site: Site, ca_file: Path) -> Callable[..., bytes]:
    """``curl(path, ...)`` gets pages with one curl, each of them on a new connection."""

    def curl(*paths: str) -> bytes:
        options = ["--disable", "--silent", "--show-error", "--fail", "--noproxy", "*"]
        options += ["--max-time", str(tls.TIMEOUT), "--header", "Connection: close"]
        urls = [f"https://127.0.0.1:{site.port}{path}" for path in paths]
        command = ["curl", *options, "--cacert", str(ca_file), *urls]
        return subprocess.run(
            command, stdout=subprocess.PIPE, timeout=3 * tls.TIMEOUT, check=True
        ).stdout

    return curl


@pytest.mark.parametrize("number", [0, 1, 3])
def test_number(site: Site, get: Callable[..., SClientResult], number: int) -> None:
    """As many tickets come as were set on the context of the adapter."""
    openssl_tickets.set_num_tickets(site.context, number)
    seen = get()
    assert (seen.protocol, seen.verify_code, seen.exit_code) == ("TLSv1.3", 0, 0)
    assert (seen.reused, len(seen.tickets)) == (False, number)
    assert [client for client, *_ in site.generated] == site.clients * number


@pytest.mark.parametrize(
    ("answer", "reused", "number"),
    [(None, True, 1), (TicketReturn.USE, True, 0), (TicketReturn.IGNORE_RENEW, False, 3)],
)
def test_answer(
    site: Site,
    get: Callable[..., SClientResult],
    session_file: Path,
    answer: TicketReturn | None,
    reused: bool,
    number: int,
) -> None:
    """Decrypt gets what generate put into the ticket, and its answer decides."""
    openssl_tickets.set_num_tickets(site.context, 3)
    site.answer = lambda: answer
    get(sess_out=session_file)
    seen = get(sess_in=session_file)
    assert (seen.reused, len(seen.tickets), seen.exit_code) == (reused, number, 0)
    assert site.offered == site.clients[:1]


def test_exception(
    site: Site,
    get: Callable[..., SClientResult],
    session_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exception in decrypt ends that connection, is reported, and the next is served."""
    unraisable: list[tuple[str, type]] = []
    monkeypatch.setattr(
        sys,
        "unraisablehook",
        lambda seen: unraisable.append((repr(seen.exc_value), type(seen.object))),
    )

    def fail() -> TicketReturn | None:
        raise RuntimeError("from decrypt")

    get(sess_out=session_file)
    site.answer = fail
    ended = get(send=b"", sess_in=session_file, check=False)
    after = get()
    assert (ended.alert, ended.exit_code) == (Alert(80, "internal_error"), 1)
    assert unraisable == [("RuntimeError('from decrypt')", OpenSSL.SSL.Connection)]
    assert (after.reused, after.exit_code) == (False, 0)


def test_curl(site: Site, curl: Callable[..., bytes]) -> None:
    """curl gets its page, and for the next one it resumes with its ticket."""
    openssl_tickets.set_num_tickets(site.context, 1)
    assert curl("/", "/") == 2 * PAGE
    first, second = site.clients
    assert [seen[:2] for seen in site.generated] == [(first, False), (second, True)]
    assert site.offered == [first]


def test_curls_at_once(site: Site, curl: Callable[..., bytes]) -> None:
    """Several curls at once, each served on a thread of its own, all resume with their tickets."""
    openssl_tickets.set_num_tickets(site.context, 1)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        pages = list(pool.map(curl, *[["/at-once"] * AT_ONCE] * 2))
    assert pages == [2 * PAGE] * AT_ONCE
    full = [(client, thread) for client, reused, thread in site.generated if not reused]
    resumed = [client for client, reused, _ in site.generated if reused]
    assert sorted(client for client, _ in full) == sorted(site.clients[:AT_ONCE])
    assert len({thread for _, thread in full}) == AT_ONCE
    assert sorted(resumed) == sorted(site.clients[AT_ONCE:])
    assert sorted(map(str, site.offered)) == sorted(map(str, site.clients[:AT_ONCE]))
