"""
The classes of :mod:`openssl_tickets.SSL`.

That module moves pyOpenSSL to the system's libssl before it imports this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

import OpenSSL.SSL

import openssl_tickets
from openssl_tickets._adapters.types import ForeignSession
from openssl_tickets._core.callbacks import Unraised, is_asked, raise_nested_handshake
from openssl_tickets._core.new_session import D, NewSessionCallback
from openssl_tickets._core.session_stats import SessionStats
from openssl_tickets._core.ticket_callback import (
    DecryptCallback,
    GenerateCallback,
    ReceivedTicket,
    TicketReturn,
)
from openssl_tickets._core.ticket_keys import TicketKeys
from openssl_tickets._core.ticket_stats import TicketStats
from openssl_tickets._native.errors import drain_error_queue


class _Unraised(Unraised):
    """
    Replaces the connection's ``_raise_ssl_error`` after a callback has raised an exception.

    pyOpenSSL calls ``_raise_ssl_error`` with the return value of libssl. A connection whose
    callbacks raise nothing keeps pyOpenSSL's own function and its speed.
    """

    def __call__(self, ssl: Any, result: int) -> None:
        del vars(self.connection)["_raise_ssl_error"]
        try:
            self.connection._raise_ssl_error(ssl, result)
        except OpenSSL.SSL.Error:
            pass  # the callback's exception caused it
        except BaseException:
            drain_error_queue()  # pyOpenSSL has not emptied it yet
            self.report()  # now, because the traceback of the raised error would keep them alive
            raise
        # Outside of the except clause, so that the exception keeps its own __context__.
        self.raise_first()


class Session(openssl_tickets.Session, OpenSSL.SSL.Session):
    """
    An ``OpenSSL.SSL.Session`` that is also an :class:`openssl_tickets.Session`.

    :meth:`Connection.get_session` returns it. ``from_der``, ``from_pem`` and ``copy`` return a
    plain :class:`openssl_tickets.Session`, because a pyOpenSSL session belongs to a context.
    """


class Context(OpenSSL.SSL.Context):
    """
    ``OpenSSL.SSL.Context`` with the ticket functions as methods.

    Each method does what the function of the same name in :mod:`openssl_tickets` does.
    """

    def get_num_tickets(self) -> int:
        """
        Returns how many tickets a server sends after a full TLS 1.3 handshake. The default is 2.

        See :func:`openssl_tickets.get_num_tickets`.

        libssl: ``SSL_CTX_get_num_tickets`` (OpenSSL 1.1.1).
        """
        return openssl_tickets.get_num_tickets(self)

    def set_num_tickets(self, num_tickets: SupportsIndex) -> None:
        """
        Sets how many tickets a server sends after a full TLS 1.3 handshake.

        It applies to connections that are made later. See :func:`openssl_tickets.set_num_tickets`.

        Args:
            num_tickets: how many, from 0 to 255.

        Raises:
            TypeError: *num_tickets* is not an integer.
            ValueError: *num_tickets* is out of range, or the context is for clients only.
            Error: libssl refused.

        libssl: ``SSL_CTX_set_num_tickets`` (OpenSSL 1.1.1).
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
        generate: Callable[[Any, Any], bytes | None] | None = None,
        decrypt: Callable[[Any, ReceivedTicket, Any], TicketReturn | None] | None = None,
        data: Any = None,
    ) -> None:
        """
        Sets the callbacks that decide on each ticket that the server makes or receives.

        If a callback raises an exception, the connection ends, and the method that was running
        raises that exception. To remove the callbacks, pass None for both. See
        :func:`openssl_tickets.set_session_ticket_callback`.

        Args:
            generate: ``generate(connection, data)`` returns the ticket's application data as bytes,
                or None to leave it unchanged.
            decrypt: ``decrypt(connection, ticket, data)`` returns a ``TicketReturn``, or None to
                leave the decision to OpenSSL.
            data: passed to both callbacks.

        Raises:
            TypeError: a callback is not callable.
            ValueError: the context's tickets are stateful, so libssl would not call *decrypt*; or
                the context is for clients only.
            Error: libssl is out of memory, or another copy of this package has set callbacks.

        libssl: ``SSL_CTX_set_session_ticket_cb`` (OpenSSL 1.1.1).
        """
        openssl_tickets.set_session_ticket_callback(self, generate, decrypt, data)

    def set_ticket_keys(self, keys: TicketKeys | None, purpose: bytes = b"") -> None:
        """
        Sets the keys that encrypt the context's tickets.

        Contexts, workers and hosts can share the same keys. See
        :func:`openssl_tickets.set_ticket_keys`.

        Args:
            keys: the keys; None for a random key that only this context has.
            purpose: at most 255 bytes. A context cannot decrypt tickets for another purpose.

        Raises:
            TypeError: *keys* is not a :class:`openssl_tickets.TicketKeys`, or *purpose* is not
                bytes.
            ValueError: *purpose* is longer than 255 bytes; *keys* is None and *purpose* is not
                empty; or the context is for clients only.
            Error: libssl is out of memory or has no AES, or another copy of this package has set
                callbacks or keys.

        libssl: ``SSL_CTX_set_tlsext_ticket_key_evp_cb`` (OpenSSL 3.0).
        """
        openssl_tickets.set_ticket_keys(self, keys, purpose)

    @overload
    def set_new_session_callback(self, callback: NewSessionCallback[None] | None) -> None: ...
    @overload
    def set_new_session_callback(self, callback: NewSessionCallback[D] | None, data: D) -> None: ...
    def set_new_session_callback(
        self,
        callback: Callable[[Any, openssl_tickets.Session, Any], object] | None,
        data: Any = None,
    ) -> None:
        """
        Sets a callback that is called with each new session.

        A client calls it when a ticket arrives, a server when it makes a ticket. An exception of
        the callback goes to ``sys.unraisablehook``. See
        :func:`openssl_tickets.set_new_session_callback`.

        Args:
            callback: ``callback(connection, session, data)``; None removes it.
            data: passed to the callback.

        Raises:
            TypeError: *callback* is not callable.
            Error: libssl is out of memory, or another copy of this package has set callbacks.

        libssl: ``SSL_CTX_sess_set_new_cb`` and, for servers, ``SSL_CTX_set_session_ticket_cb``
        (OpenSSL 1.1.1).
        """
        openssl_tickets.set_new_session_callback(self, callback, data)

    def set_post_handshake_auth(self, enabled: bool) -> None:
        """
        Tells servers that they may ask this client for its certificate after the handshake.

        It is off by default, and has no effect before TLS 1.3. See
        :func:`openssl_tickets.set_post_handshake_auth`.

        Args:
            enabled: whether servers may ask.

        libssl: ``SSL_CTX_set_post_handshake_auth`` (OpenSSL 1.1.1).
        """
        openssl_tickets.set_post_handshake_auth(self, enabled)

    def session_stats(self) -> SessionStats:
        """
        Returns the context's counters: handshakes, resumptions and the session cache.

        See :func:`openssl_tickets.session_stats`.

        libssl: ``SSL_CTX_sess_number`` and the functions beside it (OpenSSL 1.1.0).
        """
        return openssl_tickets.session_stats(self)

    def ticket_stats(self) -> TicketStats:
        """
        Returns how many tickets this context made and received, and what happened to them.

        See :func:`openssl_tickets.ticket_stats`.

        Raises:
            ValueError: the context is for clients only.
            Error: libssl is out of memory, or another copy of this package has set callbacks or
                keys.

        libssl: ``SSL_CTX_set_session_ticket_cb`` (OpenSSL 1.1.1).
        """
        return openssl_tickets.ticket_stats(self)

    def set_server_name_binding(self, enabled: bool) -> None:
        """
        Binds each ticket to the server name (SNI) that it was issued for.

        It is off by default. See :func:`openssl_tickets.set_server_name_binding`.

        Args:
            enabled: whether the server compares the names.

        Raises:
            ValueError: the context is for clients only.
            Error: libssl is out of memory, or another copy of this package has set callbacks or
                keys.

        libssl: ``SSL_SESSION_get0_hostname``, ``SSL_client_hello_get0_ext`` (OpenSSL 1.1.1).
        """
        openssl_tickets.set_server_name_binding(self, enabled)

    def get_max_session_lifetime(self) -> int | None:
        """
        Returns the longest time in seconds from a full handshake to the end of its session.

        It returns None if there is no limit. See
        :func:`openssl_tickets.get_max_session_lifetime`.

        Raises:
            Error: libssl is out of memory, or another copy of this package has set callbacks or
                keys.
        """
        return openssl_tickets.get_max_session_lifetime(self)

    def set_max_session_lifetime(self, seconds: SupportsIndex | None) -> None:
        """
        Limits how long a session lasts, however often its ticket is renewed.

        See :func:`openssl_tickets.set_max_session_lifetime`.

        Args:
            seconds: the time from the full handshake, 1 to 2,147,483,647; None for no limit.

        Raises:
            TypeError: *seconds* is not an integer.
            ValueError: *seconds* is out of range, or the context is for clients only.
            Error: libssl is out of memory, or another copy of this package has set callbacks or
                keys.

        libssl: ``SSL_CTX_set_timeout``, ``SSL_SESSION_set_timeout``, ``SSL_SESSION_set_ex_data``
        (OpenSSL 1.1.0).
        """
        openssl_tickets.set_max_session_lifetime(self, seconds)

    def get_session_timeout(self) -> int:
        """
        Returns for how many seconds a new session of the context can be resumed.

        See :func:`openssl_tickets.get_session_timeout`.

        libssl: ``SSL_CTX_get_timeout`` (OpenSSL 1.1.0).
        """
        return openssl_tickets.get_session_timeout(self)

    def set_session_timeout(self, seconds: SupportsIndex) -> None:
        """
        Sets for how many seconds a new session of the context can be resumed.

        See :func:`openssl_tickets.set_session_timeout`.

        Args:
            seconds: from 1 to 2,147,483,647.

        Raises:
            TypeError: *seconds* is not an integer.
            ValueError: *seconds* is out of range, or more than :meth:`set_max_session_lifetime`
                allows.
            Error: libssl is out of memory, or another copy of this package has set callbacks or
                keys.

        libssl: ``SSL_CTX_set_timeout`` (OpenSSL 1.1.0).
        """
        openssl_tickets.set_session_timeout(self, seconds)


