"""What tickets carry, and whether one is used: the callbacks around a session ticket."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

from openssl_tickets import adapters
from openssl_tickets._libssl import ffi, lib
from openssl_tickets.callbacks import slot_of, slots, surface
from openssl_tickets.session import Session, set_appdata, shared_session

CData = Any


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


class ReceivedTicket(NamedTuple):
    """
    The ticket that a ``decrypt`` callback is asked about. It stays valid after the callback.

    Attributes:
        status: what libssl made of it.
        key_name: the first 16 bytes of what the client sent. Only where *status* is SUCCESS or
            SUCCESS_RENEW is it the name of a key of this server; until then it is whatever the
            client likes, and may be shorter or empty.
        appdata: the application data that the ticket carries: what ``generate`` returned for it,
            or ``b""`` where it carries none. None where *status* is EMPTY or NO_DECRYPT.
        session: the session in the ticket, not yet the connection's own. None where *status* is
            EMPTY or NO_DECRYPT.
    """

    status: TicketStatus
    key_name: bytes
    appdata: bytes | None
    session: Session | None

    def __repr__(self) -> str:
        return f"<openssl_tickets.ReceivedTicket {self.status.name}, key {self.key_name.hex()!r}>"


GenerateCallback = Callable[[Any, Any], "bytes | None"]
DecryptCallback = Callable[[Any, ReceivedTicket, Any], "TicketReturn | None"]


def set_session_ticket_callback(
    context: object,
    generate: GenerateCallback | None = None,
    decrypt: DecryptCallback | None = None,
    data: Any = None,
) -> None:
    """
    Sets what is asked whenever a ticket is made for, or received from, a client of *context*.

    The two replace those that were set before, as one: a handshake that is under way goes on with
    the pair that it began with, and later ones take the new pair. It may be called at any time, on
    any thread. Both None removes them.

    The callbacks are called on the thread that calls into libssl for the connection, and are kept
    for as long as a connection can call them. What they raise ends the connection: with a
    connection of :mod:`openssl_tickets.SSL` the very exception is raised from ``do_handshake``,
    ``recv``, ``send`` and the like; elsewhere it goes to ``sys.unraisablehook`` with the
    connection as the object.

    After a switch of contexts by server name (SNI), it is the callbacks of the connection's
    *first* context that are called.

    While a *decrypt* is set, libssl does not look into the context's session cache
    (``SESS_CACHE_NO_INTERNAL_LOOKUP``): from there a TLS 1.2 client without tickets would be
    resumed by session id, and *decrypt* would never be asked. A later
    ``set_session_cache_mode()`` that leaves this flag out opens that way again.

    Args:
        context: an ``OpenSSL.SSL.Context`` for servers.
        generate: ``generate(connection, data)``, called before a ticket is made. It returns the
            ticket's application data as bytes, ``b""`` for none, or None to leave it as it is (a
            ticket that renews another carries the other's data on). None: nothing is asked.
        decrypt: ``decrypt(connection, ticket, data)``, called with a :class:`ReceivedTicket` for
            each ticket a client offers until one is used, also for those that could not be
            decrypted. It returns a :class:`TicketReturn`, or None for what OpenSSL does by
            itself. None: nothing is asked.
        data: handed to both callbacks as it is.

    Raises:
        TypeError: *context* is not a context, or a callback is not callable.
        ValueError: *decrypt* is set on a context with stateful tickets (``OP_NO_TICKET``, or
            early data with anti-replay). libssl resumes from those without asking, so the policy
            would be skipped. When options change later, the connection that would issue such a
            ticket is ended instead.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: libssl is out of memory.

    Example::

        def generate(connection, users):
            return users[connection].encode()

        def decrypt(connection, ticket, users):
            if ticket.appdata in REVOKED:
                return TicketReturn.IGNORE_RENEW

        set_session_ticket_callback(context, generate, decrypt, users)

    libssl: ``SSL_CTX_set_session_ticket_cb`` (OpenSSL 1.1.1).
    """
    for name, callback in (("generate", generate), ("decrypt", decrypt)):
        if callback is not None and not callable(callback):
            raise TypeError(f"{name} must be callable or None, not {callback!r:.80}")
    ssl_ctx = adapters.to_ssl_ctx(context)
    if decrypt is not None:
        _refuse_stateful_tickets(ssl_ctx.pointer)
    slot = slot_of(ssl_ctx, _NO_CALLBACKS)
    if decrypt is not None:
        _keep_out_of_session_cache(ssl_ctx.pointer)
    slot.callbacks = _Callbacks(generate, decrypt, data)


class _Callbacks(NamedTuple):
    generate: GenerateCallback | None
    decrypt: DecryptCallback | None
    data: Any


_NO_CALLBACKS = _Callbacks(None, None, None)

# What OpenSSL does for each status where there is no decrypt callback.
_DEFAULT_RETURN = {
    int(TicketStatus.EMPTY): TicketReturn.IGNORE_RENEW,
    int(TicketStatus.NO_DECRYPT): TicketReturn.IGNORE_RENEW,
    int(TicketStatus.SUCCESS): TicketReturn.USE,
    int(TicketStatus.SUCCESS_RENEW): TicketReturn.USE_RENEW,
}
_STATUSES = {int(status): status for status in TicketStatus}
_DECRYPTED = frozenset({TicketStatus.SUCCESS, TicketStatus.SUCCESS_RENEW})
_USES = frozenset({TicketReturn.USE, TicketReturn.USE_RENEW})


# The two run once for every ticket, in the middle of a handshake whose cryptography has filled the
# processor's caches: they call little, and ask libssl for nothing that C has not handed to them.


@ffi.def_extern(onerror=surface)  # type: ignore[untyped-decorator]
def openssl_tickets_generate(ssl: CData, call: CData) -> int:
    slot = slots[call.slot]
    connection = slot.find_connection(ssl)
    generate, decrypt, data = slot.pinned(connection)
    if decrypt is not None and call.stateful:
        raise RuntimeError(
            "this ticket would be stateful, and libssl resumes from those without asking the "
            "decrypt callback: " + _STATEFUL_REMEDY
        )
    if generate is not None:
        appdata = generate(connection, data)
        if appdata is not None:
            set_appdata(lib.SSL_get_session(ssl), appdata)
    return 1


@ffi.def_extern(onerror=surface)  # type: ignore[untyped-decorator]
def openssl_tickets_decrypt(
    ssl: CData, session: CData, key_name: CData, key_name_len: int, status: int, call: CData
) -> int:
    slot = slots[call.slot]
    connection = slot.find_connection(ssl)
    _, decrypt, data = slot.pinned(connection)
    if decrypt is None:
        return _DEFAULT_RETURN[status]
    name = ffi.buffer(key_name, key_name_len)[:]
    if status in _DECRYPTED:
        appdata = ffi.buffer(call.appdata, call.appdata_len)[:] if call.appdata else b""
        ticket = ReceivedTicket(_STATUSES[status], name, appdata, shared_session(session))
    else:
        ticket = ReceivedTicket(_STATUSES[status], name, None, None)
    answer = decrypt(connection, ticket, data)
    if answer is None:
        return _DEFAULT_RETURN[status]
    if not isinstance(answer, TicketReturn):
        raise TypeError(f"decrypt must return a TicketReturn or None, not {answer!r:.80}")
    if answer in _USES and status not in _DECRYPTED:
        raise ValueError(
            f"decrypt returned {answer.name} for a ticket with status {_STATUSES[status].name}: "
            "only a decrypted ticket can be used"
        )
    return answer


_STATEFUL_REMEDY = (
    "keep OP_NO_TICKET off, and use early data only with SSL_OP_NO_ANTI_REPLAY, "
    "or do without a decrypt callback"
)


def _refuse_stateful_tickets(ctx: CData) -> None:
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


def _keep_out_of_session_cache(ctx: CData) -> None:
    mode = lib.SSL_CTX_get_session_cache_mode(ctx)
    lib.SSL_CTX_set_session_cache_mode(ctx, mode | lib.SSL_SESS_CACHE_NO_INTERNAL_LOOKUP)
