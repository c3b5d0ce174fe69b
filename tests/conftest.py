"""Fixtures: certificates, contexts, and a check that no test leaves OpenSSL errors behind."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import ssl
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import trustme

if os.environ.get("OPENSSL_TICKETS_TESTS") == "distro" and not importlib.util.find_spec("OpenSSL"):
    # Where a program is to be there (CI), this is a failure and no reason to skip.
    pytest.exit(
        "the distribution's Python has no pyOpenSSL (Debian: apt-get install python3-openssl)",
        returncode=1 if os.environ.get("CI") else 0,
    )

import openssl_tickets
from openssl_tickets import SSL
from openssl_tickets._adapters import stdlib
from openssl_tickets._native._libssl import lib
from tests.support import tls
from tests.support.callbacks import Unraisable
from tests.support.libraries import LIBRARIES, Setting
from tests.support.policies import Policy

# A busy machine is no reason to fail.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI"):
        config.option.require_openssl = True  # of our own plugin


def pytest_report_header() -> list[str]:
    """Names every library in play, and where it comes from."""
    import cryptography
    import OpenSSL

    program = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True)
    pyopenssl_on = SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode()
    return [
        f"openssl_tickets: {openssl_tickets.OPENSSL_VERSION}",
        f"pyOpenSSL {OpenSSL.__version__}: {pyopenssl_on}, {type(SSL._lib).__name__} of "
        f"{getattr(SSL._lib, '__name__', '?')}; cryptography {cryptography.__version__}",
        f"openssl program: {program.stdout.strip()}; {platform.platform()}",
    ]


def _why_not_ssl() -> str | None:
    """Returns what is said of an ssl that is on another OpenSSL than this package."""
    try:
        stdlib.prove_same_libssl()
    except openssl_tickets.LibraryMismatchError as error:
        return str(error)
    except RuntimeError:  # its objects are not as they are known: no reason to skip
        pass
    return None


WHY_NOT_SSL = _why_not_ssl()
OF_SSL = {"ssl", "stdlib_tls"}  # parameters of the tests that are run with ssl, too


@contextlib.contextmanager
def _refusals_are_skips() -> Iterator[None]:
    """On an OpenSSL that ssl is not on, what uses ssl ends as it must: it is refused."""
    try:
        yield
    except openssl_tickets.LibraryMismatchError as error:
        if str(error) != WHY_NOT_SSL:
            raise
        pytest.skip(f"ssl is on {ssl.OPENSSL_VERSION}, and its objects were refused")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """There, what starts other processes that use ssl is not even tried."""
    parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
    is_of_ssl = any(isinstance(value, str) and value in OF_SSL for value in parameters)
    if WHY_NOT_SSL and (is_of_ssl or item.get_closest_marker("needs_ssl")):
        pytest.skip(f"ssl is on {ssl.OPENSSL_VERSION}, and this package on another OpenSSL")
    with _refusals_are_skips():  # fixtures make contexts, too
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    with _refusals_are_skips():
        return (yield)


@pytest.fixture(autouse=True)
def _no_errors_left_behind() -> Iterator[None]:
    yield
    assert lib.ERR_get_error() == 0, "the test left something in OpenSSL's error queue"


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def server_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's key and certificates, in one file."""
    path = tmp_path_factory.mktemp("server") / "server.pem"
    issued = authority.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.ECDSA)
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def client_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A client's key and certificates, in one file."""
    path = tmp_path_factory.mktemp("client") / "client.pem"
    issued = authority.issue_cert("client@example.org", key_type=trustme.KeyType.ECDSA)
    issued.private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


@pytest.fixture(params=["1.2", "1.3"])
def version(request: pytest.FixtureRequest) -> str:
    """A TLS version, for what holds in both."""
    return str(request.param)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    """A library, for what holds with all."""
    return str(request.param)


@pytest.fixture
def setting(library: str, version: str, server_file: Path) -> Setting:
    """Contexts of each library, for each TLS version."""
    return Setting(library, version, server_file)


@pytest.fixture
def setting12(library: str, server_file: Path) -> Setting:
    return Setting(library, "1.2", server_file)


@pytest.fixture
def setting13(library: str, server_file: Path) -> Setting:
    return Setting(library, "1.3", server_file)


@pytest.fixture(params=["drop-in", "ssl"])
def policy(request: pytest.FixtureRequest, version: str, server_file: Path) -> Policy:
    """A server with ticket callbacks of each library that can raise what they raise."""
    return Policy(request.param, version, server_file)


@pytest.fixture(params=["drop-in", "ssl"])
def policy12(request: pytest.FixtureRequest, server_file: Path) -> Policy:
    return Policy(request.param, "1.2", server_file)


@pytest.fixture(params=["drop-in", "ssl"])
def policy13(request: pytest.FixtureRequest, server_file: Path) -> Policy:
    return Policy(request.param, "1.3", server_file)


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Unraisable]:
    """What reaches ``sys.unraisablehook`` in a test."""
    hook = Unraisable()
    monkeypatch.setattr(sys, "unraisablehook", hook)
    yield hook
    hook.seen.clear()


@pytest.fixture
def server_context(server_file: Path) -> Any:
    """A context for TLS 1.3 servers."""
    return tls.server_context(server_file)


@pytest.fixture
def client_context() -> Any:
    """A context for TLS 1.3 clients, which counts the tickets that come."""
    return tls.client_context()
