"""
A client that keeps its sessions in a file, and offers no TLS 1.3 ticket twice.

A ticket that is offered twice shows to whoever is listening that both connections are of the same
client (RFC 8446, C.4), so taking one out of the file deletes it, for all processes at once. A
TLS 1.2 client cannot hide that anyway, and gets no new ticket with each resumption: its sessions
stay until their time is over. What is in the file is as secret as a private key.

    openssl s_server -accept 4433 -cert server.pem -rev

    python client_store.py localhost 4433 --cafile ca.pem --store sessions.sqlite
    python client_store.py localhost 4433 --cafile ca.pem --store sessions.sqlite
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import socket
import sqlite3
import ssl
import stat
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import openssl_tickets
from openssl_tickets import Session

TIMEOUT = 10  # seconds
KEPT = 4  # sessions for each server and context, however many tickets it sends


class ClientStore:
    """Sessions in a file, for any number of threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: weakref.WeakKeyDictionary[ssl.SSLSocket, str] = weakref.WeakKeyDictionary()
        # sqlite3 itself would leave the mode of a new file to the umask.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with contextlib.closing(os.fdopen(descriptor)) as file:
            status = os.fstat(file.fileno())
        if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid != os.geteuid():
            raise PermissionError(f"{path} must be ours, and nobody else's to read or write")
        with self._transaction() as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS sessions (id INTEGER PRIMARY KEY AUTOINCREMENT, "
                "server TEXT, single_use INTEGER, expires INTEGER, der BLOB)"
            )

    def connect(self, context: ssl.SSLContext, host: str, port: int) -> ssl.SSLSocket:
        """Returns a connection that is resumed if there is a session, and whose tickets we keep."""
        plain = socket.create_connection((host, port), TIMEOUT)
        connection = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        try:
            self._keys[connection] = key = f"{host} {port} {strictness(context)}"
            openssl_tickets.set_new_session_callback(context, keep, self)
            session = self.take(key)
            if session is not None:
                openssl_tickets.set_session(connection, session)
            connection.do_handshake()
        except BaseException:
            connection.close()
            raise
        return connection

    def take(self, key: str) -> Session | None:
        """Returns the latest session, in TLS 1.3 one that nobody has been given before."""
        with self._transaction() as database:
            database.execute("DELETE FROM sessions WHERE expires <= ?", (int(time.time()),))
            while row := database.execute(
                "SELECT id, single_use, der FROM sessions WHERE server = ? ORDER BY id DESC", (key,)
            ).fetchone():
                number, is_single_use, der = row
                with contextlib.suppress(ValueError, TypeError):  # this libssl cannot read it
                    session = Session.from_der(der)
                    if is_single_use:
                        database.execute("DELETE FROM sessions WHERE id = ?", (number,))
                    return session
                database.execute("DELETE FROM sessions WHERE id = ?", (number,))
        return None

    def put(self, connection: ssl.SSLSocket, session: Session) -> None:
        """Keeps *session*, for the server of *connection* and contexts like its context."""
        is_single_use = session.protocol == "TLSv1.3"
        # In TLS 1.2 the server need not say for how long it takes a ticket.
        lifetime = min(session.timeout, session.ticket_lifetime_hint or session.timeout)
        if is_single_use and not session.ticket_lifetime_hint:
            return  # RFC 8446, 4.6.1: to be discarded at once
        key = self._keys[connection]
        with self._transaction() as database:
            database.execute(
                "INSERT INTO sessions (server, single_use, expires, der) VALUES (?, ?, ?, ?)",
                (key, is_single_use, session.time + lifetime, session.to_der()),
            )
            database.execute(
                "DELETE FROM sessions WHERE server = ? AND id NOT IN "
                "(SELECT id FROM sessions WHERE server = ? ORDER BY id DESC LIMIT ?)",
                (key, key, KEPT),
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Nobody else reads or writes meanwhile; what was deleted is overwritten."""
        # No connection is kept: it must not be shared by threads, nor carried through a fork.
        with contextlib.closing(
            sqlite3.connect(self._path, timeout=TIMEOUT, isolation_level=None)
        ) as database:
            database.execute("PRAGMA secure_delete = ON")
            database.execute("BEGIN IMMEDIATE")
            with database:  # commits, or rolls back
                yield database


def keep(connection: ssl.SSLSocket, session: Session, store: ClientStore) -> None:
    store.put(connection, session)


def strictness(context: ssl.SSLContext) -> str:
    """
    Returns what a session must not get around.

    In a resumption no certificate is looked at, so a session from a context that trusts anybody
    must never be offered by one that does not. Add what else distinguishes your connections: a
    client's certificate or a pinned key, above all, of which a context does not tell.
    """
    checks = (
        context.verify_mode,
        context.verify_flags,
        context.check_hostname,
        context.minimum_version,
        context.options,
        sorted(context.get_ca_certs(binary_form=True)),
    )
    return hashlib.sha256(repr(checks).encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--cafile", type=Path, help="who may vouch for the server (PEM)")
    parser.add_argument("--store", type=Path, default=Path("sessions.sqlite"))
    parser.add_argument("--line", default="hello", help="what to send")
    options = parser.parse_args()
    context = ssl.create_default_context(cafile=options.cafile)
    try:
        store = ClientStore(options.store)
        connection = store.connect(context, options.host, options.port)
    except sqlite3.DatabaseError as error:
        sys.exit(f"{options.store}: {error}. If it is a store, delete it: it can be done without.")
    with connection:
        connection.sendall(f"{options.line}\n".encode())
        # The tickets are read with the reply.
        reply = connection.makefile("rb").readline().decode().rstrip()
        how = "resumed" if connection.session_reused else "full handshake"
        print(f"{connection.version()}, {how}: {reply}")
        with contextlib.suppress(OSError):
            connection.unwrap()


if __name__ == "__main__":
    main()
