"""How long the sessions of a context last."""

from __future__ import annotations

from typing import SupportsIndex

from openssl_tickets._adapters import to_ssl_ctx
from openssl_tickets._adapters.types import TLSContext
from openssl_tickets._core.callbacks import number_of
from openssl_tickets._core.integers import checked
from openssl_tickets._core.sides import to_server_ssl_ctx
from openssl_tickets._native._libssl import lib
from openssl_tickets._native.errors import raise_error

_TIMEOUT_MAX = 2**31 - 1  # seconds, some 68 years


def get_session_timeout(context: TLSContext) -> int:
    """
    Returns for how many seconds a new session of *context* may be resumed.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``.

    Raises:
        TypeError: *context* is not a context.
        LibraryMismatchError: it belongs to another libssl.

    libssl: ``SSL_CTX_get_timeout`` (OpenSSL 1.1.0).
    """
    return int(lib.SSL_CTX_get_timeout(to_ssl_ctx(context).pointer))


def set_session_timeout(context: TLSContext, seconds: SupportsIndex) -> None:
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
        ValueError: *seconds* is less than 1, more than 2,147,483,647, or longer than
            :func:`set_max_session_lifetime` allows.
        LibraryMismatchError: *context* belongs to another libssl.

    libssl: ``SSL_CTX_set_timeout`` (OpenSSL 1.1.0).
    """
    ctx = to_ssl_ctx(context).pointer
    timeout = checked("seconds", seconds, 1, _TIMEOUT_MAX)
    number_of(ctx)
    limit = int(lib.openssl_tickets_get_max_lifetime(ctx))
    if limit and timeout > limit:
        raise ValueError(
            f"sessions of this context end {limit} seconds after their full handshake, so their "
            f"timeout cannot be {timeout} seconds: call set_max_session_lifetime first"
        )
    lib.SSL_CTX_set_timeout(ctx, timeout)


def get_max_session_lifetime(context: TLSContext) -> int | None:
    """
    Returns how many seconds after its full handshake a session of *context* ends at the latest;
    None if there is no such limit.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``.

    Raises:
        TypeError: *context* is not a context.
        LibraryMismatchError: it belongs to another libssl.
        Error: libssl is out of memory, or another copy of this package is at work.
    """
    ctx = to_ssl_ctx(context).pointer
    number_of(ctx)
    return int(lib.openssl_tickets_get_max_lifetime(ctx)) or None


def set_max_session_lifetime(context: TLSContext, seconds: SupportsIndex | None) -> None:
    """
    Sets how long a session of *context* lasts at most, however often its ticket is renewed.

    In TLS 1.3 a client gets a new ticket with each resumption. Without a limit a session lives for
    as long as its client comes back, and nobody looks at its certificate again (RFC 9846, 4.7.1).
    With it, nothing is resumed later than *seconds* after the full handshake: each new ticket, and
    the lifetime that the client is told, has what is left. It is done in C, with callbacks or
    without, and holds for TLS 1.2 and 1.3, libssl's own keys and a :class:`TicketKeys`, tickets on
    demand and after post-handshake authentication.

    *seconds* becomes the context's session timeout too, and a shorter :func:`set_session_timeout`
    afterwards is a shorter limit. Set the same limit in all workers and on all hosts that share
    keys. A ticket from before the limit counts from when it was made; a TLS 1.2 session in the
    context's cache keeps its time.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext`` for servers.
        seconds: how many, from 1 to 2,147,483,647. None lifts the limit; the session timeout stays.

    Raises:
        TypeError: *context* is not a context, or *seconds* is not an integer.
        ValueError: *seconds* is less than 1, or more than 2,147,483,647; or *context* is for
            clients only.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: libssl is out of memory, or another copy of this package is at work.

    Example::

        set_max_session_lifetime(context, 24 * 3600)  # each client shows who it is once a day

    libssl: ``SSL_CTX_set_timeout``, ``SSL_SESSION_set_timeout``, ``SSL_SESSION_set_ex_data``
    (OpenSSL 1.1.0).
    """
    ctx = to_server_ssl_ctx(context, "a limit on resumed sessions").pointer
    number = 0 if seconds is None else checked("seconds", seconds, 1, _TIMEOUT_MAX)
    number_of(ctx)
    if not lib.openssl_tickets_set_max_lifetime(ctx, number):
        raise_error("SSL_SESSION_get_ex_new_index failed")
