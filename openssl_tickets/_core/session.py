"""Sessions: what a ticket holds, kept, moved, and offered again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, SupportsIndex

from openssl_tickets._adapters import is_session, to_ssl, to_ssl_session
from openssl_tickets._adapters.types import ForeignSession, TLSConnection
from openssl_tickets._core.integers import checked
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.errors import drain_error_queue, raise_error

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import SSL, SSL_SESSION, Pointer, unsigned_char

MAX_ENCODED = 1 << 20
"""Bytes. The largest parts of a session, ticket and certificates, have at most 64 KiB each."""

# Seconds. libssl from 3.3 on counts nanoseconds, in 64 bits.
_TIME_MAX = min(2 ** (8 * ffi.sizeof("long") - 1) - 1, (2**64 - 1) // 10**9)
_TIMEOUT_MAX = 2**31 - 1  # seconds, some 68 years

_NO_CIPHER = -2  # what C returns for data that it cannot measure

_PROTOCOLS = {
    lib.SSL3_VERSION: "SSLv3",
    lib.TLS1_VERSION: "TLSv1",
    lib.TLS1_1_VERSION: "TLSv1.1",
    lib.TLS1_2_VERSION: "TLSv1.2",
    lib.TLS1_3_VERSION: "TLSv1.3",
    lib.DTLS1_VERSION: "DTLSv1",
    lib.DTLS1_2_VERSION: "DTLSv1.2",
}


class Session:
    """
    A TLS session: what a ticket holds, and what a connection is resumed from.

    It keeps the session alive for as long as it lives itself, whatever becomes of the connection
    and the context that it came from. Sessions come from :func:`get_session`, from the callback of
    :func:`set_new_session_callback`, from :attr:`ReceivedTicket.session`, from :meth:`copy`, and
    from :meth:`from_der` and :meth:`from_pem`; there is no constructor.

    On a client it holds the ticket, and is what to resume from. On a server it is what libssl has
    put into a ticket, or found in one; the ticket itself is not kept there.

    Two are equal if they are of the same handshake and the same ticket (protocol, session id,
    ticket and secret), whatever has been set of what may be set: so a session equals its
    :meth:`copy`, and what comes back from :meth:`to_der`. In TLS 1.3 a server's session changes
    with each ticket that is sent; put those into a set or a dict after the handshake only.

    A session holds the secret that resumes it: what :meth:`to_der` and :meth:`to_pem` return is to
    be kept as safe as a private key. Neither its ``repr`` nor any attribute shows the secret.

    What is set (``ticket_appdata``, ``time``, ``timeout``) is read by libssl without a lock: leave
    alone the session of a connection that another thread is using, or set it in a :meth:`copy`.
    """

    __slots__ = ("__weakref__", "_pointer")

    _pointer: Pointer[SSL_SESSION]

    def __init__(self) -> None:
        raise TypeError(
            "a Session comes from get_session(), a callback, Session.from_der() or "
            "Session.from_pem()"
        )

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
                or it is large, and the handshake has not chosen a cipher, so that its size is not
                known yet. The session stays as it was.
            Error: libssl refused, out of memory.

        libssl: ``SSL_SESSION_get0_ticket_appdata``, ``SSL_SESSION_set1_ticket_appdata``
        (OpenSSL 1.1.1).
        """
        return get_appdata(self._pointer)

    @ticket_appdata.setter
    def ticket_appdata(self, appdata: bytes) -> None:
        set_appdata(self._pointer, appdata)

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
        length = lib.openssl_tickets_copy_peer(self._pointer, copy)
        if length < 0:
            raise_error("the certificate could not be encoded")
        try:
            return bytes(ffi.buffer(copy[0], length)) if length else None
        finally:
            lib.openssl_tickets_free_copy(copy[0], length)

    @property
    def has_ticket(self) -> bool:
        """
        Whether the session came with a ticket: a client's may, a server's never does.

        libssl: ``SSL_SESSION_has_ticket`` (OpenSSL 1.1.0).
        """
        return bool(lib.SSL_SESSION_has_ticket(self._pointer))

    @property
    def ticket(self) -> bytes:
        """
        The ticket as the server sent it, ``b""`` where there is none.

        libssl: ``SSL_SESSION_get0_ticket`` (OpenSSL 1.1.0).
        """
        ticket = ffi.new("unsigned char **")
        length = ffi.new("size_t *")
        lib.SSL_SESSION_get0_ticket(self._pointer, ticket, length)
        return bytes(ffi.buffer(ticket[0], length[0])) if ticket[0] else b""

    @property
    def key_name(self) -> bytes:
        """
        The first 16 bytes of the ticket: for a server that keeps to RFC 5077, as OpenSSL does, the
        name of the key that it is encrypted with. ``b""`` where there is no ticket.
        """
        return self.ticket[:16]

    @property
    def ticket_lifetime_hint(self) -> int:
        """
        For how many seconds from :attr:`time` on the server said it would take the ticket. 0 where
        it did not say (TLS 1.2), or there is no ticket.

        libssl: ``SSL_SESSION_get_ticket_lifetime_hint`` (OpenSSL 1.1.0).
        """
        return int(lib.SSL_SESSION_get_ticket_lifetime_hint(self._pointer))

    @property
    def time(self) -> int:
        """
        When the session was made, or its ticket came: in seconds since the Epoch.

        Raises:
            TypeError: what is set is not an integer.
            ValueError: what is set is less than 1, or later than the year 2554.

        libssl: ``SSL_SESSION_get_time``, ``SSL_SESSION_set_time`` (OpenSSL 1.1.0).
        """
        return int(lib.SSL_SESSION_get_time(self._pointer))

    @time.setter
    def time(self, seconds: SupportsIndex) -> None:
        # 0 would come back from to_der() as the time of the day.
        lib.SSL_SESSION_set_time(self._pointer, checked("time", seconds, 1, _TIME_MAX))

    @property
    def timeout(self) -> int:
        """
        For how many seconds from :attr:`time` on a server resumes the session. A client's libssl
        does not look at it: it takes :attr:`ticket_lifetime_hint` in TLS 1.3, and leaves it to the
        server in TLS 1.2.

        Raises:
            TypeError: what is set is not an integer.
            ValueError: what is set is less than 1, or more than 2,147,483,647.

        libssl: ``SSL_SESSION_get_timeout``, ``SSL_SESSION_set_timeout`` (OpenSSL 1.1.0).
        """
        return int(lib.SSL_SESSION_get_timeout(self._pointer))

    @timeout.setter
    def timeout(self, seconds: SupportsIndex) -> None:
        number = checked("timeout", seconds, 1, _TIMEOUT_MAX, " seconds")
        lib.SSL_SESSION_set_timeout(self._pointer, number)

    @property
    def session_id(self) -> bytes:
        """
        The session id, up to 32 bytes. ``b""`` on a TLS 1.2 server that gave out a ticket instead,
        and on a TLS 1.3 server before its first. A client's libssl makes one up from the ticket.

        libssl: ``SSL_SESSION_get_id`` (OpenSSL 1.1.0).
        """
        length = ffi.new("unsigned int *")
        session_id = lib.SSL_SESSION_get_id(self._pointer, length)
        return bytes(ffi.buffer(session_id, length[0]))

    @property
    def protocol(self) -> str:
        """
        The protocol, say ``"TLSv1.3"``.

        libssl: ``SSL_SESSION_get_protocol_version`` (OpenSSL 1.1.0).
        """
        version = lib.SSL_SESSION_get_protocol_version(self._pointer)
        return _PROTOCOLS.get(version, f"unknown ({version:#06x})")

    @property
    def cipher(self) -> str | None:
        """
        The cipher suite by OpenSSL's name, say ``"TLS_AES_256_GCM_SHA384"``; None before the
        handshake has chosen one.

        libssl: ``SSL_SESSION_get0_cipher`` (OpenSSL 1.1.0).
        """
        cipher = lib.SSL_SESSION_get0_cipher(self._pointer)
        return ffi.string(lib.SSL_CIPHER_get_name(cipher)).decode() if cipher else None

    @property
    def server_name(self) -> bytes | None:
        """
        The server name (SNI) that both sides have agreed on. None where the client named none, or
        the server takes no notice of names (it has no servername callback).

        libssl: ``SSL_SESSION_get0_hostname`` (OpenSSL 1.1.0).
        """
        name = lib.SSL_SESSION_get0_hostname(self._pointer)
        return bytes(ffi.string(name)) if name else None

    @property
    def alpn_selected(self) -> bytes | None:
        """
        The application protocol (ALPN) that was selected, None where there is none.

        libssl: ``SSL_SESSION_get0_alpn_selected`` (OpenSSL 1.1.1).
        """
        alpn = ffi.new("unsigned char **")
        length = ffi.new("size_t *")
        lib.SSL_SESSION_get0_alpn_selected(self._pointer, alpn, length)
        return bytes(ffi.buffer(alpn[0], length[0])) if alpn[0] else None

    @property
    def max_early_data(self) -> int:
        """
        How many bytes of early data the server would take with the ticket, 0 for none.

        libssl: ``SSL_SESSION_get_max_early_data`` (OpenSSL 1.1.1).
        """
        return int(lib.SSL_SESSION_get_max_early_data(self._pointer))

    @property
    def is_resumable(self) -> bool:
        """
        Whether libssl would resume from it, as far as this side can tell; it is not asked whether
        its time is over.

        It is False where there is neither a ticket nor a session id; and it turns False when a
        connection of this very session is freed without a shutdown, and, where new sessions are
        announced, when a TLS 1.3 ticket has been used.

        libssl: ``SSL_SESSION_is_resumable`` (OpenSSL 1.1.1).
        """
        return bool(lib.SSL_SESSION_is_resumable(self._pointer))

    def copy(self) -> Session:
        """
        Returns a copy that changes no more with the connection: with what is set of the other, or
        when the connection is freed without a shutdown and takes the session with it.

        It belongs to no context, also where the original is pyOpenSSL's at the same time.

        Raises:
            Error: libssl is out of memory.

        libssl: ``SSL_SESSION_dup`` (OpenSSL 1.1.1).
        """
        copy = lib.openssl_tickets_copy_session(self._pointer)
        if not copy:
            raise_error("SSL_SESSION_dup failed")
        return owned_session(copy)

    def __copy__(self) -> Session:
        return self.copy()

    def __deepcopy__(self, memo: object) -> Session:
        return self.copy()

    def to_der(self) -> bytes:
        """
        Returns the whole session, its secret included, in OpenSSL's own encoding. (Without the
        session id context, where there is a ticket: it is of no use to a client, and a libssl that
        has another would not take the session.)

        It is what ``openssl sess_id -inform DER`` reads. Keep it as safe as a private key.

        Raises:
            ValueError: the handshake has not come far enough: no cipher has been chosen.
            Error: libssl is out of memory.

        libssl: ``i2d_SSL_SESSION`` (OpenSSL 1.1.0).
        """
        return self._encoded(lib.openssl_tickets_to_der)

    @staticmethod
    def from_der(der: bytes | bytearray | memoryview) -> Session:
        """
        Reads a session that :meth:`to_der`, or OpenSSL, has written.

        Args:
            der: the session, and nothing behind it. Any bytes-like object will do.

        Raises:
            TypeError: *der* is not bytes-like.
            ValueError: it is not a session, is cut off, has something behind it, is larger than
                1 MiB, or has a cipher that this libssl does not know.

        libssl: ``d2i_SSL_SESSION`` (OpenSSL 1.1.0).
        """
        data = _checked_data("der", der)
        session = lib.openssl_tickets_from_der(data, len(data))
        if not session:
            raise ValueError(f"der is not a TLS session in DER, {_reason()}: {len(data)} bytes")
        return owned_session(session)

    def to_pem(self) -> bytes:
        """
        Returns the whole session, its secret included, in PEM.

        It is what ``openssl s_client -sess_in`` and ``openssl sess_id`` read. Keep it as safe as a
        private key.

        Raises:
            ValueError: the handshake has not come far enough: no cipher has been chosen.
            Error: libssl is out of memory.

        Example::

            descriptor = os.open("session.pem", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with open(descriptor, "wb") as file:
                file.write(session.to_pem())

        libssl: ``PEM_write_bio_SSL_SESSION`` (OpenSSL 1.1.0).
        """
        return self._encoded(lib.openssl_tickets_to_pem)

    @staticmethod
    def from_pem(pem: bytes | bytearray | memoryview) -> Session:
        """
        Reads a session that :meth:`to_pem`, ``openssl s_client -sess_out``, or ``openssl sess_id``
        has written.

        Args:
            pem: the session. Text may come before its first line, as OpenSSL's tools put it there,
                and only empty space after its last. Any bytes-like object will do.

        Raises:
            TypeError: *pem* is not bytes-like.
            ValueError: it has no session as its first block, the block is not in order or is
                encrypted, there is something behind it, it is larger than 1 MiB, or it has a
                cipher that this libssl does not know.

        libssl: ``PEM_read_bio``, ``d2i_SSL_SESSION`` (OpenSSL 1.1.0).
        """
        data = _checked_data("pem", pem)
        der = ffi.new("unsigned char **")
        length = ffi.new("size_t *")
        rest = ffi.new("size_t *")
        found = lib.openssl_tickets_from_pem(data, len(data), der, length, rest)
        try:
            if found != 1:
                reason = _PEM_PROBLEMS.get(found) or _reason()
                raise ValueError(f"pem is not a TLS session in PEM, {reason}: {len(data)} bytes")
            if data[len(data) - rest[0] :].strip():
                raise ValueError(
                    f"pem has {rest[0]} more bytes behind its session: read one at a time"
                )
            session = lib.openssl_tickets_from_der(der[0], length[0])
        finally:
            lib.openssl_tickets_free_copy(der[0], length[0])
        if not session:
            raise ValueError(f"pem has no TLS session in its block, {_reason()}: {len(data)} bytes")
        return owned_session(session)

    def _encoded(
        self, encode: Callable[[Pointer[SSL_SESSION], Pointer[Pointer[unsigned_char]]], int]
    ) -> bytes:
        if self.cipher is None:
            raise ValueError(
                "this session cannot be encoded yet: its handshake has not chosen a cipher"
            )
        copy = ffi.new("unsigned char **")
        length = encode(self._pointer, copy)
        if length <= 0:
            raise_error("the session could not be encoded")
        try:
            return bytes(ffi.buffer(copy[0], length))
        finally:
            lib.openssl_tickets_free_copy(copy[0], length)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Session):
            return NotImplemented
        return bool(lib.openssl_tickets_same_session(self._pointer, other._pointer))

    def __hash__(self) -> int:
        return hash((self.protocol, self.session_id))

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            "a Session is not pickled, since it holds secrets: use to_der() and "
            "Session.from_der(), and keep the bytes as safe as a private key"
        )

    def __repr__(self) -> str:
        parts = [self.protocol, self.cipher or "no cipher yet"]
        if ticket := self.ticket:
            parts.append(f"a ticket of {len(ticket)} bytes")
        if appdata := self.ticket_appdata:
            parts.append(f"{len(appdata)} bytes of ticket_appdata")
        if not self.is_resumable:
            parts.append("not resumable")
        return f"<openssl_tickets.Session {', '.join(parts)}>"


