"""
A policy that puts a client's identity into its tickets, and refuses revoked clients.

The servers in this folder share it, those on ``ssl`` and the one on pyOpenSSL. A client shows its
certificate in a full handshake. Its identity, here the certificate's SHA-256, goes into its tickets
as their application data, and comes back with the next connection. So a server has to look up a
client only once. (A ticket carries the certificate too, but not what a database says about it.)

In a resumption the client shows no certificate, and the server does not verify one. A ticket is
good for hours, and each resumption brings a new ticket. So ``decrypt`` checks whether the client
has been revoked since.

The policy calls ``openssl_tickets.session_reused(connection)``, which is the same for both
libraries. The connections' own ``session_reused`` is an attribute in ``ssl`` and a method in
pyOpenSSL. A method without a call is always true.
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
    """Reads the command line, which is the same for all servers."""
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
    """Prepares the caller's own context in the same way, gevent's for example."""
    context.load_cert_chain(certificate)
    context.load_verify_locations(client_ca)
    context.verify_mode = ssl.CERT_REQUIRED
    openssl_tickets.set_session_ticket_callback(context, generate, decrypt, revoked)
    return context


def generate(connection: Connection, revoked: Path) -> bytes | None:
    """Returns the client's identity, for the ticket that the server is about to make."""
    if openssl_tickets.session_reused(connection):
        return None  # the new ticket keeps the data of the one before
    # connection.getpeercert() does not work here, because for ssl the handshake is not over yet.
    return of_certificate(connection).encode()


def decrypt(connection: Connection, ticket: ReceivedTicket, revoked: Path) -> TicketReturn | None:
    """
    Decides whether a ticket that came back may be used.

    IGNORE_RENEW leads to a full handshake, in which the client shows a certificate again. If that
    is still the revoked one, reply() refuses the client. ABORT would also lock out a client that
    has a new certificate, as long as it keeps the old ticket.
    """
    # The data is None if the ticket is not from this server, and empty if it is older than this
    # policy.
    if ticket.appdata and is_welcome(ticket.appdata.decode(), revoked):
        return None
    return TicketReturn.IGNORE_RENEW


def reply(connection: Connection, revoked: Path) -> tuple[HTTPStatus, bytes]:
    """Returns the answer to a client after the handshake: its identity, and where that is from."""
    if openssl_tickets.session_reused(connection):
        identity, source = of_ticket(connection), "ticket"
    else:
        identity, source = of_certificate(connection), "certificate"
    # The certificate of a revoked client is still valid for ssl, so the client is refused here.
    if not is_welcome(identity, revoked):
        refusal = f"{identity} is revoked\n" if identity else "no identity\n"
        return HTTPStatus.FORBIDDEN, refusal.encode()
    return HTTPStatus.OK, f"{identity} from the {source}\n".encode()


def of_certificate(connection: Connection) -> str:
    """Returns the identity in the client's certificate, or "" if there is no certificate."""
    session = openssl_tickets.get_session(connection)
    certificate = session.peer_certificate_der if session is not None else None
    return hashlib.sha256(certificate).hexdigest() if certificate is not None else ""


def of_ticket(connection: Connection) -> str:
    """Returns the identity in the ticket that *connection* was resumed from."""
    session = openssl_tickets.get_session(connection)
    return session.ticket_appdata.decode() if session is not None else ""


def is_welcome(identity: str, revoked: Path) -> bool:
    """
    Whether *identity* may come in. An empty identity may not.

    Raises:
        OSError: the file of revoked identities cannot be read. Then no client comes in.
    """
    return identity not in ["", *revoked.read_text().split()]
