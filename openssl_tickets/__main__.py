"""The command line: ``openssl-tickets``, or ``python -m openssl_tickets``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from openssl_tickets import OPENSSL_VERSION, __version__
from openssl_tickets._cli.output import complain, printing
from openssl_tickets._cli.parser import PROGRAM, Parser
from openssl_tickets._native.errors import LibraryMismatchError

# A command's module is imported only when the command runs, because --help needs much less.
_COMMANDS = {
    "demo": "show each feature with a pyOpenSSL server and openssl s_client",
    "doctor": "print which libssl each library uses, and what to do",
    "run": "run an unchanged program with pyOpenSSL on the system's libssl",
    "keys": "make, show and rotate ticket key files of four servers",
    "serve": "run a TLS server that reports each ticket",
    "probe": "ask a running server what it does with tickets",
    "inspect": "print what a session file holds, but not its secrets",
}

# These commands handle an output that cannot be written themselves.
_OWN_OUTPUT = ("run", "serve", "keys")

_INTERRUPTED = 130  # the status that a shell reports for a program that SIGINT has ended

_EXAMPLES = """\
examples:
  openssl-tickets demo
  openssl-tickets doctor
  openssl-tickets run server.py --port 4433
  openssl-tickets keys new ticket.key
  openssl-tickets serve --port 4433 --tickets 1
  openssl-tickets probe localhost:4433 -n 48
  openssl-tickets inspect session.pem

`openssl-tickets COMMAND --help` has more of them. `python -m openssl_tickets`
is the same command."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command that *arguments* name, and returns the exit status."""
    if not arguments or arguments[0] not in _COMMANDS:
        return printing(lambda: _help(arguments))
    name, *rest = arguments
    try:
        command = importlib.import_module(f"openssl_tickets._cli.{name}").main
    except (ImportError, LibraryMismatchError) as error:  # the demo needs pyOpenSSL
        complain(error)
        return 1
    if name == "run":  # the program's own exceptions pass through, KeyboardInterrupt too
        return int(command(rest))
    try:
        if name in _OWN_OUTPUT:
            return int(command(rest))
        return printing(lambda: command(rest))
    except KeyboardInterrupt:
        complain("interrupted")
        return _INTERRUPTED


def script() -> int:
    """Runs the console script ``openssl-tickets`` like ``python -m openssl_tickets``."""
    # Python has put the script's folder first. `run -m` looks for modules in the current folder.
    if not getattr(sys.flags, "safe_path", sys.flags.isolated):
        sys.path[0] = os.getcwd()
    return main(sys.argv[1:])


def _help(arguments: Sequence[str]) -> NoReturn:
    parser = Parser(
        prog=PROGRAM,
        description="Controls TLS session tickets through the system's libssl.",
        epilog=_EXAMPLES,
    )
    version = f"{PROGRAM} {__version__} ({OPENSSL_VERSION})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in _COMMANDS.items():
        commands.add_parser(name, help=text)
    if parser.parse_args(arguments).command is None:
        parser.error(f"name a command: {', '.join(_COMMANDS)}")
    parser.error("the command comes first")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
