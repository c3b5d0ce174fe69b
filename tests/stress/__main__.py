"""
Runs the stress tests, each part in a process of its own, and prints their figures as Markdown.

Exits with a status that is not 0 when a bound is broken, after all parts have run.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import trustme

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

import openssl_tickets  # noqa: E402
from tests.stress import contexts, refusals, resumptions, threads  # noqa: E402
from tests.stress.outcome import Outcome  # noqa: E402
from tests.stress.page import put_section  # noqa: E402

TIMEOUT = 3600.0  # seconds, for one part; only one that hangs takes as long


class Kind(NamedTuple):
    title: str
    parts: Callable[[], list[str]]
    run: Callable[[str, int, Path], Outcome]
    number: int
    about: str


KINDS = {
    "resumptions": Kind(
        "Resumptions",
        resumptions.parts,
        resumptions.run,
        100_000,
        "Each resumption offers the ticket of the one before, and its callbacks read and write "
        "32 bytes. Growth means how much the resident memory grew after the first thousand "
        "resumptions; the limit is 1 MB. The heap is the memory that malloc has handed out, "
        "measured after a garbage collection.",
    ),
    "refusals": Kind(
        "Refusals",
        refusals.parts,
        refusals.run,
        10_000,
        "An exception ends each handshake, and `do_handshake` raises it. If `decrypt` raises "
        "it, libssl before May 2026 leaks the ticket's session. It leaks the same if a "
        "callback in C aborts, so only the difference between the two matters.",
    ),
    "contexts": Kind(
        "Contexts",
        contexts.parts,
        contexts.run,
        1_000,
        "Each context has callbacks of all three kinds, each with an object as its data, and "
        "ticket keys. It does a handshake and a resumption, and is dropped. Connections that "
        "outlive it have moved to another context. They call the first one's callbacks for one "
        "more ticket, and are dropped too.",
    ),
    "threads": Kind(
        "Threads",
        threads.parts,
        threads.run,
        2_000,
        "Eight threads do handshakes on one context, each with its own connections, while the main "
        "thread replaces callbacks and keys. generate and decrypt must each see every handshake "
        "once, with their own data and on its own thread. In four of ten handshakes they raise an "
        "exception, which the same connection must raise.",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, action="append", help="all by default")
    parser.add_argument("--part", default="", help="only those whose name has this in it")
    for name, kind in KINDS.items():
        parser.add_argument(f"--{name}", type=int, default=kind.number, metavar="NUMBER")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the figures into a page")
    options = parser.parse_args()

    failures = []
    said = [versions(), command_line(options)]
    with tempfile.TemporaryDirectory() as folder:
        server_file = make_certificate(Path(folder))
        for name in options.kind or KINDS:
            rows = []
            for part in KINDS[name].parts():
                if options.part in part:
                    outcome = run_part(name, part, getattr(options, name), server_file)
                    rows.append(outcome.row)
                    failures += [f"{name}, {part}: {failure}" for failure in outcome.failures]
                    print(f"{name}, {part}: {outcome.failures or 'good'}", file=sys.stderr)
            if rows:
                said.append(section(KINDS[name], rows))
    said.append("\n".join(f"- **Broken**: {each}" for each in failures) or "All limits were kept.")
    text = "\n\n".join(said) + "\n"
    print(text)
    if options.write is not None:
        put_section(options.write, "stress", text)
    return bool(failures)


def make_certificate(folder: Path) -> Path:
    issued = trustme.CA().issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    return folder / "server.pem"


def run_part(kind: str, part: str, count: int, server_file: Path) -> Outcome:
    """Runs one part in a process of its own."""
    # -I: with the installed package, and not with what is in this folder or the current one.
    source = f"import sys; sys.path.append({str(ROOT)!r}); from tests.stress import __main__ as m; "
    process = subprocess.run(
        [
            *(sys.executable, "-I", "-W", "error", "-c", source + "m.run_here(*sys.argv[1:])"),
            *(kind, part, str(count), str(server_file)),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    if process.returncode != 0 or process.stderr:
        said = process.stderr.strip().splitlines() or ["nothing"]
        print(process.stderr, file=sys.stderr)
        return Outcome({}, [f"it ended with {process.returncode}, and said: {said[-1]}"])
    told = json.loads(process.stdout)
    return Outcome(told["row"], told["failures"])


def run_here(kind: str, part: str, count: str, server_file: str) -> None:
    outcome = KINDS[kind].run(part, int(count), Path(server_file))
    print(json.dumps({"row": outcome.row, "failures": outcome.failures}))


def versions() -> str:
    import OpenSSL  # it is on the system's libssl by now

    return (
        f"{openssl_tickets.OPENSSL_VERSION}; pyOpenSSL {OpenSSL.__version__}; "
        f"{platform.python_implementation()} {platform.python_version()}; "
        f"{platform.system()} {platform.machine()}, {platform.libc_ver()[0]} "
        f"{platform.libc_ver()[1]}."
    )


def command_line(options: argparse.Namespace) -> str:
    given = [f"--kind {each}" for each in options.kind or []]
    given += [
        f"--{name} {getattr(options, name)}"
        for name, kind in KINDS.items()
        if getattr(options, name) != kind.number
    ]
    return f"Command: `{' '.join(['python tests/stress', *given])}`."


def section(kind: Kind, rows: list[dict[str, str]]) -> str:
    columns = next((list(row) for row in rows if row), [])
    lines = [columns, ["---"] * len(columns)]
    lines += [[row.get(column, "") for column in columns] for row in rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"### {kind.title}\n\n" + textwrap.fill(kind.about, 100) + f"\n\n{table}"


if __name__ == "__main__":
    sys.exit(main())
