"""The driver of ``openssl s_client``, against the real program and real servers."""

from __future__ import annotations

import base64
import contextlib
import os
import pickle
import re
import select
import signal
import socket
import struct
import subprocess
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from openssl_tickets import SSL, TicketReturn, s_client
from openssl_tickets.s_client import Alert, SClient, Ticket
from tests.support import processes

TIMEOUT = 10


@dataclass(frozen=True)
class Files:
    ca: Path
    server_cert: Path
    server_key: Path
    client: Path  # certificate and key


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("certificates")
    ca = trustme.CA()
    server = ca.issue_cert("localhost", "127.0.0.1", "::1")
    made = Files(*(folder / name for name in ("ca.pem", "server.pem", "server.key", "client.pem")))
    ca.cert_pem.write_to_path(made.ca)
    server.cert_chain_pems[0].write_to_path(made.server_cert)
    server.private_key_pem.write_to_path(made.server_key)
    ca.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(made.client)
    return made


@pytest.fixture(autouse=True)
def new_children() -> Iterator[Callable[[], set[str]]]:
    """Gives the children that the test has now; every test must end without one."""
    before, threads = children(), set(threading.enumerate())
    yield lambda: children() - before
    assert children() - before == set()
    assert set(threading.enumerate()) - threads == set()


def children() -> set[str]:
    """The children of this process, zombies included: their ids and names."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            name, _, rest = stat.read_text().rpartition(")")
            if rest.split()[1] == str(os.getpid()):
                found.add(name)
    return found


@contextlib.contextmanager
def s_server(files: Files, *arguments: str, address: str = "127.0.0.1:0") -> Iterator[int]:
    """``openssl s_server`` that answers each line with its reverse; gives its port."""
    command = ["openssl", "s_server", "-accept", address, "-rev"]
    command += ["-cert", str(files.server_cert), "-key", str(files.server_key), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            yield accept_port(server)
        finally:
            server.kill()


def accept_port(server: subprocess.Popen[bytes]) -> int:
    assert server.stdout is not None
    printed = b""
    while not (found := re.search(rb"ACCEPT \S*:(\d+)\n", printed)):
        assert select.select([server.stdout], [], [], TIMEOUT)[0], printed
        printed += os.read(server.stdout.fileno(), 65536)
    return int(found[1])


@contextlib.contextmanager
def python_server(
    files: Files, serve: Callable[[SSL.Connection], None], set_up: Callable[[Any], None]
) -> Iterator[int]:
    """A server on ``openssl_tickets.SSL``: *serve* gets each connection; gives its port."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_privatekey_file(str(files.server_key))
    context.use_certificate_chain_file(str(files.server_cert))
    set_up(context)
    stopping = threading.Event()
    problems: list[BaseException] = []

    def accept() -> None:
        while not stopping.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            with client:
                client.settimeout(None)
                wait = struct.pack("ll", TIMEOUT, 0)  # a struct timeval
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
                connection = SSL.Connection(context, client)
                connection.set_accept_state()
                try:
                    connection.do_handshake()
                    serve(connection)
                except BaseException as problem:
                    problems.append(problem)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopping.set()
            thread.join(TIMEOUT)
    assert problems == []


def read_to_end(connection: SSL.Connection) -> None:
    with contextlib.suppress(SSL.ZeroReturnError):
        while True:
            connection.recv(65536)


def ticket_in(session_file: Path) -> bytes:
    """The ticket of a session file, as ``openssl asn1parse`` reads it."""
    shown = subprocess.run(
        ["openssl", "asn1parse", "-in", str(session_file)],
        check=True,
        stdout=subprocess.PIPE,
        timeout=TIMEOUT,
    ).stdout.decode()
    found = re.search(r"cont \[ 10 \].*\n.*OCTET STRING *\[HEX DUMP\]:([0-9A-F]+)\n", shown)
    assert found, shown
    return bytes.fromhex(found[1])


# What it reports


