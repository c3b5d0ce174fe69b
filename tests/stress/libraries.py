"""The two libraries on both sides of memory BIOs, alike for all parts."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openssl_tickets import SSL, Session, get_session, set_session_timeout, stdlib
from tests.support import stdlib_tls, tls

MODULES: dict[str, Any] = {"pyOpenSSL": tls, "ssl": stdlib_tls}
REFUSALS = {"pyOpenSSL": SSL.Error, "ssl": ssl.SSLError}
"""What libssl's own word on a handshake that failed is raised as."""
LONG = 1 << 20  # seconds: longer than any run


def each() -> Iterator[tuple[str, str]]:
    """Yields each library with each protocol version."""
    for library in MODULES:
        for version in ("1.3", "1.2"):
            yield library, version


def contexts(library: str, version: str, server_file: Path) -> tuple[Any, Any]:
    """Returns a context for servers, whose connections raise what callbacks do, and a client's."""
    module = MODULES[library]
    server, client = module.server_context(server_file, version), module.client_context(version)
    if library == "ssl":
        client._msg_callback = None  # it takes as long as the handshake
        stdlib.raise_callback_errors(server)
    for context in (server, client):
        set_session_timeout(context, LONG)
    return server, client


def pair(library: str, server: Any, client: Any) -> Any:
    return MODULES[library].Pair(server, client)


def session(pair: Any) -> Session:
    """
    Returns the session of the client of *pair*, to be offered again.

    Not with :meth:`Pair.session`: ``ssl`` leaks a session with each look at its ``session``.
    """
    found = get_session(pair.client)
    assert found is not None
    return found.copy()  # its own ends with the connection
