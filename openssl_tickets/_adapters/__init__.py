"""
From a Python object to the libssl object inside it, and back.

Only the modules of this package cast pointers, and each does so only after it has proved that the
object belongs to the very libssl that this package is linked to. A library is looked at only when
an object of its kind is handed in, so importing this package loads neither of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from openssl_tickets._adapters import pyopenssl, stdlib

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import SSL, SSL_CTX, SSL_SESSION, Pointer


class SSLContext(NamedTuple):
    """
    A proved ``SSL_CTX *``, and the way from one of its ``SSL *`` to the user's own object.

    ``connection_of(ssl, app_data)`` returns that object, in a callback; *app_data* is the address
    that ``SSL_get_app_data`` returns. Where it knows nothing of *ssl* it raises a KeyError.
    """

    pointer: Pointer[SSL_CTX]
    connection_of: Callable[[Pointer[SSL], int], Any]


def to_ssl_ctx(context: object) -> SSLContext:
    """
    Returns the ``SSL_CTX`` of *context*.

    Raises:
        TypeError: *context* is not a context of a library that is known here.
        ValueError: *context* was never initialised.
        LibraryMismatchError: *context* belongs to another libssl.
    """
    if pyopenssl.is_context(context):
        return SSLContext(pyopenssl.to_ssl_ctx(context), pyopenssl.connection_of())
    if stdlib.is_context(context):
        return SSLContext(stdlib.to_ssl_ctx(context), stdlib.connection_of)
    raise TypeError(
        f"expected an OpenSSL.SSL.Context or an ssl.SSLContext, not {_described(context)}"
    )


def to_ssl(connection: object) -> Pointer[SSL]:
    """
    Returns the ``SSL *`` of *connection*.

    Raises:
        TypeError: *connection* is not a connection of a library that is known here.
        ValueError: *connection* was never initialised.
        LibraryMismatchError: *connection* belongs to another libssl.
    """
    if pyopenssl.is_connection(connection):
        return pyopenssl.to_ssl(connection)
    if stdlib.is_connection(connection):
        return stdlib.to_ssl(connection)
    raise TypeError(
        "expected an OpenSSL.SSL.Connection, an ssl.SSLSocket or an ssl.SSLObject, not "
        f"{_described(connection)}"
    )


def is_session(value: object) -> bool:
    """Whether *value* is a session of a library that is known here."""
    return pyopenssl.is_session(value) or stdlib.is_session(value)


def to_ssl_session(session: object) -> Pointer[SSL_SESSION]:
    """
    Returns the ``SSL_SESSION *`` of *session*, for which :func:`is_session` holds.

    Raises:
        ValueError: *session* was never initialised.
        LibraryMismatchError: *session* belongs to another libssl.
    """
    if pyopenssl.is_session(session):
        return pyopenssl.to_ssl_session(session)
    return stdlib.to_ssl_session(session)


def is_context(context_or_connection: object) -> bool:
    """
    Tells a context from a connection.

    Raises:
        TypeError: it is neither.
    """
    if pyopenssl.is_context(context_or_connection) or stdlib.is_context(context_or_connection):
        return True
    if pyopenssl.is_connection(context_or_connection) or stdlib.is_connection(
        context_or_connection
    ):
        return False
    raise TypeError(
        "expected a context or a connection of OpenSSL.SSL or of ssl (Context, Connection, "
        "SSLContext, SSLSocket, SSLObject), not "
        f"{_described(context_or_connection)}"
    )


def chain_info_callback(context: object, first: Callable[[Any, int, int], None]) -> bool:
    """
    Has ``first(connection, where, ret)`` called before any info callback of the program's own.

    Returns:
        Whether there is one now. If not, the place in libssl is free, until the program sets one.
    """
    return pyopenssl.is_context(context) and pyopenssl.chain_info_callback(context, first)


def server_name_of(connection: object) -> str | None:
    """Returns the server's name or address as ``ssl`` was given it; None if it was not."""
    name = (
        getattr(connection, "server_hostname", None) if stdlib.is_connection(connection) else None
    )
    return str(name) if name else None


def verify_callback_of(connection: object, address: int) -> object | None:
    """
    Returns an object that stands for the verify callback of *connection*, which is C code at
    *address*; a str stands for it in every process. None if it is unknown.
    """
    if pyopenssl.is_connection(connection):
        return pyopenssl.verify_callback_of(connection)
    return stdlib.verify_callback_at(address)


def _described(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}: {value!r:.80}"
