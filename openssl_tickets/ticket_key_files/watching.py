"""Watches ticket key files, and reloads a ring of keys when they change."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence

from openssl_tickets._core.ticket_keys import TicketKey, TicketKeys
from openssl_tickets.ticket_key_files.files import StrPath, numbered

_FRESH = 2_000_000_000  # nanoseconds; no file system has coarser file times

_log = logging.getLogger("openssl_tickets.ticket_key_files")


class TicketKeyWatcher:
    """
    Watches ticket key files until :meth:`close`. It is also a context manager.

    :func:`watch_ticket_keys` returns it. A forked child watches nothing, because a fork does not
    copy threads. Call :func:`watch_ticket_keys` in the child. :meth:`is_alive` tells whether files
    are watched.
    """

    __slots__ = ("_pid", "_stop", "_thread", "keys")

    keys: TicketKeys
    """The ring. It lives as long as this watcher."""

    def __init__(self, watched: _Watched, interval: float) -> None:
        keys = watched.keys()
        assert keys is not None
        self.keys = keys
        self._pid = os.getpid()
        self._stop = threading.Event()
        # The thread refers neither to this watcher nor to the ring.
        self._thread = threading.Thread(
            target=_watch,
            args=(watched, interval, self._stop),
            name="openssl_tickets-key-files",
            daemon=True,
        )
        self._thread.start()

    def is_alive(self) -> bool:
        """Returns True if this process is watching the files."""
        return os.getpid() == self._pid and self._thread.is_alive()

    def close(self) -> None:
        """
        Stops watching. After this returns, the ring no longer changes.

        If a reload is running, this waits for it, unless the reload itself has called it. Further
        calls do nothing. In a forked child it does nothing.
        """
        if os.getpid() != self._pid:
            return  # the thread is not here, and may have held the event's lock at the fork
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
    Sets *keys* to what *load* returns, now and whenever one of the files changes.

    A thread checks the files every *interval* seconds. It compares time, inode and size, so it
    notices a file that was replaced or mounted over. If *load* raises an exception in the thread,
    or the ring refuses the keys, this is logged by ``openssl_tickets.ticket_key_files``. The keys
    stay as they are, and the thread tries again at each check.

    Replace key files in one step, as :func:`save_ticket_keys` and ``keys rotate`` do. If you
    overwrite a file in place, the thread may read half of it. As long as a file does not have the
    size of a key file, the keys stay as they are.

    Keep a reference to *keys* or to the result. A context does not keep the ring object alive. When
    both are gone, the watching ends within *interval*. After a fork, each process must call this
    itself.

    Args:
        keys: the :class:`~openssl_tickets.TicketKeys` to change, not a derived one.
        load: a function without arguments. It returns the keys, first the one that encrypts. The
            first call is on this thread, all others are on the watching thread.
        paths: the file or files that *load* reads. If you name one file, FILE.1, FILE.2 and so on
            are watched too, if they exist.
        interval: seconds, more than 0.

    Returns:
        A :class:`TicketKeyWatcher`.

    Raises:
        TypeError: *keys*, a path or *interval* has the wrong type.
        ValueError: you name no path, *interval* is not more than 0, or the ring refuses the keys of
            the first call of *load*.
        RuntimeError: *keys* is a derived ring.
        Exception: whatever the first call of *load* raises.

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
    """The files that are watched, and what they looked like when they were last read."""

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
        self._read: list[_Sight] | None = None  # None: read again at the next check
        self._failure: tuple[list[_Sight], str] | None = None

    def look(self, keys: TicketKeys) -> None:
        """Reloads *keys* if a file has changed. Logs a failure."""
        seen = self._look()
        if seen == self._read:
            return
        try:
            self.reload(keys)
        except Exception as error:
            self._read = None
            failure = (seen, repr(error))
            if failure != self._failure:  # log the same failure only once
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
        """Calls *load*, and changes *keys* if it returns other keys."""
        seen, now = self._look(), time.time_ns()
        loaded = tuple(self._load())
        if loaded != keys.keys:
            keys.replace(loaded)
            _log.info("the ticket keys are now those of %s", self._named)
        # Another change right after this one may have the same file time. So read once more.
        fresh = any(abs(now - moment) < _FRESH for sight in seen for moment in sight[-2:])
        self._read = None if fresh else seen

    def _look(self) -> list[_Sight]:
        sights = [_sight(file) for file in self._files]
        if len(self._files) == 1:  # then the files of its set are watched too
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
            _log.warning("the TicketKeys is gone without a close(): nothing is watched now")
            return
        watched.look(keys)
        del keys  # do not keep the ring alive while waiting
