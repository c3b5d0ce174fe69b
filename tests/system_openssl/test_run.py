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
names = {name: repr(value).split(" at 0x")[0] for name, value in globals().items()}
from helper import HELP
print(json.dumps({
    "argv": sys.argv, "path": sys.path[:1], "help": HELP,
    "main": vars(__main__) is globals(), "names": sorted(names.items()),
    "spec": __spec__ and [__spec__.name, __spec__.origin, __spec__.parent],
    "hook": sys.excepthook is sys.__excepthook__,
}))
"""

# How programs end.
ENDINGS = {
    "exit": "import sys; sys.exit(3)",
    "message": "import sys; sys.exit('no')",
    "error": "def f():\n    raise ValueError('seen')\n\nf()\n",
    "chain": "try:\n    1 / 0\nexcept Exception as error:\n    raise KeyError(1) from error\n",
    "hook": "import sys\nsys.excepthook = lambda *what: print(what[:2])\nraise KeyError('mine')\n",
    "syntax": "1 +",
    "os_exit": "import os; os._exit(4)",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "interrupted": "import os, signal; os.kill(os.getpid(), signal.SIGINT); input()",
    "thread": "import threading\nthreading.Thread(target=lambda: print('thread')).start()\n1 / 0\n",
}

ON_SYSTEMS_LIBSSL = """
from OpenSSL import SSL
from openssl_tickets._native import shared_object
print(shared_object.file_of(SSL._lib.TLS_method()))  # not its version: two copies may be of one
"""


def python(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return python(folder, "-m", "openssl_tickets", "run", *arguments, **environment)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with scripts, packages, a zip file and a link, each with what it imports."""
    for name in ("package", "empty", "no_package", "elsewhere"):
        (tmp_path / name).mkdir()
    for name in ("package", "empty"):
        (tmp_path / name / "__init__.py").touch()
    for name in ("script.py", "package/__main__.py", "package/module.py"):
        (tmp_path / name).write_text(PROGRAM)
    for name in ("helper.py", "package/helper.py"):
        (tmp_path / name).write_text(f"HELP = {name!r}")
    for name, source in ENDINGS.items():
        (tmp_path / f"{name}.py").write_text(source)
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", PROGRAM)
        archive.writestr("helper.py", "HELP = 'zipped'")
    (tmp_path / "elsewhere" / "link.py").symlink_to(tmp_path / "script.py")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        # Programs, which find what lies beside them; but not when Python is isolated.
        "script.py",
        "./script.py -m --help -- -x",
        "elsewhere/link.py a",
        "package",
        "program.zip --flag",
        "-m package -m -h",
        "-m package.module -- 1",
        "-I script.py",
        "-I package",
        "-I program.zip",
        "-I -m package",
        *(f"{name}.py" for name in ENDINGS),
        *(f"-m {name}" for name in ENDINGS),
        # Nothing that could be run.
        "nope.py",
        "nope/nope.py",
        "script.py/nope.py",
        "-m nope",
        "-m nope.too",
        "-m helper.too",
        "-m empty",
        "-m sys",
        "-m .",
        "no_package",
        "empty",
    ],
)
@pytest.mark.slow
def test_is_as_python(folder: Path, arguments: str) -> None:
    """What a program sees, prints and ends with is as under ``python``, tracebacks too."""
    isolated = ["-I"] if arguments.startswith("-I") else []
    words = arguments.split()[len(isolated) :]
    expected = python(folder, *isolated, *words)
    result = python(folder, *isolated, "-m", "openssl_tickets", "run", *words)
    for each in (result, expected):
        assert "openssl_tickets" not in each.stderr
    assert (result.returncode, result.stdout) == (expected.returncode, expected.stdout)
    assert result.stderr == expected.stderr


@pytest.mark.parametrize("arguments", [[], ["-m"], ["-x", "script.py"]], ids=" ".join)
def test_usage(tmp_path: Path, arguments: list[str]) -> None:
    """A wrong command line is said to be so."""
    result = run(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert "error: " in result.stderr
    assert "Traceback" not in result.stderr


def test_is_on_the_systems_libssl(tmp_path: Path) -> None:
    """A script, a module, and what a module's own package imports are on the system's libssl."""
    (tmp_path / "script.py").write_text(ON_SYSTEMS_LIBSSL)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("import OpenSSL")
    (tmp_path / "package" / "__main__.py").write_text(ON_SYSTEMS_LIBSSL)
    for arguments in (["script.py"], ["-m", "script"], ["-m", "package"], ["package"]):
        result = run(tmp_path, *arguments)
        assert (result.stdout, result.stderr) == (f"{shared_object.our_libssl()}\n", "")


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


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("program", [["script.py"], ["-m", "script"]], ids=" ".join)
def test_multiprocessing(tmp_path: Path, method: str, program: list[str]) -> None:
    """What multiprocessing starts, and what that starts, is on the system's libssl too."""
    (tmp_path / "eager.py").write_text("import OpenSSL.SSL")
    (tmp_path / "script.py").write_text(
        f"""
import multiprocessing, sys
from OpenSSL import SSL
def show(more):
    from openssl_tickets._native import shared_object
    print(shared_object.file_of(SSL._lib.TLS_method()), flush=True)
    if more:
        start(more - 1)
def start(more):
    process = context.Process(target=show, args=(more,))
    process.start()
    process.join()
    assert process.exitcode == 0
context = multiprocessing.get_context({method!r})
if __name__ == "__main__":
    context.set_forkserver_preload(["__main__", "eager"])
    start(1)
"""
    )
    result = run(tmp_path, *program)
    assert (result.stdout, result.stderr) == (f"{shared_object.our_libssl()}\n" * 2, "")


def test_too_late(tmp_path: Path) -> None:
    """If pyOpenSSL was imported ahead of it, on another libssl, it says so and runs nothing."""
    (tmp_path / "script.py").write_text("print('ran')")
    (tmp_path / "sitecustomize.py").write_text("import OpenSSL.SSL")
    result = run(tmp_path, "script.py", PYTHONPATH=str(tmp_path))
    imported = python(tmp_path, "-c", ON_SYSTEMS_LIBSSL).stdout.strip()
    if imported == shared_object.our_libssl():
        assert (result.returncode, result.stdout) == (0, "ran\n")
    else:
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith("error: ")
        assert "before OpenSSL is first imported" in result.stderr
        assert "Traceback" not in result.stderr
