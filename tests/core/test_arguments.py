"""What each function takes for a context or a connection, and on which side."""

from __future__ import annotations

import inspect
import ssl
import typing
import warnings
from collections.abc import Callable
from typing import Any

import OpenSSL.SSL
import pytest

import openssl_tickets
from openssl_tickets import SSL, MemorySessionStore, Session, TicketKey, TicketKeys
from openssl_tickets._core import callbacks
from tests.support import native
from tests.support.callbacks import Callback, Lying
from tests.support.libraries import Setting

KEYS = TicketKeys([TicketKey.generate()])

# Only for servers, and for both sides.
OF_A_SERVERS_CONTEXT: dict[str, Callable[[Any], object]] = {
    "set_session_ticket_callback": lambda of: openssl_tickets.set_session_ticket_callback(
        of, Callback(), Callback()
    ),
    "set_ticket_keys": lambda of: openssl_tickets.set_ticket_keys(of, KEYS),
    "set_server_name_binding": lambda of: openssl_tickets.set_server_name_binding(of, True),
    "set_max_session_lifetime": lambda of: openssl_tickets.set_max_session_lifetime(of, 10),
    "ticket_stats": openssl_tickets.ticket_stats,
}
OF_A_CONTEXT: dict[str, Callable[[Any], object]] = OF_A_SERVERS_CONTEXT | {
    "set_new_session_callback": lambda of: openssl_tickets.set_new_session_callback(of, Callback()),
    "resume_sessions": openssl_tickets.resume_sessions,
    "session_stats": openssl_tickets.session_stats,
    "get_max_session_lifetime": openssl_tickets.get_max_session_lifetime,
    "get_session_timeout": openssl_tickets.get_session_timeout,
    "set_session_timeout": lambda of: openssl_tickets.set_session_timeout(of, 10),
}
OF_A_CONNECTION: dict[str, Callable[[Any], object]] = {
    "new_session_ticket": openssl_tickets.new_session_ticket,
    "get_session": openssl_tickets.get_session,
    "session_reused": openssl_tickets.session_reused,
    "verify_client_post_handshake": openssl_tickets.verify_client_post_handshake,
}
OF_SERVERS: dict[str, Callable[[Any], object]] = {
    "set_num_tickets": lambda of: openssl_tickets.set_num_tickets(of, 1)
}
OF_EITHER: dict[str, Callable[[Any], object]] = OF_SERVERS | {
    "get_num_tickets": openssl_tickets.get_num_tickets,
    "set_post_handshake_auth": lambda of: openssl_tickets.set_post_handshake_auth(of, True),
}


def each(*tables: dict[str, Callable[[Any], object]]) -> pytest.MarkDecorator:
    calls = {name: call for table in tables for name, call in table.items()}
    return pytest.mark.parametrize("call", calls.values(), ids=calls.keys())


@each(OF_A_CONTEXT, OF_A_CONNECTION, OF_EITHER)
@pytest.mark.parametrize(
    "wrong", [None, 3, "context", object(), SSL.Context, ssl.SSLContext, native.lib]
)
def test_other_objects(call: Callable[[Any], object], wrong: Any) -> None:
    """What is neither context nor connection is named in the error."""
    before = dict(callbacks.ticket_callbacks), dict(callbacks.new_session_callbacks)
    kind = type(wrong)
    with pytest.raises(TypeError, match=f"not {kind.__module__}.{kind.__qualname__}: ") as caught:
        call(wrong)
    assert str(caught.value).startswith("expected a")
    assert (callbacks.ticket_callbacks, callbacks.new_session_callbacks) == before


@each(OF_A_CONTEXT)
def test_connection_is_no_context(setting13: Setting, call: Callable[[Any], object]) -> None:
    """A context is asked for, and not a connection of either side."""
    pair = setting13.pair()
    for connection in (pair.client, pair.server):
        with pytest.raises(TypeError, match=r"^expected an OpenSSL\.SSL\.Context or an ssl\.SSL"):
            call(connection)


