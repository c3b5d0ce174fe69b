"""Each section's combinations, played through with a client; what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import openssl_tickets
from openssl_tickets import Error, Session, TicketReturn
from tests.conformance.server import Files, Server
from tests.conformance.table import Case, Outcome


class Connection(Protocol):
    """A connection after its handshake, or after the alert that ended it."""

    server: Any
    errors: list[str]

    @property
    def alert(self) -> str | None: ...
    @property
    def tickets(self) -> int: ...
    @property
    def session(self) -> Session: ...
    @property
    def reused(self) -> bool: ...
    def read(self, tickets: int) -> None: ...
    def write(self) -> None: ...
    def tell(self) -> None: ...
    def ask(self) -> None: ...
    def close(self) -> None: ...


Connect = Callable[..., Connection]  # (server, offered=None, wants_ticket=True)


def observe(section: str, case: Case, files: Files, connect: Connect) -> Outcome:
    """Plays *case* through, and returns what came of it."""
    return _SECTIONS[section](case, files, connect)


def _answers(case: Case, files: Files, connect: Connect) -> Outcome:
    server = Server(case, files)
    if case["key"] != "none":
        server.answer_for_keys(1, 1)
    offered = _ticket(case, files, server, connect)
    if case["returns"] != "None":
        server.policy.returns = TicketReturn[case["returns"]]
        if case["callbacks"] in ("none", "generate"):
            # As near to it as can be: a decrypt that would return it was set a moment ago.
            server.set_callbacks("decrypt")
            server.set_callbacks(case["callbacks"])
    if case["key"] != "none":
        server.answer_for_keys(1, int(case["key"]))
    return _outcome(server, connect(server, offered, wants_ticket=_is_wanted(case)))


def _is_wanted(case: Case) -> bool:
    # A TLS 1.3 client cannot say that it wants no ticket; it has none to offer, that is all.
    return (case["version"], case["status"]) != ("1.2", "NONE")


def _ticket(case: Case, files: Files, server: Server, connect: Connect) -> Session | None:
    """Returns the ticket that leads to the status, or comes nearest to that."""
    if case["status"] in ("NONE", "EMPTY"):
        return None
    if case["status"] == "NO_DECRYPT" and case["key"] == "none":
        return _issued(Server(case, files), connect)  # another context has other keys
    issued = _issued(server, connect)
    if case["status"] == "NO_DECRYPT" and case["key"] != "0":
        return _damaged(issued)  # the callback has its key, but it does not open this
    return issued


def _issued(server: Server, connect: Connect) -> Session:
    """Returns a client's session after a full handshake."""
    connection = connect(server)
    connection.close()
    server.policy.forget()
    return connection.session


def _damaged(session: Session) -> Session:
    """Returns the session with another last byte in its ticket."""
    ticket = session.ticket
    assert ticket is not None
    other = ticket[:-1] + bytes([ticket[-1] ^ 1])
    return Session.from_der(session.to_der().replace(ticket, other))


def _keys(case: Case, files: Files, connect: Connect) -> Outcome:
    server = Server(case, files)
    server.answer_for_keys(1, 1)
    offered = _issued(server, connect) if case["ticket"] == "good" else None
    server.answer_for_keys(int(case["encrypts"]), int(case["decrypts"]))
    return _outcome(server, connect(server, offered))


def _outcome(server: Server, connection: Connection) -> Outcome:
    connection.close()
    return _seen(server, connection, connection.tickets, connection.errors)


def _seen(server: Server, connection: Connection, tickets: int, errors: list[str]) -> Outcome:
    policy, callbacks = server.policy, server.case["callbacks"]
    assert not policy.wrong, policy.wrong
    if callbacks in ("none", "decrypt"):
        assert policy.generated == 0, "generate ran where it is not set"
    if callbacks in ("none", "generate"):
        assert not policy.statuses, "decrypt ran where it is not set"
    if connection.alert is not None:
        handshake = f"alert {connection.alert}"
    else:
        handshake = "resumed" if connection.reused else "full"
    return Outcome(
        handshake=handshake,
        tickets=tickets,
        generate=policy.generated if callbacks in ("generate", "both") else None,
        decrypt=tuple(policy.statuses) if callbacks in ("decrypt", "both") else None,
        raises=", ".join(errors) or None,
    )


def _counts(case: Case, files: Files, connect: Connect) -> Outcome:
    event = case["event"]
    server = Server(case, files, asks_later=event.startswith("certificate"))
    offered = _issued(server, connect) if "resumed" in event else None
    if case["number"] != "default":
        openssl_tickets.set_num_tickets(server.context, int(case["number"]))
    connection = connect(server, offered)
    if event in ("full", "resumed"):
        return _outcome(server, connection)
    before = connection.tickets
    server.policy.forget()
    errors: list[str] = []
    try:
        _happens(event, connection)
    except Error as error:
        errors.append(type(error).__name__)
        connection.ask()  # the connection goes on
    connection.close()
    return _seen(server, connection, connection.tickets - before, errors)


def _happens(event: str, connection: Connection) -> None:
    """Lets *event* happen on a connection, and the client read what there is then."""
    if event.startswith("certificate"):
        if event.endswith("3 set before"):
            openssl_tickets.set_num_tickets(connection.server, 3)
        openssl_tickets.verify_client_post_handshake(connection.server)
        connection.server.do_handshake()
        connection.write()  # the client has read the request by then
        connection.ask()
        return
    requests = int(event[0])
    for _ in range(requests):
        openssl_tickets.new_session_ticket(connection.server)
    if event.endswith("write"):
        connection.write()
    elif event.endswith("do_handshake"):
        connection.server.do_handshake()
        connection.read(requests)
    elif event.endswith("read"):
        connection.tell()
        connection.read(requests)
    else:
        connection.read(0)


_SECTIONS: dict[str, Callable[[Case, Files, Connect], Outcome]] = {
    "answers": _answers,
    "keys": _keys,
    "counts": _counts,
}
