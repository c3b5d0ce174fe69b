"""What was built, and what a build says when it cannot be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import build_ffi
from openssl_tickets._native import _libssl
from openssl_tickets._native._libssl import lib
from openssl_tickets._system_openssl import _pyopenssl

REQUIRED = """
    SSL_CTX_set_num_tickets SSL_CTX_get_num_tickets SSL_set_num_tickets SSL_get_num_tickets
    SSL_new_session_ticket SSL_CTX_set_session_ticket_cb SSL_SESSION_set1_ticket_appdata
    SSL_SESSION_get0_ticket_appdata SSL_get_session
    openssl_tickets_generate openssl_tickets_decrypt
"""


@pytest.mark.parametrize("name", REQUIRED.split())
def test_binds(name: str) -> None:
    """The functions that the package is about are all bound."""
    assert hasattr(lib, name)


@pytest.mark.parametrize("module", [_libssl, _pyopenssl])
def test_is_abi3(module: object) -> None:
    """One build serves CPython 3.10 and every later one."""
    assert str(vars(module)["__file__"]).endswith(".abi3.so")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ldd is Linux's")
@pytest.mark.parametrize("module", [_libssl, _pyopenssl])
def test_links_the_systems_libssl(module: object) -> None:
    """What is loaded is the system's shared libssl and libcrypto."""
    result = subprocess.run(
        ["ldd", str(vars(module)["__file__"])], capture_output=True, text=True, check=True
    )
    for library in ("libssl", "libcrypto"):
        assert re.search(rf"{library}\.so\.\d+ => /", result.stdout)


def compile_strictly(ffi: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    """Has the compiler check the C source of *ffi*, where no two types may be taken for one."""
    ffi.emit_c_code(str(folder / "module.c"))
    flags = build_ffi.openssl_flags()
    includes = [sysconfig.get_path("include"), *flags.get("include_dirs", [])]
    strict = ("incompatible-pointer-types", "int-conversion", "implicit-function-declaration")
    return subprocess.run(
        [
            *build_ffi.compiler(),
            *(f"-I{include}" for include in includes),
            *(f"-Werror={warning}" for warning in strict),
            *(f"-D{name}={value}" for name, value in build_ffi.MACROS.items()),
            *("-fsyntax-only", str(folder / "module.c")),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("module", [build_ffi.libssl, build_ffi.pyopenssl])
def test_declarations_agree_with_the_headers(module: Callable[[], Any], tmp_path: Path) -> None:
    """Each type, field, constant and function is what the system's headers say."""
    result = compile_strictly(module(), tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "wrong",
    [
        "long SSL_CTX_sess_number(SSL *ssl);",
        "int SSL_get_fd(const SSL *ssl, int more);",
        "char *SSL_get_rbio(const SSL *ssl);",
        "int SSL_no_such_function(SSL *ssl);",
        "#define SSL_NO_SUCH_CONSTANT ...",
    ],
)
def test_wrong_declaration_is_found(wrong: str, tmp_path: Path) -> None:
    """A declaration that does not agree with the headers stops the compiler."""
    ffi = build_ffi.pyopenssl()
    ffi.cdef(wrong)
    assert compile_strictly(ffi, tmp_path).returncode != 0


def preprocess(folder: Path | None = None, *definitions: str) -> subprocess.CompletedProcess[str]:
    """Preprocesses requires.h, with the headers in *folder* ahead of the system's."""
    return subprocess.run(
        [*build_ffi.compiler(), *([f"-I{folder}"] if folder else []), *definitions, "-E", "-"],
        input=f'#include "{build_ffi.PACKAGE / "csrc" / "requires.h"}"\n',
        capture_output=True,
        text=True,
    )


def headers(folder: Path, **contents: str) -> Path:
    (folder / "openssl").mkdir()
    for name, content in contents.items():
        (folder / "openssl" / f"{name}.h").write_text(content)
    return folder


def test_headers_at_hand_are_accepted() -> None:
    """The headers of this machine's OpenSSL pass."""
    assert preprocess().returncode == 0


@pytest.mark.parametrize("version", ["0x1010117fL", "0x2fffffffL"])
def test_old_openssl_is_refused(tmp_path: Path, version: str) -> None:
    """Headers older than 3.0 stop the build, which says what is needed."""
    folder = headers(
        tmp_path, opensslv=f"#define OPENSSL_VERSION_NUMBER {version}\n", crypto="", err="", ssl=""
    )
    result = preprocess(folder)
    assert result.returncode != 0
    assert "#error" in result.stderr
    assert (
        "openssl_tickets needs OpenSSL 3.0 or newer, and these headers are older" in result.stderr
    )


@pytest.mark.parametrize(
    ("macro", "name"),
    [
        ("LIBRESSL_VERSION_NUMBER", "LibreSSL's"),
        ("OPENSSL_IS_BORINGSSL", "BoringSSL's"),
        ("OPENSSL_IS_AWSLC", "BoringSSL's"),
    ],
)
def test_forks_are_refused(tmp_path: Path, macro: str, name: str) -> None:
    """LibreSSL's and BoringSSL's headers stop the build, and are called by their names."""
    folder = headers(
        tmp_path,
        opensslv=f"#define OPENSSL_VERSION_NUMBER 0x30000000L\n#define {macro} 1\n",
        crypto="",
        err="",
        ssl="",
    )
    result = preprocess(folder)
    assert result.returncode != 0
    assert f"these headers are {name}" in result.stderr


def test_message_for_a_missing_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler, the message names the packages of four systems."""
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(SystemExit) as caught:
        build_ffi.check_compiler({})
    message = str(caught.value)
    assert "'no-such-compiler' did not run" in message
    for packages in ("libssl-dev", "openssl-devel", "openssl-dev ", "openssl@3"):
        assert packages in message


def test_message_for_missing_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without OpenSSL's headers it does too, below the compiler's own words."""
    monkeypatch.setenv("CC", " ".join([*build_ffi.compiler(), "-nostdinc"]))
    with pytest.raises(SystemExit, match=r"(?s)libssl-dev.*What went wrong: the C compiler says"):
        build_ffi.check_compiler({})


def test_openssl_dir_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """OPENSSL_DIR names the headers, the libraries, and where they are found at run time."""
    (tmp_path / "lib").mkdir()
    monkeypatch.setenv("OPENSSL_DIR", str(tmp_path))
    flags = build_ffi.openssl_flags()
    assert flags["include_dirs"] == [f"{tmp_path}/include"]
    assert flags["library_dirs"] == flags["runtime_library_dirs"] == [f"{tmp_path}/lib"]


@pytest.mark.parametrize(("major", "generation"), [("3", 3), ("4", 4), ("10", 10), (None, 3)])
def test_generation_of_the_headers(tmp_path: Path, major: str | None, generation: int) -> None:
    """What OpenSSL 4.0 hides is declared as hidden there, and as shown before."""
    line = f"#define OPENSSL_VERSION_MAJOR {major}" if major else "#error these are no headers"
    folder = headers(tmp_path, opensslv=line)
    assert build_ffi.openssl_generation({"include_dirs": [str(folder)]}) == min(generation, 4)


def test_failing_build_ends_with_the_message(tmp_path: Path) -> None:
    """The build itself, without a compiler, ends with the message and no traceback."""
    root = Path(build_ffi.__file__).parent
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-temp", str(tmp_path)],
        cwd=root,
        env={**os.environ, "CC": "no-such-compiler"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode != 0
    assert "apt-get install gcc python3-dev libssl-dev pkg-config" in result.stderr
    assert "Traceback" not in result.stderr
