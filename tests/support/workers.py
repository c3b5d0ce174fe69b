"""Functions that the tests run in processes of multiprocessing."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import openssl_tickets


def generate(connection: Any, data: Any) -> bytes:
    return bytes(data)


def decrypt(connection: Any, ticket: openssl_tickets.ReceivedTicket, data: Any) -> None:
    return None


def new_contexts(module: str, server_file: str) -> tuple[Any, Any]:
    """Returns the contexts of a server and a client. The server's tickets carry b"data"."""
    helpers: Any = import_module(f"tests.support.{module}")
    contexts = helpers.server_context(Path(server_file)), helpers.client_context()
    openssl_tickets.set_session_ticket_callback(contexts[0], generate, decrypt, b"data")
    return contexts


def resume(module: str, server: Any, client: Any) -> bytes | None:
    """Does a handshake and a resumption, and returns the data of the resumed session."""
    helpers: Any = import_module(f"tests.support.{module}")
    first = helpers.Pair(server, client).handshake()
    second = helpers.Pair(server, client, first.session()).handshake()
    assert second.reused
    session = openssl_tickets.get_session(second.server)
    assert session is not None
    return session.ticket_appdata


def resume_on_new_contexts(module: str, server_file: str) -> bytes | None:
    return resume(module, *new_contexts(module, server_file))


of_the_parent: tuple[Any, Any] | None = None


def resume_on_the_parents(module: str) -> bytes | None:
    assert of_the_parent is not None
    return resume(module, *of_the_parent)
