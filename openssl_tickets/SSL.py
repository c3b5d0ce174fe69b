"""
The drop-in for ``OpenSSL.SSL``: change ``from OpenSSL import SSL`` to
``from openssl_tickets import SSL``, and nothing else.

All of ``OpenSSL.SSL`` is here. :class:`Context` and :class:`Connection` have the ticket functions
as methods, and a connection raises what a callback raised from the call that ran the callback.

Importing it puts pyOpenSSL on the system's libssl, see
:func:`openssl_tickets.use_system_openssl`.
"""

from __future__ import annotations

import sys
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, SupportsIndex

import openssl_tickets
from openssl_tickets.callbacks import Unraised
from openssl_tickets.errors import drain_error_queue
from openssl_tickets.post_handshake_auth import VERIFY_POST_HANDSHAKE as VERIFY_POST_HANDSHAKE
from openssl_tickets.session_cache import SessionStats
from openssl_tickets.session_callback import NewSessionCallback, RemoveSessionCallback
from openssl_tickets.ticket_callback import DecryptCallback, GenerateCallback
from openssl_tickets.ticket_keys import TicketKeys

openssl_tickets.use_system_openssl()

import OpenSSL.SSL  # noqa: E402 (only now, on the system's libssl)

if TYPE_CHECKING:
    # The type checker takes the star below for a second definition of the two classes, so it gets
    # the names of pyOpenSSL 26.4 one by one; a test compares them.
    from OpenSSL.SSL import (
        DTLS_CLIENT_METHOD as DTLS_CLIENT_METHOD,
        DTLS_METHOD as DTLS_METHOD,
        DTLS_SERVER_METHOD as DTLS_SERVER_METHOD,
        MODE_RELEASE_BUFFERS as MODE_RELEASE_BUFFERS,
        NO_OVERLAPPING_PROTOCOLS as NO_OVERLAPPING_PROTOCOLS,
        OP_ALL as OP_ALL,
        OP_CIPHER_SERVER_PREFERENCE as OP_CIPHER_SERVER_PREFERENCE,
        OP_COOKIE_EXCHANGE as OP_COOKIE_EXCHANGE,
        OP_DONT_INSERT_EMPTY_FRAGMENTS as OP_DONT_INSERT_EMPTY_FRAGMENTS,
        OP_EPHEMERAL_RSA as OP_EPHEMERAL_RSA,
        OP_IGNORE_UNEXPECTED_EOF as OP_IGNORE_UNEXPECTED_EOF,
        OP_LEGACY_SERVER_CONNECT as OP_LEGACY_SERVER_CONNECT,
        OP_MICROSOFT_BIG_SSLV3_BUFFER as OP_MICROSOFT_BIG_SSLV3_BUFFER,
        OP_MICROSOFT_SESS_ID_BUG as OP_MICROSOFT_SESS_ID_BUG,
        OP_MSIE_SSLV2_RSA_PADDING as OP_MSIE_SSLV2_RSA_PADDING,
        OP_NETSCAPE_CA_DN_BUG as OP_NETSCAPE_CA_DN_BUG,
        OP_NETSCAPE_CHALLENGE_BUG as OP_NETSCAPE_CHALLENGE_BUG,
        OP_NETSCAPE_DEMO_CIPHER_CHANGE_BUG as OP_NETSCAPE_DEMO_CIPHER_CHANGE_BUG,
        OP_NETSCAPE_REUSE_CIPHER_CHANGE_BUG as OP_NETSCAPE_REUSE_CIPHER_CHANGE_BUG,
        OP_NO_COMPRESSION as OP_NO_COMPRESSION,
        OP_NO_QUERY_MTU as OP_NO_QUERY_MTU,
        OP_NO_RENEGOTIATION as OP_NO_RENEGOTIATION,
        OP_NO_TICKET as OP_NO_TICKET,
        OP_PKCS1_CHECK_1 as OP_PKCS1_CHECK_1,
        OP_PKCS1_CHECK_2 as OP_PKCS1_CHECK_2,
        OP_SINGLE_DH_USE as OP_SINGLE_DH_USE,
        OP_SINGLE_ECDH_USE as OP_SINGLE_ECDH_USE,
        OP_SSLEAY_080_CLIENT_DH_BUG as OP_SSLEAY_080_CLIENT_DH_BUG,
        OP_SSLREF2_REUSE_CERT_TYPE_BUG as OP_SSLREF2_REUSE_CERT_TYPE_BUG,
        OP_TLS_BLOCK_PADDING_BUG as OP_TLS_BLOCK_PADDING_BUG,
        OP_TLS_D5_BUG as OP_TLS_D5_BUG,
        OP_TLS_ROLLBACK_BUG as OP_TLS_ROLLBACK_BUG,
        OPENSSL_BUILT_ON as OPENSSL_BUILT_ON,
        OPENSSL_CFLAGS as OPENSSL_CFLAGS,
        OPENSSL_DIR as OPENSSL_DIR,
        OPENSSL_PLATFORM as OPENSSL_PLATFORM,
        OPENSSL_VERSION as OPENSSL_VERSION,
        OPENSSL_VERSION_NUMBER as OPENSSL_VERSION_NUMBER,
        RECEIVED_SHUTDOWN as RECEIVED_SHUTDOWN,
        SENT_SHUTDOWN as SENT_SHUTDOWN,
        SESS_CACHE_BOTH as SESS_CACHE_BOTH,
        SESS_CACHE_CLIENT as SESS_CACHE_CLIENT,
        SESS_CACHE_NO_AUTO_CLEAR as SESS_CACHE_NO_AUTO_CLEAR,
        SESS_CACHE_NO_INTERNAL as SESS_CACHE_NO_INTERNAL,
        SESS_CACHE_NO_INTERNAL_LOOKUP as SESS_CACHE_NO_INTERNAL_LOOKUP,
        SESS_CACHE_NO_INTERNAL_STORE as SESS_CACHE_NO_INTERNAL_STORE,
        SESS_CACHE_OFF as SESS_CACHE_OFF,
        SESS_CACHE_SERVER as SESS_CACHE_SERVER,
        SSL3_VERSION as SSL3_VERSION,
        SSL_CB_ACCEPT_EXIT as SSL_CB_ACCEPT_EXIT,
        SSL_CB_ACCEPT_LOOP as SSL_CB_ACCEPT_LOOP,
        SSL_CB_ALERT as SSL_CB_ALERT,
        SSL_CB_CONNECT_EXIT as SSL_CB_CONNECT_EXIT,
        SSL_CB_CONNECT_LOOP as SSL_CB_CONNECT_LOOP,
        SSL_CB_EXIT as SSL_CB_EXIT,
        SSL_CB_HANDSHAKE_DONE as SSL_CB_HANDSHAKE_DONE,
        SSL_CB_HANDSHAKE_START as SSL_CB_HANDSHAKE_START,
        SSL_CB_LOOP as SSL_CB_LOOP,
        SSL_CB_READ as SSL_CB_READ,
        SSL_CB_READ_ALERT as SSL_CB_READ_ALERT,
        SSL_CB_WRITE as SSL_CB_WRITE,
        SSL_CB_WRITE_ALERT as SSL_CB_WRITE_ALERT,
        SSL_ST_ACCEPT as SSL_ST_ACCEPT,
        SSL_ST_CONNECT as SSL_ST_CONNECT,
        SSL_ST_MASK as SSL_ST_MASK,
        SSLEAY_BUILT_ON as SSLEAY_BUILT_ON,
        SSLEAY_CFLAGS as SSLEAY_CFLAGS,
        SSLEAY_DIR as SSLEAY_DIR,
        SSLEAY_PLATFORM as SSLEAY_PLATFORM,
        SSLEAY_VERSION as SSLEAY_VERSION,
        TLS1_1_VERSION as TLS1_1_VERSION,
        TLS1_2_VERSION as TLS1_2_VERSION,
        TLS1_3_VERSION as TLS1_3_VERSION,
        TLS1_VERSION as TLS1_VERSION,
        TLS_CLIENT_METHOD as TLS_CLIENT_METHOD,
        TLS_METHOD as TLS_METHOD,
        TLS_SERVER_METHOD as TLS_SERVER_METHOD,
        VERIFY_CLIENT_ONCE as VERIFY_CLIENT_ONCE,
        VERIFY_FAIL_IF_NO_PEER_CERT as VERIFY_FAIL_IF_NO_PEER_CERT,
        VERIFY_NONE as VERIFY_NONE,
        VERIFY_PEER as VERIFY_PEER,
        Error as Error,
        OP_NO_SSLv2 as OP_NO_SSLv2,
        OP_NO_SSLv3 as OP_NO_SSLv3,
        OP_NO_TLSv1 as OP_NO_TLSv1,
        OP_NO_TLSv1_1 as OP_NO_TLSv1_1,
        OP_NO_TLSv1_2 as OP_NO_TLSv1_2,
        OP_NO_TLSv1_3 as OP_NO_TLSv1_3,
        SSLeay_version as SSLeay_version,
        SSLv23_METHOD as SSLv23_METHOD,
        SysCallError as SysCallError,
        TLSv1_1_METHOD as TLSv1_1_METHOD,
        TLSv1_2_METHOD as TLSv1_2_METHOD,
        TLSv1_METHOD as TLSv1_METHOD,
        WantReadError as WantReadError,
        WantWriteError as WantWriteError,
        WantX509LookupError as WantX509LookupError,
        X509VerificationCodes as X509VerificationCodes,
        ZeroReturnError as ZeroReturnError,
    )
