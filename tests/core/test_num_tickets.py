"""How many tickets a server sends, and when: counts, and tickets on demand."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import (
    SSL,
    get_num_tickets,
    new_session_ticket,
    session_reused,
    set_num_tickets,
    set_session_ticket_callback,
)
from tests.support import native
from tests.support.callbacks import Recorder, in_threads
from tests.support.ends import WANTS
from tests.support.libraries import Setting, move

MOST = 255


class Indexable:
    """An integer that is not an int, as numpy has them."""

    def __index__(self) -> int:
        return 7


@pytest.fixture(params=["context", "connection"])
def target(request: pytest.FixtureRequest, setting13: Setting) -> Any:
    """A context, and again a connection: whatever a number of tickets can be set on."""
    return setting13.server_context if request.param == "context" else setting13.pair().server


class TestNumTickets:
    def test_default_is_two(self, target: Any) -> None:
        """OpenSSL sends two tickets where nothing else is said."""
        assert get_num_tickets(target) == 2

    @pytest.mark.parametrize("number", [0, 1, 2, 10, MOST, Indexable()])
    def test_what_is_set_is_got(self, target: Any, number: Any) -> None:
        """What is set is got, up to what a client may ask for."""
        set_num_tickets(target, number)
        assert get_num_tickets(target) == number.__index__()

    @pytest.mark.parametrize("number", [0, 1, 2, 10, MOST])
    def test_agrees_with_cpython(self, server_file: Path, number: int) -> None:
        """What is set through us is read through ssl, and the other way round."""
        context = Setting("ssl", "1.3", server_file).server_context
        set_num_tickets(context, number)
        assert context.num_tickets == number
        context.num_tickets = number + 1
        assert get_num_tickets(context) == number + 1

    def test_methods_of_the_drop_in(self) -> None:
        """The drop-in's methods set and get the same."""
        context = SSL.Context(SSL.TLS_METHOD)
        for target in (context, SSL.Connection(context, None)):
            target.set_num_tickets(5)
            assert target.get_num_tickets() == get_num_tickets(target) == 5

    def test_connection_starts_with_its_contexts_number(self, setting13: Setting) -> None:
        """A connection takes over its context's number, and then has its own."""
        context = setting13.server_context
        set_num_tickets(context, 4)
        server = setting13.pair().server
        assert get_num_tickets(server) == 4
        set_num_tickets(server, 1)
        assert get_num_tickets(context) == 4
        set_num_tickets(context, 9)
        assert get_num_tickets(server) == 1

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
            set_num_tickets(target, number)
        assert get_num_tickets(target) == 2


class TestCounts:
    @pytest.mark.parametrize("number", [0, 1, 2, 3, 10, MOST])
    def test_full_handshake_and_resumption(self, setting13: Setting, number: int) -> None:
        """A full handshake brings N tickets, a resumption 1, and neither any where N is 0."""
        session = setting13.session()  # from before N is set
        set_num_tickets(setting13.server_context, number)
        full = setting13.handshake()
        assert (full.reused, full.received) == (False, number)
        resumed = setting13.handshake(session)
        assert (resumed.reused, resumed.received) == (True, min(number, 1))

    @pytest.mark.parametrize("number", [0, 1, 3])
    def test_number_of_a_connection_counts(self, setting13: Setting, number: int) -> None:
        """The number that is set on a connection before its handshake goes over its context's."""
        pair = setting13.pair()
        set_num_tickets(pair.server, number)
        assert pair.handshake().received == number
        assert get_num_tickets(pair.server) == number

    def test_ticket_of_another_context(self, setting13: Setting) -> None:
        """A ticket that another context's keys made is not resumed, and N new ones come."""
        session = setting13.session()
        setting13.server_context = setting13.make_server_context()
        set_num_tickets(setting13.server_context, 3)
        pair = setting13.handshake(session)
        assert (pair.reused, pair.received) == (False, 3)

    @pytest.mark.parametrize("number", [0, 1, 2, 3])
    def test_counts_over_sockets(self, setting13: Setting, number: int) -> None:
        """Over real sockets it is the same: N after a full handshake, 1 after a resumption."""
        session = setting13.session()
        for resume, count in ((None, number), (session, min(number, 1))):
            with setting13.sockets() as (server, client):
                set_num_tickets(server, number)
                if resume is not None:
                    openssl_tickets.set_session(client, resume)
                assert talked(server, client) == (b"!", count)
                assert session_reused(client) is session_reused(server) is (resume is not None)


def talked(server: Any, client: Any, on_demand: int = 0) -> tuple[bytes, int]:
    """
    Has both shake hands, and the server write, after tickets *on_demand*; returns what the client
    has read, and how many tickets it has got.
    """

    def serve() -> None:
        server.do_handshake()
        for _ in range(on_demand):
            new_session_ticket(server)
        server.sendall(b"!")

    read: list[bytes] = []

    def connect() -> None:
        client.do_handshake()
        read.append(client.recv(16))

    in_threads(2, lambda number: (serve, connect)[number]())
    return read[0], tickets_of(client)


