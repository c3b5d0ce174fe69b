"""The pytest helper, in runs of pytest of their own."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_no_openssl_program(tmp_path: Path) -> None:
    """Without the openssl program the tests that need it are skipped, and say so."""
    status, output = run(tmp_path, STDLIB + "def test_it(context, s_client): 1 / 0\n", PATH="/none")
    assert status == 0, output
    assert "1 skipped" in output
    assert "there is no openssl program on the PATH: install OpenSSL" in output


def test_it_is_cheap(tmp_path: Path) -> None:
    """A run that does not use the fixtures loads neither pyOpenSSL, nor ssl for them."""
    program = (
        "import sys; before = set(sys.modules); import pytest; ours = set(sys.modules)\n"
        f"import {PLUGIN}\n"
        "print(sorted({'ssl', '_ssl', 'OpenSSL', 'cryptography', 'asyncio', 'subprocess'}"
        " & (set(sys.modules) - ours)))"
    )
    output = subprocess.check_output([sys.executable, "-I", "-c", program], text=True)
    assert output == "[]\n"


def test_entry_point() -> None:
    """pytest finds the plugin by itself, under the name that -p takes too."""
    found = importlib.metadata.entry_points(group="pytest11", name=PLUGIN)
    assert {each.value for each in found} == {PLUGIN}
    assert re.fullmatch(r"[\w.]+", PLUGIN)