else:
    from OpenSSL.SSL import *  # noqa: F403

__all__ = list(OpenSSL.SSL.__all__)


def __getattr__(name: str) -> Any:
    # What OpenSSL.SSL has and does not list in its __all__.
    return getattr(OpenSSL.SSL, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(OpenSSL.SSL)})


class _Unraised(Unraised):
    """
    Takes the place of the connection's ``_raise_ssl_error``, which pyOpenSSL calls with what libssl
    has returned. So connections without such exceptions are as fast as pyOpenSSL's own.
    """

    def __call__(self, ssl: Any, result: int) -> None:
        del vars(self.connection)["_raise_ssl_error"]
        caller = sys._getframe().f_back
        if not self.is_fatal and (caller is None or caller.f_code is not _DO_HANDSHAKE):
            # What has been read or written must not be lost, nor what libssl has to say.
            try:
                self.connection._raise_ssl_error(ssl, result)
            finally:
                self.report()
            return
        try:
            self.connection._raise_ssl_error(ssl, result)
        except _WANTS:
            pass
        except OpenSSL.SSL.Error:
            if not self.is_fatal:
                self.report()  # it is not what the failure has come from
                raise
        except BaseException:
            drain_error_queue()  # pyOpenSSL has not come round to that
            self.report()  # now, since the traceback of what is raised holds them
            raise
        # Outside of the except clause, to leave it the context that it came with.
        self.raise_first()


