"""pytest itself on the system's libssl: by ``run``, and by ``-p openssl_tickets.system``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import OpenSSL
import pytest

import openssl_tickets
from openssl_tickets._native import shared_object

PACKAGE = Path(openssl_tickets.__file__).parent
RUN = ("-m", "openssl_tickets", "run")
PLUGIN = ("-p", "openssl_tickets.system")

TESTS = """
import os
import pytest
from OpenSSL import SSL
from openssl_tickets._native import shared_object

@pytest.mark.parametrize("number", range(4))
def test_libssl(number):
    with open("seen.txt", "a") as file:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        file.write(f"{worker} {shared_object.file_of(SSL._lib.TLS_method())}\\n")
"""

# As an installation from a wheel shows it to pytest, whatever this one is.
INSTALLED = {
    "METADATA": "Metadata-Version: 2.1\nName: openssl_tickets\nVersion: 0\n",
    "RECORD": "openssl_tickets/__init__.py,,\nopenssl_tickets/pytest_plugin.py,,\n",
    "entry_points.txt": (
        "[pytest11]\nopenssl_tickets.pytest_plugin = openssl_tickets.pytest_plugin\n"
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose warnings are errors, and whose conftest.py imports pyOpenSSL."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (project / "conftest.py").write_text("import OpenSSL.SSL\n")
    (project / "test_it.py").write_text(TESTS)
    about = tmp_path / "site" / "openssl_tickets-0.dist-info"
    about.mkdir(parents=True)
    for name, text in INSTALLED.items():
        (about / name).write_text(text)
    (tmp_path / "site" / "openssl_tickets").symlink_to(PACKAGE)
    return project


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    hidden = {"PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_XDIST_WORKER"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(folder.parent / "site")},
        capture_output=True,
        text=True,
        timeout=120,
    )


def seen(folder: Path) -> dict[str, set[str]]:
    """Returns on which libssl the tests of each worker were."""
    lines = [line.split(" ", 1) for line in (folder / "seen.txt").read_text().splitlines()]
    assert len(lines) == 4
    return {worker: {file for who, file in lines if who == worker} for worker, _ in lines}


@pytest.mark.parametrize(
    "workers",
    [pytest.param((), id="alone"), pytest.param(("-n", "2"), id="workers", marks=pytest.mark.slow)],
)
def test_run_where_warnings_are_errors(folder: Path, workers: tuple[str, ...]) -> None:
    """
    ``run -m pytest`` gets to the tests, though the package is imported before pytest, and its
    workers are on the system's libssl as well.
    """
    result = run(folder, *RUN, "-m", "pytest", *workers, "-p", "no:cacheprovider")
    assert result.returncode == 0, result.stdout + result.stderr
    names = ["gw0", "gw1"] if workers else ["alone"]
    assert seen(folder) == {name: {shared_object.our_libssl()} for name in names}


@pytest.mark.parametrize("start", [("-m", "pytest"), (*RUN, "-m", "pytest")], ids=["", "run"])
@pytest.mark.parametrize(
    "workers",
    [pytest.param((), id="alone"), pytest.param(("-n", "2"), id="workers", marks=pytest.mark.slow)],
)
def test_plugin(folder: Path, start: tuple[str, ...], workers: tuple[str, ...]) -> None:
    """Every worker is on the system's libssl ahead of its conftest.py; the header names it."""
    result = run(folder, *start, *PLUGIN, *workers, "-p", "no:cacheprovider")
    assert result.returncode == 0, result.stdout + result.stderr
    names = ["gw0", "gw1"] if workers else ["alone"]
    assert seen(folder) == {name: {shared_object.our_libssl()} for name in names}
    header = f"pyOpenSSL {OpenSSL.__version__} on the system's {openssl_tickets.OPENSSL_VERSION}"
    assert re.findall(f"^{re.escape(header)} .*", result.stdout, re.MULTILINE)


@pytest.mark.slow
def test_plugin_in_the_configuration(folder: Path) -> None:
    """The plugin may stand in the project's own file, with its other plugins beside it."""
    (folder / "pytest.ini").write_text(
        f"[pytest]\nfilterwarnings = error\naddopts = {' '.join(PLUGIN)} -n 1\n"
    )
    (folder / "own.py").write_text("def pytest_report_header(): return 'own plugin'\n")
    result = run(folder, "-m", "pytest", "-p", "own", "-p", "no:cacheprovider")
    assert result.returncode == 0, result.stdout + result.stderr
    assert seen(folder) == {"gw0": {shared_object.our_libssl()}}
    assert "own plugin" in result.stdout


def test_plugin_too_late(folder: Path) -> None:
    """Where pyOpenSSL is imported before it, it says so in one message."""
    (folder / "early.py").write_text("import OpenSSL.SSL\n")
    result = run(folder, "-m", "pytest", "-p", "early", *PLUGIN, "-p", "no:cacheprovider")
    if shared_object.file_of(_wheels_method()) == shared_object.our_libssl():
        pytest.skip("pyOpenSSL is on the system's libssl from the start")
    assert result.returncode == 4
    assert "before OpenSSL is first imported" in result.stderr
    assert "Traceback" not in result.stderr


def _wheels_method() -> object:
    from cryptography.hazmat.bindings.openssl.binding import Binding

    return Binding().lib.TLS_method()


def test_without_pyopenssl(folder: Path) -> None:
    """Without pyOpenSSL the plugin says what is missing."""
    (folder / "OpenSSL.py").write_text("raise ImportError('no pyOpenSSL here')\n")
    result = run(folder, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider")
    assert result.returncode == 4
    assert "no pyOpenSSL here" in result.stderr
