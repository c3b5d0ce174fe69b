"""TLS 1.3: a server asks for the client's certificate after the handshake."""

from __future__ import annotations

from openssl_tickets._adapters import is_context, to_ssl, to_ssl_ctx
from openssl_tickets._adapters.types import TLSConnection, TLSContext
from openssl_tickets._native._libssl import lib
from openssl_tickets._native.errors import raise_error

VERIFY_POST_HANDSHAKE: int = lib.SSL_VERIFY_POST_HANDSHAKE
"""
A mode for pyOpenSSL's ``Context.set_verify``, together with ``VERIFY_PEER``. The server then asks
for a certificate when :func:`verify_client_post_handshake` is called, and not in the handshake.
"""


def set_post_handshake_auth(
    context_or_connection: TLSContext | TLSConnection, enabled: bool
) -> None:
    """
    Tells servers that they may ask this client for its certificate after the handshake.

    Call it on clients only. It has no effect before TLS 1.3. ``ssl.SSLContext.post_handshake_auth``
    does the same for the standard library.

    Args:
        context_or_connection: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``, for the connections
            that are made from it from now on; or an ``OpenSSL.SSL.Connection``, ``ssl.SSLSocket``
            or ``ssl.SSLObject``, before its handshake.
        enabled: whether to say so.

    Raises:
        TypeError: *context_or_connection* is neither.
        ValueError: the connection's handshake has begun; or there is no TLS on the socket.
        LibraryMismatchError: the object belongs to another libssl.

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

    The request is sent with the next write, or with ``connection.do_handshake()``. The next read
    reads the answer and verifies it. It raises libssl's error if the certificate does not satisfy
    the connection's verify mode.

    Then the server sends new tickets, which carry the certificate: as many as
    :func:`set_num_tickets` says if the handshake was a full one, and 1 if it was a resumption.
    ``generate`` is called for each, and ``get_session(connection).peer_certificate_der`` is the
    certificate.

    The verify mode must ask for a certificate: with pyOpenSSL ``VERIFY_PEER |
    VERIFY_POST_HANDSHAKE`` (of this package) for the context, or ``Connection.set_verify`` after
    the handshake; with ``ssl``, ``post_handshake_auth`` and a ``verify_mode``.

    Args:
        connection: an ``OpenSSL.SSL.Connection``, ``ssl.SSLSocket`` or ``ssl.SSLObject``, the
            server's side, in TLS 1.3, after its handshake.

    Raises:
        TypeError: *connection* is not a connection.
        ValueError: there is no TLS on the socket: not yet, or not any more.
        LibraryMismatchError: it belongs to another libssl.
        Error: it is a client, its handshake is not done, it does not speak TLS 1.3, the client
            has not said that it can be asked (:func:`set_post_handshake_auth`), it has been asked
            and has not answered yet, or the verify mode asks for nothing; OpenSSL's reason is in
            the message.

    Example::

        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        verify_client_post_handshake(connection)
        connection.do_handshake()

    libssl: ``SSL_verify_client_post_handshake`` (OpenSSL 1.1.1).
    """
    ssl = to_ssl(connection)
    if not lib.SSL_verify_client_post_handshake(ssl):
        raise_error("SSL_verify_client_post_handshake failed")
