"""Node's tls, by a script of ours."""

from __future__ import annotations

from pathlib import Path

from tests.interop import peers

_SCRIPT = Path(__file__).with_name("client.js")


class Node(peers.Script):
    """Node's ``tls``; in TLS 1.3 it has an event for each ticket."""

    internal_error = "ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR"

    def __init__(self, node: str, ca_file: Path) -> None:
        super().__init__([node, str(_SCRIPT)], ca_file)
