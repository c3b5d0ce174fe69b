"""Runs ``openssl-tickets probe`` for the tests of several servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openssl_tickets._cli import probe


def probed(
    capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0
) -> dict[str, Any]:
    """Runs it with ``--json``, and returns the output, with the versions by their names."""
    capsys.readouterr()
    assert probe.main([*map(str, arguments), "--json"]) == status
    fields: dict[str, Any] = json.loads(capsys.readouterr().out)
    fields["versions"] = {each["protocol"]: each for each in fields["versions"]}
    return fields


def counts(version: dict[str, Any]) -> tuple[int, int]:
    """Returns how many tickets came after a full handshake and after a resumption."""
    return version["full_handshake"]["tickets"], version["resumption"]["tickets"]
