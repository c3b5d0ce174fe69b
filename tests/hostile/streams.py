"""What clients might send, as hypothesis makes it up: hellos that are nearly right, and noise."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.hostile import hellos, servers
from tests.hostile.hellos import ALERT, HANDSHAKE, NO_ALERT, Offer
from tests.hostile.servers import Server

LENGTHS = ("message", "session id", "ciphers", "compressions", "extensions", "extension")

# The extensions that libssl 3.0 knows of, those of tickets most of all.
KINDS = st.sampled_from(
    [
        *(hellos.PSK, hellos.TICKET, hellos.MODES, hellos.KEY_SHARE, hellos.VERSIONS),
        *(0, 1, 5, 10, 11, 13, 14, 16, 18, 21, 22, 23, 42, 44, 47, 49, 50, 13172, 0xFF01, 0x0A0A),
    ]
)
SMALL = st.binary(max_size=80)
# Behind one length, or two: what most extensions look like.
BODIES = st.one_of(
    st.just(b""),
    SMALL,
    SMALL.map(lambda body: hellos.vector(1, body)),
    SMALL.map(lambda body: hellos.vector(2, body)),
    SMALL.map(lambda body: hellos.vector(2, hellos.vector(2, body))),
    st.binary(max_size=2000),
)


@st.composite
def _identities(draw: Callable[..., Any], genuine: bytes) -> bytes:
    """The body of a pre_shared_key: any tickets, a genuine one among them, and any binders."""
    tickets = draw(st.lists(st.one_of(st.just(genuine), SMALL), max_size=4))
    binders = draw(st.lists(st.binary(min_size=30, max_size=50), max_size=4))
    return hellos.vector(
        2,
        b"".join(
            hellos.vector(2, ticket) + draw(st.binary(min_size=4, max_size=4)) for ticket in tickets
        ),
    ) + hellos.vector(2, b"".join(hellos.vector(1, binder) for binder in binders))


@st.composite
def _hellos(draw: Callable[..., Any], genuine: bytes) -> bytes:
    """The message of a hello, in which some things are not what they should be."""
    made = hellos.hello(draw(st.sampled_from(["1.2", "1.3"])))
    made.random = draw(st.binary(min_size=32, max_size=32))
    made.session_id = draw(st.one_of(st.just(b""), st.binary(max_size=40)))
    extensions = made.extensions
    for _ in range(draw(st.integers(0, 3))):
        what = draw(st.sampled_from(["drop", "repeat", "put", "replace", "shuffle"]))
        at = draw(st.integers(0, max(len(extensions) - 1, 0)))
        if what == "put":
            extensions.insert(at, (draw(KINDS), draw(BODIES)))
        elif what == "shuffle":
            extensions[:] = draw(st.permutations(extensions))
        elif extensions and what == "drop":
            del extensions[at]
        elif extensions and what == "repeat":
            extensions.append(extensions[at])
        elif extensions:
            extensions[at] = extensions[at][0], draw(BODIES)
    if draw(st.booleans()):
        extensions.append((hellos.TICKET, draw(SMALL)))
    if draw(st.booleans()):
        extensions.append((hellos.PSK, draw(_identities(genuine))))
    wrong = draw(st.one_of(st.none(), st.sampled_from(LENGTHS)))
    by = draw(st.sampled_from([-1, 1, 2, 255, 256, -300])) if wrong else 0
    return made.message(lambda name, value: value + by if name == wrong else value)


@st.composite
def _damaged(draw: Callable[..., Any], message: bytes) -> bytes:
    """*message*, with some bytes of it changed, or its end missing."""
    changed = bytearray(message)
    for _ in range(draw(st.integers(0, 3))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed[: draw(st.one_of(st.none(), st.integers(0, len(changed))))])


@st.composite
def streams(draw: Callable[..., Any], genuine: bytes) -> list[bytes]:
    """
    Pieces of a stream of records. A *genuine* ticket may be in a TLS 1.3 hello, without a binder
    that is right for it.
    """
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        message = draw(_hellos(genuine))
        if draw(st.booleans()):
            message = draw(_damaged(message))
        kind = draw(st.sampled_from([HANDSHAKE] * 8 + [20, 21, 23, 24, 0, 255]))
        sizes = draw(st.lists(st.integers(1, 200), max_size=4))
        parts.append(hellos.records(message, sizes, kind))
        if draw(st.integers(0, 4)) == 0:
            parts.append(draw(st.binary(max_size=300)))
    stream = b"".join(draw(st.permutations(parts)))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def _needs_no_alert(stream: bytes) -> bool:
    """Whether the other side does not speak TLS at all, or has sent an alert itself."""
    if stream[:2] != b"\x16\3":
        return True
    while len(stream) >= 5:
        if stream[0] == ALERT:
            return True
        stream = stream[5 + int.from_bytes(stream[3:5], "big") :]
    return False


class Target:
    """A server that is sent streams, and one of whose tickets is known."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client_context = servers.client_context("1.3")
        self.session = next(servers.sessions(server, self.client_context))

    def send(self, pieces: list[bytes]) -> str:
        """
        Sends a stream, and returns how it ended.

        Raises:
            AssertionError: it is not as it must be.
        """
        reply = hellos.send(self.server, pieces)
        assert not reply.reused
        assert reply.selected is None
        if reply.outcome == NO_ALERT:
            assert _needs_no_alert(b"".join(pieces))
        return reply.outcome

    def still_resumes(self) -> bool:
        seen = servers.shake(self.server, self.client_context, self.session.copy())
        offer = hellos.offering([Offer(os.urandom(50)), Offer.of(self.session)])
        return seen.reused and hellos.send(self.server, [hellos.records(offer)]).selected == 1
