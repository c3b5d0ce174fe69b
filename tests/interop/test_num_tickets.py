"""How many tickets ``openssl s_client`` gets from our server, and when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets.s_client import SClient, SClientResult
from tests import interop
from tests.support import tls


class TestCounts:
    @pytest.mark.parametrize("number", [0, 1, 2, 3, 10])
    def test_full_handshake(
        self, server_context: Any, ask: Callable[..., SClientResult], number: int
    ) -> None:
        """After a full TLS 1.3 handshake, as many tickets come as were set."""
        server_context.set_num_tickets(number)
        with interop.serving(server_context) as server:
            seen = ask(server.port)
        assert (seen.protocol, seen.reused, seen.verify_code) == ("TLSv1.3", False, 0)
        assert (len(seen.tickets), seen.alert, seen.exit_code) == (number, None, 0)
        assert len({ticket.ticket for ticket in seen.tickets}) == number

    @pytest.mark.parametrize("number", [0, 1, 2, 3, 10])
    def test_resumption(
        self,
        server_context: Any,
        ask: Callable[..., SClientResult],
        session_file: Path,
        number: int,
    ) -> None:
        """After a TLS 1.3 resumption comes one ticket, and none where the number is 0."""
        with interop.serving(server_context) as server:
            assert not ask(server.port, sess_out=session_file).reused
            server_context.set_num_tickets(number)
            seen = ask(server.port, sess_in=session_file)
        assert (seen.protocol, seen.reused, len(seen.tickets)) == ("TLSv1.3", True, min(number, 1))
        assert (seen.verify_code, seen.alert, seen.exit_code) == (0, None, 0)

    @pytest.mark.parametrize("number", [0, 1, 2, 3, 10])
    def test_number_of_a_connection(
        self, server_context: Any, ask: Callable[..., SClientResult], number: int
    ) -> None:
        """The number of a connection counts, not that of its context."""
        server_context.set_num_tickets(5)

        def serve(connection: Any) -> None:
            connection.set_num_tickets(number)
            interop.answer(connection)

        with interop.serving(server_context, serve) as server:
            assert len(ask(server.port).tickets) == number

    @pytest.mark.parametrize("number", [0, 1, 2, 10])
    def test_tls_1_2(
        self, server_file: Path, ask: Callable[..., SClientResult], number: int
    ) -> None:
        """TLS 1.2 brings one ticket, whatever number is set."""
        context = tls.server_context(server_file, "1.2")
        context.set_num_tickets(number)
        with interop.serving(context) as server:
            seen = ask(server.port)
        assert (seen.protocol, seen.reused, len(seen.tickets)) == ("TLSv1.2", False, 1)

    def test_resumptions_in_a_row(
        self,
        server_file: Path,
        version: str,
        ask: Callable[..., SClientResult],
        session_file: Path,
    ) -> None:
        """What s_client wrote is resumed in both versions, and in TLS 1.3 its renewals are too."""
        context = tls.server_context(server_file, version)
        with interop.serving(context) as server:
            seen = [ask(server.port, sess_out=session_file)]
            seen += [
                ask(server.port, sess_in=session_file, sess_out=session_file) for _ in range(3)
            ]
        assert [one.reused for one in seen] == [False, True, True, True]
        counts = {"1.2": [1, 0, 0, 0], "1.3": [2, 1, 1, 1]}
        assert [len(one.tickets) for one in seen] == counts[version]
        assert {one.protocol for one in seen} == {f"TLSv{version}"}

    @pytest.mark.parametrize("number", [0, 1, 3])
    def test_ticket_of_another_context(
        self,
        server_file: Path,
        version: str,
        ask: Callable[..., SClientResult],
        session_file: Path,
        number: int,
    ) -> None:
        """A ticket that another context's keys made is not resumed, and as many new ones come."""
        issuer, other = (tls.server_context(server_file, version) for _ in range(2))
        other.set_num_tickets(number)
        with interop.serving(issuer) as server:
            first = ask(server.port, sess_out=session_file)
        with interop.serving(other) as server:
            seen = ask(server.port, sess_in=session_file)
        assert seen.reused is False
        assert len(seen.tickets) == (1 if version == "1.2" else number)
        assert first.tickets[-1].key_name not in {ticket.key_name for ticket in seen.tickets}
        assert seen.exit_code == 0


