"""``python -m openssl_tickets run`` is ``python``, but for the libssl that pyOpenSSL is on."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from openssl_tickets._native import shared_object

# What a program can see of how it was started.
PROGRAM = """
import json, sys, __main__
from helper import HELP
names = ("__name__", "__file__", "__package__", "__cached__", "__doc__")
print(json.dumps({
    "argv": sys.argv, "path": sys.path[:1], "help": HELP,
    "main": vars(__main__) is globals(), "names": {name: globals()[name] for name in names},
    "spec": __spec__ and [__spec__.name, __spec__.origin, __spec__.parent],
    "loader": type(__loader__).__name__,
}))
"""

ON_SYSTEMS_LIBSSL = """
from OpenSSL import SSL
from openssl_tickets._native import shared_object
print(shared_object.file_of(SSL._lib.TLS_method()))  # not its version: two copies may be of one
"""


def python(folder: Path, *arguments: str, safe: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *(["-I"] if safe else []), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def run(folder: Path, *arguments: str, safe: bool = False) -> subprocess.CompletedProcess[str]:
    return python(folder, "-m", "openssl_tickets", "run", *arguments, safe=safe)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a script, a package, a zip file and a link, each with what it imports."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    for name in ("script.py", "package/__main__.py", "package/module.py"):
        (tmp_path / name).write_text(PROGRAM)
    for name in ("helper.py", "package/helper.py"):
        (tmp_path / name).write_text(f"HELP = {name!r}")
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", PROGRAM)
        archive.writestr("helper.py", "HELP = 'zipped'")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.py").symlink_to(tmp_path / "script.py")
    return tmp_path


@pytest.mark.parametrize("safe", [False, True], ids=["", "isolated"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["script.py"],
        ["./script.py", "-m", "--help", "--", "-x"],
        ["elsewhere/link.py", "a b"],
        ["package"],
        ["program.zip", "--flag"],
        ["-m", "package", "-m", "-h"],
        ["-m", "package.module", "--", "1"],
    ],
    ids=" ".join,
)
def test_program_sees_what_python_shows(folder: Path, arguments: list[str], safe: bool) -> None:
    """The program sees its arguments, its path and itself as it does under ``python``."""
    expected = python(folder, *arguments, safe=safe)
    result = run(folder, *arguments, safe=safe)
    assert (result.returncode, result.stdout) == (expected.returncode, expected.stdout)
    # Isolated, neither finds what lies beside a script or in the current folder.
    assert ("ModuleNotFoundError" in result.stderr) == ("ModuleNotFoundError" in expected.stderr)


def test_is_on_the_systems_libssl(tmp_path: Path) -> None:
    """A script, a module, and what a module's own package imports are on the system's libssl."""
    script = tmp_path / "script.py"
    script.write_text(ON_SYSTEMS_LIBSSL)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("import OpenSSL")
    (tmp_path / "package" / "__main__.py").write_text(ON_SYSTEMS_LIBSSL)
    for arguments in (["script.py"], ["-m", "script"], ["-m", "package"], ["package"]):
        result = run(tmp_path, *arguments)
        assert (result.stdout, result.stderr) == (f"{shared_object.our_libssl()}\n", "")


@pytest.mark.parametrize(
    ("program", "status", "output"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("raise KeyError('mine')", 1, "KeyError: 'mine'\n"),
        ("1 +", 1, "SyntaxError: invalid syntax\n"),
        ("import os; os._exit(4)", 4, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -15, ""),
    ],
)
def test_exit_status(tmp_path: Path, program: str, status: int, output: str) -> None:
    """The program's end is the end of the command."""
    (tmp_path / "script.py").write_text(program)
    result = run(tmp_path, "script.py")
    assert (result.returncode, result.stdout) == (status, "")
    assert result.stderr.endswith(output)


def test_traceback_shows_the_program(tmp_path: Path) -> None:
    """A traceback ends in the program's own lines."""
    (tmp_path / "script.py").write_text("def f():\n    raise ValueError('seen')\n\nf()\n")
    result = run(tmp_path, "script.py")
    assert f'File "{tmp_path / "script.py"}", line 2, in f' in result.stderr
    assert "    raise ValueError('seen')" in result.stderr


def test_main_stays(tmp_path: Path) -> None:
    """Threads, exit functions and pickles find the program's ``__main__`` after its last line."""
    (tmp_path / "script.py").write_text(
        """
import atexit, pickle, threading, time
class Mine: pass
def late(who):
    assert type(pickle.loads(pickle.dumps(Mine()))) is Mine
    print(who, flush=True)
def work():
    main.join()
    late("thread")
main = threading.main_thread()
threading.Thread(target=work).start()
atexit.register(late, "exit")
"""
    )
    result = run(tmp_path, "script.py")
    assert (result.stdout, result.stderr) == ("thread\nexit\n", "")


def test_forked_processes_are_on_it_too(tmp_path: Path) -> None:
    """What the program forks is on the system's libssl."""
    (tmp_path / "script.py").write_text(
        f"""
import multiprocessing
def show():
    {ON_SYSTEMS_LIBSSL.strip().replace(chr(10), chr(10) + "    ")}
process = multiprocessing.get_context("fork").Process(target=show)
process.start()
process.join()
"""
    )
    assert run(tmp_path, "script.py").stdout == f"{shared_object.our_libssl()}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a script, or a module with -m"),
        (["-m"], "name a script, or a module with -m"),
        (["missing.py"], "No such file or directory: "),
        (["-m", "missing"], "there is no module 'missing'"),
        (["-m", "missing.too"], "No module named 'missing'"),
        (["-m", "package"], "there is no module 'package.__main__'"),
        (["folder"], "there is no __main__ in 'folder'"),
        (["-m", "sys"], "there is no Python code in the module 'sys'"),
        (["-x", "script.py"], "unrecognized arguments: -x"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nothing_to_run(tmp_path: Path, arguments: list[str], message: str) -> None:
    """What cannot be run is named."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    result = run(tmp_path, *arguments)
    assert result.returncode != 0
    assert message in result.stderr.splitlines()[-1]


def test_too_late(tmp_path: Path) -> None:
    """Where pyOpenSSL was imported ahead of it, on another libssl, it says so and runs nothing."""
    (tmp_path / "script.py").write_text("print('ran')")
    (tmp_path / "sitecustomize.py").write_text("import OpenSSL.SSL")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-m", "openssl_tickets", "run", "script.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    imported = python(tmp_path, "-c", ON_SYSTEMS_LIBSSL).stdout.strip()
    if imported == shared_object.our_libssl():
        assert (result.returncode, result.stdout) == (0, "ran\n")
    else:
        assert (result.returncode, result.stdout) == (1, "")
        assert "before OpenSSL is first imported" in result.stderr
