"""
A mitmproxy addon that shows session tickets, and controls them on both sides of the proxy.

    python -m openssl_tickets run "$(command -v mitmdump)" -s mitmproxy_addon.py

    curl --proxy localhost:8080 --insecure https://localhost:4433 --next \\
         --proxy localhost:8080 --insecure https://localhost:4433

``run`` moves mitmproxy to the system's libssl. Three options control the addon, for example
``--set tickets=1``:

    tickets           how many tickets a client gets after a full handshake (2)
    tickets_accept    whether clients may resume with them (true)
    tickets_upstream  whether the proxy resumes its own connections to servers (false)

With mitmproxy's option ``request_client_cert``, the addon does not control the clients' tickets.

It needs mitmproxy 12 or newer: ``pip install mitmproxy``.
"""

from __future__ import annotations

import logging
import weakref
from collections import defaultdict
from typing import Any

from mitmproxy import ctx

import openssl_tickets
from openssl_tickets import ReceivedTicket, Session, TicketReturn

KEPT = 4  # sessions for each server


class Tickets:
    def __init__(self) -> None:
        # Sessions are kept by context and by server. A resumption verifies nothing, so a session
        # must never be offered with another context or to another server.
        self.sessions: weakref.WeakKeyDictionary[Any, dict[Any, list[Session]]] = (
            weakref.WeakKeyDictionary()
        )
        self.servers: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self.prepared: weakref.WeakSet[Any] = weakref.WeakSet()  # contexts of the client side

    def load(self, loader: Any) -> None:
        loader.add_option("tickets", int, 2, "Tickets for a client after a full handshake.")
        loader.add_option("tickets_accept", bool, True, "Whether clients may resume.")
        loader.add_option("tickets_upstream", bool, False, "Whether to resume at servers.")

    # From the client to the proxy. Here the proxy is the server.

    def tls_start_client(self, data: Any) -> None:
        connection = self.make(data, "tls_start_client")
        if data.is_dtls or ctx.options.request_client_cert:
            return  # client certificates need set_session_id, and it is too late for that
        context = connection.get_context()
        if context not in self.prepared:  # several connections share a context
            self.prepared.add(context)
            openssl_tickets.set_session_ticket_callback(context, decrypt=self.decrypt)
        openssl_tickets.set_num_tickets(connection, ctx.options.tickets)

    def decrypt(self, connection: Any, ticket: ReceivedTicket, data: object) -> TicketReturn | None:
        accept = ctx.options.tickets_accept
        logging.info(
            "client offers a ticket: %s, key %s, %s",
            ticket.status.name,
            ticket.key_name.hex(),
            "accepted" if accept else "refused",
        )
        return None if accept else TicketReturn.IGNORE_RENEW

    def tls_established_client(self, data: Any) -> None:
        if not data.is_dtls:
            name = data.context.client.sni or "no name"
            logging.info("client of %s: %s", name, how(data.ssl_conn))

    # From the proxy to the server. Here the proxy is the client.

    def tls_start_server(self, data: Any) -> None:
        connection = self.make(data, "tls_start_server")
        if data.is_dtls:
            return
        context = connection.get_context()
        if context not in self.sessions:
            self.sessions[context] = defaultdict(list)
            openssl_tickets.set_new_session_callback(context, self.keep)
        self.servers[connection] = server = (data.conn.address, data.conn.sni)
        kept = self.sessions[context][server]
        if ctx.options.tickets_upstream and kept:
            openssl_tickets.set_session(connection, kept.pop())  # each session is offered once

    def keep(self, connection: Any, session: Session, data: object) -> None:
        server = self.servers[connection]
        logging.info(
            "server %s sends a ticket: key %s, for %d s",
            server[1],
            session.key_name.hex(),
            session.ticket_lifetime_hint,
        )
        kept = self.sessions[connection.get_context()][server]
        kept.append(session)
        del kept[:-KEPT]

    def tls_established_server(self, data: Any) -> None:
        if not data.is_dtls:
            logging.info("server %s: %s", data.conn.sni, how(data.ssl_conn))

    def make(self, data: Any, hook: str) -> Any:
        """Makes the connection now. mitmproxy would make it only after this addon."""
        getattr(ctx.master.addons.get("tlsconfig"), hook)(data)
        return data.ssl_conn


def how(connection: Any) -> str:
    return "resumed" if openssl_tickets.session_reused(connection) else "full handshake"


addons = [Tickets()]
