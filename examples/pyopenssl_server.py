"""
A pyOpenSSL server, with a thread for each connection.

    python pyopenssl_server.py server.pem ca.pem --tickets 1 --revoked revoked.txt

    curl --cacert ca.pem --cert alice.pem https://localhost:4433 https://localhost:4433
"""

from __future__ import annotations

import signal
import socket
import struct
import sys
import threading
import traceback
from pathlib import Path

from openssl_tickets import SSL  # isort: skip  (before anything imports OpenSSL)

import identity

TIMEOUT = 10  # seconds for each read, also in the handshake


def server_context(certificate: Path, client_ca: Path, revoked: Path) -> SSL.Context:
    """Returns a context for mutual TLS, whose tickets carry the client's identity."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(certificate))
    context.use_privatekey_file(str(certificate))
    context.load_verify_locations(str(client_ca))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    # With client certificates, libssl needs a session id context. It resumes only tickets with the
    # same one.
    context.set_session_id(b"pyopenssl_server")
    context.set_session_ticket_callback(identity.generate, identity.decrypt, revoked)
    return context


def serve(context: SSL.Context, plain: socket.socket, revoked: Path) -> None:
    """Answers one request."""
    # Not settimeout(), because pyOpenSSL would raise WantReadError instead of waiting.
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", TIMEOUT, 0))
    connection = SSL.Connection(context, plain)
    connection.set_accept_state()
    with plain:
        try:
            connection.do_handshake()
            request = b""
            while b"\r\n\r\n" not in request and len(request) < 1 << 16:
                request += connection.recv(4096)
            status, text = identity.reply(connection, revoked)
            connection.sendall(b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()))
            connection.sendall(b"Content-Length: %d\r\n" % len(text))
            connection.sendall(b"Connection: close\r\n\r\n" + text)
            connection.shutdown()
        except SSL.Error:
            pass  # the client has no certificate, or has left
        except Exception:
            traceback.print_exc()  # the policy failed, so the client does not come in


def main() -> None:
    options = identity.arguments(__doc__)
    context = server_context(options.certificate, options.client_ca, options.revoked)
    context.set_num_tickets(options.tickets)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    with socket.create_server(("127.0.0.1", options.port), backlog=100) as listener:
        print("Running on https://{}:{}".format(*listener.getsockname()), flush=True)
        while True:
            plain, _ = listener.accept()
            # With a thread for each, a slow client does not make the others wait.
            threading.Thread(
                target=serve, args=(context, plain, options.revoked), daemon=True
            ).start()


if __name__ == "__main__":
    main()
