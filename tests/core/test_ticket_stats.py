"""What becomes of the tickets of a context, and what its keys were used for."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from openssl_tickets import (
    ReceivedTicket,
    TicketKey,
    TicketKeys,
    TicketReturn,
    TicketStatus,
    get_session,
    session_stats,
    set_max_session_lifetime,
    set_server_name_binding,
    set_session_ticket_callback,
    set_ticket_keys,
    ticket_stats,
)
from openssl_tickets._core.ticket_stats import TicketStats
from tests.support import native, tls
from tests.support.callbacks import Boom, Raising, Unraisable, in_threads
from tests.support.ends import WANTS
from tests.support.libraries import ERRORS, Setting, close, switch_by_server_name

NEVER = TicketStats(*[0] * len(TicketStats._fields))
RESULTS = {
    TicketReturn.USE: "used",
    TicketReturn.USE_RENEW: "used",
    TicketReturn.IGNORE: "ignored",
    TicketReturn.IGNORE_RENEW: "ignored",
    TicketReturn.ABORT: "aborted",
}


def resumable(pair: Any) -> Any:
    """Closes *pair* and returns a copy of the client's session."""
    session = get_session(pair.client)
    assert session is not None
    close(pair)
    return session.copy()


def try_handshake(pair: Any) -> None:
    with contextlib.suppress(*ERRORS, Boom, TypeError, ValueError):
        pair.handshake()


def check_sum(stats: TicketStats) -> None:
    parts = stats.undecryptable, stats.used, stats.ignored, stats.aborted, stats.failed
    assert stats.received == sum(parts)


def test_new_context(setting: Setting) -> None:
    """Nothing is counted before anything has happened."""
    assert ticket_stats(setting.server_context) == NEVER


def test_issued(setting: Setting) -> None:
    """Tickets of full handshakes are counted; who asks for a first one has brought none."""
    assert ticket_stats(setting.server_context) == NEVER
    setting.handshake()
    assert ticket_stats(setting.server_context) == NEVER._replace(issued=setting.tickets)


def test_from_the_first_call_on(setting: Setting) -> None:
    """What was before the first call of ours on the context is not counted."""
    session = resumable(setting.handshake())
    assert ticket_stats(setting.server_context) == NEVER
    assert setting.handshake(session).reused
    assert ticket_stats(setting.server_context).used == 1


@pytest.mark.parametrize("answer", [None, *TicketReturn])
def test_answers(setting: Setting, answer: TicketReturn | None) -> None:
    """Each answer of decrypt has its count."""
    context = setting.server_context
    session = resumable(setting.handshake())
    set_session_ticket_callback(context, None, lambda *_: answer)
    try_handshake(setting.pair(session))
    stats = ticket_stats(context)
    # None is what libssl would do: it renews in TLS 1.3.
    renewed = answer is TicketReturn.USE_RENEW or (answer is None and setting.of_tls13)
    result = RESULTS[TicketReturn.USE if answer is None else answer]
    expected = {result: 1, "renewed": int(renewed)}
    assert stats == NEVER._replace(received=1, issued=stats.issued, **expected)
    check_sum(stats)
    issued = {None: int(setting.of_tls13), TicketReturn.USE_RENEW: 1}
    full = {TicketReturn.IGNORE_RENEW: setting.tickets}
    assert stats.issued == (issued | full).get(answer, 0)


def test_undecryptable(setting: Setting) -> None:
    """A ticket of another server's key, and one that somebody has changed."""
    session = resumable(setting.handshake())
    setting.server_context = setting.make_server_context()
    assert ticket_stats(setting.server_context) == NEVER
    assert not setting.handshake(session).reused
    stats = ticket_stats(setting.server_context)
    assert stats == NEVER._replace(received=1, undecryptable=1, issued=setting.tickets)


