"""
A gevent server for mutual TLS, with the policy of ``identity.py``.

    python gevent_server.py server.pem ca.pem --tickets 1 --revoked revoked.txt

    curl --cacert ca.pem --cert alice.pem https://localhost:4433 https://localhost:4433

Callbacks run in the greenlet of their connection, during its handshake. They must not switch to
another greenlet, so they must not use a socket or ``gevent.sleep()``.

It needs ``pip install gevent``.
"""

from __future__ import annotations

import contextlib
import signal
from typing import Any

import gevent
import gevent.ssl
import identity
from gevent.pywsgi import WSGIHandler, WSGIServer

import openssl_tickets


class Handler(WSGIHandler):  # type: ignore[misc, unused-ignore]
    def get_environ(self) -> dict[str, Any]:
        return {**super().get_environ(), "connection": self.socket}  # the application needs it

    def handle_one_request(self) -> Any:
        result = super().handle_one_request()
        if result is None:  # it was the last request, and gevent would only close the socket
            connection: Any = self.socket
            connection.settimeout(10)
            with contextlib.suppress(OSError, ValueError):
                connection.unwrap()
        return result


class Server(WSGIServer):  # type: ignore[misc, unused-ignore]
    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> None:
        try:
            super().wrap_socket_and_handle(client_socket, address)
        except (gevent.ssl.SSLError, ConnectionError) as error:
            print(f"no handshake: {error.strerror}", flush=True)  # no certificate, for example


def main() -> None:
    options = identity.arguments(__doc__)

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        status, text = identity.reply(environ["connection"], options.revoked)
        headers = [("Content-Length", str(len(text)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [text]

    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
    identity.prepare(context, options.certificate, options.client_ca, options.revoked)
    openssl_tickets.set_num_tickets(context, options.tickets)
    server = Server(
        ("127.0.0.1", options.port),
        application,
        handler_class=Handler,
        backlog=1024,
        log=None,
        error_log=None,
        ssl_context=context,
    )
    server.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, server.stop)
    print(f"Running on https://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
