"""Ticket keys: what tickets are encrypted with. Many contexts, workers and hosts can share them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from openssl_tickets._adapters.types import TLSContext
from openssl_tickets._core.arguments import checked, exact
from openssl_tickets._core.callbacks import number_of, ticket_callbacks
from openssl_tickets._core.sides import to_server_ssl_ctx
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.errors import raise_error
from openssl_tickets._typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, SupportsIndex

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
    One ticket key: a name, which each ticket shows in the clear, and two secrets for the rest of
    the ticket.

    Two keys are equal if all three parts are equal. They are compared in constant time. The
    ``repr`` shows the name only. When a key is freed, its secrets are wiped from memory. Bytes that
    its attributes have returned are not wiped, because Python owns those.

    Args:
        name: 16 bytes, best random. Keys are told apart by their names.
        hmac_key: the secret for HMAC-SHA256, 32 or 16 bytes.
        aes_key: the secret for AES-CBC, as long as *hmac_key*: 32 bytes for AES-256, 16 for
            AES-128.

    Raises:
        TypeError: an argument is not bytes.
        ValueError: an argument has a wrong length.
        Error: OpenSSL is out of memory.
    """

    __slots__ = ("__weakref__", "_key")

    _key: Pointer[openssl_tickets_key]

    def __init__(self, name: bytes, hmac_key: bytes, aes_key: bytes) -> None:
        for argument, value in (("name", name), ("hmac_key", hmac_key), ("aes_key", aes_key)):
            if not isinstance(value, bytes):
                raise TypeError(f"{argument} must be bytes, not {type(value).__name__}")
        name, hmac_key, aes_key = exact(name), exact(hmac_key), exact(aes_key)
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
        Returns a new random :class:`TicketKey` for AES-256-CBC and HMAC-SHA256. OpenSSL's own
        ticket keys are made in the same way.

        Raises:
            Error: OpenSSL has no random bytes, or no memory.

        libssl: ``RAND_bytes``, ``RAND_priv_bytes`` (OpenSSL 1.1.1).
        """
        return _ticket_key(lib.openssl_tickets_new_key(ffi.NULL, ffi.NULL, ffi.NULL, 32))

    @property
    def name(self) -> bytes:
        """The name, 16 bytes. It is the :attr:`ReceivedTicket.key_name` of this key's tickets."""
        return bytes(ffi.buffer(self._key.name))

    @property
    def hmac_key(self) -> bytes:
        """The secret for HMAC-SHA256, 32 or 16 bytes. Keep it safe."""
        return bytes(ffi.buffer(self._key.hmac_key, self._key.secret_len))

    @property
    def aes_key(self) -> bytes:
        """The secret for AES-CBC, 32 or 16 bytes. Keep it safe."""
        return bytes(ffi.buffer(self._key.aes_key, self._key.secret_len))

    def for_purpose(self, purpose: bytes) -> TicketKey:
        """
        Returns the :class:`TicketKey` that is derived from this one for *purpose*.

        :func:`set_ticket_keys` says what purposes are for. The new name, HMAC key and AES key are,
        in this order, the output of HKDF-SHA256. Its key is ``hmac_key + aes_key``, its info is
        ``b"openssl_tickets purpose 1" + name + purpose``, and it has no salt. The new secrets are
        as long as this key's. The fleet recipe has a test vector.

        Args:
            purpose: 1 to 255 bytes. For ``b""``, the key itself is returned.

        Raises:
            TypeError: *purpose* is not bytes.
            ValueError: *purpose* is longer than 255 bytes.
            Error: OpenSSL is out of memory, or has no HKDF.

        libssl: ``EVP_KDF_derive`` with HKDF and SHA-256 (OpenSSL 3.0).
        """
        purpose = checked_purpose(purpose)
        if not purpose:
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
            "a TicketKey is not pickled, since it is a secret: pass on its name, hmac_key and "
            "aes_key, and keep them safe"
        )

    def __repr__(self) -> str:
        return f"<openssl_tickets.TicketKey {self.name.hex()}, AES-{8 * self._key.secret_len}>"


def checked_purpose(purpose: bytes) -> bytes:
    if not isinstance(purpose, bytes):
        raise TypeError(f"purpose must be bytes, not {type(purpose).__name__}: {purpose!r:.80}")
    purpose = exact(purpose)
    if len(purpose) > lib.OPENSSL_TICKETS_MAX_PURPOSE_LEN:
        raise ValueError(
            f"purpose must have at most {lib.OPENSSL_TICKETS_MAX_PURPOSE_LEN} bytes, not "
            f"{len(purpose)}"
        )
    return purpose


class KeyStats(NamedTuple):
    """How often a key was used, in this process."""

    encrypted: int
    """Tickets that were encrypted with the key."""
    decrypted: int
    """Tickets that came back with the key's name, including those that somebody has changed."""


class TicketKeysStats(NamedTuple):
    """How often the keys of a ring were used, in this process."""

    keys: dict[bytes, KeyStats]
    """The :class:`KeyStats` of each key that is in the ring now, by the key's name."""
    unknown: int
    """
    Tickets with the name of no key in the ring: from another server, of a key that is gone, or
    forged.
    """


