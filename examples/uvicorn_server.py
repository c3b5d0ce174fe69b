"""
A uvicorn server. A factory passes the context to it, and a protocol the connection to the app.

    python uvicorn_server.py server.pem ca.pem --tickets 1 --revoked revoked.txt

    curl --cacert ca.pem --cert alice.pem -H "Connection: close" \\
        https://localhost:4433 https://localhost:4433

It needs uvicorn 0.47 or newer. For an older one, see main(). Each worker process has its own ticket
keys: with ``workers=4``, three out of four tickets lead to a full handshake.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import identity
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

import openssl_tickets


class Protocol(H11Protocol):
    """
    Passes the connection to the application, as ``scope["state"]["ssl_object"]``.

    In Starlette and FastAPI it is ``request.state.ssl_object``. uvicorn itself tells applications
    nothing about TLS, because it does not have ASGI's TLS extension yet. It puts a copy of the
    state into every scope, also of websockets, and this class gives each connection its own state.
    A dict of identities by client address would not work, because the callbacks get an SSLObject,
    which has no address. HttpToolsProtocol can be extended in the same way.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        ssl_object = transport.get_extra_info("ssl_object")
        self.app_state = {**self.app_state, "ssl_object": ssl_object}


class Application:
    """An ASGI application."""

    def __init__(self, revoked: Path) -> None:
        self.revoked = revoked

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        status, text = identity.reply(scope["state"]["ssl_object"], self.revoked)
        headers = [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})


def main() -> None:
    options = identity.arguments(__doc__)
    context = identity.server_context(options.certificate, options.client_ca, options.revoked)
    openssl_tickets.set_num_tickets(context, options.tickets)
    uvicorn.run(
        Application(options.revoked),
        host="127.0.0.1",
        port=options.port,
        http=Protocol,
        lifespan="off",
        # Before uvicorn 0.47: config = uvicorn.Config(..., ssl_certfile=..., ssl_ca_certs=...,
        # ssl_cert_reqs=ssl.CERT_REQUIRED); config.load(); set the callbacks on config.ssl; then
        # uvicorn.Server(config).run()
        ssl_context_factory=lambda config, default_factory: context,
    )


if __name__ == "__main__":
    main()
