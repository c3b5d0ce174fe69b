"""Asks a running server what it does with tickets: ``openssl-tickets probe``."""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
from collections.abc import Sequence

from openssl_tickets import LibraryMismatchError
from openssl_tickets._cli.output import complain
from openssl_tickets._cli.parser import Parser, number, parser_of, seconds
from openssl_tickets._cli.probe.report import failures, fields_of, text_of
from openssl_tickets._cli.probe.survey import Surveyor
from openssl_tickets._cli.probe.visits import (
    STARTTLS,
    VERSIONS,
    SClientVisitor,
    SSLVisitor,
    Visitor,
)

_ADDRESSES = 8  # how many addresses of a name are probed
_HTTPS = 443

_DESCRIPTION = """\
Finds out what a running server does with tickets. It connects and resumes. For
TLS 1.3 and TLS 1.2 it prints how many tickets come, when they come, what they
are good for, and how many of -n connections in a row were resumed.

It does not verify the server's certificate, and sends nothing secret."""

_EPILOG = """\
examples:
  openssl-tickets probe example.org
  openssl-tickets probe localhost:4433 -n 48
  openssl-tickets probe mail.example.org --starttls smtp
  openssl-tickets probe example.org --tls 1.3 --expect-resumed 0.99 --json
  openssl-tickets probe example.org --address 192.0.2.1 --address 192.0.2.2

what it does, for each version of TLS:
  1. It makes a full handshake, and counts the tickets.
  2. It makes a resumption, and counts the tickets.
  3. It offers the ticket of step 2 again.
  4. It makes -n connections in a row, each with the newest ticket.
  5. At each other address of the name, it offers a ticket of the first address.

A ticket comes "with the handshake" if it comes before any data. It comes "with
the first data" if it comes after --send was sent. The key name is the first 16
bytes of a ticket: servers with OpenSSL put it there.

fields of --json, null if there is no value:
  host, port, server_name, starttls, addresses, address (of the connections),
  negotiated, error, complete (false if --limit ended it), versions: for each
    protocol, error, cipher, resumes_by (ticket, session id), full_handshake
    and resumption (tickets, when, lifetime_hints), taken_twice, connections,
    resumed, rate, failed, last_error, tickets_seen, key_names (key_name, first,
    last: numbers of connections), other_addresses (address: taken or not)

exit status: 0 if a server answers; 1 if none answers, or if fewer connections
than --expect-resumed were resumed in a version that the server offers; 2 if the
command line is wrong."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command that *arguments* name, and returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    host, port = _target(options, parser)
    server_name = options.server_name
    if server_name is None and not _is_address(host):
        server_name = host
    try:
        addresses = options.address or _addresses(host, port)
        visitor = _visitor(options, host, port, server_name or None)
    except (OSError, LibraryMismatchError, UnicodeError) as error:
        complain(f"{host}: {getattr(error, 'strerror', None) or error}")
        return 1
    survey = Surveyor(
        visitor,
        addresses,
        [options.tls] if options.tls else VERSIONS,
        options.connections,
        options.limit,
    ).survey()
    target = {
        "host": host,
        "port": port,
        "server_name": server_name or None,
        "starttls": options.starttls,
        "addresses": addresses,
    }
    if options.json:
        print(json.dumps(fields_of(survey, target), indent=2))
    elif survey.address is not None:
        print(text_of(survey, target))
    if survey.address is None:
        complain(f"port {port} of {survey.error or f'{host}: there was no time'}")
        return 1
    missed = failures(survey, options)
    for words in missed:
        complain(words)
    return 1 if missed else 0


def _parser() -> Parser:
    parser = parser_of("probe", description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add(
        "target",
        metavar="HOST[:PORT]",
        help="the server. Put an IPv6 address in brackets: [::1]:443 (default port: 443, or the "
        "usual one of --starttls)",
    )
    add(
        "-n",
        "--connections",
        type=number(1, 10000),
        default=48,
        metavar="N",
        help="connections in a row, for each version (default: %(default)s)",
    )
    add("--tls", choices=sorted(VERSIONS), help="the only version to look at (default: both)")
    add(
        "--starttls",
        choices=list(STARTTLS),
        metavar="PROTOCOL",
        help=f"start with this protocol: {', '.join(STARTTLS)}. It needs the openssl program",
    )
    add(
        "--server-name",
        metavar="NAME",
        help="the server name to ask for; empty for none (default: HOST, if it is a name)",
    )
    add(
        "--address",
        action="append",
        metavar="ADDRESS",
        help="connect to this address instead of HOST's own; may be repeated",
    )
    add(
        "--send",
        metavar="TEXT",
        help="what to send after the handshake; empty for nothing (default: an HTTP request)",
    )
    add(
        "--expect-resumed",
        type=_rate,
        metavar="RATE",
        help="exit with 1 if a smaller share of the connections was resumed; for example 0.99",
    )
    add("--json", action="store_true", help="print one JSON object")
    add(
        "--wait",
        type=seconds,
        default=0.5,
        metavar="SECONDS",
        help="how long to wait for one more ticket (default: %(default)g)",
    )
    add(
        "--timeout",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long each step of a connection may take (default: %(default)g)",
    )
    add(
        "--limit",
        type=seconds,
        default=120.0,
        metavar="SECONDS",
        help="begin no connection after this time (default: %(default)g)",
    )
    return parser


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, not {text}")
    return rate


def _target(options: argparse.Namespace, parser: Parser) -> tuple[str, int]:
    """Returns the host and the port, or ends the command with a usage error."""
    if options.starttls and options.send is not None:
        parser.error("--send is of no use with --starttls")
    found = re.fullmatch(r"(?:\[([^][]+)\]|([^][:]+))(?::([0-9]{1,5}))?", options.target)
    if found is None:
        parser.error(f"{options.target} is not HOST or HOST:PORT; write [::1]:443 for IPv6")
    usual = STARTTLS[options.starttls].port if options.starttls else _HTTPS
    port = int(found[3] or usual)
    if not 1 <= port <= 65535:
        parser.error(f"the port must be from 1 to 65535, not {port}")
    return found[1] or found[2], port


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))[:_ADDRESSES]


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except OSError:
            continue
        return True
    return False


def _visitor(options: argparse.Namespace, host: str, port: int, server_name: str | None) -> Visitor:
    if options.starttls:
        return SClientVisitor(port, server_name, options.starttls, options.wait, options.timeout)
    request = options.send
    if request is None:
        request = f"HEAD / HTTP/1.1\r\nHost: {server_name or host}\r\nConnection: close\r\n\r\n"
    return SSLVisitor(port, server_name, os.fsencode(request), options.wait, options.timeout)
