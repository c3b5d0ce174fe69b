"""``openssl-tickets serve``, through the shell, with the real ``openssl s_client``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import TicketKey
from openssl_tickets.ticket_key_files import save_ticket_keys
from tests.support.shell import TIMEOUT, examples, free_port, sh

pytestmark = pytest.mark.slow

# Shows what s_client saw of the connection's end, and of a resumption.
VISIT = "openssl s_client -connect localhost:$port -ign_eof {} < /dev/null 2>&1 || :"
FULL, RESUMED = "full handshake\n", "resumed\n"

Serve = Callable[..., tuple[list[dict[str, Any]], str, str]]


@pytest.fixture(params=["ssl", "pyopenssl"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """
    ``serve(options, script, end)`` runs the server in the background, and *script* meanwhile.

    It returns the server's events, what it wrote to standard error, and what the script printed.
    The server must end with *status*: by *end*, or by itself where that is empty.
    """

    def serve(
        options: str, script: str, end: str = "", status: int = 0
    ) -> tuple[list[dict[str, Any]], str, str]:
        printed, _ = sh(
            "rm -f events\n"
            f"openssl-tickets serve {options} > events 2> errors & server=$!\n"
            "until [ -s events ]; do kill -0 $server || break; sleep 0.02; done\n"
            "port=$(sed -n 's/.*\"port\": \\([0-9]*\\).*/\\1/p' events)\n"
            f"{script}\n{end}\nwait $server",
            tmp_path,
            status=status,
        )
        lines = (tmp_path / "events").read_text().splitlines()
        return [json.loads(line) for line in lines], (tmp_path / "errors").read_text(), printed

    return serve


def visits(*options: str) -> str:
    return "\n".join(VISIT.format(each) for each in options)


def of(events: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] in names]


def by_connection(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the events of connections, those of the first one first."""
    return sorted((each for each in events if "connection" in each), key=lambda e: e["connection"])


def brief(event: dict[str, Any]) -> str:
    """Returns an event in a few words."""
    match event["event"]:
        case "handshake":
            return f"{event['tls']} {'resumed' if event['resumed'] else 'full'}"
        case "ticket":
            return f"ticket {event['appdata'] or event['appdata_hex']}".strip()
        case "refusal" | "resumption" as name:
            data = event["appdata"] or event["appdata_hex"]
            answer = str(event["answer"]).replace("_", "-")
            return f"{name} {event['status']} {answer} {data}".strip()
        case "error":
            return f"error {event['kind']} in {event['during']}"
    assert event["event"] == "closed"
    return "closed" if event["ok"] else "closed, not ok"


OUT, IN = "-sess_out s.pem", "-sess_in s.pem"
TWO = "TLSv1.3 full, ticket, ticket, closed"  # what a first visit is, by itself

# Options, what s_client does in each visit, and what is told.
TOLD = {
    "no ticket": ("--tickets 0", [""], "TLSv1.3 full, closed"),
    "five tickets": ("--tickets 5", [""], f"TLSv1.3 full{', ticket' * 5}, closed"),
    "a reply": ("--reply 'good day'", [""], TWO),
    "a file": ("--appdata @data", [""], "TLSv1.3 full, ticket Zoë, ticket Zoë, closed"),
    "TLS 1.2": (
        "--tls 1.2 --appdata hex:ff00",
        [OUT, IN],
        "TLSv1.2 full, ticket ff00, closed, TLSv1.2 resumed, resumption SUCCESS None ff00, closed",
    ),
    **{
        answer: (f"--answer {answer}", [OUT, IN], f"{TWO}, {told.replace('_', ' SUCCESS_RENEW ')}")
        for answer, told in (
            ("default", "TLSv1.3 resumed, resumption_None, ticket, closed"),
            ("use", "TLSv1.3 resumed, resumption_USE, closed"),
            ("use-renew", "TLSv1.3 resumed, resumption_USE-RENEW, ticket, closed"),
            ("ignore", "TLSv1.3 full, refusal_IGNORE, closed"),
            ("ignore-renew", "TLSv1.3 full, refusal_IGNORE-RENEW, ticket, ticket, closed"),
            ("abort", "refusal_ABORT, error tls in handshake, closed, not ok"),
        )
    },
}


