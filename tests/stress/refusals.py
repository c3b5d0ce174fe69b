"""
Memory over many handshakes that a callback's exception ends.

libssl before May 2026 does not free the session of a ticket for which ``decrypt`` says ABORT, so
what is looked at is the difference to the same answer of a callback in C, without this package.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import openssl_tickets
from openssl_tickets import ReceivedTicket
from openssl_tickets._adapters import to_ssl_ctx
from tests.stress import libraries
from tests.stress.outcome import HEAP_IS_KNOWN, Memory, Outcome
from tests.stress.resumptions import HEAP_PER_RESUMPTION, STEP, figures, judge, measure
from tests.support import native

ABORT_LEAKS = 100  # bytes and more, each: what is less is no leak of a session
NOISE = (150_000, 300)  # bytes, objects: it takes some thousands until all places are in use


class Refused(Exception):
    pass


class Refusals:
    """Handshakes of one client with one ticket, each of which a callback ends."""

    def __init__(self, library: str, version: str, server_file: Path, by: str) -> None:
        self.library, self.by = library, by
        self.server, self.client = libraries.contexts(library, version, server_file)
        openssl_tickets.set_num_tickets(self.server, 1)
        pair = libraries.pair(library, self.server, self.client).handshake()
        self.session = libraries.session(pair)
        self.asked = 0
        if by == "C":
            native.lib.abort_tickets(to_ssl_ctx(self.server).pointer)
        else:
            generate = self.refuse if by == "generate" else None
            decrypt = self.refuse if by == "decrypt" else None
            openssl_tickets.set_session_ticket_callback(self.server, generate, decrypt, self)

    def refuse(self, *_: Any) -> None:
        if isinstance(_[1], ReceivedTicket) and _[1].session is None:
            return  # TLS 1.2 asks in each handshake
        self.asked += 1
        raise Refused(self.asked)

    def step(self) -> None:
        for _ in range(STEP):
            pair = libraries.pair(self.library, self.server, self.client)
            if self.by != "generate":
                openssl_tickets.set_session(pair.client, self.session.copy())
            try:
                pair.handshake()
            except Refused as refused:
                assert refused.args == (self.asked,)  # noqa: PT017
            except libraries.REFUSALS[self.library]:
                assert self.by == "C"
            else:
                raise AssertionError("the handshake was not refused")


def parts() -> list[str]:
    return [
        f"{library} {version} {by}"
        for by in ("generate", "decrypt")
        for library, version in libraries.each()
    ]


def run(part: str, count: int, server_file: Path) -> Outcome:
    """Has *count* handshakes refused, and judges the growth of memory after the first thousand."""
    library, version, by = part.split(" ")
    begin = perf_counter()
    refusals = Refusals(library, version, server_file, by)
    measured = measure(refusals.step, count)
    seconds = perf_counter() - begin
    row = {"library": library, "TLS": version, "raises": by, **figures(measured)}
    if by == "generate":
        row["the same in C, each"] = ""
        failures = judge(measured, NOISE)
    else:
        in_c = Refusals(library, version, server_file, "C")
        of_libssl = measure(in_c.step, 2 * STEP)
        leak = (of_libssl[1].heap - of_libssl[0].heap) / STEP
        row["the same in C, each"] = f"{leak:+.3f} bytes" if HEAP_IS_KNOWN else ""
        failures = judge_beside_libssl(measured, leak)
    row["seconds"] = f"{seconds:.0f}"
    if refusals.asked != len(measured) * STEP:
        failures.append(f"{by} was asked {refusals.asked} times")
    return Outcome(row, failures)


def judge_beside_libssl(measured: list[Memory], leak: float) -> list[str]:
    """The same as :func:`judge`, once libssl's own *leak* (bytes, each) is taken off."""
    if leak < ABORT_LEAKS:
        return judge(measured, NOISE)
    done = (len(measured) - 1) * STEP
    grown = measured[-1].since(measured[0])
    failures = []
    if grown.heap - leak * done > max(NOISE[0], HEAP_PER_RESUMPTION * done):
        failures.append(
            f"malloc has given out {grown.heap / done:.1f} bytes more for each, and "
            f"{leak:.1f} with a callback in C"
        )
    if grown.objects > NOISE[1]:
        failures.append(f"there are {grown.objects:,} more blocks of Python's")
    return failures
