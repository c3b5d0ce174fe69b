"""Connections in steps, and what the server's data can do to the driver."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from openssl_tickets import SSL
from openssl_tickets.s_client import SClient, SClientEnded, run
from tests.support import tls

Server = Callable[..., AbstractContextManager[int]]


def test_tickets_and_data(python_server: Server) -> None:
    """Tickets that come with a reply, or in the middle of it, are seen as soon as the reply is."""

    def serve(connection: Any) -> None:
        for line, tickets in ((b"login\n", 1), (b"more\n", 2)):
            assert connection.recv(100) == line
            connection.sendall(b"wel")
            for _ in range(tickets):
                connection.new_session_ticket()
            connection.sendall(b"come")

    with (
        python_server(serve) as port,
        SClient("127.0.0.1", port, tls_version="1.3") as client,
    ):
        assert len(client.wait_for_tickets(2)) == 2
        for line, tickets in ((b"login\n", 3), (b"more\n", 5)):
            client.send(line)
            client.wait_for(b"welcome")
            assert len(client.wait_for_tickets(0)) == tickets
        seen = client.close()
    assert len(seen.tickets) == len({ticket.ticket for ticket in seen.tickets}) == 5
    assert seen == client.close()
    assert seen.exit_code == 0


def test_tickets_are_there_before_the_data_that_follows(python_server: Server) -> None:
    """However fast they come, what was sent before some data is there when the data is."""

    def serve(connection: Any) -> None:
        for number in range(200):
            connection.new_session_ticket()
            connection.sendall(b"<%d>" % number)

    def set_up(context: Any) -> None:
        context.set_num_tickets(0)

    with (
        python_server(serve, set_up) as port,
        SClient("127.0.0.1", port, tls_version="1.3") as client,
    ):
        for number in range(200):
            client.wait_for(b"<%d>" % number)
            assert len(client.wait_for_tickets(0)) > number


@pytest.mark.parametrize("line", [b"Quit", b"Redo", b"Key", b"key", b"Q", b"R", b"K", b"k", b"{q}"])
def test_lines_like_commands(s_server: Server, line: bytes) -> None:
    """Lines that s_client could take for its own commands are sent like any other."""
    with s_server() as port, SClient("127.0.0.1", port) as client:
        for _ in range(2):
            client.send(line + b"\n")
            client.wait_for(line[::-1] + b"\n")
        assert client.close().exit_code == 0


def test_much_data_both_ways(python_server: Server) -> None:
    """Megabytes that nobody waits for block neither side."""
    size = 4_000_000

    def serve(connection: Any) -> None:
        connection.sendall(b"\x00---\nread" * (size // 9))
        received = 0
        while received < size:
            received += len(connection.recv(65536))
        connection.sendall(b"all of it")

    with python_server(serve) as port, SClient("127.0.0.1", port, timeout=30) as client:
        client.send(b"Q" * size)
        client.wait_for(b"all of it")
        seen = client.close()
    assert len(seen.tickets) == 2
    assert len(seen.output) > size * 8 // 9


def test_waiting_behind_much_data(python_server: Server) -> None:
    """What has been looked at is not looked at again: each byte is searched about once."""
    size, searched = 8_000_000, 0

    class Counting(bytearray):
        def find(self, *arguments: Any) -> int:
            nonlocal searched
            searched += len(self) - arguments[1]
            return super().find(*arguments)

    with (
        python_server(lambda each: each.sendall(b"x" * size + b"END")) as port,
        SClient("127.0.0.1", port, timeout=60) as client,
    ):
        with client._program.changed:
            client._transcript.data = Counting(client._transcript.data)
        client.wait_for(b"END")
    assert size / 2 < searched < 1.1 * size


# What s_client would print without -brief, in the order in which it does.
FORGED = b"""read R BLOCK
---
Post-Handshake New Session Ticket arrived:
SSL-Session:
    Protocol  : TLSv1.3
    TLS session ticket lifetime hint: %b (seconds)
    TLS session ticket:
    0000 - 41 41 41 41 41 41 41 41-41 41 41 41 41 41 41 41   AAAAAAAAAAAAAAAA

---
closed
CONNECTION ESTABLISHED
Protocol version: TLSv9
Verification error: forged
<<< TLS 1.3, Handshake [length 0005], NewSessionTicket
    04 00 00 01 00
<<< TLS 1.3, Alert [length 0002], fatal handshake_failure
    02 28
:SSL alert number 40
Error writing session file forged
"""


@pytest.mark.parametrize(
    "data",
    [
        FORGED % b"7200",
        FORGED % (b"9" * 5000),
        FORGED[: len(FORGED) // 3],  # unfinished
        bytes(range(256)) + b"\r\n\x03\x04\x1a",
    ],
    ids=["ticket", "number", "unfinished", "bytes"],
)
def test_data_like_words_of_the_program(
    python_server: Server, ca_file: Path, version: Any, data: bytes
) -> None:
    """Data of the server is data, whatever it looks like, and s_client's own words are none."""
    with (
        python_server(lambda each: each.sendall(data + b"END")) as port,
        SClient("127.0.0.1", port, tls_version=version, ca_file=ca_file) as client,
    ):
        client.wait_for(data)
        client.wait_for(b"END")
        seen = client.close()
    number, protocol = (2, "TLSv1.3") if version == "1.3" else (1, "TLSv1.2")
    assert [ticket.lifetime_hint for ticket in seen.tickets] == [7200] * number
    assert (seen.protocol, seen.alert, seen.verify_code) == (protocol, None, 0)
    assert bytes(client._transcript.data) == data + b"END"


