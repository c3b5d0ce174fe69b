"""The command line of ``serve``."""

from __future__ import annotations

import argparse
import binascii
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from openssl_tickets._cli.output import words_of
from openssl_tickets._cli.parser import number, parser_of, seconds
from openssl_tickets._cli.serve.policy import ANSWERS
from openssl_tickets.ticket_key_files.formats import FORMATS

UsageError = Callable[[str], NoReturn]

_DESCRIPTION = """\
Runs a TLS server for scripts and for trying things out. It makes a certificate
if you give none. On a terminal it prints sentences for people to read. To a
file or a pipe, or with --json, it prints one JSON object on each line.
Everything else goes to standard error.

The server sends each client a line ("full handshake" or "resumed", unless
--reply or --echo says otherwise), and then closes the connection. So `s_client
-ign_eof` ends by itself, and has seen all of its tickets."""

_EPILOG = """\
examples:
  A server on a free port, for two connections. Its first line names the port:
    openssl-tickets serve --connections 2
  A client that gets a ticket, and a client that offers it:
    openssl s_client -connect localhost:4433 -ign_eof -sess_out session.pem
    openssl s_client -connect localhost:4433 -ign_eof -sess_in session.pem
  One ticket with application data, in TLS 1.3 only:
    openssl-tickets serve --port 4433 --tls 1.3 --tickets 1 --appdata alice
  Refuse and replace each ticket that comes back:
    openssl-tickets serve --port 4433 --answer ignore-renew
  Your own policy:
    openssl-tickets serve --port 4433 --policy policy.py
  Clients with certificates, and the ticket keys of an nginx:
    openssl-tickets serve --port 4433 --cert server.pem --client-ca ca.pem \\
        --keys ticket.key

a policy is a Python file that defines one or both of
  def generate(connection, data): ...         # returns bytes, or None
  def decrypt(connection, ticket, data): ...  # returns a TicketReturn, or None
as for openssl_tickets.set_session_ticket_callback. Both are given `data`, if
the file defines it. They run in several threads. If one raises an exception,
the connection ends, and the server goes on.

events: each has "event", and those of a connection have "connection" (a number)
  listening   host, port, library, openssl, certificate (a file for clients to
              trust)
  handshake   tls, cipher, resumed, server_name, client ({"subject", "sha256"}
              or null)
  resumption  key_name, status, answer, appdata, appdata_hex: of the ticket that
              was used
  refusal     the same, of a ticket that was not used
  ticket      key_name, appdata, appdata_hex: of a ticket for the client
  error       kind (policy, tls, connection, timeout), during (handshake,
              conversation), error
  closed      ok, tickets, received, sent, seconds: the last of each connection
  stopped     reason (connections, SIGINT, ...), connections: the last of all
"answer" is the policy's, USE_RENEW for example, or "exception". It is null if
OpenSSL decided. "appdata" is null if the data is not text. Both "appdata" and
"appdata_hex" are null if the ticket could not be decrypted.

exit status: 0 after a signal or --connections; 1 if the server could not start,
its output could not be written, or a policy does not return; 2 if the command
line is wrong or the policy does not load."""


def make_parser() -> argparse.ArgumentParser:
    parser = parser_of("serve", description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    add("--port", type=number(0, 65535), default=0, help="the port (default: 0, a free one)")
    add(
        "--library",
        choices=["ssl", "pyopenssl"],
        default="ssl",
        help="serve with the standard ssl or with pyOpenSSL (default: %(default)s)",
    )
    add("--tls", choices=["1.2", "1.3"], help="the only version to offer (default: both)")
    add("--json", action="store_true", help="print JSON on a terminal too")
    add("--cert", metavar="FILE", help="the certificate chain, PEM (default: a self-signed one)")
    add("--key", metavar="FILE", help="the private key, PEM (default: it is in --cert)")
    add("--client-ca", metavar="FILE", help="ask for client certificates of these CAs, PEM")
    add(
        "--client-cert",
        choices=["required", "optional"],
        help="whether a client must have a certificate (default: required, with --client-ca)",
    )
    group = parser.add_argument_group("tickets")
    add = group.add_argument
    add(
        "--tickets",
        type=number(0, 255),
        metavar="N",
        help="how many tickets a TLS 1.3 client gets after a full handshake (default: OpenSSL's "
        "2). A TLS 1.2 client gets one",
    )
    add(
        "--appdata",
        type=_appdata,
        metavar="DATA",
        help="the application data of all tickets: a text, @FILE, or hex:0011ff",
    )
    add(
        "--answer",
        choices=list(ANSWERS),
        metavar="ANSWER",
        help=f"the answer to each ticket that comes back: {', '.join(ANSWERS)}. use and use-renew "
        "apply only to the tickets of this server (default: OpenSSL's own answer)",
    )
    add("--policy", metavar="FILE.py", help="a Python file that decides on tickets, see below")
    add("--keys", metavar="FILE", help="a ticket key file (default: a new random key)")
    add(
        "--keys-format",
        choices=list(FORMATS),
        help="the program that the key file is for (default: nginx). If it has one key per file, "
        "FILE.1, FILE.2, ... are read too. A file that changes is read again",
    )
    add(
        "--keys-aes",
        type=int,
        choices=(256, 128),
        help="bits of the AES keys (default: 256; for Apache 128)",
    )
    group = parser.add_argument_group("what is served")
    add = group.add_argument
    add("--reply", metavar="TEXT", help="the line to send to each client")
    add("--echo", action="store_true", help="send back what a client sends, until it closes")
    add(
        "--connections",
        type=number(1, sys.maxsize),
        metavar="N",
        help="stop after this many connections, including failed ones (default: run until a "
        "signal comes)",
    )
    add(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long a connection may take as a whole (default: %(default)g)",
    )
    return parser


def _appdata(text: str) -> bytes:
    try:
        if text.startswith("@"):
            with open(text[1:], "rb") as file:
                return file.read(1 << 20)
        if text.startswith("hex:"):
            return binascii.unhexlify(text[4:])
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(words_of(error)) from None
    return os.fsencode(text)


def check(options: argparse.Namespace, usage_error: UsageError) -> None:
    """Calls *usage_error* if there are options that do not go together."""
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
        usage_error("--reply and --echo cannot be used together")
