"""Memory over many resumptions with callbacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import openssl_tickets
from openssl_tickets import (
    SSL,
    ReceivedTicket,
    Session,
    TicketKey,
    TicketKeys,
    TicketReturn,
)
from openssl_tickets._adapters import to_ssl_ctx
from tests.stress import libraries
from tests.stress.outcome import HEAP_IS_KNOWN, Memory, Outcome, kilobytes
from tests.support import native

STEP = 1000  # resumptions between two looks at the memory

# "Less than 1 MB after the first thousand of 100,000"; and what no noise explains in a short run.
RESIDENT_GROWTH = 1_000_000  # bytes
HEAP_PER_RESUMPTION = 8.0  # bytes
OBJECTS_PER_RESUMPTION = 0.1
NOISE = (30_000, 300)  # bytes, objects: what a dict that grows or a cache that fills takes

CACHE_SIZE = 100  # sessions


class Resumptions:
    """A chain of resumptions: each offers the ticket that the one before it got."""

    def __init__(self, library: str, version: str, server_file: Path, extras: str) -> None:
        self.library = library
        self.server, self.client = libraries.contexts(library, version, server_file)
        self.session: Session | None = None
        self.generated = self.decrypted = self.announced = 0
        self.keys: TicketKeys | None = None
        openssl_tickets.set_session_ticket_callback(
            self.server, self.generate, self.decrypt, [self]
        )
        openssl_tickets.set_num_tickets(self.server, 1)
        if "keys" in extras:
            self.keys = TicketKeys([TicketKey.generate() for _ in range(3)])
            openssl_tickets.set_ticket_keys(self.server, self.keys)
        if "sessions" in extras:
            self.announce()

    def announce(self) -> None:
        """Has both sides tell of sessions, and the server's cache fill up."""
        for context in (self.server, self.client):
            native.lib.set_session_cache_mode(to_ssl_ctx(context).pointer, SSL.SESS_CACHE_SERVER)
            native.lib.set_session_cache_size(to_ssl_ctx(context).pointer, CACHE_SIZE)
            openssl_tickets.set_new_session_callback(context, self.new_session, self)

    def generate(self, connection: Any, data: Any) -> bytes:
        assert data == [self]
        self.generated += 1
        return b"%032d" % self.generated

    def decrypt(self, connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
        if ticket.session is None:
            return None  # TLS 1.2 asks in the first handshake too
        assert ticket.appdata == b"%032d" % self.generated
        assert ticket.session.ticket_appdata == ticket.appdata
        assert ticket.server_name is None
        self.decrypted += 1
        return TicketReturn.USE_RENEW

    def new_session(self, connection: Any, session: Any, data: Any) -> None:
        self.announced += 1

    def once(self) -> None:
        pair = libraries.pair(self.library, self.server, self.client)
        if self.session is not None:
            openssl_tickets.set_session(pair.client, self.session)
        pair.handshake()
        assert pair.reused is (self.session is not None)
        self.session = libraries.session(pair)

    def step(self) -> None:
        for _ in range(STEP):
            self.once()
        if self.keys is not None:
            self.keys.rotate()


EXTRAS = {
    "": "",
    "keys+sessions": ", sessions; ticket keys that rotate",
}


def parts() -> list[str]:
    """One for each library and version without more, and with each of the extras."""
    return [
        f"{library} {version} {extras}"
        for extras in EXTRAS
        for library, version in libraries.each()
    ]


def run(part: str, count: int, server_file: Path) -> Outcome:
    """Runs *count* resumptions, and judges the growth of memory after the first thousand."""
    library, version, extras = part.split(" ")
    chain = Resumptions(library, version, server_file, extras)
    chain.once()  # a full handshake
    begin = perf_counter()
    measured = measure(chain.step, count)
    seconds = perf_counter() - begin
    done = len(measured) * STEP
    failures = judge(measured)
    if (chain.generated, chain.decrypted) != (done + 1, done):
        failures.append(f"generate ran {chain.generated} times, decrypt {chain.decrypted}")
    # A client is not told of a ticket that comes with a resumption in TLS 1.2.
    announced = done + 1 + (done + 1 if version == "1.3" else 1)
    if "sessions" in extras and chain.announced != announced:
        failures.append(f"{chain.announced} sessions announced, and not {announced}")
    return Outcome(
        {
            "library": library,
            "TLS": version,
            "callbacks": "generate, decrypt" + EXTRAS[extras],
            **figures(measured),
            "seconds": f"{seconds:.0f}",
        },
        failures,
    )


def measure(step: Callable[[], None], count: int) -> list[Memory]:
    """Runs *step* until there are *count* of what it does; returns the memory after each step."""
    measured = []
    for _ in range(count // STEP):
        step()
        measured.append(Memory.now())
    return measured


def figures(measured: list[Memory]) -> dict[str, str]:
    first, done = measured[0], (len(measured) - 1) * STEP
    grown = measured[-1].since(first)
    return {
        "number": f"{len(measured) * STEP:,}",
        "resident after 1,000": kilobytes(first.resident),
        "at the end": kilobytes(measured[-1].resident),
        "most growth": kilobytes(max(each.resident for each in measured) - first.resident),
        "heap, each": f"{grown.heap / done:+.3f} bytes" if HEAP_IS_KNOWN else "",
        "Python blocks, all": f"{grown.objects:+,}",
    }


def judge(measured: list[Memory], noise: tuple[int, int] = NOISE) -> list[str]:
    """Returns what is wrong with the growth after the first step; *noise* is bytes and objects."""
    done = (len(measured) - 1) * STEP
    grown = measured[-1].since(measured[0])
    most = max(each.resident for each in measured) - measured[0].resident
    failures = []
    if most >= RESIDENT_GROWTH:
        failures.append(f"resident memory grew by {most:,} bytes after the first thousand")
    if grown.heap > max(noise[0], HEAP_PER_RESUMPTION * done):
        failures.append(f"malloc has given out {grown.heap:,} bytes more after the first thousand")
    if grown.objects > max(noise[1], OBJECTS_PER_RESUMPTION * done):
        failures.append(f"there are {grown.objects:,} more blocks of Python's")
    return failures
