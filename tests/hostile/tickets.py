"""Tickets that no server has made: changed, cut off, of other keys, of any size."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from openssl_tickets import Session, TicketKey, TicketKeys, TicketStatus
from tests.hostile import hellos, servers
from tests.hostile.servers import FULL, UNSENT, Seen, Server, Setting
from tests.support import der

PATTERNS = (0x01, 0x80, 0xFF)
SIZES = (
    *range(1, 81),
    *(2**exponent + more for exponent in range(7, 16) for more in (-1, 0, 1)),
    *(60_000, 65_000, 65_200, 65_280, 65_300, 65_400, 65_500, 65_535),
)
_LENGTH_OF_NAME, _LENGTH_OF_IV, _LENGTH_OF_MAC = 16, 16, 32


@dataclasses.dataclass(frozen=True)
class Case:
    kind: str
    ticket: bytes
    is_genuine: bool = False
    """Whether the server has made it, for another session than that which the client has."""


class Attack:
    """One server, genuine tickets of it, and those of others."""

    def __init__(self, setting: Setting, server_file: Path) -> None:
        self.setting = setting
        self.server = Server(setting, server_file)
        self.client_context = servers.client_context(setting.version)
        made = servers.sessions(self.server, self.client_context)
        self.session, self.other_session = next(made), next(made)
        # Another server, whose keys are other ones.
        self.stranger = next(servers.sessions(Server(setting, server_file), self.client_context))
        # The same server, in the other version.
        other_version = "1.3" if setting.version == "1.2" else "1.2"
        self.other_version = next(
            servers.sessions(self.server, servers.client_context(other_version))
        )
        self.namesake: Session | None = None
        if self.server.ring is not None:
            names = [key.name for key in self.server.ring.keys]
            ring = TicketKeys([TicketKey(name, os.urandom(32), os.urandom(32)) for name in names])
            self.namesake = next(
                servers.sessions(Server(setting, server_file, ring), self.client_context)
            )

    def cases(self) -> Iterator[Case]:
        """Yields every case; their order is always the same."""
        ticket = self.session.ticket
        for position in range(len(ticket)):
            for pattern in PATTERNS:
                changed = bytearray(ticket)
                changed[position] ^= pattern
                yield Case("a byte changed", bytes(changed))
        for length in range(1, len(ticket)):
            yield Case("cut off", ticket[:length])
        for length in range(1, len(ticket), 3):
            yield Case("its start missing", ticket[length:])
        for more in (1, 2, 15, 16, 17, 32, 48, 64, 255, 256, 1000):
            yield Case("bytes appended", ticket + bytes(more))
            yield Case("bytes appended", ticket + os.urandom(more))
        yield Case("twice in one", ticket * 2)
        yield Case("another server's keys", self.stranger.ticket)
        yield Case("a ticket without its secret", self.other_session.ticket, True)
        yield Case("a ticket of the other version", self.other_version.ticket, True)
        if self.namesake is not None:
            assert self.namesake.key_name == self.session.key_name
            yield Case("a key of the same name", self.namesake.ticket)
        name_and_iv = _LENGTH_OF_NAME + _LENGTH_OF_IV
        for one, other in self._pairs():
            for at in (_LENGTH_OF_NAME, name_and_iv, name_and_iv + 16, -_LENGTH_OF_MAC):
                mixed = one[:at] + other[at:]
                if mixed not in (one, other):  # they may have the same name
                    yield Case("parts of two", mixed)
        for size in SIZES:
            yield Case("0 to 64 KiB", os.urandom(size))
            yield Case("0 to 64 KiB", (ticket[:_LENGTH_OF_NAME] + os.urandom(size))[:size])
        yield Case("0 to 64 KiB", b"")

    def _pairs(self) -> Iterator[tuple[bytes, bytes]]:
        ticket = self.session.ticket
        for session in (self.other_session, self.stranger, self.other_version, self.namesake):
            if session is not None:
                yield ticket, session.ticket
                yield session.ticket, ticket

    def offer(self, case: Case) -> str:
        """
        Has a client offer the ticket, and returns how it went.

        Raises:
            AssertionError: it is not as it must be.
        """
        seen = servers.shake(
            self.server, self.client_context, der.with_ticket(self.session, case.ticket)
        )
        if case.is_genuine:
            # TLS 1.2 servers have resumed by then, and nobody can finish the handshake.
            assert seen.outcome == FULL or "alert " in seen.outcome
            assert not (seen.outcome == FULL and seen.reused)
            return seen.outcome
        check(self.setting, case.ticket, seen)
        return seen.outcome

    def wire_cases(self) -> Iterator[tuple[Case, bytes]]:
        """Yields tickets that are changed on the way, each with the client's hello around it."""
        ticket = self.session.ticket
        hello = servers.shake(self.server, self.client_context, self.session.copy()).hello
        at = hello.index(ticket)
        for position in range(len(ticket)):
            for pattern in PATTERNS:
                changed = bytearray(ticket)
                changed[position] ^= pattern
                record = hello[:at] + changed + hello[at + len(ticket) :]
                yield Case("a byte changed on the way", bytes(changed)), record

    def send(self, case: Case, record: bytes) -> str:
        """
        Sends a hello with the ticket, and returns how it went.

        Raises:
            AssertionError: it is not as it must be.
        """
        reply = hellos.send(self.server, [record])
        assert reply.outcome == "server hello"
        assert reply.selected is None
        check(self.setting, case.ticket, Seen(FULL, reply.reused, reply.asked))
        return "full handshake, answered"


def check(setting: Setting, ticket: bytes, seen: Seen) -> None:
    """Holds what was *seen* of a *ticket* that no server has made against what must be."""
    assert not seen.reused
    assert seen.outcome == FULL or seen.outcome == UNSENT or seen.outcome.startswith("alert ")
    for asked in seen.asked:
        assert asked.status not in servers.DECRYPTED
        assert asked.appdata is None
        assert asked.key_name == ticket[:16]
    if setting.policy == "callbacks" and seen.outcome == FULL and ticket:
        assert [asked.status for asked in seen.asked] == [TicketStatus.NO_DECRYPT]


def resumes(attack: Attack) -> bool:
    """Whether the genuine ticket is still good: else none of the above says anything."""
    seen = servers.shake(attack.server, attack.client_context, attack.session.copy())
    return seen.reused
