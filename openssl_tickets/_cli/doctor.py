"""Tells which libssl each library of this Python uses: ``openssl-tickets doctor``."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from openssl_tickets._adapters import pyopenssl, stdlib
from openssl_tickets._cli.output import GREEN, RED, YELLOW, coloured
from openssl_tickets._cli.parser import parser_of
from openssl_tickets._native import shared_object
from openssl_tickets._native.errors import LibraryMismatchError
from openssl_tickets._native.library import OPENSSL_VERSION
from openssl_tickets._system_openssl.stand_in import use_system_openssl

_DESCRIPTION = """\
Prints which libssl pyOpenSSL, the standard ssl and this package use, whether
they match, and what to do."""

_EPILOG = """\
fields of --json:
  openssl_tickets, openssl, libssl (a file), python, executable, ok, and
  libraries: name, version, openssl, libssl, state, advice of pyOpenSSL and ssl
"state" is "same", "can be put on the same", "another", "broken" or "not
installed". A field is null if there is no value.

exit status: 0 if pyOpenSSL (if it is installed) and ssl use the libssl of this
package or can be put on it; 1 if one of them is broken, or cannot leave ANOTHER
libssl; 2 if the command line is wrong."""

FOR_PYOPENSSL = """\
pyOpenSSL is on another libssl than openssl_tickets, and can be put on the same. Either
  - change `from OpenSSL import SSL` to `from openssl_tickets import SSL`,
  - or call openssl_tickets.use_system_openssl() before anything imports OpenSSL,
  - or leave the program as it is, and start it with `openssl-tickets run`."""

# The states of a library, with the words and the colour of each.
_SAME, _CAN_BE_PUT, _ANOTHER = "same", "can be put on the same", "another"
_BROKEN, _NOT_INSTALLED = "broken", "not installed"
_WORDS = {
    _SAME: ("the same libssl", GREEN),
    _CAN_BE_PUT: ("its own, and can be put on the same", YELLOW),
    _ANOTHER: ("ANOTHER libssl", RED),
    _BROKEN: ("broken", RED),
}


class Finding(NamedTuple):
    """The state of one library, and the advice to the user."""

    name: str
    state: str
    version: str | None = None
    openssl: str | None = None
    libssl: str | None = None
    advice: str | None = None
    is_usable: bool = True

    def text(self) -> str:
        name = f"{self.name} {self.version}" if self.version else self.name
        if self.state == _NOT_INSTALLED:
            return f"{name}: {self.state}"
        words, colour = _WORDS[self.state]
        words = coloured(words, colour, sys.__stdout__)
        if self.state == _BROKEN:
            return f"{name}: {words}"
        return f"{name}: {self.openssl}, in {self.libssl or 'an unknown file'} ({words})"


def main(arguments: Sequence[str]) -> int:
    """Runs the command that *arguments* name, and returns the exit status."""
    parser = parser_of("doctor", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    findings = (_pyopenssl(), _standard_ssl())
    ok = all(finding.is_usable for finding in findings)
    version = importlib.metadata.version("openssl_tickets")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    if options.json:
        libraries = [finding._asdict() for finding in findings]
        for library in libraries:
            del library["is_usable"]  # "ok" sums it up
        told = {
            "openssl_tickets": version,
            "openssl": OPENSSL_VERSION,
            "libssl": shared_object.our_libssl(),
            "python": python,
            "executable": sys.executable,
            "ok": ok,
            "libraries": libraries,
        }
        print(json.dumps(told, indent=2))
        return 0 if ok else 1
    advice = [finding.advice for finding in findings if finding.advice]
    print(
        f"openssl_tickets {version}: {OPENSSL_VERSION}, in {shared_object.our_libssl()}",
        f"  on {python}, {sys.executable}",
        *(finding.text() for finding in findings),
        "",
        "\n\n".join(advice) or "There is nothing to do.",
        sep="\n",
    )
    return 0 if ok else 1


def _pyopenssl() -> Finding:
    """Returns which libssl pyOpenSSL uses, or would use if it were imported now."""
    try:
        version = importlib.metadata.version("pyOpenSSL")
    except importlib.metadata.PackageNotFoundError:
        return Finding("pyOpenSSL", _NOT_INSTALLED)
    try:
        version += f" with cryptography {importlib.metadata.version('cryptography')}"
        module: Any = sys.modules.get("OpenSSL._util")
        if module is None:
            from cryptography.hazmat.bindings.openssl.binding import Binding

            module = Binding()
    except Exception as error:
        return _broken(version, error)
    matches = pyopenssl.is_our_libssl(module.lib)
    openssl = module.ffi.string(module.lib.OpenSSL_version(0)).decode()
    file = shared_object.file_of(module.lib.TLS_method())
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            use_system_openssl()
    except LibraryMismatchError as error:
        state = _SAME if matches else _ANOTHER
        advice = f"pyOpenSSL cannot be put on this libssl here: {type(error).__name__}: {error}"
        return Finding("pyOpenSSL", state, version, openssl, file, advice, is_usable=False)
    except Exception as error:  # an import of pyOpenSSL can raise anything
        return _broken(version, error)
    remarks = [str(warning.message) for warning in caught]
    if not matches:
        remarks.append(FOR_PYOPENSSL)
    state = _SAME if matches else _CAN_BE_PUT
    return Finding("pyOpenSSL", state, version, openssl, file, "\n\n".join(remarks) or None)


def _broken(version: str, error: Exception) -> Finding:
    return Finding(
        "pyOpenSSL",
        _BROKEN,
        version,
        advice="pyOpenSSL is installed, but it or its cryptography cannot be imported: "
        f"{type(error).__name__}: {error}\n"
        "Install both anew: pip install --force-reinstall pyOpenSSL cryptography",
        is_usable=False,
    )


def _standard_ssl() -> Finding:
    try:
        import _ssl
        import ssl
    except ModuleNotFoundError:
        return Finding("ssl", _NOT_INSTALLED)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        advice = f"The standard ssl cannot be imported: {what}"
        return Finding("ssl", _BROKEN, advice=advice, is_usable=False)
    # Without a file, _ssl is built into the interpreter.
    file = getattr(_ssl, "__file__", None)
    libssl = shared_object.libssl_of(file) if file else None
    ours = shared_object.our_libssl()
    matches = bool(libssl and ours and os.path.samefile(libssl, ours))
    found = Finding(
        "ssl",
        _SAME if matches else _ANOTHER,
        openssl=ssl.OPENSSL_VERSION,
        libssl=libssl or file or sys.executable,
    )
    try:
        stdlib.prove_same_libssl()
    except RuntimeError as error:  # a LibraryMismatchError too
        return found._replace(advice=str(error), is_usable=False)
    return found
