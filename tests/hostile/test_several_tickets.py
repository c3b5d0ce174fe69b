"""Several tickets in one hello: which of them is used, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from openssl_tickets import ReceivedTicket, TicketReturn, TicketStatus
from tests.hostile import hellos, servers
from tests.hostile.hellos import Offer, Reply
from tests.hostile.servers import Server, Setting

pytestmark = pytest.mark.slow

NO_DECRYPT, SUCCESS = TicketStatus.NO_DECRYPT, TicketStatus.SUCCESS_RENEW


class Scene:
    """A server, two tickets that it has made, and what it answers to the next ones."""

    def __init__(self, setting: Setting, server_file: Path) -> None:
        self.answers: list[TicketReturn] = []
        self.server = Server(setting, server_file, answer=self._answer)
        made = servers.sessions(self.server, servers.client_context("1.3"))
        self.session = next(made)
        self.one, self.two = Offer.of(self.session), Offer.of(next(made))
        # The same server's, of the other version.
        self.old = Offer.of(next(servers.sessions(self.server, servers.client_context("1.2"))))

    def _answer(self, ticket: ReceivedTicket) -> TicketReturn | None:
        return self.answers.pop(0) if self.answers else None

    def send(self, message: bytes) -> Reply:
        return hellos.send(self.server, [hellos.records(message)])


@pytest.fixture(params=["SSL", "ssl"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["libssl", "ring"])
def scene(library: str, request: pytest.FixtureRequest, server_file: Path) -> Scene:
    return Scene(Setting(library, "1.3", "callbacks", request.param), server_file)


def stranger() -> Offer:
    return Offer(os.urandom(200))


def statuses(reply: Reply) -> list[TicketStatus]:
    return [ticket.status for ticket in reply.asked]


def test_the_first_good_one_is_used(scene: Scene) -> None:
    """decrypt is asked about each ticket in its order, and about none behind the one it uses."""
    offers = [stranger(), stranger(), scene.one, scene.two]
    reply = scene.send(hellos.offering(offers))
    assert (reply.outcome, reply.selected, reply.reused) == ("server hello", 2, True)
    assert statuses(reply) == [NO_DECRYPT, NO_DECRYPT, SUCCESS]
    assert [ticket.key_name for ticket in reply.asked] == [one.ticket[:16] for one in offers[:3]]


@pytest.mark.parametrize("answer", [TicketReturn.IGNORE, TicketReturn.IGNORE_RENEW])
def test_a_refused_one_is_passed_over(scene: Scene, answer: TicketReturn) -> None:
    """A ticket that decrypt refuses is not used, the next one may be."""
    scene.answers = [answer]
    reply = scene.send(hellos.offering([scene.one, scene.two]))
    assert (reply.outcome, reply.selected, reply.reused) == ("server hello", 1, True)
    assert statuses(reply) == [SUCCESS, SUCCESS]
    scene.answers = [answer, answer]
    reply = scene.send(hellos.offering([scene.one, scene.two]))
    assert (reply.outcome, reply.selected, reply.reused) == ("server hello", None, False)


def test_abort_ends_it(scene: Scene) -> None:
    """ABORT for one ticket ends the handshake, whatever comes behind it."""
    scene.answers = [TicketReturn.ABORT]
    reply = scene.send(hellos.offering([scene.one, scene.two]))
    assert (reply.outcome, reply.reused) == ("alert internal_error", False)
    assert statuses(reply) == [SUCCESS]


# OpenSSL 3.0 says the one, 3.5 the other.
WRONG_BINDER = {"alert illegal_parameter", "alert decrypt_error"}


@pytest.mark.parametrize("before", [0, 1, 3])
def test_wrong_binder(scene: Scene, before: int) -> None:
    """Without the ticket's secret there is no resumption."""
    stolen = Offer(scene.one.ticket)
    reply = scene.send(hellos.offering([*(stranger() for _ in range(before)), stolen, scene.two]))
    assert (reply.outcome in WRONG_BINDER, reply.reused) == (True, False)
    assert statuses(reply) == [NO_DECRYPT] * before + [SUCCESS]


@pytest.mark.parametrize(("number", "size"), [(100, 200), (300, 100), (1100, 1)])
def test_hundreds(scene: Scene, number: int, size: int) -> None:
    """The last of hundreds of tickets is found, and decrypt is asked about all of them."""
    offers = [Offer(os.urandom(size)) for _ in range(number)]
    reply = scene.send(hellos.offering([*offers, scene.one]))
    assert (reply.outcome, reply.selected) == ("server hello", number)
    assert statuses(reply) == [NO_DECRYPT] * number + [SUCCESS]
    assert {len(ticket.key_name) for ticket in reply.asked} == {min(size, 16), 16}
    reply = scene.send(hellos.offering(offers))
    assert (reply.outcome, reply.selected, reply.reused) == ("server hello", None, False)


def test_one_ticket_twice(scene: Scene) -> None:
    """Of two times the same ticket the first is used."""
    reply = scene.send(hellos.offering([scene.one, scene.one]))
    assert (reply.outcome, reply.selected) == ("server hello", 0)


BROKEN: dict[str, tuple[Callable[[Scene], bytes], str]] = {
    "too few binders": (
        lambda scene: hellos.offering([stranger(), scene.one], binders=1),
        "alert decode_error",
    ),
    "no binder": (lambda scene: hellos.offering([scene.one], binders=0), "alert decode_error"),
    "an empty ticket": (
        lambda scene: hellos.offering([Offer(b""), scene.one]),
        "alert decode_error",
    ),
    "not the last extension": (
        lambda scene: hellos.offering([scene.one], last=False),
        "alert illegal_parameter",
    ),
    "no ticket at all": (lambda scene: hellos.offering([]), "server hello"),
    "only strangers' tickets": (
        lambda scene: hellos.offering([stranger(), stranger()]),
        "server hello",
    ),
    # libssl has decrypt asked, and does not use it whatever the answer; nor what is behind it.
    "a ticket of TLS 1.2": (lambda scene: hellos.offering([scene.old]), "server hello"),
    "a ticket of TLS 1.2, and a good one": (
        lambda scene: hellos.offering([scene.old, scene.one]),
        "server hello",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(scene: Scene, name: str) -> None:
    """A list of tickets that is not in order leads to an alert or a full handshake."""
    make, outcome = BROKEN[name]
    reply = scene.send(make(scene))
    assert (reply.outcome, reply.selected, reply.reused) == (outcome, None, False)
    # And the server goes on.
    assert scene.send(hellos.offering([scene.two])).reused


def test_more_binders_than_tickets(scene: Scene) -> None:
    """libssl looks at the binder of the ticket that it uses only."""
    reply = scene.send(hellos.offering([scene.one, scene.two], identities=1))
    assert (reply.outcome, reply.selected) == ("server hello", 0)
    reply = scene.send(hellos.offering([Offer(scene.one.ticket), scene.two], identities=1))
    assert (reply.outcome in WRONG_BINDER, reply.reused) == (True, False)


def test_the_bytes_of_a_ticket_in_the_hello(scene: Scene) -> None:
    """A ticket that is changed on the way is not used, though its binder was right."""
    message = hellos.offering([scene.one])
    at = message.index(scene.one.ticket)
    for position in range(at, at + len(scene.one.ticket)):
        changed = bytearray(message)
        changed[position] ^= 0x40
        reply = scene.send(bytes(changed))
        assert (reply.outcome, reply.reused) == ("server hello", False)
        assert statuses(reply) == [NO_DECRYPT]
