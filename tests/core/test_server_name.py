"""Tickets that are good for the server name only that they were issued for."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import OpenSSL.SSL
import pytest

from openssl_tickets import (
    SSL,
    Session,
    TicketReturn,
    get_session,
    set_server_name_binding,
    set_session_ticket_callback,
    ticket_stats,
)
from tests.support.callbacks import Recorder
from tests.support.libraries import (
    ERRORS,
    Setting,
    ask_for_certificate,
    cache_mode,
    certificate_in,
    close,
    set_cache_mode,
    show_certificate,
    switch_by_server_name,
    switch_context,
)


def resumable(pair: Any) -> Session:
    """Closes *pair* and returns a copy of the client's session."""
    session = get_session(pair.client)
    assert session is not None
    close(pair)
    return session.copy()


def accept_names(context: Any) -> None:
    """Has *context* accept each server name, as one that never switches does."""
    if isinstance(context, ssl.SSLContext):
        context.sni_callback = lambda *_: None
    else:
        context.set_tlsext_servername_callback(lambda _: None)


NAMES = [
    ("a.example", "a.example", True),
    ("a.example", "A.Example", True),
    ("a.example", "b.example", False),
    ("a.example", "a.example.org", False),
    ("a.example", None, False),
    (None, "a.example", False),
    (None, None, True),
]


@pytest.mark.parametrize("has_callback", [False, True])
@pytest.mark.parametrize(("issued", "asked", "is_same"), NAMES)
def test_names(
    setting: Setting, has_callback: bool, issued: str | None, asked: str | None, is_same: bool
) -> None:
    """A ticket of another name leads to a full handshake with new tickets."""
    context = setting.server_context
    if has_callback:
        accept_names(context)
    set_server_name_binding(context, True)
    session = resumable(setting.pair(server_name=issued).handshake())
    pair = setting.pair(session, asked).handshake()
    assert pair.reused is is_same
    assert ticket_stats(context).ignored == (not is_same)
    if not is_same:
        assert pair.received == setting.tickets
        # They are for the name that was asked for then.
        assert setting.pair(resumable(pair), asked).handshake().reused


def test_renewed(setting: Setting) -> None:
    """A ticket that renews another is bound to the same name."""
    set_server_name_binding(setting.server_context, True)
    setting.renew()
    pair = setting.pair(server_name="a.example").handshake()
    for _ in range(2):
        pair = setting.pair(resumable(pair), "a.example").handshake()
        assert (pair.reused, pair.received) == (True, 1)
    assert not setting.pair(resumable(pair), "b.example").handshake().reused


def test_off(setting: Setting) -> None:
    """By default names are not compared, as in libssl; and it can be turned off again."""
    context = setting.server_context
    for enabled in (None, False):
        if enabled is not None:
            set_server_name_binding(context, True)
            set_server_name_binding(context, enabled)
        session = resumable(setting.pair(server_name="a.example").handshake())
        reused = setting.pair(session, "b.example").handshake().reused
        assert reused


def test_ticket_from_before(setting: Setting) -> None:
    """A ticket that carries no name, since nobody bound it, is good for no name only."""
    session = resumable(setting.pair(server_name="a.example").handshake())
    set_server_name_binding(setting.server_context, True)
    assert not setting.pair(session, "a.example").handshake().reused


def test_session_cache(setting12: Setting) -> None:
    """libssl's cache is closed: it does not compare names in all cases."""
    setting12.use_session_ids()
    session = resumable(setting12.handshake())

    def is_resumed() -> bool:
        pair = setting12.handshake(session.copy())
        close(pair)  # libssl drops the session of an unclean end from its cache
        return bool(pair.reused)

    assert is_resumed()
    set_server_name_binding(setting12.server_context, True)
    assert cache_mode(setting12.server_context) & SSL.SESS_CACHE_NO_INTERNAL_LOOKUP
    assert not is_resumed()
    set_cache_mode(setting12.server_context, SSL.SESS_CACHE_SERVER)  # a hello closes it again
    assert not is_resumed()
    set_server_name_binding(setting12.server_context, False)
    set_cache_mode(setting12.server_context, SSL.SESS_CACHE_SERVER)
    assert is_resumed()