class TestTickets:
    def test_a_ticket_and_a_resumption(self, serve: Serve, library: str) -> None:
        """All events of a handshake and a resumption are told, with what the ticket carries."""
        events, errors, printed = serve(
            f"--library {library} --connections 2 --tickets 1 --appdata alice --tls 1.3",
            visits("-servername example.org -sess_out s.pem", "-sess_in s.pem"),
        )
        key_name = of(events, "ticket")[0]["key_name"]
        alice = {"appdata": "alice", "appdata_hex": b"alice".hex()}
        ticket = {"event": "ticket", "key_name": key_name, **alice}
        common = {"event": "handshake", "tls": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384"}
        closed = {"event": "closed", "ok": True, "tickets": 1, "received": 0}
        for event in of(events, "closed"):
            assert 0 <= event.pop("seconds") < TIMEOUT
        assert re.fullmatch("[0-9a-f]{32}", key_name)
        assert events[1:] == [
            {**common, "connection": 1, "resumed": False, "server_name": "example.org"}
            | {"client": None},
            {**ticket, "connection": 1},
            {**closed, "connection": 1, "sent": len(FULL)},
            {**common, "connection": 2, "resumed": True, "server_name": None, "client": None},
            {"event": "resumption", "connection": 2, "key_name": key_name}
            | {"status": "SUCCESS_RENEW", "answer": None, **alice},
            {**ticket, "connection": 2},
            {**closed, "connection": 2, "sent": len(RESUMED)},
            {"event": "stopped", "reason": "connections", "connections": 2},
        ]
        assert events[0]["event"] == "listening"
        assert (events[0]["library"], events[0]["host"]) == (library, "127.0.0.1")
        assert errors == ""
        assert re.findall("^(?:New|Reused), TLS", printed, re.M) == ["New, TLS", "Reused, TLS"]
        assert printed.count("Post-Handshake New Session Ticket arrived") == 2
        assert FULL in printed
        assert f"\n{RESUMED}" in printed

    @pytest.mark.parametrize("row", TOLD)
    def test_table(self, serve: Serve, library: str, row: str, tmp_path: Path) -> None:
        """What the options ask for is what is told, and what s_client saw."""
        (tmp_path / "data").write_text("Zoë")
        options, sessions, expected = TOLD[row]
        events, errors, printed = serve(
            f"--library {library} --connections {len(sessions)} {options}", visits(*sessions)
        )
        assert ", ".join(map(brief, by_connection(events))) == expected
        assert errors == ""
        resumed = [each["resumed"] for each in of(events, "handshake")]
        assert printed.count("\nReused, TLS") == resumed.count(True)
        assert ("Protocol  : TLSv1.2" in printed) == ("--tls 1.2" in options)
        if "--tls 1.2" not in options:
            arrived = printed.count("Post-Handshake New Session Ticket arrived")
            assert arrived == len(of(events, "ticket"))
        if "--reply" in options:
            assert "\ngood day\n" in printed
        else:
            assert printed.count(FULL) == resumed.count(False)
            assert printed.count(f"\n{RESUMED}") == resumed.count(True)

    @pytest.mark.parametrize("tls", ["1.2", "1.3"])
    def test_a_ticket_of_somebody_else(self, serve: Serve, tls: str) -> None:
        """With `use`, a ticket of another server leads to a full handshake, and is told."""
        serve(f"--connections 1 --tls {tls}", visits(OUT))
        events, errors, _ = serve(f"--connections 1 --tls {tls} --answer use", visits(IN))
        (refusal,) = of(events, "refusal")
        assert (refusal["status"], refusal["answer"]) == ("NO_DECRYPT", None)
        assert (refusal["appdata"], refusal["appdata_hex"]) == (None, None)
        assert [each["resumed"] for each in of(events, "handshake")] == [False]
        assert errors == ""


class TestKeys:
    def test_nginx(self, serve: Serve, tmp_path: Path) -> None:
        """A ticket of one server is good for another with the same keys; FILE.1 decrypts."""
        key = TicketKey.generate()
        save_ticket_keys("nginx", tmp_path / "k", [key])
        options = "--connections 1 --keys k"
        first, errors, _ = serve(options, visits("-sess_out s.pem"))
        new = TicketKey.generate()
        save_ticket_keys("nginx", tmp_path / "k", [new, key])
        second, _, _ = serve(options, visits("-sess_in s.pem"))
        assert {each["key_name"] for each in of(first, "ticket")} == {key.name.hex()}
        assert [each["key_name"] for each in of(second, "resumption")] == [key.name.hex()]
        assert [each["key_name"] for each in of(second, "ticket")] == [new.name.hex()]
        assert errors == ""

    def test_haproxy(self, serve: Serve, tmp_path: Path) -> None:
        """Keys in HAProxy's format: the last but one encrypts."""
        keys = [TicketKey.generate() for _ in range(3)]
        save_ticket_keys("haproxy", tmp_path / "k", keys)
        events, _, _ = serve("--connections 1 --keys k --keys-format haproxy", visits(""))
        assert {each["key_name"] for each in of(events, "ticket")} == {keys[0].name.hex()}

    def test_rotation(self, serve: Serve, tmp_path: Path) -> None:
        """A file that changes is read again, while the server runs."""
        save_ticket_keys("nginx", tmp_path / "k", [TicketKey.generate()])
        events, _, _ = serve(
            "--connections 2 --keys k",
            visits("-sess_out s.pem")
            + "\nopenssl-tickets keys rotate k > rotated; sleep 2\n"
            + visits("-sess_in s.pem"),
        )
        before, *_, after = [each["key_name"] for each in of(events, "ticket")]
        assert before != after
        assert [each["resumed"] for each in of(events, "handshake")] == [False, True]
        assert f"k: {after} " in (tmp_path / "rotated").read_text()


class TestPolicy:
    @pytest.fixture
    def policy(self, tmp_path: Path) -> Callable[[str], None]:
        def write(source: str) -> None:
            (tmp_path / "policy.py").write_text(source)

        return write

    def test_it_decides(
        self, serve: Serve, library: str, policy: Callable[[str], None], tmp_path: Path
    ) -> None:
        """A policy's functions decide, with its data; what is beside it can be imported."""
        (tmp_path / "beside.py").write_text("REVOKED = b'user 2'\n")
        policy(
            "from beside import REVOKED\n"
            "from openssl_tickets import TicketReturn\n"
            "data = {'made': 0}\n"
            "print('loaded')\n"
            "def generate(connection, data):\n"
            "    data['made'] += 1\n"
            "    return b'user %d' % data['made']\n"
            "def decrypt(connection, ticket, data):\n"
            "    return TicketReturn.IGNORE if ticket.appdata == REVOKED else None\n"
        )
        events, errors, _ = serve(
            f"--library {library} --connections 3 --tickets 1 --policy policy.py",
            visits("-sess_out 1.pem", "-sess_in 1.pem -sess_out 2.pem", "-sess_in 2.pem"),
        )
        told = [(each["event"], each["appdata"]) for each in of(events, "resumption", "refusal")]
        assert told == [("resumption", "user 1"), ("refusal", "user 2")]
        assert [each["appdata"] for each in of(events, "ticket")] == ["user 1", "user 2"]
        assert errors == "loaded\n"

    @pytest.mark.parametrize("tls", ["1.2", "1.3"])
    def test_it_raises_in_decrypt(
        self, serve: Serve, library: str, tls: str, policy: Callable[[str], None]
    ) -> None:
        """What decrypt raises ends the connection with an alert, and the server goes on."""
        policy(
            "def decrypt(connection, ticket, data):\n"
            "    if ticket.appdata is not None:\n"
            "        raise FileNotFoundError('no list of the revoked')\n"
        )
        events, errors, printed = serve(
            f"--library {library} --tls {tls} --connections 3 --policy policy.py",
            visits("-sess_out s.pem", "-sess_in s.pem", ""),
        )
        (error,) = of(events, "error")
        assert error == {"event": "error", "connection": 2, "kind": "policy"} | {
            "during": "handshake",
            "error": "FileNotFoundError: no list of the revoked",
        }
        assert [each["answer"] for each in of(events, "refusal")] == ["exception"]
        assert [each["ok"] for each in of(events, "closed")] == [True, False, True]
        assert "SSL alert number" in printed
        assert 'policy.py", line 3, in decrypt' in errors
        assert "_cli" not in errors

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("def generate(connection, data): return 'text'", "TypeError: ticket application data"),
            ("def generate(connection, data): return b'x' * 70000", "ValueError: 70000 bytes"),
            ("def generate(connection, data): 1 / 0", "ZeroDivisionError: division by zero"),
            ("import sys\ndef generate(connection, data): sys.exit('no')", "SystemExit: no"),
        ],
    )
    def test_it_fails_in_generate(
        self, serve: Serve, policy: Callable[[str], None], source: str, message: str
    ) -> None:
        """A generate that raises, or returns what is no data, ends the connection."""
        policy(source)
        events, _, printed = serve("--connections 1 --policy policy.py", visits(""))
        (error,) = of(events, "error")
        assert (error["kind"], error["during"]) == ("policy", "handshake")
        assert error["error"].startswith(message)
        assert of(events, "ticket", "handshake") == []
        assert FULL not in printed
        assert "SSL alert number 80" in printed


