"""
What do the drop-in classes cost?

Full TLS 1.3 handshakes, and 64 KiB sent and received, over socket pairs: on the drop-in
``openssl_tickets.SSL.Connection``, and on pyOpenSSL's own on the same libssl. A second pyOpenSSL
shows what is chance. Run it with ``tox run -e bench``.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import trustme

import openssl_tickets
from openssl_tickets import SSL

sys.path.append(str(Path(__file__).resolve().parent.parent))

import OpenSSL.SSL

from benchmarks.measure import measure, ratios, spread

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
            # All that one side sends has room before the other reads.
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
        """Returns how long a handshake takes, in seconds: the mean of *times*."""
        begin = perf_counter()
        for _ in range(times):
            self.handshake()
        return (perf_counter() - begin) / times

    def transfers(self, times: int) -> float:
        """Returns how long 64 KiB take to be sent and received: the mean of *times*."""
        begin = perf_counter()
        for _ in range(times):
            self.server.sendall(self.data)
            received = 0
            while received < SIZE:
                received += len(self.client.recv(SIZE))
        return (perf_counter() - begin) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=600)
    rounds = parser.parse_args().rounds

    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder, "certificate.pem")
        issued = trustme.CA().issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        certificate.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
        variants = {name: Variant(module, certificate) for name, module in VARIANTS.items()}

    print(f"pyOpenSSL {OpenSSL.__version__} on {openssl_tickets.OPENSSL_VERSION}")
    print(f"{rounds} rounds; rate against pyOpenSSL's in the same round: median (quartiles)\n")
    for what, times in (("handshakes", 3), ("transfers", 20)):
        seconds = measure(
            {name: partial(getattr(each, what), times) for name, each in variants.items()}, rounds
        )
        for name in list(VARIANTS)[1:]:
            rates = ratios(seconds["pyOpenSSL"], seconds[name])
            print(f"{what}, {name:20} {spread(rates, '.4f')}")


if __name__ == "__main__":
    main()
