"""Clients that resume by themselves."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable

from openssl_tickets._adapters import (
    chain_info_callback,
    server_name_of,
    to_ssl,
    to_ssl_ctx,
    verify_callback_of,
)
from openssl_tickets._adapters.types import TLSContext
from openssl_tickets._core.callbacks import client_sessions, number_of, surface
from openssl_tickets._core.new_session import tell_c_of_new_sessions
from openssl_tickets._core.session import Session, owned_session
from openssl_tickets._core.session_stores import MemorySessionStore, SessionStore, expires
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.errors import raise_error
from openssl_tickets._typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import SSL, SSL_SESSION, Pointer, char

S = TypeVar("S", bound=SessionStore)

_MANY = 2  # what C calls a session that may be used again
_TRIES = 16  # how many sessions one handshake looks at


@overload
def resume_sessions(
    context: TLSContext,
    store: S,
    *,
    enabled: Literal[True] = True,
    verify_callbacks_are_alike: bool = False,
) -> S: ...
@overload
def resume_sessions(
    context: TLSContext,
    store: None = None,
    *,
    enabled: Literal[True] = True,
    verify_callbacks_are_alike: bool = False,
) -> SessionStore: ...
@overload
def resume_sessions(
    context: TLSContext, store: None = None, *, enabled: Literal[False]
) -> None: ...
def resume_sessions(
    context: TLSContext,
    store: SessionStore | None = None,
    *,
    enabled: bool = True,
    verify_callbacks_are_alike: bool = False,
) -> SessionStore | None:
    """
    Makes the clients of *context* resume their sessions by themselves.

    Each connection that the context makes afterwards offers a session of the same server, if there
    is one, and keeps the tickets that come. Nothing else changes in the program.

    A session goes back only to the server that it came from. "The same server" means the same
    server name (SNI), and the same port if the connection knows it. Without a server name, it means
    the same address and port. Through a proxy that is the proxy's address, so give such a
    connection a server name. If a connection knows neither, it offers nothing.

    A resumption verifies nothing. So a connection offers a session only if it would verify the
    server in the same way as the handshake that the session came from: with the same verify mode,
    flags, depth, host names, security level, trust anchors and client certificate. This package
    cannot compare two verify callbacks. A connection with one therefore resumes only sessions of
    connections with the same callback, for example if pyOpenSSL's ``Context.set_verify`` was called
    once. In a resumption, the callback is not called. A connection that asks for an OCSP response
    (pyOpenSSL's ``request_ocsp``) does a full handshake, because a resumption brings none. A
    session that came from a pre-shared key is not kept.

    A TLS 1.3 ticket is offered once, so that nobody on the network can link two connections by it
    (RFC 8446, C.4). A TLS 1.2 session is offered until it expires. A session that the server
    refuses is forgotten. If the program itself sets a session on a connection, that one is used. No
    early data is ever sent.

    Without *store*, each context keeps its sessions to itself.

    Args:
        context: an ``ssl.SSLContext`` or ``OpenSSL.SSL.Context`` for clients. Call this before the
            context makes connections.
        store: where the sessions are kept. Either a :class:`MemorySessionStore` or a
            :class:`FileSessionStore`, which several contexts may share, or another object with
            their methods ``put`` and ``take``. None means a new :class:`MemorySessionStore`, or the
            store that *context* already has.
        enabled: False turns this off for the connections that are made from now on.
        verify_callbacks_are_alike: True states that all verify callbacks of connections that share
            *store* accept the same certificates for the same server name. Sessions of connections
            with a callback are then offered by other connections with a callback. Twisted needs
            this, because it makes a callback for each connection.

    Returns:
        The store; None if *enabled* is False.

    Raises:
        TypeError: *context* is not a context, or *store* lacks one of the two methods.
        ValueError: *context* is for servers only. Or it has an info callback and has already made
            connections: pyOpenSSL 26.2 and later refuse to change it then.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: the context has an info callback that was not set through pyOpenSSL; another copy of
            this package has set callbacks or keys; or libssl is out of memory.

    Example::

        context = ssl.create_default_context()
        resume_sessions(context)
        urllib.request.urlopen("https://example.org", context=context)

    libssl: ``SSL_CTX_set_info_callback``, ``SSL_set_session``, ``SSL_CTX_sess_set_new_cb`` (OpenSSL
    3.0). pyOpenSSL's own info callbacks (``Context.set_info_callback``) are still called. If a
    program sets an info callback on a single connection, that connection does not resume.
    """
    ssl_ctx = to_ssl_ctx(context)
    if lib.openssl_tickets_is_server_only(ssl_ctx.pointer):
        raise ValueError(
            "only clients offer sessions, and this context is for servers only: give "
            "resume_sessions the context that your client connects with"
        )
    for method in ("put", "take"):
        if store is not None and not callable(getattr(store, method, None)):
            raise TypeError(
                f"a session store needs the methods put(key, session) and take(key), and "
                f"{type(store).__qualname__} has no {method}"
            )
    number = number_of(ssl_ctx.pointer)
    if not enabled:
        lib.openssl_tickets_set_resumes(ssl_ctx.pointer, False, ffi.NULL, False)
        client_sessions.pop(number, None)
        tell_c_of_new_sessions(ssl_ctx.pointer, number)
        return None
    before = client_sessions.get(number)
    if store is None:
        # In one step, so that two threads get the same store.
        new = (
            ssl_ctx.connection_of,
            ClientSessions(MemorySessionStore(), verify_callbacks_are_alike),
        )
        store = client_sessions.setdefault(number, new)[1].store
    is_chained = chain_info_callback(context, _state_changed)
    in_c = store._store if type(store) is MemorySessionStore else ffi.NULL
    if not lib.openssl_tickets_set_resumes(ssl_ctx.pointer, True, in_c, is_chained):
        if before is None:
            client_sessions.pop(number, None)
        raise_error(
            "this context has an info callback that pyOpenSSL knows nothing of, or there is no "
            "memory: no clients of it can resume by themselves"
        )
    client_sessions[number] = (
        ssl_ctx.connection_of,
        ClientSessions(store, verify_callbacks_are_alike),
    )
    tell_c_of_new_sessions(ssl_ctx.pointer, number)
    return store


class ClientSessions:
    """
    What the clients of a context do with their sessions, if C cannot do it alone.

    No handshake fails because of a store.
    """

    def __init__(self, store: SessionStore, verify_callbacks_are_alike: bool) -> None:
        self.store = store
        self.is_in_c = type(store) is MemorySessionStore
        self._are_alike = verify_callbacks_are_alike

    def offer(
        self, connection: Any, ssl: Pointer[SSL], name: Pointer[char], verify_callback: int
    ) -> None:
        """Makes a client whose handshake begins offer a session, if there is one."""
        verifier = None
        if verify_callback:
            verifier = b"alike" if self._are_alike else _name_of(connection, verify_callback)
            if verifier is None:
                return
        key = lib.openssl_tickets_begin_attempt(
            ssl, name or (server_name_of(connection) or "").encode(), verifier or ffi.NULL
        )
        session = self._usable(_text(key)) if key else None
        if session is not None:
            # A copy, because libssl spoils a session if its connection is not closed in order.
            lib.openssl_tickets_offer_session(ssl, session.copy()._pointer)

    def _usable(self, key: str) -> Session | None:
        for _ in range(_TRIES):
            session = self.store.take(key)
            if session is None:
                return None
            if not isinstance(session, Session):
                raise TypeError(f"take returned a {type(session).__name__}, not a Session")
            if session.is_resumable and expires(session) > time.time():
                if lib.openssl_tickets_uses_of(session._pointer) == _MANY:
                    self.store.put(key, session)
                return session
        return None

    def keep(self, ssl: Pointer[SSL], session: Session) -> None:
        """Keeps a session that came from a server."""
        uses = lib.openssl_tickets_uses_of(session._pointer)
        key = lib.openssl_tickets_key_to_keep(ssl) if uses else None
        if not key:
            return
        text = _text(key)  # now, because the store may do anything with the connection
        try:
            if uses == _MANY:
                self._forget(text, lambda _: True)
            self.store.put(text, session)
        except Exception as error:
            log_failure("a session was not kept", error)

    def refused(self, ssl: Pointer[SSL], session: Session) -> None:
        """Forgets a session that the server refused. In TLS 1.3 it is no longer in the store."""
        key = lib.openssl_tickets_key_of_offer(ssl)
        if not key or lib.openssl_tickets_uses_of(session._pointer) != _MANY:
            return
        try:
            self._forget(_text(key), session.__eq__)
        except Exception as error:
            log_failure("a refused session was not forgotten", error)

    def _forget(self, key: str, is_of_no_use: Callable[[Session], bool]) -> None:
        kept = []
        for _ in range(_TRIES):
            session = self.store.take(key)
            if session is None:
                break
            if not is_of_no_use(session):
                kept.append(session)
        for session in reversed(kept):
            self.store.put(key, session)


def _text(key: Pointer[char]) -> str:
    return ffi.string(key).decode(errors="backslashreplace")


# A random name for each verify callback. No callback of another process has the same name.
_verify_callbacks: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()


def _name_of(connection: Any, verify_callback: int) -> bytes | None:
    of = verify_callback_of(connection, verify_callback)
    if of is None:
        return None
    if isinstance(of, str):
        lib.openssl_tickets_know_verify_callback(verify_callback, of.encode())
        return of.encode()
    return _verify_callbacks.setdefault(of, os.urandom(16).hex().encode())


def _state_changed(connection: Any, where: int, ret: int) -> None:
    lib.openssl_tickets_state_changed(to_ssl(connection), where, ret)


@ffi.def_extern("openssl_tickets_offer", onerror=surface)
def openssl_tickets_offer(
    ssl: Pointer[SSL], app_data: int, number: int, name: Pointer[char], verify_callback: int
) -> None:
    entry = client_sessions.get(number)
    if entry is None:  # turned off in the meantime
        return
    connection = entry[0](ssl, app_data)
    try:
        entry[1].offer(connection, ssl, name, verify_callback)
    except Exception as error:
        log_failure("a full handshake follows", error)


@ffi.def_extern("openssl_tickets_refused", onerror=surface)
def openssl_tickets_refused(
    ssl: Pointer[SSL], app_data: int, session: Pointer[SSL_SESSION], number: int
) -> None:
    entry = client_sessions.get(number)
    if entry is not None:
        lib.SSL_SESSION_up_ref(session)
        entry[1].refused(ssl, owned_session(session))


def log_failure(outcome: str, error: Exception) -> None:
    import logging  # here, because its import is slow

    # Not the text of the exception: it may contain secrets.
    logging.getLogger("openssl_tickets").warning(
        "the session store failed with %s: %s", type(error).__name__, outcome
    )
