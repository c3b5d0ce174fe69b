"""
Ticket keys that a fleet of hosts shares through a Redis. The keys are random, and the hosts rotate
them.

This module needs redis-py, which the extra ``redis`` installs. Import it by its full name::

    from openssl_tickets.redis_keys import RedisTicketKeys

Why every ticket finds its key
------------------------------

If host A issues a ticket, host B must be able to decrypt it at once. So a key is *published* long
before it is *used*. Each key has a time at which it begins to encrypt. Until then, all hosts only
decrypt with it.

The rules below hold for all hosts that can reach the Redis. Such a host reads all keys at least
once per ``poll_interval``, and each read ends within the timeout. ``settle`` is short for
``2 * poll_interval + timeout``.

- *A key is known before it is used.* The next key is published ``lead`` seconds before it is used.
  ``lead`` is one period, or ``2 * settle`` if that is longer. By then, each host has read the key
  many times. A host that is cut off goes on with the keys that it knows for that long, by the same
  plan as the others. After that, its key may differ from theirs. In addition, no host uses a key
  sooner than ``settle`` after it has first *seen* the key, whatever the plan says. Host A can see a
  key only after it was published, and ``settle`` later host B has read it too. The clocks need not
  agree for this. They only need to run.
- *A key is kept after it was used.* It stays for ``accept_for`` after the end of its period, and
  for ``2 * settle`` more, because some hosts may switch late. If there is no newer key, a host uses
  a key for longer than planned. It then makes the Redis keep that key for longer, and it never
  drops the key that it uses.
- *Clocks.* The plan is in the time of the Redis server. Each host reads the server's ``TIME``
  together with the keys, and counts from there with its own monotonic clock. The hosts' wall clocks
  do not matter. Two hosts differ by a part of one round trip to the Redis, plus the drift of their
  clocks since then. A difference of less than ``settle`` does no harm: if some hosts use a key
  early or late, the others know it anyway.
- *Expired keys do not come back.* The Redis server's clock decides whether a key has expired. The
  Redis checks it again when a host puts a key back. So a host whose own clock has stood still, for
  example in a suspended virtual machine, cannot bring back an expired key. It drops its expired
  keys and uses those of the others.
- *A Redis server whose clock is set.* If its clock is set back, keys stay for longer. If its clock
  is set forward by more than ``accept_for``, older keys are dropped too early, and their tickets
  lead to full handshakes. The key in use is never dropped. No key is used too early, because each
  host waits for ``settle`` after it has seen the key.
- *One host at a time makes keys.* It holds a lock that expires. One script in the Redis checks that
  the host still holds the lock, and only then stores the key. So a host that was suspended in the
  middle, and whose lock has expired, stores nothing. A key that the Redis has lost is put back by
  any host that misses it there, without the lock. All hosts put back the same key, so the first is
  enough.
- *A Redis that comes back empty* gets the keys and their plan back from the hosts. If a host starts
  at just that moment, it finds no key and makes one, to be used ``settle`` later. By then the
  others have read its key, and it has read theirs.
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

_TIMEOUT_MIN = 1.0  # seconds; a slow answer of a busy machine is not an outage
_MAX_PLANNED = 900  # keys; a ring has room for 1,000, and some hosts may start with their own key
_MAX_KEYS = 1000
_SECONDS_MAX = 366 * 24 * 3600.0
_PAUSE_MAX = 300.0  # seconds between two log messages about a Redis that comes and goes
_VERSION, _SEALED_VERSION = "1", "2"  # of a record in the Redis
_FORGOTTEN_FOR = 366 * 24 * 3600.0  # seconds; after that, no host can still have the key

# Returns the server's time, all keys with the time that they still stay, and the names of the keys
# that hosts must forget.
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

# Stores keys that are missing, and makes those that exist stay until the given time. It skips keys
# that have expired by the server's clock, and keys that hosts must forget. With a token, it does
# all of this only while the lock holds that token, and returns -1 otherwise. It stores the keys
# even if this user may not publish.
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

# Removes keys for good. No host can put them back.
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

# Gives the lock an expiry if it has none. Otherwise it would stay forever.
_UNSTICK = """
if redis.call('PTTL', KEYS[1]) == -1 then
    return redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return 0
