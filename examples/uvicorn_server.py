"""
A uvicorn server: a factory hands it the context, and a protocol hands the connection to the app.

    python uvicorn_server.py server.pem ca.pem --tickets 1 --revoked revoked.txt

    curl --cacert ca.pem --cert alice.pem -H "Connection: close" \\
        https://localhost:4433 https://localhost:4433

It takes uvicorn 0.47 or newer; for an older one, see main(). Each worker process has ticket keys of
its own: with ``workers=4``, three tickets out of four lead to a full handshake.
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
    Shows applications their connection, as ``scope["state"]["ssl_object"]``.

    In Starlette and FastAPI it is ``request.state.ssl_object``. uvicorn itself tells applications
    nothing of TLS (ASGI's TLS extension is not in it yet). What it has for them is the state, a
    copy of which goes into every scope, those of websockets too; here each connection gets one of
    its own. A dict of identities by client address would not do: the callbacks get an SSLObject,
    which knows no address. HttpToolsProtocol can be extended in the same way.
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
