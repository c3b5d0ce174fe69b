"""Ticket key files: their layouts, their modes, what is refused, and how they are watched."""

from __future__ import annotations

import base64
import gc
import logging
import os
import re
import stat
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import TicketKey, TicketKeys
from openssl_tickets.ticket_key_files import (
    TicketKeyFileWarning,
    TicketKeyWatcher,
    load_apache_keys,
    load_envoy_keys,
    load_haproxy_keys,
    load_nginx_keys,
    save_apache_key,
    save_envoy_key,
    save_haproxy_keys,
    save_nginx_key,
    watch_ticket_keys,
)
from tests.support import tls

NAME = b"N" * 16
SOON = 0.01  # seconds between two looks at a file
LOADERS: list[Callable[[Any], list[TicketKey]]] = [
    load_nginx_keys,
    load_haproxy_keys,
    load_apache_keys,
    load_envoy_keys,
]


def new_key(secret_len: int = 32) -> TicketKey:
    return TicketKey(os.urandom(16), os.urandom(secret_len), os.urandom(secret_len))


def key(secret_len: int) -> TicketKey:
    """A key whose parts are seen at a glance."""
    return TicketKey(NAME, b"H" * secret_len, b"A" * secret_len)


def save_haproxy_key(path: Path, key: TicketKey) -> None:
    """Writes a file for HAProxy in which *key* encrypts."""
    others = [new_key(len(key.aes_key)) for _ in range(2)]
    save_haproxy_keys(path, [key, *others])


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


SAVERS: list[tuple[Callable[[Any, TicketKey], None], Callable[[Any], list[TicketKey]], int]] = [
    (save_nginx_key, load_nginx_keys, 32),
    (save_nginx_key, load_nginx_keys, 16),
    (save_haproxy_key, load_haproxy_keys, 32),
    (save_haproxy_key, load_haproxy_keys, 16),
    (save_apache_key, load_apache_keys, 16),
    (save_envoy_key, load_envoy_keys, 32),
]


