"""Runs an unchanged program on the system's libssl: ``openssl-tickets run``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from openssl_tickets._cli.output import complain, printing
from openssl_tickets._cli.parser import parser_of
from openssl_tickets._native.errors import LibraryMismatchError
from openssl_tickets._system_openssl.run import run_module, run_script
from openssl_tickets._system_openssl.stand_in import use_system_openssl

_EXAMPLES = """\
examples:
  openssl-tickets run server.py --port 4433
  openssl-tickets run -m twisted web --listen=ssl:4433:privateKey=server.pem

exit status: that of the program; 1 if pyOpenSSL cannot be put on the system's
libssl; 2 if the command line is wrong."""

_DESCRIPTION = """\
Runs what `python SCRIPT` or `python -m MODULE` would run, with pyOpenSSL on the
system's libssl. The processes that the program forks or starts with
multiprocessing are on it too. Other programs that it starts are not."""


def main(arguments: Sequence[str]) -> int:
    """Runs the program that *arguments* name, and lets its exceptions pass."""
    # All arguments after the program's name belong to the program. argparse would take some.
    run: Callable[[str, Sequence[str]], None]
    match arguments:
        case ["-m", name, *rest]:
            run = run_module
        case [name, *rest] if not name.startswith("-"):
            run = run_script
        case _:
            return printing(lambda: _help(arguments))
    try:
        use_system_openssl()
    except (ImportError, LibraryMismatchError) as error:
        complain(error)
        return 1
    run(name, rest)
    return 0


def _help(arguments: Sequence[str]) -> int:
    parser = parser_of(
        "run",
        usage="%(prog)s [-h] SCRIPT [ARGS] | -m MODULE [ARGS]",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
    )
    if list(arguments) not in ([], ["-m"]):
        parser.parse_args(arguments)
    parser.error("name a script, or a module with -m")
