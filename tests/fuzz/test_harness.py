"""The fuzzer's harness goes with the native part; the fuzzer itself is a command of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

import pytest

from build_ffi import openssl_flags
from tests.fuzz.run import CSRC, FOLDER, TARGETS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("target", TARGETS)
def test_compiles(target: str) -> None:
    """What stands in for Python has the signatures that the native part calls."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"there is no {compiler[0]}")
    folders = [CSRC, *openssl_flags().get("include_dirs", [])]
    command = [
        *compiler,
        *("-fsyntax-only", "-Wall", "-Werror", "-Wno-unused-function", "-Wno-deprecated"),
        *("-DOPENSSL_SUPPRESS_DEPRECATED", f"-DTARGET={target.upper()}"),
        *(f"-I{folder}" for folder in folders),
        str(FOLDER / "harness.c"),
    ]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (checked.returncode, checked.stderr) == (0, "")