class TestLayouts:
    @pytest.mark.parametrize(
        ("save", "load", "secret_len", "layout"),
        [
            (save_nginx_key, load_nginx_keys, 32, NAME + b"H" * 32 + b"A" * 32),
            (save_nginx_key, load_nginx_keys, 16, NAME + b"A" * 16 + b"H" * 16),
            (save_apache_key, load_apache_keys, 16, NAME + b"H" * 16 + b"A" * 16),
            (save_envoy_key, load_envoy_keys, 32, NAME + b"H" * 32 + b"A" * 32),
        ],
    )
    def test_bytes(
        self,
        tmp_path: Path,
        save: Callable[[Path, TicketKey], None],
        load: Callable[[Path], list[TicketKey]],
        secret_len: int,
        layout: bytes,
    ) -> None:
        """Each program has its order of name, HMAC key and AES key."""
        save(tmp_path / "file", key(secret_len))
        assert (tmp_path / "file").read_bytes() == layout
        assert load(tmp_path / "file") == [key(secret_len)]

    @pytest.mark.parametrize("secret_len", [32, 16])
    def test_haproxy(self, tmp_path: Path, secret_len: int) -> None:
        """HAProxy's lines are in base64, and the key that encrypts is the last but one."""
        keys = [key(secret_len), new_key(secret_len), new_key(secret_len)]
        save_haproxy_keys(tmp_path / "file", keys)
        lines = (tmp_path / "file").read_bytes().split(b"\n")
        assert base64.b64decode(lines[1]) == NAME + b"A" * secret_len + b"H" * secret_len
        names = [base64.b64decode(line)[:16] for line in lines]
        assert names == [keys[2].name, keys[0].name, keys[1].name, b""]
        assert load_haproxy_keys(tmp_path / "file") == keys

    def test_haproxy_takes_derived_keys(self, tmp_path: Path) -> None:
        """A derived ring's keys are in the same order: this one, the next, the one before."""
        keys = TicketKeys.derived(b"secret" * 6, 1000, 1000).keys[:3]
        save_haproxy_keys(tmp_path / "file", keys)
        assert load_haproxy_keys(tmp_path / "file") == list(keys)

    @pytest.mark.parametrize("load", [load_nginx_keys, load_envoy_keys])
    def test_order_of_files(self, tmp_path: Path, load: Any) -> None:
        """The key of the first file comes first, and one that two files have comes once."""
        one, two = new_key(), new_key()
        for name, saved in (("1", one), ("2", two), ("3", one)):
            save_nginx_key(tmp_path / name, saved)
        assert load(*(tmp_path / name for name in "213")) == [two, one]
        assert load(*(str(tmp_path / name) for name in "123")) == [one, two]

    def test_haproxy_repeated_line(self, tmp_path: Path) -> None:
        """Three lines with one key, which HAProxy takes, are one key."""
        save_haproxy_keys(tmp_path / "file", [key(32)] * 3)
        assert load_haproxy_keys(tmp_path / "file") == [key(32)]

    @pytest.mark.parametrize("save", [save_nginx_key, save_apache_key, save_envoy_key])
    def test_not_a_key(self, tmp_path: Path, save: Any) -> None:
        """What is not a TicketKey is refused, and there is no file."""
        with pytest.raises(TypeError, match="must be a TicketKey, not bytes"):
            save(tmp_path / "file", b"N" * 80)
        assert os.listdir(tmp_path) == []

    def test_wrong_size_of_key(self, tmp_path: Path) -> None:
        """A program that has no keys of a size is not given one; the file stays as it was."""
        path = write(tmp_path / "file", b"as it was")
        with pytest.raises(ValueError, match=r"^Envoy takes keys for AES-256, not for AES-128$"):
            save_envoy_key(path, key(16))
        with pytest.raises(ValueError, match=r"^Apache takes keys for AES-128, not for AES-256$"):
            save_apache_key(path, key(32))
        with pytest.raises(ValueError, match=r"HAProxy wants keys of one size"):
            save_haproxy_keys(path, [key(16), new_key(16), new_key(32)])
        for number in (0, 1, 2, 4):
            with pytest.raises(ValueError, match=f"HAProxy wants 3 keys, not {number}"):
                save_haproxy_keys(path, [new_key() for _ in range(number)])
        assert path.read_bytes() == b"as it was"
        assert os.listdir(tmp_path) == ["file"]


