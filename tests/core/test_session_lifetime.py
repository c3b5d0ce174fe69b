"""What a context counts of its sessions, and how long they last."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Any

import pytest

from openssl_tickets import (
    SSL,
    get_session,
    get_session_timeout,
    session_stats,
    set_session_ticket_callback,
    set_session_timeout,
)
from openssl_tickets._adapters import to_ssl_ctx
from openssl_tickets._core.session_lifetime import SessionStats
from tests.support import native, tls
from tests.support.libraries import Setting, close

WEEK = 604_800  # seconds, the longest that RFC 8446 allows
NEVER = dict.fromkeys(SessionStats._fields, 0) | {"cache_size": 20_480}


@pytest.fixture(params=["drop-in", "pyOpenSSL", "ssl"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def setting(library: str, version: str, server_file: Path) -> Setting:
    return Setting(library, version, server_file)


@pytest.fixture
def setting12(library: str, server_file: Path) -> Setting:
    return Setting(library, "1.2", server_file)


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


class TestStats:
    def test_fresh(self, setting: Setting) -> None:
        """Nothing has been counted on a new context, and its cache has libssl's own size."""
        assert stats(setting.server_context)
        assert stats(setting.client_context)

    def test_begun(self, setting: Setting) -> None:
        """A handshake is counted as it begins, and again when it is finished."""
        pair = setting.pair()
        with contextlib.suppress(SSL.WantReadError, ssl.SSLWantReadError):
            pair.client.do_handshake()
        assert stats(setting.client_context, connect=1)
        assert stats(setting.server_context)
        if isinstance(pair, tls.Pair):
            pair.move()
        with contextlib.suppress(SSL.WantReadError, ssl.SSLWantReadError):
            pair.server.do_handshake()
        assert stats(setting.server_context, accept=1)
        pair.handshake()
        assert stats(setting.client_context, connect=1, connect_good=1)
        assert stats(setting.server_context, accept=1, accept_good=1)

    def test_hits(self, setting: Setting) -> None:
        """Both sides count a resumption from a ticket."""
        session = resumable(setting.handshake())
        pairs = [setting.handshake(session), setting.handshake()]
        assert [pair.reused for pair in pairs] == [True, False]
        assert stats(setting.client_context, connect=3, connect_good=3, hits=1)
        assert stats(setting.server_context, accept=3, accept_good=3, hits=1)

    def test_session_ids(self, setting12: Setting) -> None:
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

    def test_unknown_ticket(self, setting: Setting) -> None:
        """A ticket of another server is no miss."""
        session = resumable(setting.handshake())
        setting.server_context = setting.make_server_context()
        assert not setting.handshake(session).reused
        assert stats(setting.server_context, accept=1, accept_good=1)

    def test_timeouts(self, setting: Setting) -> None:
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

    def test_full_cache(self, setting12: Setting) -> None:
        """Sessions that had to leave a full cache are counted; its size is what was set."""
        setting12.use_session_ids()
        native.lib.set_session_cache_size(to_ssl_ctx(setting12.server_context).pointer, 4)
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

    def test_external_cache(self, setting12: Setting) -> None:
        """What a server's external cache has found is counted apart."""
        setting12.use_session_ids()
        session = resumable(setting12.handshake())
        pointer = to_ssl_ctx(setting12.server_context).pointer
        native.lib.set_session_cache_mode(
            pointer, SSL.SESS_CACHE_SERVER | SSL.SESS_CACHE_NO_INTERNAL
        )
        native.lib.set_external_session(pointer, session._pointer)
        try:
            setting12.handshake(session)
            assert session_stats(setting12.server_context).cb_hits == 1
        finally:
            native.lib.set_external_session(pointer, native.NULL)

    @pytest.mark.parametrize("library", ["drop-in", "pyOpenSSL"])
    def test_renegotiations(self, setting12: Setting) -> None:
        """Both sides count a renegotiation, which resumes the session; ssl has none."""
        pair = setting12.handshake()
        assert pair.server.renegotiate()
        pair.server.do_handshake()
        for _ in range(5):
            for side in (pair.client, pair.server):
                pair.move()
                with contextlib.suppress(SSL.WantReadError):
                    side.recv(1)
        assert stats(
            setting12.client_context, connect=1, connect_good=2, connect_renegotiate=1, hits=1
        )
        # libssl counts its request for one too.
        begun = session_stats(setting12.server_context).accept_renegotiate
        assert begun >= 1
        assert stats(
            setting12.server_context, accept=1, accept_good=2, accept_renegotiate=begun, hits=1
        )

    def test_method_of_the_drop_in(self) -> None:
        """The drop-in's method returns the same."""
        context = SSL.Context(SSL.TLS_METHOD)
        assert context.session_stats() == session_stats(context)
        assert type(context.session_stats()) is SessionStats


