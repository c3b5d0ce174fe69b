"""What the driver reports of a connection, against the real program and real servers."""

from __future__ import annotations

import pickle
import re
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from openssl_tickets import Session, TicketReturn
from openssl_tickets.s_client import Alert, SClientEnded, SClientError, run
from tests.support import native

Server = Callable[..., AbstractContextManager[int]]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "session.pem"


def ticket_in(session_file: Path) -> bytes:
    return Session.from_pem(session_file.read_bytes()).ticket


class TestTickets:
    """The tickets, and whether one was used."""

    def test_tls13(self, ca_file: Path, s_server: Server, saved: Path) -> None:
        """Both tickets of a TLS 1.3 handshake are reported, and the last is the one in sess_out."""
        with s_server() as port:
            seen = run(
                "127.0.0.1", port, tls_version="1.3", ca_file=ca_file, sess_out=saved, tickets=2
            )
        first, second = seen.tickets
        assert second.ticket == ticket_in(saved)
        assert first.ticket != second.ticket
        assert first.key_name == second.key_name == first.ticket[:16]
        assert first.lifetime_hint == second.lifetime_hint == 7200
        assert (seen.reused, seen.protocol, seen.alert) == (False, "TLSv1.3", None)
        assert (seen.verify_code, seen.verify_error, seen.exit_code) == (0, None, 0)
        assert (seen.alpn, seen.early_data_accepted, seen.missing) == (None, False, ())
        assert "Verification: OK" in seen.output

    def test_tls12(self, s_server: Server, saved: Path) -> None:
        """The ticket of a TLS 1.2 handshake is reported, and it is the one in sess_out."""
        with s_server() as port:
            seen = run("127.0.0.1", port, tls_version="1.2", sess_out=saved, tickets=1)
        (ticket,) = seen.tickets
        assert ticket.ticket == ticket_in(saved)
        assert ticket.lifetime_hint == 7200
        assert (seen.reused, seen.protocol, seen.exit_code) == (False, "TLSv1.2", 0)

    def test_none(self, s_server: Server, version: Any) -> None:
        """A reply that came without a ticket before it proves that there was none."""
        with s_server("-num_tickets", "0", "-no_ticket") as port:
            seen = run("127.0.0.1", port, tls_version=version, send=b"ping\n", wait_for=b"gnip\n")
        assert (seen.tickets, seen.exit_code) == ((), 0)

    def test_resumption(self, s_server: Server, saved: Path, version: Any) -> None:
        """A session is resumed from sess_in; TLS 1.3 brings one new ticket, TLS 1.2 none."""
        tickets = 1 if version == "1.3" else 0
        with s_server() as port:
            first = run("127.0.0.1", port, tls_version=version, sess_out=saved, tickets=1)
            seen = run(
                "127.0.0.1", port, tls_version=version, sess_in=saved, send=b"ab\n", wait_for=b"ba"
            )
        assert (first.reused, seen.reused) == (False, True)
        assert len(seen.tickets) == tickets

    def test_renewal_in_tls12(self, python_server: Server, saved: Path) -> None:
        """The new ticket of a TLS 1.2 resumption with a renewal is reported."""

        def renew(connection: object, ticket: object, data: object) -> TicketReturn | None:
            return TicketReturn.USE_RENEW if getattr(ticket, "session", None) else None

        def set_up(context: Any) -> None:
            context.set_session_ticket_callback(None, renew)

        with python_server(set_up=set_up) as port:
            first = run("127.0.0.1", port, tls_version="1.2", sess_out=saved, tickets=1)
            second = run("127.0.0.1", port, tls_version="1.2", sess_in=saved, tickets=1)
        assert second.reused is True
        assert len(second.tickets) == 1
        assert second.tickets != first.tickets

    def test_empty_ticket_in_tls12(self, python_server: Server, saved: Path) -> None:
        """An empty ticket is none, and the client's old one is not listed in its place."""
        contexts: list[Any] = []
        with python_server(lambda each: each.sendall(b"hello"), contexts.append) as port:
            answers = native.lib.set_ticket_key_answers
            answers(contexts[0]._context, 1, 1)
            run("127.0.0.1", port, tls_version="1.2", sess_out=saved, tickets=1)
            answers(contexts[0]._context, 0, 2)  # opens the ticket, and makes an empty one
            seen = run(
                "127.0.0.1", port, tls_version="1.2", sess_in=saved, wait_for=b"hello", check=False
            )
        assert (seen.reused, seen.tickets, seen.missing) == (True, (), ())

    @pytest.mark.parametrize("length", [*range(1, 17), 60_000])
    def test_of_any_length(
        self, python_server: Server, saved: Path, version: Any, length: int
    ) -> None:
        """A ticket of any length is read as libssl reads it."""

        def set_up(context: Any) -> None:
            context.set_session_ticket_callback(lambda *_: b"x" * length)

        with python_server(set_up=set_up) as port:
            number = 2 if version == "1.3" else 1
            seen = run("127.0.0.1", port, tls_version=version, tickets=number, sess_out=saved)
        assert seen.tickets[-1].ticket == ticket_in(saved)
        assert len(seen.tickets[-1].ticket) > length


