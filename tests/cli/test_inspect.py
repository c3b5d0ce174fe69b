"""``openssl-tickets inspect``, through the shell, with files of the real s_client."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import Session
from tests.support import tls
from tests.support.shell import sh

pytestmark = pytest.mark.slow

MAKE = (
    "rm -f events; openssl-tickets serve --tls {tls} --connections 1 > events &\n"
    "until [ -s events ]; do sleep 0.02; done\n"
    "port=$(sed -n 's/.*\"port\": \\([0-9]*\\).*/\\1/p' events)\n"
    "openssl s_client -connect localhost:$port -servername localhost -ign_eof -sess_out s.pem "
    "< /dev/null > seen 2>&1\nwait\n"
)


@pytest.fixture(params=["1.2", "1.3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with s.pem, which s_client has written."""
    sh(MAKE.format(tls=request.param), tmp_path)
    return tmp_path


def inspect(folder: Path, arguments: str = "s.pem") -> dict[str, Any]:
    output, errors = sh(f"openssl-tickets inspect --json {arguments}", folder)
    assert errors == ""
    fields: dict[str, Any] = json.loads(output)
    return fields


def test_what_s_client_wrote(folder: Path) -> None:
    """Each field is what OpenSSL's own tool, and the server, say of the session."""
    fields = inspect(folder)
    told, _ = sh("openssl sess_id -in s.pem -noout -text", folder)
    events = [json.loads(line) for line in (folder / "events").read_text().splitlines()]
    (last_ticket, *_) = [each for each in reversed(events) if each["event"] == "ticket"]
    assert fields["key_name"] == last_ticket["key_name"]
    assert re.search(rf"Protocol *: {fields['protocol']}\n", told)
    assert re.search(rf"Cipher *: {fields['cipher']}\n", told)
    assert re.search(rf"Session-ID: {fields['session_id']}\n", told, re.I)
    assert re.search(rf"lifetime hint: {fields['lifetime_hint']} ", told)
    assert re.search(rf"Start Time: {fields['created']}\n", told)
    assert re.search(rf"Timeout *: {fields['timeout']} ", told)
    assert fields["expires"] == fields["created"] + fields["lifetime_hint"]
    assert abs(fields["created"] - time.time()) < 600
    assert (fields["valid"], fields["resumes"], fields["format"]) == (True, "ticket", "pem")
    assert (fields["server_name"], fields["appdata_size"]) == ("localhost", 0)
    assert fields["peer_certificate"]["subject"] == "CN=localhost"
    size, _ = sh("openssl sess_id -in s.pem -outform DER | wc -c", folder)
    assert fields["encoded_size"] == int(size)


def test_secrets_only_when_asked(folder: Path) -> None:
    """The secret and the ticket are shown with --secrets, and are those of OpenSSL's own tool."""
    told, _ = sh("openssl sess_id -in s.pem -noout -text", folder)
    found = re.search(r"(?:Master-Key|Resumption PSK): ([0-9A-F]+)\n", told)
    assert found is not None
    secret = found[1].lower()
    ticket = Session.from_pem((folder / "s.pem").read_bytes()).ticket.hex()
    for arguments in ("s.pem", "--json s.pem"):
        plain, _ = sh(f"openssl-tickets inspect {arguments}", folder)
        shown, _ = sh(f"openssl-tickets inspect --secrets {arguments}", folder)
        assert secret not in plain
        assert ticket[32:64] not in plain  # what comes after the key's name
        assert secret in shown
        assert ticket in shown
    fields = inspect(folder, "--secrets s.pem")
    assert (fields["secret"], fields["ticket"], fields["appdata"]) == (secret, ticket, "")


def test_der_and_standard_input(folder: Path) -> None:
    """DER tells the same as PEM, and so does standard input."""
    sh("openssl sess_id -in s.pem -outform DER -out s.der", folder)
    expected = inspect(folder)
    assert inspect(folder, "s.der") == {**expected, "file": "s.der", "format": "der"}
    assert inspect(folder, "- < s.pem") == {**expected, "file": "-"}


def test_text(folder: Path) -> None:
    """For people it says what is resumed, and until when."""
    output, _ = sh("openssl-tickets inspect s.pem", folder)
    fields = inspect(folder)
    assert f"a {fields['protocol']} connection with localhost, by its ticket" in output
    assert re.search(r"^expires: .* after \d+ seconds: still valid$", output, re.M)
    assert re.search(rf"^key name: +{fields['key_name']}$", output, re.M)
    sh("openssl-tickets inspect s.pem | head -n 1", folder)


def test_session_of_ours(tmp_path: Path, server_context: Any, client_context: Any) -> None:
    """A server's session has application data and no ticket; one whose time is over is told so."""
    openssl_tickets.set_session_ticket_callback(server_context, lambda *_: b"SECRETDATA")
    pair = tls.Pair(server_context, client_context).handshake()
    session = openssl_tickets.get_session(pair.server)
    assert session is not None
    copy = session.copy()
    copy.time, copy.timeout = 1000, 10
    (tmp_path / "s.der").write_bytes(copy.to_der())
    fields = inspect(tmp_path, "s.der")
    assert (fields["appdata_size"], fields["has_ticket"], fields["key_name"]) == (10, False, None)
    assert (fields["created"], fields["expires"], fields["valid"]) == (1000, 1010, False)
    assert (fields["lifetime_hint"], fields["ticket_size"]) == (None, 0)
    assert b"SECRETDATA".hex() not in json.dumps(fields)
    assert inspect(tmp_path, "--secrets s.der")["appdata"] == b"SECRETDATA".hex()
    output, _ = sh("openssl-tickets inspect s.der", tmp_path)
    assert re.search("^expires: .*1970-01-01 00:16:50 UTC, after 10 seconds: over$", output, re.M)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("", "No such file"),
        ("mkdir x", "Is a directory"),
        (": > x", "x is empty"),
        ("echo text > x", "not a TLS session in DER"),
        ("cp server.pem x", "not a TLS session in PEM"),
        ("head -c 2000000 /dev/zero > x", "too large to be a session"),
        ("head -c 300 s.pem > x", "not a TLS session in PEM"),
        ("cat s.pem s.pem > x", "more bytes after its session"),
        ("openssl sess_id -in s.pem -outform DER | head -c 300 > x", "not a TLS session in DER"),
        ("echo '-----BEGIN SSL SESSION PARAMETERS-----' > x", "not a TLS session in PEM"),
    ],
)
def test_bad_file(tmp_path: Path, server_file: Path, make: str, message: str) -> None:
    """What is no session is said in a line, with status 1 and without a traceback."""
    shutil.copy(server_file, tmp_path / "server.pem")
    if "s.pem" in make:
        sh(MAKE.format(tls="1.3"), tmp_path)
    output, errors = sh(f"{make}\nopenssl-tickets inspect x", tmp_path, status=1)
    assert output == ""
    assert errors.startswith("error: ")
    assert message in errors
    assert errors.count("\n") == 1


def test_usage_and_help(folder: Path) -> None:
    """Without a file it is a usage error; each example of the help works."""
    sh("openssl-tickets inspect", folder, status=2)
    text, _ = sh("openssl-tickets inspect --help", folder)
    examples = re.findall(r"^  openssl-tickets inspect .*$", text, re.M)
    assert len(examples) == 3
    for example in examples:
        output, _ = sh(example.replace("session.pem", "s.pem"), folder)
        assert "TLSv1." in output
    for field in inspect(folder, "--secrets s.pem"):
        assert re.search(rf"\b{field}\b", text), field
