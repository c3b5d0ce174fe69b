"""What the ticket callbacks make of ``openssl s_client``, and what it sees of them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import OpenSSL.SSL
import pytest
import trustme
from cryptography import x509

import openssl_tickets
from openssl_tickets import SSL, ReceivedTicket, TicketReturn, TicketStatus
from openssl_tickets.s_client import Alert, SClient, SClientResult
from tests import interop
from tests.support import tls

ABORT, IGNORE, IGNORE_RENEW, USE, USE_RENEW = TicketReturn
INTERNAL_ERROR = Alert(80, "internal_error")

Ask = Callable[..., SClientResult]


class Recorder:
    """Callbacks that write down what they see; each ticket's data has its number."""

    def __init__(self, name: bytes = b"ticket", answer: Any = None) -> None:
        self.name = name
        self.answer = answer  # for tickets that were decrypted
        self.generated: list[bytes] = []
        self.tickets: list[ReceivedTicket] = []  # those that are not empty

    def generate(self, connection: Any, data: Any) -> bytes | None:
        self.generated.append(self.name + b" %d" % (len(self.generated) + 1))
        return self.generated[-1]

    def decrypt(self, connection: Any, ticket: ReceivedTicket, data: Any) -> Any:
        if ticket.status is TicketStatus.EMPTY:
            return None
        self.tickets.append(ticket)
        return None if ticket.status is TicketStatus.NO_DECRYPT else self.answer

    @property
    def seen(self) -> list[bytes | None]:
        """The application data of the tickets that came."""
        return [ticket.appdata for ticket in self.tickets]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def context(server_file: Path, version: str, recorder: Recorder) -> Any:
    """A server's context of each version, with *recorder* and three tickets in TLS 1.3."""
    context = tls.server_context(server_file, version)
    context.set_num_tickets(3)
    context.set_session_ticket_callback(recorder.generate, recorder.decrypt)
    return context


def counted(version: str, number: int) -> int:
    """How many tickets a full handshake brings where TLS 1.3 brings *number*."""
    return min(number, 1) if version == "1.2" else number


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "reused", "number"),
        [
            (IGNORE, False, 0),
            (IGNORE_RENEW, False, 3),
            (USE, True, 0),
            (USE_RENEW, True, 1),
        ],
    )
    def test_answer(
        self,
        context: Any,
        version: str,
        recorder: Recorder,
        ask: Ask,
        session_file: Path,
        answer: TicketReturn,
        reused: bool,
        number: int,
    ) -> None:
        """The answer decides on the resumption and on new tickets; generate runs for each."""
        recorder.answer = answer
        with interop.serving(context) as server:
            first = ask(server.port, sess_out=session_file)
            seen = ask(server.port, sess_in=session_file)
        assert (first.reused, len(first.tickets)) == (False, counted(version, 3))
        assert (seen.reused, len(seen.tickets)) == (reused, counted(version, number))
        assert (seen.protocol, seen.alert, seen.exit_code) == (f"TLSv{version}", None, 0)
        assert len(recorder.tickets) == 1
        assert len(recorder.generated) == len(first.tickets) + len(seen.tickets)

    def test_abort(
        self, context: Any, recorder: Recorder, ask: Ask, listen: Ask, session_file: Path
    ) -> None:
        """ABORT ends the handshake with an alert, and the next client is served."""
        recorder.answer = ABORT
        with tls.Server(context, interop.answer) as server:
            ask(server.port, sess_out=session_file)
            seen = listen(server.port, sess_in=session_file)
            after = ask(server.port)
        assert seen.alert is not None
        assert (seen.exit_code, seen.tickets) == (1, ())
        assert seen.reused is None
        assert [type(error) for error in server.errors] == [SSL.Error]
        assert (after.reused, after.exit_code) == (False, 0)

    @pytest.mark.parametrize("answer", [None, IGNORE, IGNORE_RENEW])
    def test_ticket_that_was_not_decrypted(
        self,
        context: Any,
        server_file: Path,
        version: str,
        ask: Ask,
        session_file: Path,
        answer: TicketReturn | None,
    ) -> None:
        """Another context's ticket leads to a full handshake, with no tickets after IGNORE."""
        other = tls.server_context(server_file, version)
        other.set_num_tickets(3)
        statuses: list[TicketStatus] = []

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
            statuses.append(ticket.status)
            return answer

        other.set_session_ticket_callback(None, decrypt)
        with interop.serving(context) as server:
            ask(server.port, sess_out=session_file)
        with interop.serving(other) as server:
            seen = ask(server.port, sess_in=session_file)
        assert statuses == [TicketStatus.NO_DECRYPT]
        assert seen.reused is False
        assert len(seen.tickets) == (0 if answer is IGNORE else counted(version, 3))

    @pytest.mark.parametrize("answer", [USE, USE_RENEW])
    def test_use_of_a_ticket_that_was_not_decrypted(
        self,
        context: Any,
        server_file: Path,
        version: str,
        ask: Ask,
        listen: Ask,
        session_file: Path,
        answer: TicketReturn,
    ) -> None:
        """USE for another context's ticket is the program's error and ends the handshake."""
        other = tls.server_context(server_file, version)
        other.set_session_ticket_callback(None, lambda *_: answer)
        with interop.serving(context) as server:
            ask(server.port, sess_out=session_file)
        with tls.Server(other, interop.answer) as server:
            seen = listen(server.port, sess_in=session_file)
        assert seen.alert is not None
        assert (seen.exit_code, seen.tickets) == (1, ())
        assert seen.reused is None
        (error,) = server.errors
        assert isinstance(error, ValueError)
        assert f"{answer.name} for a ticket with status NO_DECRYPT" in str(error)