class TestRefused:
    @pytest.mark.parametrize("size", [0, 1, 47, 49, 64, 79, 81, 1000])
    @pytest.mark.parametrize("load", [load_nginx_keys, load_apache_keys, load_envoy_keys])
    def test_size(self, tmp_path: Path, load: Any, size: int) -> None:
        """A file of another size is refused, with its name and size."""
        path = write(tmp_path / "file", b"S" * size)
        with pytest.raises(ValueError, match=f"bytes, not {size}$") as caught:
            load(path)
        assert str(path) in str(caught.value)

    def test_size_of_another_program(self, tmp_path: Path) -> None:
        """Apache's keys have 48 bytes, and Envoy's have 80."""
        save_nginx_key(tmp_path / "80", key(32))
        save_nginx_key(tmp_path / "48", key(16))
        with pytest.raises(ValueError, match=r"not a ticket key for Apache: 48 bytes, not 80"):
            load_apache_keys(tmp_path / "80")
        with pytest.raises(ValueError, match=r"not a ticket key for Envoy: 80 bytes, not 48"):
            load_envoy_keys(tmp_path / "48")

    @pytest.mark.parametrize(
        ("replaced", "by", "message"),
        [
            (slice(0, 3), b"", "has 0 keys, and HAProxy wants 3, one per line$"),
            (slice(0, 2), b"", "has 1 key, and"),
            (slice(0, 1), b"", "has 2 keys, and"),
            (slice(1, 2), b"*" * 108 + b"\n", "^line 2 of .* is not base64$"),
            (slice(1, 2), b"A" * 107 + b"\n", "^line 2 of .* is not base64$"),
            (slice(1, 1), b"\n", "^line 2 of .* 80 or 48 bytes, not 0$"),
            (slice(3, 3), b"\n", "^line 4 of .* 80 or 48 bytes, not 0$"),
            (slice(2, 3), b"A" * 104 + b"\n", "^line 3 of .* 80 or 48 bytes, not 78$"),
            (slice(2, 3), b"A" * 64 + b"\n", "^line 3 of .* is not of the size of line 1, and"),
        ],
        ids=range(9),
    )
    def test_haproxy(self, tmp_path: Path, replaced: slice, by: bytes, message: str) -> None:
        """Of HAProxy's file it is said which line is wrong, and how."""
        save_haproxy_keys(tmp_path / "file", [key(32), new_key(), new_key()])
        lines = (tmp_path / "file").read_bytes().splitlines(keepends=True)
        lines[replaced] = [by]
        write(tmp_path / "file", b"".join(lines))
        with pytest.raises(ValueError, match=message) as caught:
            load_haproxy_keys(tmp_path / "file")
        assert str(tmp_path / "file") in str(caught.value)

    @pytest.mark.parametrize("load", LOADERS)
    @pytest.mark.parametrize(
        "data",
        [b"KeyParts" * 5, b"KeyParts*" * 12, base64.b64encode(b"KeyParts" * 7) + b"\n"],
        ids=range(3),
    )
    def test_no_secrets(self, tmp_path: Path, load: Any, data: bytes) -> None:
        """What is in the file is in no error, nor in what has led to that."""
        path = write(tmp_path / "file", data)
        with pytest.raises(ValueError, match="file") as caught:
            load(path)
        error: BaseException | None = caught.value
        while error is not None:
            for secret in (data, b"KeyParts"):
                assert secret.decode()[:8] not in repr(vars(error)) + repr(error.args)
            error = error.__context__

    @pytest.mark.parametrize("load", LOADERS)
    def test_huge(self, tmp_path: Path, load: Any) -> None:
        """A huge file is refused, without all of it being read."""
        path = tmp_path / "file"
        write(path, b"")
        os.truncate(path, 1 << 40)
        with pytest.raises(ValueError, match=str(1 << 40)):
            load(path)

    @pytest.mark.parametrize("load", LOADERS)
    def test_not_files(self, tmp_path: Path, load: Any) -> None:
        """A folder, a device and nothing are refused, with their names."""
        with pytest.raises(IsADirectoryError, match=re.escape(str(tmp_path))):
            load(tmp_path)
        with pytest.raises(FileNotFoundError, match="there is none"):
            load(tmp_path / "there is none")
        with pytest.raises(ValueError, match=r"^/dev/zero is not a regular file$"):
            load("/dev/zero")

    def test_fifo(self, tmp_path: Path) -> None:
        """A FIFO is refused; nothing waits for its writer."""
        os.mkfifo(tmp_path / "fifo")
        program = f"""
            import sys
            sys.path.append({str(Path(__file__).parents[2])!r})
            from openssl_tickets import ticket_key_files
            for name in ("nginx_keys", "haproxy_keys", "apache_keys", "envoy_keys"):
                try:
                    getattr(ticket_key_files, "load_" + name)({str(tmp_path / "fifo")!r})
                except ValueError as error:
                    print(error)
        """
        assert run(program) == f"{tmp_path / 'fifo'} is not a regular file\n" * 4

    @pytest.mark.parametrize("load", [load_nginx_keys, load_envoy_keys])
    def test_arguments(self, load: Any) -> None:
        """No path, or a list of them, is refused."""
        with pytest.raises(ValueError, match="name at least one ticket key file"):
            load()
        with pytest.raises(TypeError):
            load(["file"])


