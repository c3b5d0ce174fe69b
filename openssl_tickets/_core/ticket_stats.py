"""What has become of the tickets of a context."""

from __future__ import annotations

from typing import NamedTuple

from openssl_tickets._adapters.types import TLSContext
from openssl_tickets._core.callbacks import number_of
from openssl_tickets._core.sides import to_server_ssl_ctx
from openssl_tickets._native._libssl import ffi, lib


class TicketStats(NamedTuple):
    """
    What the server's side of a context has counted of its tickets, in this process.

    ``received`` is the sum of ``undecryptable``, ``used``, ``ignored``, ``aborted`` and of the
    ``decrypt`` callbacks that failed.
    """

    issued: int
    """Tickets that were made for clients."""
    received: int
    """Tickets that clients sent and libssl looked at. A client that only asks for its first ticket
    (``TicketStatus.EMPTY``) is not counted. After a HelloRetryRequest the client sends its ticket
    again, and it is counted once."""
    used: int
    """Decrypted tickets that were accepted. libssl may still make a full handshake, because the
    ticket has expired for example: ``session_stats(context).hits`` has the resumptions."""
    renewed: int
    """Those of them that were to be replaced by a new ticket."""
    ignored: int
    """Decrypted tickets that the policy did not accept: ``decrypt``, or the server name binding."""
    aborted: int
    """Decrypted tickets for which ``decrypt`` ended the handshake."""
    undecryptable: int
    """Tickets that no key opened: another server's, of a key that is gone, or forged."""
    failed: int
    """Callbacks, ``generate`` and ``decrypt``, that raised or returned something wrong. Those of a
    ``decrypt`` that was asked about ``TicketStatus.EMPTY`` are not part of ``received``."""


def ticket_stats(context: TLSContext) -> TicketStats:
    """
    Returns what *context* has counted of its tickets.

    It counts from the first call of this package for *context* on, of whichever function that sets
    something for servers, or of this one. After a switch of contexts by server name (SNI), the
    connection's *first* context counts.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``, for servers.

    Raises:
        TypeError: *context* is not a context.
        ValueError: *context* is for clients only.
        LibraryMismatchError: it belongs to another libssl.
        Error: libssl is out of memory, or another copy of this package is at work.

    Example::

        stats = ticket_stats(context)
        print(f"{stats.undecryptable} of {stats.received} tickets could not be opened")

    libssl: ``SSL_CTX_set_session_ticket_cb`` (OpenSSL 1.1.1).
    """
    ctx = to_server_ssl_ctx(context, "statistics of tickets").pointer
    number_of(ctx)
    counts = ffi.new("openssl_tickets_counts *")
    lib.openssl_tickets_get_counts(ctx, counts)
    return TicketStats(*(getattr(counts, name) for name in TicketStats._fields))
