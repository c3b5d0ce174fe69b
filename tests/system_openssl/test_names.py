"""
All that cryptography's own binding offers of OpenSSL is in ours, so a new release is noticed.

pyOpenSSL is written for that binding, and so are the programs that use pyOpenSSL's ``lib``.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import OpenSSL
import pytest

from openssl_tickets import SSL
from openssl_tickets._system_openssl import stand_in
from tests.support import tls

pytestmark = pytest.mark.skipif(
    tuple(map(int, OpenSSL.__version__.split(".")[:2])) < stand_in.TESTED_PYOPENSSL[0],
    reason=f"our binding is for newer ones than pyOpenSSL {OpenSSL.__version__}",
)


@pytest.fixture(scope="module")
def theirs() -> Any:
    """cryptography's binding as it is compiled, with what it hides of it by its switches."""
    from cryptography.hazmat.bindings._rust import _openssl

    return _openssl


@pytest.fixture(scope="module")
def ours() -> Any:
    return stand_in.SystemBinding()


def is_excused(name: str) -> bool:
    return any(re.fullmatch(names, name) for names in stand_in.NOT_OFFERED)


def lacking(lib: Any) -> set[str]:
    """What the system's OpenSSL is too old for, and pyOpenSSL is told so."""
    switches = stand_in._CONDITIONAL_NAMES
    return {name for switch in switches if not getattr(lib, switch) for name in switches[switch]}


def test_every_name_is_bound(theirs: Any, ours: Any) -> None:
    """Each function, constant and switch of cryptography's binding is there, or is excused."""
    missing = {name for name in dir(theirs.lib) if not hasattr(ours.lib, name)}
    assert len(dir(theirs.lib)) > 500
    assert {name for name in missing if not is_excused(name)} <= lacking(ours.lib)


def test_what_is_excused_says_why(theirs: Any, ours: Any) -> None:
    """The reason for what is not offered is in the error, and nothing is excused that is there."""
    for name in filter(is_excused, dir(theirs.lib)):
        with pytest.raises(AttributeError, match=r"OpenSSL|cryptography 41"):
            getattr(ours.lib, name)


def test_every_type_is_known(theirs: Any, ours: Any) -> None:
    """Each type that a program may name to cryptography's ``ffi`` is one of ours."""
    known = set(ours.ffi.list_types()[0])
    assert {name for name in theirs.ffi.list_types()[0] if not is_excused(name)} <= known


def functions(theirs: Any, ours: Any) -> Iterator[tuple[str, Any, Any]]:
    for name in dir(theirs.lib):
        if isinstance(getattr(theirs.lib, name), types.BuiltinFunctionType) and not (
            is_excused(name) or name in lacking(ours.lib)
        ):
            yield name, *(b.ffi.typeof(getattr(b.lib, name)) for b in (theirs, ours))


def arguments(function: Any) -> list[str]:
    """What cffi takes for each argument: any integer for a number, and else a pointer's type."""
    numbers = {"primitive", "enum"}
    return ["number" if arg.kind in numbers else arg.cname for arg in function.args]


def test_functions_take_the_same(theirs: Any, ours: Any) -> None:
    """What is passed to a function of cryptography's binding can be passed to ours."""
    different = {
        name: (their_type, our_type)
        for name, their_type, our_type in functions(theirs, ours)
        # cryptography before 47 shows its strings' fields, in structs that have other names.
        if "struct " not in their_type.cname and arguments(their_type) != arguments(our_type)
    }
    assert different == {}


def test_constants_are_those_of_the_system(theirs: Any, ours: Any) -> None:
    """Constants that no OpenSSL has changed since 3.0 are as cryptography has them."""
    of_a_version = re.compile(r"OPENSSL_VERSION_NUMBER|\w+_OR_GREATER|\w+_HAS_\w+|X509_PURPOSE_MAX")
    different = {
        name: (value, getattr(ours.lib, name))
        for name in dir(theirs.lib)
        if isinstance(value := getattr(theirs.lib, name), int)
        and not is_excused(name)
        and name not in lacking(ours.lib)
        and not of_a_version.fullmatch(name)
        and value != getattr(ours.lib, name)
    }
    assert different == {}


def test_what_programs_call_does_what_it_says(server_file: Path) -> None:
    """Functions that mitmproxy, Scrapy, Synapse and others call by ``SSL._lib`` take effect."""
    lib, ffi = SSL._lib, SSL._ffi
    if lib.__name__ != "openssl_tickets._system_openssl._pyopenssl.lib":
        pytest.skip("pyOpenSSL is on its own binding of the system's libssl here")
    server, client = tls.server_context(server_file), tls.client_context()
    before = lib.SSL_CTX_get_options(server._context)
    assert server.set_options(SSL.OP_NO_TICKET) == before | SSL.OP_NO_TICKET
    assert lib.SSL_CTX_set1_curves_list(server._context, b"P-384") == 1
    assert lib.SSL_CTX_set1_sigalgs_list(client._context, b"ECDSA+SHA256") == 1
    lib.SSL_CTX_set_post_handshake_auth(client._context, 1)
    assert lib.SSL_CTX_get0_param(server._context) != ffi.NULL

    pair = tls.Pair(server, client).handshake()
    assert lib.SSL_session_reused(pair.server._ssl) == 0
    lib.SSL_set_verify(pair.server._ssl, SSL.VERIFY_PEER, ffi.NULL)
    assert lib.SSL_verify_client_post_handshake(pair.server._ssl) == 1
    session = lib.SSL_get1_session(pair.client._ssl)
    length = lib.i2d_SSL_SESSION(session, ffi.NULL)
    der = ffi.new("unsigned char[]", length)
    assert lib.i2d_SSL_SESSION(session, ffi.new("unsigned char **", der)) == length
    copy = lib.d2i_SSL_SESSION(ffi.NULL, ffi.new("const unsigned char **", der), length)
    assert lib.SSL_SESSION_get_max_early_data(copy) == 0
    for each in (session, copy):
        lib.SSL_SESSION_free(each)
    assert ffi.typeof("Cryptography_STACK_OF_X509 *")
