"""
A pytest plugin that moves pyOpenSSL to the system's libssl: ``pytest -p openssl_tickets.system``.

Use it to test a program that will run on the system's libssl, without changing the tests. Each
worker of pytest-xdist loads it too, before the tests' conftest.py, and the report's header names
the libssl. If pyOpenSSL is already on another libssl, the run ends with an error.

Example, in ``pyproject.toml``::

    [tool.pytest.ini_options]
    addopts = ["-p", "openssl_tickets.system"]
"""

from __future__ import annotations

import os

import pytest

from openssl_tickets import LibraryMismatchError, use_system_openssl
from openssl_tickets._native.library import OPENSSL_VERSION
from openssl_tickets._native.shared_object import our_libssl

# This is not in a hook: pytest imports `-p` plugins before other plugins, which may need pyOpenSSL.
try:
    use_system_openssl()
except (ImportError, LibraryMismatchError) as error:
    raise pytest.UsageError(f"-p {__name__}: {error}") from error


# _openssl_tickets_pytest.py sets PYTEST_PLUGINS for the workers of `run -m pytest`. The variable is
# changed back here, so that the programs that the tests start do not inherit it.
if "PYTEST_XDIST_WORKER" in os.environ and "PYTEST_PLUGINS" in os.environ:
    _others = [name for name in os.environ.pop("PYTEST_PLUGINS").split(",") if name != __name__]
    if _others:
        os.environ["PYTEST_PLUGINS"] = ",".join(_others)


def pytest_report_header() -> str:
    """Returns the header line that names pyOpenSSL and its libssl."""
    import OpenSSL

    return f"pyOpenSSL {OpenSSL.__version__} on the system's {OPENSSL_VERSION} ({our_libssl()})"
