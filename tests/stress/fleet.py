"""
Simulates a fleet of hosts behind a load balancer that ignores TLS sessions, and counts the lost
resumptions for each way to share ticket keys.

    python tests/stress/fleet.py                 # 100 and 1,000 hosts, 100,000 clients
    python tests/stress/fleet.py --write docs/evidence

These are real: the derivation (``TicketKeys.derived``), the ring that rotates the keys in files, and
the code of ``RedisTicketKeys``. These are simulated: the time, the network, the Redis scripts (in
Python) and the handshakes. A simulated ticket is just the name of its key.
"""

from __future__ import annotations

import argparse
import functools
import gc
import logging
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[2]))

import redis

from openssl_tickets import OPENSSL_VERSION, TicketKey, TicketKeys, redis_keys
from openssl_tickets._core import ticket_keys

MINUTE, HOUR = 60, 3600
EPOCH = 1_800_000_000  # when it begins, as the hosts' clocks have it
TICK = 5  # seconds
LIFETIME = 30 * MINUTE  # of a ticket, and accept_for
RETURN = 15 * MINUTE  # after so many seconds a client comes back, in the mean
ROTATION = MINUTE
SKEW = 2 * MINUTE  # most, in either direction
COPY = 10  # seconds that a key file takes to a host, at most
KEY_BYTES = 88  # of an openssl_tickets_key

# Phases, in minutes: what goes on in each, and in what part of the hosts.
PHASES = {
    "calm": (0, 30),
    "partition": (30, 60),  # 10 % of the hosts are cut off for the first 20 minutes
    "pause": (60, 150),  # 2 % stand still for the first hour, and then go on
    "rolling restart": (150, 180),  # each host once, within 20 minutes
}
CUT_OFF, STANDS_STILL = (30 * MINUTE, 50 * MINUTE), (60 * MINUTE, 120 * MINUTE)
CORRECTED = MINUTE  # after the pause, until the host's clock is set
RESTART, DOWN = (150 * MINUTE, 170 * MINUTE), 10
END = 180 * MINUTE


class Host(NamedTuple):
    skew: float
    is_cut_off: bool
    stands_still: bool
    restarts_at: float
    delay: float  # of key files

    def is_up(self, now: float) -> bool:
        if self.stands_still and STANDS_STILL[0] <= now < STANDS_STILL[1]:
            return False
        return not self.restarts_at <= now < self.restarts_at + DOWN

    def hears(self, now: float) -> bool:
        return not (self.is_cut_off and CUT_OFF[0] <= now < CUT_OFF[1]) and self.is_up(now)

    def clock(self, now: float) -> float:
        """The host's wall clock; one that stood still is behind until it is set."""
        behind = STANDS_STILL[1] - STANDS_STILL[0]
        is_behind = self.stands_still and 0 <= now - STANDS_STILL[1] < CORRECTED
        return EPOCH + now + self.skew - (behind if is_behind else 0)


def make_hosts(number: int, chance: random.Random) -> list[Host]:
    def host(place: int) -> Host:
        part = place / number
        restarts_at = RESTART[0] + part * (RESTART[1] - RESTART[0])
        kinds = part < 0.1, 0.1 <= part < 0.12
        return Host(chance.uniform(-SKEW, SKEW), *kinds, restarts_at, chance.uniform(0, COPY))

    return [host(place) for place in range(number)]


class Ring(NamedTuple):
    """What a host has at some time: the name of the key that encrypts, and all names."""

    first: object
    names: frozenset[object]


class Design:
    """How the hosts have their keys; *cost* is said of one host."""

    name: str

    def __init__(self, hosts: list[Host], chance: random.Random) -> None:
        self.hosts = hosts
        self.chance = chance
        self.most_keys = 0
        self.messages = 0.0  # of one host, in an hour
        self.cpu = 0.0  # seconds of one host, in an hour

    def rings(self, now: float) -> Sequence[Ring]:
        """Returns the ring of each host; *now* never goes back."""
        raise NotImplementedError


