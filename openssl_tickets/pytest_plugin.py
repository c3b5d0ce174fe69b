"""
The types of the pytest fixtures, which test a TLS server with the real ``openssl s_client``.

pytest finds the fixtures if openssl_tickets is installed. It imports this package only when a test
uses a fixture. The fixtures themselves are in ``_openssl_tickets_pytest``.
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
    Connects ``openssl s_client`` to servers on 127.0.0.1. The ``s_client`` fixture returns one.

    Call the object to make a whole connection, or call :meth:`connect` to make one in steps.
    """

    def __init__(self) -> None:
        self._exits = contextlib.ExitStack()

    def __call__(self, server: TLSServer | int, **options: Unpack[RunOptions]) -> SClientResult:
        """
        Makes one connection and returns what s_client saw.

        Args:
            server: a :class:`TLSServer`, or a port on 127.0.0.1.
            options: the keyword arguments of :func:`openssl_tickets.s_client.run`: ``tickets``,
                ``send``, ``wait_for``, ``check``, ``sess_in``, ``sess_out``, ``tls_version``,
                ``ca_file``, ``timeout`` (10 seconds by default) and so on.

        Raises:
            TypeError, ValueError, SClientError, OSError: as :func:`openssl_tickets.s_client.run`
                does.
        """
        from openssl_tickets.s_client import run

        return run(HOST, _port(server), **options)

    def connect(self, server: TLSServer | int, **options: Unpack[SClientOptions]) -> SClient:
        """
        Starts a connection, and returns it for further steps.

        It is closed at the end of the test if it is still open.

        Args:
            server: a :class:`TLSServer`, or a port on 127.0.0.1.
            options: the keyword arguments of :class:`openssl_tickets.s_client.SClient`.

        Raises:
            TypeError, ValueError, SClientError, OSError: as
                :class:`openssl_tickets.s_client.SClient` does.
        """
        from openssl_tickets.s_client import SClient

        client = SClient(HOST, _port(server), **options)
        self._exits.callback(_close, client)
        return client

    def close(self) -> None:
        """Closes all connections that :meth:`connect` started."""
        self._exits.close()


def _close(client: SClient) -> None:
    from openssl_tickets.s_client import SClientTimeout

    with contextlib.suppress(SClientTimeout):  # close() has killed the program
        client.close()


def _port(server: TLSServer | int) -> int:
    return server.port if isinstance(server, TLSServer) else server
