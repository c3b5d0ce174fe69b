"""
Drives the ``openssl s_client`` program, to test a server's tickets from a script.

:func:`run` makes a connection in one call, and :class:`SClient` makes one in steps. Both wait for
tickets and text, not for a time to pass. They return what they saw as plain data::

    seen = s_client.run("127.0.0.1", 4433, tls_version="1.3", ca_file="ca.pem", tickets=2)
    assert len(seen.tickets) == 2 and not seen.reused

It needs only the standard library and the ``openssl`` program of OpenSSL 3.0 or later.

The server's data, s_client's messages (``-brief``) and the protocol messages (``-msg -msgfile``)
come through three separate pipes. Tickets and alerts are read from the third one. So a server
cannot fake a ticket with its data, and s_client's messages are never taken for data.
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
