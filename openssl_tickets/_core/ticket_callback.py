"""What tickets carry, and whether one is used: the callbacks around a session ticket."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex, TypeVar, overload

from openssl_tickets._adapters.types import TLSContext
from openssl_tickets._core.callbacks import number_of, surface, ticket_callbacks
from openssl_tickets._core.session import Session, owned_session, raise_appdata_error
from openssl_tickets._core.sides import to_server_ssl_ctx
from openssl_tickets._native._libssl import ffi, lib

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import SSL, SSL_CTX, Pointer, char


class TicketStatus(IntEnum):
    """
    What libssl made of the ticket that a client sent.

    libssl: ``SSL_TICKET_STATUS`` (OpenSSL 1.1.1).
    """

    EMPTY = lib.SSL_TICKET_EMPTY
    """The client has no ticket and would like one. TLS 1.2 only."""
    NO_DECRYPT = lib.SSL_TICKET_NO_DECRYPT
    """None of the ticket keys opens it: it is too old, another server's, or forged."""
    SUCCESS = lib.SSL_TICKET_SUCCESS
    """It is a ticket of this server."""
    SUCCESS_RENEW = lib.SSL_TICKET_SUCCESS_RENEW
    """It is a ticket of this server, and the client is to get a new one. Usual in TLS 1.3."""


class TicketReturn(IntEnum):
    """
    What a ``decrypt`` callback decides.

    libssl: ``SSL_TICKET_RETURN`` (OpenSSL 1.1.1).
    """

    ABORT = lib.SSL_TICKET_RETURN_ABORT
    """End the handshake with an alert."""
    IGNORE = lib.SSL_TICKET_RETURN_IGNORE
    """A full handshake, and no new ticket."""
    IGNORE_RENEW = lib.SSL_TICKET_RETURN_IGNORE_RENEW
    """A full handshake, with new tickets as after any other."""
    USE = lib.SSL_TICKET_RETURN_USE
    """Resume, and send no new ticket."""
    USE_RENEW = lib.SSL_TICKET_RETURN_USE_RENEW
    """Resume, and send a new ticket."""


