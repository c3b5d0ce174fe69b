"""Prints the commands' output, also if the output is closed or full, or its reader has left."""

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
    Runs *command*, writes what it printed, and returns the exit status.

    The command always runs to its end. If the reader has left, as ``head -1`` does, or the output
    was closed before, the status does not change. Any other failure to write, as on a full disk, is
    an error.
    """
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        try:
            status = command()
        except SystemExit as end:  # from argparse
            status = end.code if isinstance(end.code, int) else 1
    error = _write(sys.stdout, text.getvalue())
    if error is not None and not isinstance(error, BrokenPipeError):
        complain(f"the output cannot be written: {error.strerror}")
        return status or 1
    return status


def complain(error: object) -> None:
    """Prints an error on one line of standard error. It does nothing if that is closed."""
    text = " ".join(line.strip() for line in words_of(error).splitlines() if line.strip())
    _write(sys.stderr, f"{coloured('error:', RED, sys.stderr)} {text}\n")


def words_of(error: object) -> str:
    """Returns the message of an error. For one of the system that is the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        file = error.filename
        return error.strerror if file is None else f"{os.fsdecode(file)}: {error.strerror}"
    return str(error)


def coloured(text: str, colour: int, stream: TextIO | None) -> str:
    """
    Returns *text* in a *colour* if *stream* is a terminal.

    It returns *text* unchanged if the user has set ``NO_COLOR`` or ``TERM=dumb``. Inside
    ``printing``, pass ``sys.__stdout__``, because ``sys.stdout`` is replaced there.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not is_terminal(stream):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def is_terminal(stream: TextIO | None) -> bool:
    """Returns whether *stream* is a terminal. It is False for a closed stream."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def _write(stream: TextIO | None, text: str) -> OSError | None:
    """Writes *text*. Returns the error, or None if it was written or there is no *stream*."""
    if stream is not None:
        try:
            # A name from a file may not fit the encoding of the terminal.
            cast(io.TextIOWrapper, stream).reconfigure(errors="backslashreplace")
            stream.write(text)
            stream.flush()
        except OSError as error:
            # Otherwise Python would write the rest of the buffer at its end, and fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return error
    return None
