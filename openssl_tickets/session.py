"""Sessions, and the application data that a session and its tickets carry."""

from __future__ import annotations

from typing import Any, NoReturn

from openssl_tickets import adapters
from openssl_tickets._libssl import ffi, lib
from openssl_tickets.errors import raise_error

CData = Any


class Session:
    """
    A TLS session: what a ticket holds, and what a connection is resumed from.

    It keeps the session alive for as long as it lives itself. Sessions come from
    :func:`get_session` and from :attr:`ReceivedTicket.session`; there is no constructor.
    """

    __slots__ = ("_session",)

    _session: CData

    def __init__(self) -> None:
        raise TypeError("a Session comes from get_session() or from ReceivedTicket.session")

    @property
    def ticket_appdata(self) -> bytes:
        """
        The application data that the session carries, ``b""`` where there is none.

        What is set goes into every ticket made from this session from then on, and comes back in
        the session of each resumption. Set it in a ``generate`` or ``decrypt`` callback, or while
        no other thread is using a connection with this session: libssl reads it without a lock as
        it makes a ticket.

        Raises:
            TypeError: what is set is not bytes.
            ValueError: with what is set the session would not fit a ticket (an encoded session
                has at most 65,280 bytes, a client's certificate that has come by now included);
                it stays as it was.
            Error: libssl refused, out of memory.

        libssl: ``SSL_SESSION_get0_ticket_appdata``, ``SSL_SESSION_set1_ticket_appdata``
        (OpenSSL 1.1.1).
        """
        return get_appdata(self._session)

    @ticket_appdata.setter
    def ticket_appdata(self, appdata: bytes) -> None:
        set_appdata(self._session, appdata)

    @property
    def peer_certificate_der(self) -> bytes | None:
        """
        The certificate of the other side in DER, None where it has shown none.

        On a server it is the client's. It is known in ``generate`` and ``decrypt`` too, where the
        connection itself does not tell before its handshake is done.

        Raises:
            Error: libssl is out of memory.

        libssl: ``SSL_SESSION_get0_peer`` (OpenSSL 1.1.1).
        """
        copy = ffi.new("unsigned char **")
        length = lib.openssl_tickets_copy_peer(self._session, copy)
        if length < 0:
            raise_error("the certificate could not be encoded")
        try:
            return bytes(ffi.buffer(copy[0], length)) if length else None
        finally:
            lib.openssl_tickets_free_copy(copy[0], length)

    def __repr__(self) -> str:
        return f"<openssl_tickets.Session with {len(self.ticket_appdata)} bytes of ticket_appdata>"


def get_session(connection: object) -> Session | None:
    """
    Returns the session of *connection*: the one it resumed, or the one it made.

    Args:
        connection: an ``OpenSSL.SSL.Connection``, ``ssl.SSLSocket`` or ``ssl.SSLObject``; or a
            session that one of them has given, an ``OpenSSL.SSL.Session`` or ``ssl.SSLSession``,
            to look into it.

    Returns:
        The session, or None where there is none yet.

    Raises:
        TypeError: *connection* is not a connection.
        ValueError: there is no TLS on the socket: not yet, or not any more.
        LibraryMismatchError: it belongs to another libssl.

    Example::

        get_session(connection).ticket_appdata  # what the client's ticket carried

    libssl: ``SSL_get1_session`` (OpenSSL 1.1.1).
    """
    if adapters.is_session(connection):
        session = adapters.to_ssl_session(connection)
        lib.SSL_SESSION_up_ref(session)
    else:
        session = lib.SSL_get1_session(adapters.to_ssl(connection))
    return owned_session(session) if session else None


def owned_session(session: CData) -> Session:
    """Returns a :class:`Session` that takes over one reference to *session*."""
    self = Session.__new__(Session)
    self._session = ffi.gc(session, lib.SSL_SESSION_free)
    return self


def get_appdata(session: CData) -> bytes:
    """Returns a copy of the application data of a ``SSL_SESSION *``."""
    copy = ffi.new("void **")
    length = ffi.new("size_t *")
    if not lib.openssl_tickets_copy_appdata(session, copy, length):
        raise_error("SSL_SESSION_get0_ticket_appdata failed")
    try:
        return bytes(ffi.buffer(copy[0], length[0])) if length[0] else b""
    finally:
        lib.openssl_tickets_free_copy(copy[0], length[0])


def set_appdata(session: CData, appdata: object) -> None:
    """Sets the application data of a ``SSL_SESSION *``, as :attr:`Session.ticket_appdata` does."""
    result = 0
    if isinstance(appdata, bytes):
        result = lib.openssl_tickets_set_appdata(session, appdata, len(appdata))
    if result != 1:
        raise_appdata_error(appdata, result)


def raise_appdata_error(appdata: object, result: int) -> NoReturn:
    """Raises what is wrong with *appdata*, for which C has returned *result*."""
    if not isinstance(appdata, bytes):
        raise TypeError(
            f"ticket application data must be bytes, not {type(appdata).__name__}: {appdata!r:.80}"
        )
    if result < 0:
        raise ValueError(
            f"{len(appdata)} bytes of ticket application data do not fit a ticket: with them the "
            f"encoded session would have more than {lib.OPENSSL_TICKETS_MAX_ENCODED_SESSION} bytes"
        )
    raise_error("SSL_SESSION_set1_ticket_appdata failed")
