"""
Finds the libssl object inside a Python object, and the Python object of a libssl object.

Only the modules of this package cast pointers. Each first proves that the object belongs to the
libssl that this package is linked to. They look at a library only when they get one of its objects,
so importing this package imports neither library.
"""

from __future__ import annotations

from collections.abc import Callable

from openssl_tickets._adapters import pyopenssl, stdlib
from openssl_tickets._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import SSL, SSL_CTX, SSL_SESSION, Pointer


class SSLContext:
    """
    A proved ``SSL_CTX *``, and a function that finds the user's connection of one of its ``SSL *``.

    Callbacks call ``connection_of(ssl, app_data)``. *app_data* is the address that
    ``SSL_get_app_data`` returns. If the library does not know *ssl*, it raises a KeyError.
    """

    __slots__ = ("connection_of", "pointer")

    def __init__(
        self, pointer: Pointer[SSL_CTX], connection_of: Callable[[Pointer[SSL], int], Any]
    ) -> None:
        self.pointer = pointer
        self.connection_of = connection_of


def to_ssl_ctx(context: object) -> SSLContext:
    """
    Returns the ``SSL_CTX`` of *context*.

    Raises:
        TypeError: *context* is not a context of pyOpenSSL or ``ssl``.
        ValueError: *context* was never initialised.
        LibraryMismatchError: *context* belongs to another libssl.
    """
    library = _library_of("is_context", context)
    if library is pyopenssl:
        return SSLContext(pyopenssl.to_ssl_ctx(context), pyopenssl.connection_of(context))
    if library is stdlib:
        return SSLContext(stdlib.to_ssl_ctx(context), stdlib.connection_of)
    raise TypeError(
        f"expected an OpenSSL.SSL.Context or an ssl.SSLContext, not {_described(context)}"
    )


def to_ssl(connection: object) -> Pointer[SSL]:
    """
    Returns the ``SSL *`` of *connection*.

    Raises:
        TypeError: *connection* is not a connection of pyOpenSSL or ``ssl``.
        ValueError: *connection* was never initialised, or there is no TLS on it.
        LibraryMismatchError: *connection* belongs to another libssl.
    """
    library = _library_of("is_connection", connection)
    if library is pyopenssl:
        return pyopenssl.to_ssl(connection)
    if library is stdlib:
        return stdlib.to_ssl(connection)
    raise TypeError(
        "expected an OpenSSL.SSL.Connection, an ssl.SSLSocket or an ssl.SSLObject, not "
        f"{_described(connection)}"
    )


def is_session(value: object) -> bool:
    """Whether *value* is a session of pyOpenSSL or ``ssl``."""
    return _library_of("is_session", value) is not None


def to_ssl_session(session: object) -> Pointer[SSL_SESSION]:
    """
    Returns the ``SSL_SESSION *`` of *session*, for which :func:`is_session` holds.

    Raises:
        ValueError: *session* was never initialised.
        LibraryMismatchError: *session* belongs to another libssl.
    """
    if _library_of("is_session", session) is pyopenssl:
        return pyopenssl.to_ssl_session(session)
    return stdlib.to_ssl_session(session)


def is_context(context_or_connection: object) -> bool:
    """
    Returns True for a context, and False for a connection.

    Raises:
        TypeError: *context_or_connection* is neither.
    """
    for look in (False, True):
        for library in (pyopenssl, stdlib):
            if library.is_context(context_or_connection, look):
                return True
            if library.is_connection(context_or_connection, look):
                return False
    raise TypeError(
        "expected a context or a connection of OpenSSL.SSL or of ssl (Context, Connection, "
        "SSLContext, SSLSocket, SSLObject), not "
        f"{_described(context_or_connection)}"
    )


def chain_info_callback(context: object, first: Callable[[Any, int, int], None]) -> bool:
    """
    Puts ``first(connection, where, ret)`` before the program's info callback.

    Returns:
        Whether the program has an info callback now. If it has none, libssl's slot for it is free
        until the program sets one.
    """
    is_of_pyopenssl = _library_of("is_context", context) is pyopenssl
    return is_of_pyopenssl and pyopenssl.chain_info_callback(context, first)


def server_name_of(connection: object) -> str | None:
    """Returns the ``server_hostname`` of a connection of ``ssl``, or None if there is none."""
    is_of_ssl = _library_of("is_connection", connection) is stdlib
    name = getattr(connection, "server_hostname", None) if is_of_ssl else None
    return str(name) if name else None


def verify_callback_of(connection: object, address: int) -> object | None:
    """
    Returns an object that identifies the verify callback of *connection*, or None if unknown.

    If the object is a str, it identifies the callback in every process.

    Args:
        connection: a connection of pyOpenSSL or ``ssl``.
        address: the address of the verify callback's C code.
    """
    if _library_of("is_connection", connection) is pyopenssl:
        return pyopenssl.verify_callback_of(connection)
    return stdlib.verify_callback_at(address)


def _library_of(kind: str, value: object) -> Any:
    """
    Returns the module here of the library that *value* is of, or None.

    It first asks both whether they have seen the library of *value* before.
    """
    for look in (False, True):
        for library in (pyopenssl, stdlib):
            if getattr(library, kind)(value, look):
                return library
    return None


def _described(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}: {value!r:.80}"
