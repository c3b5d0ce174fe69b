"""A TLS server for scripts and for trying out: ``python -m openssl_tickets serve``."""

from __future__ import annotations

import argparse
import binascii
import contextlib
import hashlib
import importlib.util
import json
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol, TextIO, cast

import openssl_tickets
from openssl_tickets import ReceivedTicket, TicketKey, TicketKeys, TicketReturn, TicketStatus
from openssl_tickets._cli.keys import FORMATS, load_keys
from openssl_tickets._testing.certificates import make_certificate, subject
from openssl_tickets.ticket_key_files import watch_ticket_keys

_MAX_CLIENTS = 100  # at a time; more wait for their turn
_LINGER = 2.0  # seconds that a client has to take the end of what it was sent
_GRACE = 5.0  # seconds for a policy's callback to return, once all else is over
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SESSION_ID_CONTEXT = b"openssl_tickets serve"

_DESCRIPTION = """\
A TLS server for scripts and for trying out. It makes a certificate of its own where none is given,
and prints one JSON object per line for each thing that happens; all else goes to standard error.

A client is sent a line ("full handshake" or "resumed", unless --reply or --echo tells otherwise)
and then the connection is closed, so `s_client -ign_eof` ends by itself, with all its tickets."""

_EPILOG = """\
examples:
  A server on a free port, for two connections; its first line of output tells the port:
    python -m openssl_tickets serve --connections 2
  Its client, once for a ticket, and once with it:
    openssl s_client -connect localhost:4433 -ign_eof -sess_out session.pem
    openssl s_client -connect localhost:4433 -ign_eof -sess_in session.pem
  One ticket, with data in it, for TLS 1.3 only:
    python -m openssl_tickets serve --port 4433 --tls 1.3 --tickets 1 --appdata alice
  Each ticket that comes back is refused, and replaced:
    python -m openssl_tickets serve --port 4433 --answer ignore-renew
  A policy of one's own:
    python -m openssl_tickets serve --port 4433 --policy policy.py
  Clients with certificates, and keys that nginx has too:
    python -m openssl_tickets serve --port 4433 --cert server.pem --client-ca ca.pem \\
        --keys ticket.key

a policy is a Python file that defines one or both of
  def generate(connection, data): ...         # the new ticket's data: bytes, or None
  def decrypt(connection, ticket, data): ...  # a TicketReturn, or None for OpenSSL's own answer
as for openssl_tickets.set_session_ticket_callback, and, if it likes, `data`, which both are given.
They run in several threads. What they raise ends the connection, and the server goes on.

events, each with "event", and with "connection" (a number) where it is of one connection:
  listening   host, port, library, openssl, certificate (a file that clients can trust)
  handshake   tls, cipher, resumed, server_name, client ({"subject", "sha256"} or null)
  resumption  key_name, status, answer, appdata, appdata_hex: of the ticket that was used
  refusal     the same, of a ticket that was not used
  ticket      key_name, appdata, appdata_hex: of a ticket that was made for the client
  error       kind (policy, tls, connection, timeout), during (handshake, conversation), error
  closed      ok, tickets, received, sent, seconds: each connection has this, as its last
  stopped     reason (connections, SIGINT, ...), connections: the very last
"answer" is the policy's, as USE_RENEW or "exception", and null where OpenSSL decided by itself;
"appdata" is null where the data is not text, and both are where the ticket could not be opened.

exit status: 0 after a signal or --connections; 1 where it could not serve, or nobody reads its
output any more; 2 for a wrong command line, or a policy that does not load."""

_ANSWERS: dict[str, TicketReturn | None] = {
    "default": None,
    **{answer.name.lower().replace("_", "-"): answer for answer in TicketReturn},
}
_USES = (None, TicketReturn.USE, TicketReturn.USE_RENEW)


