"""
Runs other programs' TLS tests, on cryptography's OpenSSL and on the system's libssl.

These programs call pyOpenSSL's ``lib`` themselves. Each test that passes on the OpenSSL of
cryptography's wheel must pass on the system's libssl. ``tox run -e suites`` runs this, and names
this package's wheel in TOX_PACKAGE. ``-- Scrapy`` runs one program's tests.

mitmproxy's tests are only in its repository, not in the package index. If you have a checkout,
``-- mitmproxy=FOLDER`` runs them (CPython 3.12 or newer).
"""

from __future__ import annotations

import argparse
import collections
import os
import shutil
import sys
import tempfile
import venv
from pathlib import Path
from typing import NamedTuple

from tests.suites.pyopenssl_suite import ENVIRONMENT, OPENSSL_OF_PYOPENSSL, read_report, run


class Program(NamedTuple):
    """The place of a program's tests, and those that are about TLS."""

    name: str  # its name in the package index
    version: str  # the version of the source distribution, or "" for the newest
    needs: tuple[str, ...]
    folders: tuple[str, ...]  # the folders of the source that the tests need
    tests: tuple[str, ...]
    at_least: int  # how many tests pass on the wheel
    options: tuple[str, ...] = ()


PROGRAMS = {
    program.name: program
    for program in (
        Program(
            name="Scrapy",
            version="2.19.0",
            needs=("psutil", "pyftpdlib", "pytest-timeout", "pytest-twisted", "testfixtures"),
            folders=("conftest.py", "tests"),
            tests=("tests/test_core_downloader.py", "tests/test_utils_ssl.py"),
            at_least=70,
        ),
        Program(
            name="matrix-synapse",
            version="1.140.0",  # newer versions need Rust to build
            needs=("parameterized", "prometheus-client<0.22"),
            folders=("tests",),
            tests=(
                "tests/config/test_tls.py",
                "tests/http/federation/test_matrix_federation_agent.py",
                "tests/http/test_proxyagent.py",
            ),
            at_least=90,
        ),
        Program(
            name="mitmproxy",
            version="",
            needs=("pytest-asyncio", "pytest-timeout", "hypothesis", "pytest<9"),
            folders=("test", "pyproject.toml"),
            tests=(
                "test/mitmproxy/addons/test_tlsconfig.py",
                "test/mitmproxy/net/test_tls.py",
                "test/mitmproxy/proxy/layers/test_tls.py",
                "test/mitmproxy/test_certs.py",
            ),
            at_least=80,
        ),
    )
}


class Suite:
    """A program's tests, and an environment with the program and our package."""

    def __init__(self, program: Program, source: Path | None, package: str, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.python = str(folder / "venv" / "bin" / "python")
        venv.create(folder / "venv", with_pip=True)
        pip = [self.python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        wanted = f"{program.name}=={program.version}" if program.version else program.name
        if source is None:
            run([*pip, "download", "--no-deps", f"--no-binary={program.name}", wanted], folder)
            (archive,) = folder.glob("*.tar.gz")
            shutil.unpack_archive(archive, folder / "source")
            (source,) = (folder / "source").iterdir()
        run([*pip, "install", wanted, "pytest", *program.needs, package], folder)
        # Copy only the tests. The program itself is installed.
        self.tests = folder / "tests"
        for name in program.folders:
            if (source / name).is_dir():
                shutil.copytree(source / name, self.tests / name)
            else:
                self.tests.mkdir(exist_ok=True)
                shutil.copy(source / name, self.tests / name)

    def outcomes(self, name: str, *prefix: str) -> tuple[str, dict[str, str]]:
        """Runs the tests after *prefix*. Returns the OpenSSL, and the outcome of each test."""
        script = self.folder / "version.py"
        script.write_text(OPENSSL_OF_PYOPENSSL)
        openssl = run([self.python, *prefix, str(script)], self.folder).stdout.strip()
        report = self.folder / f"{name}.xml"
        pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command = [self.python, *prefix, *pytest, *self.program.options, *self.program.tests]
        result = run(command, self.tests, check=False, env=ENVIRONMENT)
        if not report.exists():
            sys.exit(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")
        return openssl, read_report(report)


def compare(program: Program, source: Path | None, package: str, folder: Path) -> bool:
    """Prints how the two runs compare. Returns whether no test passes only on the wheel."""
    suite = Suite(program, source, package, folder)
    runs = (suite.outcomes("wheel"), suite.outcomes("system", "-m", "openssl_tickets", "run"))
    print(f"{program.name} {program.version}")
    for openssl, outcomes in runs:
        counts = collections.Counter(outcomes.values())
        print(f"  {openssl}:", ", ".join(f"{n} {o}" for o, n in sorted(counts.items())))
    (wheels_openssl, wheel), (our_openssl, system) = runs
    passed = [test for test, outcome in wheel.items() if outcome == "passed"]
    problems = [
        f"{test} {system.get(test, 'did not run')}: it passed on the wheel"
        for test in passed
        if system.get(test) != "passed"
    ]
    if wheels_openssl == our_openssl:
        problems.append("both ran on one OpenSSL: there is no wheel of cryptography here")
    if len(passed) < program.at_least:
        problems.append(f"only {len(passed)} tests pass on the wheel: there is little to compare")
    for test in sorted(wheel.keys() - set(passed)):
        print(f"  not comparable: {test} {wheel[test]} on the wheel")
    print(*(f"  PROBLEM: {problem}" for problem in problems), sep="\n", flush=True)
    return not problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "programs", nargs="*", default=["Scrapy", "matrix-synapse"], metavar="NAME[=SOURCE]"
    )
    package = os.environ.get("TOX_PACKAGE") or sys.exit("name our wheel in TOX_PACKAGE")
    results = []
    for argument in parser.parse_args().programs:
        name, _, source = argument.partition("=")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(source).resolve() if source else None
            results.append(compare(PROGRAMS[name], path, package, Path(folder)))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