def test_tls13_tickets(files: Files, tmp_path: Path) -> None:
    """Both tickets of a TLS 1.3 handshake are reported, and the last is the one in sess_out."""
    saved = tmp_path / "session.pem"
    with s_server(files) as port:
        seen = s_client.run(
            "127.0.0.1", port, tls_version="1.3", ca_file=files.ca, sess_out=saved, tickets=2
        )
    first, second = seen.tickets
    assert second.ticket == ticket_in(saved)
    assert first.ticket != second.ticket
    assert first.key_name == second.key_name == first.ticket[:16]
    assert first.lifetime_hint == second.lifetime_hint == 7200
    assert (seen.reused, seen.protocol, seen.alert) == (False, "TLSv1.3", None)
    assert (seen.verify_code, seen.verify_error, seen.exit_code) == (0, None, 0)
    assert seen.output.count("Post-Handshake New Session Ticket arrived") == 2
    assert "Verification: OK" in seen.output
    assert "\r" not in seen.output


def test_tls12_ticket(files: Files, tmp_path: Path) -> None:
    """The ticket of a TLS 1.2 handshake is reported, and it is the one in sess_out."""
    saved = tmp_path / "session.pem"
    with s_server(files) as port:
        seen = s_client.run("127.0.0.1", port, tls_version="1.2", sess_out=saved, tickets=1)
    (ticket,) = seen.tickets
    assert ticket.ticket == ticket_in(saved)
    assert ticket.lifetime_hint == 7200
    assert (seen.reused, seen.protocol, seen.exit_code) == (False, "TLSv1.2", 0)


@pytest.mark.parametrize("tls_version", ["1.2", "1.3"])
def test_no_ticket(files: Files, tls_version: Any) -> None:
    """A reply that came without a ticket before it proves that there was none."""
    with s_server(files, "-num_tickets", "0", "-no_ticket") as port:
        seen = s_client.run(
            "127.0.0.1", port, tls_version=tls_version, send=b"ping\n", wait_for=b"gnip\n"
        )
    assert seen.tickets == ()
    assert seen.exit_code == 0


def test_tls13_resumption(files: Files, tmp_path: Path) -> None:
    """A TLS 1.3 session is resumed from sess_in, and brings the one new ticket."""
    saved = tmp_path / "session.pem"
    with s_server(files) as port:
        s_client.run("127.0.0.1", port, tls_version="1.3", sess_out=saved, tickets=2)
        seen = s_client.run(
            "127.0.0.1", port, sess_in=saved, tickets=1, send=b"ping\n", wait_for=b"gnip\n"
        )
    assert seen.reused is True
    assert len(seen.tickets) == 1


def test_tls12_resumption(files: Files, tmp_path: Path) -> None:
    """A TLS 1.2 resumption without a renewal reports no ticket, though s_client prints the old."""
    saved = tmp_path / "session.pem"
    with s_server(files) as port:
        first = s_client.run("127.0.0.1", port, tls_version="1.2", sess_out=saved, tickets=1)
        seen = s_client.run(
            "127.0.0.1", port, sess_in=saved, tls_version="1.2", send=b"ab\n", wait_for=b"ba\n"
        )
    assert seen.reused is True
    assert seen.tickets == ()
    assert "TLS session ticket:" in seen.output
    assert first.reused is False


def test_tls12_renewal(files: Files, tmp_path: Path) -> None:
    """The new ticket of a TLS 1.2 resumption with a renewal is reported."""

    def renew(connection: object, ticket: object, data: object) -> TicketReturn | None:
        return TicketReturn.USE_RENEW if getattr(ticket, "session", None) else None

    saved = tmp_path / "session.pem"
    with python_server(
        files, read_to_end, lambda context: context.set_session_ticket_callback(None, renew)
    ) as port:
        first = s_client.run("127.0.0.1", port, tls_version="1.2", sess_out=saved, tickets=1)
        second = s_client.run("127.0.0.1", port, tls_version="1.2", sess_in=saved, tickets=1)
    assert second.reused is True
    assert len(second.tickets) == 1
    assert second.tickets != first.tickets


