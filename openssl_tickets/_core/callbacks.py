"""
What all callbacks share: where the callables are kept, and how an exception gets out of one.

A ``SSL_CTX`` can outlive the Python object that was made for it: after an SNI switch a connection
goes on with its first ``SSL_CTX``, whose ``Context`` may be gone. So the callables are kept here,
under the number of the ``SSL_CTX``, and C removes them as it is freed (``_core/slot.c``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.errors import raise_error

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import SSL_CTX, Pointer

# Each entry begins with the function that leads from an SSL to the user's connection. It is
# replaced as a whole, so that a callback sees the callables of one call.
ticket_callbacks: dict[int, tuple[Any, Any, Any, Any]] = {}
new_session_callbacks: dict[int, tuple[Any, Any, Any]] = {}
client_sessions: dict[int, tuple[Any, Any]] = {}

for _table in (ticket_callbacks, new_session_callbacks, client_sessions):
    lib.openssl_tickets_forget_in(id(_table))  # in CPython an object's id is its address


def number_of(ssl_ctx: Pointer[SSL_CTX]) -> int:
    """
    Returns the number of a ``SSL_CTX *``, under which its callbacks are kept.

    Raises:
        Error: there is no memory, or the context has callbacks or keys of another copy of this
            package.
    """
    number = int(lib.openssl_tickets_number_of(ssl_ctx))
    if not number:
        raise_error(
            "this context cannot have callbacks or keys of this openssl_tickets: either another "
            "copy of the package has set some, or there is no memory"
        )
    return number


# Whether a callback of an SSL is running. libssl does not survive a handshake within.
is_asked = lib.openssl_tickets_is_asked


def raise_nested_handshake() -> NoReturn:
    """Refuses a handshake inside a callback of the same connection."""
    raise RuntimeError(
        "do_handshake() was called inside a callback of its own connection, where libssl is in the "
        "middle of a handshake already: return from the callback first"
    )


def surface(
    exception_type: type[BaseException],
    exception: BaseException,
    traceback: TracebackType | None,
) -> None:
    """
    Takes an exception out of a ticket callback: the ``onerror`` of its ``ffi.def_extern``.

    libssl gets the answer that ends the connection, which is 0. The exception goes to the
    connection if its class can raise it from the call that is under way, and else to
    ``sys.unraisablehook`` with the connection as the object.
    """
    connection = None
    try:
        exception = _with_traceback(exception, traceback)
        connection = _connection_in(traceback)
        keep = getattr(type(connection), "_keep_callback_exception", None)
        if keep is not None:
            keep(connection, exception)
            return
    except BaseException as another:  # a KeyboardInterrupt, here and now
        report(another, connection)
    report(exception, connection)


def surface_announcement(
    exception_type: type[BaseException],
    exception: BaseException,
    traceback: TracebackType | None,
) -> None:
    """
    The same for a callback that libssl asks nothing of. The connection goes on, and no call of it
    may fail for that: the exception goes to ``sys.unraisablehook``.
    """
    connection = None
    try:
        exception = _with_traceback(exception, traceback)
        connection = _connection_in(traceback)
    except BaseException as another:
        report(another, connection)
    report(exception, connection)


def _with_traceback(exception: BaseException, traceback: TracebackType | None) -> BaseException:
    # cffi hands it over on the side. An exception's own class may refuse what is set.
    return BaseException.with_traceback(exception, traceback)


def _connection_in(traceback: TracebackType | None) -> Any:
    """
    Returns the connection of the callback that has raised.

    cffi hands over no arguments; they are the local names of the callback's own frame. A signal
    that came while libssl was at work raises at the callback's very first line, where there are
    the arguments only.
    """
    names: Mapping[str, Any] = traceback.tb_frame.f_locals if traceback is not None else {}
    if "connection" in names or "number" not in names:
        return names.get("connection")
    number = names["number"]
    tables: tuple[Mapping[int, Any], ...] = (
        ticket_callbacks,
        new_session_callbacks,
        client_sessions,
    )
    entry = next((table[number] for table in tables if number in table), None)
    return entry[0](names["ssl"], names["app_data"]) if entry is not None else None


class Unraised:
    """
    What callbacks of *connection* have raised, until a method of the connection raises it.

    Nothing is lost, wherever a signal may come: what has not been raised is reported in the end.
    """

    exceptions: list[BaseException] = []  # noqa: RUF012 (until a signal lets __init__ run)

    def __init__(self, connection: Any, exception: BaseException) -> None:
        self.connection = connection
        self.exceptions = [exception]

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
