"""The table of file formats, and how each is encoded and decoded."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

from openssl_tickets._core.ticket_keys import TicketKey

TicketKeyFormat = Literal["nginx", "haproxy", "apache", "envoy"]
"""The names of the formats."""

_NAME_LEN = 16  # bytes
_MAX_LINES_SIZE = 1 << 20  # bytes; HAProxy's file, if it grows by one line an hour for a year


class Layout(NamedTuple):
    """What follows the key's name: two secrets of *secret_len* bytes each."""

    secret_len: int
    aes_first: bool

    @property
    def size(self) -> int:
        return _NAME_LEN + 2 * self.secret_len

    @property
    def aes(self) -> int:
        return 8 * self.secret_len

    def decode(self, data: bytes) -> TicketKey:
        middle = _NAME_LEN + self.secret_len
        first, second = data[_NAME_LEN:middle], data[middle:]
        hmac_key, aes_key = (second, first) if self.aes_first else (first, second)
        return TicketKey(data[:_NAME_LEN], hmac_key, aes_key)

    def encode(self, key: TicketKey) -> bytes:
        if self.aes_first:
            return key.name + key.aes_key + key.hmac_key
        return key.name + key.hmac_key + key.aes_key


class Format(NamedTuple):
    """The file format of one program."""

    program: str
    layouts: tuple[Layout, ...]
    """The largest first, because a smaller file could be the beginning of a larger one."""
    roles: tuple[str, ...] = ("encrypts",)
    """What each key of a file does, in the order in which they are loaded."""
    has_sets: bool = False
    """Each file has one key. Older keys are in FILE.1, FILE.2, and so on."""
    has_lines: bool = False
    """Each line has one key, in base64. Only HAProxy's file is like this."""

    @property
    def max_size(self) -> int:
        return _MAX_LINES_SIZE if self.has_lines else self.layouts[0].size

    def layout(self, aes: int | None) -> Layout:
        """Returns the layout for keys of *aes* bits. If *aes* is None, returns the largest."""
        for layout in self.layouts:
            if aes in (None, layout.aes):
                return layout
        sizes = " or ".join(f"AES-{layout.aes}" for layout in self.layouts)
        raise ValueError(f"{self.program} takes keys for {sizes}, not for AES-{aes}")

    def decode(self, data: bytes, size: int, aes: int | None, where: str) -> list[TicketKey]:
        """Returns the keys in *data*, the beginning of a file of *size* bytes."""
        if self.has_lines:
            return self._decode_lines(data, size, aes, where)
        expected = self.layout(aes)
        if size == expected.size:
            return [expected.decode(data)]
        if aes is None and size in {layout.size for layout in self.layouts}:
            raise ValueError(
                f"{where} has {size} bytes: it is a key for AES-128, or a part of one for AES-256 "
                f"that is being written. If all your keys are for AES-128, say so with aes=128 "
                f"(in Python) or --aes 128"
            )
        raise self._wrong_size(where, self.layouts if aes is None else (expected,), size)

    def _decode_lines(self, data: bytes, size: int, aes: int | None, where: str) -> list[TicketKey]:
        """Reads lines as HAProxy does: the last three count, and all must have the same size."""
        if size > _MAX_LINES_SIZE:
            raise ValueError(
                f"{where} is not a ticket key file for {self.program}: it has {size} bytes"
            )
        layouts = self.layouts if aes is None else (self.layout(aes),)
        keys: list[TicketKey] = []
        for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], 1):
            here = f"line {number} of {where}"
            try:
                decoded = base64.b64decode(line.removesuffix(b"\r"), validate=True)
            except binascii.Error:
                raise ValueError(f"{here} is not base64") from None
            for layout in layouts:
                if layout.size == len(decoded):
                    keys.append(layout.decode(decoded))
                    break
            else:
                raise self._wrong_size(here, layouts, len(decoded))
            if len(keys[-1].aes_key) != len(keys[0].aes_key):
                raise ValueError(
                    f"{here} is not of the size of line 1, and {self.program} wants one size"
                )
        wanted = len(self.roles)
        if len(keys) < wanted:
            found = f"{len(keys)} key{'' if len(keys) == 1 else 's'}"
            raise ValueError(
                f"{where} has {found}, and {self.program} wants {wanted}, one per line"
            )
        return [*keys[1 - wanted :], keys[-wanted]]

    def _wrong_size(self, where: str, layouts: tuple[Layout, ...], size: int) -> ValueError:
        sizes = " or ".join(str(layout.size) for layout in layouts)
        return ValueError(
            f"{where} is not a ticket key for {self.program}: {sizes} bytes, not {size}"
        )


_AES256, _AES128 = 32, 16  # bytes of each secret

FORMATS: dict[str, Format] = {
    "nginx": Format("nginx", (Layout(_AES256, False), Layout(_AES128, True)), has_sets=True),
    "haproxy": Format(
        "HAProxy",
        (Layout(_AES256, True), Layout(_AES128, True)),
        # As many as HAProxy knows at a time: its TLS_TICKETS_NO.
        ("encrypts", "encrypts next", "decrypts"),
        has_lines=True,
    ),
    "apache": Format("Apache", (Layout(_AES128, False),)),
    "envoy": Format("Envoy", (Layout(_AES256, False),), has_sets=True),
}
assert tuple(FORMATS) == get_args(TicketKeyFormat)


def find_format(name: str) -> Format:
    """Returns the format with this *name*."""
    if not isinstance(name, str):
        raise TypeError(f"format must be a str, not {type(name).__name__}")
    if name not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(map(repr, FORMATS))}, not {name!r}")
    return FORMATS[name]


def encode_ticket_keys(format: TicketKeyFormat, keys: Iterable[TicketKey]) -> bytes:
    """
    Returns the contents of one of a program's files, as bytes.

    Args:
        format: ``"nginx"``, ``"haproxy"``, ``"apache"`` or ``"envoy"``.
        keys: an iterable of the file's :class:`~openssl_tickets.TicketKey` objects. HAProxy has
            three, all for AES-256 or all for AES-128: the one that encrypts, the next, and the
            previous. This is the order of the keys of :meth:`openssl_tickets.TicketKeys.derived`.
            The others have one.

    Raises:
        TypeError: a key is not a :class:`~openssl_tickets.TicketKey`, or *format* is not a str.
        ValueError: there is no such format, or the program does not take this number of keys or
            keys of this size.

    Example::

        encode_ticket_keys("nginx", [TicketKey.generate()])
    """
    chosen = find_format(format)
    encoded = []
    for key in keys:
        if not isinstance(key, TicketKey):
            raise TypeError(f"a key must be a TicketKey, not {type(key).__name__}")
        encoded.append(chosen.layout(8 * len(key.aes_key)).encode(key))
    wanted = len(chosen.roles)
    if len(encoded) != wanted:
        raise ValueError(
            f"{chosen.program} wants {wanted} key{'' if wanted == 1 else 's'} in a file, not "
            f"{len(encoded)}"
        )
    if not chosen.has_lines:
        return encoded[0]
    if len({len(line) for line in encoded}) > 1:
        raise ValueError(
            f"{chosen.program} wants keys of one size: all for AES-256, or all for AES-128"
        )
    return b"".join(base64.b64encode(line) + b"\n" for line in (encoded[-1], *encoded[:-1]))
