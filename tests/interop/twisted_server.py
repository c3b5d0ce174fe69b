"""
A Twisted server with the ticket functions on its ``CertificateOptions``, for test_twisted.py::

    python twisted_server.py server.pem NUMBER ANSWER

It prints its port, and then what its callbacks see. It echoes each line, and ahead of the echo of a
login comes a ticket of that user.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import openssl_tickets
from openssl_tickets import ReceivedTicket, TicketReturn

openssl_tickets.use_system_openssl()  # before Twisted imports pyOpenSSL

from OpenSSL import crypto  # noqa: E402
from twisted.internet import reactor as installed_reactor  # noqa: E402
from twisted.internet.protocol import Factory, Protocol  # noqa: E402
from twisted.internet.ssl import CertificateOptions  # noqa: E402

reactor: Any = installed_reactor  # typed as a module


class Echo(Protocol):
    """Echoes lines; ``user`` is who has logged in."""

    user = b"nobody"
    transport: Any

    def connectionMade(self) -> None:
        protocols[self.transport.getHandle()] = self  # ahead of the handshake

    def dataReceived(self, line: bytes) -> None:
        if line.startswith(b"login "):
            self.user = line[6:].rstrip()
            openssl_tickets.new_session_ticket(self.transport.getHandle())
        self.transport.write(line)


# By their pyOpenSSL connections, which are what callbacks get.
protocols: WeakKeyDictionary[Any, Echo] = WeakKeyDictionary()


def generate(connection: Any, answer: str) -> bytes:
    return protocols[connection].user


def decrypt(connection: Any, ticket: ReceivedTicket, answer: str) -> TicketReturn | None:
    assert connection in protocols
    print("decrypt", ticket.appdata, flush=True)
    if answer == "raise":
        raise RuntimeError("from decrypt")
    return TicketReturn[answer] if answer else None


def unraisable(seen: Any) -> None:
    print("unraisable", repr(seen.exc_value), seen.object in protocols, flush=True)


def main(server_file: str, number: str, answer: str) -> None:
    sys.unraisablehook = unraisable
    pem = Path(server_file).read_bytes()
    options = CertificateOptions(
        privateKey=crypto.load_privatekey(crypto.FILETYPE_PEM, pem),
        certificate=crypto.load_certificate(crypto.FILETYPE_PEM, pem),
        enableSessionTickets=True,  # it is not by itself
    )
    openssl_tickets.set_num_tickets(options.getContext(), int(number))
    openssl_tickets.set_session_ticket_callback(options.getContext(), generate, decrypt, answer)
    port = reactor.listenSSL(0, Factory.forProtocol(Echo), options, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
