"""What both commands share: a build of the package in its own venv, and the findings."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "openssl_tickets"
PLUGIN = "_openssl_tickets_pytest.py"
TIMEOUT = 3600.0  # seconds, for a run of the tests

# Leaks that have our code in their stack but are not ours: a function in the stack, and the reason.
NOT_OURS = {
    "PyInit__libssl": "what cffi makes of the declarations lives as long as the process",
    "PyInit__pyopenssl": "what cffi makes of the declarations lives as long as the process",
    "OSSL_PROVIDER_try_load": "the provider of old ciphers lives as long as the process",
    "make_indexes": "libssl's tables of ex_data indexes live as long as the process",
}


@dataclass
class Finding:
    """One error or leak: what it is, its stack as text, and whether our code is in it."""

    kind: str
    stack: str
    is_leak: bool

    @property
    def is_ours(self) -> bool:
        if self.is_leak and any(name in self.stack for name in NOT_OURS):
            return False
        # An error counts wherever it shows, because we may have passed something wrong to libssl.
        return not self.is_leak or f"/{PACKAGE}/" in self.stack


def python_with(folder: Path, flags: str) -> Path:
    """
    Builds the package with the compiler's *flags* into a venv in *folder*.

    The venv also has all packages of this Python. The checkout is not changed. Returns the venv's
    Python.
    """
    source = folder / "source"
    source.mkdir()
    for name in ("build_ffi.py", "setup.py", "pyproject.toml", "README.md", "LICENSE", PLUGIN):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / PACKAGE, source / PACKAGE, ignore=ignored)
    built = folder / "built"
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build", "--build-lib", str(built)],
        cwd=source,
        env={**os.environ, "CFLAGS": flags, "LDFLAGS": flags},
        check=True,
        timeout=TIMEOUT,
    )
    venv.create(folder / "venv", symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "venv" / "lib" / version / "site-packages"
    # These folders come after the venv's own. Python does not read the .pth files in them.
    inherited = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    inherited |= {path for path in sys.path if path.endswith("-packages")}
    (packages / "inherited.pth").write_text("".join(f"{path}\n" for path in sorted(inherited)))
    shutil.copytree(built / PACKAGE, packages / PACKAGE)
    shutil.copy(built / PLUGIN, packages)
    return folder / "venv" / "bin" / "python"


def pytest_command(python: Path, arguments: list[str]) -> list[str]:
    """Returns the command that runs the tests with the built package instead of the checkout's."""
    source = f"import sys; sys.path[:] = [p for p in sys.path if p not in ('', {str(ROOT)!r})]; "
    source += f"from importlib.util import find_spec; found = find_spec({PACKAGE!r}).origin; "
    source += f"assert found.startswith({str(python.parents[1])!r}), found; "
    source += "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    return [str(python), "-c", source, "-v", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]


def run(command: list[str], environment: dict[str, str]) -> tuple[str, int]:
    """
    Runs the tests, and prints their output as it comes.

    Returns the last line of the output, and the exit status. All processes that the tests start are
    killed at the end.
    """
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    timer = threading.Timer(TIMEOUT, process.kill)
    timer.start()
    last = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
        return last, process.wait()
    finally:
        timer.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def conclude(findings: list[Finding], tests: str, status: int) -> int:
    """Prints the findings, and returns the exit status of the command."""
    errors = [each for each in findings if not each.is_leak]
    leaks = [each for each in findings if each.is_leak]
    ours = [each for each in findings if each.is_ours]
    for each in ours:
        print(f"\n{each.kind}\n{each.stack}")
    print(f"\ntests: {tests}")
    print(f"errors: {len(errors)}")
    print(f"definite leaks with our code in the stack: {sum(each.is_leak for each in ours)}")
    for name, reason in NOT_OURS.items():
        count = sum(name in each.stack for each in leaks)
        if count:
            print(f"  suppressed: {count} through {name}, since {reason}")
    elsewhere = sum(f"/{PACKAGE}/" not in each.stack for each in leaks)
    print(f"definite leaks of CPython and other libraries: {elsewhere}")
    # A run that was cut short may still end with 0.
    is_whole = status == 0 and re.search(r"\b\d+ passed\b", tests) is not None
    if not is_whole:
        print(f"the tests did not all pass; they ended with {status}")
    return int(bool(ours) or not is_whole)
