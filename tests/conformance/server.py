"""The server of a combination, on either library, and what its callbacks see."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import trustme

import openssl_tickets
from openssl_tickets import SSL, ReceivedTicket, TicketReturn
from openssl_tickets._adapters import to_ssl_ctx
from tests.conformance.table import Case
from tests.support import native, stdlib_tls, tls

APPDATA = b"what generate returned"
LIBRARIES: dict[str, ModuleType] = {"pyOpenSSL": tls, "ssl": stdlib_tls}
TLS_ERRORS = (SSL.Error, ssl.SSLError, OSError)
FATAL = 2  # the level of an alert


def alert_name(number: int) -> str:
    """Returns an alert's name as in RFC 8446, "internal_error" for example."""
    return ssl.AlertDescription(number).name.removeprefix("ALERT_DESCRIPTION_").lower()


@dataclass(frozen=True)
class Files:
    """Keys and certificates, and a folder for what programs write."""

    folder: Path
    authority: Path
    server: Path
    client: Path


def make_files(folder: Path) -> Files:
    """Makes them, in *folder*."""
    files = Files(folder, *(folder / f"{name}.pem" for name in ("ca", "server", "client")))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(files.authority))
    for name, path in (("127.0.0.1", files.server), ("client@example.org", files.client)):
        issued = authority.issue_cert(name, key_type=trustme.KeyType.ECDSA)
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    return files


class Policy:
    """A server's callbacks. They do not refer to the context, which would never be freed then."""

    def __init__(self, callbacks: str) -> None:
        self.returns: TicketReturn | None = None
        self.generated = 0
        self.statuses: list[str] = []
        self.wrong: list[str] = []  # what must not be, in any combination
        self._appdata = APPDATA if callbacks == "both" else b""

    def generate(self, connection: Any, data: Any) -> bytes:
        self.generated += 1
        return APPDATA

    def decrypt(self, connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
        self.statuses.append(ticket.status.name)
        decrypted = ticket.status.name in ("SUCCESS", "SUCCESS_RENEW")
        if (ticket.session is not None) is not decrypted:
            self.wrong.append(f"decrypt was shown {ticket.session} for {ticket.status.name}")
        if ticket.appdata != (self._appdata if decrypted else None):
            self.wrong.append(f"decrypt was shown {ticket.appdata!r} for {ticket.status.name}")
        return self.returns

    def forget(self) -> None:
        self.generated = 0
        self.statuses.clear()


class Server:
    """A server's context, set up as *case* says."""

    def __init__(self, case: Case, files: Files, *, asks_later: bool = False) -> None:
        self.case = case
        self.files = files
        self.module = LIBRARIES[case["library"]]
        self.context: Any = self.module.server_context(files.server, case["version"])
        self.policy = Policy(case["callbacks"])
        self.set_callbacks(case["callbacks"])
        if asks_later:
            self._ask_later()

    def set_callbacks(self, callbacks: str) -> None:
        """Sets the *callbacks* that are named so, and no others."""
        openssl_tickets.set_session_ticket_callback(
            self.context,
            self.policy.generate if callbacks in ("generate", "both") else None,
            self.policy.decrypt if callbacks in ("decrypt", "both") else None,
        )

    def answer_for_keys(self, encrypts: int, decrypts: int) -> None:
        """Sets the ticket key callback, and what it answers from now on."""
        pointer = to_ssl_ctx(self.context).pointer
        native.lib.set_ticket_key_answers(pointer, encrypts, decrypts)

    def connection(self, plain: socket.socket) -> Any:
        """Returns the server's side of a connection over *plain*, before its handshake."""
        if self.case["library"] == "ssl":
            plain.settimeout(tls.TIMEOUT)
            return self.context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        tls.set_timeouts(plain)
        connection = SSL.Connection(self.context, plain)
        connection.set_accept_state()
        return connection

    def _ask_later(self) -> None:
        """Has clients asked for a certificate, but not in the handshake."""
        if self.case["library"] == "ssl":
            self.context.load_verify_locations(self.files.authority)
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.post_handshake_auth = True
        else:
            self.context.load_verify_locations(str(self.files.authority))
            self.context.set_session_id(b"conformance")
            self.context.set_verify(
                SSL.VERIFY_PEER
                | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
                | openssl_tickets.VERIFY_POST_HANDSHAKE
            )


class Raised:
    """What reaches ``sys.unraisablehook``, by the connection whose callback raised it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: list[tuple[Any, BaseException]] = []

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        before = sys.unraisablehook
        sys.unraisablehook = self
        try:
            yield
        finally:
            sys.unraisablehook = before

    def __call__(self, unraisable: Any) -> None:
        with self._lock:
            self._seen.append((unraisable.object, unraisable.exc_value))

    def of(self, connection: Any) -> list[str]:
        """Takes out and returns the types' names of what was raised for *connection*."""
        with self._lock:
            mine = [type(error).__name__ for of, error in self._seen if of is connection]
            self._seen = [seen for seen in self._seen if seen[0] is not connection]
        return mine

    def others(self) -> list[str]:
        with self._lock:
            return [repr(error) for _, error in self._seen]


RAISED = Raised()
