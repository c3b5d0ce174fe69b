"""Ticket key files: their layouts, their modes, what is refused, and how they are watched."""

from __future__ import annotations

import base64
import gc
import itertools
import logging
import os
import re
import stat
import struct
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
    TicketKeyFormat,
    TicketKeyWatcher,
    encode_ticket_keys,
    load_ticket_keys,
    save_ticket_keys,
    watch_ticket_keys,
)
from tests.support import processes, tls

NAME = b"N" * 16
SOON = 0.01  # seconds between two looks at a file
HAPROXY: TicketKeyFormat = "haproxy"
SETS: tuple[TicketKeyFormat, ...] = ("nginx", "envoy")  # one key per file, in FILE, FILE.1, ...
FORMATS: tuple[TicketKeyFormat, ...] = (*SETS, "apache", HAPROXY)
# Each with the size of its secrets, and what must be said for it to be loaded.
ALL: list[tuple[TicketKeyFormat, int, int | None]] = [
    ("nginx", 32, None),
    ("nginx", 32, 256),
    ("nginx", 16, 128),
    ("haproxy", 32, None),
    ("haproxy", 16, None),
    ("haproxy", 16, 128),
    ("apache", 16, None),
    ("envoy", 32, None),
]
all_formats = pytest.mark.parametrize(("format", "secret_len", "aes"), ALL)


def new_key(secret_len: int = 32) -> TicketKey:
    return TicketKey(os.urandom(16), os.urandom(secret_len), os.urandom(secret_len))


def key(secret_len: int) -> TicketKey:
    """A key whose parts are seen at a glance."""
    return TicketKey(NAME, b"H" * secret_len, b"A" * secret_len)


def keys_of(format: TicketKeyFormat, first: TicketKey) -> list[TicketKey]:
    """The keys of one file in which *first* encrypts."""
    others = 2 if format == HAPROXY else 0
    return [first, *(new_key(len(first.aes_key)) for _ in range(others))]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def save(path: Path | str, key: TicketKey) -> None:
    save_ticket_keys("nginx", path, [key])


