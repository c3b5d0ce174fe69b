"""The ``openssl`` process: its pipes, the thread that reads them, and its end."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from io import FileIO
from typing import IO

from openssl_tickets.s_client.result import SClientNotFound
from openssl_tickets.s_client.transcript import Transcript


class Program:
    """
    A running ``openssl s_client``.

    Args:
        command: the command to run. This class adds the options for the output.
        name: the name of the thread.

    Raises:
        OSError: the system has no files or processes left.
    """

    def __init__(self, command: list[str], name: str) -> None:
        self.transcript = Transcript()
        #: It is notified when the transcript grows. Its lock protects the transcript.
        self.changed = threading.Condition()
        self.process, messages = _popen(command)
        self._stdin = _pipe(self.process.stdin)
        stdout, stderr = _pipe(self.process.stdout), _pipe(self.process.stderr)
        self._reader = threading.Thread(
            target=_read_all,
            args=(stdout, stderr, messages, self.transcript, self.changed),
            name=name,
            daemon=True,
        )
        try:
            for file in (self._stdin, stdout, stderr, messages):
                os.set_blocking(file.fileno(), False)
            self._reader.start()
        except BaseException:
            self.kill()
            raise

    @property
    def takes_input(self) -> bool:
        return not self._stdin.closed

    def write(self, data: bytes, timeout: float) -> int:
        """Writes *data*, and returns how many bytes it wrote within *timeout* seconds."""
        deadline = time.monotonic() + timeout
        sent = 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdin, selectors.EVENT_WRITE)
            while sent < len(data):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    break
                sent += self._stdin.write(data[sent : sent + 65536]) or 0
        return sent

    def end(self, timeout: float) -> int:
        """
        Closes the program's input, which ends the program, and returns its exit code.

        The program is killed after *timeout* seconds, or if an exception comes.

        Raises:
            subprocess.TimeoutExpired: the program did not end in time.
        """
        try:
            self._stdin.close()
            exit_code = self.process.wait(timeout)
        except BaseException:
            self.kill()
            raise
        self._reader.join(timeout)
        return exit_code

    def kill(self) -> None:
        """Kills the program if it still runs, and waits for its process and its thread."""
        if self.process.poll() is None:
            # Kill the whole group, because `program` may be a script that runs the real one.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._stdin.close()
        # The garbage collector may call this in the reader thread itself.
        if self._reader.is_alive() and self._reader is not threading.current_thread():
            self._reader.join(1)


def find(program: str) -> str:
    """
    Returns the path of *program*. If it has no slash, it is looked for on the PATH.

    Raises:
        SClientNotFound: there is no such program, or it is not executable.
    """
    found = shutil.which(program)
    if found is None:
        raise SClientNotFound(
            f"no program {program!r} was found, or it is not executable: install OpenSSL, put it "
            "on the PATH, or name it with `program`"
        )
    return found


def _popen(command: list[str]) -> tuple[subprocess.Popen[bytes], FileIO]:
    """
    Starts *command*, and returns its process and the pipe of its protocol messages.

    With ``-brief``, standard output has only the server's data. s_client's own messages go to
    standard error.
    """
    ours, theirs = os.pipe()
    messages = FileIO(ours)
    try:
        process = subprocess.Popen(
            [*command, "-brief", "-nocommands", "-msg", "-msgfile", f"/dev/fd/{theirs}"],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs],
            start_new_session=True,  # so that it cannot ask for a password at the user's terminal
        )
    except BaseException:
        messages.close()
        raise
    finally:
        os.close(theirs)
    return process, messages


def _pipe(file: IO[bytes] | None) -> FileIO:
    assert isinstance(file, FileIO)  # Popen makes it so, for PIPE without a buffer
    return file


def _read_all(
    stdout: FileIO,
    stderr: FileIO,
    messages: FileIO,
    transcript: Transcript,
    changed: threading.Condition,
) -> None:
    """Reads the three pipes to their end. It runs in a thread of its own."""
    # Standard output is read first. So the other two hold everything that the program wrote before
    # the data that was just read.
    opened = [stdout, stderr, messages]
    try:
        with stdout, stderr, messages, selectors.DefaultSelector() as selector:
            for file in opened:
                selector.register(file, selectors.EVENT_READ)
            while opened:
                selector.select()
                chunks = {file: file.read(65536) for file in opened}  # None: nothing to read now
                for file in [file for file, chunk in chunks.items() if chunk == b""]:
                    selector.unregister(file)
                    opened.remove(file)
                with changed:
                    transcript.feed(
                        *(chunks.get(each) or b"" for each in (stdout, stderr, messages))
                    )
                    changed.notify_all()
    finally:
        with changed:
            transcript.ended = True
            changed.notify_all()
