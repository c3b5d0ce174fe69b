"""
README.md and docs/: every block of code in them is run, and their tables are in order.

A block has a name, in a comment above it (``<!-- example: name -->``), and is run as it stands
there but for the port. A test gets the blocks that it runs by :func:`runs`, and one that no test
gets is a failure. Programs that are shown whole are those in examples/, which have tests of their
own.
"""

from __future__ import annotations

import configparser
import contextlib
import importlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from benchmarks import chart
from openssl_tickets import (
    SSL,
    Session,
    TicketKey,
    TicketKeys,
    get_session,
    s_client,
    set_ticket_keys,
)
from openssl_tickets.redis_keys import RedisTicketKeys
from openssl_tickets.ticket_key_files import save_ticket_keys
from tests.support import stdlib_tls, tls
from tests.support.pages import blocks_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

CODE = {"python", "pycon", "sh", "bash", "shell", "console"}
OUTPUT = {"text", "diff"}
DIRECTIVES = {"{eval-rst}", "{literalinclude}", "{raw}", "{toctree}"}

NOT_RUN = {
    ("README.md", "demo"): "the demo has tests of its own",
    ("README.md", "tests"): "these are the tests",
    ("README.md", "install"): "tox builds and installs the package, for these very tests",
    ("index.md", "install"): "tox builds and installs the package, for these very tests",
    ("learn/install.md", "install"): "tox builds and installs the package, for these very tests",
}

# A release is not to be tried out.
PAGES_NOT_RUN = {"releasing.md"}

# Pages with blocks of their own, each of them run by this file. Others are run by a test that names
# them, or have only commands of tox.
OURS = ("index.md", "learn/*.md", "recipes/*.md", "understand/*.md", "reference/*.md")


PAGES = {path.relative_to(DOCS).as_posix(): path.read_text() for path in DOCS.rglob("*.md")}
OUR_PAGES = {path.relative_to(DOCS).as_posix() for each in OURS for path in DOCS.glob(each)}
PAGES["README.md"] = (ROOT / "README.md").read_text()
OUR_PAGES.add("README.md")
OUR_PAGES.remove("recipes/clients.md")  # the interop tests have the clients, and run it
EXAMPLES = {
    (page, block.name): block.source
    for page in sorted(OUR_PAGES)
    for block in blocks_of(PAGES[page])
    if block.name is not None
}

_run: set[tuple[str, str | None]] = set()


def runs(*groups: tuple[str, ...]) -> pytest.MarkDecorator:
    """Hands a test *sources*: the blocks of a page with these names; for each group once."""
    given = []
    for page, *names in groups:
        keys = [(page, name) for name in names]
        _run.update(keys)
        given.append(pytest.param([EXAMPLES[key] for key in keys], id=page))
    return pytest.mark.parametrize("sources", given)


def test_every_block_is_run() -> None:
    """No block of code is passed over: each has a name, and a test that gets it."""
    for page in sorted(OUR_PAGES):
        for block in blocks_of(PAGES[page]):
            language = block.language.split()[0] if block.language else ""
            assert language in CODE | OUTPUT | DIRECTIVES, f"{page}: {block.source}"
            if language in CODE:
                assert block.name, f"{page} has a block without a name: {block.source}"
                assert ((page, block.name) in _run) != ((page, block.name) in NOT_RUN), (
                    f"no test runs {block.name} of {page}"
                )
        names = [block.name for block in blocks_of(PAGES[page]) if block.name]
        assert len(names) == len(set(names)), f"two blocks of {page} have one name"
        assert PAGES[page].count("<!-- example:") == len(names), f"{page}: a name without a block"
    assert _run | set(NOT_RUN) == set(EXAMPLES)


def test_fences_are_found() -> None:
    """Where the fences of a page are not in order, it is noticed."""
    for page, text in PAGES.items():
        fences = re.findall(r"^ *(?:```|~~~|:::)", text, re.MULTILINE)
        assert len(fences) == 2 * len(blocks_of(text)), page


def test_other_pages_have_tests() -> None:
    """The blocks of the pages that are not ours are commands of tox, or a test names the page."""
    tests = [path.read_text() for path in ROOT.glob("tests/**/*.py") if path != Path(__file__)]
    for page in sorted(set(PAGES) - OUR_PAGES - PAGES_NOT_RUN):
        if not any(Path(page).name in text for text in tests):
            for block in blocks_of(PAGES[page]):
                if block.language.split()[:1] and block.language.split()[0] in CODE:
                    assert re.fullmatch(r"tox run( -e [\w,.-]+)?\n", block.source), (
                        f"no test runs what is in {page}: {block.source}"
                    )


def test_commands_of_tox_exist() -> None:
    """Whatever the pages say to run with tox is in tox.ini."""
    tox = configparser.RawConfigParser()
    tox.read(ROOT / "tox.ini")
    there = {section.removeprefix("testenv:") for section in tox.sections()} | {"py"}
    for page, text in PAGES.items():
        for names in re.findall(r"tox run\s+-e\s+([\w,.-]*\w)", text):
            assert set(names.split(",")) <= there, f"{page}: tox has no {names}"


def test_examples_are_shown_and_tested() -> None:
    """Each program of examples/ is shown, and each that is shown is one that tests run."""
    shown = set()
    for page in OUR_PAGES:
        for block in blocks_of(PAGES[page]):
            if block.language.startswith("{literalinclude}"):
                path = (DOCS / page).parent / block.language.split()[1]
                assert path.is_file(), f"{page} shows what is not there: {path}"
                assert path.resolve().parent == ROOT / "examples"
                shown.add(path.stem)
    there = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert shown == there
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "interop").glob("test_*.py"))
    tested = {name for name in there if re.search(rf'"{name}(?:\.py)?"', tests)}
    for name in sorted(tested):
        tested |= there & set(
            re.findall(r"^import (\w+)$", (ROOT / f"examples/{name}.py").read_text(), re.MULTILINE)
        )
    assert tested == there