class TestClientCertificates:
    @pytest.fixture(autouse=True)
    def files(self, tmp_path: Path, server_file: Path, client_file: Path, ca_file: Path) -> None:
        for name, file in (("server", server_file), ("client", client_file), ("ca", ca_file)):
            shutil.copy(file, tmp_path / f"{name}.pem")

    def test_required(self, serve: Serve, library: str, tmp_path: Path) -> None:
        """A client's certificate is told, in a resumption too; one without is refused."""
        events, errors, printed = serve(
            f"--library {library} --cert server.pem --client-ca ca.pem --connections 3",
            visits(
                "-CAfile ca.pem -cert client.pem -key client.pem -sess_out s.pem",
                "-CAfile ca.pem -sess_in s.pem",
                "-CAfile ca.pem",
            ),
        )
        der = ssl.PEM_cert_to_DER_cert(
            re.findall("-----BEGIN CERT.*?END CERTIFICATE-----", _text(tmp_path), re.S)[0]
        )
        subject, _ = sh(
            "openssl x509 -in client.pem -noout -subject -nameopt sep_comma_plus_space", tmp_path
        )
        clients = [each["client"] for each in of(events, "handshake")]
        assert clients == [clients[0]] * 2
        assert clients[0]["sha256"] == hashlib.sha256(der).hexdigest()
        assert clients[0]["subject"] == subject.removeprefix("subject=").strip()
        assert [each["resumed"] for each in of(events, "handshake")] == [False, True]
        (error,) = of(events, "error")
        assert (error["connection"], error["kind"]) == (3, "tls")
        assert "certificate" in error["error"].lower().replace("_", " ")
        assert "alert certificate required" in printed
        assert printed.count("Verify return code: 0 (ok)") >= 2
        assert errors == ""

    def test_optional(self, serve: Serve, library: str) -> None:
        """Where it is optional, a client without a certificate is let in."""
        events, _, _ = serve(
            f"--library {library} --cert server.pem --client-ca ca.pem --client-cert optional "
            "--connections 1",
            visits(""),
        )
        assert [each["client"] for each in of(events, "handshake")] == [None]
        assert [each["ok"] for each in of(events, "closed")] == [True]


