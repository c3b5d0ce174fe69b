"""A client in memory, of the same library as the server."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

import openssl_tickets
from openssl_tickets import SSL, Session
from tests.conformance.server import (
    FATAL,
    LIBRARIES,
    RAISED,
    TLS_ERRORS,
    Files,
    Server,
    alert_name,
)
from tests.conformance.table import Case
from tests.support import native, tls


class Memory:
    """A connection in memory, after its handshake; the client offers the session *offered*."""

    def __init__(
        self, server: Server, offered: Session | None = None, *, wants_ticket: bool = True
    ) -> None:
        self._client = Client()
        context = self._client.context(server.case, server.files, wants_ticket=wants_ticket)
        self._pair: Any = server.module.Pair(server.context, context)
        self.server: Any = self._pair.server
        if offered is not None:
            openssl_tickets.set_session(self._pair.client, offered)
        self.errors: list[str] = []
        try:
            self._pair.handshake()
        except TLS_ERRORS:
            self._read_alert()
        except Exception as error:  # what a callback raised, out of the drop-in connection
            self.errors.append(type(error).__name__)
            self._read_alert()
        else:
            self._client.see_renewed(self._pair.client, offered)
        self.errors += RAISED.of(self.server)

    @property
    def alert(self) -> str | None:
        """The fatal alert that the client got."""
        return self._client.alert

    @property
    def tickets(self) -> int:
        """How many tickets the client has got."""
        return len(self._client.sessions)

    @property
    def session(self) -> Session:
        """The session with the last of them."""
        return self._client.sessions[-1]

    @property
    def reused(self) -> bool:
        """Whether a session was resumed; both sides say the same."""
        reused = openssl_tickets.session_reused(self.server)
        assert openssl_tickets.session_reused(self._pair.client) is reused
        return reused

    def read(self, tickets: int) -> None:
        """The client reads what has come; *tickets* that are on their way are here at once."""
        self._pair.client_reads()

    def write(self) -> None:
        """The server writes, and the client reads it all."""
        self.server.write(b"!")
        assert self._pair.client_reads() == b"!"

    def ask(self) -> None:
        """The client reads what has come and writes; the server reads that all, and replies."""
        self._pair.client_reads()
        self.tell()
        self.write()

    def tell(self) -> None:
        """The client writes, and the server reads that."""
        self._pair.client.write(b"?")
        if isinstance(self._pair, tls.Pair):
            self._pair.move()
        assert self.server.read(1) == b"?"

    def close(self) -> None:
        if isinstance(self._pair, tls.Pair):
            for side in (self._pair.client, self._pair.server):
                side.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        assert native.lib.peek_error() == 0, "something is left in OpenSSL's error queue"

    def _read_alert(self) -> None:
        with contextlib.suppress(*TLS_ERRORS):
            self._pair.client_reads()


class Client:
    """What a client of ours sees, by the callbacks of its context."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []  # one with each ticket
        self.alert: str | None = None

    def context(self, case: Case, files: Files, *, wants_ticket: bool = True) -> Any:
        """Returns a context; it has a certificate, and says that it may be asked for that later."""
        context = LIBRARIES[case["library"]].client_context(case["version"])
        if case["library"] == "ssl":
            # Private, but there is nothing else in ssl that tells of alerts by their numbers.
            context._msg_callback = self._see_message
            context.load_cert_chain(files.client)
            context.options |= 0 if wants_ticket else ssl.OP_NO_TICKET
        else:
            context.set_info_callback(self._see_info)
            context.use_privatekey_file(str(files.client))
            context.use_certificate_chain_file(str(files.client))
            context.set_options(0 if wants_ticket else SSL.OP_NO_TICKET)
        openssl_tickets.set_post_handshake_auth(context, True)
        openssl_tickets.set_new_session_callback(context, self._see_session)
        return context

    def _see_session(self, connection: Any, session: Session, data: Any) -> None:
        # One without a ticket is announced too, in TLS 1.2; and an empty ticket is none.
        if session.has_ticket:
            self.sessions.append(session)

    def see_renewed(self, connection: Any, offered: Session | None) -> None:
        """To be called after the handshake: in TLS 1.2 nobody is told of a renewed ticket."""
        session = openssl_tickets.get_session(connection)
        if offered is None or session is None or session.protocol == "TLSv1.3":
            return
        if openssl_tickets.session_reused(connection) and session.ticket not in (
            b"",
            offered.ticket,
        ):
            self.sessions.append(session.copy())

    def _see_info(self, connection: Any, where: int, value: int) -> None:
        if where == SSL.SSL_CB_READ_ALERT:
            self._see_alert(*divmod(value, 256))

    def _see_message(
        self, connection: Any, direction: str, version: Any, content: Any, kind: Any, data: bytes
    ) -> None:
        if direction == "read" and getattr(content, "name", "") == "ALERT":
            self._see_alert(*data)

    def _see_alert(self, level: int, number: int) -> None:
        if level == FATAL:
            self.alert = alert_name(number)
