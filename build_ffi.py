"""
Builds the compiled modules of openssl_tickets from the declarations in openssl_tickets/cdef/.

``setup.py`` names :data:`libssl` and :data:`pyopenssl` below; cffi writes their C source, and the C
compiler checks every declaration against the headers of the system's OpenSSL.

``OPENSSL_DIR`` names an OpenSSL to build with; without it, pkg-config is asked.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from cffi import FFI

PACKAGE = Path(__file__).resolve().parent / "openssl_tickets"

# Each file may use the types of those before it.
LIBSSL_CDEF = (
    "libssl",
    "interpreter",
    "shared_object",
    "errors",
    "num_tickets",
    "session",
    "session_cache",
    "ticket_callback",
    "session_callback",
    "ticket_keys",
    "post_handshake_auth",
    "stdlib",
)
LIBSSL_CSRC = (
    "interpreter",
    "shared_object",
    "errors",
    "lock",
    "session",
    "policy",
    "ticket_callback",
    "session_callback",
    "ticket_keys",
    "stdlib",
)

PYOPENSSL_CDEF = (
    "crypto",
    "err",
    "provider",
    "rand",
    "bn",
    "asn1",
    "asn1_string_{openssl}",
    "objects",
    "bio",
    "rsa",
    "dsa",
    "dh",
    "ec",
    "evp",
    "x509",
    "x509_vfy",
    "x509v3",
    "pem",
    "ssl",
    "dtls1",
    "srtp",
    "tls1",
)

# What of Python may be called: what CPython 3.10 and every later one has.
MACROS = {"Py_LIMITED_API": "0x030A0000", "OPENSSL_SUPPRESS_DEPRECATED": "1"}

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

# The setuptools commands that compile. The others (metadata, sdist) must work without a compiler.
BUILD_COMMANDS = {"bdist_wheel", "build", "build_ext", "develop", "editable_wheel", "install"}


def openssl_flags() -> dict[str, Any]:
    """Returns where OpenSSL is, as keyword arguments of a setuptools Extension."""
    prefix = os.environ.get("OPENSSL_DIR")
    if prefix:
        libraries = [d for d in (f"{prefix}/lib64", f"{prefix}/lib") if os.path.isdir(d)]
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
        SystemExit: there is no compiler, or a header is missing or not OpenSSL 3's; the message
            names the packages to install.
    """
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        sys.exit("openssl_tickets does not support free-threaded builds of CPython yet.")
    try:
        probe = preprocess(flags, "#include <Python.h>\n#include <requires.h>\n")
    except OSError as error:
        sys.exit(
            WHAT_TO_INSTALL.format(error=f"the C compiler {compiler()[0]!r} did not run: {error}")
        )
    if probe.returncode != 0:
        sys.exit(WHAT_TO_INSTALL.format(error="the C compiler says\n\n" + probe.stderr.strip()))


def openssl_generation(flags: dict[str, Any]) -> int:
    """Returns 4 if the headers are those of OpenSSL 4.0 or newer, else 3 (also without headers)."""
    with contextlib.suppress(OSError):
        probe = preprocess(flags, "#include <openssl/opensslv.h>\nOPENSSL_VERSION_MAJOR\n")
        major = probe.stdout.split()[-1:]
        if probe.returncode == 0 and major and major[0].isdecimal() and int(major[0]) >= 4:
            return 4
    return 3


def preprocess(flags: dict[str, Any], source: str) -> subprocess.CompletedProcess[str]:
    """Preprocesses *source*, with the headers that the build would take."""
    includes = [
        sysconfig.get_path("include"),
        *flags.get("include_dirs", []),
        str(PACKAGE / "csrc"),
    ]
    command = [
        *compiler(),
        *(f"-I{folder}" for folder in includes),
        *flags.get("extra_compile_args", []),
        *("-E", "-xc", "-"),
    ]
    return subprocess.run(command, input=source, capture_output=True, text=True)


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def ffi_of(module: str, declarations: list[Path], sources: list[Path]) -> FFI:
    """Joins *declarations* and the C *sources* into the FFI that builds *module*."""
    flags = openssl_flags()
    if BUILD_COMMANDS.intersection(sys.argv):
        check_compiler(flags)
    ffi = FFI()
    for path in declarations:
        ffi.cdef(path.read_text())
    csrc = PACKAGE / "csrc"
    ffi.set_source(
        module,
        "".join(path.read_text() for path in [csrc / "requires.h", *sources]),
        define_macros=list(MACROS.items()),
        **flags,
    )
    return ffi


def libssl() -> FFI:
    """The tickets' half of libssl: ``openssl_tickets._libssl``."""
    return ffi_of(
        "openssl_tickets._libssl",
        [PACKAGE / "cdef" / f"{name}.h" for name in LIBSSL_CDEF],
        [PACKAGE / "csrc" / f"{name}.c" for name in LIBSSL_CSRC],
    )


def pyopenssl() -> FFI:
    """What pyOpenSSL calls, on the same libssl: ``openssl_tickets._pyopenssl``."""
    generation = openssl_generation(openssl_flags())
    return ffi_of(
        "openssl_tickets._pyopenssl",
        [
            PACKAGE / "cdef" / "pyopenssl" / f"{name.format(openssl=generation)}.h"
            for name in PYOPENSSL_CDEF
        ],
        [PACKAGE / "csrc" / "pyopenssl_headers.h", PACKAGE / "csrc" / "pyopenssl.c"],
    )
