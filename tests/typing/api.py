"""
The public types, checked by mypy --strict and never run: what a user's own annotations may rely on.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

import OpenSSL.SSL

import openssl_tickets
import openssl_tickets.stdlib
from openssl_tickets import SSL, ReceivedTicket, Session, TicketReturn, TicketStatus, stdlib
from openssl_tickets.s_client import Alert, SClient, SClientResult, Ticket, run

version: str = openssl_tickets.OPENSSL_VERSION

openssl_tickets.use_system_openssl()

# The drop-in: pyOpenSSL's own names, and its classes with more methods.
context: SSL.Context = SSL.Context(SSL.TLS_METHOD)
plain_context: OpenSSL.SSL.Context = context
connection: SSL.Connection = SSL.Connection(context, None)
plain_connection: OpenSSL.SSL.Connection = connection
method: int = SSL.TLS_SERVER_METHOD
data: bytes = connection.recv(100, None)
sent: int = connection.send(b"data")
connection.do_handshake()
accepted: SSL.Connection = connection.accept()[0]
error: type[Exception] = SSL.WantReadError

# Counts, as functions and as methods.
for target in (context, connection, plain_context, plain_connection):
    number: int = openssl_tickets.get_num_tickets(target)
    openssl_tickets.set_num_tickets(target, number)
context.set_num_tickets(context.get_num_tickets())
connection.set_num_tickets(connection.get_num_tickets())
connection.new_session_ticket()
openssl_tickets.new_session_ticket(plain_connection)

# Callbacks.


def generate(connection: SSL.Connection, data: dict[str, bytes]) -> bytes | None:
    return data.get("user")


def decrypt(
    connection: SSL.Connection, ticket: ReceivedTicket, data: dict[str, bytes]
) -> TicketReturn | None:
    status: TicketStatus = ticket.status
    key_name: bytes = ticket.key_name
    appdata: bytes | None = ticket.appdata
    session: Session | None = ticket.session
    if session is not None:
        session.ticket_appdata = session.ticket_appdata + key_name
    if appdata == b"revoked" or status is TicketStatus.EMPTY:
        return TicketReturn.IGNORE_RENEW
    return None


def decrypt_with_none(connection: Any, ticket: ReceivedTicket, data: Any) -> None:
    return None


context.set_session_ticket_callback(generate, decrypt, {})
context.set_session_ticket_callback(decrypt=decrypt_with_none)
context.set_session_ticket_callback()
openssl_tickets.set_session_ticket_callback(plain_context, generate, None, {"user": b"alice"})
context.set_session_ticket_callback(lambda connection, data: "text")  # type: ignore[arg-type, return-value]
context.set_session_ticket_callback(lambda connection: b"")  # type: ignore[arg-type, misc]
context.set_num_tickets("2")  # type: ignore[arg-type]

# Sessions and errors.
maybe: Session | None = openssl_tickets.get_session(connection)
assert maybe is not None
appdata: bytes = maybe.ticket_appdata
maybe.ticket_appdata = "text"  # type: ignore[assignment]
reasons: list[tuple[str, str]] = openssl_tickets.Error("message").errors
mismatch: Exception = openssl_tickets.LibraryMismatchError("message")

certificate: bytes | None = maybe.peer_certificate_der
maybe.peer_certificate_der = b""  # type: ignore[misc]

# The standard library's ssl: the same functions take its contexts and connections.
ssl_context: ssl.SSLContext = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
ssl_socket: ssl.SSLSocket = ssl_context.wrap_socket(socket.socket(), server_side=True)
ssl_object: ssl.SSLObject = ssl_context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), True)
for ssl_target in (ssl_context, ssl_socket, ssl_object):
    openssl_tickets.set_num_tickets(ssl_target, openssl_tickets.get_num_tickets(ssl_target))
for ssl_connection in (ssl_socket, ssl_object):
    openssl_tickets.new_session_ticket(ssl_connection)
    ssl_session: Session | None = openssl_tickets.get_session(ssl_connection)


def generate_for_ssl(connection: ssl.SSLSocket, data: dict[str, bytes]) -> bytes | None:
    return data.get(connection.server_hostname or "")


def decrypt_for_ssl(
    connection: ssl.SSLObject, ticket: ReceivedTicket, data: dict[str, bytes]
) -> TicketReturn | None:
    name: bytes | None = ticket.server_name
    return TicketReturn.IGNORE_RENEW if name is None else None


openssl_tickets.set_session_ticket_callback(ssl_context, generate_for_ssl, decrypt_for_ssl, {})
openssl_tickets.set_session_ticket_callback(ssl_context)
nothing: None = openssl_tickets.stdlib.raise_callback_errors(ssl_context)  # type: ignore[func-returns-value]
stdlib.raise_callback_errors(context)  # type: ignore[arg-type]
stdlib.raise_callback_errors(ssl_socket)  # type: ignore[arg-type]

# The s_client driver.
result: SClientResult = run("127.0.0.1", 4433, tls_version="1.3", tickets=2, timeout=5)
tickets: tuple[Ticket, ...] = result.tickets
seconds: int = tickets[0].lifetime_hint
name: bytes = tickets[0].key_name
alert: Alert | None = result.alert
with SClient("127.0.0.1", 4433) as client:
    client.wait_for_tickets(1)
    client.send(b"data")
run("127.0.0.1", 4433, tls_version="1.1")  # type: ignore[arg-type]