@pytest.mark.parametrize("length", [1, 15, 16, 17, 37, 65000])
def test_ticket_of_any_length(files: Files, tmp_path: Path, length: int) -> None:
    """A ticket of any length is read right from what the program prints of it."""
    saved = tmp_path / "session.pem"
    with s_server(files) as port:
        s_client.run("127.0.0.1", port, tls_version="1.2", sess_out=saved, tickets=1)
    ticket = (b"\n0000 - 41 " + bytes(range(256)) * 254)[:length]
    saved.write_text(with_ticket(saved.read_text(), ticket))
    shown = subprocess.run(
        ["openssl", "sess_id", "-noout", "-text", "-in", str(saved)],
        check=True,
        stdout=subprocess.PIPE,
        timeout=TIMEOUT,
    ).stdout
    assert s_client._tickets_of(shown) == [Ticket(lifetime_hint=7200, ticket=ticket)]


def with_ticket(pem: str, ticket: bytes) -> str:
    """The session of *pem* with another *ticket*: DER, field [10]."""

    def element(tag: int, content: bytes) -> bytes:
        return bytes([tag, 0x83]) + len(content).to_bytes(3, "big") + content

    def elements(der: bytes) -> Iterator[tuple[int, bytes]]:
        while der:
            tag, length, start = der[0], der[1], 2
            if length & 0x80:
                start += length & 0x7F
                length = int.from_bytes(der[2:start], "big")
            yield tag, der[start : start + length]
            der = der[start + length :]

    body = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
    ((tag, fields),) = elements(base64.b64decode(body))
    changed = b"".join(
        element(number, element(0x04, ticket) if number == 0xAA else content)
        for number, content in elements(fields)
    )
    text = base64.encodebytes(element(tag, changed)).decode().replace("\n", "")
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return (
        f"-----BEGIN SSL SESSION PARAMETERS-----\n{lines}\n-----END SSL SESSION PARAMETERS-----\n"
    )


def test_untrusted_certificate(files: Files) -> None:
    """A server that no CA vouches for is reported, and does not end the connection."""
    with s_server(files) as port:
        seen = s_client.run("127.0.0.1", port, tickets=1, extra_args=["-no-CAfile", "-no-CApath"])
    assert seen.verify_code in {20, 21}
    assert seen.verify_error == "unable to verify the first certificate"
    assert seen.exit_code == 0


def test_server_name(files: Files) -> None:
    """The server is asked for the name that was given, and for none without one."""
    names: list[bytes | None] = []

    def serve(connection: SSL.Connection) -> None:
        names.append(connection.get_servername())
        read_to_end(connection)

    with python_server(files, serve, lambda context: None) as port:
        s_client.run("127.0.0.1", port, server_name="a.example", tickets=1)
        s_client.run("localhost", port, extra_args=["-4"], tickets=1)
    assert names == [b"a.example", None]


def test_client_certificate(files: Files) -> None:
    """A server that demands a client certificate gets the one that was given."""
    with s_server(files, "-Verify", "1", "-CAfile", str(files.ca)) as port:
        seen = s_client.run(
            "127.0.0.1", port, cert_file=files.client, key_file=files.client, tickets=2
        )
    assert len(seen.tickets) == 2
    assert seen.alert is None


def test_ipv6(files: Files) -> None:
    """An IPv6 address is a host like any other."""
    with s_server(files, address="[::1]:0") as port:
        assert len(s_client.run("::1", port, tls_version="1.3", tickets=2).tickets) == 2


def test_results_are_plain_frozen_data(files: Files) -> None:
    """A result compares by value, cannot be changed, and does not show its secrets."""
    with s_server(files) as port:
        seen = s_client.run("127.0.0.1", port, tls_version="1.2", tickets=1)
    assert pickle.loads(pickle.dumps(seen)) == seen
    assert "Master-Key" in seen.output
    assert "Master-Key" not in repr(seen)
    with pytest.raises(FrozenInstanceError):
        seen.exit_code = 1  # type: ignore[misc]


# Steps on one connection


