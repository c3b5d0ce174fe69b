"""
The programs in examples/, talked to by ``openssl s_client``, curl, and Python's own client.

Each runs as a process of its own. Their clients show certificates, and are told who they are and
whether that came from the certificate or from the ticket.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import OpenSSL.SSL
import pytest
import trustme

from openssl_tickets import SSL, s_client, set_session_ticket_callback
from openssl_tickets.s_client import Alert, SClientResult
from tests.support import stdlib_tls, tls

EXAMPLES = Path(__file__).parents[2] / "examples"
README = EXAMPLES / "README.md"
PROGRAMS = (
    "asyncio_server",
    "socketserver_server",
    "uvicorn_server",
    "aiohttp_server",
    "gevent_server",
    "pyopenssl_server",
)
TICKETS = 3
AT_ONCE = 500
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

Ask = Callable[..., SClientResult]


class Client:
    """A client's key and certificate, in a file, and the identity that the examples see in it."""

    def __init__(self, authority: trustme.CA, name: str, folder: Path) -> None:
        issued = authority.issue_cert(name, key_type=trustme.KeyType.ECDSA)
        self.file = folder / f"{name}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(self.file))
        der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
        self.identity = hashlib.sha256(der).hexdigest()

    def is_told(self, source: str) -> str:
        return f"{self.identity} from the {source}\n"


class Server:
    """An example that runs, and the file of those who are revoked."""

    def __init__(self, program: str, port: int, revoked: Path) -> None:
        self.program = program
        self.port = port
        self.revoked = revoked

    def revoke(self, *clients: Client) -> None:
        self.revoked.write_text("".join(f"{client.identity}\n" for client in clients))


def reported(output: list[str]) -> int:
    """Returns how many exceptions an example has reported."""
    return "".join(output).count("\nFileNotFoundError: ")


@contextlib.contextmanager
def running(
    program: str,
    folder: Path,
    files: Sequence[Path],
    end_with: signal.Signals = signal.SIGTERM,
    tickets: int = TICKETS,
    reports: int = 0,
) -> Iterator[Server]:
    """Runs an example in *folder*; it must end when told to, having reported so many exceptions."""
    revoked = folder / "revoked.txt"
    revoked.touch()
    command = [sys.executable, str(EXAMPLES / f"{program}.py"), *map(str, files)]
    command += ["--port=0", f"--tickets={tickets}", f"--revoked={revoked}"]
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
        started = threading.Event()

        def read(lines: Iterator[str]) -> None:
            for line in lines:
                output.append(line)
                if "unning on https://" in line:
                    started.set()
            started.set()

        reader = threading.Thread(target=read, args=(process.stdout,))
        reader.start()
        try:
            assert started.wait(tls.TIMEOUT), output
            found = re.search(r"unning on https://127\.0\.0\.1:(\d+)", "".join(output))
            assert found, output
            yield Server(program, int(found[1]), revoked)
            # A thread may still be at its report, and would end with the program.
            end = time.monotonic() + tls.TIMEOUT
            while reported(output) < reports and time.monotonic() < end:
                time.sleep(0.05)
            process.send_signal(end_with)
            process.wait(tls.TIMEOUT)
        finally:
            process.kill()
            reader.join(tls.TIMEOUT)
    # uvicorn first ends in order, and then by the very signal that told it to, if it can.
    by_signal = program == "uvicorn_server" and end_with == signal.SIGTERM
    assert process.returncode == (-end_with if by_signal else 0), output
    if reports:
        assert reported(output) == reports, output
    else:
        assert not re.search("Traceback|Exception|Error|Warning", "".join(output)), output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def alice(authority: trustme.CA, folder: Path) -> Client:
    return Client(authority, "alice", folder)


@pytest.fixture(scope="module")
def bob(authority: trustme.CA, folder: Path) -> Client:
    return Client(authority, "bob", folder)


@pytest.fixture(scope="module", params=PROGRAMS)
def program(
    request: pytest.FixtureRequest, folder: Path, server_file: Path, ca_file: Path
) -> Iterator[Server]:
    """One process for all tests of an example."""
    with running(request.param, folder, [server_file, ca_file]) as server:
        yield server


