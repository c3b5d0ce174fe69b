"""
Fixtures for interop tests of TLS servers, with the real ``openssl s_client`` as their client.

pytest finds them by itself where openssl_tickets is installed. Neither pyOpenSSL nor ``ssl`` is
imported until a test asks for one of them.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from openssl_tickets.s_client import SClient, SClientResult

__all__ = ["SClientFactory", "TLSServer", "s_client", "tls_certificate", "tls_server"]

_HOST = "127.0.0.1"
_TIMEOUT = 10.0  # seconds
_GRACE = 1.0  # seconds, for a connection whose client is gone to come to its end


@pytest.fixture(scope="session")
def tls_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A self-signed certificate for localhost, 127.0.0.1 and ::1, with its key, in one PEM file. It is
    what a server loads, and what a client is to trust.
    """
    from openssl_tickets._testing.certificates import make_certificate

    _need_openssl()
    return make_certificate(tmp_path_factory.mktemp("tls_certificate"))


@pytest.fixture
def tls_server() -> Iterator[Callable[..., TLSServer]]:
    """
    ``tls_server(context, serve=None, timeout=10)`` starts a :class:`TLSServer` on a free port.

    At the end of the test it is stopped, and the test fails with what a connection raised, unless
    the test has taken that from ``errors``.
    """
    servers = []

    def start(
        context: Any, serve: Callable[[Any], object] | None = None, timeout: float = _TIMEOUT
    ) -> TLSServer:
        server = TLSServer(context, serve, timeout)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()
    for server in servers:
        for error in server.errors:
            raise error


@pytest.fixture
def s_client() -> Iterator[SClientFactory]:
    """
    ``s_client(server, ...)`` is a connection of ``openssl s_client``, and ``s_client.connect`` one
    in steps; see :class:`SClientFactory`. Without the program the test is skipped.
    """
    _need_openssl()
    factory = SClientFactory()
    yield factory
    factory.close()


def _need_openssl() -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl program on the PATH: install OpenSSL")