def test_readme_is_short() -> None:
    """People decide in a minute: the README has at most 150 lines."""
    assert len(PAGES["README.md"].splitlines()) <= 150


@pytest.mark.parametrize(
    "page", [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("*.md"))]
)
def test_links_lead_to_files(page: str) -> None:
    """Sphinx checks the links of docs/. These are the links of the pages that it does not see."""
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            assert (ROOT / path).is_file(), f"{page} links to {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
                slugs = [
                    re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings
                ]
                assert anchor in slugs, f"{page} links to {target}"


# Sentences that readers stumbled over: nobody writes them, or their kind, again.
RIDDLES = [
    "and of the sessions that clients keep",
    "and with them the connections that were resumed without",
    "Its time is over, its protocol is another",
    "the handshake's cryptography has had",
    "is the client's word",
    "Below this frame there is only",
    "has not come round to",
    "of its own again, another than before",
]


def test_no_riddles() -> None:
    """Pages, docstrings and comments have none of the sentences that had to go."""
    sources = [
        path
        for each in ("openssl_tickets", "examples", "benchmarks")
        for path in (ROOT / each).rglob("*.py")
    ]
    for path in [*sources, *DOCS.rglob("*.md"), *ROOT.glob("*.md")]:
        text = " ".join(path.read_text().replace("#", " ").split())
        for riddle in RIDDLES:
            assert riddle not in text, f"{path.relative_to(ROOT)}: {riddle}"


