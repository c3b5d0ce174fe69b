"""Which libssl this package is linked to."""

from openssl_tickets._native._libssl import ffi, lib

OPENSSL_VERSION: str = ffi.string(lib.OpenSSL_version(lib.OPENSSL_VERSION)).decode()
"""The libssl that this package is linked to, in its own words."""
