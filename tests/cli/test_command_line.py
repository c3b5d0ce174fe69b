"""Every example on the page of the command line is run, as it stands there but for the port."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.shell import examples, free_port, sh

pytestmark = pytest.mark.slow

EXAMPLES = examples("command-line.md", "sh")
EXPECTED = {
    "demo": "ok .*resumed, 1 ticket",
    "doctor": "openssl_tickets .*OpenSSL",
    "run": "^OpenSSL 3|^OpenSSL 4",
    "keys": r"ticket\.key: [0-9a-f]{32} AES-256 encrypts\n.*decrypts",
    "serve": '"event": "resumption", .*"appdata": "alice"',
    "free port": r"Verify return code: 0 \(ok\)",
    "policy": '"event": "resumption", .*"visit 1".*\n.*"event": "refusal", .*"visit 2"',
    "inspect": '(?s)by its ticket.*"key_name": "[0-9a-f]{32}".*, DER',
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, tmp_path: Path) -> None:
    """The example does what the page says."""
    script = "set -e\n" + EXAMPLES[name].replace("4433", str(free_port()))
    output, _ = sh(script, tmp_path)
    assert re.search(EXPECTED[name], output, re.M), output


def test_main_help(tmp_path: Path) -> None:
    """The help names each command, and its examples begin with each of them."""
    text, _ = sh("python -m openssl_tickets --help", tmp_path)
    for command in ("demo", "doctor", "run", "keys", "serve", "inspect"):
        assert re.search(rf"^ +{command} +\w", text, re.M), command
        assert re.search(rf"^ +python -m openssl_tickets {command}\b", text, re.M), command
        shown, _ = sh(f"python -m openssl_tickets {command} --help", tmp_path)
        assert f"usage: python -m openssl_tickets {command}" in shown
