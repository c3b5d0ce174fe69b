"""
The classes of :mod:`openssl_tickets.SSL`. That module has put pyOpenSSL on the system's libssl
before it imports this one.
"""

from __future__ import annotations

from typing import Any, SupportsIndex

import OpenSSL.SSL

import openssl_tickets
from openssl_tickets._core.callbacks import Unraised, is_asked, raise_nested_handshake
from openssl_tickets._core.new_session import NewSessionCallback
from openssl_tickets._core.session_stats import SessionStats
from openssl_tickets._core.ticket_callback import DecryptCallback, GenerateCallback
from openssl_tickets._core.ticket_keys import TicketKeys
from openssl_tickets._native.errors import drain_error_queue


class _Unraised(Unraised):
    """
    Takes the place of the connection's ``_raise_ssl_error``, which pyOpenSSL calls with what libssl
    has returned. So connections without such exceptions are as fast as pyOpenSSL's own.
    """

    def __call__(self, ssl: Any, result: int) -> None:
        del vars(self.connection)["_raise_ssl_error"]
        try:
            self.connection._raise_ssl_error(ssl, result)
        except OpenSSL.SSL.Error:
            pass  # what the callback's exception has led to
        except BaseException:
            drain_error_queue()  # pyOpenSSL has not emptied it yet
            self.report()  # now: the traceback of what is raised would keep them
            raise
        # Outside of the except clause, to leave it the context that it came with.
        self.raise_first()


class Session(openssl_tickets.Session, OpenSSL.SSL.Session):
    """
    ``OpenSSL.SSL.Session`` that is an :class:`openssl_tickets.Session` too.

    It comes from :meth:`Connection.get_session`. What ``from_der``, ``from_pem`` and ``copy``
    return belongs to no context, and is an :class:`openssl_tickets.Session` only.
    """


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

    def set_ticket_keys(self, keys: TicketKeys | None) -> None:
        """See :func:`openssl_tickets.set_ticket_keys`."""
        openssl_tickets.set_ticket_keys(self, keys)

    def set_new_session_callback(
        self, callback: NewSessionCallback | None, data: Any = None
    ) -> None:
        """See :func:`openssl_tickets.set_new_session_callback`."""
        openssl_tickets.set_new_session_callback(self, callback, data)

    def set_post_handshake_auth(self, enabled: bool) -> None:
        """See :func:`openssl_tickets.set_post_handshake_auth`."""
        openssl_tickets.set_post_handshake_auth(self, enabled)

    def session_stats(self) -> SessionStats:
        """See :func:`openssl_tickets.session_stats`."""
        return openssl_tickets.session_stats(self)

    def get_session_timeout(self) -> int:
        """See :func:`openssl_tickets.get_session_timeout`."""
        return openssl_tickets.get_session_timeout(self)

    def set_session_timeout(self, seconds: SupportsIndex) -> None:
        """See :func:`openssl_tickets.set_session_timeout`."""
        openssl_tickets.set_session_timeout(self, seconds)


_do_handshake = OpenSSL.SSL.Connection.do_handshake


class Connection(OpenSSL.SSL.Connection):
    """
    ``OpenSSL.SSL.Connection`` with the ticket functions as methods.

    The methods in which libssl may run a callback raise the very exception that the callback
    raised, in place of the ``SSL.Error`` that it led to.
    """

    def get_num_tickets(self) -> int:
        """See :func:`openssl_tickets.get_num_tickets`."""
        return openssl_tickets.get_num_tickets(self)

    def set_num_tickets(self, num_tickets: SupportsIndex) -> None:
        """See :func:`openssl_tickets.set_num_tickets`."""
        openssl_tickets.set_num_tickets(self, num_tickets)

    def new_session_ticket(self) -> None:
        """See :func:`openssl_tickets.new_session_ticket`."""
        openssl_tickets.new_session_ticket(self)

    def get_session(self) -> Session | None:
        """As in ``OpenSSL.SSL``, and see :func:`openssl_tickets.get_session`."""
        theirs = super().get_session()
        if theirs is None:
            return None
        ours = openssl_tickets.get_session(theirs)
        session = Session.__new__(Session)
        session._pointer = ours._pointer  # type: ignore[union-attr]
        vars(session).update(vars(theirs))
        return session

    def set_session(self, session: object) -> None:
        """
        As in ``OpenSSL.SSL`` for a session of pyOpenSSL's, and see
        :func:`openssl_tickets.set_session` for any other.
        """
        if isinstance(session, OpenSSL.SSL.Session):
            super().set_session(session)
        else:
            openssl_tickets.set_session(self, session)

    def session_reused(self) -> bool:
        """See :func:`openssl_tickets.session_reused`."""
        return openssl_tickets.session_reused(self)

    def set_post_handshake_auth(self, enabled: bool) -> None:
        """See :func:`openssl_tickets.set_post_handshake_auth`."""
        openssl_tickets.set_post_handshake_auth(self, enabled)

    def verify_client_post_handshake(self) -> None:
        """See :func:`openssl_tickets.verify_client_post_handshake`."""
        openssl_tickets.verify_client_post_handshake(self)

    def do_handshake(self) -> None:
        """
        As in ``OpenSSL.SSL``, but refused inside a callback of this connection.

        Raises:
            RuntimeError: a callback of this connection is running.
        """
        # Without another proof: pyOpenSSL was proved as openssl_tickets.SSL was imported.
        if is_asked(self._ssl):
            raise_nested_handshake()
        _do_handshake(self)

    def accept(self) -> tuple[Connection, Any]:
        """As in ``OpenSSL.SSL``, but the connection that is returned is of the drop-in's class."""
        client, address = self._socket.accept()  # type: ignore[union-attr] # as in pyOpenSSL
        connection = Connection(self._context, client)
        connection.set_accept_state()
        return connection, address

    def _keep_callback_exception(self, exception: BaseException) -> None:
        """Keeps *exception* for the method that has called libssl."""
        unraised = vars(self).get("_raise_ssl_error")
        if isinstance(unraised, _Unraised):
            unraised.exceptions.append(exception)
        else:
            vars(self)["_raise_ssl_error"] = _Unraised(self, exception)
