"""``python -m openssl_tickets doctor`` names each library's libssl, and what to do."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from pathlib import Path

import cryptography
import OpenSSL
import pytest

import openssl_tickets
from openssl_tickets._cli import doctor
from openssl_tickets._native import _libssl, shared_object


def run(tmp_path: Path, sitecustomize: str = "") -> tuple[int, str]:
    """Returns the exit status and the output, after *sitecustomize* has run."""
    (tmp_path / "sitecustomize.py").write_text(sitecustomize)
    result = subprocess.run(
        [sys.executable, "-m", "openssl_tickets", "doctor"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stderr == ""
    return result.returncode, result.stdout


@pytest.fixture(scope="module")
def plain_openssl() -> str:
    """The OpenSSL that pyOpenSSL is on by itself, and the file that is in."""
    program = (
        "from OpenSSL import SSL; from openssl_tickets._native import shared_object; "
        "print(SSL.SSLeay_version(0).decode()); print(shared_object.file_of(SSL._lib.TLS_method()))"
    )
    command = [sys.executable, "-I", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_names_each_librarys_libssl(tmp_path: Path, plain_openssl: str) -> None:
    """Each line has the version and the file, and says whether it is this package's."""
    status, output = run(tmp_path)
    assert status == 0
    ours, _, theirs, standard, *_ = output.splitlines()

    assert openssl_tickets.OPENSSL_VERSION in ours
    linked = subprocess.run(["ldd", _libssl.__file__], capture_output=True, text=True, check=True)
    found = re.search(r"libssl\.so\.\d+ => (\S+)", linked.stdout)
    assert found is not None
    assert os.path.samefile(ours.split(" in ")[1], found[1])

    version, file = plain_openssl.splitlines()
    same = file == shared_object.our_libssl()
    assert theirs.startswith(f"pyOpenSSL {OpenSSL.__version__} with cryptography")
    assert cryptography.__version__ in theirs
    assert f": {version}, in {file} " in theirs
    assert theirs.endswith("(the same libssl)" if same else "(ANOTHER libssl)")
    assert (doctor.FOR_PYOPENSSL in output) != same

    assert standard.startswith(f"ssl: {ssl.OPENSSL_VERSION}, in ")


def test_after_use_system_openssl(tmp_path: Path) -> None:
    """A program that has pyOpenSSL on the system's libssl has nothing to do."""
    status, output = run(tmp_path, "import openssl_tickets.SSL")
    assert status == 0
    assert "ANOTHER" not in output.splitlines()[2]
    assert doctor.FOR_PYOPENSSL not in output


def test_too_late(tmp_path: Path, plain_openssl: str) -> None:
    """Where something imports pyOpenSSL at the start of Python, it says that it is too late."""
    status, output = run(tmp_path, "import OpenSSL.SSL")
    if plain_openssl.endswith(f"\n{shared_object.our_libssl()}\n"):
        assert status == 0
    else:
        assert status == 1
        assert "cannot be put on this libssl here" in output
        assert "before OpenSSL is first imported" in output


def test_without_pyopenssl_and_ssl(tmp_path: Path) -> None:
    """What is not installed is said to be so, and is nobody's fault."""
    hide = "import sys; sys.modules.update({'cryptography': None, '_ssl': None})"
    status, output = run(tmp_path, hide)
    assert status == 0
    assert output.splitlines()[2:] == [
        "pyOpenSSL: not installed",
        "ssl: not installed",
        "",
        "Nothing is to be done.",
    ]


def test_untested_pyopenssl(tmp_path: Path, plain_openssl: str) -> None:
    """The warning about an untested pyOpenSSL is a part of the advice."""
    _, output = run(
        tmp_path,
        "from openssl_tickets import system_openssl as s; s.TESTED_PYOPENSSL = ((1, 0), (2, 0))",
    )
    on_the_same = plain_openssl.endswith(f"\n{shared_object.our_libssl()}\n")
    assert ("has not been tested on the system's libssl" in output) != on_the_same


def test_standard_ssl_on_another_libssl(tmp_path: Path) -> None:
    """A Python whose ``ssl`` keeps a libssl for itself is told so."""
    # Any loaded object that calls no libssl will do for one that has it inside; of the standard
    # library's own modules, all but ssl's may be a part of the interpreter.
    hide = "import _ssl, _cffi_backend; _ssl.__file__ = _cffi_backend.__file__"
    status, output = run(tmp_path, hide)
    assert status == 0
    assert output.splitlines()[3].endswith("(ANOTHER libssl)")
    assert doctor.FOR_SSL in output


def test_library_of_what_is_not_there() -> None:
    """An address in no file, and a file that is not loaded, have no library."""
    assert shared_object.file_of(_libssl.ffi.NULL) is None
    assert shared_object.libssl_of("/no/such/file.so") is None
    assert shared_object.libssl_of(os.devnull) is None
