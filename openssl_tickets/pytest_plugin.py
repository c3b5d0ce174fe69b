"""
Fixtures for interop tests of TLS servers, with the real ``openssl s_client`` as their client.

pytest finds them by itself where openssl_tickets is installed. Neither pyOpenSSL nor ``ssl`` is
imported until a test asks for one of them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from openssl_tickets._testing.server import HOST, TIMEOUT, TLSServer

if TYPE_CHECKING:
    from openssl_tickets.s_client import SClient, SClientResult

__all__ = ["SClientFactory", "TLSServer", "s_client", "tls_certificate", "tls_server"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Puts pytest-xdist's workers on the libssl that ``run`` has put this process on."""
    if "openssl_tickets._system_openssl._pyopenssl" in sys.modules:
        others = os.environ.get("PYTEST_PLUGINS", "").split(",")
        plugins = ",".join(["openssl_tickets.system", *filter(None, others)])
        for spec in specs:
            spec.env["PYTEST_PLUGINS"] = plugins


@pytest.fixture(scope="session")
def tls_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A self-signed certificate for localhost, 127.0.0.1 and ::1, with its key, in one PEM file. It is
    what a server loads, and what a client is to trust.
    """
    from openssl_tickets._testing.certificates import make_certificate

    _need_openssl()
    return make_certificate(tmp_path_factory.mktemp("tls_certificate"))


@pytest.fixture
def tls_server() -> Iterator[Callable[..., TLSServer]]:
    """
    ``tls_server(context, serve=None, timeout=10)`` starts a :class:`TLSServer` on a free port.

    At the end of the test it is stopped, and the test fails with what a connection raised, unless
    the test has taken that from ``errors``.
    """
    servers = []

    def start(
        context: Any, serve: Callable[[Any], object] | None = None, timeout: float = TIMEOUT
    ) -> TLSServer:
        server = TLSServer(context, serve, timeout)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()
    for server in servers:
        for error in server.errors:
            raise error


@pytest.fixture
def s_client() -> Iterator[SClientFactory]:
    """
    ``s_client(server, ...)`` is a connection of ``openssl s_client``, and ``s_client.connect`` one
    in steps; see :class:`SClientFactory`. Without the program the test is skipped.
    """
    _need_openssl()
    factory = SClientFactory()
    yield factory
    factory.close()


def _need_openssl() -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl program on the PATH: install OpenSSL")


class SClientFactory:
    """
    Connections of ``openssl s_client`` to 127.0.0.1.

    What they take besides is what :func:`openssl_tickets.s_client.run` and
    :class:`openssl_tickets.s_client.SClient` take: ``tickets``, ``send``, ``wait_for``,
    ``sess_in``, ``sess_out``, ``tls_version``, ``ca_file``, ``timeout`` (10 seconds) and so on.
    """

    def __init__(self) -> None:
        self._clients: list[SClient] = []

    def __call__(self, server: TLSServer | int, **options: Any) -> SClientResult:
        """Makes one connection to *server*, or to a port, and returns what s_client saw."""
        from openssl_tickets.s_client import run

        return run(HOST, _port(server), **{"timeout": TIMEOUT, **options})

    def connect(self, server: TLSServer | int, **options: Any) -> SClient:
        """Begins a connection in steps. It is closed at the end of the test, if not before."""
        from openssl_tickets.s_client import SClient

        client = SClient(HOST, _port(server), **{"timeout": TIMEOUT, **options})
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Closes all connections."""
        from openssl_tickets.s_client import SClientTimeout

        for client in self._clients:
            with contextlib.suppress(SClientTimeout):  # it is gone, but not by itself
                client.close()


def _port(server: TLSServer | int) -> int:
    return server.port if isinstance(server, TLSServer) else server
