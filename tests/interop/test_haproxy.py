"""
Tickets between the real HAProxy and servers in Python, with the same ticket key file.

Every ticket is decrypted by the other side. It is resumed where the session id context is
HAProxy's, ``b"haproxy"``, which a server on pyOpenSSL can have, and one on the standard ``ssl``
cannot.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openssl_tickets import TicketKey, TicketStatus
from openssl_tickets.ticket_key_files import load_ticket_keys, save_ticket_keys
from tests.support import stdlib_tls, tls

FULL, RESUMED = "0", "1"  # ssl_fc_is_resumed
ID_CONTEXT = b"haproxy"

Get = Callable[..., Any]
NewKey = Callable[[], TicketKey]
PythonServer = Callable[..., Any]


def success(version: str) -> TicketStatus:
    return TicketStatus.SUCCESS if version == "1.2" else TicketStatus.SUCCESS_RENEW


def test_takes_our_file(
    tmp_path: Path, haproxy: Any, get: Get, new_key: NewKey, version: str
) -> None:
    """HAProxy starts with a file that was saved, and the first of the keys given encrypts."""
    keys, path = [new_key() for _ in range(3)], tmp_path / "ticket keys"
    save_ticket_keys("haproxy", path, keys)
    port, client = haproxy(path), tls.client_context(version)
    told, session = get(port, client)
    assert (told, session.key_name) == (FULL, keys[0].name)
    told, _ = get(port, client, session)
    assert told == RESUMED


def test_many_lines(
    tmp_path: Path,
    haproxy: Any,
    get: Get,
    new_key: NewKey,
    python_server: PythonServer,
    version: str,
) -> None:
    """Of five lines the fourth encrypts, the third and fifth decrypt, and the others do not."""
    lines, path = [new_key() for _ in range(5)], tmp_path / "tickets.keys"
    path.write_bytes(b"".join(line_of(key) for key in lines))
    path.chmod(0o600)
    port, client = haproxy(path), tls.client_context(version)
    _, session = get(port, client)
    assert session.key_name == lines[3].name
    assert load_ticket_keys("haproxy", path) == [lines[3], lines[4], lines[2]]
    told = []
    for key in lines:
        server = python_server(tls, [key])
        server.context.set_session_id(ID_CONTEXT)
        told.append(get(port, client, server.session())[0])
    assert told == [FULL, FULL, RESUMED, RESUMED, RESUMED]


def test_to_pyopenssl(
    tmp_path: Path,
    haproxy: Any,
    get: Get,
    new_key: NewKey,
    python_server: PythonServer,
    version: str,
) -> None:
    """A ticket of HAProxy's is resumed by a server on pyOpenSSL with its session id context."""
    path = tmp_path / "tickets.keys"
    save_ticket_keys("haproxy", path, [new_key() for _ in range(3)])
    _, session = get(haproxy(path), tls.client_context(version))
    server = python_server(tls, load_ticket_keys("haproxy", path))
    server.context.set_session_id(ID_CONTEXT)
    assert server.resumes(session)
    assert server.statuses == [success(version)]


def test_from_pyopenssl(
    tmp_path: Path,
    haproxy: Any,
    get: Get,
    new_key: NewKey,
    python_server: PythonServer,
    version: str,
) -> None:
    """A ticket of a server on pyOpenSSL with HAProxy's session id context is resumed by HAProxy."""
    path, keys = tmp_path / "tickets.keys", [new_key() for _ in range(3)]
    save_ticket_keys("haproxy", path, keys)
    server = python_server(tls, keys)
    server.context.set_session_id(ID_CONTEXT)
    told, _ = get(haproxy(path), tls.client_context(version), server.session())
    assert told == RESUMED


@pytest.mark.parametrize("module", [tls, stdlib_tls], ids=["pyOpenSSL", "ssl"])
def test_other_id_context(
    tmp_path: Path,
    haproxy: Any,
    get: Get,
    new_key: NewKey,
    python_server: PythonServer,
    version: str,
    module: Any,
) -> None:
    """With another session id context, as ``ssl`` has, tickets are decrypted, but not resumed."""
    path = tmp_path / "tickets.keys"
    save_ticket_keys("haproxy", path, [new_key() for _ in range(3)])
    port, client = haproxy(path), tls.client_context(version)
    server = python_server(module, load_ticket_keys("haproxy", path))
    _, session = get(port, client)
    assert not server.resumes(session)
    assert server.statuses == [success(version)]
    told, _ = get(port, client, server.session())
    assert told == FULL


def test_rotation(tmp_path: Path, haproxy: Any, get: Get, version: str) -> None:
    """After ``keys rotate`` and a restart the next key encrypts, and older tickets are resumed."""
    path, client = tmp_path / "tickets.keys", tls.client_context(version)
    keys("new", "--format", "haproxy", path)
    encrypts, following, _ = load_ticket_keys("haproxy", path)
    _, session = get(haproxy(path), client)
    assert session.key_name == encrypts.name
    keys("rotate", "--format", "haproxy", path)
    told, renewed = get(haproxy(path), client, session)
    assert (told, renewed.key_name) == (RESUMED, following.name)


def keys(*arguments: object) -> None:
    command = [sys.executable, "-I", "-m", "openssl_tickets", "keys", *map(str, arguments)]
    subprocess.run(command, check=True, timeout=60)


def line_of(key: TicketKey) -> bytes:
    return base64.b64encode(key.name + key.aes_key + key.hmac_key) + b"\n"


GOOD, SHORT = b"A" * 107 + b"=\n", b"A" * 64 + b"\n"


@pytest.mark.parametrize(
    "content",
    [
        GOOD * 3,
        SHORT * 3,
        GOOD * 4,
        (GOOD * 3).rstrip(b"\n"),
        (GOOD * 3).replace(b"\n", b"\r\n"),
        b"",
        b"\n",
        GOOD,
        GOOD * 2,
        GOOD * 3 + b"\n",
        b"\n" + GOOD * 3,
        GOOD * 3 + b"# a comment\n",
        GOOD * 3 + SHORT,
        SHORT + GOOD * 3,
        GOOD * 3 + GOOD.replace(b"=", b""),
        GOOD * 3 + GOOD.replace(b"\n", b" \n"),
        GOOD * 3 + GOOD.replace(b"\n", b"\r\r\n"),
        GOOD * 3 + b"-" + GOOD[1:],
        GOOD * 3 + b"\0" + GOOD[1:],
        GOOD * 3 + b"A" * 106 + b"==\n",
        GOOD * 3 + b"A" * 108 + b"\n",
        GOOD * 3 + b"A" * 105 + b"===\n",
        GOOD * 3 + b"A" * 50 + b"====" + b"A" * 54 + b"\n",
        GOOD * 3 + b"A" * 3000 + b"\n",
        os.urandom(80),
    ],
    ids=range(25),
)
def test_same_contents(tmp_path: Path, haproxy_command: Callable[..., Any], content: bytes) -> None:
    """A file is taken by HAProxy if and only if it is taken by us."""
    path = tmp_path / "tickets.keys"
    path.write_bytes(content)
    path.chmod(0o600)
    check = [*haproxy_command("unix@/nowhere", "1.3", path), "-c"]
    result = subprocess.run(check, capture_output=True, text=True, timeout=tls.TIMEOUT)
    try:
        taken = bool(load_ticket_keys("haproxy", path))
    except ValueError:
        taken = False
    assert taken is (result.returncode == 0), result.stderr