class TestExceptions:
    """What a callback raises: the server's thread gets it, and s_client an alert."""

    class Failure(Exception):
        pass

    def test_in_generate(self, context: Any, listen: Ask, ask: Ask) -> None:
        """One in generate is an internal_error to s_client, and the next client is served."""
        failure = self.Failure()

        def generate(connection: Any, data: Any) -> bytes:
            raise failure

        context.set_session_ticket_callback(generate)
        with tls.Server(context, interop.answer) as server:
            seen = listen(server.port)
            context.set_session_ticket_callback()
            after = ask(server.port)
        assert (seen.alert, seen.exit_code, seen.tickets) == (INTERNAL_ERROR, 1, ())
        assert [error is failure for error in server.errors] == [True]
        assert after.exit_code == 0

    def test_in_generate_of_a_ticket_on_demand(self, server_context: Any, listen: Ask) -> None:
        """One in generate for a ticket on demand comes out of the write that was to bring it."""
        failure = self.Failure()

        def generate(connection: Any, data: Any) -> bytes:
            raise failure

        def serve(connection: Any) -> None:
            connection.do_handshake()
            connection.new_session_ticket()
            with pytest.raises(self.Failure) as caught:
                connection.sendall(interop.REPLY)
            raise caught.value

        server_context.set_num_tickets(0)
        server_context.set_session_ticket_callback(generate)
        with tls.Server(server_context, serve) as server:
            seen = listen(server.port)
        assert (seen.alert, seen.exit_code, seen.tickets) == (INTERNAL_ERROR, 1, ())
        assert "welcome" not in seen.output
        assert [error is failure for error in server.errors] == [True]

    def test_in_decrypt(
        self, context: Any, recorder: Recorder, ask: Ask, listen: Ask, session_file: Path
    ) -> None:
        """One in decrypt ends the handshake with an alert, and the next client is served."""
        failure = self.Failure()

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
            if ticket.status in (TicketStatus.SUCCESS, TicketStatus.SUCCESS_RENEW):
                raise failure
            return None

        context.set_session_ticket_callback(recorder.generate, decrypt)
        with tls.Server(context, interop.answer) as server:
            ask(server.port, sess_out=session_file)
            seen = listen(server.port, sess_in=session_file)
            after = ask(server.port)
        assert seen.alert is not None
        assert (seen.exit_code, seen.tickets) == (1, ())
        assert seen.reused is None
        assert [error is failure for error in server.errors] == [True]
        assert (after.reused, after.exit_code) == (False, 0)

    @pytest.mark.parametrize("wrong", [True, 3, "USE", b""])
    def test_wrong_answer_of_decrypt(
        self,
        context: Any,
        recorder: Recorder,
        ask: Ask,
        listen: Ask,
        session_file: Path,
        wrong: Any,
    ) -> None:
        """An answer that is no TicketReturn, though it be USE's number, counts as an exception."""
        recorder.answer = wrong
        with tls.Server(context, interop.answer) as server:
            ask(server.port, sess_out=session_file)
            seen = listen(server.port, sess_in=session_file)
        assert seen.alert is not None
        assert seen.exit_code == 1
        assert seen.reused is None
        assert [type(error) for error in server.errors] == [TypeError]

    @pytest.mark.parametrize("wrong", ["text", True, object()])
    def test_wrong_answer_of_generate(self, context: Any, listen: Ask, wrong: Any) -> None:
        """Application data that are not bytes count as an exception."""
        context.set_session_ticket_callback(lambda *_: wrong)
        with tls.Server(context, interop.answer) as server:
            seen = listen(server.port)
        assert (seen.alert, seen.exit_code, seen.tickets) == (INTERNAL_ERROR, 1, ())
        assert [type(error) for error in server.errors] == [TypeError]


