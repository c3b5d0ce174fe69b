"""tlslite-ng, which is TLS in Python alone, by a script of ours."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tests.interop import peers

_SCRIPT = Path(__file__).with_name("tlslite_client.py")


class TlsliteNg(peers.Script):
    """``tlslite``; its connections keep the tickets that came in a list."""

    offers = 0
    # In TLS 1.3 it keeps only what came on the last connection.
    reuses = frozenset({"1.2"})
    # In TLS 1.2 it takes a ticket that it has offered for one that is used.
    fails_if_refused: ClassVar[Mapping[str, str]] = {"1.2": "TLSLocalAlert: unexpected_message"}
    internal_error = "TLSRemoteAlert: internal_error"

    def __init__(self, ca_file: Path) -> None:
        super().__init__([sys.executable, "-I", str(_SCRIPT)], ca_file)
