"""The real ``openssl s_client`` as the client of our server, over loopback."""

from __future__ import annotations

import contextlib
import itertools
import socket
from contextlib import ExitStack
from functools import partial
from typing import Any, Literal

import openssl_tickets
from openssl_tickets import Session
from openssl_tickets.s_client import SClient, SClientEnded, SClientResult, SClientTimeout
from tests.conformance.observe import observe
from tests.conformance.server import RAISED, TLS_ERRORS, Files, Server
from tests.conformance.table import Case, Outcome
from tests.support import tls

REPLY = b"welcome\n"
_numbers = itertools.count()


def observe_s_client(section: str, case: Case, files: Files) -> Outcome:
    """Plays *case* through with s_client; it leaves no process behind."""
    with ExitStack() as at_the_end:
        return observe(section, case, files, partial(WithSClient, at_the_end))


def new_session_file(files: Files) -> Any:
    """Returns a path where there is nothing yet."""
    return files.folder / f"session-{next(_numbers)}.pem"


def s_client(
    files: Files,
    case: Case,
    port: int,
    sess_out: Any,
    offered: Session | None = None,
    *,
    wants_ticket: bool = True,
) -> SClient:
    """Starts s_client; it has a certificate, and says that it may be asked for that later."""
    sess_in = None
    if offered is not None:
        sess_in = new_session_file(files)
        sess_in.write_bytes(offered.to_pem())
    version: Literal["1.2", "1.3"] = "1.2" if case["version"] == "1.2" else "1.3"
    return SClient(
        "127.0.0.1",
        port,
        tls_version=version,
        ca_file=files.authority,
        cert_file=files.client,
        sess_in=sess_in,
        sess_out=sess_out,
        extra_args=["-enable_pha"] if wants_ticket else ["-enable_pha", "-no_ticket"],
        timeout=tls.TIMEOUT,
    )


class WithSClient:
    """
    A connection of s_client with our server, after the handshake.

    s_client sends a line then, which is replied to: what was sent before the reply is there. Both
    sides are of one thread: it is the program that runs by itself.
    """

    def __init__(
        self,
        at_the_end: ExitStack,
        server: Server,
        offered: Session | None = None,
        *,
        wants_ticket: bool = True,
    ) -> None:
        self.errors: list[str] = []
        self.tickets = 0
        self._result: SClientResult | None = None
        self._kept = new_session_file(server.files)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._client = at_the_end.enter_context(
                s_client(
                    server.files,
                    server.case,
                    listener.getsockname()[1],
                    self._kept,
                    offered,
                    wants_ticket=wants_ticket,
                )
            )
            listener.settimeout(tls.TIMEOUT)
            plain, _ = listener.accept()
        at_the_end.callback(plain.close)
        self.server = server.connection(plain)
        at_the_end.callback(self.server.close)
        self._is_resumed: bool | None = None
        try:
            self.server.do_handshake()
            self._is_resumed = openssl_tickets.session_reused(self.server)
            self.ask()
        except (*TLS_ERRORS, SClientEnded):
            self.close()
        except Exception as error:  # what a callback raised, out of the drop-in connection
            self.errors.append(type(error).__name__)
            self.close()
        self.errors += RAISED.of(self.server)

    @property
    def alert(self) -> str | None:
        """The fatal alert that s_client got."""
        assert self._result is not None, "the connection is not closed yet"
        return self._result.alert.name if self._result.alert else None

    @property
    def session(self) -> Session:
        """The session that s_client wrote with the last ticket."""
        return Session.from_pem(self._kept.read_bytes())

    @property
    def reused(self) -> bool:
        """Whether s_client says that a session was resumed; our side says the same."""
        assert self._result is not None, "the connection is not closed yet"
        assert self._result.reused is not None
        assert self._result.reused is self._is_resumed
        return self._result.reused

    def read(self, tickets: int) -> None:
        """Waits for the *tickets* that are on their way."""
        with contextlib.suppress(SClientTimeout):
            self._client.wait_for_tickets(self.tickets + tickets)

    def write(self) -> None:
        """The server writes; s_client prints that, and all the tickets that came before."""
        self.server.sendall(REPLY)
        self._client.wait_for(REPLY)
        self.tickets = len(self._client.wait_for_tickets(0))

    def tell(self) -> None:
        """s_client sends a line, and the server reads that."""
        self._client.send(b"hello\n")
        assert self.server.recv(100) == b"hello\n"

    def ask(self) -> None:
        """s_client sends a line; the server reads that and what came before it, and replies."""
        self.tell()
        self.write()

    def close(self) -> None:
        """The server ends the connection, and s_client with it."""
        if self._result is not None:
            return
        if hasattr(self.server, "shutdown") and not hasattr(self.server, "unwrap"):
            with contextlib.suppress(*TLS_ERRORS):
                self.server.shutdown()
        self.server.close()
        self._result = self._client.wait_for_end()
        self.tickets = len(self._result.tickets)
