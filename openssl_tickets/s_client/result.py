"""The result of a connection, and the errors."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ticket:
    """A session ticket that the server sent."""

    #: How long the ticket is valid, in seconds, as the server says; 0 if it does not say.
    lifetime_hint: int
    #: The ticket itself.
    ticket: bytes = field(repr=False)

    @property
    def key_name(self) -> bytes:
        """The first 16 bytes: OpenSSL's name for the key that the ticket is encrypted with."""
        return self.ticket[:16]


@dataclass(frozen=True)
class Alert:
    """A fatal alert with which the server ended the connection."""

    #: 40 for example.
    number: int
    #: As in RFC 8446, ``"handshake_failure"`` for example; ``"unknown"`` for a number not there.
    name: str


@dataclass(frozen=True)
class SClientResult:
    """What ``openssl s_client`` saw of a connection that is over."""

    #: The tickets that the server sent, in their order.
    tickets: tuple[Ticket, ...]
    #: Whether the session of *sess_in* was resumed; None if the handshake was not completed.
    reused: bool | None
    #: ``"TLSv1.3"`` for example; None like *reused*.
    protocol: str | None
    #: The server's fatal alert, if there was one. It does not include alerts that s_client sent,
    #: nor the close_notify of an orderly end.
    alert: Alert | None
    #: The result of the verification of the server's certificate, 0 for a good one; None like
    #: *reused*. In a resumption, it is the session's; 1 if its number cannot be read.
    verify_code: int | None
    #: What is wrong with the certificate, in OpenSSL's words; None if nothing is.
    verify_error: str | None
    #: The exit code of the program: 0 after an orderly end by either side; after any other 1, or
    #: the errno if the connection broke (104, ECONNRESET, for example).
    #: Negative: the signal that it was killed with.
    exit_code: int
    #: What the program says about the connection (``-brief``, and what it would say without that
    #: of ALPN and early data), and the server's data, as they came.
    output: str = field(repr=False)
    #: The application protocol that the server chose (``-alpn``); None if it chose none.
    alpn: str | None = None
    #: Whether the server accepted the early data (``-early_data``).
    early_data_accepted: bool = False
    #: What did not come before the connection ended, in words, for example
    #: ``("ticket number 2", "b'hello' from the server")``. Empty if everything came.
    missing: tuple[str, ...] = ()


class SClientError(Exception):
    """
    The common base of this module's own errors.

    Attributes:
        output: what was seen by then, as in :attr:`SClientResult.output`.
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
        result: what s_client saw, with the alert, the exit code, and what was missing.
    """

    def __init__(self, message: str, result: SClientResult) -> None:
        super().__init__(message, result.output)
        self.result = result

    def __reduce__(self) -> tuple[type[SClientEnded], tuple[str, SClientResult]]:
        return type(self), (str(self), self.result)
