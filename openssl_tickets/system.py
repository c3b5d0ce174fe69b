"""
A pytest plugin that puts pyOpenSSL on the system's libssl: ``pytest -p openssl_tickets.system``.

It is for the tests of a program that will run on the system's libssl: they need no change. Each
worker of pytest-xdist loads it too, ahead of the tests' conftest.py, and the report's header names
the libssl. A process in which pyOpenSSL is on another libssl already ends with an error.

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

# Here and not in a hook: pytest imports a plugin of `-p` before others, which may need pyOpenSSL.
try:
    use_system_openssl()
except (ImportError, LibraryMismatchError) as error:
    raise pytest.UsageError(f"-p {__name__}: {error}") from error


# A worker that `run` has made load this (_openssl_tickets_pytest.py) keeps it to itself: what the
# tests start does not inherit it.
if "PYTEST_XDIST_WORKER" in os.environ and "PYTEST_PLUGINS" in os.environ:
    _others = [name for name in os.environ.pop("PYTEST_PLUGINS").split(",") if name != __name__]
    if _others:
        os.environ["PYTEST_PLUGINS"] = ",".join(_others)


def pytest_report_header() -> str:
    """Names pyOpenSSL and its libssl."""
    import OpenSSL

    return f"pyOpenSSL {OpenSSL.__version__} on the system's {OPENSSL_VERSION} ({our_libssl()})"
