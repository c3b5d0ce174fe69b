"""The drop-in: all of OpenSSL.SSL, and the ticket functions as methods."""

from __future__ import annotations

import gc
import socket
import sys
from typing import Any

import OpenSSL.SSL
import pytest

import openssl_tickets
from openssl_tickets import SSL
from openssl_tickets._drop_in import _Unraised
from tests.support import tls
from tests.support.callbacks import Boom, Raising, Unraisable, in_threads, traced
from tests.support.policies import Policy


def test_has_all_of_openssl_ssl() -> None:
    """Every name of OpenSSL.SSL is here, and is the same but for the three classes."""
    names = [name for name in dir(OpenSSL.SSL) if not name.startswith("__")]
    assert len(names) > 120
    own = {"Context", "Connection", "Session"}
    for name in names:
        theirs, ours = getattr(OpenSSL.SSL, name), getattr(SSL, name)
        if name in own:
            assert issubclass(ours, theirs)
        elif name in OpenSSL.SSL.__all__ or name in {"_lib", "_ffi", "_openssl_assert"}:
            assert ours is theirs, name
    assert set(names) <= set(dir(SSL))
    assert set(OpenSSL.SSL.__all__) == set(SSL.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        SSL.no_such_name  # noqa: B018


def test_star_import_has_the_drop_in_classes() -> None:
    """``from openssl_tickets.SSL import *`` brings what it brings from OpenSSL.SSL."""
    names: dict[str, Any] = {}
    exec("from openssl_tickets.SSL import *", names)  # noqa: S102
    assert names["Context"] is SSL.Context
    assert names["Connection"] is SSL.Connection
    assert names["TLS_METHOD"] == SSL.TLS_METHOD
    assert names["WantReadError"] is OpenSSL.SSL.WantReadError


@pytest.mark.parametrize("kind", [SSL.Context, SSL.Connection])
def test_methods_say_what_they_do(kind: Any) -> None:
    """An editor shows what a method does, and where there is more."""
    methods = {name: value for name, value in vars(kind).items() if not name.startswith("_")}
    assert len(methods) > 8
    for name, method in methods.items():
        first, *_ = (method.__doc__ or "").strip().splitlines()
        assert len(first) > 30, name
        assert not first.startswith("See")
        if hasattr(openssl_tickets, name):
            assert f":func:`openssl_tickets.{name}`." in method.__doc__


class Context(SSL.Context):
    """A user's own class."""


class Connection(SSL.Connection):
    """A user's own class, which is made in its own way."""

    __slots__ = ("name",)

    def __init__(self, context: SSL.Context, plain: Any, *, name: str) -> None:
        super().__init__(context, plain)
        self.name = name


def test_accept(server_context: Any, client_context: Any) -> None:
    """What a listening connection accepts has the ticket methods, however the class is made."""
    plain = socket.create_server(("127.0.0.1", 0))
    for listening in (
        SSL.Connection(server_context, plain),
        Connection(server_context, plain, name="main"),
    ):
        listening.settimeout(tls.TIMEOUT)
        with socket.create_connection(listening.getsockname(), tls.TIMEOUT) as other:
            tls.set_timeouts(other)
            accepted, address = listening.accept()
            assert type(accepted) is SSL.Connection
            assert accepted.get_context() is server_context
            assert address == other.getsockname()
            accepted.set_num_tickets(1)
            assert accepted._socket is not None
            tls.set_timeouts(accepted._socket)
            client = SSL.Connection(client_context, other)
            client.set_connect_state()
            in_threads(2, lambda number: (client, accepted)[number].do_handshake())  # noqa: B023
            accepted.send(b"!")
            assert client.recv(1) == b"!"
            assert tls.received(client) == 1
            accepted.close()
    plain.close()


def test_subclasses_work(server_file: Any, client_context: Any) -> None:
    """Subclasses of the drop-in classes work, with their own attributes and slots."""
    context = tls.server_context(server_file, context_class=Context)
    seen = []
    context.set_session_ticket_callback(lambda connection, data: seen.append(connection))
    pair = tls.Pair(
        context,
        client_context,
        connection_class=lambda *arguments: Connection(*arguments, name="one"),
    ).handshake()
    assert seen == [pair.server, pair.server]
    assert pair.server.name == "one"


def test_other_exception_of_the_call_does_not_hide_a_callbacks(
    version: str, server_file: Any, unraisable: Unraisable
) -> None:
    """If the call itself raises something else, that is raised, and the hook has the callback's."""
    policy = Policy("drop-in", version, server_file)
    boom = Boom()

    def generate(connection: Any, data: Any) -> bytes:
        # As pyOpenSSL does with a problem of another of its callbacks.
        connection.get_context()._verify_helper = Problem()
        raise boom

    class Problem:
        def raise_if_problem(self) -> None:
            raise KeyError("of pyOpenSSL's own callback")

    policy.set(generate)
    pair = policy.pair()
    with pytest.raises(KeyError) as kept:
        pair.handshake()
    assert unraisable.seen == [(boom, pair.server)], kept


@pytest.mark.parametrize("goes_on", [True, False])
def test_signal_ahead_of_a_callbacks_exception(
    version: str, server_file: Any, unraisable: Unraisable, goes_on: bool
) -> None:
    """What a KeyboardInterrupt keeps the call from raising is raised by the next, or hooked."""
    policy = Policy("drop-in", version, server_file)
    callback = Raising()
    policy.set(callback)
    pair = policy.pair()

    def interrupt(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code is _Unraised.__call__.__code__:
            sys.settrace(None)
            raise KeyboardInterrupt

    with traced(interrupt), pytest.raises(KeyboardInterrupt):
        pair.handshake()
    SSL._lib.ERR_clear_error()
    if goes_on:
        with pytest.raises(Boom):
            pair.server.do_handshake()
        return
    callback.raised.clear()
    del pair
    gc.collect()
    assert [type(exception) for exception, _ in unraisable.seen] == [Boom]
