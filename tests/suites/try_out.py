"""
Tries out an installed openssl_tickets, for tests/suites/packages.py.

``python -I try_out.py`` needs only the package, cffi and the ``openssl`` program. With ``--all`` it
also needs the packages of all extras.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import pkgutil
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import openssl_tickets
from openssl_tickets import TicketReturn
from openssl_tickets._system_openssl import _pyopenssl

TIMEOUT = 60.0  # seconds


def installed() -> str:
    """Checks that the package comes from this environment, and knows its version."""
    version = importlib.metadata.version("openssl_tickets")
    assert openssl_tickets.__version__ == version
    for module in ("openssl_tickets", "openssl_tickets._native._libssl"):
        file = vars(importlib.import_module(module))["__file__"]
        assert Path(file).is_relative_to(sys.prefix), f"{module} is in {file}"
    loaded = {"OpenSSL", "cryptography", "redis"} & sys.modules.keys()
    assert not loaded, f"importing the package has imported {loaded}"
    return f"openssl_tickets {version}, {openssl_tickets.OPENSSL_VERSION}"


def newer_names() -> str:
    """Checks that features after OpenSSL 3.0 depend on the running libssl, not on the build."""
    has_group_name = bool(_pyopenssl.lib.Cryptography_HAS_SSL_GET0_GROUP_NAME)
    assert has_group_name == (_pyopenssl.lib.OpenSSL_version_num() >= 0x30200000)
    return f"SSL_get0_group_name: {has_group_name}"


def standard_ssl() -> str:
    """Checks a policy of two functions on contexts of the standard ``ssl``, in memory."""
    users = {"now": b"alice", "revoked": b""}
    shown = []

    def decrypt(_: Any, ticket: Any, data: dict[str, bytes]) -> TicketReturn | None:
        shown.append(ticket.appdata)
        return TicketReturn.IGNORE if ticket.appdata == data["revoked"] else None

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        server.load_cert_chain(certificate(Path(folder)))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    openssl_tickets.set_num_tickets(server, 1)
    openssl_tickets.set_session_ticket_callback(
        server, lambda connection, data: data["now"], decrypt, users
    )
    kept: list[openssl_tickets.Session] = []
    openssl_tickets.set_new_session_callback(
        client, lambda connection, session, data: kept.append(session)
    )

    assert not handshake(server, client, None)
    assert handshake(server, client, kept[-1])
    users["revoked"] = b"alice"
    assert not handshake(server, client, kept[-1])
    assert shown == [b"alice", b"alice"], shown
    return f"{len(kept)} handshakes with ssl, 1 resumed, 1 refused"


def handshake(
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
    session: openssl_tickets.Session | None,
) -> bool:
    """Does a handshake, lets the client read its tickets, and returns whether it resumed."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server)
    if session is not None:
        openssl_tickets.set_session(client, session.copy())
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    server.write(b"hello")
    assert client.read(5) == b"hello"
    assert client.session_reused == server.session_reused
    return openssl_tickets.session_reused(server)


def certificate(folder: Path) -> Path:
    """Writes a key and its certificate to one file."""
    file = folder / "server.pem"
    command = "openssl req -x509 -noenc -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=a"
    files = ["-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(
        [*command.split(), *files], cwd=folder, check=True, capture_output=True, timeout=TIMEOUT
    )
    file.write_text("".join((folder / name).read_text() for name in ("key.pem", "certificate.pem")))
    return file


def every_module() -> str:
    """Checks that each module of the package can be imported."""
    walked = pkgutil.walk_packages(openssl_tickets.__path__, "openssl_tickets.")
    names = [module.name for module in walked]
    for name in names:
        importlib.import_module(name)
    assert "openssl_tickets._adapters.pyopenssl" in names
    return f"{len(names)} modules imported"


def commands(*names: str) -> str:
    """Checks that the commands exit with 0."""
    for name in names:
        result = subprocess.run(
            [sys.executable, "-I", "-m", "openssl_tickets", name],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert result.returncode == 0, f"{name}: {result.stdout}{result.stderr}"
    return " and ".join(names)


if __name__ == "__main__":
    print(installed(), newer_names(), standard_ssl(), commands("doctor"), sep="; ")
    if "--all" in sys.argv:
        pyopenssl = importlib.metadata.version("pyOpenSSL")
        print(f"; pyOpenSSL {pyopenssl}", every_module(), commands("doctor", "demo"), sep="; ")
