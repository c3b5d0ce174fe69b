"""``openssl-tickets keys`` makes, shows and rotates ticket key files, as a user would."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets._cli.keys
from openssl_tickets import TicketKey
from openssl_tickets.ticket_key_files import TicketKeyFormat, load_ticket_keys, save_ticket_keys

FORMATS: tuple[TicketKeyFormat, ...] = ("nginx", "haproxy", "apache", "envoy")
PER_FILE: tuple[TicketKeyFormat, ...] = ("nginx", "envoy")  # in FILE, FILE.1, ...


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ticket.key"


def keys(*arguments: object, status: int = 0) -> tuple[str, str]:
    """Returns the output and the errors of a command, which must end with *status*."""
    result = subprocess.run(
        [sys.executable, "-I", "-m", "openssl_tickets", "keys", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout, result.stderr


def new_key(secret_len: int = 32) -> TicketKey:
    return TicketKey(os.urandom(16), os.urandom(secret_len), os.urandom(secret_len))


def chain(first: Path, number: int) -> list[Path]:
    """Returns FILE, FILE.1, ... up to *number* of them."""
    return [first, *(first.with_name(f"{first.name}.{each}") for each in range(1, number))]


def loaded(files: list[Path]) -> list[TicketKey]:
    """Returns the key of each of these files of nginx's, and of no others."""
    return [load_ticket_keys("nginx", file, file)[0] for file in files]


def save(path: Path, key: TicketKey) -> None:
    save_ticket_keys("nginx", path, [key])


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


class TestNew:
    @pytest.mark.parametrize(
        ("arguments", "sizes"),
        [
            ([], [32]),
            (["--format", "nginx"], [32]),
            (["--aes", "128"], [16]),
            (["--format", "haproxy"], [32] * 3),
            (["--format", "haproxy", "--aes", "128"], [16] * 3),
            (["--format", "apache"], [16]),
            (["--format", "envoy", "--aes", "256"], [32]),
        ],
    )
    def test_formats(self, file: Path, arguments: list[str], sizes: list[int]) -> None:
        """A file of each program is as many new keys as it wants, and nobody else's to read."""
        output, errors = keys("new", *arguments, file)
        program: Any = arguments[1] if "--format" in arguments else "nginx"
        made = load_ticket_keys(program, file, aes=8 * sizes[0])
        assert [len(key.aes_key) for key in made] == sizes
        assert modes(file.parent) == {0o600}
        assert [line.split()[1] for line in output.splitlines()] == [key.name.hex() for key in made]
        assert errors == ""
        keys("new", *arguments, "--force", file)
        assert not set(made) & set(load_ticket_keys(program, file, aes=8 * sizes[0]))

    def test_there_already(self, file: Path) -> None:
        """A file that is there stays as it is, unless --force is given; so do those of its set."""
        file.write_bytes(b"as it was")
        output, errors = keys("new", file, status=1)
        assert output == ""
        assert str(file) in errors
        assert "File exists" in errors
        assert "--force" in errors
        assert file.read_bytes() == b"as it was"
        assert os.listdir(file.parent) == [file.name]
        keys("new", "--force", file)
        save_ticket_keys("nginx", file, [new_key() for _ in range(3)])
        file.unlink()
        assert f"{file}.1" in keys("new", file, status=1)[1]
        keys("new", "--force", file)
        assert os.listdir(file.parent) == [file.name]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["new"], "required: FILE"),
            (["new", "--format", "envoy", "--aes", "128", "FILE"], "envoy has no keys for AES-128"),
            (["new", "--format", "apache", "--aes", "256", "FILE"], "apache has no keys for"),
            (["new", "--aes", "192", "FILE"], "invalid choice"),
            (["new", "--format", "caddy", "FILE"], "invalid choice"),
            (["rotate", "--keep", "-1", "FILE"], "from 0 to 999"),
            (["rotate", "--keep", "many", "FILE"], "--keep"),
            (["rotate", "--format", "haproxy", "--keep", "2", "FILE"], "of no use for haproxy"),
            (["rotate", "--format", "apache", "--keep", "2", "FILE"], "of no use for apache"),
            ([], "required"),
        ],
    )
    def test_usage(self, file: Path, arguments: list[str], message: str) -> None:
        """A wrong command line is refused with status 2, and nothing is written."""
        given = [file if argument == "FILE" else argument for argument in arguments]
        errors = keys(*given, status=2)[1]
        assert message in errors
        assert errors.count("\n") == 1
        assert os.listdir(file.parent) == []