class TestLayouts:
    @pytest.mark.parametrize(
        ("format", "layout"),
        [
            ("nginx", NAME + b"H" * 32 + b"A" * 32),
            ("nginx", NAME + b"A" * 16 + b"H" * 16),
            ("apache", NAME + b"H" * 16 + b"A" * 16),
            ("envoy", NAME + b"H" * 32 + b"A" * 32),
            ("haproxy", NAME + b"A" * 32 + b"H" * 32),
            ("haproxy", NAME + b"A" * 16 + b"H" * 16),
        ],
    )
    def test_bytes(self, tmp_path: Path, format: TicketKeyFormat, layout: bytes) -> None:
        """
        Each program has its order of name, HMAC key and AES key. HAProxy's are in base64, and the
        key that encrypts is the last but one.
        """
        secret_len = (len(layout) - 16) // 2
        saved = keys_of(format, key(secret_len))
        save_ticket_keys(format, tmp_path / "file", saved)
        data = (tmp_path / "file").read_bytes()
        assert encode_ticket_keys(format, saved) == data
        if format == HAPROXY:
            lines = [base64.b64decode(line) for line in data.split(b"\n")]
            assert [line[:16] for line in lines] == [saved[2].name, NAME, saved[1].name, b""]
            data = lines[1]
        assert data == layout
        assert load_ticket_keys(format, tmp_path / "file", aes=8 * secret_len) == saved

    def test_haproxy_takes_derived_keys(self, tmp_path: Path) -> None:
        """A derived ring's keys are in the same order: this one, the next, the one before."""
        keys = TicketKeys.derived(b"secret" * 6, 1000, 1000).keys[:3]
        save_ticket_keys(HAPROXY, tmp_path / "file", keys)
        assert load_ticket_keys(HAPROXY, tmp_path / "file") == list(keys)

    @pytest.mark.parametrize("format", SETS)
    def test_order_of_files(self, tmp_path: Path, format: TicketKeyFormat) -> None:
        """The key of the first file comes first, and one that two files have comes once."""
        one, two = new_key(), new_key()
        for name, saved in (("1", one), ("2", two), ("3", one)):
            save_ticket_keys(format, tmp_path / name, [saved])
        assert load_ticket_keys(format, *(tmp_path / name for name in "213")) == [two, one]
        assert load_ticket_keys(format, *(str(tmp_path / name) for name in "123")) == [one, two]

    def test_haproxy_repeated_line(self, tmp_path: Path) -> None:
        """Three lines with one key, which HAProxy takes, are one key."""
        save_ticket_keys(HAPROXY, tmp_path / "file", [key(32)] * 3)
        assert load_ticket_keys(HAPROXY, tmp_path / "file") == [key(32)]

    @pytest.mark.parametrize(
        ("format", "keys", "error", "message"),
        [
            ("envoy", [key(16)], ValueError, "^Envoy takes keys for AES-256, not for AES-128$"),
            ("apache", [key(32)], ValueError, "^Apache takes keys for AES-128, not for AES-256$"),
            ("haproxy", [key(16), key(16), key(32)], ValueError, "HAProxy wants keys of one size"),
            ("haproxy", [key(32)] * 2, ValueError, "HAProxy wants 3 keys in a file, not 2"),
            ("haproxy", [key(32)] * 4, ValueError, "HAProxy wants 3 keys in a file, not 4"),
            ("apache", [key(16)] * 2, ValueError, "Apache wants 1 key in a file, not 2"),
            ("apache", [], ValueError, "Apache wants 1 key in a file, not 0"),
            ("nginx", [], ValueError, "there must be at least one key"),
            ("nginx", [key(32), b"N" * 80], TypeError, "must be a TicketKey, not bytes"),
            ("envoy", [key(32), key(16)], ValueError, "Envoy takes keys for AES-256"),
            ("caddy", [key(32)], ValueError, "format must be one of 'nginx', .*, not 'caddy'$"),
            (None, [key(32)], TypeError, "format must be a str, not NoneType"),
        ],
        ids=range(12),
    )
    def test_not_saved(
        self, tmp_path: Path, format: Any, keys: Any, error: type[Exception], message: str
    ) -> None:
        """What a program would not take is not written; the file stays as it was."""
        path = write(tmp_path / "file", b"as it was")
        with pytest.raises(error, match=message):
            save_ticket_keys(format, path, keys)
        assert path.read_bytes() == b"as it was"
        assert os.listdir(tmp_path) == ["file"]

    def test_one_file(self) -> None:
        """A file of nginx's has one key, whatever a set has."""
        with pytest.raises(ValueError, match="nginx wants 1 key in a file, not 2"):
            encode_ticket_keys("nginx", [key(32)] * 2)


