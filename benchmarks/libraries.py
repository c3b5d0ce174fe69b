"""The libraries that the benchmarks compare. Each makes handshakes in memory."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import trustme

import openssl_tickets
from benchmarks import in_c
from openssl_tickets import SSL
from openssl_tickets._adapters import to_ssl_ctx


class Certificates(NamedTuple):
    """The files of both sides. *client* is None if the server asks for no certificate."""

    server: Path
    ca: Path
    client: Path | None


KINDS = {
    "ECDSA": (trustme.KeyType.ECDSA, False),
    "RSA-2048": (trustme.KeyType.RSA, False),
    "mutual TLS, ECDSA": (trustme.KeyType.ECDSA, True),
}


def make_certificates(folder: Path, kind: str = "ECDSA") -> Certificates:
    """Writes the certificates of one of the KINDS into *folder*."""
    key_type, is_mutual = KINDS[kind]
    authority = trustme.CA(key_type=key_type)
    ca = folder / f"{kind} ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    paths = []
    for identity in ("localhost", "client@example.org"):
        path = folder / f"{kind} {identity}.pem"
        issued = authority.issue_cert(identity, key_type=key_type)
        issued.private_key_and_cert_chain_pem.write_to_path(str(path))
        paths.append(path)
    return Certificates(paths[0], ca, paths[1] if is_mutual else None)


Install = Callable[[Any], object]


def nothing(context: Any) -> None:
    """Does not change *context*."""


class Library:
    """A server context with its client context, and a session to resume."""

    server_context: Any
    client_context: Any
    session: Any

    def __init__(self, certificates: Certificates, install: Install = nothing) -> None:
        raise NotImplementedError

    def handshake(self, session: Any) -> tuple[Any, Any]:
        """Does a handshake until the client has its tickets, and returns client and server."""
        raise NotImplementedError

    def seconds(self, session: Any, times: int) -> float:
        """
        Returns the mean time of a handshake in seconds, over *times* handshakes.

        Each one resumes *session*. If that is None, it is a full handshake.
        """
        begin = perf_counter()
        for _ in range(times):
            self.handshake(session)
        return (perf_counter() - begin) / times


class PyOpenSSL(Library):
    """pyOpenSSL, on the drop-in classes."""

    def __init__(self, certificates: Certificates, install: Install = nothing) -> None:
        self.server_context = SSL.Context(SSL.TLS_METHOD)
        self._show(self.server_context, certificates.server)
        self.client_context = SSL.Context(SSL.TLS_METHOD)
        if certificates.client is not None:
            self.server_context.load_verify_locations(str(certificates.ca))
            self.server_context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
            self.server_context.set_session_id(b"benchmark")
            self._show(self.client_context, certificates.client)
        install(self.server_context)
        client, _ = self.handshake(None)
        self.session = client.get_session()

    @staticmethod
    def _show(context: Any, chain: Path) -> None:
        context.use_privatekey_file(str(chain))
        context.use_certificate_chain_file(str(chain))

    def handshake(self, session: Any) -> tuple[Any, Any]:
        server = SSL.Connection(self.server_context, None)
        server.set_accept_state()
        client = SSL.Connection(self.client_context, None)
        client.set_connect_state()
        if session is not None:
            client.set_session(session)
        for side, other in ((client, server), (server, client), (client, server)):
            with contextlib.suppress(SSL.WantReadError):
                side.do_handshake()
            other.bio_write(side.bio_read(65536))
        server.do_handshake()
        client.bio_write(server.bio_read(65536))
        with contextlib.suppress(SSL.WantReadError):
            client.recv(1)
        # Without these, freeing the client would mark the session as not resumable.
        client.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)
        return client, server


class Standard(Library):
    """The standard library's ``ssl``."""

    def __init__(self, certificates: Certificates, install: Install = nothing) -> None:
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_context.load_cert_chain(certificates.server)
        self.client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client_context.check_hostname = False
        self.client_context.verify_mode = ssl.CERT_NONE
        if certificates.client is not None:
            self.server_context.load_verify_locations(certificates.ca)
            self.server_context.verify_mode = ssl.CERT_REQUIRED
            self.client_context.load_cert_chain(certificates.client)
        install(self.server_context)
        client, _ = self.handshake(None)
        self.session = client.session

    def handshake(self, session: Any) -> tuple[Any, Any]:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = self.server_context.wrap_bio(to_server, to_client, server_side=True)
        client = self.client(to_client, to_server, session)
        for side in (client, server, client):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        server.do_handshake()
        with contextlib.suppress(ssl.SSLWantReadError):
            client.read(1)
        return client, server

    def client(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, session: Any) -> Any:
        return self.client_context.wrap_bio(incoming, outgoing, session=session)


