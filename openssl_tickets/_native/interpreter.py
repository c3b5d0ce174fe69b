"""
Refuses every interpreter but the main one, and checks that libssl loads.

C code chooses the interpreter that it enters by its thread alone. The thread does not say which
interpreter a context belongs to. In a sub-interpreter, a callback could run in the wrong
interpreter or fail, so the import of this package is refused there. If a sub-interpreter has a GIL
of its own, CPython 3.12 and newer refuse the compiled modules of this package and of cffi.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import sys

# The tests have not been run on a free-threaded build. Its limited API (abi3t) begins with 3.15.
FREE_THREADED = (
    "openssl_tickets does not support free-threaded builds of CPython yet. Use the ordinary build"
)
REFUSED = (
    "openssl_tickets works in the main interpreter only: libssl's callbacks find no other. "
    "Use threads or processes; with mod_wsgi, set WSGIApplicationGroup %{GLOBAL}"
)
NO_LIBSSL = (
    "openssl_tickets cannot load the libssl that it was built for: {error}. The wheel uses the "
    "system's own OpenSSL 3, libssl.so.3 and libcrypto.so.3: install it (Debian, Ubuntu: libssl3 "
    "or libssl3t64, Fedora: openssl-libs, Alpine: libssl3). For another OpenSSL, build from source "
    "with its headers: pip install --no-binary openssl_tickets openssl_tickets"
)

NOT_BUILT = (
    "openssl_tickets is not built in {folder}. If that is a copy of its source, Python takes it "
    "instead of the installed package: start Python in another folder, or build the package in "
    "place with pip install --editable"
)

# A free-threaded Python would load the compiled module, although its objects have another layout.
if "t" in sys.abiflags:
    raise ImportError(FREE_THREADED, name="openssl_tickets")

# glibc loads only one library for each soname. _ssl may need a private libssl.so.3, so _ssl is
# imported first.
with contextlib.suppress(ImportError):
    import _ssl  # noqa: F401

try:
    from openssl_tickets._native._libssl import lib
except ImportError as error:
    import re  # here, because its import is slow

    if re.search(r"lib(ssl|crypto)\.(so|\d)|OPENSSL_3", str(error)):
        raise ImportError(NO_LIBSSL.format(error=error), name="openssl_tickets") from error
    if error.name == "openssl_tickets._native._libssl" and isinstance(error, ModuleNotFoundError):
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        raise ImportError(NOT_BUILT.format(folder=folder), name="openssl_tickets") from error
    if "subinterpreters" not in str(error):
        raise
    raise ImportError(REFUSED, name="openssl_tickets") from error

# cffi makes each function at its first use, and two threads could do that at the same time.
for _name in dir(lib):
    getattr(lib, _name)

# In CPython, the id of an object is its address.
if not lib.openssl_tickets_enters(id(vars(builtins))):
    raise ImportError(REFUSED, name="openssl_tickets")
