"""Makes a server's context from the options, with ``ssl`` or with pyOpenSSL."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import openssl_tickets

# A client may end without a close_notify. Clients also look so when the server stops.
_IGNORE_UNEXPECTED_EOF = 0x80  # SSL_OP_IGNORE_UNEXPECTED_EOF. Some Pythons and pyOpenSSLs lack it
_SESSION_ID_CONTEXT = b"openssl_tickets serve"

NameAsked = Callable[[str | None], None]


class CannotServe(Exception):
    """The server cannot start, because something that it needs is missing."""


@dataclass(frozen=True)
class Library:
    """A context, with the errors and the functions of its library."""

    context: Any
    left: tuple[type[BaseException], ...]  # the errors if the client has left
    errors: tuple[type[BaseException], ...]  # all other TLS errors
    cipher: Callable[[Any], str | None]
    version: Callable[[Any], str | None]

    def kind_of(self, error: BaseException) -> str:
        """Returns the kind of an error, as the "error" event names it."""
        if isinstance(error, TimeoutError):
            return "timeout"
        if isinstance(error, self.left):
            return "connection"
        if isinstance(error, self.errors):
            return "tls"
        # Any other error comes from a policy whose answer was refused.
        return "connection" if isinstance(error, OSError) else "policy"


def make_library(options: argparse.Namespace, certificate: Path, name_asked: NameAsked) -> Library:
    """
    Makes a context of the library that *options* name.

    Args:
        options: the options of the command line.
        certificate: the file with the server's certificate.
        name_asked: it is called with the server name of each client hello, or None.

    Raises:
        CannotServe, OSError, ValueError, RuntimeError: the context cannot be made.
    """
    make = {"ssl": _with_ssl, "pyopenssl": _with_pyopenssl}[options.library]
    return make(options, certificate, name_asked)


def text_of(error: BaseException) -> str:
    """Returns the text of an error. It may have a list of reasons (pyOpenSSL) or one (``ssl``)."""
    return f"{type(error).__name__}: {_reasons(error)}"


def _reasons(error: BaseException) -> str:
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = "; ".join(str(entry[-1]) for entry in queue)
    return reasons or getattr(error, "reason", None) or str(error) or type(error).__name__


def _with_ssl(options: argparse.Namespace, certificate: Path, name_asked: NameAsked) -> Library:
    """The standard ``ssl``."""
    import ssl

    from openssl_tickets import stdlib

    def cipher(connection: ssl.SSLSocket) -> str | None:
        cipher = connection.cipher()
        return cipher[0] if cipher else None

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    openssl_tickets.get_num_tickets(context)  # raises an error if ssl uses another libssl
    context.options |= _IGNORE_UNEXPECTED_EOF
    if options.tls:
        version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[options.tls]
        context.minimum_version = context.maximum_version = version
    with _named("certificate", certificate):
        context.load_cert_chain(certificate, options.key, _no_password)
    if options.client_ca:
        with _named("client CA", options.client_ca):
            context.load_verify_locations(options.client_ca)
        optional = options.client_cert == "optional"
        context.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
    context.sni_callback = lambda connection, name, _: name_asked(name)
    stdlib.raise_callback_errors(context)
    left = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
    return Library(context, left, (ssl.SSLError,), cipher, ssl.SSLSocket.version)


def _with_pyopenssl(
    options: argparse.Namespace, certificate: Path, name_asked: NameAsked
) -> Library:
    """pyOpenSSL, on the system's libssl."""
    try:
        from openssl_tickets import SSL
    except ImportError as error:
        raise CannotServe(f"--library pyopenssl needs pyOpenSSL: {error}") from error

    def asked(connection: Any) -> None:
        name = connection.get_servername()
        name_asked(name.decode(errors="backslashreplace") if name is not None else None)

    context = SSL.Context(SSL.TLS_METHOD)
    versions = {None: SSL.TLS1_2_VERSION, "1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
    context.set_min_proto_version(versions[options.tls])
    context.set_max_proto_version(versions[options.tls or "1.3"])
    context.set_options(_IGNORE_UNEXPECTED_EOF)
    context.set_session_id(_SESSION_ID_CONTEXT)
    try:
        with _named("certificate", certificate):
            context.use_certificate_chain_file(str(certificate))
            key = Path(options.key or certificate)
            if b"ENCRYPTED" in key.read_bytes():
                _no_password()  # otherwise libssl would ask for the password at the terminal
            context.use_privatekey_file(str(key))
            context.check_privatekey()
        if options.client_ca:
            with _named("client CA", options.client_ca):
                context.load_verify_locations(str(options.client_ca))
                context.load_client_ca(os.fsencode(options.client_ca))
            optional = options.client_cert == "optional"
            context.set_verify(
                SSL.VERIFY_PEER | (0 if optional else SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
            )
    except SSL.Error as error:
        raise CannotServe(_reasons(error)) from error
    context.set_tlsext_servername_callback(asked)
    return Library(
        context,
        (SSL.SysCallError, SSL.ZeroReturnError),
        (SSL.Error,),
        SSL.Connection.get_cipher_name,
        SSL.Connection.get_protocol_version_name,
    )


def _no_password(*_: object) -> NoReturn:
    raise ValueError("the private key is encrypted: take off its password first")


@contextlib.contextmanager
def _named(what: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Adds the name of the file to the errors of the ``with`` block."""
    try:
        with open(path, "rb"):  # libssl does not distinguish a missing file from an empty one
            pass
        yield
    except ValueError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise CannotServe(f"the {what} cannot be used: {path}: {_reasons(error)}") from error
