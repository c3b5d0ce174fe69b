"""``openssl-tickets probe`` finds what servers of ours have been set to do."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import ReceivedTicket, TicketKey, TicketKeys, TicketReturn
from openssl_tickets._cli import probe as command
from openssl_tickets._testing.server import Server, TLSServer, accepting, read
from tests.support import stdlib_tls, tls
from tests.support.probing import counts, probed

Probe = Callable[..., dict[str, Any]]
Start = Callable[..., str]


@pytest.fixture
def probe(capsys: pytest.CaptureFixture[str]) -> Probe:
    """``probe(target, ...)`` returns what is found; two connections in a row are enough here."""
    return partial(probed, capsys, "--wait", "0.2", "-n", "2")


@pytest.fixture
def start() -> Iterator[Start]:
    """``start(server)`` returns what to probe, and closes the server at the end."""
    with contextlib.ExitStack() as at_the_end:

        def start(server: Server) -> str:
            at_the_end.callback(server.close)
            return f"{server.host}:{server.port}"

        yield start


@pytest.fixture
def context(server_file: Path) -> ssl.SSLContext:
    """A server's context for both versions."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_file)
    return context


def answer(connection: Any) -> None:
    """Reads a request, if there is one, and answers it."""
    if read(connection):
        connection.sendall(b"an answer\n")


def serve(context: Any, serve: Callable[[Any], None] = answer) -> TLSServer:
    return TLSServer(context, serve)


