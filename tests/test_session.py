"""Sessions, and the application data that they carry."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import given, strategies as st

import openssl_tickets
from openssl_tickets import SSL
from tests import tls


@pytest.fixture
def session(server_context: Any, client_context: Any) -> openssl_tickets.Session:
    pair = tls.Pair(server_context, client_context).handshake()
    found = openssl_tickets.get_session(pair.server)
    assert found is not None
    return found


def test_none_before_the_handshake() -> None:
    """A connection without a handshake has no session."""
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    assert openssl_tickets.get_session(connection) is None


def test_outlives_its_connection(session: openssl_tickets.Session) -> None:
    """A session stays valid when its connection and its context are gone."""
    gc.collect()
    session.ticket_appdata = b"still here"
    assert session.ticket_appdata == b"still here"


def test_no_data_is_empty_bytes(session: openssl_tickets.Session) -> None:
    """A session without application data has b""."""
    assert session.ticket_appdata == b""


def test_both_sides_have_one(server_context: Any, client_context: Any) -> None:
    """The client's connection has a session too; the server's data is not in it."""
    server_context.set_session_ticket_callback(lambda *_: b"for the server alone")
    pair = tls.Pair(server_context, client_context).handshake()
    client_session = openssl_tickets.get_session(pair.client)
    assert client_session is not None
    assert client_session.ticket_appdata == b""


@pytest.mark.parametrize("wrong", [None, "text", 3, bytearray(b"x"), memoryview(b"x")])
def test_data_must_be_bytes(session: openssl_tickets.Session, wrong: Any) -> None:
    """Only bytes can be set; the data stays as it was."""
    session.ticket_appdata = b"before"
    with pytest.raises(TypeError, match=f"must be bytes, not {type(wrong).__name__}"):
        session.ticket_appdata = wrong
    assert session.ticket_appdata == b"before"


def test_any_bytes_are_kept(session: openssl_tickets.Session) -> None:
    """Whatever fits comes back as it was set."""

    @given(pattern=st.binary(min_size=1, max_size=64), size=st.integers(0, 60_000))
    def check(pattern: bytes, size: int) -> None:
        data = (pattern * (size // len(pattern) + 1))[:size]
        session.ticket_appdata = data
        assert session.ticket_appdata == data

    check()


@pytest.mark.parametrize("size", [48_896, 48_897, 65_000])
def test_around_the_measured_sizes(session: openssl_tickets.Session, size: int) -> None:
    """Where the package begins to measure the encoded session, nothing changes for the user."""
    session.ticket_appdata = b"x" * size
    assert len(session.ticket_appdata) == size


@pytest.mark.parametrize("size", [65_280, 65_281, 1 << 20, 1 << 26])
def test_too_large(session: openssl_tickets.Session, size: int) -> None:
    """Data that could not go into a ticket is refused when it is set."""
    with pytest.raises(ValueError, match=f"{size} bytes of ticket application data do not fit"):
        session.ticket_appdata = b"x" * size
    assert session.ticket_appdata == b""
