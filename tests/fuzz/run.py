"""
Builds the native part with a fuzzer and sanitizers, and lets it run.

``python tests/fuzz/run.py --seconds 1200`` gives each of the four targets of harness.c a quarter of
the time. Needed: clang with its run-time libraries (Debian: clang-14 libclang-rt-14-dev), and the
headers of OpenSSL.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# Last, since in the checkout the package is not built.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.hostile import page

FOLDER = Path(__file__).resolve().parent
PACKAGE = FOLDER.parents[1] / "openssl_tickets"
# All that is between libssl and Python; Python.h in this folder stands for that of Python.
C_FILES = (
    "_native/lock.c",
    "_core/slot.c",
    "_core/session.c",
    "_core/ticket_callback.c",
    "_core/new_session.c",
    "_core/session_stores.c",
    "_core/client_sessions.c",
    "_core/session_lifetime.c",
    "_core/ticket_keys.c",
    "_core/ticket_stats.c",
)
TARGETS = {
    "hello": "a client's stream, a hello's body, or its extensions",
    "ticket": "a ticket that a real client offers",
    "plaintext": "what is in a ticket under the ring's own key",
    "session": "a session in DER or PEM",
}
SANITIZERS = "-fsanitize=fuzzer,address,undefined"
BUILD_TIME = 300  # seconds
INPUT_TIME = 10  # seconds: whatever takes longer is a hang
LARGEST = 1 << 16  # bytes of an input
RESIDENT = 2048  # MB

Figures = dict[str, Any]


def compiler() -> str:
    """Returns clang, or ends the program with what to install."""
    names = ["clang", *(f"clang-{number}" for number in range(30, 11, -1))]
    for name in [os.environ.get("CLANG", ""), *names]:
        if name and shutil.which(name):
            return name
    sys.exit("there is no clang (Debian: apt-get install clang-14 libclang-rt-14-dev)")


def command(compiler: str, target: str, package: Path) -> list[str]:
    """Returns the command that compiles the *target*, harness and C files; flags may be added."""
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "openssl"], capture_output=True, text=True, check=True
    )
    return [
        compiler,
        *("-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-DOPENSSL_SUPPRESS_DEPRECATED"),
        *(f"-DTARGET={target.upper()}", f"-I{FOLDER}", f"-I{package / '_native'}"),
        *(str(FOLDER / "harness.c"), *(str(package / name) for name in C_FILES)),
        *shlex.split(flags.stdout),
    ]


def build(folder: Path, target: str, package: Path) -> Path:
    """Builds the *target* and returns its program."""
    program = folder / f"fuzz-{target}"
    flags = ["-g", "-O1", "-fno-omit-frame-pointer", SANITIZERS, "-fno-sanitize-recover=undefined"]
    words = [*command(compiler(), target, package), *flags, "-o", str(program)]
    subprocess.run(words, check=True, timeout=BUILD_TIME)
    return program


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "OPENSSL_TICKETS_FUZZ": str(folder), **more}


def fuzz(program: Path, target: str, folder: Path, seconds: int) -> Figures:
    """Runs one target, then its corpus once more for leaks; returns the figures."""
    corpus, artifacts = folder / f"corpus-{target}", folder / f"artifacts-{target}"
    corpus.mkdir()
    artifacts.mkdir()
    common = [
        str(program),
        f"-timeout={INPUT_TIME}",
        f"-rss_limit_mb={RESIDENT}",
        f"-artifact_prefix={artifacts}/",
    ]
    # Leaks are looked for afterwards: libssl's own caches make it a slow search after each input.
    command = [
        *common,
        *(f"-max_total_time={seconds}", f"-max_len={LARGEST}", "-detect_leaks=0"),
        *("-print_final_stats=1", str(corpus), str(folder / target)),
    ]
    run = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(folder, ASAN_OPTIONS="malloc_context_size=6:quarantine_size_mb=32"),
        timeout=seconds + 120,
        check=False,
    )
    log = run.stdout.decode(errors="replace")
    leaks = subprocess.run(
        [*common, "-runs=0", "-detect_leaks=1", str(corpus), str(folder / target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(folder),
        timeout=600,
        check=False,
    )
    log += leaks.stdout.decode(errors="replace")
    (folder / f"log-{target}").write_text(log)
    edges = re.findall(r"cov: (\d+) ft: (\d+)", run.stdout.decode(errors="replace"))
    counted = re.search(r"stat::number_of_executed_units: (\d+)", log)
    kinds = [path.name.split("-")[0] for path in artifacts.iterdir()]
    if (run.returncode or leaks.returncode) and not kinds:
        kinds = ["crash"]  # it has not come as far as to write down what it was at
    return {
        "seconds": seconds,
        "runs": int(counted[1]) if counted else 0,
        "edges": int(edges[-1][0]) if edges else 0,
        "features": int(edges[-1][1]) if edges else 0,
        "corpus": sum(1 for _ in corpus.iterdir()),
        "crashes": kinds.count("crash"),
        "hangs": kinds.count("timeout"),
        "leaks": kinds.count("leak"),
        "out of memory": kinds.count("oom"),
    }


def versions() -> str:
    """Says what was run, without a place and a date."""
    clang = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True)
    openssl = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True)
    name = re.search(r"clang version [\d.]+", clang.stdout)
    words = openssl.stdout.split()
    return f"{name[0] if name else 'clang'}, {' '.join(words[:2])}"


def table(figures: dict[str, Figures]) -> str:
    """Returns the part of the page."""
    lines = [
        "## A coverage-guided fuzzer on the native part",
        "",
        "Written by `python tests/fuzz/run.py --write`. libFuzzer with AddressSanitizer and",
        f"UndefinedBehaviorSanitizer ({versions()}) tests the package's C code",
        "between libssl and Python: the callbacks for tickets and sessions, the ring of keys, and",
        "sessions in DER and PEM. (It does not test derived keys.) libssl is the system's, which",
        "is not instrumented, so its states, alerts and errors guide the fuzzer as edges do. It",
        "counts as a crash if libssl resumes something that the server has not made, if the error",
        "queue is not empty, or if a session reads back differently. An input that takes "
        f"{INPUT_TIME} seconds is a hang.",
        "",
        "| the input is | seconds | runs | edges | features | corpus | crashes | hangs | leaks |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for target, text in TARGETS.items():
        if target in figures:
            found = figures[target]
            names = ("seconds", "runs", "edges", "features", "corpus", "crashes", "hangs", "leaks")
            lines.append(f"| {text} | " + " | ".join(f"{found[name]:,}" for name in names) + " |")
    seconds, runs = (sum(found[name] for found in figures.values()) for name in ("seconds", "runs"))
    lines += ["", f"{runs:,} runs in {seconds:,} seconds."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="in all (default: %(default)s)")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one")
    parser.add_argument("--write", action="store_true", help="write the page of the documentation")
    parser.add_argument("--keep", type=Path, help="keep inputs and logs in this new folder")
    parser.add_argument("--package", type=Path, default=PACKAGE, help="another copy of it")
    arguments = parser.parse_args()
    targets = arguments.target or list(TARGETS)
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="openssl_tickets-fuzz-"))
    folder.mkdir(exist_ok=True)
    failed = False
    figures = {}
    try:
        programs = {target: build(folder, target, arguments.package) for target in targets}
        subprocess.run(
            [str(programs[targets[0]])],
            env=environment(folder, OPENSSL_TICKETS_FUZZ_SEEDS="1"),
            check=True,
            timeout=60,
        )
        for target, program in programs.items():
            found = fuzz(program, target, folder, arguments.seconds // len(targets))
            figures[target] = found
            print(target, found, flush=True)
            if found["crashes"] or found["hangs"] or found["leaks"] or found["out of memory"]:
                failed = True
                print((folder / f"log-{target}").read_text()[-6000:])
        print(table(figures))
        if arguments.write and not failed:
            page.write("the fuzzer", table(figures))
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
