"""
The public types, checked by mypy --strict and never run: what a user's own annotations may rely on.
"""

from __future__ import annotations

import ftplib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import OpenSSL.SSL

import openssl_tickets
import openssl_tickets.stdlib
from openssl_tickets import (
    SSL,
    ReceivedTicket,
    Session,
    SessionStats,
    TicketKey,
    TicketKeys,
    TicketReturn,
    TicketStatus,
    stdlib,
    ticket_key_files,
)
from openssl_tickets.ftps import FTP_TLS
from openssl_tickets.pytest_plugin import SClientFactory, TLSServer
from openssl_tickets.redis_keys import RedisEvent, RedisTicketKeys
from openssl_tickets.s_client import Alert, SClient, SClientOptions, SClientResult, Ticket, run

version: str = openssl_tickets.OPENSSL_VERSION

openssl_tickets.use_system_openssl()

# The drop-in: pyOpenSSL's own names, and its classes with more methods.
context: SSL.Context = SSL.Context(SSL.TLS_METHOD)
plain_context: OpenSSL.SSL.Context = context
connection: SSL.Connection = SSL.Connection(context, None)
plain_connection: OpenSSL.SSL.Connection = connection
method: int = SSL.TLS_SERVER_METHOD
data: bytes = connection.recv(100, None)
sent: int = connection.send(b"data")
connection.do_handshake()
accepted: SSL.Connection = connection.accept()[0]
its_context: SSL.Context = connection.get_context()
error: type[Exception] = SSL.WantReadError

# Counts, as functions and as methods.
for target in (context, connection, plain_context, plain_connection):
    number: int = openssl_tickets.get_num_tickets(target)
    openssl_tickets.set_num_tickets(target, number)
context.set_num_tickets(context.get_num_tickets())
connection.set_num_tickets(connection.get_num_tickets())
connection.new_session_ticket()
openssl_tickets.new_session_ticket(plain_connection)

# Callbacks.


def generate(connection: SSL.Connection, data: dict[str, bytes]) -> bytes | None:
    return data.get("user")


def decrypt(
    connection: SSL.Connection, ticket: ReceivedTicket, data: dict[str, bytes]
) -> TicketReturn | None:
    status: TicketStatus = ticket.status
    key_name: bytes = ticket.key_name
    appdata: bytes | None = ticket.appdata
    session: Session | None = ticket.session
    if session is not None:
        session.ticket_appdata = session.ticket_appdata + key_name
    if appdata == b"revoked" or status is TicketStatus.EMPTY:
        return TicketReturn.IGNORE_RENEW
    return None


def decrypt_with_none(connection: Any, ticket: ReceivedTicket, data: Any) -> None:
    return None


context.set_session_ticket_callback(generate, decrypt, {})
context.set_session_ticket_callback(decrypt=decrypt_with_none)
context.set_session_ticket_callback()
openssl_tickets.set_session_ticket_callback(plain_context, generate, None, {"user": b"alice"})
context.set_num_tickets("2")  # type: ignore[arg-type]

# Sessions and errors.
maybe: Session | None = openssl_tickets.get_session(connection)
assert maybe is not None
appdata: bytes = maybe.ticket_appdata
maybe.ticket_appdata = "text"  # type: ignore[assignment]
reasons: list[tuple[str, str]] = openssl_tickets.Error("message").errors
mismatch: Exception = openssl_tickets.LibraryMismatchError("message")

certificate: bytes | None = maybe.peer_certificate_der
maybe.peer_certificate_der = b""  # type: ignore[misc]

ticket: bytes = maybe.ticket + maybe.key_name + maybe.session_id
flags: tuple[bool, bool] = (maybe.has_ticket, maybe.is_resumable)
counts: tuple[int, int, int, int] = (
    maybe.ticket_lifetime_hint,
    maybe.max_early_data,
    maybe.time,
    maybe.timeout,
)
protocol: str = maybe.protocol
cipher: str | None = maybe.cipher
names: tuple[bytes | None, bytes | None] = (maybe.server_name, maybe.alpn_selected)
maybe.time = maybe.timeout = 300
maybe.time = 1.5  # type: ignore[assignment]
maybe.timeout = "300"  # type: ignore[assignment]
maybe.ticket = b""  # type: ignore[misc]
maybe.session_id = b""  # type: ignore[misc]
copied: Session = maybe.copy()
der: bytes = maybe.to_der()
pem: bytes = maybe.to_pem()
read: Session = Session.from_der(der)
read = Session.from_pem(pem)
Session.from_der("text")  # type: ignore[arg-type]
Session.from_pem("text")  # type: ignore[arg-type]
Session(b"")  # type: ignore[call-arg]
sessions: set[Session] = {maybe, copied}
same: bool = maybe == copied

# Clients that resume.


class Store:
    def put(self, key: str, session: Session) -> None: ...
    def take(self, key: str) -> Session | None: ...


class NoTake:
    def put(self, key: str, session: Session) -> None: ...


