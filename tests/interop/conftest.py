"""Fixtures: the real ``openssl s_client`` as the client, and other programs as the server."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import SSL, Session, TicketKey, s_client
from tests import interop
from tests.support import tls

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {server_file};
        ssl_certificate_key {server_file};
        ssl_protocols TLSv{version};
        {more}
        return 200 "$ssl_session_reused\\n";
    }}
}}
"""

HAPROXY = """
{more}
defaults
    mode http
    timeout connect 20s
    timeout client 20s
    timeout server 20s
frontend tls
    bind {address} ssl crt {server_file} tls-ticket-keys "{path}" {versions} {bind}
    http-request return status 200 content-type text/plain lf-string "%[ssl_fc_is_resumed]"
"""


@pytest.fixture
def ask(ca_file: Path) -> Callable[..., s_client.SClientResult]:
    """``ask(port, ...)`` sends a line with s_client, and returns what it saw until the reply."""
    return partial(
        s_client.run,
        "127.0.0.1",
        send=b"hello\n",
        wait_for=interop.REPLY,
        ca_file=ca_file,
        timeout=tls.TIMEOUT,
    )


@pytest.fixture
def listen(ca_file: Path) -> Callable[..., s_client.SClientResult]:
    """``listen(port, ...)`` sends nothing, and returns what s_client saw until the server ended."""
    return partial(
        s_client.run,
        "127.0.0.1",
        wait_for=interop.REPLY,
        check=False,
        ca_file=ca_file,
        timeout=tls.TIMEOUT,
    )


@pytest.fixture
def connect(ca_file: Path) -> Callable[..., s_client.SClient]:
    """``connect(port, ...)`` is a connection of s_client in steps, in TLS 1.3."""
    return partial(
        s_client.SClient, "127.0.0.1", tls_version="1.3", ca_file=ca_file, timeout=tls.TIMEOUT
    )


@pytest.fixture
def session_file(tmp_path: Path) -> Path:
    """Where s_client may write its session."""
    return tmp_path / "session.pem"


@pytest.fixture(params=[32, 16], ids=["AES-256", "AES-128"])
def new_key(request: pytest.FixtureRequest) -> Callable[[], TicketKey]:
    """``new_key()`` returns a random key; for what holds in both sizes."""

    def new_key() -> TicketKey:
        return TicketKey(os.urandom(16), os.urandom(request.param), os.urandom(request.param))

    return new_key


@pytest.fixture
def program() -> Callable[[str], str]:
    """``program(name)`` returns the path of a server program; in CI it must be there."""

    def program(name: str) -> str:
        # Debian has PostgreSQL's in a folder for each version.
        folders = ["/usr/local/sbin", "/usr/sbin", *glob.glob("/usr/lib/postgresql/*/bin")]
        path = shutil.which(name, path=":".join([os.environ["PATH"], *folders]))
        if path is None:
            message = f"there is no {name} (Debian: apt-get install {name})"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
        return path

    return program


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """
    ``launch(command, listener)`` runs a server, in the foreground, that takes over the socket.

    So there is no port that another program may take meanwhile, and nothing to wait for: a
    connection made now is served when the server is ready, and reset if it ends. Without a
    listener the server has to listen itself, and has to be waited for.
    """
    with contextlib.ExitStack() as at_the_end:

        def launch(
            command: list[str], listener: socket.socket | None = None, **options: Any
        ) -> None:
            taken_over = [] if listener is None else [listener.fileno()]
            output = at_the_end.enter_context(open(tmp_path / "output", "ab"))
            process = subprocess.Popen(
                command,
                # As nginx is told of sockets.
                env={**os.environ, "NGINX": "".join(f"{number};" for number in taken_over)},
                pass_fds=taken_over,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **options,
            )
            at_the_end.callback(_end, process)
            if listener is not None:
                listener.close()

        yield launch
    with contextlib.suppress(FileNotFoundError):
        print((tmp_path / "output").read_text())  # pytest shows it for a test that failed


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.terminate()
        process.wait(tls.TIMEOUT)
    finally:
        # Whatever it has forked goes with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def nginx_command(
    tmp_path: Path, server_file: Path, program: Callable[[str], str]
) -> Callable[..., Any]:
    """``nginx_command(port, version, paths, more="")`` runs nginx, with a configuration."""

    def command(port: int, version: str, paths: list[Path], more: str = "") -> list[str]:
        more += "".join(f"ssl_session_ticket_key {path};" for path in paths)
        config = tmp_path / f"{port}.conf"
        config.write_text(
            NGINX.format(
                folder=tmp_path, port=port, server_file=server_file, version=version, more=more
            )
        )
        return [program("nginx"), "-p", str(tmp_path), "-e", "stderr", "-c", str(config)]

    return command