class TestTimeout:
    def test_default(self, setting: Setting) -> None:
        """A context that nobody has told has libssl's own."""
        assert get_session_timeout(setting.server_context) in (300, 7200)

    @pytest.mark.parametrize("seconds", [1, 1000, WEEK, WEEK + 1, 2**31 - 1])
    def test_lifetime_hint(self, setting: Setting, seconds: int) -> None:
        """Clients are told the server's, in TLS 1.3 a week at most."""
        set_session_timeout(setting.server_context, seconds)
        assert get_session_timeout(setting.server_context) == seconds
        session = get_session(setting.handshake().client)
        assert session is not None
        assert session.ticket
        expected = min(seconds, WEEK) if setting.of_tls13 else seconds
        assert session.ticket_lifetime_hint == expected

    def test_of_new_sessions(self, setting: Setting) -> None:
        """Sessions have the time that was set when they were made."""
        context = setting.server_context
        set_session_timeout(context, 1000)
        before = get_session(setting.handshake().server)
        set_session_timeout(context, 2000)
        after = get_session(setting.handshake().server)
        assert before is not None
        assert after is not None
        assert (before.timeout, after.timeout) == (1000, 2000)

    def test_of_a_client(self, setting: Setting) -> None:
        """A client's is for its own sessions, whatever the server says."""
        set_session_timeout(setting.client_context, 1000)
        set_session_timeout(setting.server_context, 2000)
        session = get_session(setting.handshake().client)
        assert session is not None
        assert (session.timeout, session.ticket_lifetime_hint) == (1000, 2000)

    def test_index_objects(self, setting: Setting) -> None:
        """Whatever has an __index__ will do."""

        class Seconds:
            def __index__(self) -> int:
                return 42

        set_session_timeout(setting.server_context, Seconds())
        assert get_session_timeout(setting.server_context) == 42

    @pytest.mark.parametrize("wrong", [0, -1, -(2**63), 2**31, 2**32 + 7, 2**64 + 7])
    def test_out_of_range(self, setting: Setting, wrong: int) -> None:
        """A number that libssl could not keep is refused, and what was set stays."""
        set_session_timeout(setting.server_context, 1000)
        limit = "1 or more" if wrong < 1 else "at most 2147483647"
        with pytest.raises(ValueError, match=f"^seconds must be {limit}, not {wrong}$"):
            set_session_timeout(setting.server_context, wrong)
        assert get_session_timeout(setting.server_context) == 1000

    @pytest.mark.parametrize("wrong", [True, False, 3.0, "3", None, b"3"])
    def test_no_integer(self, setting: Setting, wrong: Any) -> None:
        """Only an integer will do."""
        set_session_timeout(setting.server_context, 1000)
        with pytest.raises(TypeError, match=r"^seconds must be an int, not"):
            set_session_timeout(setting.server_context, wrong)
        assert get_session_timeout(setting.server_context) == 1000

    def test_methods_of_the_drop_in(self) -> None:
        """The drop-in's methods set and get the same."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_session_timeout(77)
        assert context.get_session_timeout() == get_session_timeout(context) == 77


@pytest.mark.parametrize("wrong", [None, 3, "context", object(), SSL.Context, ssl.SSLContext])
def test_not_a_context(wrong: Any) -> None:
    """Only a context will do."""
    with pytest.raises(TypeError, match="expected an OpenSSL"):
        session_stats(wrong)
    with pytest.raises(TypeError, match="expected an OpenSSL"):
        get_session_timeout(wrong)
    with pytest.raises(TypeError, match="expected an OpenSSL"):
        set_session_timeout(wrong, 10)


def test_connection_is_not_a_context(setting: Setting) -> None:
    """Nor a connection, of either side."""
    pair = setting.handshake()
    for connection in (pair.client, pair.server):
        with pytest.raises(TypeError, match="expected an OpenSSL"):
            session_stats(connection)
        with pytest.raises(TypeError, match="expected an OpenSSL"):
            get_session_timeout(connection)
        with pytest.raises(TypeError, match="expected an OpenSSL"):
            set_session_timeout(connection, 10)
