"""
Builds the two compiled modules of openssl_tickets.

Each is made from declarations (``*.cdef.h``) and from the C files beside them. ``setup.py`` names
the functions :func:`libssl` and :func:`pyopenssl` below. cffi writes the C source of the modules,
and the C compiler checks every declaration against the headers of the system's OpenSSL.

``OPENSSL_DIR`` names the OpenSSL to build with. Without it, pkg-config finds one.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from cffi import FFI

ROOT = Path(__file__).resolve().parent
PACKAGE = ROOT / "openssl_tickets"

# The areas of the module for tickets. Each has declarations, a C file, or both. An area may use the
# types of the areas before it.
LIBSSL = (
    "_native/library",
    "_native/lock",
    "_native/interpreter",
    "_native/shared_object",
    "_native/errors",
    "_core/sides",
    "_core/num_tickets",
    "_core/session",
    "_core/session_lifetime",
    "_core/session_stats",
    "_core/slot",
    "_core/ticket_stats",
    "_core/ticket_callback",
    "_core/new_session",
    "_core/session_stores",
    "_core/client_sessions",
    "_core/ticket_keys",
    "_core/sealed",
    "_core/post_handshake_auth",
    "_adapters/stdlib",
)

PYOPENSSL_CDEF = (
    "types",
    "crypto",
    "err",
    "provider",
    "rand",
    "bn",
    "asn1",
    "asn1_string_{openssl}",
    "objects",
    "bio",
    "pem",
    "rsa",
    "dsa",
    "dh",
    "ec",
    "evp",
    "cmac",
    "x509",
    "x509_vfy",
    "x509v3",
    "pkcs7",
    "pkcs12",
    "ssl",
    "dtls1",
    "srtp",
    "tls1",
)

# The C files may call the part of Python that CPython 3.10 and every later version have.
MACROS = {"Py_LIMITED_API": "0x030A0000", "OPENSSL_SUPPRESS_DEPRECATED": "1"}

INCLUDES = [str(PACKAGE / "_native"), str(PACKAGE / "_system_openssl")]

# The C files' functions are visible inside the module only.
COMPILE_ARGS = ["-fvisibility=hidden"]

WHAT_TO_INSTALL = """
openssl_tickets could not be built. It needs a C compiler, the headers of Python, and the headers of
OpenSSL 3.0 or newer:

  Debian, Ubuntu   apt-get install gcc python3-dev libssl-dev pkg-config
  Fedora, RHEL     dnf install gcc python3-devel openssl-devel pkgconf-pkg-config
  Alpine           apk add gcc musl-dev python3-dev openssl-dev pkgconf
  macOS            xcode-select --install; brew install openssl@3 pkgconf

For an OpenSSL in another place, set OPENSSL_DIR to its prefix: the folder that holds include/ and
lib/ (with Homebrew: export OPENSSL_DIR="$(brew --prefix openssl@3)").

