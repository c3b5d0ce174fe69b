"""The drop-in: all of OpenSSL.SSL, and the ticket functions as methods."""

from __future__ import annotations

import re
import socket
import threading
from pathlib import Path
from typing import Any

import OpenSSL.SSL
import pytest

from openssl_tickets import SSL
from tests.support import tls


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


def test_type_checkers_see_the_same_names() -> None:
    """The names that are spelled out for type checkers are those that pyOpenSSL has."""
    source = Path(SSL.__file__).read_text()
    spelled = set(re.findall(r"^        (\w+) as \1,$", source, re.MULTILINE))
    names = set(OpenSSL.SSL.__all__) - {"Context", "Connection", "Session"}
    newest = tuple(map(int, OpenSSL.__version__.split(".")[:2])) >= (26, 4)
    assert spelled == names if newest else spelled >= names


def test_star_import_has_the_drop_in_classes() -> None:
    """``from openssl_tickets.SSL import *`` brings what it brings from OpenSSL.SSL."""
    names: dict[str, Any] = {}
    exec("from openssl_tickets.SSL import *", names)  # noqa: S102
    assert names["Context"] is SSL.Context
    assert names["Connection"] is SSL.Connection
    assert names["TLS_METHOD"] == SSL.TLS_METHOD
    assert names["WantReadError"] is OpenSSL.SSL.WantReadError


def test_accept_returns_a_connection_of_its_own_class(
    server_context: Any, client_context: Any
) -> None:
    """A connection that a listening one accepts has the ticket methods too."""
    listening = SSL.Connection(server_context, socket.create_server(("127.0.0.1", 0)))
    listening.settimeout(tls.TIMEOUT)
    with socket.create_connection(listening.getsockname(), tls.TIMEOUT) as plain:
        tls.set_timeouts(plain)
        accepted, address = listening.accept()
        assert type(accepted) is SSL.Connection
        assert address == plain.getsockname()
        accepted.set_num_tickets(1)
        assert accepted._socket is not None
        tls.set_timeouts(accepted._socket)
        client = SSL.Connection(client_context, plain)
        client.set_connect_state()
        thread = threading.Thread(target=client.do_handshake)
        thread.start()
        accepted.do_handshake()
        accepted.send(b"!")
        thread.join(tls.TIMEOUT)
        assert client.recv(1) == b"!"
        assert tls.received(client) == 1
        accepted.close()
    listening.close()


def test_subclasses_work(server_file: Any, client_context: Any) -> None:
    """Subclasses of the drop-in classes work, with their own attributes and slots."""

    class Context(SSL.Context):
        pass

    class Connection(SSL.Connection):
        __slots__ = ("mine",)

    context = tls.server_context(server_file, context_class=Context)
    seen = []
    context.set_session_ticket_callback(lambda connection, data: seen.append(connection))
    pair = tls.Pair(context, client_context, connection_class=Connection).handshake()
    assert seen == [pair.server, pair.server]
