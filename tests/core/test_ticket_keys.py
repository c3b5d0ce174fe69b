"""Ticket keys: what tickets are encrypted with, and who can read them."""

from __future__ import annotations

import contextlib
import copy
import gc
import hmac
import importlib.util
import io
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cffi import FFI
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given, strategies as st

import openssl_tickets
from build_ffi import openssl_flags
from openssl_tickets import SSL, Session, TicketKey, TicketKeys, TicketStatus
from openssl_tickets._core import ticket_keys
from tests.support import native
from tests.support.callbacks import Callback, in_threads, peak_memory
from tests.support.libraries import LIBRARIES, Setting, switch_by_server_name, switch_context

NAME, HMAC_KEY, AES_KEY = b"the key's name..", bytes(range(32)), bytes(range(32, 64))
KEY = TicketKey(NAME, HMAC_KEY, AES_KEY)
SECRET = bytes(range(100, 132))


def new_key(bits: int = 256) -> TicketKey:
    if bits == 256:
        return TicketKey.generate()
    return TicketKey(os.urandom(16), os.urandom(bits // 8), os.urandom(bits // 8))


class Library(Setting):
    """A setting whose server's context is handed in."""

    def server(self, keys: TicketKeys | None = None) -> Any:
        """Returns a context for servers, with *keys*."""
        context = self.make_server_context()
        if keys is not None:
            if self.library == "drop-in":
                context.set_ticket_keys(keys)
            else:
                openssl_tickets.set_ticket_keys(context, keys)
        return context

    def begin(self, context: Any, session: Session | None = None) -> Any:
        """Returns a pair before its handshake, which offers *session*."""
        # A copy: libssl would mark the session of an unclean end as not resumable.
        return self.pair(session.copy() if session else None, "localhost", context)

    def shake(self, context: Any, session: Session | None = None) -> Any:
        """Returns a pair that has shaken hands."""
        return self.begin(context, session).handshake()

    def ticket(self, keys: TicketKeys) -> Session:
        """Returns a client's session with a ticket, of a context that is gone already."""
        return session_of(self.shake(self.server(keys)))


def session_of(pair: Any) -> Session:
    """Returns a copy of the client's session, which outlives the pair."""
    session = openssl_tickets.get_session(pair.client)
    assert session is not None
    return session.copy()


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, version: str, server_file: Path) -> Library:
    return Library(str(request.param), version, server_file)


@pytest.fixture
def drop_in(version: str, server_file: Path) -> Library:
    return Library("drop-in", version, server_file)


class TestTicketKey:
    def test_parts(self) -> None:
        """A key has the three parts that it was made of."""
        assert (KEY.name, KEY.hmac_key, KEY.aes_key) == (NAME, HMAC_KEY, AES_KEY)
        small = TicketKey(NAME, HMAC_KEY[:16], AES_KEY[:16])
        assert (small.name, small.hmac_key, small.aes_key) == (NAME, HMAC_KEY[:16], AES_KEY[:16])

    @pytest.mark.parametrize("length", [0, 1, 15, 17, 32])
    def test_name_length(self, length: int) -> None:
        """The name has 16 bytes."""
        with pytest.raises(ValueError, match=f"name must have 16 bytes, not {length}$"):
            TicketKey(bytes(length), HMAC_KEY, AES_KEY)

    @pytest.mark.parametrize(
        "lengths", [(0, 0), (15, 15), (17, 17), (31, 31), (33, 33), (48, 48), (16, 32), (32, 16)]
    )
    def test_secret_lengths(self, lengths: tuple[int, int]) -> None:
        """The two secrets have 32 bytes each, or 16 each."""
        with pytest.raises(ValueError, match=f"not {lengths[0]} and {lengths[1]}$"):
            TicketKey(NAME, bytes(lengths[0]), bytes(lengths[1]))

    @pytest.mark.parametrize("argument", ["name", "hmac_key", "aes_key"])
    @pytest.mark.parametrize("wrong", ["n" * 16, bytearray(16), memoryview(bytes(16)), None, 16])
    def test_types(self, argument: str, wrong: Any) -> None:
        """Each part is bytes, and what is in a wrong one is not told."""
        parts: dict[str, Any] = {"name": NAME, "hmac_key": bytes(16), "aes_key": bytes(16)}
        parts[argument] = wrong
        with pytest.raises(
            TypeError, match=f"^{argument} must be bytes, not {type(wrong).__name__}$"
        ):
            TicketKey(**parts)

    def test_generate(self) -> None:
        """Generated keys are for AES-256, and have nothing in common."""
        keys = [TicketKey.generate() for _ in range(20)]
        assert {(len(key.name), len(key.hmac_key), len(key.aes_key)) for key in keys} == {
            (16, 32, 32)
        }
        secrets = {key.hmac_key for key in keys} | {key.aes_key for key in keys}
        assert len(secrets) == 40
        assert len({key.name for key in keys}) == 20

    def test_equality(self) -> None:
        """Two keys are equal if all three parts are."""
        same = TicketKey(NAME, HMAC_KEY, AES_KEY)
        assert same == KEY
        assert hash(same) == hash(KEY)
        assert len({same, KEY}) == 1
        for other in (
            TicketKey(NAME[::-1], HMAC_KEY, AES_KEY),
            TicketKey(NAME, HMAC_KEY[::-1], AES_KEY),
            TicketKey(NAME, HMAC_KEY, AES_KEY[::-1]),
            TicketKey(NAME, HMAC_KEY[:16], AES_KEY[:16]),
            NAME,
            None,
        ):
            assert other != KEY
        # Not told apart by what follows the shorter secrets.
        zeros = TicketKey(NAME, bytes(16), bytes(16))
        assert zeros != TicketKey(NAME, bytes(32), bytes(32))

    def test_copy(self) -> None:
        """A key does not change, and a copy is the key itself."""
        assert copy.copy(KEY) is KEY
        assert copy.deepcopy([KEY]) == [KEY]
        with pytest.raises(AttributeError):
            KEY.name = b"another name...."  # type: ignore[misc]

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_not_pickled(self, protocol: int) -> None:
        """A key is not pickled by accident."""
        for secret in (KEY, TicketKeys([KEY])):
            written = io.BytesIO()
            with pytest.raises(TypeError, match="secret"):
                pickle.Pickler(written, protocol).dump(secret)
            assert HMAC_KEY not in written.getvalue()

    def test_repr(self) -> None:
        """The repr of a key and of a ring show names, and no secrets."""
        small = TicketKey(NAME[::-1], HMAC_KEY[:16], AES_KEY[:16])
        names = NAME.hex(), NAME[::-1].hex()
        assert repr(KEY) == f"<openssl_tickets.TicketKey {names[0]}, AES-256>"
        assert repr(small) == f"<openssl_tickets.TicketKey {names[1]}, AES-128>"
        ring = TicketKeys([KEY, small])
        assert repr(ring) == f"<openssl_tickets.TicketKeys: {names[0]}, {names[1]}>"
        derived = TicketKeys.derived(SECRET, 60, 0)
        assert "derived every 60 seconds: " + derived.keys[0].name.hex() in repr(derived)


def _raising() -> Iterator[TicketKey]:
    yield new_key()
    raise LookupError("no more keys")


WRONG_KEYS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (list, ValueError, "at least one key"),
    (lambda: [KEY, TicketKey(NAME, AES_KEY, HMAC_KEY)], ValueError, f"the name {NAME.hex()}"),
    (lambda: [KEY, KEY], ValueError, f"the name {NAME.hex()}"),
    (lambda: [new_key() for _ in range(1001)], ValueError, "1000|1,000"),
    (lambda: [new_key(), NAME], TypeError, "must be a TicketKey, not bytes"),
    (lambda: [None], TypeError, "must be a TicketKey, not NoneType"),
    (lambda: None, TypeError, "not iterable"),
    (lambda: KEY, TypeError, "not iterable"),
    (_raising, LookupError, "no more keys"),
]


