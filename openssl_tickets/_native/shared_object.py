"""Finds the file of a loaded library. Nothing here follows a pointer."""

from __future__ import annotations

import os

from openssl_tickets._native import _libssl
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openssl_tickets._native._libssl import Pointer, char, void


def file_of(address: Any) -> str | None:
    """Returns the loaded file that holds *address*, a pointer of any ffi; None if there is none."""
    return _text(lib.openssl_tickets_file_of(ffi.cast("void *", address)))


def libssl_of(file: str) -> str | None:
    """
    Returns the file of the libssl that the loaded shared object *file* calls.

    It is None if *file* is not loaded, or if it contains a libssl whose symbols are hidden.
    """
    symbol = symbol_of(file, "SSL_CTX_new")
    return file_of(symbol) if symbol is not None else None


def symbol_of(file: str, symbol: str) -> Pointer[void] | None:
    """
    Returns the address that *symbol* has for the loaded shared object *file*.

    It is None if *file* is not loaded, or if neither it nor a library that it is linked to has
    *symbol*.
    """
    return lib.openssl_tickets_symbol_of(os.fsencode(file), symbol.encode()) or None


def our_libssl() -> str | None:
    """Returns the file of the libssl that this package calls."""
    return libssl_of(_libssl.__file__)


def _text(string: Pointer[char]) -> str | None:
    return os.fsdecode(ffi.string(string)) if string else None
