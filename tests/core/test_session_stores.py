"""Where clients keep their sessions: in memory, and in a file."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openssl_tickets import FileSessionStore, MemorySessionStore, Session
from tests.support.callbacks import in_threads
from tests.support.libraries import Setting
from tests.support.processes import run

MakeStore = Callable[..., Any]


@pytest.fixture(params=["memory", "file"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """``make_store(max_sessions=...)`` returns an empty store."""
    if request.param == "memory":
        return MemorySessionStore
    return lambda **limits: FileSessionStore(tmp_path / "sessions", **limits)


@pytest.fixture(scope="module")
def session(server_file: Path) -> Session:
    return Setting("ssl", "1.3", server_file).session()


def numbered(session: Session, number: int) -> Session:
    """Returns a copy that is good, and that can be told from others."""
    copy = session.copy()
    copy.ticket_appdata = str(number).encode()
    return copy


def number_of(session: Session | None) -> int | None:
    return int(session.ticket_appdata) if session is not None else None


class TestBoth:
    def test_takes_the_newest(self, make_store: MakeStore, session: Session) -> None:
        """The newest comes first, once, and only for its key."""
        store = make_store()
        for number in range(3):
            store.put("a", numbered(session, number))
        store.put("b", numbered(session, 9))
        assert [number_of(store.take("a")) for _ in range(4)] == [2, 1, 0, None]
        assert number_of(store.take("b")) == 9
        assert store.take("c") is None

    def test_same_session(self, make_store: MakeStore, session: Session) -> None:
        store = make_store()
        store.put("a", session)
        assert store.take("a") == session

    def test_bounds(self, make_store: MakeStore, session: Session) -> None:
        """The oldest of a server go first."""
        store = make_store(max_sessions=3)
        for number in range(10):
            store.put("a", numbered(session, number))
        assert [number_of(store.take("a")) for _ in range(4)] == [9, 8, 7, None]

    def test_clear(self, make_store: MakeStore, session: Session) -> None:
        store = make_store()
        store.put("a", session)
        store.put("b", session)
        store.clear()
        assert (store.take("a"), store.take("b")) == (None, None)

    @pytest.mark.parametrize(
        ("wrong", "error"), [(0, ValueError), (1001, ValueError), ("3", TypeError)]
    )
    def test_wrong_bounds(self, make_store: MakeStore, wrong: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match=r"max_sessions must be"):
            make_store(max_sessions=wrong)

    def test_threads(self, make_store: MakeStore, session: Session) -> None:
        """Each session is taken by one thread only."""
        store = make_store(max_sessions=200)
        for number in range(100):
            store.put("a", numbered(session, number))
        taken: list[int | None] = []
        in_threads(4, lambda _: taken.extend(number_of(store.take("a")) for _ in range(25)))
        assert sorted(filter(None, taken)) == list(range(1, 100))

    def test_keys(self, make_store: MakeStore, session: Session) -> None:
        """Any text is a key."""
        store = make_store()
        keys = ["", "'; DROP TABLE sessions; --", "\0", "ä", "a" * 10_000]
        for number, key in enumerate(keys):
            store.put(key, numbered(session, number))
        assert [number_of(store.take(key)) for key in keys] == list(range(len(keys)))

    def test_repr(self, make_store: MakeStore, session: Session) -> None:
        """No secret is in it."""
        store = make_store()
        store.put("a", session)
        assert repr(store).startswith("<openssl_tickets.")
        assert session.ticket.hex()[:20] not in repr(store)


class TestMemory:
    def test_servers(self, session: Session) -> None:
        """The server whose session is the oldest goes first."""
        store = MemorySessionStore(max_servers=2)
        for key in ("a", "b", "a", "c"):
            store.put(key, session)
        assert store.take("b") is None
        assert len(store) == 3

    def test_copies(self, session: Session) -> None:
        """What is changed afterwards is not changed in the store, and the other way round."""
        store = MemorySessionStore()
        given = numbered(session, 1)
        store.put("a", given)
        given.ticket_appdata = b"2"
        assert number_of(store.take("a")) == 1

    @pytest.mark.parametrize("wrong", ["session", b"session", None, 3, object()])
    def test_no_session(self, wrong: Any) -> None:
        store = MemorySessionStore()
        with pytest.raises(TypeError, match=r"^session must be an openssl_tickets.Session, not "):
            store.put("a", wrong)
        assert len(store) == 0

    @pytest.mark.parametrize("wrong", [b"key", None, 3])
    def test_no_key(self, session: Session, wrong: Any) -> None:
        store = MemorySessionStore()
        with pytest.raises(TypeError, match=r"^key must be a str, not "):
            store.put(wrong, session)
        with pytest.raises(TypeError, match=r"^key must be a str, not "):
            store.take(wrong)

    def test_many_servers(self, session: Session) -> None:
        """Each key finds its own; the bound holds all the while."""
        store = MemorySessionStore(max_servers=500, max_sessions=2)
        for number in range(2000):
            for _ in range(3):
                store.put(f"key {number}", numbered(session, number))
            assert len(store) == 2 * min(number + 1, 500)
        for number in range(2000):
            expected = number if number >= 1500 else None
            assert number_of(store.take(f"key {number}")) == expected
        assert len(store) == 500

    def test_fork(self, session: Session, tmp_path: Path) -> None:
        """
        A child begins with none: its parent offers those that there were. Other threads may be
        at work on the store in the fork.

        The thread here makes and frees no session. That takes a lock of libcrypto, which a fork
        may leave locked in the child for ever.
        """
        (tmp_path / "der").write_bytes(session.to_der())
        assert (
            run(
                textwrap.dedent(
                    f"""
                import os, threading, warnings
                from openssl_tickets import MemorySessionStore, Session
                warnings.simplefilter("ignore")
                session = Session.from_der(open({str(tmp_path / "der")!r}, "rb").read())
                store = MemorySessionStore()
                store.put("a", session)
                done = False
                def work():
                    while not done:
                        store.take("b")
                        len(store)
                thread = threading.Thread(target=work)
                thread.start()
                for _ in range(20):
                    child = os.fork()
                    if not child:
                        taken = store.take("a")
                        store.put("a", session)
                        os._exit(0 if (taken, store.take("a")) == (None, session) else 1)
                    assert os.waitpid(child, 0)[1] == 0
                done = True
                thread.join()
                print(store.take("a") == session)
                """
                )
            )
            == "True\n"
        )


TAKER = """
import sys
from openssl_tickets import FileSessionStore
store = FileSessionStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
while session := store.take("a"):
    print(session.ticket_appdata.decode(), flush=True)