@pytest.mark.parametrize("format", SETS)
class TestSets:
    """FILE, FILE.1, FILE.2 and so on: what `keys rotate` makes."""

    def test_saved_and_loaded(self, tmp_path: Path, format: TicketKeyFormat) -> None:
        """Each file has one key; a shorter set leaves no file of the longer one."""
        path, keys = tmp_path / "file", [new_key() for _ in range(4)]
        for number in (4, 2, 3, 1):
            save_ticket_keys(format, path, keys[:number])
            files = ["file", *(f"file.{each}" for each in range(1, number))]
            assert sorted(os.listdir(tmp_path)) == files
            assert load_ticket_keys(format, path) == keys[:number]
            each = [load_ticket_keys(format, *[tmp_path / file] * 2) for file in files]
            assert each == [[key] for key in keys[:number]]

    def test_loaded(self, tmp_path: Path, format: TicketKeyFormat) -> None:
        """Several files are just these; a set ends at a gap; each file of it must be a key."""
        path, keys = tmp_path / "file", [new_key() for _ in range(4)]
        save_ticket_keys(format, path, keys)
        assert load_ticket_keys(format, path, tmp_path / "file.2") == [keys[0], keys[2]]
        (tmp_path / "file.2").unlink()
        assert load_ticket_keys(format, path) == keys[:2]
        (tmp_path / "file.2").symlink_to("nowhere")
        with pytest.raises(FileNotFoundError, match=r"file\.2"):
            load_ticket_keys(format, path)
        (tmp_path / "file.2").unlink()
        write(tmp_path / "file.2", b"S" * 79)
        with pytest.raises(ValueError, match=r"file\.2 is not a ticket key"):
            load_ticket_keys(format, path)

    def test_nothing_is_written(self, tmp_path: Path, format: TicketKeyFormat) -> None:
        """If one of the files cannot be replaced, or must not be, all stay as they are."""
        path, keys = tmp_path / "file", [new_key() for _ in range(3)]
        save_ticket_keys(format, path, keys)
        (tmp_path / "file.1").unlink()
        (tmp_path / "file.1").mkdir()
        with pytest.raises(IsADirectoryError, match=r"file\.1"):
            save_ticket_keys(format, path, [new_key() for _ in range(3)])
        (tmp_path / "file.1").rmdir()
        save_ticket_keys(format, path, keys)
        for there in ("file", "file.1"):
            with pytest.raises(FileExistsError, match=re.escape(str(tmp_path / there))):
                save_ticket_keys(format, path, [new_key()], overwrite=False)
            assert load_ticket_keys(format, tmp_path / "file.1", tmp_path / "file.2") == keys[1:]
            path.unlink(missing_ok=True)

    def test_always_all_keys(self, tmp_path: Path, format: TicketKeyFormat) -> None:
        """Who reads a set that is rotated over and over finds each key that stays."""
        path, known = tmp_path / "file", [new_key()]
        save_ticket_keys(format, path, known)
        enough = threading.Event()
        begun, done = [known], [known]

        def rotate() -> None:
            while not enough.is_set():
                begun.append([new_key(), *begun[-1][:5]])
                save_ticket_keys(format, path, begun[-1])
                done.append(begun[-1])

        thread = threading.Thread(target=rotate)
        thread.start()
        try:
            while len(done) <= 10:
                before = done[-1]
                missing = set(before) - set(load_ticket_keys(format, path))
                # Those that a rotation has dropped meanwhile, and no other.
                assert not missing & set(begun[-1])
        finally:
            enough.set()
            thread.join(tls.TIMEOUT)


