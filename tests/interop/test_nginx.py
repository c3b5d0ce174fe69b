"""
Tickets between the real nginx and servers in Python, with the same ticket key files.

Every ticket is decrypted by the other side. It is resumed where the session id context is the same,
which a server on pyOpenSSL can have, and one on the standard ``ssl`` cannot.
"""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from openssl_tickets import TicketKey, TicketStatus
from openssl_tickets.ticket_key_files import load_ticket_keys, save_ticket_keys
from tests.support import stdlib_tls, tls

FULL, RESUMED = ".", "r"  # $ssl_session_reused

Get = Callable[..., Any]
NewKey = Callable[[], TicketKey]
PythonServer = Callable[..., Any]


def id_context(server_file: Path, *more: bytes) -> bytes:
    """Returns nginx's session id context, for a server with this certificate."""
    # The file has the key too, which ssl looks past.
    pem = server_file.read_text()
    der = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :])
    return _sha1(b"HTTP" + b"".join(_sha1(part) for part in (der, *more)))


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data).digest()  # noqa: S324


def success(version: str) -> TicketStatus:
    return TicketStatus.SUCCESS if version == "1.2" else TicketStatus.SUCCESS_RENEW


def test_takes_our_file(
    tmp_path: Path, nginx: Any, get: Get, new_key: NewKey, version: str
) -> None:
    """nginx starts with a file that was saved, and encrypts its tickets with the key in it."""
    key = new_key()
    save_ticket_keys("nginx", tmp_path / "ticket.key", [key])
    port = nginx(tmp_path / "ticket.key")
    client = tls.client_context(version)
    told, session = get(port, client)
    assert (told, session.key_name) == (FULL, key.name)
    told, _ = get(port, client, session)
    assert told == RESUMED


def test_first_of_two_files(
    tmp_path: Path, nginx: Any, get: Get, new_key: NewKey, version: str
) -> None:
    """The key of the first file encrypts, and a ticket of the second is resumed and renewed."""
    old, new = new_key(), TicketKey.generate()
    for name, key in (("old", old), ("new", new)):
        save_ticket_keys("nginx", tmp_path / name, [key])
    client = tls.client_context(version)
    _, session = get(nginx(tmp_path / "old"), client)
    assert session.key_name == old.name
    told, session = get(nginx(tmp_path / "new", tmp_path / "old"), client, session)
    assert (told, session.key_name) == (RESUMED, new.name)


def test_to_pyopenssl(
    tmp_path: Path,
    nginx: Any,
    get: Get,
    new_key: NewKey,
    python_server: PythonServer,
    server_file: Path,
    version: str,
) -> None:
    """A ticket of nginx's is resumed by a server on pyOpenSSL with its session id context."""
    key = new_key()
    save_ticket_keys("nginx", tmp_path / "ticket.key", [key])
    _, session = get(nginx(tmp_path / "ticket.key"), tls.client_context(version))
    server = python_server(tls, [key])
    server.context.set_session_id(id_context(server_file))
    assert server.resumes(session)
    assert server.statuses == [success(version)]


def test_from_pyopenssl(
    tmp_path: Path,
    nginx: Any,
    get: Get,
    new_key: NewKey,
    python_server: PythonServer,
    server_file: Path,
    version: str,
) -> None:
    """A ticket of a server on pyOpenSSL with nginx's session id context is resumed by nginx."""
    key = new_key()
    save_ticket_keys("nginx", tmp_path / "ticket.key", [key])
    server = python_server(tls, [key])
    server.context.set_session_id(id_context(server_file))
    told, _ = get(nginx(tmp_path / "ticket.key"), tls.client_context(version), server.session())
    assert told == RESUMED


def test_id_context_with_client_certificates(
    tmp_path: Path,
    nginx: Any,
    get: Get,
    python_server: PythonServer,
    server_file: Path,
    ca_file: Path,
    version: str,
) -> None:
    """Where nginx asks for client certificates, their signers' names are in its context."""
    key = TicketKey.generate()
    save_ticket_keys("nginx", tmp_path / "ticket.key", [key])
    ask = f"ssl_verify_client optional; ssl_client_certificate {ca_file};"
    port = nginx(tmp_path / "ticket.key", more=ask)
    _, session = get(port, tls.client_context(version))
    name = x509.load_pem_x509_certificate(ca_file.read_bytes()).subject.public_bytes()
    for context, resumes in (
        (id_context(server_file), False),
        (id_context(server_file, name), True),
    ):
        server = python_server(tls, [key])
        server.context.set_session_id(context)
        assert server.resumes(session) is resumes


@pytest.mark.parametrize("module", [tls, stdlib_tls], ids=["pyOpenSSL", "ssl"])
def test_other_id_context(
    tmp_path: Path,
    nginx: Any,
    get: Get,
    new_key: NewKey,
    python_server: PythonServer,
    version: str,
    module: Any,
) -> None:
    """With another session id context, as ``ssl`` has, tickets are decrypted, but not resumed."""
    key = new_key()
    save_ticket_keys("nginx", tmp_path / "ticket.key", [key])
    port, client = nginx(tmp_path / "ticket.key"), tls.client_context(version)
    server = python_server(module, [key])
    _, session = get(port, client)
    assert not server.resumes(session)
    assert server.statuses == [success(version)]
    told, _ = get(port, client, server.session())
    assert told == FULL


@pytest.mark.parametrize("secret_len", [32, 16])
def test_file_of_another_program(
    tmp_path: Path, nginx: Any, get: Get, python_server: PythonServer, version: str, secret_len: int
) -> None:
    """nginx starts with a file of another layout, but nobody else can decrypt its tickets."""
    key = TicketKey(os.urandom(16), os.urandom(secret_len), os.urandom(secret_len))
    path = tmp_path / "ticket.key"
    if secret_len == 16:
        save_ticket_keys("apache", path, [key])
    else:
        # HAProxy's, had it no base64.
        path.write_bytes(key.name + key.aes_key + key.hmac_key)
        path.chmod(0o600)
    _, session = get(nginx(path), tls.client_context(version))
    assert session.key_name == key.name
    server = python_server(tls, [key])
    assert not server.resumes(session)
    assert server.statuses == [TicketStatus.NO_DECRYPT]
    loaded = load_ticket_keys("nginx", path, aes=8 * secret_len)
    assert loaded == [TicketKey(key.name, key.aes_key, key.hmac_key)]


@pytest.mark.parametrize("size", [0, 1, 47, 48, 49, 64, 79, 80, 81, 160])
def test_same_sizes(tmp_path: Path, nginx_command: Callable[..., Any], size: int) -> None:
    """A file is taken by nginx if and only if it is taken by us, when its size is asked for."""
    path, aes = tmp_path / "ticket.key", 128 if size == 48 else None
    path.write_bytes(os.urandom(size))
    path.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as busy:  # which nginx does not mind with -t
        test = [*nginx_command(busy.getsockname()[1], "1.3", [path]), "-t"]
        result = subprocess.run(test, capture_output=True, text=True, timeout=tls.TIMEOUT)
    if result.returncode:
        assert "must be 48 or 80 bytes" in result.stderr
        with pytest.raises(ValueError, match=f"80 or 48 bytes, not {size}$"):
            load_ticket_keys("nginx", path, aes=aes)
    else:
        keys = load_ticket_keys("nginx", path, aes=aes)
        assert [len(key.aes_key) for key in keys] == [(size - 16) // 2]
