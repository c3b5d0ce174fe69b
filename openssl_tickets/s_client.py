"""
Drives the ``openssl s_client`` program, for scripted interop tests of a server's tickets.

:func:`run` is one connection in one call; :class:`SClient` is one in steps. Both wait for what is
to come (tickets, text), never for a time to pass, and hand back what was seen as plain data::

    seen = s_client.run("127.0.0.1", 4433, tls_version="1.3", ca_file="ca.pem", tickets=2)
    assert len(seen.tickets) == 2 and not seen.reused

It needs no more than the standard library and the ``openssl`` program, of OpenSSL 3.0 or later.
The output it keeps holds the secrets of the connection: it is for tests.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import math
import os
import re
import selectors
import shutil
import signal
import subprocess
import threading
import time
import tty
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import FileIO
from types import TracebackType
from typing import IO, Literal

__all__ = [
    "Alert",
    "SClient",
    "SClientEnded",
    "SClientError",
    "SClientNotFound",
    "SClientRefused",
    "SClientResult",
    "SClientTimeout",
    "Ticket",
    "run",
]


@dataclass(frozen=True)
class Ticket:
    """A session ticket that the server sent."""

    #: How long the server says that the ticket is good for, in seconds; 0 where it does not say.
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

    #: The tickets that the server sent, in their order. A TLS 1.2 server sends one at most, and
    #: the old one that s_client prints after a resumption without a renewal is not in here.
    tickets: tuple[Ticket, ...]
    #: Whether the session of *sess_in* was resumed; None where the handshake did not get far
    #: enough to tell.
    reused: bool | None
    #: ``"TLSv1.3"`` for example; None like *reused*.
    protocol: str | None
    #: The fatal alert that came from the server, if one did. Alerts that s_client itself sent,
    #: and the close_notify of an orderly end, are not in here.
    alert: Alert | None
    #: The result of the verification of the server's certificate, 0 for a good one; None like
    #: *reused*. In a resumption, it is the session's.
    verify_code: int | None
    #: What is wrong with the certificate, in OpenSSL's words; None where nothing is.
    verify_error: str | None
    #: The exit code of the program: 0 after an orderly end by either side; after any other 1, or
    #: the errno where the connection broke (104, ECONNRESET, for example).
    #: Negative: the signal that it was killed with.
    exit_code: int
    #: Everything the program printed, on standard output and standard error together.
    output: str = field(repr=False)


class SClientError(Exception):
    """
    The common base of this module's own errors.

    Attributes:
        output: what ``openssl s_client`` had printed by then.
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
    ``openssl s_client`` ended before what was waited for, for example because the server closed
    the connection.

    Attributes:
        result: all that was seen, with the server's alert and the exit code.
    """

    def __init__(self, message: str, result: SClientResult) -> None:
        super().__init__(message, result.output)
        self.result = result

    def __reduce__(self) -> tuple[type[SClientEnded], tuple[str, SClientResult]]:
        return type(self), (str(self), self.result)


def run(
    host: str,
    port: int,
    *,
    send: bytes = b"",
    tickets: int = 0,
    wait_for: bytes = b"",
    tls_version: Literal["1.2", "1.3"] | None = None,
    ca_file: str | os.PathLike[str] | None = None,
    server_name: str | None = None,
    sess_in: str | os.PathLike[str] | None = None,
    sess_out: str | os.PathLike[str] | None = None,
    cert_file: str | os.PathLike[str] | None = None,
    key_file: str | os.PathLike[str] | None = None,
    extra_args: Sequence[str] = (),
    program: str | os.PathLike[str] = "openssl",
    timeout: float = 10.0,
) -> SClientResult:
    """
    Makes one connection with ``openssl s_client`` and returns what it saw.

    It connects, sends *send*, waits for *tickets* and then for *wait_for*, and closes. Where the
    server ends the connection before all that came, this is no error: look at the result.

    s_client learns of tickets, and in TLS 1.3 of a refusal of its certificate, only after its
    handshake. So to see how many tickets came, 0 above all, wait for the server's reply, which
    comes after them; to see an alert, wait for a ticket or a reply that the alert stands in for.

    Args:
        host, port, tls_version, ca_file, server_name: as for :class:`SClient`.
        sess_in, sess_out, cert_file, key_file: as for :class:`SClient`.
        extra_args, program, timeout: as for :class:`SClient`.
        send: the bytes to send.
        tickets: how many tickets to wait for, 0 or more.
        wait_for: the bytes from the server to wait for; empty for none.

    Returns:
        What was seen, until the server ended the connection or all that was waited for had come.

    Raises:
        TypeError, ValueError: an argument is of the wrong type, or out of range.
        SClientNotFound: there is no such *program*.
        SClientRefused: nothing listens there.
        SClientTimeout: a step took longer than *timeout*.
        SClientEnded: the program ended before it was connected: it did not like its arguments or
            one of the files, or could not reach the host.
        SClientError: the system has no pseudo-terminal to give.

    Example::

        first = run("127.0.0.1", 4433, tickets=1, sess_out="session.pem")
        second = run("127.0.0.1", 4433, send=b"hello\\n", wait_for=b"\\n", sess_in="session.pem")
        assert second.reused
    """
    _check_count("tickets", tickets)
    _check_bytes("send", send)
    _check_bytes("wait_for", wait_for)
    with SClient(
        host,
        port,
        tls_version=tls_version,
        ca_file=ca_file,
        server_name=server_name,
        sess_in=sess_in,
        sess_out=sess_out,
        cert_file=cert_file,
        key_file=key_file,
        extra_args=extra_args,
        program=program,
        timeout=timeout,
    ) as client:
        with contextlib.suppress(SClientEnded):
            if send:
                client.send(send)
            client.wait_for_tickets(tickets)
            if wait_for:
                client.wait_for(wait_for)
        return client.close()


class SClient:
    """
    A connection of ``openssl s_client``, in steps.

    The program is connected once this returns; the handshake may still be under way, so that a
    server in the same thread can accept it now. Its output is read all the time. Leave the
    ``with`` block, or call :meth:`close`, and the program is gone; where the block is left by an
    exception (``KeyboardInterrupt`` too), it is killed.

    Args:
        host: a name or an address, IPv6 ones (``"::1"``) too.
        port: 1 to 65535.
        tls_version: the only one to offer; None for what the program offers by itself.
        ca_file: the certificates to trust, PEM; None for the system's. An untrusted server is
            reported in ``verify_code``; give ``-verify_return_error`` in *extra_args* to have
            s_client end the connection.
        server_name: the name to ask for (SNI); None to ask for none.
        sess_in: the session to resume, a file that *sess_out* wrote.
        sess_out: where to write the session; each ticket overwrites it, so it is the last one.
            In TLS 1.2 it is written after a full handshake only, also for a session without a
            ticket: a resumption leaves the file as it was, even where it brings a new ticket.
        cert_file: the client's certificate, PEM.
        key_file: its private key, PEM; None where it is in *cert_file* too.
        extra_args: more arguments for s_client, ``["-alpn", "h2"]`` for example. Those that
            change what it prints or when it ends (``-quiet``, ``-brief``, ``-ign_eof``) are
            refused.
        program: the ``openssl`` to run; without a slash it is looked for on the PATH.
        timeout: how long each step (connecting, a wait, a send, closing) may take, in seconds.

    Raises:
        TypeError, ValueError: an argument is of the wrong type, or out of range.
        SClientNotFound: there is no such *program*.
        SClientRefused: nothing listens there.
        SClientTimeout: connecting took longer than *timeout*.
        SClientEnded: the program ended before it was connected: it did not like its arguments or
            one of the files, or could not reach the host.
        SClientError: the system has no pseudo-terminal to give.

    Example::

        with SClient("127.0.0.1", 4433, tls_version="1.3") as client:
            client.wait_for_tickets(2)
            client.send(b"login\\n")
            client.wait_for(b"welcome")
            client.wait_for_tickets(3)
            seen = client.close()
        assert seen.exit_code == 0
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls_version: Literal["1.2", "1.3"] | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        server_name: str | None = None,
        sess_in: str | os.PathLike[str] | None = None,
        sess_out: str | os.PathLike[str] | None = None,
        cert_file: str | os.PathLike[str] | None = None,
        key_file: str | os.PathLike[str] | None = None,
        extra_args: Sequence[str] = (),
        program: str | os.PathLike[str] = "openssl",
        timeout: float = 10.0,
    ) -> None:
        files = {
            "-CAfile": _checked_path("ca_file", ca_file),
            "-sess_in": _checked_path("sess_in", sess_in),
            "-sess_out": _checked_path("sess_out", sess_out),
            "-cert": _checked_path("cert_file", cert_file),
            "-key": _checked_path("key_file", key_file),
        }
        if key_file is not None and cert_file is None:
            raise ValueError(f"key_file {key_file!r} is of no use without a cert_file")
        self._timeout = _checked_timeout(timeout)
        arguments = [
            *("-connect", _address(host, port)),
            *_version_option(tls_version),
            *_server_name_option(server_name),
            *(part for option, path in files.items() if path for part in (option, path)),
            *_checked_extra_args(extra_args),
        ]
        found = _find(program)
        self._name = f"{found} s_client to {_address(host, port)}"
        self._has_commands = not _knows_nocommands(found, self._timeout)
        if not self._has_commands:
            arguments.append("-nocommands")
        self._result: SClientResult | None = None
        # -state says on standard error whether a TLS 1.2 server sent a ticket.
        self._start([found, "s_client", "-state", *arguments])

    def send(self, data: bytes) -> None:
        """
        Sends *data* to the server.

        It returns once the program has taken all of it; what the server made of it is another
        matter, see :meth:`wait_for`. During the handshake it is kept until that is done.

        Args:
            data: any bytes. Programs before OpenSSL 3.0 have no ``-nocommands``: these take what
                begins with ``Q``, ``R``, ``K`` or ``k`` for an order to themselves, and to be
                on the safe side, it is refused.

        Raises:
            TypeError: *data* is not bytes.
            ValueError: the program would take *data* for one of its commands.
            SClientEnded: the connection is over.
            SClientTimeout: the program did not take it in time; the server may not be reading.
        """
        _check_bytes("data", data)
        if self._has_commands and data[:1] in _COMMAND_LETTERS:
            raise ValueError(
                f"{self._name} is too old to send what begins with {data[:1]!r}, which is a "
                "command to itself: use the program of OpenSSL 3.0 or later"
            )
        if self._stdin.closed:
            raise self._ended(f"{len(data)} bytes could be sent")
        try:
            sent = _write(self._stdin.fileno(), data, self._timeout)
        except BrokenPipeError:
            raise self._ended(f"{len(data)} bytes were sent") from None
        if sent < len(data):
            raise self._timed_out(f"more than {sent} of {len(data)} bytes were sent")

    def wait_for_tickets(self, count: int) -> tuple[Ticket, ...]:
        """
        Waits until *count* tickets have come, counted from the beginning of the connection.

        Args:
            count: how many in all, 0 or more.

        Returns:
            All tickets so far, in their order; there can be more than *count*.

        Raises:
            TypeError: *count* is not an integer.
            ValueError: *count* is negative.
            SClientEnded: the connection ended before.
            SClientTimeout: they did not come in time.
        """
        _check_count("count", count)
        self._wait(lambda: len(self._transcript.tickets) >= count, f"ticket number {count} came")
        with self._changed:
            return tuple(self._transcript.tickets)

    def wait_for(self, data: bytes) -> None:
        """
        Waits until the server has sent *data*.

        Looked at is what the server sent after the match of the call before, tickets aside, so
        that the same reply can be waited for twice.

        Args:
            data: the bytes to wait for, at least one.

        Raises:
            TypeError: *data* is not bytes.
            ValueError: *data* is empty.
            SClientEnded: the connection ended before.
            SClientTimeout: it did not come in time.
        """
        _check_bytes("data", data)
        if not data:
            raise ValueError("data must not be empty: give the bytes to wait for")
        self._wait(lambda: self._transcript.take(data), f"the server sent {data!r:.80}")

    def wait_for_end(self) -> SClientResult:
        """
        Waits until the program ends by itself, as it does when the server ends the connection.

        Returns:
            What was seen, as from :meth:`close`.

        Raises:
            SClientTimeout: it did not end in time.
        """
        self._wait(lambda: self._transcript.ended, "the server ended the connection")
        return self.close()

    def close(self) -> SClientResult:
        """
        Ends the connection in an orderly way (close_notify), and the program with it.

        Tickets and data that are still on their way are lost: wait for them before. It takes up
        to half a second where the server does not close its side. A second call returns the same.

        Returns:
            What was seen.

        Raises:
            SClientTimeout: the program did not end in time, because its handshake is not done for
                example; it was killed.
        """
        if self._result is None:
            try:
                self._stdin.close()
                self._process.wait(self._timeout)
            except subprocess.TimeoutExpired:
                self._kill()
                raise self._timed_out("the program ended, and killed it") from None
            except BaseException:
                self._kill()
                raise
            self._reader.join(self._timeout)
            self._result = self._transcript.result(self._process.returncode)
        return self._result

    def __enter__(self) -> SClient:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exception_type is None:
            self.close()
        else:
            self._kill()

    def _start(self, command: list[str]) -> None:
        self._transcript = _Transcript()
        self._changed = threading.Condition()
        self._process, stdout = _popen(command)
        self._stdin = _pipe(self._process.stdin)
        self._reader = threading.Thread(
            target=_read_all,
            args=(stdout, _pipe(self._process.stderr), self._transcript, self._changed),
            name=self._name,
            daemon=True,
        )
        try:
            os.set_blocking(self._stdin.fileno(), False)
            self._reader.start()
            self._wait(lambda: self._transcript.connected, "it was connected")
        except SClientEnded as error:
            raise self._refused(error) if _is_refusal(error.output) else error from None
        except BaseException:
            self._kill()
            raise

    def _kill(self) -> None:
        """Ends the program at once, if it still runs, and leaves neither process nor thread."""
        if self._process.poll() is None:
            # The whole group, for the case that *program* is a script that runs the real one.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._stdin.close()
        if self._reader.is_alive():
            self._reader.join(self._timeout)

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        """Waits until *done*, called with the lock held, is True; it is not called again then."""
        deadline = time.monotonic() + self._timeout
        with self._changed:
            while not done():
                remaining = deadline - time.monotonic()
                if self._transcript.ended or remaining <= 0:
                    break
                self._changed.wait(remaining)
            else:
                return
            ended = self._transcript.ended
        raise self._ended(what) if ended else self._timed_out(what)

    def _ended(self, what: str) -> SClientEnded:
        result = self.close()
        alert = f", alert {result.alert.number} {result.alert.name}" if result.alert else ""
        return SClientEnded(
            f"{self._name} ended before {what} (exit code {result.exit_code}{alert}, "
            f"tickets: {len(result.tickets)}). {_tail(result.output)}",
            result,
        )

    def _timed_out(self, what: str) -> SClientTimeout:
        with self._changed:
            output, tickets = self._transcript.text(), len(self._transcript.tickets)
        return SClientTimeout(
            f"{self._name} gave up after {self._timeout:g} seconds, before {what} "
            f"(tickets: {tickets}): see what the server does, or give a longer timeout. "
            f"{_tail(output)}",
            output,
        )

    def _refused(self, error: SClientEnded) -> SClientRefused:
        return SClientRefused(
            f"{self._name} was refused, nothing listens there: start the server first, and check "
            "the host and the port",
            error.output,
        )


