"""
How many instructions a resumption takes, counted by callgrind.

Each kind runs in a process of its own. Unlike a time, the count hardly depends on the machine's
other work, but it does not show the effect of caches.

``python benchmarks/instructions.py --record`` writes ``instructions.json`` anew, for this CPython
and this OpenSSL: what the callbacks of this package take, as multiples of what bare ones on cffi
take. A test compares.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

# The checkout comes last, because its package may not be built.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.handshakes import CALLBACKS
from benchmarks.libraries import LIBRARIES, Certificates, make_certificates
from benchmarks.limits import bare_callbacks, empty_callbacks
from benchmarks.measure import table
from benchmarks.ticket_keys import ALL, set_all
from openssl_tickets import OPENSSL_VERSION, TicketKey, TicketKeys

RECORDED = Path(__file__).with_name("instructions.json")
PLATFORM = "CPython {}.{}, OpenSSL {}".format(
    *sys.version_info[:2], ".".join(OPENSSL_VERSION.split()[1].split(".")[:2])
)

FEW = 20
TIMES = 100  # resumptions of which the callbacks alone are counted
KEYS = TicketKeys([TicketKey.generate()])
KINDS = {
    "none": CALLBACKS["none"],
    "C": CALLBACKS["C"],
    "empty": empty_callbacks,
    "bare": bare_callbacks,
    "Python": CALLBACKS["Python"],
    f"none; {ALL}": lambda context: set_all(context, KEYS),
}
# The C functions that libssl calls: what runs in them is what the callbacks cost.
FUNCTIONS = {
    "empty": ("generate_empty", "decrypt_empty"),
    "bare": ("generate_bare", "decrypt_bare"),
    "Python": ("generate_ticket", "decrypt_ticket"),
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
            one = of_one(library, callbacks, server, many)
            base = base or one
            within = of_callbacks(library, callbacks, server) if callbacks in FUNCTIONS else None
            rows.append(
                [
                    *(library, callbacks, f"{one / 1e6:.3f}", f"{one / base:.4f}"),
                    f"{within / 1e3:.1f}" if within is not None else "",
                ]
            )
    yield (
        "## Instructions\n\n"
        f"The instructions of one TLS 1.3 resumption (ECDSA), both sides, counted by callgrind: "
        f"the mean of {many - FEW}. If the time grows more than the instructions, the rest is "
        "cache misses: the handshake's cryptography pushes Python's code out of the processor's "
        "caches.\n\n"
        + table(
            (
                *("library", "callbacks", "million instructions", "against none"),
                "thousand within the callbacks",
            ),
            rows,
        )
    )


def of_callbacks(library: str, callbacks: str, server: Path) -> float:
    """Returns how many instructions the callbacks of one resumption take."""
    return count(library, callbacks, TIMES, server, FUNCTIONS[callbacks]) / TIMES


def of_one(library: str, callbacks: str, server: Path, many: int) -> float:
    """Returns how many instructions one resumption takes."""
    few, all_ = (count(library, callbacks, times, server) for times in (FEW, many))
    return (all_ - few) / (many - FEW)


def count(
    library: str, callbacks: str, times: int, server: Path, functions: Iterable[str] = ()
) -> int:
    """Returns callgrind's count for a process that makes *times* resumptions."""
    process = subprocess.run(
        [
            *("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"),
            *(f"--toggle-collect={function}" for function in functions),
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


def record() -> None:
    """Adds the figures of this platform to those that are recorded."""
    figures = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        server = make_certificates(Path(folder)).server
        figures[PLATFORM] = {
            library: round(against_bare(library, server), 3) for library in LIBRARIES
        }
    RECORDED.write_text(json.dumps(figures, indent=4, sort_keys=True) + "\n")


def against_bare(library: str, server: Path) -> float:
    """Returns what our callbacks take, as a multiple of what bare ones on cffi take."""
    ours, bare = (of_callbacks(library, callbacks, server) for callbacks in ("Python", "bare"))
    return ours / bare


if __name__ == "__main__" and sys.argv[1:] == ["--record"]:
    record()
elif __name__ == "__main__":
    resume(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
