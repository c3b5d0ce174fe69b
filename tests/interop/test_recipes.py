"""
The recipes in examples/ that are not about clients' certificates, each with a real program on the
other side: ``openssl s_server``, ``openssl s_client``, curl, and Python's own FTP client.
"""

from __future__ import annotations

import contextlib
import ftplib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from openssl_tickets import s_client
from openssl_tickets.s_client import SClientResult
from tests.support import stdlib_tls, tls

EXAMPLES = Path(__file__).parents[2] / "examples"
AT_ONCE = 4


@contextlib.contextmanager
def running(command: list[str], folder: Path, ends_in_peace: bool = True) -> Iterator[int]:
    """Runs a server, and yields the port that it says it listens on."""
    with subprocess.Popen(
        command,
        cwd=folder,  # not where the package's source is
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        output: list[str] = []
        ports: list[int] = []
        started = threading.Event()

        def read(lines: Iterator[str]) -> None:
            for line in lines:
                output.append(line)
                if found := re.search(r"(?:Running on|ACCEPT) \S*?127\.0\.0\.1:(\d+)$", line):
                    ports.append(int(found[1]))
                    started.set()
            started.set()

        reader = threading.Thread(target=read, args=(process.stdout,))
        reader.start()
        try:
            assert started.wait(tls.TIMEOUT), output
            assert ports, output
            yield ports[0]
            process.send_signal(signal.SIGTERM)
            process.wait(tls.TIMEOUT)
        finally:
            process.kill()
            reader.join(tls.TIMEOUT)
    if ends_in_peace:
        assert process.returncode == 0, output
        assert "Traceback" not in "".join(output), output


def example(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


@pytest.fixture(scope="module")
def names(authority: trustme.CA, folder: Path) -> Iterator[int]:
    """The port of a server with two names, a certificate for each."""
    arguments = []
    for name in ("a.example", "b.example"):
        issued = authority.issue_cert(name, key_type=trustme.KeyType.ECDSA)
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / name))
        arguments.append(f"{name}={folder / name}")
    with running(example("server_name", *arguments, "--port=0"), folder) as port:
        yield port


class TestServerName:
    @pytest.fixture
    def ask(self, names: int, ca_file: Path, version: str) -> Callable[..., SClientResult]:
        """``ask(name, ...)`` sends a line under a name, and returns what s_client saw."""

        def ask(name: str | None, **arguments: Any) -> SClientResult:
            if name is not None:
                arguments["extra_args"] = ["-verify_hostname", name]
            return s_client.run(
                "127.0.0.1",
                names,
                send=b"hello\n",
                wait_for=b"nothing of the kind",
                check=False,
                server_name=name,
                ca_file=ca_file,
                tls_version="1.2" if version == "1.2" else "1.3",
                timeout=tls.TIMEOUT,
                **arguments,
            )

        return ask

    @pytest.mark.parametrize("name", ["a.example", "b.example"])
    def test_same_name(
        self, ask: Callable[..., SClientResult], session_file: Path, name: str
    ) -> None:
        """A ticket is good for its own name, and so is the one that renews it."""
        first = ask(name, sess_out=session_file)
        second = ask(name, sess_in=session_file, sess_out=session_file)
        third = ask(name, sess_in=session_file)
        assert [seen.reused for seen in (first, second, third)] == [False, True, True]
        assert f"{name}, full handshake\n" in first.output
        assert f"{name}, resumed\n" in second.output
        assert {seen.verify_code for seen in (first, second, third)} == {0}

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("a.example", "b.example"),
            ("b.example", "a.example"),
            ("a.example", None),
            (None, "a.example"),
            (None, "b.example"),
        ],
    )
    def test_other_name(
        self,
        ask: Callable[..., SClientResult],
        session_file: Path,
        first: str | None,
        second: str | None,
    ) -> None:
        """Under another name, with a name only then or no more, there is a full handshake."""
        assert ask(first, sess_out=session_file).tickets
        seen = ask(second, sess_in=session_file)
        assert (seen.reused, seen.verify_code, seen.alert) == (False, 0, None)
        assert f"{second or 'no name'}, full handshake\n" in seen.output
        assert seen.tickets

    def test_no_name(self, ask: Callable[..., SClientResult], session_file: Path) -> None:
        """Who names nobody is served by the first, and resumed without a name."""
        assert "no name, full handshake\n" in ask(None, sess_out=session_file).output
        assert "no name, resumed\n" in ask(None, sess_in=session_file).output

    def test_unknown_name(self, ask: Callable[..., SClientResult], session_file: Path) -> None:
        """An unknown name is refused, with a ticket of another name too."""
        ask("a.example", sess_out=session_file)
        for arguments in ({}, {"sess_in": session_file}):
            seen = ask("c.example", **arguments)
            assert "full handshake" not in seen.output
            assert "resumed" not in seen.output
            assert seen.exit_code != 0


CONTENT = os.urandom(1 << 20)


@pytest.fixture(scope="module")
def ftps(folder: Path, server_file: Path) -> Iterator[int]:
    """The port of an FTPS server that has a file."""
    files = folder / "files"
    files.mkdir()
    (files / "file").write_bytes(CONTENT)
    with running(example("ftps_server", server_file, files, "--port=0"), folder) as port:
        yield port