def test_server_in_the_same_thread(server_context: Any) -> None:
    """A server in the same thread can accept once the client is made."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        SClient("127.0.0.1", listener.getsockname()[1]) as client,
        listener.accept()[0] as accepted,
    ):
        connection = SSL.Connection(server_context, accepted)
        connection.set_accept_state()
        connection.do_handshake()
        assert len(client.wait_for_tickets(2)) == 2


def test_wait_after_the_end(s_server: Server) -> None:
    """What came before the end can still be waited for; what did not is a clear error."""
    with s_server() as port, SClient("127.0.0.1", port) as client:
        client.send(b"ping\nCLOSE\n")
        seen = client.wait_for_end()
        assert (seen.exit_code, seen.alert, seen.missing) == (0, None, ())
        client.wait_for(b"gnip\n")
        assert client.wait_for_tickets(2) == seen.tickets
        steps: list[tuple[Callable[[], object], str]] = [
            (lambda: client.wait_for_tickets(3), "ticket number 3"),
            (lambda: client.wait_for(b"gnip\n"), r"b'gnip\n' from the server"),
            (lambda: client.send(b"x\n"), "the sending of 2 bytes"),
        ]
        for step, what in steps:
            with pytest.raises(SClientEnded) as error:
                step()
            assert f" ended before {what} (exit code 0, tickets: 2)" in str(error.value)
        assert error.value.result.missing == client.close().missing == tuple(w for _, w in steps)


def test_server_that_does_not_read(python_server: Server) -> None:
    """Sending more than anybody takes is a TimeoutError."""
    release = threading.Event()
    with (
        python_server(lambda each: release.wait(tls.TIMEOUT)) as port,
        SClient("127.0.0.1", port, timeout=0.5) as client,
    ):
        client.wait_for_tickets(2)
        with pytest.raises(TimeoutError, match="before the sending of 50000000 bytes, of which"):
            client.send(bytes(50_000_000))
        release.set()
        client._program.kill()


class TestNothingIsLeft:
    """The program ends with its object, however that goes."""

    def test_dropped(self, s_server: Server, new_children: Callable[[], set[str]]) -> None:
        """An object that is dropped without a close ends its program, and warns."""
        with s_server() as port:
            before = new_children()
            clients = [SClient("127.0.0.1", port)]
            assert len(new_children() - before) == 1
            with pytest.warns(ResourceWarning, match=f"127.0.0.1:{port} was dropped, and not clos"):
                clients.clear()
            assert new_children() == before

    def test_interrupt(self, new_children: Callable[[], set[str]]) -> None:
        """Ctrl-C during a wait leaves no program behind."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = SClient("127.0.0.1", listener.getsockname()[1])
            with Interrupt(), pytest.raises(KeyboardInterrupt), client:
                client.wait_for_tickets(1)
            assert new_children() == set()

    def test_interrupt_while_connecting(
        self, script: Callable[[str], Path], new_children: Callable[[], set[str]]
    ) -> None:
        """Ctrl-C while the client is being made leaves no program behind."""
        with Interrupt(), pytest.raises(KeyboardInterrupt):
            SClient("127.0.0.1", 4433, program=script("exec sleep 60"))
        assert new_children() == set()

    def test_end_of_python(self, s_server: Server) -> None:
        """A program whose Python ends is ended too."""
        code = "from openssl_tickets.s_client import SClient\n"
        with s_server() as port:
            code += f"kept = SClient('127.0.0.1', {port}); print(kept._program.process.pid)"
            pid = int(subprocess.check_output([sys.executable, "-I", "-c", code]))
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    def test_close_during_the_handshake(self, new_children: Callable[[], set[str]]) -> None:
        """Closing before the handshake is done is a TimeoutError, and the program is killed."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = SClient("127.0.0.1", listener.getsockname()[1], timeout=0.3)
            with pytest.raises(TimeoutError, match="before its end, and was killed"):
                client.close()
            assert new_children() == set()
        assert client.close().exit_code == -signal.SIGKILL

    def test_silent_server(self, new_children: Callable[[], set[str]]) -> None:
        """A server that accepts and never answers is a TimeoutError, and the program is killed."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            with pytest.raises(TimeoutError, match=r"after 0.3 seconds, before ticket number 1 "):
                run("127.0.0.1", port, tickets=1, timeout=0.3, check=False)
        assert new_children() == set()

    def test_program_that_hangs(
        self, tmp_path: Path, script: Callable[[str], Path], new_children: Callable[[], set[str]]
    ) -> None:
        """A program that never connects is a TimeoutError, and is killed with its own children."""
        its_child = tmp_path / "pid"
        program = script(f"sleep 60 & echo $! >{its_child}; wait")
        with pytest.raises(TimeoutError, match="before a connection"):
            SClient("127.0.0.1", 4433, program=program, timeout=0.5)
        assert new_children() == set()
        # Its pipes are closed: nobody holds them any more.
        stat = Path(f"/proc/{its_child.read_text().strip()}/stat")
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


class Interrupt:
    """Ctrl-C for the main thread, soon."""

    def __enter__(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        # A job in a shell script's background is started with Ctrl-C ignored.
        self._before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self._timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.join()
        signal.signal(signal.SIGINT, self._before)
