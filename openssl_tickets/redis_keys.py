"""
Ticket keys that a fleet of hosts shares through a Redis: random ones, which the hosts rotate.

Needs redis-py, which the extra ``redis`` brings; it is imported by name only::

    from openssl_tickets.redis_keys import RedisTicketKeys

Why every ticket finds its key
------------------------------

A ticket that host A has issued must be good for host B at once. So a key is *published* long before
it is *used*: each has a time from which on it encrypts, and until then all hosts only decrypt with
it. What follows holds for all hosts that are in contact with the Redis, which means that they read
all keys each ``poll_interval`` at the latest, each time within the timeout. Let ``settle`` be
``2 * poll_interval + timeout``.

- *A key is known before it is used.* The key after the one that encrypts is published ``lead``
  ahead of its use, which is a whole period, or ``2 * settle`` where that is more. By then each host
  has read it many times over. A host that is cut off goes on with the others for as long, by the
  same plan; only after that can they differ. Besides, no host uses a key sooner than ``settle``
  after it has *seen* it, whatever the plan says. A has seen it after it was published; ``settle``
  later B has read it, too. That needs no clocks that agree, only ones that run.
- *A key is kept after it was used.* It stays for ``accept_for`` after the end of its period, and
  ``2 * settle`` on top for hosts that are late to switch. A host that finds itself using a key for
  longer, since there is no other, has the Redis keep it for longer; and it never drops it itself.
- *Clocks.* The plan is in the time of the Redis server. Each host takes its ``TIME`` along with
  the keys, and counts from there with its own monotonic clock: the hosts' wall clocks do not
  matter, and may be anything. How far two hosts are apart is a part of one round trip to the Redis
  plus what their clocks have drifted since, and does no harm below ``settle``: a key that some use
  early or late all know anyway. Whether a key is over is judged by the Redis server's clock, and
  again by the Redis itself when a key is put back. So a host whose own clock stood still, as a
  virtual machine's does while it is suspended, brings no expired key back: it drops them, and takes
  over what the others use. If the Redis server's clock steps back, keys stay for longer. If it
  steps forward by more than ``accept_for``, older keys are dropped too early, and their tickets
  lead to full handshakes; the key in use is never dropped, and none is used too early, by the rule
  above.
- *One host at a time makes keys*, under a lock with an expiry; and the Redis takes a new key in
  only while the lock is the maker's, which one script checks and does. So a host that was asleep in
  the middle of it, and whose lock has expired, stores nothing. Keys that some host has are put back
  by whoever misses them, without a lock: they are the same keys, and the first to come is enough.
- *A Redis that comes back empty* is filled with what the hosts have, the plan included. A host that
  starts in just that moment, and finds nothing, makes a key like any other, to be used ``settle``
  later; by then the others have read it, and it has read theirs.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import re
import secrets
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from openssl_tickets._core.sealed import open_sealed, seal
from openssl_tickets._core.ticket_keys import TicketKey, TicketKeys, checked_secrets
from openssl_tickets._extras import needs_extra

with needs_extra("redis", "redis"):
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

logger = logging.getLogger(__name__)

_TIMEOUT_MIN = 1.0  # seconds; a busy machine is no outage
_MAX_PLANNED = 900  # keys; a ring has 1,000, and hosts that began on their own have some
_MAX_KEYS = 1000
_SECONDS_MAX = 366 * 24 * 3600.0
_PAUSE_MAX = 300.0  # seconds between two messages of a Redis that comes and goes
_VERSION, _SEALED_VERSION = "1", "2"  # of what is stored
_FORGOTTEN_FOR = 366 * 24 * 3600.0  # seconds, after which no host can have such a key

# All keys that are there, with how long they stay, the names of those that are to be forgotten, and
# the server's time.
_READ = """
local now, found = redis.call('TIME'), {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    local record = redis.call('GET', ARGV[1] .. name)
    if record then
        found[#found + 1] = {name, record, redis.call('PTTL', ARGV[1] .. name)}
    else
        redis.call('SREM', KEYS[1], name)
    end
end
return {now[1], now[2], found, redis.call('SMEMBERS', KEYS[2])}
"""

# Stores keys that are not there, and prolongs those that are, to the time that is given; but not
# those that are over by the server's clock, or to be forgotten. With a token it does so only while
# the lock has it; -1 says that it has not. Who may not publish still stores.
_PUT = """
if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[1] then
    return -1
end
local time, changed = redis.call('TIME'), 0
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 5, #ARGV, 3 do
    local key, stay = ARGV[2] .. ARGV[i], ARGV[i + 2] - now
    local left = redis.call('PTTL', key)
    if stay > 0 and redis.call('SISMEMBER', KEYS[3], ARGV[i]) == 0 then
        if left == -2 then
            redis.call('SET', key, ARGV[i + 1], 'PX', stay)
            changed = changed + 1
        elseif left >= 0 and left < stay then
            redis.call('PEXPIRE', key, stay)
            changed = changed + 1
        end
        redis.call('SADD', KEYS[1], ARGV[i])
        if redis.call('PTTL', KEYS[1]) < stay then
            redis.call('PEXPIRE', KEYS[1], stay)
        end
    end
end
if changed > 0 then
    redis.pcall('PUBLISH', ARGV[3], ARGV[4])
end
return changed
"""

# Removes keys for good: no host may put them back.
_FORGET = """
for i = 4, #ARGV do
    redis.call('SADD', KEYS[2], ARGV[i])
    redis.call('SREM', KEYS[1], ARGV[i])
    redis.call('DEL', ARGV[1] .. ARGV[i])
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.pcall('PUBLISH', ARGV[2], '')
return 1
"""

_UNLOCK = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0
"""

# A lock that somebody has left without an expiry would stay for good.
_UNSTICK = """
if redis.call('PTTL', KEYS[1]) == -1 then
    return redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return 0
"""

# What goes wrong, in our words: a text from below may have a password in it.
_REASONS = {
    r"AuthenticationError|WRONGPASS|NOAUTH": "the user name or the password is wrong or missing",
    r"NoPermissionError|NOPERM|ACL failure|can't run this command": (
        "the user's access control does not allow all commands that are needed, on <prefix>:*"
    ),
    r"WRONGTYPE": "what it has under this prefix is of another type: take another prefix",
    r"CROSSSLOT|ClusterCrossSlotError|MOVED|MovedError|AskError|ClusterDownError|non local key": (
        "it is a cluster, which is not supported: take a Redis that is none"
    ),
    r"READONLY|ReadOnlyError": "it is a replica, and stores no keys: name the primary",
    r"OOM|OutOfMemoryError": "its memory is full",
    r"MISCONF": "it cannot write to its disk, and stores no keys",
    r"LOADING|BusyLoadingError": "it is still reading its data",
    r"MasterNotFoundError": "the Sentinel knows no primary of this name",
    r"max number of clients": "it has as many clients as it may have",
    r"MaxConnectionsError|Too many connections|No connection available": "the client's pool has "
    "no connection left: give it two or more",
    r"gaierror": "the name of its host is not known",
    r"TimeoutError": "it does not answer in time",
}


@dataclass(frozen=True)
class RedisState:
    """How a :class:`RedisTicketKeys` is doing."""

    connected_since: float | None
    """Since when the Redis answers, as ``time.time()``; None if it does not."""
    last_success: float | None
    """When the keys were last read from it, as ``time.time()``; None if they never were."""
    key_age: float
    """For how many seconds the key in use has been encrypting, by the plan of all hosts."""
    keys: int
    """How many keys the ring has."""
    next_rotation: float | None
    """In how many seconds the next key encrypts; None if there is none yet."""
    problem: str | None
    """What is wrong, for people to read; None if nothing is."""


RedisEvent = Literal["away", "back", "rotated", "cannot rotate"]


class _Ring(NamedTuple):
    """The ring as it was set last; times are of our monotonic clock."""

    is_shared: bool
    began: float
    keys: int
    following: float | None


@dataclass
class _Held:
    """A key that is here; times are of our monotonic clock, but for the last."""

    key: TicketKey
    active: float | None
    """When it begins to encrypt; None for a host's own, which is never planned."""
    not_before: float
    """It does not begin before this, whatever the Redis says later."""
    drop: float
    """When it is over, in the time of the Redis server."""


class RedisTicketKeys:
    """
    Keys in a Redis, which all hosts of a fleet (and all their worker processes) share and rotate.

    Every ``period`` another random key encrypts, on all hosts; a key decrypts for ``accept_for``
    after that, and is then gone from the Redis and from the hosts. A thread follows the Redis: at
    once when it tells of a change, and each ``poll_interval`` in any case. Tickets are made and
    opened in C with what is in :attr:`keys`, and never wait for any of this.

    When the Redis is away, the hosts go on with the keys that they have, and log so, once, and once
    when it is back; then keys that it has lost are put back into it. A host that *starts* meanwhile
    has a random key of its own, which becomes known to the others as soon as it joins them. A wrong
    password, a certificate that is not trusted, a cluster and the like look the same, but for the
    reason in the log and in :meth:`state`: with ``start(require_connected=True)`` they are errors.

    *Without a secret, the keys are in the Redis in the clear.* Whoever can read it can decrypt
    every ticket, and the connections that are resumed without a key exchange of their own; whoever
    can write it can make tickets; its ``MONITOR`` and ``SLOWLOG`` show them, too. With a *secret*
    that all hosts have, and the Redis does not, they are encrypted there (AES-256-GCM), and what
    somebody else has written there is not taken. In either case give the Redis a password and
    access control, and have the connection in TLS (``rediss://``). What has passed through Python
    is not wiped from memory. Logs and ``repr`` have the names of keys only. All hosts must have the
    same prefix, ``period``, ``accept_for`` and secret. Deleting keys in the Redis does not make the
    hosts forget them, they put them back: call :meth:`forget` for a key that has leaked.

    Start it in each process, *after* a fork: a thread does not come along. :attr:`keys` is there
    once it has been started. What a forked child has without :meth:`start` are the keys as they
    were, and it does not follow; with :meth:`start` it follows from there. It is not to be started
    while other threads start or close it.

    Args:
        redis_client_or_url: such as ``"rediss://:password@host:6380/0"``, for a client with
            timeouts of a second, or of ``poll_interval`` if that is more; or a ``redis.Redis`` of
            one's own, which should have such timeouts and no retries (there is another try soon).
            If its pool has a single connection, the Redis is asked each ``poll_interval``, and
            cannot tell of changes.
        prefix: the beginning of all names in the Redis; fleets with different ones do not meet.
        period: for how many seconds a key encrypts.
        accept_for: seconds. At least as many as a ticket lives
            (:func:`openssl_tickets.get_session_timeout`), for no ticket to be refused before its
            time.
        poll_interval: seconds, from 0.05 on. It also says how soon an outage is noticed.
        secret: at least 32 bytes that nobody can guess, as from ``os.urandom(32)``. Or several: the
            first encrypts, and what was encrypted with the others can still be read. To change it,
            give all hosts ``[old, new]``, then all ``[new, old]``, and ``[new]`` when the keys of
            that time are over. A fleet that goes over to a secret needs another prefix.
        on_event: called in the thread as ``on_event(event, state)``, with a :class:`RedisState`.
            The event is "away" or "back", for the Redis; "rotated" when another key encrypts;
            "cannot rotate" when there is no next key although the Redis answers. It should return
            soon. What it raises is logged.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, they lead to too many keys at a time, the prefix is
            empty or cannot be encoded, a secret is too short, two are equal, or redis-py does not
            take the URL.
        Error: OpenSSL has no random bytes, or no memory.

    Example::

        shared = RedisTicketKeys("redis://127.0.0.1:6379/0")
        shared.start(require_connected=True)
        with shared:
            set_ticket_keys(context, shared.keys)
            serve(context)
    """

    _pid: int
    _id: str
    _own_channel: str
    _thread: threading.Thread | None
    _stop: threading.Event
    _settled: threading.Event
    _connected_since: float | None
    _reason: str | None
    _said_at: float
    _pause: float
    _is_said: bool
    _planned_at: float
    _cannot_rotate: bool
    _notices: Any
    _failed_notices: int

    def __init__(
        self,
        redis_client_or_url: redis.Redis | str,
        *,
        prefix: str = "openssl_tickets",
        period: float = 3600.0,
        accept_for: float = 7200.0,
        poll_interval: float = 1.0,
        secret: bytes | Sequence[bytes] | None = None,
        on_event: Callable[[RedisEvent, RedisState], object] | None = None,
    ) -> None:
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be a str, not {type(prefix).__name__}")
        try:
            prefix.encode()
        except UnicodeEncodeError:
            raise ValueError(f"prefix cannot be encoded in UTF-8: {prefix!r}") from None
        if not prefix:
            raise ValueError("prefix must not be empty")
        self._prefix = prefix
        self._period = _seconds("period", period, 0.1)
        self._accept_for = _seconds("accept_for", accept_for, 0.0)
        self._poll_interval = _seconds("poll_interval", poll_interval, 0.05)
        self._timeout = max(_TIMEOUT_MIN, self._poll_interval)
        self._settle = 2 * self._poll_interval + self._timeout
        self._lead = max(self._period, 2 * self._settle)
        self._stay = self._accept_for + 2 * self._settle  # from the end of its use on
        planned = (self._lead + self._stay) / self._period + 3
        if planned > _MAX_PLANNED:
            raise ValueError(
                f"a period of {self._period:g} seconds and accept_for of {self._accept_for:g} "
                f"seconds lead to more than {_MAX_PLANNED} keys at a time: make the period longer"
            )
        self._secrets = [] if secret is None else checked_secrets(secret)
        if on_event is not None and not callable(on_event):
            raise TypeError(f"on_event must be callable or None, not {on_event!r:.80}")
        self._on_event = on_event
        self._is_our_client = isinstance(redis_client_or_url, str)
        self._client: Any = _client(redis_client_or_url, self._timeout)
        self._read_script = self._client.register_script(_READ)
        self._put_script = self._client.register_script(_PUT)
        self._forget_script = self._client.register_script(_FORGET)
        self._unlock_script = self._client.register_script(_UNLOCK)
        self._unstick_script = self._client.register_script(_UNSTICK)
        # What waits for notices keeps a connection for itself.
        self._has_notices = getattr(self._client.connection_pool, "max_connections", 2) > 1

        own = TicketKey.generate()
        self._own: bytes | None = own.name
        self._is_own_used = False
        now = time.monotonic()
        self._held = {own.name: _Held(own, None, -math.inf, now + self._stay)}
        self._keys = TicketKeys([own])
        self._names = [own.name]
        self._ring = _Ring(False, now, 1, None)
        self._clock: float | None = None  # what is added to our clock for the server's
        self._last_success: float | None = None
        self._ignored: set[str] = set()
        self._forgotten: set[str] = set()
        self._unreadable = 0
        self._begin()

    @property
    def keys(self) -> TicketKeys:
        """
        The ring, for :func:`openssl_tickets.set_ticket_keys`; it is the same one always.

        Raises:
            RuntimeError: it was never started, so nobody else has these keys.
        """
        if not self._is_own_used:
            raise RuntimeError("call start() first: until then no other host knows these keys")
        return self._keys

    @property
    def connected(self) -> bool:
        """Whether the last word with the Redis was a good one; False in a forked child."""
        return self._connected_since is not None and self._pid == os.getpid()

    def state(self) -> RedisState:
        """
        Returns how things are now: whether the Redis answers, and how old the key in use is.

        In a process that was forked, and has not started it, the keys grow old: that is its
        ``problem``, and ``connected_since`` is None.

        Example::

            state = shared.state()
            if state.problem is not None:
                alert(f"ticket keys: {state.problem}, the key is {state.key_age:.0f} s old")
        """
        ring, now = self._ring, time.monotonic()
        if self._thread is None or self._pid != os.getpid():
            problem: str | None = "not started in this process"
        else:
            problem = self._reason
            if problem is None and self._unreadable:
                problem = self._says_unreadable()
            if problem is None and self._cannot_rotate:
                problem = f"no next key: another host keeps the lock {self._prefix}:lock"
        return RedisState(
            connected_since=self._connected_since if self.connected else None,
            last_success=self._last_success,
            key_age=max(0.0, now - ring.began),
            keys=ring.keys,
            next_rotation=None if ring.following is None else max(0.0, ring.following - now),
            problem=problem,
        )

    def start(self, *, require_connected: bool = False) -> None:
        """
        Joins the others, and follows them from now on, in a thread.

        It returns as soon as there is a key that all hosts know: at once if the Redis has one. If
        it has none, as for the very first hosts, that is later: by twice ``poll_interval`` plus the
        timeout, which is a second, or ``poll_interval`` if that is more. It does not wait for a
        Redis that is away.

        Args:
            require_connected: whether it is an error if the Redis cannot be used now. If not, the
                host goes on with a random key of its own, logs the reason, and tries again.

        Raises:
            RuntimeError: it is started already.
            ConnectionError: the Redis cannot be used, or has keys that were encrypted with another
                secret, with the reason; nothing is started.
        """
        if self._thread is not None and self._pid == os.getpid():
            raise RuntimeError("it is started already")
        self._begin()
        self._thread = threading.Thread(target=self._follow, name=__name__, daemon=True)
        self._thread.start()
        # A daemon thread that is still at it when the interpreter goes down could make noise.
        atexit.register(self.close)
        # The lock of a host that has died on the way may have to expire first.
        self._settled.wait(2 * self._settle + self._lock_expiry)
        is_shared = self.connected and self._ring.is_shared
        if require_connected and (self._unreadable or not is_shared):
            reason = self._reason or f"no host makes a key: is {self._prefix}:lock kept by one?"
            if self._unreadable:
                reason = self._says_unreadable()
            self.close()
            raise ConnectionError(f"the Redis cannot be used: {reason}")
        self._is_own_used = True

    def forget(self, key_name: bytes) -> None:
        """
        Drops a key that has leaked, on all hosts and in the Redis; no host puts it back.

        Its tickets lead to full handshakes. If it is the key that encrypts, the hosts go back to
        the one before, or take the next. It returns when this host has dropped it; the others do so
        within the second or so that a notice or ``poll_interval`` takes. A host that is cut off
        from the Redis does so when it is back; a forked child that was not started does not.

        Args:
            key_name: the name of the key (:attr:`openssl_tickets.TicketKey.name`,
                :attr:`openssl_tickets.Session.key_name`).

        Raises:
            TypeError: *key_name* is not bytes.
            ValueError: it has not 16 bytes. A name that no host has is taken: the key may come yet.
            RuntimeError: it is not started in this process.
            ConnectionError: the Redis cannot be used, with the reason; the key is still in use.
            TimeoutError: the Redis has dropped it, but this host does not follow.
        """
        if not isinstance(key_name, bytes):
            raise TypeError(f"key_name must be bytes, not {type(key_name).__name__}")
        if len(key_name) != 16:
            raise ValueError(f"key_name must have 16 bytes, not {len(key_name)}")
        if self._thread is None or self._pid != os.getpid():
            raise RuntimeError("call start() first: this process does not follow the Redis")
        reason: str | None = None
        try:
            self._forget_in_redis([key_name.hex()])
        except (redis.RedisError, OSError) as error:
            reason = _reason(error)
        if reason is not None:  # without the context, which may show a password
            raise ConnectionError(f"the Redis cannot be used: {reason}")
        end = time.monotonic() + 2 * self._settle
        while key_name in self._names or key_name.hex() not in self._forgotten:
            if time.monotonic() > end:
                raise TimeoutError("the Redis has dropped the key, but this host does not follow")
            time.sleep(0.01)

    def close(self) -> None:
        """
        Ends the thread. The ring stays as it is; the keys stay in the Redis. It can be started
        again. (With a client of one's own that has no timeouts, the thread may go on until the
        Redis answers; that is logged, and it is not to be started until it is closed again.)
        """
        if self._thread is None or self._pid != os.getpid():
            return
        self._stop.set()
        if self.connected:
            # Where that fails, the thread notices by itself, a little later.
            with contextlib.suppress(redis.RedisError, OSError):
                self._client.publish(self._own_channel, "")
        self._thread.join(4 * self._timeout + self._poll_interval)
        if self._thread.is_alive():
            logger.warning("the thread has not ended yet: the Redis client has no timeouts")
            return
        self._thread = None
        self._connected_since = None
        atexit.unregister(self.close)
        if self._is_our_client:
            self._client.close()

    def __enter__(self) -> RedisTicketKeys:
        if self._thread is None or self._pid != os.getpid():
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "connected" if self.connected else "not connected"
        return f"<{__name__}.RedisTicketKeys {self._prefix!r}, {state}: {self._keys!r}>"

    def _begin(self) -> None:
        """Begins without a thread, whatever there was before, or in the parent of a fork."""
        self._pid = os.getpid()
        self._id = secrets.token_hex(8)  # tells our own notices from those of others
        self._own_channel = f"{self._prefix}:changed:{self._id}"
        self._thread = None
        self._stop = threading.Event()
        self._settled = threading.Event()
        self._connected_since = None
        self._reason = None  # why it is away
        self._said_at = -math.inf
        self._pause = 0.0
        self._is_said = False
        self._planned_at = time.monotonic()
        self._cannot_rotate = False
        self._notices = None
        self._failed_notices = 0

    @property
    def _lock_expiry(self) -> float:
        return 4 * self._timeout  # three commands, and one for the road

    # What the thread does.

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self._synchronise()
            except Exception as error:  # whatever it is, the thread must go on
                self._says_away(error)
            else:
                self._says_back()
            try:
                self._wait()
            except Exception as error:
                self._says_away(error)
                self._stop.wait(self._poll_interval)
        self._end_notices()

    def _wait(self) -> None:
        """Keeps the ring up to date until it is time to read again."""
        until = time.monotonic() + self._poll_interval
        while not self._stop.is_set():
            left = min(until, self._apply()) - time.monotonic()
            if until <= time.monotonic() or self._is_noticed(max(left, 0.001)):
                return

    def _synchronise(self) -> None:
        """Takes over what the Redis has, gives it what it lacks, and makes the next key."""
        self._put_back(self._read())
        if self._newest() < time.monotonic() + self._lead:
            self._rotate()
        self._apply()
        self._check_plan()

    def _read(self) -> Mapping[bytes, float]:
        """Takes over all keys; returns the names, and for how many seconds the Redis has each."""
        seconds, microseconds, found, forgotten = self._read_script(
            keys=[f"{self._prefix}:keys", f"{self._prefix}:forgotten"],
            args=[f"{self._prefix}:key:"],
        )
        # The later of two ends: what follows from it is rather too late than too early.
        now = time.monotonic()
        clock = int(seconds) + int(microseconds) / 1e6 - now
        if self._clock is None:
            for held in self._held.values():  # our own, in our own time so far
                held.drop += clock
        self._clock = clock
        self._drop_forgotten({_text(name) for name in forgotten})
        # Who uses none of these keys yet believes the others, who have seen them before. So does
        # who was suspended until the key in use was over.
        current = self._current(now)
        is_with_them = current.active is not None and current.drop > now + clock
        not_before = now + self._settle if is_with_them else -math.inf
        stored, unreadable = {}, 0
        for name, record, left in found:
            if _text(name) in self._forgotten:
                continue
            try:
                key, active = _from_record(_text(name), _text(record), self._secrets)
            except _UnreadableError:
                unreadable += 1
                self._ignore(_text(name), "cannot be read: do all hosts have the same secret?")
                continue
            except (ValueError, TypeError, ArithmeticError):
                self._ignore(_text(name), "is no ticket key")
                continue
            # -1: somebody has taken the expiry away.
            stays = int(left) / 1000 if int(left) >= 0 else self._period + self._stay
            stored[key.name] = stays
            if active is not None:
                active -= clock
            self._take(_Held(key, active, not_before, now + clock + stays))
        self._unreadable = unreadable
        return stored

    def _drop_forgotten(self, forgotten: set[str]) -> None:
        if lost := self._forgotten - forgotten:  # by a Redis that has come back empty
            self._forget_in_redis(sorted(lost))
        for name in forgotten - self._forgotten:
            if self._held.pop(bytes.fromhex(name), None) is not None:
                logger.warning("ticket key %s is forgotten", name)
            if self._own == bytes.fromhex(name):
                self._own = None
        if not self._held:
            own = TicketKey.generate()
            self._own = own.name
            self._held[own.name] = _Held(own, None, -math.inf, self._server_now() + self._stay)
        if forgotten - self._forgotten:
            self._forgotten |= forgotten
            self._apply()

    def _forget_in_redis(self, key_names: list[str]) -> None:
        self._forget_script(
            keys=[f"{self._prefix}:keys", f"{self._prefix}:forgotten"],
            args=[
                f"{self._prefix}:key:",
                self._channel,
                _milliseconds(_FORGOTTEN_FOR),
                *key_names,
            ],
        )

    def _take(self, found: _Held) -> None:
        held = self._held.setdefault(found.key.name, found)
        held.drop = max(held.drop, found.drop)
        if held.active is None or found.active is None:
            return  # a host's own, which stays one
        begins = max(found.active, held.not_before)
        held.active = begins if held is found else min(held.active, begins)

    def _put_back(self, stored: Mapping[bytes, float]) -> None:
        """Stores what the Redis has lost, and prolongs the key in use where that is needed."""
        current = self._current(time.monotonic())
        now, missing = self._server_now(), []
        for name, held in self._held.items():
            if name == self._own and not self._is_own_used:
                continue
            if name not in stored:
                # What is about to expire has expired there.
                if held.drop - now > self._settle:
                    missing.append(held)
            elif held is current and stored[name] < self._stay - self._settle:
                held.drop = max(held.drop, now + self._stay)
                missing.append(held)
        if missing:
            self._put(missing)

    def _rotate(self) -> None:
        """Makes the keys of the time ahead, if no other host is at it."""
        lock, token = f"{self._prefix}:lock", secrets.token_hex(16)
        expiry = _milliseconds(self._lock_expiry)
        if not self._client.set(lock, token, nx=True, px=expiry):
            if self._unstick_script(keys=[lock], args=[expiry]):
                logger.warning("the lock %s had no expiry, and is now given one", lock)
            return
        # If anything goes wrong from here on, the lock expires.
        self._read()
        now = time.monotonic()
        newest = self._newest()
        made = []
        while newest < now + self._lead:
            newest = max(newest + self._period, now + self._settle)
            key = TicketKey.generate()
            drop = newest + self._period + self._stay + (self._clock or 0.0)
            made.append(_Held(key, newest, newest, drop))
        if made and self._put(made, token) > 0:
            for held in made:
                self._held[held.key.name] = held
                logger.info(
                    "made ticket key %s, for use in %.1f seconds",
                    held.key.name.hex(),
                    (held.active or now) - now,
                )
        self._unlock_script(keys=[lock], args=[token])

    def _check_plan(self) -> None:
        """Says when nobody makes the next key, though there is a Redis for it."""
        now = time.monotonic()
        if self._newest() > now:
            self._planned_at = now
            if self._cannot_rotate:
                self._cannot_rotate = False
                logger.warning("there is a next ticket key again")
        elif not self._cannot_rotate and now - self._planned_at > self._lock_expiry + self._settle:
            self._cannot_rotate = True
            logger.warning(
                "no next ticket key for %.1f seconds: another host keeps the lock %s:lock",
                now - self._planned_at,
                self._prefix,
            )
            self._tell("cannot rotate")

    def _put(self, given: list[_Held], token: str = "") -> int:
        arguments: list[str | int] = [token, f"{self._prefix}:key:", self._channel, self._id]
        for held in given:
            arguments += [
                held.key.name.hex(),
                _to_record(
                    held.key, held.active and held.active + (self._clock or 0.0), self._secrets
                ),
                _milliseconds(held.drop),
            ]
        names = [f"{self._prefix}:{each}" for each in ("keys", "lock", "forgotten")]
        return int(self._put_script(keys=names, args=arguments))

    def _apply(self) -> float:
        """Sets the ring as it is to be now; returns when it next changes by itself."""
        now = time.monotonic()
        current = self._current(now)
        if not self._is_own_used and self._own is not None and current.active is not None:
            del self._held[self._own]  # no ticket has it
            self._own = None
        server_now = self._server_now()
        current.drop = max(current.drop, server_now + self._stay)
        self._held = {name: held for name, held in self._held.items() if held.drop > server_now}
        others = sorted(
            (held for held in self._held.values() if held is not current),
            key=lambda held: held.active if held.active is not None else -math.inf,
            reverse=True,
        )
        keys = [current.key, *(held.key for held in others)][:_MAX_KEYS]
        names = [key.name for key in keys]
        if names != self._names:
            self._keys.replace(keys)
            is_rotated = names[0] != self._names[0]
            self._names = names
        else:
            is_rotated = False
        begins = [held.active for held in others if held.active is not None and held.active > now]
        is_shared = current.active is not None
        began = current.active if current.active is not None else self._ring.began
        self._ring = _Ring(is_shared, began, len(keys), min(begins, default=None))
        if is_shared and self._connected_since is not None:
            self._settled.set()
        if is_rotated:
            logger.info("ticket key %s encrypts from now on", names[0].hex())
            self._tell("rotated")
        return min([*begins, *(held.drop - server_now + now for held in others)], default=math.inf)

    def _current(self, now: float) -> _Held:
        """
        Returns what encrypts: the last of the plan whose time has come, or our own key.

        One that is over does so only if there is no other; and the next one does so at once if all
        others were to be forgotten, since each host has seen it.
        """
        begun = [held for held in self._held.values() if held.active is not None]
        begun = [held for held in begun if (held.active or 0.0) <= now]
        valid = [held for held in begun if held.drop > self._server_now()]
        if begun:
            return max(valid or begun, key=lambda held: (held.active or 0.0, held.key.name))
        if self._own is not None:
            return self._held[self._own]
        return min(self._held.values(), key=lambda held: held.active or math.inf)

    def _server_now(self) -> float:
        return time.monotonic() + (self._clock or 0.0)

    def _newest(self) -> float:
        """Returns when the last key of the plan begins."""
        # What lies further ahead is of a time when the Redis server's clock was wrong.
        end = time.monotonic() + self._lead + self._period + self._settle
        planned = (held.active for held in self._held.values() if held.active is not None)
        return max((active for active in planned if active <= end), default=-math.inf)

    # Notices, and what is said of them.

    @property
    def _channel(self) -> str:
        return f"{self._prefix}:changed"

    def _is_noticed(self, seconds: float) -> bool:
        """Waits for as long; returns True as soon as there may be something to read."""
        if self._connected_since is None or not self._has_notices:
            self._stop.wait(seconds)
            return False
        try:
            if self._notices is None:
                self._notices = self._client.pubsub()
                self._notices.subscribe(self._channel, self._own_channel)
            message = self._notices.get_message(timeout=seconds)
        except Exception as error:
            self._end_notices()
            self._failed_notices += 1
            if self._failed_notices == 1:
                return True  # that tells whether the Redis is away, or only this is
            if self._failed_notices == 2:
                logger.warning(
                    "no notices from Redis (%s): asking it each %g seconds",
                    _reason(error),
                    self._poll_interval,
                )
            self._stop.wait(seconds)
            return False
        if message is None:
            return False
        self._failed_notices = 0
        # A confirmation is one, too: there may have been a change just before.
        return bool(message["type"] != "message" or _text(message["data"]) != self._id)

    def _end_notices(self) -> None:
        notices, self._notices = self._notices, None
        if notices is not None:
            with contextlib.suppress(redis.RedisError, OSError):
                notices.close()

    def _says_away(self, error: Exception) -> None:
        self._end_notices()
        before, self._reason = self._reason, _reason(error)
        self._connected_since = None
        if before is None:
            # If it comes and goes, less and less is said of it.
            now = time.monotonic()
            since = now - self._said_at
            self._is_said = since >= self._pause
            if self._is_said:
                is_calm = since > 10 * self._pause
                self._pause = self._poll_interval if is_calm else min(2 * self._pause, _PAUSE_MAX)
                self._said_at = now
                logger.warning(
                    "Redis is away (%s): going on with the ticket keys that are here", self._reason
                )
            self._tell("away")
        self._settled.set()

    def _says_back(self) -> None:
        self._last_success = time.time()
        if self._connected_since is None:
            self._connected_since = self._last_success
        if self._ring.is_shared:
            self._settled.set()  # not before it is connected, for start()
        if self._reason is not None:
            self._reason = None
            self._failed_notices = 0
            if self._is_said:
                logger.warning("Redis is back: following its ticket keys again")
            self._tell("back")

    def _tell(self, event: RedisEvent) -> None:
        if self._on_event is not None:
            try:
                self._on_event(event, self.state())
            except Exception:
                logger.exception("on_event has failed for %r", event)

    def _ignore(self, name: str, why: str) -> None:
        if name not in self._ignored:
            self._ignored.add(name)
            logger.warning("what Redis has as %s:key:%s %s", self._prefix, name, why)

    def _says_unreadable(self) -> str:
        return (
            f"{self._unreadable} keys under {self._prefix}:* cannot be read: do all hosts have the "
            "same secret, or none?"
        )


def _reason(error: BaseException) -> str:
    """Says in our own words what is wrong; what the error says is read, and never shown."""
    text, words = "", []
    cause: BaseException | None = error
    while cause is not None:
        text += f" {type(cause).__name__} {cause}"
        if isinstance(cause, ssl.SSLCertVerificationError):
            words.append(f"its certificate is not accepted: {cause.verify_message}")
        elif isinstance(cause, ssl.SSLError):
            words.append(f"TLS failed: {cause.reason}")
        elif isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
            words.append(os.strerror(cause.errno))
        cause = cause.__cause__ or cause.__context__
    words += [known for pattern, known in _REASONS.items() if re.search(rf"\b({pattern})\b", text)]
    if not words and not isinstance(error, redis.RedisError | OSError):
        # A fault of ours, or of redis-py's, which needs more to be found.
        words = ["".join(traceback.format_tb(error.__traceback__))]
    return ": ".join([type(error).__name__, *words[:1]])


def _client(given: redis.Redis | str, timeout: float) -> redis.Redis:
    if isinstance(given, redis.Redis):
        return given
    if not isinstance(given, str):
        raise TypeError(
            f"redis_client_or_url must be a redis.Redis or a str, not {type(given).__name__}"
        )
    try:
        client = redis.Redis.from_url(
            given,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )
        # An option that there is not is found here, and not when it connects.
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)
        wrong = _wrong_in(given)
    except Exception:  # its text may show a part of the password
        options = given.partition("?")[2]
        names = ", ".join(name for name, _ in parse_qsl(options) if "@" not in options)
        wrong = _wrong_in(given) or f"redis-py does not take one of its options: {names}"
    if wrong is not None:
        raise ValueError(f"redis_client_or_url is not the URL of a Redis: {wrong}")
    return client


def _wrong_in(url: str) -> str | None:
    """Says what is wrong with a URL, without showing what may be a part of the password."""
    if not url.startswith(("redis://", "rediss://", "unix://")):
        return "it must begin with redis://, rediss:// or unix://"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return (
            "its host or port is wrong (special characters in a password must be encoded, as %2F)"
        )
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        return "its path must be the number of a database, as in redis://localhost:6379/0"
    return None


def _seconds(name: str, value: float, smallest: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not smallest <= value <= _SECONDS_MAX:
        raise ValueError(
            f"{name} must be from {smallest:g} to {_SECONDS_MAX:.0f} seconds, not {value}"
        )
    return float(value)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _text(value: bytes | str) -> str:
    """Clients answer in bytes, or with ``decode_responses`` in text."""
    return value if isinstance(value, str) else value.decode("ascii", "backslashreplace")


class _UnreadableError(ValueError):
    """A record that is one of a fleet with another secret, or with none."""


def _to_record(key: TicketKey, active: float | None, secrets: list[bytes]) -> str:
    begins = "-" if active is None else str(_milliseconds(active))
    if not secrets:
        return f"{_VERSION} {begins} {key.hmac_key.hex()} {key.aes_key.hex()}"
    also = f"{_SEALED_VERSION} {begins} {key.name.hex()}".encode()
    sealed = seal(secrets[0], key.hmac_key + key.aes_key, also)
    return f"{_SEALED_VERSION} {begins} {sealed.hex()}"


def _from_record(name: str, record: str, secrets: list[bytes]) -> tuple[TicketKey, float | None]:
    version, begins, *parts = record.split(" ")
    if version == _VERSION and len(parts) == 2:
        hmac_key, aes_key = (bytes.fromhex(part) for part in parts)
        key = TicketKey(bytes.fromhex(name), hmac_key, aes_key)
        if secrets:  # whoever can write to the Redis could give us a key
            raise _UnreadableError
    elif version == _SEALED_VERSION and len(parts) == 1:
        sealed, also = bytes.fromhex(parts[0]), f"{version} {begins} {name}".encode()
        opened = (open_sealed(secret, sealed, also) for secret in secrets)
        plain = next((each for each in opened if each is not None), None)
        if plain is None:
            raise _UnreadableError
        half = len(plain) // 2
        key = TicketKey(bytes.fromhex(name), plain[:half], plain[half:])
    else:
        raise ValueError("it is of another version")
    return key, None if begins == "-" else int(begins) / 1000
