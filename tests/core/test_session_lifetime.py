"""How long the sessions of a context last."""

from __future__ import annotations

from typing import Any

import pytest

from openssl_tickets import SSL, get_session, get_session_timeout, set_session_timeout
from tests.support.libraries import Setting

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
