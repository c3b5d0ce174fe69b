"""
How many instructions a resumption takes, counted by callgrind.

Each kind runs in a process of its own. Unlike a time, the count hardly depends on the machine's
other work, but it does not show the effect of caches.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# The checkout comes last, because its package may not be built.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.handshakes import CALLBACKS
from benchmarks.libraries import LIBRARIES, Certificates, make_certificates
from benchmarks.limits import bare_callbacks, empty_callbacks
from benchmarks.measure import table
from benchmarks.ticket_keys import ALL, set_all
from openssl_tickets import TicketKey, TicketKeys

FEW = 20
KEYS = TicketKeys([TicketKey.generate()])
KINDS = {
    "none": CALLBACKS["none"],
    "C": CALLBACKS["C"],
    "empty": empty_callbacks,
    "bare": bare_callbacks,
    "Python": CALLBACKS["Python"],
    f"none; {ALL}": lambda context: set_all(context, KEYS),
}


def report(folder: Path, scale: float) -> Iterator[str]:
    """Yields the page's sections."""
    if shutil.which("valgrind") is None:
        yield "## Instructions\n\nNot counted: there is no valgrind."
        return
    many = FEW + max(20, round(200 * scale))
    server = make_certificates(folder).server
    rows = []
    for library in LIBRARIES:
        base = 0.0
        for callbacks in KINDS:
            few, all_ = (count(library, callbacks, times, server) for times in (FEW, many))
            one = (all_ - few) / (many - FEW)
            base = base or one
            rows.append([library, callbacks, f"{one / 1e6:.3f}", f"{one / base:.4f}"])
    yield (
        "## Instructions\n\n"
        f"The instructions of one TLS 1.3 resumption (ECDSA), both sides, counted by callgrind: "
        f"the mean of {many - FEW}. If the time grows more than the instructions, the rest is "
        "cache misses: the handshake's cryptography pushes Python's code out of the processor's "
        "caches.\n\n"
        + table(("library", "callbacks", "million instructions", "against none"), rows)
    )


def count(library: str, callbacks: str, times: int, server: Path) -> int:
    """Returns callgrind's count for a process that makes *times* resumptions."""
    process = subprocess.run(
        [
            *("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"),
            *(sys.executable, __file__, library, callbacks, str(times), str(server)),
        ],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    found = re.search(r"Collected : (\d+)", process.stderr)
    assert found is not None, process.stderr
    return int(found.group(1))


def resume(library: str, callbacks: str, times: int, server: Path) -> None:
    made = LIBRARIES[library](Certificates(server, server, None), KINDS[callbacks])
    made.seconds(made.session, times)


if __name__ == "__main__":
    resume(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
