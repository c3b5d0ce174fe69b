"""Hellos that are nearly right, and noise: an alert, an answer, or more is waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.hostile.servers import SETTINGS, Server, Setting
from tests.hostile.streams import Target, streams

pytestmark = pytest.mark.slow

# A part of what `python tests/hostile` takes.
EXAMPLES = 15


@pytest.mark.parametrize("setting", [one for one in SETTINGS if one.version == "1.3"], ids=str)
def test_random_hellos(setting: Setting, server_file: Path) -> None:
    """Nothing that a client makes up crashes a server, stops it, or is resumed."""
    target = Target(Server(setting, server_file))
    assert target.still_resumes()

    @hypothesis.settings(max_examples=EXAMPLES)
    @hypothesis.given(st.data())
    def send(data: Any) -> None:
        target.send(data.draw(streams(target.session.ticket)))

    send()
    assert target.still_resumes()