class TestData:
    # The client's hello must have room for the ticket: OpenSSL 3.5's, with its post-quantum key
    # share, has it for some 63,800 bytes of data.
    @pytest.mark.parametrize("appdata", [b"", b"\0", bytes(range(256)), b"x" * 60_000])
    def test_round_trip(
        self, context: Any, recorder: Recorder, ask: Ask, session_file: Path, appdata: bytes
    ) -> None:
        """Generate's data come back in decrypt, in a very large ticket too."""
        context.set_session_ticket_callback(lambda *_: appdata, recorder.decrypt)
        with interop.serving(context) as server:
            ask(server.port, sess_out=session_file)
            seen = ask(server.port, sess_in=session_file)
        assert seen.reused
        assert recorder.seen == [appdata]

    def test_key_name(self, context: Any, recorder: Recorder, ask: Ask, session_file: Path) -> None:
        """The key name that decrypt sees is the beginning of the ticket that s_client got."""
        with interop.serving(context) as server:
            first = ask(server.port, sess_out=session_file)
            ask(server.port, sess_in=session_file)
        (ticket,) = recorder.tickets
        assert ticket.key_name == first.tickets[-1].ticket[:16]
        assert len(ticket.key_name) == 16
        assert ticket.status in (TicketStatus.SUCCESS, TicketStatus.SUCCESS_RENEW)

    def test_key_name_of_another_context(
        self,
        context: Any,
        server_file: Path,
        version: str,
        recorder: Recorder,
        ask: Ask,
        session_file: Path,
    ) -> None:
        """It is so for a ticket of another context too, which has no data to show."""
        with interop.serving(tls.server_context(server_file, version)) as server:
            first = ask(server.port, sess_out=session_file)
        with interop.serving(context) as server:
            ask(server.port, sess_in=session_file)
        (ticket,) = recorder.tickets
        assert (ticket.status, ticket.appdata) == (TicketStatus.NO_DECRYPT, None)
        assert ticket.key_name == first.tickets[-1].key_name

    def test_last_ticket_of_a_handshake(
        self, context: Any, version: str, recorder: Recorder, ask: Ask, session_file: Path
    ) -> None:
        """Each ticket of a handshake has its own data, in the order of their coming."""
        with interop.serving(context) as server:
            ask(server.port, sess_out=session_file)
            ask(server.port, sess_in=session_file)
        assert recorder.seen == [b"ticket %d" % counted(version, 3)]

    def test_several_tickets(
        self,
        server_context: Any,
        recorder: Recorder,
        connect: Callable[..., SClient],
        ask: Ask,
        tmp_path: Path,
    ) -> None:
        """Of several tickets on one connection, each comes back with its own data."""
        server_context.set_num_tickets(0)
        server_context.set_session_ticket_callback(recorder.generate, recorder.decrypt)
        last = tmp_path / "last.pem"
        files = [tmp_path / f"{number}.pem" for number in range(3)]

        def serve(connection: Any) -> None:
            connection.do_handshake()
            for _ in interop.requests(connection):
                connection.new_session_ticket()
                connection.sendall(interop.REPLY)

        with interop.serving(server_context, serve) as server:
            with connect(server.port, sess_out=last) as client:
                for file in files:
                    client.send(b"hello\n")
                    client.wait_for(interop.REPLY)
                    shutil.copy(last, file)
            for file in reversed(files):
                assert ask(server.port, sess_in=file).reused
        assert recorder.seen == [b"ticket 3", b"ticket 2", b"ticket 1"]

    @pytest.mark.parametrize(("renewed", "carried"), [(None, b"old"), (b"", b""), (b"new", b"new")])
    def test_renewal(
        self,
        server_context: Any,
        recorder: Recorder,
        ask: Ask,
        session_file: Path,
        renewed: bytes | None,
        carried: bytes,
    ) -> None:
        """A renewed ticket carries the old one's data on, unless generate returns others."""
        # In TLS 1.3 alone: s_client does not write a TLS 1.2 ticket that came with a resumption.
        answers: list[bytes | None] = [b"old"]
        recorder.answer = USE_RENEW
        server_context.set_session_ticket_callback(lambda *_: answers[-1], recorder.decrypt)
        with interop.serving(server_context) as server:
            ask(server.port, sess_out=session_file)
            answers.append(renewed)
            ask(server.port, sess_in=session_file, sess_out=session_file)
            assert ask(server.port, sess_in=session_file).reused
        assert recorder.seen == [b"old", carried]


