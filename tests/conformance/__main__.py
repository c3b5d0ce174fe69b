"""``python tests/conformance``: runs the table, and writes what was seen."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.conformance.report import markdown
from tests.conformance.run import run
from tests.conformance.server import make_files
from tests.conformance.table import TABLE, Table, TableError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evidence" / "conformance.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 1 where something is not as the table says."""
    parser = argparse.ArgumentParser(
        prog="python tests/conformance", description="Runs every combination of the table."
    )
    parser.add_argument("--table", type=Path, default=TABLE, help="another table to run")
    parser.add_argument(
        "--row", action="append", default=[], help="run this row only, by its name; may be repeated"
    )
    parser.add_argument(
        "--output",
        help="where to write the result, - for standard output; "
        "the page in docs/ if all rows are run, and standard output if not",
    )
    options = parser.parse_args(arguments)
    try:
        table = Table(options.table)
        with tempfile.TemporaryDirectory(prefix="openssl_tickets-conformance-") as folder:
            results = run(table, make_files(Path(folder)), options.row)
    except (TableError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    _write(markdown(results), options.output or ("-" if options.row else str(PAGE)))
    deviations = [text for seen in results for text in seen.deviations]
    for text in deviations:
        print(text, file=sys.stderr)
    combinations = sum(seen.combinations for seen in results)
    print(
        f"{len(results)} rows, {combinations} combinations, {len(deviations)} deviations",
        file=sys.stderr,
    )
    return 1 if deviations else 0


def _write(text: str, output: str) -> None:
    if output == "-":
        sys.stdout.write(text)
        return
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
