"""A context's counters of sessions and handshakes."""

from __future__ import annotations

from openssl_tickets._adapters import to_ssl_ctx
from openssl_tickets._adapters.types import TLSContext
from openssl_tickets._native._libssl import lib
from openssl_tickets._typing import NamedTuple


class SessionStats(NamedTuple):
    """What a context has counted since it was made. ``ssl.SSLContext`` uses most of these names."""

    number: int
    """Sessions in the context's cache now."""
    connect: int
    """Handshakes that began, as a client."""
    connect_good: int
    """Handshakes that finished, as a client."""
    connect_renegotiate: int
    """Renegotiations as a client."""
    accept: int
    """Handshakes that began, as a server."""
    accept_good: int
    """Handshakes that finished, as a server."""
    accept_renegotiate: int
    """Renegotiations as a server. libssl counts some of them more than once."""
    hits: int
    """Resumed sessions, as a client or server, from tickets or from the cache."""
    cb_hits: int
    """Sessions that a server found in an external cache."""
    misses: int
    """Session ids that a server did not find in its cache. Tickets do not count."""
    timeouts: int
    """Expired sessions and tickets that clients offered to a server."""
    cache_full: int
    """Sessions that were removed because the cache was full."""
    cache_size: int
    """How many sessions the cache can hold. 0 means any number."""


def session_stats(context: TLSContext) -> SessionStats:
    """
    Returns the counters of *context*: handshakes, resumptions and the session cache.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``.

    Returns:
        A :class:`SessionStats`.

    Raises:
        TypeError: *context* is not a context.
        LibraryMismatchError: *context* belongs to another libssl.

    Example::

        stats = session_stats(context)
        print(f"{stats.hits} of {stats.accept_good} handshakes were resumptions")

    libssl: ``SSL_CTX_sess_number`` and the functions beside it, ``SSL_CTX_sess_get_cache_size``
    (OpenSSL 1.1.0).
    """
    ctx = to_ssl_ctx(context).pointer
    return SessionStats(
        number=lib.SSL_CTX_sess_number(ctx),
        connect=lib.SSL_CTX_sess_connect(ctx),
        connect_good=lib.SSL_CTX_sess_connect_good(ctx),
        connect_renegotiate=lib.SSL_CTX_sess_connect_renegotiate(ctx),
        accept=lib.SSL_CTX_sess_accept(ctx),
        accept_good=lib.SSL_CTX_sess_accept_good(ctx),
        accept_renegotiate=lib.SSL_CTX_sess_accept_renegotiate(ctx),
        hits=lib.SSL_CTX_sess_hits(ctx),
        cb_hits=lib.SSL_CTX_sess_cb_hits(ctx),
        misses=lib.SSL_CTX_sess_misses(ctx),
        timeouts=lib.SSL_CTX_sess_timeouts(ctx),
        cache_full=lib.SSL_CTX_sess_cache_full(ctx),
        cache_size=lib.SSL_CTX_sess_get_cache_size(ctx),
    )
