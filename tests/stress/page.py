"""Pages with figures: each command replaces its own section, between two comments."""

from __future__ import annotations

import re
from pathlib import Path


def put_section(page: Path, name: str, text: str) -> None:
    """
    Puts *text* into the section *name* of *page*.

    Raises:
        ValueError: the page has no such section.
    """
    before = page.read_text()
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    after, replaced = re.subn(pattern, lambda _: begin + text + end, before, flags=re.DOTALL)
    if replaced != 1:
        raise ValueError(f"{page} has {replaced} sections {name}")
    page.write_text(after)
