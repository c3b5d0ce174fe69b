"""How many tickets a server sends, and when: counts, and tickets on demand."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import SSL
from tests.support import native, tls
from tests.support.libraries import Setting

MOST = 255


class Indexable:
    """An integer that is not an int, as numpy has them."""

    def __index__(self) -> int:
        return 7


@pytest.fixture(params=["context", "connection"])
def target(request: pytest.FixtureRequest) -> Any:
    """A context, and again a connection: whatever a number of tickets can be set on."""
    context = SSL.Context(SSL.TLS_METHOD)
    return context if request.param == "context" else SSL.Connection(context, None)


class TestNumTickets:
    def test_default_is_two(self, target: Any) -> None:
        """OpenSSL sends two tickets where nothing else is said."""
        assert openssl_tickets.get_num_tickets(target) == 2
        assert target.get_num_tickets() == 2

    @pytest.mark.parametrize("number", [0, 1, 2, 10, MOST, Indexable()])
    def test_what_is_set_is_got(self, target: Any, number: Any) -> None:
        """What is set is got, up to what a client may ask for."""
        openssl_tickets.set_num_tickets(target, number)
        assert openssl_tickets.get_num_tickets(target) == number.__index__()
        target.set_num_tickets(5)
        assert target.get_num_tickets() == 5

    def test_connection_starts_with_its_contexts_number(self) -> None:
        """A connection takes over its context's number, and then has its own."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_num_tickets(4)
        connection = SSL.Connection(context, None)
        assert connection.get_num_tickets() == 4
        connection.set_num_tickets(1)
        context.set_num_tickets(9)
        assert connection.get_num_tickets() == 1

    @pytest.mark.parametrize(
        ("number", "error", "message"),
        [
            (-1, ValueError, "must be 0 or more, not -1"),
            (MOST + 1, ValueError, "at most 255, not 256$"),
            (2**40, ValueError, "at most 255, not 1099511627776$"),
            (2**64 + 1, ValueError, "at most 255"),
            (10**100, ValueError, "at most 255"),
            (True, TypeError, "not the bool True"),
            (False, TypeError, "not the bool False"),
            (2.0, TypeError, "not float: 2.0"),
            ("2", TypeError, "not str: '2'"),
            (None, TypeError, "not NoneType: None"),
        ],
    )
    def test_bad_number_is_refused(
        self, target: Any, number: Any, error: type[Exception], message: str
    ) -> None:
        """A number that is none, or is out of range, is refused, and the old one stays."""
        with pytest.raises(error, match=message):
            openssl_tickets.set_num_tickets(target, number)
        assert openssl_tickets.get_num_tickets(target) == 2


class TestCounts:
    @pytest.mark.parametrize("number", [0, 1, 2, 3, 10])
    def test_full_handshake_and_resumption(
        self, server_context: Any, client_context: Any, number: int
    ) -> None:
        """A full handshake brings N tickets, a resumption 1, and neither any where N is 0."""
        # A session to resume, from before N is set.
        first = tls.Pair(server_context, client_context).handshake()
        session = first.session()
        server_context.set_num_tickets(number)
        full = tls.Pair(server_context, client_context).handshake()
        assert (full.reused, full.received) == (False, number)
        resumed = tls.Pair(server_context, client_context, session).handshake()
        assert (resumed.reused, resumed.received) == (True, min(number, 1))

    @pytest.mark.parametrize("number", [0, 1, 3])
    def test_number_of_a_connection_counts(
        self, server_context: Any, client_context: Any, number: int
    ) -> None:
        """The number that is set on a connection before its handshake goes over its context's."""
        pair = tls.Pair(server_context, client_context)
        pair.server.set_num_tickets(number)
        assert pair.handshake().received == number

    def test_most(self, setting13: Setting) -> None:
        """The largest number that is taken is sent, to clients of both libraries."""
        openssl_tickets.set_num_tickets(setting13.server_context, MOST)
        assert setting13.handshake().received == MOST

    def test_ticket_of_another_context(self, server_file: Path, client_context: Any) -> None:
        """A ticket that another context's keys made is not resumed, and N new ones come."""
        issuer, other = tls.server_context(server_file), tls.server_context(server_file)
        other.set_num_tickets(3)
        session = tls.Pair(issuer, client_context).handshake().session()
        pair = tls.Pair(other, client_context, session).handshake()
        assert (pair.reused, pair.received) == (False, 3)

    @pytest.mark.parametrize("number", [0, 1, 2, 3])
    def test_counts_over_sockets(
        self, server_context: Any, client_context: Any, number: int
    ) -> None:
        """Over real sockets it is the same: N after a full handshake, 1 after a resumption."""
        first = tls.Pair(server_context, client_context).handshake()
        session = first.session()
        server_context.set_num_tickets(number)

        def serve(connection: Any) -> None:
            connection.do_handshake()
            connection.sendall(b"!")

        with tls.Server(server_context, serve) as server:
            for resume, count in ((None, number), (session, min(number, 1))):
                with tls.connected(client_context, server.port, resume) as client:
                    assert client.recv(1) == b"!"
                    assert tls.received(client) == count
                    assert tls.session_reused(client) == (resume is not None)
        assert server.errors == []