class TestModes:
    @pytest.mark.parametrize(("save", "load", "secret_len"), SAVERS)
    def test_saved(self, tmp_path: Path, save: Any, load: Any, secret_len: int) -> None:
        """What is saved is its owner's alone, whatever was there and whatever the umask is."""
        path = write(tmp_path / "file", b"")
        path.chmod(0o644)
        umask = os.umask(0)
        try:
            save(path, key(secret_len))
            save(tmp_path / "another", key(secret_len))
        finally:
            os.umask(umask)
        for saved in (path, tmp_path / "another"):
            assert stat.S_IMODE(saved.stat().st_mode) == 0o600
            assert load(saved)[0] == key(secret_len)
        assert sorted(os.listdir(tmp_path)) == ["another", "file"]

    def test_from_the_first_byte(self, tmp_path: Path) -> None:
        """A file is its owner's alone while it is still empty."""
        program = f"""
            import os, sys
            sys.path.append({str(Path(__file__).parents[2])!r})
            from openssl_tickets import TicketKey
            from openssl_tickets.ticket_key_files import save_nginx_key

            def hook(event, arguments):
                # A file is made of the descriptor that was opened.
                if event == "open" and isinstance(arguments[0], int):
                    seen = os.fstat(arguments[0])
                    print(oct(seen.st_mode), seen.st_size)

            sys.addaudithook(hook)
            os.umask(0)
            save_nginx_key({str(tmp_path / "file")!r}, TicketKey.generate())
        """
        assert run(program) == "0o100600 0\n"

    @pytest.mark.parametrize(("save", "load", "secret_len"), SAVERS)
    @pytest.mark.parametrize(
        ("mode", "others"),
        [
            (0o640, "its group"),
            (0o604, "everyone"),
            (0o644, "its group and everyone"),
            (0o620, "its group"),
            (0o602, "everyone"),
        ],
    )
    def test_warning(
        self, tmp_path: Path, save: Any, load: Any, secret_len: int, mode: int, others: str
    ) -> None:
        """A file that others can read or change gets a warning, at the line that has it read."""
        path = tmp_path / "a file"
        save(path, key(secret_len))
        path.chmod(mode)
        with pytest.warns(TicketKeyFileWarning) as warned:
            assert load(path)[0] == key(secret_len)
        assert [str(warning.message) for warning in warned] == [
            f"{path} holds ticket keys and is open to {others}: chmod 600 '{path}'"
        ]
        assert warned[0].filename == __file__

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o711])
    def test_no_warning(self, tmp_path: Path, mode: int) -> None:
        """A file that only its owner can read or change gets none."""
        save_nginx_key(tmp_path / "file", key(32))
        (tmp_path / "file").chmod(mode)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_nginx_keys(tmp_path / "file")


