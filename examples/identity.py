"""
Who a client is: read from its certificate once, kept in its tickets, refused when revoked.

This is what the servers in this folder share. A client shows its certificate in a full handshake.
Its identity, here the certificate's SHA-256, goes into its tickets as their application data, and
with the next connection it comes back: who a client is needs to be found out only once. (The
certificate itself comes back as well, but not what a database, say, had to tell of it.)

In a resumption the client shows no certificate, and nobody asks its authority: a ticket is good for
hours, and brings the next one. So ``decrypt`` looks at who has been revoked since.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import ssl
from http import HTTPStatus
from pathlib import Path

import openssl_tickets
from openssl_tickets import ReceivedTicket, TicketReturn

Connection = ssl.SSLSocket | ssl.SSLObject


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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    openssl_tickets.set_session_ticket_callback(context, generate, decrypt, revoked)
    return context


def generate(connection: Connection, revoked: Path) -> bytes | None:
    """A ticket is about to be made: it is to carry the client's identity."""
    if connection.session_reused:
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
    if ticket.appdata is None:  # no ticket, or none of ours
        return None
    # A ticket without an identity would be from before this policy.
    if not ticket.appdata or is_revoked(ticket.appdata.decode(), revoked):
        return TicketReturn.IGNORE_RENEW
    return None


def reply(connection: Connection, revoked: Path) -> tuple[HTTPStatus, bytes]:
    """What a client is told, once the handshake is done: who it is, and how that is known."""
    if connection.session_reused:
        identity, source = of_ticket(connection), "ticket"
    else:
        identity, source = of_certificate(connection), "certificate"
    # The certificate authority still vouches for a revoked client: this is where it ends.
    if is_revoked(identity, revoked):
        return HTTPStatus.FORBIDDEN, f"{identity} is revoked\n".encode()
    return HTTPStatus.OK, f"{identity} from the {source}\n".encode()


def of_certificate(connection: Connection) -> str:
    """Returns the identity in the client's certificate; a database may be asked here."""
    session = openssl_tickets.get_session(connection)
    assert session is not None
    certificate = session.peer_certificate_der
    assert certificate is not None  # CERT_REQUIRED
    return hashlib.sha256(certificate).hexdigest()


def of_ticket(connection: Connection) -> str:
    """Returns the identity that the ticket carried from which *connection* was resumed."""
    session = openssl_tickets.get_session(connection)
    assert session is not None
    return session.ticket_appdata.decode()


def is_revoked(identity: str, revoked: Path) -> bool:
    # Without the file this raises, and nobody gets in.
    return identity in revoked.read_text().split()
