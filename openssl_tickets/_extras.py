"""Helpful errors for missing extras."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def needs_extra(extra: str, *modules: str) -> Iterator[None]:
    """
    A context for imports that need an *extra* of this package.

    Raises:
        ModuleNotFoundError: one of the top-level *modules* is not installed. The message names the
            extra to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in modules:
            raise
        raise ModuleNotFoundError(
            f"No module named {error.name!r}: install it with "
            f"pip install 'openssl_tickets[{extra}]'",
            name=error.name,
        ) from None
