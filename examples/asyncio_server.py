"""
An asyncio server that sends its tickets with its first reply, and none in the handshake.

By default, a TLS 1.3 server sends its tickets at the end of the handshake. If a client writes its
request and leaves without reading them, the server's write fails (EPIPE).

    python asyncio_server.py server.pem ca.pem --revoked revoked.txt

    curl --cacert ca.pem --cert alice.pem https://localhost:4433 https://localhost:4433

    openssl s_client -crlf -connect localhost:4433 -cert alice.pem -sess_out session.pem
    GET / HTTP/1.1
    (an empty line)
    openssl s_client -crlf -connect localhost:4433 -cert alice.pem -sess_in session.pem
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
from functools import partial
from http import HTTPStatus
from pathlib import Path

import identity

import openssl_tickets


async def main() -> None:
    options = identity.arguments(__doc__)
    context = identity.server_context(options.certificate, options.client_ca, options.revoked)
    openssl_tickets.set_num_tickets(context, 0)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(
        partial(handle, tickets=options.tickets, revoked=options.revoked),
        host="127.0.0.1",
        port=options.port,
        ssl=context,
        backlog=1024,  # with the default of 100, some of hundreds of clients would wait for seconds
    )
    print("Running on https://{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await stop.wait()
    # No wait_closed(): from Python 3.12 on, it waits until all clients have left.
    server.close()


async def handle(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tickets: int, revoked: Path
) -> None:
    """Answers one request. It is no error if the client leaves early or the server ends."""
    connection = writer.get_extra_info("ssl_object")
    with (
        contextlib.closing(writer),
        contextlib.suppress(EOFError, ConnectionError, ssl.SSLError, asyncio.CancelledError),
    ):
        await reader.readuntil(b"\r\n\r\n")
        status, text = identity.reply(connection, revoked)
        # In TLS 1.2, the ticket is part of the handshake.
        if status == HTTPStatus.OK and connection.version() == "TLSv1.3":
            for _ in range(tickets):
                openssl_tickets.new_session_ticket(connection)
        # The server sends the tickets before the next data.
        writer.write(b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()))
        writer.write(b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(text) + text)
        await writer.drain()


if __name__ == "__main__":
    asyncio.run(main())