class TestRefused:
    @pytest.mark.parametrize("size", [0, 1, 47, 49, 64, 79, 81, 1000])
    @pytest.mark.parametrize("format", ["nginx", "envoy", "apache"])
    def test_size(self, tmp_path: Path, format: TicketKeyFormat, size: int) -> None:
        """A file of another size is refused, with its name and size."""
        path = write(tmp_path / "file", b"S" * size)
        with pytest.raises(ValueError, match=f"bytes, not {size}$") as caught:
            load_ticket_keys(format, path)
        assert str(path) in str(caught.value)

    def test_torn_write(self, tmp_path: Path) -> None:
        """However much of a key for AES-256 is written, it is not taken for one for AES-128."""
        whole = encode_ticket_keys("nginx", [new_key()])
        for size in range(80):
            path = write(tmp_path / "file", whole[:size])
            with pytest.raises(ValueError, match=rf"file.* {size}"):
                load_ticket_keys("nginx", path)
        write(path, whole[:48])
        with pytest.raises(ValueError, match=r"a part of one for AES-256 .* say so with aes=128"):
            load_ticket_keys("nginx", path)

    @pytest.mark.parametrize("secret_len", [32, 16])
    def test_torn_lines(self, tmp_path: Path, secret_len: int) -> None:
        """A part of HAProxy's three lines is never taken for three others."""
        whole = encode_ticket_keys(HAPROXY, [new_key(secret_len) for _ in range(3)])
        for size in range(len(whole) - 1):  # HAProxy needs no last line feed
            path = write(tmp_path / "file", whole[:size])
            with pytest.raises(ValueError, match=r"HAProxy|base64"):
                load_ticket_keys(HAPROXY, path)

    @pytest.mark.parametrize(
        ("format", "size", "aes", "message"),
        [
            ("apache", 80, None, "not a ticket key for Apache: 48 bytes, not 80"),
            ("envoy", 48, None, "not a ticket key for Envoy: 80 bytes, not 48"),
            ("nginx", 80, 128, "not a ticket key for nginx: 48 bytes, not 80"),
            ("nginx", 48, 256, "not a ticket key for nginx: 80 bytes, not 48"),
            ("nginx", 80, 192, "nginx takes keys for AES-256 or AES-128, not for AES-192"),
            ("envoy", 80, 128, "Envoy takes keys for AES-256, not for AES-128"),
        ],
    )
    def test_wrong_size(
        self, tmp_path: Path, format: TicketKeyFormat, size: int, aes: int | None, message: str
    ) -> None:
        """A size that another program has, or that was not asked for, is refused."""
        with pytest.raises(ValueError, match=message):
            load_ticket_keys(format, write(tmp_path / "file", b"S" * size), aes=aes)

    def test_haproxy_wrong_size(self, tmp_path: Path) -> None:
        """HAProxy's lines must be of the size that was asked for."""
        save_ticket_keys(HAPROXY, tmp_path / "file", [new_key(16) for _ in range(3)])
        with pytest.raises(ValueError, match=r"line 1 of .* for HAProxy: 80 bytes, not 48"):
            load_ticket_keys(HAPROXY, tmp_path / "file", aes=256)

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
        save_ticket_keys(HAPROXY, tmp_path / "file", [key(32), new_key(), new_key()])
        lines = (tmp_path / "file").read_bytes().splitlines(keepends=True)
        lines[replaced] = [by]
        write(tmp_path / "file", b"".join(lines))
        with pytest.raises(ValueError, match=message) as caught:
            load_ticket_keys(HAPROXY, tmp_path / "file")
        assert str(tmp_path / "file") in str(caught.value)

    @pytest.mark.parametrize("format", FORMATS)
    @pytest.mark.parametrize(
        "data",
        [b"KeyParts" * 5, b"KeyParts*" * 12, base64.b64encode(b"KeyParts" * 7) + b"\n"],
        ids=range(3),
    )
    def test_no_secrets(self, tmp_path: Path, format: TicketKeyFormat, data: bytes) -> None:
        """What is in the file is in no error, nor in what has led to that."""
        path = write(tmp_path / "file", data)
        with pytest.raises(ValueError, match="file") as caught:
            load_ticket_keys(format, path)
        error: BaseException | None = caught.value
        while error is not None:
            for secret in (data, b"KeyParts"):
                assert secret.decode()[:8] not in repr(vars(error)) + repr(error.args)
            error = error.__context__

    @pytest.mark.parametrize("format", FORMATS)
    def test_huge(self, tmp_path: Path, format: TicketKeyFormat) -> None:
        """A huge file is refused, without all of it being read."""
        path = write(tmp_path / "file", b"")
        os.truncate(path, 1 << 40)
        with pytest.raises(ValueError, match=str(1 << 40)):
            load_ticket_keys(format, path)

    @pytest.mark.parametrize("format", FORMATS)
    def test_not_files(self, tmp_path: Path, format: TicketKeyFormat) -> None:
        """A folder, a device and nothing are refused, with their names."""
        with pytest.raises(IsADirectoryError, match=re.escape(str(tmp_path))):
            load_ticket_keys(format, tmp_path)
        with pytest.raises(FileNotFoundError, match="there is none"):
            load_ticket_keys(format, tmp_path / "there is none")
        with pytest.raises(ValueError, match=r"^/dev/zero is not a regular file$"):
            load_ticket_keys(format, "/dev/zero")

    def test_fifo(self, tmp_path: Path) -> None:
        """A FIFO is refused; nothing waits for its writer."""
        os.mkfifo(tmp_path / "fifo")
        program = f"""
            from openssl_tickets.ticket_key_files import load_ticket_keys
            for format in {FORMATS}:
                try:
                    load_ticket_keys(format, {str(tmp_path / "fifo")!r})
                except ValueError as error:
                    print(error)
        """
        assert run(program) == f"{tmp_path / 'fifo'} is not a regular file\n" * 4

    @pytest.mark.parametrize("format", FORMATS)
    def test_arguments(self, format: Any) -> None:
        """No path, a list of them, or more than the program has, is refused."""
        with pytest.raises(ValueError, match="name at least one ticket key file"):
            load_ticket_keys(format)
        with pytest.raises(TypeError):
            load_ticket_keys(format, ["file"])  # type: ignore[arg-type]
        if format not in SETS:
            with pytest.raises(ValueError, match="has one ticket key file, not 2"):
                load_ticket_keys(format, "file", "file")

    @pytest.mark.parametrize(("format", "error"), [("caddy", ValueError), (["nginx"], TypeError)])
    def test_format(self, format: Any, error: type[Exception]) -> None:
        """A format that there is not is refused."""
        with pytest.raises(error, match=r"^format must be"):
            load_ticket_keys(format, "file")