_PEM_PROBLEMS = {
    -1: "its first block is of another kind",
    -2: "its block has headers, as an encrypted one has",
}


def _reason() -> str:
    """Says why a session could not be read, and empties the error queue."""
    errors = drain_error_queue()
    return errors[-1][1] if errors else "it is cut off, or has something behind it"


def _checked_data(name: str, data: bytes | bytearray | memoryview) -> bytes:
    """Returns the bytes of the argument *name*, of a size that can be a session's."""
    try:
        size = memoryview(data).nbytes
    except TypeError:
        raise TypeError(f"{name} must be bytes, not {type(data).__name__}") from None
    if size > MAX_ENCODED:
        raise ValueError(f"{name} has {size} bytes, and a session has at most {MAX_ENCODED}")
    return bytes(data)


def get_session(connection: TLSConnection | ForeignSession) -> Session | None:
    """
    Returns the session of *connection*: the one it resumed, or the one it made.

    A TLS 1.3 client has no ticket in it before it has read after its handshake, and with each
    ticket that it reads it has another session. If a TLS 1.2 server sends a new ticket with a
    resumption, this returns the session with the new ticket once the handshake is done; no callback
    tells of that one. It is the connection's own: when the connection
    is freed without a shutdown, libssl will not resume it any more. :meth:`Session.copy` helps.

    Args:
        connection: an ``OpenSSL.SSL.Connection``, ``ssl.SSLSocket`` or ``ssl.SSLObject``; or a
            session that one of them has given, an ``OpenSSL.SSL.Session`` or ``ssl.SSLSession``,
            to look into it.

    Returns:
        The session, or None where there is none yet.

    Raises:
        TypeError: *connection* is neither.
        ValueError: there is no TLS on the socket: not yet, or not any more.
        LibraryMismatchError: it belongs to another libssl.

    Example::

        get_session(connection).ticket_appdata  # what the client's ticket carried

    libssl: ``SSL_get1_session`` (OpenSSL 1.1.1).
    """
    if is_session(connection):
        session = to_ssl_session(connection)
        lib.SSL_SESSION_up_ref(session)
        return owned_session(session)
    return session_of(to_ssl(connection))


