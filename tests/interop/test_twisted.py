"""Twisted on the system's libssl: its own TLS tests, and a server whose tickets are set."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.ssl import CertificateOptions

import openssl_tickets
from openssl_tickets import SSL
from openssl_tickets._system_openssl import _pyopenssl
from openssl_tickets.s_client import Alert, SClient, SClientResult
from tests import interop
from tests.support import tls

Ask = Callable[..., SClientResult]

TLS_TESTS = (
    "twisted.test.test_ssl",
    "twisted.test.test_sslverify",
    "twisted.protocols.test.test_tls",
)
# One more test for Twisted's runner: a LibraryMismatchError on any libssl but the system's.
PROOF = """
import openssl_tickets
from OpenSSL import SSL
from twisted.trial.unittest import TestCase

class Proof(TestCase):
    def test_libssl(self):
        openssl_tickets.get_num_tickets(SSL.Context(SSL.TLS_METHOD))
"""


@contextlib.contextmanager
def python(folder: Path, *arguments: str, timeout: float = tls.TIMEOUT) -> Iterator[Any]:
    """A Python process, which is gone in the end, and after *timeout* seconds in any case."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        watchdog = threading.Timer(timeout, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


class TestOwnTests:
    @pytest.mark.skipif(
        SSL._ffi is not _pyopenssl.ffi,
        reason="pyOpenSSL is on the system's libssl by itself, so both runs are the same",
    )
    def test_tls_tests(self, tmp_path: Path) -> None:
        """Twisted's TLS tests have the same outcome on the system's libssl as without us: good."""
        (tmp_path / "proof.py").write_text(PROOF)
        trial = ("twisted.trial", "--reporter=bwverbose")
        # Most of their time goes into making hundreds of RSA keys, so both run at once.
        with (
            python(tmp_path, "-m", *trial, "--temp-directory=a", *TLS_TESTS, timeout=600) as plain,
            python(
                tmp_path,
                *("-m", "openssl_tickets", "run", "-m", *trial, "--temp-directory=b"),
                *(*TLS_TESTS, "proof"),
                timeout=600,
            ) as on_system,
        ):
            expected, seen = outcomes(plain), outcomes(on_system)
        assert seen.pop("proof.Proof.test_libssl") == "OK"
        assert seen == expected
        assert set(seen.values()) <= {"OK", "SKIPPED"}
        # What runs is the modules as a whole: Twisted 25.5 has 182 tests in them, and 8 to skip.
        assert list(seen.values()).count("OK") >= 182


def outcomes(trial: Any) -> dict[str, str]:
    """Returns what became of each test, ``"OK"`` for example, once all have passed."""
    output, _ = trial.communicate()
    assert trial.returncode == 0, output
    found = dict(re.findall(r"^(\S+) \.\.\. \[(.+)\]$", output, re.MULTILINE))
    assert f"Ran {len(found)} tests in" in output
    return found


class Server:
    def __init__(self, port: int) -> None:
        self.port = port
        self.printed: list[str] = []  # what came after the port, when all is over


@contextlib.contextmanager
def serving(server_file: Path, number: int = 2, answer: str = "") -> Iterator[Server]:
    """Runs twisted_server.py, which must end in peace."""
    program = Path(__file__).with_name("twisted_server.py")
    with python(server_file.parent, str(program), str(server_file), str(number), answer) as process:
        port = process.stdout.readline()
        assert port.strip().isdigit(), port + process.stdout.read()
        server = Server(int(port))
        yield server
        process.terminate()
        server.printed += process.stdout.read().splitlines()
        assert process.wait() == 0, server.printed


class TestServer:
    @pytest.mark.parametrize("number", [0, 1, 3])
    def test_number(self, server_file: Path, ask: Ask, number: int) -> None:
        """As many tickets come as were set through ``CertificateOptions().getContext()``."""
        with serving(server_file, number) as server:
            seen = ask(server.port, send=interop.REPLY)
        assert (seen.protocol, seen.verify_code, seen.exit_code) == ("TLSv1.3", 0, 0)
        assert (seen.reused, len(seen.tickets)) == (False, number)
        assert server.printed == []

    def test_login(
        self, server_file: Path, connect: Callable[..., SClient], ask: Ask, tmp_path: Path
    ) -> None:
        """Of clients that are connected at once, each gets and brings back its own user's data."""
        alice, bob = tmp_path / "alice.pem", tmp_path / "bob.pem"
        with serving(server_file, 1) as server:
            with (
                connect(server.port, sess_out=alice) as first,
                connect(server.port, sess_out=bob) as second,
            ):
                for client, line in ((first, b"login alice\n"), (second, b"login bob\n")):
                    client.send(line)
                    client.wait_for(line)
                assert [len(client.close().tickets) for client in (first, second)] == [2, 2]
            for session_file in (bob, alice):
                seen = ask(server.port, send=interop.REPLY, sess_in=session_file)
                assert (seen.reused, len(seen.tickets), seen.exit_code) == (True, 1, 0)
        assert server.printed == ["decrypt b'bob'", "decrypt b'alice'"]

    def test_refusal(self, server_file: Path, version: str, ask: Ask, session_file: Path) -> None:
        """A ticket that is refused leads to a full handshake, with new tickets."""
        with serving(server_file, 3, "IGNORE_RENEW") as server:
            say = partial(ask, server.port, send=interop.REPLY, tls_version=version)
            say(sess_out=session_file)
            seen = say(sess_in=session_file)
        assert (seen.protocol, seen.reused, seen.exit_code) == (f"TLSv{version}", False, 0)
        assert len(seen.tickets) == (1 if version == "1.2" else 3)
        assert server.printed[-1] == "decrypt b'nobody'"

    def test_exception(self, server_file: Path, ask: Ask, listen: Ask, session_file: Path) -> None:
        """An exception in decrypt ends that connection, is reported, and the next is served."""
        with serving(server_file, answer="raise") as server:
            ask(server.port, send=interop.REPLY, sess_out=session_file)
            ended = listen(server.port, sess_in=session_file)
            after = ask(server.port, send=interop.REPLY)
        assert (ended.alert, ended.exit_code) == (Alert(80, "internal_error"), 1)
        assert (after.reused, after.exit_code) == (False, 0)
        assert server.printed == [
            "decrypt b'nobody'",
            "unraisable RuntimeError('from decrypt') True",
        ]

    def test_without_session_tickets(self) -> None:
        """Twisted turns OP_NO_TICKET on unless told otherwise, and then decrypt is refused."""
        with pytest.raises(ValueError, match="OP_NO_TICKET is set"):
            openssl_tickets.set_session_ticket_callback(
                CertificateOptions().getContext(), None, lambda *_: None
            )
