"""Files that are watched: a ring of keys follows what is in them."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence

from openssl_tickets._core.ticket_keys import TicketKey, TicketKeys
from openssl_tickets.ticket_key_files.files import StrPath, numbered

_FRESH = 2_000_000_000  # nanoseconds, of file systems that tell time the most coarsely

_log = logging.getLogger("openssl_tickets.ticket_key_files")


class TicketKeyWatcher:
    """
    What :func:`watch_ticket_keys` returns: it ends the watching, as a context manager does too.

    In a process that has been forked nothing is watched, as threads do not cross: call
    :func:`watch_ticket_keys` there. :meth:`is_alive` tells.
    """

    __slots__ = ("_pid", "_stop", "_thread", "keys")

    keys: TicketKeys
    """The ring, which lives as long as this watcher does."""

    def __init__(self, watched: _Watched, interval: float) -> None:
        keys = watched.keys()
        assert keys is not None
        self.keys = keys
        self._pid = os.getpid()
        self._stop = threading.Event()
        # It has no reference to this watcher, nor to the ring.
        self._thread = threading.Thread(
            target=_watch,
            args=(watched, interval, self._stop),
            name="openssl_tickets-key-files",
            daemon=True,
        )
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether the files are being watched, in this process."""
        return os.getpid() == self._pid and self._thread.is_alive()

    def close(self) -> None:
        """
        Ends the watching: when this returns, the ring is not changed any more.

        It waits for a reload that is going on, unless that is what has called it. A second call
        does nothing, nor does a call in a process that has been forked.
        """
        if os.getpid() != self._pid:
            return  # the thread is not here; it may have held the event's lock in the fork
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> TicketKeyWatcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def watch_ticket_keys(
    keys: TicketKeys,
    load: Callable[[], Iterable[TicketKey]],
    paths: StrPath | Iterable[StrPath],
    interval: float = 1.0,
) -> TicketKeyWatcher:
    """
    Replaces *keys* by what *load* returns: now, and whenever one of the files changes.

    A thread looks at the files every *interval* seconds (by time, inode and size, so a replaced
    file is noticed, and one that is mounted over). If *load* fails there, or the ring refuses
    what it has returned, that is logged (``logging``, as ``openssl_tickets.ticket_key_files``), the
    keys stay as they are, and it is tried again each time.

    Write key files by replacing them (:func:`save_ticket_keys` does, and ``keys rotate``). A file
    that is overwritten in place may be read half-way; if what is read has not the size of a key
    file, the keys stay as they are until it has.

    Hold on to *keys* or to what is returned: a context to which :func:`set_ticket_keys` has given
    the ring does not hold on to it, and when both are gone the watching ends, within *interval*.

    A process that is forked must call this itself, and each of them then reads the files.

    Args:
        keys: the ring, not a derived one.
        load: returns the keys, the first of which encrypts. It runs in the thread; only the first
            time in this one.
        paths: the file, or files, that *load* reads. If one file is named, FILE.1, FILE.2 and so on
            are watched as well, as far as they are there.
        interval: seconds.

    Raises:
        TypeError: *keys*, a path or *interval* is of the wrong type.
        ValueError: no path is named, or *interval* is not more than 0; or the ring refuses what
            *load* has returned.
        RuntimeError: *keys* is a derived ring.
        Exception: whatever *load* raises now, the first time.

    Example::

        def load():
            return load_ticket_keys("nginx", "ticket.key")

        keys = TicketKeys(load())
        set_ticket_keys(context, keys)
        with watch_ticket_keys(keys, load, "ticket.key"):
            serve(context)
    """
    if not isinstance(keys, TicketKeys):
        raise TypeError(f"keys must be a TicketKeys, not {type(keys).__name__}")
    if isinstance(paths, str | bytes | os.PathLike):
        paths = [paths]
    files = [os.path.abspath(os.fsdecode(path)) for path in paths]
    if not files:
        raise ValueError("name at least one file to watch")
    seconds = float(interval)
    if not 0 < seconds <= threading.TIMEOUT_MAX:  # neither is nan
        raise ValueError(f"interval must be more than 0 seconds, not {interval!r}")
    watched = _Watched(weakref.ref(keys), load, files)
    watched.reload(keys)
    return TicketKeyWatcher(watched, seconds)


_Sight = tuple[int, ...]


class _Watched:
    """What is watched, and how it looked when it was last read."""

    def __init__(
        self,
        keys: weakref.ref[TicketKeys],
        load: Callable[[], Iterable[TicketKey]],
        files: Sequence[str],
    ) -> None:
        self.keys = keys
        self._load = load
        self._files = files
        self._named = ", ".join(files)
        self._read: list[_Sight] | None = None  # None: it is to be read again in any case
        self._failure: tuple[list[_Sight], str] | None = None

    def look(self, keys: TicketKeys) -> None:
        """Reloads *keys* if a file has changed, and logs what goes wrong."""
        seen = self._look()
        if seen == self._read:
            return
        try:
            self.reload(keys)
        except Exception as error:
            self._read = None
            failure = (seen, repr(error))
            if failure != self._failure:  # else it has been said
                self._failure = failure
                _log.error(
                    "the ticket keys stay as they are: %s could not be reloaded: %s",
                    self._named,
                    error,
                    exc_info=not isinstance(error, OSError | ValueError),
                )
        else:
            if self._failure:
                self._failure = None
                _log.info("%s can be reloaded again", self._named)

    def reload(self, keys: TicketKeys) -> None:
        """Reads the files, and changes *keys* where it does not hold what is in them."""
        seen, now = self._look(), time.time_ns()
        loaded = tuple(self._load())
        if loaded != keys.keys:
            keys.replace(loaded)
            _log.info("the ticket keys are now those of %s", self._named)
        # A change right after this one may leave no trace in the times: so it is read once more.
        fresh = any(abs(now - moment) < _FRESH for sight in seen for moment in sight[-2:])
        self._read = None if fresh else seen

    def _look(self) -> list[_Sight]:
        sights = [_sight(file) for file in self._files]
        if len(self._files) == 1:  # and the files of its set
            while sights[-1]:
                sights.append(_sight(numbered(self._files[0], len(sights))))
        return sights


def _sight(file: str) -> _Sight:
    try:
        seen = os.stat(file)
    except OSError:
        return ()
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


def _watch(watched: _Watched, interval: float, stop: threading.Event) -> None:
    while not stop.wait(interval):
        keys = watched.keys()
        if keys is None:
            _log.warning("the ticket keys that were to be reloaded are gone, without a close()")
            return
        watched.look(keys)
        del keys  # not held while it waits
