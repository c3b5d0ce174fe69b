"""
``openssl_tickets.ftps.FTP_TLS`` against servers whose data connections must resume their control
connection: vsftpd, ProFTPD, and examples/ftps_server.py.
"""

from __future__ import annotations

import contextlib
import ftplib
import io
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from openssl_tickets import resume_sessions, session_reused
from openssl_tickets.ftps import FTP_TLS
from tests.support import native, stdlib_tls
from tests.support.pages import blocks_of

ROOT = Path(__file__).parents[2]
BLOCKS = {
    block.name: block.source
    for block in blocks_of((ROOT / "docs" / "recipes" / "clients.md").read_text())
}

CONTENT = os.urandom(100_000)

VSFTPD = """
listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
anonymous_enable=YES
no_anon_password=YES
anon_root={files}
write_enable=YES
anon_upload_enable=YES
secure_chroot_dir={empty}
ssl_enable=YES
allow_anon_ssl=YES
force_anon_logins_ssl=YES
force_anon_data_ssl=NO
require_ssl_reuse=YES
ssl_ciphers=HIGH
rsa_cert_file={server_file}
rsa_private_key_file={server_file}
seccomp_sandbox=NO
"""

PROFTPD = """
# Debian 13 has these in files of their own, Debian 12 in the program.
<IfModule !mod_xfer.c>
    LoadModule mod_ls.c
    LoadModule mod_xfer.c
</IfModule>
LoadModule mod_tls.c
ServerType standalone
DefaultAddress 127.0.0.1
Port {port}
UseIPv6 off
User nobody
Group nogroup
PidFile {folder}/pid
ScoreboardFile {folder}/scoreboard
WtmpLog off
<IfModule mod_delay.c>
    DelayEngine off
</IfModule>
RequireValidShell off
AuthUserFile {users}
AuthOrder mod_auth_file.c
TLSEngine on
TLSRequired off
TLSProtocol TLSv1.2 TLSv1.3
TLSECCertificateFile {server_file}
TLSECCertificateKeyFile {server_file}
TLSVerifyClient off
"""

SERVERS = ["vsftpd", "proftpd", "example"]
LOGIN = {"proftpd": ("alice", "password")}


class Server(NamedTuple):
    name: str
    port: int


def path_of(program: str) -> str:
    """Returns where a server program is; in CI it must be there."""
    places = f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin"
    path = os.environ.get(program.upper()) or shutil.which(program, path=places)
    if path is None or os.geteuid():
        message = (
            f"{program} (apt-get install {program}, or its path in {program.upper()}) and root"
        )
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"it takes {message}")
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        return int(plain.getsockname()[1])


