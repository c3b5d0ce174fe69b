"""
All cases, in processes of their own: one that dies is a crash, one that stays is a hang.

A child says how each case ended, in a line of its own; what it did not live to say is the case that
has ended it, and another child goes on behind that.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st

from openssl_tickets import Session
from tests.hostile import hellos, servers
from tests.hostile.hellos import Offer
from tests.hostile.servers import SETTINGS, Server, Setting
from tests.hostile.streams import Target, streams
from tests.hostile.tickets import Attack, resumes

FOLDER = Path(__file__).resolve().parent
CASE_TIME = 10.0  # seconds: a case that takes longer is a hang
BETWEEN = 120.0  # seconds: nor does what is between the cases take for ever
CHUNK = 250  # hellos to a child
REPLAYS = 50
SEVERAL = 200
FAILED = "FAILED"
CRASH, HANG = "crash", "hang"

# The kind of a case, and how it ended.
Ended = tuple[str, str]
Step = Callable[[], Ended]


@dataclasses.dataclass
class Task:
    """What a child is to do."""

    kind: str
    setting: int
    server_file: str
    first: int = 0
    examples: int = 0
    case_time: float = CASE_TIME


def run(task: Task) -> Iterator[Ended]:
    """Yields how each case of *task* ended."""
    while True:
        done, status = 0, 0
        process = subprocess.Popen(
            [sys.executable, str(FOLDER), "--child", json.dumps(vars(task))],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        with process:
            kind = task.kind
            for line in process.stdout:
                done += 1
                kind, outcome = line.rstrip("\n").split("\t")
                yield kind, outcome
            status = process.wait(task.case_time + 60)
        if status >= 0:
            if status:
                yield kind, f"{FAILED}: the child ended with {status}"
            return
        yield kind, HANG if status == -signal.SIGALRM else CRASH
        if task.kind == "hellos":
            return  # the next child has other ones
        task = dataclasses.replace(task, first=task.first + done + 1)


def child(task: Task) -> int:
    """Does *task*, and prints a line for each case."""
    broken: list[str] = []
    sys.unraisablehook = lambda unraisable: broken.append(repr(unraisable.exc_value))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # it ends the process, wherever it is
    signal.setitimer(signal.ITIMER_REAL, BETWEEN)

    def take(step: Step) -> None:
        signal.setitimer(signal.ITIMER_REAL, task.case_time)
        try:
            kind, outcome = step()
        except Exception as error:
            kind, outcome = task.kind, f"{FAILED}: {error!r}"
        signal.setitimer(signal.ITIMER_REAL, BETWEEN)
        if broken:
            outcome = f"{FAILED}: {broken.pop()}"
        print(kind, outcome.replace("\n", " ").replace("\t", " "), sep="\t", flush=True)

    setting = SETTINGS[task.setting]
    if task.kind == "hellos":
        _take_hellos(task, setting, take)
    else:
        for step in itertools.islice(
            _KINDS[task.kind](setting, Path(task.server_file)), task.first, None
        ):
            take(step)
    return 0


def _tickets(setting: Setting, server_file: Path) -> Iterator[Step]:
    attack = Attack(setting, server_file)
    assert resumes(attack)
    for case in attack.cases():
        yield partial(_named, case.kind, attack.offer, case)
    for case, record in attack.wire_cases():
        yield partial(_named, case.kind, attack.send, case, record)
    assert resumes(attack)


def _replays(setting: Setting, server_file: Path) -> Iterator[Step]:
    server, context = Server(setting, server_file), servers.client_context(setting.version)
    session = next(servers.sessions(server, context))
    flights = servers.record(server, context, session)
    for number in range(REPLAYS):
        pieces = flights[: 2 + number % len(flights)]
        yield partial(_named, "a connection replayed, byte for byte", _replay, server, pieces)

    if setting.policy == "callbacks":
        server = servers.single_use(setting, server_file)
        session = next(servers.sessions(server, context))
        assert servers.shake(server, context, session.copy()).reused
        for _ in range(REPLAYS):
            yield partial(
                _named,
                "a genuine ticket again, to a single-use policy",
                _offer,
                server,
                context,
                session,
            )


def _offer(server: Server, context: Any, session: Session) -> str:
    return servers.shake(server, context, session.copy()).outcome


def _several(setting: Setting, server_file: Path) -> Iterator[Step]:
    """Lists of tickets none of which may be used, and what is wrong with the list itself."""
    server = Server(setting, server_file)
    stolen = next(servers.sessions(server, servers.client_context("1.3"))).ticket
    made_up = random.Random(1)  # noqa: S311 (the same cases each time)
    for _ in range(SEVERAL):
        number = made_up.choice([2, 3, 4, 8, 16, 64, 256, 700])
        offers = [Offer(made_up.randbytes(made_up.randint(1, 40))) for _ in range(number)]
        kind = "several tickets in one hello, all strangers'"
        if made_up.random() < 0.5:
            offers.insert(made_up.randint(0, number), Offer(stolen))
            kind = "several tickets in one hello, one without its secret"
        message = hellos.offering(
            offers,
            binders=made_up.choice([None, None, 0, 1, number - 1]),
            last=made_up.random() < 0.9,
        )
        yield partial(_named, kind, _refused, server, message)


def _refused(server: Server, message: bytes) -> str:
    reply = hellos.send(server, [hellos.records(message)])
    assert not reply.reused
    assert reply.selected is None
    return reply.outcome


def _named(kind: str, call: Callable[..., Any], *args: object) -> Ended:
    return kind, call(*args)


def _replay(server: Server, pieces: list[bytes]) -> str:
    return hellos.send(server, pieces).outcome


def _planted(setting: Setting, server_file: Path) -> Iterator[Step]:
    """What the test of this module runs: the second and the fourth of five do not end well."""
    for call in (str, os.abort, str, partial(time.sleep, 1000), partial(divmod, 1, 0)):
        yield partial(_named, "planted", call)


_KINDS = {"tickets": _tickets, "replays": _replays, "several": _several, "planted": _planted}


def _take_hellos(task: Task, setting: Setting, take: Callable[[Step], None]) -> None:
    target = Target(Server(setting, Path(task.server_file)))

    @hypothesis.seed(task.first)
    @hypothesis.settings(
        max_examples=task.examples,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.data())
    def send(data: Any) -> None:
        pieces = data.draw(streams(target.session.ticket))
        take(lambda: ("a hello made up", target.send(pieces)))

    send()
    take(lambda: ("a hello made up", _goes_on(target)))


def _goes_on(target: Target) -> str:
    """A server that has seen all this still resumes an honest client."""
    assert target.still_resumes()
    return "and an honest client is resumed"


def tasks(server_file: Path, examples: int) -> Iterator[Task]:
    for number, setting in enumerate(SETTINGS):
        for kind in ("tickets", "replays"):
            yield Task(kind, number, str(server_file))
        if setting.version == "1.3":  # whatever the hello says: the servers speak both
            yield Task("several", number, str(server_file))
            for chunk in range(-(-examples // CHUNK)):
                yield Task("hellos", number, str(server_file), 100 * number + chunk, CHUNK)


def table(ends: collections.Counter[Ended], seconds: float, versions: str) -> str:
    """Returns the part of the page."""
    kinds = sorted({kind for kind, _ in ends})
    lines = [
        "## Tickets and hellos",
        "",
        "Written by `python tests/hostile --write`: TLS 1.2 and 1.3, the drop-in and the",
        "standard `ssl`, with and without callbacks, with libssl's own keys and with a ring. Each",
        "case runs in a child process. If it dies, that counts as a crash; if it takes "
        f"{CASE_TIME:.0f} seconds, as a hang.",
        f"After each full handshake, both sides exchanged data ({versions}).",
        "",
        "| what was sent | cases | resumed | crashes | hangs | how it ended |",
        "|---|---|---|---|---|---|",
    ]
    total: collections.Counter[str] = collections.Counter()
    for kind in kinds:
        of_kind = {end: count for (what, end), count in ends.items() if what == kind}
        numbers = {
            "cases": sum(of_kind.values()),
            "resumed": of_kind.pop(servers.RESUMED, 0),
            "crashes": of_kind.pop(CRASH, 0),
            "hangs": of_kind.pop(HANG, 0),
        }
        total.update(numbers)
        how = ", ".join(
            f"{end}: {count:,}" for end, count in sorted(of_kind.items(), key=lambda one: -one[1])
        )
        cells = " | ".join(f"{number:,}" for number in numbers.values())
        lines.append(f"| {kind} | {cells} | {how} |")
    cells = " | ".join(f"**{total[name]:,}**" for name in ("cases", "resumed", "crashes", "hangs"))
    lines += [f"| **in all** | {cells} | in {seconds:,.0f} seconds |"]
    return "\n".join(lines)
