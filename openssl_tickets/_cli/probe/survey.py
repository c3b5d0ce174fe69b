"""Visits a server several times, and collects what the visits show."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from openssl_tickets import Session
from openssl_tickets._cli.probe.visits import VERSIONS, Version, Visit, Visitor, When

_TRIES = 4  # of several workers, only one may know the ticket. A later visit may reach that one.


@dataclass
class Handshake:
    """The tickets of one connection. The visit waited until no more came."""

    tickets: int
    when: list[When]
    lifetime_hints: list[int]

    @classmethod
    def of(cls, visit: Visit) -> Handshake:
        return cls(
            len(visit.tickets),
            [ticket.when for ticket in visit.tickets],
            [ticket.lifetime_hint for ticket in visit.tickets],
        )


@dataclass
class KeyName:
    """A key name, and the visits whose tickets had it without a change in between."""

    key_name: str
    first: int  # the number of the visit; 0 is the full handshake
    last: int


@dataclass
class Findings:
    """What was found for one version of TLS."""

    protocol: str
    error: str | None = None  # None if the server offers it
    cipher: str | None = None
    resumes_by: str | None = None  # "ticket" or "session id"
    full_handshake: Handshake | None = None
    resumption: Handshake | None = None
    taken_twice: bool | None = None  # None if it could not be tried
    connections: int = 0  # those that offered a session, one after the other
    resumed: int = 0
    failed: int = 0
    last_error: str | None = None
    tickets_seen: int = 0
    key_names: list[KeyName] = field(default_factory=list)
    #: Whether a ticket of the first address is taken at the others; None if the visit failed.
    other_addresses: dict[str, bool | None] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.resumed / self.connections if self.connections else 0.0


@dataclass
class Survey:
    """What was found for a server."""

    address: str | None = None  # the address that was visited; None if no visit was answered
    negotiated: str | None = None
    error: str | None = None
    complete: bool = True
    versions: list[Findings] = field(default_factory=list)


class Surveyor:
    """
    Makes the visits.

    Args:
        visitor: makes one visit.
        addresses: the addresses of the server, at least one.
        versions: the versions of TLS to look at.
        connections: how many visits in a row offer a session, for each version.
        limit: after how many seconds no visit is begun any more.
    """

    def __init__(
        self,
        visitor: Visitor,
        addresses: Sequence[str],
        versions: Sequence[Version] = VERSIONS,
        connections: int = 48,
        limit: float = 120.0,
    ) -> None:
        self._visitor = visitor
        self._addresses = addresses
        self._versions = versions
        self._connections = connections
        self._end = time.monotonic() + limit
        self._was_late = False

    def survey(self) -> Survey:
        """Makes all visits, and returns what was found."""
        survey = Survey()
        for address in self._addresses:
            if self._is_late():
                break
            only = self._versions[0] if len(self._versions) == 1 else None
            visit = self._visitor.visit(address, only, wait_for="handshake")
            if visit.protocol is not None:
                survey.address, survey.negotiated = address, visit.protocol
                survey.versions = [self._look_at(version, address) for version in self._versions]
                break
            survey.error = survey.error or f"{address}: {visit.error}"
        if survey.address is not None:
            survey.error = None
        survey.complete = not self._was_late
        return survey

    def _is_late(self) -> bool:
        self._was_late = self._was_late or time.monotonic() >= self._end
        return self._was_late

    def _look_at(self, version: Version, address: str) -> Findings:
        findings = Findings(f"TLSv{version}")
        if self._is_late():
            findings.error = "there was no time left"
            return findings
        full = self._visitor.visit(address, version)
        findings.cipher = full.cipher
        if full.protocol is None or (full.error and full.session is None):
            findings.error = full.error
            return findings
        findings.full_handshake = Handshake.of(full)
        if full.session is None:
            return findings
        findings.resumes_by = "ticket" if full.session.has_ticket else "session id"
        when: When = full.tickets[0].when if full.tickets else "handshake"
        session = self._look_at_a_resumption(findings, version, address, full.session)
        self._count(findings, version, address, session, when)
        self._look_elsewhere(findings, version, address, when)
        return findings

    def _look_at_a_resumption(
        self, findings: Findings, version: Version, address: str, first: Session
    ) -> Session:
        """Counts the tickets of a resumption, offers its session again, and returns the newest."""
        session = first
        for _ in range(_TRIES):
            if self._is_late():
                break
            visit = self._visitor.visit(address, version, session)
            offered, session = session, visit.session or session
            if visit.resumed:
                findings.resumption = Handshake.of(visit)
                if not self._is_late():
                    again = self._visitor.visit(address, version, offered, "handshake")
                    findings.taken_twice = again.resumed if again.protocol else None
                break
        return session

    def _count(
        self, findings: Findings, version: Version, address: str, session: Session, when: When
    ) -> None:
        """Makes visits in a row. Each offers the newest ticket."""
        seen = [(0, session.key_name)] if session.has_ticket else []
        for number in range(1, self._connections + 1):
            if self._is_late():
                break
            visit = self._visitor.visit(address, version, session, when)
            findings.connections += 1
            findings.resumed += visit.resumed
            if visit.protocol is None:
                findings.failed += 1
                findings.last_error = visit.error
            session = visit.session or session
            seen += [(number, ticket.key_name) for ticket in visit.tickets]
        findings.tickets_seen = len(seen)
        for name, group in groupby(seen, key=lambda each: each[1]):
            numbers = [number for number, _ in group]
            findings.key_names.append(KeyName(name.hex(), numbers[0], numbers[-1]))

    def _look_elsewhere(
        self, findings: Findings, version: Version, address: str, when: When
    ) -> None:
        """Offers a new ticket of *address* at each other address."""
        for other in self._addresses:
            if other == address or self._is_late():
                continue
            full = self._visitor.visit(address, version, None, when)
            if full.session is not None:
                visit = self._visitor.visit(other, version, full.session, when)
                findings.other_addresses[other] = visit.resumed if visit.protocol else None
