"""``openssl s_client`` is asked for its certificate after the handshake."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import openssl_tickets
from openssl_tickets import SSL, Error, Session
from openssl_tickets.s_client import Alert, SClient, SClientEnded
from tests import interop
from tests.support import tls

ANNOUNCED = ("-enable_pha",)


class Server:
    """What is asked for with the line "login", and what the server saw of its clients."""

    def __init__(self, server_file: Path, ca_file: Path) -> None:
        self.generated: list[bytes | None] = []
        self.asked: list[str | None] = []  # why a client could not be asked, None where it was
        self.sessions: list[tuple[bool, bytes | None]] = []  # whether resumed, whose
        self.context = tls.server_context(server_file)
        self.context.load_verify_locations(str(ca_file))
        self.context.set_session_id(b"tests")
        self.context.set_verify(
            SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT | SSL.VERIFY_POST_HANDSHAKE
        )
        self.context.set_session_ticket_callback(self.generate)

    def generate(self, connection: Any, data: Any) -> None:
        self.generated.append(connection.get_session().peer_certificate_der)

    def serve(self, connection: Any) -> None:
        connection.do_handshake()
        session: Session = connection.get_session()
        self.sessions.append((connection.session_reused(), session.peer_certificate_der))
        for line in interop.requests(connection):
            if line == b"login\n":
                try:
                    connection.verify_client_post_handshake()
                except Error as error:
                    self.asked.append(str(error))
                else:
                    self.asked.append(None)
            connection.sendall(interop.REPLY)


@pytest.fixture
def server(server_file: Path, ca_file: Path) -> Server:
    return Server(server_file, ca_file)


@pytest.fixture
def certificate(client_file: Path) -> bytes:
    """The client's certificate, in DER."""
    pem = re.search("-----BEGIN CERTIFICATE-----.*?-----END.*?\n", client_file.read_text(), re.S)
    assert pem is not None
    return ssl.PEM_cert_to_DER_cert(pem[0])


def say(client: SClient, line: bytes) -> int:
    """Sends a line, and returns how many tickets there are with the reply."""
    client.send(line)
    client.wait_for(interop.REPLY)
    return len(client.wait_for_tickets(0))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_tickets(
    server: Server,
    connect: Callable[..., SClient],
    client_file: Path,
    certificate: bytes,
    number: int,
) -> None:
    """As many tickets as are set follow the certificate, and generate sees whose they are."""
    server.context.set_num_tickets(number)
    with (
        interop.serving(server.context, server.serve) as port,
        connect(
            port.port, cert_file=client_file, key_file=client_file, extra_args=ANNOUNCED
        ) as client,
    ):
        assert say(client, b"hello\n") == number
        say(client, b"login\n")  # its tickets may be there with the reply, or come later
        # The client's answer is read ahead of this line.
        assert say(client, b"hello\n") == 2 * number
        seen = client.close()
    assert (seen.alert, seen.exit_code, server.asked) == (None, 0, [None])
    assert server.generated == [None] * number + [certificate] * number


@pytest.mark.parametrize("number", [0, 1, 2])
def test_after_a_resumption(
    server: Server,
    connect: Callable[..., SClient],
    client_file: Path,
    certificate: bytes,
    session_file: Path,
    number: int,
) -> None:
    """After a resumption it is one ticket, and none where the number is 0."""
    as_client = {"cert_file": client_file, "extra_args": ANNOUNCED}
    with interop.serving(server.context, server.serve) as port:
        with connect(port.port, sess_out=session_file, **as_client) as client:
            say(client, b"hello\n")
            client.close()
        server.context.set_num_tickets(number)
        server.generated.clear()
        with connect(port.port, sess_in=session_file, **as_client) as client:
            assert say(client, b"hello\n") == min(number, 1)
            say(client, b"login\n")
            assert say(client, b"hello\n") == 2 * min(number, 1)
            seen = client.close()
    assert (seen.reused, seen.exit_code) == (True, 0)
    assert server.generated == [None] * min(number, 1) + [certificate] * min(number, 1)


