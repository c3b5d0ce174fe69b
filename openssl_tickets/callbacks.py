"""
What all callbacks share: where the callables are kept, and how an exception gets out of one.

A ``SSL_CTX`` can outlive the Python object that was made for it: after an SNI switch a connection
goes on with its first ``SSL_CTX``, whose ``Context`` may be gone. So what can be called is kept
here under a number, and C tells when the last ``SSL_CTX`` or ``SSL`` that knows the number is
freed. A number is never used again: one that comes too late finds nothing, where a pointer would
find garbage.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any, NoReturn

from openssl_tickets._libssl import ffi, lib

# What C knows by a number only.
policies: dict[int, Any] = {}


@ffi.def_extern()  # type: ignore[untyped-decorator]
def openssl_tickets_forget(number: int, forget: Callable[..., Any] = policies.pop) -> None:
    # Runs on any thread, at any time, from within a garbage collection too: it must not wait.
    forget(number, None)


def surface(
    exception_type: type[BaseException],
    exception: BaseException,
    traceback: TracebackType | None,
) -> None:
    """
    Takes an exception out of a callback: the ``onerror`` of every ``ffi.def_extern`` whose failure
    ends the connection.

    libssl gets the answer that fails closed, which is 0 everywhere. The exception goes to the
    connection where its class can raise it from the call that is under way, and else to
    ``sys.unraisablehook`` with the connection as the object.
    """
    # Below this frame there is only the one that has called libssl.
    _surface(exception, traceback, sys._getframe().f_back, True)


def surface_announcement(
    exception_type: type[BaseException],
    exception: BaseException,
    traceback: TracebackType | None,
) -> None:
    """
    The same for a callback that libssl asks nothing of: the connection goes on, and the exception
    is raised only from a call that has nothing else to return.
    """
    _surface(exception, traceback, sys._getframe().f_back, False)


def _surface(
    exception: BaseException,
    traceback: TracebackType | None,
    caller: FrameType | None,
    is_fatal: bool,
) -> None:
    exception.__traceback__ = traceback  # cffi hands it over on the side
    connection = None
    try:
        if traceback is not None:
            connection = _connection_in(traceback.tb_frame.f_locals)
        keep = getattr(type(connection), "_keep_callback_exception", None)
        if keep is not None and keep(connection, exception, caller, is_fatal):
            return
    except BaseException as another:  # a KeyboardInterrupt, here and now
        report(another, connection)
    report(exception, connection)


def _connection_in(names: Mapping[str, Any]) -> Any:
    """
    Returns the connection of a callback, from its local names.

    A signal that came while libssl was at work raises at the callback's very first line, where
    there are the arguments only.
    """
    if "connection" in names:
        return names["connection"]
    return policies[names["policy"]][0](names["ssl"], names["app_data"])


class Unraised:
    """
    What callbacks of *connection* have raised, until a method of the connection raises it.

    Nothing is lost, wherever a signal may come: what has not been raised is reported in the end.
    """

    exceptions: list[BaseException] = []  # noqa: RUF012 (until a signal lets __init__ run)
    is_fatal = False
    """Whether any of them ends the connection."""

    def __init__(self, connection: Any, exception: BaseException, is_fatal: bool) -> None:
        self.connection = connection
        self.exceptions = [exception]
        self.is_fatal = is_fatal

    def add(self, exception: BaseException, is_fatal: bool) -> None:
        self.exceptions.append(exception)
        self.is_fatal |= is_fatal

    def raise_first(self) -> NoReturn:
        """Raises the first of the exceptions, once the others have been reported."""
        while len(self.exceptions) > 1:
            report(self.exceptions[1], self.connection)
            del self.exceptions[1]
        first = self.exceptions[0]
        try:
            raise first
        except BaseException as raised:
            if raised is first:  # else a signal's came before it
                del self.exceptions[0]
            raise
        finally:
            del first  # the traceback would hold it, and it the traceback

    def report(self) -> None:
        """Reports all that has not been raised."""
        while self.exceptions:
            report(self.exceptions[0], self.connection)
            del self.exceptions[0]

    def __del__(self) -> None:
        self.report()


def report(exception: BaseException, connection: Any) -> None:
    """Hands *exception* to ``sys.unraisablehook`` with *connection* as the object."""
    # In CPython the id of an object is its address; both objects are held by our arguments.
    lib.openssl_tickets_write_unraisable(
        ffi.cast("void *", id(exception)), ffi.cast("void *", id(connection))
    )
