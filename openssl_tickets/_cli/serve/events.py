"""Prints the events of ``serve``. At the end it does not wait for ever for a stalled reader."""

from __future__ import annotations

import contextlib
import math
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from openssl_tickets._cli.output import RED, coloured

LineOf = Callable[[str, dict[str, Any]], str]


class Events:
    """
    Writes events to a file descriptor.

    Args:
        descriptor: the file descriptor.
        line_of: makes the text of an event from its name and its fields.
        lost: it is called once, if an event could not be written.
    """

    def __init__(self, descriptor: int, line_of: LineOf, lost: Callable[[], object]) -> None:
        self.are_lost = False
        self._line_of = line_of
        self._descriptor = descriptor
        self._lost = lost
        self._lock = threading.Lock()
        self._end = math.inf

    def tell(self, event: str, **fields: Any) -> None:
        """Writes an event in one piece. If the reader is slow, it waits."""
        line = self._line_of(event, fields).encode(errors="backslashreplace") + b"\n"
        while not self._lock.acquire(timeout=0.1):
            if time.monotonic() >= self._end:
                return  # the thread that holds the lock reports the loss
        try:
            if not self.are_lost:
                _write(self._descriptor, line, lambda: self._end)
        except OSError as error:
            self.lose(str(error))
        finally:
            self._lock.release()

    def hurry(self, seconds: float) -> None:
        """Allows at most *seconds* for all further events. After that they are lost."""
        self._end = min(self._end, time.monotonic() + seconds)

    def lose(self, reason: str) -> None:
        """Stops writing events, and reports it. A second call does nothing."""
        if not self.are_lost:
            self.are_lost = True
            complain(f"nobody reads the events: {reason}")
            self._lost()

    def look(self) -> None:
        """Checks whether the reader has left, also if there is no event to write."""
        poll = select.poll()
        poll.register(self._descriptor, 0)
        if any(ready & (select.POLLERR | select.POLLHUP) for _, ready in poll.poll(0)):
            self.lose("its reader has left")


def complain(error: object) -> None:
    """Prints an error on one line of standard error. It gives up after a second."""
    note(f"{coloured('error:', RED, sys.stderr)} {' '.join(str(error).split())}")


def note(text: str) -> None:
    """Prints a line on standard error. It gives up after a second."""
    if sys.stderr is not None:
        end = time.monotonic() + 1
        with contextlib.suppress(OSError, ValueError):
            _write(sys.stderr.fileno(), f"{text}\n".encode(errors="replace"), lambda: end)


def _write(descriptor: int, data: bytes, end: Callable[[], float]) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    while data:
        while not poll.poll(100):
            if time.monotonic() >= end():
                raise TimeoutError("its reader has stalled")
        # A pipe that is ready takes PIPE_BUF bytes without blocking.
        data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]
