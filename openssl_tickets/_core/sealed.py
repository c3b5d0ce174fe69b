"""Encrypts bytes that are stored where others can read them, with a secret that both sides have."""

from __future__ import annotations

from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.errors import raise_error


def seal(secret: bytes, plain: bytes, also: bytes) -> bytes:
    """
    Returns *plain*, encrypted and authenticated with *secret*. *also* is authenticated with it, and
    is not part of the result.

    Raises:
        Error: OpenSSL has no random bytes, no memory or no AES-256-GCM.

    It uses OpenSSL's AES-256-GCM, with a key from HKDF-SHA256 (OpenSSL 3.0).
    """
    sealed = ffi.new("unsigned char[]", len(plain) + lib.OPENSSL_TICKETS_SEAL_LEN)
    if not lib.openssl_tickets_seal(
        secret, len(secret), plain, len(plain), also, len(also), sealed
    ):
        raise_error("the bytes could not be encrypted")
    return bytes(ffi.buffer(sealed))


def open_sealed(secret: bytes, sealed: bytes, also: bytes) -> bytes | None:
    """
    Returns the plain bytes of *sealed*, a result of :func:`seal`. Returns None if it was made with
    another secret or another *also*, or was changed.
    """
    length = max(0, len(sealed) - lib.OPENSSL_TICKETS_SEAL_LEN)
    plain = ffi.new("unsigned char[]", length)
    if not lib.openssl_tickets_open_sealed(
        secret, len(secret), sealed, len(sealed), also, len(also), plain
    ):
        return None
    return bytes(ffi.buffer(plain))
