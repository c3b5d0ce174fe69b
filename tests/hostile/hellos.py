"""
Client hellos made by hand: with any extensions, any number of tickets, and lengths that are wrong.

A server's reply is looked at as the bytes that it is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import os
from collections.abc import Callable, Iterable, Sequence

import openssl_tickets
from openssl_tickets import Session
from openssl_tickets._native._libssl import lib
from tests.hostile.servers import ALERTS, SSL_ERRORS, Server
from tests.support import der

ALERT, HANDSHAKE = 21, 22  # records
CLIENT_HELLO, SERVER_HELLO = 1, 2  # messages
SERVER_NAME, GROUPS, POINT_FORMATS, SIGNATURES, ALPN, TICKET = 0, 10, 11, 13, 16, 35
PSK, VERSIONS, MODES, KEY_SHARE = 41, 43, 45, 51  # extensions

WAITS, NO_ALERT = "more is waited for", "an error without an alert"

_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

# What a length is made of: its name, and what it should be.
Length = Callable[[str, int], int]


def right(name: str, value: int) -> int:
    return value


@dataclasses.dataclass
class Hello:
    """A client hello."""

    extensions: list[tuple[int, bytes]]
    ciphers: bytes = bytes.fromhex("1302 1301 c02c c02b")
    random: bytes = dataclasses.field(default_factory=lambda: os.urandom(32))
    session_id: bytes = b""
    compressions: bytes = b"\0"
    version: bytes = b"\3\3"

    def message(self, length: Length = right) -> bytes:
        """Returns the handshake message; *length* is asked for each length in it."""

        def sized(name: str, octets: int, data: bytes) -> bytes:
            return _number(length(name, len(data)), octets) + data

        extensions = b"".join(
            kind.to_bytes(2, "big") + sized("extension", 2, body) for kind, body in self.extensions
        )
        body = (
            self.version
            + self.random
            + sized("session id", 1, self.session_id)
            + sized("ciphers", 2, self.ciphers)
            + sized("compressions", 1, self.compressions)
            + sized("extensions", 2, extensions)
        )
        return bytes([CLIENT_HELLO]) + sized("message", 3, body)


def hello(version: str, more: Sequence[tuple[int, bytes]] = ()) -> Hello:
    """Returns a hello that a server answers, with *more* extensions at its end."""
    extensions = [
        (SERVER_NAME, vector(2, b"\0" + vector(2, b"localhost"))),
        (GROUPS, vector(2, bytes.fromhex("001d 0017"))),
        (POINT_FORMATS, vector(1, b"\0")),
        (SIGNATURES, vector(2, bytes.fromhex("0403 0503 0603 0804 0805 0806 0401"))),
    ]
    if version == "1.3":
        extensions += [
            (VERSIONS, vector(1, b"\3\4")),
            (MODES, vector(1, b"\1")),
            # Any 32 bytes are a public key.
            (KEY_SHARE, vector(2, b"\0\x1d" + vector(2, os.urandom(32)))),
        ]
    return Hello([*extensions, *more])


def vector(octets: int, data: bytes) -> bytes:
    """Returns *data* behind its length."""
    return _number(len(data), octets) + data


def _number(value: int, octets: int) -> bytes:
    return (value % (1 << 8 * octets)).to_bytes(octets, "big")


@dataclasses.dataclass
class Offer:
    """A ticket, and the secret that its binder is made with."""

    ticket: bytes
    secret: bytes = dataclasses.field(default_factory=lambda: os.urandom(48))

    @staticmethod
    def of(session: Session) -> Offer:
        return Offer(session.ticket, der.secret_of(session))


def offering(
    offers: Iterable[Offer],
    identities: int | None = None,
    binders: int | None = None,
    last: bool = True,
) -> bytes:
    """
    Returns the message of a TLS 1.3 hello that offers tickets, with a right binder for each.

    Only the first *identities* and *binders* of them are there. Where the extension is not the
    *last*, the binders are made as if all behind it were not there.
    """
    given = list(offers)
    offered, bound = given[:identities], given[:binders]
    list_of_identities = vector(2, b"".join(vector(2, one.ticket) + bytes(4) for one in offered))
    sizes = [_hash(one.secret)().digest_size for one in bound]
    zeros = vector(2, b"".join(vector(1, bytes(size)) for size in sizes))
    behind = [] if last else [(ALPN, vector(2, vector(1, b"h2")))]
    plain = hello("1.3", [(PSK, list_of_identities + zeros), *behind]).message()
    end = len(plain) - sum(4 + len(body) for _, body in behind)
    truncated = plain[: end - len(zeros)]
    right_binders = vector(2, b"".join(vector(1, _binder(one.secret, truncated)) for one in bound))
    return truncated + right_binders + plain[end:]


def _hash(secret: bytes) -> Callable[..., hashlib._Hash]:
    return hashlib.sha256 if len(secret) == 32 else hashlib.sha384


def _binder(secret: bytes, truncated: bytes) -> bytes:
    """RFC 8446, 4.2.11.2."""
    digest = _hash(secret)
    size = digest().digest_size

    def expand(key: bytes, label: bytes, context: bytes) -> bytes:
        info = size.to_bytes(2, "big") + vector(1, b"tls13 " + label) + vector(1, context)
        return hmac.new(key, info + b"\1", digest).digest()

    early = hmac.new(bytes(size), secret, digest).digest()
    key = expand(expand(early, b"res binder", digest(b"").digest()), b"finished", b"")
    return hmac.new(key, digest(truncated).digest(), digest).digest()


def records(message: bytes, sizes: Sequence[int] = (), kind: int = HANDSHAKE) -> bytes:
    """Returns *message* in records of these *sizes*, and what is left in as few as can be."""
    made = b""
    waiting = list(sizes)
    while message:
        size = min(waiting.pop(0) if waiting else 1 << 14, 1 << 14)
        made += bytes([kind, 3, 1]) + vector(2, message[:size])
        message = message[size:] if size else message
    return made


@dataclasses.dataclass
class Reply:
    """What a server made of what it was sent."""

    outcome: str
    reused: bool
    selected: int | None
    asked: list[openssl_tickets.ReceivedTicket]


def send(server: Server, pieces: Iterable[bytes]) -> Reply:
    """
    Sends *pieces* to a new connection of *server*.

    Raises:
        AssertionError: the handshake is done, or something is left in the error queue.
    """
    server.asked.clear()
    end = server.end()
    output = b""
    failed = False
    for piece in pieces:
        if not piece:
            continue
        end.give(piece)
        try:
            done = end.step()
        except SSL_ERRORS:
            failed = True
        else:
            assert not done, "nobody who made this hello can finish the handshake"
        output += end.take()
        if failed:
            break
    assert lib.ERR_get_error() == 0, "something is left in the error queue"
    outcome, selected = _read(output)
    if outcome == WAITS and failed:
        outcome = NO_ALERT
    elif failed and not outcome.startswith("alert"):
        outcome += ", then an encrypted alert"
    return Reply(outcome, end.reused, selected, list(server.asked))


def _read(output: bytes) -> tuple[str, int | None]:
    """Returns what the records of a server say, and which ticket it has selected."""
    found: tuple[str, int | None] = (WAITS, None)
    while len(output) >= 5:
        size = int.from_bytes(output[3:5], "big")
        kind, body, output = output[0], output[5 : 5 + size], output[5 + size :]
        if kind == ALERT and len(body) == 2:
            return f"alert {ALERTS.get(body[1], body[1])}", found[1]
        if kind == HANDSHAKE and body[:1] == bytes([SERVER_HELLO]):
            if body[6:38] == _RETRY:
                found = "hello retry request", None
            else:
                found = "server hello", _selected(body)
    return found


def _selected(body: bytes) -> int | None:
    """Returns the number in a server hello's pre_shared_key."""
    at = 4 + 2 + 32
    at += 1 + body[at] + 2 + 1
    end = at + 2 + int.from_bytes(body[at : at + 2], "big")
    at += 2
    while at + 4 <= end:
        size = int.from_bytes(body[at + 2 : at + 4], "big")
        if int.from_bytes(body[at : at + 2], "big") == PSK:
            return int.from_bytes(body[at + 4 : at + 4 + size], "big")
        at += 4 + size
    return None
