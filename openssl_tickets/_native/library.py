"""Which libssl this package is on: the one that it is linked to, or none."""

from openssl_tickets._native import _libssl
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.shared_object import file_of, symbol_of

_version = lib.OpenSSL_version(lib.OPENSSL_VERSION)

OPENSSL_VERSION: str = ffi.string(_version).decode()
"""The libssl that this package is linked to, in its own words."""

INSIDE = (
    "openssl_tickets is linked to {linked}, but its calls reach the OpenSSL inside {reached}: two "
    "OpenSSLs would be mixed. Use a Python whose ssl is linked to the system's libssl, as the "
    "operating system's own is"
)

# The loader takes the first symbol of a name, and an interpreter that has an OpenSSL inside may
# offer its symbols to all. Both libraries return the address of something of their own.
for _function, _address in (("TLS_method", lib.TLS_method()), ("OpenSSL_version", _version)):
    _linked = symbol_of(_libssl.__file__, _function)
    if _linked is not None and file_of(_linked) != file_of(_address):
        raise ImportError(
            INSIDE.format(linked=file_of(_linked), reached=file_of(_address)),
            name="openssl_tickets",
        )
