"""
An aiohttp server. run_app takes the context, and a request has the connection.

    python aiohttp_server.py server.pem ca.pem --tickets 1 --revoked revoked.txt

    curl --cacert ca.pem --cert alice.pem -H "Connection: close" \\
        https://localhost:4433 https://localhost:4433
"""

from __future__ import annotations

from pathlib import Path

import identity
from aiohttp import web

import openssl_tickets

REVOKED = web.AppKey("REVOKED", Path)


async def handle(request: web.Request) -> web.Response:
    connection = request.get_extra_info("ssl_object")
    status, text = identity.reply(connection, request.app[REVOKED])
    return web.Response(status=status, body=text)


def main() -> None:
    options = identity.arguments(__doc__)
    context = identity.server_context(options.certificate, options.client_ca, options.revoked)
    openssl_tickets.set_num_tickets(context, options.tickets)
    app = web.Application()
    app[REVOKED] = options.revoked
    app.router.add_get("/", handle)
    web.run_app(app, host="127.0.0.1", port=options.port, ssl_context=context)


if __name__ == "__main__":
    main()