class Own(Design):
    """Each process has libssl's own key, and a new one after a restart."""

    name = "libssl's own keys"

    def rings(self, now: float) -> Sequence[Ring]:
        self.most_keys = 1
        names = [(place, now >= host.restarts_at) for place, host in enumerate(self.hosts)]
        return [Ring(name, frozenset([name])) for name in names]


class Files(Design):
    """``keys rotate`` makes a set of files each minute, and something copies it to the hosts."""

    name = "key files, copied within 10 s"

    def __init__(self, hosts: list[Host], chance: random.Random) -> None:
        super().__init__(hosts, chance)
        self._keys = TicketKeys([TicketKey.generate()])
        self._sets: list[tuple[float, Ring]] = []
        self._next = -LIFETIME - MINUTE
        self._of_hosts: list[Ring] = []

    def rings(self, now: float) -> Sequence[Ring]:
        while self._next <= now:
            self._keys.rotate(keep=LIFETIME // ROTATION + 1)
            names = [key.name for key in self._keys.keys]
            self._sets.append((self._next, Ring(names[0], frozenset(names))))
            self._next += ROTATION
            self.most_keys = max(self.most_keys, len(names))
        self._sets = self._sets[-2:]
        for place, host in enumerate(self.hosts):
            came = self._sets[-1 if self._sets[-1][0] + host.delay <= now else -2][1]
            if place == len(self._of_hosts):
                self._of_hosts.append(came)
            elif host.hears(now):
                self._of_hosts[place] = came
        self.messages = HOUR / ROTATION
        return self._of_hosts


class Derived(Design):
    """Each host derives the keys from a secret and its clock."""

    period = ROTATION
    accept_for = LIFETIME + 2 * SKEW
    name = "derived, period 1 min"

    def __init__(self, hosts: list[Host], chance: random.Random) -> None:
        super().__init__(hosts, chance)
        self._keys = TicketKeys.derived(chance.randbytes(32), self.period, self.accept_for)

    @functools.lru_cache(maxsize=100)  # noqa: B019
    def _ring(self, number: int) -> Ring:
        began = time.process_time()
        found = ticket_keys._keys_of(self._keys._keyring, at=number * self.period)
        self.cpu = (time.process_time() - began) * HOUR / self.period
        self.most_keys = max(self.most_keys, len(found))
        return Ring(found[0].name, frozenset(key.name for key in found))

    def rings(self, now: float) -> Sequence[Ring]:
        return [self._ring(int(host.clock(now) // self.period)) for host in self.hosts]


class DerivedSlowly(Derived):
    period = 5 * MINUTE
    name = "derived, period 5 min"


class DerivedTooShort(DerivedSlowly):
    accept_for = LIFETIME
    name = "the same, `accept_for` without the clocks"


class Redis:
    """What the scripts of RedisTicketKeys do, at the simulated time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.records: dict[str, tuple[str, float]] = {}
        self.lock: tuple[str, float] | None = None

    def lock_holder(self) -> str | None:
        return self.lock[0] if self.lock is not None and self.lock[1] > self.now else None


class Clock:
    """Stands for the module ``time`` in redis_keys: the clock of the host that runs now."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return EPOCH + self.now


CLOCK = Clock()


class SimulatedHost(redis_keys.RedisTicketKeys):
    """The real rules, without the thread and the network: what is called is what they would call."""

    POLL = 10.0

    def __init__(self, server: Redis, host: Host, phase: float, period: float) -> None:
        super().__init__(
            "redis://simulated",
            period=period,
            accept_for=LIFETIME,
            poll_interval=self.POLL,
        )
        self._server = server
        self.host = host
        self.next_poll = phase - 20 * MINUTE
        self.next_apply = 0.0
        self.ring = Ring(None, frozenset())
        self.calls = 0
        self._client = self
        self._read_script = self._called(self._do_read)
        self._put_script = self._called(self._do_put)
        self._unlock_script = self._called(self._do_unlock)
        self._unstick_script = self._called(lambda keys, args: 0)

    def _called(self, do: Callable[[Any, Any], Any]) -> Any:
        def call(keys: Any, args: Any) -> Any:
            self.calls += 1
            if not self.host.hears(self._server.now):
                raise redis.ConnectionError("simulated")
            return do(keys, args)

        return call

    def _do_read(self, keys: Any, args: Any) -> Any:
        now = EPOCH + self._server.now
        found = [
            [name, record, round((drop - now) * 1000)]
            for name, (record, drop) in self._server.records.items()
            if drop > now
        ]
        return int(now), 0, found, []

    def _do_put(self, keys: Any, args: Any) -> int:
        if args[0] and self._server.lock_holder() != args[0]:
            return -1
        changed, records, now = 0, self._server.records, EPOCH + self._server.now
        for name, record, drop in zip(args[4::3], args[5::3], args[6::3], strict=True):
            if drop / 1000 <= now:
                continue
            before = records.get(name)
            if before is None or before[1] <= now:
                records[name] = record, drop / 1000
                changed += 1
            elif before[1] < drop / 1000:
                records[name] = before[0], drop / 1000
                changed += 1
        return changed

    def _do_unlock(self, keys: Any, args: Any) -> int:
        if self._server.lock_holder() == args[0]:
            self._server.lock = None
        return 1

    def set(self, name: str, token: str, nx: bool, px: int) -> bool:
        self.calls += 1
        if self._server.lock_holder() is not None:
            return False
        self._server.lock = token, self._server.now + px / 1000
        return True

    def step(self, now: float) -> None:
        """What the thread does at this time. The clock of a host that stands still stands still."""
        stood = self.host.stands_still and now >= STANDS_STILL[1]
        CLOCK.now = now - (STANDS_STILL[1] - STANDS_STILL[0] if stood else 0)
        if now >= self.next_poll:
            try:
                self._synchronise()
            except redis.ConnectionError as error:
                self._says_away(error)
            else:
                self._says_back()
            self.next_poll = now + self.POLL
        elif now < self.next_apply:
            return
        self.next_apply = now + self._apply() - CLOCK.now
        self._is_own_used = self._is_own_used or self._ring.is_shared
        if self.ring.first != self._names[0] or len(self.ring.names) != len(self._names):
            self.ring = Ring(self._names[0], frozenset(self._names))


class InRedis(Design):
    """
    RedisTicketKeys, which asks each 10 s and gets no notices. Hosts that fare alike are simulated by
    8, 4 and 4 real ones, which ask at different moments.
    """

    name = "Redis, period 1 min"
    period = ROTATION

    def __init__(self, hosts: list[Host], chance: random.Random) -> None:
        super().__init__(hosts, chance)
        self._server = Redis()
        kinds: dict[tuple[bool, bool], list[int]] = {}
        for place, host in enumerate(hosts):
            kinds.setdefault((host.is_cut_off, host.stands_still), []).append(place)
        self._simulated: list[SimulatedHost] = []
        self._of_hosts: list[SimulatedHost] = [None] * len(hosts)  # type: ignore[list-item]
        for kind, places in kinds.items():
            here = []
            for _ in range(4 if any(kind) else 8):
                # They are not restarted: who joins anew has all keys at once.
                alike = Host(0.0, *kind, float("inf"), 0.0)
                here.append(SimulatedHost(self._server, alike, chance.uniform(0, 10), self.period))
            self._simulated += here
            for number, place in enumerate(places):
                self._of_hosts[place] = here[number % len(here)]
        self._now = -20.0 * MINUTE
        self._spent = 0.0

    def rings(self, now: float) -> Sequence[Ring]:
        began = time.process_time()
        while self._now <= now:
            self._server.now = self._now
            self.chance.shuffle(self._simulated)
            for each in self._simulated:
                if each.host.is_up(self._now):
                    each.step(self._now)
            self._now += TICK
        self._spent += time.process_time() - began
        hours = (self._now + 20 * MINUTE) / HOUR
        self.most_keys = max(self.most_keys, *(len(each.ring.names) for each in self._simulated))
        self.messages = sum(each.calls for each in self._simulated) / len(self._simulated) / hours
        self.cpu = self._spent / len(self._simulated) / hours
        return [each.ring for each in self._of_hosts]


class InRedisSlowly(InRedis):
    name = "Redis, period 30 min"
    period = 30 * MINUTE


DESIGNS: tuple[type[Design], ...] = (
    Own,
    Files,
    Derived,
    DerivedSlowly,
    DerivedTooShort,
    InRedis,
    InRedisSlowly,
)


class Visit(NamedTuple):
    at: float
    client: int
    host: float  # from 0 to 1, which of those that are up


def visits(clients: int, chance: random.Random) -> list[Visit]:
    """All that clients do, in order: each comes back after times that nobody can foresee."""
    made = []
    for client in range(clients):
        at = chance.uniform(-RETURN, 0)
        while at < END:
            made.append(Visit(at, client, chance.random()))
            at += chance.expovariate(1 / RETURN)
    made.sort()
    return made


class Result(NamedTuple):
    offered: Counter[str]  # tickets that should be good, by phase
    lost: Counter[str]
    design: Design

    def share(self, *phases: str) -> float:
        offered = sum(self.offered[phase] for phase in phases or PHASES)
        return sum(self.lost[phase] for phase in phases or PHASES) / max(1, offered)


def phase_at(now: float) -> str:
    return next((name for name, (a, b) in PHASES.items() if a <= now / MINUTE < b), "before")


def simulate(design: Design, all_visits: list[Visit], clients: int) -> Result:
    offered: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    names: list[object] = [None] * clients
    issued = [-float(END)] * clients
    place, hosts, total = 0, design.hosts, len(all_visits)
    for tick in range(-RETURN, END, TICK):
        rings = design.rings(tick)
        up = [ring for ring, host in zip(rings, hosts, strict=True) if host.is_up(tick)]
        phase, number, missing = phase_at(tick), 0, 0
        while place < total:
            at, client, host = all_visits[place]
            if at >= tick + TICK:
                break
            place += 1
            first, known = up[int(host * len(up))]
            if at - issued[client] < LIFETIME:
                number += 1
                if names[client] not in known:
                    missing += 1
            # Each resumption renews the ticket, as in TLS 1.3.
            names[client], issued[client] = first, at
        offered[phase] += number
        lost[phase] += missing
    return Result(offered, lost, design)


def results(number: int, clients: int, designs: Sequence[type[Design]]) -> Iterator[Result]:
    all_visits = visits(clients, random.Random(0))  # noqa: S311
    for design in designs:
        chance = random.Random(number)  # noqa: S311
        yield simulate(design(make_hosts(number, chance), chance), all_visits, clients)


def percent(share: float) -> str:
    return "0" if not share else f"{100 * share:.3f} %" if share < 0.01 else f"{100 * share:.1f} %"


def table(found: list[Result]) -> str:
    lines = [
        ["keys", "lost, all", *PHASES],
        ["---", *["---:"] * (1 + len(PHASES))],
    ]
    for result in found:
        shares = [result.share(), *(result.share(phase) for phase in PHASES)]
        lines.append([result.design.name, *map(percent, shares)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def costs(found: list[Result]) -> str:
    lines = [
        ["keys", "messages per host and hour", "keys at most", "memory per host", "CPU per hour"],
        ["---", *["---:"] * 4],
    ]
    for result in found:
        design = result.design
        memory = f"{design.most_keys * KEY_BYTES / 1000:.1f} kB"
        row = [f"{design.messages:.0f}", str(design.most_keys), memory, f"{design.cpu:.3f} s"]
        lines.append([design.name, *row])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# ruff: noqa: E501
PAGE = """\
# A fleet, simulated

This page shows how many resumptions a large fleet loses with each way to share ticket keys. It is a
simulation, because we do not have 1,000 hosts. `{command}` runs it.

{versions}

```{{raw}} html
:file: fleet.svg
```

**What is simulated.** {clients:,} clients come back after 15 minutes on average, each time to a
random host. Each visit renews the ticket, which lives for 30 minutes. A resumption is lost if the
ticket has not expired and the host does not have its key. Keys rotate once a minute, unless the
table says otherwise. The hosts' clocks are wrong by up to 2 minutes, in either direction. Time, the
network, the Redis scripts and the handshakes are simulated. A simulated ticket is just the name of
its key.

**What is real.** `TicketKeys.derived` derives the keys. `TicketKeys.rotate` rotates the keys in the
files. The code of `RedisTicketKeys` runs unchanged, without its thread. 16 real `RedisTicketKeys`
stand for all hosts: 4 for those that are cut off, 4 for those that stop, and 8 for all others. They
ask the Redis every 10 seconds and get no notices.

**The phases.**

- *calm*: 30 minutes.
- *partition*: for 20 minutes, 10 % of the hosts cannot reach the Redis and get no files. They still
  accept connections.
- *pause*: 2 % of the hosts stop for an hour, with their clocks, and then go on. Their wall clocks
  are set a minute later.
- *rolling restart*: each host is down once, for 10 seconds.

{tables}

## What it costs a host

{costs}

Memory means the keys in C. The CPU time is from this run, on a machine that others used too. For the
Redis it is the time of the simulated host, without the network.

## What follows

- **libssl's own keys** do not work behind such a load balancer.
- **Derived keys** cost nothing, and lose nothing under two conditions. The period must be longer
  than the difference between two hosts' clocks, here up to 4 minutes. `accept_for` must be the
  lifetime of a ticket plus that difference, because a host whose clock is ahead drops a key early.
  A host whose clock is an hour behind makes tickets that the others cannot decrypt, until its clock
  is set.
- **Files** lose the tickets that reach a host before the new file does, because the first key of
  the set encrypts at once. A host that gets no files cannot decrypt the tickets of later keys.
- **A Redis** publishes a key before it is used, and loses nothing while the hosts can reach it. A
  host that is cut off knows the keys for one period ahead. So a period of one minute is too short
  for an outage of 20 minutes, and half an hour is long enough.
"""


def page(found: dict[int, list[Result]], clients: int, command: str) -> str:
    return PAGE.format(
        command=command,
        versions=f"{OPENSSL_VERSION}; Python {sys.version.split()[0]}.",
        clients=clients,
        tables="\n\n".join(f"## {each:,} hosts\n\n{table(found[each])}" for each in found),
        costs=costs(found[max(found)]),
    )


# The chart: one group of bars for each way, one bar for each phase, on a logarithmic scale.
COLOURS = dict(zip(PHASES, ("#7a8ca3", "#2e86c8", "#d9822b", "#4c9f6b"), strict=True))
WIDTH, BAR, NAME, GAP = 480, 15, 22, 12  # a phone shows 3/4 of the size
TOP, LEFT, RIGHT = 84, 4, 400  # RIGHT is the place of 100 %; the figures are behind it
LEAST = 0.001  # %, at the left edge
ALTERNATIVE = (
    "Lost resumptions of the largest fleet in percent, by way of sharing keys and by phase, on a "
    "logarithmic scale; the table for that fleet below has the figures"
)


def draw(folder: Path) -> None:
    """Draws ``fleet.svg`` in *folder* from the last table of losses in ``fleet.md``."""
    (folder / "fleet.svg").write_text(svg(rows_of((folder / "fleet.md").read_text())))


def rows_of(text: str) -> dict[str, list[str]]:
    """Returns the rows of the last table of losses: for each way, the figure of each phase."""
    losses = text.rpartition(" hosts\n\n")[2].partition("\n\n")[0].splitlines()[2:]
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in losses)
    return {name.replace("`", ""): figures for name, _, *figures in rows}


def place_of(share: float) -> float:
    """Returns how far to the right a bar for so many percent ends."""
    decades = math.log10(max(share, LEAST) / LEAST) / math.log10(100 / LEAST)
    return LEFT + decades * (RIGHT - LEFT)


def svg(rows: dict[str, list[str]]) -> str:
    """Returns the picture. In a page it uses the theme's colours and font."""
    group = NAME + BAR * len(PHASES) + GAP
    height = TOP + group * len(rows)
    lines, bars, texts = [], [], []
    for number, (phase, colour) in enumerate(COLOURS.items()):
        x, y = 130 * (number % 2), 4 + 22 * (number // 2)
        bars.append(f'<rect x="{x}" y="{y}" width="15" height="15" fill="{colour}"/>')
        texts.append(f'<text x="{x + 22}" y="{y + 13}">{phase}</text>')
    for line, text in enumerate(("lost resumptions,", "logarithmic scale")):
        texts.append(f'<text x="{WIDTH}" y="{17 + 22 * line}" text-anchor="end">{text}</text>')
    for share in (0.01, 0.1, 1, 10, 100):
        at = place_of(share)
        lines.append(f'<path d="M{at:.1f} {TOP - 14} V{height - GAP}"/>')
        texts.append(f'<text x="{at:.1f}" y="{TOP - 20}" text-anchor="middle">{share:g} %</text>')
    for number, (name, figures) in enumerate(rows.items()):
        top = TOP + group * number
        texts.append(f'<text x="{LEFT}" y="{top + 15}" font-weight="bold">{name}</text>')
        for place, (figure, colour) in enumerate(zip(figures, COLOURS.values(), strict=True)):
            y, end = top + NAME + BAR * place, place_of(float(figure.split()[0]))
            bars.append(
                f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR - 1}" '
                f'fill="{colour}"/>'
            )
            texts.append(f'<text x="{end + 6:.1f}" y="{y + 12}" font-size="13">{figure}</text>')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
            f'aria-label="{ALTERNATIVE}" style="max-width: 560px; width: 100%; height: auto; '
            "color: var(--color-foreground-primary, currentColor); font-family: inherit; "
            'font-size: 15px">',
            *('<g stroke="currentColor" stroke-opacity="0.25">', *lines, "</g>"),
            *bars,
            *('<g fill="currentColor">', *texts, "</g>"),
            "</svg>",
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--clients", type=int, default=100_000)
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="where the page goes")
    options = parser.parse_args()
    prepare()
    gc.disable()  # there are a million visits, and no cycles worth looking for
    found: dict[int, list[Result]] = {}
    for number in options.hosts:
        found[number] = []
        for result in results(number, options.clients, DESIGNS):
            print(
                f"{number} hosts, {result.design.name}: {percent(result.share())} lost", flush=True
            )
            found[number].append(result)
    command = "python tests/stress/fleet.py"
    if options.clients != 100_000 or options.hosts != [100, 1000]:
        command += f" --clients {options.clients} --hosts {' '.join(map(str, options.hosts))}"
    text = page(found, options.clients, command)
    print(text)
    if options.write is not None:
        (options.write / "fleet.md").write_text(text)
        draw(options.write)
    return 0


def prepare() -> None:
    """Has redis_keys live in the simulated time, and be silent."""
    vars(redis_keys)["time"] = CLOCK
    read = functools.lru_cache(5000)(lambda name, record: from_record(name, record, []))
    vars(redis_keys)["_from_record"] = lambda name, record, secrets: read(name, record)
    redis_keys.logger.setLevel(logging.CRITICAL)


from_record = redis_keys._from_record


if __name__ == "__main__":
    sys.exit(main())