class TestReplacing:
    def test_readers_see_whole_files(self, tmp_path: Path) -> None:
        """While a file is replaced over and over, each reader finds one key or the other."""
        keys = [new_key(), new_key(16)]
        path = tmp_path / "file"
        save_nginx_key(path, keys[0])
        enough = threading.Event()

        def replace() -> None:
            number = 0
            while not enough.is_set():
                number += 1
                save_nginx_key(path, keys[number % 2])

        thread = threading.Thread(target=replace)
        thread.start()
        try:
            seen = [load_nginx_keys(path)[0] for _ in range(300)]
            deadline = time.monotonic() + tls.TIMEOUT
            while len(set(seen)) < 2:
                assert time.monotonic() < deadline
                seen.append(load_nginx_keys(path)[0])
        finally:
            enough.set()
            thread.join(tls.TIMEOUT)
        assert set(seen) == set(keys)

    def test_open_file_stays(self, tmp_path: Path) -> None:
        """Who has the old file open goes on reading the old key."""
        path = tmp_path / "file"
        save_nginx_key(path, key(32))
        with path.open("rb") as file:
            save_nginx_key(path, new_key())
            assert file.read()[:16] == NAME

    def test_symbolic_link(self, tmp_path: Path) -> None:
        """What a symbolic link points to is replaced, and the link stays."""
        (tmp_path / "folder").mkdir()
        target, link = tmp_path / "folder" / "target", tmp_path / "link"
        link.symlink_to("folder/target")
        for _ in range(2):  # the first time it points to nothing
            saved = new_key()
            save_nginx_key(link, saved)
            assert link.is_symlink()
            assert not target.is_symlink()
            assert load_nginx_keys(target) == load_nginx_keys(link) == [saved]
        assert os.listdir(target.parent) == ["target"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of others")
    def test_owner_stays(self, tmp_path: Path) -> None:
        """A file that root replaces stays its owner's, who can go on reading it."""
        path = tmp_path / "file"
        save_nginx_key(path, key(32))
        os.chown(path, 12345, 23456)
        save_nginx_key(path, new_key())
        seen = path.stat()
        assert (seen.st_uid, seen.st_gid, stat.S_IMODE(seen.st_mode)) == (12345, 23456, 0o600)

    @pytest.mark.parametrize(
        ("name", "error"),
        [("folder", IsADirectoryError), ("no/folder", FileNotFoundError), ("fifo", ValueError)],
    )
    def test_failure(self, tmp_path: Path, name: str, error: type[Exception]) -> None:
        """What cannot be written is said by name, and nothing is left behind."""
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "fifo")
        path = str(tmp_path / name)
        with pytest.raises(error) as caught:
            save_nginx_key(path, key(32))
        assert path in str(caught.value)
        assert sorted(os.listdir(tmp_path)) == ["fifo", "folder"]

    def test_full_disk(self, tmp_path: Path) -> None:
        """A file that cannot be written in full leaves the old one, and nothing else."""
        path = tmp_path / "file"
        save_nginx_key(path, key(32))
        program = f"""
            import os, resource, signal, sys
            sys.path.append({str(Path(__file__).parents[2])!r})
            from openssl_tickets import TicketKey
            from openssl_tickets.ticket_key_files import save_nginx_key
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))
            try:
                save_nginx_key({str(path)!r}, TicketKey.generate())
            except OSError as error:
                print(error.filename)
        """
        assert run(program) == f"{path}\n"
        assert load_nginx_keys(path) == [key(32)]
        assert os.listdir(tmp_path) == ["file"]


def run(program: str) -> str:
    """Returns what *program* prints, in a process of its own; it must end well."""
    result = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


