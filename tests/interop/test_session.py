"""Sessions that ``openssl`` has written are read here, and the other way round."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets.s_client import SClientResult
from tests import interop
from tests.support import stdlib_tls, tls


@pytest.fixture(params=["OpenSSL", "ssl"])
def session(
    request: pytest.FixtureRequest, version: str, server_file: Path
) -> openssl_tickets.Session:
    """A client's session, of either library."""
    module: Any = {"OpenSSL": tls, "ssl": stdlib_tls}[request.param]
    contexts = module.server_context(server_file, version), module.client_context(version)
    pair = module.Pair(*contexts).handshake()
    found = openssl_tickets.get_session(pair.client)
    assert found is not None
    return found.copy()


def sess_id(data: bytes, *args: str) -> bytes:
    """Returns what ``openssl sess_id`` makes of *data*."""
    return subprocess.run(
        ["openssl", "sess_id", *args],
        input=data,
        capture_output=True,
        check=True,
        timeout=tls.TIMEOUT,
    ).stdout


class TestSessId:
    @pytest.mark.parametrize("form", ["PEM", "DER"])
    def test_reads_ours(self, session: openssl_tickets.Session, form: str) -> None:
        """The program finds in a session what its attributes say."""
        session.time, session.timeout, session.ticket_appdata = 1_700_000_000, 4321, b"alice"
        data = session.to_pem() if form == "PEM" else session.to_der()
        shown = sess_id(data, "-inform", form, "-text", "-noout").decode()
        lines = dict(re.findall(r"^ +([\w ()-]+?) *: (.*)$", shown, re.MULTILINE))
        assert lines["Protocol"] == session.protocol
        assert lines["Cipher"].split()[-1] == session.cipher
        assert bytes.fromhex(lines["Session-ID"]) == session.session_id
        assert int(lines["Start Time"]) == session.time == 1_700_000_000
        assert lines["Timeout"] == "4321 (sec)"
        hint = lines["TLS session ticket lifetime hint"]
        assert hint == f"{session.ticket_lifetime_hint} (seconds)"
        # The secret, which nothing but the two encodings has.
        secret = lines.get("Resumption PSK") or lines["Master-Key"]
        assert bytes.fromhex(secret) in session.to_der()
        assert secret.lower() not in repr(session).lower()

    def test_writes_the_same(self, session: openssl_tickets.Session) -> None:
        """What the program writes of it is, to the byte, what is written here."""
        der, pem = session.to_der(), session.to_pem()
        assert sess_id(pem, "-outform", "DER") == der
        assert sess_id(der, "-inform", "DER", "-outform", "PEM") == pem
        # With the text in front of it.
        again = openssl_tickets.Session.from_pem(sess_id(pem, "-text"))
        assert again == session
        assert again.to_der() == der

    def test_certificate(self, session: openssl_tickets.Session) -> None:
        """The program finds the server's certificate in it."""
        shown = sess_id(session.to_pem(), "-cert", "-outform", "DER")
        assert shown == session.peer_certificate_der

    def test_refuses_what_we_refuse(self, session: openssl_tickets.Session) -> None:
        """Cut off, it is a session to neither."""
        for size in (0, 10, 100, len(session.to_der()) - 1):
            cut = session.to_der()[:size]
            with pytest.raises(subprocess.CalledProcessError):
                sess_id(cut, "-inform", "DER")
            with pytest.raises(ValueError, match="not a TLS session"):
                openssl_tickets.Session.from_der(cut)


class TestSClient:
    def test_resumes_with_ours(
        self,
        version: str,
        server_file: Path,
        ask: Callable[..., SClientResult],
        session_file: Path,
    ) -> None:
        """``s_client -sess_in`` resumes with the session of a Python client."""
        context = tls.server_context(server_file, version)
        pair = tls.Pair(context, tls.client_context(version)).handshake()
        session = openssl_tickets.get_session(pair.client)
        assert session is not None
        session_file.write_bytes(session.to_pem())
        with interop.serving(context) as server:
            seen = ask(server.port, sess_in=session_file)
        assert (seen.reused, seen.protocol, seen.exit_code) == (True, f"TLSv{version}", 0)

    def test_resumes_with_that_of_ssl(
        self,
        version: str,
        server_file: Path,
        ask: Callable[..., SClientResult],
        session_file: Path,
    ) -> None:
        """So it does with that of a client of ssl."""
        context = tls.server_context(server_file, version)
        with interop.serving(context) as server:
            session_file.write_bytes(_session_of_ssl(version, server.port).to_pem())
            seen = ask(server.port, sess_in=session_file)
        assert (seen.reused, seen.protocol, seen.exit_code) == (True, f"TLSv{version}", 0)

    @pytest.mark.parametrize(
        "client",
        ["OpenSSL", "ssl"],
    )
    def test_ours_resumes_with_its_own(
        self,
        version: str,
        server_file: Path,
        ask: Callable[..., SClientResult],
        session_file: Path,
        client: str,
    ) -> None:
        """What ``s_client -sess_out`` wrote is read, and resumed from."""
        context = tls.server_context(server_file, version)
        with interop.serving(context) as server:
            seen = ask(server.port, sess_out=session_file)
            session = openssl_tickets.Session.from_pem(session_file.read_bytes())
            assert session.protocol == seen.protocol == f"TLSv{version}"
            assert session.ticket == seen.tickets[-1].ticket
            assert session.key_name == seen.tickets[-1].key_name
            assert session.ticket_lifetime_hint == seen.tickets[-1].lifetime_hint
            assert session.is_resumable is True
            assert session.peer_certificate_der is not None
            if client == "ssl":
                _session_of_ssl(version, server.port, session)
            else:
                with tls.connected(tls.client_context(version), server.port, session) as resumed:
                    assert resumed.session_reused() is True
                    resumed.sendall(b"hello\n")
                    assert resumed.recv(100) == interop.REPLY
                    resumed.shutdown()

    def test_refuses_a_changed_one(
        self,
        version: str,
        server_file: Path,
        ask: Callable[..., SClientResult],
        session_file: Path,
    ) -> None:
        """With one bit of the ticket changed, the handshake is a full one."""
        context = tls.server_context(server_file, version)
        pair = tls.Pair(context, tls.client_context(version)).handshake()
        session = openssl_tickets.get_session(pair.client)
        assert session is not None
        der: Any = bytearray(session.to_der())
        der[der.index(session.ticket) + len(session.ticket) // 2] ^= 1
        changed = openssl_tickets.Session.from_der(der)
        assert changed != session
        session_file.write_bytes(changed.to_pem())
        with interop.serving(context) as server:
            seen = ask(server.port, sess_in=session_file)
        assert (seen.reused, seen.exit_code) == (False, 0)


def _session_of_ssl(
    version: str, port: int, session: openssl_tickets.Session | None = None
) -> openssl_tickets.Session:
    """Asks a server with ssl, resuming *session* if there is one, and returns its new session."""
    context = stdlib_tls.client_context(version)
    plain = socket.create_connection(("127.0.0.1", port), tls.TIMEOUT)
    with context.wrap_socket(plain, do_handshake_on_connect=False) as client:
        if session is not None:
            openssl_tickets.set_session(client, session)
        client.do_handshake()
        assert openssl_tickets.session_reused(client) is (session is not None)
        client.sendall(b"hello\n")
        assert client.recv(100) == interop.REPLY
        found = openssl_tickets.get_session(client)
        assert found is not None
        copied = found.copy()
        client.unwrap()
    return copied