client_context: ssl.SSLContext = ssl.create_default_context()
store: openssl_tickets.SessionStore = openssl_tickets.resume_sessions(client_context)
store = openssl_tickets.resume_sessions(plain_context, Store(), verify_callbacks_are_alike=True)
store = openssl_tickets.MemorySessionStore(max_servers=10, max_sessions=2)
store = openssl_tickets.FileSessionStore(Path("sessions"), max_sessions=2)
openssl_tickets.resume_sessions(client_context, NoTake())  # type: ignore[call-overload]
openssl_tickets.resume_sessions(client_context, enabled=False)
store = openssl_tickets.resume_sessions(client_context, enabled=False)  # type: ignore[assignment]
store.put("key", maybe)
taken: Session | None = store.take("key")
ftp: ftplib.FTP_TLS = FTP_TLS("localhost", context=client_context)

# The drop-in's session is pyOpenSSL's and ours.
drop_in_session: SSL.Session | None = connection.get_session()
assert drop_in_session is not None
plain_session: OpenSSL.SSL.Session = drop_in_session
our_session: Session = drop_in_session
drop_in_copy: Session = drop_in_session.copy()
connection.set_session(drop_in_session)
connection.set_session(our_session)
plain_connection.set_session(drop_in_session)
reused: bool = connection.session_reused()
for offered in (our_session, plain_session):
    openssl_tickets.set_session(plain_connection, offered)
reused = openssl_tickets.session_reused(plain_connection)


def announce(connection: SSL.Connection, session: Session, data: list[Session]) -> None:
    data.append(session)


context.set_new_session_callback(announce, [])
context.set_new_session_callback(None)
openssl_tickets.set_new_session_callback(plain_context, lambda *_: 3)
openssl_tickets.set_new_session_callback(plain_context, None)

stats: SessionStats = context.session_stats()
stats = openssl_tickets.session_stats(plain_context)
hits: int = stats.hits + stats.misses + stats.timeouts + stats.cb_hits + stats.cache_full
handshakes: int = stats.accept_good + stats.connect_good + stats.accept + stats.connect
renegotiations: int = stats.accept_renegotiate + stats.connect_renegotiate
cached: tuple[int, int] = (stats.number, stats.cache_size)
stats.hits = 3  # type: ignore[misc]
session_timeout: int = context.get_session_timeout()
context.set_session_timeout(session_timeout)
context.set_session_timeout(1.5)  # type: ignore[arg-type]
session_timeout = openssl_tickets.get_session_timeout(plain_context)
openssl_tickets.set_session_timeout(plain_context, session_timeout)
openssl_tickets.set_session_timeout(plain_context, "300")  # type: ignore[arg-type]

context.set_post_handshake_auth(True)
connection.set_post_handshake_auth(False)
connection.verify_client_post_handshake()
openssl_tickets.set_post_handshake_auth(plain_connection, True)
openssl_tickets.set_post_handshake_auth(plain_context, "yes")  # type: ignore[arg-type]
openssl_tickets.verify_client_post_handshake(plain_connection)
verify_mode: int = SSL.VERIFY_PEER | SSL.VERIFY_POST_HANDSHAKE

# The standard library's ssl: the same functions take its contexts and connections.
ssl_context: ssl.SSLContext = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
ssl_socket: ssl.SSLSocket = ssl_context.wrap_socket(socket.socket(), server_side=True)
ssl_object: ssl.SSLObject = ssl_context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), True)
for ssl_target in (ssl_context, ssl_socket, ssl_object):
    openssl_tickets.set_num_tickets(ssl_target, openssl_tickets.get_num_tickets(ssl_target))
for ssl_connection in (ssl_socket, ssl_object):
    openssl_tickets.new_session_ticket(ssl_connection)
    ssl_session: Session | None = openssl_tickets.get_session(ssl_connection)
    if ssl_session is not None:
        openssl_tickets.set_session(ssl_connection, ssl_session)
    if ssl_object.session is not None:
        openssl_tickets.set_session(ssl_connection, ssl_object.session)
    ssl_reused: bool = openssl_tickets.session_reused(ssl_connection)
    openssl_tickets.set_post_handshake_auth(ssl_connection, True)
    openssl_tickets.verify_client_post_handshake(ssl_connection)
openssl_tickets.set_post_handshake_auth(ssl_context, True)
ssl_stats: SessionStats = openssl_tickets.session_stats(ssl_context)
openssl_tickets.set_session_timeout(ssl_context, openssl_tickets.get_session_timeout(ssl_context))


def announce_for_ssl(connection: ssl.SSLSocket, session: Session, data: None) -> None:
    print(connection.server_hostname, session.ticket)


openssl_tickets.set_new_session_callback(ssl_context, announce_for_ssl)


def generate_for_ssl(connection: ssl.SSLSocket, data: dict[str, bytes]) -> bytes | None:
    return data.get(connection.server_hostname or "")


def decrypt_for_ssl(
    connection: ssl.SSLObject, ticket: ReceivedTicket, data: dict[str, bytes]
) -> TicketReturn | None:
    name: bytes | None = ticket.server_name
    return TicketReturn.IGNORE_RENEW if name is None else None