class TestPolicies:
    """What users do with the callbacks, as the documentation shows it."""

    @pytest.mark.parametrize(
        ("user", "reused", "number"), [(b"alice\n", True, 1), (b"mallory\n", False, 3)]
    )
    def test_revoked_user(
        self,
        server_context: Any,
        connect: Callable[..., SClient],
        ask: Ask,
        session_file: Path,
        user: bytes,
        reused: bool,
        number: int,
    ) -> None:
        """A user who logged in, got a ticket and is revoked since, has to shake hands in full."""
        revoked: set[bytes | None] = set()

        def generate(connection: Any, data: Any) -> bytes | None:
            login: bytes | None = connection.get_app_data()
            return login

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
            return IGNORE_RENEW if ticket.appdata in revoked else None

        def serve(connection: Any) -> None:
            connection.do_handshake()
            for line in interop.requests(connection):
                if line in (b"alice\n", b"mallory\n"):
                    connection.set_app_data(line)
                    connection.new_session_ticket()
                connection.sendall(interop.REPLY)

        server_context.set_num_tickets(3)
        server_context.set_session_ticket_callback(generate, decrypt)
        with interop.serving(server_context, serve) as server:
            first = ask(server.port, send=user, sess_out=session_file)
            before = ask(server.port, sess_in=session_file)
            revoked.add(b"mallory\n")
            seen = ask(server.port, sess_in=session_file)
        assert (first.reused, len(first.tickets), before.reused) == (False, 4, True)
        assert (seen.reused, len(seen.tickets), seen.exit_code) == (reused, number, 0)

    def test_server_name(
        self, context: Any, version: str, recorder: Recorder, ask: Ask, session_file: Path
    ) -> None:
        """A ticket that is bound to its server name is not resumed for another one."""

        def generate(connection: Any, data: Any) -> bytes | None:
            return b"bound to %b" % connection.get_servername()

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
            recorder.decrypt(connection, ticket, data)
            name = ticket.server_name or b""
            return None if ticket.appdata == b"bound to %b" % name else IGNORE_RENEW

        context.set_num_tickets(1)
        context.set_session_ticket_callback(generate, decrypt)
        with interop.serving(context) as server:
            ask(server.port, server_name="localhost", sess_out=session_file)
            same = ask(server.port, server_name="localhost", sess_in=session_file)
            other = ask(server.port, server_name="other.example", sess_in=session_file)
        assert (same.reused, other.reused) == (True, False)
        assert recorder.seen == [b"bound to localhost"] * 2

    @pytest.mark.parametrize("name", ["other.example", "localhost"])
    def test_switch_by_server_name(
        self,
        context: Any,
        version: str,
        recorder: Recorder,
        authority: trustme.CA,
        ask: Ask,
        session_file: Path,
        tmp_path: Path,
        name: str,
    ) -> None:
        """After a switch to another context, the first one's callbacks and number are in force."""
        other_file, other_recorder = tmp_path / "other.pem", Recorder(b"other", IGNORE)
        issued = authority.issue_cert("other.example")
        issued.private_key_and_cert_chain_pem.write_to_path(str(other_file))
        other = tls.server_context(other_file, version)
        other.set_num_tickets(0)
        other.set_session_ticket_callback(other_recorder.generate, other_recorder.decrypt)

        def switch(connection: Any) -> None:
            if connection.get_servername() == b"other.example":
                connection.set_context(other)

        context.set_tlsext_servername_callback(switch)
        # The certificate tells that there was a switch, and that there was none.
        verify = ("-verify_hostname", name, "-verify_return_error")
        with interop.serving(context) as server:
            first = ask(server.port, server_name=name, sess_out=session_file, extra_args=verify)
            seen = ask(server.port, server_name=name, sess_in=session_file)
        assert (first.reused, first.verify_code) == (False, 0)
        assert len(first.tickets) == counted(version, 3)
        assert (seen.reused, len(seen.tickets)) == (True, 0 if version == "1.2" else 1)
        assert recorder.seen == [b"ticket %d" % counted(version, 3)]
        assert (other_recorder.generated, other_recorder.tickets) == ([], [])

    def test_client_certificate(
        self,
        context: Any,
        recorder: Recorder,
        ca_file: Path,
        client_file: Path,
        ask: Ask,
        session_file: Path,
    ) -> None:
        """Who a client was by its certificate comes back with its ticket."""
        _ask_for_certificates(context, ca_file)
        context.set_session_id(b"interop")
        context.set_session_ticket_callback(_identity_of_client, recorder.decrypt)
        with interop.serving(context) as server:
            first = ask(server.port, cert_file=client_file, sess_out=session_file)
            seen = ask(server.port, sess_in=session_file)  # no certificate any more
        assert (first.reused, first.exit_code) == (False, 0)
        assert (seen.reused, seen.exit_code) == (True, 0)
        assert recorder.seen == [b"client@example.org"]

    def test_refused_client_certificate(
        self,
        context: Any,
        recorder: Recorder,
        ca_file: Path,
        client_file: Path,
        ask: Ask,
        listen: Ask,
        session_file: Path,
    ) -> None:
        """A client whose ticket is ignored has to show its certificate again."""
        _ask_for_certificates(context, ca_file)
        context.set_session_id(b"interop")
        context.set_session_ticket_callback(_identity_of_client, recorder.decrypt)
        recorder.answer = IGNORE_RENEW
        with tls.Server(context, interop.answer) as server:
            ask(server.port, cert_file=client_file, sess_out=session_file)
            shown = ask(server.port, cert_file=client_file, sess_in=session_file)
            refused = listen(server.port, sess_in=session_file)
        assert (shown.reused, shown.exit_code) == (False, 0)
        assert refused.alert is not None
        assert (refused.exit_code, refused.tickets) == (1, ())
        assert [type(error) for error in server.errors] == [SSL.Error]

    def test_client_certificate_without_a_session_id(
        self, context: Any, ca_file: Path, client_file: Path, listen: Ask
    ) -> None:
        """Without a session id, a server that asks for certificates is told at the first ticket."""
        _ask_for_certificates(context, ca_file)
        with tls.Server(context, interop.answer) as server:
            seen = listen(server.port, cert_file=client_file)
        assert (seen.alert, seen.exit_code, seen.tickets) == (INTERNAL_ERROR, 1, ())
        (error,) = server.errors
        assert "set_session_id" in str(error)


