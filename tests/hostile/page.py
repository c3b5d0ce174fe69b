"""The page with the figures. Each command writes its own part."""

# ruff: noqa: E501 (the lines of the page)

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evidence" / "hostile_input.md"

_START = """# Hostile input

These tests send hostile input to servers that use this package. `python tests/hostile --write` and
`python tests/fuzz/run.py --write` write the two parts below. No ticket was resumed that should not be, and
no case crashed or hung.

What we learned about libssl:

- **A forged or foreign ticket costs the client a full handshake**, and no alert. `decrypt` gets NO_DECRYPT, and
  `key_name` is the first 16 bytes of the ticket.
- **A genuine ticket does not prove who offers it.** libssl calls `decrypt` before it checks the proof: the
  binder in TLS 1.3, the Finished message in TLS 1.2. A thief without the secret gets no further. But if your
  `decrypt` records that a ticket was used, a thief can cause such a record.
- **A genuine ticket is resumed each time it comes**, unless your policy refuses it. `single_use` in
  `tests/hostile/servers.py` is such a policy.
- **A ticket of the other TLS version** reaches `decrypt` with SUCCESS or SUCCESS_RENEW, and is not resumed.
  libssl does not look at a good ticket that comes after it in the same hello.
- **If a hello has several tickets**, libssl calls `decrypt` for each until one is accepted. With tickets of one
  byte, that is more than a thousand calls for one hello.
- **If the first record is random bytes**, the server sends no alert, because the other side does not speak TLS.
"""


def write(part: str, text: str) -> None:
    """Replaces the *part* of the page with *text*, or adds it at the end."""
    page = PAGE.read_text() if PAGE.exists() else _START
    marked = f"<!-- {part} -->\n{text.strip()}\n<!-- /{part} -->\n"
    found = re.search(f"<!-- {part} -->\n.*?<!-- /{part} -->\n", page, re.DOTALL)
    start, end = (page[: found.start()], page[found.end() :]) if found else (page + "\n", "")
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(start + marked + end)
