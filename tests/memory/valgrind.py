"""
Runs the tests of the callbacks, the keys and the sessions under valgrind's memcheck.

AddressSanitizer does not see what the system's libssl does with its memory, but valgrind does. It
is about 50 times slower, so this runs only tests that start neither processes nor many threads. The
exit status is not 0 if there is an error, a definite leak with our code in its stack, or a failed
test. You can name files of tests.
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
# The tests that are left out, as names for pytest's -k, with the reason.
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
    """Returns the findings in valgrind's report."""
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