class TestOnDemand:
    """A server that has tickets for its client after a login."""

    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize("number", [0, 2])
    @pytest.mark.parametrize("how", ["write", "do_handshake"])
    def test_after_a_login(
        self,
        server_context: Any,
        connect: Callable[..., SClient],
        number: int,
        count: int,
        how: str,
    ) -> None:
        """Each request is one ticket on top, with the next write, or by do_handshake alone."""
        server_context.set_num_tickets(number)

        def serve(connection: Any) -> None:
            connection.do_handshake()
            for line in interop.requests(connection):
                if line == b"login\n":
                    for _ in range(count):
                        connection.new_session_ticket()
                if line == b"login\n" and how == "do_handshake":
                    connection.do_handshake()
                else:
                    connection.sendall(interop.REPLY)

        with (
            interop.serving(server_context, serve) as server,
            connect(server.port) as client,
        ):
            client.send(b"hello\n")
            client.wait_for(interop.REPLY)
            assert len(client.wait_for_tickets(0)) == number
            client.send(b"login\n")
            if how == "write":
                client.wait_for(interop.REPLY)
                assert len(client.wait_for_tickets(0)) == number + count
            else:
                client.wait_for_tickets(number + count)
            client.send(b"hello\n")
            client.wait_for(interop.REPLY)
            seen = client.close()
        assert (len(seen.tickets), seen.exit_code) == (number + count, 0)

    @pytest.mark.parametrize(("number", "renewals"), [(0, 0), (2, 1)])
    def test_resumes(
        self,
        server_context: Any,
        ask: Callable[..., SClientResult],
        session_file: Path,
        number: int,
        renewals: int,
    ) -> None:
        """A ticket on demand resumes like any other."""

        def serve(connection: Any) -> None:
            connection.set_num_tickets(0)
            connection.do_handshake()
            for _ in interop.requests(connection):
                connection.new_session_ticket()
                connection.sendall(interop.REPLY)

        with interop.serving(server_context, serve) as server:
            assert len(ask(server.port, sess_out=session_file).tickets) == 1
        server_context.set_num_tickets(number)
        with interop.serving(server_context) as server:
            seen = ask(server.port, sess_in=session_file)
        assert (seen.reused, len(seen.tickets), seen.exit_code) == (True, renewals, 0)

    @pytest.mark.parametrize("ticket_first", [True, False])
    def test_order(
        self, server_context: Any, connect: Callable[..., SClient], ticket_first: bool
    ) -> None:
        """With the first write, the ticket is there before the text; after it, after the text."""
        server_context.set_num_tickets(0)

        def serve(connection: Any) -> None:
            connection.do_handshake()
            if ticket_first:
                connection.new_session_ticket()
                connection.sendall(interop.REPLY)
            else:
                connection.sendall(interop.REPLY)
                assert connection.recv(100) == b"more\n"
                connection.new_session_ticket()
                connection.do_handshake()
            for _ in interop.requests(connection):
                pass

        with (
            interop.serving(server_context, serve) as server,
            connect(server.port) as client,
        ):
            client.wait_for(interop.REPLY)
            tickets = len(client.wait_for_tickets(0))
            client.send(b"more\n")
            client.wait_for_tickets(1)
            seen = client.close()
        assert (tickets, len(seen.tickets)) == (int(ticket_first), 1)

    def test_tls_1_2_goes_on(self, server_file: Path, ask: Callable[..., SClientResult]) -> None:
        """In TLS 1.2 a request is refused, and the connection is as good as before."""

        def serve(connection: Any) -> None:
            connection.do_handshake()
            with pytest.raises(openssl_tickets.Error, match=r"speaks TLSv1\.2"):
                connection.new_session_ticket()
            for _ in interop.requests(connection):
                connection.sendall(interop.REPLY)

        with interop.serving(tls.server_context(server_file, "1.2"), serve) as server:
            seen = ask(server.port)
        assert (len(seen.tickets), seen.alert, seen.exit_code) == (1, None, 0)