@pytest.fixture
def server(program: Server) -> Server:
    """An example that runs, and nobody is revoked."""
    program.revoke()
    return program


@pytest.fixture
def get(server: Server, ca_file: Path) -> Ask:
    """``get(client, ...)`` asks for the page with s_client, until the server ends."""

    def get(client: Client | None, **arguments: Any) -> SClientResult:
        return s_client.run(
            "127.0.0.1",
            server.port,
            send=REQUEST,
            wait_for=b"nothing of the kind",
            check=False,
            ca_file=ca_file,
            cert_file=client.file if client else None,
            timeout=tls.TIMEOUT,
            **arguments,
        )

    return get


def expected_tickets(server: Server, version: str, full: bool) -> int:
    if version == "1.2":
        return 1 if full else 0
    # Where the program asks for them, it does so after a resumption as well.
    return TICKETS if full or server.program == "asyncio_server" else 1


class TestSClient:
    def test_resumption(
        self, server: Server, get: Ask, alice: Client, session_file: Path, version: str
    ) -> None:
        """s_client gets its tickets, and with one of them its identity comes from the ticket."""
        first = get(alice, tls_version=version, sess_out=session_file)
        second = get(alice, tls_version=version, sess_in=session_file)
        assert alice.is_told("certificate") in first.output
        assert alice.is_told("ticket") in second.output
        for seen, reused in ((first, False), (second, True)):
            assert (seen.protocol, seen.verify_code) == (f"TLSv{version}", 0)
            assert (seen.reused, seen.alert, seen.exit_code) == (reused, None, 0)
            assert len(seen.tickets) == expected_tickets(server, version, not reused)

    def test_revoked(
        self,
        server: Server,
        get: Ask,
        alice: Client,
        bob: Client,
        tmp_path: Path,
        version: str,
    ) -> None:
        """Who is revoked is not resumed, and refused with the certificate; others get on."""
        sessions = {client: tmp_path / client.file.name for client in (alice, bob)}
        for client, session in sessions.items():
            get(client, tls_version=version, sess_out=session)
        server.revoke(alice)
        for arguments in ({"sess_in": sessions[alice]}, {}):
            refused = get(alice, tls_version=version, **arguments)
            assert (refused.reused, refused.exit_code) == (False, 0)
            assert re.search(r"HTTP/1\.[01] 403 ", refused.output)
            assert f"{alice.identity} is revoked\n" in refused.output
            if server.program == "asyncio_server" and version == "1.3":
                assert refused.tickets == ()
        seen = get(bob, tls_version=version, sess_in=sessions[bob])
        assert seen.reused
        assert bob.is_told("ticket") in seen.output

    def test_new_certificate(
        self, server: Server, get: Ask, alice: Client, bob: Client, session_file: Path
    ) -> None:
        """Who has a ticket of a revoked certificate, and a new one, gets in, and new tickets."""
        get(alice, tls_version="1.3", sess_out=session_file)
        server.revoke(alice)
        seen = get(bob, tls_version="1.3", sess_in=session_file)
        assert (seen.reused, len(seen.tickets)) == (False, TICKETS)
        assert bob.is_told("certificate") in seen.output

    def test_ticket_of_another(
        self, get: Ask, alice: Client, bob: Client, session_file: Path
    ) -> None:
        """The identity of a resumption is the ticket's, also where the client has another."""
        get(alice, sess_out=session_file)
        assert alice.is_told("ticket") in get(bob, sess_in=session_file).output

    def test_no_certificate(self, server: Server, get: Ask) -> None:
        """Without a certificate, nobody gets in."""
        seen = get(None, tls_version="1.3")
        missing = Alert(116, "certificate_required")
        # asyncio keeps its alerts to itself, unless CPython has the change of gh-98078.
        on_asyncio = server.program not in ("socketserver_server", "pyopenssl_server")
        assert seen.alert in ({missing, None} if on_asyncio else {missing})
        assert seen.tickets == ()
        assert seen.exit_code != 0
        assert "HTTP/1." not in seen.output


