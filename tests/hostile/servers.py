"""The servers that are attacked, and one way to shake hands with those of either library."""

from __future__ import annotations

import dataclasses
import itertools
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openssl_tickets
from openssl_tickets import (
    SSL,
    ReceivedTicket,
    Session,
    TicketKey,
    TicketKeys,
    TicketReturn,
    TicketStatus,
)
from openssl_tickets._native._libssl import lib
from tests.support.ends import End

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
SSL_ERRORS = (SSL.Error, ssl.SSLError)
DECRYPTED = {TicketStatus.SUCCESS, TicketStatus.SUCCESS_RENEW}

# What generate puts into each ticket.
APPDATA = b"alice"

FULL = "full handshake"
RESUMED = "resumed"
UNSENT = "not sent: it does not fit the client's hello"

# By their numbers in RFC 8446.
ALERTS = {
    10: "unexpected_message",
    20: "bad_record_mac",
    22: "record_overflow",
    40: "handshake_failure",
    47: "illegal_parameter",
    50: "decode_error",
    51: "decrypt_error",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    100: "no_renegotiation",
    109: "missing_extension",
    110: "unsupported_extension",
    112: "unrecognized_name",
    120: "no_application_protocol",
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What kind of server it is, and which version its client speaks."""

    library: str  # SSL, the drop-in; or ssl
    version: str
    policy: str  # callbacks, or default: none are set
    keys: str  # libssl's own, or a ring

    def __str__(self) -> str:
        return f"{self.library}-{self.version}-{self.policy}-{self.keys}"


SETTINGS = [
    Setting(*values)
    for values in itertools.product(
        ("SSL", "ssl"), ("1.2", "1.3"), ("callbacks", "default"), ("libssl", "ring")
    )
]


class Server:
    """A context that speaks both versions, and what its callbacks were asked."""

    def __init__(
        self,
        setting: Setting,
        server_file: Path,
        keys: TicketKeys | None = None,
        answer: Callable[[ReceivedTicket], TicketReturn | None] = lambda ticket: None,
        appdata: Callable[[], bytes] = lambda: APPDATA,
    ) -> None:
        self.setting = setting
        self.asked: list[ReceivedTicket] = []
        self.ring = keys
        self.answer = answer
        self.context: Any
        if setting.library == "SSL":
            self.context = SSL.Context(SSL.TLS_METHOD)
            self.context.use_privatekey_file(str(server_file))
            self.context.use_certificate_chain_file(str(server_file))
            self.context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        else:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(server_file)
        if setting.keys == "ring":
            if self.ring is None:
                # The second still decrypts.
                self.ring = TicketKeys([TicketKey.generate(), TicketKey.generate()])
            openssl_tickets.set_ticket_keys(self.context, self.ring)
        if setting.policy == "callbacks":
            openssl_tickets.set_session_ticket_callback(
                self.context, lambda connection, data: appdata(), self._decrypt
            )

    def _decrypt(self, connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
        self.asked.append(ticket)
        return self.answer(ticket)

    def end(self) -> End:
        return End(self.context, server_side=True)


def single_use(setting: Setting, server_file: Path) -> Server:
    """Returns a server that takes each ticket once: a policy of a few lines."""
    used = set()

    def answer(ticket: ReceivedTicket) -> TicketReturn | None:
        if ticket.appdata is None:
            return None  # no ticket of this server's
        if ticket.appdata in used:
            return TicketReturn.IGNORE_RENEW
        used.add(ticket.appdata)
        return TicketReturn.USE_RENEW

    return Server(setting, server_file, answer=answer, appdata=lambda: os.urandom(16))


# What the client was sent, and what it has sent itself.
_alerts: list[int] = []
_own_alerts: list[int] = []


def _note_alert(connection: Any, where: int, ret: int) -> None:
    if where & SSL.SSL_CB_ALERT and ret & 0xFF:
        (_alerts if where & SSL.SSL_CB_READ else _own_alerts).append(ret & 0xFF)


def _failure() -> str:
    for whose, alerts in (("", _alerts), ("the client's own ", _own_alerts)):
        if alerts:
            return f"{whose}alert {ALERTS.get(alerts[0], alerts[0])}"
    return "an error without an alert"


def client_context(version: str) -> Any:
    """A client of OpenSSL's, which knows which alerts it was sent."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(VERSIONS[version])
    context.set_max_proto_version(VERSIONS[version])
    context.set_info_callback(_note_alert)
    return context


@dataclasses.dataclass
class Seen:
    """How a connection went."""

    outcome: str
    reused: bool
    asked: list[ReceivedTicket]
    session: Session | None = None
    hello: bytes = b""
    """The first bytes that the client sent."""


def shake(
    server: Server, client_context: Any, session: Session | None = None, data: bool = True
) -> Seen:
    """
    Connects a client of OpenSSL's, which offers *session*, and sends data to and fro.

    Raises:
        AssertionError: it comes to no end, data does not arrive, or something is left in the error
            queue.
    """
    server.asked.clear()
    _alerts.clear()
    _own_alerts.clear()
    client, other = End(client_context), server.end()
    if session is not None:
        openssl_tickets.set_session(client.connection, session)
    try:
        client.step()
    except SSL.Error:
        assert lib.ERR_get_error() == 0
        return Seen(UNSENT, False, [])
    hello = client.take()
    other.give(hello)
    failed = False
    waiting = [other, client]
    for _ in range(10):
        for end in list(waiting):
            try:
                if end.step():
                    waiting.remove(end)
            except SSL_ERRORS:
                failed = True
            client.give(other.take())
            other.give(client.take())
        if not waiting or (failed and (_alerts or _own_alerts)):
            break
    if waiting and not failed:
        raise AssertionError("the handshake does not come to an end")
    reused = other.reused
    if failed:
        assert lib.ERR_get_error() == 0, "something is left in the error queue"
        return Seen(_failure(), reused, list(server.asked), hello=hello)
    assert client.reused is reused
    if data:
        client.connection.write(b"ping")
        other.give(client.take())
        assert other.read() == b"ping"
        other.connection.write(b"pong")
        client.give(other.take())
        assert client.read() == b"pong"
    made = openssl_tickets.get_session(client.connection)
    if made is not None:
        made = made.copy()  # the connection takes its own with it
    assert lib.ERR_get_error() == 0, "something is left in the error queue"
    return Seen(RESUMED if reused else FULL, reused, list(server.asked), made, hello)


def sessions(server: Server, client_context: Any) -> Iterator[Session]:
    """Yields sessions of full handshakes, each with a ticket of its own."""
    while True:
        session = shake(server, client_context).session
        assert session is not None
        assert session.has_ticket
        yield session


def record(server: Server, context: Any, session: Session) -> list[bytes]:
    """Returns what a client sends that is resumed and sends data, flight by flight."""
    client, other = End(context), server.end()
    openssl_tickets.set_session(client.connection, session.copy())
    flights = []
    waiting = [client, other]
    for _ in range(5):
        for end in list(waiting):
            if end.step():
                waiting.remove(end)
            flights.append(client.take())
            other.give(flights[-1])
            client.give(other.take())
    assert not waiting
    assert other.reused
    client.connection.write(b"transfer all my money\n")
    flights.append(client.take())
    return [flight for flight in flights if flight]
