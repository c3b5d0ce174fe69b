"""
The tickets of our servers, as clients see them that are not OpenSSL's.

Each client is asked the same. What one of them does in a way of its own is in its driver, in
``tests/interop/peers``: there ``reuses``, ``renews`` and so on are said of it, and proved here.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import ssl
from pathlib import Path
from typing import Any, NoReturn

import pytest

import openssl_tickets
from openssl_tickets import TicketKey, TicketKeys, TicketReturn, TicketStatus
from tests.interop import peers
from tests.interop.peers.gnutls import GnutlsCli, Libgnutls
from tests.interop.peers.golang import Go, build
from tests.interop.peers.node import Node
from tests.interop.peers.server import ERRORS, Policy, Server
from tests.interop.peers.tlslite_ng import TlsliteNg
from tests.support import stdlib_tls, tls

ABORT, IGNORE, IGNORE_RENEW, USE, USE_RENEW = TicketReturn
NO_DECRYPT, SUCCESS_RENEW = TicketStatus.NO_DECRYPT, TicketStatus.SUCCESS_RENEW


def missing(name: str, remedy: str) -> NoReturn:
    """What tests need must be there in CI."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"there is no {name} ({remedy})")


def program(name: str, package: str) -> str:
    """Returns the path of a program."""
    path = shutil.which(name)
    if path is None:
        missing(name, f"Debian: apt-get install {package}")
    return path


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client in Go, which is built once."""
    return build(program("go", "golang-go"), tmp_path_factory.mktemp("go"))


@pytest.fixture(params=["gnutls-cli", "libgnutls", "node", "tlslite-ng", "go"])
def peer(request: pytest.FixtureRequest, ca_file: Path) -> peers.Peer:
    """A client that is not OpenSSL's."""
    if request.param == "gnutls-cli":
        return GnutlsCli(program("gnutls-cli", "gnutls-bin"), ca_file)
    if request.param == "libgnutls":
        program("gnutls-cli", "gnutls-bin")  # the two come together
        return Libgnutls(ca_file)
    if request.param == "node":
        return Node(program("node", "nodejs"), ca_file)
    if request.param == "tlslite-ng":
        if not importlib.util.find_spec("tlslite"):
            missing("tlslite-ng", "pip install tlslite-ng")
        return TlsliteNg(ca_file)
    return Go(request.getfixturevalue("go_client"), ca_file)


@pytest.fixture(params=[tls, stdlib_tls], ids=["pyOpenSSL", "ssl"])
def context(request: pytest.FixtureRequest, server_file: Path, version: str) -> Any:
    """A server's context of each library and version, which sends two tickets in TLS 1.3."""
    context = request.param.server_context(server_file, version)
    openssl_tickets.set_num_tickets(context, 2)
    return context


@pytest.fixture
def full(version: str) -> int:
    """How many tickets a full handshake brings."""
    return 1 if version == "1.2" else 2


@pytest.fixture
def status(version: str) -> TicketStatus:
    """What libssl makes of a ticket of the key in use: in TLS 1.3 it is to be renewed."""
    return TicketStatus.SUCCESS if version == "1.2" else TicketStatus.SUCCESS_RENEW


def offered(peer: peers.Peer, tickets: int, before: int = 0) -> bytes:
    """The data in the ticket that a client offers of *tickets*, if *before* were made earlier."""
    return b"ticket %d" % (before + (1 if peer.offers == 0 else tickets))


def third(peer: peers.Peer, version: str, old: Any, new: Any) -> list[Any]:
    """What a client offers on its third connection, if *new* came with the resumption by *old*."""
    if version in peer.renews:
        return [new]
    return [old] if version in peer.reuses else []


class TestCount:
    @pytest.mark.parametrize("number", [0, 1, 2, 5])
    def test_full_handshake(
        self, peer: peers.Peer, context: Any, version: str, number: int
    ) -> None:
        """As many tickets come as were set in TLS 1.3, and one in TLS 1.2 whatever was set."""
        expected = 1 if version == "1.2" else number
        openssl_tickets.set_num_tickets(context, number)
        policy = Policy(context)
        with Server(context) as server:
            visits = peer.visit(server.port, version)
        assert visits.went_well
        assert (visits.resumed, visits.tickets) == ([False], [expected])
        assert policy.generated == expected
        assert not server.errors

    @pytest.mark.parametrize("version", ["1.3"])
    def test_on_demand(self, peer: peers.Peer, context: Any, version: str) -> None:
        """Tickets that are asked for come ahead of the reply, and are good for a resumption."""

        def two_more(connection: Any) -> None:
            openssl_tickets.new_session_ticket(connection)
            openssl_tickets.new_session_ticket(connection)

        openssl_tickets.set_num_tickets(context, 0)
        policy = Policy(context)
        with Server(context) as server:
            server.on_request[1] = two_more
            visits = peer.visit(server.port, version, 2)
        assert visits.went_well
        assert visits.tickets == [2, 0]
        assert visits.resumed == server.reused == [False, True]
        assert policy.seen == [(SUCCESS_RENEW, offered(peer, 2))]
        assert not server.errors