@pytest.fixture(scope="module")
def identity() -> Any:
    """examples/identity.py as a module."""
    spec = importlib.util.spec_from_file_location("identity", EXAMPLES / "identity.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestPolicy:
    """
    The recipe by its letter: the functions of identity.py on a context of either library, also on
    pyOpenSSL's own classes, whose ``connection.session_reused`` would be always true.
    """

    @pytest.fixture(params=["ssl", "drop-in", "pyOpenSSL"])
    def setting(
        self,
        request: pytest.FixtureRequest,
        identity: Any,
        alice: Client,
        server_file: Path,
        ca_file: Path,
        tmp_path: Path,
        version: str,
    ) -> Policy:
        revoked = tmp_path / "revoked.txt"
        revoked.touch()
        context: Any
        client: Any
        if request.param == "ssl":
            context = identity.server_context(server_file, ca_file, revoked)
            client = stdlib_tls.client_context(version)
            client.load_cert_chain(alice.file)
            return Policy(identity, revoked, context, client, stdlib_tls.Pair)
        module = SSL if request.param == "drop-in" else OpenSSL.SSL
        context = tls.server_context(server_file, version, module.Context)
        context.load_verify_locations(str(ca_file))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        context.set_session_id(b"policy")
        set_session_ticket_callback(context, identity.generate, identity.decrypt, revoked)
        client = tls.client_context(version)
        client.use_certificate_chain_file(str(alice.file))
        client.use_privatekey_file(str(alice.file))
        pair = partial(tls.Pair, connection_class=module.Connection)
        return Policy(identity, revoked, context, client, pair)

    def test_welcome(self, setting: Policy, alice: Client) -> None:
        """The identity is the certificate's, and then the ticket's."""
        first, told = setting.visit()
        assert (first.reused, *told) == (False, 200, alice.is_told("certificate").encode())
        again, told = setting.visit(first.session())
        assert (again.reused, *told) == (True, 200, alice.is_told("ticket").encode())

    def test_revoked(self, setting: Policy, alice: Client) -> None:
        """Who is revoked gets in neither with the ticket nor with the certificate."""
        session = setting.visit()[0].session()
        resumed, _ = setting.visit(session)
        setting.revoked.write_text(alice.identity)
        for offered in (session, None):
            pair, told = setting.visit(offered)
            assert (pair.reused, *told) == (False, 403, f"{alice.identity} is revoked\n".encode())
        assert setting.reply(resumed)[0] == 403

    def test_nobody(self, setting: Policy, version: str) -> None:
        """Who has shown no certificate has no identity, and gets in at no visit."""
        if isinstance(setting.context, ssl.SSLContext):
            setting.context.verify_mode = ssl.CERT_OPTIONAL
            setting.client = stdlib_tls.client_context(version)
        else:
            setting.context.set_verify(SSL.VERIFY_PEER)
            setting.client = tls.client_context(version)
        pair, told = setting.visit()
        assert told == (403, b"no identity\n")
        pair, told = setting.visit(pair.session())
        assert (pair.reused, *told) == (False, 403, b"no identity\n")


class Policy:
    """The functions of identity.py on a server's context, and a client to visit it."""

    def __init__(
        self, identity: Any, revoked: Path, context: Any, client: Any, pair: Callable[..., Any]
    ) -> None:
        self.identity = identity
        self.revoked = revoked
        self.context = context
        self.client = client
        self.pair = pair

    def visit(self, session: Any = None) -> tuple[Any, tuple[int, bytes]]:
        pair = self.pair(self.context, self.client, session).handshake()
        return pair, self.reply(pair)

    def reply(self, pair: Any) -> tuple[int, bytes]:
        told: tuple[int, bytes] = self.identity.reply(pair.server, self.revoked)
        return told


@pytest.fixture
def curl(server: Server, ca_file: Path) -> Callable[[Client], list[str]]:
    """``curl(client)`` gets the page twice with one curl, and returns the two."""

    def curl(client: Client) -> list[str]:
        options = ["--disable", "--silent", "--show-error", "--noproxy", "*"]
        options += ["--max-time", str(tls.TIMEOUT), "--header", "Connection: close"]
        options += ["--cacert", str(ca_file), "--cert", str(client.file)]
        options += ["--write-out", "%{http_code} %{num_connects}\n"]
        url = f"https://127.0.0.1:{server.port}/"
        return subprocess.run(
            ["curl", *options, url, url],
            stdout=subprocess.PIPE,
            text=True,
            timeout=3 * tls.TIMEOUT,
            check=True,
        ).stdout.splitlines(keepends=True)

    return curl


class TestCurl:
    def test_resumption(self, curl: Callable[[Client], list[str]], alice: Client) -> None:
        """curl's second connection is resumed, and its identity comes from the ticket."""
        assert curl(alice) == [
            *(alice.is_told("certificate"), "200 1\n"),
            *(alice.is_told("ticket"), "200 1\n"),
        ]

    def test_revoked(
        self, server: Server, curl: Callable[[Client], list[str]], alice: Client, bob: Client
    ) -> None:
        """curl gets a 403 for a revoked certificate, twice, and others their pages."""
        server.revoke(alice)
        assert curl(alice) == 2 * [f"{alice.identity} is revoked\n", "403 1\n"]
        assert curl(bob)[2:] == [bob.is_told("ticket"), "200 1\n"]


def client_context(ca_file: Path, client: Client) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.load_cert_chain(client.file)
    return context


def read_page(connection: ssl.SSLSocket) -> str:
    connection.sendall(REQUEST)
    return b"".join(iter(partial(connection.recv, 4096), b"")).decode()


def fetch(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[str, bool | None, ssl.SSLSession | None]:
    """Returns the page, whether the session was resumed, and the session of the last ticket."""
    with (
        socket.create_connection(("127.0.0.1", port), tls.TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
    ):
        page = read_page(connection)
        # The session is the last ticket's only now that this has been read.
        seen = page, connection.session_reused, connection.session
        with contextlib.suppress(OSError):  # it may be gone before our close_notify
            connection.unwrap()
    return seen


class TestPython:
    def test_resumption(self, server: Server, alice: Client, ca_file: Path) -> None:
        """Python's client is resumed, and its identity comes from the ticket."""
        context = client_context(ca_file, alice)
        page, reused, session = fetch(server.port, context)
        assert (page.split("\r\n\r\n")[1], reused) == (alice.is_told("certificate"), False)
        assert session is not None
        page, reused, _ = fetch(server.port, context, session)
        assert (page.split("\r\n\r\n")[1], reused) == (alice.is_told("ticket"), True)

    def test_revoked(self, server: Server, alice: Client, ca_file: Path) -> None:
        """Python's client is not resumed once it is revoked, and refused with its certificate."""
        context = client_context(ca_file, alice)
        session = fetch(server.port, context)[2]
        assert session is not None
        server.revoke(alice)
        for offered in (session, None):
            page, reused, _ = fetch(server.port, context, offered)
            assert page.split()[1] == "403"
            assert (page.split("\r\n\r\n")[1], reused) == (f"{alice.identity} is revoked\n", False)

    @pytest.mark.slow
    def test_at_once(self, server: Server, alice: Client, bob: Client, ca_file: Path) -> None:
        """Who is connected at the same time is not taken for another, nor kept waiting."""
        with contextlib.ExitStack() as stack:
            # The first one says nothing at all.
            _, *plain = (
                stack.enter_context(
                    socket.create_connection(("127.0.0.1", server.port), tls.TIMEOUT)
                )
                for _ in range(3)
            )
            connections = []
            for client, waiting in zip((alice, bob), plain, strict=True):
                context = client_context(ca_file, client)
                connection = context.wrap_socket(waiting, server_hostname="localhost")
                connections.append((client, stack.enter_context(connection)))
            for client, connection in connections:
                assert read_page(connection).endswith(client.is_told("certificate"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_list(
    program: str, alice: Client, server_file: Path, ca_file: Path, tmp_path: Path
) -> None:
    """While the list of those who are revoked cannot be read, nobody gets in, and it is said."""
    context = client_context(ca_file, alice)
    with running(program, tmp_path, [server_file, ca_file], reports=2) as server:
        # libssl 3.5 does not resume a session that was once offered in a handshake that failed.
        session, other = (fetch(server.port, context)[2] for _ in range(2))
        server.revoked.rename(tmp_path / "elsewhere.txt")
        for offered in (None, other):
            with contextlib.suppress(OSError):
                assert alice.identity not in fetch(server.port, context, offered)[0]
        (tmp_path / "elsewhere.txt").rename(server.revoked)
        assert alice.is_told("ticket") in fetch(server.port, context, session)[0]


@pytest.mark.parametrize("end_with", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", PROGRAMS)
def test_end(
    program: str,
    end_with: signal.Signals,
    alice: Client,
    server_file: Path,
    ca_file: Path,
    tmp_path: Path,
) -> None:
    """An example ends in peace when it is told to, also with a client that is connected."""
    with (
        contextlib.ExitStack() as clients,
        running(program, tmp_path, [server_file, ca_file], end_with) as server,
    ):
        clients.enter_context(
            s_client.SClient(
                "127.0.0.1", server.port, ca_file=ca_file, cert_file=alice.file, timeout=tls.TIMEOUT
            )
        )
        # Served after the client that says nothing has been accepted.
        fetch(server.port, client_context(ca_file, alice))


@pytest.fixture
def many_files() -> Iterator[None]:
    """Lets this process, and what it starts, open as many files as AT_ONCE connections take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = AT_ONCE + 200
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class ResumingContext(ssl.SSLContext):
    """A context whose connections resume *session*; asyncio itself has no way to ask for it."""

    session: ssl.SSLSession | None = None

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return super().wrap_bio(*arguments, **{**options, "session": self.session})


def test_at_once(
    authority: trustme.CA, many_files: None, server_file: Path, ca_file: Path, tmp_path: Path
) -> None:
    """Of hundreds that an asyncio server has at once, each is resumed as itself, or refused."""
    clients = [Client(authority, f"client-{number}", tmp_path) for number in range(AT_ONCE)]
    contexts = []
    for client in clients:
        context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca_file)
        context.load_cert_chain(client.file)
        contexts.append(context)

    async def fetch_all(port: int) -> list[tuple[str, bool]]:
        # All have shaken hands before the first one sends its request.
        connections = await asyncio.gather(
            *(
                asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
                for context in contexts
            )
        )
        seen = []
        for _, writer in connections:
            writer.write(REQUEST)
        for (reader, writer), context in zip(connections, contexts, strict=True):
            page = await reader.read()
            connection = writer.get_extra_info("ssl_object")
            context.session = connection.session
            seen.append((page.decode().split("\r\n\r\n")[1], connection.session_reused))
            writer.close()
        return seen

    with running("asyncio_server", tmp_path, [server_file, ca_file], tickets=1) as server:
        first, second = (
            asyncio.run(asyncio.wait_for(fetch_all(server.port), 2 * tls.TIMEOUT)) for _ in "12"
        )
        revoked = clients[::2]
        server.revoke(*revoked)
        third = asyncio.run(asyncio.wait_for(fetch_all(server.port), 2 * tls.TIMEOUT))
    assert first == [(client.is_told("certificate"), False) for client in clients]
    assert second == [(client.is_told("ticket"), True) for client in clients]
    assert third[1::2] == second[1::2]
    assert third[::2] == [(f"{client.identity} is revoked\n", False) for client in revoked]


def test_readme(tmp_path: Path) -> None:
    """The commands in the examples' README do what it says."""
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    certificates, start, requests, says = blocks
    sh(certificates, tmp_path)
    python, program, *files, option, revoked = start.split()
    assert (python, option, revoked) == ("python", "--revoked", "revoked.txt")
    with running(Path(program).stem, tmp_path, [tmp_path / file for file in files]) as server:
        seen = sh(requests.replace(":4433", f":{server.port}"), tmp_path)
    assert re.sub(r"^[0-9a-f]{64} ", "... ", seen, flags=re.MULTILINE) == says


def sh(commands: str, folder: Path) -> str:
    """Runs *commands* in *folder*, and returns what they print."""
    done = subprocess.run(
        ["sh", "-eu", "-c", commands],
        cwd=folder,
        env={**os.environ, "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=3 * tls.TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
