"""Checks integers and bytes before C gets them. libssl would truncate too large integers."""

from __future__ import annotations

import operator

from openssl_tickets._typing import SupportsIndex


def checked(name: str, value: SupportsIndex, smallest: int, largest: int, unit: str = "") -> int:
    """
    Returns *value* as an ``int`` that libssl can take.

    Raises:
        TypeError: *value* is not an integer (a ``bool`` is not accepted).
        ValueError: *value* is less than *smallest* or more than *largest*.
    """
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not the bool {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name} must be an int, not {type(value).__name__}: {value!r:.80}"
        ) from None
    if number < smallest:
        raise ValueError(f"{name} must be {smallest} or more{unit}, not {number}")
    if number > largest:
        raise ValueError(f"{name} must be at most {largest}{unit}, not {number}")
    return number


def exact(value: bytes) -> bytes:
    """
    Returns *value* as ``bytes`` itself, not as one of its subclasses.

    A subclass may have its own ``__len__``. With a wrong length, C would read other memory.
    """
    return value if type(value) is bytes else memoryview(value).tobytes()