def test_ask_for_a_first_ticket(setting12: Setting, unraisable: Unraisable) -> None:
    """EMPTY is no ticket, and what its callback raises is counted."""
    raising = Raising()
    set_session_ticket_callback(setting12.server_context, None, raising)
    try_handshake(setting12.pair())
    assert len(raising.raised) == 1
    assert ticket_stats(setting12.server_context) == NEVER._replace(failed=1)


@pytest.mark.parametrize("failing", [Raising(), lambda *_: "wrong", lambda *_: 4])
def test_failed(setting: Setting, failing: Any, unraisable: Unraisable) -> None:
    """Callbacks that raise, or return something wrong, in decrypt and in generate."""
    session = resumable(setting.handshake())
    context = setting.server_context
    set_session_ticket_callback(context, None, failing)
    try_handshake(setting.pair(session))
    stats = ticket_stats(context)
    assert stats == NEVER._replace(received=1, failed=1)
    check_sum(stats)
    set_session_ticket_callback(context, failing, None)
    try_handshake(setting.pair())
    assert ticket_stats(context) == stats._replace(failed=2)


def test_use_of_what_is_not_decrypted(setting: Setting, unraisable: Unraisable) -> None:
    """USE for it is a failure, and no use."""
    session = resumable(setting.handshake())
    setting.server_context = setting.make_server_context()

    def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
        return None if ticket.status is TicketStatus.EMPTY else TicketReturn.USE

    set_session_ticket_callback(setting.server_context, None, decrypt)
    try_handshake(setting.pair(session))
    assert ticket_stats(setting.server_context) == NEVER._replace(received=1, failed=1)


def test_expired(setting: Setting) -> None:
    """An expired ticket is accepted, and leads to a full handshake."""
    session = resumable(setting.handshake())

    def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> None:
        if ticket.session is not None:
            ticket.session.time -= 10_000

    set_session_ticket_callback(setting.server_context, None, decrypt)
    assert not setting.handshake(session).reused
    assert ticket_stats(setting.server_context).used == 1
    assert session_stats(setting.server_context).hits == 0


def test_hello_retry_request(server_file: Path) -> None:
    """A ticket that comes twice in one handshake is counted once, by contexts and by keys."""
    setting = Setting("ssl", "1.3", server_file)
    context = setting.server_context
    context.set_ecdh_curve("secp521r1")  # clients have no key share for it in their first hello
    keys = TicketKeys([TicketKey.generate()])
    set_ticket_keys(context, keys)
    asked: list[Any] = []

    def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> None:
        if ticket.status is not TicketStatus.EMPTY:
            asked.append(ticket)

    set_session_ticket_callback(context, None, decrypt)
    session = resumable(setting.handshake())
    assert setting.handshake(session.copy()).reused
    assert len(asked) == 2
    stats = ticket_stats(context)
    assert (stats.received, stats.used) == (1, 1)
    assert keys.stats().keys[keys.keys[0].name].decrypted == 1
    setting.server_context = setting.make_server_context()
    setting.server_context.set_ecdh_curve("secp521r1")
    other = TicketKeys([TicketKey.generate()])
    set_ticket_keys(setting.server_context, other)
    assert not setting.handshake(session).reused
    assert (ticket_stats(setting.server_context).undecryptable, other.stats().unknown) == (1, 1)


def test_renegotiation(server_file: Path) -> None:
    """In TLS 1.2 one connection can have several handshakes, and each ticket counts."""
    setting = Setting("drop-in", "1.2", server_file)
    context = setting.server_context
    context.set_options(1 << 8)  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION
    assert ticket_stats(context) == NEVER
    pair = setting.handshake(resumable(setting.handshake()))
    for number in (2, 3):
        assert native.lib.renegotiate(pair.client._ssl)
        for _ in range(4):
            for side in (pair.client, pair.server):
                with contextlib.suppress(*WANTS):
                    side.do_handshake() if side is pair.client else side.recv(1)
                pair.move()
        assert pair.reused
        assert ticket_stats(context).received == number


