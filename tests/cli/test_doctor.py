"""``openssl-tickets doctor`` names each library's libssl, and what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
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
from tests.support.packages import Packages


@pytest.fixture
def packages(tmp_path: Path) -> Packages:
    return Packages(tmp_path)


def run(packages: Packages, sitecustomize: str = "") -> tuple[int, str]:
    """Returns the exit status and the output, after *sitecustomize* has run."""
    program = "import runpy, sys; sys.argv[1:] = ['doctor']\n" + sitecustomize
    program += "\nrunpy.run_module('openssl_tickets', run_name='__main__', alter_sys=True)"
    result = packages.python("-c", program)
    assert result.stderr == ""
    # Its exit status is 0 if and only if nothing is for good on another libssl, or broken.
    good = "ANOTHER libssl" not in result.stdout and ": broken" not in result.stdout
    assert (result.returncode == 0) == good
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


@pytest.fixture(scope="module")
def is_same(plain_openssl: str) -> bool:
    """Whether pyOpenSSL is on this package's libssl by itself, as a distribution's own is."""
    return plain_openssl.endswith(f"\n{shared_object.our_libssl()}\n")


def test_names_each_librarys_libssl(packages: Packages, plain_openssl: str, is_same: bool) -> None:
    """Each line has the version and the file, and says whether it is this package's."""
    status, output = run(packages)
    assert status == (ssl.OPENSSL_VERSION != openssl_tickets.OPENSSL_VERSION)
    ours, _, theirs, standard, *_ = output.splitlines()

    assert openssl_tickets.OPENSSL_VERSION in ours
    linked = subprocess.run(["ldd", _libssl.__file__], capture_output=True, text=True, check=True)
    found = re.search(r"libssl\.so\.\d+ => (\S+)", linked.stdout)
    assert found is not None
    assert os.path.samefile(ours.split(" in ")[1], found[1])

    version, file = plain_openssl.splitlines()
    assert theirs.startswith(f"pyOpenSSL {OpenSSL.__version__} with cryptography")
    assert cryptography.__version__ in theirs
    found = re.search(f": {re.escape(version)}, in (.*) [(]", theirs)
    assert found is not None
    assert os.path.samefile(found[1], file)
    own = "(its own, and can be put on the same)"
    assert theirs.endswith("(the same libssl)" if is_same else own)
    assert (doctor.FOR_PYOPENSSL in output) != is_same

    assert standard.startswith(f"ssl: {ssl.OPENSSL_VERSION}, in ")


def test_json(packages: Packages, is_same: bool) -> None:
    """With --json it says the same as without."""
    _, text = run(packages)
    result = packages.python("-m", "openssl_tickets", "doctor", "--json")
    found = json.loads(result.stdout)
    assert (result.returncode, found["ok"]) == (0, True)
    assert found["openssl"] == openssl_tickets.OPENSSL_VERSION
    assert text.startswith(
        f"openssl_tickets {found['openssl_tickets']}: {found['openssl']}, in {found['libssl']}\n"
        f"  on {found['python']}, {found['executable']}\n"
    )
    theirs, standard = found["libraries"]
    assert (theirs["name"], standard["name"]) == ("pyOpenSSL", "ssl")
    assert theirs["state"] == ("same" if is_same else "can be put on the same")
    for each in found["libraries"]:
        assert f": {each['openssl']}, in {each['libssl']} (" in text
        assert (each["advice"] or "") in text


def test_json_of_what_is_broken(packages: Packages) -> None:
    """With --json what is broken has a state and an advice, and the status is 1 too."""
    packages.remove("cryptography")
    result = packages.python("-m", "openssl_tickets", "doctor", "--json")
    found = json.loads(result.stdout)
    theirs = found["libraries"][0]
    assert (result.returncode, found["ok"], theirs["state"]) == (1, False, "broken")
    assert (theirs["openssl"], theirs["libssl"]) == (None, None)
    assert "pip install" in theirs["advice"]


def test_after_use_system_openssl(packages: Packages) -> None:
    """A program that has pyOpenSSL on the system's libssl has nothing to do."""
    _, output = run(packages, "import openssl_tickets.SSL")
    assert output.splitlines()[2].endswith("(the same libssl)")
    assert doctor.FOR_PYOPENSSL not in output


