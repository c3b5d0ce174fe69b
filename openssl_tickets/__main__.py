"""The command line: ``python -m openssl_tickets demo``."""

from __future__ import annotations

import argparse
import sys


def main() -> int:
    """Runs the command that the arguments name, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m openssl_tickets",
        description="Control of TLS session tickets through the system's libssl.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "demo",
        help="a pyOpenSSL server and the real openssl s_client show each feature; needs pyOpenSSL",
    )
    parser.parse_args()

    # Only now: it needs pyOpenSSL, and --help does not.
    from openssl_tickets.demo import demo
    from openssl_tickets.s_client import SClientError

    try:
        return 0 if demo() else 1
    except SClientError as error:
        print(f"The demo failed: {error}\n{error.output}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