def test_connection_that_is_used_again(server_file: Path, version: str) -> None:
    """After SSL_clear a connection's first hello is its first again."""
    setting = Setting("drop-in", version, server_file)
    session = resumable(setting.handshake())
    assert ticket_stats(setting.server_context) == NEVER
    first = setting.pair(session.copy())
    first.handshake()
    assert first.reused
    close(first)
    second = setting.pair(session.copy())
    assert native.lib.clear(first.server._ssl)
    first.server.set_accept_state()
    second.server = first.server
    second.handshake()
    assert second.reused
    stats = ticket_stats(setting.server_context)
    assert (stats.received, stats.used) == (2, 2)


def test_switch_by_server_name(setting: Setting) -> None:
    """It is the first context that counts, with its keys."""
    first, second = setting.server_context, setting.make_server_context()
    rings = [TicketKeys([TicketKey.generate()]) for _ in range(2)]
    for context, ring in zip((first, second), rings, strict=True):
        set_ticket_keys(context, ring)
    switch_by_server_name(first, second)
    pair = setting.pair(server_name="localhost").handshake()
    assert setting.pair(resumable(pair), server_name="localhost").handshake().reused
    assert ticket_stats(second) == NEVER
    assert ticket_stats(first).used == 1
    assert rings[1].stats().keys[rings[1].keys[0].name] == (0, 0)
    assert rings[0].stats().keys[rings[0].keys[0].name].decrypted == 1


@pytest.mark.slow
def test_eight_threads(setting: Setting) -> None:
    """Nothing is lost while 8 threads shake hands."""
    context, number = setting.server_context, 25
    keys = TicketKeys([TicketKey.generate()])
    set_ticket_keys(context, keys, b"purpose")
    set_max_session_lifetime(context, 1000)
    foreign = resumable(setting.pair(server_context=setting.make_server_context()).handshake())
    session = resumable(setting.handshake())
    before = ticket_stats(context)

    def work(_: int) -> None:
        for _ in range(number):
            assert setting.handshake(session.copy()).reused
            assert not setting.handshake(foreign.copy()).reused

    in_threads(8, work)
    total = 8 * number
    stats = ticket_stats(context)
    check_sum(stats)
    renewed = total  # always in TLS 1.3; and with a ring's first key, not in TLS 1.2
    if not setting.of_tls13:
        renewed = stats.renewed
    issued = before.issued + renewed + total * setting.tickets
    expected = NEVER._replace(
        issued=issued, received=2 * total, used=total, renewed=renewed, undecryptable=total
    )
    assert stats == expected
    (used,) = keys.stats().keys.values()
    assert used == (issued, total)
    assert keys.stats().unknown == total


def test_session_ids_go_on(setting12: Setting) -> None:
    """Keys, a limit and counts leave resumption by session id alone; bound names do not."""
    context = setting12.server_context
    setting12.use_session_ids()
    set_ticket_keys(context, TicketKeys([TicketKey.generate()]))
    set_max_session_lifetime(context, 1000)
    ticket_stats(context)
    session = resumable(setting12.handshake())
    assert setting12.handshake(session.copy()).reused
    set_server_name_binding(context, True)
    assert not setting12.handshake(session.copy()).reused


def test_methods_of_the_drop_in(server_file: Path) -> None:
    """The drop-in's method says the same."""
    context = tls.server_context(server_file)
    assert context.ticket_stats() == NEVER
    tls.Pair(context, tls.client_context()).handshake()
    assert context.ticket_stats() == ticket_stats(context) == NEVER._replace(issued=2)


def test_repr_has_numbers_only(setting13: Setting) -> None:
    """What is printed has names and numbers."""
    assert repr(ticket_stats(setting13.server_context)) == (
        "TicketStats(issued=0, received=0, used=0, renewed=0, ignored=0, aborted=0, "
        "undecryptable=0, failed=0)"
    )
