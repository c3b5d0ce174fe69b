"""What tickets are encrypted with: keys that many contexts, workers and hosts share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, SupportsIndex

from openssl_tickets._adapters.types import TLSContext
from openssl_tickets._core.callbacks import number_of, ticket_callbacks
from openssl_tickets._core.integers import checked
from openssl_tickets._core.sides import to_server_ssl_ctx
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.errors import raise_error

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import (
        Pointer,
        openssl_tickets_key,
        openssl_tickets_keyring,
    )

_NAME_LEN = 16  # bytes
_SECRET_LENS = (32, 16)  # bytes, of each of the two: AES-256, AES-128
_SMALLEST_SECRET = 32  # bytes
_MAX_KEYS = 1000
_SECONDS_MAX = 2**31 - 1  # some 68 years


class TicketKey:
    """
    One key: a name that goes into each ticket in the clear, and the secrets for the rest of it.

    Two are equal if all three parts are; they are compared in constant time. Its ``repr`` shows
    the name only, and what it holds is wiped from memory when it is freed (what its attributes
    have returned is not: that is Python's).

    Args:
        name: 16 bytes, random ones best: they tell the keys apart.
        hmac_key: 32 bytes, for HMAC-SHA256; or 16.
        aes_key: as many bytes: 32 for AES-256-CBC, 16 for AES-128-CBC.

    Raises:
        TypeError: one of them is not bytes.
        ValueError: one of them has another length.
        Error: OpenSSL is out of memory.
    """

    __slots__ = ("__weakref__", "_key")

    _key: Pointer[openssl_tickets_key]

    def __init__(self, name: bytes, hmac_key: bytes, aes_key: bytes) -> None:
        for argument, value in (("name", name), ("hmac_key", hmac_key), ("aes_key", aes_key)):
            if not isinstance(value, bytes):
                raise TypeError(f"{argument} must be bytes, not {type(value).__name__}")
        if len(name) != _NAME_LEN:
            raise ValueError(f"name must have {_NAME_LEN} bytes, not {len(name)}")
        if len(hmac_key) not in _SECRET_LENS or len(aes_key) != len(hmac_key):
            raise ValueError(
                "hmac_key and aes_key must have 32 bytes each, or 16 each, not "
                f"{len(hmac_key)} and {len(aes_key)}"
            )
        self._key = _owned_key(lib.openssl_tickets_new_key(name, hmac_key, aes_key, len(aes_key)))

    @staticmethod
    def generate() -> TicketKey:
        """
        Returns a new random key for AES-256-CBC and HMAC-SHA256, as OpenSSL makes up its own.

        Raises:
            Error: OpenSSL has no random bytes, or no memory.

        libssl: ``RAND_bytes``, ``RAND_priv_bytes`` (OpenSSL 1.1.1).
        """
        return _ticket_key(lib.openssl_tickets_new_key(ffi.NULL, ffi.NULL, ffi.NULL, 32))

    @property
    def name(self) -> bytes:
        """The name, 16 bytes; it is :attr:`ReceivedTicket.key_name` of this key's tickets."""
        return bytes(ffi.buffer(self._key.name))

    @property
    def hmac_key(self) -> bytes:
        """The secret for HMAC-SHA256, 32 bytes or 16. To be kept safe."""
        return bytes(ffi.buffer(self._key.hmac_key, self._key.secret_len))

    @property
    def aes_key(self) -> bytes:
        """The secret for AES-CBC, 32 bytes or 16. To be kept safe."""
        return bytes(ffi.buffer(self._key.aes_key, self._key.secret_len))

    def for_purpose(self, purpose: bytes) -> TicketKey:
        """
        Returns the key that follows from this one for *purpose*, see :func:`set_ticket_keys`.

        Its name and secrets are HKDF-SHA256 of ``hmac_key + aes_key``, without a salt, with
        ``b"openssl_tickets purpose 1" + name + purpose`` as the info: the name, the HMAC key and
        the AES key in this order. They are as long as this key's. The recipe for a fleet has a test
        vector.

        Args:
            purpose: 1 to 255 bytes; with ``b""`` this very key is returned.

        Raises:
            TypeError: *purpose* is not bytes.
            ValueError: it is longer than 255 bytes.
            Error: OpenSSL is out of memory, or has no HKDF.
        """
        if not checked_purpose(purpose):
            return self
        return _ticket_key(lib.openssl_tickets_key_for_purpose(self._key, purpose, len(purpose)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TicketKey):
            return NotImplemented
        return bool(lib.openssl_tickets_same_key(self._key, other._key))

    def __hash__(self) -> int:
        return hash(self.name)

    def __copy__(self) -> TicketKey:
        return self

    def __deepcopy__(self, memo: object) -> TicketKey:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            "a TicketKey is not pickled, since it is a secret: hand on its name, hmac_key and "
            "aes_key, and keep them safe"
        )

    def __repr__(self) -> str:
        return f"<openssl_tickets.TicketKey {self.name.hex()}, AES-{8 * self._key.secret_len}>"


def checked_purpose(purpose: bytes) -> bytes:
    if not isinstance(purpose, bytes):
        raise TypeError(f"purpose must be bytes, not {type(purpose).__name__}: {purpose!r:.80}")
    if len(purpose) > lib.OPENSSL_TICKETS_MAX_PURPOSE_LEN:
        raise ValueError(
            f"purpose must have at most {lib.OPENSSL_TICKETS_MAX_PURPOSE_LEN} bytes, not "
            f"{len(purpose)}"
        )
    return purpose


class KeyStats(NamedTuple):
    """What a key was used for, in this process."""

    encrypted: int
    """Tickets that were made with it."""
    decrypted: int
    """Tickets with its name that came back, also those that somebody has changed."""


class TicketKeysStats(NamedTuple):
    """What the keys of a ring were used for, in this process."""

    keys: dict[bytes, KeyStats]
    """For each key that the ring has now, by its name."""
    unknown: int
    """Tickets with the name of no key: another server's, of a key that is gone, or forged."""


class TicketKeys:
    """
    A ring of keys: the first encrypts, the others still decrypt.

    A client that comes with a ticket of one of the others is resumed and gets a new ticket, of the
    first. One ring may serve many contexts: what is changed here holds for all of them from the
    next ticket on, while handshakes run in other threads. The keys that go are wiped from memory
    as soon as the last handshake that is using them has let go, and as no :class:`TicketKey` of
    theirs is held.

    In a process that has been forked the ring is the child's own: later changes do not cross.

    Args:
        keys: the keys, the first of which encrypts.

    Raises:
        TypeError: one of them is not a :class:`TicketKey`.
        ValueError: there is none, two have one name, or there are more than 1,000.
        Error: OpenSSL is out of memory.

    Example::

        keys = TicketKeys([TicketKey.generate()])
        set_ticket_keys(context, keys)
        keys.rotate()  # every hour, say
    """

    __slots__ = ("__weakref__", "_keyring", "_period")

    _keyring: Pointer[openssl_tickets_keyring]
    _period: int | None

    def __init__(self, keys: Iterable[TicketKey]) -> None:
        given = _checked_keys(keys)
        self._keyring = _owned_keyring(lib.openssl_tickets_new_keyring())
        self._period = None
        self._set(given)

    @staticmethod
    def derived(
        secret: bytes | Sequence[bytes], period: SupportsIndex, accept_for: SupportsIndex
    ) -> TicketKeys:
        """
        Returns a ring whose keys follow from a shared secret and the clock.

        Each host that has the same three arguments has the same keys at the same time, without a
        word between them. In each *period* another key encrypts; periods are counted from the
        Epoch. The key of the next period is there already, for hosts whose clocks are ahead, by up
        to a whole period; a key is dropped *accept_for* seconds after the end of its period.
        Whatever the clock says is done in libssl's own call for a ticket: there is no thread, and
        nothing to call.

        Whoever has the secret can read every ticket, of all times. In TLS 1.2, and in a TLS 1.3
        resumption without a key exchange, that opens the connection too. So change the secret from
        time to time. With several secrets, the first encrypts, and tickets of the others are
        decrypted and renewed. To change a secret across a fleet without losing a resumption, give
        all hosts ``[old, new]``, then all ``[new, old]``, and *accept_for* seconds later ``[new]``.

        The key of a period is HKDF-SHA256 of the secret, without a salt, with ``b"openssl_tickets
        ticket key 1"`` and the number of the period, as eight bytes, most significant first, as the
        info: name 16, HMAC key 32 and AES key 32 bytes. The recipe for a fleet has a test vector.

        Args:
            secret: at least 32 bytes that nobody can guess, as from ``os.urandom(32)``; a password
                is not. Or several such secrets.
            period: seconds.
            accept_for: seconds. At least as many as a ticket lives (:func:`get_session_timeout`),
                plus what the hosts' clocks may differ, for no ticket to be refused before its time:
                a host whose clock is ahead drops a key early.

        Raises:
            TypeError: a secret is not bytes, or a number is not an integer.
            ValueError: a secret is too short, two are equal, or there is none; *period* is less
                than 1, *accept_for* less than 0, or they lead to more than 1,000 keys at a time.
            Error: OpenSSL is out of memory, or has no HKDF.

        libssl: ``EVP_KDF_derive`` with HKDF and SHA-256 (OpenSSL 3.0).
        """
        secrets = checked_secrets(secret)
        seconds = checked("period", period, 1, _SECONDS_MAX, " seconds")
        accepted = checked("accept_for", accept_for, 0, _SECONDS_MAX, " seconds")
        if len(secrets) * (accepted // seconds + 3) > _MAX_KEYS:
            raise ValueError(
                f"a period of {seconds} seconds and accept_for of {accepted} seconds lead to more "
                f"than {_MAX_KEYS} keys at a time: make the period longer"
            )
        # C copies them from where they are, and wipes its copies.
        buffers = [ffi.from_buffer("unsigned char[]", each) for each in secrets]
        self = TicketKeys.__new__(TicketKeys)
        self._keyring = _owned_keyring(
            lib.openssl_tickets_new_derived_keyring(
                ffi.new("unsigned char *[]", buffers),
                ffi.new("size_t[]", [len(each) for each in secrets]),
                len(secrets),
                seconds,
                accepted,
            )
        )
        self._period = seconds
        _keys_of(self._keyring)  # now, not in the first handshake, there is to be an error
        return self

    @property
    def keys(self) -> tuple[TicketKey, ...]:
        """
        The keys as they are now, the first of which encrypts.

        Raises:
            Error: OpenSSL is out of memory.
        """
        return _keys_of(self._keyring)

    def replace(self, keys: Iterable[TicketKey]) -> None:
        """
        Puts *keys* in the place of all that are there, as one.

        Raises:
            TypeError: one of them is not a :class:`TicketKey`; the ring stays as it was.
            ValueError: there is none, two have one name, or there are more than 1,000; the ring
                stays as it was.
            RuntimeError: the ring is a derived one.
            Error: OpenSSL is out of memory.
        """
        self._must_not_be_derived()
        self._set(_checked_keys(keys))

    def rotate(self, key: TicketKey | None = None, keep: SupportsIndex = 2) -> None:
        """
        Puts a new key in front, which encrypts from now on.

        Args:
            key: the new key; a random one by default.
            keep: how many of those that are there still decrypt, the newest first. As long as a
                ticket lives (:func:`get_session_timeout`), its key should stay.

        Raises:
            TypeError: *key* is not a :class:`TicketKey`, or *keep* not an integer.
            ValueError: *keep* is negative or more than 999, or a key that stays has the name of
                *key*; the ring stays as it was.
            RuntimeError: the ring is a derived one.
            Error: OpenSSL is out of memory, or has no random bytes.
        """
        self._must_not_be_derived()
        if key is None:
            key = TicketKey.generate()
        _checked_keys([key])
        kept = checked("keep", keep, 0, _MAX_KEYS - 1)
        result = lib.openssl_tickets_rotate_keys(self._keyring, key._key, kept)
        if result < 0:
            raise ValueError(f"there is a key with the name {key.name.hex()} already")
        if not result:
            raise_error("out of memory")

    def forget(self, key_name: bytes) -> None:
        """
        Drops the key with a name, as one that has leaked: its tickets lead to full handshakes.

        If it is the one that encrypts, the next one does from now on.

        Raises:
            TypeError: *key_name* is not bytes.
            ValueError: no key has this name, or it is the only key: :meth:`replace` it.
            RuntimeError: the ring is a derived one: change its secret.
            Error: OpenSSL is out of memory.
        """
        if not isinstance(key_name, bytes):
            raise TypeError(f"key_name must be bytes, not {type(key_name).__name__}")
        self._must_not_be_derived()
        result = -1
        if len(key_name) == _NAME_LEN:
            result = lib.openssl_tickets_forget_key(self._keyring, key_name)
        if result == -1:
            raise ValueError(f"no key has the name {key_name.hex()}")
        if result == -2:
            raise ValueError(f"{key_name.hex()} is the only key: replace it")
        if not result:
            raise_error("out of memory")

    def stats(self) -> TicketKeysStats:
        """
        Returns what the keys were used for, in this process, by all contexts with this ring.

        A key counts under its own name, whatever purpose it was used for. What a key has counted
        goes with it when it leaves the ring.

        Raises:
            Error: OpenSSL is out of memory.
        """
        counts = ffi.new("openssl_tickets_key_counts[]", _MAX_KEYS)
        unknown = ffi.new("uint64_t *")
        count = lib.openssl_tickets_get_key_counts(self._keyring, counts, _MAX_KEYS, unknown)
        if not count:
            raise_error("the counts could not be had")
        keys = {}
        for number in range(count):
            each: Any = counts[number]
            keys[bytes(ffi.buffer(each.name))] = KeyStats(each.encrypted, each.decrypted)
        return TicketKeysStats(keys, unknown[0])

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a TicketKeys is not copied or pickled, since its keys are secrets")

    def __repr__(self) -> str:
        names = ", ".join(key.name.hex() for key in self.keys)
        derived = f" derived each {self._period} seconds" if self._period is not None else ""
        return f"<openssl_tickets.TicketKeys{derived}: {names}>"

    def _set(self, keys: list[TicketKey]) -> None:
        pointers = ffi.new("openssl_tickets_key *[]", [key._key for key in keys])
        if not lib.openssl_tickets_set_keys(self._keyring, pointers, len(keys)):
            raise_error("out of memory")

    def _must_not_be_derived(self) -> None:
        if self._period is not None:
            raise RuntimeError(
                "these keys are derived from a secret and the clock, and cannot be set: make "
                "another TicketKeys, and call set_ticket_keys with it"
            )


def set_ticket_keys(context: TLSContext, keys: TicketKeys | None, purpose: bytes = b"") -> None:
    """
    Sets what the tickets of *context* are encrypted with.

    They hold for clients of all protocol versions, from the next ticket on. It is done in C:
    no Python runs, and the GIL is not taken. A ``decrypt`` callback sees the key's name, and

    - for the first key ``SUCCESS`` in TLS 1.2, and ``SUCCESS_RENEW`` in TLS 1.3, as it is without
      keys of one's own;
    - for another key of the ring ``SUCCESS_RENEW``;
    - for a key that the ring does not have ``NO_DECRYPT``.

    After a switch of contexts, by server name (SNI) or before the handshake, libssl uses the keys
    of the connection's *first* context.

    For a ticket of one context, process or host to be good for another, they must also have the
    same session id context (``Context.set_session_id``; all of ``ssl`` have ``b"Python\\0"``), the
    same protocol version, and the ticket's cipher.

    A pyOpenSSL server that asks for client certificates needs ``context.set_session_id(b"...")``
    (``ssl`` does it by itself): without it the first ticket is refused with a RuntimeError, as by
    :func:`set_session_ticket_callback`.

    A resumption verifies nothing. If one of the contexts asks for client certificates and another
    does not, give each a *purpose* of its own: otherwise a client of the second would be resumed at
    the first, and has never shown a certificate. A purpose separates contexts that accept
    connections themselves. It does not separate names on one port, since after a switch by server
    name the first context's keys hold: see :func:`set_server_name_binding`.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext`` for servers.
        keys: the ring, which may serve other contexts too. What it holds is kept as long as it is
            needed; keep the object itself to change it, or to have files watched for it. None has
            the context use a new random key of its own.
        purpose: at most 255 bytes. If there are any, the context's keys are those that follow from
            the ring's for this purpose (:meth:`TicketKey.for_purpose`), and a ticket for another
            purpose cannot be decrypted. ``b""``: the ring's own keys, which cross to nginx and
            HAProxy.

    Raises:
        TypeError: *context* is not a context, *keys* is not a :class:`TicketKeys`, or *purpose* is
            not bytes.
        ValueError: *purpose* is longer than 255 bytes, or *keys* is None and there is a purpose;
            or *context* is for clients only.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: OpenSSL is out of memory, or has no AES; or another copy of this package has set keys
            or callbacks.

    Example::

        keys = TicketKeys([TicketKey.generate()])
        for context in contexts:
            set_ticket_keys(context, keys)

    libssl: ``SSL_CTX_set_tlsext_ticket_key_evp_cb`` (OpenSSL 3.0).
    """
    if keys is not None and not isinstance(keys, TicketKeys):
        raise TypeError(f"keys must be a TicketKeys or None, not {type(keys).__name__}")
    if checked_purpose(purpose) and keys is None:
        raise ValueError("a purpose needs a TicketKeys, which its keys are derived from")
    ssl_ctx = to_server_ssl_ctx(context, "ticket keys")
    # For what C refuses, with the connection that it is about.
    ticket_callbacks.setdefault(
        number_of(ssl_ctx.pointer), (ssl_ctx.connection_of, None, None, None)
    )
    keyring = keys._keyring if keys is not None else ffi.NULL
    if not lib.openssl_tickets_use_keyring(ssl_ctx.pointer, keyring, purpose, len(purpose)):
        raise_error("SSL_CTX_set_tlsext_ticket_key_evp_cb failed")


def checked_secrets(secret: bytes | Sequence[bytes]) -> list[bytes]:
    secrets = [secret] if isinstance(secret, (bytes, bytearray, str)) else list(secret)
    for each in secrets:
        if not isinstance(each, bytes):
            raise TypeError(f"secret must be bytes, not {type(each).__name__}")
        if len(each) < _SMALLEST_SECRET:
            raise ValueError(
                f"secret must have {_SMALLEST_SECRET} bytes or more, not {len(each)}: "
                "os.urandom(32) makes a good one"
            )
    if not secrets:
        raise ValueError("a derived TicketKeys needs at least one secret")
    if len(set(secrets)) < len(secrets):
        raise ValueError("two of the secrets are equal")
    return secrets


def _ticket_key(key: Pointer[openssl_tickets_key]) -> TicketKey:
    """Returns a :class:`TicketKey` that takes over *key*."""
    self = TicketKey.__new__(TicketKey)
    self._key = _owned_key(key)
    return self


def _owned_key(key: Pointer[openssl_tickets_key]) -> Pointer[openssl_tickets_key]:
    if not key:
        raise_error("no ticket key could be made")
    return ffi.gc(key, lib.openssl_tickets_free_key)


def _owned_keyring(
    keyring: Pointer[openssl_tickets_keyring],
) -> Pointer[openssl_tickets_keyring]:
    if not keyring:
        raise_error("out of memory")
    return ffi.gc(keyring, lib.openssl_tickets_release_keyring)


def _keys_of(keyring: Pointer[openssl_tickets_keyring], at: int = -1) -> tuple[TicketKey, ...]:
    """Returns the keys of a keyring: of now, or of another time where they are derived."""
    copies = ffi.new("openssl_tickets_key *[]", _MAX_KEYS)
    count = lib.openssl_tickets_get_keys(keyring, at, copies, _MAX_KEYS)
    if not count:
        raise_error("the keys could not be had")
    return tuple(_ticket_key(copies[number]) for number in range(count))


def _checked_keys(keys: Iterable[TicketKey]) -> list[TicketKey]:
    checked_keys = list(keys)
    names = set()
    for key in checked_keys:
        if not isinstance(key, TicketKey):
            raise TypeError(f"a key must be a TicketKey, not {type(key).__name__}")
        if key.name in names:
            raise ValueError(f"two keys have the name {key.name.hex()}")
        names.add(key.name)
    if not checked_keys:
        raise ValueError("a TicketKeys needs at least one key")
    if len(checked_keys) > _MAX_KEYS:
        raise ValueError(f"a TicketKeys has at most {_MAX_KEYS} keys, not {len(checked_keys)}")
    return checked_keys
