"""Clients that resume by themselves: what is offered to whom, and what is kept."""

from __future__ import annotations

import contextlib
import datetime
import gc
import logging
import ssl
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import OpenSSL.SSL
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from OpenSSL import crypto

from openssl_tickets import (
    OPENSSL_VERSION,
    SSL,
    Error,
    MemorySessionStore,
    Session,
    get_session,
    resume_sessions,
    session_reused,
    set_new_session_callback,
    set_post_handshake_auth,
    set_session,
    set_session_ticket_callback,
    stdlib,
    verify_client_post_handshake,
)
from openssl_tickets._core import client_sessions
from tests.support import native, processes
from tests.support.callbacks import Announced, Boom, Unraisable, in_threads
from tests.support.ends import WANTS
from tests.support.libraries import (
    ERRORS,
    Setting,
    ask_for_certificate,
    certificate_in,
    close,
    move,
    pointer,
    shake,
    show_certificate,
    switch_context,
    talk,
)

NAME = "localhost"
# A whole one, as OpenSSL 3.6 demands: it says "try later".
OCSP_RESPONSE = bytes.fromhex("30030a0103")
OWN_ERROR = 128 << 23 | 99  # what native.lib.put_error() puts into the error queue


class Store(MemorySessionStore):
    """One that writes down which sessions it has been asked for and given."""

    def __init__(self) -> None:
        super().__init__()
        self.put_in: list[tuple[str, Session]] = []
        self.taken: list[Session] = []

    def put(self, key: str, session: Session) -> None:
        self.put_in.append((key, session))
        super().put(key, session)

    def take(self, key: str) -> Session | None:
        session = super().take(key)
        if session is not None:
            self.taken.append(session)
        return session


def resumed(setting: Setting, name: str | None = NAME, orderly: bool = True) -> bool:
    """Makes a connection; returns whether it resumed."""
    pair = setting.pair(server_name=name).handshake()
    talk(pair)
    reused = session_reused(pair.client)
    if orderly:
        close(pair)
    return reused


def fresh(
    setting: Setting, store: Any, *changes: Callable[[Any], object], alike: bool = False
) -> None:
    """Gives clients another context; pyOpenSSL takes no changes once it has made a connection."""
    setting.client_context = setting.make_client_context()
    for change in changes:
        change(setting.client_context)
    resume_sessions(setting.client_context, store, verify_callbacks_are_alike=alike)


def session_of(setting: Setting) -> Session:
    """Returns a session of a server, for its clients of another context."""
    other = Setting(setting.library, setting.version, setting.server_file)
    other.server_context = setting.server_context
    return other.session()


def key_of(setting: Setting) -> str:
    """Returns the key under which the sessions of a server are kept."""
    context = setting.client_context
    store = Store()
    fresh(setting, store)
    resumed(setting)
    setting.client_context = context
    return store.put_in[-1][0]


def digest_of(setting: Setting, store: Store) -> str:
    """Returns what the key of a new connection says of its context and settings."""
    resumed(setting)
    return store.put_in[-1][0].split(" ")[-1]


@pytest.fixture(params=[MemorySessionStore, Store], ids=["in C", "in Python"])
def make_store(request: pytest.FixtureRequest) -> Callable[[], MemorySessionStore]:
    """A store that C reads and writes itself, or one that only Python can."""
    return request.param  # type: ignore[no-any-return]


def verify(context: Any, ca_file: Path) -> None:
    ask_for_certificate(context, ca_file, required=True)