_WANTS = (OpenSSL.SSL.WantReadError, OpenSSL.SSL.WantWriteError)

# The methods that ask libssl, and see to it that its failure is raised.
_RAISING_METHODS = frozenset(
    method.__code__
    for method in vars(OpenSSL.SSL.Connection).values()
    if isinstance(method, FunctionType) and "_raise_ssl_error" in method.__code__.co_names
)

_DO_HANDSHAKE = OpenSSL.SSL.Connection.do_handshake.__code__


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

    def set_remove_session_callback(
        self, callback: RemoveSessionCallback | None, data: Any = None
    ) -> None:
        """See :func:`openssl_tickets.set_remove_session_callback`."""
        openssl_tickets.set_remove_session_callback(self, callback, data)

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

    def accept(self) -> tuple[Connection, Any]:
        """As in ``OpenSSL.SSL``, but what is returned is a connection of this class."""
        client, address = self._socket.accept()  # type: ignore[union-attr] # as in pyOpenSSL
        connection = type(self)(self._context, client)
        connection.set_accept_state()
        return connection, address

    def _keep_callback_exception(
        self, exception: BaseException, caller: FrameType | None, is_fatal: bool
    ) -> bool:
        """Takes over *exception* if *caller*, which has called libssl, is there to raise it."""
        if (
            caller is None
            or caller.f_code not in _RAISING_METHODS
            or caller.f_locals.get("self") is not self
        ):
            return False
        unraised = vars(self).get("_raise_ssl_error")
        if isinstance(unraised, _Unraised):
            unraised.add(exception, is_fatal)
        else:
            vars(self)["_raise_ssl_error"] = _Unraised(self, exception, is_fatal)
        return True