class TestOnDemand:
    @pytest.fixture
    def pair(self, setting13: Setting) -> Any:
        """An established connection whose handshake brought no tickets."""
        set_num_tickets(setting13.server_context, 0)
        return setting13.handshake()

    def test_sent_with_the_next_write(self, setting13: Setting, pair: Any) -> None:
        """Two requests send nothing by themselves, and two tickets with the next byte, once."""
        recorder = Recorder()
        set_session_ticket_callback(setting13.server_context, recorder.generate)
        new_session_ticket(pair.server)
        new_session_ticket(pair.server)
        assert (pair.client_reads(), pair.received, recorder.generated) == (b"", 0, [])
        for _ in range(2):
            pair.server.write(b"!")
            assert (pair.client_reads(), pair.received) == (b"!", 2)
            assert recorder.generated == [None, None]

    def test_sent_with_the_next_read(self, pair: Any) -> None:
        """A read sends what was asked for, also one that finds nothing to read."""
        new_session_ticket(pair.server)
        new_session_ticket(pair.server)
        with pytest.raises(WANTS):
            pair.server.read(1)
        assert (pair.client_reads(), pair.received) == (b"", 2)

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_on_top_of_the_handshakes(self, setting13: Setting, number: int) -> None:
        """do_handshake sends what was asked for; it comes on top of those of the handshake."""
        set_num_tickets(setting13.server_context, number)
        pair = setting13.handshake()
        new_session_ticket(pair.server)
        new_session_ticket(pair.server)
        pair.server.do_handshake()
        assert (pair.client_reads(), pair.received) == (b"", number + 2)

    def test_resumes(self, setting13: Setting, pair: Any) -> None:
        """A ticket on demand resumes like any other, and after it comes none, as N is 0."""
        new_session_ticket(pair.server)
        pair.server.do_handshake()
        pair.client_reads()
        resumed = setting13.handshake(pair.session())
        assert (resumed.reused, resumed.received) == (True, 0)

    @pytest.mark.parametrize("library", ["drop-in", "pyOpenSSL"])
    def test_not_in_the_middle_of_a_blocked_write(self, setting13: Setting) -> None:
        """Tickets wait for the write that blocked, and go with the one after it."""
        set_num_tickets(setting13.server_context, 0)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            server, client = setting13.wrapped(ours, True), setting13.wrapped(theirs, False)
            for plain in (ours, theirs):
                plain.setblocking(False)
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
            for side in (client, server, client, server):
                with contextlib.suppress(*WANTS):
                    side.do_handshake()
            chunk = b"x" * 16384
            with contextlib.suppress(SSL.WantWriteError):
                for _ in range(10_000):
                    server.send(chunk)
            new_session_ticket(server)
            new_session_ticket(server)
            server.do_handshake()
            for data, tickets in ((b"", 0), (chunk, 0), (b"!", 2)):  # the second is the retry
                if data:
                    server.send(data)
                with contextlib.suppress(*WANTS):
                    while True:
                        client.recv(1 << 16)
                assert tickets_of(client) == tickets

    def test_over_sockets(self, setting13: Setting) -> None:
        """Over real sockets, tickets come ahead of the reply that they were asked for with."""
        set_num_tickets(setting13.server_context, 1)
        with setting13.sockets() as (server, client):
            assert talked(server, client, on_demand=2) == (b"!", 3)

    @pytest.mark.parametrize("put_error", [lambda: None, native.lib.put_error])
    def test_client_cannot(self, pair: Any, put_error: Any) -> None:
        """A client is told that only servers issue tickets; older errors are not the reason."""
        put_error()
        with pytest.raises(openssl_tickets.Error, match="the connection is a client") as caught:
            new_session_ticket(pair.client)
        assert caught.value.errors == []
        assert native.lib.peek_error() == 0

    def test_before_the_handshake(self, setting13: Setting) -> None:
        """A server is told to wait for its handshake, before it and in the middle of it."""
        pair = setting13.pair()
        with pytest.raises(openssl_tickets.Error, match="the handshake is not done yet"):
            new_session_ticket(pair.server)
        for side in (pair.client, pair.server):
            with pytest.raises(WANTS):
                side.do_handshake()
            move(pair)
        with pytest.raises(openssl_tickets.Error, match="the handshake is not done yet"):
            new_session_ticket(pair.server)

    def test_tls_1_2_cannot(self, setting12: Setting) -> None:
        """A TLS 1.2 connection is told its version."""
        with pytest.raises(openssl_tickets.Error, match=r"speaks TLSv1\.2, and only TLS 1\.3"):
            new_session_ticket(setting12.handshake().server)

    def test_method_of_the_drop_in(self, server_file: Path) -> None:
        """The drop-in's method does the same; without a side there is nothing to be done yet."""
        connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        with pytest.raises(openssl_tickets.Error, match=r"handshake is not done|is a client"):
            connection.new_session_ticket()
        pair = Setting("drop-in", "1.3", server_file).handshake()
        pair.server.new_session_ticket()
        pair.server.do_handshake()
        pair.client_reads()
        assert pair.received == 3


def tickets_of(client: Any) -> int:
    """Returns how many tickets *client* has received so far, of either library."""
    return int(vars(client).get("tickets_seen", 0))