def main(arguments: Sequence[str]) -> int:
    """Runs the command that *arguments* name, and returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(options, parser.error)
    # What a policy prints is not one of our events.
    output, sys.stdout = sys.stdout, sys.stderr
    server = None
    try:
        with contextlib.ExitStack() as at_the_end:
            policy = _policy(options, parser.error)
            server = _Server(options, policy, output)
            at_the_end.enter_context(server.stopped_by_signals())
            at_the_end.enter_context(warnings.catch_warnings())
            warnings.simplefilter("always")
            warnings.showwarning = _show_warning
            status = server.run(at_the_end)
    except _CannotServe as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        sys.stdout = output
    if server.is_stuck or status:
        # A thread cannot be ended from outside, and a broken pipe cannot be flushed.
        os._exit(1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m openssl_tickets serve",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    add("--port", type=_number(0, 65535), default=0, help="the port (default: 0, a free one)")
    add(
        "--library",
        choices=["ssl", "pyopenssl"],
        default="ssl",
        help="what serves: the standard ssl, or pyOpenSSL (default: %(default)s)",
    )
    add("--tls", choices=["1.2", "1.3"], help="the only version (default: both)")
    add("--cert", metavar="FILE", help="certificates, PEM (default: a self-signed one is made)")
    add("--key", metavar="FILE", help="the private key, PEM (default: it is in --cert too)")
    add("--client-ca", metavar="FILE", help="ask for a client certificate that one of these signed")
    add(
        "--client-cert",
        choices=["required", "optional"],
        help="whether a client must have one (default: required, where there is --client-ca)",
    )
    group = parser.add_argument_group("tickets")
    add = group.add_argument
    add(
        "--tickets",
        type=_number(0, 1000),
        metavar="N",
        help="how many a TLS 1.3 client gets after a full handshake (default: OpenSSL's 2); in "
        "TLS 1.2 there is one",
    )
    add(
        "--appdata",
        type=_appdata,
        metavar="DATA",
        help="application data for all tickets: a text, @FILE, or hex:0011ff",
    )
    add(
        "--answer",
        choices=list(_ANSWERS),
        help="the answer to each ticket that comes back; use and use-renew hold for those of ours "
        "(default: OpenSSL's own)",
    )
    add("--policy", metavar="FILE.py", help="a Python file that decides, see below")
    add("--keys", metavar="FILE", help="ticket keys, from FILE (default: a new random one)")
    add(
        "--keys-format",
        choices=FORMATS,
        help="the program whose file it is (default: nginx); FILE.1, FILE.2, ... are read too "
        "where it has one key per file, and all is read again when FILE changes",
    )
    group = parser.add_argument_group("what is served")
    add = group.add_argument
    add("--reply", metavar="TEXT", help="the line that each client is sent")
    add("--echo", action="store_true", help="send back what comes, until the client closes")
    add(
        "--connections",
        type=_number(1, sys.maxsize),
        metavar="N",
        help="stop after so many, failed ones too (default: only a signal stops it)",
    )
    add(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="for each connection as a whole (default: %(default)g)",
    )
    return parser


def _number(smallest: int, largest: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not smallest <= value <= largest:
            raise argparse.ArgumentTypeError(f"from {smallest} to {largest}, not {value}")
        return value

    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 86400:  # nan neither
        raise argparse.ArgumentTypeError(f"more than 0 seconds, and at most a day, not {text}")
    return seconds


def _appdata(text: str) -> bytes:
    try:
        if text.startswith("@"):
            with open(text[1:], "rb") as file:
                return file.read(1 << 20)
        if text.startswith("hex:"):
            return binascii.unhexlify(text[4:])
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return os.fsencode(text)


def _check(options: argparse.Namespace, usage_error: Callable[[str], NoReturn]) -> None:
    for name, needed in (("key", "cert"), ("client_cert", "client_ca"), ("keys_format", "keys")):
        if getattr(options, name) is not None and getattr(options, needed) is None:
            both = (text.replace("_", "-") for text in (name, needed))
            usage_error("--{} is of no use without --{}".format(*both))
    if options.echo and options.reply is not None:
        usage_error("--reply and --echo exclude each other")


class _CannotServe(Exception):
    """What it needs to begin is missing."""


class _Stopped(Exception):
    """The server is to stop, in the middle of a connection."""


class _Policy(NamedTuple):
    generate: Callable[[Any, Any], Any] | None
    decrypt: Callable[[Any, ReceivedTicket, Any], Any] | None
    data: Any


def _policy(options: argparse.Namespace, usage_error: Callable[[str], NoReturn]) -> _Policy:
    """Returns what decides on tickets: options, or the functions of a file."""
    generate = decrypt = data = None
    if options.policy is not None:
        names = _load(options.policy, usage_error)
        generate, decrypt, data = (names.get(name) for name in ("generate", "decrypt", "data"))
        for name, function in (("generate", generate), ("decrypt", decrypt)):
            if function is not None and not callable(function):
                usage_error(f"--policy {options.policy}: its {name} is not a function")
        if generate is None and decrypt is None:
            usage_error(f"--policy {options.policy}: it defines neither generate nor decrypt")
    if options.appdata is not None:
        if generate is not None:
            usage_error("--appdata is of no use with a --policy that defines generate")
        generate = _fixed(options.appdata)
    if options.answer is not None:
        if decrypt is not None:
            usage_error("--answer is of no use with a --policy that defines decrypt")
        decrypt = _fixed_answer(_ANSWERS[options.answer])
    return _Policy(generate, decrypt, data)


def _load(path: str, usage_error: Callable[[str], NoReturn]) -> dict[str, Any]:
    """Runs a Python file, with its folder first on the path, and returns its names."""
    file = os.path.abspath(path)
    spec = importlib.util.spec_from_file_location("policy", file)
    if spec is None or spec.loader is None:
        usage_error(f"--policy {path}: it is not a Python file, FILE.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(file))
    sys.modules["policy"] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        # Where it is in the file, but not what is ours above it.
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file
        ]
        where = f", line {frames[-1].lineno}" if frames else ""
        what = "".join(traceback.format_exception_only(error)).strip()
        usage_error(f"--policy {path} does not load{where}: {what}")
    return vars(module)


def _fixed(appdata: bytes) -> Callable[[Any, Any], bytes]:
    return lambda connection, data: appdata


def _fixed_answer(
    answer: TicketReturn | None,
) -> Callable[[Any, ReceivedTicket, Any], TicketReturn | None]:
    def decrypt(connection: Any, ticket: ReceivedTicket, data: Any) -> TicketReturn | None:
        if ticket.status == TicketStatus.EMPTY:  # in TLS 1.2: it asks for its first
            return None
        # A ticket of somebody else's cannot be used, whatever is answered.
        return None if ticket.appdata is None and answer in _USES else answer

    return decrypt


@dataclass
class _Offer:
    """A ticket that a client has sent."""

    ticket: ReceivedTicket
    answer: str | None = None

    def event(self) -> dict[str, Any]:
        return {
            "key_name": self.ticket.key_name.hex(),
            "status": self.ticket.status.name,
            "answer": self.answer,
            **_told(self.ticket.appdata),
        }


@dataclass
class _Visit:
    """What is known of a connection; the callbacks find it by their thread."""

    number: int
    offers: list[_Offer] = field(default_factory=list)
    tickets: list[dict[str, Any]] = field(default_factory=list)
    server_name: str | None = None
    policy_failed: bool = False
    sent: int = 0
    received: int = 0


class _Server:
    """It takes connections in the main thread, and serves each in a thread of its own."""

    def __init__(self, options: argparse.Namespace, policy: _Policy, output: TextIO) -> None:
        self.is_stuck = False
        self._options = options
        self._policy = policy
        self._output = output
        self._lock = threading.Lock()
        self._here = threading.local()
        self._reason: str | None = None
        # Once it has been written to, it stays readable, for all threads.
        self._stop, self._stop_writer = os.pipe()
        self._connections = 0
        self._threads: list[threading.Thread] = []

    @contextlib.contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        def stop(number: int, _: object) -> None:
            self.stop(signal.Signals(number).name)

        # A shell has what it puts into the background ignore SIGINT, but a script may send it.
        # SIGHUP is ignored on purpose, by nohup.
        before = {
            number: signal.signal(number, stop)
            for number in _STOP_SIGNALS
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._stop)
            os.close(self._stop_writer)

    def stop(self, reason: str) -> None:
        """Has all threads come to an end; a signal handler may call it."""
        if self._reason is None:
            self._reason = reason
            os.write(self._stop_writer, b"!")

    def _is_stopping(self) -> bool:
        return self._reason is not None

    def run(self, at_the_end: contextlib.ExitStack) -> int:
        """Serves until it is stopped; returns the exit status."""
        options = self._options
        try:
            certificate = Path(options.cert) if options.cert else self._made(at_the_end)
            make_tls = _LIBRARIES[options.library](options, certificate, self._name_asked)
            self._keys = self._ticket_keys(at_the_end)
            openssl_tickets.set_ticket_keys(make_tls.context, self._keys)
            if options.tickets is not None:
                openssl_tickets.set_num_tickets(make_tls.context, options.tickets)
            openssl_tickets.set_session_ticket_callback(
                make_tls.context, self._generate, self._decrypt
            )
            family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
            listener = socket.create_server((options.host, options.port), family=family)
        except (OSError, ValueError, ImportError, RuntimeError, OverflowError) as error:
            raise _CannotServe(str(error) or type(error).__name__) from error
        with listener:
            host, port = listener.getsockname()[:2]
            self._tell(
                "listening",
                host=host,
                port=port,
                library=options.library,
                openssl=openssl_tickets.OPENSSL_VERSION,
                certificate=str(certificate),
            )
            self._accept(listener, make_tls)
        self._join()
        self._tell("stopped", reason=self._reason or "connections", connections=self._connections)
        return 1 if self._reason == "output" else 0

    def _made(self, at_the_end: contextlib.ExitStack) -> Path:
        folder = at_the_end.enter_context(
            tempfile.TemporaryDirectory(prefix="openssl_tickets-serve-")
        )
        return make_certificate(folder)

    def _ticket_keys(self, at_the_end: contextlib.ExitStack) -> TicketKeys:
        options = self._options
        # Always a ring, so that the name of the key is known. It does what libssl does by itself.
        keys = TicketKeys([TicketKey.generate()])
        if options.keys is not None:
            load = lambda: load_keys(options.keys, options.keys_format or "nginx")  # noqa: E731
            at_the_end.enter_context(watch_ticket_keys(keys, load, options.keys))
        return keys

    def _tell(self, event: str, **fields: Any) -> None:
        """Prints an event, in one piece."""
        line = json.dumps({"event": event, **fields}) + "\n"
        with self._lock:
            if self._reason == "output":
                return
            try:
                self._output.write(line)
                self._output.flush()
            except OSError as error:
                print(f"error: nobody reads the events: {error}", file=sys.stderr)
                self.stop("output")
                self._reason = "output"

    def _accept(self, listener: socket.socket, make_tls: _MakeTLS) -> None:
        listener.setblocking(False)
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        while not self._is_stopping() and self._connections != self._options.connections:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) >= _MAX_CLIENTS:
                poll.poll(50)
                continue
            poll.register(listener, select.POLLIN)
            poll.poll()
            poll.unregister(listener)
            if self._is_stopping():
                return
            try:
                plain, _ = listener.accept()
            except (BlockingIOError, ConnectionError):
                continue  # it has left already
            except OSError as error:
                print(f"error: no connection could be taken: {error}", file=sys.stderr)
                time.sleep(0.1)
                continue
            self._connections += 1
            thread = threading.Thread(
                target=self._serve,
                args=(plain, make_tls, self._connections),
                name=f"connection {self._connections}",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError as error:
                plain.close()
                print(f"error: no thread for a connection: {error}", file=sys.stderr)
            else:
                self._threads.append(thread)

    def _join(self) -> None:
        """Waits for all connections; each is bounded in time, but for what a policy does."""
        end = time.monotonic() + self._options.timeout + _LINGER + _GRACE
        stopping = False
        for thread in self._threads:
            while thread.is_alive() and time.monotonic() < end:
                thread.join(0.05)
                if self._is_stopping() and not stopping:
                    stopping = True
                    end = min(end, time.monotonic() + _GRACE)
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        if stuck:
            self.is_stuck = True
            print(f"error: the policy does not return: {', '.join(stuck)}", file=sys.stderr)

    def _serve(self, plain: socket.socket, make_tls: _MakeTLS, number: int) -> None:
        """Serves one connection; whatever happens is told, and ends here."""
        began = time.monotonic()
        visit = self._here.visit = _Visit(number)
        during = "handshake"
        ok = False
        with plain:
            link = None
            try:
                link = _Link(plain, make_tls.tls(), self._stop, self._options.timeout)
                link.run(link.tls.handshake)
                during = "conversation"
                self._tell_handshake(visit, link.tls)
                self._converse(visit, link)
                ok = True
            except _Stopped:
                pass
            except BaseException as error:
                if during == "handshake":
                    for offer in visit.offers:
                        self._tell("refusal", connection=number, **offer.event())
                self._tell_error(visit, make_tls, during, error)
            if link is not None:
                link.end(ok)
        if during == "handshake":
            visit.tickets.clear()
        self._tell(
            "closed",
            connection=number,
            ok=ok,
            tickets=len(visit.tickets),
            received=visit.received,
            sent=visit.sent,
            seconds=round(time.monotonic() - began, 3),
        )

    def _converse(self, visit: _Visit, link: _Link) -> None:
        if not self._options.echo:
            reply = self._options.reply
            if reply is None:
                reply = "resumed" if _is_resumed(link) else "full handshake"
            data = os.fsencode(reply) + b"\n"
            link.run(lambda: link.tls.write(data))
            visit.sent += len(data)
            return
        while data := link.read():
            visit.received += len(data)
            link.run(lambda: link.tls.write(data))
            visit.sent += len(data)

    def _tell_handshake(self, visit: _Visit, tls: _TLS) -> None:
        resumed = openssl_tickets.session_reused(tls.connection)
        session = openssl_tickets.get_session(tls.connection)
        client = session.peer_certificate_der if session is not None else None
        self._tell(
            "handshake",
            connection=visit.number,
            tls=tls.version(),
            cipher=tls.cipher(),
            resumed=resumed,
            server_name=visit.server_name,
            client=client
            and {"subject": subject(client), "sha256": hashlib.sha256(client).hexdigest()},
        )
        # libssl stops asking when one is used, so that is the last.
        for number, offer in enumerate(visit.offers, 1):
            used = resumed and number == len(visit.offers)
            name = "resumption" if used else "refusal"
            self._tell(name, connection=visit.number, **offer.event())
        for ticket in visit.tickets:
            self._tell("ticket", connection=visit.number, **ticket)

    def _tell_error(
        self, visit: _Visit, make_tls: _MakeTLS, during: str, error: BaseException
    ) -> None:
        if visit.policy_failed:
            kind = "policy"
        elif isinstance(error, TimeoutError):
            kind = "timeout"
        elif isinstance(error, make_tls.errors):
            kind = "tls"
        elif isinstance(error, OSError):
            kind = "connection"
        else:
            kind = "policy"  # what it returned was refused
        text = make_tls.text_of(error) if kind == "tls" else f"{type(error).__name__}: {error}"
        self._tell("error", connection=visit.number, kind=kind, during=during, error=text)

    # What follows runs within the handshake, in the connection's thread.

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
            here = error.__traceback__  # and after this come the policy's lines
            traceback.print_exception(type(error), error, here and here.tb_next)
            raise


def _is_resumed(link: _Link) -> bool:
    return openssl_tickets.session_reused(link.tls.connection)


def _told(appdata: bytes | None) -> dict[str, str | None]:
    """Returns application data for an event: as text if it is one, and in hexadecimal."""
    text = None
    if appdata is not None:
        with contextlib.suppress(UnicodeDecodeError):
            text = appdata.decode()
    return {"appdata": text, "appdata_hex": None if appdata is None else appdata.hex()}


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


class _Link:
    """A TLS connection and its socket, with memory between them: so all has its time."""

    def __init__(self, plain: socket.socket, tls: _TLS, stop: int, timeout: float) -> None:
        self.tls = tls
        self._plain = plain
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._has_ended = False
        self._stop = stop
        plain.setblocking(False)

    def run(self, operation: Callable[[], Any]) -> Any:
        """Returns what *operation* returns, once libssl has had what it wants to read."""
        while True:
            try:
                result = operation()
            except self.tls.wants_read:
                self._flush()
                self._fill()
            except BaseException as error:
                with contextlib.suppress(OSError, _Stopped):
                    self._flush()  # an alert tells the client
                if self._has_ended and isinstance(error, self.tls.errors):
                    raise ConnectionError("the client has ended the connection") from error
                raise
            else:
                self._flush()
                return result

    def read(self) -> bytes:
        """Returns what the client has sent, b"" at its end: with a close_notify, or without."""
        try:
            return cast(bytes, self.run(self.tls.read))
        except ConnectionError:
            if self._has_ended:
                return b""
            raise

    def end(self, says_so: bool) -> None:
        """Ends the connection such that the client has all that it was sent."""
        self._deadline = min(self._deadline, time.monotonic() + _LINGER)
        with contextlib.suppress(OSError, _Stopped):
            if says_so:
                with contextlib.suppress(self.tls.wants_read, *self.tls.errors):
                    self.tls.shutdown()
            self._flush()
            self._plain.shutdown(socket.SHUT_WR)
            # To close with something unread would tear down what is on its way to the client.
            while not self._has_ended:
                self._wait(select.POLLIN)
                self._has_ended = not self._plain.recv(1 << 16)

    def _fill(self) -> None:
        if self._has_ended:
            raise ConnectionError("the client has ended the connection")
        self._wait(select.POLLIN)
        data = self._plain.recv(1 << 16)
        self._has_ended = not data
        self.tls.give(data)

    def _flush(self) -> None:
        data = self.tls.take()
        while data:
            self._wait(select.POLLOUT)
            data = data[self._plain.send(data) :]

    def _wait(self, events: int) -> None:
        poll = select.poll()
        poll.register(self._plain, events)
        poll.register(self._stop, select.POLLIN)
        remaining = self._deadline - time.monotonic()
        ready = dict(poll.poll(remaining * 1000)) if remaining > 0 else {}
        if self._stop in ready:
            raise _Stopped
        if not ready:
            raise TimeoutError(f"the connection took longer than {self._timeout:g} seconds")


class _TLS(Protocol):
    """A server's side of a connection, in memory."""

    @property
    def connection(self) -> Any: ...
    @property
    def wants_read(self) -> type[BaseException]: ...
    @property
    def errors(self) -> tuple[type[Exception], ...]: ...
    def handshake(self) -> None: ...
    def read(self) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def shutdown(self) -> None: ...
    def take(self) -> bytes: ...
    def give(self, data: bytes) -> None: ...
    def version(self) -> str | None: ...
    def cipher(self) -> str | None: ...


