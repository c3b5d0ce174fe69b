"""
The pytest plugin of openssl_tickets: the fixtures and their option.

pytest loads this module if openssl_tickets is installed. The module is not part of the package,
because Python would import the package first. It imports openssl_tickets only when a test asks for
a fixture. If libssl does not load, only those tests fail.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from openssl_tickets.pytest_plugin import SClientFactory, TLSServer

_OPTION = "--require-openssl"
_MISSING = "there is no openssl program on the PATH: install OpenSSL"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("openssl_tickets").addoption(
        _OPTION,
        action="store_true",
        help="without the openssl program, tests that need it fail; without this option, they are "
        "skipped",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Moves pytest-xdist's workers to the system's libssl if ``run`` has moved this process."""
    if "openssl_tickets._system_openssl._pyopenssl" in sys.modules:
        others = os.environ.get("PYTEST_PLUGINS", "").split(",")
        plugins = ",".join(["openssl_tickets.system", *filter(None, others)])
        for spec in specs:
            spec.env["PYTEST_PLUGINS"] = plugins


@pytest.fixture(scope="session")
def tls_certificate(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    The path of a PEM file with a self-signed certificate and its key.

    The certificate is for localhost, 127.0.0.1 and ::1. A server loads the file, and a client
    trusts it. Without the ``openssl`` program the test is skipped; with the option
    ``--require-openssl`` it fails.
    """
    from openssl_tickets._testing.certificates import make_certificate

    _need_openssl(pytestconfig)
    return make_certificate(tmp_path_factory.mktemp("tls_certificate"))


@pytest.fixture
def tls_server() -> Iterator[Callable[..., TLSServer]]:
    """
    ``tls_server(context, serve=None, timeout=10)`` starts a :class:`TLSServer` on a free port.

    At the end of the test the server is stopped. If a connection raised an exception, the test
    fails with that exception, unless the test has removed it from ``errors``.
    """
    from openssl_tickets.pytest_plugin import TLSServer

    servers = []

    def start(
        context: Any, serve: Callable[[Any], object] | None = None, timeout: float = 10.0
    ) -> TLSServer:
        server = TLSServer(context, serve, timeout)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()
    for server in servers:
        for error in server.errors:
            raise error


@pytest.fixture
def s_client(pytestconfig: pytest.Config) -> Iterator[SClientFactory]:
    """
    ``s_client(server, ...)`` makes a connection with ``openssl s_client``.

    ``s_client.connect(server, ...)`` makes one in steps. See
    :class:`openssl_tickets.pytest_plugin.SClientFactory`. Without the ``openssl`` program the test
    is skipped; with the option ``--require-openssl`` it fails.
    """
    from openssl_tickets.pytest_plugin import SClientFactory

    _need_openssl(pytestconfig)
    factory = SClientFactory()
    yield factory
    factory.close()


def _need_openssl(config: pytest.Config) -> None:
    if shutil.which("openssl") is None:
        if config.getoption(_OPTION):
            pytest.fail(_MISSING)
        pytest.skip(_MISSING)
