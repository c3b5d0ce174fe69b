"""
What a type checker must refuse, checked by mypy --strict and never run: each line has its error.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

import OpenSSL.SSL

import openssl_tickets
from openssl_tickets import SSL, ReceivedTicket, Session, TicketReturn

# Neither a context nor a connection.
openssl_tickets.set_num_tickets("nonsense", 2)  # type: ignore[arg-type]
openssl_tickets.get_num_tickets(socket.socket())  # type: ignore[arg-type]
openssl_tickets.new_session_ticket(b"nonsense")  # type: ignore[arg-type]
openssl_tickets.get_session(3)  # type: ignore[arg-type]
openssl_tickets.session_reused(None)  # type: ignore[arg-type]
openssl_tickets.session_stats({})  # type: ignore[arg-type]
openssl_tickets.get_session_timeout("nonsense")  # type: ignore[arg-type]
openssl_tickets.set_session_timeout("nonsense", 1)  # type: ignore[arg-type]
openssl_tickets.set_ticket_keys("nonsense", None)  # type: ignore[arg-type]
openssl_tickets.set_post_handshake_auth("nonsense", True)  # type: ignore[arg-type]
openssl_tickets.verify_client_post_handshake(object())  # type: ignore[arg-type]
openssl_tickets.set_session_ticket_callback("nonsense")  # type: ignore[call-overload]
openssl_tickets.set_new_session_callback("nonsense", None)  # type: ignore[call-overload]


# Callbacks: generate, decrypt and data agree.
def generate(connection: SSL.Connection, data: dict[str, bytes]) -> bytes | None: ...
def decrypt(
    connection: SSL.Connection, ticket: ReceivedTicket, data: dict[str, bytes]
) -> TicketReturn | None: ...
def decrypt_by_list(connection: Any, ticket: ReceivedTicket, data: list[str]) -> None: ...
def announce(connection: Any, session: Session, data: list[Session]) -> None: ...


# What is made like a connection of ssl fits: gevent's sockets, trio's streams.
class LikeGevents:
    def do_handshake(self) -> None: ...


class LikeTrios:
    async def do_handshake(self) -> None: ...


def arguments(
    context: SSL.Context,
    connection: SSL.Connection,
    ssl_context: ssl.SSLContext,
    ssl_object: ssl.SSLObject,
    session: Session,
    either: SSL.Context | OpenSSL.SSL.Context | ssl.SSLContext | SSL.Connection | ssl.SSLSocket,
    unknown: Any,
) -> None:
    # One for the other.
    openssl_tickets.session_stats(ssl_object)  # type: ignore[arg-type]
    openssl_tickets.session_reused(ssl_context)  # type: ignore[arg-type]
    openssl_tickets.new_session_ticket(context)  # type: ignore[arg-type]
    openssl_tickets.set_session(connection, b"der")  # type: ignore[arg-type]
    openssl_tickets.set_session(connection, None)  # type: ignore[arg-type]
    openssl_tickets.set_session(session, connection)  # type: ignore[arg-type]
    connection.set_session(b"der")  # type: ignore[arg-type]
    connection.get_context().no_such_method()  # type: ignore[attr-defined]

    for target in (context, ssl_context):
        openssl_tickets.set_session_ticket_callback(target, generate, decrypt, {})
        openssl_tickets.set_session_ticket_callback(target, generate, data={"alice": b"1"})
        openssl_tickets.set_session_ticket_callback(target, decrypt=decrypt, data={})
        openssl_tickets.set_session_ticket_callback(target, lambda _, data: data, None, b"all")
        openssl_tickets.set_session_ticket_callback(target, generate)  # type: ignore[arg-type]
        openssl_tickets.set_session_ticket_callback(target, generate, decrypt, [])  # type: ignore[arg-type]
        openssl_tickets.set_session_ticket_callback(target, generate, decrypt_by_list, {})  # type: ignore[arg-type]
        openssl_tickets.set_new_session_callback(target, announce, [])
        openssl_tickets.set_new_session_callback(target, announce)  # type: ignore[arg-type]
        openssl_tickets.set_new_session_callback(target, announce, {"a": 1})  # type: ignore[arg-type]
    context.set_session_ticket_callback(generate, decrypt, {})
    context.set_session_ticket_callback(generate)  # type: ignore[arg-type]
    context.set_session_ticket_callback(generate, decrypt_by_list, {})  # type: ignore[arg-type]
    context.set_session_ticket_callback(lambda connection, data: "text")  # type: ignore[arg-type, return-value]
    context.set_session_ticket_callback(lambda connection: b"")  # type: ignore[arg-type, misc]
    context.set_session_ticket_callback(decrypt=lambda *_: True)  # type: ignore[arg-type]
    context.set_new_session_callback(announce, [])
    context.set_new_session_callback(announce, b"")  # type: ignore[arg-type]
    context.set_new_session_callback(lambda connection: None)  # type: ignore[arg-type, misc]
    context.set_new_session_callback()  # type: ignore[call-overload]

    for like in (LikeGevents(), LikeTrios()):
        openssl_tickets.set_num_tickets(like, 1)
        openssl_tickets.new_session_ticket(like)
        openssl_tickets.session_reused(like)

    # Whoever does not know the type can go on.
    openssl_tickets.set_num_tickets(unknown, 2)
    openssl_tickets.set_session_ticket_callback(unknown, unknown, unknown, unknown)
    openssl_tickets.set_session_ticket_callback(unknown, unknown)
    openssl_tickets.set_num_tickets(either, 2)
