"""Go's crypto/tls, by a client of ours that is built here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.interop import peers

_SOURCE = Path(__file__).with_name("client.go")


class Go(peers.Script):
    """``crypto/tls``; its tickets are counted where it puts them, in the client's session cache."""

    internal_error = "remote error: tls: internal error"

    def __init__(self, program: Path, ca_file: Path) -> None:
        super().__init__([str(program)], ca_file)


def build(go: str, folder: Path) -> Path:
    """Builds the client with the Go compiler *go*, without a network, and returns its path."""
    program = folder / "client"
    offline = {
        "GO111MODULE": "off",
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
        "GOPATH": str(folder / "path"),
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
    }
    subprocess.run(
        [go, "build", "-o", str(program), str(_SOURCE)],
        env={**os.environ, **offline},
        check=True,
        timeout=10 * peers.TIMEOUT,  # it compiles Go's own library first
    )
    return program
