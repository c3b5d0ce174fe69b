"""Runs commands through the shell, as a user would type them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT = 60.0  # seconds; only a command that hangs takes this long


def sh(script: str, folder: Path, *, status: int | None = 0, **environment: str) -> tuple[str, str]:
    """
    Runs *script* with ``sh`` in *folder*, and returns its output and its errors.

    In it, ``python`` is this Python, and ``openssl-tickets`` is this package's command. The script
    must exit with *status*, if that is not None. All its processes are killed at the end.
    """
    binaries = folder / "bin"
    binaries.mkdir(exist_ok=True)
    for name, module in (("python", ""), ("openssl-tickets", "-m openssl_tickets")):
        program = binaries / name
        if not program.exists():
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I {module} "$@"\n')
            program.chmod(0o755)
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["sh", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "100", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=TIMEOUT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    text, messages = output.decode(errors="replace"), errors.decode(errors="replace")
    if status is not None:
        assert process.returncode == status, text + messages
    return text, messages


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as plain:
        return int(plain.getsockname()[1])


def examples(page: str, language: str) -> dict[str, str]:
    """Returns the examples on a page by their names. Each block on the page must have a name."""
    text = (ROOT / "docs" / page).read_text()
    named = re.findall(
        rf"<!-- example: ([\w ]+) -->\n```{language}\n(.*?)```", text, flags=re.DOTALL
    )
    assert len(named) == len(dict(named)) == text.count("```") // 2
    return dict(named)
