"""
What the imports cost, each in a new interpreter.

It measures ``import openssl_tickets`` without cffi's backend, and also without ``ssl``, which most
programs with TLS have imported already. It compares ``use_system_openssl()`` with
``import OpenSSL``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.measure import measure, ratios, spread, table

BACKEND = "import openssl_tickets, beyond cffi's backend"
ALONE = "import openssl_tickets, beyond the backend and ssl"
PLAIN = "import OpenSSL"
PUT = "use_system_openssl()"
BOTH = "import openssl_tickets and use_system_openssl()"

# For each name: code that runs first and is not measured, and code that is measured.
PROGRAMS = {
    BACKEND: ("import _cffi_backend", "import openssl_tickets"),
    ALONE: ("import _cffi_backend, ssl", "import openssl_tickets"),
    PLAIN: ("", "import OpenSSL"),
    PUT: ("import openssl_tickets", "openssl_tickets.use_system_openssl()"),
    BOTH: ("", "import openssl_tickets; openssl_tickets.use_system_openssl()"),
}


def seconds(before: str, measured: str) -> float:
    program = f"""
from time import perf_counter
{before}
begin = perf_counter()
{measured}
print(perf_counter() - begin)
"""
    command = [sys.executable, "-I", "-c", program]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def report(folder: Path, scale: float) -> Iterator[str]:
    """Yields the page's sections."""
    rounds = max(4, round(40 * scale))
    programs = {name: partial(seconds, *program) for name, program in PROGRAMS.items()}
    measure(programs, 1)  # writes the byte code, and fills the system's caches
    times = measure(programs, rounds)
    rows = [
        [
            name if name in (BACKEND, ALONE) else f"`{name}`",
            spread([1000 * value for value in values], ".1f"),
            spread(ratios(values, times[PLAIN]), ".3f"),
        ]
        for name, values in times.items()
    ]
    yield (
        f"## Imports\n\nMedians (quartiles) of {rounds} new interpreters.\n\n"
        + table(("what", "milliseconds", f"time against `{PLAIN}`"), rows)
    )