class ReceivedTicket:
    """
    The ticket that a ``decrypt`` callback is asked about.

    Attributes:
        status: what libssl made of it.
        key_name: the first 16 bytes of what the client sent. Only where *status* is SUCCESS or
            SUCCESS_RENEW is it the name of a key of this server; until then it is whatever the
            client likes, and may be shorter or empty.
        appdata: the application data that the ticket carries: what ``generate`` returned for it,
            or ``b""`` where it carries none. None where *status* is EMPTY or NO_DECRYPT.
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
        The session in the ticket, not yet the connection's own.

        None where *status* is EMPTY or NO_DECRYPT. Ask for it within the callback; the
        :class:`Session` itself may be kept.

        Raises:
            RuntimeError: the callback is over, and did not ask for the session; or another thread
                asks for it.
        """
        if self._session is None and self.status in _DECRYPTED:
            session = lib.openssl_tickets_offered_session(self._ssl_in_callback("session"))
            self._session = owned_session(session) if session else None
        return self._session

    @property
    def server_name(self) -> bytes | None:
        """
        The server name (SNI) that the client asks for now, to compare with what the ticket was
        issued for. None where it asks for none.

        ``connection.get_servername()`` is always None in ``decrypt``: libssl looks at the tickets
        before it looks at the name. In ``generate`` it has the name.

        Raises:
            RuntimeError: the callback is over, or another thread asks.

        libssl: ``SSL_client_hello_get0_ext`` (OpenSSL 1.1.1).
        """
        ssl = self._ssl_in_callback("server_name")
        name = ffi.new("char **")
        length = ffi.new("size_t *")
        if not lib.openssl_tickets_hello_server_name(ssl, name, length):
            return None
        return bytes(ffi.unpack(name[0], length[0]))

    def _ssl_in_callback(self, name: str) -> Pointer[SSL]:
        # Another thread might go on with a pointer that libssl frees as the callback ends.
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
    generate: GenerateCallback[Any] | None = None,
    decrypt: DecryptCallback[Any] | None = None,
    data: Any = None,
) -> None:
    """
    Sets what is asked whenever a ticket is made for, or received from, a client of *context*.

    Set them before the context serves. They can be replaced at any time, on any thread, and are
    replaced together; a handshake that overlaps the replacement may ask an old one and then a new
    one. Both None removes them.

    The callbacks are called on the thread that calls into libssl for the connection. They are kept
    for as long as a connection can call them. What they raise ends the connection. A connection of
    :mod:`openssl_tickets.SSL` raises the very exception from ``do_handshake``, ``recv``, ``send``
    and the like, and so does a connection of ``ssl`` after
    :func:`openssl_tickets.stdlib.raise_callback_errors`. Elsewhere it goes to
    ``sys.unraisablehook`` with the connection as the object.

    Do not call ``do_handshake()`` of the same connection in a callback: libssl is in the middle of
    a handshake, and its memory would be corrupted. The two kinds of connection above raise a
    RuntimeError instead; other connections cannot tell.

    After a switch of contexts by server name (SNI), libssl calls the callbacks of the connection's
    *first* context.

    A pyOpenSSL server that asks for client certificates needs ``context.set_session_id(b"...")``
    (``ssl`` does it by itself): libssl would end each handshake in which one of its tickets is
    offered. Without it the first ticket is refused, with a RuntimeError that says so.

    A TLS 1.3 ticket is good for cipher suites with its own hash only. If *decrypt* accepts one and
    another hash has been chosen, the handshake is a full one, with new tickets.

    While there are callbacks, libssl does not look into the context's session cache:
    ``SESS_CACHE_NO_INTERNAL_LOOKUP`` is added to its mode, again with each client's hello, and
    stays when the callbacks are removed. Otherwise libssl would resume a TLS 1.2 client without
    tickets by its session id, and never ask *decrypt*. If a TLS 1.2 client has been resumed by
    session id all the same (from a cache outside of libssl, or while the first callbacks were
    set) and asks for a ticket, it is refused: other connections may be using its session.

    A callback that refers to its own context keeps it alive, as Python's garbage collector cannot
    see through libssl. Use ``connection.get_context()`` in the callback, or remove the callbacks
    when done with the context.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext`` for servers.
        generate: ``generate(connection, data)``, called before a ticket is made. It returns the
            ticket's application data as bytes, ``b""`` for none, or None to leave it as it is (a
            ticket that renews another carries the other's data on). None: nothing is asked.
        decrypt: ``decrypt(connection, ticket, data)``, called with a :class:`ReceivedTicket` for
            each ticket a client offers until one is used, also for those that could not be
            decrypted. It returns a :class:`TicketReturn`, or None for what OpenSSL does by
            itself. It is asked before the client has proved that it knows the ticket's secret, so
            it should decide and do nothing else. None: nothing is asked.
        data: handed to both callbacks as it is.

    Raises:
        TypeError: *context* is not a context, or a callback is not callable.
        ValueError: *decrypt* is set on a context with stateful tickets (``OP_NO_TICKET``, or
            early data with anti-replay). libssl resumes from those without asking, so the policy
            would be skipped. When options change later, the connection that would issue such a
            ticket is ended instead. Or *context* is for clients only.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: libssl is out of memory, or another copy of this package has set callbacks.

    Example::

        def generate(connection, users):
            return users[connection].encode()

        def decrypt(connection, ticket, users):
            if ticket.appdata in REVOKED:
                return TicketReturn.IGNORE_RENEW

        set_session_ticket_callback(context, generate, decrypt, users)

    libssl: ``SSL_CTX_set_session_ticket_cb`` (OpenSSL 1.1.1). The context's client hello callback
    (``SSL_CTX_set_client_hello_cb``, which neither pyOpenSSL nor ``ssl`` offers) is taken too, to
    keep the session cache closed.
    """
    for name, callback in (("generate", generate), ("decrypt", decrypt)):
        if callback is not None and not callable(callback):
            raise TypeError(f"{name} must be callable or None, not {callback!r:.80}")
    ssl_ctx = to_server_ssl_ctx(context, "ticket callbacks")
    if decrypt is not None:
        _refuse_stateful_tickets(ssl_ctx.pointer)
    number = number_of(ssl_ctx.pointer)
    ticket_callbacks[number] = (ssl_ctx.connection_of, generate, decrypt, data)
    lib.openssl_tickets_set_ticket_callback(
        ssl_ctx.pointer, generate is not None, decrypt is not None
    )


