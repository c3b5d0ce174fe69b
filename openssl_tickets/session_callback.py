"""Announcements: a callback for each new session, and one for those that are to be forgotten."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

from openssl_tickets import adapters
from openssl_tickets._libssl import ffi, lib
from openssl_tickets.callbacks import policies, report, surface_announcement
from openssl_tickets.errors import raise_error
from openssl_tickets.session import Session, owned_session

CData = Any

NewSessionCallback = Callable[[Any, Session, Any], object]
RemoveSessionCallback = Callable[[Any, Session, Any], object]


def set_new_session_callback(
    context: object, callback: NewSessionCallback | None, data: Any = None
) -> None:
    """
    Sets what is called with each new session of *context*'s connections.

    On a client it is called as each ticket arrives, in TLS 1.3 and in TLS 1.2, which is the only
    way to learn of a TLS 1.3 ticket: it comes after the handshake, with what is read then. In
    TLS 1.2 without tickets, it is called at the end of a handshake that gave out a session id.
    The session is a copy of the connection's: it stays resumable, however the connection ends.

    On a server it is called as each ticket is generated, after the ``generate`` callback and
    before the ticket is sent: in TLS 1.3, as many times as there are tickets. In TLS 1.2 without
    tickets, it is called at the end of a handshake, where the context's cache is on.

    No cache mode has to be set. While there is a callback, ``SESS_CACHE_CLIENT`` is added to the
    mode, and on a context that no client has connected to also ``SESS_CACHE_NO_INTERNAL_STORE``:
    libssl would fill its cache with a client's sessions, and never look there. Both go with the
    callback, also where the program has set them meanwhile.

    An announcement cannot be refused: what *callback* raises does not end the connection. It goes
    to ``sys.unraisablehook`` with the connection as the object, a KeyboardInterrupt too. Only
    ``do_handshake``, which has nothing else to return, raises the very exception, of a connection
    of :mod:`openssl_tickets.SSL`, or after :func:`openssl_tickets.stdlib.raise_callback_errors`.

    Set the context's own info callback (pyOpenSSL's ``set_info_callback``) before: one that is set
    later hides the ticket of a TLS 1.2 resumption, until the next full handshake of the context.

    After a switch of contexts by server name (SNI), it is the callback of the connection's *first*
    context that is called. It is kept for as long as a connection can call it; one that refers to
    its own context keeps that alive, as Python's garbage collector cannot see through libssl.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``, for clients or servers.
        callback: ``callback(connection, session, data)``, called on the thread that calls into
            libssl for the connection, with a :class:`Session`. What it returns is ignored. None
            removes it.
        data: handed to the callback as it is.

    Raises:
        TypeError: *context* is not a context, or *callback* is not callable.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: libssl is out of memory.

    Example::

        def keep(connection, session, sessions):
            sessions[connection.server_hostname] = session

        set_new_session_callback(client_context, keep, {})

    libssl: ``SSL_CTX_sess_set_new_cb``, ``SSL_CTX_set_info_callback`` (in front of the context's
    own) and, for servers, ``SSL_CTX_set_session_ticket_cb`` (OpenSSL 1.1.1).
    """
    ssl_ctx = adapters.to_ssl_ctx(context)
    number = _remember(callback, ssl_ctx.connection_of, data)
    if not lib.openssl_tickets_set_new_session(ssl_ctx.pointer, number):
        policies.pop(number, None)
        raise_error("SSL_CTX_sess_set_new_cb failed")


def set_remove_session_callback(
    context: object, callback: RemoveSessionCallback | None, data: Any = None
) -> None:
    """
    Sets what is called with each session that libssl will not resume any more.

    It is called for a session that leaves the context's cache: its time is over, the cache is
    full, or the context is freed; for the session of a connection that is freed without a
    shutdown; and on a client for a TLS 1.3 session that has been used, and for a TLS 1.2 session
    whose ticket has been replaced. It may be called more than once for one session.

    While there is a callback, a TLS 1.3 server keeps each of its sessions in the cache to tell of
    its end, and so does a client, which otherwise has no use for it: up to 20,480 sessions. With
    ``SESS_CACHE_OFF`` there is nothing but the connections to tell of.

    libssl tells of it in the middle of something else, perhaps in a garbage collection, and holds
    a lock that other threads may wait for. So *callback* is called a little later: by the main
    thread between two bytecodes, or in the next handshake of a context with a session callback,
    on whichever thread that is. So it can interrupt the main thread anywhere, as the handler of a
    signal can: do not wait in it for a lock that the main thread may hold (``queue.SimpleQueue``
    does well). What was still to be told of at a fork is told of in both processes. What it raises
    goes to ``sys.unraisablehook`` with the context as the object. Once the interpreter is going
    down, it is not called any more. One that refers to its context, or keeps it, keeps it alive.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``, for clients or servers.
        callback: ``callback(context, session, data)``, with None for a context that is gone, and a
            :class:`Session`, which equals the one that was announced. What it returns is ignored.
            None removes it.
        data: handed to the callback as it is.

    Raises:
        TypeError: *context* is not a context, or *callback* is not callable.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: libssl is out of memory.

    Example::

        def forget(context, session, sessions):
            sessions.discard(session)

        set_remove_session_callback(client_context, forget, set())

    libssl: ``SSL_CTX_sess_set_remove_cb`` (OpenSSL 1.1.0).
    """
    ssl_ctx = adapters.to_ssl_ctx(context)
    number = _remember(callback, _weak_reference(context), data)
    if not lib.openssl_tickets_set_removed_session(ssl_ctx.pointer, number):
        policies.pop(number, None)
        raise_error("SSL_CTX_sess_set_remove_cb failed")


def _weak_reference(context: object) -> Callable[[], object]:
    try:
        return weakref.ref(context)
    except TypeError:  # _ssl's own class, without that of ssl
        return lambda: None


def _remember(callback: object, owner: object, data: Any) -> int:
    """Keeps *callback* for C to find; returns its number, 0 where it is None."""
    if callback is None:
        return 0
    if not callable(callback):
        raise TypeError(f"callback must be callable or None, not {callback!r:.80}")
    number = int(lib.openssl_tickets_new_number())
    policies[number] = (owner, callback, data)
    return number


@ffi.def_extern(onerror=surface_announcement)  # type: ignore[untyped-decorator]
def openssl_tickets_new_session(ssl: CData, app_data: int, session: CData, policy: int) -> None:
    connection_of, callback, data = policies[policy]
    connection = connection_of(ssl, app_data)
    lib.SSL_SESSION_up_ref(session)
    callback(connection, owned_session(session), data)


def _surface_removed(
    exception_type: type[BaseException],
    exception: BaseException,
    traceback: TracebackType | None,
) -> None:
    exception.__traceback__ = traceback  # cffi hands it over on the side
    names = traceback.tb_frame.f_locals if traceback is not None else {}
    report(exception, names.get("context"))


@ffi.def_extern(onerror=_surface_removed)  # type: ignore[untyped-decorator]
def openssl_tickets_removed_session(session: CData, policy: int) -> None:
    reference, callback, data = policies[policy]
    context = reference()
    lib.SSL_SESSION_up_ref(session)
    callback(context, owned_session(session), data)