class TestResumes:
    @pytest.mark.parametrize("orderly", [True, False])
    def test_by_themselves(
        self, setting: Setting, make_store: Callable[[], MemorySessionStore], orderly: bool
    ) -> None:
        """One full handshake, then only resumptions; also if connections are just dropped."""
        resume_sessions(setting.client_context, make_store())
        assert [resumed(setting, orderly=orderly) for _ in range(5)] == [False] + [True] * 4

    def test_verified(self, setting: Setting, ca_file: Path) -> None:
        """So it is if the server is verified."""
        verify(setting.client_context, ca_file)
        resume_sessions(setting.client_context)
        assert [resumed(setting) for _ in range(3)] == [False, True, True]

    def test_tickets(self, setting: Setting) -> None:
        """A TLS 1.3 ticket is offered once; a TLS 1.2 session again and again."""
        store = resume_sessions(setting.client_context, Store())
        for _ in range(5):
            resumed(setting)
        tickets = {session.ticket for session in store.taken}
        assert len(tickets) == (4 if setting.of_tls13 else 1)
        assert len(store) == (2 if setting.of_tls13 else 1)

    def test_renewed(self, setting: Setting) -> None:
        """A new ticket that comes with a resumption is the next one to be offered."""
        store = resume_sessions(setting.client_context, Store())
        setting.renew()
        assert [resumed(setting) for _ in range(4)] == [False, True, True, True]
        assert len({session.ticket for session in store.taken if session.ticket}) >= 3

    def test_server_forgets(
        self, setting: Setting, make_store: Callable[[], MemorySessionStore]
    ) -> None:
        """What a server refuses is forgotten; then it resumes again."""
        key = key_of(setting)
        store = resume_sessions(setting.client_context, make_store())
        resumed(setting)
        refused = store.take(key)
        assert refused is not None
        store.put(key, refused)
        setting.server_context = setting.make_server_context()  # with keys of its own
        assert [resumed(setting) for _ in range(3)] == [False, True, True]
        left = list(iter(lambda: store.take(key), None))
        assert left
        assert refused not in left

    def test_session_ids(self, setting12: Setting) -> None:
        """A TLS 1.2 server without tickets is resumed by its session ids."""
        setting12.use_session_ids()
        resume_sessions(setting12.client_context)
        assert [resumed(setting12) for _ in range(3)] == [False, True, True]

    def test_alpn(self, setting: Setting) -> None:
        """Whatever a resumption agrees on is agreed on anew."""
        if setting.library == "ssl":
            setting.server_context.set_alpn_protocols(["h2", "http/1.1"])
        else:
            setting.server_context.set_alpn_select_callback(lambda _, offered: offered[0])
        store, seen = MemorySessionStore(), []
        for protocol in ("h2", "http/1.1"):
            if setting.library == "ssl":
                fresh(setting, store, methodcaller("set_alpn_protocols", [protocol]))
            else:
                fresh(setting, store, methodcaller("set_alpn_protos", [protocol.encode()]))
            pair = setting.pair(server_name=NAME).handshake()
            selected = (
                pair.client.selected_alpn_protocol().encode()
                if setting.library == "ssl"
                else pair.client.get_alpn_proto_negotiated()
            )
            seen.append((session_reused(pair.client), selected))
            close(pair)
        assert seen == [(False, b"h2"), (True, b"http/1.1")]

    def test_sockets(self, setting: Setting) -> None:
        """Without a server name, the address and port are what counts."""
        resume_sessions(setting.client_context)

        def once(work: Callable[[Any, Any], None] = lambda *_: None) -> bool:
            with setting.sockets() as (server, client):
                shaking = [lambda: server.do_handshake() or server.write(b"x")]
                in_threads(2, lambda n: shaking[0]() if n else client.do_handshake())
                assert client.read(1) == b"x"
                return session_reused(client)

        assert [once(), once()] == [False, False]  # each listens on a port of its own

    def test_early_data(self, setting13: Setting) -> None:
        """None is sent, whatever a ticket allows."""
        native.lib.set_max_early_data(pointer(setting13.server_context), 1000)
        native.lib.set_options(pointer(setting13.server_context), native.lib.SSL_OP_NO_ANTI_REPLAY)
        store = resume_sessions(setting13.client_context, Store())
        assert [resumed(setting13) for _ in range(2)] == [False, True]
        assert store.taken[0].max_early_data == 1000

    def test_threads(self, setting: Setting, make_store: Callable[[], MemorySessionStore]) -> None:
        """Eight threads share a context: nothing fails, and no ticket goes out twice."""
        store = resume_sessions(setting.client_context, make_store())
        reused: list[bool] = []
        in_threads(8, lambda _: reused.extend(resumed(setting) for _ in range(20)))
        assert len(reused) == 160
        assert sum(reused) >= 100
        if setting.of_tls13 and isinstance(store, Store):
            assert len({session.ticket for session in store.taken}) == len(store.taken)

    def test_turned_off(self, setting: Setting) -> None:
        """It can be turned off again, and on."""
        context = setting.client_context
        store = resume_sessions(context)
        resumed(setting)
        assert resume_sessions(context, enabled=False) is None
        assert [resumed(setting) for _ in range(2)] == [False, False]
        resume_sessions(context, store)
        assert resumed(setting)

    def test_one_store_for_threads(self, setting13: Setting) -> None:
        """Threads that turn it on at the same time get one store."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for _ in range(50):
                start = threading.Barrier(4)
                context = setting13.make_client_context()
                assert len({id(store) for store in self._turned_on_at_once(context, start)}) == 1
        finally:
            sys.setswitchinterval(interval)

    @staticmethod
    def _turned_on_at_once(context: Any, start: threading.Barrier) -> list[object]:
        stores: list[object] = []

        def turn_on(_: int) -> None:
            start.wait(30)
            stores.append(resume_sessions(context))

        in_threads(start.parties, turn_on)
        assert len(stores) == start.parties
        return stores

    def test_keeps_its_store(self, setting: Setting) -> None:
        """Called again without a store, the context keeps the one that it has."""
        store = resume_sessions(setting.client_context)
        assert resume_sessions(setting.client_context) is store

    def test_callback_too(
        self, setting: Setting, make_store: Callable[[], MemorySessionStore]
    ) -> None:
        """The program's callback for new sessions is called too, and may change what it gets."""
        announced = Announced()
        resume_sessions(setting.client_context, make_store())
        set_new_session_callback(setting.client_context, announced)
        resumed(setting)
        assert len(announced) == setting.tickets
        for session in announced.sessions:
            session.time = 1
        set_new_session_callback(setting.client_context, None)
        assert resumed(setting)

    def test_raise_callback_errors(self, server_file: Path) -> None:
        """It goes together with classes that somebody has set on an SSLContext."""
        setting = Setting("ssl", "1.3", server_file)
        stdlib.raise_callback_errors(setting.client_context)
        resume_sessions(setting.client_context)
        assert [resumed(setting) for _ in range(2)] == [False, True]

    def test_server_side(self, setting: Setting) -> None:
        """A context for both sides keeps nothing of what it gives out as a server."""
        store: Store | None = None
        for context in (setting.server_context,):
            with contextlib.suppress(ValueError):  # of ssl, it is for servers only
                store = resume_sessions(context, Store())
        resumed(setting)
        assert store is None or (store.put_in, store.taken) == ([], [])
        assert (store is None) == (setting.library == "ssl")


