"""
Everything that this package knows about pyOpenSSL's objects and their libssl.

``Context._context`` is an ``SSL_CTX *``, ``Connection._ssl`` an ``SSL *`` and ``Session._session``
an ``SSL_SESSION *``. ``Connection._reverse_mapping`` leads from an ``SSL *`` to its ``Connection``.
This holds for pyOpenSSL 23.0 to 26.4.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable

from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.errors import LibraryMismatchError
from openssl_tickets._native.library import OPENSSL_VERSION
from openssl_tickets._native.shared_object import file_of, our_libssl
from openssl_tickets._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import SSL, SSL_CTX, SSL_SESSION, Pointer

# The OpenSSL.SSL whose objects were seen last. sys.modules is read only for objects that are not of
# this one: in a free-threaded Python, a forked child may wait for its lock for ever.
_seen_module: Any = None

# The pyOpenSSL binding that was proved to use our libssl. It is kept as an object, so that a second
# copy of pyOpenSSL, or a replaced binding, needs a proof of its own.
_proved_lib: object = None


def is_context(value: object, look: bool = True) -> bool:
    """
    Whether *value* is a pyOpenSSL ``Context``. It does not import pyOpenSSL.

    Without *look* it does not look at ``sys.modules``, and knows only objects of a module that it
    has seen.
    """
    return _module_of(value, "Context", look) is not None


def is_connection(value: object, look: bool = True) -> bool:
    """Whether *value* is a pyOpenSSL ``Connection``. *look* is as above."""
    return _module_of(value, "Connection", look) is not None


def to_ssl_ctx(context: Any) -> Pointer[SSL_CTX]:
    """
    Returns the ``SSL_CTX *`` of a pyOpenSSL ``Context``, after the proof that it is our libssl's.

    Raises:
        ValueError: ``Context.__init__`` has not run.
        LibraryMismatchError: pyOpenSSL uses another libssl.
    """
    return ffi.cast("SSL_CTX *", _proved_pointer(context, "Context", "_context", "SSL_CTX *"))


def to_ssl(connection: Any) -> Pointer[SSL]:
    """
    Returns the ``SSL *`` of a pyOpenSSL ``Connection``, after the proof that it is our libssl's.

    Raises:
        ValueError: ``Connection.__init__`` has not run.
        LibraryMismatchError: pyOpenSSL uses another libssl.
    """
    return ffi.cast("SSL *", _proved_pointer(connection, "Connection", "_ssl", "SSL *"))


def is_session(value: object, look: bool = True) -> bool:
    """Whether *value* is a pyOpenSSL ``Session``. *look* is as above."""
    return _module_of(value, "Session", look) is not None


def to_ssl_session(session: Any) -> Pointer[SSL_SESSION]:
    """
    Returns the ``SSL_SESSION *`` of a pyOpenSSL ``Session``, after the proof that it is our
    libssl's.

    Raises:
        ValueError: the session does not come from a connection.
        LibraryMismatchError: pyOpenSSL uses another libssl.
    """
    pointer = _proved_pointer(session, "Session", "_session", "SSL_SESSION *")
    return ffi.cast("SSL_SESSION *", pointer)


def connection_of(context: Any) -> Callable[[Pointer[SSL], int], Any]:
    """
    Returns a function that finds the ``Connection`` of an ``SSL *`` of *context* in a callback.

    It reads the dictionary inside pyOpenSSL's WeakValueDictionary. Pointers hash and compare by
    their address, also if they come from different ffi objects.
    """
    references = _module_of(context, "Context").Connection._reverse_mapping.data

    def connection_of(ssl: Pointer[SSL], app_data: int) -> Any:
        return references[ssl]()

    return connection_of


def chain_info_callback(context: Any, first: Callable[[Any, int, int], None]) -> bool:
    """
    Puts *first* before the info callback of a pyOpenSSL ``Context``, and before each later one.

    A second call does nothing.

    Returns:
        Whether there is an info callback now.
    """
    names = vars(context)
    # pyOpenSSL's closure. pyOpenSSL drops it when it gets another, so the lambda below holds it.
    own = names.get("_info_callback")
    if "set_info_callback" in names:
        return own is not None
    # A weak reference, because the context holds `chained`.
    kind, context_of = type(context), weakref.ref(context)

    def chained(callback: Callable[[Any, int, int], None]) -> None:
        def both(connection: Any, where: int, ret: int) -> None:
            try:
                first(connection, where, ret)
            finally:  # always: a program may verify its server in this callback, as Twisted does
                callback(connection, where, ret)

        kind.set_info_callback(context_of(), both)

    if own is not None:
        chained(lambda connection, where, ret: own(connection._ssl, where, ret))
    names["set_info_callback"] = chained
    return own is not None


def verify_callback_of(connection: Any) -> object | None:
    """Returns the object that pyOpenSSL keeps for *connection*'s verify callback."""
    helper: object | None = vars(connection).get("_verify_helper")
    return helper