def set_session(connection: TLSConnection, session: Session | ForeignSession) -> None:
    """
    Offers *session* to the server, so that *connection* resumes it: a resumption verifies nothing,
    so offer a session only to the server that it came from, from a context that is as strict.
    :func:`resume_sessions` sees to all of that by itself.

    Whether it did, :func:`session_reused` tells after the handshake. A session that cannot be
    resumed (any more) leads to a full handshake and to no error: one of another protocol version,
    one whose time is over for the server, or one that is not :attr:`Session.is_resumable`.

    In a resumption libssl checks neither certificate nor host name: it takes over what the first
    handshake found. pyOpenSSL from 26.3 on and ``ssl`` refuse the sessions of other contexts in
    their own methods; this function leaves it to you.

    A TLS 1.3 ticket should be used only once, or its uses can be linked by those who listen. With
    an ``ssl.SSLSocket``, pass ``do_handshake_on_connect=False`` to ``wrap_socket``, to come in
    between. (asyncio begins its handshake by itself; there is no way in between.)

    Args:
        connection: an ``OpenSSL.SSL.Connection``, ``ssl.SSLSocket`` or ``ssl.SSLObject``, for a
            client, before its handshake. One of pyOpenSSL need not have been told yet that it is a
            client.
        session: a :class:`Session`, an ``OpenSSL.SSL.Session`` or an ``ssl.SSLSession``, from a
            connection of either kind.

    Raises:
        TypeError: *connection* is not a connection, or *session* is not a session.
        ValueError: the handshake has begun; *connection* is a server; or there is no TLS on the
            socket.
        LibraryMismatchError: either belongs to another libssl.
        Error: libssl refused, out of memory.

    Example::

        set_session(connection, Session.from_pem(Path("session.pem").read_bytes()))

    libssl: ``SSL_set_session``, and ``SSL_set_session_id_context`` with that of the session: some
    versions of ``ssl`` give one to clients too, and libssl compares them (OpenSSL 1.1.0).
    """
    if isinstance(session, Session):
        pointer = session._pointer
    elif is_session(session):
        pointer = to_ssl_session(session)
    else:
        # Not what it is: it may be what to_der() has returned.
        raise TypeError(
            "session must be an openssl_tickets.Session, an OpenSSL.SSL.Session or an "
            f"ssl.SSLSession, not {type(session).__name__}"
        )
    ssl = to_ssl(connection)
    if not lib.SSL_in_before(ssl):
        raise ValueError(
            "the connection's handshake has begun: set its session before do_handshake()"
        )
    if lib.openssl_tickets_is_told_server(ssl):
        raise ValueError("only a client offers a session, and the connection is a server")
    if not lib.openssl_tickets_set_session(ssl, pointer):
        raise_error("SSL_set_session failed")


