"""The parser of all commands. Its errors take one line, and its help fits 80 columns."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from typing import Any, NoReturn

from openssl_tickets._cli.output import complain

PROGRAM = "openssl-tickets"


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("width", min(shutil.get_terminal_size().columns, 80) - 2)
        super().__init__(*args, **kwargs)


class Parser(argparse.ArgumentParser):
    """A parser that keeps the line breaks of its texts, and prints an error on one line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", _Formatter)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        complain(f"{message} (see `{self.prog} --help`)")
        self.exit(2)


def parser_of(command: str, **texts: Any) -> Parser:
    """Returns the parser of a *command*. The *texts* are its description, epilog and usage."""
    return Parser(prog=f"{PROGRAM} {command}", **texts)


def number(smallest: int, largest: int) -> Callable[[str], int]:
    """Returns a function that reads an integer from *smallest* to *largest*."""

    def number(text: str) -> int:
        value = int(text)
        if not smallest <= value <= largest:
            raise argparse.ArgumentTypeError(f"must be from {smallest} to {largest}, not {value}")
        return value

    return number


def seconds(text: str) -> float:
    """Reads a time in seconds, of at most a day."""
    value = float(text)
    if not 0 < value <= 86400:  # refuses nan too
        raise argparse.ArgumentTypeError(
            f"must be more than 0 seconds, and at most 86400, not {text}"
        )
    return value
