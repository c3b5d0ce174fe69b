"""What a context counts of its sessions, and how long they last."""

from __future__ import annotations

from typing import NamedTuple, SupportsIndex

from openssl_tickets import adapters
from openssl_tickets._libssl import lib
from openssl_tickets.integers import checked

_TIMEOUT_MAX = 2**31 - 1  # seconds, some 68 years


class SessionStats(NamedTuple):
    """What a context has counted since it was made; ``ssl.SSLContext`` has most of these names."""

    number: int
    """Sessions in the context's cache now."""
    connect: int
    """Handshakes begun as a client."""
    connect_good: int
    """Those of them that were finished."""
    connect_renegotiate: int
    """Renegotiations as a client."""
    accept: int
    """Handshakes begun as a server."""
    accept_good: int
    """Those of them that were finished."""
    accept_renegotiate: int
    """Renegotiations as a server; libssl counts some of them more than once."""
    hits: int
    """Sessions that were resumed, on either side, from tickets or from the cache."""
    cb_hits: int
    """Those that a server's external cache has found."""
    misses: int
    """Session ids of clients that were not found in a server's cache; tickets are not counted."""
    timeouts: int
    """Sessions and tickets that came to a server after their time."""
    cache_full: int
    """Sessions that had to leave since the cache was full."""
    cache_size: int
    """How many sessions the cache may have, 0 for any number."""


def session_stats(context: object) -> SessionStats:
    """
    Returns what *context* has counted of its connections' sessions.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``.

    Raises:
        TypeError: *context* is not a context.
        LibraryMismatchError: it belongs to another libssl.

    Example::

        stats = session_stats(context)
        print(f"{stats.hits} of {stats.accept_good} handshakes were resumptions")

    libssl: ``SSL_CTX_sess_number`` and the functions beside it, ``SSL_CTX_sess_get_cache_size``
    (OpenSSL 1.1.0).
    """
    ctx = adapters.to_ssl_ctx(context).pointer
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


def get_session_timeout(context: object) -> int:
    """
    Returns for how many seconds a new session of *context* may be resumed.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``.

    Raises:
        TypeError: *context* is not a context.
        LibraryMismatchError: it belongs to another libssl.

    libssl: ``SSL_CTX_get_timeout`` (OpenSSL 1.1.0).
    """
    return int(lib.SSL_CTX_get_timeout(adapters.to_ssl_ctx(context).pointer))


def set_session_timeout(context: object, seconds: SupportsIndex) -> None:
    """
    Sets for how many seconds a new session of *context* may be resumed.

    A server sends it to its clients with each ticket, as the lifetime hint: in TLS 1.3 at most a
    week, 604,800 seconds, as RFC 8446 has it; in TLS 1.2 not with a ticket that renews another.
    It is 7,200 where nothing is set (300 before OpenSSL 3.0).

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``; the sessions that it has already
            made keep their time.
        seconds: how many, from 1 to 2,147,483,647.

    Raises:
        TypeError: *context* is not a context, or *seconds* is not an integer.
        ValueError: *seconds* is less than 1, or more than 2,147,483,647.
        LibraryMismatchError: *context* belongs to another libssl.

    libssl: ``SSL_CTX_set_timeout`` (OpenSSL 1.1.0).
    """
    ctx = adapters.to_ssl_ctx(context).pointer
    lib.SSL_CTX_set_timeout(ctx, checked("seconds", seconds, 1, _TIMEOUT_MAX))