"""

PUTTER = """
import sys
from openssl_tickets import FileSessionStore, Session
session = Session.from_der(open(sys.argv[2], "rb").read())
store = FileSessionStore(sys.argv[1], max_sessions=1000)
number = 0
while True:
    session.ticket_appdata = str(number).encode()
    store.put("a", session)
    print(number, flush=True)
    number += 1
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


class TestFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "sessions"

    @pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
    def test_mode(self, path: Path, session: Session, umask: int) -> None:
        """Nobody else can read the file, nor what sqlite puts beside it, whatever the umask."""
        before = os.umask(umask)
        try:
            with contextlib.suppress(PermissionError, ValueError):  # of 0o777, if not by root
                FileSessionStore(path).put("a", session)
        finally:
            os.umask(before)
        modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert modes <= {0o600 & ~umask}

    def test_open_to_others(self, path: Path) -> None:
        """A file that others can read or write is refused, with what to do."""
        path.touch()
        for mode in (0o640, 0o604, 0o620, 0o610):
            path.chmod(mode)
            with pytest.raises(PermissionError, match=rf"chmod 600 {path}"):
                FileSessionStore(path)
        path.chmod(0o600)
        FileSessionStore(path)

    def test_symbolic_link(self, path: Path, tmp_path: Path) -> None:
        """A link is not followed: its target may be anybody's."""
        path.symlink_to(tmp_path / "target")
        with pytest.raises(OSError, match=r"symbolic link"):
            FileSessionStore(path)
        assert not (tmp_path / "target").exists()

    def test_no_place(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "none" / "sessions"):
            with pytest.raises(OSError, match=str(path)):
                FileSessionStore(path)

    def test_other_files(self, path: Path) -> None:
        """What is no store is refused, and left as it is."""
        path.touch(0o600)
        for content in (b"something else entirely, and longer than a header" * 50, b"short"):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=r"cannot be used as a session store"):
                FileSessionStore(path)
            assert path.read_bytes() == content
        path.unlink()
        path.touch(0o600)
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE sessions (name TEXT)")
        with pytest.raises(ValueError, match=r"cannot be used as a session store"):
            FileSessionStore(path)

    def test_damaged_later(self, path: Path, session: Session) -> None:
        """A store whose file is damaged raises; resume_sessions goes on with full handshakes."""
        store = FileSessionStore(path)
        store.put("a", session)
        path.write_bytes(os.urandom(8192))
        with pytest.raises(sqlite3.DatabaseError):
            store.take("a")

    def test_foreign_session(self, path: Path, session: Session) -> None:
        """What another libssl has written, and this one cannot read, is passed over."""
        store = FileSessionStore(path)
        store.put("a", session)
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            for der in (b"", b"no session", session.to_der()[:-5], 3, "text"):
                database.execute(
                    "INSERT INTO sessions (key, expires, der) VALUES ('a', 9999999999, ?)",
                    (der,),
                )
        assert store.take("a") == session
        assert store.take("a") is None

    def test_expired(self, path: Path, session: Session) -> None:
        """What is over is deleted with the next take, of any key."""
        store = FileSessionStore(path)
        old = session.copy()
        old.time = int(time.time()) - 100_000
        store.put("a", old)
        assert store.take("b") is None
        with contextlib.closing(sqlite3.connect(path)) as database:
            assert database.execute("SELECT count(*) FROM sessions").fetchone() == (0,)

    def test_secrets_are_overwritten(self, path: Path, session: Session) -> None:
        """What has been taken is not in the file any more."""
        store = FileSessionStore(path)
        store.put("a", session)
        ticket = session.ticket
        assert ticket in path.read_bytes()
        store.take("a")
        assert all(ticket not in file.read_bytes() for file in path.parent.iterdir())

    def test_several_processes(self, path: Path, session: Session) -> None:
        """Each session is taken by one process only."""
        store = FileSessionStore(path, max_sessions=200)
        for number in range(60):
            store.put("a", numbered(session, number))
        with contextlib.ExitStack() as stack:
            takers = [stack.enter_context(start(TAKER, path)) for _ in range(3)]
            for taker in takers:
                assert taker.stdout is not None
                assert taker.stdout.readline() == "ready\n"
            outputs = []
            for taker in takers:
                assert taker.stdin is not None
                taker.stdin.write("\n")
                taker.stdin.flush()
            for taker in takers:
                outputs += taker.communicate(timeout=60)[0].split()
        assert sorted(map(int, outputs)) == list(range(60))

    def test_killed(self, path: Path, tmp_path: Path, session: Session) -> None:
        """A process that is killed at any time loses at most what it was about to put."""
        (tmp_path / "der").write_bytes(session.to_der())
        for wait in (0.02, 0.1, 0.3):
            path.unlink(missing_ok=True)
            with start(PUTTER, path, tmp_path / "der") as putter:
                assert putter.stdout is not None
                putter.stdout.readline()
                time.sleep(wait)
                putter.send_signal(signal.SIGKILL)
                rest = putter.stdout.read().split()
            store = FileSessionStore(path)
            last = int(rest[-1]) if rest else 0
            assert number_of(store.take("a")) in (last, last + 1)
            store.put("a", session)

    def test_locked_for_ever(
        self, path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process that holds the file for ever costs a bounded time."""
        monkeypatch.setattr("openssl_tickets._core.session_stores._TIMEOUT", 0.2)
        store = FileSessionStore(path)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("BEGIN EXCLUSIVE")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                store.put("a", session)

    def test_deleted_file(self, path: Path, session: Session) -> None:
        """If somebody deletes the file, no other is made, which others could read."""
        store = FileSessionStore(path)
        path.unlink()
        with pytest.raises(sqlite3.Error):
            store.put("a", session)
        assert not path.exists()
