"""Tells which libssl each library of this Python is on: ``python -m openssl_tickets doctor``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import warnings
from typing import Any, NamedTuple

from openssl_tickets._adapters import pyopenssl, stdlib
from openssl_tickets._native import shared_object
from openssl_tickets._native.errors import LibraryMismatchError
from openssl_tickets._native.library import OPENSSL_VERSION
from openssl_tickets._system_openssl.stand_in import use_system_openssl

FOR_PYOPENSSL = """\
pyOpenSSL is on another libssl than openssl_tickets, and can be put on the same. Either
  - change `from OpenSSL import SSL` to `from openssl_tickets import SSL`,
  - or call openssl_tickets.use_system_openssl() before anything imports OpenSSL,
  - or leave the program as it is, and start it with `python -m openssl_tickets run`."""

FOR_SSL = """\
The standard ssl is on another libssl than openssl_tickets, so its contexts are not for it. Use a
Python whose ssl is linked to the system's libssl, as that of the operating system is; or build
openssl_tickets against the OpenSSL that this Python uses, with OPENSSL_DIR."""


class Finding(NamedTuple):
    """What one library is on."""

    name: str
    libssl: str | None  # None: there is no such library here
    file: str | None = None
    matches: bool = False

    def __str__(self) -> str:
        if self.libssl is None:
            return f"{self.name}: not installed"
        same = "the same libssl" if self.matches else "ANOTHER libssl"
        return f"{self.name}: {self.libssl}, in {self.file or 'an unknown file'} ({same})"


def doctor() -> bool:
    """
    Prints which libssl pyOpenSSL, the standard ``ssl`` and this package use, whether they match,
    and what to do.

    Returns:
        True if pyOpenSSL, where it is installed, is on this package's libssl or can be put on it.
    """
    version = importlib.metadata.version("openssl_tickets")
    print(
        f"openssl_tickets {version}: {OPENSSL_VERSION}, in {shared_object.our_libssl()}",
        f"  on {platform.python_implementation()} {platform.python_version()}, {sys.executable}",
        sep="\n",
    )
    before = _pyopenssl()
    standard = _standard_ssl()
    print(before, standard, sep="\n")

    advice = []
    can_be_used = True
    if before.libssl is not None:
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                use_system_openssl()
        except (ImportError, AttributeError, LibraryMismatchError) as error:
            can_be_used = False
            advice.append(f"pyOpenSSL cannot be put on this libssl here: {error}")
        else:
            advice += [str(warning.message) for warning in caught]
            if not before.matches:
                advice.append(FOR_PYOPENSSL)
    if standard.libssl is not None:
        try:
            stdlib.prove_same_libssl()
        except LibraryMismatchError:
            advice.append(FOR_SSL)
        except RuntimeError as error:
            advice.append(str(error))
    print("", "\n\n".join(advice) or "Nothing is to be done.", sep="\n")
    return can_be_used


def _pyopenssl() -> Finding:
    """What pyOpenSSL is on, or would be if it were imported now."""
    try:
        name = f"pyOpenSSL {importlib.metadata.version('pyOpenSSL')}"
        name += f" with cryptography {importlib.metadata.version('cryptography')}"
        module: Any = sys.modules.get("OpenSSL._util")
        if module is None:
            from cryptography.hazmat.bindings.openssl.binding import Binding

            module = Binding()
    except ImportError:
        return Finding("pyOpenSSL", None)
    method = module.lib.TLS_method()
    return Finding(
        name,
        module.ffi.string(module.lib.OpenSSL_version(0)).decode(),
        shared_object.file_of(method),
        pyopenssl.is_our_libssl(module.lib),
    )


def _standard_ssl() -> Finding:
    try:
        import _ssl
        import ssl
    except ImportError:
        return Finding("ssl", None)
    # Without a file it is a part of the interpreter itself.
    file = getattr(_ssl, "__file__", None)
    libssl = shared_object.libssl_of(file) if file else None
    matches = libssl is not None and os.path.samefile(
        libssl, shared_object.our_libssl() or os.devnull
    )
    return Finding("ssl", ssl.OPENSSL_VERSION, libssl or file or sys.executable, matches)