class FtpContext(ssl.SSLContext):
    """A client's context whose connections offer what *offered* returns; ftplib has no such way."""

    offered: Callable[[], ssl.SSLSession | None] = staticmethod(lambda: None)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*arguments, **{**options, "session": self.offered()})


class TestFtps:
    @pytest.fixture
    def context(self, ca_file: Path, version: str) -> FtpContext:
        context = FtpContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca_file)
        context.minimum_version = context.maximum_version = stdlib_tls.VERSIONS[version]
        return context

    @pytest.fixture
    def connect(self, ftps: int, context: FtpContext) -> Iterator[Callable[[], ftplib.FTP_TLS]]:
        """``connect()`` is a client that has logged in, and wants its data protected."""
        with contextlib.ExitStack() as clients:

            def connect() -> ftplib.FTP_TLS:
                client = ftplib.FTP_TLS(context=context, timeout=tls.TIMEOUT)  # noqa: S321 (all TLS)
                clients.enter_context(client)
                client.connect("localhost", ftps)
                client.login()
                client.prot_p()
                return client

            yield connect

    def get(self, client: ftplib.FTP_TLS) -> bytes:
        pieces: list[bytes] = []
        client.retrbinary("RETR file", pieces.append)
        return b"".join(pieces)

    def is_refused(self, client: ftplib.FTP_TLS) -> bool:
        """Asks for the file; it must be told why there is none, and get nothing of it."""
        pieces: list[bytes] = []
        with pytest.raises(ftplib.error_perm, match=r"^522 The control connection's TLS session"):
            client.retrbinary("RETR file", pieces.append)
        return pieces == []

    def session(self, client: ftplib.FTP_TLS) -> ssl.SSLSession | None:
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.session

    def test_curl(self, ftps: int, ca_file: Path) -> None:
        """curl resumes its control connection's session in TLS 1.3, for one file after another."""
        url = f"ftp://localhost:{ftps}/file"
        command = ["curl", "--disable", "--silent", "--show-error", "--noproxy", "*", "--tlsv1.3"]
        command += ["--max-time", str(tls.TIMEOUT), "--cacert", str(ca_file), "--ssl-reqd"]
        done = subprocess.run(
            [*command, url, url, url],
            stdout=subprocess.PIPE,
            timeout=3 * tls.TIMEOUT,
            check=True,
        )
        assert done.stdout == 3 * CONTENT

    def test_not_resumed(self, connect: Callable[[], ftplib.FTP_TLS]) -> None:
        """Python's client does not resume, and gets nothing on its data connections."""
        client = connect()
        for _ in range(2):
            assert self.is_refused(client)

    def test_own_session(self, connect: Callable[[], ftplib.FTP_TLS], context: FtpContext) -> None:
        """With the session of its control connection, it gets its files."""
        client = connect()
        context.offered = partial(self.session, client)
        for _ in range(3):
            assert self.get(client) == CONTENT

    def test_session_of_another(
        self, connect: Callable[[], ftplib.FTP_TLS], context: FtpContext
    ) -> None:
        """With the session of another control connection it gets nothing; with its own it does."""
        client, other = connect(), connect()
        context.offered = partial(self.session, other)
        assert self.is_refused(client)
        assert self.get(other) == CONTENT
        context.offered = partial(self.session, client)
        assert self.get(client) == CONTENT

    def test_renewed_session(
        self, connect: Callable[[], ftplib.FTP_TLS], context: FtpContext
    ) -> None:
        """A ticket that came with a data connection is good for the next, of the same client."""
        client, other = connect(), connect()
        context.offered = partial(self.session, client)
        with client.transfercmd("RETR file") as data:
            assert isinstance(data, ssl.SSLSocket)
            while data.recv(1 << 16):
                pass
            renewed = data.session
        client.voidresp()
        context.offered = lambda: renewed
        assert self.get(client) == CONTENT
        assert self.is_refused(other)

    def test_control_connection(
        self, connect: Callable[[], ftplib.FTP_TLS], context: FtpContext
    ) -> None:
        """A control connection begins anew, with a token of its own, whatever it offers."""
        client = connect()
        stolen = self.session(client)
        context.offered = lambda: stolen
        other = connect()
        assert isinstance(other.sock, ssl.SSLSocket)
        assert other.sock.session_reused is False
        assert self.is_refused(other)
        context.offered = partial(self.session, other)
        assert self.get(other) == CONTENT

    def test_in_the_clear(self, connect: Callable[[], ftplib.FTP_TLS], context: FtpContext) -> None:
        """Nothing goes over a data connection in the clear, not even after PASV."""
        client = connect()
        client.makepasv()
        with pytest.raises(ftplib.error_perm, match="536 Data connections need PROT P"):
            client.prot_c()

    def test_thief(self, connect: Callable[[], ftplib.FTP_TLS], context: FtpContext) -> None:
        """Who is first at the port of another's data connection gets nothing."""
        client, thief = connect(), connect()
        host, port = client.makepasv()
        with socket.create_connection((host, port), tls.TIMEOUT) as plain:
            client.putcmd("RETR file")
            context.offered = partial(self.session, thief)
            data = context.wrap_socket(plain, server_hostname="localhost")
            with data, contextlib.suppress(ConnectionError, ssl.SSLError):
                assert data.session_reused
                assert data.recv(1 << 16) == b""
        with pytest.raises(ftplib.error_perm, match="522 "):  # noqa: PT012 (which one it is)
            for _ in range(2):  # a transfer was about to begin, or not even that
                client.getresp()