class TestInC:
    """A MemorySessionStore is read and written in C."""

    def test_without_python(self, monkeypatch: pytest.MonkeyPatch, setting: Setting) -> None:
        """No handshake calls Python; also where a session is refused."""
        for method in ("offer", "keep", "refused"):
            monkeypatch.delattr(client_sessions.ClientSessions, method)
        resume_sessions(setting.client_context)
        assert [resumed(setting) for _ in range(3)] == [False, True, True]
        setting.server_context = setting.make_server_context()
        assert [resumed(setting) for _ in range(2)] == [False, True]

    def test_of_no_use(self, setting: Setting) -> None:
        """Sessions that are over are removed, and the next one is looked at."""
        key, good = key_of(setting), session_of(setting)
        store = MemorySessionStore()
        store.put(key, good)
        for _ in range(3):
            old = session_of(setting)
            old.time = 1
            store.put(key, old)
        resume_sessions(setting.client_context, store)
        assert resumed(setting)
        assert old not in list(iter(lambda: store.take(key), None))

    def test_of_another_version(self, setting: Setting) -> None:
        """A session that the server cannot resume costs one full handshake."""
        other = Setting(
            setting.library, "1.2" if setting.of_tls13 else "1.3", setting.server_file
        ).session()
        store = MemorySessionStore()
        store.put(key_of(setting), other)
        resume_sessions(setting.client_context, store)
        assert [resumed(setting) for _ in range(2)] == [False, True]

    def test_many_of_no_use(self, setting: Setting) -> None:
        """A bounded number of sessions is looked at."""
        key, old = key_of(setting), session_of(setting)
        old.time = 1
        store = MemorySessionStore(max_sessions=1000)
        for _ in range(1000):
            store.put(key, old)
        resume_sessions(setting.client_context, store)
        assert not resumed(setting)
        assert len(store) > (900 if setting.of_tls13 else 0)

    def test_as_others_do(self, setting: Setting) -> None:
        """A store of the program's own has the same sessions under the same keys."""
        memory, own = MemorySessionStore(), Store()
        for store in (memory, own):
            fresh(setting, store)
            resumed(setting)
        sessions = [session for key, session in own.put_in]
        assert {key for key, _ in own.put_in} == {key_of(setting)}
        assert len(memory) == len(sessions)
        kept = memory.take(key_of(setting))
        assert kept is not None
        for name in ("protocol", "cipher", "timeout", "ticket_lifetime_hint", "server_name"):
            assert getattr(kept, name) == getattr(sessions[-1], name)

    def test_store_goes_first(self, setting: Setting) -> None:
        """Handshakes go on while another thread gives the context other stores, or none."""
        context = setting.client_context
        resume_sessions(context, MemorySessionStore())
        stop: list[bool] = []

        def work(number: int) -> None:
            if number:
                for _ in range(60):
                    resumed(setting)
                stop.append(True)
            while not number and len(stop) < 3:
                resume_sessions(context, MemorySessionStore())
                resume_sessions(context, enabled=False)

        in_threads(4, work)

    def test_server_that_resets(self, setting: Setting) -> None:
        """A session is not offered again after a handshake that just broke off."""
        store = resume_sessions(setting.client_context, MemorySessionStore())
        resumed(setting)
        for _ in range(setting.tickets):
            left = len(store)
            pair = setting.pair(server_name=NAME)
            with contextlib.suppress(*ERRORS):
                pair.client.do_handshake()
            del pair
            gc.collect()
            assert len(store) == left - 1
        assert not resumed(setting)


class TestWhose:
    """To whom a session is offered."""

    def test_other_name(self, setting: Setting) -> None:
        resume_sessions(setting.client_context)
        names = ["localhost", "example.org", "localhost", "example.org"]
        assert [resumed(setting, name) for name in names] == [False, False, True, True]

    def test_no_name(self, setting: Setting) -> None:
        """If nobody can tell who the server is, nothing is kept."""
        store = resume_sessions(setting.client_context, Store())
        assert [resumed(setting, None) for _ in range(2)] == [False, False]
        assert store.put_in == []

    def test_other_context(self, setting: Setting) -> None:
        """Contexts share sessions if they share a store, and only then."""
        first = setting.client_context
        store = resume_sessions(first)
        resumed(setting)
        setting.client_context = setting.make_client_context()
        resume_sessions(setting.client_context)
        assert not resumed(setting)
        resume_sessions(setting.client_context, store)
        assert resumed(setting)

    def test_keys_tell_all_apart(self, setting: Setting, ca_file: Path) -> None:
        """No server name makes a key that another has."""
        store = resume_sessions(setting.client_context, Store())
        resumed(setting)
        key = store.put_in[-1][0]
        resumed(setting, key.replace(" ", ":")[-60:])
        assert len({key for key, _ in store.put_in}) == 2


def add_hosts(context: Any, count: int) -> None:
    """Makes connections of the context accept one more host name, as often as *count* says."""
    for _ in range(count):
        assert native.lib.add_host(pointer(context), b"example.org")


def set_chain(context: Any, more: int) -> None:
    """Makes clients show their certificate, and the same one *more* times after it."""
    assert native.lib.set_chain(pointer(context), more)


def _on_ssl(change: Callable[[ssl.SSLContext], object]) -> Callable[[Any, Any], None]:
    def apply(context: Any, files: Any) -> None:
        if not isinstance(context, ssl.SSLContext):
            pytest.skip("only ssl has this")
        change(context)

    return apply


def _on_pyopenssl(change: Callable[[Any], object]) -> Callable[[Any, Any], None]:
    def apply(context: Any, files: Any) -> None:
        if isinstance(context, ssl.SSLContext):
            pytest.skip("only pyOpenSSL has this")
        change(context)

    return apply


def _no_verification(context: Any, files: Any) -> None:
    if isinstance(context, ssl.SSLContext):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.set_verify(SSL.VERIFY_NONE)


TOMORROW = datetime.datetime.now() + datetime.timedelta(days=1)  # the same for all contexts


def _add_to_chain(context: Any, files: Any) -> None:
    """The same certificate as another context, and one more that comes with it."""
    path = Path(files["client"])
    with_more = Path(files["other"]).with_name("with_more.pem")
    with_more.write_bytes(path.read_bytes() + Path(files["other"]).read_bytes())
    show_certificate(context, with_more)


def _crl(authority: trustme.CA, revoked: Path | None) -> bytes:
    """Returns a CRL in PEM. One that revokes a certificate is newer than one that does not."""
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    key: Any = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    hours = datetime.timedelta(hours=1 if revoked is not None else 2)
    made = datetime.datetime.now(datetime.timezone.utc) - hours
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject)
    builder = builder.last_update(made).next_update(made + datetime.timedelta(days=1))
    if revoked is not None:
        certificate = x509.load_der_x509_certificate(certificate_in(revoked))
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(made).build())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _load_crl(context: Any, path: Path) -> None:
    """Makes a client's context look into the CRL at *path*."""
    if isinstance(context, ssl.SSLContext):
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        context.load_verify_locations(path)
    else:  # pyOpenSSL's context itself takes no changes once it has made a connection
        store = context.get_cert_store()
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK)
        store.load_locations(str(path))


# What makes a context verify differently, or show another client certificate.
CHANGES: dict[str, Callable[[Any, Any], None]] = {
    "mode": _no_verification,
    "trust anchors": lambda context, files: context.load_verify_locations(files["other"]),
    "certificate": lambda context, files: show_certificate(context, files["client"]),
    "certificate's chain": _add_to_chain,
    "check_hostname": _on_ssl(lambda context: setattr(context, "check_hostname", True)),
    "verify_flags": _on_ssl(lambda c: setattr(c, "verify_flags", ssl.VERIFY_X509_STRICT)),
    "security level": _on_ssl(lambda context: context.set_ciphers("DEFAULT@SECLEVEL=1")),
    "depth": _on_pyopenssl(lambda context: context.set_verify_depth(7)),
    "store flags": _on_pyopenssl(
        lambda context: context.get_cert_store().set_flags(crypto.X509StoreFlags.X509_STRICT)
    ),
    "store time": _on_pyopenssl(lambda context: context.get_cert_store().set_time(TOMORROW)),
}


