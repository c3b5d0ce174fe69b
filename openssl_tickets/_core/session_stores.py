"""Where clients store their sessions: in memory or in a file."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator

from openssl_tickets._core.arguments import checked
from openssl_tickets._core.session import Session, owned_session
from openssl_tickets._native._libssl import ffi, lib
from openssl_tickets._native.errors import raise_error
from openssl_tickets._typing import Any, Protocol, SupportsIndex

_SERVERS_MAX = 1_000_000
_SESSIONS_MAX = 1000
_LIFETIME_MAX = 7 * 86_400  # seconds: a client may not keep a ticket longer (RFC 8446, 4.6.1)
_TIMEOUT = 10.0  # seconds that a process waits for another process


class SessionStore(Protocol):
    """
    Where :func:`resume_sessions` stores sessions: any object with these two methods.

    Several threads call them at once, each in the middle of its handshake or read. If a method
    raises an exception, the failure is logged, and the connection goes on without the store.
    """

    def put(self, key: str, session: Session) -> None:
        """Stores *session* as the newest one of *key*."""

    def take(self, key: str) -> Session | None:
        """Removes and returns the newest session of *key*, or None if there is none."""


def expires(session: Session) -> int:
    """Returns when *session* expires at its server, in seconds since the Epoch."""
    # In TLS 1.2 the server need not say how long it accepts a ticket.
    hint = session.ticket_lifetime_hint or session.timeout
    return session.time + min(session.timeout, hint, _LIFETIME_MAX)


class MemorySessionStore:
    """
    Stores sessions in memory, for any number of threads.

    Connections read and write this store in C and do not call Python. If you derive a class from
    it, they call its ``put`` and ``take``.

    After a fork, the child's store is empty, because the parent still offers the sessions that were
    in it. To share sessions between processes, use a :class:`FileSessionStore`.

    Args:
        max_servers: the most servers (keys) to store, an integer from 1 to 1,000,000. If there are
            more, the server whose last new session is the oldest is dropped.
        max_sessions: the most sessions to store for each server, an integer from 1 to 1,000. If
            there are more, the oldest is dropped.

    Raises:
        TypeError: an argument is not an integer.
        ValueError: an argument is out of its range.
        Error: libssl is out of memory.
    """

    def __init__(self, max_servers: SupportsIndex = 1000, max_sessions: SupportsIndex = 8) -> None:
        servers = checked("max_servers", max_servers, 1, _SERVERS_MAX)
        sessions = checked("max_sessions", max_sessions, 1, _SESSIONS_MAX)
        store = lib.openssl_tickets_new_store(servers, sessions)
        if not store:
            raise_error("there is no store, out of memory")
        self._store = ffi.gc(store, lib.openssl_tickets_release_store)

    def put(self, key: str, session: Session) -> None:
        """
        Stores a copy of *session* as the newest one of *key*.

        Raises:
            TypeError: *key* is not a str, or *session* is not a :class:`Session`.
            Error: libssl is out of memory.
        """
        if not isinstance(session, Session):
            raise TypeError(
                f"session must be an openssl_tickets.Session, not {type(session).__name__}"
            )
        name = _encoded(key)
        copy = session.copy()
        lib.SSL_SESSION_up_ref(copy._pointer)
        if not lib.openssl_tickets_put(self._store, name, len(name), copy._pointer):
            raise_error("the session was not kept, out of memory")

    def take(self, key: str) -> Session | None:
        """
        Removes and returns the newest session of *key*, or None if there is none.

        Raises:
            TypeError: *key* is not a str.
        """
        name = _encoded(key)
        session = lib.openssl_tickets_take(self._store, name, len(name))
        return owned_session(session) if session else None

    def clear(self) -> None:
        """Removes all sessions."""
        lib.openssl_tickets_clear_store(self._store)

    def __len__(self) -> int:
        """Returns how many sessions are stored."""
        return int(lib.openssl_tickets_count_stored(self._store))

    def __repr__(self) -> str:
        return f"<openssl_tickets.MemorySessionStore: {len(self)} sessions>"


def _encoded(key: str) -> bytes:
    if not isinstance(key, str):
        raise TypeError(f"key must be a str, not {type(key).__name__}")
    return str.encode(key, errors="surrogatepass")  # not a subclass's own


class FileSessionStore:
    """
    Stores sessions in a file, for any number of threads and processes of one user.

    The file is an SQLite database with mode 0600. A session that is taken is deleted for all
    processes at once, and its bytes in the file are overwritten. A process that is killed loses at
    most the session that it was about to put. Keep the file as safe as a private key.

    Args:
        path: the path of the file. If there is no file, it is made.
        max_sessions: the most sessions to store for each server (key), an integer from 1 to 1,000.
            If there are more, the oldest is dropped.

    Raises:
        PermissionError: the file belongs to another user, or others can read or write it.
        OSError: the file cannot be opened, or is a symbolic link.
        ValueError: SQLite cannot use the file, because it is not such a store or because another
            process keeps it locked for 10 seconds; or *max_sessions* is out of its range.
        TypeError: *max_sessions* is not an integer.

    Example::

        store = FileSessionStore("sessions.sqlite")
        resume_sessions(context, store)
    """

    def __init__(self, path: str | os.PathLike[str], max_sessions: SupportsIndex = 8) -> None:
        import sqlite3  # only this class needs it

        self._max_sessions = checked("max_sessions", max_sessions, 1, _SESSIONS_MAX)
        self._path = os.path.abspath(os.fsdecode(path))
        # sqlite3 itself would give a new file the mode that the umask allows.
        descriptor = os.open(
            self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.geteuid():
            raise PermissionError(
                f"{self._path} belongs to another user, or others can read or write it: "
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
            raise ValueError(f"{self._path} cannot be used as a session store: {error}") from None

    def put(self, key: str, session: Session) -> None:
        """
        Stores *session* as the newest one of *key*.

        Raises:
            sqlite3.Error: the file cannot be written, or another process keeps it locked for 10
                seconds.
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
        Removes and returns the newest session of *key*, or None if there is none.

        Expired sessions, and those that this libssl cannot read, are removed too.

        Raises:
            sqlite3.Error: the file cannot be read or written, or another process keeps it locked
                for 10 seconds.
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
        Removes all sessions.

        Raises:
            sqlite3.Error: the file cannot be written, or another process keeps it locked for 10
                seconds.
        """
        with self._transaction() as database:
            database.execute("DELETE FROM sessions")

    def __repr__(self) -> str:
        return f"<openssl_tickets.FileSessionStore {self._path!r}>"

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Runs a transaction while nobody else reads or writes. Deleted data is overwritten."""
        import sqlite3
        from pathlib import Path

        # Each transaction opens its own connection: threads must not share one, and neither must a
        # parent and its forked child. If the file was deleted, mode=rw keeps sqlite3 from making a
        # new one, which other users could read.
        uri = f"{Path(self._path).as_uri()}?mode=rw"
        with contextlib.closing(
            sqlite3.connect(uri, timeout=_TIMEOUT, isolation_level=None, uri=True)
        ) as database:
            database.execute("PRAGMA secure_delete = ON")
            database.execute("PRAGMA journal_mode = TRUNCATE")
            database.execute("BEGIN IMMEDIATE")
            with database:  # commits, or rolls back
                yield database
