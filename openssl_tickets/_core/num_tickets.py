"""How many TLS 1.3 session tickets a server sends, and when."""

from __future__ import annotations

from openssl_tickets._adapters import is_context, to_ssl, to_ssl_ctx
from openssl_tickets._adapters.types import TLSConnection, TLSContext
from openssl_tickets._core.arguments import checked
from openssl_tickets._core.sides import to_server_ssl, to_server_ssl_ctx
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.errors import Error, drain_error_queue, raise_error
from openssl_tickets._typing import SupportsIndex

# A client cannot ask for more (RFC 9149). libssl would accept any number, and send that many
# tickets ahead of a connection's data: 2**40 tickets are about 250 terabytes.
_MOST = 255


def get_num_tickets(context_or_connection: TLSContext | TLSConnection) -> int:
    """
    Returns how many tickets a server sends after a full TLS 1.3 handshake.

    Args:
        context_or_connection: an ``OpenSSL.SSL.Context``, ``OpenSSL.SSL.Connection``,
            ``ssl.SSLContext``, ``ssl.SSLSocket`` or ``ssl.SSLObject``. A connection starts with its
            context's number.

    Returns:
        The number that was set, or OpenSSL's default, 2.

    Raises:
        TypeError: *context_or_connection* is neither a context nor a connection.
        ValueError: the socket has no TLS yet, or no TLS any more.
        LibraryMismatchError: *context_or_connection* belongs to another libssl.

    libssl: ``SSL_CTX_get_num_tickets``, ``SSL_get_num_tickets`` (OpenSSL 1.1.1).
    """
    if is_context(context_or_connection):
        context = to_ssl_ctx(context_or_connection)
        return int(lib.SSL_CTX_get_num_tickets(context.pointer))
    return int(lib.SSL_get_num_tickets(to_ssl(context_or_connection)))


def set_num_tickets(
    context_or_connection: TLSContext | TLSConnection, num_tickets: SupportsIndex
) -> None:
    """
    Sets how many tickets a server sends after a full TLS 1.3 handshake.

    After a resumption the server sends 1 ticket, or none if *num_tickets* is 0. Tickets from
    :func:`new_session_ticket` are extra. The number has no effect in TLS 1.2.

    Args:
        context_or_connection: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext``, for the connections
            that it makes later. Or an ``OpenSSL.SSL.Connection``, ``ssl.SSLSocket`` or
            ``ssl.SSLObject`` of a server, before its handshake.
        num_tickets: an integer from 0 to 255. A client cannot ask for more (RFC 9149), and libssl
            sends them all before the connection's first data.

    Raises:
        TypeError: *context_or_connection* is neither a context nor a connection, or *num_tickets*
            is not an integer (a ``bool`` is not accepted).
        ValueError: *num_tickets* is negative or more than 255; or *context_or_connection* is a
            client or for clients only; or there is no TLS on the socket.
        LibraryMismatchError: *context_or_connection* belongs to another libssl.
        Error: libssl refused the number.

    Example::

        set_num_tickets(context, 1)

    libssl: ``SSL_CTX_set_num_tickets``, ``SSL_set_num_tickets`` (OpenSSL 1.1.1).
    """
    number = checked("num_tickets", num_tickets, 0, _MOST)
    if is_context(context_or_connection):
        context = to_server_ssl_ctx(context_or_connection, "a number of tickets")
        if not lib.SSL_CTX_set_num_tickets(context.pointer, number):
            raise_error(f"SSL_CTX_set_num_tickets refused {number}")
        return
    ssl = to_server_ssl(context_or_connection, "a number of tickets")
    if not lib.SSL_set_num_tickets(ssl, number):
        raise_error(f"SSL_set_num_tickets refused {number}")


def new_session_ticket(connection: TLSConnection) -> None:
    """
    Queues one more ticket for the client of *connection*, for example after a login.

    libssl sends queued tickets before the data of the next write, with the next read, or with
    ``connection.do_handshake()``. It never sends them in the middle of a write that blocked. It
    calls ``generate`` when it sends a ticket. Queued tickets are sent even if
    :func:`set_num_tickets` was given 0. For an ``asyncio`` stream, the connection is
    ``writer.get_extra_info("ssl_object")``.

    Args:
        connection: an ``OpenSSL.SSL.Connection``, ``ssl.SSLSocket`` or ``ssl.SSLObject`` of a
            server, with TLS 1.3, after its handshake.

    Raises:
        TypeError: *connection* is not a connection.
        ValueError: the socket has no TLS yet, or no TLS any more.
        LibraryMismatchError: *connection* belongs to another libssl.
        Error: *connection* is a client, its handshake is not done, or it does not use TLS 1.3. The
            message says which.

    Example::

        new_session_ticket(connection)
        connection.sendall(b"welcome")  # the ticket is sent before it

    libssl: ``SSL_new_session_ticket`` (OpenSSL 3.0). Reads and ``do_handshake`` send the tickets
    from OpenSSL 3.0.3 on.
    """
    ssl = to_ssl(connection)
    if lib.SSL_new_session_ticket(ssl):
        return
    # libssl puts no reason into its queue, so any error there is older. These are its reasons.
    drain_error_queue()
    if not lib.SSL_is_server(ssl):
        reason = "the connection is a client, and only a server issues tickets"
    elif not lib.SSL_is_init_finished(ssl):
        reason = "the handshake is not done yet; call it once do_handshake() has returned"
    elif lib.SSL_version(ssl) != lib.TLS1_3_VERSION:
        version = ffi.string(lib.SSL_get_version(ssl)).decode()
        reason = f"the connection speaks {version}, and only TLS 1.3 has tickets on demand"
    else:
        reason = "libssl gave no reason"
    raise Error(f"SSL_new_session_ticket failed: {reason}")