openssl_tickets.set_session_ticket_callback(ssl_context, generate_for_ssl, decrypt_for_ssl, {})
openssl_tickets.set_session_ticket_callback(ssl_context)
nothing: None = openssl_tickets.stdlib.raise_callback_errors(ssl_context)  # type: ignore[func-returns-value]
stdlib.raise_callback_errors(context)  # type: ignore[arg-type]
stdlib.raise_callback_errors(ssl_socket)  # type: ignore[arg-type]

# The s_client driver.
result: SClientResult = run("127.0.0.1", 4433, tls_version="1.3", tickets=2, timeout=5)
tickets: tuple[Ticket, ...] = result.tickets
seconds: int = tickets[0].lifetime_hint
name: bytes = tickets[0].key_name
alert: Alert | None = result.alert
with SClient("127.0.0.1", 4433) as client:
    client.wait_for_tickets(1)
    client.send(b"data")
missing: tuple[str, ...] = run("127.0.0.1", 4433, wait_for=b"hello", check=False).missing
options: SClientOptions = {"tls_version": "1.3", "sess_in": Path("session.pem")}
run("127.0.0.1", 4433, tickets=1, **options)
run("127.0.0.1", 4433, tls_version="1.1")  # type: ignore[arg-type]
run("127.0.0.1", 4433, whatever=3)  # type: ignore[call-arg]
SClient("127.0.0.1", 4433, tickets=1)  # type: ignore[call-arg]


def test_of_a_user(tls_server: Callable[..., TLSServer], s_client: SClientFactory) -> None:
    server = tls_server(context)
    seen: SClientResult = s_client(server, tickets=1, wait_for=b"hello", check=False, **options)
    seen = s_client(server.port, timeout=seen.exit_code)
    in_steps: SClient = s_client.connect(server, **options)
    in_steps.send(b"data")
    s_client(server, whatever=3)  # type: ignore[call-arg]
    s_client(server, tickets="3")  # type: ignore[arg-type]
    s_client.connect(server, wait_for=b"hello")  # type: ignore[call-arg]


# Ticket keys.
key: TicketKey = TicketKey(b"n" * 16, b"h" * 32, b"a" * 32)
parts: tuple[bytes, bytes, bytes] = (key.name, key.hmac_key, key.aes_key)
ring: TicketKeys = TicketKeys([key, TicketKey.generate()])
derived: TicketKeys = TicketKeys.derived(b"s" * 32, 3600, accept_for=7200)
in_use: tuple[TicketKey, ...] = ring.keys
ring.replace(in_use)
ring.rotate()
ring.rotate(key, keep=1)
openssl_tickets.set_ticket_keys(context, ring)
openssl_tickets.set_ticket_keys(ssl_context, None)
context.set_ticket_keys(derived)
openssl_tickets.set_ticket_keys(context, key)  # type: ignore[arg-type]
loaded: list[TicketKey] = ticket_key_files.load_ticket_keys("nginx", "1.key", Path("2.key"))
ticket_key_files.save_ticket_keys("haproxy", "haproxy.keys", loaded)
encoded: bytes = ticket_key_files.encode_ticket_keys("envoy", [key])
ticket_key_files.load_ticket_keys("caddy", "caddy.key")  # type: ignore[arg-type]
with ticket_key_files.watch_ticket_keys(
    ring, lambda: ticket_key_files.load_ticket_keys("apache", "apache.key"), ["apache.key"]
) as watcher:
    watches: bool = watcher.is_alive()
with RedisTicketKeys("redis://localhost", period=3600.0) as shared:
    openssl_tickets.set_ticket_keys(ssl_context, shared.keys)
    problem: str | None = shared.state().problem
    shared.forget(b"n" * 16)
    events: list[RedisEvent] = []
    RedisTicketKeys("redis://localhost", secret=b"s" * 32, on_event=lambda e, _: events.append(e))

# What servers set once, and what they count.
ring.forget(b"n" * 16)
for_members: TicketKey = key.for_purpose(b"members")
openssl_tickets.set_ticket_keys(ssl_context, ring, purpose=b"members")
openssl_tickets.set_ticket_keys(ssl_context, ring, "members")  # type: ignore[arg-type]
context.set_ticket_keys(TicketKeys.derived([b"n" * 32, b"o" * 32], 3600, 7200), b"members")
encrypted: int = ring.stats().keys[b"n" * 16].encrypted
unknown: int = ring.stats().unknown
openssl_tickets.set_server_name_binding(ssl_context, True)
context.set_server_name_binding(False)
openssl_tickets.set_max_session_lifetime(ssl_context, None)
context.set_max_session_lifetime(3600)
most: int | None = openssl_tickets.get_max_session_lifetime(context)
most = context.get_max_session_lifetime()
counted: openssl_tickets.TicketStats = openssl_tickets.ticket_stats(ssl_context)
undecryptable: int = context.ticket_stats().undecryptable
