"""Serves the visit of a client: its callbacks, its events, and the reply."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openssl_tickets
from openssl_tickets import ReceivedTicket, TicketKeys, TicketReturn, TicketStatus
from openssl_tickets._cli.serve.libraries import make_library, text_of
from openssl_tickets._cli.serve.policy import Policy
from openssl_tickets._testing.certificates import subject
from openssl_tickets._testing.server import Taken, accepting, read


@dataclass
class _Offer:
    """A ticket that the client offered, and the policy's answer."""

    ticket: ReceivedTicket
    answer: str | None = None

    def fields(self) -> dict[str, Any]:
        return {
            "key_name": self.ticket.key_name.hex(),
            "status": self.ticket.status.name,
            "answer": self.answer,
            **_told(self.ticket.appdata),
        }


@dataclass
class _Visit:
    """What is known of a connection. The callbacks find it through their thread."""

    number: int
    offers: list[_Offer] = field(default_factory=list)
    tickets: list[dict[str, Any]] = field(default_factory=list)
    server_name: str | None = None
    policy_failed: bool = False
    sent: int = 0
    received: int = 0


class Visits:
    """
    Serves clients, and reports what happens.

    Args:
        options: the options of the command line.
        policy: the callbacks that decide on tickets.
        certificate: the file with the server's certificate.
        keys: the keys that encrypt the tickets.
        tell: it is called with each event.

    Raises:
        CannotServe, OSError, ValueError, RuntimeError, OverflowError: the context cannot be made.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        policy: Policy,
        certificate: Path,
        keys: TicketKeys,
        tell: Callable[..., None],
    ) -> None:
        self._options = options
        self._policy = policy
        self._keys = keys
        self._tell = tell
        self._here = threading.local()
        self._library = make_library(options, certificate, self._name_asked)
        self._accept = accepting(self._library.context)
        openssl_tickets.set_ticket_keys(self._library.context, keys)
        if options.tickets is not None:
            openssl_tickets.set_num_tickets(self._library.context, options.tickets)
        openssl_tickets.set_session_ticket_callback(
            self._library.context, self._generate, self._decrypt
        )

    def serve(self, taken: Taken) -> None:
        """Serves one connection. It reports every exception, and raises none."""
        began = time.monotonic()
        visit = self._here.visit = _Visit(taken.number)
        during = "handshake"
        ok = False
        try:
            with self._accept(taken.plain, self._options.timeout) as connection:
                during = "conversation"
                self._tell_handshake(visit, connection)
                self._converse(visit, connection)
            ok = True
        except BaseException as error:
            if not taken.is_stopped:
                if during == "handshake":
                    for offer in visit.offers:
                        self._tell("refusal", connection=visit.number, **offer.fields())
                kind, text = self._told_error(visit, taken, error)
                self._tell("error", connection=visit.number, kind=kind, during=during, error=text)
        self._tell(
            "closed",
            connection=visit.number,
            ok=ok,
            tickets=0 if during == "handshake" else len(visit.tickets),
            received=visit.received,
            sent=visit.sent,
            seconds=round(time.monotonic() - began, 3),
        )

    def _converse(self, visit: _Visit, connection: Any) -> None:
        if not self._options.echo:
            reply = self._options.reply
            if reply is None:
                resumed = openssl_tickets.session_reused(connection)
                reply = "resumed" if resumed else "full handshake"
            data = os.fsencode(reply) + b"\n"
            connection.sendall(data)
            visit.sent += len(data)
            return
        while data := read(connection):
            visit.received += len(data)
            connection.sendall(data)
            visit.sent += len(data)

    def _tell_handshake(self, visit: _Visit, connection: Any) -> None:
        resumed = openssl_tickets.session_reused(connection)
        session = openssl_tickets.get_session(connection)
        client = session.peer_certificate_der if session is not None else None
        self._tell(
            "handshake",
            connection=visit.number,
            tls=self._library.version(connection),
            cipher=self._library.cipher(connection),
            resumed=resumed,
            server_name=visit.server_name,
            client=client
            and {"subject": subject(client), "sha256": hashlib.sha256(client).hexdigest()},
        )
        # libssl asks no more once a ticket is used, so the used one is the last.
        for number, offer in enumerate(visit.offers, 1):
            used = resumed and number == len(visit.offers)
            name = "resumption" if used else "refusal"
            self._tell(name, connection=visit.number, **offer.fields())
        for ticket in visit.tickets:
            self._tell("ticket", connection=visit.number, **ticket)

    def _told_error(self, visit: _Visit, taken: Taken, error: BaseException) -> tuple[str, str]:
        """Returns the kind of *error* and its text, as the "error" event has them."""
        if visit.policy_failed:
            return "policy", text_of(error)
        if taken.is_late:
            seconds = f"{self._options.timeout:g} seconds"
            return "timeout", f"TimeoutError: the connection took longer than {seconds}"
        return self._library.kind_of(error), text_of(error)

    # The functions below are callbacks. They run in the connection's thread.

    def _name_asked(self, name: str | None) -> None:
        self._here.visit.server_name = name

    def _generate(self, connection: Any, _: None) -> Any:
        visit: _Visit = self._here.visit
        appdata = None
        if self._policy.generate is not None:
            appdata = self._ask(visit, self._policy.generate, connection, self._policy.data)
        carried = appdata
        if carried is None:
            session = openssl_tickets.get_session(connection)
            carried = session.ticket_appdata if session is not None else b""
        if isinstance(carried, bytes):
            key_name = self._keys.keys[0].name.hex()
            visit.tickets.append({"key_name": key_name, **_told(carried)})
        return appdata

    def _decrypt(self, connection: Any, ticket: ReceivedTicket, _: None) -> Any:
        visit: _Visit = self._here.visit
        offer = _Offer(ticket)
        if ticket.status != TicketStatus.EMPTY:
            visit.offers.append(offer)
        if self._policy.decrypt is None:
            return None
        offer.answer = "exception"
        answer = self._ask(visit, self._policy.decrypt, connection, ticket, self._policy.data)
        if answer is None or isinstance(answer, TicketReturn):
            offer.answer = None if answer is None else answer.name
        return answer

    @staticmethod
    def _ask(visit: _Visit, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except BaseException as error:
            visit.policy_failed = True
            here = error.__traceback__  # the policy's own lines come after this one
            traceback.print_exception(type(error), error, here and here.tb_next)
            raise


def _told(appdata: bytes | None) -> dict[str, str | None]:
    """Returns application data for an event: as text if it is UTF-8, and in hexadecimal."""
    text = None
    if appdata is not None:
        with contextlib.suppress(UnicodeDecodeError):
            text = appdata.decode()
    return {"appdata": text, "appdata_hex": None if appdata is None else appdata.hex()}