class TestTicketKeys:
    def test_keys(self) -> None:
        """A ring has its keys in their order, from any iterable."""
        keys = tuple(new_key(bits) for bits in (256, 128, 256))
        assert TicketKeys(keys).keys == keys
        assert TicketKeys(iter(keys)).keys == keys
        many = [new_key() for _ in range(1000)]
        assert TicketKeys(many).keys == tuple(many)

    @pytest.mark.parametrize(("make", "error", "message"), WRONG_KEYS)
    def test_wrong_keys(
        self, make: Callable[[], Any], error: type[Exception], message: str
    ) -> None:
        """No ring is made of wrong keys, and a ring that gets them stays as it was."""
        with pytest.raises(error, match=message):
            TicketKeys(make())
        keys = new_key(), new_key()
        ring = TicketKeys(keys)
        with pytest.raises(error, match=message):
            ring.replace(make())
        assert ring.keys == keys

    def test_replace(self) -> None:
        """Replaced keys are the ring's, all of them."""
        ring = TicketKeys([new_key(), new_key()])
        keys = new_key(128), new_key(), ring.keys[1]
        ring.replace(key for key in keys)
        assert ring.keys == keys

    def test_rotate(self) -> None:
        """Rotation puts a new key in front, and keeps two of the others."""
        ring = TicketKeys([new_key()])
        seen = [ring.keys[0]]
        for _ in range(4):
            ring.rotate()
            assert ring.keys[0] not in seen
            seen.insert(0, ring.keys[0])
            assert ring.keys == tuple(seen[:3])
            assert len(seen[0].aes_key) == 32

    @pytest.mark.parametrize("keep", [0, 1, 2, 3, 4, 999])
    def test_rotate_keep(self, keep: int) -> None:
        """Rotation keeps as many keys as it is told to, the newest."""
        keys = tuple(new_key() for _ in range(3))
        ring = TicketKeys(keys)
        ring.rotate(KEY, keep)
        assert ring.keys == (KEY, *keys[:keep])

    @pytest.mark.parametrize(
        ("key", "keep", "error", "message"),
        [
            (NAME, 2, TypeError, "must be a TicketKey, not bytes"),
            (None, -1, ValueError, "keep must be 0 or more, not -1"),
            (None, 1000, ValueError, "keep must be at most 999"),
            (None, 1.0, TypeError, "keep must be an int, not float"),
            (None, True, TypeError, "keep must be an int, not the bool True"),
            (TicketKey(NAME, AES_KEY, HMAC_KEY), 2, ValueError, f"the name {NAME.hex()}"),
        ],
    )
    def test_wrong_rotation(
        self, key: Any, keep: Any, error: type[Exception], message: str
    ) -> None:
        """A wrong rotation is refused, and the ring stays as it was."""
        keys = new_key(), KEY, new_key()
        ring = TicketKeys(keys)
        with pytest.raises(error, match=message):
            ring.rotate(key, keep)
        assert ring.keys == keys

    def test_rotate_to_a_name_that_goes(self) -> None:
        """A new key may have the name of one that does not stay."""
        other, same_name = new_key(), TicketKey(NAME, AES_KEY, HMAC_KEY)
        ring = TicketKeys([other, KEY])
        ring.rotate(same_name, keep=1)
        assert ring.keys == (same_name, other)
        assert ring.keys[0] != KEY

    def test_keys_are_a_snapshot(self) -> None:
        """Keys that were read from a ring stay what they were."""
        ring = TicketKeys([KEY])
        before = ring.keys
        ring.rotate(keep=0)
        del ring
        gc.collect()
        assert before == (TicketKey(NAME, HMAC_KEY, AES_KEY),)

    @pytest.mark.parametrize("copy_of", [copy.copy, copy.deepcopy])
    def test_not_copied(self, copy_of: Callable[[Any], Any]) -> None:
        """A ring is not copied by accident."""
        with pytest.raises(TypeError, match="not copied or pickled"):
            copy_of(TicketKeys([KEY]))