def test_steps(files: Files) -> None:
    """Tickets that come with a reply are seen as soon as the reply is."""

    def serve(connection: SSL.Connection) -> None:
        assert connection.recv(100) == b"login\n"
        connection.new_session_ticket()
        connection.sendall(b"welcome")
        assert connection.recv(100) == b"more\n"
        connection.new_session_ticket()
        connection.new_session_ticket()
        connection.sendall(b"welcome")
        read_to_end(connection)

    with (
        python_server(files, serve, lambda context: None) as port,
        SClient("127.0.0.1", port, tls_version="1.3") as client,
    ):
        assert len(client.wait_for_tickets(2)) == 2
        client.send(b"login\n")
        client.wait_for(b"welcome")
        assert len(client.wait_for_tickets(0)) == 3
        client.send(b"more\n")
        client.wait_for(b"welcome")
        assert len(client.wait_for_tickets(0)) == 5
        seen = client.close()
    assert len(seen.tickets) == len({ticket.ticket for ticket in seen.tickets}) == 5
    assert seen is client.close()


def test_text_around_tickets(files: Files) -> None:
    """Text is found where tickets came in the middle of it, and nothing of s_client's own is."""

    def serve(connection: SSL.Connection) -> None:
        connection.sendall(b"wel")
        connection.new_session_ticket()
        connection.sendall(b"come")
        read_to_end(connection)

    with (
        python_server(files, serve, lambda context: context.set_num_tickets(1)) as port,
        SClient("127.0.0.1", port, tls_version="1.3", timeout=1) as client,
    ):
        client.wait_for(b"welcome")
        assert len(client.wait_for_tickets(0)) == 2
        with pytest.raises(TimeoutError):
            client.wait_for(b"BLOCK")
        client.send(b"still here")


@pytest.mark.parametrize("line", [b"Quit", b"Redo", b"Key", b"key", b"Q", b"R", b"K", b"k", b"B"])
def test_lines_like_commands(files: Files, line: bytes) -> None:
    """Lines that s_client could take for its own commands are sent like any other."""
    with s_server(files) as port, SClient("127.0.0.1", port) as client:
        for _ in range(2):
            client.send(line + b"\n")
            client.wait_for(line[::-1] + b"\n")
        assert client.close().exit_code == 0


