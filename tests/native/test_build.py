"""What was built, and what a build says when it cannot be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
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


COMPILERS = list(dict.fromkeys([build_ffi.compiler()[0], "gcc", "clang"]))
C_FILES = [
    str(path.relative_to(build_ffi.PACKAGE))
    for path in sorted(build_ffi.PACKAGE.rglob("*.c"))
    if not path.name.startswith("_")  # what cffi has written
]
LOOSE_TYPES = "incompatible-pointer-types", "int-conversion", "implicit-function-declaration"


def compiled(
    source: Path, *flags: str, compiler: str = COMPILERS[0]
) -> subprocess.CompletedProcess[str]:
    """Has the *compiler* check a C file alone, with the headers and macros of the build."""
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    includes = [sysconfig.get_path("include"), *build_ffi.INCLUDES]
    includes += build_ffi.openssl_flags().get("include_dirs", [])
    return subprocess.run(
        [
            *(compiler, "-o", os.devnull, str(source), *flags),
            *(f"-I{include}" for include in includes),
            *(f"-D{name}={value}" for name, value in build_ffi.MACROS.items()),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        timeout=300,
    )


def compiled_strictly(ffi: Any, folder: Path) -> tuple[int, list[str]]:
    """
    Compiles the C source of *ffi*, in which no two types may be taken for one.

    Returns the compiler's status, and the functions whose prototypes no header has.
    """
    ffi.emit_c_code(str(folder / "module.c"))
    flags = [
        "-fsyntax-only",
        "-Wmissing-prototypes",
        *(f"-Werror={warning}" for warning in LOOSE_TYPES),
    ]
    result = compiled(folder / "module.c", *flags)
    return result.returncode, re.findall(r"no previous prototype for .*?'(\w+)'", result.stderr)


MODULES = {"PyInit__libssl": build_ffi.libssl, "PyInit__pyopenssl": build_ffi.pyopenssl}


@pytest.mark.parametrize("init", MODULES)
def test_declarations_agree_with_the_headers(init: str, tmp_path: Path) -> None:
    """Each type, field, constant and function is what the system's headers and ours say."""
    assert compiled_strictly(MODULES[init](), tmp_path) == (0, [init])


@pytest.mark.parametrize(
    ("init", "wrong"),
    [
        ("PyInit__pyopenssl", "long SSL_CTX_sess_number(SSL *ssl);"),
        ("PyInit__pyopenssl", "int SSL_get_fd(const SSL *ssl, int more);"),
        ("PyInit__pyopenssl", "char *SSL_get_rbio(const SSL *ssl);"),
        ("PyInit__pyopenssl", "int SSL_no_such_function(SSL *ssl);"),
        ("PyInit__pyopenssl", "#define SSL_NO_SUCH_CONSTANT ..."),
        ("PyInit__libssl", "void openssl_tickets_lock(int more);"),
        ("PyInit__libssl", "int openssl_tickets_no_such_function(SSL *ssl);"),
        ("PyInit__libssl", 'extern "Python+C" int openssl_tickets_lock(void);'),
        ("PyInit__libssl", 'extern "Python+C" void openssl_tickets_not_in_the_header(void);'),
    ],
)
@pytest.mark.slow
def test_wrong_declaration_is_found(init: str, wrong: str, tmp_path: Path) -> None:
    """A declaration that does not agree with the headers, or is not in them, is found."""
    ffi = MODULES[init]()
    ffi.cdef(wrong)
    assert compiled_strictly(ffi, tmp_path) != (0, [init])


WARNINGS = "-O2", "-c", "-Wall", "-Wextra", "-Wmissing-prototypes", "-Werror"


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", C_FILES)
def test_c_file_compiles_alone(name: str, compiler: str) -> None:
    """Each C file is a unit of its own, without a warning, and the header has what it offers."""
    result = compiled(build_ffi.PACKAGE / name, *WARNINGS, compiler=compiler)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize(
    "source",
    [
        "int openssl_tickets_is_asked(const SSL *ssl) { return !ssl; }",
        '#include "openssl_tickets.h"\nint openssl_tickets_not_in_the_header(void) { return 1; }',
        '#include "openssl_tickets.h"\nint openssl_tickets_is_asked(SSL *ssl) { return !ssl; }',
        '#include "openssl_tickets.h"\nint openssl_tickets_is_asked(const SSL *ssl) { return 1; }',
    ],
)
@pytest.mark.slow
def test_c_file_with_a_fault_is_found(source: str, compiler: str, tmp_path: Path) -> None:
    """A need for another file, a difference to the header, and an unused name are found."""
    (tmp_path / "module.c").write_text(f"{source}\n")
    assert compiled(tmp_path / "module.c", *WARNINGS, compiler=compiler).returncode != 0


