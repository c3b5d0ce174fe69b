"""Checks that this package's calls reach the libssl that it is linked to."""

from openssl_tickets._native import _libssl
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.shared_object import file_of, symbol_of

_version = lib.OpenSSL_version(lib.OPENSSL_VERSION)

OPENSSL_VERSION: str = ffi.string(_version).decode()
"""
The version of the libssl that this package is linked to: ``"OpenSSL 3.0.16 11 Feb 2025"``, say.

libssl: ``OpenSSL_version`` (OpenSSL 1.1.0).
"""

INSIDE = (
    "openssl_tickets is linked to {linked}, but its calls reach the OpenSSL inside {reached}: two "
    "OpenSSLs would be mixed. Use a Python whose ssl is linked to the system's libssl, as the "
    "operating system's own is"
)

# If the interpreter itself contains an OpenSSL, the loader may bind our calls to that one. Each
# function returns the address of an object in its own library, libssl and libcrypto.
for _function, _address in (("TLS_method", lib.TLS_method()), ("OpenSSL_version", _version)):
    _linked = symbol_of(_libssl.__file__, _function)
    if _linked is not None and file_of(_linked) != file_of(_address):
        raise ImportError(
            INSIDE.format(linked=file_of(_linked), reached=file_of(_address)),
            name="openssl_tickets",
        )