What went wrong: {error}
"""

# The setuptools commands that compile. The others, such as sdist, must work without a compiler.
BUILD_COMMANDS = {"bdist_wheel", "build", "build_ext", "develop", "editable_wheel", "install"}


def openssl_flags() -> dict[str, Any]:
    """
    Returns the place of OpenSSL, as keyword arguments of a setuptools Extension.

    Raises:
        SystemExit: there is no OpenSSL in the folder that ``OPENSSL_DIR`` names.
    """
    prefix = os.environ.get("OPENSSL_DIR")
    if prefix:
        # Debian has its libraries in a folder that is named after the architecture.
        multiarch = f"{prefix}/lib/{sysconfig.get_config_var('MULTIARCH')}"
        folders = [f"{prefix}/lib64", f"{prefix}/lib", multiarch]
        libraries = [folder for folder in folders if glob.glob(f"{folder}/libssl.*")]
        for is_there, what in (
            (os.path.isfile(f"{prefix}/include/openssl/ssl.h"), "include/openssl/ssl.h"),
            (libraries, "libssl in its lib/ or lib64/"),
        ):
            if not is_there:
                # The compiler would silently take the system's OpenSSL instead.
                sys.exit(
                    f"OPENSSL_DIR is {prefix!r}, but there is no {what}: set it to the prefix of "
                    "an OpenSSL, the folder that holds include/ and lib/, or unset it for the "
                    "system's OpenSSL"
                )
        return {
            "include_dirs": [f"{prefix}/include"],
            "library_dirs": libraries,
            "runtime_library_dirs": libraries,
            "libraries": ["ssl", "crypto"],
        }
    flags: dict[str, Any] = {"libraries": ["ssl", "crypto"]}
    if shutil.which("pkg-config"):
        found = subprocess.run(
            ["pkg-config", "--cflags", "--libs-only-L", "openssl"], capture_output=True, text=True
        )
        for word in found.stdout.split() if found.returncode == 0 else []:
            key = {"-I": "include_dirs", "-L": "library_dirs"}.get(word[:2], "extra_compile_args")
            flags.setdefault(key, []).append(word if key == "extra_compile_args" else word[2:])
    return flags


def check_compiler(flags: dict[str, Any]) -> None:
    """
    Preprocesses the headers that the build needs.

    Raises:
        SystemExit: there is no compiler, a header is missing, or OpenSSL is older than 3.0. The
            message names the packages to install.
    """
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        sys.exit("openssl_tickets does not support free-threaded builds of CPython yet.")
    try:
        probe = preprocess(flags, "#include <Python.h>\n#include <openssl_tickets.h>\n")
    except OSError as error:
        sys.exit(
            WHAT_TO_INSTALL.format(error=f"the C compiler {compiler()[0]!r} did not run: {error}")
        )
    if probe.returncode != 0:
        sys.exit(WHAT_TO_INSTALL.format(error="the C compiler says\n\n" + probe.stderr.strip()))


def openssl_generation(flags: dict[str, Any]) -> int:
    """Returns 4 if the headers belong to OpenSSL 4.0 or newer, else 3 (also without headers)."""
    with contextlib.suppress(OSError):
        probe = preprocess(flags, "#include <openssl/opensslv.h>\nOPENSSL_VERSION_MAJOR\n")
        major = probe.stdout.split()[-1:]
        if probe.returncode == 0 and major and major[0].isdecimal() and int(major[0]) >= 4:
            return 4
    return 3


def preprocess(flags: dict[str, Any], source: str) -> subprocess.CompletedProcess[str]:
    """Preprocesses *source* with the headers of the build."""
    includes = [sysconfig.get_path("include"), *flags.get("include_dirs", []), *INCLUDES]
    command = [
        *compiler(),
        *(f"-I{folder}" for folder in includes),
        *flags.get("extra_compile_args", []),
        *("-E", "-xc", "-"),
    ]
    return subprocess.run(command, input=source, capture_output=True, text=True)


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def ffi_of(module: str, header: str, declarations: list[Path], sources: list[Path]) -> FFI:
    """Makes the FFI for *module* from *declarations*, the *header* for them, and C *sources*."""
    flags = openssl_flags()
    if BUILD_COMMANDS.intersection(sys.argv):
        check_compiler(flags)
    ffi = FFI()
    for path in declarations:
        ffi.cdef(path.read_text())
    ffi.set_source(
        module,
        f'#include "{header}"\n',
        # setuptools wants paths relative to this folder.
        sources=[str(path.relative_to(ROOT)) for path in sources],
        include_dirs=[*INCLUDES, *flags.pop("include_dirs", [])],
        define_macros=list(MACROS.items()),
        extra_compile_args=[*COMPILE_ARGS, *flags.pop("extra_compile_args", [])],
        **flags,
    )
    return ffi


def libssl_declarations() -> list[Path]:
    return [path for area in LIBSSL if (path := PACKAGE / f"{area}.cdef.h").exists()]


def pyopenssl_declarations(generation: int) -> list[Path]:
    """Returns the declarations for headers of OpenSSL 3 or 4, the *generation*."""
    folder = PACKAGE / "_system_openssl" / "cdef"
    return [folder / f"{name.format(openssl=generation)}.h" for name in PYOPENSSL_CDEF]


def libssl() -> FFI:
    """Makes the module for tickets: ``openssl_tickets._native._libssl``."""
    return ffi_of(
        "openssl_tickets._native._libssl",
        "openssl_tickets.h",
        libssl_declarations(),
        [path for area in LIBSSL if (path := PACKAGE / f"{area}.c").exists()],
    )


def pyopenssl() -> FFI:
    """Makes the module for pyOpenSSL: ``openssl_tickets._system_openssl._pyopenssl``."""
    return ffi_of(
        "openssl_tickets._system_openssl._pyopenssl",
        "pyopenssl.h",
        pyopenssl_declarations(openssl_generation(openssl_flags())),
        [PACKAGE / "_system_openssl" / "pyopenssl.c"],
    )
