"""Contexts with callbacks that are made, used and dropped: nothing of them stays."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import openssl_tickets
from openssl_tickets import SSL, TicketKey, TicketKeys
from openssl_tickets._adapters import to_ssl_ctx
from openssl_tickets._core import callbacks
from tests.stress import libraries
from tests.stress.outcome import HEAP_IS_KNOWN, Memory, Outcome
from tests.support import native

AT_A_TIME = 100
NOISE = (50_000, 300)  # bytes, objects, in all
WAIT = 10.0  # seconds, for what the main thread is asked to do when it can


class Callback:
    """A callback of which one can see that it is gone; it counts its calls."""

    def __init__(self, answer: bytes | None = None) -> None:
        self.answer = answer
        self.calls = 0

    def __call__(self, *_: Any) -> Any:
        self.calls += 1
        return self.answer


class Data:
    """What a callback is handed, of which one can see that it is gone."""


def parts() -> list[str]:
    return [
        f"{library} {version} {order}"
        for order in ("context", "connection")
        for library, version in libraries.each()
    ]


def run(part: str, count: int, server_file: Path) -> Outcome:
    """
    Makes *count* contexts of servers, each for a handshake and a resumption, and drops them.

    In the order ``context``, each connection has gone over to another context, and outlives its
    first: that one's callbacks are asked for one more ticket.
    """
    library, version, order = part.split(" ")
    other, client = libraries.contexts(library, version, server_file)
    before_all = with_callbacks()
    objects = outlived = left = made = 0
    failures: list[str] = []
    before: Memory | None = None
    begin = perf_counter()
    while made < count:
        # Some at a time: the tables that know of all that live do not shrink again.
        kept: list[Any] = []
        alive: list[weakref.ref[Any]] = []
        rings: list[weakref.ref[Any]] = []
        for _ in range(min(AT_A_TIME, count - made)):
            failures += use(library, version, server_file, client, other, order, kept, alive, rings)
            made += 1
        collect()
        objects += len(alive)
        outlived += sum(ref() is not None for ref in alive)
        if any(ref() is not None for ref in rings):
            failures.append("rings of keys are left")
        while kept:
            failures += more_tickets(kept.pop(), version)
        failures += must_be_collected(alive, before_all)
        left += sum(ref() is not None for ref in alive)
        del kept, alive, rings
        before = before or Memory.now()
    assert before is not None
    grown = Memory.now().since(before)
    if order == "context" and outlived != objects:
        failures.append(f"{objects - outlived} objects of callbacks that can be called are gone")
    if grown.heap > NOISE[0] or grown.objects > NOISE[1]:
        failures.append(f"{grown.heap:,} bytes and {grown.objects:,} blocks of Python's are left")
    failures = sorted(set(failures))
    return Outcome(
        {
            "library": library,
            "TLS": version,
            "contexts": f"{count:,}",
            "outlived by": "connections" if order == "context" else "",
            "callback objects": f"{objects:,}",
            "alive with the connections": f"{outlived:,}" if order == "context" else "",
            "alive at the end": f"{left:,}",
            "heap, all": f"{grown.heap:+,} bytes" if HEAP_IS_KNOWN else "",
            "Python blocks, all": f"{grown.objects:+,}",
            "seconds": f"{perf_counter() - begin:.0f}",
        },
        failures,
    )


def use(
    library: str,
    version: str,
    server_file: Path,
    client: Any,
    other: Any,
    order: str,
    kept: list[Any],
    alive: list[weakref.ref[Any]],
    rings: list[weakref.ref[Any]],
) -> list[str]:
    """Makes a context with callbacks of every kind, and drops it; returns what went wrong."""
    context, _ = libraries.contexts(library, version, server_file)
    objects: list[Any] = [Data() for _ in range(2)]
    generate, decrypt, new = Callback(b"data"), Callback(), Callback()
    keys = TicketKeys([TicketKey.generate(), TicketKey.generate()])
    openssl_tickets.set_num_tickets(context, 1)
    openssl_tickets.set_session_ticket_callback(context, generate, decrypt, objects[0])
    openssl_tickets.set_new_session_callback(context, new, objects[1])
    openssl_tickets.set_ticket_keys(context, keys)
    # Sessions in its cache, which are freed with it.
    native.lib.set_session_cache_mode(to_ssl_ctx(context).pointer, SSL.SESS_CACHE_SERVER)
    objects += [generate, decrypt, new]
    alive += [weakref.ref(each) for each in objects]
    rings.append(weakref.ref(keys))  # the object goes; what is behind it stays with the context
    first = libraries.pair(library, context, client).handshake()
    second = libraries.pair(library, context, client)
    openssl_tickets.set_session(second.client, libraries.session(first))
    second.handshake()
    wrong = []
    if not second.reused:
        wrong.append("a connection was not resumed")
    if not generate.calls or not decrypt.calls or not new.calls:
        wrong.append("a callback was not called")
    if order == "context":
        for pair in (first, second):
            if library == "ssl":
                pair.server.context = other
            else:
                pair.server.set_context(other)
        second.asked = weakref.ref(generate)
        kept.append(second)
    return wrong


def more_tickets(pair: Any, version: str) -> list[str]:
    """Has a connection ask the callbacks of a context that is gone; returns what went wrong."""
    generate = pair.asked()
    before = generate.calls
    if version == "1.3":
        openssl_tickets.new_session_ticket(pair.server)
        pair.server.do_handshake()
        pair.client_reads()
        if generate.calls != before + 1:
            return ["generate was not asked after its context was gone"]
    return []


def collect() -> None:
    for _ in range(3):
        gc.collect()


def with_callbacks() -> int:
    """Returns how many contexts have callbacks, of either kind."""
    return len(callbacks.ticket_callbacks) + len(callbacks.new_session_callbacks)


def must_be_collected(alive: list[weakref.ref[Any]], before: int) -> list[str]:
    """Waits for what is told a little later, and returns what has stayed."""
    end = perf_counter() + WAIT
    while perf_counter() < end:
        collect()
        if not any(ref() is not None for ref in alive) and with_callbacks() == before:
            return []
        sleep(0.01)
    left = [type(each).__name__ for ref in alive if (each := ref()) is not None]
    return [
        f"{len(left)} objects are left ({', '.join(sorted(set(left)))}), and "
        f"{with_callbacks() - before} entries of contexts"
    ]