def _text(folder: Path) -> str:
    return (folder / "client.pem").read_text()


class TestConversation:
    def test_echo(self, serve: Serve, library: str) -> None:
        """With --echo all comes back until the client closes, a megabyte too."""
        events, _, printed = serve(
            f"--library {library} --connections 1 --echo",
            "head -c 1000000 /dev/zero > sent\n"
            "(cat sent; sleep 1) | openssl s_client -connect localhost:$port -quiet -nocommands "
            "-no_ign_eof 2> seen > got; cmp sent got && echo the same",
        )
        (closed,) = of(events, "closed")
        assert printed == "the same\n"
        assert (closed["ok"], closed["received"], closed["sent"]) == (True, 1000000, 1000000)

    def test_several_at_once(self, serve: Serve, library: str) -> None:
        """A client that says nothing keeps no other one waiting."""
        events, _, printed = serve(
            f"--library {library} --connections 9 --timeout 2",
            'python -c \'import socket, sys, time; s = socket.create_connection(("127.0.0.1", '
            'int(sys.argv[1]))); print("silent", flush=True); time.sleep(9)\' $port > silent & '
            "idle=$!\nuntil [ -s silent ]; do sleep 0.02; done\n"
            "for i in 1 2 3 4 5 6 7 8; do ("
            + VISIT.format("")
            + ') > seen$i & all="$all $!"; done; wait $all; cat seen*; wait $server; '
            "kill $idle",
        )
        assert printed.count(FULL) == 8
        (error,) = of(events, "error")
        assert (error["connection"], error["kind"]) == (1, "timeout")
        assert Counter(each["ok"] for each in of(events, "closed")) == {True: 8, False: 1}
        assert len({each["connection"] for each in of(events, "closed")}) == 9

    @pytest.mark.parametrize(
        ("sent", "kind"),
        [
            (b"", "connection"),
            (b"GET / HTTP/1.0\r\n\r\n", "tls"),
            (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", "tls"),
            (b"\x16\x03\x01\x02\x00\x01", "connection"),
        ],
    )
    def test_no_tls(self, tmp_path: Path, library: str, sent: bytes, kind: str) -> None:
        """A client that speaks no TLS, or leaves, is an error of that connection alone."""
        with _server(tmp_path, f"--library {library} --connections 2") as (process, port):
            with socket.create_connection(("127.0.0.1", port), TIMEOUT) as plain:
                plain.sendall(sent)
                plain.shutdown(socket.SHUT_WR)
                while plain.recv(1000):
                    pass
            sh(f"port={port}\n{visits('')} | grep '^full'", tmp_path)
            output, errors = process.communicate(timeout=TIMEOUT)
        events = [json.loads(line) for line in output.splitlines()]
        assert [(each["kind"], each["during"]) for each in of(events, "error")] == [
            (kind, "handshake")
        ]
        assert [each["ok"] for each in of(events, "closed")] == [False, True]
        assert (process.returncode, errors) == (0, "")


@contextlib.contextmanager
def _server(folder: Path, options: str, errors: int = subprocess.PIPE) -> Any:
    """Yields a server's process and its port; its events but the first are to be read."""
    process = subprocess.Popen(  # noqa: S602 (as a user would)
        f"exec {sys.executable} -I -m openssl_tickets serve {options}",
        shell=True,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        # nohup has what it starts ignore it, and so do the tests then.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())["port"]
    finally:
        process.kill()
        process.communicate()


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_signal(self, tmp_path: Path, library: str, number: signal.Signals) -> None:
        """A signal ends it at once and cleanly, with connections that are open in any state."""
        with (
            _server(tmp_path, f"--library {library} --echo") as (process, port),
            socket.create_connection(("127.0.0.1", port), TIMEOUT),  # ahead of its handshake
            socket.create_connection(("127.0.0.1", port), TIMEOUT) as plain,
        ):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(plain) as client:
                client.sendall(b"hello")
                assert client.recv(100) == b"hello"
                assert [path.name for path in tmp_path.glob("openssl_tickets-serve-*/*")] == [
                    "localhost.pem"
                ]
                began = time.monotonic()
                process.send_signal(number)
                assert client.recv(100) == b""  # a close_notify, or this would raise
            output, errors = process.communicate(timeout=TIMEOUT)
        assert time.monotonic() - began < 10
        assert (process.returncode, errors) == (0, "")
        events = [json.loads(line) for line in output.splitlines()]
        assert events[-1] == {"event": "stopped", "reason": number.name, "connections": 2}
        assert sorted(each["connection"] for each in of(events, "closed")) == [1, 2]
        assert of(events, "error") == []
        assert list(tmp_path.iterdir()) == []  # the certificate's folder is gone
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), TIMEOUT)

    def test_in_the_background_of_a_script(self, serve: Serve) -> None:
        """SIGINT ends it also where a shell has had it ignored."""
        events, errors, _ = serve("", visits(""), end="kill -INT $server")
        assert events[-1] == {"event": "stopped", "reason": "SIGINT", "connections": 1}
        assert errors == ""

    @pytest.mark.parametrize("outputs", [["stdout"], ["stdout", "stderr"]], ids=" ".join)
    @pytest.mark.parametrize("clients", [0, 1])
    def test_nobody_reads(self, tmp_path: Path, outputs: list[str], clients: int) -> None:
        """It ends when nobody reads its events any more, also if no client comes."""
        with _server(tmp_path, "") as (process, port):
            for output in outputs:
                getattr(process, output).close()
            for _ in range(clients):
                sh(f"port={port}\n{visits('')}", tmp_path)
            assert process.wait(TIMEOUT) == 1
            errors = "" if "stderr" in outputs else process.stderr.read()
            for output in outputs:
                setattr(process, output, None)
        if "stderr" not in outputs:
            # It notices by itself, or by an event that it cannot write.
            assert re.fullmatch(
                r"error: nobody reads the events: (its reader has left|.*Broken pipe)\n", errors
            )
        assert list(tmp_path.glob("openssl_tickets-serve-*")) == []

    def test_closed_from_the_start(self, tmp_path: Path) -> None:
        """It does not serve if its standard output is closed, and says so if it can."""
        command = "openssl-tickets serve >&-"
        message = "error: nobody reads the events: the standard output is closed\n"
        assert sh(command, tmp_path, status=1) == ("", message)
        assert sh(f"{command} 2>&-", tmp_path, status=1) == ("", "")

    @pytest.mark.parametrize("errors", [subprocess.PIPE, subprocess.STDOUT], ids=["", "both"])
    def test_stalled_reader(self, tmp_path: Path, errors: int) -> None:
        """A reader that has stalled, and all who wait for it, do not keep it from ending."""
        (tmp_path / "policy.py").write_text("def decrypt(connection, ticket, data): pass\n")
        data = f"--policy policy.py --appdata {'x' * 30000} --timeout 1000"
        with _server(tmp_path, data, errors) as (process, port):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            answers = 0
            with contextlib.suppress(TimeoutError):
                while answers < 100:  # each has more than the pipe takes
                    with (
                        socket.create_connection(("127.0.0.1", port), 1) as plain,
                        context.wrap_socket(plain) as client,
                    ):
                        client.recv(100)
                        answers += 1
            assert answers < 100
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT) == 1
            output, messages = process.communicate(timeout=TIMEOUT)
        told = output if messages is None else messages
        if messages is not None:
            assert messages == "error: nobody reads the events: its reader has stalled\n"
        assert "Traceback" not in told

    def test_policy_that_hangs(self, tmp_path: Path) -> None:
        """A policy that never returns does not keep it from ending."""
        (tmp_path / "policy.py").write_text(
            "import time\n"
            "def generate(connection, data):\n"
            "    print('asleep', flush=True)\n"
            "    time.sleep(1000)\n"
        )
        with _server(tmp_path, "--policy policy.py") as (process, port):
            client = subprocess.Popen(
                ["openssl", "s_client", "-connect", f"localhost:{port}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                assert process.stderr.readline() == "asleep\n"
                process.terminate()
                output, errors = process.communicate(timeout=TIMEOUT)
            finally:
                client.kill()
                client.communicate()
        assert process.returncode == 1
        assert errors == "error: the policy does not return: connection 1\n"
        assert json.loads(output.splitlines()[-1])["reason"] == "SIGTERM"


# What is beside the server.
FILES = {
    "p.py": "def generate(*_): pass\ndef decrypt(*_): pass\n",
    "syntax.py": "def generate(:",
    "raises.py": "\n1 / 0",
    "imports.py": "import nothing_of_that_name",
    "number.py": "generate = 5",
    "nothing.py": "def generates(): pass",
    "bad.pem": "nothing of use\n",
}

USAGE = [
    ("--port 65536", "from 0 to 65535"),
    ("--port http", "invalid"),
    ("--tickets -1", "from 0 to 255"),
    ("--connections 0", "from 1 to"),
    ("--timeout 0", "more than 0 seconds"),
    ("--timeout nan", "more than 0 seconds"),
    ("--tls 1.1", "invalid choice"),
    ("--answer maybe", "invalid choice"),
    ("--library gnutls", "invalid choice"),
    ("--appdata hex:xyz", "--appdata"),
    ("--appdata @missing", "missing: no such file"),
    ("--key k.pem", "--key is of no use without --cert"),
    ("--client-cert optional", "--client-cert is of no use without --client-ca"),
    ("--keys-format nginx", "--keys-format is of no use without --keys"),
    ("--keys-aes 128", "--keys-aes is of no use without --keys"),
    ("--echo --reply x", "cannot be used together"),
    ("--policy p.py --answer use", "--answer is of no use"),
    ("--policy p.py --appdata x", "--appdata is of no use"),
    ("--policy missing.txt", "not a python file"),
    ("--policy missing.py", "no such file"),
    ("--policy syntax.py", "line 1"),
    ("--policy raises.py", "line 2: zerodivisionerror"),
    ("--policy imports.py", "no module named"),
    ("--policy number.py", "its generate is not a function"),
    ("--policy nothing.py", "neither generate nor decrypt"),
]

CANNOT_SERVE = [
    ("--cert missing.pem", "missing.pem"),
    ("--cert bad.pem", "the certificate cannot be used: bad.pem"),
    ("--cert server.pem --key bad.pem", "the certificate cannot be used"),
    ("--cert server.pem --key locked.pem", "the private key is encrypted"),
    ("--cert server.pem --client-ca missing.pem", "missing.pem"),
    ("--cert server.pem --client-ca bad.pem", "the client ca cannot be used: bad.pem"),
    ("--cert server.pem --keys missing.key", "missing.key"),
    ("--cert server.pem --keys bad.pem", "bad.pem is not a ticket key for nginx"),
    ("--cert server.pem --host 192.0.2.1", "assign requested address"),
    ("--cert server.pem --host nowhere.invalid", "not known"),
    ("--cert server.pem --port {taken}", "already in use"),
]


class TestForPeople:
    def test_terminal(self, tmp_path: Path) -> None:
        """On a terminal it tells the same in words, with a line that connects to it."""
        shown, told = _on_a_terminal(tmp_path, "--connections 2 --appdata alice --tickets 1")
        assert "event" not in shown
        name = re.findall("new ticket: key ([0-9a-f]{32}), carries 'alice'", shown)
        assert re.search(r"#1 full handshake, TLSv1.3, TLS_AES_256_GCM_SHA384", shown)
        assert re.search(r"#2 resumed, TLSv1.3", shown)
        assert f"#2   ticket used: key {name[0]}, SUCCESS_RENEW, answer OpenSSL's" in shown
        assert "#1 closed: 1 ticket, 0 bytes received, 15 sent" in shown
        assert shown.endswith("Stopped (connections), connections: 2\n")
        # It was the line as it stood there that connected.
        assert "Verify return code: 0 (ok)" in told

    def test_what_clients_send(self, tmp_path: Path) -> None:
        """What a client has sent cannot steer the terminal."""
        command = " -servername 'a\033[31mb'"
        shown, _ = _on_a_terminal(tmp_path, "--connections 2", command, NO_COLOR="1")
        assert "\x1b" not in shown
        assert r", for a\x1b[31mb" in shown

    @pytest.mark.parametrize("variable", ["", "NO_COLOR"])
    def test_colours(self, tmp_path: Path, variable: str) -> None:
        """There are colours on a terminal, and none if NO_COLOR is set."""
        environment = {"NO_COLOR": "1"} if variable else {}
        shown, _ = _on_a_terminal(tmp_path, "--connections 2", **environment)
        assert ("\x1b[32m#2   ticket used: " in shown) == (not variable)
        assert ("\x1b" in shown) == (not variable)

    def test_json(self, tmp_path: Path) -> None:
        """With --json there is JSON on a terminal too."""
        shown, _ = _on_a_terminal(tmp_path, "--connections 2 --json")
        events = [json.loads(line)["event"] for line in shown.splitlines()]
        assert (events[0], events[-1]) == ("listening", "stopped")


def _on_a_terminal(
    folder: Path, options: str, more: str = "", **environment: str
) -> tuple[str, str]:
    """Runs a server on a terminal for two visits; returns what it shows, and what s_client told."""
    ours, theirs = os.openpty()
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    shown = b""

    def read_until(pattern: str) -> Any:
        nonlocal shown
        while not (found := re.search(pattern, shown.decode())):
            assert select.select([ours], [], [], TIMEOUT)[0], shown
            shown += os.read(ours, 1 << 16)
        return found

    with subprocess.Popen(
        [sys.executable, "-I", "-m", "openssl_tickets", "serve", *options.split()],
        env={**inherited, "TERM": "xterm", **environment},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        try:
            os.close(theirs)
            found = read_until(r"Connect: (.*)\r\n|(\{.*listening.*\})\r\n")
            line = found[1]
            if line is None:
                event = json.loads(found[2])
                line = f"openssl s_client -connect 127.0.0.1:{event['port']} -ign_eof"
            told = "".join(
                sh(f"{line} {file} {more} < /dev/null", folder)[0]
                for file in ("-sess_out s.pem", "-sess_in s.pem")
            )
            read_until(r"connections|stopped[^\n]*\n")
            assert process.wait(TIMEOUT) == 0
            with contextlib.suppress(OSError):  # EIO at the end
                while data := os.read(ours, 1 << 16):
                    shown += data
        finally:
            process.kill()
            os.close(ours)
    return shown.decode().replace("\r\n", "\n"), told


class TestFailures:
    @pytest.mark.parametrize(
        ("library", "options", "status", "message"),
        [("ssl", *row[:1], 2, *row[1:]) for row in USAGE]
        + [(name, *row[:1], 1, *row[1:]) for row in CANNOT_SERVE for name in ("ssl", "pyopenssl")],
    )
    def test_refused(
        self,
        tmp_path: Path,
        server_file: Path,
        library: str,
        options: str,
        status: int,
        message: str,
    ) -> None:
        """A wrong command line, and what cannot be served, is said in one line."""
        shutil.copy(server_file, tmp_path / "server.pem")
        for name, content in FILES.items():
            (tmp_path / name).write_text(content)
        if "locked" in options:
            locked = "openssl genpkey -algorithm RSA -aes-128-cbc -pass pass:x -out locked.pem"
            sh(locked, tmp_path)
        with socket.create_server(("127.0.0.1", 0)) as plain:
            options = options.format(taken=plain.getsockname()[1])
            command = f"openssl-tickets serve --library {library} {options}"
            output, errors = sh(command, tmp_path, status=status)
        assert output == ""
        assert message in errors.lower()
        assert "Traceback" not in errors
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1

    def test_no_openssl_program(self, tmp_path: Path) -> None:
        """Without the program and without a certificate it says what to do."""
        _, errors = sh(
            f"PATH=/nowhere {sys.executable} -I -m openssl_tickets serve", tmp_path, status=1
        )
        assert "install OpenSSL" in errors
        assert errors.count("\n") == 1

    def test_ssl_is_on_another_libssl(self, tmp_path: Path) -> None:
        """Where ssl is on another libssl, nothing is served, and the error says what to do."""
        (tmp_path / "other.py").write_text(
            "import runpy, ssl, sys\n"
            "from openssl_tickets._adapters import stdlib\n"
            "from openssl_tickets._native import shared_object\n"
            "stdlib.prove_same_libssl.__globals__['shared_object'] = Other = type('Other', (), {\n"
            "    name: staticmethod(lambda *_: None) for name in dir(shared_object)})\n"
            "sys.argv[1:] = ['serve']\n"
            "runpy.run_module('openssl_tickets', run_name='__main__', alter_sys=True)\n"
        )
        output, errors = sh("python other.py", tmp_path, status=1)
        assert output == ""
        assert errors.startswith("error: ")
        assert "libssl" in errors


class TestHelp:
    def test_examples(
        self, tmp_path: Path, server_file: Path, client_file: Path, ca_file: Path
    ) -> None:
        """Each example of a server in the help serves s_client."""
        for name, file in (("server", server_file), ("client", client_file), ("ca", ca_file)):
            shutil.copy(file, tmp_path / f"{name}.pem")
        (tmp_path / "policy.py").write_text(
            examples("command-line.md", "sh")["policy"].split("END")[1][2:]
        )
        save_ticket_keys("nginx", tmp_path / "ticket.key", [TicketKey.generate()])
        text, _ = sh("openssl-tickets serve --help", tmp_path)
        commands = re.findall(r"^ +(openssl-tickets serve.*)$", text.replace("\\\n", ""), re.M)
        assert len(commands) == 5
        for command in commands:
            port = free_port()
            options = command.removeprefix("openssl-tickets serve").replace("--connections 2", "")
            options = re.sub("--port 4433", "", options) + f" --port {port} --connections 1"
            printed, _ = sh(
                f"openssl-tickets serve {options} > events &\n"
                "until [ -s events ]; do sleep 0.02; done\n"
                f"openssl s_client -connect localhost:{port} -ign_eof -cert client.pem "
                "-key client.pem < /dev/null; rm events",
                tmp_path,
            )
            assert FULL in printed, command
        clients = re.findall(r"^ +openssl (s_client .*)$", text, re.M)
        assert len(clients) == 2

    def test_events_are_documented(self, serve: Serve, tmp_path: Path) -> None:
        """Each event and each field that there is stands in the help and on the page."""
        events, _, _ = serve(
            "--connections 3 --answer ignore-renew --timeout 5",
            visits("-sess_out s.pem", "-sess_in s.pem")
            + "\npython -c 'import socket; socket.create_connection((\"127.0.0.1\", '$port'))'",
        )
        events += serve("--connections 2", visits("-sess_out s.pem", "-sess_in s.pem"))[0]
        text, _ = sh("openssl-tickets serve --help", tmp_path)
        page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
        names = {each["event"] for each in events}
        assert len(names) == 8
        for name in names | {field for each in events for field in each}:
            assert re.search(rf"\b{name}\b", text), name
            assert f"`{name}`" in page, name
        assert events[0]["openssl"] == openssl_tickets.OPENSSL_VERSION
