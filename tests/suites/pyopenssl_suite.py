"""
Runs pyOpenSSL's own tests, on cryptography's OpenSSL and on the system's libssl.

Each test that passes on the OpenSSL of cryptography's wheel must pass on the system's libssl, with
the EXCEPTIONS below. If an exception is no longer needed, that is a failure too. ``tox run -e
pyopenssl-suite`` runs this, and names this package's wheel in TOX_PACKAGE.
"""

from __future__ import annotations

import argparse
import collections
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

VERSIONS = ("25.0.0", "25.3.0", "26.0.0", "26.4.0")
TIMEOUT = 600.0  # seconds, for each command

# The tests look for certificates in OpenSSL's default places.
CERTIFICATES = {"SSL_CERT_FILE", "SSL_CERT_DIR"}
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in CERTIFICATES}

# It prints the file too, because two copies may have the same version.
OPENSSL_OF_PYOPENSSL = """\
from OpenSSL import SSL
from openssl_tickets._native import shared_object
print(SSL.SSLeay_version(0).decode(), shared_object.file_of(SSL._lib.TLS_method()), sep=", in ")
"""


class Difference(NamedTuple):
    """Tests that pass on the wheel, and have another outcome on the system's libssl."""

    versions: tuple[str, ...]
    tests: tuple[str, ...]
    outcome: str
    reason: str
    since_openssl: tuple[float, float] = (3, 0)
    before_openssl: tuple[float, float] = (math.inf, 0)


EXCEPTIONS = (
    Difference(
        versions=("26.0.0", "26.4.0"),
        tests=(
            "tests.test_ssl.TestConnection::test_get_group_name",
            "tests.test_ssl.TestConnection::test_get_group_name_before_connect",
            "tests.test_ssl.TestConnection::test_group_name_null_case",
        ),
        outcome="skipped",
        reason="SSL_get0_group_name came with OpenSSL 3.2, and pyOpenSSL is told so",
        before_openssl=(3, 2),
    ),
    Difference(
        versions=("25.0.0", "25.3.0", "26.0.0"),
        tests=("tests.test_ssl.TestOCSP::test_client_receives_servers_data",),
        outcome="failed",
        reason="OpenSSL 3.6 staples only what parses as an OCSP response, and the test's does not",
        since_openssl=(3, 6),
    ),
    Difference(
        versions=("25.0.0", "25.3.0"),
        tests=("tests.test_crypto.TestX509::test_nullbyte_subjectAltName",),
        outcome="failed",
        reason="str() of a subjectAltName reads a struct's fields, which OpenSSL 4.0 hides",
        since_openssl=(4, 0),
    ),
)


def expected(version: str, openssl: str) -> dict[str, Difference]:
    """Returns the exceptions for a *version* of pyOpenSSL on *openssl*, by test."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", openssl)[:2])
    return {
        test: difference
        for difference in EXCEPTIONS
        if version in difference.versions
        and difference.since_openssl <= numbers < difference.before_openssl
        for test in difference.tests
    }


class Suite:
    """A version of pyOpenSSL, with its source distribution unpacked and installed in a folder."""

    def __init__(self, version: str, package: str, folder: Path) -> None:
        self.folder = folder
        self.python = str(folder / "venv" / "bin" / "python")
        venv.create(folder / "venv", with_pip=True)
        pip = [self.python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        source = [*pip, "download", "--no-deps", "--no-binary=pyOpenSSL", f"pyOpenSSL=={version}"]
        run(source, folder)
        (archive,) = folder.glob("*.tar.gz")
        shutil.unpack_archive(archive, folder / "source")
        (self.source,) = (folder / "source").iterdir()
        run([*pip, "install", f"{archive}[test]", package], folder)

    def outcomes(self, name: str, *prefix: str) -> tuple[str, dict[str, str]]:
        """Runs the tests after *prefix*. Returns the OpenSSL, and the outcome of each test."""
        script = self.folder / "version.py"
        script.write_text(OPENSSL_OF_PYOPENSSL)
        openssl = run([self.python, *prefix, str(script)], self.folder).stdout.strip()
        report = self.folder / f"{name}.xml"
        pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "tests"]
        run([self.python, *prefix, *pytest], self.source, check=False, env=ENVIRONMENT)
        return openssl, read_report(report)


def run(
    command: list[str], folder: Path, check: bool = True, env: Mapping[str, str] = os.environ
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=TIMEOUT
    )
    if check and result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")
    return result


def read_report(report: Path) -> dict[str, str]:
    """Returns the outcome of each test of a JUnit report."""
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 (pytest has written it)
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        outcome = {"failure": "failed"}.get(*kinds, *kinds) if kinds else "passed"
        outcomes[f"{case.get('classname')}::{case.get('name')}"] = outcome
    return outcomes


def compare(version: str, package: str, folder: Path) -> bool:
    """Prints how the two runs compare. Returns whether only EXCEPTIONS differ."""
    suite = Suite(version, package, folder)
    wheels_openssl, wheel = suite.outcomes("wheel")
    our_openssl, system = suite.outcomes("system", "-m", "openssl_tickets", "run")

    print(f"pyOpenSSL {version}")
    for openssl, outcomes in ((wheels_openssl, wheel), (our_openssl, system)):
        counts = collections.Counter(outcomes.values())
        print(f"  {openssl}:", ", ".join(f"{n} {o}" for o, n in sorted(counts.items())))
    problems = []
    if wheels_openssl == our_openssl:
        problems.append("both ran on one OpenSSL: there is no wheel of cryptography here")
    passed = list(wheel.values()).count("passed")
    if passed < 400:
        problems.append(f"only {passed} tests pass on the wheel: there is little to compare")
    if wheel.keys() != system.keys():
        problems.append(f"not the same tests: {sorted(wheel.keys() ^ system.keys())}")

    exceptions = expected(version, our_openssl)
    for test in sorted(wheel.keys() & system.keys()):
        exception = exceptions.pop(test, None)
        if exception and system[test] == exception.outcome and wheel[test] == "passed":
            print(f"  as expected: {test} {exception.outcome}: {exception.reason}")
        elif exception:
            problems.append(f"{test} {system[test]}: EXCEPTIONS says {exception.outcome}")
        elif wheel[test] == "passed" != system[test]:
            problems.append(f"{test} {system[test]}: it passed on the wheel")
        elif wheel[test] != "passed":
            print(f"  not comparable: {test} {wheel[test]} on the wheel, {system[test]} here")
    problems += [f"{test} is in EXCEPTIONS and did not run" for test in exceptions]
    print(*(f"  PROBLEM: {problem}" for problem in problems), sep="\n", flush=True)
    return not problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", default=VERSIONS, help="of pyOpenSSL")
    versions = parser.parse_args().versions
    package = os.environ.get("TOX_PACKAGE") or sys.exit("name our wheel in TOX_PACKAGE")
    results = []
    for version in versions:
        with tempfile.TemporaryDirectory() as folder:
            results.append(compare(version, package, Path(folder)))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