class TestShow:
    @pytest.mark.parametrize("secret_len", [32, 16])
    def test_nginx(self, file: Path, secret_len: int) -> None:
        """Each file's key is shown by its name and size, and the first as the one that encrypts."""
        made = [new_key(secret_len) for _ in range(3)]
        save_ticket_keys("nginx", file, made)
        save(chain(file, 5)[4], new_key())  # behind a gap: of something else
        names, size = [key.name.hex() for key in made], f"AES-{8 * secret_len}"
        assert keys("show", "--aes", 8 * secret_len, file) == (
            f"{file}: {names[0]} {size} encrypts\n"
            f"{file}.1: {names[1]} {size} decrypts\n"
            f"{file}.2: {names[2]} {size} decrypts\n",
            "",
        )

    @pytest.mark.parametrize("program", FORMATS)
    def test_json(self, file: Path, program: TicketKeyFormat) -> None:
        """With --json it says the same as without."""
        keys("new", "--format", program, file)
        keys("rotate", "--format", program, file)
        found = json.loads(keys("show", "--format", program, "--json", file)[0])
        assert found["format"] == program
        lines = ["{file}: {name} AES-{aes} {role}\n".format(**key) for key in found["keys"]]
        assert "".join(lines) == keys("show", "--format", program, file)[0]
        names = [key.name.hex() for key in load_ticket_keys(program, file)]
        assert [key["name"] for key in found["keys"]] == names

    def test_haproxy(self, file: Path) -> None:
        """Of HAProxy's keys the next is shown too."""
        made = [new_key() for _ in range(3)]
        save_ticket_keys("haproxy", file, made)
        names = [key.name.hex() for key in made]
        assert keys("show", "--format", "haproxy", file)[0] == (
            f"{file}: {names[0]} AES-256 encrypts\n"
            f"{file}: {names[1]} AES-256 encrypts next\n"
            f"{file}: {names[2]} AES-256 decrypts\n"
        )

    def test_no_secrets(self, file: Path) -> None:
        """No part of a secret is shown, in hexadecimal or as it is."""
        key = TicketKey(b"N" * 16, b"H" * 32, b"A" * 32)
        save(file, key)
        shown = "".join(keys("show", file) + keys("rotate", file))
        assert key.name.hex() in shown
        for secret in (b"HHHH", b"AAAA"):
            assert secret.decode() not in shown
            assert secret.hex() not in shown

    def test_warning(self, file: Path) -> None:
        """A file that others can read is shown, with what to do about it."""
        save(file, new_key())
        file.chmod(0o644)
        output, errors = keys("show", file)
        assert "encrypts" in output
        assert errors == (
            f"warning: {file} holds ticket keys and is open to its group and everyone: "
            f"chmod 600 {file}\n"
        )

    @pytest.mark.parametrize("command", ["show", "rotate"])
    @pytest.mark.parametrize("program", FORMATS)
    def test_failures(self, file: Path, command: str, program: str) -> None:
        """A file that is not there, or not a key, is said in a line, and stays as it was."""
        assert keys(command, "--format", program, file, status=1) == (
            "",
            f"error: {file}: No such file or directory\n",
        )
        file.write_bytes(b"S" * 79)
        output, errors = keys(command, "--format", program, file, status=1)
        assert output == ""
        assert re.fullmatch(rf"error: .*{re.escape(str(file))}.*\n", errors)
        assert file.read_bytes() == b"S" * 79
        assert os.listdir(file.parent) == [file.name]


