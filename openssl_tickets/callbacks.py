"""
What every callback needs: a place that lives as long as the ``SSL_CTX``, and a way out for errors.

A ``SSL_CTX`` can outlive the Python object that was made for it: after an SNI switch a connection
goes on with its first ``SSL_CTX``, whose ``Context`` may be gone. So the callbacks are kept in a
:class:`Slot` under a number that the ``SSL_CTX`` holds as ex_data; libssl hands the number back to
each callback, and it is forgotten when the ``SSL_CTX`` is freed. The numbers are never used again,
so a number that comes too late finds nothing, where a pointer would find garbage.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from openssl_tickets import adapters
from openssl_tickets._libssl import ffi, lib
from openssl_tickets.errors import raise_error

CData = Any

# Under this name a connection remembers the callbacks that its handshake began with.
_PIN = "_openssl_tickets_callbacks"


class Slot:
    """
    The callbacks of one ``SSL_CTX``.

    Attributes:
        callbacks: an immutable set of callbacks. It is replaced as a whole, so that threads in the
            middle of a handshake see either the old or the new one.
        find_connection: leads from a ``SSL *`` to the user's own connection object.
    """

    _slots__ = ("callbacks", "find_connection")

    def __init__(self, callbacks: Any, find_connection: Callable[[CData], Any]) -> None:
        self.callbacks = callbacks
        self.find_connection = find_connection

    def pinned(self, connection: Any) -> Any:
        """
        Returns the callbacks for the handshake that *connection* is in.

        They are those that were in force at its first callback, so that a handshake never sees
        the one half of an old set and the other half of a new one.
        """
        attributes = connection.__dict__
        callbacks = attributes.get(_PIN)
        if callbacks is None:
            callbacks = attributes[_PIN] = self.callbacks
        return callbacks


def unpin(connection: Any) -> None:
    """What *connection* does next is not part of its handshake: take the callbacks of that time."""
    connection.__dict__.pop(_PIN, None)


# By the number that an ``SSL_CTX`` hands to its callbacks.
slots: dict[int, Slot] = {}

_numbers = itertools.count(1)
_ex_data_index: int | None = None
_lock = threading.Lock()


def _new_lock() -> None:
    global _lock
    _lock = threading.Lock()


# Another thread may have held the lock when the process was forked.
os.register_at_fork(after_in_child=_new_lock)


def slot_of(context: adapters.SSLContext, no_callbacks: Any) -> Slot:
    """
    Returns the slot of an ``SSL_CTX``; the first time, makes one and installs the trampolines.

    Args:
        context: the ``SSL_CTX``.
        no_callbacks: what a new slot holds.

    Raises:
        Error: libssl is out of memory.
    """
    global _ex_data_index
    with _lock:
        if _ex_data_index is None:
            index = lib.openssl_tickets_new_ex_data_index()
            if index < 0:
                raise_error("SSL_CTX_get_ex_new_index failed")
            _ex_data_index = index
        number = lib.openssl_tickets_installed(context.pointer, _ex_data_index)
        if number:
            return slots[number]
        number = next(_numbers)
        slot = slots[number] = Slot(no_callbacks, context.find_connection)
        if not lib.openssl_tickets_install(context.pointer, _ex_data_index, number):
            raise_error("SSL_CTX_set_ex_data failed")
        return slot


@ffi.def_extern()  # type: ignore[untyped-decorator]
def openssl_tickets_ssl_ctx_freed(number: int, forget: Callable[..., Any] = slots.pop) -> None:
    # Any thread, at any time, from within a garbage collection too: nothing here may wait.
    forget(number, None)


def surface(
    exception_type: type[BaseException],
    exception: BaseException,
    traceback: TracebackType | None,
) -> None:
    """
    Takes an exception out of a callback: the ``onerror`` of every ``ffi.def_extern``.

    libssl gets the answer that fails closed, which is 0 everywhere. The exception goes to the
    connection where its class can raise it from the call that is under way, and else to
    ``sys.unraisablehook`` with the connection as the object.
    """
    frame = traceback.tb_frame if traceback is not None else None
    connection = frame.f_locals.get("connection") if frame is not None else None
    keep = getattr(type(connection), "_keep_callback_exception", None)
    if keep is None or not keep(connection, exception):
        report(exception, connection)


def report(exception: BaseException, connection: Any) -> None:
    """Hands *exception* to ``sys.unraisablehook`` with *connection* as the object."""
    # In CPython the id of an object is its address; both objects are held by our arguments.
    lib.openssl_tickets_write_unraisable(
        ffi.cast("void *", id(exception)), ffi.cast("void *", id(connection))
    )
