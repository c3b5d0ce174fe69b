"""
A server with several names. A ticket for one of them is good only for that name.

Without the binding, libssl resumes a client under any name. A client could use a ticket from one
name at another name, which may ask for a client certificate. (In TLS 1.2 it could even use a name
that the server does not have.) With the server name binding, the server ignores a ticket if the
client asks for another name (SNI) than the ticket was issued for.

    python server_name.py a.example=a.pem b.example=b.pem

    openssl s_client -connect localhost:4433 -servername a.example -sess_out session.pem
    hello
    openssl s_client -connect localhost:4433 -servername b.example -sess_in session.pem
    hello
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import ssl
from typing import Any

import openssl_tickets


def server_context(certificates: dict[str, str]) -> ssl.SSLContext:
    """Returns the context of the first name. It switches to the contexts of the other names."""
    contexts = {}
    for name, certificate in certificates.items():
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[name].load_cert_chain(certificate)
    first = next(iter(contexts.values()))

    def switch(connection: Any, name: str | None, _: ssl.SSLContext) -> int | None:
        # A client that asks for no name gets the first one.
        context = first if name is None else contexts.get(name.lower())
        if context is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = context
        return None

    first.sni_callback = switch
    # Set the binding on the first context. Its ticket keys, callbacks and number of tickets hold
    # also after a switch. So does its verify mode: if it asks for no client certificate, no name
    # does.
    openssl_tickets.set_server_name_binding(first, True)
    return first


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("ssl_object")
    with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.CancelledError):
        await reader.readline()
        session = openssl_tickets.get_session(connection)
        assert session is not None
        name = (session.server_name or b"no name").decode()
        how = "resumed" if connection.session_reused else "full handshake"
        writer.write(f"{name}, {how}\n".encode())
        await writer.drain()


async def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("certificates", nargs="+", metavar="name=certificate", help="PEM, with key")
    parser.add_argument("--port", type=int, default=4433, help="0 for a free one")
    options = parser.parse_args()
    context = server_context(dict(each.split("=", 1) for each in options.certificates))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(handle, "127.0.0.1", options.port, ssl=context)
    print("Running on {}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
