"""Ticket callbacks: Python decides what a ticket carries and whether a client may use it."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import partial
from threading import get_ident

from openssl_tickets._adapters.types import TLSContext
from openssl_tickets._core.arguments import exact
from openssl_tickets._core.callbacks import number_of, surface, ticket_callbacks
from openssl_tickets._core.session import Session, owned_session, raise_appdata_error
from openssl_tickets._core.sides import to_server_ssl_ctx
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._typing import (
    TYPE_CHECKING,
    Any,
    NoReturn,
    SupportsIndex,
    TypeVar,
    overload,
)

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import SSL, SSL_CTX, Pointer, char


class TicketStatus(IntEnum):
    """
    What libssl found when it tried to decrypt the ticket that a client sent.

    libssl: ``SSL_TICKET_STATUS`` (OpenSSL 1.1.1).
    """

    EMPTY = lib.SSL_TICKET_EMPTY
    """The client has no ticket and asks for one. TLS 1.2 only."""
    NO_DECRYPT = lib.SSL_TICKET_NO_DECRYPT
    """No ticket key of this server decrypts it: it is too old, from another server, or forged."""
    SUCCESS = lib.SSL_TICKET_SUCCESS
    """This server issued the ticket."""
    SUCCESS_RENEW = lib.SSL_TICKET_SUCCESS_RENEW
    """This server issued the ticket, and the client should get a new one. Usual in TLS 1.3."""


class TicketReturn(IntEnum):
    """
    What a ``decrypt`` callback decides about a ticket.

    libssl: ``SSL_TICKET_RETURN`` (OpenSSL 1.1.1).
    """

    ABORT = lib.SSL_TICKET_RETURN_ABORT
    """End the handshake. The client gets an alert."""
    IGNORE = lib.SSL_TICKET_RETURN_IGNORE
    """Do a full handshake, and send no new ticket."""
    IGNORE_RENEW = lib.SSL_TICKET_RETURN_IGNORE_RENEW
    """Do a full handshake, and send new tickets as after any full handshake."""
    USE = lib.SSL_TICKET_RETURN_USE
    """Resume, and send no new ticket."""
    USE_RENEW = lib.SSL_TICKET_RETURN_USE_RENEW
    """Resume, and send a new ticket."""


class ReceivedTicket:
    """
    A ticket that a client sent, as a ``decrypt`` callback sees it.

    Attributes:
        status: a :class:`TicketStatus`: whether libssl could decrypt the ticket.
        key_name: the first 16 bytes of what the client sent; fewer, or none, if the client sent
            fewer. If *status* is SUCCESS or SUCCESS_RENEW, this is the name of one of the server's
            ticket keys. For any other status the client chose these bytes, so do not trust them.
        appdata: the application data in the ticket, as bytes: what ``generate`` returned for it.
            ``b""`` if the ticket carries none. None if *status* is EMPTY or NO_DECRYPT.
    """

    __slots__ = ("_session", "_ssl", "_thread", "appdata", "key_name", "status")

    status: TicketStatus
    key_name: bytes
    appdata: bytes | None
    _session: Session | None
    _ssl: Pointer[SSL] | None  # None after the callback
    _thread: int

    def __init__(self) -> None:
        raise TypeError("a ReceivedTicket is made for a decrypt callback only")

    @property
    def session(self) -> Session | None:
        """
        The :class:`Session` in the ticket. None if *status* is EMPTY or NO_DECRYPT.

        It is not the connection's session yet. Read this attribute within the callback. You may
        keep the :class:`Session` after the callback.

        Raises:
            RuntimeError: this is the first look at the session, and the callback has returned or
                another thread is looking.
        """
        if self._session is None and self.status in _DECRYPTED:
            session = lib.openssl_tickets_offered_session(self._ssl_in_callback("session"))
            self._session = owned_session(session) if session else None
        return self._session

    @property
    def server_name(self) -> bytes | None:
        """
        The server name (SNI) that the client asks for now, as bytes. None if it asks for none.

        Compare it with the name that the ticket was issued for. In ``decrypt``,
        ``connection.get_servername()`` always returns None, because libssl reads the tickets before
        it reads the name. In ``generate`` it returns the name.

        Raises:
            RuntimeError: the callback has returned, or another thread is looking.

        libssl: ``SSL_client_hello_get0_ext`` (OpenSSL 1.1.1).
        """
        ssl = self._ssl_in_callback("server_name")
        name = ffi.new("char **")
        length = ffi.new("size_t *")
        if not lib.openssl_tickets_hello_server_name(ssl, name, length):
            return None
        return bytes(ffi.unpack(name[0], length[0]))

    def _ssl_in_callback(self, name: str) -> Pointer[SSL]:
        # libssl frees what the pointer leads to. Another thread might still use it then.
        ssl = self._ssl
        if ssl is None or self._thread != get_ident():
            raise RuntimeError(
                f"the {name} of a ReceivedTicket must be asked for within the decrypt callback, "
                "on its thread"
            )
        return ssl

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a ReceivedTicket cannot be copied; keep its session, key_name and appdata")

    def __repr__(self) -> str:
        return f"<openssl_tickets.ReceivedTicket {self.status.name}, key {self.key_name.hex()!r}>"


D = TypeVar("D")
GenerateCallback = Callable[[Any, D], "bytes | None"]
DecryptCallback = Callable[[Any, ReceivedTicket, D], "TicketReturn | None"]


@overload
def set_session_ticket_callback(
    context: TLSContext,
    generate: GenerateCallback[None] | None = None,
    decrypt: DecryptCallback[None] | None = None,
) -> None: ...
@overload
def set_session_ticket_callback(
    context: TLSContext,
    generate: GenerateCallback[D] | None,
    decrypt: DecryptCallback[D] | None,
    data: D,
) -> None: ...
@overload
def set_session_ticket_callback(
    context: TLSContext,
    generate: GenerateCallback[D] | None = None,
    decrypt: DecryptCallback[D] | None = None,
    *,
    data: D,
) -> None: ...


def set_session_ticket_callback(
    context: TLSContext,
    generate: Callable[[Any, Any], bytes | None] | None = None,
    decrypt: Callable[[Any, ReceivedTicket, Any], TicketReturn | None] | None = None,
    data: Any = None,
) -> None:
    """
    Sets the callbacks that the server calls when it makes or receives a ticket.

    Set them before the context serves. You can replace them at any time, on any thread. Both are
    replaced together. A handshake that is under way at that moment may call an old callback first
    and a new one later. If both are None, the callbacks are removed.

    libssl calls the callbacks on the thread that is using the connection. A callback is kept for as
    long as a connection can call it.

    An exception in a callback ends the connection. A connection of :mod:`openssl_tickets.SSL`
    raises that same exception from ``do_handshake``, ``recv``, ``send`` and similar methods. So
    does a connection of ``ssl`` after :func:`openssl_tickets.stdlib.raise_callback_errors`. For any
    other connection the exception goes to ``sys.unraisablehook``, with the connection as the
    object.

    Do not call ``do_handshake()`` of the same connection in a callback. libssl is in the middle of
    a handshake, and a second one would corrupt its memory. The two kinds of connection above raise
    a RuntimeError instead. Other connections cannot detect it.

    If the server switches contexts by server name (SNI), libssl still calls the callbacks of the
    connection's *first* context.

    A pyOpenSSL server that asks for client certificates must call
    ``context.set_session_id(b"...")``. (``ssl`` does this by itself.) Without it, libssl would end
    each handshake in which a client offers one of the server's tickets. So the first ticket is
    refused, with a RuntimeError that says what to do.

    A TLS 1.3 ticket is good only for cipher suites with the same hash. If *decrypt* accepts a
    ticket and the client and server have chosen another hash, the handshake is a full one, with new
    tickets.

    While there are callbacks, libssl does not look into the context's session cache. Otherwise it
    would resume a TLS 1.2 client without tickets by its session id, and never call *decrypt*.
    ``SESS_CACHE_NO_INTERNAL_LOOKUP`` is added to the context's cache mode, and added again with
    each client's hello. It stays when you remove the callbacks. A TLS 1.2 client can still be
    resumed by session id from a cache outside of libssl, or while you set the first callbacks. If
    such a client asks for a ticket, the ticket is refused, because other connections may be using
    its session.

    A callback that refers to its own context keeps that context alive, because Python's garbage
    collector cannot see through libssl. Use ``connection.get_context()`` in the callback instead,
    or remove the callbacks when you no longer need the context.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext`` for servers.
        generate: ``generate(connection, data)``. The server calls it before it makes a ticket. It
            returns the application data for the ticket as bytes, or ``b""`` for none. If it returns
            None, the application data stays as it is: a ticket that renews another one keeps the
            other's data. If *generate* is None, nothing is called.
        decrypt: ``decrypt(connection, ticket, data)``. The server calls it with a
            :class:`ReceivedTicket` for each ticket that the client offers, until one is used. It is
            called for tickets that could not be decrypted, too. It returns a :class:`TicketReturn`,
            or None for what OpenSSL does without a callback. The client has not yet proved that it
            knows the ticket's secret, so only decide here, and do all other work later. If
            *decrypt* is None, nothing is called.
        data: any object. Both callbacks get it unchanged.

    Raises:
        TypeError: *context* is not a context, or a callback is not callable.
        ValueError: *context* is for clients only. Or *decrypt* is set on a context with stateful
            tickets (``OP_NO_TICKET``, or early data with anti-replay): libssl resumes from those
            without calling *decrypt*, so clients would bypass your policy. If the options change
            later, the connection that would issue such a ticket is ended instead.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: libssl is out of memory, or another copy of this package has set callbacks.

    Example::

        def generate(connection, users):
            return users[connection].encode()

        def decrypt(connection, ticket, users):
            if ticket.appdata in REVOKED:
                return TicketReturn.IGNORE_RENEW

        set_session_ticket_callback(context, generate, decrypt, users)

    libssl: ``SSL_CTX_set_session_ticket_cb`` (OpenSSL 1.1.1). This also uses the context's client
    hello callback (``SSL_CTX_set_client_hello_cb``), to keep the session cache closed. Neither
    pyOpenSSL nor ``ssl`` offers that callback.
    """
    for name, callback in (("generate", generate), ("decrypt", decrypt)):
        if callback is not None and not callable(callback):
            raise TypeError(f"{name} must be callable or None, not {callback!r:.80}")
    ssl_ctx = to_server_ssl_ctx(context, "ticket callbacks")
    if decrypt is not None:
        _refuse_stateful_tickets(ssl_ctx.pointer)
    number = number_of(ssl_ctx.pointer)
    ticket_callbacks[number] = (ssl_ctx.connection_of, generate, decrypt, data)
    while True:
        entry = ticket_callbacks[number]
        lib.openssl_tickets_set_ticket_callback(
            ssl_ctx.pointer, entry[1] is not None, entry[2] is not None
        )
        if ticket_callbacks[number] is entry:  # otherwise another thread has just replaced them
            break


def set_server_name_binding(context: TLSContext, enabled: bool) -> None:
    """
    Binds each ticket of *context* to the server name (SNI) that it was issued for.

    By itself, libssl ignores the name: a client can use a ticket of one name to resume a connection
    to another. This is true even if the server switches contexts by name and the other context asks
    for a certificate (compare CVE-2025-23419).

    With the binding, the server ignores a ticket if the client now asks for another name. A full
    handshake follows, with new tickets. A connection without a name counts as a name of its own.
    The names are compared in C, before a ``decrypt`` callback would be called. libssl also stops
    looking into its session cache, as it does while there are callbacks.

    Set it on the *first* context: its tickets and callbacks are used for all names.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext`` for servers.
        enabled: whether to compare the names. Off by default, as in libssl.

    Raises:
        TypeError: *context* is not a context.
        ValueError: *context* is for clients only.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: libssl is out of memory, or another copy of this package has set callbacks or keys.

    Example::

        context.sni_callback = switch  # switches to another context for each name
        set_server_name_binding(context, True)

    libssl: ``SSL_SESSION_get0_hostname``, ``SSL_client_hello_get0_ext`` (OpenSSL 1.1.1).
    """
    ctx = to_server_ssl_ctx(context, "a server name binding").pointer
    number_of(ctx)
    lib.openssl_tickets_bind_names(ctx, bool(enabled))


# For each status: its enum member, what OpenSSL does without a decrypt callback, and whether there
# is a session to use.
_STATUSES = {
    int(TicketStatus.EMPTY): (TicketStatus.EMPTY, TicketReturn.IGNORE_RENEW, False),
    int(TicketStatus.NO_DECRYPT): (TicketStatus.NO_DECRYPT, TicketReturn.IGNORE_RENEW, False),
    int(TicketStatus.SUCCESS): (TicketStatus.SUCCESS, TicketReturn.USE, True),
    int(TicketStatus.SUCCESS_RENEW): (TicketStatus.SUCCESS_RENEW, TicketReturn.USE_RENEW, True),
}
_DECRYPTED = frozenset({TicketStatus.SUCCESS, TicketStatus.SUCCESS_RENEW})
_USES = frozenset({TicketReturn.USE, TicketReturn.USE_RENEW})
_new_ticket = partial(object.__new__, ReceivedTicket)
_unpack = ffi.unpack
_set_generated = lib.openssl_tickets_set_generated
_NOTHING = lib.OPENSSL_TICKETS_NOTHING
_WRITTEN = lib.OPENSSL_TICKETS_WRITTEN
_ROOM = lib.OPENSSL_TICKETS_ROOM


# generate and decrypt run for every ticket. In the middle of a handshake, Python's code and data
# are no longer in the processor's caches, so each step is slow. These functions do little, and get
# all that they need from C as arguments.


@ffi.def_extern("openssl_tickets_generate", onerror=surface)
def openssl_tickets_generate(
    ssl: Pointer[SSL], app_data: int, number: int, room: Pointer[char]
) -> int:
    connection_of, generate, _, data = ticket_callbacks[number]
    if generate is None:  # removed in the meantime
        return _NOTHING
    connection = connection_of(ssl, app_data)
    appdata = generate(connection, data)
    if appdata is None:
        return _NOTHING
    if type(appdata) is bytes and len(appdata) <= _ROOM:
        size = len(appdata)
        room[0:size] = appdata  # C stores it: a call into C would let go of the GIL
        return size + _WRITTEN
    result = 0
    if isinstance(appdata, bytes):
        appdata = exact(appdata)
        result = _set_generated(ssl, appdata, len(appdata))
    if result != 1:
        raise_appdata_error(appdata, result)
    return _NOTHING


@ffi.def_extern("openssl_tickets_refuse", onerror=surface)
def openssl_tickets_refuse(ssl: Pointer[SSL], app_data: int, number: int, reason: int) -> int:
    connection = ticket_callbacks[number][0](ssl, app_data)  # noqa: F841 (surface reads it)
    raise RuntimeError(_REFUSED[reason])


@ffi.def_extern("openssl_tickets_decrypt", error=-1, onerror=surface)
def openssl_tickets_decrypt(
    ssl: Pointer[SSL],
    app_data: int,
    key_name: Pointer[char],
    key_name_len: int,
    status: int,
    number: int,
    appdata: Pointer[char],
    appdata_len: int,
) -> int:
    connection_of, _, decrypt, data = ticket_callbacks[number]
    if decrypt is None:  # removed in the meantime
        return _STATUSES[status][1]
    connection = connection_of(ssl, app_data)
    ticket = _new_ticket()
    ticket.status, default, decrypted = _STATUSES[status]
    ticket.key_name = _unpack(key_name, key_name_len) if key_name_len else b""
    ticket.appdata = _unpack(appdata, appdata_len) if appdata else b"" if decrypted else None
    ticket._session = None
    ticket._ssl = ssl
    ticket._thread = get_ident()
    try:
        answer = decrypt(connection, ticket, data)
    finally:
        ticket._ssl = None
    if answer is None:
        return default
    if not isinstance(answer, TicketReturn):
        raise TypeError(f"decrypt must return a TicketReturn or None, not {answer!r:.80}")
    if answer in _USES and not decrypted:
        raise ValueError(
            f"decrypt returned {answer.name} for a ticket with status {ticket.status.name}: "
            "only a decrypted ticket can be used"
        )
    return answer


_STATEFUL_REMEDY = (
    "keep OP_NO_TICKET off, and use early data only with SSL_OP_NO_ANTI_REPLAY, "
    "or do without a decrypt callback"
)
_REFUSED = {
    lib.OPENSSL_TICKETS_STATEFUL: "this ticket would be stateful, and libssl resumes from those "
    "without asking the decrypt callback: " + _STATEFUL_REMEDY,
    lib.OPENSSL_TICKETS_CACHED: "this ticket would be made from a session in the context's cache, "
    "which other connections may be using: set SESS_CACHE_OFF or SESS_CACHE_NO_INTERNAL_LOOKUP",
    lib.OPENSSL_TICKETS_NO_ID_CONTEXT: "this server asks for client certificates and has no "
    "session id context, so libssl would end each handshake in which this ticket is offered: call "
    "context.set_session_id(b'...') before the context serves, with a name for what may share its "
    "tickets",
    lib.OPENSSL_TICKETS_NOT_STORED: "libssl did not store the ticket's application data: it is out "
    "of memory, or the client's certificate leaves no room for them in a ticket",
}


def _refuse_stateful_tickets(ctx: Pointer[SSL_CTX]) -> None:
    options = lib.SSL_CTX_get_options(ctx)
    if options & lib.SSL_OP_NO_TICKET:
        cause = "OP_NO_TICKET is set"
    elif lib.SSL_CTX_get_max_early_data(ctx) and not options & lib.SSL_OP_NO_ANTI_REPLAY:
        cause = "max_early_data is above 0, with anti-replay"
    else:
        return
    raise ValueError(
        f"decrypt would not be asked about this context's tickets, since {cause} and libssl "
        f"resumes from such stateful tickets without asking: {_STATEFUL_REMEDY}"
    )
