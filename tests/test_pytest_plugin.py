"""The pytest helper, in runs of pytest of their own."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import _openssl_tickets_pytest
import openssl_tickets
from tests.support.shell import TIMEOUT, examples

pytestmark = pytest.mark.slow

PLUGIN = "openssl_tickets.pytest_plugin"


def run(folder: Path, source: str, **environment: str) -> tuple[int, str]:
    """Runs pytest on a test file, and returns its exit status and what it printed."""
    (folder / "test_it.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", PLUGIN, "-p", "no:cacheprovider", "."],
        cwd=folder,
        env={**os.environ, "PYTEST_ADDOPTS": "", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    return result.returncode, result.stdout


STDLIB = """
import ssl
import threading
import pytest
from openssl_tickets import set_num_tickets

@pytest.fixture
def context(tls_certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls_certificate)
    return context
"""


def test_example_of_the_page(tmp_path: Path) -> None:
    """The complete test file on the page passes as it stands there."""
    status, output = run(tmp_path, examples("pytest.md", "python")["test file"])
    assert status == 0, output
    assert "4 passed" in output


@pytest.mark.needs_ssl
def test_standard_ssl(tmp_path: Path) -> None:
    """The fixtures serve the standard ssl too, with an echo, several clients and no thread left."""
    status, output = run(
        tmp_path,
        STDLIB
        + """
def test_echo(context, tls_server, s_client, tls_certificate):
    set_num_tickets(context, 1)
    server = tls_server(context)
    first = s_client.connect(server, ca_file=tls_certificate)
    second = s_client(server.port, send=b"hello", wait_for=b"hello", ca_file=tls_certificate)
    first.send(b"again")
    first.wait_for(b"again")
    assert (len(second.tickets), second.verify_code) == (1, 0)
    assert first.close().exit_code == 0

def test_nothing_is_left():
    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
""",
    )
    assert status == 0, output
    assert "2 passed" in output


def test_what_a_connection_raises_fails_the_test(tmp_path: Path) -> None:
    """A test fails with what its server raised, in serve or in the handshake."""
    status, output = run(
        tmp_path,
        STDLIB
        + """
def serve(connection):
    connection.sendall(b"hello")
    raise LookupError("of the server")

def test_serve(context, tls_server, s_client):
    s_client(tls_server(context, serve), wait_for=b"hello")

def test_handshake(context, tls_server, s_client):
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    s_client(tls_server(context), tls_version="1.2")

def test_context(tls_server):
    tls_server(object())
""",
    )
    assert status == 1, output
    assert "2 passed, 1 failed, 2 errors" in output or "1 failed, 2 passed, 2 errors" in output
    assert "LookupError: of the server" in output
    assert "ssl.SSLError" in output
    assert "tls_server needs an ssl.SSLContext" in output


@pytest.mark.parametrize(
    ("options", "status", "outcome"), [("", 0, "1 skipped"), ("--require-openssl", 1, "1 error")]
)
def test_no_openssl_program(tmp_path: Path, options: str, status: int, outcome: str) -> None:
    """Without the openssl program the tests that need it are skipped, or fail if told so."""
    seen, output = run(
        tmp_path,
        STDLIB + "def test_it(context, s_client): 1 / 0\n",
        PATH="/none",
        PYTEST_ADDOPTS=options,
    )
    assert seen == status, output
    assert outcome in output
    assert "there is no openssl program on the PATH: install OpenSSL" in output


def test_our_own_tests_need_openssl_in_ci(pytestconfig: pytest.Config) -> None:
    """Where CI is set, our own tests fail without the program."""
    assert pytestconfig.getoption("--require-openssl") == bool(os.environ.get("CI"))


def test_what_comes_too_late_fails(tmp_path: Path) -> None:
    """A wait that the server ends is no success, and unknown arguments are none at all."""
    status, output = run(
        tmp_path,
        STDLIB
        + """
def serve(connection):
    connection.sendall(b"hello")

def test_wait_for(context, tls_server, s_client):
    s_client(tls_server(context, serve), wait_for=b"never")

def test_tickets(context, tls_server, s_client):
    s_client(tls_server(context, serve), tickets=3)

def test_unchecked(context, tls_server, s_client):
    assert s_client(tls_server(context, serve), tickets=3, check=False).missing

def test_unknown(s_client):
    with pytest.raises(TypeError, match="unexpected keyword argument 'whatever'"):
        s_client(1, whatever=3)
""",
    )
    assert status == 1, output
    assert "2 failed, 2 passed" in output
    assert "ended before b'never' from the server" in output
    assert "ended before ticket number 3" in output


def test_libssl_that_does_not_load(tmp_path: Path) -> None:
    """It stops only the tests that use the fixtures, and those say why."""
    broken = tmp_path / "broken"
    package = Path(openssl_tickets.__file__).parent
    shutil.copytree(package, broken / package.name)
    shutil.copy(Path(_openssl_tickets_pytest.__file__), broken)
    (library,) = (broken / package.name / "_native").glob("_libssl*.so")
    library.write_bytes(b"no library")
    tests = "def test_other(): pass\ndef test_ours(s_client): pass\n"
    status, output = run(tmp_path, tests, PYTHONPATH=str(broken))
    assert status == 1, output
    assert "1 passed, 1 error" in output
    assert re.search(r"ImportError: .*/_libssl[\w.]*\.so: ", output)


def test_it_is_cheap() -> None:
    """A run that does not use the fixtures loads neither this package nor a library for it."""
    program = (
        "import sys; import pytest; ours = set(sys.modules)\n"
        f"import {_openssl_tickets_pytest.__name__}\n"
        "print(sorted(set(sys.modules) - ours))"
    )
    output = subprocess.check_output([sys.executable, "-I", "-c", program], text=True)
    assert output == "['_openssl_tickets_pytest']\n"


def test_entry_point() -> None:
    """pytest finds the plugin by itself, under the name that -p takes too."""
    found = importlib.metadata.entry_points(group="pytest11", name=PLUGIN)
    assert {each.value for each in found} == {_openssl_tickets_pytest.__name__}
