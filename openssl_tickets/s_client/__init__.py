"""
Drives the ``openssl s_client`` program, for scripted interop tests of a server's tickets.

:func:`run` is one connection in one call; :class:`SClient` is one in steps. Both wait for what is
to come (tickets, text), never for a time to pass, and hand back what was seen as plain data::

    seen = s_client.run("127.0.0.1", 4433, tls_version="1.3", ca_file="ca.pem", tickets=2)
    assert len(seen.tickets) == 2 and not seen.reused

It needs no more than the standard library and the ``openssl`` program, of OpenSSL 3.0 or later.

The server's data and s_client's own words come through different pipes (``-brief``), and so do the
protocol messages (``-msg -msgfile``), from which tickets and alerts are read. So nothing that a
server sends can look like a ticket, and nothing of s_client's own is taken for data.
"""

from openssl_tickets.s_client.arguments import SClientOptions
from openssl_tickets.s_client.client import SClient, run
from openssl_tickets.s_client.result import (
    Alert,
    SClientEnded,
    SClientError,
    SClientNotFound,
    SClientRefused,
    SClientResult,
    SClientTimeout,
    Ticket,
)

__all__ = [
    "Alert",
    "SClient",
    "SClientEnded",
    "SClientError",
    "SClientNotFound",
    "SClientOptions",
    "SClientRefused",
    "SClientResult",
    "SClientTimeout",
    "Ticket",
    "run",
]
