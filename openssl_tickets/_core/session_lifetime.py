"""How long a context's sessions last."""

from __future__ import annotations

from openssl_tickets._adapters import to_ssl_ctx
from openssl_tickets._adapters.types import TLSContext
from openssl_tickets._core.arguments import checked
from openssl_tickets._core.callbacks import number_of
from openssl_tickets._core.sides import to_server_ssl_ctx
from openssl_tickets._native._libssl import lib
from openssl_tickets._native.errors import raise_error
from openssl_tickets._typing import SupportsIndex

_TIMEOUT_MAX = 2**31 - 1  # seconds, some 68 years


def get_session_timeout(context: TLSContext) -> int:
    """
    Returns for how many seconds a new session of *context* can be resumed.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``.

    Raises:
        TypeError: *context* is not a context.
        LibraryMismatchError: *context* belongs to another libssl.

    libssl: ``SSL_CTX_get_timeout`` (OpenSSL 1.1.0).
    """
    return int(lib.SSL_CTX_get_timeout(to_ssl_ctx(context).pointer))


def set_session_timeout(context: TLSContext, seconds: SupportsIndex) -> None:
    """
    Sets for how many seconds a new session of *context* can be resumed.

    A server sends this number to its clients with each ticket, as the lifetime hint. In TLS 1.3 the
    hint is at most 604,800 seconds, a week (RFC 8446). In TLS 1.2 there is no hint with a ticket
    that renews another. If you set nothing, the timeout is 7,200 seconds (300 before OpenSSL 3.0).

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``. Sessions that it has already made
            keep their timeout.
        seconds: an integer from 1 to 2,147,483,647.

    Raises:
        TypeError: *context* is not a context, or *seconds* is not an integer.
        ValueError: *seconds* is less than 1 or more than 2,147,483,647, or longer than the limit of
            :func:`set_max_session_lifetime`.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: libssl is out of memory, or another copy of this package has set callbacks or keys.

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
    Returns the limit of :func:`set_max_session_lifetime` in seconds, or None if there is none.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``.

    Raises:
        TypeError: *context* is not a context.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: libssl is out of memory, or another copy of this package has set callbacks or keys.
    """
    ctx = to_ssl_ctx(context).pointer
    number_of(ctx)
    return int(lib.openssl_tickets_get_max_lifetime(ctx)) or None


def set_max_session_lifetime(context: TLSContext, seconds: SupportsIndex | None) -> None:
    """
    Limits how long after its full handshake a session of *context* can be resumed.

    In TLS 1.3 a client gets a new ticket with each resumption. Without a limit, a client that keeps
    coming back can resume forever, and nobody checks its certificate again (RFC 9846, 4.7.1). With
    a limit, no session is resumed later than *seconds* after its full handshake. Each new ticket,
    and the lifetime hint for the client, only gets the time that is left.

    The limit works for TLS 1.2 and 1.3, with or without callbacks, and with libssl's own keys or a
    :class:`TicketKeys`. It also covers tickets on demand and tickets after post-handshake
    authentication. It is applied in C.

    This function also sets the context's session timeout to *seconds*. A shorter
    :func:`set_session_timeout` later makes the limit shorter. Set the same limit in all workers and
    on all hosts that share keys. For a ticket from before the limit, the time counts from when the
    ticket was made. A TLS 1.2 session that is already in the context's cache keeps its timeout.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext`` for servers.
        seconds: an integer from 1 to 2,147,483,647. None removes the limit; the session timeout
            stays as it is.

    Raises:
        TypeError: *context* is not a context, or *seconds* is not an integer.
        ValueError: *seconds* is less than 1 or more than 2,147,483,647, or *context* is for clients
            only.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: libssl is out of memory, or another copy of this package has set callbacks or keys.

    Example::

        set_max_session_lifetime(context, 24 * 3600)  # a full handshake at least once a day

    libssl: ``SSL_CTX_set_timeout``, ``SSL_SESSION_set_timeout``, ``SSL_SESSION_set_ex_data``
    (OpenSSL 1.1.0).
    """
    ctx = to_server_ssl_ctx(context, "a limit on resumed sessions").pointer
    number = 0 if seconds is None else checked("seconds", seconds, 1, _TIMEOUT_MAX)
    number_of(ctx)
    if not lib.openssl_tickets_set_max_lifetime(ctx, number):
        raise_error("SSL_SESSION_get_ex_new_index failed")