@dataclass(frozen=True)
class _MakeTLS:
    """A context, and how to make connections of it."""

    context: Any
    tls: Callable[[], _TLS]
    errors: tuple[type[Exception], ...]
    text_of: Callable[[BaseException], str]


def _no_password(*_: object) -> NoReturn:
    raise ValueError("the private key is encrypted: take off its password first")


def _with_ssl(
    options: argparse.Namespace, certificate: Path, name_asked: Callable[[str | None], None]
) -> _MakeTLS:
    """The standard ``ssl``."""
    import ssl

    from openssl_tickets import stdlib

    class TLS:
        wants_read = ssl.SSLWantReadError
        errors = (ssl.SSLError,)

        def __init__(self) -> None:
            self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.connection = context.wrap_bio(self._in, self._out, server_side=True)
            self.handshake = self.connection.do_handshake
            self.take = self._out.read
            self.version = self.connection.version

        def read(self) -> bytes:
            return self.connection.read(1 << 14)

        def write(self, data: bytes) -> None:
            self.connection.write(data)

        def shutdown(self) -> None:
            self.connection.unwrap()

        def give(self, data: bytes) -> None:
            if data:
                self._in.write(data)
            else:
                self._in.write_eof()

        def cipher(self) -> str | None:
            cipher = self.connection.cipher()
            return cipher[0] if cipher else None

    def text_of(error: BaseException) -> str:
        return f"{type(error).__name__}: {getattr(error, 'reason', None) or error}"

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    openssl_tickets.get_num_tickets(context)  # it must be on our libssl
    if options.tls:
        version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[options.tls]
        context.minimum_version = context.maximum_version = version
    with _named("certificate", certificate):
        context.load_cert_chain(certificate, options.key, _no_password)
    if options.client_ca:
        with _named("client CA", options.client_ca):
            context.load_verify_locations(options.client_ca)
        optional = options.client_cert == "optional"
        context.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
    context.sni_callback = lambda connection, name, _: name_asked(name)
    stdlib.raise_callback_errors(context)
    return _MakeTLS(context, TLS, TLS.errors, text_of)


