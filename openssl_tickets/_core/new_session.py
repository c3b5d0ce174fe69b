"""A callback that is called with each new session."""

from __future__ import annotations

from collections.abc import Callable

from openssl_tickets._adapters import to_ssl_ctx
from openssl_tickets._adapters.types import TLSContext
from openssl_tickets._core.callbacks import (
    client_sessions,
    new_session_callbacks,
    number_of,
    surface_announcement,
)
from openssl_tickets._core.session import Session, owned_session
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import SSL, SSL_CTX, SSL_SESSION, Pointer

D = TypeVar("D")
NewSessionCallback = Callable[[Any, Session, D], object]


@overload
def set_new_session_callback(
    context: TLSContext, callback: NewSessionCallback[None] | None
) -> None: ...
@overload
def set_new_session_callback(
    context: TLSContext, callback: NewSessionCallback[D] | None, data: D
) -> None: ...


def set_new_session_callback(
    context: TLSContext, callback: Callable[[Any, Session, Any], object] | None, data: Any = None
) -> None:
    """
    Sets a function that is called with each new session of *context*'s connections.

    On a client, the callback is called as each ticket arrives. In TLS 1.3 that is the only way to
    learn of a ticket: tickets arrive after the handshake, with later reads. In TLS 1.2 the callback
    is called at the end of a full handshake. If a TLS 1.2 server sends a new ticket with a
    resumption, libssl does not report it: call :func:`get_session` after the handshake. A client's
    callback gets a copy of the connection's session, which stays resumable however the connection
    ends.

    On a server, the callback is called for each ticket, after the ``generate`` callback and before
    the ticket is sent. In TLS 1.3 that is once for each ticket. In TLS 1.2 without tickets, it is
    called at the end of the handshake, if the context's session cache is on.

    You need not set a cache mode. This function adds ``SESS_CACHE_CLIENT`` to the context's mode,
    because libssl reports a client's sessions only then. It also adds
    ``SESS_CACHE_NO_INTERNAL_STORE``, because a client's cache would fill with sessions that libssl
    never uses. That flag is removed when the first client says hello to the context. If you want a
    cache mode of your own, set it before the callback.

    The callback cannot refuse a session. If it raises an exception, the connection goes on and its
    methods do not raise the exception, not even a KeyboardInterrupt. It goes to
    ``sys.unraisablehook``, with the connection as the object. Do not call ``do_handshake()`` of the
    same connection in the callback, see :func:`set_session_ticket_callback`.

    If the server switches contexts by server name (SNI), libssl still calls the callback of the
    connection's *first* context. The callback is kept for as long as a connection can call it. A
    callback that refers to its own context keeps that context alive, because Python's garbage
    collector cannot see through libssl.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``, for clients or servers.
        callback: ``callback(connection, session, data)``, called with a :class:`Session` on the
            thread that is using the connection. Its result is ignored. None removes the callback.
        data: any object. The callback gets it unchanged.

    Raises:
        TypeError: *context* is not a context, or *callback* is not callable.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: libssl is out of memory, or another copy of this package has set callbacks or keys.

    Example::

        def keep(connection, session, sessions):
            sessions[connection.server_hostname] = session

        set_new_session_callback(client_context, keep, {})

    libssl: ``SSL_CTX_sess_set_new_cb`` and, for servers, ``SSL_CTX_set_session_ticket_cb`` (OpenSSL
    1.1.1).
    """
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None, not {callback!r:.80}")
    ssl_ctx = to_ssl_ctx(context)
    number = number_of(ssl_ctx.pointer)
    if callback is not None:
        new_session_callbacks[number] = (ssl_ctx.connection_of, callback, data)
    else:
        new_session_callbacks.pop(number, None)
    tell_c_of_new_sessions(ssl_ctx.pointer, number)


def tell_c_of_new_sessions(ssl_ctx: Pointer[SSL_CTX], number: int) -> None:
    """Tells C whether anyone wants an ``SSL_CTX``'s new sessions, and whether Python does."""
    told = None
    while told != (state := _wants_sessions(number)):  # another thread may be changing it
        told = state
        lib.openssl_tickets_set_new_session(ssl_ctx, *state)


def _wants_sessions(number: int) -> tuple[bool, bool]:
    keeper = client_sessions.get(number)
    announces = number in new_session_callbacks or (keeper is not None and not keeper[1].is_in_c)
    return announces or keeper is not None, announces


@ffi.def_extern("openssl_tickets_new_session", onerror=surface_announcement)
def openssl_tickets_new_session(
    ssl: Pointer[SSL], app_data: int, session: Pointer[SSL_SESSION], number: int
) -> None:
    entry = new_session_callbacks.get(number)
    keeper = client_sessions.get(number)
    if keeper is not None and not keeper[1].is_in_c:
        lib.SSL_SESSION_up_ref(session)
        own = owned_session(session)
        # The program's callback may change the session that it gets.
        keeper[1].keep(ssl, own.copy() if entry is not None else own)
    if entry is not None:
        connection_of, callback, data = entry
        connection = connection_of(ssl, app_data)
        lib.SSL_SESSION_up_ref(session)
        callback(connection, owned_session(session), data)
