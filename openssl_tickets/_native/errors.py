"""The exceptions of this package, and the error queue that libssl leaves behind a failed call."""

from __future__ import annotations

from typing import NoReturn

from openssl_tickets._native._libssl import ffi, lib


class Error(Exception):
    """
    A call to libssl failed.

    Attributes:
        errors: OpenSSL's own error queue at that time, oldest first, as ``(library, reason)``
            pairs of ``str``. It is empty where libssl gave no reason.
    """

    def __init__(self, message: str, errors: list[tuple[str, str]] | None = None) -> None:
        self.errors = list(errors or [])
        details = "; ".join(f"{library}: {reason}" for library, reason in self.errors)
        super().__init__(f"{message} ({details})" if details else message)


class LibraryMismatchError(RuntimeError):
    """
    An object belongs to another loaded OpenSSL than the one this package is linked to.

    Nothing was done: handing the object on would read and write memory at the wrong places. The
    message names both libraries and tells what to do.
    """


def drain_error_queue() -> list[tuple[str, str]]:
    """Empties the calling thread's error queue and returns what was in it, oldest first."""
    errors = []
    while code := lib.ERR_get_error():
        library = lib.ERR_lib_error_string(code)
        reason = lib.ERR_reason_error_string(code)
        errors.append(
            (
                ffi.string(library).decode() if library else "unknown library",
                ffi.string(reason).decode() if reason else f"error code {code:#x}",
            )
        )
    return errors


def raise_error(message: str) -> NoReturn:
    """Raises :class:`Error` with *message* and all that the error queue holds, and empties it."""
    raise Error(message, drain_error_queue())