"""

# Our own words for each problem, because the text of an exception may contain a password.
_REASONS = {
    r"AuthenticationError|WRONGPASS|NOAUTH": "the user name or the password is wrong or missing",
    r"NoPermissionError|NOPERM|ACL failure|can't run this command": (
        "the user's access control does not allow all commands that are needed, on <prefix>:*"
    ),
    r"WRONGTYPE": "it has other data under this prefix: use another prefix",
    r"CROSSSLOT|ClusterCrossSlotError|MOVED|MovedError|AskError|ClusterDownError|non local key": (
        "it is a cluster, which is not supported: use a Redis that is no cluster"
    ),
    r"READONLY|ReadOnlyError": "it is a replica, and stores no keys: use the primary",
    r"OOM|OutOfMemoryError": "its memory is full",
    r"MISCONF": "it cannot write to its disk, and stores no keys",
    r"LOADING|BusyLoadingError": "it is still reading its data",
    r"MasterNotFoundError": "the Sentinel knows no primary of this name",
    r"max number of clients": "it has reached its limit of clients",
    r"MaxConnectionsError|Too many connections|No connection available": "the client's pool has "
    "no connection left: give it two or more",
    r"gaierror": "its host name is unknown",
    r"TimeoutError": "it does not answer in time",
}


@dataclass(frozen=True)
class RedisState:
    """The state of a :class:`RedisTicketKeys`, from its :meth:`~RedisTicketKeys.state`."""

    connected_since: float | None
    """Since when the Redis answers, as ``time.time()``. None if it does not answer."""
    last_success: float | None
    """When the keys were last read from the Redis, as ``time.time()``. None if they never were."""
    key_age: float
    """For how many seconds the key in use has encrypted, by the plan that all hosts share."""
    keys: int
    """How many keys the ring has."""
    next_rotation: float | None
    """In how many seconds the next key begins to encrypt. None if there is no next key yet."""
    problem: str | None
    """What is wrong, as text for people. None if nothing is wrong."""


RedisEvent = Literal["away", "back", "rotated", "cannot rotate"]


class _Ring(NamedTuple):
    """The state of the ring when it was last set. Times are of this host's monotonic clock."""

    is_shared: bool
    began: float
    keys: int
    following: float | None


@dataclass
class _Held:
    """A key that this host has. Times are of its monotonic clock, except *drop*."""

    key: TicketKey
    active: float | None
    """When the key begins to encrypt. None for a host's own key, which is not planned."""
    not_before: float
    """The key does not encrypt before this time, whatever the Redis says later."""
    drop: float
    """When the key expires, in the time of the Redis server."""


