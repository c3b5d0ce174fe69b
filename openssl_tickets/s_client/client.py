"""Makes one connection, in one call or in steps."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import subprocess
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from openssl_tickets.s_client.arguments import (
    SClientOptions,
    address,
    check_bytes,
    check_count,
    checked_path,
    checked_timeout,
    command_line,
)
from openssl_tickets.s_client.program import Program, find
from openssl_tickets.s_client.result import (
    SClientEnded,
    SClientError,
    SClientRefused,
    SClientResult,
    SClientTimeout,
    Ticket,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


def run(
    host: str,
    port: int,
    *,
    send: bytes = b"",
    tickets: int = 0,
    wait_for: bytes = b"",
    check: bool = True,
    **options: Unpack[SClientOptions],
) -> SClientResult:
    """
    Makes one connection with ``openssl s_client`` and returns what it saw.

    It connects, sends *send*, waits for *tickets* and then for *wait_for*, and closes.

    In TLS 1.3, tickets arrive after the handshake, and so does the refusal of a client certificate.
    To count tickets, wait for the server's reply, which comes after them. This is needed above all
    to see that there are none. To see an alert, pass ``check=False``, and wait for a ticket or a
    reply.

    Args:
        host, port: as for :class:`SClient`.
        send: the bytes to send.
        tickets: how many tickets to wait for, 0 or more.
        wait_for: the bytes to wait for from the server; ``b""`` for none.
        check: if True, a connection that ends too early is an error. If False, the result's
            :attr:`~SClientResult.missing` says what did not come.
        options: the keyword arguments of :class:`SClient`.

    Returns:
        What s_client saw.

    Raises:
        TypeError, ValueError: an argument has the wrong type, or is out of range.
        SClientNotFound: there is no such *program*.
        SClientRefused: nothing listens at *host* and *port*.
        SClientTimeout: a step took longer than *timeout* (also if *check* is False).
        SClientEnded: the connection ended too early. Its ``result`` has what s_client saw. It is
            also raised if *check* is False and the program ended before it was connected, because
            it refused its arguments or a file, or could not reach the host.
        SClientError: the session could not be written to *sess_out*.
        OSError: the system has no files or processes left.

    Example::

        first = run("127.0.0.1", 4433, tickets=1, sess_out="session.pem")
        second = run("127.0.0.1", 4433, send=b"hello\\n", wait_for=b"\\n", sess_in="session.pem")
        assert second.reused
    """
    check_count("tickets", tickets)
    check_bytes("send", send)
    check_bytes("wait_for", wait_for)
    ended = None
    with SClient(host, port, **options) as client:
        steps: list[tuple[Callable[..., object], bytes | int]] = [
            (client.send, send),
            (client.wait_for_tickets, tickets),
            (client.wait_for, wait_for),
        ]
        for step, wanted in steps:
            try:
                if wanted:
                    step(wanted)
            except SClientEnded as error:
                ended = ended or error
        result = client.close()
    if ended is not None and check:
        raise SClientEnded(str(ended), result)
    return result


class SClient:
    """
    A connection of ``openssl s_client``, in steps.

    When the constructor returns, the program is connected. The handshake may still be in progress,
    so a server in the same thread can accept the connection now. :meth:`close` ends the program,
    and so does the end of a ``with`` block. If an exception ends the block (also
    ``KeyboardInterrupt``), the program is killed. If you drop the object without closing it, the
    program is killed with a ``ResourceWarning``.

    Args:
        host: a name or an address, also of IPv6 (``"::1"``).
        port: 1 to 65535.
        tls_version: the only version to offer; None for the program's default.
        ca_file: a PEM file with the certificates to trust; None for the system's. If the server's
            certificate is not trusted, ``verify_code`` says so. To make s_client end the
            connection then, pass ``-verify_return_error`` in *extra_args*.
        server_name: the name to ask for (SNI); None to ask for none.
        sess_in: the session to resume, a file that *sess_out* wrote.
        sess_out: the file to write the session to. Each ticket overwrites it, so it holds the last
            one. In TLS 1.2, s_client writes it only after a full handshake, also if the session has
            no ticket. A resumption leaves the file unchanged, even if it brings a new ticket.
        cert_file: a PEM file with the client's certificate.
        key_file: a PEM file with its private key; None if *cert_file* holds it too.
        extra_args: more arguments for s_client, ``["-alpn", "h2"]`` for example. Some are refused:
            those that change when the program ends or what its input means (``-ign_eof``,
            ``-reconnect``), those whose output would mix with what is read here (``-msg``,
            ``-debug``, ``-trace``, ``-quiet``), and those that would print nothing here
            (``-showcerts``, ``-keymatexport``).
        program: the ``openssl`` to run. If it has no slash, it is looked for on the PATH.
        timeout: how long each step (connecting, a wait, a send, closing) may take, in seconds.

    Raises:
        TypeError, ValueError: an argument has the wrong type, or is out of range.
        SClientNotFound: there is no such *program*.
        SClientRefused: nothing listens at *host* and *port*.
        SClientTimeout: connecting took longer than *timeout*.
        SClientEnded: the program ended before it was connected, because it refused its arguments or
            a file, or could not reach the host.
        OSError: the system has no files or processes left.

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
        arguments = command_line(
            host,
            port,
            tls_version=tls_version,
            server_name=server_name,
            extra_args=extra_args,
            ca_file=ca_file,
            sess_in=sess_in,
            sess_out=sess_out,
            cert_file=cert_file,
            key_file=key_file,
        )
        self._timeout = checked_timeout(timeout)
        self._openssl = find(checked_path("program", program))
        self._name = f"{self._openssl} s_client to {address(host, port)}"
        self._session = _read(sess_in)
        self._sess_out = sess_out
        self._skipped = 0  # up to here, the data has been waited for
        self._missing: tuple[str, ...] = ()
        self._result: SClientResult | None = None
        self._program = Program([self._openssl, "s_client", *arguments], self._name)
        self._transcript = self._program.transcript
        weakref.finalize(self, _drop, self._program, self._name)
        try:
            self._wait(lambda: self._transcript.connected, "a connection")
        except SClientEnded as error:
            raise self._refused(error) if _is_refusal(error.output) else error from None
        except BaseException:
            self._program.kill()
            raise

    def send(self, data: bytes) -> None:
        """
        Sends *data* to the server.

        It returns when the program has taken all data. To know that the server has read it, wait
        for a reply with :meth:`wait_for`. The program sends *data* after the handshake.

        Args:
            data: any bytes.

        Raises:
            TypeError: *data* is not bytes.
            SClientEnded: the connection is over.
            SClientTimeout: the program did not take the data in time. The server may not be
                reading.
        """
        check_bytes("data", data)
        sending = f"the sending of {len(data)} bytes"
        if not self._program.takes_input:
            raise self._ended(sending)
        try:
            sent = self._program.write(data, self._timeout)
        except BrokenPipeError:
            raise self._ended(sending) from None
        if sent < len(data):
            raise self._timed_out(f"{sending}, of which it took {sent}")

    def wait_for_tickets(self, count: int) -> tuple[Ticket, ...]:
        """
        Waits until *count* tickets have come since the beginning of the connection.

        Args:
            count: how many, 0 or more.

        Returns:
            All tickets so far, in the order in which they came. There can be more than *count*.

        Raises:
            TypeError: *count* is not an integer.
            ValueError: *count* is negative.
            SClientEnded: the connection ended before they came.
            SClientTimeout: they did not come in time.
        """
        check_count("count", count)
        self._wait(lambda: len(self._transcript.tickets) >= count, f"ticket number {count}")
        with self._program.changed:
            return tuple(self._transcript.tickets)

    def wait_for(self, data: bytes) -> None:
        """
        Waits until the server has sent *data*.

        The search starts after the match of the last call, so you can wait for the same reply
        twice.

        Args:
            data: the bytes to wait for, at least one.

        Raises:
            TypeError: *data* is not bytes.
            ValueError: *data* is empty.
            SClientEnded: the connection ended before *data* came.
            SClientTimeout: *data* did not come in time.
        """
        check_bytes("data", data)
        if not data:
            raise ValueError("data must not be empty: give the bytes to wait for")
        begin = self._skipped

        def came() -> bool:
            nonlocal begin
            found = self._transcript.data.find(data, begin)
            if found >= 0:
                self._skipped = found + len(data)
            # Search each byte only once. Otherwise a lot of data would take very long.
            begin = max(begin, len(self._transcript.data) - len(data) + 1)
            return found >= 0

        self._wait(came, f"{data!r:.80} from the server")

    def wait_for_end(self) -> SClientResult:
        """
        Waits until the program ends by itself, because the server has ended the connection.

        Returns:
            What s_client saw, like :meth:`close`.

        Raises:
            SClientTimeout: the program did not end in time.
            SClientError: the session could not be written to *sess_out*.
        """
        self._wait(lambda: self._transcript.ended, "the end of the connection")
        return self.close()

    def close(self) -> SClientResult:
        """
        Ends the connection with a close_notify, and ends the program.

        Wait for tickets and data first, because those that have not arrived are lost. If the server
        does not close its side, this takes up to half a second. A second call returns the same
        result.

        Returns:
            What s_client saw.

        Raises:
            SClientTimeout: the program did not end in time and was killed. Its handshake may not be
                done, for example.
            SClientError: the session could not be written to *sess_out*.
        """
        result = self._end()
        if self._transcript.session_is_lost:
            raise SClientError(
                f"{self._name} could not write its session to sess_out {self._sess_out!r}: give a "
                "file in a folder that is there and may be written to",
                result.output,
            )
        return result

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
            self._program.kill()

    def _end(self) -> SClientResult:
        if self._result is None:
            try:
                exit_code = self._program.end(self._timeout)
            except subprocess.TimeoutExpired:
                raise self._timed_out("its end, and was killed") from None
            result = self._transcript.result(exit_code)
            if result.reused and result.verify_code and self._session:
                code = _verify_code(self._openssl, self._session, self._timeout)
                result = dataclasses.replace(result, verify_code=code or result.verify_code)
            self._result = result
        return dataclasses.replace(self._result, missing=self._missing)

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        """Waits until ``done()`` returns True. It is called with the lock held."""
        deadline = time.monotonic() + self._timeout
        with self._program.changed:
            while not done():
                remaining = deadline - time.monotonic()
                if self._transcript.ended or remaining <= 0:
                    break
                self._program.changed.wait(remaining)
            else:
                return
            ended = self._transcript.ended
        raise self._ended(what) if ended else self._timed_out(what)

    def _ended(self, what: str) -> SClientEnded:
        self._missing += (what,)
        result = self._end()
        alert = f", alert {result.alert.number} {result.alert.name}" if result.alert else ""
        return SClientEnded(
            f"{self._name} ended before {what} (exit code {result.exit_code}{alert}, "
            f"tickets: {len(result.tickets)}). {_tail(result.output)}",
            result,
        )

    def _timed_out(self, what: str) -> SClientTimeout:
        with self._program.changed:
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


def _drop(program: Program, name: str) -> None:
    """Kills the program of an ``SClient`` that was dropped."""
    was_running = program.process.poll() is None
    program.kill()
    if was_running:
        warnings.warn(f"{name} was dropped, and not closed", ResourceWarning, stacklevel=2)


def _read(file: str | os.PathLike[str] | None) -> bytes | None:
    """Returns the content of a session file, or None. The program reports a file it cannot read."""
    if file is None or not os.path.isfile(file):
        return None
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError:
        return None


def _verify_code(openssl: str, session: bytes, timeout: float) -> int | None:
    """
    Returns the verify result that *session* holds, None if the program does not tell it. s_client
    prints none in a resumption.
    """
    command = [openssl, "sess_id", "-noout", "-text"]
    try:
        shown = subprocess.run(
            command,
            input=session,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(rb"^ *Verify return code: (\d{1,9}) ", shown, re.MULTILINE)
    return int(found[1]) if found else None


def _is_refusal(output: str) -> bool:
    return f"connect:errno={errno.ECONNREFUSED}\n" in output or ":Connection refused:" in output


def _tail(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return "The last that it printed:\n" + "\n".join(lines[-6:]) if lines else "It printed nothing."