def test_number_in_between(
    server: Server, connect: Callable[..., SClient], client_file: Path
) -> None:
    """What the connection's number is by then counts."""

    def serve(connection: Any) -> None:
        connection.do_handshake()
        for line in interop.requests(connection):
            if line == b"login\n":
                connection.verify_client_post_handshake()
                connection.set_num_tickets(5)
            connection.sendall(interop.REPLY)

    server.context.set_num_tickets(1)
    with (
        interop.serving(server.context, serve) as port,
        connect(port.port, cert_file=client_file, extra_args=ANNOUNCED) as client,
    ):
        assert say(client, b"hello\n") == 1
        say(client, b"login\n")
        assert say(client, b"hello\n") == 1 + 5
        client.close()


def test_identity(
    server: Server,
    connect: Callable[..., SClient],
    client_file: Path,
    certificate: bytes,
    tmp_path: Path,
) -> None:
    """A ticket from after it brings the identity to the resumption, one from before does not."""
    files = {line: tmp_path / line.decode().strip() for line in (b"hello\n", b"login\n")}
    with interop.serving(server.context, server.serve) as port:
        for line, file in files.items():
            with connect(
                port.port, cert_file=client_file, sess_out=file, extra_args=ANNOUNCED
            ) as client:
                say(client, line)
                say(client, b"hello\n")
                client.close()
        for file in files.values():
            # Neither a certificate, nor the word that it may be asked for: the ticket has it.
            with connect(port.port, sess_in=file) as client:
                say(client, b"hello\n")
                client.close()
    assert server.sessions == [(False, None)] * 2 + [(True, None), (True, certificate)]


def test_not_announced(server: Server, connect: Callable[..., SClient], client_file: Path) -> None:
    """A client without -enable_pha is not asked, and the connection goes on."""
    with (
        interop.serving(server.context, server.serve) as port,
        connect(port.port, cert_file=client_file) as client,
    ):
        assert say(client, b"login\n") == 2
        assert say(client, b"hello\n") == 2
        seen = client.close()
    assert (seen.alert, seen.exit_code) == (None, 0)
    (reason,) = server.asked
    assert reason is not None
    assert "extension not received" in reason


def test_no_certificate(server: Server, connect: Callable[..., SClient]) -> None:
    """A client that has no certificate is refused, with no more tickets and no more replies."""
    errors: list[str] = []

    def serve(connection: Any) -> None:
        with pytest.raises(SSL.Error) as raised:
            server.serve(connection)
        errors.append(str(raised.value))

    with (
        interop.serving(server.context, serve) as port,
        connect(port.port, extra_args=ANNOUNCED) as client,
    ):
        assert say(client, b"login\n") == 2
        with pytest.raises(SClientEnded) as ended:
            client.wait_for(interop.REPLY)
    seen = ended.value.result
    assert (seen.alert, len(seen.tickets)) == (Alert(116, "certificate_required"), 2)
    assert seen.exit_code != 0
    assert server.asked == [None]
    assert server.generated == [None, None]
    assert len(errors) == 1
    assert "peer did not return a certificate" in errors[0]


def test_tls_1_2(server_file: Path, connect: Callable[..., SClient], client_file: Path) -> None:
    """In TLS 1.2 it is refused, and the connection goes on."""

    def serve(connection: Any) -> None:
        connection.do_handshake()
        with pytest.raises(Error, match="wrong ssl version"):
            openssl_tickets.verify_client_post_handshake(connection)
        for _ in interop.requests(connection):
            connection.sendall(interop.REPLY)

    with (
        interop.serving(tls.server_context(server_file, "1.2"), serve) as port,
        connect(
            port.port, tls_version="1.2", cert_file=client_file, extra_args=ANNOUNCED
        ) as client,
    ):
        assert say(client, b"hello\n") == 1
        assert client.close().exit_code == 0
