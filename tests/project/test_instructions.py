"""
How many instructions the ticket callbacks of one resumption take, by callgrind's count. It must not
creep up: what a clock shows depends on the machine's other work, and this does not.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from benchmarks.instructions import PLATFORM, RECORDED, against_bare
from benchmarks.libraries import LIBRARIES, make_certificates

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recorded() -> dict[str, float]:
    if shutil.which("valgrind") is None:
        if os.environ.get("CI"):
            pytest.fail("there is no valgrind: apt-get install valgrind")
        pytest.skip("there is no valgrind")
    figures: dict[str, dict[str, float]] = json.loads(RECORDED.read_text())
    if PLATFORM not in figures:
        pytest.skip(f"nothing is recorded for {PLATFORM}")
    return figures[PLATFORM]


@pytest.mark.parametrize("library", LIBRARIES)
def test_instructions(library: str, recorded: dict[str, float], tmp_path: Path) -> None:
    """
    The callbacks take as many instructions, against bare ones on cffi, as was recorded; 3 % more is
    a failure, and so is 3 % less: then record the new figure.
    """
    server = make_certificates(tmp_path).server
    assert against_bare(library, server) == pytest.approx(recorded[library], rel=0.03), (
        "if that is as it should be: python benchmarks/instructions.py --record"
    )