def test_too_late(packages: Packages, is_same: bool) -> None:
    """If something imports pyOpenSSL at the start of Python, it says that it is too late."""
    status, output = run(packages, "import OpenSSL.SSL")
    assert status == (0 if is_same else 1)
    assert ("cannot be put on this libssl here" in output) != is_same
    assert ("before OpenSSL is first imported" in output) != is_same


def test_nothing_else_is_installed(packages: Packages) -> None:
    """What is not installed is said to be so, and is nobody's fault."""
    packages.remove("pyopenssl", "openssl", "cryptography")
    _, output = run(packages, "sys.modules['_ssl'] = None")
    assert output.splitlines()[2:] == [
        "pyOpenSSL: not installed",
        "ssl: not installed",
        "",
        "There is nothing to do.",
    ]


@pytest.mark.parametrize("what", ["damaged", "missing"])
def test_broken_cryptography(packages: Packages, what: str) -> None:
    """A cryptography that cannot be imported is broken, and not one that is not installed."""
    real = Path(cryptography.__file__).parent
    copy = packages.folder / "cryptography"
    copy.unlink()
    if what == "damaged":
        shutil.copytree(real, copy, ignore=shutil.ignore_patterns("_rust*.so"))
        (copy / "hazmat/bindings/_rust.abi3.so").write_bytes(b"\x7fELF, but no more")
    status, output = run(packages)
    assert status == 1
    assert f"pyOpenSSL {OpenSSL.__version__}" in output
    assert output.splitlines()[2].endswith(": broken")
    assert "pyOpenSSL is installed, but it or its cryptography cannot be imported: " in output
    assert "pip install --force-reinstall pyOpenSSL cryptography" in output
    assert "Nothing is to be done" not in output


def test_untested_pyopenssl(packages: Packages, is_same: bool) -> None:
    """The warning about an untested pyOpenSSL is a part of the advice."""
    stand_in = "from openssl_tickets._system_openssl import stand_in"
    _, output = run(packages, stand_in + "; stand_in.TESTED_PYOPENSSL = ((1, 0), (2, 0))")
    assert ("has not been tested on the system's libssl" in output) != is_same


OTHERS = {
    # Any loaded object that calls no libssl will do for one that has it inside; of the standard
    # library's own modules, all but ssl's may be a part of the interpreter.
    "inside": "import _ssl, _cffi_backend; _ssl.__file__ = _cffi_backend.__file__",
    "built in": "import _ssl; del _ssl.__file__",
    "shared": "import _ssl, ctypes; _ssl.__file__ = ctypes.CDLL('./user.so')._name",
}


@pytest.mark.parametrize("where", OTHERS)
def test_standard_ssl_on_another_libssl(packages: Packages, tmp_path: Path, where: str) -> None:
    """A Python whose ``ssl`` is on another libssl is told so; a build can help if it is shared."""
    for name, source, flags in (
        ("libother.so", "int SSL_CTX_new(void) { return 0; }", []),
        (
            "user.so",
            "int SSL_CTX_new(void); int use(void) { return SSL_CTX_new(); }",
            ["-L.", "-lother", f"-Wl,-rpath,{tmp_path}"],
        ),
    ):
        command = ["cc", "-shared", "-fPIC", "-xc", "-", "-o", name, *flags]
        subprocess.run(command, input=source, text=True, check=True, cwd=tmp_path)
    status, output = run(packages, OTHERS[where])
    assert status == 1
    assert output.splitlines()[3].endswith("(ANOTHER libssl)")
    assert "Use a Python whose ssl is linked to the system's libssl" in output
    assert ("OPENSSL_DIR" in output) == (where == "shared")
    assert ("libother.so" in output.splitlines()[3]) == (where == "shared")


def test_library_of_what_is_not_there() -> None:
    """An address in no file, and a file that is not loaded, have no library."""
    assert shared_object.file_of(_libssl.ffi.NULL) is None
    assert shared_object.libssl_of("/no/such/file.so") is None
    assert shared_object.libssl_of(os.devnull) is None
