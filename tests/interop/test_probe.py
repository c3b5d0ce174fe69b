"""``openssl-tickets probe`` finds what the real nginx, HAProxy and others have been set to do."""

from __future__ import annotations

import os
import pwd
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import TicketKey
from openssl_tickets._cli import probe as command
from openssl_tickets.ticket_key_files import save_ticket_keys
from tests.support import tls
from tests.support.probing import counts, probed
from tests.support.shell import free_port

Probe = Callable[..., dict[str, Any]]
Launch = Callable[..., None]

# For Dovecot 2.3 and older.
DOVECOT_23 = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
protocols = imap
ssl = yes
ssl_cert = <{file}
ssl_key = <{file}
ssl_min_protocol = TLSv1.2
service imap-login {{
    service_count = {count}
    process_min_avail = 1
    process_limit = 1
    chroot =
    inet_listener imap {{
        address = 127.0.0.1
        port = {port}
    }}
    inet_listener imaps {{
        port = 0
    }}
}}
passdb {{
    driver = static
    args = password=none
}}
"""

DOVECOT = """
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
protocols {{
    imap = yes
}}
ssl = yes
ssl_server_cert_file = {file}
ssl_server_key_file = {file}
ssl_min_protocol = TLSv1.2
service imap-login {{
    restart_request_count = {count}
    process_min_avail = 1
    process_limit = 1
    chroot =
    inet_listener imap {{
        listen = 127.0.0.1
        port = {port}
    }}
    inet_listener imaps {{
        port = 0
    }}
}}
passdb static {{
    password = none
}}
"""

SENT = {"1.2": (1, 0), "1.3": (2, 1)}  # tickets after a full handshake, and after a resumption


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users may enter. Ask for it ahead of ``run``, to have it longer."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def probe(capsys: pytest.CaptureFixture[str]) -> Probe:
    """``probe(port, ...)`` returns what is found; three connections in a row are enough here."""

    def probe(port: int, *arguments: object, status: int = 0) -> dict[str, Any]:
        return probed(
            capsys, f"127.0.0.1:{port}", "--wait", "0.3", "-n", "3", *arguments, status=status
        )

    return probe


@pytest.fixture
def run(launch: Launch) -> Callable[..., int]:
    """``run(command_of)`` starts a server that binds its port itself; returns the port."""

    def run(command_of: Callable[[int], list[str]], **options: Any) -> int:
        port = free_port()
        launch(command_of(port), None, **options)
        end = time.monotonic() + tls.TIMEOUT
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), tls.TIMEOUT).close()
                return port
            except ConnectionRefusedError:
                assert time.monotonic() < end, "the server does not listen"
                time.sleep(0.02)

    return run


class TestNginx:
    def test_tickets(self, probe: Probe, nginx: Any, tmp_path: Path, version: str) -> None:
        """The lifetime hint is nginx's ssl_session_timeout, and the key that of its file."""
        key = TicketKey.generate()
        save_ticket_keys("nginx", tmp_path / "ticket.key", [key])
        port = nginx(tmp_path / "ticket.key", more="ssl_session_timeout 321s;")
        found = probe(port, "--expect-resumed", "1")
        assert found["negotiated"] == f"TLSv{version}"
        seen = found["versions"].pop(f"TLSv{version}")
        assert (counts(seen), seen["resumes_by"]) == (SENT[version], "ticket")
        assert set(seen["full_handshake"]["when"]) == {"handshake"}
        assert set(seen["full_handshake"]["lifetime_hints"]) == {321}
        assert [each["key_name"] for each in seen["key_names"]] == [key.name.hex()]
        assert (seen["resumed"], seen["connections"], seen["taken_twice"]) == (3, 3, True)
        ((_, other),) = found["versions"].items()
        assert "protocol version" in other["error"]

    def test_without_tickets(self, probe: Probe, nginx: Any, version: str) -> None:
        """Without tickets and without a cache nothing is resumed."""
        port = nginx(more="ssl_session_tickets off;")
        found = probe(port, "--expect-resumed", "0.01", status=1)
        seen = found["versions"][f"TLSv{version}"]
        assert (seen["error"], seen["resumed"], seen["resumption"]) == (None, 0, None)