class TestModes:
    @all_formats
    def test_saved(
        self, tmp_path: Path, format: TicketKeyFormat, secret_len: int, aes: int | None
    ) -> None:
        """What is new is its owner's alone, whatever the umask is."""
        saved = keys_of(format, key(secret_len))
        umask = os.umask(0)
        try:
            save_ticket_keys(format, tmp_path / "file", saved)
        finally:
            os.umask(umask)
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
        assert load_ticket_keys(format, tmp_path / "file", aes=aes) == saved
        assert os.listdir(tmp_path) == ["file"]

    @pytest.mark.parametrize(
        ("before", "after"), [(0o640, 0o640), (0o400, 0o400), (0o644, 0o640), (0o660, 0o660)]
    )
    def test_replaced(self, tmp_path: Path, before: int, after: int) -> None:
        """What is replaced stays open to its group, with all of its set, and to nobody else."""
        path = write(tmp_path / "file", b"")
        path.chmod(before)
        save_ticket_keys("nginx", path, [new_key() for _ in range(3)])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        assert modes == {"file": after, "file.1": after, "file.2": after}

    def test_acl(self, tmp_path: Path) -> None:
        """Who may read a file by its ACL still may, and the group that may not still may not."""
        # Version 2; owner rw, user 12345 r, group nothing, mask r, others nothing: each with a tag,
        # permissions and an id.
        entries = [(1, 6, -1), (2, 4, 12345), (4, 0, -1), (16, 4, -1), (32, 0, -1)]
        acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
        path, name = write(tmp_path / "file", b""), "system.posix_acl_access"
        try:
            os.setxattr(path, name, acl)
        except (AttributeError, OSError):
            pytest.skip("the file system has no ACLs")
        save(path, new_key())
        assert os.getxattr(path, name) == acl

    def test_from_the_first_byte(self, tmp_path: Path) -> None:
        """A file is its owner's alone while it is still empty."""
        program = f"""
            import os, sys
            from openssl_tickets import TicketKey
            from openssl_tickets.ticket_key_files import save_ticket_keys

            def hook(event, arguments):
                # A file is made of the descriptor that was opened.
                if event == "open" and isinstance(arguments[0], int):
                    seen = os.fstat(arguments[0])
                    print(oct(seen.st_mode), seen.st_size)

            sys.addaudithook(hook)
            os.umask(0)
            save_ticket_keys("nginx", {str(tmp_path / "file")!r}, [TicketKey.generate()])
        """
        assert run(program) == "0o100600 0\n"

    @all_formats
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
        self,
        tmp_path: Path,
        format: TicketKeyFormat,
        secret_len: int,
        aes: int | None,
        mode: int,
        others: str,
    ) -> None:
        """A file that others can read or change gets a warning, at the line that has it read."""
        path, saved = tmp_path / "a file", keys_of(format, key(secret_len))
        save_ticket_keys(format, path, saved)
        path.chmod(mode)
        with pytest.warns(TicketKeyFileWarning) as warned:
            assert load_ticket_keys(format, path, aes=aes) == saved
        assert [str(warning.message) for warning in warned] == [
            f"{path} holds ticket keys and is open to {others}: chmod 600 '{path}'"
        ]
        assert warned[0].filename == __file__

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o711])
    def test_no_warning(self, tmp_path: Path, mode: int) -> None:
        """A file that only its owner can read or change gets none."""
        save(tmp_path / "file", key(32))
        (tmp_path / "file").chmod(mode)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_ticket_keys("nginx", tmp_path / "file")


