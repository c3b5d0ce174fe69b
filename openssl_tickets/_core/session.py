"""Sessions: store them, copy them, and offer them again."""

from __future__ import annotations

from collections.abc import Callable

from openssl_tickets._adapters import is_session, to_ssl, to_ssl_session
from openssl_tickets._adapters.types import ForeignSession, TLSConnection
from openssl_tickets._core.arguments import checked, exact
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.errors import drain_error_queue, raise_error
from openssl_tickets._typing import TYPE_CHECKING, NoReturn, SupportsIndex

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import SSL, SSL_SESSION, Pointer, unsigned_char

MAX_ENCODED = 1 << 20
"""
The most bytes of an encoded session. Its largest parts, ticket and certificates, have at most 64
KiB each.
"""

# Seconds. libssl 3.3 and later count nanoseconds, in 64 bits.
_TIME_MAX = min(2 ** (8 * ffi.sizeof("long") - 1) - 1, (2**64 - 1) // 10**9)
_TIMEOUT_MAX = 2**31 - 1  # seconds, some 68 years

_NO_CIPHER = -2  # C returns this for data that it cannot measure

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
    A TLS session: the state that a ticket stands for, and that a connection can resume.

    Get a session from :func:`get_session`, the callback of :func:`set_new_session_callback`,
    :attr:`ReceivedTicket.session`, :meth:`copy`, :meth:`from_der` or :meth:`from_pem`. There is no
    constructor. A session stays valid after its connection and its context are gone.

    On a client, a session holds the ticket, and a new connection can resume it. On a server, it is
    the state that libssl has put into a ticket or found in one. A server's session does not hold
    the ticket itself.

    Two sessions are equal if they come from the same handshake and the same ticket: protocol,
    session id, ticket and secret are compared, and attributes that you can set are not. So a
    session equals its :meth:`copy`, and equals the session that :meth:`from_der` makes of its
    :meth:`to_der`. On a TLS 1.3 server, the connection's session changes with each ticket that is
    sent. Put such a session into a set or a dict only after the handshake.

    A session holds the secret that resumes it. Keep the results of :meth:`to_der` and
    :meth:`to_pem` as safe as a private key. The ``repr`` and the attributes do not show the secret.

    libssl reads ``ticket_appdata``, ``time`` and ``timeout`` without a lock. So do not set them on
    the session of a connection that another thread is using. Set them on a :meth:`copy` instead.
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
        The application data of the session, as bytes. ``b""`` if there is none.

        If you set it, each ticket that is made from this session later carries the data, and the
        session of each resumption has it. Set it in a ``generate`` or ``decrypt`` callback, or
        while no other thread uses a connection with this session: libssl reads it without a lock
        when it makes a ticket.

        Raises:
            TypeError: the new value is not bytes.
            ValueError: the session would not fit a ticket. An encoded session has at most 65,280
                bytes, and that includes the client's certificate if it has one. Or the new value is
                large and the handshake has not chosen a cipher, so the size is not known yet. The
                session keeps its old data.
            Error: libssl is out of memory.

        libssl: ``SSL_SESSION_get0_ticket_appdata``, ``SSL_SESSION_set1_ticket_appdata`` (OpenSSL
        1.1.1).
        """
        return get_appdata(self._pointer)

    @ticket_appdata.setter
    def ticket_appdata(self, appdata: bytes) -> None:
        set_appdata(self._pointer, appdata)

    @property
    def peer_certificate_der(self) -> bytes | None:
        """
        The other side's certificate in DER, as bytes. None if it sent none.

        On a server, this is the client's certificate. It is known in ``generate`` and ``decrypt``
        already, while the connection itself returns it only after the handshake.

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
        Whether the session came with a ticket. A client's session may have one, a server's never
        does.

        libssl: ``SSL_SESSION_has_ticket`` (OpenSSL 1.1.0).
        """
        return bool(lib.SSL_SESSION_has_ticket(self._pointer))

    @property
    def ticket(self) -> bytes:
        """
        The ticket as the server sent it, as bytes. ``b""`` if there is none.

        libssl: ``SSL_SESSION_get0_ticket`` (OpenSSL 1.1.0).
        """
        ticket = ffi.new("unsigned char **")
        length = ffi.new("size_t *")
        lib.SSL_SESSION_get0_ticket(self._pointer, ticket, length)
        return bytes(ffi.buffer(ticket[0], length[0])) if ticket[0] else b""

    @property
    def key_name(self) -> bytes:
        """
        The first 16 bytes of the ticket. ``b""`` if there is no ticket.

        If the server follows RFC 5077, as OpenSSL does, they are the name of the key that encrypts
        the ticket.
        """
        return self.ticket[:16]

    @property
    def ticket_lifetime_hint(self) -> int:
        """
        How many seconds after :attr:`time` the server still accepts the ticket, as the server said.
        0 if it did not say (TLS 1.2), or if there is no ticket.

        libssl: ``SSL_SESSION_get_ticket_lifetime_hint`` (OpenSSL 1.1.0).
        """
        return int(lib.SSL_SESSION_get_ticket_lifetime_hint(self._pointer))

    @property
    def time(self) -> int:
        """
        When the session was made or its ticket arrived, in seconds since the Epoch.

        Raises:
            TypeError: the new value is not an integer.
            ValueError: the new value is less than 1, or later than the year 2554 (2038 if a C
                ``long`` has 32 bits).

        libssl: ``SSL_SESSION_get_time``, ``SSL_SESSION_set_time`` (OpenSSL 1.1.0).
        """
        return int(lib.SSL_SESSION_get_time(self._pointer))

    @time.setter
    def time(self, seconds: SupportsIndex) -> None:
        # If it were 0, from_der() would set the current time instead.
        lib.SSL_SESSION_set_time(self._pointer, checked("time", seconds, 1, _TIME_MAX))

    @property
    def timeout(self) -> int:
        """
        How many seconds after :attr:`time` a server still resumes the session.

        A client's libssl ignores it. In TLS 1.3 it looks at :attr:`ticket_lifetime_hint`, and in
        TLS 1.2 it leaves the decision to the server.

        Raises:
            TypeError: the new value is not an integer.
            ValueError: the new value is less than 1, or more than 2,147,483,647.

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
        The session id, up to 32 bytes.

        It is ``b""`` on a TLS 1.2 server that issued a ticket instead, and on a TLS 1.3 server
        before its first ticket. A client's libssl computes one from the ticket.

        libssl: ``SSL_SESSION_get_id`` (OpenSSL 1.1.0).
        """
        length = ffi.new("unsigned int *")
        session_id = lib.SSL_SESSION_get_id(self._pointer, length)
        return bytes(ffi.buffer(session_id, length[0]))

    @property
    def protocol(self) -> str:
        """
        The protocol version, for example ``"TLSv1.3"``.

        libssl: ``SSL_SESSION_get_protocol_version`` (OpenSSL 1.1.0).
        """
        version = lib.SSL_SESSION_get_protocol_version(self._pointer)
        return _PROTOCOLS.get(version, f"unknown ({version:#06x})")

    @property
    def cipher(self) -> str | None:
        """
        OpenSSL's name of the cipher suite, for example ``"TLS_AES_256_GCM_SHA384"``. None before
        the handshake has chosen one.

        libssl: ``SSL_SESSION_get0_cipher`` (OpenSSL 1.1.0).
        """
        cipher = lib.SSL_SESSION_get0_cipher(self._pointer)
        return ffi.string(lib.SSL_CIPHER_get_name(cipher)).decode() if cipher else None

    @property
    def server_name(self) -> bytes | None:
        """
        The server name (SNI) that both sides agreed on, as bytes.

        None if the client sent no name, or if the server ignores names because it has no servername
        callback.

        libssl: ``SSL_SESSION_get0_hostname`` (OpenSSL 1.1.0).
        """
        name = lib.SSL_SESSION_get0_hostname(self._pointer)
        return bytes(ffi.string(name)) if name else None

    @property
    def alpn_selected(self) -> bytes | None:
        """
        The application protocol (ALPN) that was selected, as bytes. None if there is none.

        libssl: ``SSL_SESSION_get0_alpn_selected`` (OpenSSL 1.1.1).
        """
        alpn = ffi.new("unsigned char **")
        length = ffi.new("size_t *")
        lib.SSL_SESSION_get0_alpn_selected(self._pointer, alpn, length)
        return bytes(ffi.buffer(alpn[0], length[0])) if alpn[0] else None

    @property
    def max_early_data(self) -> int:
        """
        How many bytes of early data the server accepts with the ticket. 0 for none.

        libssl: ``SSL_SESSION_get_max_early_data`` (OpenSSL 1.1.1).
        """
        return int(lib.SSL_SESSION_get_max_early_data(self._pointer))

    @property
    def is_resumable(self) -> bool:
        """
        Whether libssl would resume the session, as far as this side knows. It does not check
        whether the session has expired.

        It is False if there is neither a ticket nor a session id. It becomes False when a
        connection with this session is freed without a shutdown. With
        :func:`set_new_session_callback` or :func:`resume_sessions`, it also becomes False when a
        TLS 1.3 ticket has been used.

        libssl: ``SSL_SESSION_is_resumable`` (OpenSSL 1.1.1).
        """
        return bool(lib.SSL_SESSION_is_resumable(self._pointer))

    def copy(self) -> Session:
        """
        Returns a copy that no longer changes with the connection.

        If you set an attribute of the original, the copy stays as it is. If the connection is freed
        without a shutdown, the copy stays resumable. The copy belongs to no context, even if the
        original is also pyOpenSSL's.

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
        Returns the whole session in OpenSSL's own encoding, as bytes. It includes the secret: keep
        it as safe as a private key.

        ``openssl sess_id -inform DER`` reads it. If there is a ticket, the session id context is
        left out: a client does not need it, and a libssl with another one would refuse the session.

        Raises:
            ValueError: the handshake has not chosen a cipher yet.
            Error: libssl is out of memory.

        libssl: ``i2d_SSL_SESSION`` (OpenSSL 1.1.0).
        """
        return self._encoded(lib.openssl_tickets_to_der)

    @staticmethod
    def from_der(der: bytes | bytearray | memoryview) -> Session:
        """
        Returns the session that :meth:`to_der` or OpenSSL has encoded.

        Args:
            der: the encoded session and nothing after it, as any bytes-like object.

        Raises:
            TypeError: *der* is not bytes-like.
            ValueError: *der* is not a session, is cut off, has something after it, is larger than 1
                MiB, or has a cipher that this libssl does not know.

        libssl: ``d2i_SSL_SESSION`` (OpenSSL 1.1.0).
        """
        data = _checked_data("der", der)
        session = lib.openssl_tickets_from_der(data, len(data))
        if not session:
            raise ValueError(f"der is not a TLS session in DER, {_reason()}: {len(data)} bytes")
        return owned_session(session)

    def to_pem(self) -> bytes:
        """
        Returns the whole session in PEM, as bytes. It includes the secret: keep it as safe as a
        private key.

        ``openssl s_client -sess_in`` and ``openssl sess_id`` read it.

        Raises:
            ValueError: the handshake has not chosen a cipher yet.
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
        Returns the session that :meth:`to_pem`, ``openssl s_client -sess_out`` or ``openssl
        sess_id`` has encoded.

        Args:
            pem: the encoded session, as any bytes-like object. Text may stand before its first
                line, where OpenSSL's tools put it. Only white space may stand after its last line.

        Raises:
            TypeError: *pem* is not bytes-like.
            ValueError: the first block of *pem* is not a session, is malformed or encrypted, or has
                a cipher that this libssl does not know; or there is something after the block; or
                *pem* is larger than 1 MiB.

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
                    f"pem has {rest[0]} more bytes after its session: read one at a time"
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
    """Returns why a session could not be read, and empties the error queue."""
    errors = drain_error_queue()
    return errors[-1][1] if errors else "it is cut off, or has something after it"


def _checked_data(name: str, data: bytes | bytearray | memoryview) -> bytes:
    """
    Returns the bytes of the argument *name*.

    Raises:
        TypeError: *data* is not bytes-like.
        ValueError: *data* is too large for a session.
    """
    try:
        view = memoryview(data)
    except TypeError:
        raise TypeError(f"{name} must be bytes, not {type(data).__name__}") from None
    if view.nbytes > MAX_ENCODED:
        raise ValueError(f"{name} has {view.nbytes} bytes, and a session has at most {MAX_ENCODED}")
    return view.tobytes()


def get_session(connection: TLSConnection | ForeignSession) -> Session | None:
    """
    Returns the session of *connection*: the one it resumed, or the one it made.

    A TLS 1.3 client gets its tickets with reads after the handshake. Before that its session has no
    ticket, and after each ticket the connection has another session. If a TLS 1.2 server sends a
    new ticket with a resumption, this function returns the session with the new ticket once the
    handshake is done. No callback reports that one.

    The session is the connection's own. If the connection is freed without a shutdown, libssl does
    not resume the session any more. Take a :meth:`Session.copy` to avoid that.

    Args:
        connection: an ``OpenSSL.SSL.Connection``, ``ssl.SSLSocket`` or ``ssl.SSLObject``. Or an
            ``OpenSSL.SSL.Session`` or ``ssl.SSLSession``, to look into it.

    Returns:
        A :class:`Session`, or None if there is none yet.

    Raises:
        TypeError: *connection* is neither a connection nor a session.
        ValueError: the socket has no TLS yet, or no TLS any more.
        LibraryMismatchError: *connection* belongs to another libssl.

    Example::

        get_session(connection).ticket_appdata  # what the client's ticket carried

    libssl: ``SSL_get1_session`` (OpenSSL 1.1.1).
    """
    try:
        return session_of(to_ssl(connection))
    except TypeError:
        if not is_session(connection):
            raise
    session = to_ssl_session(connection)
    lib.SSL_SESSION_up_ref(session)
    return owned_session(session)


def set_session(connection: TLSConnection, session: Session | ForeignSession) -> None:
    """
    Makes *connection* offer *session* to the server, to resume it.

    A resumption verifies nothing: libssl checks neither certificate nor host name, and keeps the
    result of the first handshake. So offer a session only to the server that it came from, and only
    from a context that is as strict as the first one. pyOpenSSL 26.3 and later, and ``ssl``, refuse
    sessions of other contexts in their own methods. This function does not. :func:`resume_sessions`
    takes care of all of that.

    After the handshake, :func:`session_reused` returns whether the server resumed the session. If
    it could not, there is a full handshake and no error. This happens if the session has another
    protocol version, has expired on the server, or is not :attr:`Session.is_resumable`.

    Use a TLS 1.3 ticket only once. Otherwise anybody who watches the network can link the
    connections that offer it.

    For an ``ssl.SSLSocket``, pass ``do_handshake_on_connect=False`` to ``wrap_socket`` and call
    this before ``do_handshake()``. An asyncio connection starts its handshake by itself, so you
    cannot call this in time: use :func:`resume_sessions`.

    Args:
        connection: an ``OpenSSL.SSL.Connection``, ``ssl.SSLSocket`` or ``ssl.SSLObject`` of a
            client, before its handshake. A pyOpenSSL connection need not be in connect state yet.
        session: a :class:`Session`, ``OpenSSL.SSL.Session`` or ``ssl.SSLSession``, from a
            connection of either library.

    Raises:
        TypeError: *connection* is not a connection, or *session* is not a session.
        ValueError: the handshake has begun, *connection* is a server, or there is no TLS on the
            socket.
        LibraryMismatchError: *connection* or *session* belongs to another libssl.
        Error: libssl is out of memory.

    Example::

        set_session(connection, Session.from_pem(Path("session.pem").read_bytes()))

    libssl: ``SSL_set_session`` and ``SSL_set_session_id_context`` (OpenSSL 1.1.0). The second sets
    the session's own context: some versions of ``ssl`` set one on clients too, and libssl compares
    them.
    """
    if isinstance(session, Session):
        pointer = session._pointer
    elif is_session(session):
        pointer = to_ssl_session(session)
    else:
        # The message does not show the value: it may be the result of to_der(), with its secret.
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
    Returns True if *connection* resumed a session. Returns False otherwise, and as long as the
    handshake has not decided it.

    Args:
        connection: an ``OpenSSL.SSL.Connection``, ``ssl.SSLSocket`` or ``ssl.SSLObject``, on either
            side.

    Raises:
        TypeError: *connection* is not a connection.
        ValueError: the socket has no TLS yet, or no TLS any more.
        LibraryMismatchError: *connection* belongs to another libssl.

    libssl: ``SSL_session_reused`` (OpenSSL 1.1.0).
    """
    return bool(lib.SSL_session_reused(to_ssl(connection)))


def session_of(ssl: Pointer[SSL]) -> Session | None:
    """Returns the session of an ``SSL *``, or None if it has none yet."""
    session = lib.SSL_get1_session(ssl)
    return owned_session(session) if session else None


def owned_session(session: Pointer[SSL_SESSION]) -> Session:
    """Returns a :class:`Session` that takes over one reference to *session*."""
    self = Session.__new__(Session)
    self._pointer = ffi.gc(session, lib.SSL_SESSION_free)
    return self


def get_appdata(session: Pointer[SSL_SESSION]) -> bytes:
    """Returns a copy of the application data of an ``SSL_SESSION *``."""
    copy = ffi.new("void **")
    length = ffi.new("size_t *")
    if not lib.openssl_tickets_copy_appdata(session, copy, length):
        raise_error("SSL_SESSION_get0_ticket_appdata failed")
    try:
        return bytes(ffi.buffer(copy[0], length[0])) if length[0] else b""
    finally:
        lib.openssl_tickets_free_copy(copy[0], length[0])


def set_appdata(session: Pointer[SSL_SESSION], appdata: object) -> None:
    """Sets the application data of an ``SSL_SESSION *``, as :attr:`Session.ticket_appdata` does."""
    result = 0
    if isinstance(appdata, bytes):
        appdata = exact(appdata)
        result = lib.openssl_tickets_set_appdata(session, appdata, len(appdata))
    if result != 1:
        raise_appdata_error(appdata, result)


def raise_appdata_error(appdata: object, result: int) -> NoReturn:
    """Raises the error for *appdata*, after C has returned *result* for it."""
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