def test_program_without_nocommands(files: Files, tmp_path: Path) -> None:
    """With a program that has no -nocommands, what it would take for a command is refused."""
    old = script(
        tmp_path / "old-openssl",
        'case "$*" in *-nocommands*) exit 1;; *-help*) openssl "$@" 2>&1 | grep -v nocommands;;'
        ' *) exec openssl "$@";; esac',
    )
    with s_server(files) as port, SClient("127.0.0.1", port, program=old) as client:
        for data in (b"Quit\n", b"R\n", b"K\n", b"k\n"):
            with pytest.raises(ValueError, match="use the program of OpenSSL 3"):
                client.send(data)
        client.send(b"ping\n")
        client.wait_for(b"gnip\n")


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_much_data_both_ways(files: Files) -> None:
    """Megabytes that nobody waits for block neither side."""
    size = 4_000_000

    def serve(connection: SSL.Connection) -> None:
        connection.sendall(b"\x00---\nread" * (size // 9))
        received = 0
        while received < size:
            received += len(connection.recv(65536))
        connection.sendall(b"all of it")
        read_to_end(connection)

    with (
        python_server(files, serve, lambda context: None) as port,
        SClient("127.0.0.1", port, timeout=30) as client,
    ):
        client.send(b"Q" * size)
        client.wait_for(b"all of it")
        seen = client.close()
    assert len(seen.tickets) == 2
    assert len(seen.output) > size * 8 // 9


def test_any_bytes_from_the_server(files: Files) -> None:
    """Bytes from the server are found as they are, whatever a terminal would make of them."""
    every = bytes(range(256)) + b"\r\n\x03\x04\x1a"

    def serve(connection: SSL.Connection) -> None:
        connection.sendall(every)
        read_to_end(connection)

    with python_server(files, serve, lambda context: None) as port:
        assert s_client.run("127.0.0.1", port, wait_for=every).exit_code == 0


def test_server_in_the_same_thread(files: Files) -> None:
    """A server in the same thread can accept once the client is made."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_privatekey_file(str(files.server_key))
    context.use_certificate_chain_file(str(files.server_cert))
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        SClient("127.0.0.1", listener.getsockname()[1]) as client,
        listener.accept()[0] as accepted,
    ):
        connection = SSL.Connection(context, accepted)
        connection.set_accept_state()
        connection.do_handshake()
        assert len(client.wait_for_tickets(2)) == 2


# The server ends first


def test_server_closes(files: Files) -> None:
    """Where the server ends the connection in an orderly way, the program ends by itself."""
    with s_server(files) as port, SClient("127.0.0.1", port) as client:
        client.send(b"CLOSE\n")
        seen = client.wait_for_end()
    assert (seen.exit_code, seen.alert) == (0, None)
    assert len(seen.tickets) == 2


def test_wait_after_the_end(files: Files) -> None:
    """What came before the end can still be waited for; what did not is a clear error."""
    with s_server(files) as port, SClient("127.0.0.1", port) as client:
        client.send(b"ping\nCLOSE\n")
        seen = client.wait_for_end()
        client.wait_for(b"gnip\n")
        assert client.wait_for_tickets(2) == seen.tickets
        with pytest.raises(
            s_client.SClientEnded, match="ended before ticket number 3 came"
        ) as error:
            client.wait_for_tickets(3)
        with pytest.raises(s_client.SClientEnded, match=r"ended before the server sent b'gnip"):
            client.wait_for(b"gnip\n")
        with pytest.raises(s_client.SClientEnded, match="ended before 2 bytes could be sent"):
            client.send(b"x\n")
    assert error.value.result == seen
    assert error.value.output == seen.output
    assert pickle.loads(pickle.dumps(error.value)).result == seen


def test_server_dies(files: Files) -> None:
    """A connection that is cut without a close_notify ends with exit code 1."""
    with python_server(files, lambda connection: None, lambda context: None) as port:
        seen = s_client.run("127.0.0.1", port, wait_for=b"never")
    assert (seen.exit_code, seen.alert, seen.protocol) == (1, None, "TLSv1.3")


@pytest.mark.parametrize(
    ("tls_version", "alert"),
    [("1.2", Alert(40, "handshake_failure")), ("1.3", Alert(116, "certificate_required"))],
)
def test_alert_of_a_server_that_demands_a_certificate(
    files: Files, tls_version: Any, alert: Alert
) -> None:
    """The alert for a missing client certificate is in the result of a run."""
    with s_server(files, "-Verify", "1", "-CAfile", str(files.ca)) as port:
        seen = s_client.run("127.0.0.1", port, tls_version=tls_version, tickets=1)
    assert seen.alert == alert
    assert seen.exit_code == 1
    assert seen.tickets == ()


def test_alert_in_the_error(files: Files) -> None:
    """A wait that an alert cut short raises an error that names the alert and has the result."""
    with (
        s_server(files, "-tls1_2") as port,
        SClient("127.0.0.1", port, tls_version="1.3") as client,
        pytest.raises(
            s_client.SClientEnded, match=r"exit code 1, alert 70 protocol_version, tickets: 0"
        ) as error,
    ):
        client.wait_for_tickets(1)
    seen = error.value.result
    assert seen.alert == Alert(70, "protocol_version")
    assert (seen.reused, seen.protocol, seen.verify_code) == (None, None, None)


# Errors


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_refused_connection() -> None:
    """A port on which nothing listens is a ConnectionRefusedError that names it."""
    port = free_port()
    with pytest.raises(ConnectionRefusedError, match=f"127.0.0.1:{port} was refused") as error:
        s_client.run("127.0.0.1", port)
    assert isinstance(error.value, s_client.SClientRefused)
    assert "connect:errno=" in error.value.output


@pytest.mark.parametrize("program", ["no-such-openssl", "/no/such/openssl", __file__])
def test_missing_program(program: str) -> None:
    """A program that is missing or not executable is a FileNotFoundError that names it."""
    with pytest.raises(FileNotFoundError, match=re.escape(repr(program))) as error:
        s_client.run("127.0.0.1", 4433, program=program)
    assert isinstance(error.value, s_client.SClientNotFound)
    assert error.value.output == ""


def test_no_pseudo_terminal() -> None:
    """Where the system has none left, the error says so, and no file stays open."""
    program = """
        import contextlib, os, resource
        from openssl_tickets import s_client

        with contextlib.suppress(s_client.SClientRefused):
            s_client.run("127.0.0.1", PORT)  # from now on it knows the program
        open_files = len(os.listdir("/dev/fd"))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, limits[1]))
        try:
            s_client.run("127.0.0.1", PORT)
        except s_client.SClientError as error:
            print(type(error).__name__, str(error)[:26])
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert len(os.listdir("/dev/fd")) == open_files
    """
    output = processes.run(textwrap.dedent(program).replace("PORT", str(free_port())))
    assert output == "SClientError there is no pseudo-termina\n"


def test_program_ends_before_it_connects(tmp_path: Path) -> None:
    """An argument or a file that the program refuses is an error with what it said."""
    with pytest.raises(s_client.SClientEnded, match="before it was connected") as error:
        s_client.run("127.0.0.1", 4433, extra_args=["-no-such-option"])
    assert "-no-such-option" in error.value.output
    with pytest.raises(s_client.SClientError, match="No such file"):
        s_client.run("127.0.0.1", 4433, sess_in=tmp_path / "missing.pem")


def test_silent_server(new_children: Callable[[], set[str]]) -> None:
    """A server that accepts and never answers is a TimeoutError, and the program is killed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            TimeoutError, match=r"gave up after 0.3 seconds, before ticket number 1 came"
        ) as error:
            s_client.run("127.0.0.1", port, tickets=1, timeout=0.3)
    assert isinstance(error.value, s_client.SClientTimeout)
    assert "CONNECTED" in error.value.output
    assert new_children() == set()


