"""The exceptions of this package, and the error queue that libssl fills in a failed call."""

from __future__ import annotations

from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._typing import NoReturn


class Error(Exception):
    """
    A call to libssl failed.

    Attributes:
        errors: OpenSSL's error queue after the call, oldest first, as ``(library, reason)`` pairs
            of ``str``. It is empty if libssl gave no reason.
    """

    def __init__(self, message: str, errors: list[tuple[str, str]] | None = None) -> None:
        self.errors = list(errors or [])
        details = "; ".join(f"{library}: {reason}" for library, reason in self.errors)
        super().__init__(f"{message} ({details})" if details else message)


class LibraryMismatchError(RuntimeError):
    """
    An object belongs to a different OpenSSL than the one that this package is linked to.

    The call did nothing, because using the object would read and write the wrong memory. The
    message names both libraries and says what to do.
    """


def drain_error_queue() -> list[tuple[str, str]]:
    """
    Empties the calling thread's error queue, and returns its entries, oldest first.

    libssl: ``ERR_get_error``, ``ERR_lib_error_string``, ``ERR_reason_error_string`` (OpenSSL
    1.1.0).
    """
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
    """Raises :class:`Error` with *message* and the error queue's entries, and empties the queue."""
    raise Error(message, drain_error_queue())
