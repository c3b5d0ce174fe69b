"""
A preforking server: each worker is a process of its own, and all of them have the same ticket keys.

    python prefork_server.py server.pem --workers 4 --shared-keys

    curl --cacert ca.pem https://localhost:4433 --next --cacert ca.pem https://localhost:4433

Each worker makes its own context, as real servers do. Without --shared-keys its libssl makes up
keys of its own, and a client is resumed only where it meets the very worker that it met before. A
worker that dies is replaced, and the new one has the keys, too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import ssl
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import openssl_tickets

PERIOD = 3600  # seconds for which a key encrypts
STOP = (signal.SIGINT, signal.SIGTERM)


def shared_keys() -> openssl_tickets.TicketKeys:
    """
    Returns the keys, which are to be made before the workers are.

    A ring is a process's own after the fork, and what one worker changes does not come to the
    others. These follow from a secret and the clock, so all workers go on to the next key at the
    same time, without a word between them; the secret is known to nobody else, and gone with them.
    """
    lifetime = openssl_tickets.get_session_timeout(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    return openssl_tickets.TicketKeys.derived(os.urandom(32), PERIOD, lifetime)


def work(
    name: str, listener: socket.socket, certificate: Path, keys: openssl_tickets.TicketKeys | None
) -> None:
    """Serves one client after the other until SIGTERM; then says how many it has resumed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if keys is not None:
        openssl_tickets.set_ticket_keys(context, keys)
    connections = resumed = 0
    try:
        while True:
            plain, _ = listener.accept()
            # A client that says nothing, or no TLS, or leaves early is not to stop us.
            with plain, contextlib.suppress(OSError):
                plain.settimeout(10)
                with context.wrap_socket(plain, server_side=True) as connection:
                    connections += 1
                    resumed += bool(connection.session_reused)
                    reply(connection, name)
                    connection.unwrap()
    finally:
        say(f"{name}: {connections} connections, {resumed} resumed")


def reply(connection: ssl.SSLSocket, name: str) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        piece = connection.recv(4096)
        if not piece or len(request) > 1 << 16:
            return
        request += piece
    how = "resumed" if connection.session_reused else "full handshake"
    text = f"{name}, process {os.getpid()}: {how}\n"
    head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(text)}\r\n\r\n"
    connection.sendall((head + text).encode())


def say(text: str) -> None:
    """Prints a line in one piece: all processes write to the same place."""
    print(f"{text}\n", end="", flush=True)


def start_worker(serve: Callable[[], None]) -> int:
    """Forks a process that does nothing but *serve*; returns its id."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
            serve()
        except SystemExit:
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)  # not sys.exit(): what comes after is for the parent to do
    return process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1] if __doc__ else None)
    parser.add_argument("certificate", type=Path, help="the server's key and certificates, PEM")
    parser.add_argument("--port", type=int, default=4433)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--shared-keys", action="store_true")
    options = parser.parse_args()

    for number in STOP:
        signal.signal(number, lambda *_: sys.exit())
    keys = shared_keys() if options.shared_keys else None
    workers: dict[int, str] = {}
    with socket.create_server(("127.0.0.1", options.port), backlog=100) as listener:

        def start(name: str) -> None:
            # Told to end here, we would not know of the new worker.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
            serve = partial(work, name, listener, options.certificate, keys)
            workers[start_worker(serve)] = name
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)

        try:
            for each in range(options.workers):
                start(f"worker {each}")
            say("Running on https://{}:{}".format(*listener.getsockname()))
            while True:
                name = workers.pop(os.wait()[0])
                say(f"{name} has died, and is replaced")
                time.sleep(0.1)  # one that cannot start at all is not to keep us busy
                start(name)
        finally:
            for number in STOP:
                signal.signal(number, signal.SIG_IGN)
            for process in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGTERM)
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.wait()


if __name__ == "__main__":
    main()
