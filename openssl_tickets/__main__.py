"""The command line: ``python -m openssl_tickets`` with ``demo``, ``doctor`` or ``run``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Runs the command that *arguments* name, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m openssl_tickets",
        description="Control of TLS session tickets through the system's libssl.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "demo",
        help="a pyOpenSSL server and the real openssl s_client show each feature; needs pyOpenSSL",
    )
    commands.add_parser(
        "doctor",
        help="print which libssl pyOpenSSL, the standard ssl and this package use, and what to do",
    )
    run = commands.add_parser(
        "run",
        help="run an unchanged program with pyOpenSSL on the system's libssl",
        usage="%(prog)s SCRIPT [ARGS] | -m MODULE [ARGS]",
        description="Runs what `python SCRIPT` or `python -m MODULE` would, with pyOpenSSL on the "
        "system's libssl. Processes that the program forks are on it too; programs that it starts "
        "are not.",
    )
    run.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    run.add_argument("script", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)

    # Each is imported only now: they need more than --help does.
    if options.command == "run":
        from openssl_tickets.run import run_module, run_script

        if options.module:
            run_module(options.module[0], options.module[1:])
        elif options.script:
            run_script(options.script[0], options.script[1:])
        else:
            run.error("name a script, or a module with -m")
        return 0
    if options.command == "doctor":
        from openssl_tickets.doctor import doctor

        return 0 if doctor() else 1

    from openssl_tickets.demo import demo
    from openssl_tickets.s_client import SClientError

    try:
        return 0 if demo() else 1
    except SClientError as error:
        print(f"The demo failed: {error}\n{error.output}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