@each(OF_A_CONNECTION)
def test_context_is_no_connection(setting13: Setting, call: Callable[[Any], object]) -> None:
    """A connection is asked for, and not a context of either side."""
    for context in (setting13.client_context, setting13.server_context):
        with pytest.raises(TypeError, match=r"^expected an OpenSSL\.SSL\.Connection, an ssl\.SSLS"):
            call(context)


@each(OF_A_CONTEXT, OF_EITHER)
def test_half_made_context(call: Callable[[Any], object]) -> None:
    """An object whose __init__ never ran holds no pointer, and none is invented."""
    with pytest.raises(ValueError, match=r"holds no SSL_CTX \*: its __init__ has not run to the e"):
        call(SSL.Context.__new__(SSL.Context))


@each(OF_A_CONNECTION, OF_EITHER)
def test_half_made_connection(call: Callable[[Any], object]) -> None:
    """Nor does such a connection; a context's pointer in its place is not taken for one."""
    with pytest.raises(ValueError, match=r"holds no SSL \*: its __init__ has not run to the end"):
        call(SSL.Connection.__new__(SSL.Connection))
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
    vars(connection)["_ssl"] = vars(connection.get_context())["_context"]
    with pytest.raises(ValueError, match=r"holds no SSL \*"):
        call(connection)


def contexts_of(*names: str) -> list[Any]:
    """Returns a context of each protocol that is named, as far as this library has it."""
    found: list[Any] = []
    for name in names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            if name.startswith("PROTOCOL"):
                found.append(ssl.SSLContext(getattr(ssl, name)))
            elif hasattr(SSL, name):
                found += [module.Context(getattr(SSL, name)) for module in (SSL, OpenSSL.SSL)]
    return found


class TestSides:
    """libssl would take in silence what does nothing on a client."""

    @each(OF_A_SERVERS_CONTEXT, OF_SERVERS)
    def test_context_for_clients_only(self, call: Callable[[Any], object]) -> None:
        """A context whose method is a client's is refused, and stays as it was."""
        contexts = contexts_of("PROTOCOL_TLS_CLIENT", "TLS_CLIENT_METHOD", "DTLS_CLIENT_METHOD")
        assert len(contexts) >= 3
        before = len(callbacks.ticket_callbacks)
        for context in contexts:
            with pytest.raises(
                ValueError, match=r"^only servers have .* is for clients only: set "
            ):
                call(context)
            assert openssl_tickets.get_num_tickets(context) == 2
        assert len(callbacks.ticket_callbacks) == before

    @each(OF_A_SERVERS_CONTEXT, OF_SERVERS)
    def test_context_for_servers(self, call: Callable[[Any], object]) -> None:
        """One that is for servers, or for both sides, is taken."""
        for context in contexts_of(
            "PROTOCOL_TLS_SERVER",
            "PROTOCOL_TLS",
            "PROTOCOL_TLSv1_2",
            "TLS_METHOD",
            "TLS_SERVER_METHOD",
            "SSLv23_METHOD",
            "TLSv1_2_METHOD",
            "DTLS_METHOD",
            "DTLS_SERVER_METHOD",
        ):
            call(context)

    @pytest.mark.parametrize("call", OF_EITHER.values(), ids=OF_EITHER)
    def test_context_of_either(self, call: Callable[[Any], object]) -> None:
        """What is for both sides, or asks only, is not refused; nor is a context for both sides."""
        contexts = contexts_of("TLS_METHOD")
        if call not in OF_SERVERS.values():
            contexts += contexts_of("PROTOCOL_TLS_CLIENT", "TLS_CLIENT_METHOD")
        for context in contexts:
            call(context)

    def test_connection(self, setting13: Setting) -> None:
        """A client's connection is refused, before its handshake and after; a server's is taken."""
        pair = setting13.pair()
        for number in (1, 0):
            with pytest.raises(
                ValueError, match=r"^only servers have a number of tickets, and this"
            ):
                openssl_tickets.set_num_tickets(pair.client, 3)
            openssl_tickets.set_num_tickets(pair.server, number)
            pair.handshake()
        assert pair.received == 1