def is_our_libssl(binding_lib: Any) -> bool:
    """
    Whether a cffi binding of libssl calls the libssl that this package is linked to.

    ``TLS_method()`` returns the address of a static object, which differs for each loaded libssl.
    Two copies of the same version have different addresses. The proof follows no pointer.
    """
    return bool(
        ffi.cast("void *", binding_lib.TLS_method()) == ffi.cast("void *", lib.TLS_method())
    )


def prove_same_libssl(module: Any = None) -> None:
    """
    Checks that pyOpenSSL calls the libssl that this package is linked to.

    Args:
        module: the ``OpenSSL.SSL`` of the objects; None: the one that is imported.

    Raises:
        LibraryMismatchError: pyOpenSSL uses another libssl.
    """
    global _proved_lib
    # OpenSSL.SSL makes its objects with its own `_lib`. It takes that from OpenSSL._util.
    if module is None:
        module = sys.modules.get("OpenSSL.SSL")
    if module is not None and hasattr(module, "_lib"):
        their_lib, their_ffi = module._lib, module._ffi
    else:
        their_lib, their_ffi = sys.modules["OpenSSL._util"].lib, sys.modules["OpenSSL._util"].ffi
    if their_lib is _proved_lib:
        return
    if not is_our_libssl(their_lib):
        theirs = their_ffi.string(their_lib.OpenSSL_version(lib.OPENSSL_VERSION)).decode()
        # The message names the files, because both copies may have the same version.
        raise LibraryMismatchError(
            f"pyOpenSSL runs on its own {theirs} (in {file_of(their_lib.TLS_method())}), and "
            f"openssl_tickets on the system's {OPENSSL_VERSION} (in {our_libssl()}): they cannot "
            "share contexts and connections.\n"
            "Call openssl_tickets.use_system_openssl() before OpenSSL is first imported "
            "(`from openssl_tickets import SSL` does), or install a pyOpenSSL whose cryptography "
            "is built against the system's libssl."
        )
    _proved_lib = their_lib


def _module_of(value: object, name: str, look: bool = True) -> Any:
    """Returns the ``OpenSSL.SSL`` whose class *name* *value* is of, or None."""
    global _seen_module
    seen = _seen_module
    if isinstance(value, getattr(seen, name, ())):
        return seen
    imported = sys.modules.get("OpenSSL.SSL") if look else None
    if not isinstance(value, getattr(imported, name, ())):
        return None
    _seen_module = imported
    return imported


def _proved_pointer(owner: Any, name: str, attribute: str, c_type: str) -> Pointer[Any]:
    module = _module_of(owner, name)
    prove_same_libssl(module)
    # vars(), because a Connection looks up unknown attributes on its socket.
    pointer: Any = vars(owner).get(attribute)
    if (
        not isinstance(pointer, ffi.CData)
        or not pointer
        or module._ffi.typeof(pointer).cname != c_type
    ):
        raise ValueError(
            f"this {type(owner).__qualname__} holds no {c_type}: its __init__ has not run to the "
            "end (call super().__init__() first in a subclass)"
        )
    return pointer