class TestResumption:
    def test_default(
        self, peer: peers.Peer, context: Any, version: str, full: int, status: TicketStatus
    ) -> None:
        """A ticket resumes, decrypt is shown its data, and in TLS 1.3 a new one comes."""
        policy = Policy(context)
        with Server(context) as server:
            visits = peer.visit(server.port, version, 2)
        assert visits.went_well
        assert visits.resumed == server.reused == [False, True]
        assert visits.tickets == [full, 0 if version == "1.2" else 1]
        assert policy.seen == [(status, offered(peer, full))]
        assert not server.errors


class TestRenewal:
    def test_use(
        self, peer: peers.Peer, context: Any, version: str, full: int, status: TicketStatus
    ) -> None:
        """USE resumes without a new ticket; some clients then offer the old one again."""
        again = version in peer.reuses
        policy = Policy(context, USE)
        with Server(context) as server:
            visits = peer.visit(server.port, version, 3)
        assert visits.went_well
        assert visits.resumed == server.reused == [False, True, again]
        assert visits.tickets == [full, 0, 0 if again else full]
        assert policy.seen == [(status, offered(peer, full))] * (2 if again else 1)
        assert not server.errors

    def test_use_renew(
        self, peer: peers.Peer, context: Any, version: str, full: int, status: TicketStatus
    ) -> None:
        """USE_RENEW resumes with a new ticket, which a client that keeps it offers next."""
        old, new = (status, offered(peer, full)), (status, offered(peer, 1, full))
        next_one = third(peer, version, old, new)
        policy = Policy(context, USE_RENEW)
        with Server(context) as server:
            visits = peer.visit(server.port, version, 3)
        assert visits.went_well
        assert visits.resumed == server.reused == [False, True, bool(next_one)]
        assert visits.tickets == [full, 1, 1 if next_one else full]
        assert policy.seen == [old, *next_one]
        assert not server.errors

    def test_rotated_key(
        self, peer: peers.Peer, context: Any, version: str, full: int, status: TicketStatus
    ) -> None:
        """After a rotation the old ticket still resumes, and brings a new one of the new key."""
        old_key, new_key = TicketKey.generate(), TicketKey.generate()
        keys = TicketKeys([old_key])
        openssl_tickets.set_ticket_keys(context, keys)
        old = (old_key.name, SUCCESS_RENEW, offered(peer, full))
        new = (new_key.name, status, offered(peer, 1, full))
        next_one = third(peer, version, old, new)
        policy = Policy(context)
        with Server(context) as server:
            server.on_request[1] = lambda _: keys.rotate(new_key)
            visits = peer.visit(server.port, version, 3)
        assert visits.went_well
        assert visits.resumed == server.reused == [False, True, bool(next_one)]
        assert visits.tickets[:2] == [full, 1]
        seen = [(name, *seen) for name, seen in zip(policy.key_names, policy.seen, strict=True)]
        assert seen == [old, *next_one]
        assert not server.errors


class TestRefusal:
    @pytest.mark.parametrize("answer", [IGNORE, IGNORE_RENEW])
    def test_ignore(
        self,
        peer: peers.Peer,
        context: Any,
        version: str,
        full: int,
        status: TicketStatus,
        answer: TicketReturn,
    ) -> None:
        """IGNORE is a full handshake without a ticket, IGNORE_RENEW with as many as any other."""
        policy = Policy(context, answer)
        with Server(context) as server:
            visits = peer.visit(server.port, version, 2)
        assert policy.seen == [(status, offered(peer, full))]
        if version in peer.fails_if_refused:
            fails(peer, version, visits, server)
            return
        assert visits.went_well
        assert visits.resumed == server.reused == [False, False]
        assert visits.tickets == [full, 0 if answer is IGNORE else full]
        assert not server.errors

    def test_unknown_key(self, peer: peers.Peer, context: Any, version: str, full: int) -> None:
        """A ticket of a key that is gone is a full handshake, whose tickets are good again."""
        keys = TicketKeys([TicketKey.generate()])
        openssl_tickets.set_ticket_keys(context, keys)
        policy = Policy(context)
        with Server(context) as server:
            server.on_request[1] = lambda _: keys.replace([TicketKey.generate()])
            visits = peer.visit(server.port, version, 3)
        assert policy.seen[0] == (NO_DECRYPT, None)
        if version in peer.fails_if_refused:
            fails(peer, version, visits, server)
            return
        assert visits.went_well
        assert visits.resumed == server.reused == [False, False, True]
        assert visits.tickets[:2] == [full, full]
        assert [appdata for _, appdata in policy.seen] == [None, offered(peer, full, full)]
        assert not server.errors

    def test_abort(
        self, peer: peers.Peer, context: Any, version: str, full: int, status: TicketStatus
    ) -> None:
        """ABORT is the alert internal_error to the client; a client without a ticket is served."""
        policy = Policy(context, ABORT)
        with Server(context) as server:
            visits = peer.visit(server.port, version, 2)
            after = peer.visit(server.port, version)
        assert policy.seen == [(status, offered(peer, full))]
        first, refused = visits.each
        assert (first.connected, first.data, first.error) == (True, peers.REPLY, "")
        assert (refused.connected, refused.tickets, refused.data) == (False, 0, "")
        assert peer.internal_error in refused.error
        assert visits.exit_code == 1
        assert after.went_well
        assert server.reused == [False, None, False]
        (error,) = server.errors
        assert isinstance(error, ERRORS)


