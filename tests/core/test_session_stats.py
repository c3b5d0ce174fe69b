"""What a context counts of its sessions."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

import pytest

from openssl_tickets import SSL, get_session, session_stats, set_session_ticket_callback
from openssl_tickets._core.session_stats import SessionStats
from tests.support import native
from tests.support.ends import WANTS
from tests.support.libraries import Setting, close, move, pointer, set_cache_mode

NEVER = dict.fromkeys(SessionStats._fields, 0) | {"cache_size": 20_480}


def stats(context: Any, **but: int) -> bool:
    """Compares what *context* has counted with NEVER, *but* what is given; ssl must agree."""
    found = session_stats(context)
    assert found._asdict() == NEVER | but
    if isinstance(context, ssl.SSLContext):
        theirs = context.session_stats()
        assert set(theirs) == set(SessionStats._fields) - {"cb_hits", "cache_size"}
        assert theirs == {name: getattr(found, name) for name in theirs}
    return True


def resumable(pair: Any) -> Any:
    """Closes *pair* and returns the client's session."""
    session = get_session(pair.client)
    close(pair)
    return session


def test_fresh(setting: Setting) -> None:
    """Nothing has been counted on a new context, and its cache has libssl's own size."""
    assert stats(setting.server_context)
    assert stats(setting.client_context)


def test_begun(setting: Setting) -> None:
    """A handshake is counted as it begins, and again when it is finished."""
    pair = setting.pair()
    with contextlib.suppress(*WANTS):
        pair.client.do_handshake()
    assert stats(setting.client_context, connect=1)
    assert stats(setting.server_context)
    move(pair)
    with contextlib.suppress(*WANTS):
        pair.server.do_handshake()
    assert stats(setting.server_context, accept=1)
    pair.handshake()
    assert stats(setting.client_context, connect=1, connect_good=1)
    assert stats(setting.server_context, accept=1, accept_good=1)


def test_hits(setting: Setting) -> None:
    """Both sides count a resumption from a ticket."""
    session = resumable(setting.handshake())
    pairs = [setting.handshake(session), setting.handshake()]
    assert [pair.reused for pair in pairs] == [True, False]
    assert stats(setting.client_context, connect=3, connect_good=3, hits=1)
    assert stats(setting.server_context, accept=3, accept_good=3, hits=1)


def test_session_ids(setting12: Setting) -> None:
    """Session ids are in the server's cache; a server that does not know one counts it."""
    setting12.use_session_ids()
    session = resumable(setting12.handshake())
    pair = setting12.handshake(session)
    assert pair.reused
    assert stats(setting12.server_context, number=1, accept=2, accept_good=2, hits=1)
    setting12.server_context = setting12.make_server_context()
    setting12.use_session_ids()
    pair = setting12.handshake(session)
    assert not pair.reused
    assert stats(setting12.server_context, number=1, accept=1, accept_good=1, misses=1)


def test_unknown_ticket(setting: Setting) -> None:
    """A ticket of another server is no miss."""
    session = resumable(setting.handshake())
    setting.server_context = setting.make_server_context()
    assert not setting.handshake(session).reused
    assert stats(setting.server_context, accept=1, accept_good=1)


def test_timeouts(setting: Setting) -> None:
    """A ticket that comes after its time is counted, and not resumed."""

    def generate(connection: Any, data: Any) -> None:
        session = get_session(connection)
        assert session is not None
        session.time -= session.timeout + 1000

    set_session_ticket_callback(setting.server_context, generate)
    session = resumable(setting.handshake())
    set_session_ticket_callback(setting.server_context)
    assert not setting.handshake(session).reused
    assert session_stats(setting.server_context).timeouts == 1
    assert session_stats(setting.server_context).hits == 0
    if setting.library == "ssl":
        assert setting.server_context.session_stats()["timeouts"] == 1
    # One that is in time is not.
    assert setting.handshake(resumable(setting.handshake())).reused
    assert session_stats(setting.server_context).timeouts == 1


def test_full_cache(setting12: Setting) -> None:
    """Sessions that had to leave a full cache are counted; its size is what was set."""
    setting12.use_session_ids()
    native.lib.set_session_cache_size(pointer(setting12.server_context), 4)
    for _ in range(10):
        close(setting12.handshake())
    number = session_stats(setting12.server_context).number
    assert number in (3, 4)  # libssl counts the one that is coming, in some versions
    assert stats(
        setting12.server_context,
        number=number,
        accept=10,
        accept_good=10,
        cache_full=10 - number,
        cache_size=4,
    )


def test_external_cache(setting12: Setting) -> None:
    """What a server's external cache has found is counted apart."""
    setting12.use_session_ids()
    session = resumable(setting12.handshake())
    context = setting12.server_context
    set_cache_mode(context, SSL.SESS_CACHE_SERVER | SSL.SESS_CACHE_NO_INTERNAL)
    native.lib.set_external_session(pointer(context), session._pointer)
    try:
        setting12.handshake(session)
        assert session_stats(setting12.server_context).cb_hits == 1
    finally:
        native.lib.set_external_session(pointer(context), native.NULL)


@pytest.mark.parametrize("library", ["drop-in", "pyOpenSSL"])
def test_renegotiations(setting12: Setting) -> None:
    """Both sides count a renegotiation, which resumes the session; ssl has none."""
    pair = setting12.handshake()
    assert pair.server.renegotiate()
    pair.server.do_handshake()
    for _ in range(5):
        for side in (pair.client, pair.server):
            pair.move()
            with contextlib.suppress(SSL.WantReadError):
                side.recv(1)
    assert stats(setting12.client_context, connect=1, connect_good=2, connect_renegotiate=1, hits=1)
    # libssl counts its request for one too.
    begun = session_stats(setting12.server_context).accept_renegotiate
    assert begun >= 1
    assert stats(
        setting12.server_context, accept=1, accept_good=2, accept_renegotiate=begun, hits=1
    )


def test_method_of_the_drop_in() -> None:
    """The drop-in's method returns the same."""
    context = SSL.Context(SSL.TLS_METHOD)
    assert context.session_stats() == session_stats(context)
    assert type(context.session_stats()) is SessionStats