def test_close_during_the_handshake(new_children: Callable[[], set[str]]) -> None:
    """Closing before the handshake is done is a TimeoutError, and the program is killed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = SClient("127.0.0.1", listener.getsockname()[1], timeout=0.3)
        with pytest.raises(TimeoutError, match="before the program ended, and killed it"):
            client.close()
        assert new_children() == set()
    assert client.close().exit_code == -signal.SIGKILL


def test_server_that_does_not_read(files: Files) -> None:
    """Sending more than anybody takes is a TimeoutError."""
    release = threading.Event()

    def serve(connection: SSL.Connection) -> None:
        release.wait(TIMEOUT)

    with (
        python_server(files, serve, lambda context: None) as port,
        SClient("127.0.0.1", port, timeout=0.5) as client,
    ):
        client.wait_for_tickets(2)
        with pytest.raises(TimeoutError, match="of 50000000 bytes were sent"):
            client.send(bytes(50_000_000))
        release.set()
        client.wait_for_end()


def test_program_that_hangs(tmp_path: Path, new_children: Callable[[], set[str]]) -> None:
    """A program that never connects is a TimeoutError, and so is one that shows no help."""
    own_child = tmp_path / "pid"
    hanging = script(
        tmp_path / "hanging",
        f'case "$*" in *-help*) echo -nocommands;; *) sleep 60 & echo $! >{own_child}; wait;; esac',
    )
    with pytest.raises(TimeoutError, match="before it was connected"):
        SClient("127.0.0.1", 4433, program=hanging, timeout=0.5)
    assert new_children() == set()
    assert not is_running(int(own_child.read_text()))
    silent = script(tmp_path / "silent", "exec sleep 60")
    with pytest.raises(TimeoutError, match=r"-help took longer than 0\.3 seconds"):
        SClient("127.0.0.1", 4433, program=silent, timeout=0.3)


def is_running(pid: int) -> bool:
    for _ in range(100):  # a kill takes a moment, where nobody waits for the process
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX":
                time.sleep(0.05)
                continue
        return False
    return True


def test_interrupt(new_children: Callable[[], set[str]]) -> None:
    """Ctrl-C during a wait leaves no program behind."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = SClient("127.0.0.1", listener.getsockname()[1])
        with interrupted_soon(), pytest.raises(KeyboardInterrupt), client:
            client.wait_for_tickets(1)
        assert new_children() == set()


