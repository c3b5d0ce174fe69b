"""Ticket keys in the real Redis: hosts that rotate them, lose the Redis, and find it again."""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import json
import logging
import math
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
import redis.sentinel

from openssl_tickets import SSL, TicketKey, TicketKeys, set_ticket_keys
from openssl_tickets.redis_keys import RedisTicketKeys, _Held
from tests.support import processes, tls

TIMEOUT = 60.0  # seconds; only a failure takes as long
FAST: dict[str, Any] = {"period": 1.0, "accept_for": 5.0, "poll_interval": 0.1}
LOGGER = "openssl_tickets.redis_keys"
PREFIX = "openssl_tickets"


class Redis:
    """A redis-server with a folder and a socket of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/socket"
        self.client: Any = redis.Redis.from_url(self.url, decode_responses=True)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        """Starts it, with what it has on disk; returns when it answers."""
        options = ["--port", "0", "--unixsocket", str(self.folder / "socket")]
        options += ["--dir", str(self.folder), "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "always", *more]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["redis-server", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:  # it is not there, or is reading its file
            return False

    def restart(self, *more: str) -> None:
        self.kill()
        self.start(*more)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(TIMEOUT)

    def lose_all(self) -> None:
        """Forgets what is on disk."""
        for path in self.folder.glob("appendonly*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """It takes connections, as the system does that for it, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def seed(self) -> None:
        """Puts a key there that is in use already, so that the first host need not wait."""
        key = TicketKey.generate()
        begins = self.client.time()[0] * 1000
        self.client.sadd(f"{PREFIX}:keys", key.name.hex())
        record = f"1 {begins} {key.hmac_key.hex()} {key.aes_key.hex()}"
        self.client.set(f"{PREFIX}:key:{key.name.hex()}", record, px=10_000)

    def records(self) -> dict[str, list[str]]:
        """What is stored of each key, by its name in hex."""
        names = self.client.smembers(f"{PREFIX}:keys")
        records = {name: self.client.get(f"{PREFIX}:key:{name}") for name in names}
        return {name: record.split(" ") for name, record in records.items() if record}


@pytest.fixture
def server(program: Callable[[str], str]) -> Iterator[Redis]:
    """A real Redis, which keeps what it has on disk."""
    program("redis-server")
    # The path of a socket has at most 107 bytes, and pytest's folders are deep.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = Redis(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()
            server.client.close()


@pytest.fixture
def host(server: Redis) -> Iterator[Callable[..., RedisTicketKeys]]:
    """``host(...)`` is a started host in this process, which is closed in the end."""
    with contextlib.ExitStack() as hosts:

        def start(url: Any = server.url, **arguments: Any) -> RedisTicketKeys:
            return hosts.enter_context(RedisTicketKeys(url, **{**FAST, **arguments}))

        yield start


def until(holds: Callable[[], object]) -> None:
    """Waits until it holds."""
    end = time.monotonic() + TIMEOUT
    while not holds():
        assert time.monotonic() < end, "it does not come to hold"
        time.sleep(0.01)


def names(host: RedisTicketKeys) -> list[str]:
    """The names of its keys, in hex; the first encrypts."""
    return [key.name.hex() for key in host.keys.keys]


def messages(caplog: pytest.LogCaptureFixture, beginning: str) -> list[str]:
    ours = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    return [message for message in ours if message.startswith(beginning)]


def resumes(server_file: Path, issuer: TicketKeys, other: TicketKeys) -> bool:
    """Whether a ticket of one ring is good for the other."""
    contexts = [tls.server_context(server_file) for _ in range(2)]
    for context, keys in zip(contexts, (issuer, other), strict=True):
        set_ticket_keys(context, keys)
    session = tls.Pair(contexts[0], tls.client_context()).handshake().session()
    copied = SSL.Session.from_der(session.to_der())
    return tls.Pair(contexts[1], tls.client_context(), copied).handshake().reused


class Host:
    """A host in a process of its own, see redis_host.py."""

    def __init__(self, server_file: Path, url: str, log: Path, arguments: dict[str, Any]) -> None:
        self.log = log
        self._command = [sys.executable, str(Path(__file__).with_name("redis_host.py"))]
        self._command += [str(server_file), url, json.dumps(arguments)]
        self._lock = threading.Lock()
        self.start()

    def start(self) -> None:
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._watchdog = threading.Timer(TIMEOUT, self._process.kill)
        self._watchdog.start()

    def wait_for_start(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "started\n", self.log.read_text()

    def do(self, *command: str) -> dict[str, Any]:
        """Has it run a command; other threads wait for their turn."""
        with self._lock:
            stdin, stdout = self._process.stdin, self._process.stdout
            assert stdin is not None
            assert stdout is not None
            stdin.write(json.dumps(command) + "\n")
            stdin.flush()
            answer = stdout.readline()
        assert answer, self.log.read_text()
        result: dict[str, Any] = json.loads(answer)
        return result

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def restart(self) -> None:
        with self._lock:
            self.end()
            self.start()
            self.wait_for_start()

    def end(self) -> None:
        """Ends its input, and with that the process."""
        self._process.communicate(timeout=TIMEOUT)
        self._watchdog.cancel()
        assert self._process.returncode == 0, self.log.read_text()

    def kill(self) -> None:
        self._watchdog.cancel()
        self._process.kill()
        self._process.communicate()

    def said(self, beginning: str) -> int:
        """How often it has logged a message of ours that begins so."""
        return self.log.read_text().count(f"{LOGGER}: {beginning}")


class Load:
    """
    Clients that come back: each holds a session for some time, and then resumes it on any host.

    A resumption counts if it is over *accept_for* after the ticket was asked for, at the latest.
    """

    def __init__(self, hosts: list[Host], accept_for: float, seed: int) -> None:
        self._hosts = hosts
        self._accept_for = accept_for
        self._random = random.Random(seed)  # noqa: S311
        self._lock = threading.Lock()
        self._held: list[tuple[float, int, float, int, str, str]] = []
        self._numbers = itertools.count()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(len(hosts))
        ]
        self.resumed = 0
        self.crossed = 0
        self.too_late = 0
        self.oldest = 0.0
        self.failures: list[str] = []
        self.errors: list[BaseException] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(TIMEOUT)
        assert not any(thread.is_alive() for thread in self._threads)

    def _run(self, number: int) -> None:
        try:
            while not self._stopping.is_set():
                self._step(number)
        except BaseException as error:
            self.errors.append(error)

    def _step(self, number: int) -> None:
        host, begun = self._hosts[number], time.monotonic()
        with self._lock:
            held = None
            if self._held and self._held[0][0] <= begun:
                held = heapq.heappop(self._held)
            version = self._random.choice(sorted(tls.VERSIONS))
        if held is None:
            answer = host.do("issue", version)
        else:
            _, _, issued, issuer, version, session = held
            answer = host.do("resume", version, session)
            age = time.monotonic() - issued
            with self._lock:
                if age > self._accept_for:
                    self.too_late += 1
                elif answer["reused"]:
                    self.resumed += 1
                    self.crossed += issuer != number
                    self.oldest = max(self.oldest, age)
                else:
                    self.failures.append(f"TLS {version}, {issuer} to {number}, {age:.2f} seconds")
        with self._lock:
            # One in two comes back soon, with a ticket of a key that has just come into use.
            again = self._random.choice([0.0, self._random.uniform(0.0, 0.7 * self._accept_for)])
            number_of_session = next(self._numbers)
            entry = (begun + again, number_of_session, begun, number, version, answer["session"])
            heapq.heappush(self._held, entry)