def exported(module: Path) -> list[str]:
    """Returns what a shared object defines for others."""
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", str(module)], capture_output=True, text=True, check=True
    )
    return [line.split()[-1] for line in listed.stdout.splitlines()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nm -D is for ELF")
@pytest.mark.parametrize("module", [_libssl, _pyopenssl])
def test_exports_nothing(module: object) -> None:
    """A built module offers its init function, and nothing of ours or of OpenSSL's."""
    name = str(vars(module)["__name__"]).rpartition(".")[2]
    assert exported(Path(vars(module)["__file__"])) == [f"PyInit_{name}"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nm -D is for ELF")
@pytest.mark.parametrize(
    ("flags", "found"),
    [([], ["init", "lock", "unlock"]), (build_ffi.COMPILE_ARGS, [])],
    ids=["by default", "as built"],
)
def test_export_is_found(flags: list[str], found: list[str], tmp_path: Path) -> None:
    """A function that is not hidden is found, and the flags of the build hide it."""
    lock = build_ffi.PACKAGE / "_native" / "lock.c"
    result = compiled(lock, "-shared", "-fPIC", "-o", str(tmp_path / "lock.so"), *flags)
    assert result.returncode == 0, result.stderr
    assert exported(tmp_path / "lock.so") == [f"openssl_tickets_{name}" for name in found]


def preprocess(folder: Path) -> subprocess.CompletedProcess[str]:
    """Preprocesses the private header, with the headers in *folder* ahead of the system's."""
    return build_ffi.preprocess({"include_dirs": [str(folder)]}, "#include <openssl_tickets.h>\n")


def headers(folder: Path, **contents: str) -> Path:
    (folder / "openssl").mkdir()
    for name, content in contents.items():
        (folder / "openssl" / f"{name}.h").write_text(content)
    return folder


def test_headers_at_hand_are_accepted() -> None:
    """The headers of this machine's OpenSSL pass."""
    build_ffi.check_compiler(build_ffi.openssl_flags())


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


@pytest.mark.parametrize("libraries", ["lib", "lib64", "lib/{}"])
def test_openssl_dir_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, libraries: str
) -> None:
    """OPENSSL_DIR names the headers, the libraries, and where they are found at run time."""
    prefix = openssl_dir(tmp_path, libraries.format(sysconfig.get_config_var("MULTIARCH")))
    monkeypatch.setenv("OPENSSL_DIR", str(prefix))
    flags = build_ffi.openssl_flags()
    assert flags["include_dirs"] == [f"{prefix}/include"]
    assert flags["library_dirs"] == flags["runtime_library_dirs"]
    assert [str(path.parent) for path in prefix.rglob("libssl.so")] == flags["library_dirs"]


@pytest.mark.parametrize(
    ("lacks", "message"),
    [
        ("*", "there is no include/openssl/ssl.h"),
        ("include/openssl/ssl.h", "there is no include/openssl/ssl.h"),
        ("lib/libssl.so", "there is no libssl in its lib/ or lib64/"),
    ],
)
def test_openssl_dir_without_openssl(tmp_path: Path, lacks: str, message: str) -> None:
    """An OPENSSL_DIR without OpenSSL in it stops the build, which says what is missing there."""
    prefix = tmp_path / "nowhere" if lacks == "*" else openssl_dir(tmp_path, "lib")
    if lacks != "*":
        (prefix / lacks).unlink()
    result = build(tmp_path, OPENSSL_DIR=str(prefix))
    assert result.returncode != 0
    assert f"OPENSSL_DIR is {str(prefix)!r}, but {message}" in result.stderr
    assert "Traceback" not in result.stderr


def openssl_dir(folder: Path, libraries: str) -> Path:
    """Makes a prefix that looks as if there were an OpenSSL in it."""
    prefix = folder / "prefix"
    for name in ("include/openssl/ssl.h", f"{libraries}/libssl.so"):
        (prefix / name).parent.mkdir(parents=True)
        (prefix / name).touch()
    return prefix


def build(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-temp", str(folder)],
        cwd=Path(build_ffi.__file__).parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(("major", "generation"), [("3", 3), ("4", 4), ("10", 10), (None, 3)])
def test_generation_of_the_headers(tmp_path: Path, major: str | None, generation: int) -> None:
    """What OpenSSL 4.0 hides is declared as hidden there, and as shown before."""
    line = f"#define OPENSSL_VERSION_MAJOR {major}" if major else "#error these are no headers"
    folder = headers(tmp_path, opensslv=line)
    assert build_ffi.openssl_generation({"include_dirs": [str(folder)]}) == min(generation, 4)


def test_source_that_is_not_built(tmp_path: Path) -> None:
    """If Python finds a copy of the source first, the import says so, and what to do."""
    copy = tmp_path / "openssl_tickets"
    shutil.copytree(build_ffi.PACKAGE, copy, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    ended = subprocess.run(
        [sys.executable, "-c", "import openssl_tickets"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert f"ImportError: openssl_tickets is not built in {copy}." in ended.stderr
    assert "start Python in another folder" in ended.stderr


def test_failing_build_ends_with_the_message(tmp_path: Path) -> None:
    """The build itself, without a compiler, ends with the message and no traceback."""
    result = build(tmp_path, CC="no-such-compiler")
    assert result.returncode != 0
    assert "apt-get install gcc python3-dev libssl-dev pkg-config" in result.stderr
    assert "Traceback" not in result.stderr