class TestPlainPyOpenSSL:
    def test_promises_hold(
        self,
        server_file: Path,
        version: str,
        recorder: Recorder,
        ask: Ask,
        listen: Ask,
        session_file: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """With pyOpenSSL's own classes it is all the same, but for where exceptions go."""
        unraisable: list[tuple[object, object]] = []
        monkeypatch.setattr(
            sys, "unraisablehook", lambda seen: unraisable.append((seen.exc_value, seen.object))
        )
        context = tls.server_context(server_file, version, OpenSSL.SSL.Context)
        served: list[Any] = []
        failure = RuntimeError("from decrypt")

        def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
            recorder.decrypt(connection, ticket, data)
            assert connection is served[-1]
            if ticket.appdata == b"poison":
                raise failure
            return None

        def serve(connection: Any) -> None:
            assert type(connection) is OpenSSL.SSL.Connection
            served.append(connection)
            openssl_tickets.set_num_tickets(connection, 1)
            connection.do_handshake()
            for _ in interop.requests(connection):
                if version == "1.3":
                    openssl_tickets.new_session_ticket(connection)
                connection.sendall(interop.REPLY)

        answers: list[bytes] = [b"good"]
        openssl_tickets.set_session_ticket_callback(context, lambda *_: answers[-1], decrypt)
        with tls.Server(context, serve, OpenSSL.SSL.Connection) as server:
            first = ask(server.port, sess_out=session_file)
            seen = ask(server.port, sess_in=session_file)
            answers.append(b"poison")
            ask(server.port, sess_out=session_file)
            ended = listen(server.port, sess_in=session_file)
        extra = 1 if version == "1.3" else 0
        assert (first.reused, len(first.tickets)) == (False, 1 + extra)
        assert (seen.reused, len(seen.tickets)) == (True, 2 * extra)
        assert recorder.seen == [b"good", b"poison"]
        assert (ended.alert, ended.exit_code) == (INTERNAL_ERROR, 1)
        assert [type(error) for error in server.errors] == [OpenSSL.SSL.Error]
        assert unraisable == [(failure, served[-1])]


def _ask_for_certificates(context: Any, ca_file: Path) -> None:
    context.load_verify_locations(str(ca_file))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)


def _identity_of_client(connection: Any, data: Any) -> bytes:
    """A generate callback: the e-mail address in the client's certificate."""
    certificate = connection.get_peer_certificate().to_cryptography()  # as in every pyOpenSSL
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return str(names.get_values_for_type(x509.RFC822Name)[0]).encode()