class TestTickets:
    @pytest.mark.parametrize("number", [0, 1, 2, 5])
    def test_how_many(
        self, probe: Probe, start: Start, context: ssl.SSLContext, number: int
    ) -> None:
        """As many tickets as the server sends, with the handshake; one after a resumption."""
        openssl_tickets.set_num_tickets(context, number)
        openssl_tickets.set_session_timeout(context, 1234)
        found = probe(start(serve(context)))
        assert (found["negotiated"], found["complete"]) == ("TLSv1.3", True)
        later = found["versions"]["TLSv1.3"]
        assert later["full_handshake"]["tickets"] == number
        assert later["full_handshake"]["when"] == ["handshake"] * number
        assert later["full_handshake"]["lifetime_hints"] == [1234] * number
        if number:
            assert counts(later) == (number, 1)
            assert (later["resumed"], later["connections"], later["failed"]) == (2, 2, 0)
        else:
            assert (later["resumption"], later["resumes_by"], later["rate"]) == (None, None, 0)
        before = found["versions"]["TLSv1.2"]
        assert (counts(before), before["resumed"], before["resumes_by"]) == ((1, 0), 2, "ticket")
        assert before["full_handshake"]["lifetime_hints"] == [1234]

    def test_with_the_first_data(self, probe: Probe, start: Start, server_file: Path) -> None:
        """Tickets that come with the answer to the request are told from those that come before."""
        context = tls.server_context(server_file)

        def talk(connection: Any) -> None:
            if read(connection):
                connection.new_session_ticket()
                connection.sendall(b"an answer\n")

        for at_once in (0, 1):
            context = tls.server_context(server_file)
            context.set_num_tickets(at_once)
            found = probe(start(serve(context, talk)), "--tls", "1.3")
            (version,) = found["versions"].values()
            assert version["full_handshake"]["when"] == ["handshake"] * at_once + ["data"]
            assert (version["resumed"], version["taken_twice"]) == (2, True)

    @pytest.mark.parametrize("version", ["1.2", "1.3"])
    def test_versions(self, probe: Probe, start: Start, server_file: Path, version: str) -> None:
        """A version that the server does not offer is not available, and the other one is."""
        found = probe(start(serve(stdlib_tls.server_context(server_file, version))))
        assert found["negotiated"] == f"TLSv{version}"
        errors = {name: each["error"] for name, each in found["versions"].items()}
        assert errors.pop(f"TLSv{version}") is None
        assert "protocol version" in str(errors.popitem()[1])

    def test_key_names(self, probe: Probe, start: Start, context: ssl.SSLContext) -> None:
        """The names are those of the keys, and a change is seen at its connection."""
        old, new = TicketKey.generate(), TicketKey.generate()
        keys = TicketKeys([old])
        openssl_tickets.set_ticket_keys(context, keys)
        accept, made = accepting(context), itertools.count(1)
        # One to see whether it answers, a full handshake, a resumption, the same ticket again.
        after = 4 + 3

        def handle(taken: Any) -> None:
            if next(made) > after:
                keys.replace([new, old])
            with accept(taken.plain, tls.TIMEOUT) as connection:
                answer(connection)

        found = probe(start(Server(handle)), "--tls", "1.3", "-n", 6)
        (version,) = found["versions"].values()
        assert version["key_names"] == [
            {"key_name": old.name.hex(), "first": 0, "last": 3},
            {"key_name": new.name.hex(), "first": 4, "last": 6},
        ]
        assert (version["resumed"], version["tickets_seen"]) == (6, 7)

    @pytest.mark.parametrize("once", [True, False])
    def test_taken_twice(
        self, probe: Probe, start: Start, context: ssl.SSLContext, once: bool
    ) -> None:
        """A server that takes each ticket once is told from one that takes it again."""
        seen: set[Any] = set()
        number = itertools.count()

        def generate(connection: Any, _: None) -> bytes:
            return b"%d" % next(number)

        def decrypt(connection: Any, ticket: ReceivedTicket, _: None) -> TicketReturn | None:
            if ticket.appdata is None or not once:
                return None
            is_new = ticket.appdata not in seen
            seen.add(ticket.appdata)
            return None if is_new else TicketReturn.IGNORE_RENEW

        openssl_tickets.set_session_ticket_callback(context, generate, decrypt)
        (version,) = probe(start(serve(context)), "--tls", "1.3")["versions"].values()
        assert (version["taken_twice"], version["resumed"]) == (not once, 2)

    def test_several_workers(self, probe: Probe, start: Start, server_file: Path) -> None:
        """Workers in turn, with keys of their own, never resume each other's tickets."""
        accepts = [accepting(stdlib_tls.server_context(server_file)) for _ in range(2)]

        def handle(taken: Any) -> None:
            with accepts[taken.number % 2](taken.plain, tls.TIMEOUT) as connection:
                answer(connection)

        found = probe(start(Server(handle)), "--tls", "1.3", "-n", 6)
        (version,) = found["versions"].values()
        assert (version["resumed"], version["connections"], version["resumption"]) == (0, 6, None)
        assert len({each["key_name"] for each in version["key_names"]}) == 2

    @pytest.mark.parametrize("shared", [True, False])
    def test_addresses(self, probe: Probe, server_file: Path, shared: bool) -> None:
        """A ticket of one address is taken at another if both have the same keys."""
        keys = TicketKeys([TicketKey.generate()])
        with contextlib.ExitStack() as at_the_end:
            port = 0
            for host in ("127.0.0.1", "127.0.0.2"):
                context = stdlib_tls.server_context(server_file)
                if shared:
                    openssl_tickets.set_ticket_keys(context, keys)
                accept = accepting(context)

                def handle(taken: Any, accept: Any = accept) -> None:
                    with accept(taken.plain, tls.TIMEOUT) as connection:
                        answer(connection)

                server = Server(handle, host, port)
                at_the_end.callback(server.close)
                port = server.port
            found = probe(
                f"localhost:{port}",
                *("--tls", "1.3", "--address", "127.0.0.1", "--address", "127.0.0.2"),
            )
        assert found["versions"]["TLSv1.3"]["other_addresses"] == {"127.0.0.2": shared}
        assert found["addresses"] == ["127.0.0.1", "127.0.0.2"]


@pytest.fixture
def three_of_four(context: ssl.SSLContext) -> ssl.SSLContext:
    """A context that refuses each fourth ticket, and the first two, which are not counted, not."""
    number = itertools.count(-1)

    def decrypt(connection: Any, ticket: ReceivedTicket, _: None) -> TicketReturn | None:
        if ticket.appdata is None:
            return None
        return TicketReturn.IGNORE_RENEW if next(number) % 4 == 3 else None

    openssl_tickets.set_session_ticket_callback(context, None, decrypt)
    return context


