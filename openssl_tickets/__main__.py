"""The command line: ``python -m openssl_tickets``, and what it can do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

_EXAMPLES = """\
examples:
  python -m openssl_tickets demo
  python -m openssl_tickets doctor
  python -m openssl_tickets run server.py --port 4433
  python -m openssl_tickets keys new ticket.key
  python -m openssl_tickets serve --port 4433 --tickets 1
  python -m openssl_tickets inspect session.pem

`python -m openssl_tickets COMMAND --help` has more of them."""

_RUN_EXAMPLES = """\
examples:
  python -m openssl_tickets run server.py --port 4433
  python -m openssl_tickets run -m twisted web --listen=ssl:4433:privateKey=server.pem"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command that *arguments* name, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m openssl_tickets",
        description="Control of TLS session tickets through the system's libssl.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "demo",
        help="a pyOpenSSL server and the real openssl s_client show each feature; needs pyOpenSSL",
    )
    commands.add_parser(
        "doctor",
        help="print which libssl pyOpenSSL, the standard ssl and this package use, and what to do",
    )
    commands.add_parser(
        "keys",
        help="make, show and rotate ticket key files of nginx, HAProxy, Apache and Envoy",
        add_help=False,
    )
    commands.add_parser(
        "serve",
        help="a TLS server for scripts and for trying out, which tells each thing that happens",
        add_help=False,
    )
    commands.add_parser(
        "inspect",
        help="print what a session file holds, but not its secrets",
        add_help=False,
    )
    run = commands.add_parser(
        "run",
        help="run an unchanged program with pyOpenSSL on the system's libssl",
        usage="%(prog)s [-h] SCRIPT [ARGS] | -m MODULE [ARGS]",
        description="Runs what `python SCRIPT` or `python -m MODULE` would, with pyOpenSSL on the "
        "system's libssl. Processes that the program forks are on it too; programs that it starts "
        "are not.",
        epilog=_RUN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # Each is imported only when it is run: they need more than --help does.
    # What comes after the program's name is the program's, and argparse would take a part of it.
    match arguments:
        case ["run", "-m", module, *rest]:
            from openssl_tickets._system_openssl.run import run_module

            run_module(module, rest)
            return 0
        case ["run", script, *rest] if not script.startswith("-"):
            from openssl_tickets._system_openssl.run import run_script

            run_script(script, rest)
            return 0
        case ["run"] | ["run", "-m"]:
            run.error("name a script, or a module with -m")
        case ["keys", *rest]:
            from openssl_tickets._cli.keys import main as keys

            return keys(rest)
        case ["serve", *rest]:
            from openssl_tickets._cli.serve import main as serve

            return serve(rest)
        case ["inspect", *rest]:
            from openssl_tickets._cli.inspect import main as inspect

            return inspect(rest)

    options = parser.parse_args(arguments)
    if options.command == "doctor":
        from openssl_tickets._cli.doctor import doctor

        return 0 if doctor() else 1

    from openssl_tickets._cli.demo import demo
    from openssl_tickets.s_client import SClientError

    try:
        return 0 if demo() else 1
    except SClientError as error:
        print(f"The demo failed: {error}\n{error.output}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
