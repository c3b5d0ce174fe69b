"""
The main interpreter only: libssl's callbacks find no other.

C code enters Python by the thread that it is on, and the thread does not say which of several
interpreters the context is of whose callbacks are to run. So a sub-interpreter is refused as this
package is imported, before there is a context whose callbacks would run in the wrong one, or fail.
CPython 3.12 and newer refuse the compiled module itself, and cffi's own, in an interpreter with a
GIL of its own.
"""

from __future__ import annotations

import builtins
import contextlib
import re
import sys

# Nobody has run the tests on one: their limited API (abi3t) begins with CPython 3.15.
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

# Its import system takes the compiled module for one of its own, with other objects in it.
if "t" in sys.abiflags:
    raise ImportError(FREE_THREADED, name="openssl_tickets")

# glibc loads one library for each soname. So the one that ssl uses is loaded first: the system's
# would come too early for an _ssl with a private libssl.so.3 of its own.
with contextlib.suppress(ImportError):
    import _ssl  # noqa: F401

try:
    from openssl_tickets._native._libssl import lib
except ImportError as error:
    if re.search(r"lib(ssl|crypto)\.(so|\d)|OPENSSL_3", str(error)):
        raise ImportError(NO_LIBSSL.format(error=error), name="openssl_tickets") from error
    if "subinterpreters" not in str(error):
        raise
    raise ImportError(REFUSED, name="openssl_tickets") from error

# cffi makes each function when it is first asked for, and two threads may ask at once.
for _name in dir(lib):
    getattr(lib, _name)

# In CPython an object's id is its address.
if not lib.openssl_tickets_enters(id(vars(builtins))):
    raise ImportError(REFUSED, name="openssl_tickets")