@pytest.fixture
def nginx(nginx_command: Callable[..., Any], launch: Callable[..., None], version: str) -> Any:
    """``nginx(*paths, more="")`` starts nginx with these key files, and returns its port."""

    def nginx(*paths: Path, more: str = "") -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        launch(nginx_command(port, version, list(paths), more), listener)
        return port

    return nginx


@pytest.fixture
def haproxy_command(
    tmp_path: Path, server_file: Path, program: Callable[[str], str]
) -> Callable[..., Any]:
    """``haproxy_command(address, version, path, more="", bind="")`` runs HAProxy."""

    def command(
        address: str, version: str, path: Path, more: str = "", bind: str = ""
    ) -> list[str]:
        config = tmp_path / "haproxy.cfg"
        config.write_text(
            HAPROXY.format(
                address=address,
                server_file=server_file,
                path=path,
                more=more,
                bind=bind,
                versions=f"ssl-min-ver TLSv{version} ssl-max-ver TLSv{version}",
            )
        )
        return [program("haproxy"), "-db", "-f", str(config)]

    return command


@pytest.fixture
def haproxy(haproxy_command: Callable[..., Any], launch: Callable[..., None], version: str) -> Any:
    """``haproxy(path, more="", bind="")`` starts HAProxy with this key file; returns its port."""

    def haproxy(path: Path, **more: str) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        launch(haproxy_command(f"fd@{listener.fileno()}", version, path, **more), listener)
        return port

    return haproxy


@pytest.fixture
def get() -> Callable[..., tuple[str, Session]]:
    """``get(port, context, session=None)`` returns an HTTP response's body, and the session."""

    def get(port: int, context: Any, session: Session | None = None) -> tuple[str, Session]:
        with socket.create_connection(("127.0.0.1", port), tls.TIMEOUT) as plain:
            tls.set_timeouts(plain)
            client = SSL.Connection(context, plain)
            client.set_connect_state()
            if session is not None:
                openssl_tickets.set_session(client, session.copy())
            client.do_handshake()
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            response = b""
            with contextlib.suppress(SSL.ZeroReturnError):
                while True:
                    response += client.recv(1 << 14)
            client.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
            ended = openssl_tickets.get_session(client)
        assert ended is not None
        return response.decode().partition("\r\n\r\n")[2].strip(), ended

    return get


class PythonServer:
    """
    A server of ours in memory: pyOpenSSL's (``module`` is ``tests.support.tls``) or ``ssl``'s.

    ``statuses`` has what its ``decrypt`` has been shown.
    """

    def __init__(self, module: Any, server_file: Path, version: str, keys: list[TicketKey]) -> None:
        self.statuses: list[openssl_tickets.TicketStatus] = []
        self.context = module.server_context(server_file, version)
        openssl_tickets.set_ticket_keys(self.context, openssl_tickets.TicketKeys(keys))
        openssl_tickets.set_session_ticket_callback(self.context, decrypt=self._decrypt)
        self._module = module
        self._client_context = module.client_context(version)

    def _decrypt(self, _: Any, ticket: openssl_tickets.ReceivedTicket, __: Any) -> None:
        # It runs without a ticket too, in TLS 1.2.
        if ticket.status != openssl_tickets.TicketStatus.EMPTY:
            self.statuses.append(ticket.status)

    def resumes(self, session: Session) -> bool:
        """Whether a client with *session* is resumed."""
        pair = self._module.Pair(self.context, self._client_context)
        openssl_tickets.set_session(pair.client, session.copy())
        return bool(pair.handshake().reused)

    def session(self) -> Session:
        """Returns a client's session, after a full handshake."""
        pair = self._module.Pair(self.context, self._client_context).handshake()
        session = openssl_tickets.get_session(pair.session())
        assert session is not None
        return session


@pytest.fixture
def python_server(server_file: Path, version: str) -> Callable[..., PythonServer]:
    """``python_server(module, keys)`` is a :class:`PythonServer` of this test's TLS version."""
    return lambda module, keys: PythonServer(module, server_file, version, keys)
