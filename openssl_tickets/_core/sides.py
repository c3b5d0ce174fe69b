"""Refuses to set on a client what only servers use. libssl would accept and ignore it."""

from __future__ import annotations

from openssl_tickets._adapters import SSLContext, to_ssl, to_ssl_ctx
from openssl_tickets._native._libssl import lib
from openssl_tickets._typing import Any

CData = Any


def to_server_ssl_ctx(context: object, what: str) -> SSLContext:
    """
    Returns the ``SSL_CTX`` of *context*, so that *what* can be set on it.

    Raises:
        TypeError: *context* is not a context of pyOpenSSL or ``ssl``.
        ValueError: *context* is for clients only, or was never initialised.
        LibraryMismatchError: *context* belongs to another libssl.
    """
    ssl_ctx = to_ssl_ctx(context)
    method = lib.SSL_CTX_get_ssl_method(ssl_ctx.pointer)
    if method in (lib.TLS_client_method(), lib.DTLS_client_method()):
        raise ValueError(
            f"only servers have {what}, and this context is for clients only: set it on the "
            "server's context (PROTOCOL_TLS_SERVER of ssl, TLS_METHOD or TLS_SERVER_METHOD of "
            "pyOpenSSL)"
        )
    return ssl_ctx


def to_server_ssl(connection: object, what: str) -> CData:
    """
    Returns the ``SSL *`` of *connection*, so that *what* can be set on it.

    Raises:
        TypeError: *connection* is not a connection of pyOpenSSL or ``ssl``.
        ValueError: *connection* is a client, or was never initialised.
        LibraryMismatchError: *connection* belongs to another libssl.
    """
    ssl = to_ssl(connection)
    if not lib.SSL_is_server(ssl):
        raise ValueError(
            f"only servers have {what}, and this connection is a client: set it on the server's "
            "connection, or on its context"
        )
    return ssl
