"""
What the drop-in classes cost.

It measures full TLS 1.3 handshakes, and 64 KiB sent and received, over socket pairs. It compares
the drop-in ``openssl_tickets.SSL.Connection`` with pyOpenSSL's own class on the same libssl. A
second run of pyOpenSSL shows the noise.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.libraries import make_certificates
from benchmarks.measure import measure, ratios, spread, table
from openssl_tickets import SSL  # moves pyOpenSSL to the system's libssl

import OpenSSL.SSL  # isort: skip

VARIANTS: dict[str, Any] = {
    "pyOpenSSL": OpenSSL.SSL,
    "drop-in": SSL,
    "pyOpenSSL again": OpenSSL.SSL,
}
SIZE = 1 << 16  # bytes


class Variant:
    """Contexts and connections of one module."""

    def __init__(self, module: Any, certificate: Path) -> None:
        self.connection = module.Connection
        self.server_context = module.Context(SSL.TLS_METHOD)
        self.server_context.use_privatekey_file(str(certificate))
        self.server_context.use_certificate_chain_file(str(certificate))
        self.client_context = module.Context(SSL.TLS_METHOD)
        self.server, self.client = self.handshake()
        self.data = bytes(SIZE)

    def handshake(self) -> tuple[Any, Any]:
        ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
            # The buffer has room for everything that one side sends before the other reads.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * SIZE)
        server = self.connection(self.server_context, ends[0])
        server.set_accept_state()
        client = self.connection(self.client_context, ends[1])
        client.set_connect_state()
        for side in (client, server, client):
            with contextlib.suppress(SSL.WantReadError):
                side.do_handshake()
        server.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            client.recv(1)
        return server, client

    def handshakes(self, times: int) -> float:
        """Returns the mean time of a handshake in seconds, over *times* handshakes."""
        begin = perf_counter()
        for _ in range(times):
            self.handshake()
        return (perf_counter() - begin) / times

    def transfers(self, times: int) -> float:
        """Returns the mean time to send and receive 64 KiB in seconds, over *times* transfers."""
        begin = perf_counter()
        for _ in range(times):
            self.server.sendall(self.data)
            received = 0
            while received < SIZE:
                received += len(self.client.recv(SIZE))
        return (perf_counter() - begin) / times


def report(folder: Path, scale: float) -> Iterator[str]:
    """Yields the page's sections."""
    rounds = max(4, round(600 * scale))
    certificate = make_certificates(folder).server
    variants = {name: Variant(module, certificate) for name, module in VARIANTS.items()}
    rows = []
    for what, unit, times in (
        ("handshakes", "full handshakes", 3),
        ("transfers", "64 KiB sent and received", 20),
    ):
        seconds = measure(
            {name: partial(getattr(each, what), times) for name, each in variants.items()}, rounds
        )
        rows += [
            [unit, name, spread(ratios(seconds["pyOpenSSL"], seconds[name]), ".4f")]
            for name in list(VARIANTS)[1:]
        ]
    yield (
        "## The drop-in classes\n\n"
        "`openssl_tickets.SSL` compared to pyOpenSSL's own classes on the same libssl, over socket "
        f"pairs: medians (quartiles) of {rounds} rounds.\n\n"
        + table(("what", "on", "rate against pyOpenSSL's"), rows)
    )
