"""The page with the figures: each command writes its own part of it."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evidence" / "hostile_input.md"

_START = """# Hostile input

What was sent to servers with this package, and how it ended: `python tests/hostile --write` and
`python tests/fuzz/run.py --write` write the two parts below. Nothing was resumed that should not
be, and no case ended in a crash or a hang.

What is good to know of libssl there:

- A ticket that is not the server's own costs the client a full handshake, and no alert. `decrypt`
  is asked with NO_DECRYPT, and `key_name` is the first 16 bytes of whatever came.
- A genuine ticket is no proof of who offers it: `decrypt` is asked ahead of the proof, which is the
  binder in TLS 1.3 and the Finished message in TLS 1.2. Whoever has not the secret gets no further.
  So what a policy notes down in `decrypt`, that a ticket has been used say, a thief of tickets can
  bring about.
- A genuine ticket is resumed as often as it comes, where the policy does not say otherwise.
  `single_use` in `tests/hostile/servers.py` is such a policy.
- A ticket of the other version of TLS is shown to `decrypt` with SUCCESS or SUCCESS_RENEW, and is
  not resumed. A good ticket behind it is not looked at.
- Of several tickets in a hello `decrypt` is asked about each until it takes one: with tickets of a
  single byte more than a thousand times for one hello.
- Random bytes in the place of a first record get no alert: the other side does not speak TLS.
"""


def write(part: str, text: str) -> None:
    """Puts *text* in the place of the *part* of that name, or behind what there is."""
    page = PAGE.read_text() if PAGE.exists() else _START
    marked = f"<!-- {part} -->\n{text.strip()}\n<!-- /{part} -->\n"
    found = re.search(f"<!-- {part} -->\n.*?<!-- /{part} -->\n", page, re.DOTALL)
    start, end = (page[: found.start()], page[found.end() :]) if found else (page + "\n", "")
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(start + marked + end)
