"""Runs the combinations of a table, and compares what comes of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import openssl_tickets
from tests.conformance.memory import Memory
from tests.conformance.observe import observe
from tests.conformance.server import RAISED, Files
from tests.conformance.table import AXES, Case, Outcome, Row, Table, cases, show
from tests.conformance.with_s_client import observe_s_client
from tests.conformance.with_s_server import clients, observe_s_server

OBSERVERS = ("pyOpenSSL", "ssl", "s_client", "s_server")

# Programs take time: of each row they are shown one combination for each value of these.
_SHOWN_TO_PROGRAMS = {
    "answers": ("version", "library", "status"),
    "keys": ("version", "library"),
    "counts": ("version", "library", "event", "number"),
}
_PROGRAMS_AT_ONCE = 2


@dataclass
class Seen:
    """What was to be seen of one row, and what was seen, by observer."""

    row: Row
    combinations: int = 0
    left_out: int = 0  # since this OpenSSL is too old for them
    expected: list[tuple[Case, Outcome]] = field(default_factory=list)
    observed: dict[str, list[tuple[Case, Outcome]]] = field(
        default_factory=lambda: {observer: [] for observer in OBSERVERS}
    )
    tried: Counter[str] = field(default_factory=Counter)
    differ: Counter[str] = field(default_factory=Counter)
    deviations: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    """One observation to make."""

    of: Seen
    observer: str
    case: Case
    expected: Outcome
    observe: Callable[[], Outcome]


def run(table: Table, files: Files, names: Sequence[str] = ()) -> list[Seen]:
    """
    Runs all combinations, or those of the rows with these *names*; returns what was seen by row.

    Raises:
        ValueError: there is no row of a name.
    """
    rows = {row.name: Seen(row) for row in table.rows}
    if not rows.keys() >= set(names):
        raise ValueError(f"there is no row {sorted(set(names) - rows.keys())}")
    rows = {name: seen for name, seen in rows.items() if name in names or not names}
    jobs = [job for section in AXES for job in _jobs(section, table, rows, files)]
    with RAISED.installed(), ThreadPoolExecutor(_PROGRAMS_AT_ONCE) as pool:
        by_programs = {
            id(job): pool.submit(_attempt, job) for job in jobs if job.observer.startswith("s_")
        }
        for job in jobs:
            future = by_programs.get(id(job))
            _note(job, _attempt(job) if future is None else future.result())
    if others := RAISED.others():
        raise AssertionError(f"callbacks of no combination raised: {others}")
    return list(rows.values())


def _jobs(section: str, table: Table, rows: dict[str, Seen], files: Files) -> Iterator[_Job]:
    shown = set()
    # The programs are shown those with the most callbacks.
    for case in sorted(cases(section), key=lambda case: -_CALLBACKS.index(case["callbacks"])):
        row = table.row(section, case)
        if row.name not in rows:
            continue
        seen = rows[row.name]
        seen.combinations += 1
        if row.since > _openssl_version():
            seen.left_out += 1
            continue
        expected = table.expected(section, case)
        seen.expected.append((case, expected))
        in_memory = _observation(observe, section, case, files, Memory)
        yield _Job(seen, case["library"], case, expected, in_memory)
        key = (row.name, *(case[axis] for axis in _SHOWN_TO_PROGRAMS[section]))
        if key not in shown:
            shown.add(key)
            with_s_client = _observation(observe_s_client, section, case, files)
            yield _Job(seen, "s_client", case, expected, with_s_client)
        if not row.cannot and case["library"] == _LIBRARIES[0]:
            for client in clients(section, case):
                with_s_server = _observation(observe_s_server, section, case, files, client)
                of_client = {**case, "library": client}
                yield _Job(seen, "s_server", of_client, expected, with_s_server)


_CALLBACKS = AXES["answers"]["callbacks"]
_LIBRARIES = AXES["answers"]["library"]


def _observation(observer: Callable[..., Outcome], *arguments: object) -> Callable[[], Outcome]:
    return lambda: observer(*arguments)


def _attempt(job: _Job) -> Outcome | Exception:
    try:
        return job.observe()
    except Exception as error:
        return error


def _note(job: _Job, seen: Outcome | Exception) -> None:
    job.of.tried[job.observer] += 1
    if isinstance(seen, Outcome):
        job.of.observed[job.observer].append((job.case, seen))
    if seen != job.expected:
        job.of.differ[job.observer] += 1
        job.of.deviations.append(
            f"{job.of.row.name!r}, by {job.observer}: {show(job.case)}\n"
            f"  expected  {job.expected}\n"
            f"  there was {seen if isinstance(seen, Outcome) else repr(seen)}"
        )


def _openssl_version() -> tuple[int, ...]:
    found = re.search(r"\d+\.\d+\.\d+", openssl_tickets.OPENSSL_VERSION)
    assert found is not None
    return tuple(int(part) for part in found[0].split("."))
