"""Servers with ticket callbacks, on both libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openssl_tickets import ReceivedTicket, get_session, set_session_ticket_callback, stdlib
from openssl_tickets._adapters import to_ssl
from tests.support.callbacks import Recorder
from tests.support.libraries import Setting


class Policy(Setting):
    """
    A setting with a recorder for the server's ticket callbacks.

    With the drop-in, the server's connections raise the exceptions of the callbacks. With ``ssl``
    they do so if *raises* is True.
    """

    def __init__(
        self, library: str, version: str, server_file: Path, *, raises: bool = True
    ) -> None:
        super().__init__(library, version, server_file)
        if raises and library == "ssl":
            stdlib.raise_callback_errors(self.server_context)
        self.recorder = Recorder()

    def set(self, generate: Any = None, decrypt: Any = None, data: Any = None) -> None:
        set_session_ticket_callback(self.server_context, generate, decrypt, data)

    def install(self, data: Any = None) -> None:
        self.set(self.recorder.generate, self.recorder.decrypt, data)

    def offer(self, session: Any) -> ReceivedTicket:
        """Offers *session*, and returns the one ticket that decrypt was called with."""
        self.recorder.clear()
        self.handshake(session)
        (ticket,) = self.recorder.tickets
        return ticket

    def foreign_session(self) -> Any:
        """Returns a session of another server. This server has no key for its ticket."""
        ours = self.server_context
        self.server_context = self.make_server_context()
        try:
            return self.session()
        finally:
            self.server_context = ours

    @property
    def statuses(self) -> list[str]:
        return [ticket.status.name for ticket in self.recorder.tickets]


def appdata_of(connection: Any) -> bytes:
    session = get_session(connection)
    assert session is not None
    return session.ticket_appdata


def pointer_of(connection: Any) -> Any:
    """Returns the ``SSL *`` of a connection."""
    return to_ssl(connection)
