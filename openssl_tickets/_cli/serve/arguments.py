"""The command line of ``serve``."""

from __future__ import annotations

import argparse
import binascii
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from openssl_tickets._cli.serve.policy import ANSWERS
from openssl_tickets.ticket_key_files.formats import FORMATS

UsageError = Callable[[str], NoReturn]

_DESCRIPTION = """\
A TLS server for scripts and for trying out. It makes a certificate of its own where none is given,
and prints one JSON object per line for each thing that happens; all else goes to standard error.

A client is sent a line ("full handshake" or "resumed", unless --reply or --echo tells otherwise)
and then the connection is closed, so `s_client -ign_eof` ends by itself, with all its tickets."""

_EPILOG = """\
examples:
  A server on a free port, for two connections; its first line of output tells the port:
    python -m openssl_tickets serve --connections 2
  Its client, once for a ticket, and once with it:
    openssl s_client -connect localhost:4433 -ign_eof -sess_out session.pem
    openssl s_client -connect localhost:4433 -ign_eof -sess_in session.pem
  One ticket, with data in it, for TLS 1.3 only:
    python -m openssl_tickets serve --port 4433 --tls 1.3 --tickets 1 --appdata alice
  Each ticket that comes back is refused, and replaced:
    python -m openssl_tickets serve --port 4433 --answer ignore-renew
  A policy of one's own:
    python -m openssl_tickets serve --port 4433 --policy policy.py
  Clients with certificates, and keys that nginx has too:
    python -m openssl_tickets serve --port 4433 --cert server.pem --client-ca ca.pem \\
        --keys ticket.key

a policy is a Python file that defines one or both of
  def generate(connection, data): ...         # the new ticket's data: bytes, or None
  def decrypt(connection, ticket, data): ...  # a TicketReturn, or None for OpenSSL's own answer
as for openssl_tickets.set_session_ticket_callback, and, if it likes, `data`, which both are given.
They run in several threads. What they raise ends the connection, and the server goes on.

events, each with "event", and with "connection" (a number) where it is of one connection:
  listening   host, port, library, openssl, certificate (a file that clients can trust)
  handshake   tls, cipher, resumed, server_name, client ({"subject", "sha256"} or null)
  resumption  key_name, status, answer, appdata, appdata_hex: of the ticket that was used
  refusal     the same, of a ticket that was not used
  ticket      key_name, appdata, appdata_hex: of a ticket that was made for the client
  error       kind (policy, tls, connection, timeout), during (handshake, conversation), error
  closed      ok, tickets, received, sent, seconds: each connection has this, as its last
  stopped     reason (connections, SIGINT, ...), connections: the very last
"answer" is the policy's, as USE_RENEW or "exception", and null where OpenSSL decided by itself;
"appdata" is null where the data is not text, and both are where the ticket could not be opened.

exit status: 0 after a signal or --connections; 1 where it could not serve, or nobody reads its
output any more; 2 for a wrong command line, or a policy that does not load."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m openssl_tickets serve",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    add("--port", type=_number(0, 65535), default=0, help="the port (default: 0, a free one)")
    add(
        "--library",
        choices=["ssl", "pyopenssl"],
        default="ssl",
        help="what serves: the standard ssl, or pyOpenSSL (default: %(default)s)",
    )
    add("--tls", choices=["1.2", "1.3"], help="the only version (default: both)")
    add("--cert", metavar="FILE", help="certificates, PEM (default: a self-signed one is made)")
    add("--key", metavar="FILE", help="the private key, PEM (default: it is in --cert too)")
    add("--client-ca", metavar="FILE", help="ask for a client certificate that one of these signed")
    add(
        "--client-cert",
        choices=["required", "optional"],
        help="whether a client must have one (default: required, where there is --client-ca)",
    )
    group = parser.add_argument_group("tickets")
    add = group.add_argument
    add(
        "--tickets",
        type=_number(0, 255),
        metavar="N",
        help="how many a TLS 1.3 client gets after a full handshake (default: OpenSSL's 2); in "
        "TLS 1.2 there is one",
    )
    add(
        "--appdata",
        type=_appdata,
        metavar="DATA",
        help="application data for all tickets: a text, @FILE, or hex:0011ff",
    )
    add(
        "--answer",
        choices=list(ANSWERS),
        help="the answer to each ticket that comes back; use and use-renew hold for those of ours "
        "(default: OpenSSL's own)",
    )
    add("--policy", metavar="FILE.py", help="a Python file that decides, see below")
    add("--keys", metavar="FILE", help="ticket keys, from FILE (default: a new random one)")
    add(
        "--keys-format",
        choices=list(FORMATS),
        help="the program whose file it is (default: nginx); FILE.1, FILE.2, ... are read too "
        "where it has one key per file, and all is read again when one of them changes",
    )
    add(
        "--keys-aes",
        type=int,
        choices=(256, 128),
        help="bits of the keys for AES (default: 256; for Apache 128)",
    )
    group = parser.add_argument_group("what is served")
    add = group.add_argument
    add("--reply", metavar="TEXT", help="the line that each client is sent")
    add("--echo", action="store_true", help="send back what comes, until the client closes")
    add(
        "--connections",
        type=_number(1, sys.maxsize),
        metavar="N",
        help="stop after so many, failed ones too (default: only a signal stops it)",
    )
    add(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="for each connection as a whole (default: %(default)g)",
    )
    return parser


def _number(smallest: int, largest: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not smallest <= value <= largest:
            raise argparse.ArgumentTypeError(f"from {smallest} to {largest}, not {value}")
        return value

    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 86400:  # nan neither
        raise argparse.ArgumentTypeError(f"more than 0 seconds, and at most a day, not {text}")
    return seconds


def _appdata(text: str) -> bytes:
    try:
        if text.startswith("@"):
            with open(text[1:], "rb") as file:
                return file.read(1 << 20)
        if text.startswith("hex:"):
            return binascii.unhexlify(text[4:])
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return os.fsencode(text)


def check(options: argparse.Namespace, usage_error: UsageError) -> None:
    """Refuses options that do not go together."""
    for name, needed in (
        ("key", "cert"),
        ("client_cert", "client_ca"),
        ("keys_format", "keys"),
        ("keys_aes", "keys"),
    ):
        if getattr(options, name) is not None and getattr(options, needed) is None:
            both = (text.replace("_", "-") for text in (name, needed))
            usage_error("--{} is of no use without --{}".format(*both))
    if options.echo and options.reply is not None:
        usage_error("--reply and --echo exclude each other")
