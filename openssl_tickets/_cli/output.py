"""What the commands print, also to an output that is closed, full, or read by nobody any more."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import TextIO, cast

RED, GREEN, YELLOW = 31, 32, 33


def printing(command: Callable[[], int]) -> int:
    """
    Runs *command*, then writes what it has printed, and returns the exit status.

    The command always runs to its end. A reader that has left, as `head -1` does, and an output
    that was closed beforehand change nothing; one that cannot be written, say of a full disk, is
    an error.
    """
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        try:
            status = command()
        except SystemExit as end:  # of argparse
            status = end.code if isinstance(end.code, int) else 1
    error = _write(sys.stdout, text.getvalue())
    if error is not None and not isinstance(error, BrokenPipeError):
        complain(f"the output cannot be written: {error.strerror}")
        return status or 1
    return status


def complain(error: object) -> None:
    """Prints an error on one line of standard error, if there is a standard error."""
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    _write(sys.stderr, f"{coloured('error:', RED, sys.stderr)} {text}\n")


def coloured(text: str, colour: int, stream: TextIO | None) -> str:
    """
    Returns *text* in a *colour*, if *stream* is a terminal and the user has not set ``NO_COLOR``.

    ``printing`` stands in for standard output, so name the real one: ``sys.__stdout__``.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not is_terminal(stream):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def is_terminal(stream: TextIO | None) -> bool:
    """Returns whether *stream* is a terminal; a closed one is not."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def _write(stream: TextIO | None, text: str) -> OSError | None:
    """Returns why *text* could not be written; None if it was, or there is no *stream*."""
    if stream is not None:
        try:
            # A name out of a file need not be in the encoding of the terminal.
            cast(io.TextIOWrapper, stream).reconfigure(errors="backslashreplace")
            stream.write(text)
            stream.flush()
        except OSError as error:
            # Python writes what is left at its end, and would fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return error
    return None