class TestOnDemand:
    @pytest.fixture
    def pair(self, server_context: Any, client_context: Any) -> tls.Pair:
        """An established connection whose handshake brought no tickets."""
        server_context.set_num_tickets(0)
        return tls.Pair(server_context, client_context).handshake()

    def test_sent_with_the_next_write(self, pair: tls.Pair) -> None:
        """Two requests send nothing by themselves, and two tickets with the next byte."""
        pair.server.new_session_ticket()
        pair.server.new_session_ticket()
        assert (pair.client_reads(), pair.received) == (b"", 0)
        pair.server.send(b"!")
        assert (pair.client_reads(), pair.received) == (b"!", 2)

    def test_one_request_one_ticket(self, pair: tls.Pair) -> None:
        """One request is one ticket, once."""
        pair.server.new_session_ticket()
        pair.server.send(b"1")
        assert (pair.client_reads(), pair.received) == (b"1", 1)
        pair.server.send(b"2")
        assert (pair.client_reads(), pair.received) == (b"2", 1)

    def test_sent_with_the_next_read(self, pair: tls.Pair) -> None:
        """A read sends what was asked for, also one that finds nothing to read."""
        pair.server.new_session_ticket()
        pair.server.new_session_ticket()
        with pytest.raises(SSL.WantReadError):
            pair.server.recv(1)
        assert (pair.client_reads(), pair.received) == (b"", 2)

    def test_sent_with_do_handshake(self, pair: tls.Pair) -> None:
        """At a record boundary, do_handshake sends what was asked for."""
        openssl_tickets.new_session_ticket(pair.server)
        openssl_tickets.new_session_ticket(pair.server)
        pair.server.do_handshake()
        assert (pair.client_reads(), pair.received) == (b"", 2)

    @pytest.mark.parametrize("number", [1, 2])
    def test_on_top_of_the_handshakes(
        self, server_context: Any, client_context: Any, number: int
    ) -> None:
        """Tickets on demand come on top of those of the handshake."""
        server_context.set_num_tickets(number)
        pair = tls.Pair(server_context, client_context).handshake()
        pair.server.new_session_ticket()
        pair.server.do_handshake()
        pair.client_reads()
        assert pair.received == number + 1

    def test_resumes(self, pair: tls.Pair, server_context: Any, client_context: Any) -> None:
        """A ticket on demand resumes like any other, and after it comes none, as N is 0."""
        pair.server.new_session_ticket()
        pair.server.do_handshake()
        pair.client_reads()
        resumed = tls.Pair(server_context, client_context, pair.session()).handshake()
        assert (resumed.reused, resumed.received) == (True, 0)

    def test_not_in_the_middle_of_a_blocked_write(
        self, server_context: Any, client_context: Any
    ) -> None:
        """Tickets wait for the write that blocked, and go with the one after it."""
        server_context.set_num_tickets(0)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            server, client = _established_over(server_context, client_context, ours, theirs)
            ours.setblocking(False)
            theirs.setblocking(False)
            chunk = b"x" * 16384
            sent = 0
            with contextlib.suppress(SSL.WantWriteError):
                for _ in range(10_000):
                    sent += server.send(chunk)
            server.new_session_ticket()
            server.new_session_ticket()
            server.do_handshake()
            _read_all(client)
            assert tls.received(client) == 0
            sent += server.send(chunk)  # the retry
            _read_all(client)
            assert tls.received(client) == 0
            server.send(b"!")
            _read_all(client)
            assert tls.received(client) == 2

    def test_over_a_socket(self, server_context: Any, client_context: Any) -> None:
        """Over a real socket, the ticket comes ahead of the reply that it was asked for with."""

        def serve(connection: Any) -> None:
            connection.do_handshake()
            assert connection.recv(16) == b"login"
            connection.new_session_ticket()
            connection.sendall(b"welcome")

        with (
            tls.Server(server_context, serve) as server,
            tls.connected(client_context, server.port) as client,
        ):
            client.sendall(b"login")
            assert client.recv(16) == b"welcome"
            assert tls.received(client) == 3
        assert server.errors == []

    def test_client_cannot(self, pair: tls.Pair) -> None:
        """A client is told that only servers issue tickets."""
        with pytest.raises(openssl_tickets.Error, match="the connection is a client") as caught:
            pair.client.new_session_ticket()
        assert caught.value.errors == []

    def test_older_errors_are_not_its_reason(self, pair: tls.Pair) -> None:
        """What another call had left in OpenSSL's queue is no reason of this failure."""
        native.lib.put_error()
        with pytest.raises(openssl_tickets.Error, match="the connection is a client") as caught:
            pair.client.new_session_ticket()
        assert caught.value.errors == []
        assert native.lib.peek_error() == 0

    def test_before_the_handshake(self, server_context: Any, client_context: Any) -> None:
        """A server is told to wait for its handshake, before it and in the middle of it."""
        pair = tls.Pair(server_context, client_context)
        with pytest.raises(openssl_tickets.Error, match="the handshake is not done yet"):
            pair.server.new_session_ticket()
        with pytest.raises(SSL.WantReadError):
            pair.client.do_handshake()
        pair.move()
        with pytest.raises(SSL.WantReadError):
            pair.server.do_handshake()
        with pytest.raises(openssl_tickets.Error, match="the handshake is not done yet"):
            pair.server.new_session_ticket()

    def test_tls_1_2_cannot(self, server_file: Path) -> None:
        """A TLS 1.2 connection is told its version."""
        pair = tls.Pair(tls.server_context(server_file, "1.2"), tls.client_context("1.2"))
        pair.handshake()
        with pytest.raises(openssl_tickets.Error, match=r"speaks TLSv1\.2, and only TLS 1\.3"):
            pair.server.new_session_ticket()

    def test_fresh_connection_is_a_server_or_a_client(self) -> None:
        """A connection that has not been told its side is in no state for tickets."""
        connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        with pytest.raises(openssl_tickets.Error, match=r"handshake is not done|is a client"):
            connection.new_session_ticket()


def _established_over(
    server_context: Any, client_context: Any, ours: socket.socket, theirs: socket.socket
) -> tuple[Any, Any]:
    for plain in (ours, theirs):
        plain.setblocking(False)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
    server = SSL.Connection(server_context, ours)
    server.set_accept_state()
    client = SSL.Connection(client_context, theirs)
    client.set_connect_state()
    for side in (client, server, client, server):
        with contextlib.suppress(SSL.WantReadError):
            side.do_handshake()
    _read_all(client)
    return server, client


def _read_all(client: Any) -> None:
    with contextlib.suppress(SSL.WantReadError):
        while True:
            client.recv(1 << 16)
