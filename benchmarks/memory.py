"""
How much memory a connection takes.

Each kind runs in processes of its own, which keep the server's side of many resumed connections.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

# The checkout comes last, because its package may not be built.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks import in_c
from benchmarks.handshakes import CALLBACKS
from benchmarks.libraries import ON_LIBSSL, Certificates, make_certificates
from benchmarks.measure import table


def report(folder: Path, scale: float) -> Iterator[str]:
    """Yields the page's sections."""
    number, repeats = max(100, round(1000 * scale)), max(2, round(5 * scale))
    server = make_certificates(folder).server
    rows: list[list[str]] = []
    base = 0.0
    for name in ON_LIBSSL:
        for callbacks in CALLBACKS:
            if name == "plain C" and callbacks == "Python":
                continue
            command = [sys.executable, __file__, name, callbacks, str(number), str(server)]
            values = [
                float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
                / 1024
                for _ in range(repeats)
            ]
            median = statistics.median(values)
            base = base or median
            spread = f"{median:.1f} ({min(values):.1f} to {max(values):.1f})"
            rows.append([name, callbacks, spread, f"{median / base:.2f}"])
    yield (
        "## Memory\n\n"
        f"How much a process grows for each of {number} resumed connections, counting the server's "
        f"side with its buffers: median (lowest to highest) of {repeats} processes. `ssl` lets "
        "libssl free the buffers of an idle connection (`SSL_MODE_RELEASE_BUFFERS`).\n\n"
        + table(("library", "callbacks", "KiB", "against plain C"), rows)
    )


def bytes_per_connection(name: str, callbacks: str, number: int, server: Path) -> float:
    made = ON_LIBSSL[name](Certificates(server, server, None), CALLBACKS[callbacks])
    kept: list[Any] = []

    def hold(times: int) -> None:
        if name == "plain C":
            contexts = made.server_context, made.client_context
            assert in_c.benchmark().lib.hold(*contexts, made.session, times)
        else:
            kept.extend(made.handshake(made.session)[1] for _ in range(times))

    hold(100)
    process = psutil.Process()
    before = process.memory_info().rss
    hold(number)
    return float(process.memory_info().rss - before) / number


if __name__ == "__main__":
    print(bytes_per_connection(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])))