class TestSetTicketKeys:
    @pytest.mark.parametrize("bits", [256, 128])
    @pytest.mark.parametrize("asked", [True, False])
    def test_status(self, library: Library, bits: int, asked: bool) -> None:
        """
        The first key resumes, the others renew, an unknown one does not open the ticket; decrypt,
        where there is one, is told which it was.
        """
        first, older, oldest, unknown = (new_key(bits) for _ in range(4))
        server = library.server(TicketKeys([first, older, oldest]))
        openssl_tickets.set_num_tickets(server, 3)
        seen: list[Any] = []
        if asked:
            openssl_tickets.set_session_ticket_callback(
                server, None, lambda _, ticket, __: seen.append((ticket.status, ticket.key_name))
            )
        of_first = TicketStatus.SUCCESS_RENEW if library.of_tls13 else TicketStatus.SUCCESS
        full = 3 if library.of_tls13 else 1
        for key, status, reused, tickets in (
            (first, of_first, True, int(library.of_tls13)),
            (older, TicketStatus.SUCCESS_RENEW, True, 1),
            (oldest, TicketStatus.SUCCESS_RENEW, True, 1),
            (unknown, TicketStatus.NO_DECRYPT, False, full),
        ):
            session = library.ticket(TicketKeys([key]))
            assert session.key_name == key.name
            seen.clear()
            pair = library.shake(server, session)
            assert seen == ([(status, key.name)] if asked else [])
            assert (pair.reused, pair.received) == (reused, tickets)
            assert session_of(pair).key_name == first.name
            assert (session_of(pair).ticket != session.ticket) is bool(tickets)

    def test_renewed_again_and_again(self, library: Library) -> None:
        """A client follows each rotation, with the ticket that it gets in the resumption."""
        ring = TicketKeys([new_key()])
        servers = library.server(ring), library.server(ring)
        session = session_of(library.shake(servers[0]))
        for turn in range(6):
            ring.rotate(keep=1)
            pair = library.shake(servers[turn % 2], session)
            assert (pair.reused, pair.received) == (True, 1)
            session = session_of(pair)
            assert session.key_name == ring.keys[0].name

    def test_across_libraries(self, server_file: Path, version: str) -> None:
        """A ring of keys of both sizes serves pyOpenSSL's contexts and those of ssl at once."""
        ring = TicketKeys([new_key(128), new_key(256)])
        libraries = [Library(name, version, server_file) for name in ("pyOpenSSL", "ssl")]
        servers = [each.server(ring) for each in libraries]
        # The session id context of all of ssl, which its clients look at, too.
        for context in (servers[0], libraries[0].client_context):
            context.set_session_id(b"Python\0")
        for issuing in (0, 1):
            session = session_of(libraries[issuing].shake(servers[issuing]))
            for resuming in (0, 1):
                assert libraries[resuming].shake(servers[resuming], session).reused

    def test_another_ring(self, library: Library) -> None:
        """Another ring takes the place of the one before, for the contexts that it is set on."""
        rings = [TicketKeys([new_key()]) for _ in range(2)]
        server, other = library.server(rings[0]), library.server(rings[0])
        session = session_of(library.shake(server))
        openssl_tickets.set_ticket_keys(server, rings[1])
        assert not library.shake(server, session).reused
        assert library.shake(other, session).reused
        session = session_of(library.shake(server))
        assert session.key_name == rings[1].keys[0].name
        assert library.shake(server, session).reused

    def test_none(self, library: Library) -> None:
        """None has libssl make up keys again, which are the context's own."""
        ring = TicketKeys([new_key()])
        server, other = library.server(ring), library.server(ring)
        session = session_of(library.shake(server))
        openssl_tickets.set_ticket_keys(server, None)
        seen: list[TicketStatus] = []
        openssl_tickets.set_session_ticket_callback(
            server, None, lambda _, ticket, __: seen.append(ticket.status)
        )
        pair = library.shake(server, session)
        assert (pair.reused, seen) == (False, [TicketStatus.NO_DECRYPT])
        assert library.shake(other, session).reused
        session = session_of(pair)
        assert session.key_name != ring.keys[0].name
        assert not library.shake(other, session).reused
        pair = library.shake(server, session)
        assert (pair.reused, pair.received) == (True, int(library.of_tls13))
        openssl_tickets.set_ticket_keys(server, ring)
        assert not library.shake(server, session).reused
        assert session_of(library.shake(server)).key_name == ring.keys[0].name

    def test_none_where_there_were_none(self, library: Library) -> None:
        """None changes nothing on a context without keys of its own."""
        server = library.server()
        session = session_of(library.shake(server))
        openssl_tickets.set_ticket_keys(server, None)
        pair = library.shake(server, session)
        assert (pair.reused, pair.received) == (True, int(library.of_tls13))

    @pytest.mark.parametrize("wrong", [[KEY], KEY, b"", 0, TicketKeys])
    def test_wrong_keys(self, library: Library, wrong: Any) -> None:
        """What is no ring is refused, and the context keeps the one that it has."""
        ring = TicketKeys([new_key()])
        server = library.server(ring)
        name = type(wrong).__name__
        with pytest.raises(TypeError, match=f"keys must be a TicketKeys or None, not {name}$"):
            openssl_tickets.set_ticket_keys(server, wrong)
        assert session_of(library.shake(server)).key_name == ring.keys[0].name

    @pytest.mark.parametrize("bits", [256, 128])
    def test_tampered(self, drop_in: Library, bits: int) -> None:
        """A ticket of which a single bit is another is not opened, and there is no error of it."""
        ring = TicketKeys([new_key(bits)])
        server = drop_in.server(ring)
        seen: list[TicketStatus] = []
        server.set_session_ticket_callback(None, lambda _, ticket, __: seen.append(ticket.status))
        session = drop_in.ticket(ring)
        der = session.to_der()
        begin = der.index(session.ticket)
        size = len(session.ticket)
        for place in (16, 31, 32, size // 2, size - 33, size - 32, size - 1):
            broken = bytearray(der)
            broken[begin + place] ^= 1
            seen.clear()
            assert not drop_in.shake(server, Session.from_der(bytes(broken))).reused
            assert seen == [TicketStatus.NO_DECRYPT]
        assert drop_in.shake(server, Session.from_der(der)).reused


@pytest.fixture(scope="module")
def builtin() -> Any:
    """``keys(ctx, buffer, set)``: gets or sets libssl's own 80 bytes of keys."""
    ffi = FFI()
    ffi.cdef("long keys(void *ctx, unsigned char *buffer, int set);")
    source = """
    #include <openssl/ssl.h>
    static long keys(void *ctx, unsigned char *buffer, int set)
    {
        return set ? SSL_CTX_set_tlsext_ticket_keys((SSL_CTX *)ctx, buffer, 80)
                   : SSL_CTX_get_tlsext_ticket_keys((SSL_CTX *)ctx, buffer, 80);
    }
    """
    ffi.set_source("openssl_tickets_tests_builtin", source, **openssl_flags())
    return ffi


class TestFormat:
    @pytest.mark.parametrize("bits", [256, 128])
    def test_by_hand(self, library: Library, bits: int) -> None:
        """Whoever has the key can read the ticket: name, IV, AES-CBC, HMAC-SHA256 over it all."""
        key = new_key(bits)
        server = library.server(TicketKeys([key, new_key()]))
        openssl_tickets.set_session_ticket_callback(server, lambda *_: b"the application data")
        tickets = [session_of(library.shake(server)).ticket for _ in range(3)]
        for ticket in tickets:
            inside = Session.from_der(opened(ticket, key))
            assert inside.ticket_appdata == b"the application data"
            assert inside.protocol == f"TLSv{library.version}"
            with pytest.raises(AssertionError):
                opened(ticket[:-1] + bytes([ticket[-1] ^ 1]), key)
        assert len({ticket[16:32] for ticket in tickets}) == 3

    def test_as_libssls_own(self, drop_in: Library, builtin: Any, tmp_path: Path) -> None:
        """A key of 80 bytes makes the tickets that libssl itself would make of it."""
        path = Path(builtin.compile(tmpdir=str(tmp_path)))
        spec = importlib.util.spec_from_file_location("openssl_tickets_tests_builtin", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        own = drop_in.server()
        pointer = module.ffi.cast("void *", own._context)
        buffer = module.ffi.new("unsigned char[80]")
        assert module.lib.keys(pointer, buffer, 0) == 1
        written = bytes(module.ffi.buffer(buffer))
        key = TicketKey(written[:16], written[16:48], written[48:])
        server = drop_in.server(TicketKeys([key]))
        of_libssl, of_ours = session_of(drop_in.shake(own)), session_of(drop_in.shake(server))
        assert of_libssl.key_name == key.name
        assert drop_in.shake(server, of_libssl).reused
        assert drop_in.shake(own, of_ours).reused
        assert Session.from_der(opened(of_libssl.ticket, key)).protocol == of_ours.protocol


def opened(ticket: bytes, key: TicketKey) -> bytes:
    """Decrypts a ticket without any of our code, nor libssl's."""
    assert ticket[:16] == key.name
    mac = hmac.digest(key.hmac_key, ticket[:-32], "sha256")
    assert mac == ticket[-32:], "the ticket is not of this key"
    decryptor = Cipher(algorithms.AES(key.aes_key), modes.CBC(ticket[16:32])).decryptor()
    unpadder = PKCS7(128).unpadder()
    padded = decryptor.update(ticket[32:-32]) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


class TestCallbacks:
    """Beside the other things that can be set on a context, in whichever order."""

    @pytest.mark.parametrize("keys_first", [True, False])
    def test_beside_ticket_callbacks(self, library: Library, keys_first: bool) -> None:
        """Keys and ticket callbacks do not get in each other's way."""
        ring = TicketKeys([new_key()])
        calls: list[Any] = []

        def generate(connection: Any, data: str) -> bytes:
            calls.append(("generate", connection, data))
            return b"of the context"

        def decrypt(connection: Any, ticket: Any, data: str) -> None:
            if ticket.status != TicketStatus.EMPTY:
                calls.append(("decrypt", connection, data))
                assert ticket.appdata == b"of the context"

        server = library.server(ring if keys_first else None)
        openssl_tickets.set_num_tickets(server, 1)
        openssl_tickets.set_session_ticket_callback(server, generate, decrypt, "data")
        if not keys_first:
            openssl_tickets.set_ticket_keys(server, ring)
        first = library.shake(server)
        assert calls == [("generate", first.server, "data")]
        session = session_of(first)
        assert b"of the context" in opened(session.ticket, ring.keys[0])
        ring.rotate()
        calls.clear()
        second = library.shake(server, session)
        assert (second.reused, second.received) == (True, 1)
        assert calls == [("decrypt", second.server, "data"), ("generate", second.server, "data")]
        openssl_tickets.set_session_ticket_callback(server)
        calls.clear()
        third = library.shake(server, session_of(second))
        assert (third.reused, third.received) == (True, int(library.of_tls13))
        assert calls == []

    @pytest.mark.parametrize("keys_first", [True, False])
    def test_beside_announcements(self, library: Library, keys_first: bool) -> None:
        """Keys and the callback for new sessions do not get in each other's way."""
        ring = TicketKeys([new_key()])
        announced: list[Session] = []
        server = library.server(ring if keys_first else None)
        openssl_tickets.set_new_session_callback(
            server, lambda _, session, __: announced.append(session)
        )
        if not keys_first:
            openssl_tickets.set_ticket_keys(server, ring)
        full = 2 if library.of_tls13 else 1
        pair = library.shake(server)
        assert (pair.received, len(announced)) == (full, full)
        session = session_of(pair)
        assert session.key_name == ring.keys[0].name
        ring.rotate()
        pair = library.shake(server, session)
        assert (pair.reused, pair.received, len(announced)) == (True, 1, full + 1)
        assert session_of(pair).key_name == ring.keys[0].name

    def test_refusal_of_a_ticket_that_is_opened(self, library: Library) -> None:
        """What decrypt answers stands above what the keys say."""
        ring = TicketKeys([new_key(), new_key()])
        server = library.server(ring)
        answers: list[Any] = []
        openssl_tickets.set_session_ticket_callback(server, None, lambda *_: answers[0])
        for key in ring.keys:
            session = library.ticket(TicketKeys([key]))
            answers[:] = [openssl_tickets.TicketReturn.IGNORE]
            pair = library.shake(server, session)
            assert (pair.reused, pair.received) == (False, 0)
            answers[:] = [openssl_tickets.TicketReturn.USE]
            pair = library.shake(server, session)
            assert (pair.reused, pair.received) == (True, 0)

    def test_tickets_on_demand(self, server_file: Path) -> None:
        """A ticket that is asked for after the handshake is of the key that is first by then."""
        library = Library("drop-in", "1.3", server_file)
        ring = TicketKeys([new_key()])
        pair = library.shake(library.server(ring))
        ring.rotate()
        pair.server.new_session_ticket()
        pair.server.do_handshake()
        pair.client_reads()
        assert pair.received == 3
        assert session_of(pair).key_name == ring.keys[0].name


class TestServerNames:
    """It is the keys of a connection's first context that count, in both directions."""

    @pytest.mark.parametrize("second_has_keys", [True, False])
    @pytest.mark.parametrize("retried", [True, False])
    def test_switch(self, library: Library, second_has_keys: bool, retried: bool) -> None:
        """After a switch by server name the first context's keys stay in force."""
        ring = TicketKeys([new_key()])
        first = library.server(ring)
        second = library.server(TicketKeys([new_key()]) if second_has_keys else None)
        if retried:  # a HelloRetryRequest: the second hello comes after the switch
            if library.library != "ssl":
                pytest.skip("not all versions of pyOpenSSL can set the groups")
            for context in (first, second):
                context.set_ecdh_curve("secp521r1")
        switches = switch_by_server_name(first, second)
        pair = library.shake(first)
        # CPython 3.14.10 and 3.15 do not ask again for the second hello.
        assert len(switches) in ({1, 2} if retried and library.of_tls13 else {1})
        session = session_of(pair)
        assert session.key_name == ring.keys[0].name
        opened(session.ticket, ring.keys[0])
        pair = library.shake(first, session)
        assert (pair.reused, pair.received) == (True, int(library.of_tls13))
        ring.rotate()
        pair = library.shake(first, session)
        assert (pair.reused, pair.received) == (True, 1)
        assert session_of(pair).key_name == ring.keys[0].name

    @pytest.mark.parametrize("second_has_keys", [True, False])
    def test_switch_to_keys(self, library: Library, second_has_keys: bool) -> None:
        """Where the first context has no keys of its own, those of another do not come in."""
        ring = TicketKeys([new_key()])
        first, second = library.server(), library.server(ring if second_has_keys else None)
        switch_by_server_name(first, second)
        session = session_of(library.shake(first))
        assert session.key_name != ring.keys[0].name
        assert library.shake(first, session).reused
        assert not library.shake(second, session).reused

    @pytest.mark.parametrize("second_has_keys", [True, False])
    def test_switch_before_the_handshake(self, library: Library, second_has_keys: bool) -> None:
        """It is the same where the program itself switches, before the client has said a word."""
        ring = TicketKeys([new_key()])
        first = library.server(ring)
        second = library.server(TicketKeys([new_key()]) if second_has_keys else None)
        session = None
        for resumed in (False, True):
            pair = library.begin(first, session)
            switch_context(pair.server, second)
            assert pair.handshake().reused is resumed
            session = session_of(pair)
            assert session.key_name == ring.keys[0].name


class TestThreads:
    def test_replaced_while_threads_shake_hands(self, drop_in: Library) -> None:
        """
        One ring on four contexts is replaced while 4 threads shake hands: each ticket is of one key
        and its name, and each whose key stays is resumed.
        """
        stays = new_key()
        known = {stays.name: stays}
        ring = TicketKeys([stays])
        contexts = [drop_in.server(ring) for _ in range(4)]
        done = threading.Event()
        handshakes = [0] * 4
        resumed_by_stays = [0] * 4
        of_others = [0] * 4

        def shake(number: int) -> None:
            session = None
            try:
                while not done.is_set():
                    handshakes[number] += 1
                    pair = drop_in.shake(contexts[(number + handshakes[number]) % 4], session)
                    if session is not None and session.key_name == stays.name:
                        assert pair.reused
                        resumed_by_stays[number] += 1
                    if session is None:
                        assert pair.received == (2 if drop_in.of_tls13 else 1)
                    session = session_of(pair)
                    opened(session.ticket, known[session.key_name])
                    of_others[number] += session.key_name != stays.name
                    if handshakes[number] % 5 == 0:
                        session = None
            finally:
                done.set()

        def replace() -> None:
            deadline = time.monotonic() + 60
            turn = 0
            try:
                while not done.is_set() and (
                    turn < 200
                    or min(handshakes) < 30
                    or not all(resumed_by_stays)
                    or not all(of_others)
                ):
                    assert time.monotonic() < deadline
                    turn += 1
                    keys = [new_key(256 if turn % 2 else 128) for _ in range(turn % 3 + 1)]
                    known.update((key.name, key) for key in keys)
                    if turn % 4 == 0:
                        ring.replace([stays, *keys])
                        ring.rotate(keys[0], keep=1)
                    elif turn % 4 == 1:
                        ring.replace([stays, *keys])
                    else:
                        ring.replace([*keys, stays])
                    assert stays in ring.keys
                    done.wait(0.001)
            finally:
                done.set()

        in_threads(5, lambda number: replace() if number == 4 else shake(number))

    def test_changed_by_many_threads(self) -> None:
        """Rotations by many threads at once are all done, and none of the keys is lost."""
        ring = TicketKeys([new_key()])
        added: list[list[TicketKey]] = [[] for _ in range(4)]

        def work(number: int) -> None:
            for _ in range(100):
                key = new_key()
                ring.rotate(key, keep=999)
                added[number].append(key)
                assert key in ring.keys

        in_threads(4, work)
        keys = ring.keys
        assert len(keys) == 401
        assert set(keys[:-1]) == {key for some in added for key in some}
        for some in added:  # each thread's in the order in which they came
            assert [key for key in keys if key in some] == some[::-1]

    @pytest.mark.slow
    def test_set_and_unset_while_threads_shake_hands(self, drop_in: Library) -> None:
        """A ring may come to a context and go while threads shake hands: each gets its tickets."""
        ring = TicketKeys([new_key()])
        server = drop_in.server()
        done = threading.Event()
        with_ring = [0] * 3
        without = [0] * 3

        def shake(number: int) -> None:
            try:
                while not done.is_set():
                    pair = drop_in.shake(server)
                    assert pair.received == (2 if drop_in.of_tls13 else 1)
                    session = session_of(pair)
                    assert session.has_ticket
                    is_of_ring = session.key_name == ring.keys[0].name
                    with_ring[number] += is_of_ring
                    without[number] += not is_of_ring
            finally:
                done.set()

        def replace() -> None:
            deadline = time.monotonic() + 60
            enough = 1500
            try:
                while not done.is_set() and (
                    min(*with_ring, *without) < enough // 10 or sum(with_ring + without) < enough
                ):
                    assert time.monotonic() < deadline
                    for keys in (ring, None, ring, None):
                        openssl_tickets.set_ticket_keys(server, keys)
            finally:
                done.set()

        in_threads(4, lambda number: replace() if number == 3 else shake(number))


class TestLifetime:
    def test_ring_dropped(self, library: Library) -> None:
        """The contexts of a ring go on with it when the program has dropped it."""
        key = new_key()
        servers = [library.server(keys) for keys in [TicketKeys([key])] * 2]
        gc.collect()
        session = session_of(library.shake(servers[0]))
        assert session.key_name == key.name
        del servers[0]
        gc.collect()
        assert library.shake(servers[0], session).reused

    def test_contexts_dropped(self, library: Library) -> None:
        """A ring goes on when its contexts are gone."""
        ring = TicketKeys([new_key()])
        session = library.ticket(ring)
        gc.collect()
        assert library.shake(library.server(ring), session).reused

    def test_context_dropped_in_a_handshake(self, library: Library) -> None:
        """A connection has its context's keys, though the program has dropped both."""
        key = new_key()
        pair = library.begin(library.server(TicketKeys([key])))
        gc.collect()
        assert session_of(pair.handshake()).key_name == key.name

    def test_duplicated_connection(self, drop_in: Library) -> None:
        """SSL_dup leaves no reference to the context behind."""
        context = drop_in.server(TicketKeys([new_key()]))
        callback = Callback()
        context.set_new_session_callback(callback)
        connection = SSL.Connection(context, None)
        native.lib.duplicate(connection._ssl)
        freed = weakref.ref(callback)
        del context, connection, callback
        gc.collect()
        assert freed() is None

    @pytest.mark.slow
    def test_memory(self, drop_in: Library) -> None:
        """Rings, their keys and what is read from them are freed."""
        keys = [new_key() for _ in range(1000)]  # some 90 KB
        server = drop_in.server()
        ring = TicketKeys(keys)

        def use() -> None:
            other = TicketKeys(keys)
            ring.replace(keys)
            ring.rotate(keep=998)
            with pytest.raises(ValueError, match="name"):
                ring.rotate(keys[0], keep=999)
            for each in (ring, other, other, None, other):
                server.set_ticket_keys(each)

        for _ in range(20):
            use()
        peak = peak_memory()
        for _ in range(400):
            use()
        assert peak_memory() - peak < 16 << 20
        for _ in range(100):  # 18 MB of copies, were they kept
            assert len(ring.keys) == 999
        assert peak_memory() - peak < 16 << 20


class TestDerived:
    """``TicketKeys.derived``; what it holds at other times than now is asked of it directly."""

    PERIODS = st.integers(1, 2**31 - 1)
    TIMES = st.integers(0, 2**35)

    @staticmethod
    @st.composite
    def lifetimes(draw: Any) -> tuple[int, int]:
        """A period, and an accept_for that does not lead to too many keys to look through."""
        period = draw(TestDerived.PERIODS)
        accept_for = draw(st.integers(0, min(12 * period, 2**31 - 1)))
        return period, accept_for

    def test_hkdf(self) -> None:
        """Its keys are of HKDF-SHA256, as it is documented, and so are those of other hosts."""

        @given(st.binary(min_size=32, max_size=100), self.lifetimes(), self.TIMES)
        def check(secret: bytes, lifetimes: tuple[int, int], now: int) -> None:
            period, accept_for = lifetimes
            ring = TicketKeys.derived(secret, period, accept_for)
            number = now // period
            oldest = max(now - accept_for, 0) // period
            numbers = [number, number + 1, *range(number - 1, oldest - 1, -1)]
            expected = []
            for each in numbers:
                info = b"openssl_tickets ticket key 1" + each.to_bytes(8, "big")
                made = HKDF(SHA256(), 80, salt=None, info=info).derive(secret)
                expected.append(TicketKey(made[:16], made[16:48], made[48:]))
            assert keys_at(ring, now) == tuple(expected)

        check()

    def test_next_period(self) -> None:
        """The second key is the one that encrypts one period later."""

        @given(self.lifetimes(), self.TIMES)
        def check(lifetimes: tuple[int, int], now: int) -> None:
            ring = TicketKeys.derived(SECRET, *lifetimes)
            assert keys_at(ring, now)[1] == keys_at(ring, now + lifetimes[0])[0]

        check()

    def test_accepted_for_long_enough(self) -> None:
        """
        A ticket is opened from the moment it is issued until accept_for later, also where the clock
        of the host that issues it is ahead, by up to a period.
        """

        @given(self.lifetimes(), self.TIMES, st.data())
        def check(lifetimes: tuple[int, int], now: int, data: st.DataObject) -> None:
            period, accept_for = lifetimes
            ahead = data.draw(st.integers(0, period))
            later = data.draw(st.sampled_from([0, accept_for]) | st.integers(0, accept_for))
            ring = TicketKeys.derived(SECRET, period, accept_for)
            assert keys_at(ring, now + ahead)[0] in keys_at(ring, now + later)

        check()

    def test_dropped_after_its_time(self) -> None:
        """A key is there until accept_for after the end of its period, to the second."""

        @given(self.lifetimes(), self.TIMES, st.data())
        def check(lifetimes: tuple[int, int], now: int, data: st.DataObject) -> None:
            period, accept_for = lifetimes
            ring = TicketKeys.derived(SECRET, period, accept_for)
            key = keys_at(ring, now)[0]
            over = (now // period + 1) * period + accept_for
            assert key in keys_at(ring, over - 1)
            assert key not in keys_at(ring, over)
            assert key not in keys_at(ring, over + data.draw(st.integers(0, 2**31)))

        check()

    def test_distinct(self) -> None:
        """All keys and names of a ring differ, and depend on the secret, not on accept_for."""
        keys = keys_at(TicketKeys.derived(SECRET, 60, 997 * 60), 10**9)
        assert len(keys) == 999
        assert len(set(keys)) == len({key.name for key in keys}) == 999
        shorter = keys_at(TicketKeys.derived(SECRET, 60, 0), 10**9)
        assert shorter == keys[:2]
        assert set(keys).isdisjoint(keys_at(TicketKeys.derived(SECRET[::-1], 60, 6000), 10**9))

    @pytest.mark.parametrize("period", [1, 7, 3600])
    def test_as_many_as_there_may_be(self, period: int) -> None:
        """A ring of the largest size that is taken has all its keys, at the worst moment too."""
        accept_for = 998 * period - 1
        ring = TicketKeys.derived(SECRET, period, accept_for)
        for now in range(10**9, 10**9 + min(2 * period, 20)):
            keys = keys_at(ring, now)
            assert len(keys) <= 1000
            oldest = keys_at(ring, now - accept_for)[0]
            assert keys[-1] == oldest
        with pytest.raises(ValueError, match="more than 1000 keys at a time"):
            TicketKeys.derived(SECRET, period, accept_for + 1)

    @pytest.mark.slow
    def test_now(self) -> None:
        """The keys of now are those of the clock's time, as it passes: each comes and goes."""
        lifetimes = (1, 2), (2, 1), (2, 0), (3, 2), (3600, 86400)
        rings = [TicketKeys.derived(SECRET, *each) for each in lifetimes]
        seconds: set[int] = set()
        deadline = time.monotonic() + 60
        while len(seconds) < 6:
            assert time.monotonic() < deadline
            before = time.time()
            keys = [ring.keys for ring in rings]
            # C's time() has the next second a few milliseconds late.
            if before % 1 > 0.2 and int(time.time()) == int(before):
                assert keys == [keys_at(ring, int(before)) for ring in rings]
                seconds.add(int(before))
            threading.Event().wait(0.01)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((bytes(31), 60, 60), ValueError, "secret must have 32 bytes or more, not 31"),
            ((b"", 60, 60), ValueError, "secret must have 32 bytes or more, not 0"),
            (("x" * 32, 60, 60), TypeError, "secret must be bytes, not str"),
            ((bytearray(32), 60, 60), TypeError, "secret must be bytes, not bytearray"),
            ((SECRET, 0, 60), ValueError, "period must be 1 or more seconds, not 0"),
            ((SECRET, -1, 60), ValueError, "period must be 1 or more seconds, not -1"),
            ((SECRET, 2**31, 60), ValueError, "period must be at most 2147483647 seconds"),
            ((SECRET, 1.5, 60), TypeError, "period must be an int, not float"),
            ((SECRET, True, 60), TypeError, "period must be an int, not the bool"),
            ((SECRET, 60, -1), ValueError, "accept_for must be 0 or more seconds, not -1"),
            ((SECRET, 60, 2**31), ValueError, "accept_for must be at most 2147483647 seconds"),
            ((SECRET, 60, None), TypeError, "accept_for must be an int, not NoneType"),
            ((SECRET, 1, 998), ValueError, "more than 1000 keys at a time"),
        ],
    )
    def test_wrong_arguments(self, arguments: Any, error: type[Exception], message: str) -> None:
        """Wrong arguments are refused, and the secret is not told."""
        with pytest.raises(error, match=message) as raised:
            TicketKeys.derived(*arguments)
        assert "x" * 32 not in str(raised.value)

    def test_not_to_be_set(self) -> None:
        """A derived ring cannot be rotated or replaced, and stays as it was."""
        ring = TicketKeys.derived(SECRET, 2**31 - 1, 2**31 - 1)
        keys = ring.keys
        derived = pytest.raises(RuntimeError, match="derived from a secret and the clock")
        with derived:
            ring.rotate()
        with derived:
            ring.rotate(KEY)
        with derived:
            ring.replace([KEY])
        assert ring.keys == keys

    def test_shared(self, library: Library) -> None:
        """Each with a derived ring of its own, two hosts resume each other's clients."""
        rings = [TicketKeys.derived(SECRET, 2**31 - 1, 2**31 - 1) for _ in range(2)]
        servers = [library.server(ring) for ring in rings]
        session = session_of(library.shake(servers[0]))
        assert session.key_name == rings[1].keys[0].name
        pair = library.shake(servers[1], session)
        assert (pair.reused, pair.received) == (True, int(library.of_tls13))
        other = library.server(TicketKeys.derived(SECRET[::-1], 2**31 - 1, 2**31 - 1))
        assert not library.shake(other, session).reused

    def test_clock_ahead(self, library: Library) -> None:
        """A ticket of the next period's key is opened, and renewed."""
        ring = TicketKeys.derived(SECRET, 2**31 - 1, 0)
        session = library.ticket(TicketKeys([ring.keys[1]]))
        pair = library.shake(library.server(ring), session)
        assert (pair.reused, pair.received) == (True, 1)
        assert session_of(pair).key_name == ring.keys[0].name

    @pytest.mark.slow
    def test_time_passes(self, drop_in: Library) -> None:
        """With the clock the first key becomes an older one, which renews, and then is gone."""
        ring = TicketKeys.derived(SECRET, 1, 2)
        servers = drop_in.server(ring), drop_in.server(ring)
        deadline = time.monotonic() + 60
        seen: set[str] = set()
        while seen != {"as the first", "as an older one", "not any more"}:
            session = session_of(drop_in.shake(servers[0]))
            while time.monotonic() < deadline:
                before = [key.name for key in ring.keys]
                pair = drop_in.shake(servers[1], session)
                after = [key.name for key in ring.keys]
                if before != after:
                    continue  # the period may have ended before it, or after
                if session.key_name not in before:
                    assert not pair.reused
                    seen.add("not any more")
                    break
                assert pair.reused
                is_first = session.key_name == before[0]
                assert pair.received == (int(drop_in.of_tls13) if is_first else 1)
                seen.add("as the first" if is_first else "as an older one")
                threading.Event().wait(0.02)
            assert time.monotonic() < deadline, seen

    @pytest.mark.slow
    def test_time_passes_while_threads_shake_hands(self, drop_in: Library) -> None:
        """4 threads that meet the end of a period at the same time go on with whole keys."""
        ring = TicketKeys.derived(SECRET, 1, 30)
        server = drop_in.server(ring)
        firsts: set[bytes] = set()
        deadline = time.monotonic() + 60

        def work(number: int) -> None:
            session = session_of(drop_in.shake(server))
            while len(firsts) < 4:
                assert time.monotonic() < deadline
                pair = drop_in.shake(server, session)
                assert pair.reused
                session = session_of(pair)
                (key,) = (key for key in ring.keys if key.name == session.key_name)
                opened(session.ticket, key)
                firsts.add(session.key_name)

        in_threads(4, work)


class TestPurposes:
    """Keys that follow from a ring's for a purpose."""

    # As in docs/recipes/fleet.md: name, HMAC key and AES key.
    @pytest.mark.parametrize("length", [32, 16])
    def test_vector(self, length: int) -> None:
        """The documented test vectors."""
        page = (Path(__file__).parents[2] / "docs/recipes/fleet.md").read_text()
        name = b"openssl_tickets!"
        key = TicketKey(name, bytes(range(length)), bytes(range(32, 32 + length)))
        made = key.for_purpose(b"members")
        for part in (made.name, made.hmac_key, made.aes_key):
            assert part.hex() in page
        info = b"openssl_tickets purpose 1" + name + b"members"
        hkdf = HKDF(SHA256(), 16 + 2 * length, salt=None, info=info)
        material = key.hmac_key + key.aes_key
        assert hkdf.derive(material) == made.name + made.hmac_key + made.aes_key

    def test_hkdf(self) -> None:
        """All keys are of HKDF-SHA256, as it is documented."""

        @given(st.binary(min_size=1, max_size=255), st.sampled_from([128, 256]))
        def check(purpose: bytes, bits: int) -> None:
            key, length = new_key(bits), bits // 8
            info = b"openssl_tickets purpose 1" + key.name + purpose
            made = HKDF(SHA256(), 16 + 2 * length, salt=None, info=info).derive(
                key.hmac_key + key.aes_key
            )
            expected = TicketKey(made[:16], made[16 : 16 + length], made[16 + length :])
            assert key.for_purpose(purpose) == expected

        check()
        assert KEY.for_purpose(b"") is KEY

    @pytest.mark.parametrize("bits", [128, 256])
    def test_separated(self, library: Library, bits: int) -> None:
        """A ticket is good for contexts of its purpose, and to all others it is unknown."""
        ring = TicketKeys([new_key(bits), new_key(bits)])
        purposes = b"", b"a", b"members", bytes(255), b"a\0"
        contexts = [library.make_server_context() for _ in (*purposes, b"")]
        for context, purpose in zip(contexts, (*purposes, b"a"), strict=True):
            openssl_tickets.set_ticket_keys(context, ring, purpose)
        sessions = [session_of(library.shake(context)) for context in contexts]
        for session, purpose in zip(sessions, (*purposes, b"a"), strict=True):
            assert session.key_name == ring.keys[0].for_purpose(purpose).name
            opened(session.ticket, ring.keys[0].for_purpose(purpose))
        statuses: list[Any] = []
        for context in contexts:
            openssl_tickets.set_session_ticket_callback(
                context, None, lambda _, ticket, __: statuses.append(ticket.status)
            )
        for issuer, session in enumerate(sessions):
            for other, context in enumerate(contexts):
                is_same = issuer == other or {issuer, other} == {1, 5}
                assert library.shake(context, session).reused is is_same
                assert (statuses.pop() is TicketStatus.NO_DECRYPT) is not is_same

    def test_rotation(self, library: Library) -> None:
        """A ticket of an older key is renewed, and one of a key that is gone is unknown."""
        ring = TicketKeys([new_key()])
        context = library.make_server_context()
        openssl_tickets.set_ticket_keys(context, ring, b"members")
        session = session_of(library.shake(context))
        ring.rotate()
        pair = library.shake(context, session)
        assert (pair.reused, pair.received) == (True, 1)
        assert session_of(pair).key_name == ring.keys[0].for_purpose(b"members").name
        ring.rotate(keep=0)
        assert not library.shake(context, session).reused

    def test_derived(self, library: Library) -> None:
        """A derived ring has purposes too, and hosts agree on them."""
        contexts = [library.make_server_context() for _ in range(3)]
        for context, purpose in zip(contexts, (b"members", b"members", b"others"), strict=True):
            ring = TicketKeys.derived(SECRET, 2**31 - 1, 2**31 - 1)
            openssl_tickets.set_ticket_keys(context, ring, purpose)
        session = session_of(library.shake(contexts[0]))
        assert [library.shake(each, session).reused for each in contexts] == [True, True, False]

    def test_replaced(self, library: Library) -> None:
        """A context can be given another purpose, and none."""
        ring, context = TicketKeys([new_key()]), library.make_server_context()
        for purpose in (b"a", b"b", b""):
            openssl_tickets.set_ticket_keys(context, ring, purpose)
            key_name = session_of(library.shake(context)).key_name
            assert key_name == ring.keys[0].for_purpose(purpose).name

    @pytest.mark.parametrize(
        ("purpose", "error"),
        [
            ("members", TypeError),
            (None, TypeError),
            (bytearray(1), TypeError),
            (1, TypeError),
            (bytes(256), ValueError),
        ],
    )
    def test_wrong_purposes(self, library: Library, purpose: Any, error: type[Exception]) -> None:
        """They are refused, and the keys stay as they were."""
        ring, context = TicketKeys([new_key()]), library.make_server_context()
        openssl_tickets.set_ticket_keys(context, ring, b"members")
        with pytest.raises(error, match=r"^purpose must "):
            openssl_tickets.set_ticket_keys(context, TicketKeys([new_key()]), purpose)
        with pytest.raises(error, match=r"^purpose must "):
            KEY.for_purpose(purpose)
        with pytest.raises(ValueError, match="a purpose needs a TicketKeys"):
            openssl_tickets.set_ticket_keys(context, None, b"members")
        key_name = session_of(library.shake(context)).key_name
        assert key_name == ring.keys[0].for_purpose(b"members").name

    def test_client(self, library: Library) -> None:
        """A client has no tickets of its own, and no purpose."""
        if library.library == "ssl":
            client = library.make_client_context()
        else:
            client = library._module.Context(SSL.TLS_CLIENT_METHOD)
        with pytest.raises(ValueError, match="is for clients only"):
            openssl_tickets.set_ticket_keys(client, TicketKeys([new_key()]), b"members")

    @pytest.mark.slow
    def test_threads(self, drop_in: Library) -> None:
        """8 threads make and use the keys of 8 purposes, while another rotates the ring."""
        ring = TicketKeys([new_key()])
        stop = threading.Event()

        def rotate() -> None:
            while not stop.wait(0.001):
                ring.rotate(keep=900)

        def work(number: int) -> None:
            context = drop_in.make_server_context()
            openssl_tickets.set_ticket_keys(context, ring, b"%d" % number)
            session = None
            for _ in range(60):
                pair = drop_in.shake(context, session)
                assert pair.reused is (session is not None)
                session = session_of(pair)

        thread = threading.Thread(target=rotate)
        thread.start()
        try:
            in_threads(8, work)
        finally:
            stop.set()
            thread.join()

    def test_memory(self, drop_in: Library) -> None:
        """The keys for a purpose are in the ring, and not in each context: gunicorn makes many."""
        ring = TicketKeys([new_key() for _ in range(1000)])

        def make(number: int) -> None:
            for _ in range(number):
                context = drop_in.make_server_context()
                openssl_tickets.set_ticket_keys(context, ring, b"members")
                drop_in.shake(context)

        make(30)
        before = peak_memory()
        make(100)  # with 88,000 bytes each it would be some 9 MB
        assert peak_memory() - before < 4_000_000

    def test_rings_and_contexts_go(self, library: Library) -> None:
        """A ring, its purposes and contexts may go in any order."""
        ring, contexts = TicketKeys([new_key()]), []
        for purpose in (b"a", b"b", b"a"):
            contexts.append(library.make_server_context())
            openssl_tickets.set_ticket_keys(contexts[-1], ring, purpose)
        session = session_of(library.shake(contexts[0]))
        del ring, contexts[0]
        gc.collect()
        assert library.shake(contexts[1], session).reused


class TestForget:
    def test_forget(self, library: Library) -> None:
        """A key that is forgotten opens nothing any more, and the next one encrypts."""
        ring = TicketKeys([new_key(), new_key(), new_key()])
        context, (leaked, following, last) = library.server(ring), ring.keys
        session = session_of(library.shake(context))
        ring.forget(leaked.name)
        assert ring.keys == (following, last)
        pair = library.shake(context, session)
        assert not pair.reused
        assert session_of(pair).key_name == following.name
        ring.forget(last.name)
        assert list(ring.keys) == [following]
        assert ring.stats().unknown == 1

    def test_refused(self) -> None:
        """The only key, a name that there is not, and a derived ring: nothing is changed."""
        ring = TicketKeys([KEY])
        with pytest.raises(ValueError, match=rf"^{NAME.hex()} is the only key: replace it$"):
            ring.forget(NAME)
        for wrong in (b"", bytes(15), bytes(16), bytes(17)):
            with pytest.raises(ValueError, match=rf"^no key has the name {wrong.hex()}$"):
                ring.forget(wrong)
        unfit: Any = NAME.decode()
        with pytest.raises(TypeError, match="key_name must be bytes, not str"):
            ring.forget(unfit)
        assert ring.keys == (KEY,)
        derived = TicketKeys.derived(SECRET, 60, 60)
        with pytest.raises(RuntimeError, match="derived from a secret"):
            derived.forget(derived.keys[0].name)

    def test_by_many_threads(self) -> None:
        """Each of 8 threads drops a key of its own, while others rotate."""
        keys = [new_key() for _ in range(8)]
        ring = TicketKeys([KEY, *keys])

        def work(number: int) -> None:
            ring.rotate(keep=999)
            ring.forget(keys[number].name)

        in_threads(8, work)
        assert len(ring.keys) == 9
        assert not set(keys) & set(ring.keys)


class TestStats:
    def test_counts(self, library: Library) -> None:
        """For each key what it encrypted and decrypted, under its own name, and unknown ones."""
        ring = TicketKeys([new_key()])
        contexts = library.make_server_context(), library.make_server_context()
        openssl_tickets.set_ticket_keys(contexts[0], ring)
        openssl_tickets.set_ticket_keys(contexts[1], ring, b"members")
        name = ring.keys[0].name
        sessions = [session_of(library.shake(context)) for context in contexts]
        made = 2 * library.tickets
        assert ring.stats() == ({name: (made, 0)}, 0)
        for context, session in zip(contexts, sessions, strict=True):
            assert library.shake(context, session).reused
        made += ring.stats().keys[name].encrypted - made  # renewals, in TLS 1.3
        assert ring.stats() == ({name: (made, 2)}, 0)
        assert not library.shake(contexts[1], sessions[0]).reused
        assert ring.stats().unknown == 1
        ring.rotate()
        other = ring.keys[0].name
        assert ring.stats().keys[other] == (0, 0)
        before = ring.stats().keys[name]
        assert library.shake(contexts[0], sessions[0]).reused
        assert ring.stats().keys == {other: (1, 0), name: before._replace(decrypted=3)}
        ring.rotate(keep=1)
        assert name not in ring.stats().keys


class TestSeveralSecrets:
    OLD, NEW = bytes(range(32)), bytes(range(1, 33))

    def test_keys(self) -> None:
        """The first secret encrypts, and the keys of each are those of a ring of its own."""
        both = keys_at(TicketKeys.derived([self.NEW, self.OLD], 60, 120), 10**9)
        alone = [keys_at(TicketKeys.derived(each, 60, 120), 10**9) for each in (self.NEW, self.OLD)]
        assert both == (*alone[0], *alone[1])
        single = keys_at(TicketKeys.derived([self.NEW], 60, 120), 10**9)
        assert single == alone[0]

    def test_vector(self) -> None:
        """The documented test vector of a derived key."""
        page = (Path(__file__).parents[2] / "docs/recipes/fleet.md").read_text()
        key = keys_at(TicketKeys.derived(self.OLD, 3600, 3600), 3600 * 500_000)[0]
        for part in (key.name, key.hmac_key, key.aes_key):
            assert part.hex() in page

    def test_change_across_a_fleet(self, library: Library) -> None:
        """
        [old], then [old, new] everywhere, then [new, old], then [new]: with hosts that are one step
        ahead of others, each client is resumed at each host, until accept_for is over.
        """
        hosts = [library.make_server_context() for _ in range(3)]

        def give(host: Any, *secrets: bytes) -> None:
            ring = TicketKeys.derived(secrets, 2**31 - 1, 2**31 - 1)
            openssl_tickets.set_ticket_keys(host, ring, b"members")

        for host in hosts:
            give(host, self.OLD)
        clients = [session_of(library.shake(host)) for host in hosts]
        steps = [(self.OLD, self.NEW), (self.NEW, self.OLD)]
        for step in steps:
            for changed in hosts:
                give(changed, *step)
                for host in hosts:
                    for number, session in enumerate(clients):
                        pair = library.shake(host, session)
                        assert pair.reused
                        if pair.received:
                            clients[number] = session_of(pair)
        # By now each has a ticket of the new one; in time all that have not are over.
        for changed in hosts:
            give(changed, self.NEW)
            assert all(library.shake(host, each).reused for host in hosts for each in clients)

    def test_change_in_one_step_loses(self, library: Library) -> None:
        """With [new, old] at once, a host that has only the old one does not know its tickets."""
        first, second = library.make_server_context(), library.make_server_context()
        for context, secrets in ((first, [self.NEW, self.OLD]), (second, [self.OLD])):
            openssl_tickets.set_ticket_keys(context, TicketKeys.derived(secrets, 2**30, 2**30))
        assert not library.shake(second, session_of(library.shake(first))).reused

    @pytest.mark.parametrize(
        ("secrets", "error", "message"),
        [
            ([], ValueError, "needs at least one secret"),
            ([OLD, OLD], ValueError, "two of the secrets are equal"),
            ([OLD, NEW, bytes(OLD)], ValueError, "two of the secrets are equal"),
            ([OLD, bytes(31)], ValueError, "secret must have 32 bytes or more, not 31"),
            ([OLD, "x" * 32], TypeError, "secret must be bytes, not str"),
            ([OLD, bytearray(32)], TypeError, "secret must be bytes, not bytearray"),
        ],
    )
    def test_wrong_secrets(self, secrets: Any, error: type[Exception], message: str) -> None:
        """They are refused, and not told."""
        with pytest.raises(error, match=message) as raised:
            TicketKeys.derived(secrets, 60, 60)
        assert "xxx" not in str(raised.value)

    def test_too_many(self) -> None:
        """All of them together lead to 1,000 keys at most."""
        TicketKeys.derived([self.NEW, self.OLD], 60, 60 * 497)
        with pytest.raises(ValueError, match="more than 1000 keys at a time"):
            TicketKeys.derived([self.NEW, self.OLD], 60, 60 * 498)


def keys_at(ring: TicketKeys, now: int) -> tuple[TicketKey, ...]:
    """The keys of a derived ring at another time: there is no clock that a test could set."""
    return ticket_keys._keys_of(ring._keyring, at=now)


BEGINNING = f"""
import gc, os, sys, threading
sys.path.append({str(Path(__file__).parents[2])!r})
import openssl_tickets
from openssl_tickets import SSL, Session, TicketKey, TicketKeys
from openssl_tickets._native._libssl import ffi
from tests.support import tls
version, server_file = sys.argv[1:3]
client_context = tls.client_context(version)
def server(keys):
    context = tls.server_context(server_file, version)
    context.set_ticket_keys(keys)
    return context
def shake(context, session=None):
    pair = tls.Pair(context, client_context)
    if session is not None:
        openssl_tickets.set_session(pair.client, session.copy())
    return pair.handshake()
def session_of(pair):
    return openssl_tickets.get_session(pair.client).copy()
"""


@pytest.mark.slow
class TestProcesses:
    @pytest.fixture
    def start(self, version: str, server_file: Path, tmp_path: Path) -> Iterator[Any]:
        """``start(program, ...)`` runs a program after a common beginning, in its own process."""
        with contextlib.ExitStack() as stack:

            def start(program: str, *arguments: str) -> subprocess.Popen[str]:
                source = BEGINNING + textwrap.dedent(program)
                process = stack.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-c", source, version, str(server_file), *arguments],
                        cwd=tmp_path,  # not where the package's source is
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        text=True,
                        start_new_session=True,
                    )
                )
                # Whatever it has forked goes with it.
                stack.callback(kill_group, process.pid)
                return process

            yield start

    @pytest.fixture
    def run(self, start: Any) -> Callable[..., str]:
        """Returns what the program prints; it must end well and print no error."""

        def run(program: str, *arguments: str) -> str:
            process = start(program, *arguments)
            stdout, stderr = process.communicate(timeout=120)
            assert (process.returncode, stderr) == (0, "")
            return str(stdout)

        return run

    def test_resumption(self, drop_in: Library, run: Any) -> None:
        """A ticket of one process is good for another that has the keys, in both directions."""
        ring = TicketKeys([new_key(), new_key(128)])
        handed = [part.hex() for key in ring.keys for part in (key.name, key.hmac_key, key.aes_key)]
        program = """
        parts = [bytes.fromhex(each) for each in sys.argv[4:]]
        context = server(TicketKeys([TicketKey(*parts[3:]), TicketKey(*parts[:3])]))
        pair = shake(context, Session.from_der(bytes.fromhex(sys.argv[3])))
        print(pair.reused, pair.received, session_of(pair).to_der().hex())
        """
        session = drop_in.ticket(ring)
        reused, received, der = run(program, session.to_der().hex(), *handed).split()
        assert (reused, received) == ("True", "1")
        session = Session.from_der(bytes.fromhex(der))
        assert session.key_name == ring.keys[1].name
        pair = drop_in.shake(drop_in.server(ring), session)
        assert (pair.reused, pair.received) == (True, 1)
        assert session_of(pair).key_name == ring.keys[0].name

    def test_derived(self, drop_in: Library, run: Any) -> None:
        """The same arguments give the same keys in another process, and resume its clients."""
        program = """
        ring = TicketKeys.derived(bytes.fromhex(sys.argv[3]), 2**31 - 1, 2**31 - 1)
        for key in ring.keys:
            print((key.name + key.hmac_key + key.aes_key).hex())
        print(session_of(shake(server(ring))).to_der().hex())
        """
        ring = TicketKeys.derived(SECRET, 2**31 - 1, 2**31 - 1)
        *keys, der = run(program, SECRET.hex()).split()
        assert keys == [(key.name + key.hmac_key + key.aes_key).hex() for key in ring.keys]
        assert drop_in.shake(drop_in.server(ring), Session.from_der(bytes.fromhex(der))).reused

    @pytest.mark.slow
    @pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="there is no /proc")
    def test_wiped(self, start: Any) -> None:
        """Keys that are not needed any more are nowhere in the process's memory."""
        # The program prints what to look for, xor 0x5A: no bytes object of it ever is in it.
        process = start(
            """
            def show(*keys):
                gc.collect()
                for key in keys:
                    for part in (key._key.hmac_key, key._key.aes_key):
                        masked = [each ^ 0x5A for each in memoryview(ffi.buffer(part)).cast("B")]
                        print(*masked, flush=True)
            def step(name):
                gc.collect()
                print(name, flush=True)
                sys.stdin.readline()

            key = TicketKey.generate()
            show(key)
            step("held")
            del key
            step("dropped")

            def use(ring):
                contexts = server(ring), server(ring)
                session = session_of(shake(contexts[0]))
                assert shake(contexts[1], session).reused
                return contexts

            ring = TicketKeys([TicketKey.generate(), TicketKey.generate()])
            show(*ring.keys)
            contexts = use(ring)
            step("held")
            ring.replace([TicketKey.generate(), ring.keys[0]])
            ring.rotate(keep=1)
            step("dropped")

            show(*ring.keys)
            step("held")
            ring.rotate(keep=0)
            ring.rotate(keep=0)
            step("dropped")

            show(*ring.keys)
            del ring
            step("held")  # by the contexts
            del contexts
            step("dropped")

            ring = TicketKeys([TicketKey.generate()])
            show(*ring.keys)
            contexts = use(ring)
            del ring
            step("held")
            for context in contexts:
                context.set_ticket_keys(None)
            step("dropped")

            # Random, and never a bytes object that is freed.
            secret = os.urandom(32)
            ring = TicketKeys.derived(secret, 2**31 - 1, 2**31 - 1)
            show(*ring.keys)
            contexts = use(ring)
            step("held")
            del ring, contexts, context
            step("dropped")
            """
        )
        assert process.stdin is not None
        assert process.stdout is not None
        needles: list[bytes] = []
        steps = []
        for line in process.stdout:
            if line[0].isdigit():
                needles.append(bytes(int(each) ^ 0x5A for each in line.split()))
                continue
            steps.append(line.strip())
            counts = count_in_memory(process.pid, needles)
            if steps[-1] == "held":
                assert all(counts), (steps, counts)
            else:
                # The first rotation keeps the first of the two keys.
                gone = counts[2:] if len(steps) == 4 else counts
                assert not any(gone), (steps, counts)
                needles.clear()
            process.stdin.write("\n")
            process.stdin.flush()
        assert process.stderr is not None
        assert (process.wait(20), process.stderr.read()) == (0, "")
        assert steps == ["held", "dropped"] * 6

    def test_fork(self, run: Any) -> None:
        """A child goes on with its parent's ring; what either changes later does not cross."""
        output = run(
            """
            ring = TicketKeys([TicketKey.generate()])
            context = server(ring)
            session = session_of(shake(context))
            to_parent, to_child = os.pipe(), os.pipe()
            child = os.fork()
            if child == 0:
                assert shake(context, session).reused
                assert shake(server(ring), session).reused
                ring.rotate(keep=0)
                assert not shake(context, session).reused
                renewed = session_of(shake(context))
                os.write(to_parent[1], renewed.to_der())
                assert os.read(to_child[0], 1) == b"."
                # The parent has gone on to another key.
                assert shake(context, renewed).reused
                assert len(ring.keys) == 1
                os._exit(0)
            of_child = Session.from_der(os.read(to_parent[0], 1 << 16))
            assert not shake(context, of_child).reused
            assert shake(context, session).reused
            ring.rotate(keep=0)
            assert not shake(context, session).reused
            os.write(to_child[1], b".")
            print(os.waitpid(child, 0)[1])
            """
        )
        assert output == "0\n"

    @pytest.mark.slow
    def test_fork_while_threads_are_at_it(self, run: Any) -> None:
        """A child can go on though the ring was being changed in the moment of the fork."""
        output = run(
            """
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # of fork with threads
            ring = TicketKeys([TicketKey.generate()])
            context = server(ring)
            session = session_of(shake(context))
            stays = ring.keys[0]
            done = threading.Event()
            # OpenSSL's own locks, as of its random numbers, do not survive a fork: the threads
            # make no keys, and free no connections.
            others = [TicketKey.generate() for _ in range(20)]
            gc.collect()
            gc.disable()
            def work():
                while not done.is_set():
                    ring.replace([*others, stays])
                    context.set_ticket_keys(ring)
                    assert stays in ring.keys
            threads = [threading.Thread(target=work) for _ in range(2)]
            for thread in threads:
                thread.start()
            statuses = []
            for _ in range(30):
                child = os.fork()
                if child == 0:
                    assert shake(context, session).reused
                    ring.rotate(keep=0)
                    assert shake(context, session_of(shake(context))).reused
                    os._exit(0)
                statuses.append(os.waitpid(child, 0)[1])
            done.set()
            for thread in threads:
                thread.join()
            print(statuses)
            """
        )
        assert output == f"{[0] * 30}\n"

    @pytest.mark.slow
    def test_exit(self, run: Any) -> None:
        """
        The interpreter ends without a word with rings, contexts and connections alive and threads
        at work; a handshake after its end has begun resumes as ever, since no Python is needed.
        """
        output = run(
            """
            ring = TicketKeys([TicketKey.generate()])
            context = server(ring)
            session = session_of(shake(context))
            counts = [0, 0]
            def work(number):
                while True:
                    shake(context, session)
                    counts[number] += 1
                    ring.replace([TicketKey.generate(), *ring.keys[-1:]])
            class Late:
                def __init__(self):
                    self.pair = tls.Pair(context, client_context)
                    openssl_tickets.set_session(self.pair.client, session.copy())
                    self.write = os.write
                def __del__(self):
                    self.write(1, b"resumed\\n" if self.pair.handshake().reused else b"not\\n")
            for number in range(2):
                threading.Thread(target=work, args=(number,), daemon=True).start()
            while min(counts) < 5:
                threading.Event().wait(0.01)
            sys.modules["late"] = Late()
            sys.modules["kept"] = [context, ring, shake(context)]
            print("busy", flush=True)
            """
        )
        assert output == "busy\nresumed\n"


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def count_in_memory(pid: int, needles: list[bytes]) -> list[int]:
    """Returns how many times each of *needles* is in what a process can write to."""
    counts = [0] * len(needles)
    regions = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in regions:
            addresses, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            begin, end = (int(each, 16) for each in addresses.split("-"))
            memory.seek(begin)
            content = b""
            with contextlib.suppress(OSError):  # what devices have mapped cannot be read
                while begin + len(content) < end:
                    content += memory.read(end - begin - len(content))
            for number, needle in enumerate(needles):
                counts[number] += content.count(needle)
    return counts
