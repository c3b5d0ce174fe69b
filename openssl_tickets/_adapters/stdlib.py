"""
Everything that this package knows about the objects of the standard library's ``ssl``.

Each ``SSLSocket`` and ``SSLObject``, and gevent's own ``SSLSocket``, has a ``_ssl._SSLSocket`` as
its ``_sslobj``. ``trio.SSLStream`` and anyio's ``TLSStream`` have an ``SSLObject`` as their
``_ssl_object``. After the header that every Python object has, there is

- in an ``SSLContext``: its ``SSL_CTX *``
- in a ``_ssl._SSLSocket``: a reference to a socket, its ``SSL *``, and its context
- in an ``SSLSession``: its ``SSL_SESSION *``, and its context

This holds for CPython 3.8 to 3.15. The module checks it before it uses it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from openssl_tickets._native import _libssl, shared_object
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.errors import LibraryMismatchError
from openssl_tickets._native.library import OPENSSL_VERSION
from openssl_tickets._typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import SSL, SSL_CTX, SSL_SESSION, Pointer, void

_PYTHON_VERSION = sys.version.split()[0]  # of platform, which takes a millisecond to import
_HEADER = object.__basicsize__  # bytes
_POINTER = ffi.sizeof("void *")

# The _ssl module whose objects were seen last. sys.modules is read only for objects that are not of
# this one: in a free-threaded Python, a forked child may wait for its lock for ever.
_seen_module: Any = None

# The _ssl module that was proved. It is kept as an object, so that a module that replaces it needs
# a proof of its own.
_proved_module: object = None

# The classes of ssl whose objects are connections themselves.
_plain_kinds: tuple[type | None, ...] = ()


def is_context(value: object, look: bool = True) -> bool:
    """
    Whether *value* is an ``ssl.SSLContext``. It does not import ``ssl``.

    Without *look* it does not look at ``sys.modules``, and knows only objects of a module that it
    has seen.
    """
    return _module_of(value, "_SSLContext", look) is not None


def is_connection(value: object, look: bool = True) -> bool:
    """
    Whether *value* is a connection of ``ssl``. It imports nothing. *look* is as above.

    That is an ``ssl.SSLSocket`` or ``ssl.SSLObject``, an object that has one inside, or the
    ``_ssl._SSLSocket`` that callbacks get for a connection that was made without these classes.
    """
    if _sslobj_of(value, look) is not None:
        return True
    # There is no TLS on it, so only its class can tell.
    classes = ("ssl", "SSLSocket"), ("ssl", "SSLObject"), ("gevent.ssl", "SSLSocket")
    return look and any(
        isinstance(value, getattr(sys.modules.get(module), name, ())) for module, name in classes
    )


def to_ssl_ctx(context: Any) -> Pointer[SSL_CTX]:
    """
    Returns the ``SSL_CTX *`` of an ``SSLContext``, after the proof that it is our libssl's.

    Raises:
        LibraryMismatchError: ``ssl`` uses another libssl.
        RuntimeError: this CPython's objects do not have the known layout.
    """
    prove_same_libssl(_module_of(context, "_SSLContext"))
    return ffi.cast("SSL_CTX *", _fields(context)[0])


def to_ssl(connection: Any) -> Pointer[SSL]:
    """
    Returns the ``SSL *`` of an ``SSLSocket`` or ``SSLObject``, after the proof that it is our
    libssl's.

    The ``SSL`` stays valid while the returned pointer lives, also if *connection* is closed.

    Raises:
        ValueError: there is no TLS on *connection*: not yet, or not any more.
        LibraryMismatchError: ``ssl`` uses another libssl.
        RuntimeError: this CPython's objects do not have the known layout.
    """
    sslobj = _sslobj_of(connection)
    prove_same_libssl(_module_of(sslobj, "_SSLSocket"))
    if sslobj is None:
        raise ValueError(
            f"there is no TLS on this {type(connection).__qualname__}: it is not connected yet, "
            "or has been closed or unwrapped"
        )
    # The pointer holds the _ssl object: if another thread closes the socket, _ssl would free the
    # SSL together with its object.
    return ffi.gc(ffi.cast("SSL *", _fields(sslobj)[1]), lambda _: sslobj)


def is_session(value: object, look: bool = True) -> bool:
    """Whether *value* is an ``ssl.SSLSession``. It does not import ``ssl``. *look* is as above."""
    return _module_of(value, "SSLSession", look) is not None


def to_ssl_session(session: Any) -> Pointer[SSL_SESSION]:
    """
    Returns the ``SSL_SESSION *`` of an ``SSLSession``, after the proof that it is our libssl's.

    Raises:
        LibraryMismatchError: ``ssl`` uses another libssl.
        RuntimeError: this CPython's objects do not have the known layout.
    """
    prove_same_libssl(_module_of(session, "SSLSession"))
    pointer = ffi.cast("SSL_SESSION *", _fields(session)[0])
    length = ffi.new("unsigned int *")
    # prove_same_libssl() has no session to check, because there is none before a handshake. So this
    # checks each session.
    if (
        type(session).__basicsize__ != _HEADER + 2 * _POINTER
        or not pointer
        or session.id != bytes(ffi.buffer(lib.SSL_SESSION_get_id(pointer, length), length[0]))
    ):
        _raise_unknown_layout()
    return pointer


def _get_object_at() -> Callable[[int], Any]:
    functions: list[Callable[[int], Any]] = []
    # In CPython, the id of an object is its address.
    if not lib.openssl_tickets_append_object_at(id(functions)):
        raise MemoryError
    return functions[0]


_object_at = _get_object_at()


def connection_of(ssl: Pointer[SSL], app_data: int) -> Any:
    """
    Returns the user's ``SSLSocket`` or ``SSLObject``. Call it in a callback only.

    Args:
        ssl: the ``SSL *`` that libssl passes to the callback.
        app_data: the application data of *ssl*, in which ``_ssl`` keeps its object's address.

    Raises:
        KeyError: ``_ssl`` does not know *ssl*.
    """
    sslobj = _object_at(app_data)
    connection = sslobj.owner
    # gevent has a socket of its own here, with a weak reference to the user's SSLSocket. The check
    # of _plain_kinds saves the call of hasattr, which is slow if the attribute is missing.
    if type(connection) not in _plain_kinds and hasattr(type(connection), "_sslsock"):
        connection = connection._sslsock()
        if getattr(connection, "_sslobj", None) is not sslobj:
            return sslobj
    # Without an owner, the connection was made without the classes of ssl.
    return sslobj if connection is None else connection


def verify_callback_at(address: int) -> str | None:
    """
    Returns a name for the verify callback at *address*, or None if it is not in ``_ssl``.

    A program cannot set a verify callback with ``ssl``. Newer CPythons (seen in 3.14.10) set their
    own. It is the same for all contexts, and refuses the public keys on a list.
    """
    # Of the module that has been proved: anybody can put another one into its place.
    file = getattr(_proved_module, "__file__", None)
    init = shared_object.symbol_of(file, "PyInit__ssl") if file else None
    if init is None or shared_object.file_of(init) != shared_object.file_of(address):
        return None
    return f"ssl of {_PYTHON_VERSION}"


def prove_same_libssl(module: Any = None) -> None:
    """
    Checks that ``ssl`` calls our libssl, and that its objects have the known layout.

    It does this once for each imported ``_ssl``.

    Args:
        module: the ``_ssl`` of the objects; None: the one that is imported.

    Raises:
        LibraryMismatchError: ``ssl`` uses another libssl.
        RuntimeError: the objects do not have the known layout.
    """
    global _proved_module, _plain_kinds
    if module is None:
        module = sys.modules["_ssl"]
    if module is _proved_module:
        return
    # There is no lock, because a lock would not survive a fork. Two threads may both do the proof.
    _prove_library(module)
    _prove_layout(module)
    public = sys.modules.get("ssl")  # another thread may be in the middle of importing it
    _plain_kinds = tuple(getattr(public, name, None) for name in ("SSLSocket", "SSLObject"))
    _proved_module = module


def _prove_library(module: Any) -> None:
    # If _ssl is built into the interpreter, it has no file, and its symbols cannot be looked up.
    file = getattr(module, "__file__", None)
    ours = shared_object.symbol_of(_libssl.__file__, "SSL_CTX_new")
    if file and ours is not None and shared_object.symbol_of(file, "SSL_CTX_new") == ours:
        return
    libssl = shared_object.libssl_of(file) if file else None
    theirs = libssl or file or sys.executable
    version = getattr(module, "OPENSSL_VERSION", "an unknown library")
    raise LibraryMismatchError(
        f"Python's ssl runs on {version} (in {theirs}), and openssl_tickets on the "
        f"system's {OPENSSL_VERSION} (in {shared_object.our_libssl()}): they cannot share contexts "
        "and connections.\n"
        "Use a Python whose ssl is linked to the system's libssl, as the operating system's own is"
        # Nothing can link to a libssl that is inside the interpreter or inside ssl's own module.
        + (
            ", or build openssl_tickets against the OpenSSL that this Python uses (OPENSSL_DIR)."
            if libssl is not None and libssl != file
            else "."
        )
    )


def _prove_layout(module: Any) -> None:
    """Compares what CPython tells about its objects with what is read from their memory."""
    context = module._SSLContext(module.PROTOCOL_TLS_SERVER)
    sslobj = context._wrap_bio(module.MemoryBIO(), module.MemoryBIO(), True, None)
    # The order matters: a pointer is followed only after its neighbour was found in its place.
    checks: tuple[Callable[[], bool], ...] = (
        lambda: type(context).__basicsize__ >= _HEADER + _POINTER,
        lambda: type(sslobj).__basicsize__ >= _HEADER + 3 * _POINTER,
        lambda: _address(_fields(sslobj)[2]) == id(context),
        lambda: _address(_fields(sslobj)[1]) % _POINTER == 0 != _address(_fields(sslobj)[1]),
        lambda: lib.SSL_get_SSL_CTX(ffi.cast("SSL *", _fields(sslobj)[1])) == _fields(context)[0],
        lambda: (
            _address(lib.SSL_get_ex_data(ffi.cast("SSL *", _fields(sslobj)[1]), 0)) == id(sslobj)
        ),
        lambda: _num_tickets_agree(context),
    )
    for holds in checks:
        if not holds():
            _raise_unknown_layout()


def _raise_unknown_layout() -> NoReturn:
    raise RuntimeError(
        f"the ssl objects of this Python ({sys.implementation.name} {_PYTHON_VERSION}) are not as "
        "openssl_tickets knows them, so nothing was done to them. Please report this, with what "
        "`python -m openssl_tickets doctor` prints."
    )


def _num_tickets_agree(context: Any) -> bool:
    ssl_ctx = ffi.cast("SSL_CTX *", _fields(context)[0])
    context.num_tickets = 7
    if lib.SSL_CTX_get_num_tickets(ssl_ctx) != 7:
        return False
    lib.SSL_CTX_set_num_tickets(ssl_ctx, 5)
    return bool(context.num_tickets == 5)


def _sslobj_of(value: Any, look: bool = True) -> Any:
    """
    Returns the ``_ssl._SSLSocket`` in *value*, or None.

    It follows the attributes of other libraries by name. At the end it checks the type, which no
    object can fake.
    """
    for attribute in ("_ssl_object", "_sslobj"):
        # __dict__, because a closed socket of gevent raises an OSError for an unknown attribute.
        value = getattr(value, "__dict__", {}).get(attribute, value)
    return value if _module_of(value, "_SSLSocket", look) is not None else None


def _module_of(value: object, name: str, look: bool = True) -> Any:
    """
    Returns the ``_ssl`` whose class *name* is the layout of *value*, or None.

    isinstance() would trust the ``__class__`` of *value*.
    """
    global _seen_module
    kind, seen = type(value), _seen_module
    if issubclass(kind, getattr(seen, name, ())):
        return seen
    imported = sys.modules.get("_ssl") if look else None
    if not issubclass(kind, getattr(imported, name, ())):
        return None
    _seen_module = imported
    return imported


def _fields(value: object) -> Pointer[Pointer[void]]:
    """Returns the memory of *value* after its header, as an array of pointers."""
    return ffi.cast("void **", id(value) + _HEADER)


def _address(pointer: Pointer[void]) -> int:
    return int(ffi.cast("uintptr_t", pointer))