class TestVerification:
    """A resumption verifies nothing: so what would verify differently resumes nothing."""

    @pytest.fixture
    def files(self, tmp_path: Path, client_file: Path) -> dict[str, str]:
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(str(other))
        return {"other": str(other), "client": str(client_file)}

    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
    def test_changed(
        self,
        setting: Setting,
        ca_file: Path,
        files: dict[str, str],
        change: Callable[[Any, Any], None],
    ) -> None:
        """One that is set up alike resumes what another one has left, but not with a change."""
        store = MemorySessionStore()
        for changes, expected in ((False, False), (False, True), (True, False), (True, True)):
            setting.client_context = setting.make_client_context()
            verify(setting.client_context, ca_file)
            if changes:
                change(setting.client_context, files)
            resume_sessions(setting.client_context, store)
            assert resumed(setting) == expected

    def test_same_context(self, setting: Setting, files: dict[str, str]) -> None:
        """What was got without verification is of no use once the same context verifies."""
        if setting.library != "ssl":
            pytest.skip("pyOpenSSL's contexts do not change any more")
        resume_sessions(setting.client_context)
        assert [resumed(setting) for _ in range(2)] == [False, True]
        verify(setting.client_context, Path(files["other"]))  # which does not know the server
        with pytest.raises(ERRORS, match=r"(?i)certificate.verify.failed"):
            resumed(setting)

    def test_certificates_of_one_context(self, setting: Setting, client_file: Path) -> None:
        """The key tells what is shown now, whatever the context showed before."""
        store = Store()
        show = partial(show_certificate, client_file=client_file)
        expected = []
        for more in range(10):
            fresh(setting, store, show, partial(set_chain, more=more))
            expected.append(digest_of(setting, store))
        fresh(setting, store)
        assert len({digest_of(setting, store), *expected}) == 11
        fresh(setting, store, show)
        for more in (*range(10), *range(9, -1, -1)):
            set_chain(setting.client_context, more)
            assert digest_of(setting, store) == expected[more]

    def test_certificates_in_turn(self, setting: Setting, client_file: Path) -> None:
        if setting.library != "ssl":
            pytest.skip("pyOpenSSL's contexts do not change any more")
        chains = [client_file.with_name(f"{name}.pem") for name in "ab"]
        for chain in chains:
            chain.write_bytes(client_file.read_bytes() + trustme.CA().cert_pem.bytes())
        store = Store()
        resume_sessions(setting.client_context, store)
        digests = []
        for chain in (chains[0], chains[1], client_file) * 2:
            show_certificate(setting.client_context, chain)
            digests.append(digest_of(setting, store))
        assert digests[:3] == digests[3:]
        assert len(set(digests)) == 3

    @pytest.mark.filterwarnings("ignore:.*X509:DeprecationWarning")
    def test_certificate_that_changes(
        self, library: str, server_file: Path, client_file: Path
    ) -> None:
        """A certificate that is changed, or signed again, where it is in use is another one."""
        if library == "ssl":
            pytest.skip("ssl does not change a certificate")
        setting = Setting(library, "1.3", server_file)
        store = Store()
        key: Any = serialization.load_pem_private_key(client_file.read_bytes(), None)
        certificate = crypto.X509.from_cryptography(
            x509.load_der_x509_certificate(certificate_in(client_file))
        )
        fresh(setting, store, lambda context: context.use_certificate(certificate))
        digests = [digest_of(setting, store) for _ in range(2)]
        assert digests[0] == digests[1]
        own_key = crypto.PKey.from_cryptography_key(key)
        for change in (
            partial(certificate.sign, own_key, "sha256"),
            partial(certificate.set_serial_number, 77),  # libssl would show it from now on
            partial(certificate.sign, own_key, "sha256"),
        ):
            change()
            digests.append(digest_of(setting, store))
        assert len(set(digests)) == 4

    def test_settings_of_one_context(self, setting: Setting) -> None:
        """The key tells how a connection verifies, whatever the one before did."""
        store = Store()
        expected = []
        if OPENSSL_VERSION.startswith("OpenSSL 4"):
            # It copies these names without the zero byte after them, so nothing may read them.
            fresh(setting, store, partial(add_hosts, count=1))
            assert [resumed(setting) for _ in range(2)] == [False, False]
            assert store.put_in == []
            return
        for hosts in range(4):
            fresh(setting, store, partial(add_hosts, count=hosts))
            expected.append(digest_of(setting, store))
        assert len(set(expected)) == 4
        fresh(setting, store)
        for hosts in range(4):
            assert [digest_of(setting, store) for _ in range(2)] == [expected[hosts]] * 2
            add_hosts(setting.client_context, 1)

    def test_trust_settings(self, setting: Setting, ca_file: Path, tmp_path: Path) -> None:
        """The same authority is less worth in a file that says what it is not trusted for."""
        no_servers = bytes.fromhex("300ca00a06082b06010505070301")  # X509_AUX: rejects serverAuth
        der = x509.load_pem_x509_certificate(ca_file.read_bytes()).public_bytes(
            serialization.Encoding.DER
        )
        pem = ssl.DER_cert_to_PEM_cert(der + no_servers)
        trusted = tmp_path / "trusted.pem"
        trusted.write_text(pem.replace(" CERTIFICATE", " TRUSTED CERTIFICATE"))
        store = MemorySessionStore()
        fresh(setting, store, lambda context: verify(context, ca_file))
        assert [resumed(setting) for _ in range(2)] == [False, True]
        fresh(setting, store, lambda context: verify(context, trusted))
        with pytest.raises(ERRORS, match=r"(?i)certificate.verify.failed"):
            resumed(setting)

    @pytest.mark.skipif(
        not hasattr(ssl.SSLContext, "set_psk_client_callback"), reason="CPython 3.13 has it"
    )
    def test_pre_shared_keys(self, version: str, server_file: Path) -> None:
        """A session is of no use to a client with another pre-shared key."""
        keys = {"alice": b"a" * 32, "bob": b"b" * 32}
        setting = Setting("ssl", version, server_file)
        asked: list[str] = []
        store = MemorySessionStore()

        def key_of_client(name: str) -> bytes:
            asked.append(name)
            return keys[name]

        def use(context: Any, name: str) -> None:
            context.set_ciphers("PSK")
            context.set_psk_client_callback(lambda hint: (name, keys[name]))

        setting.server_context.set_ciphers("PSK")
        # Such a key in TLS 1.3 is for SHA-256.
        native.lib.set_ciphersuites(pointer(setting.server_context), b"TLS_AES_128_GCM_SHA256")
        setting.server_context.set_psk_server_callback(key_of_client)
        for name in ("alice", "alice", "bob"):
            fresh(setting, store, partial(use, name=name))
            resumed(setting)
        assert asked == ["alice", "alice", "bob"]

    @pytest.mark.parametrize("when", ["in the handshake", "after it"])
    def test_made_stricter_later(
        self, library: str, when: str, server_file: Path, files: dict[str, str]
    ) -> None:
        """A connection that is made stricter on its way has not verified anything for that."""
        if library == "ssl":
            pytest.skip("connections of ssl verify as their context did")
        setting = Setting(library, "1.3", server_file)
        store = resume_sessions(setting.client_context, Store())
        pair = setting.pair(server_name=NAME)
        if when == "in the handshake":
            pair.client.set_verify(SSL.VERIFY_PEER)
            with contextlib.suppress(SSL.WantReadError):
                pair.client.do_handshake()
            pair.client.set_verify(SSL.VERIFY_NONE)
        shake(pair)
        pair.client.set_verify(SSL.VERIFY_PEER)
        pair.client_reads()  # the tickets come now
        close(pair)
        pair = setting.pair(server_name=NAME)
        pair.client.set_verify(SSL.VERIFY_PEER)
        with pytest.raises(SSL.Error, match="certificate verify failed"):
            pair.handshake()
        assert store.taken == []

    def test_shows_a_certificate_later(
        self, library: str, server_file: Path, ca_file: Path, client_file: Path
    ) -> None:
        """What came after a certificate of the connection's own is of no use to one without it."""
        if library == "ssl":
            pytest.skip("connections of ssl have their context's certificate")
        setting = Setting(library, "1.3", server_file)
        if not hasattr(SSL.Connection, "use_certificate"):
            pytest.skip("this pyOpenSSL gives a connection no certificate of its own")
        ask_for_certificate(setting.server_context, ca_file, later=True)
        resume_sessions(setting.client_context)
        pair = setting.pair(server_name=NAME)
        set_post_handshake_auth(pair.client, True)
        pair.handshake()
        key: Any = serialization.load_pem_private_key(client_file.read_bytes(), None)
        certificate: Any = x509.load_der_x509_certificate(certificate_in(client_file))
        try:
            pair.client.use_privatekey(key)
        except TypeError:  # older pyOpenSSLs take objects of their own
            pair.client.use_privatekey(crypto.PKey.from_cryptography_key(key))
            certificate = crypto.X509.from_cryptography(certificate)
        pair.client.use_certificate(certificate)
        verify_client_post_handshake(pair.server)
        for _ in range(3):
            for step in (pair.server.do_handshake, pair.client_reads):
                with contextlib.suppress(SSL.WantReadError):
                    step()
            pair.move()
            with contextlib.suppress(SSL.WantReadError):
                pair.server.recv(1)
        assert pair.server.get_peer_certificate() is not None
        talk(pair)
        close(pair)
        for _ in range(3):
            pair = setting.pair(server_name=NAME).handshake()
            assert pair.server.get_peer_certificate() is None
            close(pair)

    @pytest.mark.slow
    def test_certificate_that_is_over(
        self, library: str, version: str, authority: trustme.CA, ca_file: Path, tmp_path: Path
    ) -> None:
        """No session outlives the certificate that was verified for it."""
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3)
        issued = authority.issue_cert(NAME, not_after=until)
        issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "short.pem"))
        setting = Setting(library, version, tmp_path / "short.pem")
        verify(setting.client_context, ca_file)
        resume_sessions(setting.client_context)
        assert [resumed(setting) for _ in range(2)] == [False, True]
        time.sleep(max(0.0, until.timestamp() - time.time()) + 1)
        with pytest.raises(ERRORS, match=r"(?i)certificate.verify.failed"):
            resumed(setting)

    @pytest.mark.parametrize("when", ["before", "in the handshake"])
    def test_revoked(
        self,
        setting12: Setting,
        authority: trustme.CA,
        ca_file: Path,
        tmp_path: Path,
        when: str,
    ) -> None:
        """A new CRL ends what was verified without it, also by a handshake under way."""
        revocations = [tmp_path / "old.pem", tmp_path / "new.pem"]
        revocations[0].write_bytes(_crl(authority, None))
        revocations[1].write_bytes(_crl(authority, setting12.server_file))
        verify(setting12.client_context, ca_file)
        _load_crl(setting12.client_context, revocations[0])
        resume_sessions(setting12.client_context)
        if when == "before":
            assert [resumed(setting12) for _ in range(2)] == [False, True]
        pair = setting12.pair(server_name=NAME)
        for side in (pair.client, pair.server, pair.client):  # the client has verified the server
            with contextlib.suppress(*WANTS):
                side.do_handshake()
            move(pair)
        _load_crl(setting12.client_context, revocations[1])
        shake(pair)
        close(pair)
        with pytest.raises(ERRORS, match=r"(?i)certificate.verify.failed"):
            resumed(setting12)

    def test_switched(self, setting12: Setting, ca_file: Path, files: dict[str, str]) -> None:
        """What was verified with the anchors of one context is not worth those of another."""
        verify(setting12.client_context, ca_file)
        store = resume_sessions(setting12.client_context, Store())
        other = setting12.make_client_context()
        verify(other, Path(files["other"]))
        pair = setting12.pair(server_name=NAME)
        for side in (pair.client, pair.server, pair.client):  # the client has verified the server
            with contextlib.suppress(*WANTS):
                side.do_handshake()
            move(pair)
        switch_context(pair.client, other)
        shake(pair)
        close(pair)
        assert store.put_in == []

    def test_ocsp(self, library: str, version: str, server_file: Path) -> None:
        """One that asks for an OCSP response does a full handshake: a resumption brings none."""
        if library == "ssl":
            pytest.skip("ssl does not ask for one")
        setting = Setting(library, version, server_file)
        judged: list[bytes] = []

        def judge(connection: Any, response: bytes, data: Any) -> bool:
            judged.append(response)
            return bool(response)

        setting.server_context.set_ocsp_server_callback(lambda *_: OCSP_RESPONSE)
        setting.client_context.set_ocsp_client_callback(judge)
        store = resume_sessions(setting.client_context, Store())
        assert [resumed(setting) for _ in range(2)] == [False, True]
        put = len(store.put_in)
        for _ in range(2):
            pair = setting.pair(server_name=NAME)
            pair.client.request_ocsp()
            pair.handshake()
            assert not session_reused(pair.client)
            close(pair)
        assert judged == [OCSP_RESPONSE] * 2
        assert len(store.put_in) == put

    def test_callbacks(self, library: str, version: str, server_file: Path) -> None:
        """Sessions go from one connection to another only if both have the same callback."""
        if library == "ssl":
            pytest.skip("ssl has no verify callbacks")
        setting = Setting(library, version, server_file)
        store = MemorySessionStore()

        def accept(*_: Any) -> bool:
            return True

        def accepts(context: Any) -> None:
            context.set_verify(SSL.VERIFY_PEER, accept)

        for _ in range(2):
            fresh(setting, store, accepts)
            assert [resumed(setting) for _ in range(2)] == [False, True]
        fresh(setting, store, lambda context: context.set_verify(SSL.VERIFY_PEER))
        with pytest.raises(SSL.Error, match="certificate verify failed"):
            resumed(setting)
        for expected in (False, True, True):
            fresh(setting, store, accepts, alike=True)
            assert resumed(setting) == expected

    def test_callback_of_another_module(self, version: str, server_file: Path) -> None:
        """A verify callback that is not ssl's own is not known, so nothing is offered."""
        setting = Setting("ssl", version, server_file)

        def accepts(context: Any) -> None:
            native.lib.set_verify_callback(pointer(context))

        store = Store()
        fresh(setting, store, accepts)
        assert [resumed(setting) for _ in range(2)] == [False, False]
        assert store.put_in == store.taken == []
        fresh(setting, store, accepts, alike=True)
        assert [resumed(setting) for _ in range(2)] == [False, True]

    @pytest.mark.needs_ssl
    def test_callback_of_ssl_itself(self, server_file: Path) -> None:
        """Newer CPythons have one, which is the same for all: Python is asked once."""
        assert (
            processes.run(
                textwrap.dedent(
                    f"""
                import sys
                from pathlib import Path
                from openssl_tickets import MemorySessionStore, use_system_openssl
                from openssl_tickets._adapters import stdlib
                from openssl_tickets._core import client_sessions
                use_system_openssl()
                sys.path.append({str(Path(__file__).parents[2])!r})
                from tests.core.test_client_sessions import fresh, resumed
                from tests.support import native
                from tests.support.libraries import Setting, pointer
                asked = []
                offer = client_sessions.ClientSessions.offer
                def counted(*arguments):
                    asked.append(1)
                    offer(*arguments)
                client_sessions.ClientSessions.offer = counted
                stdlib.verify_callback_at = lambda address: "ssl itself"
                store = MemorySessionStore()
                for version in ("1.2", "1.3"):
                    setting = Setting("ssl", version, Path({str(server_file)!r}))
                    for _ in range(2):
                        fresh(setting, store, lambda c: native.lib.set_verify_callback(pointer(c)))
                        print(resumed(setting), resumed(setting), len(asked))
                """
                )
            )
            == "False True 1\nTrue True 1\n" * 2
        )

    def test_connections_own_mode(
        self, library: str, version: str, server_file: Path, files: dict[str, str]
    ) -> None:
        """``Connection.set_verify`` counts, and not what the context has."""
        if library == "ssl":
            pytest.skip("ssl sets no mode for a connection")
        setting = Setting(library, version, server_file)
        resume_sessions(setting.client_context)
        assert [resumed(setting) for _ in range(2)] == [False, True]
        pair = setting.pair(server_name=NAME)
        pair.client.set_verify(SSL.VERIFY_PEER)
        with pytest.raises(SSL.Error, match="certificate verify failed"):
            pair.handshake()

    def test_renegotiation(self, setting12: Setting, files: dict[str, str]) -> None:
        """What a renegotiation has verified is not known, so nothing of it is kept."""
        if setting12.library == "ssl":
            pytest.skip("ssl does not renegotiate")
        store = resume_sessions(setting12.client_context, Store())
        native.lib.set_options(pointer(setting12.server_context), 1 << 8)  # ALLOW_CLIENT_RENEG...
        pair = setting12.pair(server_name=NAME).handshake()
        put = len(store.put_in)
        pair.client.set_verify(SSL.VERIFY_PEER)
        pair.client.set_verify(SSL.VERIFY_NONE)
        assert pair.client.renegotiate()
        for step in (pair.client.do_handshake, lambda: pair.server.recv(1)) * 3:
            with contextlib.suppress(SSL.WantReadError):
                step()
            pair.move()
        talk(pair)
        assert pair.client.total_renegotiations() == 1
        assert len(store.put_in) == put