class TestRotate:
    @pytest.mark.parametrize("program", PER_FILE)
    def test_files(self, file: Path, program: str) -> None:
        """The keys move on by one file, a new one comes first, and the oldest goes."""
        keys("new", "--format", program, file)
        known = loaded([file])
        for number in range(1, 5):
            output, _ = keys("rotate", "--format", program, file)
            files = chain(file, min(number + 1, 3))
            known = [*loaded([file]), *known]
            assert known[0] not in known[1:]
            assert loaded(files) == known[: len(files)]
            assert sorted(os.listdir(file.parent)) == sorted(path.name for path in files)
            assert [line.split()[1] for line in output.splitlines()] == [
                key.name.hex() for key in known[: len(files)]
            ]
        assert modes(file.parent) == {0o600}

    @pytest.mark.parametrize(("keep", "left"), [(0, 1), (1, 2), (4, 5), (9, 6)])
    def test_keep(self, file: Path, keep: int, left: int) -> None:
        """As many older keys stay as --keep says, and the files of the others are gone."""
        made = [new_key() for _ in range(5)]
        save_ticket_keys("nginx", file, made)
        keys("rotate", "--keep", keep, file)
        files = chain(file, left)
        assert loaded(files)[1:] == made[: left - 1]
        assert loaded(files)[0] not in made
        assert sorted(os.listdir(file.parent)) == sorted(path.name for path in files)

    def test_same_size(self, file: Path) -> None:
        """A new key is of the size of the one before it."""
        save(file, new_key(16))
        assert "--aes 128" in keys("rotate", file, status=1)[1]
        keys("rotate", "--aes", 128, file)
        sizes = [len(key.aes_key) for key in load_ticket_keys("nginx", file, aes=128)]
        assert sizes == [16, 16]

    @pytest.mark.parametrize("output", ["closed", "nobody reads", "full"])
    @pytest.mark.parametrize("command", ["new", "rotate", "show"])
    @pytest.mark.parametrize("program", FORMATS)
    def test_output_that_is_lost(
        self, file: Path, program: TicketKeyFormat, command: str, output: str
    ) -> None:
        """A rotation that has succeeded says so by its status, whoever reads the output."""
        if command != "new":
            keys("new", "--format", program, file)
        shell = {
            "closed": 'exec "$@" >&- 2>&-',
            "nobody reads": 'set -o pipefail; sleep 0.1; "$@" 2>&1 | :',
            "full": 'exec "$@" >/dev/full 2>/dev/full',
        }[output]
        if file.exists():
            file.chmod(0o640)  # which has a warning
            before = file.read_bytes()
        arguments = [command, "--format", program, str(file)]
        result = subprocess.run(
            [
                "bash",
                "-c",
                shell,
                "bash",
                sys.executable,
                "-I",
                "-m",
                "openssl_tickets",
                "keys",
                *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (result.stdout, result.stderr) == ("", "")
        assert result.returncode == (1 if command == "show" else 0)
        if command == "rotate":
            assert file.read_bytes() != before

    @pytest.mark.parametrize("program", FORMATS)
    def test_mode(self, file: Path, program: TicketKeyFormat) -> None:
        """A file that a group must read can still be read by it, and so can the new ones."""
        keys("new", "--format", program, file)
        file.chmod(0o640)
        if os.geteuid() == 0:
            os.chown(file, 12345, 23456)
        before = file.stat()
        keys("rotate", "--format", program, file)
        assert len(os.listdir(file.parent)) == (2 if program in PER_FILE else 1)
        for path in file.parent.iterdir():
            after = path.stat()
            assert (after.st_mode, after.st_uid, after.st_gid) == (
                before.st_mode,
                before.st_uid,
                before.st_gid,
            )

    def test_name_in_another_encoding(self, tmp_path: Path) -> None:
        """A file whose name cannot be printed is rotated all the same, and shown in another way."""
        file = tmp_path / os.fsdecode(b"k\xff")
        assert r"k\udcff: " in keys("new", file)[0]
        assert r"k\udcff.1: " in keys("rotate", file)[0]

    @pytest.mark.parametrize("left_off_after", [1, 2, 3])
    def test_begun_anew(self, file: Path, left_off_after: int) -> None:
        """A rotation that was broken off has lost no key, nor does the next one, begun anew."""
        made = [new_key() for _ in range(3)]
        files = chain(file, 4)
        save_ticket_keys("nginx", file, made)
        for number in range(3, 3 - left_off_after, -1):  # as it does it, the oldest first
            save_ticket_keys("nginx", files[number], [made[number - 1]])
        keys("rotate", "--keep", 3, file)
        assert loaded(files)[1:] == made
        assert loaded(files)[0] not in made

    def test_always_all_keys(self, file: Path) -> None:
        """Who reads the files in order while they are rotated finds each key that is to stay."""
        made = [new_key() for _ in range(3)]
        save_ticket_keys("nginx", file, made)
        command = [sys.executable, "-I", "-m", "openssl_tickets", "keys", "rotate", str(file)]
        looks = 0
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as rotating:
            while rotating.poll() is None:
                assert {made[0], made[1]} <= set(load_ticket_keys("nginx", file))
                looks += 1
        assert rotating.returncode == 0
        assert looks > 0

    def test_two_at_once(self, file: Path) -> None:
        """Rotations that are begun at once come one after the other."""
        keys("new", file)
        made = loaded([file])
        command = [sys.executable, "-I", "-m", "openssl_tickets", "keys", "rotate", "--keep", "9"]
        at_once: list[Any] = [
            subprocess.Popen([*command, str(file)], stdout=subprocess.DEVNULL) for _ in range(5)
        ]
        assert [process.wait(60) for process in at_once] == [0] * 5
        after = loaded(chain(file, 6))
        assert len(set(after)) == 6
        assert after[-1:] == made
        assert len(os.listdir(file.parent)) == 6

    def test_gap(self, file: Path) -> None:
        """A file behind a gap is not taken back in when the gap is filled."""
        made = [new_key() for _ in range(3)]
        for path, key in zip((file, *list(chain(file, 4))[1::2]), made, strict=True):
            save(path, key)  # FILE, FILE.1 and FILE.3
        assert len(os.listdir(file.parent)) == 3
        keys("rotate", "--keep", 2, file)
        assert loaded(chain(file, 3))[1:] == made[:2]
        assert len(os.listdir(file.parent)) == 3

    def test_locked_for_long(
        self, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Who holds the lock, which anybody may, does not hold up a rotation for good."""
        save(file, new_key())
        before = file.read_bytes()
        monkeypatch.setattr(openssl_tickets._cli.keys, "_LOCK_TIMEOUT", 0.2)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            assert openssl_tickets._cli.keys.main(["rotate", str(file)]) == 1
        finally:
            os.close(folder)
        assert "somebody else has locked the folder" in capsys.readouterr().err
        assert file.read_bytes() == before

    @pytest.mark.slow
    @pytest.mark.parametrize("arguments", [["rotate"], ["new", "--force"]])
    def test_waits_for_another(self, file: Path, arguments: list[str]) -> None:
        """As long as another process holds the lock, nothing is read or written."""
        save(file, new_key())
        before = file.read_bytes()
        command = [sys.executable, "-I", "-m", "openssl_tickets", "keys", *arguments, str(file)]
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1.5)
            assert file.read_bytes() == before
        finally:
            os.close(folder)
        assert process.wait(60) == 0
        assert file.read_bytes() != before

    def test_wrong_older_file(self, file: Path) -> None:
        """Where one of the files is not a key, nothing is changed."""
        save(file, new_key())
        before = file.read_bytes()
        older = chain(file, 2)[1]
        older.write_bytes(b"something else")
        _, errors = keys("rotate", file, status=1)
        assert str(older) in errors
        assert (file.read_bytes(), older.read_bytes()) == (before, b"something else")

    def test_haproxy(self, file: Path) -> None:
        """The next of HAProxy's keys encrypts, the one that did decrypts, and a new one is next."""
        made = [new_key(16) for _ in range(3)]
        save_ticket_keys("haproxy", file, made)
        keys("rotate", "--format", "haproxy", file)
        encrypts, following, before = load_ticket_keys("haproxy", file)
        assert (encrypts, before) == (made[1], made[0])
        assert following not in made
        assert len(following.aes_key) == 16
        assert file.read_bytes().count(b"\n") == 3
        assert modes(file.parent) == {0o600}

    def test_haproxy_repeated_line(self, file: Path) -> None:
        """A key that is on two of HAProxy's lines is two of its three."""
        one, two = new_key(), new_key()
        save_ticket_keys("haproxy", file, [one, one, two])
        keys("rotate", "--format", "haproxy", file)
        encrypts, following = load_ticket_keys("haproxy", file)
        assert encrypts == one
        assert following not in (one, two)
        assert file.read_bytes().splitlines()[0] == file.read_bytes().splitlines()[1]

    def test_apache(self, file: Path) -> None:
        """Apache's only key is replaced, and it is said what that means for its tickets."""
        key = new_key(16)
        save_ticket_keys("apache", file, [key])
        _, errors = keys("rotate", "--format", "apache", file)
        assert "Apache refuses the tickets of the old key" in errors
        assert load_ticket_keys("apache", file) != [key]
        assert os.listdir(file.parent) == [file.name]


class TestHelp:
    @pytest.mark.parametrize(
        ("arguments", "parts"),
        [
            (["-h"], ["new", "show", "rotate", "examples:", "exit status"]),
            (["new", "-h"], ["--format {nginx,haproxy,apache,envoy}", "--force", "--aes"]),
            (["show", "-h"], ["--format"]),
            (["rotate", "-h"], ["--keep N", "FILE.1", "HAProxy", "Apache"]),
        ],
    )
    def test_help(self, arguments: list[str], parts: list[str]) -> None:
        """The help says what there is."""
        output, errors = keys(*arguments)
        assert errors == ""
        for part in parts:
            assert part in output

    def test_examples(self, tmp_path: Path) -> None:
        """The examples in the help work as they are written, on other files."""
        output, _ = keys("-h")
        examples = re.findall(r"^  openssl-tickets (keys .*)$", output, re.MULTILINE)
        assert len(examples) == 4
        for example in examples:
            _, *command = example.replace("/etc/", f"{tmp_path}/").partition(" && ")[0].split()
            Path(command[-1]).parent.mkdir(exist_ok=True)
            keys(*command)

    def test_is_named(self) -> None:
        """The package's own help names the command."""
        result = subprocess.run(
            [sys.executable, "-I", "-m", "openssl_tickets", "-h"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert re.search(r"^ +keys +make, show and rotate", result.stdout, re.MULTILINE)
