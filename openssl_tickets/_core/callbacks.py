"""
What all callbacks share: where their functions are stored, and how an exception gets out.

An ``SSL_CTX`` can outlive its Python object. After a switch by server name (SNI), a connection
still uses its first ``SSL_CTX``, and the ``Context`` of that one may be gone. So the functions are
stored here, under the number of the ``SSL_CTX``. C removes them when the ``SSL_CTX`` is freed
(``_core/slot.c``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.errors import raise_error
from openssl_tickets._typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import SSL_CTX, Pointer

# Each entry starts with the function that finds the user's connection for an SSL. An entry is
# always replaced as a whole, so that a callback gets functions that were set together.
ticket_callbacks: dict[int, tuple[Any, Any, Any, Any]] = {}
new_session_callbacks: dict[int, tuple[Any, Any, Any]] = {}
client_sessions: dict[int, tuple[Any, Any]] = {}

for _table in (ticket_callbacks, new_session_callbacks, client_sessions):
    lib.openssl_tickets_forget_in(id(_table))  # in CPython an object's id is its address


def number_of(ssl_ctx: Pointer[SSL_CTX]) -> int:
    """
    Returns the number of an ``SSL_CTX *``, under which its callbacks are stored.

    Raises:
        Error: there is no memory, or another copy of this package has set callbacks or keys on the
            context.
    """
    number = int(lib.openssl_tickets_number_of(ssl_ctx))
    if not number:
        raise_error(
            "this context cannot have callbacks or keys of this openssl_tickets: either another "
            "copy of the package has set some, or there is no memory"
        )
    return number


# Returns true while a callback of an SSL is running. A handshake inside it would corrupt libssl's
# memory.
is_asked = lib.openssl_tickets_is_asked


def raise_nested_handshake() -> NoReturn:
    """
    Refuses a handshake inside a callback of the same connection.

    Raises:
        RuntimeError: always.
    """
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
    Passes on an exception from a ticket callback. This is the ``onerror`` of ``ffi.def_extern``.

    cffi gives C the answer that ends the connection. If the connection's class can raise the
    exception from the call that is under way, the connection gets it. Otherwise
    ``sys.unraisablehook`` gets it, with the connection as the object.
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
    Passes on an exception from a callback that cannot refuse anything.

    The connection goes on and none of its methods may fail. So the exception goes to
    ``sys.unraisablehook``.
    """
    connection = None
    try:
        exception = _with_traceback(exception, traceback)
        connection = _connection_in(traceback)
    except BaseException as another:
        report(another, connection)
    report(exception, connection)


def _with_traceback(exception: BaseException, traceback: TracebackType | None) -> BaseException:
    # cffi passes the traceback separately. The exception's own class may refuse to store it.
    return BaseException.with_traceback(exception, traceback)


def _connection_in(traceback: TracebackType | None) -> Any:
    """
    Returns the connection of the callback that raised.

    cffi passes no arguments to ``onerror``, so they are read from the callback's frame. If a signal
    arrives while libssl is working, its exception comes at the first line of the callback, and the
    frame has only the arguments.
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
    The exceptions of a connection's callbacks, until a method of the connection raises them.

    No exception is lost, even if a signal arrives at any point here. Whatever is not raised is
    reported in the end.
    """

    exceptions: list[BaseException] = []  # noqa: RUF012 (for a signal before __init__ has run)

    def __init__(self, connection: Any, exception: BaseException) -> None:
        self.connection = connection
        self.exceptions = [exception]

    def raise_first(self) -> NoReturn:
        """Reports all exceptions but the first, then raises the first."""
        while len(self.exceptions) > 1:
            report(self.exceptions[1], self.connection)
            del self.exceptions[1]
        first = self.exceptions[0]
        try:
            raise first
        except BaseException as raised:
            if raised is first:  # otherwise a signal raised something else
                del self.exceptions[0]
            raise
        finally:
            del first  # the exception and its traceback would keep each other alive

    def report(self) -> None:
        """Reports all exceptions that were not raised."""
        while self.exceptions:
            report(self.exceptions[0], self.connection)
            del self.exceptions[0]

    def __del__(self) -> None:
        self.report()


def report(exception: BaseException, connection: Any) -> None:
    """Gives *exception* to ``sys.unraisablehook``, with *connection* as the object."""
    # In CPython, the id of an object is its address. The arguments keep both objects alive.
    lib.openssl_tickets_write_unraisable(
        ffi.cast("void *", id(exception)), ffi.cast("void *", id(connection))
    )