def set_server_name_binding(context: TLSContext, enabled: bool) -> None:
    """
    Has a ticket of *context* be good only for the server name (SNI) that it was issued for.

    libssl does not look at the name: a ticket of one name resumes a connection to another, also
    where a server switches contexts by name and the other context asks for a certificate
    (CVE-2025-23419 is of this kind). With the binding, a ticket whose session has another name than
    the client asks for now is ignored: a full handshake follows, with new tickets. No name counts
    as a name of its own. libssl's session cache is closed too, as it is while there are callbacks.
    It is done in C, before a ``decrypt`` callback is asked.

    It has to be set on the *first* context, whose tickets and callbacks hold for all names.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext`` for servers.
        enabled: whether names are compared. It is off by default, as in libssl.

    Raises:
        TypeError: *context* is not a context.
        ValueError: *context* is for clients only.
        LibraryMismatchError: it belongs to another libssl.
        Error: libssl is out of memory, or another copy of this package is at work.

    Example::

        context.sni_callback = switch  # to contexts of their own
        set_server_name_binding(context, True)

    libssl: ``SSL_SESSION_get0_hostname``, ``SSL_client_hello_get0_ext`` (OpenSSL 1.1.1).
    """
    ctx = to_server_ssl_ctx(context, "a server name binding").pointer
    number_of(ctx)
    lib.openssl_tickets_bind_names(ctx, bool(enabled))


# For each status: its name, what OpenSSL does where there is no decrypt callback, and whether there
# is a session that may be used.
_STATUSES = {
    int(TicketStatus.EMPTY): (TicketStatus.EMPTY, TicketReturn.IGNORE_RENEW, False),
    int(TicketStatus.NO_DECRYPT): (TicketStatus.NO_DECRYPT, TicketReturn.IGNORE_RENEW, False),
    int(TicketStatus.SUCCESS): (TicketStatus.SUCCESS, TicketReturn.USE, True),
    int(TicketStatus.SUCCESS_RENEW): (TicketStatus.SUCCESS_RENEW, TicketReturn.USE_RENEW, True),
}
_DECRYPTED = frozenset({TicketStatus.SUCCESS, TicketStatus.SUCCESS_RENEW})
_USES = frozenset({TicketReturn.USE, TicketReturn.USE_RENEW})
_new_ticket = partial(object.__new__, ReceivedTicket)


# These two run for every ticket, in the middle of a handshake whose cryptography has taken the
# processor's caches. So they do little, and ask libssl for nothing that C could hand to them.


@ffi.def_extern("openssl_tickets_generate", onerror=surface)
def openssl_tickets_generate(ssl: Pointer[SSL], app_data: int, number: int) -> int:
    connection_of, generate, _, data = ticket_callbacks[number]
    if generate is None:  # removed since C has looked
        return 1
    connection = connection_of(ssl, app_data)
    appdata = generate(connection, data)
    if appdata is not None:
        result = 0
        if isinstance(appdata, bytes):
            result = lib.openssl_tickets_set_generated(ssl, appdata, len(appdata))
        if result != 1:
            raise_appdata_error(appdata, result)
    return 1


@ffi.def_extern("openssl_tickets_refuse", onerror=surface)
def openssl_tickets_refuse(ssl: Pointer[SSL], app_data: int, number: int, reason: int) -> int:
    connection = ticket_callbacks[number][0](ssl, app_data)  # noqa: F841 (for surface)
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
    if decrypt is None:  # removed since C has looked
        return _STATUSES[status][1]
    connection = connection_of(ssl, app_data)
    ticket = _new_ticket()
    ticket.status, default, decrypted = _STATUSES[status]
    ticket.key_name = ffi.unpack(key_name, key_name_len) if key_name_len else b""
    ticket.appdata = ffi.unpack(appdata, appdata_len) if appdata else b"" if decrypted else None
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