class TestFleet:
    """4 hosts in processes of their own, under load."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {"period": 1.0, "accept_for": 8.0, "poll_interval": 0.25}

    def test_every_resumption_succeeds(
        self, server: Redis, server_file: Path, tmp_path: Path
    ) -> None:
        """
        With a rotation each second, a Redis that is killed and comes back, then comes back empty,
        and a host that is restarted, no ticket is refused within the accept time, on any host.
        """
        seed = random.randrange(1 << 32)  # noqa: S311
        print(f"seed {seed}")  # pytest shows it with a failure
        began = time.monotonic()
        with contextlib.ExitStack() as ends:
            hosts = []
            for number in range(4):
                log = tmp_path / f"{number}.log"
                hosts.append(Host(server_file, server.url, log, self.ARGUMENTS))
                ends.callback(hosts[-1].kill)
            for one in hosts:
                one.wait_for_start()
            first_keys = set(server.records())
            encrypting: list[str] = []
            secrets: set[str] = set()

            def look() -> list[dict[str, Any]]:
                states = [one.do("state") for one in hosts]
                for state in states:
                    if state["names"][0] not in encrypting:
                        encrypting.append(state["names"][0])
                with contextlib.suppress(redis.RedisError):
                    for record in server.records().values():
                        secrets.update(record[2:])
                assert not load.failures, (load.failures[:10], len(load.failures))
                assert not load.errors, load.errors
                return states

            def rotated(times: int) -> None:
                wanted = len(encrypting) + times
                until(lambda: look() and len(encrypting) >= wanted)

            def gone() -> bool:
                return not any(state["connected"] for state in look())

            def joined() -> bool:
                return all(state["connected"] for state in look())

            with Load(hosts, self.ARGUMENTS["accept_for"], seed) as load:
                rotated(4)
                server.kill()
                until(gone)
                rotated(1)  # the next key is known already
                server.start()
                until(joined)
                rotated(1)
                hosts[3].restart()
                rotated(1)
                server.kill()
                server.lose_all()
                until(gone)
                server.start()
                until(joined)
                rotated(3)
                states = look()
                spacing = sorted(int(record[1]) for record in server.records().values())
            for one in hosts:
                one.end()
            logs = [one.log.read_text() for one in hosts]
        print(
            f"{load.resumed} resumptions, {load.crossed} of them on another host, tickets up to "
            f"{load.oldest:.1f} seconds old, {load.too_late} too late to count, {len(encrypting)} "
            f"keys, {time.monotonic() - began:.1f} seconds"
        )
        assert (load.failures, load.errors) == ([], [])
        assert load.crossed >= 200
        assert load.oldest > 3.0  # which is three periods
        assert len(encrypting) >= 10
        assert len(set(encrypting)) == len(encrypting)
        assert first_keys <= set(encrypting)
        # No two hosts have made keys for one time.
        assert min(later - sooner for sooner, later in itertools.pairwise(spacing)) >= 500
        for one in hosts:
            assert one.said("Redis is away") == 2
            assert one.said("Redis is back") == 2
        assert len(secrets) > 20
        shown = "".join(logs) + "".join(state["repr"] for state in states)
        assert "made ticket key" in shown
        assert not [secret for secret in secrets if secret in shown]
        assert not [secret for secret in secrets if str(bytes.fromhex(secret)) in shown]
        assert "Traceback" not in shown


class TestFollowing:
    def test_hosts_share(
        self, host: Callable[..., RedisTicketKeys], server_file: Path, server: Redis
    ) -> None:
        """A host that joins has the keys of the others when it has started, the plan included."""
        first = host(period=100.0)
        second = host(period=100.0)
        assert names(first)[0] == names(second)[0]
        assert len(set(names(first)) & set(names(second))) >= 2
        until(lambda: set(names(first)) == set(names(second)) == set(server.records()))
        assert resumes(server_file, first.keys, second.keys)
        assert not resumes(server_file, first.keys, TicketKeys([TicketKey.generate()]))

    def test_the_first_hosts_at_once(self, server: Redis) -> None:
        """Hosts that start at one time, on an empty Redis, come to the same keys."""
        hosts = [RedisTicketKeys(server.url, **{**FAST, "period": 100.0}) for _ in range(6)]
        threads = [threading.Thread(target=one.start) for one in hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        rings = [names(one) for one in hosts]
        for one in hosts:
            one.close()
        assert [ring[0] for ring in rings] == rings[0][:1] * 6
        # One for now and the next; the one after that may just have been made.
        assert len(server.records()) in (2, 3)

    def test_by_notice(self, host: Callable[..., RedisTicketKeys], server: Redis) -> None:
        """A host that would ask in minutes only has a new key as soon as it is made."""
        server.seed()
        maker = host(period=2.0)
        server.client.set(f"{PREFIX}:lock", "not the follower, who would make many", px=99_000)
        follower = host(period=2.0, poll_interval=100.0)
        known = set(names(follower))
        server.client.delete(f"{PREFIX}:lock")
        until(lambda: set(names(maker)) - known)
        until(lambda: set(names(follower)) - known)

    def test_by_polling(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A host that may not subscribe follows all the same, says so once, and shows no word."""
        server.client.acl_setuser(
            "deaf", enabled=True, passwords=["+open sesame"], keys=["*"], categories=["+@all"]
        )
        server.client.execute_command("ACL", "SETUSER", "deaf", "-subscribe", "-psubscribe")
        server.seed()
        maker = host()
        url = server.url.replace("unix://", "unix://deaf:open%20sesame@")
        follower = host(url)
        known = set(names(follower))
        until(lambda: set(names(maker)) - known)
        until(lambda: set(names(follower)) - known)
        assert len(messages(caplog, "no notices from Redis (NoPermissionError")) == 1
        assert not messages(caplog, "Redis is away")
        assert "sesame" not in caplog.text + repr(follower)

    def test_client_of_ones_own(self, host: Callable[..., RedisTicketKeys], server: Redis) -> None:
        """A client that answers in text does as well, and is not closed."""
        server.seed()
        first = host()
        second = host(server.client)
        assert set(names(second)) & set(names(first))
        second.close()
        assert server.client.ping()

    def test_purposes(
        self, host: Callable[..., RedisTicketKeys], server: Redis, server_file: Path
    ) -> None:
        """Hosts agree on the keys for a purpose, and keep purposes apart."""
        server.seed()
        hosts = [host(period=30.0, accept_for=60.0) for _ in "12"]
        until(lambda: names(hosts[0])[0] == names(hosts[1])[0])
        contexts = [tls.server_context(server_file) for _ in range(3)]
        purposes = (hosts[0], b"members"), (hosts[1], b"members"), (hosts[1], b"others")
        for context, (one, purpose) in zip(contexts, purposes, strict=True):
            set_ticket_keys(context, one.keys, purpose)
        for context, is_resumed in zip(contexts, (True, True, False), strict=True):
            session = tls.Pair(contexts[0], tls.client_context()).handshake().session()
            copied = SSL.Session.from_der(session.to_der())
            assert tls.Pair(context, tls.client_context(), copied).handshake().reused is is_resumed
        encrypted, decrypted = hosts[1].keys.stats().keys[bytes.fromhex(names(hosts[1])[0])]
        assert (encrypted, decrypted, hosts[1].keys.stats().unknown) == (3, 1, 1)

    def test_prefix(self, host: Callable[..., RedisTicketKeys], server: Redis) -> None:
        """Hosts with different prefixes do not meet."""
        assert not set(names(host(prefix="one"))) & set(names(host(prefix="two")))
        assert {key.split(":")[0] for key in server.client.scan_iter()} == {"one", "two"}

    def test_expiry(self, host: Callable[..., RedisTicketKeys], server: Redis) -> None:
        """A key is kept for its use and the accept time, and is then gone everywhere."""
        arguments: dict[str, Any] = {"period": 0.3, "accept_for": 0.2, "poll_interval": 0.05}
        hosts = [host(**arguments), host(**arguments)]
        gone = set(names(hosts[0]))
        until(lambda: names(hosts[0])[0] not in gone)
        for name, record in server.records().items():
            left = server.client.pttl(f"{PREFIX}:key:{name}")
            seconds, microseconds = server.client.time()
            begins = int(record[1]) - (seconds * 1000 + microseconds / 1000)
            # Until the end of its use, the accept time, and 2 times 1.1 seconds to be sure.
            assert begins + 300 + 200 < left < begins + 300 + 200 + 2200 + 1000
        assert 0 < server.client.pttl(f"{PREFIX}:keys") < 60_000
        until(lambda: not gone & {*names(hosts[0]), *names(hosts[1]), *server.records()})
        for one in hosts:
            assert len(names(one)) < 30

    def test_what_is_no_key(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """What others have written there is passed over, with one message."""
        bad = ["", "1", f"2 - {'00' * 32} {'00' * 32}", f"1 - {'00' * 32} 00", b"\xff \xff \xff 1"]
        bad.append(f"1 {'9' * 400} {'00' * 32} {'00' * 32}")
        for number, record in enumerate(bad):
            name = f"{number:032x}"
            server.client.sadd(f"{PREFIX}:keys", name)
            server.client.set(f"{PREFIX}:key:{name}", record)
        server.seed()
        one = host()
        known = set(names(one))
        until(lambda: set(names(one)) - known)
        assert not [name for name in names(one) if name.startswith("0" * 30)]
        assert len(messages(caplog, "ignoring openssl_tickets:key:")) == len(bad)
        assert not messages(caplog, "Redis is away")

    def test_plan_of_a_wrong_clock(
        self, host: Callable[..., RedisTicketKeys], server: Redis
    ) -> None:
        """A key that is to begin in a day, from when a clock was wrong, holds up nothing."""
        seconds, _ = server.client.time()
        name = "ab" * 16
        server.client.sadd(f"{PREFIX}:keys", name)
        record = f"1 {(seconds + 86_400) * 1000} {'01' * 32} {'02' * 32}"
        server.client.set(f"{PREFIX}:key:{name}", record, px=600_000)
        one = host()
        first = names(one)[0]
        assert first != name
        until(lambda: names(one)[0] not in (first, name))


class TestLock:
    def test_another_is_at_it(self, host: Callable[..., RedisTicketKeys], server: Redis) -> None:
        """While another host has the lock no key is made; it expires, should that host be gone."""
        server.seed()
        one, other = host(), host()
        until(lambda: server.client.set(f"{PREFIX}:lock", "another host", nx=True, px=99_000))
        until(lambda: set(names(one)) == set(names(other)) == set(server.records()))
        known = set(names(one))
        first = names(one)[0]
        until(lambda: names(one)[0] != first)  # which is the time of a rotation
        made = {*names(one), *names(other), *server.records()}
        assert made <= known
        server.client.pexpire(f"{PREFIX}:lock", 50)
        until(lambda: set(names(one)) - made and set(names(other)) - made)
        lasts = server.client.pttl(f"{PREFIX}:lock")
        assert lasts == -2 or 0 < lasts <= 4000

    def test_lock_that_was_lost(self, host: Callable[..., RedisTicketKeys], server: Redis) -> None:
        """A host that has lost the lock on the way stores no key, and leaves the lock alone."""
        taken = threading.Event()

        class Slow(redis.Redis):
            """Right after it has the lock, it expires, and another host gets it."""

            def set(self, name: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
                result = super().set(name, value, *args, **kwargs)
                if result and not taken.is_set():
                    super().set(name, "another host", px=99_000)
                    taken.set()
                return result

        one = RedisTicketKeys(Slow.from_url(server.url), **FAST)
        starting = threading.Thread(target=one.start)
        starting.start()
        assert taken.wait(TIMEOUT)
        assert server.client.get(f"{PREFIX}:lock") == "another host"
        # It has asked again, and so is through with the first time.
        asked = server.client.info("commandstats")["cmdstat_set"]["calls"]
        until(lambda: server.client.info("commandstats")["cmdstat_set"]["calls"] > asked + 1)
        assert server.records() == {}
        assert server.client.get(f"{PREFIX}:lock") == "another host"
        server.client.delete(f"{PREFIX}:lock")
        starting.join(TIMEOUT)
        assert set(names(one)) >= set(server.records()) != set()
        one.close()

    def test_lock_without_expiry(self, server: Redis, caplog: pytest.LogCaptureFixture) -> None:
        """A lock that somebody has left for good is given an expiry; keys are made after that."""
        server.client.set(f"{PREFIX}:lock", "nobody")
        first = RedisTicketKeys(server.url, **FAST)
        first.start(require_connected=True)
        with first:
            assert set(names(first)) & set(server.records())
            until(lambda: server.client.set(f"{PREFIX}:lock", "nobody", nx=True))
            known = set(server.records())
            until(lambda: set(server.records()) - known)
        assert len(messages(caplog, f"the lock {PREFIX}:lock had no expiry")) == 2

    def test_lock_that_is_kept(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """When no key is made for long, since others keep the lock, it is said, once."""
        one = host()
        until(lambda: server.client.set(f"{PREFIX}:lock", "another", nx=True, px=99_000))
        until(lambda: one.state().problem)
        assert one.state().problem == f"no next key: another host holds the lock {PREFIX}:lock"
        assert one.state().next_rotation is None
        assert one.connected
        server.client.delete(f"{PREFIX}:lock")
        until(lambda: one.state().problem is None)
        assert one.state().next_rotation is not None
        assert len(messages(caplog, "no next ticket key for")) == 1
        assert len(messages(caplog, "there is a next ticket key again")) == 1


class TestClock:
    def test_suspended(self, server: Redis, server_file: Path, tmp_path: Path) -> None:
        """
        A host that was suspended, with its clock, until its keys were over brings none of them
        back, and takes over what the others use.
        """
        arguments = {"period": 1.0, "accept_for": 0.0, "poll_interval": 0.1}
        with contextlib.ExitStack() as ends:
            hosts = []
            for number in range(2):
                log = tmp_path / f"{number}.log"
                hosts.append(Host(server_file, server.url, log, arguments))
                ends.callback(hosts[-1].kill)
            for one in hosts:
                one.wait_for_start()
            suspended, other = hosts
            old = set(suspended.do("state")["names"])
            suspended.send_signal(signal.SIGSTOP)
            until(lambda: not old & {*server.records(), *other.do("state")["names"]})
            before = server.client.info("commandstats")["cmdstat_evalsha"]["calls"]
            suspended.send_signal(signal.SIGCONT)
            until(lambda: suspended.do("state")["names"][0] == other.do("state")["names"][0])
            # Both have asked several times more.
            seen = set[str]()

            def have_asked() -> bool:
                seen.update(server.records(), other.do("state")["names"])
                calls = server.client.info("commandstats")["cmdstat_evalsha"]["calls"]
                return bool(calls > before + 20)

            until(have_asked)
            assert not old & seen
            assert not old & set(suspended.do("state")["names"])

    def test_expired_key(self, host: Callable[..., RedisTicketKeys], server: Redis) -> None:
        """The Redis itself takes in no key that is over by its clock, whatever a host believes."""
        server.seed()
        one, seconds = host(), server.client.time()[0]
        for drop, is_taken in ((seconds - 1, False), (seconds + 60, True)):
            held = _Held(TicketKey.generate(), None, 0.0, drop)
            one._put([held])
            assert (held.key.name.hex() in server.records()) is is_taken


class TestConfiguration:
    """What cannot work is an error, if asked for, and is said in any case, without passwords."""

    @staticmethod
    def free_port() -> int:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
            return port

    @pytest.mark.parametrize(
        ("case", "reason"),
        [
            ("nobody listens", "ConnectionError: No such file or directory"),
            ("host", "ConnectionError: its host name is unknown"),
            ("password", "AuthenticationError: the user name or the password is wrong or missing"),
            ("keys", "[A-Za-z]+: the user's access control does not allow"),
            ("commands", "[A-Za-z]+: the user's access control does not allow"),
            ("type", "ResponseError: it has other data under this prefix"),
            ("cluster", "[A-Za-z]+: it is a cluster, which is not supported"),
            ("replica", "[A-Za-z]+: it is a replica, and stores no keys"),
            ("certificate", "ConnectionError: its certificate is not accepted: unable to get"),
            ("no TLS", "TimeoutError: it does not answer in time"),
            ("pool", "[A-Za-z]+: the client's pool has no connection left"),
            ("lock", "no host makes a key: does one hold openssl_tickets:lock?"),
        ],
    )
    def test_connected_is_required(
        self,
        server: Redis,
        server_file: Path,
        caplog: pytest.LogCaptureFixture,
        case: str,
        reason: str,
    ) -> None:
        url: Any = server.url.replace("unix://", "unix://someone:sesame@")
        if case == "nobody listens":
            url = f"unix://{server.folder}/nothing"
        elif case == "host":
            url = "redis://:sesame@no.such.host.invalid:6379/0"
        elif case in ("keys", "commands"):
            rules = "reset on >sesame &* "
            rules += "%R~* +@all" if case == "keys" else "~* +@read +@write +@scripting +@pubsub"
            server.client.execute_command("ACL", "SETUSER", "someone", *rules.split(" "))
        elif case in ("certificate", "no TLS"):
            port = str(self.free_port())
            files = [f"--tls-{kind}-file" for kind in ("cert", "key", "ca-cert")]
            tls_options = [option for file in files for option in (file, str(server_file))]
            tls_options += ["--tls-port", port, "--tls-auth-clients", "no"]
            server.restart(*(tls_options if case == "certificate" else ["--port", port]))
            url = f"rediss://127.0.0.1:{port}/0"
        elif case == "pool":
            url = redis.Redis.from_url(server.url, max_connections=1)
            url.connection_pool.get_connection()
        elif case != "password":
            url = server.url
        if case == "type":
            server.client.set(f"{PREFIX}:keys", "no set")
        elif case == "cluster":
            server.kill()
            server.lose_all()
            port = str(self.free_port() % 50_000 + 2_000)
            server.start("--cluster-enabled", "yes", "--port", port)
            server.client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
            until(lambda: server.client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        elif case == "replica":
            server.client.execute_command("REPLICAOF", "127.0.0.1", "1")
        elif case == "lock":
            server.client.set(f"{PREFIX}:lock", "another host", px=99_000)
        one = RedisTicketKeys(url, **FAST)
        with pytest.raises(
            ConnectionError, match=f"^the Redis cannot be used: ({reason})"
        ) as caught:
            one.start(require_connected=True)
        assert caught.value.__context__ is None
        with pytest.raises(RuntimeError, match="call start"):
            _ = one.keys
        assert one.state().problem == "not started in this process"
        assert not [each for each in threading.enumerate() if each.name == LOGGER]
        caplog.clear()
        if case != "lock":
            with one:
                assert re.search(reason, str(one.state().problem))
                assert len(names(one)) == 1
            said = messages(caplog, "Redis is away")
            assert len(said) == 1
            assert re.search(reason, said[0])
        assert "sesame" not in caplog.text + str(caught.value) + repr(one)

    @pytest.mark.parametrize(
        "error",
        [
            redis.ConnectionError("Redis(password=sesame)"),
            redis.ResponseError("sesame"),
            OSError(errno.EIO, "sesame"),
            ValueError("sesame"),
        ],
        ids=repr,
    )
    def test_what_errors_say(
        self, server: Redis, caplog: pytest.LogCaptureFixture, error: Exception
    ) -> None:
        """What an error of redis-py's says may be a password, and is shown to nobody."""

        class Talkative(redis.Redis):
            def execute_command(self, *args: Any, **options: Any) -> Any:
                raise error

        one = RedisTicketKeys(Talkative.from_url(server.url), **FAST)
        with pytest.raises(ConnectionError, match=type(error).__name__) as caught:
            one.start(require_connected=True)
        with one:
            shown = repr(one.state()) + str(caught.value) + caplog.text
        assert "sesame" not in shown
        assert type(error).__name__ in shown

    def test_never_started(self, server: Redis) -> None:
        """The keys of a host that was never started, which nobody else has, are not handed out."""
        one = RedisTicketKeys(server.url, **FAST)
        with pytest.raises(RuntimeError, match=r"^call start\(\) first: until then no other host"):
            _ = one.keys
        assert one.state().connected_since is None
        with one:
            before = one.keys
        assert one.keys is before


class TestState:
    def test_state(self, host: Callable[..., RedisTicketKeys], server: Redis) -> None:
        """It tells since when there is a Redis, how old the key is, and when the next comes."""
        server.seed()
        began = time.time()
        one = host(period=3.0)
        state = one.state()
        assert state.problem is None
        assert state.connected_since is not None
        assert state.last_success is not None
        assert began <= state.connected_since <= state.last_success <= time.time()
        assert state.keys == len(names(one))
        until(lambda: (one.state().next_rotation or 99) < 3.0)
        assert 0 <= one.state().key_age < 10
        first = names(one)[0]
        until(lambda: names(one)[0] != first)
        assert one.state().key_age < 3.0
        assert (one.state().last_success or 0) > state.last_success
        server.kill()
        until(lambda: not one.connected)
        away = one.state()
        assert away.connected_since is None
        assert "Connection refused" in str(away.problem)
        assert away.last_success is not None
        server.start()
        until(lambda: one.connected)
        assert one.state().problem is None
        assert (one.state().connected_since or 0) > away.last_success


class Events:
    """What on_event was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def __call__(self, event: str, state: Any) -> None:
        self.seen.append((event, state))

    def __contains__(self, event: str) -> bool:
        return event in [name for name, _ in self.seen]


class TestEvents:
    def test_events(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The program is told of each rotation, of an outage and its end, and that none rotates."""
        caplog.set_level(logging.INFO, LOGGER)
        events = Events()
        one = host(on_event=events)
        until(lambda: "rotated" in events)
        assert events.seen[-1][1].key_age < 1.0
        assert messages(caplog, "ticket key ")
        server.kill()
        until(lambda: "away" in events)
        assert "back" not in events
        assert events.seen[-1][1].problem is not None
        server.start()
        until(lambda: "back" in events)
        assert events.seen[-1][1].problem is None
        until(lambda: server.client.set(f"{PREFIX}:lock", "another", nx=True, px=99_000))
        until(lambda: "cannot rotate" in events)
        assert one.connected
        assert [name for name, _ in events.seen].count("away") == 1

    def test_callback_that_raises(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """What it raises is logged, and the keys go on."""

        def on_event(event: str, state: Any) -> None:
            raise LookupError("on purpose")

        one = host(on_event=on_event)
        first = names(one)[0]
        until(lambda: names(one)[0] != first)
        assert messages(caplog, "on_event has failed for 'rotated'")
        assert one.state().problem is None


class TestForget:
    @pytest.mark.parametrize("which", ["in use", "next", "all"])
    def test_forget(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        server_file: Path,
        which: str,
    ) -> None:
        """A key that is forgotten is gone everywhere, and no host puts it back."""
        slow = {"period": 30.0, "accept_for": 60.0}
        server.seed()
        one, other = host(**slow), host(**slow)
        until(lambda: len(server.records()) > 1 and set(names(one)) == set(server.records()))
        until(lambda: names(one) == names(other))
        current, following, *_ = names(one)
        leaked = {"in use": [current], "next": [following]}
        gone = leaked.get(which, names(one))
        for name in gone:
            one.forget(bytes.fromhex(name))
        until(lambda: not set(gone) & {*names(one), *names(other), *server.records()})
        until(lambda: names(one)[0] == names(other)[0])
        assert resumes(server_file, one.keys, other.keys)
        # A Redis that comes back empty is not given it either, nor told to a host that is new.
        server.kill()
        server.lose_all()
        server.start()
        until(lambda: one.connected and other.connected and server.records())
        third = host(**slow)
        until(lambda: names(third)[0] == names(one)[0])
        for each in (one, other, third):
            assert not set(gone) & set(names(each))
        assert not set(gone) & set(server.records())
        held = _Held(TicketKey(bytes.fromhex(gone[0]), bytes(32), bytes(32)), None, 0.0, 1e12)
        one._put([held])
        assert gone[0] not in server.records()

    def test_host_that_was_away(self, host: Callable[..., RedisTicketKeys], server: Redis) -> None:
        """A host that is cut off has the key until it is back, and then drops it."""
        server.seed()
        slow = {"period": 30.0, "accept_for": 60.0}
        one = host(**slow)
        leaked = names(one)[0]
        with server.suspended():
            until(lambda: not one.connected)
            with pytest.raises(ConnectionError, match=r"^the Redis cannot be used: TimeoutError"):
                one.forget(bytes.fromhex(leaked))
            assert leaked in names(one)
        until(lambda: one.connected)
        one.forget(bytes.fromhex(leaked))
        assert leaked not in names(one)

    def test_refused(self, host: Callable[..., RedisTicketKeys], server: Redis) -> None:
        server.seed()
        one = host()
        before = names(one)
        unfit: Any = before[0]
        with pytest.raises(TypeError, match="key_name must be bytes, not str"):
            one.forget(unfit)
        with pytest.raises(ValueError, match="key_name must have 16 bytes, not 3"):
            one.forget(b"abc")
        one.close()
        with pytest.raises(RuntimeError, match=r"call start\(\) first"):
            one.forget(bytes(16))


class TestSecret:
    SECRET = bytes(range(32))

    def test_sealed(
        self, host: Callable[..., RedisTicketKeys], server: Redis, server_file: Path
    ) -> None:
        """Hosts with the secret share keys, and the Redis has nothing that opens a ticket."""
        one, other = (host(secret=self.SECRET, period=5.0) for _ in "12")
        until(lambda: set(names(one)) & set(names(other)) & set(server.records()))
        until(lambda: names(one)[0] == names(other)[0])
        assert resumes(server_file, one.keys, other.keys)
        stored = " ".join(" ".join(record) for record in server.records().values())
        aof = b"".join(path.read_bytes() for path in server.folder.rglob("*aof") if path.is_file())
        for key in one.keys.keys:
            for secret in (key.hmac_key, key.aes_key):
                assert secret.hex() not in stored
                assert secret.hex().encode() not in aof
        assert aof

    @pytest.mark.parametrize("theirs", [None, bytes(32)], ids=["none", "another"])
    def test_reader_without_it(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        caplog: pytest.LogCaptureFixture,
        theirs: bytes | None,
    ) -> None:
        """A host without the secret has nothing, and says so; and its keys are not taken."""
        one = host(secret=self.SECRET, period=30.0, accept_for=60.0)
        until(server.records)
        foreign = RedisTicketKeys(server.url, **FAST, secret=theirs)
        match = "keys under openssl_tickets:\\* cannot be read: do all hosts have the same secret"
        with pytest.raises(ConnectionError, match=match):
            foreign.start(require_connected=True)
        with foreign:
            until(lambda: "cannot be read" in str(foreign.state().problem))
            assert not set(names(foreign)) & set(names(one))
            until(lambda: "cannot be read" in str(one.state().problem))
            assert not set(names(foreign)) & set(names(one))
        assert messages(caplog, "ignoring openssl_tickets:key:")
        assert self.SECRET.hex() not in caplog.text

    def test_change(self, host: Callable[..., RedisTicketKeys], server: Redis) -> None:
        """[old], [old, new], [new, old]: each host reads what each other has stored."""
        old, new = self.SECRET, bytes(32)
        hosts = [host(secret=secret) for secret in (old, [old, new])]
        until(lambda: set(names(hosts[0])) & set(names(hosts[1])))
        hosts[0].close()
        hosts.append(host(secret=[new, old]))
        known = set(server.records())
        until(lambda: len(set(server.records()) - known) > 2)
        assert [one.state().problem for one in hosts[1:]] == [None, None]
        until(lambda: names(hosts[1])[0] == names(hosts[2])[0])

    def test_changed_record(self, host: Callable[..., RedisTicketKeys], server: Redis) -> None:
        """Nobody can have a key begin at another time, or go under another name."""
        one = host(secret=self.SECRET, period=30.0, accept_for=60.0)
        until(server.records)
        for name, (version, begins, sealed) in server.records().items():
            for bad_name, bad_begins in (("ab" * 16, begins), (name, "-")):
                server.client.sadd(f"{PREFIX}:keys", bad_name)
                record = f"{version} {bad_begins} {sealed}"
                server.client.set(f"{PREFIX}:key:{bad_name}", record, px=60_000)
        until(lambda: one.state().problem)
        assert "ab" * 16 not in names(one)

    @pytest.mark.parametrize("secret", [b"", bytes(31), "x" * 32, [], [bytes(32)] * 2, 3.0])
    def test_refused(self, server: Redis, secret: Any) -> None:
        with pytest.raises((TypeError, ValueError)) as caught:
            RedisTicketKeys(server.url, secret=secret)
        assert "xxx" not in str(caught.value)


# As in the documentation: docs/recipes/fleet.md.
ACL = """
reset on >sesame ~openssl_tickets:* &openssl_tickets:* -@all
+evalsha +script|load +set +get +del +pttl +pexpire +smembers +sismember +sadd +srem +time
+publish +subscribe
"""


class TestAcl:
    def test_least(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """What the documentation gives to the hosts is enough for all that they do."""
        page = (Path(__file__).parents[2] / "docs/recipes/fleet.md").read_text()
        assert " ".join(ACL.split()[3:]) in " ".join(page.replace("\\\n", " ").split())
        self.allow(server, ACL.split())
        url = server.url.replace("unix://", "unix://host:sesame@")
        one, other = (host(url, secret=bytes(32)) for _ in "12")
        first = names(one)[0]
        until(lambda: names(one)[0] != first)
        one.forget(bytes.fromhex(names(one)[0]))
        until(lambda: names(one)[0] == names(other)[0])
        said = [record for record in caplog.records if record.name == LOGGER]
        assert [record for record in said if "is forgotten" not in record.getMessage()] == []
        denied = server.client.acl_log()
        assert [each for each in denied if "setinfo" not in str(each["object"])] == []

    @pytest.mark.parametrize("rule", [rule for rule in ACL.split() if rule[0] in "+~&"])
    def test_nothing_to_spare(self, server: Redis, rule: str) -> None:
        """Without any one of the rules something is denied."""
        rules = [each for each in ACL.split() if each != rule]
        self.allow(server, rules)
        url = server.url.replace("unix://", "unix://host:sesame@")
        with RedisTicketKeys(url, **FAST) as one:
            if rule == "+del":
                with contextlib.suppress(ConnectionError):
                    one.forget(bytes(16))
            if rule == "+pexpire":
                server.client.set(f"{PREFIX}:lock", "somebody, for good")
            until(server.client.acl_log)

    @staticmethod
    def allow(server: Redis, rules: list[str]) -> None:
        server.client.execute_command("ACL", "SETUSER", "host", *rules)


class TestTls:
    def test_tls(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        server_file: Path,
        ca_file: Path,
    ) -> None:
        """Hosts whose Redis is behind TLS, and has a certificate of an authority that is named."""
        port = str(TestConfiguration.free_port())
        files = [("cert", server_file), ("key", server_file), ("ca-cert", ca_file)]
        options = [each for kind, file in files for each in (f"--tls-{kind}-file", str(file))]
        server.restart(*options, "--tls-port", port, "--tls-auth-clients", "no")
        url = f"rediss://localhost:{port}/0?ssl_ca_certs={ca_file}"
        one, other = (RedisTicketKeys(url, **FAST) for _ in "12")
        for each in (one, other):
            each.start(require_connected=True)
        with one, other:
            first = names(one)[0]
            until(lambda: names(one)[0] != first)
            until(lambda: names(one)[0] == names(other)[0])
            assert resumes(server_file, one.keys, other.keys)


class TestSentinel:
    def test_failover(
        self, server_file: Path, tmp_path: Path, program: Callable[[str], str]
    ) -> None:
        """When the primary dies, the hosts go on with what the Sentinel makes the primary."""
        program("redis-server")
        ports = [TestConfiguration.free_port() for _ in range(3)]
        config = tmp_path / "sentinel.conf"
        config.write_text(
            f"port {ports[2]}\nbind 127.0.0.1\ndir {tmp_path}\n"
            f"sentinel monitor fleet 127.0.0.1 {ports[0]} 1\n"
            "sentinel down-after-milliseconds fleet 500\n"
            "sentinel failover-timeout fleet 2000\n"
        )
        plain = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
        commands = [
            [*plain, "--port", str(ports[0])],
            [*plain, "--port", str(ports[1]), "--replicaof", "127.0.0.1", str(ports[0])],
            ["redis-server", str(config), "--sentinel"],
        ]
        with contextlib.ExitStack() as ends:
            processes_of = []
            for command in commands:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
                )
                processes_of.append(process)
                ends.callback(process.wait, TIMEOUT)
                ends.callback(process.kill)
            sentinels: Any = redis.sentinel.Sentinel
            sentinel = sentinels([("127.0.0.1", ports[2])], socket_timeout=1.0)
            ends.callback(sentinel.sentinels[0].close)

            def has_replica() -> bool:
                with contextlib.suppress(redis.RedisError):
                    return bool(sentinel.discover_slaves("fleet"))
                return False

            until(has_replica)
            hosts = []
            for _ in range(2):
                client = sentinel.master_for("fleet", socket_timeout=1.0)
                ends.callback(client.close)
                hosts.append(RedisTicketKeys(client, **FAST))
                hosts[-1].start(require_connected=True)
                ends.enter_context(hosts[-1])
            first = names(hosts[0])[0]
            processes_of[0].kill()
            until(lambda: not hosts[0].connected)
            until(lambda: all(each.connected for each in hosts))
            assert sentinel.discover_master("fleet") == ("127.0.0.1", ports[1])
            until(lambda: names(hosts[0])[0] != first)
            until(lambda: names(hosts[0])[0] == names(hosts[1])[0])
            assert resumes(server_file, hosts[0].keys, hosts[1].keys)


class TestAway:
    def test_it_is_said_once(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A host says that the Redis is away, goes on by the plan, and says that it is back."""
        server.seed()
        caplog.set_level(logging.DEBUG)
        one = host()
        assert one.connected
        server.kill()
        until(lambda: not one.connected)
        first = names(one)[0]
        until(lambda: names(one)[0] != first)  # which is many polls later
        assert len(messages(caplog, "Redis is away (ConnectionError")) == 1
        assert not messages(caplog, "Redis is back")
        server.start()
        until(lambda: one.connected)
        until(lambda: set(names(one)) <= set(server.records()))
        assert len(messages(caplog, "Redis is away")) == 1
        assert len(messages(caplog, "Redis is back")) == 1

    def test_nothing_is_lost_with_an_empty_redis(
        self, host: Callable[..., RedisTicketKeys], server: Redis
    ) -> None:
        """What the Redis has lost is put back; all keep the key that encrypts, and the plan."""
        server.seed()
        hosts = [host(period=1000.0), host(period=1000.0)]
        before = server.records()
        for _ in range(2):
            server.client.flushall()
            until(lambda: server.records().keys() >= before.keys())
        assert server.records().keys() == before.keys()
        for name, (_, begins, *secrets) in server.records().items():
            assert secrets == before[name][2:]
            assert abs(int(begins) - int(before[name][1])) < 500
        newcomer = host(period=1000.0)
        assert names(newcomer) == names(hosts[0]) == names(hosts[1])

    def test_newcomer_in_an_empty_redis(
        self, host: Callable[..., RedisTicketKeys], server: Redis, server_file: Path
    ) -> None:
        """A host that starts when the Redis has just lost all has tickets that cross at once."""
        server.seed()
        old = host(period=1000.0)
        server.kill()
        server.lose_all()
        until(lambda: not old.connected)
        server.start()
        new = host(period=1000.0)
        assert resumes(server_file, new.keys, old.keys)
        assert resumes(server_file, old.keys, new.keys)
        until(lambda: names(old) == names(new) and len(names(old)) >= 3)

    def test_start_while_away(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        server_file: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A host that starts without the Redis has a key of its own, which the others get."""
        old = host(period=1000.0)
        server.kill()
        until(lambda: not old.connected)
        news = [host(period=1000.0), host(period=1000.0)]
        owns = [names(new) for new in news]
        assert [len(own) for own in owns] == [1, 1]
        assert not resumes(server_file, news[0].keys, old.keys)
        alone = TicketKeys(news[0].keys.keys)
        server.start()
        until(lambda: all({*owns[0], *owns[1]} < set(names(one)) for one in (old, *news)))
        assert len({names(one)[0] for one in (old, *news)}) == 1
        assert names(old)[0] not in owns[0] + owns[1]
        assert resumes(server_file, alone, old.keys)
        assert resumes(server_file, alone, news[1].keys)
        assert len(messages(caplog, "Redis is away")) == 3

    def test_redis_that_hangs(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A Redis that does not answer is away too, for those that start as well."""
        server.seed()
        one = host()
        with server.suspended():
            until(lambda: not one.connected)
            other = host()
            assert len(names(other)) == 1
            other.close()
            assert len(messages(caplog, "Redis is away (TimeoutError")) == 2
        until(lambda: one.connected)

    def test_one_connection(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """With one connection in the pool the Redis is asked, cannot tell, and is never away."""
        server.seed()
        one = host(f"{server.url}?max_connections=1")
        first = names(one)[0]
        until(lambda: first not in names(one)[:2])  # which is many polls later
        assert messages(caplog, "Redis is") == []

    def test_it_comes_and_goes(
        self,
        host: Callable[..., RedisTicketKeys],
        server: Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """What fails each second time is said less and less often."""
        server.seed()

        class Flapping(redis.Redis):
            calls = 0

            def execute_command(self, *args: Any, **options: Any) -> Any:
                type(self).calls += 1
                if self.calls % 4 == 0:
                    raise redis.ConnectionError
                return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

        began = time.monotonic()
        host(Flapping.from_url(server.url))
        until(lambda: Flapping.calls > 100)
        # Each pause is twice as long as the one before: 0.1, 0.2, 0.4 seconds, and so on.
        expected = math.log2((time.monotonic() - began) / FAST["poll_interval"]) + 2
        assert 1 <= len(messages(caplog, "Redis is away")) <= expected
        assert len(messages(caplog, "Redis is back")) <= expected

    def test_restart(self, host: Callable[..., RedisTicketKeys], server: Redis) -> None:
        """A host that was closed can be started again, and two starts are refused."""
        server.seed()
        one = host()
        before = one.keys
        with pytest.raises(RuntimeError, match=r"^it is started already$"):
            one.start()
        states = [one.connected]
        one.close()
        one.close()
        states.append(one.connected)
        one.start()
        states.append(one.connected)
        assert states == [True, False, True]
        assert one.keys is before


class TestProcesses:
    """Each runs in a process of its own."""

    def run(self, server: Redis, program: str) -> str:
        """Runs *program* after a common beginning; it must end well and print no error."""
        source = textwrap.dedent(
            f"""
            import os, sys, time
            sys.path.append({str(Path(__file__).parents[2])!r})
            from openssl_tickets.redis_keys import RedisTicketKeys
            one = RedisTicketKeys({server.url!r}, **{FAST!r})
            """
        ) + textwrap.dedent(program)
        return processes.run(source)

    def test_exit(self, server: Redis) -> None:
        """The interpreter ends without a word while the thread follows."""
        server.seed()
        assert self.run(server, "one.start(); print(one.connected)") == "True\n"

    def test_without_redis_py(self) -> None:
        """Without redis-py, it is said what to install."""
        program = """
            import sys
            sys.modules["redis"] = None
            try:
                import openssl_tickets.redis_keys
            except ModuleNotFoundError as error:
                print(error)
        """
        assert "pip install 'openssl_tickets[redis]'" in processes.run(textwrap.dedent(program))

    def test_fork(self, server: Redis) -> None:
        """A forked child has the keys; it follows when it is started, and harms no one if not."""
        server.seed()
        output = self.run(
            server,
            """
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork with threads
            one.start()
            for is_started in False, True:
                child = os.fork()
                if not child:
                    names = [key.name for key in one.keys.keys]
                    assert not one.connected
                    assert one.state().problem == "not started in this process"
                    if is_started:
                        one.start()
                        assert one.connected
                        while not {key.name for key in one.keys.keys} - set(names):
                            time.sleep(0.01)
                        print("follows", flush=True)
                    one.close()
                    sys.exit()
                assert os.waitpid(child, 0)[1] == 0
            assert one.connected
            names = {key.name for key in one.keys.keys}
            while not {key.name for key in one.keys.keys} - names:
                time.sleep(0.01)
            one.close()
            print("ends")
            """,
        )
        assert output == "follows\nends\n"


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"period": 0.05}, ValueError, "period must be from 0.1 to 31622400 seconds"),
            ({"period": float("nan")}, ValueError, "period must be from 0.1"),
            ({"accept_for": -1}, ValueError, "accept_for must be from 0 to"),
            ({"poll_interval": 0}, ValueError, "poll_interval must be from 0.05 to"),
            ({"poll_interval": True}, TypeError, "poll_interval must be a number, not bool"),
            ({"period": "1"}, TypeError, "period must be a number, not str"),
            ({"prefix": b"x"}, TypeError, "prefix must be a str, not bytes"),
            ({"period": 1, "accept_for": 900}, ValueError, ".* more than 900 keys at a time"),
            ({"redis_client_or_url": None}, TypeError, ".* must be a redis.Redis or a str, not No"),
            ({"prefix": ""}, ValueError, "prefix must not be empty"),
            ({"prefix": "\udc80"}, ValueError, "prefix cannot be encoded in UTF-8"),
            *(
                ({"redis_client_or_url": url}, ValueError, f".* not the URL of a Redis: {message}")
                for url, message in (
                    ("nowhere", "it must begin with redis://"),
                    ("http://sesame@localhost", "it must begin with redis://"),
                    ("redis://:open/sesame@localhost:6379/0", "its host or port is wrong"),
                    ("redis://:open?sesame@localhost:6379/0", "its host or port is wrong"),
                    ("redis://[::1/sesame", "its host or port is wrong"),
                    ("redis://localhost/O", "its path must be the number of a database"),
                    (
                        "redis://localhost?socket_timeout=x",
                        r".* one of its options: socket_timeout",
                    ),
                    ("rediss://localhost?ssl_ca_cert=x.pem", ".* options: ssl_ca_cert$"),
                    ("unix://socket?open=sesame@", ".* one of its options: $"),
                )
            ),
        ],
    )
    def test_refused(self, arguments: Any, error: type[Exception], message: str) -> None:
        """A wrong argument is named, with what it must be."""
        with pytest.raises(error, match=f"^{message}") as caught:
            RedisTicketKeys(**{"redis_client_or_url": "redis://127.0.0.1", **arguments})
        assert "sesame" not in "".join(traceback.format_exception(caught.value)[-1:])
        assert error is TypeError or caught.value.__context__ is None or arguments.get("prefix")
