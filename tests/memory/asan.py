"""
Runs the tests of native code, with the package under gcc's AddressSanitizer and UBSan.

The exit status is not 0 if there is a memory error anywhere, undefined behaviour in our C, or a
failed test. Leaks are found by valgrind.py. You can name files of tests.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.memory.instrumented import Finding, conclude, pytest_command, python_with, run  # noqa: E402

FLAGS = "-fsanitize=address,undefined -fno-omit-frame-pointer -g -O1"

# Other tests reach no more native code: those of the build, of file formats (test_ticket_key_files,
# test_keys) and of programs (demo, doctor, readme, run, s_client, interop).
TESTS = (
    "tests/test_SSL.py",
    "tests/core/test_callbacks.py",
    "tests/core/test_client_sessions.py",
    "tests/native/test_errors.py",
    "tests/native/test_interpreter.py",
    "tests/core/test_num_tickets.py",
    "tests/core/test_post_handshake_auth.py",
    "tests/core/test_server_name.py",
    "tests/core/test_session.py",
    "tests/core/test_session_lifetime.py",
    "tests/core/test_session_stores.py",
    "tests/core/test_new_session.py",
    "tests/adapters/test_stdlib.py",
    "tests/core/test_ticket_callback.py",
    "tests/core/test_ticket_keys.py",
    "tests/core/test_ticket_stats.py",
)
# The tests that are left out, with the reason.
LEFT_OUT = {
    "tests/core/test_ticket_keys.py::TestProcesses::test_wiped": "it looks through all the "
    "memory of a process, of which AddressSanitizer takes terabytes",
    "tests/core/test_callbacks.py::TestProcesses::"
    "test_no_memory_for_what_is_kept_with_a_connection": "it preloads a library of its own, and "
    "AddressSanitizer must be the first",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", nargs="*", default=list(TESTS))
    options = parser.parse_args()
    for test, reason in LEFT_OUT.items():
        print(f"left out: {test}: {reason}")
    with tempfile.TemporaryDirectory(prefix="openssl_tickets-asan-") as name:
        folder = Path(name)
        python = python_with(folder, FLAGS)
        reports = folder / "reports"
        reports.mkdir()
        deselected = [f"--deselect={test}" for test in LEFT_OUT]
        tests, status = run(
            pytest_command(python, [*options.tests, *deselected]), environment(reports)
        )
        findings = [each for file in sorted(reports.iterdir()) for each in parse(file.read_text())]
    return conclude(findings, tests, status)


def environment(reports: Path) -> dict[str, str]:
    """
    Returns an environment in which each process writes a report of its own.

    That includes the processes that the tests start. The report has no leaks: most of their stacks
    would end in OpenSSL, which has no frame pointers. valgrind.py finds leaks.
    """
    return {
        "LD_PRELOAD": library("libasan.so"),
        "PYTHONMALLOC": "malloc",
        # A request for too much memory returns NULL, as malloc does. Some tests need that.
        "ASAN_OPTIONS": f"detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=16"
        f":malloc_context_size=30:log_path={reports}/asan",
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={reports}/ubsan",
    }


def library(name: str) -> str:
    """Returns the path of one of gcc's libraries."""
    found = subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()
    if not os.path.isabs(found):
        sys.exit(f"gcc has no {name} (Debian: apt-get install gcc)")
    return os.path.realpath(found)


def parse(report: str) -> list[Finding]:
    """Returns the findings in the report of one process."""
    findings = []
    for record in re.split(r"\n\s*\n", report):
        error = re.search(r"^==\d+==ERROR: AddressSanitizer.*|.*runtime error: .*", record, re.M)
        if error:
            findings.append(Finding(error[0], record, False))
    return findings


if __name__ == "__main__":
    sys.exit(main())
