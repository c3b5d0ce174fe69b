"""The program as a process: its pipes, the thread that reads them, and its end."""

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
        command: what to run; the options that say where it writes what are added here.
        name: for the thread.

    Raises:
        OSError: the system has no files or processes left.
    """

    def __init__(self, command: list[str], name: str) -> None:
        self.transcript = Transcript()
        #: Notified, with the transcript's lock, whenever there is more in it.
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
        """Writes *data*; returns how much of it within *timeout*."""
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
        Closes its input, which ends it; returns its exit code. After *timeout*, or an interrupt, it
        is killed.
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
        """Ends the program at once, if it still runs, and leaves neither process nor thread."""
        if self.process.poll() is None:
            # The whole group, for the case that it is a script that runs the real one.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._stdin.close()
        # A garbage collection, which can end a program too, may happen in the very thread.
        if self._reader.is_alive() and self._reader is not threading.current_thread():
            self._reader.join(1)


def find(program: str) -> str:
    """Returns the path of *program*, looked for on the PATH if it has no slash."""
    found = shutil.which(program)
    if found is None:
        raise SClientNotFound(
            f"no program {program!r} was found, or it is not executable: install OpenSSL, put it "
            "on the PATH, or name it with `program`"
        )
    return found


def _popen(command: list[str]) -> tuple[subprocess.Popen[bytes], FileIO]:
    """
    Starts *command*; returns it, and where its protocol messages come from.

    With ``-brief``, standard output is the server's data and nothing else; what s_client has to
    say is on standard error.
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
            start_new_session=True,  # it cannot ask for a password at the user's terminal
        )
    except BaseException:
        messages.close()
        raise
    finally:
        os.close(theirs)
    return process, messages


def _pipe(file: IO[bytes] | None) -> FileIO:
    assert isinstance(file, FileIO)  # so Popen makes them, for PIPE without a buffer
    return file


def _read_all(
    stdout: FileIO,
    stderr: FileIO,
    messages: FileIO,
    transcript: Transcript,
    changed: threading.Condition,
) -> None:
    """Reads all to their end, in a thread of its own."""
    # Standard output is read first: so all is there that the program wrote to the other two
    # before the data that was just read.
    opened = [stdout, stderr, messages]
    try:
        with stdout, stderr, messages, selectors.DefaultSelector() as selector:
            for file in opened:
                selector.register(file, selectors.EVENT_READ)
            while opened:
                selector.select()
                chunks = {file: file.read(65536) for file in opened}  # None: nothing now
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
