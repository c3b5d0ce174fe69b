"""Where clients keep their sessions: in memory, or in a file."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, SupportsIndex

from openssl_tickets._core.integers import checked
from openssl_tickets._core.session import Session

_SERVERS_MAX = 1_000_000
_SESSIONS_MAX = 1000
_LIFETIME_MAX = 7 * 86_400  # seconds, for which a client may keep a ticket (RFC 8446, 4.6.1)
_TIMEOUT = 10.0  # seconds that a process waits for another


class SessionStore(Protocol):
    """
    What :func:`resume_sessions` keeps sessions in: any object with these two methods.

    They are called on the thread that shakes hands, by several threads at once. What they raise is
    logged, and the handshake goes on without a session.
    """

    def put(self, key: str, session: Session) -> None:
        """Keeps *session*, the newest one of *key*."""

    def take(self, key: str) -> Session | None:
        """Returns the newest session of *key* and removes it; None if there is none."""


def expires(session: Session) -> int:
    """Returns until when the server takes *session*, in seconds since the Epoch."""
    # In TLS 1.2 the server need not say for how long it takes a ticket.
    hint = session.ticket_lifetime_hint or session.timeout
    return session.time + min(session.timeout, hint, _LIFETIME_MAX)


class MemorySessionStore:
    """
    Sessions in memory, for any number of threads.

    A process that has been forked begins with none, since its parent offers those that there were.
    Use a :class:`FileSessionStore` for several processes.

    Args:
        max_servers: how many servers (keys) at most; the one whose session is the oldest goes
            first.
        max_sessions: how many sessions of each at most; the oldest goes first.

    Raises:
        TypeError: one of them is not an integer.
        ValueError: one of them is less than 1, or more than 1,000,000 and 1,000.
    """

    def __init__(self, max_servers: SupportsIndex = 1000, max_sessions: SupportsIndex = 8) -> None:
        self._max_servers = checked("max_servers", max_servers, 1, _SERVERS_MAX)
        self._max_sessions = checked("max_sessions", max_sessions, 1, _SESSIONS_MAX)
        self._sessions: OrderedDict[str, deque[Session]] = OrderedDict()
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def put(self, key: str, session: Session) -> None:
        """Keeps *session*, the newest one of *key*."""
        with self._locked():
            self._sessions.setdefault(key, deque(maxlen=self._max_sessions)).append(session)
            self._sessions.move_to_end(key)
            if len(self._sessions) > self._max_servers:
                self._sessions.popitem(last=False)

    def take(self, key: str) -> Session | None:
        """Returns the newest session of *key* and removes it; None if there is none."""
        with self._locked():
            sessions = self._sessions.get(key)
            if sessions is None:
                return None
            session = sessions.pop()
            if not sessions:
                del self._sessions[key]
            return session

    def clear(self) -> None:
        """Forgets all sessions."""
        with self._locked():
            self._sessions.clear()

    def __len__(self) -> int:
        """How many sessions there are."""
        with self._locked():
            return sum(map(len, self._sessions.values()))

    def __repr__(self) -> str:
        return f"<openssl_tickets.MemorySessionStore: {len(self)} sessions>"

    def _locked(self) -> threading.Lock:
        if self._pid != os.getpid():
            # A thread that is not in this process may have held it in the fork.
            self._sessions = OrderedDict()
            self._lock = threading.Lock()
            self._pid = os.getpid()
        return self._lock


class FileSessionStore:
    """
    Sessions in a file, for any number of threads and processes of one user.

    The file is an SQLite database of mode 0600. A session that is taken is deleted for all
    processes at once, and its bytes are overwritten. A process that is killed loses at most the
    session that it was about to put. The sessions in the file are as secret as a private key.

    Args:
        path: the file, which is made if there is none.
        max_sessions: how many sessions of each server (key) at most; the oldest goes first.

    Raises:
        PermissionError: the file is another user's, or others can read or write it.
        OSError: it cannot be opened, or is a symbolic link.
        ValueError: it is something else than such a store; *max_sessions* is less than 1.
        TypeError: *max_sessions* is not an integer.

    Example::

        store = FileSessionStore("sessions.sqlite")
        resume_sessions(context, store)
    """

    def __init__(self, path: str | os.PathLike[str], max_sessions: SupportsIndex = 8) -> None:
        import sqlite3  # only who keeps a file needs it

        self._max_sessions = checked("max_sessions", max_sessions, 1, _SESSIONS_MAX)
        self._path = os.path.abspath(os.fsdecode(path))
        # sqlite3 itself would leave the mode of a new file to the umask.
        descriptor = os.open(
            self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.geteuid():
            raise PermissionError(
                f"{self._path} must be this user's, and nobody else's to read or write: "
                f"chmod 600 {self._path}, or use another file"
            )
        try:
            with self._transaction() as database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS sessions (id INTEGER PRIMARY KEY AUTOINCREMENT, "
                    "key TEXT NOT NULL, expires INTEGER NOT NULL, der BLOB NOT NULL)"
                )
                database.execute("SELECT id, key, expires, der FROM sessions LIMIT 1")
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self._path} is not a file of sessions: {error}") from None

    def put(self, key: str, session: Session) -> None:
        """
        Keeps *session*, the newest one of *key*.

        Raises:
            sqlite3.Error: the file cannot be written, or another process keeps it locked.
        """
        with self._transaction() as database:
            database.execute(
                "INSERT INTO sessions (key, expires, der) VALUES (?, ?, ?)",
                (key, expires(session), session.to_der()),
            )
            database.execute(
                "DELETE FROM sessions WHERE key = ? AND id NOT IN "
                "(SELECT id FROM sessions WHERE key = ? ORDER BY id DESC LIMIT ?)",
                (key, key, self._max_sessions),
            )

    def take(self, key: str) -> Session | None:
        """
        Returns the newest session of *key* and removes it; None if there is none.

        Raises:
            sqlite3.Error: the file cannot be read, or another process keeps it locked.
        """
        with self._transaction() as database:
            database.execute("DELETE FROM sessions WHERE expires <= ?", (int(time.time()),))
            query = "SELECT id, der FROM sessions WHERE key = ? ORDER BY id DESC LIMIT 1"
            while row := database.execute(query, (key,)).fetchone():
                database.execute("DELETE FROM sessions WHERE id = ?", row[:1])
                with contextlib.suppress(ValueError, TypeError):  # this libssl cannot read it
                    return Session.from_der(row[1])
        return None

    def clear(self) -> None:
        """
        Forgets all sessions.

        Raises:
            sqlite3.Error: the file cannot be written, or another process keeps it locked.
        """
        with self._transaction() as database:
            database.execute("DELETE FROM sessions")

    def __repr__(self) -> str:
        return f"<openssl_tickets.FileSessionStore {self._path!r}>"

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Nobody else reads or writes meanwhile; what was deleted is overwritten."""
        import sqlite3

        # No connection is kept: it must not be shared by threads, nor carried through a fork.
        # If the file has been deleted, sqlite3 makes no other, which others could read.
        uri = f"{Path(self._path).as_uri()}?mode=rw"
        with contextlib.closing(
            sqlite3.connect(uri, timeout=_TIMEOUT, isolation_level=None, uri=True)
        ) as database:
            database.execute("PRAGMA secure_delete = ON")
            database.execute("PRAGMA journal_mode = TRUNCATE")
            database.execute("BEGIN IMMEDIATE")
            with database:  # commits, or rolls back
                yield database
