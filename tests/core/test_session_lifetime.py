"""How long the sessions of a context last."""

from __future__ import annotations

import contextlib
import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from openssl_tickets import (
    SSL,
    ReceivedTicket,
    Session,
    TicketKey,
    TicketKeys,
    TicketReturn,
    get_max_session_lifetime,
    get_session,
    get_session_timeout,
    new_session_ticket,
    session_stats,
    set_max_session_lifetime,
    set_num_tickets,
    set_post_handshake_auth,
    set_session_ticket_callback,
    set_session_timeout,
    set_ticket_keys,
    ticket_stats,
    verify_client_post_handshake,
)
from tests.support.ends import WANTS
from tests.support.libraries import (
    ERRORS,
    LIBRARIES,
    Setting,
    ask_for_certificate,
    close,
    move,
    show_certificate,
)

WEEK = 604_800  # seconds, the longest that RFC 8446 allows


def test_default(setting: Setting) -> None:
    """A context that nobody has told has libssl's own."""
    assert get_session_timeout(setting.server_context) in (300, 7200)


@pytest.mark.parametrize("seconds", [1, 1000, WEEK, WEEK + 1, 2**31 - 1])
def test_lifetime_hint(setting: Setting, seconds: int) -> None:
    """Clients are told the server's, in TLS 1.3 a week at most."""
    set_session_timeout(setting.server_context, seconds)
    assert get_session_timeout(setting.server_context) == seconds
    session = get_session(setting.handshake().client)
    assert session is not None
    assert session.ticket
    expected = min(seconds, WEEK) if setting.of_tls13 else seconds
    assert session.ticket_lifetime_hint == expected


def test_of_new_sessions(setting: Setting) -> None:
    """Sessions have the time that was set when they were made."""
    context = setting.server_context
    set_session_timeout(context, 1000)
    before = get_session(setting.handshake().server)
    set_session_timeout(context, 2000)
    after = get_session(setting.handshake().server)
    assert before is not None
    assert after is not None
    assert (before.timeout, after.timeout) == (1000, 2000)


def test_of_a_client(setting: Setting) -> None:
    """A client's is for its own sessions, whatever the server says."""
    set_session_timeout(setting.client_context, 1000)
    set_session_timeout(setting.server_context, 2000)
    session = get_session(setting.handshake().client)
    assert session is not None
    assert (session.timeout, session.ticket_lifetime_hint) == (1000, 2000)


def test_index_objects(setting: Setting) -> None:
    """Whatever has an __index__ will do."""

    class Seconds:
        def __index__(self) -> int:
            return 42

    set_session_timeout(setting.server_context, Seconds())
    assert get_session_timeout(setting.server_context) == 42


@pytest.mark.parametrize("wrong", [0, -1, -(2**63), 2**31, 2**32 + 7, 2**64 + 7])
def test_out_of_range(setting: Setting, wrong: int) -> None:
    """A number that libssl could not keep is refused, and what was set stays."""
    set_session_timeout(setting.server_context, 1000)
    limit = "1 or more" if wrong < 1 else "at most 2147483647"
    with pytest.raises(ValueError, match=f"^seconds must be {limit}, not {wrong}$"):
        set_session_timeout(setting.server_context, wrong)
    assert get_session_timeout(setting.server_context) == 1000


@pytest.mark.parametrize("wrong", [True, False, 3.0, "3", None, b"3"])
def test_no_integer(setting: Setting, wrong: Any) -> None:
    """Only an integer will do."""
    set_session_timeout(setting.server_context, 1000)
    with pytest.raises(TypeError, match=r"^seconds must be an int, not"):
        set_session_timeout(setting.server_context, wrong)
    assert get_session_timeout(setting.server_context) == 1000


def test_methods_of_the_drop_in() -> None:
    """The drop-in's methods set and get the same."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_session_timeout(77)
    assert context.get_session_timeout() == get_session_timeout(context) == 77
    context.set_max_session_lifetime(66)
    assert context.get_max_session_lifetime() == get_max_session_lifetime(context) == 66


LIMIT = 1000  # seconds


def left(connection: Any) -> int:
    """Returns the lifetime of the last ticket that has come."""
    session = get_session(connection)
    assert session is not None
    return session.ticket_lifetime_hint


def resumable(pair: Any) -> Session:
    """Closes *pair* and returns a copy of the client's session."""
    session = get_session(pair.client)
    assert session is not None
    close(pair)
    return session.copy()


