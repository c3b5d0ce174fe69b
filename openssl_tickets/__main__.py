"""The command line: ``python -m openssl_tickets``, and what it can do."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from openssl_tickets._cli.output import complain, printing
from openssl_tickets._native.errors import LibraryMismatchError

# Each module is imported only when its command is run: they need more than --help does.
_COMMANDS = {
    "demo": "a pyOpenSSL server and the real openssl s_client show each feature; needs pyOpenSSL",
    "doctor": "print which libssl pyOpenSSL, the standard ssl and this package use, and what to do",
    "run": "run an unchanged program with pyOpenSSL on the system's libssl",
    "keys": "make, show and rotate ticket key files of nginx, HAProxy, Apache and Envoy",
    "serve": "a TLS server for scripts and for trying out, which tells each thing that happens",
    "inspect": "print what a session file holds, but not its secrets",
}

# Those that know what it means if their output cannot be written.
_OWN_OUTPUT = ("run", "serve", "keys")

_EXAMPLES = """\
examples:
  python -m openssl_tickets demo
  python -m openssl_tickets doctor
  python -m openssl_tickets run server.py --port 4433
  python -m openssl_tickets keys new ticket.key
  python -m openssl_tickets serve --port 4433 --tickets 1
  python -m openssl_tickets inspect session.pem

`python -m openssl_tickets COMMAND --help` has more of them."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command that *arguments* name, and returns the exit status."""
    if not arguments or arguments[0] not in _COMMANDS:
        return printing(lambda: _help(arguments))
    name, *rest = arguments
    try:
        command = importlib.import_module(f"openssl_tickets._cli.{name}").main
    except (ImportError, LibraryMismatchError) as error:  # of pyOpenSSL, which the demo needs
        complain(error)
        return 1
    if name in _OWN_OUTPUT:
        return int(command(rest))
    return printing(lambda: command(rest))


def _help(arguments: Sequence[str]) -> NoReturn:
    parser = argparse.ArgumentParser(
        prog="python -m openssl_tickets",
        description="Control of TLS session tickets through the system's libssl.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, text in _COMMANDS.items():
        commands.add_parser(name, help=text)
    parser.parse_args(arguments)
    parser.error("the command comes first")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
