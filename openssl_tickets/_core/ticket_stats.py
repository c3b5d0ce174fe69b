"""Counters: what happened to the tickets of a context."""

from __future__ import annotations

from openssl_tickets._adapters.types import TLSContext
from openssl_tickets._core.callbacks import number_of
from openssl_tickets._core.sides import to_server_ssl_ctx
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._typing import NamedTuple


class TicketStats(NamedTuple):
    """
    What happened to the tickets of a server's context, in this process.

    ``received`` is the sum of ``undecryptable``, ``used``, ``ignored``, ``aborted``, and the calls
    of ``decrypt`` that failed.
    """

    issued: int
    """Tickets that were made for clients."""
    received: int
    """
    Tickets that clients sent and libssl looked at. A client that only asks for its first ticket
    (``TicketStatus.EMPTY``) does not count. After a HelloRetryRequest a client sends its ticket
    again; this counts once.
    """
    used: int
    """
    Decrypted tickets that were accepted. libssl may still do a full handshake, for example because
    the ticket has expired. ``session_stats(context).hits`` counts the resumptions.
    """
    renewed: int
    """Accepted tickets that the server was to replace with a new one."""
    ignored: int
    """Decrypted tickets that ``decrypt`` or the server name binding did not accept."""
    aborted: int
    """Decrypted tickets for which ``decrypt`` ended the handshake."""
    undecryptable: int
    """Tickets that no key decrypts: from another server, of a key that is gone, or forged."""
    failed: int
    """
    Calls of ``generate`` and ``decrypt`` that raised an exception or returned a wrong value, and
    tickets that were refused before a call. A failed ``decrypt`` for ``TicketStatus.EMPTY`` counts
    here and not in ``received``.
    """


def ticket_stats(context: TLSContext) -> TicketStats:
    """
    Returns what happened to the tickets of *context*.

    The counters start with the first call of this package that sets something for servers on
    *context*, or with the first call of this function. If the server switches contexts by server
    name (SNI), the connection's *first* context counts.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext`` for servers.

    Returns:
        A :class:`TicketStats`.

    Raises:
        TypeError: *context* is not a context.
        ValueError: *context* is for clients only.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: libssl is out of memory, or another copy of this package has set callbacks or keys.

    Example::

        stats = ticket_stats(context)
        print(f"{stats.undecryptable} of {stats.received} tickets could not be decrypted")

    libssl: ``SSL_CTX_set_session_ticket_cb`` (OpenSSL 1.1.1).
    """
    ctx = to_server_ssl_ctx(context, "statistics of tickets").pointer
    number_of(ctx)
    counts = ffi.new("openssl_tickets_counts *")
    lib.openssl_tickets_get_counts(ctx, counts)
    return TicketStats(*(getattr(counts, name) for name in TicketStats._fields))
