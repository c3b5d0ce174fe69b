"""Callbacks that record their calls, and helpers for exceptions, threads and memory."""

from __future__ import annotations

import contextlib
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from openssl_tickets import ReceivedTicket, Session, TicketReturn, get_session
from openssl_tickets._native._libssl import lib


class Lying(bytes):
    """Bytes that say that there are *length* of them."""

    def __new__(cls, content: bytes, length: int) -> Lying:
        self = super().__new__(cls, content)
        self.length = length
        return self

    length: int

    def __len__(self) -> int:
        return self.length

    def __bytes__(self) -> bytes:
        return self


class Callback:
    """A callable that supports weak references, so that a test sees when it is freed."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer

    def __call__(self, *_: Any) -> Any:
        return self.answer


class Recorder:
    """A pair of ticket callbacks that record their calls."""

    def __init__(self, appdata: bytes | None = b"data", answer: TicketReturn | None = None) -> None:
        self.appdata = appdata
        self.answer = answer
        self.generated: list[Any] = []
        self.tickets: list[ReceivedTicket] = []
        self.connections: list[Any] = []

    def generate(self, connection: Any, data: Any) -> bytes | None:
        self.generated.append(data)
        self.connections.append(connection)
        return self.appdata

    def decrypt(self, connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
        self.tickets.append(ticket)
        self.connections.append(connection)
        return self.answer

    def clear(self) -> None:
        for calls in (self.generated, self.tickets, self.connections):
            calls.clear()


class Announced:
    """A callback for new sessions that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Session, Any]] = []
        self.agree: list[bool] = []

    def __call__(self, connection: Any, session: Session, data: Any) -> None:
        assert type(session) is Session
        self.calls.append((connection, session, data))
        self.agree.append(get_session(connection) == session)

    @property
    def sessions(self) -> list[Session]:
        return [session for _, session, _ in self.calls]

    def __len__(self) -> int:
        return len(self.calls)

    def take(self) -> list[Session]:
        """Returns the sessions so far, and forgets them."""
        sessions = self.sessions
        self.calls.clear()
        return sessions


class Boom(Exception):
    """The exception that a test's callback raises."""


class Raising:
    """A callback that raises a new exception each time."""

    def __init__(self, kind: type[BaseException] = Boom) -> None:
        self.kind = kind
        self.raised: list[tuple[BaseException, Any]] = []

    def __call__(self, connection: Any, *_: Any) -> Any:
        error = self.kind(f"number {len(self.raised)}")
        self.raised.append((error, connection))
        raise error


class Unraisable:
    """A ``sys.unraisablehook`` that records each exception and its object."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, unraisable: Any) -> None:
        self.seen.append((unraisable.exc_value, unraisable.object))


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Runs *work* in *count* threads at once, and raises the first exception of a thread."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


@contextlib.contextmanager
def traced(trace: Callable[..., Any]) -> Iterator[None]:
    """Sets *trace* with ``sys.settrace``. It may raise an exception, as a signal handler may."""
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def peak_memory() -> int:
    """Returns the peak memory of this process, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class InBetween:
    """The C functions, with what another thread does just before the first call of one."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name = name
        self._work: Callable[[], None] | None = work

    def __getattr__(self, name: str) -> Any:
        if name == self._name and self._work is not None:
            work, self._work = self._work, None
            in_threads(1, lambda _: work())
        return getattr(lib, name)