class TestTheRest:
    """The certificate, the names, the application protocol, the result itself."""

    def test_untrusted_certificate(self, s_server: Server, saved: Path, version: Any) -> None:
        """A server that no CA vouches for is reported, in a resumption as in the handshake."""
        with s_server() as port:
            options: Any = {
                "tls_version": version,
                "extra_args": ["-no-CAfile", "-no-CApath"],
                "tickets": 1,
            }
            seen = run("127.0.0.1", port, sess_out=saved, **options)
            options["tickets"] = 0
            resumed = run("127.0.0.1", port, sess_in=saved, send=b"a\n", wait_for=b"a", **options)
        assert resumed.reused
        assert seen.verify_code in {20, 21}
        assert seen.verify_error == "unable to verify the first certificate"
        assert seen.exit_code == 0
        assert (resumed.verify_code, resumed.verify_error) == (seen.verify_code, seen.verify_error)

    @pytest.mark.slow
    @pytest.mark.parametrize("how", ["exec sleep 60", 'rm "$0"; exec openssl "$@"'])
    def test_no_verify_result(
        self, s_server: Server, saved: Path, tmp_path: Path, how: str
    ) -> None:
        """A program that does not tell how a session was verified costs that, and nothing else."""
        program = tmp_path / "openssl"
        when = "sess_id" if "sleep" in how else "s_client"
        program.write_text(f'#!/bin/sh\n[ "$1" != {when} ] || {{ {how}; }}\nexec openssl "$@"\n')
        program.chmod(0o755)
        options: Any = {"tls_version": "1.2", "extra_args": ["-no-CAfile", "-no-CApath"]}
        with s_server() as port:
            seen = run("127.0.0.1", port, sess_out=saved, tickets=1, **options)
            resumed = run(
                "127.0.0.1",
                port,
                sess_in=saved,
                send=b"a\n",
                wait_for=b"a",
                program=program,
                timeout=3,
                **options,
            )
        assert resumed.reused
        assert (seen.verify_code, resumed.verify_code) == (21, 1)  # 1: an unspecified error

    def test_server_name(self, python_server: Server) -> None:
        """The server is asked for the name that was given, and for none without one."""
        names: list[bytes | None] = []
        with python_server(lambda each: names.append(each.get_servername())) as port:
            run("127.0.0.1", port, server_name="a.example", tickets=1)
            run("localhost", port, extra_args=["-4"], tickets=1)
        assert names == [b"a.example", None]

    def test_client_certificate(self, ca_file: Path, client_file: Path, s_server: Server) -> None:
        """A server that demands a client certificate gets the one that was given."""
        with s_server("-Verify", "1", "-CAfile", str(ca_file)) as port:
            seen = run("127.0.0.1", port, cert_file=client_file, key_file=client_file, tickets=2)
        assert (len(seen.tickets), seen.alert) == (2, None)

    def test_ipv6(self, s_server: Server) -> None:
        """An IPv6 address is a host like any other."""
        with s_server(address="[::1]:0") as port:
            assert len(run("::1", port, tls_version="1.3", tickets=2).tickets) == 2

    def test_application_protocol(self, s_server: Server, version: Any) -> None:
        """The protocol that the server chose is in the result."""
        with s_server("-alpn", "h3,h2") as port:
            seen = run(
                "127.0.0.1", port, tls_version=version, tickets=1, extra_args=["-alpn", "h2,h3"]
            )
        assert seen.alpn == "h3"
        assert "ALPN protocol: h3\n" in seen.output

    def test_early_data(self, s_server: Server, saved: Path, tmp_path: Path) -> None:
        """Whether early data was accepted is in the result."""
        early = tmp_path / "early"
        early.write_bytes(b"first\n")
        with s_server("-early_data", "-no_anti_replay", answers=None) as port:
            run("127.0.0.1", port, tls_version="1.3", sess_out=saved, tickets=2)
            seen = run(
                "127.0.0.1", port, sess_in=saved, tickets=1, extra_args=["-early_data", str(early)]
            )
        assert (seen.reused, seen.early_data_accepted) == (True, True)
        assert "Early data was accepted\n" in seen.output

    def test_plain_frozen_data(self, s_server: Server) -> None:
        """A result compares by value, cannot be changed, and does not show what was sent."""
        with s_server() as port:
            seen = run("127.0.0.1", port, send=b"secret\n", wait_for=b"terces\n")
        assert pickle.loads(pickle.dumps(seen)) == seen
        assert replace(seen, exit_code=1) != seen
        assert "terces" in seen.output
        assert "terces" not in repr(seen)
        with pytest.raises(FrozenInstanceError):
            seen.exit_code = 1  # type: ignore[misc]

    @pytest.mark.parametrize("where", ["no-such-folder/session.pem", "."])
    def test_unwritable_sess_out(self, s_server: Server, tmp_path: Path, where: str) -> None:
        """A session that could not be written is an error that names the file."""
        path = tmp_path / where
        with (
            s_server() as port,
            pytest.raises(SClientError, match=re.escape(f"sess_out {path!r}")),
        ):
            run("127.0.0.1", port, sess_out=path, tickets=1)