class TLSServer:
    """
    A TLS server on a free port of 127.0.0.1, for a context of ``ssl`` or of pyOpenSSL.

    Each connection is served in a thread of its own: it shakes hands, calls ``serve(connection)``,
    and closes.

    Args:
        context: an ``ssl.SSLContext`` or ``OpenSSL.SSL.Context`` for servers.
        serve: what a connection is for. None: what comes is sent back, until the client closes.
        timeout: how long each step of a connection may take, in seconds.
    """

    def __init__(self, context: Any, serve: Callable[[Any], object] | None, timeout: float) -> None:
        #: What connections raised, in ``serve`` or in the handshake. Empty it where that was to be.
        self.errors: list[BaseException] = []
        self.host = _HOST
        self._wrap = _wrapper(context)
        self._serve = _echo if serve is None else serve
        self._timeout = timeout
        self._closing = False
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._listener = socket.create_server((_HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="tls_server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops it, and ends the connections that are still open. A second call does nothing."""
        if self._closing:
            return
        end = time.monotonic() + _GRACE
        while self._open and time.monotonic() < end:
            time.sleep(0.005)
        self._closing = True
        # What accept() waits for; a listener that is only closed would not wake it.
        with contextlib.suppress(OSError):
            socket.create_connection((_HOST, self.port), self._timeout).close()
        self._thread.join(self._timeout)
        self._listener.close()
        with self._lock:
            left = dict(self._open)
        for plain in left.values():
            with contextlib.suppress(OSError):
                plain.shutdown(socket.SHUT_RDWR)
        for thread in left:
            thread.join(self._timeout)
            if thread.is_alive():
                self.errors.append(RuntimeError("a connection of tls_server does not end"))

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError as error:
                self.errors.append(error)
                return
            if self._closing:
                plain.close()
                return
            thread = threading.Thread(target=self._run, args=(plain,), daemon=True)
            with self._lock:
                self._open[thread] = plain
            thread.start()

    def _run(self, plain: socket.socket) -> None:
        try:
            with plain.dup() as mine:  # what is kept in _open can be shut down at any time
                self._wrap(mine, self._serve, self._timeout)
        except BaseException as error:
            if not self._closing:
                self.errors.append(error)
        finally:
            with self._lock:
                del self._open[threading.current_thread()]
            plain.close()


_Wrapper = Callable[[socket.socket, Callable[[Any], object], float], None]


def _wrapper(context: Any) -> _Wrapper:
    """Returns what serves a connection with *context*."""
    ssl = sys.modules.get("ssl")
    if ssl is not None and isinstance(context, ssl.SSLContext):
        return lambda plain, serve, timeout: _serve_ssl(context, plain, serve, timeout)
    for name in ("openssl_tickets.SSL", "OpenSSL.SSL"):
        module = sys.modules.get(name)
        if module is not None and isinstance(context, module.Context):
            return lambda plain, serve, timeout: _serve_pyopenssl(
                module, context, plain, serve, timeout
            )
    raise TypeError(
        f"tls_server needs an ssl.SSLContext or an OpenSSL.SSL.Context, not {context!r:.80}"
    )


def _serve_ssl(
    context: Any, plain: socket.socket, serve: Callable[[Any], object], timeout: float
) -> None:
    import ssl

    plain.settimeout(timeout)
    with context.wrap_socket(plain, server_side=True) as connection:
        serve(connection)
        with contextlib.suppress(OSError, ValueError):  # it may have been closed
            connection.settimeout(min(timeout, _GRACE))
            with contextlib.suppress(ssl.SSLError):
                connection.unwrap()


def _serve_pyopenssl(
    module: Any,
    context: Any,
    plain: socket.socket,
    serve: Callable[[Any], object],
    timeout: float,
) -> None:
    # pyOpenSSL takes no notice of a socket's own timeout, but the kernel does.
    seconds = struct.pack("ll", int(timeout), int(timeout % 1 * 1_000_000))
    plain.settimeout(None)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
    connection = module.Connection(context, plain)
    connection.set_accept_state()
    connection.do_handshake()
    serve(connection)
    with contextlib.suppress(module.Error):
        connection.shutdown()


def _echo(connection: Any) -> None:
    """Sends back what comes, until the client closes."""
    names = ("OpenSSL.SSL", "openssl_tickets.SSL")
    ends = tuple(sys.modules[name].ZeroReturnError for name in names if name in sys.modules)
    with contextlib.suppress(*ends):
        while data := connection.recv(1 << 14):
            connection.sendall(data)


class SClientFactory:
    """
    Connections of ``openssl s_client`` to 127.0.0.1.

    What they take besides is what :func:`openssl_tickets.s_client.run` and
    :class:`openssl_tickets.s_client.SClient` take: ``tickets``, ``send``, ``wait_for``,
    ``sess_in``, ``sess_out``, ``tls_version``, ``ca_file``, ``timeout`` (10 seconds) and so on.
    """

    def __init__(self) -> None:
        self._clients: list[SClient] = []

    def __call__(self, server: TLSServer | int, **options: Any) -> SClientResult:
        """Makes one connection to *server*, or to a port, and returns what s_client saw."""
        from openssl_tickets.s_client import run

        return run(_HOST, _port(server), **{"timeout": _TIMEOUT, **options})

    def connect(self, server: TLSServer | int, **options: Any) -> SClient:
        """Begins a connection in steps. It is closed at the end of the test, if not before."""
        from openssl_tickets.s_client import SClient

        client = SClient(_HOST, _port(server), **{"timeout": _TIMEOUT, **options})
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Closes all connections."""
        from openssl_tickets.s_client import SClientTimeout

        for client in self._clients:
            with contextlib.suppress(SClientTimeout):  # it is gone, but not by itself
                client.close()


def _port(server: TLSServer | int) -> int:
    return server.port if isinstance(server, TLSServer) else server
