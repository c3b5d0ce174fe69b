"""
The types of the fixtures for interop tests of TLS servers with the real ``openssl s_client``.

pytest finds the fixtures if openssl_tickets is installed. It imports neither pyOpenSSL nor ``ssl``
until a test uses one. The fixtures are in ``_openssl_tickets_pytest``, which pytest can load
without this package.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from _openssl_tickets_pytest import (
    pytest_addoption,
    pytest_xdist_setupnodes,
    s_client,
    tls_certificate,
    tls_server,
)
from openssl_tickets._testing.server import HOST, TLSServer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from openssl_tickets.s_client import SClient, SClientOptions, SClientResult
    from openssl_tickets.s_client.arguments import RunOptions

__all__ = [
    "SClientFactory",
    "TLSServer",
    "pytest_addoption",
    "pytest_xdist_setupnodes",
    "s_client",
    "tls_certificate",
    "tls_server",
]


class SClientFactory:
    """
    Connections of ``openssl s_client`` to 127.0.0.1.

    They take the arguments of :func:`openssl_tickets.s_client.run` and
    :class:`openssl_tickets.s_client.SClient`: ``tickets``, ``send``, ``wait_for``, ``check``,
    ``sess_in``, ``sess_out``, ``tls_version``, ``ca_file``, ``timeout`` (10 seconds) and so on.
    """

    def __init__(self) -> None:
        self._exits = contextlib.ExitStack()

    def __call__(self, server: TLSServer | int, **options: Unpack[RunOptions]) -> SClientResult:
        """Makes one connection to *server*, or to a port, and returns what s_client saw."""
        from openssl_tickets.s_client import run

        return run(HOST, _port(server), **options)

    def connect(self, server: TLSServer | int, **options: Unpack[SClientOptions]) -> SClient:
        """Starts a connection in steps. It is closed at the end of the test at the latest."""
        from openssl_tickets.s_client import SClient

        client = SClient(HOST, _port(server), **options)
        self._exits.callback(_close, client)
        return client

    def close(self) -> None:
        """Closes all connections."""
        self._exits.close()


def _close(client: SClient) -> None:
    from openssl_tickets.s_client import SClientTimeout

    with contextlib.suppress(SClientTimeout):  # it is gone, but not by itself
        client.close()


def _port(server: TLSServer | int) -> int:
    return server.port if isinstance(server, TLSServer) else server