# Where a line of s_client's input begins with one of these, programs without -nocommands take it
# for: quit, renegotiate, update the keys (two kinds).
_COMMAND_LETTERS = (b"Q", b"R", b"K", b"k")

# With these, s_client does not print what is parsed here, or does not end with its input.
_REFUSED_OPTIONS = ("quiet", "brief", "ign_eof")

_TICKET_STARTS = b"---\nPost-Handshake New Session Ticket arrived:\n"
# What s_client prints among the server's data: TLS 1.3 tickets, and that it has to read on.
_OWN_TEXT = re.compile(_TICKET_STARTS + rb"(?P<session>.*?\n)---\n|read R BLOCK\n", re.DOTALL)
# The end of what it prints about the handshake; all after it is the server's data.
_SUMMARY = re.compile(rb"^(New|Reused), (\S+), Cipher is .*?^---\n", re.DOTALL | re.MULTILINE)
_VERIFY = re.compile(rb"^ *Verify return code: (\d+) \((.*)\)$", re.MULTILINE)
_LIFETIME_HINT = re.compile(rb"^ *TLS session ticket lifetime hint: (\d+) \(seconds\)$", re.M)
_TICKET = re.compile(rb"^ *TLS session ticket:\n((?: *[0-9a-f]+ - .*\n)+)", re.MULTILINE)
# An offset, 16 bytes in hex with a blank or a dash after each, two blanks, the bytes as text.
_HEX_LINE = re.compile(rb"^ *[0-9a-f]+ - ((?:[0-9a-f]{2}[ -])+)", re.MULTILINE)
_ALERT = re.compile(rb":SSL alert number (\d+)\s*$", re.MULTILINE)
_FINISHED_WAS_READ = b"SSLv3/TLS read finished"
_TICKET_WAS_READ = b"read server session ticket\n"

