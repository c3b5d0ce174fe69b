"""The fuzzer's harness goes with the native part; the fuzzer itself is a command of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fuzz.run import PACKAGE, TARGETS, command

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("target", TARGETS)
def test_compiles(target: str, tmp_path: Path) -> None:
    """What stands in for Python is all that the native part calls, with the same signatures."""
    compiler, *flags = shlex.split(os.environ.get("CC", "cc"))
    for program in (compiler, "pkg-config"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    whole = ["-shared", "-fPIC", "-Wl,-z,defs", "-o", str(tmp_path / "harness.so")]
    compiled = subprocess.run(
        [*command(compiler, target, PACKAGE), *flags, *whole],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (compiled.returncode, compiled.stderr) == (0, "")
