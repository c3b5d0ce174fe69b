"""
How much do Python callbacks cost a TLS 1.3 resumption?

Resumptions over memory BIOs, with pyOpenSSL and with the standard ``ssl``, and with callbacks that
store and read 32 bytes: in Python, in C, and without any. Run it with ``tox run -e bench``.

The variants take turns in short rounds, and what counts are the ratios within each round: a noisy
machine slows all variants of a round alike. pyperf measures one command at a time, so the rounds
are made here and only the clock is shared.
"""

from __future__ import annotations

import argparse
import contextlib
import ssl
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import trustme

import openssl_tickets
from openssl_tickets import SSL, adapters

sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.c_callbacks import compile_c_callbacks
from benchmarks.measure import measure, ratios, spread
from build_ffi import openssl_flags

APPDATA = bytes(range(32))
SEEN: list[bytes | None] = [None]


def generate(connection: Any, data: Any) -> bytes:
    return APPDATA


def decrypt(connection: Any, ticket: Any, data: Any) -> openssl_tickets.TicketReturn | None:
    SEEN[0] = ticket.appdata
    return None


class Variant:
    """A server context with its client context, and a session to resume."""

    server_context: Any
    session: Any

    def handshake(self, session: Any) -> tuple[Any, Any]:
        """Shakes hands over memory BIOs until the client has its tickets; returns both sides."""
        raise NotImplementedError

    def seconds(self, resumptions: int) -> float:
        """Returns how long one resumption takes, in the mean of *resumptions*."""
        session = self.session
        begin = perf_counter()
        for _ in range(resumptions):
            self.handshake(session)
        return (perf_counter() - begin) / resumptions


class PyOpenSSL(Variant):
    def __init__(self, certificate: Path, install: Callable[[Any], object]) -> None:
        self.server_context = SSL.Context(SSL.TLS_METHOD)
        self.server_context.use_privatekey_file(str(certificate))
        self.server_context.use_certificate_chain_file(str(certificate))
        install(self.server_context)
        self.client_context = SSL.Context(SSL.TLS_METHOD)
        client, _ = self.handshake(None)
        self.session = client.get_session()

    def handshake(self, session: Any) -> tuple[Any, Any]:
        server = SSL.Connection(self.server_context, None)
        server.set_accept_state()
        client = SSL.Connection(self.client_context, None)
        client.set_connect_state()
        if session is not None:
            client.set_session(session)
        for side, other in ((client, server), (server, client), (client, server)):
            with contextlib.suppress(SSL.WantReadError):
                side.do_handshake()
            other.bio_write(side.bio_read(65536))
        server.do_handshake()
        client.bio_write(server.bio_read(65536))
        with contextlib.suppress(SSL.WantReadError):
            client.recv(1)
        # Without these, freeing the client would mark the session as not resumable.
        client.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        return client, server


class Standard(Variant):
    """The same with the standard library's ``ssl``."""

    def __init__(self, certificate: Path, install: Callable[[Any], object]) -> None:
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_context.load_cert_chain(certificate)
        install(self.server_context)
        self.client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client_context.check_hostname = False
        self.client_context.verify_mode = ssl.CERT_NONE
        client, _ = self.handshake(None)
        self.session = client.session

    def handshake(self, session: Any) -> tuple[Any, Any]:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = self.server_context.wrap_bio(to_server, to_client, server_side=True)
        client = self.client_context.wrap_bio(to_client, to_server, session=session)
        for side in (client, server, client):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        server.do_handshake()
        with contextlib.suppress(ssl.SSLWantReadError):
            client.read(1)
        return client, server


LIBRARIES: dict[str, type[Any]] = {"pyopenssl": PyOpenSSL, "ssl": Standard}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=600)
    parser.add_argument("--resumptions", type=int, default=10, help="per variant and round")
    parser.add_argument("--library", choices=LIBRARIES, action="append", help="both by default")
    options = parser.parse_args()

    print(f"{openssl_tickets.OPENSSL_VERSION}, Python {sys.version.split()[0]}")
    print(f"{options.rounds} rounds of {options.resumptions} TLS 1.3 resumptions for each variant")
    c_callbacks = compile_c_callbacks(**openssl_flags())
    for library in options.library or LIBRARIES:
        variants = make_variants(LIBRARIES[library], c_callbacks)
        times = measure(
            {name: partial(each.seconds, options.resumptions) for name, each in variants.items()},
            options.rounds,
        )
        show(library, times)


def show(library: str, times: dict[str, list[float]]) -> None:
    print(f"\n{library}\n")
    for name, values in times.items():
        print(f"{name:24} {1 / statistics.median(values):8.0f} resumptions/s (median)")
    print("\nrate against rate, in the same round: median (quartiles)")
    for one, other in (("Python", "C"), ("Python", "none"), ("C", "none")):
        print(f"{one + ' / ' + other:24} {spread(ratios(times[other], times[one]), '.4f')}")
    print("\ncost of a callback, against none in the same round: median (quartiles)")
    for name in ("Python generate only", "Python decrypt only"):
        costs = [(a - b) * 1e6 for a, b in zip(times[name], times["none"], strict=True)]
        print(f"{name:24} {spread(costs, '.1f')} microseconds")


def make_variants(library: type[Any], c_callbacks: Any) -> dict[str, Variant]:
    set_callbacks = openssl_tickets.set_session_ticket_callback
    installs: dict[str, Callable[[Any], object]] = {
        "none": lambda context: None,
        "C": lambda context: c_callbacks.lib.install(adapters.to_ssl_ctx(context).pointer),
        "Python": lambda context: set_callbacks(context, generate, decrypt),
        "Python generate only": lambda context: set_callbacks(context, generate),
        "Python decrypt only": lambda context: set_callbacks(context, None, decrypt),
    }
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder, "certificate.pem")
        issued = trustme.CA().issue_cert("localhost")
        certificate.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
        variants = {name: library(certificate, install) for name, install in installs.items()}
    for name, variant in variants.items():
        _, server = variant.handshake(variant.session)
        assert c_callbacks.lib.reused(adapters.to_ssl(server)), f"{name}: this is no resumption"
    return variants


if __name__ == "__main__":
    main()