def _with_pyopenssl(
    options: argparse.Namespace, certificate: Path, name_asked: Callable[[str | None], None]
) -> _MakeTLS:
    """pyOpenSSL, put on the system's libssl."""
    try:
        from openssl_tickets import SSL
    except ImportError as error:
        raise _CannotServe(f"--library pyopenssl needs pyOpenSSL: {error}") from error

    class TLS:
        wants_read = SSL.WantReadError
        errors = (SSL.Error,)

        def __init__(self) -> None:
            self.connection = SSL.Connection(context, None)
            self.connection.set_accept_state()
            self.handshake = self.connection.do_handshake
            self.version = self.connection.get_protocol_version_name
            self.cipher = self.connection.get_cipher_name

        def read(self) -> bytes:
            try:
                return self.connection.recv(1 << 14)
            except SSL.ZeroReturnError:
                return b""

        def write(self, data: bytes) -> None:
            self.connection.sendall(data)

        def shutdown(self) -> None:
            self.connection.shutdown()

        def take(self) -> bytes:
            data = b""
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    data += self.connection.bio_read(1 << 16)
            return data

        def give(self, data: bytes) -> None:
            if data:
                self.connection.bio_write(data)
            else:
                self.connection.bio_shutdown()

    def text_of(error: BaseException) -> str:
        return f"{type(error).__name__}: {_reasons(error)}"

    def asked(connection: Any) -> None:
        name = connection.get_servername()
        name_asked(name.decode(errors="backslashreplace") if name is not None else None)

    context = SSL.Context(SSL.TLS_METHOD)
    versions = {None: SSL.TLS1_2_VERSION, "1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
    context.set_min_proto_version(versions[options.tls])
    context.set_max_proto_version(versions[options.tls or "1.3"])
    context.set_session_id(_SESSION_ID_CONTEXT)
    try:
        with _named("certificate", certificate):
            context.use_certificate_chain_file(str(certificate))
            key = Path(options.key or certificate)
            if b"ENCRYPTED" in key.read_bytes():
                _no_password()  # libssl would ask for it at the terminal
            context.use_privatekey_file(str(key))
            context.check_privatekey()
        if options.client_ca:
            with _named("client CA", options.client_ca):
                context.load_verify_locations(str(options.client_ca))
                context.load_client_ca(os.fsencode(options.client_ca))
            optional = options.client_cert == "optional"
            context.set_verify(
                SSL.VERIFY_PEER | (0 if optional else SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
            )
    except SSL.Error as error:
        raise _CannotServe(_reasons(error)) from error
    context.set_tlsext_servername_callback(asked)
    return _MakeTLS(context, TLS, TLS.errors, text_of)


_LIBRARIES: dict[str, Callable[..., _MakeTLS]] = {"ssl": _with_ssl, "pyopenssl": _with_pyopenssl}


@contextlib.contextmanager
def _named(what: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Has what goes wrong name the file."""
    try:
        with open(path, "rb"):  # libssl does not tell a missing file from an empty one
            pass
        yield
    except ValueError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise _CannotServe(f"the {what} cannot be used: {path}: {_reasons(error)}") from error


def _reasons(error: BaseException) -> str:
    """Returns pyOpenSSL's list of errors as a text."""
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(str(entry[-1]) for entry in queue) or str(error) or type(error).__name__
