"""Putting all of pyOpenSSL on the system's libssl."""

from __future__ import annotations

import importlib
import sys
import threading
import types
from typing import Any

from openssl_tickets.adapters import pyopenssl

_lock = threading.RLock()


def use_system_openssl() -> None:
    """
    Makes pyOpenSSL run on the system's libssl, in the whole process.

    pyOpenSSL from the package index brings an OpenSSL of its own, inside cryptography's wheel;
    its contexts mean nothing to the system's libssl, which this package is linked to. Call this
    before anything imports ``OpenSSL``, or let ``from openssl_tickets import SSL`` do it.

    It does nothing where pyOpenSSL is on the same libssl already, as from Linux distributions.
    cryptography itself stays on its own OpenSSL: pyOpenSSL and cryptography exchange keys and
    certificates as DER, so the two live side by side.

    Raises:
        ImportError: pyOpenSSL is not installed.
        LibraryMismatchError: ``OpenSSL`` has been imported before, on another libssl. It is too
            late then; the message says what to do.

    Example::

        import openssl_tickets

        openssl_tickets.use_system_openssl()

        from OpenSSL import SSL
    """
    with _lock:
        if "OpenSSL._util" not in sys.modules and "OpenSSL.SSL" not in sys.modules:
            _import_pyopenssl()
        pyopenssl.prove_same_libssl()


def _import_pyopenssl() -> None:
    # pyOpenSSL takes what this class offers when it is imported, and never looks again.
    binding: Any = importlib.import_module("cryptography.hazmat.bindings.openssl.binding")
    if pyopenssl.is_our_libssl(binding.Binding().lib):
        importlib.import_module("OpenSSL")
        return
    # cryptography's own users of the class first: they are to keep cryptography's OpenSSL.
    importlib.import_module("cryptography.hazmat.backends.openssl.backend")
    original = binding.Binding
    binding.Binding = _SystemBinding
    try:
        importlib.import_module("OpenSSL")
    finally:
        binding.Binding = original


class _SystemBinding:
    """Stands in for cryptography's ``Binding`` while pyOpenSSL is imported."""

    lib: types.ModuleType
    ffi: Any

    def __init__(self) -> None:
        from openssl_tickets import _pyopenssl

        type(self).ffi = _pyopenssl.ffi
        type(self).lib = _as_module(_pyopenssl.lib)

    @classmethod
    def init_static_locks(cls) -> None:
        """OpenSSL needs no locks from its user any more; old pyOpenSSL still asks."""


# What an OpenSSL may lack, under the switch that tells pyOpenSSL so.
_CONDITIONAL_NAMES = {
    "Cryptography_HAS_SSL_GET0_GROUP_NAME": ["SSL_get0_group_name"],
    "Cryptography_HAS_UNEXPECTED_EOF_WHILE_READING": ["SSL_R_UNEXPECTED_EOF_WHILE_READING"],
}


def _as_module(lib: Any) -> types.ModuleType:
    """Returns a module with the attributes of *lib*, which users of pyOpenSSL may replace."""
    module = types.ModuleType("openssl_tickets._pyopenssl.lib")
    missing = {
        name
        for switch, names in _CONDITIONAL_NAMES.items()
        if not getattr(lib, switch)
        for name in names
    }
    for name in dir(lib):
        if name not in missing:
            setattr(module, name, getattr(lib, name))
    module._original_lib = lib  # type: ignore[attr-defined]
    return module
