"""How long the sessions of a context last."""

from __future__ import annotations

from typing import SupportsIndex

from openssl_tickets._adapters import to_ssl_ctx
from openssl_tickets._adapters.types import TLSContext
from openssl_tickets._core.integers import checked
from openssl_tickets._native._libssl import lib

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
        ValueError: *seconds* is less than 1, or more than 2,147,483,647.
        LibraryMismatchError: *context* belongs to another libssl.

    libssl: ``SSL_CTX_set_timeout`` (OpenSSL 1.1.0).
    """
    ctx = to_ssl_ctx(context).pointer
    lib.SSL_CTX_set_timeout(ctx, checked("seconds", seconds, 1, _TIMEOUT_MAX))