def command_of(name: str, port: int, folder: Path, server_file: Path) -> list[str]:
    files, empty, users = folder / "files", folder / "empty", folder / "users"
    for path in (files, empty, files / "up"):
        path.mkdir()
    (files / "report.pdf").write_bytes(CONTENT)
    (files / "up").chmod(0o777)
    for above in folder.parents[:3]:  # pytest's, which an anonymous user must pass
        above.chmod(above.stat().st_mode | 0o011)
    folder.chmod(0o755)
    password = subprocess.run(
        ["openssl", "passwd", "-6", "password"], capture_output=True, text=True, check=True
    ).stdout.strip()
    users.write_text(f"alice:{password}:65534:65534::{files}:/bin/false\n")
    users.chmod(0o600)
    if name == "example":
        example = str(ROOT / "examples" / "ftps_server.py")
        return [sys.executable, example, str(server_file), str(files), f"--port={port}"]
    configuration = folder / "configuration"
    configuration.write_text({"vsftpd": VSFTPD, "proftpd": PROFTPD}[name].format(**locals()))
    if name == "vsftpd":
        return [path_of(name), str(configuration)]
    return [path_of(name), "-n", "-q", "-c", str(configuration)]


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server_file: Path
) -> Iterator[Server]:
    name, port = request.param, free_port()
    folder = tmp_path_factory.mktemp(name)
    process = subprocess.Popen(
        command_of(name, port, folder, server_file),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + stdlib_tls.TIMEOUT
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            assert process.poll() is None, f"{name} ended with {process.returncode}"
            assert time.monotonic() < end, f"{name} does not listen"
            time.sleep(0.05)
        yield Server(name, port)
    finally:
        process.terminate()
        process.wait(stdlib_tls.TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def context(ca_file: Path, version: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.maximum_version = stdlib_tls.VERSIONS[version]
    return context


def connect(server: Server, ftp: Any) -> Any:
    ftp.connect("localhost", server.port, timeout=stdlib_tls.TIMEOUT)
    ftp.login(*LOGIN.get(server.name, ()))
    ftp.prot_p()
    return ftp


def get(ftp: Any) -> bytes:
    pieces: list[bytes] = []
    ftp.retrbinary("RETR report.pdf", pieces.append)
    return b"".join(pieces)


class Resumed(FTP_TLS):
    """Writes down which data connections were resumed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.resumed: list[bool | None] = []
        super().__init__(*args, **kwargs)

    def ntransfercmd(self, cmd: str, rest: Any = None) -> Any:
        data, size = super().ntransfercmd(cmd, rest)
        self.resumed.append(session_reused(data) if isinstance(data, ssl.SSLSocket) else None)
        return data, size


@pytest.fixture
def ftp(server: Server, context: ssl.SSLContext) -> Iterator[Resumed]:
    with connect(server, Resumed(context=context)) as ftp:
        yield ftp


@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_transfers(ftp: Resumed, server: Server, passive: bool) -> None:
    """Twenty downloads in a row, with uploads and listings in between."""
    ftp.set_pasv(passive)
    for number in range(20):
        assert get(ftp) == CONTENT
        if number % 5 == 4 and server.name != "example":
            ftp.storbinary(f"STOR up/{os.urandom(8).hex()}", io.BytesIO(CONTENT))
        if number % 5 == 4:
            names: list[str] = []
            ftp.retrlines("LIST", names.append)
            assert any("report.pdf" in name for name in names)
    assert set(ftp.resumed) == {True}


def test_ftplib_fails(server: Server, context: ssl.SSLContext) -> None:
    """Python's own client gets nothing: so the server does require it."""
    with (
        connect(server, ftplib.FTP_TLS(context=context)) as ftp,  # noqa: S321 (it is all TLS)
        pytest.raises((ftplib.error_perm, ftplib.error_temp), match=r"^(522|425)"),
    ):
        get(ftp)
    # ssl 3.13 on OpenSSL 3.5 leaves it, where the server did not close in order.
    native.lib.clear_errors()


def test_reconnects(ftp: Resumed, server: Server) -> None:
    """One object connects again: what was of the connection before is not offered any more."""
    for _ in range(3):
        for _ in range(3):
            assert get(ftp) == CONTENT
        ftp.quit()
        connect(server, ftp)
    assert set(ftp.resumed) == {True}


def test_two_at_once(ftp: Resumed, server: Server, context: ssl.SSLContext) -> None:
    """Two clients of one context do not mix up their sessions."""
    with connect(server, Resumed(context=context)) as other:
        for _ in range(3):
            assert get(ftp) == get(other) == CONTENT
    assert set(ftp.resumed + other.resumed) == {True}


def test_clear_in_between(ftp: Resumed, server: Server) -> None:
    """After ``PROT C`` and ``PROT P`` it goes on as before."""
    if server.name == "example":
        pytest.skip("it takes no clear data connections")
    assert get(ftp) == CONTENT
    ftp.prot_c()
    assert get(ftp) == CONTENT
    ftp.prot_p()
    for _ in range(3):
        assert get(ftp) == CONTENT
    assert ftp.resumed == [True, None, True, True, True]


def test_clear_control_connection(ftp: Resumed, server: Server) -> None:
    """After ``CCC`` the data connections still resume what there was."""
    if server.name != "proftpd":
        pytest.skip("it has no CCC")
    ftp.ccc()
    for _ in range(4):
        assert get(ftp) == CONTENT
    assert set(ftp.resumed) == {True}


def test_after_a_transfer_that_failed(ftp: Resumed, server: Server) -> None:
    """A file that is not there, and a transfer that is broken off, change nothing."""
    with pytest.raises(ftplib.error_perm):
        ftp.retrbinary("RETR none", print)
    if server.name != "proftpd":  # which ends the control connection too
        data, _ = ftp.ntransfercmd("RETR report.pdf")
        data.close()
        with contextlib.suppress(ftplib.Error):
            ftp.voidresp()
    assert get(ftp) == CONTENT
    assert set(ftp.resumed) == {True}


def test_with_resume_sessions(server: Server, context: ssl.SSLContext) -> None:
    """With both, the control connection resumes too, and data connections resume theirs."""
    resume_sessions(context)
    for expected in (False, True):
        with connect(server, Resumed(context=context)) as ftp:
            assert session_reused(ftp.sock) == expected or server.name != "proftpd"
            for _ in range(4):
                assert get(ftp) == CONTENT
        assert set(ftp.resumed) == {True}


def test_page(server: Server, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/recipes/clients.md says so."""
    if server.name != "proftpd":
        pytest.skip("it has no such user")
    received: list[bytes] = []
    monkeypatch.setattr(ftplib.FTP, "port", server.port)
    source = BLOCKS["ftplib"].replace("example.org", "localhost")
    exec(source, {"context": context, "print": received.append})  # noqa: S102 (it is ours)
    assert b"".join(received) == CONTENT
