"""Finds the blocks of code in the documentation's pages."""

from __future__ import annotations

import re
import textwrap
from typing import NamedTuple


class Block(NamedTuple):
    """A fenced block: its name (or None), its language, and its lines."""

    name: str | None
    language: str
    source: str


_FENCE = re.compile(
    r"(?:^ *<!-- example: (?P<name>[\w-]+) -->\n)?"
    r"^(?P<indent> *)(?P<fence>`{3,}|~{3,}|:{3,})(?P<language>[^\n]*)\n"
    r"(?P<source>.*?)^(?P=indent)(?P=fence)$",
    re.DOTALL | re.MULTILINE,
)


def blocks_of(text: str) -> list[Block]:
    return [
        Block(found["name"], found["language"].strip(), textwrap.dedent(found["source"]))
        for found in _FENCE.finditer(text)
    ]
