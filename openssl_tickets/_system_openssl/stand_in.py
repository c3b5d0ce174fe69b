"""Moves pyOpenSSL to the system's libssl."""

from __future__ import annotations

import sys
import threading
import types

from openssl_tickets._adapters import pyopenssl
from openssl_tickets._extras import needs_extra
from openssl_tickets._native.errors import drain_error_queue
from openssl_tickets._native.library import OPENSSL_VERSION
from openssl_tickets._typing import Any

# The oldest and the newest pyOpenSSL whose own tests pass on our binding, see tests/suites/.
TESTED_PYOPENSSL = ((25, 0), (26, 4))
_TESTED = " to ".join(".".join(map(str, version)) for version in TESTED_PYOPENSSL)

_lock = threading.RLock()


def use_system_openssl() -> None:
    """
    Makes pyOpenSSL use the system's libssl, in the whole process.

    Call it before anything imports ``OpenSSL``, or import ``SSL`` from this package, which calls
    it. If you cannot change the program, run it with ``openssl-tickets run``.

    pyOpenSSL from the package index uses the OpenSSL inside cryptography's wheel. This package is
    linked to the system's libssl, and the two cannot share contexts. If pyOpenSSL already uses the
    system's libssl, as in Linux distributions, this function does nothing. cryptography keeps its
    own OpenSSL. The two exchange keys and certificates as DER, so they work side by side.

    With multiprocessing, call it at the top of the program's main module, not below
    ``if __name__ == "__main__"``. Processes that start with ``spawn`` or ``forkserver`` (the
    default from CPython 3.14 on) import that module again.

    More calls do no harm, and several threads may call it at once.

    It was tested with pyOpenSSL 25.0 to 26.4. If it moves another version, it gives a
    ``RuntimeWarning``, once. If that version needs a libssl function that is not bound, it gets an
    AttributeError that says so.

    Raises:
        ImportError: pyOpenSSL is not installed. The message names the extra to install.
        LibraryMismatchError: ``OpenSSL`` was already imported, on another libssl. The message says
            what to do.

    Example::

        import openssl_tickets

        openssl_tickets.use_system_openssl()

        from OpenSSL import SSL
    """
    with _lock:
        if "OpenSSL._util" in sys.modules:
            import OpenSSL  # noqa: F401 (waits for another thread that is importing it)
        else:
            _import_pyopenssl()
        pyopenssl.prove_same_libssl()


def _import_pyopenssl() -> None:
    with needs_extra("pyopenssl", "OpenSSL", "cryptography"):
        _import_on_stand_in()


def _import_on_stand_in() -> None:
    # pyOpenSSL makes one Binding when it is imported, and keeps what that offers.
    import cryptography.hazmat.bindings.openssl.binding

    binding: Any = cryptography.hazmat.bindings.openssl.binding
    original = binding.Binding
    if pyopenssl.is_our_libssl(original().lib):
        import OpenSSL

        return
    binding.Binding = _stand_in(original)
    try:
        import OpenSSL
    finally:
        binding.Binding = original
    _warn_if_untested(OpenSSL.__version__)


def _stand_in(original: Any) -> type:
    """Returns a class that makes a ``SystemBinding`` for pyOpenSSL, else an *original*."""

    class Binding(original):  # type: ignore[misc]
        def __new__(cls) -> Any:
            # Meanwhile, other threads may import parts of cryptography.
            asked_by = sys._getframe(1).f_globals.get("__name__")
            return SystemBinding() if asked_by == "OpenSSL._util" else original()

    return Binding


class SystemBinding:
    """Replaces cryptography's ``Binding``: ``ffi`` and ``lib`` of the system's libssl."""

    def __init__(self) -> None:
        import cryptography

        from openssl_tickets._system_openssl import _pyopenssl

        if _cryptography_has_legacy_algorithms():
            _pyopenssl.lib.OSSL_PROVIDER_try_load(_pyopenssl.ffi.NULL, b"legacy", 1)
            drain_error_queue()  # if the system has no such file, pyOpenSSL works without it
        self.ffi = _pyopenssl.ffi
        self.lib = _as_module(_pyopenssl.lib)
        vars(self.lib)["CRYPTOGRAPHY_PACKAGE_VERSION"] = _pyopenssl.ffi.new(
            "char[]", cryptography.__version__.encode()
        )


def _cryptography_has_legacy_algorithms() -> bool:
    """Whether cryptography has loaded OpenSSL's legacy provider (Blowfish, RC2, ...)."""
    rust = sys.modules.get("cryptography.hazmat.bindings._rust")
    binding = sys.modules["cryptography.hazmat.bindings.openssl.binding"]
    # The first place is cryptography 42's and newer, the second one older versions'.
    places = (getattr(rust, "openssl", None), binding.Binding)
    return any(getattr(place, "_legacy_provider_loaded", False) for place in places)