class TicketKeys:
    """
    A ring of ticket keys. The first key encrypts, and all keys decrypt.

    If a client offers a ticket of another key than the first, it is resumed and gets a new ticket
    of the first key. Many contexts can share one ring. If you change the ring, the change applies
    to all of them from the next ticket on. You can change it while handshakes run in other threads.
    A key that leaves the ring is wiped from memory when no handshake uses it and no
    :class:`TicketKey` holds it.

    After a fork, the child has its own copy of the ring. Later changes do not reach the other
    process.

    Args:
        keys: an iterable of 1 to 1,000 :class:`TicketKey` objects. The first encrypts.

    Raises:
        TypeError: one of *keys* is not a :class:`TicketKey`.
        ValueError: there is no key, two keys have the same name, or there are more than 1,000 keys.
        Error: OpenSSL is out of memory.

    Example::

        keys = TicketKeys([TicketKey.generate()])
        set_ticket_keys(context, keys)
        keys.rotate()  # for example, every hour
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
        Returns a ring whose keys are derived from a shared secret and the clock.

        Hosts with the same three arguments have the same keys at the same time. They need not talk
        to each other. There is no thread, and nothing to call: libssl's call for each ticket looks
        at the clock.

        Each *period* has its own key, which encrypts in that period. Periods count from the Epoch.
        The ring also has the key of the next period, because another host's clock may be ahead, by
        up to one period. A key leaves the ring *accept_for* seconds after the end of its period.

        Whoever has the secret can read every past and future ticket. In TLS 1.2, and in a TLS 1.3
        resumption without a key exchange, they can also read the connection. So change the secret
        from time to time. If you give several secrets, the first encrypts. Tickets of the others
        are decrypted and renewed. To change the secret of a fleet and lose no resumption, give all
        hosts ``[old, new]``, then give all hosts ``[new, old]``, and *accept_for* plus *period*
        seconds later give them ``[new]``.

        The key of a period is the output of HKDF-SHA256: 16 bytes for the name, 32 for the HMAC
        key, and 32 for the AES key. Its key is the secret, and it has no salt. Its info is
        ``b"openssl_tickets ticket key 1"`` and the number of the period as eight bytes, most
        significant first. The fleet recipe has a test vector.

        Args:
            secret: at least 32 bytes that nobody can guess, for example from ``os.urandom(32)``. Do
                not use a password. Or a list of such secrets.
            period: seconds, an integer.
            accept_for: seconds, an integer. If no ticket should be refused before it expires, give
                at least the lifetime of a ticket (:func:`get_session_timeout`) plus the largest
                difference between the hosts' clocks. A host whose clock is ahead drops a key early.

        Returns:
            A :class:`TicketKeys`.

        Raises:
            TypeError: a secret is not bytes, or a number is not an integer.
            ValueError: there is no secret, a secret is too short, or two are equal; or *period* is
                less than 1, or *accept_for* less than 0; or there would be more than 1,000 keys at
                a time.
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
        # C copies the secrets from these buffers, and wipes its copies in the end.
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
        _keys_of(self._keyring)  # an error should come now, not in the first handshake
        return self

    @property
    def keys(self) -> tuple[TicketKey, ...]:
        """
        The keys that are in the ring now, as a tuple of :class:`TicketKey`. The first encrypts.

        Raises:
            Error: OpenSSL is out of memory.
        """
        return _keys_of(self._keyring)

    def replace(self, keys: Iterable[TicketKey]) -> None:
        """
        Replaces all keys of the ring at once.

        If this raises an exception, the ring stays as it was.

        Args:
            keys: the new keys, an iterable of 1 to 1,000 :class:`TicketKey` objects. The first
                encrypts.

        Raises:
            TypeError: one of *keys* is not a :class:`TicketKey`.
            ValueError: there is no key, two keys have the same name, or there are more than 1,000
                keys.
            RuntimeError: the ring is derived.
            Error: OpenSSL is out of memory.
        """
        self._must_not_be_derived()
        self._set(_checked_keys(keys))

    def rotate(self, key: TicketKey | None = None, keep: SupportsIndex = 2) -> None:
        """
        Adds a new key in front. It encrypts from now on.

        If this raises an exception, the ring stays as it was.

        Args:
            key: the new :class:`TicketKey`. By default, a random one.
            keep: how many of the old keys stay and decrypt, the newest first, an integer from 0 to
                999. A key should stay as long as its tickets live (:func:`get_session_timeout`).

        Raises:
            TypeError: *key* is not a :class:`TicketKey`, or *keep* is not an integer.
            ValueError: *keep* is negative or more than 999, or a key that stays has the same name
                as *key*.
            RuntimeError: the ring is derived.
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
        Removes the key with this name, for example because it has leaked.

        Its tickets then lead to full handshakes. If it was the first key, the next one encrypts
        from now on.

        Args:
            key_name: the name of the key, 16 bytes.

        Raises:
            TypeError: *key_name* is not bytes.
            ValueError: no key has this name, or it is the only key (use :meth:`replace` instead).
            RuntimeError: the ring is derived. Change its secret instead.
            Error: OpenSSL is out of memory.
        """
        if not isinstance(key_name, bytes):
            raise TypeError(f"key_name must be bytes, not {type(key_name).__name__}")
        key_name = exact(key_name)
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
        Returns how often the keys were used, in this process, by all contexts with this ring.

        A key counts under its own name, even if it was used for a purpose. When a key leaves the
        ring, its numbers are lost.

        Returns:
            A :class:`TicketKeysStats`.

        Raises:
            Error: OpenSSL is out of memory.
        """
        counts = ffi.new("openssl_tickets_key_counts[]", _MAX_KEYS)
        unknown = ffi.new("uint64_t *")
        count = lib.openssl_tickets_get_key_counts(self._keyring, counts, _MAX_KEYS, unknown)
        if not count:
            raise_error("the counts could not be read")
        keys = {}
        for number in range(count):
            each: Any = counts[number]
            keys[bytes(ffi.buffer(each.name))] = KeyStats(each.encrypted, each.decrypted)
        return TicketKeysStats(keys, unknown[0])

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a TicketKeys is not copied or pickled, since its keys are secrets")

    def __repr__(self) -> str:
        names = ", ".join(key.name.hex() for key in self.keys)
        derived = f" derived every {self._period} seconds" if self._period is not None else ""
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
    Sets the keys that the tickets of *context* are encrypted with.

    They apply to all protocol versions, from the next ticket on. Tickets are encrypted and
    decrypted in C: no Python runs, and the GIL is not taken. The status that a ``decrypt`` callback
    gets depends on the ticket's key:

    - the first key of the ring: ``SUCCESS`` in TLS 1.2 and ``SUCCESS_RENEW`` in TLS 1.3, the same
      as with libssl's own keys;
    - another key of the ring: ``SUCCESS_RENEW``;
    - a key that is not in the ring: ``NO_DECRYPT``.

    If the server switches contexts by server name (SNI), or before the handshake, libssl still uses
    the keys of the connection's *first* context.

    A context, process or host can resume the tickets of another only if it has more in common than
    the keys: the session id context (``Context.set_session_id`` in pyOpenSSL; always
    ``b"Python\\0"`` in ``ssl``), the protocol version, and the ticket's cipher.

    A pyOpenSSL server that asks for client certificates must call
    ``context.set_session_id(b"...")``. (``ssl`` does this by itself.) Without it, the first ticket
    is refused with a RuntimeError, as with :func:`set_session_ticket_callback`.

    A resumption verifies nothing. If one context asks for client certificates and another does not,
    give each its own *purpose*. Otherwise a client of the second context is resumed at the first,
    and has never shown a certificate. A purpose separates contexts that accept connections
    themselves. It does not separate server names on one port, because the first context's keys are
    used for all names: use :func:`set_server_name_binding` for that.

    Args:
        context: an ``OpenSSL.SSL.Context`` or ``ssl.SSLContext`` for servers.
        keys: a :class:`TicketKeys`, which other contexts may use too. The context keeps the keys
            alive. Keep the object itself if you want to change it, or if files are watched for it.
            With None, the context drops its ring and uses a new random key of its own. If it has no
            ring, nothing changes.
        purpose: at most 255 bytes. If it is not empty, the context's keys are derived from the
            ring's keys for this purpose (:meth:`TicketKey.for_purpose`). A ticket for another
            purpose cannot be decrypted. With ``b""``, the context uses the ring's keys themselves,
            which nginx and HAProxy can share.

    Raises:
        TypeError: *context* is not a context, *keys* is not a :class:`TicketKeys`, or *purpose* is
            not bytes.
        ValueError: *context* is for clients only, *purpose* is longer than 255 bytes, or *keys* is
            None and there is a purpose.
        LibraryMismatchError: *context* belongs to another libssl.
        Error: OpenSSL is out of memory or has no AES, or another copy of this package has set keys
            or callbacks.

    Example::

        keys = TicketKeys([TicketKey.generate()])
        for context in contexts:
            set_ticket_keys(context, keys)

    libssl: ``SSL_CTX_set_tlsext_ticket_key_evp_cb`` (OpenSSL 3.0).
    """
    if keys is not None and not isinstance(keys, TicketKeys):
        raise TypeError(f"keys must be a TicketKeys or None, not {type(keys).__name__}")
    purpose = checked_purpose(purpose)
    if purpose and keys is None:
        raise ValueError("a purpose needs a TicketKeys, which its keys are derived from")
    ssl_ctx = to_server_ssl_ctx(context, "ticket keys")
    # If C refuses a ticket, openssl_tickets_refuse finds the connection here.
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
    secrets = [exact(each) for each in secrets]
    for each in secrets:
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
    """Returns the keys of a keyring now. If they are derived, *at* can be another time."""
    copies = ffi.new("openssl_tickets_key *[]", _MAX_KEYS)
    count = lib.openssl_tickets_get_keys(keyring, at, copies, _MAX_KEYS)
    if not count:
        raise_error("the keys could not be read")
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
