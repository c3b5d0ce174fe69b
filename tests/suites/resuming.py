"""
A pytest plugin that makes every client's ``SSLContext`` resume by itself.

All contexts share one store. ``clients.py`` runs other projects' tests with this plugin. The
variable RESUMING turns it on. It writes the number of connections to the file that RESUMED_COUNT
names.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

import openssl_tickets

counts = {"made": 0, "kept": 0, "offered": 0, "resumed": 0}


class Store(openssl_tickets.MemorySessionStore):
    """A store that counts its calls."""

    def put(self, key: str, session: openssl_tickets.Session) -> None:
        counts["kept"] += 1
        super().put(key, session)

    def take(self, key: str) -> openssl_tickets.Session | None:
        session = super().take(key)
        counts["offered"] += session is not None
        return session


def resume_always() -> None:
    store = Store()
    make = ssl.SSLContext.__new__

    def make_resuming(cls: Any, protocol: Any = None, *args: Any, **kwargs: Any) -> Any:
        context = make(cls, protocol, *args, **kwargs)
        if protocol != ssl.PROTOCOL_TLS_SERVER:
            openssl_tickets.resume_sessions(context, store)
        return context

    ssl.SSLContext.__new__ = make_resuming  # type: ignore[method-assign]


def count_handshakes(kind: Any) -> None:
    do_handshake = kind.do_handshake

    def counted(self: Any, *args: Any, **kwargs: Any) -> None:
        do_handshake(self, *args, **kwargs)
        if not self.server_side:
            counts["made"] += 1
            counts["resumed"] += bool(self.session_reused)

    kind.do_handshake = counted


def pytest_configure() -> None:
    if os.environ["RESUMING"] == "yes":
        resume_always()
    for kind in (ssl.SSLSocket, ssl.SSLObject):
        count_handshakes(kind)


def pytest_sessionfinish() -> None:
    Path(os.environ["RESUMED_COUNT"]).write_text(
        "connections " + ", ".join(f"{name} {count}" for name, count in counts.items())
    )
