"""Fixtures: the real ``openssl s_client`` as the client."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from openssl_tickets import s_client
from tests import interop, tls


@pytest.fixture
def ask(ca_file: Path) -> Callable[..., s_client.SClientResult]:
    """``ask(port, ...)`` sends a line with s_client, and returns what it saw until the reply."""
    return partial(
        s_client.run,
        "127.0.0.1",
        send=b"hello\n",
        wait_for=interop.REPLY,
        ca_file=ca_file,
        timeout=tls.TIMEOUT,
    )


@pytest.fixture
def listen(ca_file: Path) -> Callable[..., s_client.SClientResult]:
    """``listen(port, ...)`` sends nothing, and returns what s_client saw until the server ended."""
    return partial(
        s_client.run, "127.0.0.1", wait_for=interop.REPLY, ca_file=ca_file, timeout=tls.TIMEOUT
    )


@pytest.fixture
def connect(ca_file: Path) -> Callable[..., s_client.SClient]:
    """``connect(port, ...)`` is a connection of s_client in steps, in TLS 1.3."""
    return partial(
        s_client.SClient, "127.0.0.1", tls_version="1.3", ca_file=ca_file, timeout=tls.TIMEOUT
    )


@pytest.fixture
def session_file(tmp_path: Path) -> Path:
    """Where s_client may write its session."""
    return tmp_path / "session.pem"
