"""
Runs the benchmarks, and writes a page with their results and a chart.

Run it with ``tox run -e bench``. The results are ratios within one run. ``--scale 0.02`` takes a
minute, to check that everything works.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path

# The checkout comes last, because its package may not be built.
sys.path.append(str(Path(__file__).resolve().parent.parent))

import openssl_tickets
from benchmarks import (
    callbacks,
    chart,
    clients,
    drop_in,
    handshakes,
    imports,
    instructions,
    memory,
    threads,
    ticket_keys,
)

PARTS = {
    "handshakes": handshakes,
    "callbacks": callbacks,
    "clients": clients,
    "keys": ticket_keys,
    "threads": threads,
    "drop_in": drop_in,
    "memory": memory,
    "imports": imports,
    "instructions": instructions,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of rounds")
    parser.add_argument("--part", choices=PARTS, action="append", help="all by default")
    parser.add_argument(
        "--write", type=Path, metavar="FOLDER", help="where benchmarks.md and its chart go"
    )
    options = parser.parse_args()

    import OpenSSL

    sections = [
        "# Benchmarks\n\n"
        "`tox run -e bench` wrote this page in one run. The machine was shared, so look at the "
        "ratios and their quartiles, and not at absolute rates.\n\n"
        f"{openssl_tickets.OPENSSL_VERSION}; {platform.python_implementation()} "
        f"{platform.python_version()}; pyOpenSSL {OpenSSL.__version__}; "
        f"{platform.system()} {platform.machine()}."
    ]
    print(sections[0], flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.part or PARTS:
            for section in PARTS[name].report(Path(folder), options.scale):
                print(f"\n{section}", flush=True)
                sections.append(section)
    if options.write is not None:
        options.write.mkdir(parents=True, exist_ok=True)
        has_chart = any(section.startswith(chart.TABLE) for section in sections)
        if has_chart:
            sections.insert(1, chart.EMBEDDED)
        (options.write / "benchmarks.md").write_text("\n\n".join(sections) + "\n")
        if has_chart:
            chart.draw(options.write)


if __name__ == "__main__":
    main()