class TestHAProxy:
    @pytest.fixture
    def keys(self, tmp_path: Path) -> list[TicketKey]:
        keys = [TicketKey.generate() for _ in range(3)]
        save_ticket_keys("haproxy", tmp_path / "tickets.keys", keys)
        return keys

    def test_tickets(
        self, probe: Probe, haproxy: Any, tmp_path: Path, keys: list[TicketKey], version: str
    ) -> None:
        """The lifetime hint is HAProxy's tune.ssl.lifetime, and the key the one that encrypts."""
        port = haproxy(tmp_path / "tickets.keys", more="global\n    tune.ssl.lifetime 222")
        seen = probe(port, "--expect-resumed", "1")["versions"][f"TLSv{version}"]
        # A callback for ticket keys that does not ask for a renewal has none sent.
        assert counts(seen) == (SENT[version][0], 0)
        assert set(seen["full_handshake"]["lifetime_hints"]) == {222}
        assert [each["key_name"] for each in seen["key_names"]] == [keys[0].name.hex()]
        assert (seen["resumed"], seen["taken_twice"]) == (3, True)

    @pytest.mark.usefixtures("keys")
    def test_session_ids(self, probe: Probe, haproxy: Any, tmp_path: Path, version: str) -> None:
        """Without tickets HAProxy has its cache: TLS 1.2 resumes by the session id."""
        port = haproxy(tmp_path / "tickets.keys", bind="no-tls-tickets")
        seen = probe(port)["versions"][f"TLSv{version}"]
        by = {"1.2": "session id", "1.3": "ticket"}
        assert seen["resumes_by"] == by[version]
        if version == "1.2":
            assert (counts(seen), seen["resumed"]) == ((0, 0), 3)
            assert seen["key_names"] == []


class TestSServer:
    @pytest.fixture
    def s_server(self, run: Callable[..., int], server_file: Path) -> Callable[..., int]:
        """``s_server(*options)`` runs ``openssl s_server`` and returns its port."""

        def s_server(*options: str) -> int:
            return run(
                lambda port: [
                    *("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-www", "-quiet"),
                    *("-cert", str(server_file), "-key", str(server_file), *options),
                ]
            )

        return s_server

    @pytest.mark.parametrize("number", [1, 5])
    def test_how_many(self, probe: Probe, s_server: Callable[..., int], number: int) -> None:
        """As many tickets come as -num_tickets says."""
        seen = probe(s_server("-num_tickets", str(number)))["versions"]
        assert counts(seen["TLSv1.3"]) == (number, 1)
        assert counts(seen["TLSv1.2"]) == (1, 0)
        assert [each["resumed"] for each in seen.values()] == [3, 3]

    def test_no_ticket(self, probe: Probe, s_server: Callable[..., int]) -> None:
        """With -no_ticket TLS 1.2 resumes by id, and TLS 1.3 by tickets without a key's name."""
        seen = probe(s_server("-no_ticket"))["versions"]
        assert seen["TLSv1.2"]["resumes_by"] == "session id"
        assert (counts(seen["TLSv1.2"]), seen["TLSv1.2"]["resumed"]) == ((0, 0), 3)
        later = seen["TLSv1.3"]
        assert (counts(later), later["resumed"]) == ((2, 1), 3)
        assert len({each["key_name"] for each in later["key_names"]}) == later["tickets_seen"]