class StandardSetSession(Standard):
    """``ssl``, with sessions that ``openssl_tickets.set_session`` offers."""

    def __init__(self, certificates: Certificates, install: Install = nothing) -> None:
        super().__init__(certificates, install)
        client, _ = self.handshake(None)
        session = openssl_tickets.get_session(client)
        assert session is not None
        self.session = session.copy()

    def handshake(self, session: Any) -> tuple[Any, Any]:
        # A copy, because a connection that is freed without a shutdown spoils its session.
        return super().handshake(session.copy() if session is not None else None)

    def client(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, session: Any) -> Any:
        client = self.client_context.wrap_bio(incoming, outgoing)
        if session is not None:
            openssl_tickets.set_session(client, session)
        return client


class PlainC(Library):
    """libssl from C, without any Python between the handshake's steps."""

    def __init__(self, certificates: Certificates, install: Install = nothing) -> None:
        is_mutual = certificates.client is not None
        self.server_context = self._context(
            certificates.server, certificates.ca if is_mutual else None
        )
        self.client_context = self._context(certificates.client, None)
        install(self.server_context)
        self.session = in_c.benchmark().lib.new_session(self.server_context, self.client_context)
        assert self.session, "the handshake fails"

    @staticmethod
    def _context(chain: Path | None, ca: Path | None) -> Any:
        module = in_c.benchmark()
        context = module.lib.new_context(
            *(module.ffi.NULL if file is None else str(file).encode() for file in (chain, ca))
        )
        assert context, "the files are not as they should be"
        return context

    def seconds(self, session: Any, times: int) -> float:
        module = in_c.benchmark()
        offered = module.ffi.NULL if session is None else session
        seconds = module.lib.handshakes(self.server_context, self.client_context, offered, times)
        assert seconds > 0, "a handshake fails"
        return float(seconds)


class TlsliteNg(Library):
    """tlslite-ng: TLS in Python, including the cryptography of a session ticket."""

    def __init__(self, certificates: Certificates, install: Install = nothing) -> None:
        from tlslite.api import HandshakeSettings

        self._server_credentials = self._credentials(certificates.server)
        self._client_credentials = None
        if certificates.client is not None:
            self._client_credentials = self._credentials(certificates.client)
        self._settings = HandshakeSettings()
        self._settings.ticketKeys = [bytearray(range(32))]
        client, _ = self.handshake(None)
        self.session = client.session

    @staticmethod
    def _credentials(chain: Path) -> Any:
        from tlslite.api import X509CertChain, parsePEMKey

        text = chain.read_text()
        certificates = X509CertChain()
        certificates.parsePemList(text)
        return certificates, parsePEMKey(text[: text.index("-----BEGIN CERT")], private=True)

    def handshake(self, session: Any) -> tuple[Any, Any]:
        from tlslite.api import TLSConnection

        ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
        server, client = (TLSConnection(end) for end in ends)
        chain, key = self._server_credentials
        accepting = server.handshakeServerAsync(
            certChain=chain,
            privateKey=key,
            settings=self._settings,
            reqCert=self._client_credentials is not None,
        )
        chain, key = self._client_credentials or (None, None)
        connecting = client.handshakeClientCert(chain, key, session=session, async_=True)
        self._drive([connecting, accepting])
        self._drive([client.readAsync(min=1), server.writeAsync(b"\0")])
        for end in ends:
            end.close()
        assert client.resumed is (session is not None)
        return client, server

    @staticmethod
    def _drive(steps: list[Iterator[Any]]) -> None:
        """Runs *steps* in turn, each until it waits for the other, until all are done."""
        for _ in range(1000):
            for step in list(steps):
                result = next(step, None)
                if result is None or isinstance(result, (bytes, bytearray)):
                    steps.remove(step)
            if not steps:
                return
        raise AssertionError("the two sides wait for each other")


LIBRARIES: dict[str, type[Library]] = {"pyOpenSSL": PyOpenSSL, "ssl": Standard}
ON_LIBSSL: dict[str, type[Library]] = {"plain C": PlainC, **LIBRARIES}


def c_callbacks(context: Any) -> None:
    """Sets the callbacks in C on *context*, of any library above that uses libssl."""
    module = in_c.benchmark()
    is_pointer = isinstance(context, module.ffi.CData)
    pointer = context if is_pointer else to_ssl_ctx(context).pointer
    assert module.lib.install(module.ffi.cast("void *", pointer))