class TestProgramsOwn:
    """What the program does itself."""

    def test_session_wins(self, setting: Setting) -> None:
        """A session that the program sets is offered, and nobody can tell how it was verified."""
        session = session_of(setting)
        store = resume_sessions(setting.client_context, Store())
        pair = setting.pair(session, server_name=NAME).handshake()
        assert get_session(pair.client) is not None
        assert session_reused(pair.client)
        close(pair)
        assert (store.put_in, store.taken) == ([], [])

    def test_ciphers(self, setting12: Setting) -> None:
        """A session is not offered if its cipher is not: a server ends such a handshake."""
        store = MemorySessionStore()
        for ciphers in ("ECDHE+AES256", "ECDHE+AES128"):
            if setting12.library == "ssl":
                fresh(setting12, store, methodcaller("set_ciphers", ciphers))
            else:
                fresh(setting12, store, methodcaller("set_cipher_list", ciphers.encode()))
            assert not resumed(setting12)

    @pytest.mark.parametrize("when", ["before", "after", "none"])
    def test_info_callbacks(self, library: str, version: str, server_file: Path, when: str) -> None:
        """pyOpenSSL's info callbacks go on as before, whenever they are set."""
        if library == "ssl":
            pytest.skip("ssl has none")
        module: Any = SSL if library == "drop-in" else OpenSSL.SSL
        setting = Setting(library, version, server_file)
        context = setting.client_context = module.Context(SSL.TLS_METHOD)
        setting.server_context.set_max_proto_version({"1.2": 0x303, "1.3": 0x304}[version])
        seen: list[tuple[Any, int]] = []

        def note(connection: Any, where: int, _: int) -> None:
            seen.append((type(connection), where))

        if when == "before":
            context.set_info_callback(note)
        resume_sessions(context)
        if when == "after":
            context.set_info_callback(note)
        assert [resumed(setting) for _ in range(2)] == [False, True]
        starts = [kind for kind, where in seen if where & SSL.SSL_CB_HANDSHAKE_START]
        assert starts == ([] if when == "none" else [module.Connection] * 2)

    def test_info_callback_always_runs(
        self, monkeypatch: pytest.MonkeyPatch, setting13: Setting, unraisable: Unraisable
    ) -> None:
        """A program's own runs also if ours is interrupted: some verify their server in it."""
        if setting13.library == "ssl":
            pytest.skip("ssl has none")
        seen: list[int] = []

        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        fresh(
            setting13,
            None,
            lambda context: context.set_info_callback(lambda _, where, ret: seen.append(where)),
        )
        monkeypatch.setattr(client_sessions, "to_ssl", interrupted)
        setting13.handshake()
        assert any(where & SSL.SSL_CB_HANDSHAKE_DONE for where in seen)
        assert {type(error) for error, _ in unraisable.seen} == {KeyboardInterrupt}

    def test_foreign_info_callback(self, setting13: Setting) -> None:
        """One that was not set with Python is not replaced."""
        context = type(setting13.client_context)(
            ssl.PROTOCOL_TLS_CLIENT if setting13.library == "ssl" else SSL.TLS_METHOD
        )
        native.lib.set_info_callback(pointer(context))
        with pytest.raises(Error, match=r"^this context has an info callback that pyOpenSSL kn"):
            resume_sessions(context)
        assert native.lib.has_info_callback(pointer(context))


