"""
Runs the TLS tests of urllib3 and aiohttp, with ``resume_sessions`` on every client's context.

Each test that passes without it must pass with it. ``tox run -e client-suites`` runs this, and
names this package's wheel in TOX_PACKAGE.
"""

from __future__ import annotations

import collections
import os
import sys
import tempfile
from pathlib import Path

from tests.suites.programs import Program, Suite
from tests.suites.pyopenssl_suite import ENVIRONMENT, read_report, run

ABOUT_TLS = ("-k", "ssl or tls or https or secure or certificate or fingerprint or hostname")

PROGRAMS = (
    Program(
        name="urllib3",
        version="2.8.0",
        needs=(
            *("anyio[trio]", "cryptography", "h2", "httpx", "hypercorn", "idna", "pysocks"),
            *("pytest-socket", "pytest-timeout", "quart", "quart-trio", "trio", "trustme"),
        ),
        folders=("dummyserver", "test", "pyproject.toml"),
        tests=(
            "test/test_connection.py",
            "test/test_ssl.py",
            "test/test_ssltransport.py",
            "test/with_dummyserver/test_https.py",
            "test/with_dummyserver/test_proxy_poolmanager.py",
            "test/with_dummyserver/test_socketlevel.py",
        ),
        at_least=400,
        # These two tests depend on the clock and on the order of threads.
        options=(
            *("-o", "addopts=", "-o", "filterwarnings="),
            *("-k", "not blocked_per_thread and not tunneling_proxy_request_timeout"),
        ),
    ),
    Program(
        name="aiohttp",
        version="3.14.5",
        needs=(
            *("blockbuster", "freezegun", "isal", "proxy.py", "pytest-aiohttp", "pytest-codspeed"),
            *("pytest-mock", "pytest-timeout", "trustme", "uvloop", "zlib_ng"),
        ),
        folders=("tests",),
        tests=(
            "tests/test_client_fingerprint.py",
            "tests/test_client_functional.py",
            "tests/test_client_ws_functional.py",
            "tests/test_connector.py",
            "tests/test_proxy_functional.py",
            "tests/test_web_functional.py",
            "tests/test_web_sendfile_functional.py",
        ),
        at_least=70,
        options=ABOUT_TLS,
    ),
)


def outcomes(suite: Suite, resuming: str) -> tuple[str, dict[str, str]]:
    """Runs the tests. Returns the plugin's count, and the outcome of each test."""
    report, count = (suite.folder / f"{resuming}.{kind}" for kind in ("xml", "txt"))
    # native: pytest's own way to show failures can end the whole run, with CPython 3.11's "AST
    # constructor recursion depth mismatch".
    command = [suite.python, "-m", "pytest", "-q", "--tb=native"]
    command += ["-p", "no:cacheprovider", "-p", "resuming"]
    result = run(
        [*command, f"--junitxml={report}", *suite.program.options, *suite.program.tests],
        suite.tests,
        check=False,
        env={
            **ENVIRONMENT,
            "PYTHONPATH": str(Path(__file__).parent),
            "RESUMING": resuming,
            "RESUMED_COUNT": str(count),
        },
    )
    if not report.exists() or not count.exists():
        sys.exit(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")
    return count.read_text(), read_report(report)


def compare(program: Program, package: str, folder: Path) -> bool:
    """Prints how the two runs compare. Returns whether no test passes only without the call."""
    suite = Suite(program, None, package, folder)
    runs = {resuming: outcomes(suite, resuming) for resuming in ("no", "yes")}
    print(f"{program.name} {program.version}")
    for resuming, (counted, of_each) in runs.items():
        counts = collections.Counter(of_each.values())
        print(
            f"  resume_sessions: {resuming}:",
            *(f"{n} {o}," for o, n in sorted(counts.items())),
            counted,
        )
    without, with_it = (runs[resuming][1] for resuming in ("no", "yes"))
    passed = [test for test, outcome in without.items() if outcome == "passed"]
    problems = [
        f"{test} {with_it.get(test, 'did not run')}: it passed without"
        for test in passed
        if with_it.get(test) != "passed"
    ]
    if len(passed) < program.at_least:
        problems.append(f"only {len(passed)} tests pass without: there is little to compare")
    if "offered 0" in runs["yes"][0]:
        problems.append("no session was offered: there is nothing to see")
    for test in sorted(without.keys() - set(passed)):
        if without[test] != "skipped":
            print(f"  not comparable: {test} {without[test]} without")
    print(*(f"  PROBLEM: {problem}" for problem in problems), sep="\n", flush=True)
    return not problems


def main() -> int:
    package = os.environ.get("TOX_PACKAGE") or sys.exit("name our wheel in TOX_PACKAGE")
    results = []
    for program in PROGRAMS:
        if program.name in (sys.argv[1:] or program.name):
            with tempfile.TemporaryDirectory() as folder:
                results.append(compare(program, package, Path(folder)))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