def session_reused(connection: TLSConnection) -> bool:
    """
    Returns whether *connection* resumed a session; False until its handshake has come to know.

    Args:
        connection: an ``OpenSSL.SSL.Connection``, ``ssl.SSLSocket`` or ``ssl.SSLObject``, on either
            side.

    Raises:
        TypeError: *connection* is not a connection.
        ValueError: there is no TLS on the socket: not yet, or not any more.
        LibraryMismatchError: it belongs to another libssl.

    libssl: ``SSL_session_reused`` (OpenSSL 1.1.0).
    """
    return bool(lib.SSL_session_reused(to_ssl(connection)))


def session_of(ssl: Pointer[SSL]) -> Session | None:
    """Returns the session of an ``SSL *``, None if it has none yet."""
    session = lib.SSL_get1_session(ssl)
    return owned_session(session) if session else None


def owned_session(session: Pointer[SSL_SESSION]) -> Session:
    """Returns a :class:`Session` that takes over one reference to *session*."""
    self = Session.__new__(Session)
    self._pointer = ffi.gc(session, lib.SSL_SESSION_free)
    return self


def get_appdata(session: Pointer[SSL_SESSION]) -> bytes:
    """Returns a copy of the application data of a ``SSL_SESSION *``."""
    copy = ffi.new("void **")
    length = ffi.new("size_t *")
    if not lib.openssl_tickets_copy_appdata(session, copy, length):
        raise_error("SSL_SESSION_get0_ticket_appdata failed")
    try:
        return bytes(ffi.buffer(copy[0], length[0])) if length[0] else b""
    finally:
        lib.openssl_tickets_free_copy(copy[0], length[0])


def set_appdata(session: Pointer[SSL_SESSION], appdata: object) -> None:
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
    if result == _NO_CIPHER:
        raise ValueError(
            f"{len(appdata)} bytes of ticket application data cannot be set yet: the handshake has "
            "not chosen a cipher, and until then the size of a ticket is not known. Set them in a "
            "generate callback"
        )
    if result < 0:
        raise ValueError(
            f"{len(appdata)} bytes of ticket application data do not fit a ticket: with them the "
            f"encoded session would have more than {lib.OPENSSL_TICKETS_MAX_ENCODED_SESSION} bytes"
        )
    raise_error("SSL_SESSION_set1_ticket_appdata failed")