class TestStatus:
    @pytest.mark.parametrize(("rate", "status"), [("0.75", 0), ("0.76", 1), ("0", 0), ("1", 1)])
    def test_expect_resumed(
        self,
        probe: Probe,
        start: Start,
        three_of_four: ssl.SSLContext,
        rate: str,
        status: int,
    ) -> None:
        """The status says whether as many were resumed as were to be."""
        target = start(serve(three_of_four))
        options = ("--tls", "1.3", "-n", 8, "--expect-resumed", rate)
        (version,) = probe(target, *options, status=status)["versions"].values()
        assert (version["resumed"], version["connections"]) == (6, 8)
        assert version["rate"] == 0.75

    def test_no_tickets(self, probe: Probe, start: Start, context: ssl.SSLContext) -> None:
        """A server without tickets does not pass, since nothing was resumed."""
        openssl_tickets.set_num_tickets(context, 0)
        probe(start(serve(context)), "--tls", "1.3", "--expect-resumed", "0.5", status=1)

    def test_version_that_is_not_there(
        self, start: Start, server_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A server that does not offer the only version does not pass."""
        target = start(serve(stdlib_tls.server_context(server_file, "1.2")))
        assert command.main([target, "--tls", "1.3", "--expect-resumed", "0"]) == 1
        assert capsys.readouterr().err.startswith(f"error: port {target.split(':')[1]} of ")

    def test_limit(self, probe: Probe, start: Start, context: ssl.SSLContext) -> None:
        """Its time is bounded, and what was not seen is said to be so and does not pass."""
        target = start(serve(context))
        options = ("-n", 10000, "--limit", 1, "--expect-resumed", "0.5")
        found = probe(target, *options, status=1)
        assert not found["complete"]
        assert found["versions"]["TLSv1.3"]["connections"] < 10000
        assert found["versions"]["TLSv1.2"]["error"] == "there was no time left"

    def test_server_that_never_ends(
        self, probe: Probe, start: Start, context: ssl.SSLContext
    ) -> None:
        """A server that sends without end does not keep it."""

        def talk(connection: Any) -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection.sendall(b"x" * 10000)

        found = probe(start(serve(context, talk)), "--tls", "1.3", "--timeout", "1")
        assert found["versions"]["TLSv1.3"]["resumed"] == 2

    def test_nobody_listens(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Without a server it says so on one line."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        assert command.main([f"127.0.0.1:{port}"]) == 1
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err == f"error: port {port} of 127.0.0.1: Connection refused\n"

    def test_no_tls(self, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
        """A server that speaks no TLS is said to be so on one line."""
        target = start(Server(lambda taken: taken.plain.sendall(b"220 no TLS here\r\n")))
        assert command.main([target]) == 1
        assert capsys.readouterr().err.count("\n") == 1

    def test_silent_server(self, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
        """A server that says nothing is waited for as long as --timeout says."""
        target = start(Server(lambda taken: taken.plain.recv(1 << 16) and taken.plain.recv(1)))
        assert command.main([target, "--timeout", "0.2"]) == 1
        assert capsys.readouterr().err.endswith("no answer in time\n")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["::1"],
            ["host:0"],
            ["host:port"],
            ["host:65536"],
            ["host", "-n", "0"],
            ["host", "--expect-resumed", "1.1"],
            ["host", "--expect-resumed", "nan"],
            ["host", "--tls", "1.1"],
            ["host", "--starttls", "http"],
            ["host", "--starttls", "smtp", "--send", "x"],
            [],
        ],
    )
    def test_usage(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """A wrong command line is refused on one line, with status 2."""
        with pytest.raises(SystemExit) as caught:
            command.main(arguments)
        assert caught.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_text(start: Start, context: ssl.SSLContext, capsys: pytest.CaptureFixture[str]) -> None:
    """For people it says the same in words."""
    key = TicketKey.generate()
    openssl_tickets.set_ticket_keys(context, TicketKeys([key]))
    assert command.main([start(serve(context)), "-n", "3", "--wait", "0.2"]) == 0
    text = capsys.readouterr().out
    for words in (
        "The server chooses TLSv1.3.",
        "full handshake:     2 tickets, with the handshake",
        "resumption:         1 ticket, with the handshake",
        "same ticket twice:  taken again",
        "resumed:            3 of 3",
        f"{key.name.hex()} in connection 0 to 3",
        "full handshake:     1 ticket, with the handshake",
        "resumption:         no ticket",
    ):
        assert words in text


def test_names_the_server(probe: Probe, start: Start, context: ssl.SSLContext) -> None:
    """It asks for the name that it was given, and for none if that is an address."""
    asked: list[str | None] = []
    context.sni_callback = lambda connection, name, _: asked.append(name)
    target = start(serve(context))
    port = target.split(":")[1]
    for arguments, name in (
        ([target], None),
        ([f"localhost:{port}", "--address", "127.0.0.1"], "localhost"),
        ([target, "--server-name", "example.org"], "example.org"),
        ([f"localhost:{port}", "--address", "127.0.0.1", "--server-name", ""], None),
    ):
        asked.clear()
        probe(*arguments, "--tls", "1.3")
        assert set(asked) == {name}
