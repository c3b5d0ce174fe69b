"""Tells which libssl each library of this Python is on: ``python -m openssl_tickets doctor``."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from openssl_tickets._adapters import pyopenssl, stdlib
from openssl_tickets._native import shared_object
from openssl_tickets._native.errors import LibraryMismatchError
from openssl_tickets._native.library import OPENSSL_VERSION
from openssl_tickets._system_openssl.stand_in import use_system_openssl

_EPILOG = """\
exit status: 0 if pyOpenSSL and ssl, as far as they are installed, are on the libssl of this package
or can be put on it; 1 if one of them is broken, or is on ANOTHER libssl for good."""

FOR_PYOPENSSL = """\
pyOpenSSL is on another libssl than openssl_tickets, and can be put on the same. Either
  - change `from OpenSSL import SSL` to `from openssl_tickets import SSL`,
  - or call openssl_tickets.use_system_openssl() before anything imports OpenSSL,
  - or leave the program as it is, and start it with `python -m openssl_tickets run`."""

_SAME, _ANOTHER = "the same libssl", "ANOTHER libssl"
_CAN_BE_PUT = "its own, and can be put on the same"


class Finding(NamedTuple):
    """What was found of one library, and what is to be done about it."""

    text: str
    advice: str | None = None
    is_usable: bool = True


def main(arguments: Sequence[str]) -> int:
    """Runs the command that *arguments* name, and returns the exit status."""
    argparse.ArgumentParser(
        prog="python -m openssl_tickets doctor",
        description="Prints which libssl pyOpenSSL, the standard ssl and this package use, whether "
        "they match, and what to do.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(arguments)
    version = importlib.metadata.version("openssl_tickets")
    findings = (_pyopenssl(), _standard_ssl())
    advice = [finding.advice for finding in findings if finding.advice]
    print(
        f"openssl_tickets {version}: {OPENSSL_VERSION}, in {shared_object.our_libssl()}",
        f"  on {platform.python_implementation()} {platform.python_version()}, {sys.executable}",
        *(finding.text for finding in findings),
        "",
        "\n\n".join(advice) or "Nothing is to be done.",
        sep="\n",
    )
    return 0 if all(finding.is_usable for finding in findings) else 1


def _pyopenssl() -> Finding:
    """What pyOpenSSL is on, or would be if it were imported now."""
    try:
        name = f"pyOpenSSL {importlib.metadata.version('pyOpenSSL')}"
    except importlib.metadata.PackageNotFoundError:
        return Finding("pyOpenSSL: not installed")
    try:
        name += f" with cryptography {importlib.metadata.version('cryptography')}"
        module: Any = sys.modules.get("OpenSSL._util")
        if module is None:
            from cryptography.hazmat.bindings.openssl.binding import Binding

            module = Binding()
    except Exception as error:
        return _broken(name, error)
    matches = pyopenssl.is_our_libssl(module.lib)
    version = module.ffi.string(module.lib.OpenSSL_version(0)).decode()
    file = shared_object.file_of(module.lib.TLS_method())
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            use_system_openssl()
    except LibraryMismatchError as error:
        text = _told(name, version, file, _SAME if matches else _ANOTHER)
        advice = f"pyOpenSSL cannot be put on this libssl here: {type(error).__name__}: {error}"
        return Finding(text, advice, is_usable=False)
    except Exception as error:  # what an import of pyOpenSSL raises can be anything
        return _broken(name, error)
    remarks = [str(warning.message) for warning in caught]
    if not matches:
        remarks.append(FOR_PYOPENSSL)
    text = _told(name, version, file, _SAME if matches else _CAN_BE_PUT)
    return Finding(text, "\n\n".join(remarks) or None)


def _broken(name: str, error: Exception) -> Finding:
    return Finding(
        f"{name}: broken",
        "pyOpenSSL is installed, but it or its cryptography cannot be imported: "
        f"{type(error).__name__}: {error}\n"
        "Install both anew: pip install --force-reinstall pyOpenSSL cryptography",
        is_usable=False,
    )


def _standard_ssl() -> Finding:
    try:
        import _ssl
        import ssl
    except ModuleNotFoundError:
        return Finding("ssl: not installed")
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        return Finding("ssl: broken", f"The standard ssl cannot be imported: {what}", False)
    # Without a file it is a part of the interpreter itself.
    file = getattr(_ssl, "__file__", None)
    libssl = shared_object.libssl_of(file) if file else None
    ours = shared_object.our_libssl()
    matches = bool(libssl and ours and os.path.samefile(libssl, ours))
    text = _told(
        "ssl", ssl.OPENSSL_VERSION, libssl or file or sys.executable, _SAME if matches else _ANOTHER
    )
    try:
        stdlib.prove_same_libssl()
    except RuntimeError as error:  # of which LibraryMismatchError is one
        return Finding(text, str(error), is_usable=False)
    return Finding(text)


def _told(name: str, version: str, file: str | None, whose: str) -> str:
    return f"{name}: {version}, in {file or 'an unknown file'} ({whose})"
