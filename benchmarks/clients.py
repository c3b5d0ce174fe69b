"""Clients that resume by themselves: what a handshake and a request cost them, with and without."""

from __future__ import annotations

import contextlib
import functools
import importlib
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import trustme

from benchmarks.measure import measure, ratios, spread, table
from openssl_tickets import MemorySessionStore, resume_sessions

KINDS = {"RSA-2048": trustme.KeyType.RSA, "P-256": trustme.KeyType.ECDSA}
HANDSHAKES = 4  # in one round of a variant
REQUESTS = 10

SERVER = """
import http.server, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *_):
        pass
class Server(http.server.ThreadingHTTPServer):
    def get_request(self):
        plain, address = self.socket.accept()
        return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), address
server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


class Files:
    """An authority, and a server's and a client's chain of two certificates."""

    def __init__(self, folder: Path, kind: str) -> None:
        key_type = KINDS[kind]
        authority = trustme.CA(key_type=key_type)
        between = authority.create_child_ca(key_type=key_type)
        self.ca = folder / f"{kind}-ca.pem"
        self.server = folder / f"{kind}-server.pem"
        self.client = folder / f"{kind}-client.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        for path, name in ((self.server, "localhost"), (self.client, "client@example.org")):
            issued = between.issue_cert(name, key_type=key_type)
            issued.private_key_and_cert_chain_pem.write_to_path(str(path))

    def contexts(self, with_certificate: bool) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(self.server)
        client = ssl.create_default_context(cafile=self.ca)
        if with_certificate:
            server.load_verify_locations(self.ca)
            server.verify_mode = ssl.CERT_REQUIRED
            client.load_cert_chain(self.client)
        return server, client


def seconds_of_client(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, store: Any = None
) -> float:
    """Returns how long the processor is at work for a client, until it has its tickets."""
    total = 0.0
    for _ in range(HANDSHAKES):
        if store is not None:
            store.clear()
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = server_context.wrap_bio(to_server, to_client, server_side=True)
        start = time.thread_time()
        client = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
        step(client.do_handshake)
        total += time.thread_time() - start
        step(server.do_handshake)
        start = time.thread_time()
        client.do_handshake()
        total += time.thread_time() - start
        server.do_handshake()
        server.write(b"x")
        start = time.thread_time()
        client.read(1)
        total += time.thread_time() - start
    return total / HANDSHAKES


def step(shake: Callable[[], None]) -> None:
    with contextlib.suppress(ssl.SSLWantReadError):
        shake()


def handshakes(folder: Path, rounds: int) -> Iterator[list[str]]:
    """Yields the rows of the table of handshakes."""
    for kind in KINDS:
        files = Files(folder, kind)
        for with_certificate in (False, True):
            server, plain = files.contexts(with_certificate)
            first, resumed = (files.contexts(with_certificate)[1] for _ in range(2))
            emptied = MemorySessionStore()
            resume_sessions(first, emptied)
            resume_sessions(resumed)
            times = measure(
                {
                    "without": functools.partial(seconds_of_client, server, plain),
                    "first": functools.partial(seconds_of_client, server, first, emptied),
                    "resumed": functools.partial(seconds_of_client, server, resumed),
                },
                rounds,
            )
            yield [
                kind + (", client certificate" if with_certificate else ""),
                spread([1e6 * seconds for seconds in times["without"]], ".0f"),
                spread([100 * (r - 1) for r in ratios(times["first"], times["without"])], "+.1f"),
                spread(ratios(times["without"], times["resumed"]), ".2f"),
            ]


def requests(folder: Path, rounds: int) -> Iterator[list[str]]:
    """Yields the rows of the table of requests."""
    urllib3, httpx = (importlib.import_module(name) for name in ("urllib3", "httpx"))
    for kind in KINDS:
        files = Files(folder, kind)
        with subprocess.Popen(
            [sys.executable, "-c", SERVER, str(files.server)], stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                url = f"https://localhost:{int(server.stdout.readline())}"
                for name in ("urllib3", "httpx"):
                    getters: dict[str, Callable[[], float]] = {}
                    for way in ("without", "with"):
                        context = files.contexts(with_certificate=False)[1]
                        if way == "with":
                            resume_sessions(context)
                        if name == "urllib3":
                            pool = urllib3.PoolManager(ssl_context=context)
                            get = functools.partial(pool.request, "GET", url)
                        else:
                            get = functools.partial(httpx.Client(verify=context).get, url)
                        getters[way] = functools.partial(seconds_of_requests, get)
                    times = measure(getters, rounds)
                    yield [
                        f"{name}, {kind}",
                        *(spread([1 / each for each in times[way]], ".0f") for way in getters),
                        spread(ratios(times["without"], times["with"]), ".2f"),
                    ]
            finally:
                server.kill()


def seconds_of_requests(get: Callable[[], Any]) -> float:
    start = time.perf_counter()
    for _ in range(REQUESTS):
        get()
    return (time.perf_counter() - start) / REQUESTS


def report(folder: Path, scale: float) -> Iterator[str]:
    """Yields the page's section."""
    yield (
        "## Clients that resume\n\n"
        "`resume_sessions` on a client's `SSLContext`: medians (quartiles). In TLS 1.3, with "
        "chains of two certificates that are verified, over memory; the time that the processor "
        "works for the client alone, until it has its two tickets. The first handshake, of which "
        "there is no session yet, is compared with one without the call.\n\n"
        + table(
            [
                "certificates",
                "full, without (µs)",
                "first, with (%)",
                "resumed, times as fast",
            ],
            handshakes(folder, max(4, round(400 * scale))),
        )
    )
    yield (
        "Requests per second, each over a new connection on loopback, to a server of "
        "`http.server` and `ssl` in a process of its own:\n\n"
        + table(
            ["client", "without", "with", "times as many"],
            requests(folder, max(4, round(60 * scale))),
        )
    )
