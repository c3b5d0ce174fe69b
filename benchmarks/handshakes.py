"""
Full handshakes and resumptions, compared to plain C on the same libssl.

It measures three kinds of certificates with pyOpenSSL, the standard ``ssl`` and plain C. There are
no callbacks, callbacks in C, or callbacks in Python. The callbacks store and read 32 bytes in the
tickets. tlslite-ng shows the cost of TLS in pure Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import openssl_tickets
from benchmarks.libraries import (
    KINDS,
    LIBRARIES,
    ON_LIBSSL,
    Install,
    Library,
    PlainC,
    StandardSetSession,
    TlsliteNg,
    c_callbacks,
    make_certificates,
    nothing,
)
from benchmarks.measure import measure, ratios, spread, table

APPDATA = bytes(range(32))
SEEN: list[bytes | None] = [None]


def generate(connection: Any, data: Any) -> bytes:
    return APPDATA


def decrypt(connection: Any, ticket: Any, data: Any) -> openssl_tickets.TicketReturn | None:
    SEEN[0] = ticket.appdata
    return None


def python_callbacks(context: Any) -> None:
    openssl_tickets.set_session_ticket_callback(context, generate, decrypt)


CALLBACKS: dict[str, Install] = {"none": nothing, "C": c_callbacks, "Python": python_callbacks}


class Variant(NamedTuple):
    library: str
    callbacks: str
    handshake: str


Times = dict[Variant, list[float]]

BASE = Variant("plain C", "none", "full")
SET_SESSION = "ssl, set_session"
PURE = Variant("tlslite-ng", "none", "full")


WHY_SSL = (
    "`ssl` is further behind plain C in resumptions than in full handshakes. The reason: if a "
    "client passes `session=`, CPython copies the session by encoding it in DER and decoding it, "
    "for each connection. `openssl_tickets.set_session` does not do that."
)


def report(folder: Path, scale: float) -> Iterator[str]:
    """Yields the page's sections. The chart is drawn from the first table."""
    yield (
        "## Handshakes\n\n"
        "TLS 1.3 in memory, with both sides in one thread. `full` and `resumed` are rates, "
        "compared to the full and the resumed handshakes of plain C without callbacks in the same "
        "round. `resumed / full` compares the two rates of one row. The figures are medians "
        "(quartiles). The callbacks store and read 32 bytes. A full handshake makes two tickets, "
        "and a resumption makes one.\n\n" + WHY_SSL
    )
    for kind in KINDS:
        times = measure_kind(folder, kind, max(4, round(300 * scale)))
        slow = measure_pure(folder, kind, max(4, round(12 * scale)))
        pure = {name: slow[name] for name in slow if name.library == PURE.library}
        yield f"### {kind}\n\n" + against_c(times | pure, slow)
        yield "The rate of resumptions, row by row:\n\n" + of_callbacks(times)


def handshakes_of(
    library: Library, name: str, callbacks: str, times: int
) -> Iterator[tuple[Variant, Callable[[], float]]]:
    for handshake, session in (("full", None), ("resumed", library.session)):
        yield Variant(name, callbacks, handshake), partial(library.seconds, session, times)


def measure_kind(folder: Path, kind: str, rounds: int) -> Times:
    certificates = make_certificates(folder, kind)
    variants: dict[Variant, Callable[[], float]] = {}
    for name, library in {**ON_LIBSSL, SET_SESSION: StandardSetSession}.items():
        for callbacks, install in CALLBACKS.items():
            if library is PlainC and install is python_callbacks:
                continue  # the callbacks need a connection of Python
            made = library(certificates, install)
            if library is not PlainC:
                _, server = made.handshake(made.session)
                assert openssl_tickets.session_reused(server), f"{name}: this is no resumption"
            variants.update(handshakes_of(made, name, callbacks, 4))
    measure(variants, 3)
    return measure(variants, rounds)


def measure_pure(folder: Path, kind: str, rounds: int) -> Times:
    """Measures tlslite-ng and plain C alone. tlslite-ng would disturb the caches of the others."""
    certificates = make_certificates(folder, kind)
    variants = dict(handshakes_of(PlainC(certificates), "plain C", "none", 20))
    variants.update(handshakes_of(TlsliteNg(certificates), "tlslite-ng", "none", 1))
    measure(variants, 1)
    return measure(variants, rounds)


def against_c(times: Times, slow: Times) -> str:
    rows = []
    for library, callbacks in dict.fromkeys((name.library, name.callbacks) for name in times):
        group = slow if library == PURE.library else times
        full, resumed = (
            Variant(library, callbacks, handshake) for handshake in ("full", "resumed")
        )
        rows.append(
            [
                library,
                callbacks,
                *(
                    spread(ratios(group[Variant(*BASE[:2], each.handshake)], group[each]), ".3g")
                    if each[:2] != BASE[:2]
                    else "1"
                    for each in (full, resumed)
                ),
                spread(ratios(group[full], group[resumed]), ".3g"),
            ]
        )
    return table(("library", "callbacks", "full", "resumed", "resumed / full"), rows)


def of_callbacks(times: Times) -> str:
    rows = []
    for library in LIBRARIES:
        none, in_c, in_python = (
            times[Variant(library, callbacks, "resumed")] for callbacks in CALLBACKS
        )
        rows.append(
            [
                library,
                *(
                    spread(ratios(theirs, ours), ".4f")
                    for ours, theirs in ((in_python, in_c), (in_python, none), (in_c, none))
                ),
            ]
        )
    return table(("library", "Python / C", "Python / none", "C / none"), rows)
