"""
Who a client is: read from its certificate once, kept in its tickets, refused when revoked.

This is what the servers in this folder share, those on ``ssl`` and the one on pyOpenSSL. A client
shows its certificate in a full handshake. Its identity, here the certificate's SHA-256, goes into
its tickets as their application data, and comes back with the next connection: who a client is has
to be found out only once. (The certificate itself comes back as well, but not what a database, say,
had to tell of it.)

In a resumption the client shows no certificate, and nobody asks its authority: a ticket is good for
hours, and brings the next one. So ``decrypt`` looks at who has been revoked since.

It asks ``openssl_tickets.session_reused(connection)``, which is the same for both libraries. The
connections' own ``session_reused`` is not: it is an attribute in ``ssl`` and a method, so always
true, in pyOpenSSL.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import ssl
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import openssl_tickets
from openssl_tickets import ReceivedTicket, TicketReturn

if TYPE_CHECKING:
    from OpenSSL import SSL

    Connection = ssl.SSLSocket | ssl.SSLObject | SSL.Connection


def arguments(description: str | None) -> argparse.Namespace:
    """Reads the command line, which is the same for all of the servers."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("certificate", type=Path, help="the server's key and certificates (PEM)")
    parser.add_argument("client_ca", type=Path, help="who may issue clients' certificates (PEM)")
    parser.add_argument("--port", type=int, default=4433, help="0 for a free one")
    parser.add_argument("--tickets", type=int, default=1, help="how many after a full handshake")
    parser.add_argument(
        "--revoked",
        type=Path,
        default=Path(os.devnull),
        help="a file of identities; it is read again each time, so no restart is needed",
    )
    return parser.parse_args()


def server_context(certificate: Path, client_ca: Path, revoked: Path) -> ssl.SSLContext:
    """Returns a context for mutual TLS, whose tickets carry the client's identity."""
    return prepare(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, client_ca, revoked)


def prepare(
    context: ssl.SSLContext, certificate: Path, client_ca: Path, revoked: Path
) -> ssl.SSLContext:
    """Does the same to a context of the caller's, gevent's for example."""
    context.load_cert_chain(certificate)
    context.load_verify_locations(client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    openssl_tickets.set_session_ticket_callback(context, generate, decrypt, revoked)
    return context


def generate(connection: Connection, revoked: Path) -> bytes | None:
    """A ticket is about to be made: it is to carry the client's identity."""
    if openssl_tickets.session_reused(connection):
        return None  # it carries what the ticket before it did
    # connection.getpeercert() is of no use here: for ssl, the handshake is not over yet.
    return of_certificate(connection).encode()


def decrypt(connection: Connection, ticket: ReceivedTicket, revoked: Path) -> TicketReturn | None:
    """
    A ticket came back: may it be used?

    IGNORE_RENEW leads to a full handshake, in which the client shows a certificate again. If it is
    still the revoked one, reply() refuses it there. ABORT would do for that client, but it would
    also lock out one that has a new certificate by now, for as long as it keeps the old ticket.
    """
    # It has no application data if it is none of ours; it is empty if it is older than this policy.
    if ticket.appdata and is_welcome(ticket.appdata.decode(), revoked):
        return None
    return TicketReturn.IGNORE_RENEW


def reply(connection: Connection, revoked: Path) -> tuple[HTTPStatus, bytes]:
    """What a client is told, once the handshake is done: who it is, and how that is known."""
    if openssl_tickets.session_reused(connection):
        identity, source = of_ticket(connection), "ticket"
    else:
        identity, source = of_certificate(connection), "certificate"
    # The certificate authority still vouches for a revoked client: this is where it ends.
    if not is_welcome(identity, revoked):
        refusal = f"{identity} is revoked\n" if identity else "no identity\n"
        return HTTPStatus.FORBIDDEN, refusal.encode()
    return HTTPStatus.OK, f"{identity} from the {source}\n".encode()


def of_certificate(connection: Connection) -> str:
    """Returns the identity in the client's certificate; "" if it has shown none."""
    session = openssl_tickets.get_session(connection)
    certificate = session.peer_certificate_der if session is not None else None
    return hashlib.sha256(certificate).hexdigest() if certificate is not None else ""


def of_ticket(connection: Connection) -> str:
    """Returns the identity that the ticket carried from which *connection* was resumed."""
    session = openssl_tickets.get_session(connection)
    return session.ticket_appdata.decode() if session is not None else ""


def is_welcome(identity: str, revoked: Path) -> bool:
    """Whether *identity* may come in. Nobody without one may; without the file this raises."""
    return identity not in ["", *revoked.read_text().split()]
