"""
Whether threads slow each other down.

It compares handshakes in 2 threads on one context with one thread. 2 processes show what the
machine can do. Plain C, which holds no GIL, shows what libssl itself allows.

``python benchmarks/threads.py`` adds the figures of this OpenSSL to ``threads.json``. The page
shows all that are recorded there, beside its own.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

# The checkout comes last, because its package may not be built.
sys.path.append(str(Path(__file__).resolve().parent.parent))

import openssl_tickets
from benchmarks import in_c
from benchmarks.handshakes import SET_SESSION
from benchmarks.libraries import (
    ON_LIBSSL,
    Certificates,
    Install,
    Library,
    PlainC,
    StandardSetSession,
    make_certificates,
    nothing,
)
from benchmarks.measure import measure, ratios, spread, table
from benchmarks.ticket_keys import set_all
from openssl_tickets import TicketKeys

RECORDED = Path(__file__).with_name("threads.json")
PLATFORM = " ".join(openssl_tickets.OPENSSL_VERSION.split()[:2])
COMPARED: dict[str, type[Library]] = {**ON_LIBSSL, SET_SESSION: StandardSetSession}
HEADER = ("library", "handshakes", "in", "rate")


def report(folder: Path, scale: float) -> Iterator[str]:
    """Yields the page's section."""
    rounds = max(4, round(60 * scale))
    yield (
        "## Threads\n\n"
        "Handshakes on one context with a derived ring, a purpose, a limit, the name binding and "
        "counts; plain C has none of these. Each thread runs both sides. The rate is compared to "
        f"one thread: medians (quartiles) of {rounds} rounds.\n\n"
        + table(HEADER, rows(folder, rounds))
    )
    recorded = json.loads(RECORDED.read_text())
    yield (
        "The same on several versions of OpenSSL, each measured in a run of its own. Python gains "
        "less than plain C, because it holds the GIL between two calls into libssl. A second "
        "thread gains least for the resumptions of `ssl` on OpenSSL 3.0. One reason is CPython's "
        "`session=`, which decodes the session from DER for each connection. Before OpenSSL 3.5, "
        "threads that decode wait for each other inside libcrypto: in a program in C that only "
        "decodes a session, 2 threads were 1.04 to 1.12 times as fast as one on 3.0.19. "
        "`openssl_tickets.set_session` decodes nothing, and gains more.\n\n"
        + table(("OpenSSL", *HEADER), ([name, *row] for name in recorded for row in recorded[name]))
    )


def rows(folder: Path, rounds: int) -> list[list[str]]:
    """Returns the table's rows: each library, full and resumed, in threads and in processes."""
    certificates = make_certificates(folder)
    return [
        row
        for name in COMPARED
        for is_resumed in (False, True)
        for row in of_threads(name, certificates, is_resumed, rounds)
    ]


def of_threads(
    library: str, certificates: Certificates, is_resumed: bool, rounds: int
) -> Iterator[list[str]]:
    ring = TicketKeys.derived(os.urandom(32), 3600, 7200)
    is_plain = COMPARED[library] is PlainC
    install: Install = nothing if is_plain else lambda context: set_all(context, ring)
    variants = [COMPARED[library](certificates, install) for _ in range(2)]
    # Both threads share the server's context. The clients have their own contexts and sessions.
    shared = variants[1].server_context = variants[0].server_context
    if is_plain:
        lib = in_c.benchmark().lib
        variants[1].session = lib.new_session(shared, variants[1].client_context)
    for variant in variants:
        if not is_resumed:
            variant.session = None
        if not is_plain:
            _, server = variant.handshake(variant.session)
            assert openssl_tickets.session_reused(server) is is_resumed
    number = 100

    def one() -> float:
        return variants[0].seconds(variants[0].session, number)

    def two_threads() -> float:
        threads = [
            threading.Thread(target=each.seconds, args=(each.session, number)) for each in variants
        ]
        begin = perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (perf_counter() - begin) / (2 * number)

    with Processes(variants, number) as processes:
        seconds = measure(
            {"one": one, "2 threads": two_threads, "2 processes": processes.seconds}, rounds
        )
    for name in ("2 threads", "2 processes"):
        rate = spread(ratios(seconds["one"], seconds[name]), ".3f")
        yield [library, "resumed" if is_resumed else "full", name, rate]


class Processes:
    """Forked processes. Each makes handshakes with the contexts that it has inherited."""

    def __init__(self, variants: list[Library], number: int) -> None:
        self._number = number
        self._pipes = []
        self._processes = []
        context = multiprocessing.get_context("fork")
        for variant in variants:
            ours, theirs = context.Pipe()
            process = context.Process(target=self._run, args=(variant, theirs), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def _run(self, variant: Library, pipe: Any) -> None:
        while pipe.recv():
            variant.seconds(variant.session, self._number)
            pipe.send(True)

    def seconds(self) -> float:
        begin = perf_counter()
        for pipe in self._pipes:
            pipe.send(True)
        for pipe in self._pipes:
            pipe.recv()
        return (perf_counter() - begin) / (len(self._pipes) * self._number)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.send(False)
        for process in self._processes:
            process.join()


def record() -> None:
    """Adds the figures with this OpenSSL to those that are recorded."""
    figures = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        figures[f"{PLATFORM}, CPython {platform.python_version()}"] = rows(Path(folder), 30)
    RECORDED.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    record()