class TestReplacing:
    def test_readers_see_whole_files(self, tmp_path: Path) -> None:
        """While a file is replaced over and over, each reader finds one key or the other."""
        keys = [new_key(), new_key()]
        path = tmp_path / "file"
        save(path, keys[0])
        enough = threading.Event()

        def replace() -> None:
            number = 0
            while not enough.is_set():
                number += 1
                save(path, keys[number % 2])

        thread = threading.Thread(target=replace)
        thread.start()
        try:
            seen = [load_ticket_keys("nginx", path)[0] for _ in range(300)]
            deadline = time.monotonic() + tls.TIMEOUT
            while len(set(seen)) < 2:
                assert time.monotonic() < deadline
                seen.append(load_ticket_keys("nginx", path)[0])
        finally:
            enough.set()
            thread.join(tls.TIMEOUT)
        assert set(seen) == set(keys)

    def test_open_file_stays(self, tmp_path: Path) -> None:
        """Who has the old file open goes on reading the old key."""
        path = tmp_path / "file"
        save(path, key(32))
        with path.open("rb") as file:
            save(path, new_key())
            assert file.read()[:16] == NAME

    def test_symbolic_link(self, tmp_path: Path) -> None:
        """What a symbolic link points to is replaced, and the link stays."""
        (tmp_path / "folder").mkdir()
        target, link = tmp_path / "folder" / "target", tmp_path / "link"
        link.symlink_to("folder/target")
        for _ in range(2):  # the first time it points to nothing
            saved = new_key()
            save(link, saved)
            assert link.is_symlink()
            assert not target.is_symlink()
            assert load_ticket_keys("nginx", target) == load_ticket_keys("nginx", link) == [saved]
        assert os.listdir(target.parent) == ["target"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of others")
    def test_owner_stays(self, tmp_path: Path) -> None:
        """A file that root replaces stays its owner's and its group's, who can go on reading it."""
        path = tmp_path / "file"
        save(path, key(32))
        for owner in ((12345, 23456), (0, 23456)):
            os.chown(path, *owner)
            path.chmod(0o640)
            save_ticket_keys("nginx", path, [new_key(), new_key()])
            for file in tmp_path.iterdir():
                seen = file.stat()
                assert (seen.st_uid, seen.st_gid) == owner
                assert stat.S_IMODE(seen.st_mode) == 0o640

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
            save(path, key(32))
        assert path in str(caught.value)
        assert sorted(os.listdir(tmp_path)) == ["fifo", "folder"]

    def test_full_disk(self, tmp_path: Path) -> None:
        """A file that cannot be written in full leaves the old one, and nothing else."""
        path = tmp_path / "file"
        save(path, key(32))
        program = f"""
            import resource, signal
            from openssl_tickets import TicketKey
            from openssl_tickets.ticket_key_files import save_ticket_keys
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))
            try:
                save_ticket_keys("nginx", {str(path)!r}, [TicketKey.generate()])
            except OSError as error:
                print(error.filename)
        """
        assert run(program) == f"{path}\n"
        assert load_ticket_keys("nginx", path) == [key(32)]
        assert os.listdir(tmp_path) == ["file"]


def run(program: str) -> str:
    """Returns what *program* prints, in a process of its own; it must end well."""
    return processes.run(
        "import warnings; warnings.simplefilter('error')\n" + textwrap.dedent(program)
    )


class Watching:
    """A file of nginx's that is watched, and what was logged of it."""

    def __init__(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.path = path
        self.first = new_key()
        save(path, self.first)
        self.keys = TicketKeys([self.first])
        self.caplog = caplog
        self.loads = 0

    def load(self) -> list[TicketKey]:
        self.loads += 1
        return load_ticket_keys("nginx", self.path)

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
                save(watching.path, saved)
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
        save(paths[1], other)
        with watch_ticket_keys(
            watching.keys, lambda: load_ticket_keys("nginx", *paths), paths, SOON
        ):
            assert watching.keys.keys == (watching.first, other)
            saved = new_key()
            save(paths[1], saved)
            watching.wait_for_keys(watching.first, saved)

    @pytest.mark.parametrize("format", SETS)
    def test_set(
        self, watching: Watching, format: TicketKeyFormat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The files of a set are watched by the name of the first: as they come, change and go."""
        # Only what has changed is read again: each file that is replaced is another.
        monkeypatch.setattr("openssl_tickets.ticket_key_files.watching._FRESH", 0)
        path, known = watching.path, [watching.first]
        with watch_ticket_keys(watching.keys, lambda: load_ticket_keys(format, path), path, SOON):
            for number in (1, 2, 2, 4, 0):
                known = [new_key(), *known[:number]]
                save_ticket_keys(format, path, known)
                watching.wait_for_keys(*known)
            behind = new_key()
            save(path.with_name(path.name + ".1"), behind)  # and nothing else changes
            watching.wait_for_keys(*known, behind)
        assert watching.logged(logging.ERROR) == []

    def test_torn_write(self, watching: Watching) -> None:
        """While a file is written in place, the keys stay, and then they are the file's."""
        saved = new_key()
        whole = encode_ticket_keys("nginx", [saved])
        with watching.watch(), watching.path.open("wb", buffering=0) as file:
            for begin, end in ((0, 20), (20, 48), (48, 60)):
                file.write(whole[begin:end])
                watching.wait_for_looks()
                assert watching.keys.keys == (watching.first,)
            file.write(whole[60:])
            watching.wait_for_keys(saved)
        assert any("has 48 bytes" in error for error in watching.logged(logging.ERROR))

    def test_relative_path(
        self, watching: Watching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A relative path is of the folder that was the current one when the watching began."""
        monkeypatch.chdir(tmp_path)
        with watch_ticket_keys(watching.keys, watching.load, watching.path.name, SOON):
            monkeypatch.chdir("/")
            saved = new_key()
            save(watching.path, saved)
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
            save(watching.path, saved)
            watching.wait_for_keys(saved)
            wait_until(lambda: f"{watching.path} can be reloaded again" in watching.logged(20))
        *_, error = watching.logged(logging.ERROR)
        assert error.startswith(f"the ticket keys stay as they are: {watching.path} could not be")
        # After the folder there is nothing for a moment, which may be told, too.
        assert all(one != next for one, next in itertools.pairwise(watching.logged(logging.ERROR)))

    def test_refused_keys(self, watching: Watching, tmp_path: Path) -> None:
        """Two keys of one name, which a ring does not take, leave the keys as they are."""
        paths = [watching.path, tmp_path / "other"]
        save(paths[1], new_key())
        keys = tuple(load_ticket_keys("nginx", *paths))
        with watch_ticket_keys(
            watching.keys, lambda: load_ticket_keys("nginx", *paths), paths, SOON
        ):
            save(paths[1], TicketKey(watching.first.name, b"H" * 32, b"A" * 32))
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
        save(watching.path, new_key())
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
        kept: Any = watch_ticket_keys(keys, lambda: load_ticket_keys("nginx", path), path, SOON)
        if held == "keys":
            kept = keys
        ring = weakref.ref(keys)
        del keys
        gc.collect()
        saved = new_key()
        save(path, saved)

        def is_known() -> bool:
            keys = ring()
            return keys is not None and keys.keys == (saved,)

        wait_until(is_known)
        del kept
        wait_until(lambda: ring() is None)
        wait_until(lambda: bool(watching.logged(logging.WARNING)))
        assert "is gone without a close()" in watching.logged(logging.WARNING)[0]
        wait_until(lambda: not any("key-files" in each.name for each in threading.enumerate()))

    def test_handshakes(self, watching: Watching, server_file: Path, version: str) -> None:
        """Contexts with the ring issue tickets of the file's new key, and resume those of old."""
        context, client = tls.server_context(server_file, version), tls.client_context(version)
        openssl_tickets.set_ticket_keys(context, watching.keys)
        old = watching.path.with_name("old")
        save(old, watching.first)
        files = [watching.path, old]
        with watch_ticket_keys(
            watching.keys, lambda: load_ticket_keys("nginx", *files), files, SOON
        ):
            session = tls.Pair(context, client).handshake().session()
            saved = new_key()
            save(watching.path, saved)
            watching.wait_for_keys(saved, watching.first)
            pair = tls.Pair(context, client, session).handshake()
            assert pair.reused
            renewed = openssl_tickets.get_session(pair.session())
        assert renewed is not None
        assert renewed.key_name == saved.name


class TestProcesses:
    """Each runs in a process of its own."""

    BEGINNING = """
        import os
        from openssl_tickets import *
        from openssl_tickets.ticket_key_files import *
        save = lambda path, key: save_ticket_keys("nginx", path, [key])
        save(path, TicketKey.generate())
        load = lambda: load_ticket_keys("nginx", path)
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
                    save(path, saved)
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

    @pytest.mark.slow
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
