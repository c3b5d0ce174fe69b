"""Makes a test certificate, and reads the subject of a certificate."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from openssl_tickets._native.errors import drain_error_queue

_CONFIGURATION = """\
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = {name}
[extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign
subjectKeyIdentifier = hash
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
"""


def make_certificate(
    folder: str | os.PathLike[str], name: str = "localhost", program: str = "openssl"
) -> Path:
    """
    Makes a self-signed certificate for localhost with the ``openssl`` program.

    It is valid for two days.

    Args:
        folder: the folder for the file.
        name: the common name, and the name of the file without ``.pem``.
        program: the ``openssl`` to run.

    Returns:
        The path of the PEM file, with the certificate and its key. Clients can trust this file.

    Raises:
        FileNotFoundError: there is no such *program*.
        RuntimeError: the program failed, or took longer than 60 seconds.
    """
    path = Path(folder) / f"{name}.pem"
    key, configuration = path.with_suffix(".key"), path.with_suffix(".cnf")
    # The system's configuration may be missing, or may say anything.
    configuration.write_text(_CONFIGURATION.format(name=name))
    command = [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-config", str(configuration)]
    command += ["-keyout", str(key), "-out", str(path)]
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            start_new_session=True,  # so that Ctrl-C ends only this process
        )
    except FileNotFoundError:
        raise FileNotFoundError(
            f"there is no program {program!r} to make a certificate with: install OpenSSL, or put "
            "it on the PATH"
        ) from None
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"`{program} req` takes too long to make a certificate") from None
    if result.returncode != 0:
        errors = result.stderr.decode(errors="backslashreplace").strip()
        raise RuntimeError(f"`{program} req` made no certificate: {errors}")
    secret = key.read_bytes()
    certificate = path.read_bytes()
    for file in (key, configuration, path):
        file.unlink()
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with open(descriptor, "wb") as both:
        both.write(secret + certificate)
    return path


def subject(der: bytes) -> str:
    """
    Returns the subject of a certificate, ``"O=Example, CN=alice"`` for example.

    The owner of the certificate chooses this text, so characters that cannot be printed are
    escaped.

    Args:
        der: the certificate in DER.

    Raises:
        ValueError: *der* is not a certificate in DER.
    """
    # This binding is made for pyOpenSSL, but it works without pyOpenSSL.
    from openssl_tickets._system_openssl._pyopenssl import ffi, lib

    source = ffi.gc(lib.BIO_new_mem_buf(der, len(der)), lib.BIO_free)
    certificate = lib.d2i_X509_bio(source, ffi.NULL)
    if not certificate:
        drain_error_queue()
        raise ValueError(f"not a certificate in DER: {len(der)} bytes")
    certificate = ffi.gc(certificate, lib.X509_free)
    name = lib.X509_get_subject_name(certificate)
    parts = []
    for number in range(lib.X509_NAME_entry_count(name)):
        entry = lib.X509_NAME_get_entry(name, number)
        kind = lib.OBJ_nid2sn(lib.OBJ_obj2nid(lib.X509_NAME_ENTRY_get_object(entry)))
        copy = ffi.new("unsigned char **")
        length = lib.ASN1_STRING_to_UTF8(copy, lib.X509_NAME_ENTRY_get_data(entry))
        if length < 0:
            drain_error_queue()
            value = "?"
        else:
            try:
                value = bytes(ffi.buffer(copy[0], length)).decode(errors="backslashreplace")
            finally:
                lib.OPENSSL_free(copy[0])
        parts.append(f"{ffi.string(kind).decode()}={value}")
    return printable(", ".join(parts))


def printable(text: str) -> str:
    """Returns *text*, with characters that a terminal cannot print escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
