"""Eight threads on shared contexts, while callbacks and keys are replaced: exact counts."""

from __future__ import annotations

import threading
from pathlib import Path
from time import perf_counter
from typing import Any

import openssl_tickets
from openssl_tickets import ReceivedTicket, TicketKey, TicketKeys, TicketReturn
from tests.stress import libraries
from tests.stress.outcome import Outcome

THREADS = 8
TIMEOUT = 1800.0  # seconds
# Of ten handshakes of a thread, these: full ones, and those that a callback ends.
FULL = {0, 5}
RAISES = {2: "generate", 4: "decrypt", 5: "generate", 8: "decrypt"}


class Refused(Exception):
    pass


class Shared:
    """One context of a server for all threads, and what its callbacks have seen."""

    def __init__(self, library: str, version: str, server_file: Path) -> None:
        self.library, self.version = library, version
        self.server, self.client = libraries.contexts(library, version, server_file)
        self.keys = TicketKeys([TicketKey.generate()])
        self.replaced = 0
        openssl_tickets.set_num_tickets(self.server, 1)
        openssl_tickets.set_ticket_keys(self.server, self.keys)
        self.replace()

    def replace(self) -> None:
        """Sets other callbacks, and puts another key in front."""
        self.replaced += 1
        number = self.replaced

        def generate(connection: Any, data: int) -> bytes:
            connection.seen.append(("generate", number, data, threading.get_ident()))
            if connection.raises == "generate":
                raise Refused(connection.token)
            return b"%d" % connection.token

        def decrypt(connection: Any, ticket: ReceivedTicket, data: int) -> TicketReturn | None:
            connection.seen.append(("decrypt", number, data, threading.get_ident()))
            if ticket.session is None:
                return None  # TLS 1.2, of a client without a ticket
            assert ticket.appdata == b"%d" % connection.offers
            if connection.raises == "decrypt":
                raise Refused(connection.token)
            return TicketReturn.USE_RENEW

        openssl_tickets.set_session_ticket_callback(self.server, generate, decrypt, number)
        self.keys.rotate(keep=999)


class Worker:
    """What one thread does: handshakes of its own, each of which is looked at."""

    def __init__(self, shared: Shared, number: int, handshakes: int) -> None:
        self.shared, self.number, self.handshakes = shared, number, handshakes
        self.session: Any = None
        self.token = 0
        self.calls = {"generate": 0, "decrypt": 0}
        self.raised = 0
        self.replacements: set[int] = set()
        self.errors: list[BaseException] = []
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        try:
            for turn in range(self.handshakes):
                self.once(turn % 10)
        except BaseException as error:
            self.errors.append(error)

    def once(self, turn: int) -> None:
        offers = None if turn in FULL or self.session is None else self.session
        pair = libraries.pair(self.shared.library, self.shared.server, self.shared.client)
        if offers is not None:
            # A copy: where it is refused, the next handshake offers it once more.
            openssl_tickets.set_session(pair.client, offers[0].copy())
        self.token += 1
        token = self.token * THREADS + self.number
        seen: list[tuple[str, int, int, int]] = []
        raises = RAISES.get(turn)
        vars(pair.server).update(
            seen=seen, token=token, raises=raises, offers=None if offers is None else offers[1]
        )
        expected = ["decrypt"] if offers is not None or self.shared.version == "1.2" else []
        if raises != "decrypt":
            expected.append("generate")
        try:
            pair.handshake()
        except Refused as refused:
            assert raises is not None, "another connection's exception"
            assert refused.args == (token,), f"not {token}"  # noqa: PT017
            self.raised += 1
        else:
            assert raises is None, f"what {raises} raised was not raised"
            assert pair.reused is (offers is not None)
            self.session = libraries.session(pair), token
        assert [name for name, *_ in seen] == expected, f"{seen}, and not {expected}"
        assert {thread for *_, thread in seen} == {threading.get_ident()}
        # Each with its own data; a handshake that overlaps a replacement may ask old, then new.
        numbers = [number for _, number, _, _ in seen]
        assert numbers == sorted(numbers) == [data for _, _, data, _ in seen]
        self.replacements.update(numbers)
        for name in expected:
            self.calls[name] += 1


def parts() -> list[str]:
    return [f"{library} {version}" for library, version in libraries.each()]


def run(part: str, count: int, server_file: Path) -> Outcome:
    """Runs *count* handshakes in each of eight threads, and replaces what they call meanwhile."""
    library, version = part.split(" ")
    shared = Shared(library, version, server_file)
    workers = [Worker(shared, number, count) for number in range(THREADS)]
    begin = perf_counter()
    for worker in workers:
        worker.thread.start()
    while any(worker.thread.is_alive() for worker in workers):
        shared.replace()
        workers[shared.replaced % THREADS].thread.join(0.002)
        if perf_counter() - begin > TIMEOUT:
            return Outcome({"library": library, "TLS": version}, ["the threads do not end"])
    seconds = perf_counter() - begin
    handshakes = THREADS * count
    raised = sum(worker.raised for worker in workers)
    failures = [f"{type(error).__name__}: {error}" for each in workers for error in each.errors]
    # Worked out from the plan, and not from what was seen.
    turns = [turn % 10 for turn in range(count)]
    if raised != THREADS * sum(turn in RAISES for turn in turns):
        failures.append(f"{raised} exceptions were raised")
    if len(set().union(*(worker.replacements for worker in workers))) < min(
        10, shared.replaced // 2
    ):
        failures.append("the callbacks were not replaced while handshakes ran")
    return Outcome(
        {
            "library": library,
            "TLS": version,
            "threads": str(THREADS),
            "handshakes": f"{handshakes:,}",
            "generate": f"{sum(worker.calls['generate'] for worker in workers):,}",
            "decrypt": f"{sum(worker.calls['decrypt'] for worker in workers):,}",
            "exceptions": f"{raised:,}",
            "replaced": f"{shared.replaced:,}",
            "seconds": f"{seconds:.0f}",
        },
        failures,
    )
