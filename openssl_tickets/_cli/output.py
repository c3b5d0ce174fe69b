"""What the commands print, also to an output that is closed, full, or read by nobody any more."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable


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
    if sys.stdout is None:
        return status
    try:
        # A name out of a file need not be in the terminal's encoding.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        sys.stdout.write(text.getvalue())
        sys.stdout.flush()
    except OSError as error:
        # Python writes what is left at its end, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            complain(f"the output cannot be written: {error.strerror}")
            return status or 1
    return status


def complain(error: object) -> None:
    """Prints an error on standard error, if there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"error: {error}", file=sys.stderr, flush=True)