_do_handshake = OpenSSL.SSL.Connection.do_handshake


class Connection(OpenSSL.SSL.Connection):
    """
    ``OpenSSL.SSL.Connection`` with the ticket functions as methods.

    If a ticket callback raises an exception, the method that was running raises the same exception
    instead of the ``SSL.Error`` that followed from it.
    """

    def get_num_tickets(self) -> int:
        """
        Returns how many tickets the server sends after a full TLS 1.3 handshake.

        A connection starts with its context's number. See
        :func:`openssl_tickets.get_num_tickets`.

        libssl: ``SSL_get_num_tickets`` (OpenSSL 1.1.1).
        """
        return openssl_tickets.get_num_tickets(self)

    def set_num_tickets(self, num_tickets: SupportsIndex) -> None:
        """
        Sets how many tickets the server sends after a full TLS 1.3 handshake.

        Call it before the handshake. See :func:`openssl_tickets.set_num_tickets`.

        Args:
            num_tickets: how many, from 0 to 255.

        Raises:
            TypeError: *num_tickets* is not an integer.
            ValueError: *num_tickets* is out of range, or the connection is a client.
            Error: libssl refused.

        libssl: ``SSL_set_num_tickets`` (OpenSSL 1.1.1).
        """
        openssl_tickets.set_num_tickets(self, num_tickets)

    def new_session_ticket(self) -> None:
        """
        Queues one more ticket for the client (TLS 1.3).

        The server sends it before the data of the next write. See
        :func:`openssl_tickets.new_session_ticket`.

        Raises:
            Error: the connection is a client, its handshake is not done, or it does not speak
                TLS 1.3.

        libssl: ``SSL_new_session_ticket`` (OpenSSL 3.0).
        """
        openssl_tickets.new_session_ticket(self)

    def get_session(self) -> Session | None:
        """
        Returns the session that the connection resumed or made, or None if there is none yet.

        The result is both an ``OpenSSL.SSL.Session`` and an :class:`openssl_tickets.Session`. See
        :func:`openssl_tickets.get_session`.

        libssl: ``SSL_get1_session`` (OpenSSL 1.1.1).
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
        Offers *session* to the server, so that the connection resumes it.

        Call it before the handshake. A session of pyOpenSSL goes to ``OpenSSL.SSL``'s own method,
        which may refuse the session of another context. For any other session see
        :func:`openssl_tickets.set_session`.

        Args:
            session: the session to offer.

        Raises:
            TypeError: *session* is not a session.
            ValueError: the handshake has begun, or the connection is a server.
            Error: libssl refused.

        libssl: ``SSL_set_session`` (OpenSSL 1.1.0).
        """
        if isinstance(session, OpenSSL.SSL.Session):
            super().set_session(session)
        else:
            openssl_tickets.set_session(self, session)

    def session_reused(self) -> bool:
        """
        Returns whether the connection resumed a session. It is False before the handshake.

        See :func:`openssl_tickets.session_reused`.

        libssl: ``SSL_session_reused`` (OpenSSL 1.1.0).
        """
        return openssl_tickets.session_reused(self)

    def set_post_handshake_auth(self, enabled: bool) -> None:
        """
        Tells the server that it may ask this client for its certificate after the handshake.

        It has no effect before TLS 1.3. See :func:`openssl_tickets.set_post_handshake_auth`.

        Args:
            enabled: whether the server may ask.

        Raises:
            ValueError: the handshake has begun.

        libssl: ``SSL_set_post_handshake_auth`` (OpenSSL 1.1.1).
        """
        openssl_tickets.set_post_handshake_auth(self, enabled)

    def verify_client_post_handshake(self) -> None:
        """
        Asks the client for its certificate, after the handshake.

        The next ``do_handshake`` or write sends the request. See
        :func:`openssl_tickets.verify_client_post_handshake`.

        Raises:
            Error: the connection is a client, its handshake is not done, it does not speak
                TLS 1.3, the client did not say that it can be asked, it has not answered the last
                request yet, or the verify mode asks for nothing.

        libssl: ``SSL_verify_client_post_handshake`` (OpenSSL 1.1.1).
        """
        openssl_tickets.verify_client_post_handshake(self)

    if TYPE_CHECKING:

        def get_context(self) -> Context:
            """Returns the connection's context."""

    def do_handshake(self) -> None:
        """
        Does the handshake, as in ``OpenSSL.SSL``.

        Raises:
            RuntimeError: a callback of this connection is running. libssl would corrupt its memory.
            BaseException: the exception that a ticket callback raised.
        """
        # No proof is needed here: the import of openssl_tickets.SSL has proved pyOpenSSL's libssl.
        if is_asked(self._ssl):
            raise_nested_handshake()
        _do_handshake(self)

    def accept(self) -> tuple[Connection, Any]:
        """Accepts a connection as in ``OpenSSL.SSL``, but returns one of the drop-in's class."""
        client, address = self._socket.accept()  # type: ignore[union-attr] # as in pyOpenSSL
        connection = Connection(self._context, client)
        connection.set_accept_state()
        return connection, address

    def _keep_callback_exception(self, exception: BaseException) -> None:
        """Keeps *exception* until the method that called libssl can raise it."""
        unraised = vars(self).get("_raise_ssl_error")
        if isinstance(unraised, _Unraised):
            unraised.exceptions.append(exception)
        else:
            vars(self)["_raise_ssl_error"] = _Unraised(self, exception)