class Watching:
    """A file of nginx's that is watched, and what was logged of it."""

    def __init__(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.path = path
        self.first = new_key()
        save_nginx_key(path, self.first)
        self.keys = TicketKeys([self.first])
        self.caplog = caplog
        self.loads = 0

    def load(self) -> list[TicketKey]:
        self.loads += 1
        return load_nginx_keys(self.path)

    def watch(self, **more: Any) -> TicketKeyWatcher:
        return watch_ticket_keys(self.keys, self.load, self.path, **{"interval": SOON, **more})

    def logged(self, level: int) -> list[str]:
        return [
            record.getMessage()
            for record in self.caplog.records
            if (record.name, record.levelno) == ("openssl_tickets.ticket_key_files", level)
        ]

    def wait_for_keys(self, *keys: TicketKey) -> None:
        wait_until(lambda: self.keys.keys == keys)

    def wait_for_looks(self, number: int = 3) -> None:
        """Waits until the files have been read so many times more."""
        before = self.loads
        wait_until(lambda: self.loads >= before + number)


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for what a thread is to bring about; how long it takes is no matter."""
    deadline = time.monotonic() + tls.TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(SOON)


@pytest.fixture
def watching(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Watching]:
    before = threading.active_count()
    caplog.set_level(logging.INFO)
    yield Watching(tmp_path / "ticket.key", caplog)
    assert threading.active_count() == before


def make_old(path: Path) -> None:
    """Has *path* be last changed long ago, as far as that can be."""
    os.utime(path, (1, 1))


class TestWatching:
    def test_replaced_file(self, watching: Watching) -> None:
        """A file that is replaced is read, and its key is the ring's."""
        with watching.watch() as watcher:
            assert watcher.is_alive()
            assert watcher.keys is watching.keys
            for _ in range(3):
                saved = new_key()
                save_nginx_key(watching.path, saved)
                watching.wait_for_keys(saved)
        assert not watcher.is_alive()
        assert watching.logged(logging.ERROR) == []
        assert (
            watching.logged(logging.INFO)
            == [f"the ticket keys are now those of {watching.path}"] * 3
        )

    def test_loads_at_once(self, watching: Watching) -> None:
        """What is in the file counts from the start, whatever the ring had."""
        watching.keys.replace([new_key()])
        with watching.watch(interval=3600):
            assert watching.keys.keys == (watching.first,)
            assert watching.loads == 1

    def test_same_time_and_size(self, watching: Watching) -> None:
        """A file that was changed in place, and given its old time, is read too."""
        make_old(watching.path)
        with watching.watch():
            saved = new_key()
            with watching.path.open("r+b") as file:
                file.write(saved.name + saved.hmac_key + saved.aes_key)
            make_old(watching.path)
            watching.wait_for_keys(saved)

    @pytest.mark.slow
    def test_not_read_for_nothing(self, watching: Watching) -> None:
        """A file is read again for as long as a change may have no trace, and then no more."""
        with watching.watch():
            watching.wait_for_looks(1)  # it was written a moment ago
            wait_until(lambda: time.time_ns() - watching.path.stat().st_ctime_ns > 2_500_000_000)
            loads = watching.loads
            # Another one, of a file that was written a moment ago, tells how time goes by.
            fresh = Watching(watching.path.with_name("fresh"), watching.caplog)
            with fresh.watch():
                fresh.wait_for_looks(5)
            assert watching.loads == loads

    def test_several_files(self, watching: Watching, tmp_path: Path) -> None:
        """A change in any of the files has all of them read."""
        other, paths = new_key(), [watching.path, tmp_path / "other"]
        save_nginx_key(paths[1], other)
        with watch_ticket_keys(watching.keys, lambda: load_nginx_keys(*paths), paths, SOON):
            assert watching.keys.keys == (watching.first, other)
            saved = new_key()
            save_nginx_key(paths[1], saved)
            watching.wait_for_keys(watching.first, saved)

    def test_relative_path(
        self, watching: Watching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A relative path is of the folder that was the current one when the watching began."""
        monkeypatch.chdir(tmp_path)
        with watch_ticket_keys(watching.keys, watching.load, watching.path.name, SOON):
            monkeypatch.chdir("/")
            saved = new_key()
            save_nginx_key(watching.path, saved)
            watching.wait_for_keys(saved)
        assert watching.logged(logging.ERROR) == []

    @pytest.mark.parametrize("how", ["cut off", "gone", "folder"])
    def test_failed_reload(self, watching: Watching, how: str) -> None:
        """A file that cannot be read leaves the keys, is told once, and is read when it is well."""
        with watching.watch():
            watching.path.unlink()
            if how == "cut off":
                write(watching.path, b"S" * 79)
            elif how == "folder":
                watching.path.mkdir()
            wait_until(lambda: bool(watching.logged(logging.ERROR)))
            watching.wait_for_looks()
            assert watching.keys.keys == (watching.first,)
            if how == "folder":
                watching.path.rmdir()
            saved = new_key()
            save_nginx_key(watching.path, saved)
            watching.wait_for_keys(saved)
            wait_until(lambda: f"{watching.path} can be reloaded again" in watching.logged(20))
        *_, error = watching.logged(logging.ERROR)
        assert error.startswith(f"the ticket keys stay as they are: {watching.path} could not be")
        assert len(set(watching.logged(logging.ERROR))) == len(watching.logged(logging.ERROR))

    def test_refused_keys(self, watching: Watching, tmp_path: Path) -> None:
        """Two keys of one name, which a ring does not take, leave the keys as they are."""
        paths = [watching.path, tmp_path / "other"]
        save_nginx_key(paths[1], new_key())
        keys = tuple(load_nginx_keys(*paths))
        with watch_ticket_keys(watching.keys, lambda: load_nginx_keys(*paths), paths, SOON):
            save_nginx_key(paths[1], TicketKey(watching.first.name, b"H" * 32, b"A" * 32))
            wait_until(lambda: bool(watching.logged(logging.ERROR)))
            assert watching.keys.keys == keys
        assert "two keys have the name" in watching.logged(logging.ERROR)[0]

    def test_bug_in_load(self, watching: Watching) -> None:
        """An exception that is no matter of files is logged with where it came from."""
        answers: list[Any] = [[watching.first]]
        with watch_ticket_keys(watching.keys, lambda: answers[0], watching.path, SOON):
            answers[0] = None
            wait_until(lambda: bool(watching.logged(logging.ERROR)))
        error = next(record for record in watching.caplog.records if record.levelno > 20)
        assert error.exc_info is not None
        assert error.exc_info[0] is TypeError

    def test_failure_at_first(self, watching: Watching) -> None:
        """What goes wrong at first is raised, and nothing is watched."""
        watching.path.unlink()
        with pytest.raises(FileNotFoundError):
            watching.watch()
        assert watching.keys.keys == (watching.first,)

    def test_arguments(self, watching: Watching) -> None:
        """Wrong arguments are refused, and nothing is watched."""
        with pytest.raises(TypeError, match="keys must be a TicketKeys, not TicketKey"):
            watch_ticket_keys(watching.first, watching.load, watching.path)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="name at least one file"):
            watch_ticket_keys(watching.keys, watching.load, [])
        for interval in (0, -1, float("nan"), float("inf"), 1e300):
            with pytest.raises(ValueError, match="interval must be more than 0 seconds"):
                watching.watch(interval=interval)
        with pytest.raises(RuntimeError, match="derived"):
            watch_ticket_keys(TicketKeys.derived(b"s" * 32, 1, 1), watching.load, watching.path)

    def test_close(self, watching: Watching) -> None:
        """After close() the ring is not changed, and a second one does nothing."""
        watcher = watching.watch()
        watcher.close()
        loads = watching.loads
        save_nginx_key(watching.path, new_key())
        watcher.close()
        assert not watcher.is_alive()
        assert (watching.keys.keys, watching.loads) == ((watching.first,), loads)

    def test_close_waits(self, watching: Watching) -> None:
        """close() waits for a reload that has begun."""
        begun, go_on, closed = (threading.Event() for _ in range(3))
        saved = new_key()

        def load() -> list[TicketKey]:
            if threading.current_thread() is not main:
                begun.set()
                assert go_on.wait(tls.TIMEOUT)
                return [saved]
            return [watching.first]

        def close() -> None:
            watcher.close()
            seen.append(watching.keys.keys)
            closed.set()

        main, seen = threading.current_thread(), list[Any]()
        watcher = watch_ticket_keys(watching.keys, load, watching.path, SOON)
        assert begun.wait(tls.TIMEOUT)
        closing = threading.Thread(target=close)
        closing.start()
        assert not closed.wait(10 * SOON)
        go_on.set()
        closing.join(tls.TIMEOUT)
        assert seen == [(saved,)]

    def test_close_from_load(self, watching: Watching) -> None:
        """A load that ends the watching does not wait for itself."""
        watchers: list[TicketKeyWatcher] = []

        def load() -> list[TicketKey]:
            for watcher in watchers:
                watcher.close()
            return [watching.first]

        watchers.append(watch_ticket_keys(watching.keys, load, watching.path, SOON))
        wait_until(lambda: not watchers[0].is_alive())
        assert watching.logged(logging.ERROR) == []

    @pytest.mark.parametrize("held", ["keys", "watcher"])
    def test_lives_with_either(self, watching: Watching, held: str) -> None:
        """Whichever of the ring and the watcher is held, the watching goes on; and ends with it."""
        path, keys = watching.path, watching.keys
        watching.keys = TicketKeys([new_key()])
        kept: Any = watch_ticket_keys(keys, lambda: load_nginx_keys(path), path, SOON)
        if held == "keys":
            kept = keys
        ring = weakref.ref(keys)
        del keys
        gc.collect()
        saved = new_key()
        save_nginx_key(path, saved)

        def is_known() -> bool:
            keys = ring()
            return keys is not None and keys.keys == (saved,)

        wait_until(is_known)
        del kept
        wait_until(lambda: ring() is None)
        wait_until(lambda: bool(watching.logged(logging.WARNING)))
        assert "are gone, without a close()" in watching.logged(logging.WARNING)[0]
        wait_until(lambda: not any("key-files" in each.name for each in threading.enumerate()))

    def test_handshakes(self, watching: Watching, server_file: Path, version: str) -> None:
        """Contexts with the ring issue tickets of the file's new key, and resume those of old."""
        context, client = tls.server_context(server_file, version), tls.client_context(version)
        openssl_tickets.set_ticket_keys(context, watching.keys)
        old = watching.path.with_name("old")
        save_nginx_key(old, watching.first)
        files = [watching.path, old]
        with watch_ticket_keys(watching.keys, lambda: load_nginx_keys(*files), files, SOON):
            session = tls.Pair(context, client).handshake().session()
            saved = new_key()
            save_nginx_key(watching.path, saved)
            watching.wait_for_keys(saved, watching.first)
            pair = tls.Pair(context, client, session).handshake()
            assert pair.reused
            renewed = openssl_tickets.get_session(pair.session())
        assert renewed is not None
        assert renewed.key_name == saved.name


class TestProcesses:
    """Each runs in a process of its own."""

    BEGINNING = f"""
        import os, sys
        sys.path.append({str(Path(__file__).parents[2])!r})
        from openssl_tickets import *
        from openssl_tickets.ticket_key_files import *
        save_nginx_key(path, TicketKey.generate())
        load = lambda: load_nginx_keys(path)
        keys = TicketKeys(load())
        watcher = watch_ticket_keys(keys, load, path, 0.01)
    """

    def run(self, path: Path, program: str) -> str:
        beginning = f"path = {str(path)!r}\n" + textwrap.dedent(self.BEGINNING)
        return run(beginning + textwrap.dedent(program))

    def test_fork(self, tmp_path: Path) -> None:
        """In a child nothing is watched until it does so itself; the parent goes on."""
        program = """
            import time, warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
            child = os.fork()
            if not child:
                print(watcher.is_alive(), flush=True)
                watcher.close()
                saved = TicketKey.generate()
                with watch_ticket_keys(keys, load, path, 0.01) as own:
                    save_nginx_key(path, saved)
                    while keys.keys != (saved,):
                        time.sleep(0.01)
                    print(own.is_alive(), flush=True)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            while keys.keys != tuple(load()):
                time.sleep(0.01)
            print(watcher.is_alive())
        """
        assert self.run(tmp_path / "file", program) == "False\nTrue\nTrue\n"

    def test_fork_many_times(self, tmp_path: Path) -> None:
        """A fork at any moment leaves a child that can close, watch, and end."""
        program = """
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            watcher.close()
            watcher = watch_ticket_keys(keys, load, path, 1e-6)
            for number in range(200):
                child = os.fork()
                if not child:
                    watcher.close()
                    with watch_ticket_keys(keys, load, path, 0.001):
                        pass
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
            print(watcher.is_alive())
        """
        assert self.run(tmp_path / "file", program) == "True\n"

    def test_exit(self, tmp_path: Path) -> None:
        """The interpreter ends without a word, and without waiting, while files are watched."""
        assert self.run(tmp_path / "file", "print(watcher.is_alive())") == "True\n"