class Aging:
    """A ``decrypt`` for which each ticket is older than it is, by so many seconds."""

    def __init__(self, setting: Setting, answer: TicketReturn | None = TicketReturn.USE_RENEW):
        self.age = 0
        self.answer = answer
        set_session_ticket_callback(setting.server_context, None, self.decrypt)

    def decrypt(self, connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
        if ticket.session is None:
            return None
        ticket.session.time -= self.age
        return self.answer


class TestMaxSessionLifetime:
    def test_none(self, setting: Setting) -> None:
        """There is no limit until one is set, and None lifts it; the timeout stays."""
        context = setting.server_context
        assert get_max_session_lifetime(context) is None
        set_max_session_lifetime(context, LIMIT)
        assert get_max_session_lifetime(context) == get_session_timeout(context) == LIMIT
        set_max_session_lifetime(context, None)
        assert get_max_session_lifetime(context) is None
        assert get_session_timeout(context) == LIMIT
        set_session_timeout(context, LIMIT + 1)
        aging, session = Aging(setting), resumable(setting.handshake())
        aging.age = LIMIT - 10
        for _ in range(3):  # TLS 1.3 renews without an end again
            pair = setting.handshake(session)
            assert pair.reused or not setting.of_tls13
            session = resumable(pair)

    @pytest.mark.parametrize("has_ring", [False, True])
    def test_renewals_end(self, setting: Setting, has_ring: bool) -> None:
        """Each renewed ticket, and its hint, has what is left; then a full handshake follows."""
        context = setting.server_context
        if has_ring:
            set_ticket_keys(context, TicketKeys([TicketKey.generate()]), b"purpose")
        set_max_session_lifetime(context, LIMIT)
        pair, aging = setting.handshake(), Aging(setting)
        assert left(pair.client) in (LIMIT, LIMIT - 1)
        aging.age = 400
        seen = []
        for _ in range(4):
            pair = setting.handshake(resumable(pair))
            seen.append((pair.reused, pair.received, round(left(pair.client), -2)))
        if setting.of_tls13:
            assert seen == [(True, 1, 600), (True, 1, 200), (False, 2, 1000), (True, 1, 600)]
        else:  # libssl tells no lifetime with a renewed ticket
            assert seen == [(True, 1, 0), (True, 1, 0), (False, 1, 1000), (True, 1, 0)]
        assert ticket_stats(context).aborted == 0

    @pytest.mark.slow
    def test_as_time_passes(self, server_file: Path) -> None:
        """Without any callback, and with libssl's own keys and with a ring, by the real clock."""
        held: list[tuple[Setting, Session]] = []
        for library, version, has_ring in itertools.product(LIBRARIES, ("1.2", "1.3"), (0, 1)):
            setting = Setting(library, version, server_file)
            if has_ring:
                set_ticket_keys(setting.server_context, TicketKeys([TicketKey.generate()]))
            set_max_session_lifetime(setting.server_context, 3)
            held.append((setting, resumable(setting.handshake())))
        end, refused, is_over = time.time() + 3.1, set(), False
        while not is_over:
            is_over = time.time() > end  # one more round, in which all have come to their end
            for place, (setting, session) in enumerate(held):
                pair = setting.handshake(session)
                if not pair.reused:
                    refused.add(place)
                held[place] = (setting, resumable(pair))
                assert left(pair.client) <= 3
            time.sleep(0.3)
        assert len(refused) == len(held)
        assert any(session_stats(setting.server_context).hits for setting, _ in held)

    @pytest.mark.parametrize("answer", TicketReturn)
    def test_decrypt_still_decides(self, setting: Setting, answer: TicketReturn) -> None:
        """With no time left USE_RENEW is as USE; every other answer means what it meant."""
        set_max_session_lifetime(setting.server_context, LIMIT)
        session = resumable(setting.handshake())
        aging = Aging(setting, answer)
        for aging.age in (10, LIMIT, LIMIT + 10):
            pair = setting.pair(session.copy())
            if answer is TicketReturn.ABORT:
                with pytest.raises(ERRORS):
                    pair.handshake()
                continue
            pair.handshake()
            is_used = answer in (TicketReturn.USE, TicketReturn.USE_RENEW)
            assert pair.reused is (is_used and aging.age < LIMIT)
            if not pair.reused and answer is not TicketReturn.IGNORE:
                assert pair.received == setting.tickets
        # It is not counted as one either.
        assert ticket_stats(setting.server_context).renewed == (answer is TicketReturn.USE_RENEW)

    def test_ticket_from_before_the_limit(self, setting: Setting) -> None:
        """It counts from when it was made."""
        aging, session = Aging(setting), resumable(setting.handshake())
        set_max_session_lifetime(setting.server_context, LIMIT)
        seen = []
        for aging.age in (LIMIT - 100, LIMIT):
            pair = setting.handshake(session.copy())
            seen.append(pair.reused)
            assert left(pair.client) <= (100 if pair.reused else LIMIT)
        assert seen == [True, False]

    def test_on_demand(self, setting13: Setting) -> None:
        """A ticket on demand has what is left; with nothing left it has expired already."""
        set_max_session_lifetime(setting13.server_context, LIMIT)
        aging, session = Aging(setting13, None), resumable(setting13.handshake())
        for aging.age, is_good in ((LIMIT - 100, True), (LIMIT - 3, False)):
            pair = setting13.handshake(session.copy())
            assert pair.reused
            if not is_good:
                time.sleep(3.1)
            new_session_ticket(pair.server)
            pair.server.write(b"data")
            move(pair)
            assert pair.client_reads() == b"data"
            assert left(pair.client) <= 100
            offered = resumable(pair)
            aging.age = 0
            assert setting13.handshake(offered).reused is is_good

    def test_first_ticket_on_demand(self, setting13: Setting) -> None:
        """The limit counts from the handshake on, also if its first ticket is asked for later."""
        set_max_session_lifetime(setting13.server_context, LIMIT)
        set_num_tickets(setting13.server_context, 0)
        pair = setting13.handshake()
        time.sleep(1.1)
        new_session_ticket(pair.server)
        pair.server.write(b"data")
        move(pair)
        pair.client_reads()
        assert LIMIT - 30 < left(pair.client) < LIMIT

    def test_after_post_handshake_authentication(
        self, setting13: Setting, ca_file: Path, client_file: Path
    ) -> None:
        """The tickets that follow have what is left of the session."""
        context = setting13.server_context
        ask_for_certificate(context, ca_file, later=True)
        show_certificate(setting13.client_context, client_file)
        set_post_handshake_auth(setting13.client_context, True)
        set_max_session_lifetime(context, LIMIT)
        aging, session = Aging(setting13), resumable(setting13.handshake())
        for aging.age in (0, LIMIT - 100):
            pair = setting13.handshake(session if aging.age else None)
            assert pair.reused is bool(aging.age)
            before = pair.received
            verify_client_post_handshake(pair.server)
            for side in (pair.server, pair.client, pair.server):
                with contextlib.suppress(*WANTS):
                    side.do_handshake() if side is pair.server else side.read(1)
                move(pair)
            with contextlib.suppress(*WANTS):
                pair.server.read(1)
            move(pair)
            pair.client_reads()
            assert pair.received > before
            assert 0 < left(pair.client) <= LIMIT - aging.age

    def test_hosts_that_share_keys(self, setting: Setting) -> None:
        """A client that goes from host to host is not resumed for longer."""
        keys = TicketKeys([TicketKey.generate()])
        hosts = []
        for _ in range(2):
            setting.server_context = setting.make_server_context()
            set_ticket_keys(setting.server_context, keys)
            set_max_session_lifetime(setting.server_context, LIMIT)
            Aging(setting).age = 400
            hosts.append(setting.server_context)
        pair = setting.handshake()
        seen = []
        for number in range(3):
            setting.server_context = hosts[number % 2]
            pair = setting.handshake(resumable(pair))
            seen.append(pair.reused)
        assert seen == [True, True, False]

    def test_stateful_tickets(self, setting13: Setting) -> None:
        """Those that lead to a session in the server's cache have what is left, too."""
        setting13.use_session_ids()
        set_max_session_lifetime(setting13.server_context, LIMIT)
        pair = setting13.handshake()
        assert left(pair.client) in (LIMIT, LIMIT - 1)
        session = resumable(pair)
        time.sleep(1.1)
        pair = setting13.handshake(session)
        assert pair.reused
        assert left(pair.client) < LIMIT

    def test_longer_timeouts(self, setting: Setting) -> None:
        """A longer timeout is refused, a shorter one is a shorter limit."""
        context = setting.server_context
        set_max_session_lifetime(context, LIMIT)
        with pytest.raises(ValueError, match=r"end 1000 seconds after .* cannot be 1001 seconds"):
            set_session_timeout(context, LIMIT + 1)
        assert get_session_timeout(context) == LIMIT
        set_session_timeout(context, LIMIT // 2)
        aging, session = Aging(setting), resumable(setting.handshake())
        aging.age = LIMIT // 2
        assert not setting.handshake(session).reused

    def test_timeout_that_is_set_past_it(self, setting: Setting) -> None:
        """What the library itself sets is cut down with the next client."""
        set_max_session_lifetime(setting.server_context, LIMIT)
        if setting.library == "ssl":
            pytest.skip("ssl has no such function")
        setting.server_context.set_timeout(10 * LIMIT)
        assert left(setting.handshake().client) in (LIMIT, LIMIT - 1)
        assert get_session_timeout(setting.server_context) == LIMIT

    @pytest.mark.parametrize("wrong", [0, -1, 2**31, 2**64, True, False, 1.5, "3", b"3"])
    def test_wrong_seconds(self, setting13: Setting, wrong: Any) -> None:
        """They are refused, and nothing is changed."""
        context = setting13.server_context
        set_max_session_lifetime(context, LIMIT)
        with pytest.raises((TypeError, ValueError), match=r"^seconds must be "):
            set_max_session_lifetime(context, wrong)
        assert get_max_session_lifetime(context) == get_session_timeout(context) == LIMIT

    def test_longest(self, setting: Setting) -> None:
        """The longest limit does no harm."""
        set_max_session_lifetime(setting.server_context, 2**31 - 1)
        pair = setting.handshake(resumable(setting.handshake()))
        assert pair.reused
        assert left(pair.client) == (WEEK if setting.of_tls13 else 2**31 - 1)
