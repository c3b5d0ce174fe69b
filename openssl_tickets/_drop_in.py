"""
The classes of :mod:`openssl_tickets.SSL`. That module has put pyOpenSSL on the system's libssl
before it imports this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import OpenSSL.SSL

import openssl_tickets
from openssl_tickets._adapters.types import ForeignSession
from openssl_tickets._core.callbacks import Unraised, is_asked, raise_nested_handshake
from openssl_tickets._core.new_session import D, NewSessionCallback
from openssl_tickets._core.session_stats import SessionStats
from openssl_tickets._core.ticket_callback import DecryptCallback, GenerateCallback
from openssl_tickets._core.ticket_keys import TicketKeys
from openssl_tickets._core.ticket_stats import TicketStats
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
        """
        Returns how many tickets a server sends after a full TLS 1.3 handshake; 2 by default.

        More: :func:`openssl_tickets.get_num_tickets`.
        """
        return openssl_tickets.get_num_tickets(self)

    def set_num_tickets(self, num_tickets: SupportsIndex) -> None:
        """
        Sets how many tickets a server sends after a full TLS 1.3 handshake; 0 for none.

        It is for connections that are made from now on.
        More: :func:`openssl_tickets.set_num_tickets`.

        Raises:
            TypeError: *num_tickets* is not an integer.
            ValueError: it is out of range, or the context is for clients only.
        """
        openssl_tickets.set_num_tickets(self, num_tickets)

    @overload
    def set_session_ticket_callback(
        self,
        generate: GenerateCallback[None] | None = None,
        decrypt: DecryptCallback[None] | None = None,
    ) -> None: ...
    @overload
    def set_session_ticket_callback(
        self,
        generate: GenerateCallback[D] | None,
        decrypt: DecryptCallback[D] | None,
        data: D,
    ) -> None: ...
    @overload
    def set_session_ticket_callback(
        self,
        generate: GenerateCallback[D] | None = None,
        decrypt: DecryptCallback[D] | None = None,
        *,
        data: D,
    ) -> None: ...
    def set_session_ticket_callback(
        self,
        generate: GenerateCallback[Any] | None = None,
        decrypt: DecryptCallback[Any] | None = None,
        data: Any = None,
    ) -> None:
        """
        Sets what is asked whenever a ticket is made for a client, or received from one.

        ``generate(connection, data)`` returns the ticket's application data as bytes, or None.
        ``decrypt(connection, ticket, data)`` returns a ``TicketReturn``, or None for what OpenSSL
        does by itself. What they raise ends the connection, and is raised from its methods. Both
        None removes them. More: :func:`openssl_tickets.set_session_ticket_callback`.

        Raises:
            TypeError: a callback is not callable.
            ValueError: *decrypt* would not be asked, since the context's tickets are stateful; or
                the context is for clients only.
            Error: libssl is out of memory, or another copy of this package has set callbacks.
        """
        openssl_tickets.set_session_ticket_callback(self, generate, decrypt, data)

    def set_ticket_keys(self, keys: TicketKeys | None, purpose: bytes = b"") -> None:
        """
        Has tickets encrypted with *keys*, which many contexts, workers and hosts may share.

        None: a random key of the context's own. With a *purpose*, tickets for another one are
        unknown. More: :func:`openssl_tickets.set_ticket_keys`.

        Raises:
            TypeError: *keys* is not a :class:`openssl_tickets.TicketKeys`, or *purpose* not bytes.
            ValueError: *purpose* is longer than 255 bytes, or *keys* is None and there is one; or
                the context is for clients only.
            Error: libssl is out of memory or has no AES, or another copy of this package has set
                callbacks or keys.
        """
        openssl_tickets.set_ticket_keys(self, keys, purpose)

    @overload
    def set_new_session_callback(self, callback: NewSessionCallback[None] | None) -> None: ...
    @overload
    def set_new_session_callback(self, callback: NewSessionCallback[D] | None, data: D) -> None: ...
    def set_new_session_callback(
        self, callback: NewSessionCallback[Any] | None, data: Any = None
    ) -> None:
        """
        Sets ``callback(connection, session, data)``, which is called with each new session: on a
        client as each ticket arrives, on a server as each is made.

        What it raises goes to ``sys.unraisablehook``. None removes it.
        More: :func:`openssl_tickets.set_new_session_callback`.

        Raises:
            TypeError: *callback* is not callable.
            Error: libssl is out of memory, or another copy of this package has set callbacks.
        """
        openssl_tickets.set_new_session_callback(self, callback, data)

    def set_post_handshake_auth(self, enabled: bool) -> None:
        """
        Lets a client say that it would send its certificate after the handshake (TLS 1.3).

        It is off by default. More: :func:`openssl_tickets.set_post_handshake_auth`.
        """
        openssl_tickets.set_post_handshake_auth(self, enabled)

    def session_stats(self) -> SessionStats:
        """
        Returns libssl's counts of the context's handshakes and of the sessions in its cache.

        More: :func:`openssl_tickets.session_stats`.
        """
        return openssl_tickets.session_stats(self)

    def ticket_stats(self) -> TicketStats:
        """
        Returns what has become of the tickets that this context made and received.

        More: :func:`openssl_tickets.ticket_stats`.

        Raises:
            ValueError: the context is for clients only.
            Error: libssl is out of memory, or another copy of this package is at work.
        """
        return openssl_tickets.ticket_stats(self)

    def set_server_name_binding(self, enabled: bool) -> None:
        """
        Has a ticket be good only for the server name (SNI) that it was issued for.

        More: :func:`openssl_tickets.set_server_name_binding`.

        Raises:
            ValueError: the context is for clients only.
            Error: libssl is out of memory, or another copy of this package is at work.
        """
        openssl_tickets.set_server_name_binding(self, enabled)

    def get_max_session_lifetime(self) -> int | None:
        """
        Returns how long after its full handshake a session ends at the latest, in seconds.

        More: :func:`openssl_tickets.get_max_session_lifetime`.

        Raises:
            Error: libssl is out of memory, or another copy of this package is at work.
        """
        return openssl_tickets.get_max_session_lifetime(self)

    def set_max_session_lifetime(self, seconds: SupportsIndex | None) -> None:
        """
        Sets how long a session lasts at most, however often its ticket is renewed; None: no limit.

        More: :func:`openssl_tickets.set_max_session_lifetime`.

        Raises:
            TypeError: *seconds* is not an integer.
            ValueError: it is out of range, or the context is for clients only.
            Error: libssl is out of memory, or another copy of this package is at work.
        """
        openssl_tickets.set_max_session_lifetime(self, seconds)

    def get_session_timeout(self) -> int:
        """
        Returns how long the context's new sessions can be resumed, in seconds.

        More: :func:`openssl_tickets.get_session_timeout`.
        """
        return openssl_tickets.get_session_timeout(self)

    def set_session_timeout(self, seconds: SupportsIndex) -> None:
        """
        Sets how long the context's new sessions can be resumed, in *seconds*.

        More: :func:`openssl_tickets.set_session_timeout`.

        Raises:
            TypeError: *seconds* is not an integer.
            ValueError: it is out of range.
        """
        openssl_tickets.set_session_timeout(self, seconds)


_do_handshake = OpenSSL.SSL.Connection.do_handshake


class Connection(OpenSSL.SSL.Connection):
    """
    ``OpenSSL.SSL.Connection`` with the ticket functions as methods.

    The methods in which libssl may run a callback raise the very exception that the callback
    raised, in place of the ``SSL.Error`` that it led to.
    """

    def get_num_tickets(self) -> int:
        """
        Returns how many tickets the server sends after a full TLS 1.3 handshake: its context's
        number, if it has been given none of its own.

        More: :func:`openssl_tickets.get_num_tickets`.
        """
        return openssl_tickets.get_num_tickets(self)

    def set_num_tickets(self, num_tickets: SupportsIndex) -> None:
        """
        Sets how many tickets the server sends after a full TLS 1.3 handshake; before that.

        More: :func:`openssl_tickets.set_num_tickets`.

        Raises:
            TypeError: *num_tickets* is not an integer.
            ValueError: it is out of range, or the connection is a client.
        """
        openssl_tickets.set_num_tickets(self, num_tickets)

    def new_session_ticket(self) -> None:
        """
        Asks for one more ticket, which is sent ahead of the next write's data (TLS 1.3).

        More: :func:`openssl_tickets.new_session_ticket`.

        Raises:
            Error: the connection is a client or speaks TLS 1.2, or its handshake is not done.
        """
        openssl_tickets.new_session_ticket(self)

    def get_session(self) -> Session | None:
        """
        Returns the session that the connection resumed or made; None before that.

        It is pyOpenSSL's own and an :class:`openssl_tickets.Session`.
        More: :func:`openssl_tickets.get_session`.
        """
        theirs = super().get_session()
        if theirs is None:
            return None
        ours = openssl_tickets.get_session(theirs)
        session = Session.__new__(Session)
        session._pointer = ours._pointer  # type: ignore[union-attr]
        vars(session).update(vars(theirs))
        return session

    def set_session(self, session: openssl_tickets.Session | ForeignSession) -> None:
        """
        Offers *session* to the server, so that the connection resumes it; before the handshake.

        For a session of pyOpenSSL's it is as in ``OpenSSL.SSL``, which may refuse those of other
        contexts. For any other see :func:`openssl_tickets.set_session`.

        Raises:
            TypeError: *session* is not a session.
            ValueError: the handshake has begun, or the connection is a server.
            Error: libssl refused.
        """
        if isinstance(session, OpenSSL.SSL.Session):
            super().set_session(session)
        else:
            openssl_tickets.set_session(self, session)

    def session_reused(self) -> bool:
        """
        Returns whether the connection resumed a session; False before its handshake.

        More: :func:`openssl_tickets.session_reused`.
        """
        return openssl_tickets.session_reused(self)

    def set_post_handshake_auth(self, enabled: bool) -> None:
        """
        Lets this client say that it would send its certificate after the handshake (TLS 1.3).

        More: :func:`openssl_tickets.set_post_handshake_auth`.

        Raises:
            ValueError: the handshake has begun.
        """
        openssl_tickets.set_post_handshake_auth(self, enabled)

    def verify_client_post_handshake(self) -> None:
        """
        Asks the client for its certificate now; the next ``do_handshake`` or write sends this.

        More: :func:`openssl_tickets.verify_client_post_handshake`.

        Raises:
            Error: the connection is a client or speaks TLS 1.2, its handshake is not done, or the
                client did not say that it would send one.
        """
        openssl_tickets.verify_client_post_handshake(self)

    if TYPE_CHECKING:

        def get_context(self) -> Context:
            """Returns the context that the connection is on."""

    def do_handshake(self) -> None:
        """
        Shakes hands, as in ``OpenSSL.SSL``, but not inside a callback of this connection.

        Raises:
            RuntimeError: a callback of this connection is running.
            BaseException: the very exception that a ticket callback raised.
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
