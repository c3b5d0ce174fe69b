"""TLS 1.3: a server asks for the client's certificate after the handshake."""

from __future__ import annotations

from openssl_tickets._adapters import is_context, to_ssl, to_ssl_ctx
from openssl_tickets._adapters.types import TLSConnection, TLSContext
from openssl_tickets._native._libssl import lib
from openssl_tickets._native.errors import raise_error

VERIFY_POST_HANDSHAKE: int = lib.SSL_VERIFY_POST_HANDSHAKE
"""
A flag for pyOpenSSL's ``Context.set_verify``, together with ``VERIFY_PEER``. The server then does
not ask for a certificate in the handshake, but when you call :func:`verify_client_post_handshake`.
"""


def set_post_handshake_auth(
    context_or_connection: TLSContext | TLSConnection, enabled: bool
) -> None:
    """
    Makes a client tell servers that they may ask for its certificate after the handshake.

    Use it on clients only. It has no effect before TLS 1.3. In the standard library,
    ``ssl.SSLContext.post_handshake_auth`` does the same.

    Args:
        context_or_connection: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``, for the connections
            that it makes later. Or an ``OpenSSL.SSL.Connection``, ``ssl.SSLSocket`` or
            ``ssl.SSLObject``, before its handshake.
        enabled: True if servers may ask.

    Raises:
        TypeError: *context_or_connection* is neither a context nor a connection.
        ValueError: the connection's handshake has begun, or there is no TLS on the socket.
        LibraryMismatchError: *context_or_connection* belongs to another libssl.

    libssl: ``SSL_CTX_set_post_handshake_auth``, ``SSL_set_post_handshake_auth`` (OpenSSL 1.1.1).
    """
    if is_context(context_or_connection):
        ctx = to_ssl_ctx(context_or_connection).pointer
        lib.SSL_CTX_set_post_handshake_auth(ctx, bool(enabled))
        return
    ssl = to_ssl(context_or_connection)
    if not lib.SSL_in_before(ssl):
        raise ValueError(
            "the connection's handshake has begun, and only its first message can say that a "
            "certificate may be asked for later: call set_post_handshake_auth before do_handshake()"
        )
    lib.SSL_set_post_handshake_auth(ssl, bool(enabled))


def verify_client_post_handshake(connection: TLSConnection) -> None:
    """
    Asks the client of *connection* for its certificate, after the handshake.

    The next write, or ``connection.do_handshake()``, sends the request. The next read reads the
    answer and verifies it. If the certificate does not satisfy the connection's verify mode, that
    read raises libssl's error.

    Then the server sends new tickets that carry the certificate: the number of
    :func:`set_num_tickets` if the handshake was a full one, or 1 if it was a resumption.
    ``generate`` is called for each of them. ``get_session(connection).peer_certificate_der`` is the
    certificate.

    The verify mode must ask for a certificate. With pyOpenSSL, set ``VERIFY_PEER |
    VERIFY_POST_HANDSHAKE`` (from this package) on the context, or call ``Connection.set_verify``
    after the handshake. With ``ssl``, set ``post_handshake_auth`` and a ``verify_mode``.

    Args:
        connection: an ``OpenSSL.SSL.Connection``, ``ssl.SSLSocket`` or ``ssl.SSLObject`` of a
            server, with TLS 1.3, after its handshake.

    Raises:
        TypeError: *connection* is not a connection.
        ValueError: the socket has no TLS yet, or no TLS any more.
        LibraryMismatchError: *connection* belongs to another libssl.
        Error: *connection* is a client, its handshake is not done, or it does not use TLS 1.3. Or
            the client does not allow it (:func:`set_post_handshake_auth`), or has not answered an
            earlier request. Or the verify mode asks for no certificate. The message has OpenSSL's
            reason.

    Example::

        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        verify_client_post_handshake(connection)
        connection.do_handshake()

    libssl: ``SSL_verify_client_post_handshake`` (OpenSSL 1.1.1).
    """
    ssl = to_ssl(connection)
    if not lib.SSL_verify_client_post_handshake(ssl):
        raise_error("SSL_verify_client_post_handshake failed")
