"""The stress run in a small size, and that it finds what it is there for."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support import processes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("kind", "part", "count"),
    [
        ("resumptions", "pyOpenSSL 1.3 keys", 2000),
        ("resumptions", "ssl 1.2 keys", 2000),
        ("contexts", "ssl 1.3 context", 200),
        ("threads", "pyOpenSSL 1.3", 50),
    ],
)
def test_small(kind: str, part: str, count: int) -> None:
    """The command keeps all bounds, and says so."""
    result = subprocess.run(
        [
            *(sys.executable, str(ROOT / "tests" / "stress"), f"--{kind}={count}"),
            *("--kind", kind, "--part", part),
        ],
        capture_output=True,
        text=True,
        timeout=processes.TIMEOUT,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("All limits were kept.\n\n")
    assert f"| {part.split()[0]} | {part.split()[1]} |" in result.stdout


@pytest.mark.parametrize(
    ("leak", "found"),
    [
        ("", "[]"),
        ("libc.malloc(64)", "malloc has given out"),
        ("kept.append(object())", "more blocks of Python's"),
        ("kept.append(bytearray(1000))", "resident memory grew"),
    ],
)
def test_finds_a_leak(leak: str, found: str, server_file: Path) -> None:
    """A leak of 64 bytes, or of one object, in each resumption is found."""
    output = processes.run(
        textwrap.dedent(
            f"""
            import ctypes, sys
            sys.path.append({str(ROOT)!r})
            from pathlib import Path
            from tests.stress import outcome, resumptions
            kept, libc = [], ctypes.CDLL(None)
            chain = resumptions.Resumptions("ssl", "1.2", Path({str(server_file)!r}), "")
            def step():
                chain.step()
                for _ in range(resumptions.STEP):
                    {leak or "pass"}
            failures = resumptions.judge(resumptions.measure(step, 2000))
            print(failures if outcome.HEAP_IS_KNOWN or not "malloc" in {leak!r} else {found!r})
            """
        )
    )
    assert found in output
