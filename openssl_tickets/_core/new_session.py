"""A callback for each new session."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

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
    context: TLSContext, callback: NewSessionCallback[Any] | None, data: Any = None
) -> None:
    """
    Sets what is called with each new session of *context*'s connections.

    On a client it is called as each ticket arrives, which is the only way to learn of a TLS 1.3
    ticket: it comes after the handshake, with what is read then. In TLS 1.2 it is called at the end
    of a full handshake. If a TLS 1.2 server sends a new ticket with a resumption, libssl tells
    nobody: :func:`get_session` returns that session after the handshake. What the callback gets is
    a copy of the connection's session: it stays resumable, however the connection ends.

    On a server it is called as each ticket is generated, after the ``generate`` callback and
    before the ticket is sent: in TLS 1.3, as many times as there are tickets. In TLS 1.2 without
    tickets, it is called at the end of a handshake, where the context's cache is on.

    No cache mode has to be set: ``SESS_CACHE_CLIENT`` is added to the context's mode, since libssl
    tells of a client's sessions only then. A client's cache would fill with sessions that libssl
    never looks for, so ``SESS_CACHE_NO_INTERNAL_STORE`` is added too, and taken away again when the
    context's first client says hello. Set a mode of your own before the callback.

    An announcement cannot be refused. What *callback* raises does not end the connection, and is
    not raised from its methods: it goes to ``sys.unraisablehook`` with the connection as the
    object, a KeyboardInterrupt too. Do not call ``do_handshake()`` of the same connection in it
    either, see :func:`set_session_ticket_callback`.

    libssl calls the callback of the connection's *first* context, also after a switch of contexts
    by server name (SNI). It is kept for as long as a connection can call it. A callback that refers
    to its own context keeps that alive, as Python's garbage collector cannot see through libssl.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``, for clients or servers.
        callback: ``callback(connection, session, data)``, called on the thread that calls into
            libssl for the connection, with a :class:`Session`. What it returns is ignored. None
            removes it.
        data: handed to the callback as it is.

    Raises:
        TypeError: *context* is not a context, or *callback* is not callable.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: libssl is out of memory, or another copy of this package has set callbacks.

    Example::

        def keep(connection, session, sessions):
            sessions[connection.server_hostname] = session

        set_new_session_callback(client_context, keep, {})

    libssl: ``SSL_CTX_sess_set_new_cb`` and, for servers, ``SSL_CTX_set_session_ticket_cb``
    (OpenSSL 1.1.1).
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
    """Tells C who wants the new sessions of a ``SSL_CTX *``: anybody at all, and Python."""
    keeper = client_sessions.get(number)
    announces = number in new_session_callbacks or (keeper is not None and not keeper[1].is_in_c)
    lib.openssl_tickets_set_new_session(ssl_ctx, announces or keeper is not None, announces)


@ffi.def_extern("openssl_tickets_new_session", onerror=surface_announcement)
def openssl_tickets_new_session(
    ssl: Pointer[SSL], app_data: int, session: Pointer[SSL_SESSION], number: int
) -> None:
    entry = new_session_callbacks.get(number)
    keeper = client_sessions.get(number)
    if keeper is not None and not keeper[1].is_in_c:
        lib.SSL_SESSION_up_ref(session)
        own = owned_session(session)
        # The program's callback may change what it is given.
        keeper[1].keep(ssl, own.copy() if entry is not None else own)
    if entry is not None:
        connection_of, callback, data = entry
        connection = connection_of(ssl, app_data)
        lib.SSL_SESSION_up_ref(session)
        callback(connection, owned_session(session), data)
