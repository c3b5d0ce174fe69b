"""The result of a connection, and the errors."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ticket:
    """A session ticket that the server sent."""

    #: For how many seconds the ticket is valid, as the server says; 0 if it does not say.
    lifetime_hint: int
    #: The ticket itself, encrypted by the server.
    ticket: bytes = field(repr=False)

    @property
    def key_name(self) -> bytes:
        """The first 16 bytes. Servers with OpenSSL put the name of the ticket's key there."""
        return self.ticket[:16]


@dataclass(frozen=True)
class Alert:
    """A fatal alert from the server, which ended the connection."""

    #: The alert's number, 40 for example.
    number: int
    #: Its name in RFC 8446, ``"handshake_failure"`` for example; ``"unknown"`` if it has none.
    name: str


@dataclass(frozen=True)
class SClientResult:
    """What ``openssl s_client`` saw of a connection. The connection is over."""

    #: The tickets that the server sent, in the order in which they came.
    tickets: tuple[Ticket, ...]
    #: Whether the session of *sess_in* was resumed; None if the handshake was not completed.
    reused: bool | None
    #: The version, ``"TLSv1.3"`` for example; None if the handshake was not completed.
    protocol: str | None
    #: The server's fatal alert; None if there was none. Alerts that s_client sent are not here, and
    #: neither is the close_notify of a normal end.
    alert: Alert | None
    #: The verify result of the server's certificate: 0 if it is good; None if the handshake was not
    #: completed. After a resumption it is the result that the session holds, or 1 if s_client
    #: reported an error whose number cannot be read.
    verify_code: int | None
    #: What is wrong with the certificate, in OpenSSL's words; None if nothing is wrong.
    verify_error: str | None
    #: The exit code of the program. It is 0 if either side ended the connection with a
    #: close_notify. Otherwise it is 1, or the errno if the connection broke (104, ECONNRESET, for
    #: example). If a signal killed the program, it is the signal's number, negative.
    exit_code: int
    #: What the program printed about the connection (``-brief``, and its lines about ALPN and early
    #: data), and the server's data, in the order in which they came.
    output: str = field(repr=False)
    #: The application protocol that the server chose (``-alpn``); None if it chose none.
    alpn: str | None = None
    #: Whether the server accepted the early data (``-early_data``).
    early_data_accepted: bool = False
    #: What did not come before the connection ended, for example
    #: ``("ticket number 2", "b'hello' from the server")``. It is empty if everything came.
    missing: tuple[str, ...] = ()


class SClientError(Exception):
    """
    The base class of this module's own errors.

    Attributes:
        output: the output so far, like :attr:`SClientResult.output`.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


class SClientNotFound(SClientError, FileNotFoundError):
    """There is no such ``openssl`` program."""


class SClientRefused(SClientError, ConnectionRefusedError):
    """Nothing listens on that host and port."""


class SClientTimeout(SClientError, TimeoutError):
    """A step took longer than the timeout."""


class SClientEnded(SClientError):
    """
    The connection ended too early, for example because the server closed it or sent an alert.

    Attributes:
        result: what s_client saw, with the alert, the exit code, and what is missing.
    """

    def __init__(self, message: str, result: SClientResult) -> None:
        super().__init__(message, result.output)
        self.result = result

    def __reduce__(self) -> tuple[type[SClientEnded], tuple[str, SClientResult]]:
        return type(self), (str(self), self.result)