class TestLengths:
    """No ``__len__`` of a subclass of bytes makes C read more than there is."""

    @pytest.mark.parametrize("wrong", ["name", "hmac_key", "aes_key"])
    def test_keys(self, wrong: str) -> None:
        right = {"name": bytes(16), "hmac_key": bytes(32), "aes_key": bytes(32)}
        lying = Lying(b"x", len(right[wrong]))
        with pytest.raises(ValueError, match=r"must have (16|32) bytes.* not .*\b1\b"):
            TicketKey(**right | {wrong: lying})

    def test_secrets(self) -> None:
        with pytest.raises(ValueError, match="secret must have 32 bytes or more, not 1:"):
            TicketKeys.derived(Lying(b"x", 32), 3600, 3600)
        honest, lying = (
            TicketKeys.derived(secret, 3600, 3600)
            for secret in (bytes(range(40)), Lying(bytes(range(40)), 32))
        )
        assert lying.keys == honest.keys

    def test_names(self) -> None:
        keys = TicketKeys([TicketKey.generate(), TicketKey.generate()])
        with pytest.raises(ValueError, match=r"no key has the name 78$"):
            keys.forget(Lying(b"x", 16))

    @pytest.mark.parametrize("length", [0, 200])
    def test_purposes(self, setting13: Setting, length: int) -> None:
        key = TicketKey.generate()
        assert key.for_purpose(Lying(b"staging", length)) == key.for_purpose(b"staging")
        with pytest.raises(ValueError, match="at most 255 bytes, not 300"):
            key.for_purpose(Lying(b"x" * 300, length))
        policies = [Setting(setting13.library, "1.3", setting13.server_file) for _ in range(2)]
        for policy, purpose in zip(policies, (b"staging", Lying(b"staging", length)), strict=True):
            openssl_tickets.set_ticket_keys(
                policy.server_context, TicketKeys([key]), purpose=purpose
            )
        assert openssl_tickets.session_reused(policies[1].handshake(policies[0].session()).server)

    @pytest.mark.parametrize("length", [0, 60_000])
    def test_appdata(self, setting13: Setting, length: int) -> None:
        session = setting13.session()
        session.ticket_appdata = Lying(b"x" * 30, length)
        assert session.ticket_appdata == b"x" * 30

    @pytest.mark.parametrize("length", [0, 60_000])
    def test_encoded_sessions(self, setting13: Setting, length: int) -> None:
        session = setting13.session()
        assert Session.from_der(Lying(session.to_der(), length)) == session
        assert Session.from_pem(Lying(session.to_pem(), length)) == session

    def test_keys_of_stores(self, setting13: Setting) -> None:
        class Key(str):
            def encode(self, *arguments: Any, **names: Any) -> Any:
                return Lying(b"x", 60_000)

        store = MemorySessionStore()
        store.put(Key("server"), setting13.session())
        assert store.take("server") is not None


def test_annotations_can_be_evaluated() -> None:
    """Programs may ask for the types of the public functions when they run."""
    public = [getattr(openssl_tickets, name) for name in openssl_tickets.__all__]
    functions = [each for each in public if inspect.isfunction(each)]
    for kind in (*filter(inspect.isclass, public), SSL.Context, SSL.Connection, SSL.Session):
        functions += [
            function
            for name, function in inspect.getmembers(kind, inspect.isfunction)
            if function.__module__.startswith("openssl_tickets.")
            and (not name.startswith("_") or name == "__init__")
        ]
    assert len(functions) > 60
    for function in functions:
        typing.get_type_hints(function)