def test_before_decrypt(setting: Setting) -> None:
    """Python's decrypt is asked about tickets of the right name only."""
    context, recorder = setting.server_context, Recorder(answer=TicketReturn.USE)
    set_server_name_binding(context, True)
    session = resumable(setting.pair(server_name="a.example").handshake())
    set_session_ticket_callback(context, None, recorder.decrypt)
    assert not setting.pair(session.copy(), "b.example").handshake().reused
    assert recorder.tickets == []
    assert setting.pair(session.copy(), "a.example").handshake().reused
    assert len(recorder.tickets) == 1


class Names:
    """A server whose first context switches to one that requires a certificate."""

    def __init__(self, setting: Setting, ca_file: Path) -> None:
        self.setting = setting
        self.first, self.second = setting.server_context, setting.make_server_context()
        ask_for_certificate(self.second, ca_file, required=True)

    def switch(self) -> None:
        """As a server does that knows no better."""
        switch_by_server_name(self.first, self.second)

    def switch_well(self, ca_file: Path) -> None:
        """As the recipe has it."""
        if isinstance(self.first, ssl.SSLContext):
            # _ssl has no call for it: the first context asks everybody, and the program looks.
            ask_for_certificate(self.first, ca_file)
            self.switch()
            return
        self.first.set_session_id(b"tests")

        def switch(connection: OpenSSL.SSL.Connection) -> None:
            if connection.get_servername() == b"members.example":
                switch_context(connection, self.second)
                connection.set_verify(
                    SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *args: bool(args[-1])
                )

        self.first.set_tlsext_servername_callback(switch)

    def comes_in(self, session: Session | None = None) -> bool:
        """Whether a client comes in under the name that requires a certificate."""
        pair = self.setting.pair(session, "members.example")
        try:
            pair.handshake()
            # In TLS 1.3 a client is done before its certificate was looked at.
            if isinstance(self.first, ssl.SSLContext):
                return pair.server.getpeercert(True) is not None
        except ERRORS:
            return False
        return True


def test_no_certificate_is_asked_for(setting: Setting, ca_file: Path) -> None:
    """
    libssl does not take over the verify mode of the context that is switched to: a client without
    a certificate comes in where CERT_REQUIRED was set. The documentation warns of it.
    """
    names = Names(setting, ca_file)
    names.switch()
    pair = setting.pair(server_name="members.example").handshake()
    session = get_session(pair.server)
    assert session is not None
    assert session.peer_certificate_der is None


def test_certificates_for_one_name(setting: Setting, ca_file: Path, client_file: Path) -> None:
    """What the recipe has: who has no certificate does not come in, with a ticket or without."""
    names = Names(setting, ca_file)
    names.switch_well(ca_file)
    set_server_name_binding(names.first, True)
    assert not names.comes_in()
    # A ticket of the other name, for which nobody was asked.
    other = resumable(setting.pair(server_name="public.example").handshake())
    assert setting.pair(other.copy(), "public.example").handshake().reused
    assert not names.comes_in(other.copy())
    setting.client_context = setting.make_client_context()
    show_certificate(setting.client_context, client_file)
    assert names.comes_in()
    pair = setting.pair(server_name="members.example").handshake()
    session = get_session(pair.server)
    assert session is not None
    assert session.peer_certificate_der == certificate_in(client_file)
    pair = setting.pair(resumable(pair), "members.example").handshake()
    assert pair.reused
    session = get_session(pair.server)
    assert session is not None
    assert session.peer_certificate_der == certificate_in(client_file)


def test_a_ticket_lets_in_without_the_binding(
    setting: Setting, ca_file: Path, client_file: Path
) -> None:
    """Without the binding a ticket of one name is taken at the other: so it is in every recipe."""
    first, second = setting.server_context, setting.make_server_context()
    switch_by_server_name(first, second)
    other = resumable(setting.pair(server_name="public.example").handshake())
    for enabled in (False, True):
        set_server_name_binding(first, enabled)
        pair = setting.pair(other.copy(), "members.example").handshake()
        assert pair.reused is not enabled


def test_method_of_the_drop_in(server_file: Path) -> None:
    """The drop-in's method does the same."""
    setting = Setting("drop-in", "1.3", server_file)
    setting.server_context.set_server_name_binding(True)
    session = resumable(setting.pair(server_name="a.example").handshake())
    assert not setting.pair(session, "b.example").handshake().reused