class TestServerThatEnds:
    """Connections that the server ends, or refuses."""

    def test_nothing_comes(self, s_server: Server) -> None:
        """All that was waited for and did not come is in the error, or in the result."""
        options: Any = {"send": b"CLOSE\n", "tickets": 3, "wait_for": b"never"}
        with s_server("-num_tickets", "1") as port:
            with pytest.raises(SClientEnded, match="ended before ticket number 3 ") as error:
                run("127.0.0.1", port, **options)
            seen = run("127.0.0.1", port, **options, check=False)
        assert seen.missing == ("ticket number 3", "b'never' from the server")
        assert (len(seen.tickets), seen.exit_code, seen.alert) == (1, 0, None)
        assert error.value.result.missing == seen.missing
        assert error.value.output == error.value.result.output
        assert pickle.loads(pickle.dumps(error.value)).result == error.value.result

    def test_a_part_comes(self, s_server: Server) -> None:
        """What came is not missing, though something before it is."""
        with s_server() as port:
            seen = run(
                "127.0.0.1",
                port,
                send=b"ping\nCLOSE\n",
                tickets=3,
                wait_for=b"gnip\n",
                check=False,
            )
        assert seen.missing == ("ticket number 3",)

    def test_a_cut_connection(self, python_server: Server) -> None:
        """A connection that is cut without a close_notify ends with exit code 1."""
        with python_server(lambda each: each.sock_shutdown(socket.SHUT_RDWR)) as port:
            seen = run("127.0.0.1", port, wait_for=b"never", check=False)
        assert (seen.exit_code, seen.alert, seen.protocol) == (1, None, "TLSv1.3")
        assert seen.missing == ("b'never' from the server",)

    @pytest.mark.parametrize(
        ("tls_version", "alert", "protocol"),
        [
            ("1.2", Alert(40, "handshake_failure"), None),
            ("1.3", Alert(116, "certificate_required"), "TLSv1.3"),
        ],
    )
    def test_alert(
        self, ca_file: Path, s_server: Server, tls_version: Any, alert: Alert, protocol: str | None
    ) -> None:
        """The alert for a missing client certificate is in the result, and in the error."""
        with s_server("-Verify", "1", "-CAfile", str(ca_file)) as port:
            words = f"exit code 1, alert {alert.number} {alert.name}, tickets: 0"
            with pytest.raises(SClientEnded, match=words) as error:
                run("127.0.0.1", port, tls_version=tls_version, tickets=1)
        seen = error.value.result
        assert (seen.alert, seen.exit_code, seen.tickets) == (alert, 1, ())
        assert (seen.protocol, seen.reused) == (protocol, None if protocol is None else False)
        assert (seen.verify_code is None) == (protocol is None)
