"""The native part of clients that resume, while memory runs out."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from openssl_tickets import OPENSSL_VERSION
from tests.fuzz.run import C_FILES, FOLDER, PACKAGE

pytestmark = pytest.mark.slow

FLAGS = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("gcc", "pkg-config"):
        if shutil.which(name) is None:
            pytest.skip(f"there is no {name}")
    path = tmp_path_factory.mktemp("built") / "out_of_memory"
    openssl = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "openssl"], capture_output=True, text=True, check=True
    ).stdout
    words = [
        *("gcc", "-Wall", "-Wextra", "-Werror", *FLAGS.split(), "-DOPENSSL_SUPPRESS_DEPRECATED"),
        *(f"-I{FOLDER}", f"-I{PACKAGE / '_native'}", str(FOLDER / "out_of_memory.c")),
        *(str(PACKAGE / name) for name in C_FILES),
        *(*shlex.split(openssl), "-pthread", "-o", str(path)),
    ]
    compiled = subprocess.run(words, capture_output=True, text=True, timeout=120)
    if "cannot find -lasan" in compiled.stderr or "libasan" in compiled.stderr:
        pytest.skip("gcc has no AddressSanitizer here")
    assert (compiled.returncode, compiled.stderr) == (0, "")
    return path


@pytest.mark.parametrize("whose", ["ours", "all"])
def test_each_allocation_fails(program: Path, server_file: Path, ca_file: Path, whose: str) -> None:
    """Whichever allocation fails: nothing is used after it was freed, and nothing is left over."""
    if whose == "all" and not OPENSSL_VERSION.startswith("OpenSSL 3.0."):
        pytest.skip("other versions have not been seen to survive that themselves")
    run = subprocess.run(
        [str(program), str(server_file), str(ca_file), whose],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.count("visits without a resumption") == 2
