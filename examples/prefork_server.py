"""
A preforking server whose workers share their ticket keys. Each worker is a process of its own.

    python prefork_server.py server.pem --workers 4 --shared-keys

    curl --cacert ca.pem https://localhost:4433 --next --cacert ca.pem https://localhost:4433

Each worker makes its own context, as real servers do. Without --shared-keys, each context has its
own random keys, and a client can resume only if it reaches the same worker again. If a worker dies,
a new worker with the same keys replaces it.
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
    Returns the keys. Call it before the workers are forked.

    After a fork, each worker has its own copy of the ring, and cannot change the copies of the
    others. But these keys follow from a secret and the clock. So all workers change to the next key
    at the same time. Only these processes know the secret, and it ends with them.
    """
    lifetime = openssl_tickets.get_session_timeout(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    return openssl_tickets.TicketKeys.derived(os.urandom(32), PERIOD, lifetime)


def work(
    name: str, listener: socket.socket, certificate: Path, keys: openssl_tickets.TicketKeys | None
) -> None:
    """Serves one client after the other until SIGTERM. Then it prints how many it resumed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if keys is not None:
        openssl_tickets.set_ticket_keys(context, keys)
    connections = resumed = 0
    try:
        while True:
            plain, _ = listener.accept()
            # The server goes on if a client is silent, speaks no TLS, or leaves early.
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
    """Prints a line in one piece, because all processes write to the same file."""
    print(f"{text}\n", end="", flush=True)


def start_worker(serve: Callable[[], None]) -> int:
    """Forks a process that only calls *serve*, and returns its id."""
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
            os._exit(status)  # not sys.exit(), which would run the parent's code
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
            # A signal here would end this process before it knows the id of the new worker.
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
                time.sleep(0.1)  # in case that no worker can start
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
