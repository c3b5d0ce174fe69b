"""A client of tlslite-ng: connects a few times, and prints what it saw as lines of JSON."""

from __future__ import annotations

import importlib
import json
import socket
import sys
from typing import Any

# It has no types, and need not be there where types are checked.
tlslite: Any = importlib.import_module("tlslite.api")


def connect(port: int, settings: Any, session: Any) -> tuple[dict[str, Any], Any]:
    """Returns what was seen, and the session to offer the next time."""
    seen: dict[str, Any] = {"connected": False, "resumed": False, "data": "", "error": ""}
    connection = tlslite.TLSConnection(socket.create_connection(("127.0.0.1", port), 20))
    try:
        connection.handshakeClientCert(session=session, settings=settings, serverName="localhost")
        seen.update(connected=True, resumed=connection.resumed)
        connection.sendall(b"hello\n")
        while not seen["data"].endswith("\n"):
            seen["data"] += connection.recv(1000).decode()
        connection.close()
    except Exception as error:
        seen["error"] = f"{type(error).__name__}: {error}"
    seen["tickets"] = len(connection.tickets) + len(connection.tls_1_0_tickets)
    kept = connection.session.tls_1_0_tickets if connection.session else None
    seen["announced"] = len(connection.tickets) + sum(
        ticket in connection.tls_1_0_tickets and ticket.valid() for ticket in kept or ()
    )
    if seen["resumed"] and connection.tls_1_0_tickets:
        # In TLS 1.2 tlslite goes on with the session that was offered, and its old ticket. And
        # OpenSSL renews with a lifetime of 0, for "not said", which tlslite takes for over.
        for ticket in connection.tls_1_0_tickets:
            ticket.ticket_lifetime = ticket.ticket_lifetime or 3600
        connection.session.tls_1_0_tickets = connection.tls_1_0_tickets
    return seen, connection.session


def main(port: str, version: str, ca_file: str, connections: str) -> None:
    del ca_file  # tlslite does not check certificates
    settings = tlslite.HandshakeSettings()
    settings.minVersion = settings.maxVersion = {"1.2": (3, 3), "1.3": (3, 4)}[version]
    session = None
    for _ in range(int(connections)):
        seen, session = connect(int(port), settings, session)
        print(json.dumps(seen), flush=True)
        if seen["error"]:
            sys.exit(1)


main(*sys.argv[1:])
