"""
The drop-in for ``OpenSSL.SSL``: change ``from OpenSSL import SSL`` to
``from openssl_tickets import SSL``, and nothing else.

All of ``OpenSSL.SSL`` is here. :class:`Context` and :class:`Connection` have the ticket functions
as methods, and a connection raises what a callback raised from the call that ran the callback.

Importing it puts pyOpenSSL on the system's libssl, see
:func:`openssl_tickets.use_system_openssl`.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, SupportsIndex, TypeVar

import openssl_tickets
from openssl_tickets.callbacks import report
from openssl_tickets.ticket_callback import DecryptCallback, GenerateCallback

openssl_tickets.use_system_openssl()

import OpenSSL.SSL  # noqa: E402 (only now, on the system's libssl)
from OpenSSL.SSL import *  # noqa: E402, F403

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def __getattr__(name: str) -> Any:
    # What OpenSSL.SSL has and does not list in its __all__.
    return getattr(OpenSSL.SSL, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(OpenSSL.SSL)})


def _raises_callback_exceptions(
    method: Callable[Concatenate[Connection, _Arguments], _Result],
) -> Callable[Concatenate[Connection, _Arguments], _Result]:
    """Wraps a *method* in which libssl may run callbacks, to raise what they raised."""

    @functools.wraps(method)
    def wrapper(self: Connection, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        if self._callback_exceptions is not None:
            return method(self, *args, **kwargs)  # called by another wrapped method
        self._callback_exceptions = exceptions = []
        try:
            result = method(self, *args, **kwargs)
        except OpenSSL.SSL.Error:
            if not exceptions:
                raise
        else:
            if not exceptions:
                return result
        finally:
            self._callback_exceptions = None
            for exception in exceptions[1:]:
                report(exception, self)
        # Outside of the except clause, to leave the exception the context that it came with.
        raise exceptions[0]

    return wrapper


class Context(OpenSSL.SSL.Context):
    """``OpenSSL.SSL.Context`` with the ticket functions as methods."""

    def get_num_tickets(self) -> int:
        """See :func:`openssl_tickets.get_num_tickets`."""
        return openssl_tickets.get_num_tickets(self)

    def set_num_tickets(self, num_tickets: SupportsIndex) -> None:
        """See :func:`openssl_tickets.set_num_tickets`."""
        openssl_tickets.set_num_tickets(self, num_tickets)

    def set_session_ticket_callback(
        self,
        generate: GenerateCallback | None = None,
        decrypt: DecryptCallback | None = None,
        data: Any = None,
    ) -> None:
        """See :func:`openssl_tickets.set_session_ticket_callback`."""
        openssl_tickets.set_session_ticket_callback(self, generate, decrypt, data)


class Connection(OpenSSL.SSL.Connection):
    """
    ``OpenSSL.SSL.Connection`` with the ticket functions as methods.

    The methods in which libssl may run a callback raise the very exception that the callback
    raised, in place of the ``SSL.Error`` that it led to.
    """

    # The exceptions of the callbacks of the call that is under way; None outside of one.
    _callback_exceptions: list[BaseException] | None = None

    def get_num_tickets(self) -> int:
        """See :func:`openssl_tickets.get_num_tickets`."""
        return openssl_tickets.get_num_tickets(self)

    def set_num_tickets(self, num_tickets: SupportsIndex) -> None:
        """See :func:`openssl_tickets.set_num_tickets`."""
        openssl_tickets.set_num_tickets(self, num_tickets)

    def new_session_ticket(self) -> None:
        """See :func:`openssl_tickets.new_session_ticket`."""
        openssl_tickets.new_session_ticket(self)

    def accept(self) -> tuple[Connection, Any]:
        """As in ``OpenSSL.SSL``, but what is returned is a connection of this class."""
        client, address = self._socket.accept()
        connection = type(self)(self._context, client)
        connection.set_accept_state()
        return connection, address

    do_handshake = _raises_callback_exceptions(OpenSSL.SSL.Connection.do_handshake)
    recv = _raises_callback_exceptions(OpenSSL.SSL.Connection.recv)
    recv_into = _raises_callback_exceptions(OpenSSL.SSL.Connection.recv_into)
    read = recv
    send = _raises_callback_exceptions(OpenSSL.SSL.Connection.send)
    write = send
    sendall = _raises_callback_exceptions(OpenSSL.SSL.Connection.sendall)
    shutdown = _raises_callback_exceptions(OpenSSL.SSL.Connection.shutdown)

    def _keep_callback_exception(self, exception: BaseException) -> bool:
        """Takes over *exception* if a wrapped method is there to raise it."""
        if self._callback_exceptions is None:
            return False
        self._callback_exceptions.append(exception)
        return True
