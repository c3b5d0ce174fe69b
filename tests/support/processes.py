"""Runs Python programs in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

TIMEOUT = 120.0  # seconds; only a program that hangs takes this long


def run(source: str, **environment: str) -> str:
    """
    Runs the Python program *source* with the installed package, and returns its output.

    It must exit with 0 and print no error. All processes that it has forked are killed at the end.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", source],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=TIMEOUT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, stderr) == (0, ""), f"it ended with {process.returncode}: {stderr}"
    return stdout
