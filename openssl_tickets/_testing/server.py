"""
A server for contexts of ``ssl`` and pyOpenSSL. The fixtures, the demo and ``serve`` use it.

This module imports neither library. Whoever passes a context has imported its library.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1"
TIMEOUT = 10.0  # seconds
GRACE = 1.0  # seconds that each side has to end a connection

# accept(socket, timeout): does the handshake, with a timeout in seconds for each step, and ends the
# connection when its `with` block ends.
Accept = Callable[[socket.socket, float], contextlib.AbstractContextManager[Any]]


@dataclass(eq=False)
class Taken:
    """A connection that the server has accepted."""

    plain: socket.socket
    number: int
    deadline: float
    is_late: bool = False  # the server shut it down, because it took too long
    is_stopped: bool = False  # the server shut it down, because the server is closing


class Server:
    """
    Accepts connections on a port, and handles each one in a thread of its own.

    Args:
        handle: it is called with each connection. The socket is closed afterwards.
        host: the address to listen on.
        port: the port; 0 for a free one.
        limit: how many seconds a connection may take as a whole. After that it is shut down.
        connections: how many connections to accept; None for any number.
        at_once: how many connections to handle at the same time. More must wait.
        ended: it is called when the last of *connections* has ended.

    Raises:
        OSError: the server cannot listen on *host* and *port*.
    """

    def __init__(
        self,
        handle: Callable[[Taken], object],
        host: str = HOST,
        port: int = 0,
        *,
        limit: float = math.inf,
        connections: int | None = None,
        at_once: int = 100,
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family)
        self._listener.setblocking(False)
        self.host: str = self._listener.getsockname()[0]
        self.port: int = self._listener.getsockname()[1]
        self.taken = 0
        self.is_closing = False
        self._handle = handle
        self._limit = limit
        self._connections = connections
        self._at_once = at_once
        self._ended = ended
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, Taken] = {}
        self._awake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, name="server", daemon=True)
        self._thread.start()

    def end(self, seconds: float) -> None:
        """
        Accepts no more connections, and waits for the open ones.

        An open connection sees the end of its client's data. It has *seconds* to end by itself.
        """
        self._stop()
        self._shut_down(socket.SHUT_RD)
        self.wait(seconds)

    def close(self) -> list[str]:
        """
        Stops the server, and ends the open connections. A second call does nothing.

        Returns:
            The names of the threads that did not end.
        """
        self._stop()
        self._shut_down(socket.SHUT_RDWR)
        self.wait(GRACE)
        return [thread.name for thread in list(self._open)]

    def wait(self, seconds: float) -> None:
        """Waits until the open connections have ended, for *seconds* at most."""
        end = time.monotonic() + seconds
        while self._open and time.monotonic() < end:
            time.sleep(0.005)

    def _stop(self) -> None:
        if not self.is_closing:
            self.is_closing = True
            self._wake()
            self._thread.join()
            for plain in (self._listener, self._awake, self._waker):
                plain.close()

    def _shut_down(self, how: int) -> None:
        with self._lock:
            for taken in self._open.values():
                taken.is_stopped = True
                _shut_down(taken, how)

    def _accept(self) -> None:
        poll = select.poll()
        poll.register(self._awake, select.POLLIN)
        while not self.is_closing:
            self._end_late_ones()
            is_full = len(self._open) >= self._at_once
            if self.taken == self._connections:
                is_full = True
                self._listener.close()
                if not any(self._may_end(taken) for taken in list(self._open.values())):
                    self._ended()
                    return
            if not is_full:
                poll.register(self._listener, select.POLLIN)
            ready = dict(poll.poll(self._milliseconds()))
            if not is_full:
                poll.unregister(self._listener)
            if self._awake.fileno() in ready:
                self._awake.recv(1 << 10)
            if self._listener.fileno() in ready:
                self._take()

    def _take(self) -> None:
        try:
            plain, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # the client has left already
        except OSError as error:  # for example, all descriptors are in use
            self._failed("no connection could be taken", error)
            return
        plain.setblocking(True)
        self.taken += 1
        taken = Taken(plain, self.taken, time.monotonic() + self._limit)
        thread = threading.Thread(
            target=self._run, args=(taken,), name=f"connection {taken.number}", daemon=True
        )
        with self._lock:
            self._open[thread] = taken
        try:
            thread.start()
        except RuntimeError as error:
            del self._open[thread]
            plain.close()
            self._failed("no thread for a connection", error)

    @staticmethod
    def _failed(what: str, error: Exception) -> None:
        if sys.stderr is not None:
            with contextlib.suppress(OSError):
                print(f"error: {what}: {error}", file=sys.stderr)
        time.sleep(0.1)

    def _run(self, taken: Taken) -> None:
        try:
            self._handle(taken)
            with contextlib.suppress(OSError):
                _linger(taken.plain)
        finally:
            with self._lock:
                del self._open[threading.current_thread()]
                taken.plain.close()
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._waker.send(b"!", socket.MSG_DONTWAIT)

    def _end_late_ones(self) -> None:
        with self._lock:
            for taken in self._open.values():
                if taken.deadline <= time.monotonic():
                    taken.is_late = True
                    _shut_down(taken, socket.SHUT_RDWR)

    @staticmethod
    def _may_end(taken: Taken) -> bool:
        """Whether the connection may still end by itself. If not, its handler is stuck."""
        return time.monotonic() < taken.deadline + 5 * GRACE

    def _milliseconds(self) -> float | None:
        """Returns the time in milliseconds until an open connection needs attention."""
        now = time.monotonic()
        times = [
            moment - now
            for taken in list(self._open.values())
            for moment in (taken.deadline, taken.deadline + 5 * GRACE)
            if now < moment < math.inf
        ]
        return min(times) * 1000 + 1 if times else None


class TLSServer(Server):
    """
    A TLS server on a free port of 127.0.0.1, for a context of ``ssl`` or of pyOpenSSL.

    Each connection has a thread of its own. The thread does the handshake, calls
    ``serve(connection)``, and closes the connection.

    Args:
        context: an ``ssl.SSLContext`` or ``OpenSSL.SSL.Context`` for servers.
        serve: ``serve(connection)``, called after the handshake. None sends back what the client
            sends, until the client closes.
        timeout: how long each step of a connection may take, in seconds.

    Raises:
        TypeError: *context* is not a context of ``ssl`` or pyOpenSSL.
        OSError: there is no free port.
    """

    def __init__(
        self,
        context: Any,
        serve: Callable[[Any], object] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        #: The exceptions of the connections, from ``serve`` and from the handshake. The fixture
        #: fails the test if the list is not empty, so remove those that the test expects.
        self.errors: list[BaseException] = []
        self._tls = accepting(context)
        self._serve = _echo if serve is None else serve
        self._timeout = timeout
        super().__init__(self._converse)

    def close(self) -> list[str]:
        """
        Stops the server, and ends the open connections. A second call does nothing.

        Returns:
            The names of the threads that did not end. Each is also in ``errors``.
        """
        if self.is_closing:
            return []
        self.wait(GRACE)
        stuck = super().close()
        self.errors += [RuntimeError(f"{name} of this server does not end") for name in stuck]
        return stuck

    def _converse(self, taken: Taken) -> None:
        try:
            with self._tls(taken.plain, self._timeout) as connection:
                self._serve(connection)
        except BaseException as error:
            if not taken.is_stopped:
                self.errors.append(error)


def accepting(context: Any) -> Accept:
    """
    Returns a function for ``with accept(plain, timeout) as connection``.

    The function does the handshake. At the end of the block it sends a close_notify, unless the
    block raised an exception.

    Raises:
        TypeError: *context* is not a context of ``ssl`` or pyOpenSSL.
    """
    ssl = sys.modules.get("ssl")
    if ssl is not None and isinstance(context, ssl.SSLContext):
        return lambda plain, timeout: _accept_ssl(context, plain, timeout)
    for name in ("openssl_tickets.SSL", "OpenSSL.SSL"):
        module = sys.modules.get(name)
        if module is not None and isinstance(context, module.Context):
            return lambda plain, timeout: _accept_pyopenssl(module, context, plain, timeout)
    raise TypeError(
        f"tls_server needs an ssl.SSLContext or an OpenSSL.SSL.Context, not {context!r:.80}"
    )


@contextlib.contextmanager
def _accept_ssl(context: Any, plain: socket.socket, timeout: float) -> Iterator[Any]:
    with plain.dup() as mine:  # wrap_socket takes it over
        mine.settimeout(timeout)
        with context.wrap_socket(mine, server_side=True) as connection:
            yield connection
            with contextlib.suppress(OSError, ValueError):  # the block may have closed it
                connection.settimeout(min(timeout, GRACE))
                connection.unwrap()


@contextlib.contextmanager
def _accept_pyopenssl(
    module: Any, context: Any, plain: socket.socket, timeout: float
) -> Iterator[Any]:
    # pyOpenSSL ignores the timeout of a Python socket. The kernel's timeouts work.
    seconds = struct.pack("ll", int(timeout), int(timeout % 1 * 1_000_000))
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
    connection = module.Connection(context, plain)
    connection.set_accept_state()
    try:
        connection.do_handshake()
        yield connection
    except (module.WantReadError, module.WantWriteError) as error:
        raise TimeoutError(f"the client did nothing for {timeout:g} seconds") from error
    with contextlib.suppress(module.Error):
        connection.shutdown()


def read(connection: Any) -> bytes:
    """Returns the client's next data, or b"" at its end, with or without a close_notify."""
    module = sys.modules.get("OpenSSL.SSL")
    if module is None or not isinstance(connection, module.Connection):
        return bytes(connection.recv(1 << 14))
    try:
        return bytes(connection.recv(1 << 14))
    except module.ZeroReturnError:
        return b""
    except module.SysCallError as error:
        if error.args != (-1, "Unexpected EOF"):
            raise
        return b""


def _echo(connection: Any) -> None:
    while data := read(connection):
        connection.sendall(data)


def _shut_down(taken: Taken, how: int) -> None:
    with contextlib.suppress(OSError):
        taken.plain.shutdown(how)


def _linger(plain: socket.socket) -> None:
    """
    Waits until the client closes, for ``GRACE`` seconds at most.

    If the server closed a socket with unread data, the kernel would reset the connection, and the
    client could lose what it was sent.
    """
    end = time.monotonic() + GRACE
    plain.shutdown(socket.SHUT_WR)
    plain.settimeout(GRACE)
    while time.monotonic() < end and plain.recv(1 << 16):
        pass
