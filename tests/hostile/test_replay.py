"""What is replayed: a genuine ticket, and all that a client has sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from openssl_tickets._adapters import to_ssl
from openssl_tickets._native._libssl import lib
from tests.hostile import servers
from tests.hostile.servers import FULL, RESUMED, SETTINGS, SSL_ERRORS, Server, Setting

pytestmark = pytest.mark.slow

WITH_CALLBACKS = [setting for setting in SETTINGS if setting.policy == "callbacks"]


@pytest.mark.parametrize("setting", WITH_CALLBACKS, ids=str)
def test_a_ticket_again(setting: Setting, server_file: Path) -> None:
    """libssl resumes from a ticket as often as it comes, and decrypt is asked each time."""
    server, context = Server(setting, server_file), servers.client_context(setting.version)
    session = next(servers.sessions(server, context))
    for _ in range(5):
        seen = servers.shake(server, context, session.copy())
        assert seen.outcome == RESUMED
        assert [ticket.status in servers.DECRYPTED for ticket in seen.asked] == [True]
        assert seen.asked[0].key_name == session.key_name


@pytest.mark.parametrize("setting", WITH_CALLBACKS, ids=str)
def test_single_use(setting: Setting, server_file: Path) -> None:
    """A policy of a few lines takes each ticket once."""
    server = servers.single_use(setting, server_file)
    context = servers.client_context(setting.version)
    session = next(servers.sessions(server, context))
    first = servers.shake(server, context, session.copy())
    assert first.outcome == RESUMED
    for _ in range(3):
        again = servers.shake(server, context, session.copy())
        assert (again.outcome, again.reused) == (FULL, False)
    # The ticket that came with the resumption is another, and good once.
    assert first.session is not None
    assert servers.shake(server, context, first.session.copy()).outcome == RESUMED
    assert servers.shake(server, context, first.session.copy()).outcome == FULL


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_all_that_a_client_has_sent(setting: Setting, server_file: Path) -> None:
    """Who replays a whole connection, byte for byte, cannot finish the handshake."""
    server, context = Server(setting, server_file), servers.client_context(setting.version)
    session = next(servers.sessions(server, context))
    flights = servers.record(server, context, session)
    assert session.ticket in flights[0]
    end = server.end()
    end.give(flights[0])
    assert not end.step()
    assert end.take(), "the server does not answer the hello"
    for flight in flights[1:]:
        end.give(flight)
    with pytest.raises(SSL_ERRORS):
        end.step()
    assert lib.ERR_get_error() == 0
    with pytest.raises(SSL_ERRORS):
        end.read()
    assert lib.ERR_get_error() == 0
    assert not lib.SSL_is_init_finished(to_ssl(end.connection))
    # What came in between has not harmed the ticket.
    assert servers.shake(server, context, session.copy()).outcome == RESUMED
