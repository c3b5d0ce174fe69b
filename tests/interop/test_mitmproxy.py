"""examples/mitmproxy_addon.py, with the real mitmdump between s_client and a server of ours."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openssl_tickets import SSL, s_client
from tests.support import shell, tls

ADDON = Path(__file__).parents[2] / "examples" / "mitmproxy_addon.py"
MITMDUMP = shutil.which("mitmdump", path=str(Path(sys.executable).parent))
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

if importlib.util.find_spec("mitmproxy") is None:
    pytest.skip("there is no mitmproxy (tox run -e mitmproxy has one)", allow_module_level=True)


def serve(connection: Any) -> None:
    """What the proxied server does: a page for each connection."""
    connection.do_handshake()
    request = b""
    with contextlib.suppress(SSL.ZeroReturnError, SSL.SysCallError):
        while b"\r\n\r\n" not in request:
            request += connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")


@contextlib.contextmanager
def mitmdump(
    folder: Path, upstream: int, ca_file: Path, *options: str
) -> Iterator[tuple[int, Path]]:
    """Runs mitmdump with the addon, in front of a server; yields its port and its log."""
    assert MITMDUMP is not None
    port, log = shell.free_port(), folder / "log"
    command = [sys.executable, "-m", "openssl_tickets", "run", MITMDUMP, "-s", str(ADDON)]
    command += ["--mode", f"reverse:https://localhost:{upstream}", "--listen-host", "127.0.0.1"]
    command += ["--listen-port", str(port), "--set", f"confdir={folder}"]
    command += ["--set", f"ssl_verify_upstream_trusted_ca={ca_file}"]
    for option in options:
        command += ["--set", option]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        deadline = time.monotonic() + tls.TIMEOUT
        while "listening at" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield port, log
        assert not re.search("Traceback|[Ee]rror", log.read_text()), log.read_text()
    finally:
        process.terminate()
        try:
            process.wait(tls.TIMEOUT)
        finally:
            process.kill()
            process.wait()


def visit(port: int, **options: Any) -> s_client.SClientResult:
    return s_client.run(
        "localhost", port, server_name="localhost", send=REQUEST, wait_for=b"hello", **options
    )


@pytest.mark.parametrize(
    ("options", "tickets", "client", "server"),
    [
        ([], 2, True, False),
        (["tickets=1", "tickets_upstream=true"], 1, True, True),
        (["tickets=3", "tickets_accept=false"], 3, False, False),
    ],
)
def test_both_sides(
    options: list[str],
    tickets: int,
    client: bool,
    server: bool,
    version: str,
    tmp_path: Path,
    server_file: Path,
    ca_file: Path,
) -> None:
    """The options set how many tickets there are, and who may resume, on either side."""
    context = tls.server_context(server_file, version)
    session = tmp_path / "session.pem"
    with (
        tls.Server(context, serve) as upstream,
        mitmdump(tmp_path, upstream.port, ca_file, *options) as (port, log),
    ):
        first = visit(port, tls_version=version, sess_out=session)
        again = visit(port, tls_version=version, sess_in=session)
        told = log.read_text()
    assert upstream.errors == []
    assert (first.reused, again.reused) == (False, client)
    assert len(first.tickets) == (tickets if version == "1.3" else 1)
    how = {True: "resumed", False: "full handshake"}
    assert told.count("client of localhost: full handshake") == 2 - client, told
    assert told.count("client of localhost: resumed") == client, told
    assert f"server localhost: {how[server]}" in told
    assert told.count("server localhost: full handshake") == 2 - server, told
    assert "server localhost sends a ticket: key " in told
    verdict = "accepted" if client else "refused"
    key_name = first.tickets[0].key_name.hex()
    assert f"client offers a ticket: SUCCESS_RENEW, key {key_name}, {verdict}" in told or (
        version == "1.2" and f"client offers a ticket: SUCCESS, key {key_name}, {verdict}" in told
    )
