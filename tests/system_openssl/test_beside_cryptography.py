"""cryptography works on, untouched, beside a pyOpenSSL that is on the system's libssl."""

from __future__ import annotations

import datetime
import itertools
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import crypto

from openssl_tickets import SSL
from tests.support import tls

KEYS: dict[str, Any] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ec": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def certificate(key: Any) -> x509.Certificate:
    """Returns a certificate that cryptography has made and signed with *key*."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "beside")])
    now = datetime.datetime(2020, 1, 1)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("beside")]), critical=False)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )


def public_bytes(key: Any) -> bytes:
    encoded: bytes = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


# Old pyOpenSSL takes only its own objects, and new pyOpenSSL warns of them.
@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
@pytest.mark.parametrize("kind", KEYS)
def test_keys_and_certificates_go_in_and_out(kind: str) -> None:
    """What cryptography made serves a handshake, and comes out of it the same."""
    key = KEYS[kind]()
    made = certificate(key)
    pkey = crypto.PKey.from_cryptography_key(key)
    assert public_bytes(pkey.to_cryptography_key()) == public_bytes(key)
    assert crypto.X509.from_cryptography(made).to_cryptography() == made

    context = SSL.Context(SSL.TLS_METHOD)
    context.use_privatekey(pkey)
    context.use_certificate(crypto.X509.from_cryptography(made))
    context.check_privatekey()
    client_context = tls.client_context()
    store = client_context.get_cert_store()
    assert store is not None
    store.add_cert(crypto.X509.from_cryptography(made))
    client_context.set_verify(SSL.VERIFY_PEER)
    pair = tls.Pair(context, client_context).handshake()
    assert pair.client.get_peer_certificate().to_cryptography() == made
    assert pair.received == 2


# Each imports something, and prints what it is that it runs on.
PARTS = {
    "pyopenssl": """
        from openssl_tickets import SSL
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_num_tickets(3)
        results["pyopenssl"] = [SSL.SSLeay_version(0).decode(), context.get_num_tickets()]
        """,
    "hazmat": """
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        key = ec.generate_private_key(ec.SECP256R1())
        for _ in range(20):
            key.public_key().verify(
                key.sign(b"data", ec.ECDSA(hashes.SHA256())), b"data", ec.ECDSA(hashes.SHA256())
            )
        from cryptography.hazmat.backends.openssl.backend import backend
        results["hazmat"] = backend.openssl_version_text()
        """,
    "binding": """
        from cryptography.hazmat.bindings.openssl.binding import Binding
        binding = Binding()
        method = binding.lib.TLS_method()
        results["binding"] = binding.ffi.string(binding.lib.OpenSSL_version(0)).decode()
        """,
    "ssl": """
        import ssl
        context = ssl.create_default_context()
        results["ssl"] = [ssl.OPENSSL_VERSION, context.num_tickets]
        """,
}


def run(program: str) -> Any:
    """Runs *program*, which fills ``results``, and returns them."""
    result = subprocess.run(
        [sys.executable, "-I", "-c", f"import json\nresults = {{}}\n{program}\n{FINISH}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


FINISH = "print(json.dumps(results))"


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What each part is on in a process of its own."""
    return {name: run(textwrap.dedent(part))[name] for name, part in PARTS.items()}


@pytest.mark.parametrize("order", list(itertools.permutations(["pyopenssl", "hazmat", "binding"])))
def test_imports_in_any_order(order: tuple[str, ...], alone: dict[str, Any]) -> None:
    """Whichever is imported first, each is on the OpenSSL that it is on alone."""
    program = "\n".join(textwrap.dedent(PARTS[name]) for name in order)
    assert run(program) == {name: alone[name] for name in order}


@pytest.mark.parametrize("attempt", range(5))
def test_imports_in_threads_at_once(attempt: int, alone: dict[str, Any]) -> None:
    """Imported by threads at once, each is on the OpenSSL that it is on alone."""
    # Old cryptography on the system's OpenSSL loads the legacy provider ahead of the default one,
    # and what asks for ciphers in between, as ssl does, is told that there are none.
    names = [name for name in PARTS if name != "ssl" or alone["binding"] != alone["ssl"][0]]
    functions = "".join(
        f"def {name}():\n    barrier.wait()\n" + textwrap.indent(textwrap.dedent(part), "    ")
        for name, part in PARTS.items()
    )
    program = f"""
import collections.abc  # which CPython 3.13.0 itself cannot import in threads at once
import threading
barrier = threading.Barrier({2 * len(names)}, timeout=60)
{functions}
threads = [threading.Thread(target=f) for f in 2 * [{", ".join(names)}]]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    assert run(program) == {name: alone[name] for name in names}


@pytest.mark.slow
def test_both_at_work_in_threads(server_file: Path) -> None:
    """cryptography signs and pyOpenSSL shakes hands, in threads at once."""
    results = run(
        f"""
import threading, sys
sys.path.append({str(Path(__file__).parents[2])!r})
import pathlib
from openssl_tickets import SSL
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support import tls
barrier = threading.Barrier(4, timeout=60)
context = tls.server_context(pathlib.Path({str(server_file)!r}))
context.set_session_ticket_callback(lambda connection, data: b"mine")
def sign(number):
    barrier.wait()
    key = ec.generate_private_key(ec.SECP256R1())
    for _ in range(300):
        signature = key.sign(b"data", ec.ECDSA(hashes.SHA256()))
        key.public_key().verify(signature, b"data", ec.ECDSA(hashes.SHA256()))
    results[number] = "signed"
def shake(number):
    barrier.wait()
    client = tls.client_context()
    for _ in range(50):
        pair = tls.Pair(context, client).handshake()
    results[number] = pair.received
threads = [threading.Thread(target=(sign, shake)[n % 2], args=(n,)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    )
    assert results == {"0": "signed", "1": 2, "2": "signed", "3": 2}