_ALERT_NAMES = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    21: "decryption_failed",
    22: "record_overflow",
    30: "decompression_failure",
    40: "handshake_failure",
    41: "no_certificate",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    60: "export_restriction",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    90: "user_canceled",
    100: "no_renegotiation",
    109: "missing_extension",
    110: "unsupported_extension",
    111: "certificate_unobtainable",
    112: "unrecognized_name",
    113: "bad_certificate_status_response",
    114: "bad_certificate_hash_value",
    115: "unknown_psk_identity",
    116: "certificate_required",
    120: "no_application_protocol",
}


class _Transcript:
    """What s_client printed, taken apart as it comes."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self.ended = False
        self._output = bytearray()
        self._stderr = bytearray()
        self._summary: re.Match[bytes] | None = None
        self._data = bytearray()  # standard output; after the summary, the server's data alone
        self._scanned = 0  # up to here, the data is free of s_client's own text
        self._skipped = 0  # up to here, the data has been waited for

    @property
    def connected(self) -> bool:
        return b"CONNECTED(" in self._data or self._summary is not None

    def take(self, data: bytes) -> bool:
        """Skips past *data* if the server has sent it since the last skip."""
        if self._summary is None:
            return False
        unfinished = self._data.find(_TICKET_STARTS, self._scanned)
        end = unfinished if unfinished >= 0 else len(self._data)
        found = self._data.find(data, self._skipped, end)
        if found >= 0:
            self._skipped = found + len(data)
        return found >= 0

    def feed(self, stdout: bytes, stderr: bytes) -> None:
        """Takes in more text; *stderr* has all that was written before *stdout* was."""
        self._output += stderr + stdout
        self._stderr += stderr
        self._data += stdout
        if self._summary is None and not self._take_summary():
            return
        while own := _OWN_TEXT.search(self._data, self._scanned):
            if own["session"]:
                self.tickets += _tickets_of(own["session"])
            del self._data[own.start() : own.end()]
            self._skipped = min(self._skipped, own.start())
            self._scanned = own.start()
        unfinished = self._data.find(_TICKET_STARTS, self._scanned)
        if unfinished < 0:
            unfinished = max(self._scanned, len(self._data) - len(_TICKET_STARTS))
        self._scanned = unfinished

    def _take_summary(self) -> bool:
        self._summary = _SUMMARY.search(bytes(self._data))
        if self._summary is None:
            return False
        del self._data[: self._summary.end()]
        # TLS 1.2 shows its ticket here, but after a resumption without a renewal it is the old
        # one. TLS 1.3 has none yet.
        if self._summary[2] != b"TLSv1.3" and _TICKET_WAS_READ in self._stderr:
            self.tickets += _tickets_of(self._summary[0])
        return True

    def text(self) -> str:
        return self._output.decode(errors="backslashreplace")

    def result(self, exit_code: int) -> SClientResult:
        summary = self._summary
        if _FINISHED_WAS_READ not in self._stderr:
            summary = None  # printed after a failed handshake: it tells of the session offered
        verify = _VERIFY.search(summary[0]) if summary else None
        verify_code = int(verify[1]) if verify else None
        return SClientResult(
            tickets=tuple(self.tickets),
            reused=summary[1] == b"Reused" if summary else None,
            protocol=summary[2].decode() if summary else None,
            alert=_alert_of(self._stderr),
            verify_code=verify_code,
            verify_error=verify[2].decode() if verify and verify_code else None,
            exit_code=exit_code,
            output=self.text(),
        )


def _tickets_of(session: bytes) -> list[Ticket]:
    """Returns the ticket of a printed SSL_SESSION; none where it has none."""
    dump = _TICKET.search(session)
    if dump is None:
        return []
    ticket = b"".join(
        bytes.fromhex(line[1].replace(b"-", b" ").decode()) for line in _HEX_LINE.finditer(dump[1])
    )
    hint = _LIFETIME_HINT.search(session)
    return [Ticket(lifetime_hint=int(hint[1]) if hint else 0, ticket=ticket)]


def _alert_of(stderr: bytes | bytearray) -> Alert | None:
    # Only alerts that were received are in s_client's error lines with their number.
    found = _ALERT.search(stderr)
    if found is None:
        return None
    number = int(found[1])
    return Alert(number, _ALERT_NAMES.get(number, "unknown"))


def _popen(command: list[str]) -> tuple[subprocess.Popen[bytes], FileIO]:
    """
    Starts *command*; its standard output is a terminal.

    s_client writes the server's data past stdio, but tickets through it, and flushes them when it
    likes: into a pipe, they come out after later data, or at the end. To a terminal, stdio writes
    line by line.
    """
    try:
        ours, theirs = os.openpty()
    except OSError as error:
        raise SClientError(
            f"there is no pseudo-terminal for the output of s_client: {error} (is /dev/pts "
            "mounted, and are there files left to open?)"
        ) from error
    try:
        tty.setraw(theirs)  # no "\r\n" for "\n"
        process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=theirs,
            stderr=subprocess.PIPE,
            start_new_session=True,  # it cannot ask for a password at the user's terminal
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return process, FileIO(ours)


def _pipe(file: IO[bytes] | None) -> FileIO:
    assert isinstance(file, FileIO)  # so Popen makes them, for PIPE without a buffer
    return file


def _read_all(
    stdout: FileIO, stderr: FileIO, transcript: _Transcript, changed: threading.Condition
) -> None:
    """Reads both to their end, in a thread of its own."""
    opened = [stdout, stderr]
    try:
        os.set_blocking(stderr.fileno(), False)
        with stdout, stderr, selectors.DefaultSelector() as selector:
            for file in opened:
                selector.register(file, selectors.EVENT_READ)
            while opened:
                ready = [key.fileobj for key, _ in selector.select()]
                # Standard error after standard output, and every time: so all is there that the
                # program wrote to it before the text that was just read.
                chunks = {file: _read(file) for file in opened if file in ready or file is stderr}
                for file in [file for file, chunk in chunks.items() if chunk == b""]:
                    selector.unregister(file)
                    opened.remove(file)
                with changed:
                    transcript.feed(chunks.get(stdout) or b"", chunks.get(stderr) or b"")
                    changed.notify_all()
    finally:
        with changed:
            transcript.ended = True
            changed.notify_all()


def _read(file: FileIO) -> bytes | None:
    """Reads what is there; None if there is nothing now, and b"" at the end."""
    try:
        return file.read(65536)
    except OSError as error:
        if error.errno == errno.EIO:  # how Linux says that a terminal's other side is closed
            return b""
        raise


def _write(fd: int, data: bytes, timeout: float) -> int:
    """Writes *data* to the non-blocking *fd*; returns how much of it within *timeout*."""
    deadline = time.monotonic() + timeout
    sent = 0
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_WRITE)
        while sent < len(data):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                break
            with contextlib.suppress(BlockingIOError):
                sent += os.write(fd, data[sent : sent + 65536])
    return sent


def _find(program: str | os.PathLike[str]) -> str:
    path = _checked_path("program", program)
    if path is None:
        raise TypeError("program must be a str or a path, not None")
    found = shutil.which(path)
    if found is None:
        raise SClientNotFound(
            f"no program {path!r} was found, or it is not executable: install OpenSSL, put it on "
            "the PATH, or name it with `program`"
        )
    return found


@functools.lru_cache
def _knows_nocommands(program: str, timeout: float) -> bool:
    try:
        shown = subprocess.run(
            [program, "s_client", "-help"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SClientTimeout(
            f"{program} s_client -help took longer than {timeout:g} seconds: check that it is "
            "OpenSSL's program, or give a longer timeout",
            (error.stdout or b"").decode(errors="backslashreplace"),
        ) from None
    return b"-nocommands" in shown.stdout


def _is_refusal(output: str) -> bool:
    return f"connect:errno={errno.ECONNREFUSED}\n" in output or ":Connection refused:" in output


def _tail(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return "The last that it printed:\n" + "\n".join(lines[-6:]) if lines else "It printed nothing."


def _address(host: str, port: int) -> str:
    if not isinstance(host, str):
        raise TypeError(f"host must be a str, not {type(host).__name__}: {host!r:.80}")
    if not host:
        raise ValueError("host must not be empty: give a name or an address")
    _check_int("port", port)
    if not 1 <= port <= 65535:
        raise ValueError(f"port must be 1 to 65535, not {port}")
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _version_option(tls_version: str | None) -> list[str]:
    options = {None: [], "1.2": ["-tls1_2"], "1.3": ["-tls1_3"]}
    if tls_version is not None and not isinstance(tls_version, str):
        raise TypeError(
            f"tls_version must be a str or None, not {type(tls_version).__name__}: "
            f"{tls_version!r:.80}"
        )
    if tls_version not in options:
        raise ValueError(f'tls_version must be "1.2", "1.3" or None, not {tls_version!r}')
    return options[tls_version]


def _server_name_option(server_name: str | None) -> list[str]:
    if server_name is None:
        return ["-noservername"]
    if not isinstance(server_name, str):
        raise TypeError(
            f"server_name must be a str or None, not {type(server_name).__name__}: "
            f"{server_name!r:.80}"
        )
    if not server_name:
        raise ValueError("server_name must not be empty: give None to ask for no name")
    return ["-servername", server_name]


def _checked_path(name: str, path: str | os.PathLike[str] | None) -> str | None:
    if path is None:
        return None
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name} must be a str or a path, not {type(path).__name__}: {path!r:.80}")
    text = os.fspath(path)
    if not text:
        raise ValueError(f"{name} must not be empty")
    return text


def _checked_extra_args(extra_args: Sequence[str]) -> list[str]:
    # A str is a sequence of str too, but never the one that was meant.
    if isinstance(extra_args, (str, bytes)) or not isinstance(extra_args, Sequence):
        raise TypeError(
            f"extra_args must be a list of str, not {type(extra_args).__name__}: {extra_args!r:.80}"
        )
    for argument in extra_args:
        if not isinstance(argument, str):
            raise TypeError(
                f"extra_args must hold str, not {type(argument).__name__}: {argument!r:.80}"
            )
        if argument.startswith("-") and argument.lstrip("-") in _REFUSED_OPTIONS:
            raise ValueError(f"extra_args must not hold {argument}: its output is read here")
    return list(extra_args)


def _checked_timeout(timeout: float) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(
            f"timeout must be a number of seconds, not {type(timeout).__name__}: {timeout!r:.80}"
        )
    if not 0 < timeout < math.inf:
        raise ValueError(f"timeout must be more than 0 seconds, and finite, not {timeout!r}")
    return min(float(timeout), threading.TIMEOUT_MAX)


def _check_int(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}: {value!r:.80}")


def _check_count(name: str, count: int) -> None:
    _check_int(name, count)
    if count < 0:
        raise ValueError(f"{name} must be 0 or more, not {count}")


def _check_bytes(name: str, data: bytes) -> None:
    if not isinstance(data, bytes):
        raise TypeError(f"{name} must be bytes, not {type(data).__name__}: {data!r:.80}")
