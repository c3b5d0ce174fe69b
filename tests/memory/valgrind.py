"""
The tests of the callbacks, the keys and the sessions under valgrind's memcheck.

AddressSanitizer does not see what the system's libssl does with its own memory; valgrind does. It
is some 50 times slower, so these are the tests that do not start processes or many threads. Exits
with a status that is not 0 for an error, a definite leak that has our code in its stack, or a test
that fails. Files of tests may be named.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.memory.instrumented import Finding, conclude, pytest_command, python_with, run  # noqa: E402

TESTS = (
    "tests/core/test_ticket_callback.py",
    "tests/core/test_ticket_keys.py",
    "tests/core/test_session.py",
    "tests/core/test_num_tickets.py",
    "tests/core/test_session_lifetime.py",
    "tests/native/test_errors.py",
)
# Each with its reason; these are names that pytest's -k takes.
LEFT_OUT = {
    "TestProcesses": "the processes that they start would not be under valgrind",
    "TestThreads": "valgrind runs one thread at a time",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", nargs="*", default=list(TESTS))
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("there is no valgrind (Debian: apt-get install valgrind libc6-dbg)")
    for test, reason in LEFT_OUT.items():
        print(f"left out: {test}: {reason}")
    with tempfile.TemporaryDirectory(prefix="openssl_tickets-valgrind-") as name:
        folder = Path(name)
        python = python_with(folder, "-g -O1")
        report = folder / "report.xml"
        tests, status = run(
            [
                "valgrind",
                "--leak-check=full",
                "--show-leak-kinds=definite",
                "--num-callers=40",
                "--xml=yes",
                f"--xml-file={report}",
                f"--suppressions={Path(__file__).with_suffix('.supp')}",
                *pytest_command(
                    python, [*options.tests, "-k", "not " + " and not ".join(LEFT_OUT)]
                ),
            ],
            {"PYTHONMALLOC": "malloc"},
        )
        findings = parse(report)
    return conclude(findings, tests, status)


def parse(report: Path) -> list[Finding]:
    """Returns what is in valgrind's report."""
    return [finding(error) for error in ElementTree.parse(report).getroot().iter("error")]  # noqa: S314


def finding(error: ElementTree.Element) -> Finding:
    kind = error.findtext("kind", "")
    what = error.findtext("what") or error.findtext("xwhat/text") or ""
    stack = "\n".join(
        f"    {frame.findtext('fn', '?')} ({frame.findtext('obj', '?')})"
        for frame in error.iter("frame")
    )
    return Finding(f"{kind}: {what}", stack, kind.startswith("Leak_"))


if __name__ == "__main__":
    sys.exit(main())
