"""
A threaded server of the standard library: http.server, which builds on socketserver.

    python socketserver_server.py server.pem ca.pem --tickets 1 --revoked revoked.txt

    curl --cacert ca.pem --cert alice.pem https://localhost:4433 https://localhost:4433
"""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import identity

import openssl_tickets


class Server(ThreadingHTTPServer):
    """A server for mutual TLS. A plain ThreadingTCPServer needs the same methods."""

    def __init__(self, port: int, context: ssl.SSLContext, revoked: Path) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.context = context
        self.revoked = revoked

    def get_request(self) -> tuple[socket.socket, Any]:
        plain, address = super().get_request()
        # The connection's own thread does the handshake. If it were done here, a slow client would
        # make all others wait.
        connection = self.context.wrap_socket(
            plain, server_side=True, do_handshake_on_connect=False
        )
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        # socketserver only closes the socket, which looks like a broken connection to the client.
        with contextlib.suppress(OSError, ValueError):
            request.unwrap()
        super().shutdown_request(request)


class Handler(BaseHTTPRequestHandler):
    timeout = 10  # seconds for each step, also in the handshake
    server: Server
    connection: ssl.SSLSocket

    def handle(self) -> None:
        try:
            self.connection.do_handshake()
        except OSError as error:  # no certificate, for example
            self.log_error("no handshake: %s", error)
        else:
            super().handle()

    def do_GET(self) -> None:
        status, text = identity.reply(self.connection, self.server.revoked)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def main() -> None:
    options = identity.arguments(__doc__)
    context = identity.server_context(options.certificate, options.client_ca, options.revoked)
    openssl_tickets.set_num_tickets(context, options.tickets)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    with Server(options.port, context, options.revoked) as server:
        print("Running on https://{}:{}".format(*server.server_address), flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