class Bad:
    """A store that does something else than it should."""

    def __init__(self, on_take: Any = None, on_put: Any = None) -> None:
        self.on_take, self.on_put = on_take, on_put
        self.calls = 0

    def _do(self, what: Any) -> Any:
        self.calls += 1
        return what() if callable(what) else what

    def put(self, key: str, session: Session) -> None:
        self._do(self.on_put)

    def take(self, key: str) -> Any:
        return self._do(self.on_take)


def boom() -> None:
    raise Boom("the session's key is 1234")


class TestBadStores:
    """No handshake fails for a store."""

    @pytest.mark.parametrize("how", ["take", "put"])
    def test_raises(
        self, setting: Setting, caplog: pytest.LogCaptureFixture, how: str, unraisable: Unraisable
    ) -> None:
        """It is logged, without what it says, and a full handshake follows."""
        store: Any = Bad(**{f"on_{how}": boom})
        resume_sessions(setting.client_context, store)
        assert [resumed(setting) for _ in range(2)] == [False, False]
        assert store.calls
        assert {record.levelno for record in caplog.records} == {logging.WARNING}
        assert "the session store failed with Boom" in caplog.text
        assert "1234" not in caplog.text
        assert unraisable.seen == []

    def test_reason_of_a_failure(
        self, setting12: Setting, ca_file: Path, tmp_path: Path, unraisable: Unraisable
    ) -> None:
        """
        A server that nobody knows refuses the session. The store neither sees nor takes libssl's
        reason, although it is asked in between.
        """
        seen: list[int] = []

        class Drains(MemorySessionStore):
            def take(self, key: str) -> Session | None:
                seen.append(native.lib.peek_error())
                with contextlib.suppress(ValueError):
                    Session.from_der(b"this empties the error queue")
                native.lib.put_error()
                return super().take(key)

        trustme.CA().issue_cert(NAME).private_key_and_cert_chain_pem.write_to_path(
            str(tmp_path / "unknown.pem")
        )
        verify(setting12.client_context, ca_file)
        resume_sessions(setting12.client_context, Drains())
        assert [resumed(setting12) for _ in range(2)] == [False, True]
        seen.clear()
        unknown = Setting(setting12.library, "1.2", tmp_path / "unknown.pem")
        pair = setting12.pair(server_name=NAME, server_context=unknown.server_context)
        with pytest.raises(ERRORS, match=r"(?i)certificate.verify.failed") as raised:
            pair.handshake()
        if setting12.library != "ssl":
            assert len(raised.value.args[0]) == 1
        assert set(seen) == {0, OWN_ERROR}
        assert native.lib.peek_error() == 0

    @pytest.mark.parametrize(
        "wrong", ["session", b"session", 3, object(), pytest.param(ssl.SSLContext, id="class")]
    )
    def test_gives_no_session(
        self, setting13: Setting, wrong: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        resume_sessions(setting13.client_context, Bad(on_take=lambda: wrong))
        assert not resumed(setting13)
        assert "TypeError" in caplog.text

    def test_gives_the_wrong_session(self, setting: Setting, version: str) -> None:
        """Another server's session, one of another version, one that is over or of no use."""
        others = [Setting(setting.library, other, setting.server_file) for other in ("1.2", "1.3")]
        wrong = [other.session() for other in others]
        old = session_of(setting)
        old.time = 1
        wrong.append(old)
        resume_sessions(setting.client_context, Bad(on_take=iter(wrong).__next__))
        for _ in wrong:
            assert not resumed(setting)

    def test_gives_one_again_and_again(self, setting: Setting) -> None:
        """A store that does not remove what it gives: libssl does not spoil its sessions."""
        session = session_of(setting)
        resume_sessions(setting.client_context, Bad(on_take=session.copy))
        for _ in range(3):
            assert resumed(setting, orderly=False)

    def test_endless(self, setting: Setting) -> None:
        """One that gives sessions of no use for ever is asked a bounded number of times."""
        old = session_of(setting)
        old.time = 1
        store: Any = Bad(on_take=old)
        resume_sessions(setting.client_context, store)
        assert not resumed(setting)
        assert store.calls < 100

    def test_shakes_hands_itself(self, setting13: Setting, caplog: Any) -> None:
        """A store that shakes hands on the connection that asks it is told not to."""
        if setting13.library != "drop-in":
            pytest.skip("others do not refuse it")
        pairs: list[Any] = []
        store: Any = Bad(on_take=lambda: pairs[-1].client.do_handshake())
        resume_sessions(setting13.client_context, store)
        pairs.append(setting13.pair(server_name=NAME))
        assert not session_reused(pairs[-1].handshake().client)
        assert "RuntimeError" in caplog.text

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_interrupted(
        self, setting13: Setting, kind: type[BaseException], unraisable: Unraisable
    ) -> None:
        """What is no Exception is not lost: the connection raises it, or the hook gets it."""

        def interrupt() -> None:
            raise kind

        resume_sessions(setting13.client_context, Bad(on_take=interrupt))
        pair = setting13.pair(server_name=NAME)
        if setting13.library == "drop-in":
            with pytest.raises(kind):
                pair.handshake()
        else:
            pair.handshake()
            assert [type(error) for error, _ in unraisable.seen] == [kind]

    @pytest.mark.parametrize("step", ["do_handshake", "write"])
    def test_interrupted_and_raised(
        self, server_file: Path, unraisable: Unraisable, step: str
    ) -> None:
        """So does a connection of ssl that raises what callbacks raise, although all went well."""

        def interrupt() -> None:
            raise KeyboardInterrupt

        setting = Setting("ssl", "1.3", server_file)
        resume_sessions(setting.client_context, Bad(on_take=interrupt))
        stdlib.raise_callback_errors(setting.client_context)
        with setting.sockets() as (server, client):
            thread = threading.Thread(target=server.do_handshake)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                client.do_handshake() if step == "do_handshake" else client.write(b"x")
            thread.join()
            client.write(b"y")
            assert server.read(1) == (b"x" if step == "write" else b"y")
        assert unraisable.seen == []


class TestLifetimes:
    def test_context_goes_first(self, setting: Setting) -> None:
        """Connections go on when their context is gone, and their tickets find their store."""
        store = resume_sessions(setting.client_context, Store())
        pair = setting.pair(server_name=NAME)
        setting.client_context = None
        gc.collect()
        pair.handshake()
        close(pair)
        assert len(store.put_in) == setting.tickets

    def test_context_is_freed(self, setting: Setting) -> None:
        """Nothing holds a context, nor its store once the context is gone."""
        context = weakref.ref(setting.client_context)
        store = weakref.ref(resume_sessions(setting.client_context))
        resumed(setting)
        gc.collect()
        gc.disable()
        try:
            setting.client_context = None
            assert context() is None
            assert store() is None
        finally:
            gc.enable()

    def test_connection_in_the_middle(self, setting: Setting) -> None:
        """A connection that ends in the middle of its handshake takes what it has with it."""
        resume_sessions(setting.client_context)
        resumed(setting)
        for _ in range(3):
            pair = setting.pair(server_name=NAME)
            with contextlib.suppress(*ERRORS):
                pair.client.do_handshake()
            del pair
        gc.collect()

    @pytest.mark.needs_ssl
    def test_interpreter_exit(self, server_file: Path) -> None:
        """A program may end with connections in any state."""
        processes.run(
            textwrap.dedent(
                f"""
                import ssl, threading
                from openssl_tickets import resume_sessions
                server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                server.load_cert_chain({str(server_file)!r})
                client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
                resume_sessions(client)
                def pair():
                    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
                    return (server.wrap_bio(a, b, server_side=True),
                            client.wrap_bio(b, a, server_hostname="localhost"))
                def steps():
                    s, c = pair()
                    for side in (c, s, c, s):
                        try: side.do_handshake()
                        except ssl.SSLWantReadError: pass
                        yield s, c
                left = []
                for count in range(1, 5):
                    steps_ = steps()
                    left.append([next(steps_) for _ in range(count)][-1])
                class AtExit:
                    def __del__(self):
                        for s, c in left:
                            try: c.do_handshake(); c.read(1)
                            except ssl.SSLError: pass
                keep = AtExit()
                def forever():
                    while True:
                        for _ in steps(): pass
                threading.Thread(target=forever, daemon=True).start()
                """
            )
        )


class TestBadInput:
    def test_servers_context(self) -> None:
        """A context whose method is a server's has no clients; one of TLS_METHOD has."""
        servers: list[Any] = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)]
        servers += [module.Context(SSL.TLS_SERVER_METHOD) for module in (SSL, OpenSSL.SSL)]
        for context in servers:
            with pytest.raises(ValueError, match=r"^only clients offer sessions, and this context"):
                resume_sessions(context)
        for context in (SSL.Context(SSL.TLS_METHOD), SSL.Context(SSL.TLS_CLIENT_METHOD)):
            resume_sessions(context)

    @pytest.mark.parametrize("missing", ["put", "take"])
    def test_no_store(self, setting13: Setting, missing: str) -> None:
        """A store without one of the methods is refused by name, and nothing is set."""

        class Half:
            pass

        setattr(Half, {"put": "take", "take": "put"}[missing], print)
        with pytest.raises(TypeError, match=rf"Half has no {missing}$"):
            resume_sessions(setting13.client_context, Half())  # type: ignore[call-overload]
        with pytest.raises(TypeError, match=r"dict has no put$"):
            resume_sessions(setting13.client_context, {})  # type: ignore[call-overload]

    def test_server_asked(self, setting: Setting) -> None:
        """A server's callbacks go on as before beside it."""
        asked: list[Any] = []
        set_session_ticket_callback(
            setting.server_context,
            None,
            lambda *_: asked.append(1),
        )
        resume_sessions(setting.client_context)
        assert [resumed(setting) for _ in range(2)] == [False, True]
        assert asked

    def test_sets_again(self, setting: Setting) -> None:
        """set_session in place of what is offered is refused once the handshake has begun."""
        resume_sessions(setting.client_context)
        session = session_of(setting)
        pair = setting.pair(server_name=NAME)
        with contextlib.suppress(*ERRORS):
            pair.client.do_handshake()
        with pytest.raises(ValueError, match="has begun"):
            set_session(pair.client, session)