def test_map_of_the_source() -> None:
    """CONTRIBUTING.md names each file and folder of the tree, and none that is not there."""
    map_ = (ROOT / "CONTRIBUTING.md").read_text().partition("## The map\n")[2]
    rows = [line.split(" | ")[0] for line in map_.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(named) == len(set(named))
    for name in named:
        assert (ROOT / name).exists(), f"{name} is in the map and not in the tree"
        assert name.endswith("/") == (ROOT / name).is_dir(), name
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("there is no git here, or this is no clone of the repository")
    there = set()
    for path in map(Path, listed.stdout.splitlines()):
        inside = path.parts[0] in ("openssl_tickets", "tests")
        parts = path.parts[: 2 if inside else 1]
        there.add("/".join(parts) + ("/" if len(path.parts) > len(parts) else ""))
    there -= {"openssl_tickets/py.typed", "tests/__init__.py", "tests/conftest.py"}
    there = {
        path
        for path in there
        if not re.fullmatch(r"tests/test_\w+\.py|\.\w[\w.-]*|\w+\.md|LICENSE", path)
    }
    assert there == set(named)


# What the blocks are run with.

LIBRARIES: dict[str, Any] = {"pyOpenSSL": tls, "ssl": stdlib_tls}  # for what is for both


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_file: Path, ca_file: Path) -> Path:
    """A folder of its own, with what most blocks need, which is the current one."""
    (tmp_path / "server.pem").write_bytes(server_file.read_bytes())
    (tmp_path / "ca.pem").write_bytes(ca_file.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def execute(source: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    names = {} if names is None else names
    exec(source, names)  # noqa: S102 (it is ours)
    return names


def shell(
    commands: str, folder: Path, timeout: float = 3 * tls.TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Runs *commands* in *folder*, where ``python`` is this one."""
    programs = folder / "programs"
    for name in ("programs/python", ".venv/bin/python"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (folder / name).chmod(0o755)
    return subprocess.run(
        ["sh", "-eu", "-c", commands],
        cwd=folder,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as plain:
        return int(plain.getsockname()[1])


@contextlib.contextmanager
def serving(source: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server as a program of its own; yields when it listens."""
    (folder / "server.py").write_text(source.replace("4433", str(port)))
    server = subprocess.Popen(
        [sys.executable, "-I", "server.py"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield server
    finally:
        server.kill()
        _, errors = server.communicate(timeout=tls.TIMEOUT)
    assert not errors, errors.decode()


def visit_when_up(port: int, **options: Any) -> s_client.SClientResult:
    """Visits a server as soon as it listens."""
    end = time.monotonic() + tls.TIMEOUT
    while True:
        try:
            return s_client.run("localhost", port, ca_file="ca.pem", **options)
        except s_client.SClientRefused:
            assert time.monotonic() < end, "the server does not listen"
            time.sleep(0.05)


def says(text: bytes) -> Callable[[Any], None]:
    """What a connection of pyOpenSSL is served: *text*, and then no more until it ends."""

    def serve(connection: Any) -> None:
        connection.do_handshake()
        connection.sendall(text)
        with contextlib.suppress(SSL.ZeroReturnError, SSL.SysCallError):
            connection.recv(1)

    return serve


# The first page.


@pytest.mark.parametrize("num_tickets", [1, 2, 5])
@runs(("index.md", "server", "policy", "certificate", "start", "visits", "output"))
def test_first_page(tmp_path: Path, num_tickets: int, sources: list[str]) -> None:
    """
    Whoever does what the first page says sees what it says, with any number of tickets, also after
    a handshake that has failed.
    """
    server, policy, certificate, start, visits, output = sources
    port = free_port()
    assert shell(certificate, tmp_path).returncode == 0
    # "Put this ahead of": as a reader would.
    assert server.count("listener = ") == 1
    assert server.index("\nlistener = ") > 0
    before, line, after = server.partition("listener = ")
    program = before + policy + line + after
    assert "set_num_tickets(1)" in program
    program = program.replace("set_num_tickets(1)", f"set_num_tickets({num_tickets})")
    assert start == ".venv/bin/python server.py\n"
    with serving(program, tmp_path, port):
        fail_a_handshake(port)
        assert shell(visits.replace("4433", str(port)), tmp_path).stdout == output


@runs(("index.md", "policy"))
def test_first_policy(server_file: Path, version: str, sources: list[str]) -> None:
    """In either protocol a client is resumed twice in a row, and tickets on demand count as one."""
    server_context, client_context = (
        tls.server_context(server_file, version),
        tls.client_context(version),
    )
    execute(sources[0], {"context": server_context})
    session, reused = None, []
    for _ in range(5):
        pair = tls.Pair(server_context, client_context, session).handshake()
        reused.append(pair.reused)
        if version == "1.3":
            pair.server.new_session_ticket()
            pair.server.send(b"more")
            pair.client_reads()
        session = pair.session()
    assert reused == [False, True, True, False, True]


def fail_a_handshake(port: int) -> None:
    """Says something that is no TLS, as soon as the server listens."""
    wait_for_port(port)
    with socket.create_connection(("localhost", port), tls.TIMEOUT) as plain:
        plain.sendall(b"nonsense\r\n\r\n")
        with contextlib.suppress(OSError):
            while plain.recv(1000):
                pass


# Each server of the pages, with how many tickets it sends in all, and each client.
SERVERS = [
    ("README.md", "server", 1),
    ("learn/pyopenssl.md", "server", 2),
    ("learn/ssl.md", "asyncio", 1),
]
CLIENTS = [
    ("README.md", "client"),
    ("README.md", "s_client"),
    ("learn/pyopenssl.md", "client"),
    ("learn/ssl.md", "client"),
]
_run.update(CLIENTS)
_run.update((page, name) for page, server, _ in SERVERS for name in (server, "certificate"))


@pytest.mark.parametrize(("page", "name", "tickets"), SERVERS)
def test_each_client_against_each_server(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    page: str,
    name: str,
    tickets: int,
) -> None:
    """Whatever client a reader tries, with whatever server: its second visit is resumed."""
    monkeypatch.chdir(tmp_path)
    port = free_port()
    assert shell(EXAMPLES[page, "certificate"], tmp_path).returncode == 0
    with serving(EXAMPLES[page, name], tmp_path, port):
        fail_a_handshake(port)
        seen = s_client.run(
            "localhost", port, send=b"world\n", wait_for=b"hello, world\n", ca_file="ca.pem"
        )
        assert (seen.reused, len(seen.tickets), seen.verify_code) == (False, tickets, 0)
        for client in CLIENTS:
            execute(EXAMPLES[client].replace("4433", str(port)))
            printed = capsys.readouterr().out
            if client[1] == "client":
                assert printed == "(b'hello, world\\n', False) (b'hello, world\\n', True)\n", client


# Learn.


@runs(("learn/install.md", "doctor"))
def test_doctor(tmp_path: Path, sources: list[str]) -> None:
    """The doctor's command works."""
    done = shell(sources[0], tmp_path)
    assert done.returncode == 0, done.stderr
    assert openssl_tickets.OPENSSL_VERSION in done.stdout


@runs(("learn/install.md", "demo"))
def test_demo(tmp_path: Path, sources: list[str]) -> None:
    """The demo's command works."""
    done = shell(sources[0], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resum" in done.stdout


@runs(("learn/pyopenssl.md", "run"))
def test_run(tmp_path: Path, sources: list[str]) -> None:
    """The command puts a program that knows only pyOpenSSL on the system's libssl."""
    program = "from OpenSSL import SSL\nprint(SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode())\n"
    (tmp_path / "server.py").write_text(program)
    done = shell(sources[0], tmp_path)
    assert (done.stdout, done.stderr) == (openssl_tickets.OPENSSL_VERSION + "\n", "")


@runs(("learn/pyopenssl.md", "policy"), ("learn/ssl.md", "policy"))
def test_policy(server_file: Path, sources: list[str]) -> None:
    """The policy puts the current user into tickets, and refuses the revoked."""
    # The drop-in has methods, and what is written as a function is for both.
    support = [tls] if "context.set_session" in sources[0] else LIBRARIES.values()
    for each in support:
        context, client_context = each.server_context(server_file), each.client_context()
        names = execute(sources[0], {"context": context})
        session = each.Pair(context, client_context).handshake().session()
        pair = each.Pair(context, client_context, session).handshake()
        carried = get_session(pair.server)
        assert carried is not None
        assert (pair.reused, carried.ticket_appdata) == (True, b"alice")
        names["users"]["revoked"].add(b"alice")
        pair = each.Pair(context, client_context, session).handshake()
        assert (pair.reused, pair.received) == (False, 2)


@runs(("learn/pyopenssl.md", "errors"))
def test_errors(
    here: Path, server_context: Any, sources: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The exception of a callback is raised from do_handshake, and the client is refused."""

    def serve(connection: Any) -> None:
        if not (here / "session.pem").exists():
            says(b"hello\n")(connection)
        else:
            execute(sources[0], {"context": server_context, "connection": connection})

    with tls.Server(server_context, serve) as server:
        options: dict[str, Any] = {"tls_version": "1.3", "wait_for": b"hello"}
        s_client.run("127.0.0.1", server.port, sess_out="session.pem", **options)
        seen = s_client.run("127.0.0.1", server.port, sess_in="session.pem", check=False, **options)
    assert server.errors == []
    assert capsys.readouterr().out == "not today\n"
    assert seen.alert is not None


@runs(("learn/ssl.md", "errors"))
def test_errors_of_ssl(
    server_file: Path, sources: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The exception of a callback is raised from wrap_socket, and the client is refused."""
    context = stdlib_tls.server_context(server_file)
    client_context = stdlib_tls.client_context()
    with (
        stdlib_tls.sockets() as (plain, of_client),
        stdlib_tls.Client(of_client, client_context) as client,
        context.wrap_socket(plain, server_side=True) as connection,
    ):
        connection.sendall(b"hello")
        with contextlib.suppress(OSError):
            connection.unwrap()
    assert client.data == b"hello"
    with (
        stdlib_tls.sockets() as (plain, of_client),
        stdlib_tls.Client(of_client, client_context, client.session) as refused,
    ):
        execute(sources[0], {"context": context, "plain": plain})
    assert capsys.readouterr().out == "not today\n"
    assert isinstance(refused.error, OSError)


@runs(("understand/libssl.md", "commands"))
def test_commands(here: Path, sources: list[str]) -> None:
    """They run a script, and Twisted's web server, on the system's libssl; and the doctor."""
    run_script, run_module, doctor = sources[0].splitlines()
    program = "from OpenSSL import SSL\nprint(SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode())\n"
    (here / "server.py").write_text(program)
    assert shell(run_script, here).stdout == openssl_tickets.OPENSSL_VERSION + "\n"
    assert openssl_tickets.OPENSSL_VERSION in shell(doctor, here).stdout
    port = free_port()
    python, *arguments = run_module.replace("4433", str(port)).split()
    assert python == "python"
    server = subprocess.Popen(
        [sys.executable, *arguments], cwd=here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        request = b"GET / HTTP/1.0\r\n\r\n"
        seen = visit_when_up(port, send=request, wait_for=b"Twisted Web Demo")
        server.terminate()
        assert server.wait(tls.TIMEOUT) == -signal.SIGTERM
    finally:
        server.kill()
        output, _ = server.communicate()
    assert (len(seen.tickets), seen.verify_code) == (2, 0), output


def test_ci_runs_the_readmes_test_command() -> None:
    """CI runs the very command that the README tells."""
    command = EXAMPLES["README.md", "tests"].strip()
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


@runs(("learn/pyopenssl.md", "functions"))
def test_functions(tmp_path: Path, sources: list[str]) -> None:
    """The functions take pyOpenSSL's own objects, once it is on the system's libssl."""
    (tmp_path / "program.py").write_text(sources[0])
    done = shell("python -I program.py", tmp_path)
    assert (done.stdout, done.stderr) == ("0\n", "")


@runs(("learn/s_client.md", "s_client"), ("learn/s_client.md", "count"))
def test_s_client(here: Path, server_context: Any, sources: list[str]) -> None:
    """The scripted test works against a server that says hello."""
    with tls.Server(server_context, says(b"hello\n")) as server:
        execute(sources[0].replace("4433", str(server.port)))


@runs(("learn/s_client.md", "s_client", "refusal"))
def test_refusal(
    here: Path, server_context: Any, sources: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that aborts is seen to have sent an alert."""
    visit, refusal = sources
    with tls.Server(server_context, says(b"hello\n")) as server:
        execute(visit.replace("4433", str(server.port)))
        capsys.readouterr()
        server_context.set_session_ticket_callback(
            decrypt=lambda *_: openssl_tickets.TicketReturn.ABORT
        )
        execute(refusal.replace("4433", str(server.port)))
    assert capsys.readouterr().out == "80 internal_error (\"b'hello' from the server\",)\n"


# Recipes.


@pytest.mark.parametrize("library", LIBRARIES)
@runs(("recipes/first-reply.md", "policy"))
def test_first_reply(here: Path, library: str, version: Any, sources: list[str]) -> None:
    """There is no ticket before the client has said something, and one with the reply."""
    context = LIBRARIES[library].server_context(here / "server.pem", version)
    names = execute(sources[0], {"context": context})

    def serve(connection: Any) -> None:
        names["serve"](connection)
        with contextlib.suppress(SSL.ZeroReturnError, SSL.SysCallError):
            connection.recv(1)

    with serving_in_threads(context, serve) as (port, errors):
        seen = s_client.run(
            "127.0.0.1", port, tls_version=version, send=b"hi\n", wait_for=b"you said hi\n"
        )
    assert errors == []
    assert len(seen.tickets) == 1


@pytest.mark.parametrize("library", LIBRARIES)
@runs(("recipes/login.md", "login"))
def test_login(here: Path, library: str, sources: list[str]) -> None:
    """Who has logged in is known again; who has not, or was refused, is not."""
    context = LIBRARIES[library].server_context(here / "server.pem")
    names = execute(sources[0], {"context": context})
    passwords = {b"alice": b"secret"}

    def serve(connection: Any) -> None:
        with contextlib.suppress(SSL.ZeroReturnError):
            names["serve"](connection, names["users"], passwords)

    with serving_in_threads(context, serve) as (port, errors):

        def visit(session: str, send: bytes, wait_for: bytes) -> s_client.SClientResult:
            (here / session).touch()
            offered = session if (here / session).stat().st_size else None
            with s_client.SClient(
                "127.0.0.1",
                port,
                tls_version="1.3",
                sess_in=offered,
                sess_out=session,
                timeout=tls.TIMEOUT,
            ) as client:
                client.wait_for(b"\n")
                client.send(send)
                client.wait_for(wait_for)
                return client.close()

        first = visit("alice", b"alice secret\n", b"welcome, alice")
        assert b"who are you?" in first.output.encode()
        assert len(first.tickets) == 3
        again = visit("alice", b"mallory guess\n", b"no\n")
        assert (again.reused, "welcome back, alice" in again.output) == (True, True)
        for request in (b"alice guess\n", b"nonsense\n", b" \n"):
            mallory = visit("mallory", request, b"no\n")
            assert "who are you?" in mallory.output
        assert mallory.reused
    assert errors == []


@contextlib.contextmanager
def serving_in_threads(
    context: Any, serve: Callable[[Any], None]
) -> Iterator[tuple[int, list[BaseException]]]:
    """Serves connections of either library, one after the other; yields the port and the errors."""
    if not isinstance(context, ssl.SSLContext):

        def shake_hands_and_serve(connection: Any) -> None:
            connection.do_handshake()
            serve(connection)

        with tls.Server(context, shake_hands_and_serve) as server:
            yield server.port, server.errors
        return
    errors: list[BaseException] = []
    stopping = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(tls.TIMEOUT)

        def run() -> None:
            while True:
                plain, _ = listener.accept()
                if stopping.is_set():
                    plain.close()
                    return
                plain.settimeout(tls.TIMEOUT)
                try:
                    with context.wrap_socket(plain, server_side=True) as connection:
                        serve(connection)
                        with contextlib.suppress(OSError):
                            connection.unwrap()
                except BaseException as error:
                    errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1], errors
        finally:
            stopping.set()
            socket.create_connection(listener.getsockname(), tls.TIMEOUT).close()
            thread.join(tls.TIMEOUT)


@pytest.mark.parametrize("library", LIBRARIES)
@runs(("recipes/prefork.md", "keys"))
def test_keys(server_file: Path, library: str, sources: list[str]) -> None:
    """A ticket of one context resumes at another, also after the rotation."""
    support = LIBRARIES[library]
    contexts = [support.server_context(server_file) for _ in range(2)]
    client_context = support.client_context()
    session = support.Pair(contexts[0], client_context).handshake().session()
    assert not support.Pair(contexts[1], client_context, session).handshake().reused
    names = execute(sources[0], {"contexts": contexts})
    session = support.Pair(contexts[0], client_context).handshake().session()
    names["keys"].rotate()
    assert support.Pair(contexts[1], client_context, session).handshake().reused
    assert len(names["keys"].keys) == 3


@pytest.mark.parametrize("library", LIBRARIES)
@runs(("recipes/fleet.md", "derived"))
def test_derived(server_file: Path, library: str, sources: list[str]) -> None:
    """Two contexts with the same secret, each with a ring of its own, resume each other's."""
    support = LIBRARIES[library]
    client_context = support.client_context()
    secret = os.urandom(32)
    contexts = [support.server_context(server_file) for _ in range(3)]
    for context in contexts[:2]:
        execute(sources[0], {"context": context, "secret": secret})
    execute(sources[0], {"context": contexts[2], "secret": os.urandom(32)})
    session = support.Pair(contexts[0], client_context).handshake().session()
    assert support.Pair(contexts[1], client_context, session).handshake().reused
    assert not support.Pair(contexts[2], client_context, session).handshake().reused


@pytest.mark.parametrize("library", LIBRARIES)
@runs(("recipes/fleet.md", "redis"))
def test_redis(server_file: Path, library: str, sources: list[str]) -> None:
    """Two contexts whose keys come from one Redis resume each other's tickets."""
    support = LIBRARIES[library]
    client_context = support.client_context()
    program = shutil.which("redis-server")
    if program is None:
        message = "there is no redis-server (Debian: apt-get install redis-server)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    assert program is not None
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    assert "redis://127.0.0.1:6379/0" in sources[0]
    source = sources[0].replace("redis://127.0.0.1:6379/0", url)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            program,
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--save",
            "",
            "--dir",
            folder,
        ]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            wait_for_port(port)
            first, second = (support.server_context(server_file) for _ in "12")

            def serve_both(context: Any) -> None:
                sessions.append(support.Pair(first, client_context).handshake().session())
                assert support.Pair(second, client_context, sessions[0]).handshake().reused

            sessions: list[Any] = []
            outer = {
                "context": first,
                "serve": lambda _: execute(source, {"context": second, "serve": serve_both}),
            }
            execute(source, outer)
            assert len(sessions) == 1
        finally:
            server.terminate()
            server.wait(tls.TIMEOUT)


def wait_for_port(port: int) -> None:
    end = time.monotonic() + tls.TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), tls.TIMEOUT).close()
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            return


@pytest.mark.parametrize("library", LIBRARIES)
@runs(("recipes/key-files.md", "nginx"))
def test_nginx_keys(here: Path, server_file: Path, library: str, sources: list[str]) -> None:
    """The context has the files' keys, and follows when they change."""
    support = LIBRARIES[library]
    client_context = support.client_context()
    new, old = TicketKey.generate(), TicketKey.generate()
    save_ticket_keys("nginx", "new.key", [new])
    save_ticket_keys("nginx", "old.key", [old])
    followed = TicketKey.generate()

    def serve(context: Any) -> None:
        assert key_of(context, client_context, support) == new.name
        other = support.server_context(server_file)
        set_ticket_keys(other, TicketKeys([old]))
        session = support.Pair(other, client_context).handshake().session()
        assert support.Pair(context, client_context, session).handshake().reused
        save_ticket_keys("nginx", "new.key", [followed])
        until(lambda: key_of(context, client_context, support) == followed.name)

    execute(sources[0], {"context": support.server_context(server_file), "serve": serve})


@runs(("recipes/key-files.md", "haproxy"))
def test_haproxy_keys(
    here: Path, server_file: Path, client_context: Any, sources: list[str]
) -> None:
    """The context has the key that HAProxy encrypts with, and follows when the file changes."""
    keys = [TicketKey.generate() for _ in range(3)]
    save_ticket_keys("haproxy", "tickets.keys", keys)

    def serve(context: Any) -> None:
        assert key_of(context, client_context) == keys[0].name
        following = [keys[1], TicketKey.generate(), keys[0]]
        save_ticket_keys("haproxy", "tickets.keys", following)
        until(lambda: key_of(context, client_context) == keys[1].name)

    execute(sources[0], {"context": tls.server_context(server_file), "serve": serve})


def key_of(context: Any, client_context: Any, support: Any = tls) -> bytes:
    """Returns the name of the key that the tickets of *context* are encrypted with."""
    session = support.Pair(context, client_context).handshake().session()
    if not isinstance(session, Session):
        session = get_session(session)
    assert isinstance(session, Session)
    return session.key_name


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + tls.TIMEOUT
    while not holds():
        assert time.monotonic() < end, "it does not come to hold"
        time.sleep(0.05)


@runs(("recipes/key-files.md", "commands"))
def test_key_commands(tmp_path: Path, sources: list[str]) -> None:
    """The commands make a key file, and rotate it to a second one."""
    done = shell(sources[0], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "ticket.key.1").stat().st_size == 80
    made, rotated, previous, shown, shown_previous = done.stdout.splitlines()
    assert made.split()[1:3] == previous.split()[1:3]
    assert (rotated, previous) == (shown, shown_previous)


@runs(("recipes/fleet.md", "secrets"))
def test_secrets(server_file: Path, client_context: Any, sources: list[str]) -> None:
    """A host with both secrets opens the tickets of one that has the old one only."""
    secrets = {"old_secret": os.urandom(32), "new_secret": os.urandom(32)}
    both, old = (tls.server_context(server_file) for _ in "12")
    execute(sources[0], {"context": both, **secrets})
    set_ticket_keys(old, TicketKeys.derived(secrets["old_secret"], 3600, 7200))
    session = tls.Pair(old, client_context).handshake().session()
    assert tls.Pair(both, client_context, session).handshake().reused


@runs(("recipes/fleet.md", "forget"))
def test_forget(sources: list[str]) -> None:
    """The call is there; tests/interop/test_redis_keys.py shows what it does."""

    class Shared(RedisTicketKeys):
        def forget(self, key_name: bytes) -> None:
            forgotten.append(key_name)

    forgotten: list[bytes] = []
    execute(sources[0], {"shared": Shared("redis://localhost"), "key_name": bytes(16)})
    assert forgotten == [bytes(16)]


@runs(("recipes/server-name.md", "binding"))
def test_binding(server_context: Any, client_context: Any, sources: list[str]) -> None:
    """A ticket of one name is ignored under another."""
    execute(sources[0], {"context": server_context})
    seen = []
    session = None
    for name in (b"a.example", b"a.example", b"b.example"):
        pair = tls.Pair(server_context, client_context, session)
        pair.client.set_tlsext_host_name(name)
        seen.append(pair.handshake().reused)
        session = pair.session()
    assert seen == [False, True, False]


@runs(("recipes/server-name.md", "require"))
def test_require(
    server_file: Path, ca_file: Path, client_file: Path, version: str, sources: list[str]
) -> None:
    """With pyOpenSSL: without a certificate nobody comes in at the members'."""
    context, members = (tls.server_context(server_file, version) for _ in "12")
    members.load_verify_locations(str(ca_file))
    execute(sources[0], {"context": context, "members": members})

    def comes_in(client: Any, name: bytes, session: Any = None) -> Any:
        pair = tls.Pair(context, client, session)
        pair.client.set_tlsext_host_name(name)
        with contextlib.suppress(SSL.Error):
            pair.handshake()
            return pair.session()
        return None

    stranger = tls.client_context(version)
    public = comes_in(stranger, b"public.example")
    assert public is not None
    assert comes_in(stranger, b"members.example") is None
    assert comes_in(stranger, b"members.example", public) is None
    member = tls.client_context(version)
    member.use_privatekey_file(str(client_file))
    member.use_certificate_chain_file(str(client_file))
    session = comes_in(member, b"members.example")
    assert session is not None
    assert comes_in(member, b"members.example", session) is not None


@runs(("recipes/server-name.md", "require-ssl"))
def test_require_ssl(
    server_file: Path, ca_file: Path, client_file: Path, version: str, sources: list[str]
) -> None:
    """With ssl: the same, and the program asks."""
    context, members = (stdlib_tls.server_context(server_file, version) for _ in "12")
    members.load_verify_locations(ca_file)
    names = execute(sources[0], {"context": context, "members": members, "ca_file": ca_file})

    pairs: list[stdlib_tls.Pair] = []

    def comes_in(client: Any, name: str, session: Any = None) -> bool:
        pairs.append(stdlib_tls.Pair(context, client, session, server_name=name).handshake())
        return bool(names["may_come_in"](pairs[-1].server))

    stranger = stdlib_tls.client_context(version)
    assert comes_in(stranger, "public.example")
    session = pairs[-1].session()
    assert not comes_in(stranger, "members.example")
    assert not comes_in(stranger, "members.example", session)
    member = stdlib_tls.client_context(version)
    member.load_cert_chain(client_file)
    assert comes_in(member, "members.example")
    assert comes_in(member, "members.example", pairs[-1].session())
    assert pairs[-1].reused


@runs(("recipes/monitoring.md", "prometheus", "prometheus-redis"))
def test_prometheus(server_context: Any, client_context: Any, sources: list[str]) -> None:
    """Prometheus is told what was counted."""
    prometheus = pytest.importorskip("prometheus_client")
    registry = prometheus.REGISTRY
    before = set(registry._collector_to_names)
    try:
        execute(sources[0], {"context": server_context})
        pair = tls.Pair(server_context, client_context).handshake()
        tls.Pair(server_context, client_context, pair.session()).handshake()
        names = {"RedisTicketKeys": RedisTicketKeys, "url": "redis://localhost"}
        shared = execute(sources[1], names)["shared"]
        shared._tell("away")

        def value(name: str, **labels: str) -> float:
            found = registry.get_sample_value(name, {"context": "public", **labels})
            assert found is not None
            return float(found)

        assert value("tls_handshakes_total", kind="full") == 1
        assert value("tls_handshakes_total", kind="resumed") == 1
        for outcome, number in openssl_tickets.ticket_stats(server_context)._asdict().items():
            assert value("tls_tickets_total", outcome=outcome) == number
        assert value("tls_tickets_total", outcome="issued") == 3
        assert registry.get_sample_value("ticket_key_events_total", {"event": "away"}) == 1
        assert registry.get_sample_value("ticket_keys_good") == 0
        assert registry.get_sample_value("ticket_key_age_seconds") >= 0
        # What the rules of the page ask for is there.
        text = prometheus.generate_latest(registry).decode()
        rules = PAGES["recipes/monitoring.md"].partition("rules for Prometheus")[2]
        asked = set(re.findall(r"\b(?:tls|ticket)_\w+", rules))
        assert len(asked) == 4
        assert all(name in text for name in asked)
    finally:
        for collector in set(registry._collector_to_names) - before:
            registry.unregister(collector)


# Understand.


@pytest.mark.parametrize("library", LIBRARIES)
@runs(("understand/security.md", "members"))
def test_members(
    server_file: Path, ca_file: Path, client_file: Path, library: str, sources: list[str]
) -> None:
    """Who got a ticket where no certificate is asked for is not resumed; a member is."""
    support = LIBRARIES[library]
    keys = TicketKeys([TicketKey.generate()])
    public, members = (support.server_context(server_file) for _ in "12")
    members.load_verify_locations(str(ca_file))
    if library == "ssl":
        members.verify_mode = ssl.CERT_REQUIRED
    else:
        members.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        for context in (public, members):
            context.set_session_id(b"one for both")
    for context in (public, members):
        set_ticket_keys(context, keys)
    client = support.client_context()
    stranger = support.Pair(public, client).handshake().session()
    assert support.Pair(members, client, stranger).handshake().reused
    execute(sources[0], {"public": public, "members": members, "keys": keys})
    stranger = support.Pair(public, client).handshake().session()
    with pytest.raises((ssl.SSLError, SSL.Error), match=r"(?i)peer did not return a certificate"):
        support.Pair(members, client, stranger).handshake()
    member = support.client_context()
    if library == "ssl":
        member.load_cert_chain(client_file)
    else:
        member.use_certificate_chain_file(str(client_file))
        member.use_privatekey_file(str(client_file))
    session = support.Pair(members, member).handshake().session()
    assert support.Pair(members, member, session).handshake().reused


@pytest.mark.parametrize("library", LIBRARIES)
@runs(("understand/security.md", "limit"))
def test_limit(server_file: Path, library: str, sources: list[str]) -> None:
    """However often a client comes back, its full handshake must not be older than the limit."""
    support = LIBRARIES[library]
    context, client_context = support.server_context(server_file), support.client_context()
    assert "24 * 3600" in sources[0]
    execute(sources[0].replace("24 * 3600", "2"), {"context": context})
    session = support.Pair(context, client_context).handshake().session()
    end, resumed = time.monotonic() + 20, 0
    while (pair := support.Pair(context, client_context, session).handshake()).reused:
        assert time.monotonic() < end
        resumed += 1
        session = pair.session()
        time.sleep(0.3)
    assert resumed > 1
    assert support.Pair(context, client_context, pair.session()).handshake().reused


# Reference.

# Every function, type and constant that OpenSSL's manual pages SSL_CTX_set_num_tickets(3) and
# SSL_CTX_set_session_ticket_cb(3) speak of. (But for two misprints of theirs: SSL_CTX_set_set_...,
# and SSL_SESSION_get_ticket_appdata, which no OpenSSL has had.)
MANUAL = [
    "SSL_CTX",
    "SSL_SESSION",
    "SSL",
    "SSL_CTX_set_num_tickets",
    "SSL_CTX_get_num_tickets",
    "SSL_set_num_tickets",
    "SSL_get_num_tickets",
    "SSL_new_session_ticket",
    "SSL_verify_client_post_handshake",
    "SSL_CTX_sess_set_new_cb",
    "SSL_do_handshake",
    "SSL_write",
    "SSL_CTX_set_session_ticket_cb",
    "SSL_CTX_generate_session_ticket_fn",
    "SSL_CTX_decrypt_session_ticket_fn",
    "SSL_SESSION_get0_ticket_appdata",
    "SSL_SESSION_set1_ticket_appdata",
    "SSL_TICKET_STATUS",
    "SSL_TICKET_EMPTY",
    "SSL_TICKET_NO_DECRYPT",
    "SSL_TICKET_SUCCESS",
    "SSL_TICKET_SUCCESS_RENEW",
    "SSL_TICKET_RETURN",
    "SSL_TICKET_RETURN_ABORT",
    "SSL_TICKET_RETURN_IGNORE",
    "SSL_TICKET_RETURN_IGNORE_RENEW",
    "SSL_TICKET_RETURN_USE",
    "SSL_TICKET_RETURN_USE_RENEW",
    "SSL_get_session",
    "SSL_CTX_set_tlsext_ticket_key_cb",
]

C_NAMES = PAGES["reference/c-names.md"]


def cells(heading: str) -> list[tuple[set[str], set[str]]]:
    """Returns what the first two columns of the tables below a heading name, row by row."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", C_NAMES, re.DOTALL | re.MULTILINE)
    assert found, heading
    rows = []
    for line in found[1].splitlines():
        if line.startswith("| ") and not line.startswith(("| C |", "| Python |")):
            first, second, *_ = line.strip("|").split(" | ")
            rows.append((names_in(first), names_in(second)))
    assert rows, heading
    return rows


def names_in(cell: str) -> set[str]:
    return {
        found["target"] or found["plain"]
        for found in re.finditer(r"`(?:[^`<]* <(?P<target>[\w.]+)>|(?P<plain>[\w.]+))`", cell)
    }


def c_to_python() -> dict[str, set[str]]:
    there: dict[str, set[str]] = {}
    for heading in ("The manual page on the number", "The manual page on ticket", "What else"):
        for c_names, python_names in cells(heading + "[^\n]*"):
            (name,) = c_names
            assert name not in there, f"{name} is there twice"
            assert python_names, name
            there[name] = python_names
    return there


def python_to_c() -> dict[str, set[str]]:
    return {next(iter(python_names)): c for python_names, c in cells("From Python to C")}


def only_python() -> set[str]:
    return {name for python_names, _ in cells("In Python only") for name in python_names}


def test_names_of_the_manual() -> None:
    """Every name of the manual pages is in the table."""
    assert set(MANUAL) <= set(c_to_python())


def test_names_there_and_back() -> None:
    """The two tables say the same."""
    back: dict[str, set[str]] = {}
    for c_name, python_names in c_to_python().items():
        for name in python_names:
            back.setdefault(name, set()).add(c_name)
    assert python_to_c() == back
    assert not only_python() & set(back)


def test_names_exist() -> None:
    """What the tables call a Python name is one."""
    for name in sorted(set(python_to_c()) | only_python()):
        resolve(name)


def resolve(name: str) -> Any:
    """Returns what *name* stands for: a module, and what is in it."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for number, part in enumerate(parts[length:], length):
            # An instance's attribute is named by its class's annotations.
            if number == len(parts) - 1 and part in getattr(found, "__annotations__", {}):
                return None
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def test_public_names_are_in_the_table() -> None:
    """Whatever this package offers is in the table, and so is each attribute of a session."""
    there = set(python_to_c()) | only_python()
    for name in openssl_tickets.__all__:
        assert f"openssl_tickets.{name}" in there
    for kind in (openssl_tickets.Session, openssl_tickets.ReceivedTicket):
        for name in vars(kind):
            if not name.startswith("_"):
                assert f"openssl_tickets.{kind.__name__}.{name}" in there


LIBSSL = re.compile(r"^ *libssl: (.*?)(?:\n\n|\n *\"\"\")", re.DOTALL | re.MULTILINE)


def test_names_of_the_docstrings() -> None:
    """Every function of libssl that a docstring says it stands on is in the table."""
    there = c_to_python()
    checked = 0
    for path in (ROOT / "openssl_tickets").rglob("*.py"):
        for found in LIBSSL.finditer(path.read_text()):
            for name in re.findall(r"``(\w+)``", found[1]):
                if re.match(r"SSL_|EVP_|RAND_|PEM_|[di]2[di]_", name):
                    assert name in there, f"{path.name} names {name}"
                    checked += 1
    assert checked > 40


def test_every_public_name_is_in_the_reference() -> None:
    """The reference has a place for each public name of the package and of its modules."""
    reference = "".join(text for page, text in PAGES.items() if page.startswith("reference/"))
    documented = set(re.findall(r"auto\w+:: ([\w.]+)", reference))
    for name in openssl_tickets.__all__:
        assert f"openssl_tickets.{name}" in documented
    for module in ("s_client", "ticket_key_files", "redis_keys", "stdlib"):
        named = importlib.import_module(f"openssl_tickets.{module}")
        public = getattr(named, "__all__", None) or [
            name
            for name, value in vars(named).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == named.__name__
        ]
        for name in public:
            assert f"{named.__name__}.{name}" in documented


# Evidence.

BENCHMARKS = PAGES["evidence/benchmarks.md"]


def benchmark(heading: str, *begins: str, column: int = -1) -> float:
    """Returns a median of the benchmarks' page: of the row that begins so, below a heading."""
    text = BENCHMARKS.partition(f"{heading}\n")[2]
    start = "| " + " | ".join(begins) + " |"
    row = next(line for line in text.splitlines() if line.startswith(start))
    return float(row.strip("| ").split(" | ")[column].split()[0])


def test_benchmarks_of_the_readme() -> None:
    """The README's figures are those of the page."""
    speed = " ".join(PAGES["README.md"].partition("**Speed.**")[2].partition("\n\n")[0].split())
    in_python = [
        f"{benchmark('row by row:', library, column=1):.2f}" for library in ("pyOpenSSL", "ssl")
    ]
    ring = benchmark("## Ticket keys", "pyOpenSSL", "ring / libssl's own")
    assert re.findall(r"\d\.\d+", speed) == [*in_python, f"{ring:.2f}"]


def test_benchmarks_of_the_chart() -> None:
    """The chart's bars are the table's medians."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", (DOCS / "evidence/benchmarks.svg").read_text())
    rows = chart.rows_of(BENCHMARKS)
    assert len(rows) > 8
    for handshake in ("full", "resumed"):
        labels = [f"{row[handshake][0]:.3g}" for row in rows.values()]
        starts = [at for at in range(len(texts)) if texts[at : at + len(labels)] == labels]
        assert starts, f"{handshake}: {labels} are not in the chart: {texts}"
    assert set(rows) <= set(texts)
