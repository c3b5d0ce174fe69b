"""Every example in the README is run, as it stands there but for the port."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import s_client
from tests.support import tls

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def example(name: str, port: int = 4433) -> str:
    """Returns the example called *name*, with its port replaced."""
    found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1].replace("4433", str(port))


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as plain:
        return int(plain.getsockname()[1])


def test_every_example_is_known() -> None:
    """There is no Python example that these tests pass over."""
    assert README.count("```python") == len(re.findall(r"<!-- example: (\w+) -->", README)) == 6


def test_server(tmp_path: Path, server_file: Path, ca_file: Path) -> None:
    """The server on the first screen works: s_client gets its tickets and its reply."""
    port = free_port()
    (tmp_path / "server.pem").write_bytes(server_file.read_bytes())
    server = subprocess.Popen(
        [sys.executable, "-I", "-c", example("server", port)], cwd=tmp_path, stderr=subprocess.PIPE
    )
    try:
        seen = visit_when_up(port, ca_file, wait_for=b"hello\n")
        assert server.wait(tls.TIMEOUT) == 0
    finally:
        server.kill()
        server.communicate()
    assert (seen.reused, len(seen.tickets), seen.verify_code) == (False, 2, 0)


def test_asyncio(tmp_path: Path, server_file: Path, ca_file: Path) -> None:
    """The asyncio server sends its one ticket with the first reply."""
    port = free_port()
    (tmp_path / "server.pem").write_bytes(server_file.read_bytes())
    server = subprocess.Popen(
        [sys.executable, "-I", "-c", example("asyncio", port)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
    )
    try:
        seen = visit_when_up(port, ca_file, send=b"world\n", wait_for=b"hello, world\n")
        server.terminate()
    finally:
        server.kill()
        _, errors = server.communicate(timeout=tls.TIMEOUT)
    assert (seen.reused, len(seen.tickets), seen.verify_code) == (False, 1, 0), errors


def visit_when_up(port: int, ca_file: Path, **options: Any) -> s_client.SClientResult:
    """Visits the server as soon as it listens; one connection is all that it may serve."""
    for _ in range(200):
        try:
            return s_client.run("localhost", port, ca_file=ca_file, **options)
        except s_client.SClientRefused:
            time.sleep(0.05)
    raise AssertionError("the server does not listen")


def test_policy(server_context: Any, client_context: Any) -> None:
    """The policy puts the current user into tickets, and refuses the revoked."""
    names: dict[str, Any] = {"context": server_context}
    exec(example("policy"), names)  # noqa: S102
    session = tls.Pair(server_context, client_context).handshake().session()
    assert tls.Pair(server_context, client_context, session).handshake().reused
    names["users"]["revoked"].add(b"alice")
    pair = tls.Pair(server_context, client_context, session).handshake()
    assert (pair.reused, pair.received) == (False, 2)


def test_client(
    tmp_path: Path,
    server_context: Any,
    ca_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The client's second visit is resumed from what the first was given."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_bytes(ca_file.read_bytes())

    def serve(connection: Any) -> None:
        connection.do_handshake()
        connection.sendall(b"hello")

    with tls.Server(server_context, serve) as server:
        exec(example("client", server.port), {})  # noqa: S102 (it is ours)
    assert capsys.readouterr().out == "(b'hello', False) (b'hello', True)\n"
    assert server.errors == []


def test_keys(server_file: Path, client_context: Any) -> None:
    """A ticket of one context resumes at another, also after the rotation."""
    contexts = [tls.server_context(server_file) for _ in range(2)]
    session = tls.Pair(contexts[0], client_context).handshake().session()
    assert not tls.Pair(contexts[1], client_context, session).handshake().reused
    names: dict[str, Any] = {"contexts": contexts}
    exec(example("keys"), names)  # noqa: S102
    session = tls.Pair(contexts[0], client_context).handshake().session()
    names["keys"].rotate()
    assert tls.Pair(contexts[1], client_context, session).handshake().reused
    assert len(names["keys"].keys) == 3


def test_s_client(tmp_path: Path, server_context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted test works against a server that says hello."""
    monkeypatch.chdir(tmp_path)

    def serve(connection: Any) -> None:
        connection.do_handshake()
        connection.sendall(b"hello\n")
        connection.recv(1)  # until the client is done

    with tls.Server(server_context, serve) as server:
        exec(example("s_client", server.port), {})  # noqa: S102 (it is ours)


def command(program: str, port: int = 4433) -> list[str]:
    """Returns the README's command that runs *program*, with its port replaced."""
    (found,) = re.findall(rf"^python (-m openssl_tickets {program}.*)$", README, re.MULTILINE)
    return [sys.executable, *found.replace("4433", str(port)).split()]


def test_doctor(tmp_path: Path) -> None:
    """The doctor's command works."""
    result = subprocess.run(
        command("doctor"), cwd=tmp_path, capture_output=True, text=True, timeout=tls.TIMEOUT
    )
    assert result.returncode == 0
    assert openssl_tickets.OPENSSL_VERSION in result.stdout


def test_run_script(tmp_path: Path) -> None:
    """The command for a script puts a program that knows only pyOpenSSL on the system's libssl."""
    program = "from OpenSSL import SSL\nprint(SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode())\n"
    (tmp_path / "server.py").write_text(program)
    result = subprocess.run(
        command("run server"), cwd=tmp_path, capture_output=True, text=True, timeout=tls.TIMEOUT
    )
    assert (result.stdout, result.stderr) == (openssl_tickets.OPENSSL_VERSION + "\n", "")


def test_run_module(tmp_path: Path, server_file: Path, ca_file: Path) -> None:
    """The command for a module runs Twisted's web server, and s_client gets a page."""
    port = free_port()
    (tmp_path / "server.pem").write_bytes(server_file.read_bytes())
    server = subprocess.Popen(
        command("run -m twisted", port),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        request = b"GET / HTTP/1.0\r\n\r\n"
        seen = visit_when_up(port, ca_file, send=request, wait_for=b"Twisted Web demo")
        server.terminate()
        assert server.wait(tls.TIMEOUT) == -signal.SIGTERM
    finally:
        server.kill()
        output, _ = server.communicate()
    assert (len(seen.tickets), seen.verify_code) == (2, 0), output


def test_ci_runs_the_readmes_test_command() -> None:
    """CI runs the very command that the README tells."""
    (command,) = re.findall(r"```sh\n(.*tox run)\n```", README)
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()
