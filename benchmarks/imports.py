"""
What do the imports cost?

``import openssl_tickets`` beyond cffi's backend, and ``use_system_openssl()`` against a plain
``import OpenSSL``, each in a new interpreter. Run it with ``tox run -e bench``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import measure, ratios, spread

BACKEND = "import openssl_tickets, beyond cffi's backend"
PLAIN = "import OpenSSL"
PUT = "use_system_openssl()"
BOTH = "import openssl_tickets and use_system_openssl()"

# What comes first and is not measured, and what is measured.
PROGRAMS = {
    BACKEND: ("import _cffi_backend", "import openssl_tickets"),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds

    programs = {name: partial(seconds, *program) for name, program in PROGRAMS.items()}
    measure(programs, 1)  # writes the byte code, and fills the system's caches
    times = measure(programs, rounds)
    print(f"{rounds} rounds; milliseconds, and the ratio in the same round: median (quartiles)\n")
    for name, values in times.items():
        print(f"{name:50} {spread([1000 * value for value in values], '.1f')} ms")
    for name in (PUT, BOTH):
        print(f"{name + ' / ' + PLAIN:64} {spread(ratios(times[name], times[PLAIN]), '.3f')}")


if __name__ == "__main__":
    main()