# cryptography's switches for optional features: 1 if every OpenSSL from 3.0 on has the feature, and
# 0 if none has it.
_SWITCHES = {
    1: "300_EVP_CIPHER 300_FIPS ALPN BN_FLAGS CUSTOM_EXT DTLS_GET_DATA_MTU ED25519 ED448 "
    "EVP_DIGESTFINAL_XOF EVP_PKEY_DH EVP_PKEY_DHX EVP_PKEY_SET_PEER_EX GET_EXTMS_SUPPORT KEYLOG "
    "OP_NO_RENEGOTIATION PKCS12_SET_MAC PKCS7_FUNCS POLY1305 PRIME_CHECKS PROVIDERS PSK "
    "PSK_TLSv1_3 RAW_KEY SCRYPT SET_CERT_CB SIGALGS SRTP SSL_COOKIE "
    "SSL_OP_IGNORE_UNEXPECTED_EOF SSL_VERIFY_CLIENT_POST_HANDSHAKE TLS_ST TLSv1_3_FUNCTIONS "
    "TLSv1_3_HS_FUNCTIONS UNEXPECTED_EOF_WHILE_READING VERIFIED_CHAIN X509_STORE_CTX_GET_ISSUER",
    0: "ENGINE EVP_AEAD FIPS MEM_FUNCTIONS NEXTPROTONEG SSL_ST",
}

# cryptography's constants about the OpenSSL that it was built with.
_CRYPTOGRAPHYS = {
    "CRYPTOGRAPHY_HAS_WORKING_ED25519": 1,
    "CRYPTOGRAPHY_IS_BORINGSSL": 0,
    "CRYPTOGRAPHY_IS_LIBRESSL": 0,
    "CRYPTOGRAPHY_LIBRESSL_LESS_THAN_370": 0,
    "CRYPTOGRAPHY_LIBRESSL_LESS_THAN_380": 0,
    "CRYPTOGRAPHY_OPENSSL_300_OR_GREATER": 1,
    "CRYPTOGRAPHY_OPENSSL_LESS_THAN_111E": 0,
}

# Functions that the running libssl may lack, by the switch that tells pyOpenSSL.
_CONDITIONAL_NAMES = {"Cryptography_HAS_SSL_GET0_GROUP_NAME": ["SSL_get0_group_name"]}

# Names of cryptography's binding that ours does not have, as regular expressions, and the reason.
NOT_OFFERED = {
    r"ENGINE_\w+|SSL_CTX_set_client_cert_engine": "OpenSSL 4.0 and the libssl.so.3 of some "
    "distributions have no engines (Cryptography_HAS_ENGINE is 0, as it is in cryptography 47 and "
    "newer)",
    r"SSL_ST_(BEFORE|INIT|OK|RENEGOTIATE)": "only OpenSSL 1.0 and older have it "
    "(it is TLS_ST_BEFORE or TLS_ST_OK now)",
    r"FIPS_mode(_set)?": "only OpenSSL 1.1 and older have it",
    r"(Cryptography_)?EVP_(AEAD|aead)\w*|CIPHER_R_\w+": "BoringSSL has it, and OpenSSL does not",
    r"Cryptography_((malloc|realloc|free)_wrapper|CRYPTO_set_mem_functions|pem_password_cb)"
    "|CRYPTOGRAPHY_PASSWORD_DATA": "it is a part of cryptography 41 itself",
}


def _as_module(lib: Any) -> types.ModuleType:
    """Returns a module with the attributes of *lib*, because users of pyOpenSSL replace some."""
    module = types.ModuleType("openssl_tickets._system_openssl._pyopenssl.lib")
    names = {name: getattr(lib, name) for name in dir(lib)}
    lacking = {
        name
        for switch, conditional in _CONDITIONAL_NAMES.items()
        if not names[switch]
        for name in conditional
    }
    for name in lacking:
        del names[name]
    # The version of the running libssl. The C constant is that of the headers of the build.
    names["OPENSSL_VERSION_NUMBER"] = names["OpenSSL_version_num"]()
    names["CRYPTOGRAPHY_OPENSSL_320_OR_GREATER"] = names["OPENSSL_VERSION_NUMBER"] >= 0x30200000
    names.update(
        (f"Cryptography_HAS_{switch}", value)
        for value, switches in _SWITCHES.items()
        for switch in switches.split()
    )

    def __getattr__(name: str) -> Any:
        if name in lacking:
            reason = f"{OPENSSL_VERSION} does not have it"
        elif name.startswith("__"):
            reason = "a module of its kind has none"
        else:
            import re  # here, because its import is slow

            reason = next(
                (reason for names, reason in NOT_OFFERED.items() if re.fullmatch(names, name)),
                "openssl_tickets binds what cryptography offers to pyOpenSSL "
                f"{_TESTED} of OpenSSL, and it is not among that. Please report this, with what "
                "`python -m openssl_tickets doctor` prints, or install one of these versions",
            )
        raise AttributeError(f"no {name!r} in {module.__name__}: {reason}", name=name, obj=module)

    vars(module).update(names, **_CRYPTOGRAPHYS, _original_lib=lib, __getattr__=__getattr__)
    return module


def _warn_if_untested(version: str) -> None:
    import re

    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    oldest, newest = TESTED_PYOPENSSL
    if not oldest <= numbers <= newest:
        import warnings

        warnings.warn(
            f"pyOpenSSL {version} has not been tested on the system's libssl, only {_TESTED} have: "
            "a function that it needs may not be bound. Please report what fails, or install one "
            "of these versions.",
            RuntimeWarning,
            stacklevel=5,
        )