def fails(peer: peers.Peer, version: str, visits: peers.Visits, server: Server) -> None:
    """A client that cannot have its ticket refused ends the handshake itself, with an alert."""
    refused = visits.each[-1]
    assert (refused.connected, refused.tickets, refused.data) == (False, 0, "")
    assert peer.fails_if_refused[version] in refused.error
    assert server.reused == [False, None]
    (error,) = server.errors
    assert "unexpected message" in str(error)


class TestData:
    def test_kept(self, peer: peers.Peer, context: Any, version: str) -> None:
        """What the first ticket carries is carried on by the one that renews it."""
        appdata = bytes(range(256)) * 4
        openssl_tickets.set_num_tickets(context, 1)
        again = third(peer, version, appdata, appdata)
        policy = Policy(context, USE_RENEW, [appdata])
        with Server(context) as server:
            visits = peer.visit(server.port, version, 3)
        assert visits.went_well
        assert visits.resumed == server.reused == [False, True, bool(again)]
        assert [seen for _, seen in policy.seen] == [appdata, *again]
        assert policy.generated == 3  # one on each connection
        assert not server.errors


class TestGnutlsCli:
    @pytest.mark.parametrize("peer", ["gnutls-cli"], indirect=True)
    def test_resume_option(
        self, peer: GnutlsCli, context: Any, version: str, status: TicketStatus
    ) -> None:
        """With --resume it takes the first ticket that comes, and does not wait for another."""
        policy = Policy(context)
        with Server(context) as server:
            visits = peer.resume(server.port, version)
        assert visits.exit_code == 0
        assert visits.resumed == server.reused == [False, True]
        assert visits.tickets == ([1, 0] if version == "1.2" else [1, 1])
        assert policy.seen == [(status, b"ticket 1")]
        assert [connection.data for connection in server.connections] == [b"", b"hello\n"]
        assert not server.errors


class TestNode:
    @pytest.mark.parametrize("peer", ["node"], indirect=True)
    def test_session_event(self, peer: peers.Peer, context: Any, version: str) -> None:
        """Node has its event for each new ticket, but for a renewed one of TLS 1.2 it has none."""
        Policy(context, USE_RENEW)
        with Server(context) as server:
            visits = peer.visit(server.port, version, 2)
        assert visits.tickets == ([1, 1] if version == "1.2" else [2, 1])
        assert announced(visits) == ([1, 0] if version == "1.2" else [2, 1])

    @pytest.mark.parametrize("peer", ["node"], indirect=True)
    @pytest.mark.parametrize("version", ["1.2"])
    def test_session_event_without_a_ticket(
        self, peer: peers.Peer, context: Any, version: str
    ) -> None:
        """In TLS 1.2 it also has its event for a session that has an id, and no ticket."""
        has_id = isinstance(context, ssl.SSLContext)  # the other has SESS_CACHE_OFF
        Policy(context, IGNORE)
        with Server(context) as server:
            visits = peer.visit(server.port, version, 2)
        assert visits.tickets == [1, 0]
        assert announced(visits) == [1, 1 if has_id else 0]


class TestTlsliteNg:
    @pytest.mark.parametrize("peer", ["tlslite-ng"], indirect=True)
    def test_renewed_ticket(self, peer: peers.Peer, context: Any, version: str) -> None:
        """Of itself tlslite-ng does not take up a renewed ticket in TLS 1.2."""
        Policy(context, USE_RENEW)
        with Server(context) as server:
            visits = peer.visit(server.port, version, 2)
        assert visits.tickets == ([1, 1] if version == "1.2" else [2, 1])
        assert announced(visits) == ([1, 0] if version == "1.2" else [2, 1])


def announced(visits: peers.Visits) -> list[int | None]:
    return [visit.announced for visit in visits.each]
