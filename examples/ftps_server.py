"""
An FTPS server that binds each data connection to its control connection, with pyftpdlib.

An FTP client gets its files over a second connection, the data connection. Anybody can connect to
its port. The client logs in on the control connection, and the data connection asks for no
password. So a thief who is first on the data port would get the file.

To stop the thief, a data connection must resume a session of its own control connection. It is not
enough that it resumes any session, because the thief may have a control connection too. So each
ticket carries a token of its control connection, and the server compares the tokens.

    python ftps_server.py server.pem folder

    curl --cacert ca.pem --ssl-reqd ftp://localhost:2121/file ftp://localhost:2121/file

curl asks for tickets in TLS 1.3 only. In TLS 1.2 it offers a session id, which carries no token, so
the server refuses its data connections.

It needs ``pip install pyftpdlib``, 2.1 or newer.
"""

from __future__ import annotations

import argparse
import hmac
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

from openssl_tickets import (
    SSL,  # before pyftpdlib, which imports OpenSSL
    ReceivedTicket,
    TicketReturn,
    get_session,
    session_reused,
)

# isort: split
from pyftpdlib.authorizers import DummyAuthorizer  # type: ignore[import-untyped]
from pyftpdlib.handlers import TLS_DTPHandler, TLS_FTPHandler  # type: ignore[import-untyped]
from pyftpdlib.servers import FTPServer  # type: ignore[import-untyped]


class DataHandler(TLS_DTPHandler):  # type: ignore[misc]
    """A data connection."""

    def handle_ssl_established(self) -> None:
        session = get_session(self.socket)
        assert session is not None
        if not (
            session_reused(self.socket)
            and hmac.compare_digest(session.ticket_appdata, self.cmd_channel.token)
        ):
            self.cmd_channel.respond("522 The control connection's TLS session must be resumed.")
            self.close()

    def send(self, data: bytes) -> int:
        # A file may be ready before the client connects. A write would do the handshake by itself,
        # and send the file before the decision above.
        return super().send(data) if self._ssl_established else 0


class ControlHandler(TLS_FTPHandler):  # type: ignore[misc]
    """A control connection."""

    dtp_handler = DataHandler
    tls_control_required = True
    tls_data_required = True
    token: bytes

    def secure_connection(self, ssl_context: SSL.Context) -> None:
        super().secure_connection(ssl_context)
        self.token = secrets.token_bytes(16)
        if self._ssl_accepting:  # it is False if the client has left
            self.socket.set_app_data(self.token)

    def ftp_PROT(self, line: str) -> None:
        # After PASV, tls_data_required could no longer stop a "PROT C".
        if line.upper() == "P":
            super().ftp_PROT(line)
        else:
            self.respond("536 Data connections need PROT P.")


def generate(connection: Any, data: None) -> bytes | None:
    """Returns the token of a control connection. A data connection has none: its ticket stays."""
    token: bytes | None = connection.get_app_data()
    return token


def decrypt(connection: Any, ticket: ReceivedTicket, data: None) -> TicketReturn | None:
    """Lets a data connection resume. A control connection needs new tickets, for its own token."""
    return None if connection.get_app_data() is None else TicketReturn.IGNORE_RENEW


def server_context(certificate: Path) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate_chain_file(str(certificate))
    context.use_privatekey_file(str(certificate))
    # Without a session cache, a client can resume only with a ticket.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_ticket_callback(generate, decrypt)
    return context


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("certificate", type=Path, help="the server's key and certificates (PEM)")
    parser.add_argument("folder", type=Path, help="the files that everybody may read")
    parser.add_argument("--port", type=int, default=2121, help="0 for a free one")
    options = parser.parse_args()
    ControlHandler.ssl_context = server_context(options.certificate)
    ControlHandler.authorizer = DummyAuthorizer()
    ControlHandler.authorizer.add_anonymous(str(options.folder))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    server = FTPServer(("127.0.0.1", options.port), ControlHandler)
    print("Running on ftp://{}:{}".format(*server.address), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