class TestStartTLS:
    @pytest.fixture
    def context(self, server_file: Path) -> ssl.SSLContext:
        """A server's context with three tickets, for 456 seconds."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server_file)
        openssl_tickets.set_num_tickets(context, 3)
        openssl_tickets.set_session_timeout(context, 456)
        return context

    def check(self, found: dict[str, Any]) -> None:
        """Checks that *found* is what ``context`` was set to."""
        assert found["negotiated"] == "TLSv1.3"
        later, before = found["versions"]["TLSv1.3"], found["versions"]["TLSv1.2"]
        assert (counts(later), counts(before)) == ((3, 1), (1, 0))
        for seen in (later, before):
            assert set(seen["full_handshake"]["lifetime_hints"]) == {456}
            assert set(seen["full_handshake"]["when"]) == {"handshake"}
            assert (seen["resumed"], seen["failed"], seen["taken_twice"]) == (3, 0, True)
            assert len(seen["key_names"]) == 1

    def test_smtp(self, probe: Probe, context: ssl.SSLContext) -> None:
        """aiosmtpd's tickets are found behind STARTTLS."""
        controller = pytest.importorskip("aiosmtpd.controller")
        from aiosmtpd.handlers import Sink

        server = controller.Controller(
            Sink(), hostname="127.0.0.1", port=free_port(), tls_context=context
        )
        server.start()
        try:
            self.check(probe(server.port, "--starttls", "smtp", "--expect-resumed", "1"))
        finally:
            server.stop()

    def test_ftp(self, probe: Probe, run: Callable[..., int], server_file: Path) -> None:
        """pyftpdlib's tickets are found behind AUTH TLS."""
        source = (
            "import sys, openssl_tickets\n"
            "from openssl_tickets import SSL\n"
            "from pyftpdlib.authorizers import DummyAuthorizer\n"
            "from pyftpdlib.handlers import TLS_FTPHandler\n"
            "from pyftpdlib.servers import FTPServer\n"
            "context = SSL.Context(SSL.TLS_SERVER_METHOD)\n"
            "context.use_certificate_chain_file(sys.argv[2])\n"
            "context.use_privatekey_file(sys.argv[2])\n"
            "context.set_num_tickets(3)\n"
            "openssl_tickets.set_session_timeout(context, 456)\n"
            "TLS_FTPHandler.ssl_context = context\n"
            "TLS_FTPHandler.certfile = sys.argv[2]\n"
            "TLS_FTPHandler.authorizer = DummyAuthorizer()\n"
            "FTPServer(('127.0.0.1', int(sys.argv[1])), TLS_FTPHandler).serve_forever()\n"
        )
        port = run(lambda port: [sys.executable, "-I", "-c", source, str(port), str(server_file)])
        self.check(probe(port, "--starttls", "ftp", "--expect-resumed", "1"))

    @pytest.mark.parametrize(("clients_of_a_process", "resumed"), [(0, 3), (1, 0)])
    def test_imap(
        self,
        folder: Path,
        probe: Probe,
        run: Callable[..., int],
        program: Callable[[str], str],
        server_file: Path,
        clients_of_a_process: int,
        resumed: int,
    ) -> None:
        """Dovecot's tickets are resumed if one process serves all clients, and else never."""
        dovecot = program("dovecot")
        if os.geteuid() != 0:
            pytest.skip("Dovecot has to be started by root")

        said = subprocess.run([dovecot, "--version"], capture_output=True, text=True, check=True)
        is_old = said.stdout.startswith("2.3")
        text = DOVECOT_23 if is_old else DOVECOT
        count = clients_of_a_process or (0 if is_old else "unlimited")

        def command_of(port: int) -> list[str]:
            config = folder / "dovecot.conf"
            config.write_text(text.format(folder=folder, file=server_file, port=port, count=count))
            return [dovecot, "-F", "-c", str(config)]

        versions = probe(run(command_of), "--starttls", "imap")["versions"]
        assert versions["TLSv1.3"]["full_handshake"]["tickets"] == 2
        assert versions["TLSv1.2"]["full_handshake"]["tickets"] == 1
        assert [each["resumed"] for each in versions.values()] == [resumed] * 2
        names = {each["key_name"] for each in versions["TLSv1.3"]["key_names"]}
        assert (len(names) > 1) == bool(clients_of_a_process)

    def test_postgres(
        self,
        folder: Path,
        probe: Probe,
        run: Callable[..., int],
        program: Callable[[str], str],
        server_file: Path,
    ) -> None:
        """PostgreSQL, which has tickets and its cache turned off, resumes nothing."""
        postgres = program("postgres")
        options: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:  # as which it does not run
            user = pwd.getpwnam("postgres")
            options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(folder, user.pw_uid, user.pw_gid)
        data, key = folder / "data", folder / "server.pem"
        key.write_bytes(server_file.read_bytes())
        key.chmod(0o600)
        os.chown(key, folder.stat().st_uid, folder.stat().st_gid)
        subprocess.run(
            [Path(postgres).with_name("initdb"), "-D", data, "-A", "trust", "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
            **options,
        )
        settings = {
            "ssl": "on",
            "ssl_cert_file": key,
            "ssl_key_file": key,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
        }
        told = [part for each in settings.items() for part in ("-c", "{}={}".format(*each))]
        port = run(
            lambda port: [postgres, "-D", str(data), "-p", str(port), *told],
            **options,
        )
        found = probe(port, "--starttls", "postgres", "--expect-resumed", "0.1", status=1)
        for seen in found["versions"].values():
            assert (seen["error"], seen["full_handshake"]["tickets"]) == (None, 0)
            assert (seen["resumed"], seen["resumption"]) == (0, None)

    def test_ldap(
        self,
        probe: Probe,
        run: Callable[..., int],
        program: Callable[[str], str],
        server_file: Path,
        tmp_path: Path,
    ) -> None:
        """
        OpenLDAP on GnuTLS, which has not turned tickets on, resumes nothing; on OpenSSL, as that of
        Debian 13, it resumes all.
        """
        slapd = program("slapd")
        linked = subprocess.run(["ldd", slapd], capture_output=True, text=True, check=True)
        on_openssl = "libssl" in linked.stdout
        config = tmp_path / "slapd.conf"
        config.write_text(
            f"TLSCertificateFile {server_file}\nTLSCertificateKeyFile {server_file}\n"
            f"pidfile {tmp_path}/slapd.pid\ndatabase config\n"
        )
        command = [slapd, "-d", "0", "-f", str(config), "-h"]
        found = probe(
            run(lambda port: [*command, f"ldap://127.0.0.1:{port}/"]), "--starttls", "ldap"
        )
        assert found["negotiated"] == "TLSv1.3"
        tickets = found["versions"]["TLSv1.3"]["full_handshake"]["tickets"]
        assert tickets == (2 if on_openssl else 0)
        resumed = [each["resumed"] for each in found["versions"].values()]
        assert resumed == [3 if on_openssl else 0] * 2

    def test_no_starttls(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A server that offers no STARTTLS is said to be so on one line."""
        controller = pytest.importorskip("aiosmtpd.controller")
        from aiosmtpd.handlers import Sink

        server = controller.Controller(Sink(), hostname="127.0.0.1", port=free_port())
        server.start()
        try:
            target = f"127.0.0.1:{server.port}"
            assert command.main([target, "--starttls", "smtp"]) == 1
        finally:
            server.stop()
        errors = capsys.readouterr().err
        assert errors.startswith(f"error: port {server.port} of 127.0.0.1: ")
        assert errors.count("\n") == 1