class RedisTicketKeys:
    """
    Ticket keys that all hosts of a fleet, and all their worker processes, share through a Redis.

    Every ``period`` seconds, all hosts change to another random key. The old key still decrypts for
    ``accept_for`` seconds. Then it is removed from the Redis and from the hosts. A thread follows
    the Redis: it reads the keys at once when the Redis announces a change, and at least every
    ``poll_interval`` seconds. C encrypts and decrypts tickets with the ring in :attr:`keys`, and
    never waits for the Redis.

    If the Redis is not reachable, the hosts go on with the keys that they have. They log this once,
    and log once when the Redis is back. Then they put back the keys that it has lost. A host that
    *starts* during an outage uses its own random key. The other hosts get to know that key as soon
    as it reaches the Redis. Other problems, for example a wrong password, a certificate that is not
    trusted, or a cluster, are handled in the same way. The log and :meth:`state` show the reason.
    With ``start(require_connected=True)``, they are errors.

    .. warning::

       *Without a secret, the keys are in the Redis in the clear.* Everyone who can read the Redis
       can decrypt every ticket, and with it TLS 1.2 connections and TLS 1.3 resumptions without a
       key exchange. ``MONITOR`` and ``SLOWLOG`` show the keys, too. Everyone who can write to the
       Redis can make tickets.

       With a *secret*, the keys are encrypted in the Redis (AES-256-GCM). All hosts have the
       secret, and the Redis does not. Hosts ignore keys that anyone else has written there. In both
       cases, give the Redis a password and access control, and connect with TLS (``rediss://``).

    All hosts must use the same *prefix*, *period*, *accept_for* and *secret*. Logs and the ``repr``
    show only the names of keys. Bytes of keys that have passed through Python are not wiped from
    memory. If you delete keys in the Redis, the hosts put them back. If a key has leaked, call
    :meth:`forget`.

    Call :meth:`start` in each process, *after* a fork, because a fork does not copy the thread. A
    forked child that does not call it keeps the keys as they were at the fork. Do not call
    :meth:`start` while another thread calls :meth:`start` or :meth:`close`.

    Args:
        redis_client_or_url: a URL such as ``"rediss://:password@host:6380/0"``, or a
            ``redis.Redis``. For a URL, the timeouts are 1 second, or *poll_interval* if that is
            more. A client of your own should have such timeouts and no retries, because the thread
            tries again soon. If the client's pool has only one connection, the thread gets no
            announcements, and reads the keys every *poll_interval*.
        prefix: how all names in the Redis begin. Fleets with different prefixes do not share keys.
        period: for how many seconds a key encrypts.
        accept_for: for how many seconds after that it still decrypts. If no ticket should be
            refused before it expires, give at least the lifetime of a ticket
            (:func:`openssl_tickets.get_session_timeout`).
        poll_interval: seconds, 0.05 or more. An outage is noticed within this time.
        secret: at least 32 bytes that nobody can guess, for example from ``os.urandom(32)``. Or a
            list of such secrets: the first encrypts, and keys that were encrypted with the others
            can still be read. To change the secret, give all hosts ``[old, new]``, then give all
            hosts ``[new, old]``. When the keys of that time have expired, give them ``[new]``. If a
            fleet has no secret and should get one, use another prefix.
        on_event: the thread calls ``on_event(event, state)``, with a :class:`RedisState`, and it
            should return soon. The event is "away" or "back" for the Redis, "rotated" when another
            key begins to encrypt, or "cannot rotate" if the Redis answers and there is no next key.
            If it raises an exception, that is logged.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is out of range, or there would be too many keys at a time; the prefix
            is empty or cannot be encoded; a secret is too short, or two are equal; or redis-py
            refuses the URL.
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
        # The thread keeps one connection to itself to wait for notices.
        self._has_notices = getattr(self._client.connection_pool, "max_connections", 2) > 1

        own = TicketKey.generate()
        self._own: bytes | None = own.name
        self._is_own_used = False
        now = time.monotonic()
        self._held = {own.name: _Held(own, None, -math.inf, now + self._stay)}
        self._keys = TicketKeys([own])
        self._names = [own.name]
        self._ring = _Ring(False, now, 1, None)
        self._clock: float | None = None  # the server's time is our clock plus this
        self._last_success: float | None = None
        self._ignored: set[str] = set()
        self._forgotten: set[str] = set()
        self._unreadable = 0
        self._begin()

    @property
    def keys(self) -> TicketKeys:
        """
        The :class:`~openssl_tickets.TicketKeys` for :func:`openssl_tickets.set_ticket_keys`. It is
        always the same object.

        Raises:
            RuntimeError: :meth:`start` was never called, so no other host has these keys.
        """
        if not self._is_own_used:
            raise RuntimeError("call start() first: until then no other host knows these keys")
        return self._keys

    @property
    def connected(self) -> bool:
        """
        Whether the last contact with the Redis succeeded. False in a forked child that was not
        started.
        """
        return self._connected_since is not None and self._pid == os.getpid()

    def state(self) -> RedisState:
        """
        Returns a :class:`RedisState`: for example, whether the Redis answers and how old the key in
        use is.

        In a forked child that was not started, the keys are not rotated. Its ``problem`` says so,
        and ``connected_since`` is None.

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
                problem = f"no next key: another host holds the lock {self._prefix}:lock"
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
        Starts a thread that follows the Redis.

        This returns as soon as there is a key that all hosts know. If the Redis has one, that is at
        once. If it has none, as for the first hosts of a fleet, it takes twice *poll_interval* plus
        the timeout (1 second, or *poll_interval* if that is more). This does not wait for a Redis
        that is not reachable.

        Args:
            require_connected: if True, it is an error if the Redis cannot be used now. If False,
                the host goes on with its own random key, logs the reason, and tries again.

        Raises:
            RuntimeError: it is started already.
            ConnectionError: *require_connected* is True, and the Redis cannot be used or has keys
                that were encrypted with another secret. The message has the reason. No thread
                stays.
        """
        if self._thread is not None and self._pid == os.getpid():
            raise RuntimeError("it is started already")
        self._begin()
        self._thread = threading.Thread(target=self._follow, name=__name__, daemon=True)
        self._thread.start()
        # A daemon thread that still runs while the interpreter shuts down could print errors.
        atexit.register(self.close)
        # If another host has died with the lock, the lock must expire first.
        self._settled.wait(2 * self._settle + self._lock_expiry)
        is_shared = self.connected and self._ring.is_shared
        if require_connected and (self._unreadable or not is_shared):
            reason = self._reason or f"no host makes a key: does one hold {self._prefix}:lock?"
            if self._unreadable:
                reason = self._says_unreadable()
            self.close()
            raise ConnectionError(f"the Redis cannot be used: {reason}")
        self._is_own_used = True

    def forget(self, key_name: bytes) -> None:
        """
        Removes a key that has leaked, from all hosts and from the Redis. No host can put it back.

        Its tickets then lead to full handshakes. If it is the key that encrypts, the hosts go back
        to the previous key, or use the next one. This returns when this host has dropped the key.
        The others drop it when the Redis's notice reaches them, or at their next read, within
        *poll_interval*. A host that cannot reach the Redis drops it when it can. A forked child
        that was not started does not drop it.

        Args:
            key_name: the name of the key, 16 bytes (:attr:`openssl_tickets.TicketKey.name`,
                :attr:`openssl_tickets.Session.key_name`). It may be a name that no host knows yet.

        Raises:
            TypeError: *key_name* is not bytes.
            ValueError: *key_name* does not have 16 bytes.
            RuntimeError: it is not started in this process.
            ConnectionError: the Redis cannot be used. The message has the reason. The key is still
                in use.
            TimeoutError: the Redis has removed the key, but this host has not dropped it in time.
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
        if reason is not None:  # raised here, without the cause, which may show a password
            raise ConnectionError(f"the Redis cannot be used: {reason}")
        end = time.monotonic() + 2 * self._settle
        while key_name in self._names or key_name.hex() not in self._forgotten:
            if time.monotonic() > end:
                raise TimeoutError("the Redis has removed the key, but this host still has it")
            time.sleep(0.01)

    def close(self) -> None:
        """
        Ends the thread. The ring keeps its keys, and the keys stay in the Redis.

        You can call :meth:`start` again later. If your own client has no timeouts, the thread may
        go on until the Redis answers. That is logged. In that case, call this again before you
        start it again.
        """
        if self._thread is None or self._pid != os.getpid():
            return
        self._stop.set()
        if self.connected:
            # If this fails, the thread notices the end by itself, a little later.
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
        """Resets all that belongs to a thread and a process."""
        self._pid = os.getpid()
        self._id = secrets.token_hex(8)  # marks our own notices
        self._own_channel = f"{self._prefix}:changed:{self._id}"
        self._thread = None
        self._stop = threading.Event()
        self._settled = threading.Event()
        self._connected_since = None
        self._reason = None  # why the Redis is away
        self._said_at = -math.inf
        self._pause = 0.0
        self._is_said = False
        self._planned_at = time.monotonic()
        self._cannot_rotate = False
        self._notices = None
        self._failed_notices = 0

    @property
    def _lock_expiry(self) -> float:
        return 4 * self._timeout  # enough for three commands, and one to spare

    # What the thread does.

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self._synchronise()
            except Exception as error:  # the thread must go on, whatever happens
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
        """Reads the keys in the Redis, puts back what it has lost, and makes the next key."""
        self._put_back(self._read())
        if self._newest() < time.monotonic() + self._lead:
            self._rotate()
        self._apply()
        self._check_plan()

    def _read(self) -> Mapping[bytes, float]:
        """Takes over all keys of the Redis. Returns for how many seconds it keeps each, by name."""
        seconds, microseconds, found, forgotten = self._read_script(
            keys=[f"{self._prefix}:keys", f"{self._prefix}:forgotten"],
            args=[f"{self._prefix}:key:"],
        )
        # The server read its clock before this moment. So our estimate of its time is a little low,
        # and we act late rather than early.
        now = time.monotonic()
        clock = int(seconds) + int(microseconds) / 1e6 - now
        if self._clock is None:
            for held in self._held.values():  # our own key, whose time was our clock's so far
                held.drop += clock
        self._clock = clock
        self._drop_forgotten({_text(name) for name in forgotten})
        # A host that uses none of these keys yet can use them at once, because the others have seen
        # them before. So can a host that was suspended until its key had expired.
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
                self._ignore(_text(name), "is not a ticket key")
                continue
            # -1: somebody has removed the expiry.
            stays = int(left) / 1000 if int(left) >= 0 else self._period + self._stay
            stored[key.name] = stays
            if active is not None:
                active -= clock
            self._take(_Held(key, active, not_before, now + clock + stays))
        self._unreadable = unreadable
        return stored

    def _drop_forgotten(self, forgotten: set[str]) -> None:
        if lost := self._forgotten - forgotten:  # the Redis has come back empty
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
            return  # a host's own key is never planned
        begins = max(found.active, held.not_before)
        held.active = begins if held is found else min(held.active, begins)

    def _put_back(self, stored: Mapping[bytes, float]) -> None:
        """Stores keys that the Redis has lost, and makes it keep the key in use for long enough."""
        current = self._current(time.monotonic())
        now, missing = self._server_now(), []
        for name, held in self._held.items():
            if name == self._own and not self._is_own_used:
                continue
            if name not in stored:
                # A key that is about to expire may have expired in the Redis already.
                if held.drop - now > self._settle:
                    missing.append(held)
            elif held is current and stored[name] < self._stay - self._settle:
                held.drop = max(held.drop, now + self._stay)
                missing.append(held)
        if missing:
            self._put(missing)

    def _rotate(self) -> None:
        """Makes the next keys, unless another host is doing it."""
        lock, token = f"{self._prefix}:lock", secrets.token_hex(16)
        expiry = _milliseconds(self._lock_expiry)
        if not self._client.set(lock, token, nx=True, px=expiry):
            if self._unstick_script(keys=[lock], args=[expiry]):
                logger.warning("the lock %s had no expiry, and now has one", lock)
            return
        # If anything fails from here on, the lock expires.
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
        """Reports if nobody makes the next key although the Redis answers."""
        now = time.monotonic()
        if self._newest() > now:
            self._planned_at = now
            if self._cannot_rotate:
                self._cannot_rotate = False
                logger.warning("there is a next ticket key again")
        elif not self._cannot_rotate and now - self._planned_at > self._lock_expiry + self._settle:
            self._cannot_rotate = True
            logger.warning(
                "no next ticket key for %.1f seconds: another host holds the lock %s:lock",
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
        """Sets the keys of the ring. Returns when they next change by themselves."""
        now = time.monotonic()
        current = self._current(now)
        if not self._is_own_used and self._own is not None and current.active is not None:
            del self._held[self._own]  # no ticket was made with it
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
        Returns the key that encrypts: the last planned key whose time has come, or our own key.

        An expired key encrypts only if there is no other. If all other keys were forgotten, the
        next key encrypts at once, because each host has seen it.
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
        """Returns when the last planned key begins to encrypt."""
        # A key further ahead was made while the Redis server's clock was wrong.
        end = time.monotonic() + self._lead + self._period + self._settle
        planned = (held.active for held in self._held.values() if held.active is not None)
        return max((active for active in planned if active <= end), default=-math.inf)

    # Notices and log messages.

    @property
    def _channel(self) -> str:
        return f"{self._prefix}:changed"

    def _is_noticed(self, seconds: float) -> bool:
        """Waits for at most *seconds*. Returns True as soon as there may be something to read."""
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
                return True  # reading shows whether the Redis is away, or only its notices
            if self._failed_notices == 2:
                logger.warning(
                    "no notices from Redis (%s): reading it every %g seconds",
                    _reason(error),
                    self._poll_interval,
                )
            self._stop.wait(seconds)
            return False
        if message is None:
            return False
        self._failed_notices = 0
        # The confirmation of a subscription counts too: there may have been a change before it.
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
            # If the Redis comes and goes, this is logged less and less often.
            now = time.monotonic()
            since = now - self._said_at
            self._is_said = since >= self._pause
            if self._is_said:
                is_calm = since > 10 * self._pause
                self._pause = self._poll_interval if is_calm else min(2 * self._pause, _PAUSE_MAX)
                self._said_at = now
                logger.warning(
                    "Redis is away (%s): going on with the ticket keys of this host", self._reason
                )
            self._tell("away")
        self._settled.set()

    def _says_back(self) -> None:
        self._last_success = time.time()
        if self._connected_since is None:
            self._connected_since = self._last_success
        if self._ring.is_shared:
            self._settled.set()  # only after _connected_since is set, for start()
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
            logger.warning("ignoring %s:key:%s in Redis: it %s", self._prefix, name, why)

    def _says_unreadable(self) -> str:
        return (
            f"{self._unreadable} keys under {self._prefix}:* cannot be read: do all hosts have the "
            "same secret, or none?"
        )


def _reason(error: BaseException) -> str:
    """Returns what is wrong, in our own words. The text of the error is searched, never shown."""
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
        # A bug of ours or of redis-py. It takes a traceback to find it.
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
        # This finds an unknown option now, not when the client connects.
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)
        wrong = _wrong_in(given)
    except Exception:  # its text may show part of the password
        options = given.partition("?")[2]
        names = ", ".join(name for name, _ in parse_qsl(options) if "@" not in options)
        wrong = _wrong_in(given) or f"redis-py does not take one of its options: {names}"
    if wrong is not None:
        raise ValueError(f"redis_client_or_url is not the URL of a Redis: {wrong}")
    return client


def _wrong_in(url: str) -> str | None:
    """Returns what is wrong with a URL, without parts that may belong to the password."""
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
    """Returns a str. Clients answer in bytes, or in str with ``decode_responses``."""
    return value if isinstance(value, str) else value.decode("ascii", "backslashreplace")


class _UnreadableError(ValueError):
    """A record of a fleet with another secret, or with none."""


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
        if secrets:  # otherwise anyone who can write to the Redis could give us a key
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