def test_interrupt_while_connecting(tmp_path: Path, new_children: Callable[[], set[str]]) -> None:
    """Ctrl-C while the client is being made leaves no program behind."""
    hanging = script(
        tmp_path / "hanging", 'case "$*" in *-help*) echo -nocommands;; *) exec sleep 60;; esac'
    )
    with interrupted_soon(), pytest.raises(KeyboardInterrupt):
        SClient("127.0.0.1", 4433, program=hanging)
    assert new_children() == set()


@contextlib.contextmanager
def interrupted_soon() -> Iterator[None]:
    main = threading.main_thread().ident
    assert main is not None
    # A job in a shell script's background is started with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    interrupt.start()
    try:
        yield
    finally:
        interrupt.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"host": b"localhost"}, TypeError, "host must be a str, not bytes"),
        ({"host": ""}, ValueError, "host must not be empty"),
        ({"port": "443"}, TypeError, "port must be an int, not str: '443'"),
        ({"port": True}, TypeError, "port must be an int, not bool"),
        ({"port": 0}, ValueError, "port must be 1 to 65535, not 0"),
        ({"port": 65536}, ValueError, "port must be 1 to 65535, not 65536"),
        ({"tls_version": "1.1"}, ValueError, "tls_version must be .*, not '1.1'"),
        ({"tls_version": 1.3}, TypeError, "tls_version must be a str or None, not float: 1.3"),
        ({"tickets": -1}, ValueError, "tickets must be 0 or more, not -1"),
        ({"tickets": 1.0}, TypeError, "tickets must be an int, not float"),
        ({"send": "text"}, TypeError, "send must be bytes, not str: 'text'"),
        ({"wait_for": "text"}, TypeError, "wait_for must be bytes, not str: 'text'"),
        ({"server_name": b"a"}, TypeError, "server_name must be a str or None, not bytes"),
        ({"server_name": ""}, ValueError, "server_name must not be empty"),
        ({"ca_file": 1}, TypeError, "ca_file must be a str or a path, not int: 1"),
        ({"sess_in": ""}, ValueError, "sess_in must not be empty"),
        ({"key_file": "key.pem"}, ValueError, "key_file 'key.pem' is of no use without"),
        ({"program": None}, TypeError, "program must be a str or a path, not None"),
        ({"extra_args": "-4"}, TypeError, "extra_args must be a list of str, not str: '-4'"),
        ({"extra_args": [4]}, TypeError, "extra_args must hold str, not int: 4"),
        ({"extra_args": ["-quiet"]}, ValueError, "extra_args must not hold -quiet"),
        ({"timeout": "5"}, TypeError, "timeout must be a number of seconds, not str: '5'"),
        ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds, and finite, not 0"),
        ({"timeout": float("nan")}, ValueError, "timeout must be more than 0 .* not nan"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """A bad argument is refused before anything is started, with its name and value."""
    with pytest.raises(error, match=message):
        s_client.run(**{"host": "127.0.0.1", "port": 4433, **arguments})


def test_bad_arguments_of_steps(files: Files) -> None:
    """A bad argument of a step is refused, and the connection goes on."""
    with s_server(files) as port, SClient("127.0.0.1", port) as client:
        with pytest.raises(TypeError, match="data must be bytes, not str"):
            client.send("text")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="data must not be empty"):
            client.wait_for(b"")
        with pytest.raises(ValueError, match="count must be 0 or more, not -1"):
            client.wait_for_tickets(-1)
        assert len(client.wait_for_tickets(2)) == 2
