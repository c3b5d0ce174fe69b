"""A TLS server for scripts and for trying things out: ``openssl-tickets serve``."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import queue
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from openssl_tickets import OPENSSL_VERSION, TicketKey, TicketKeys
from openssl_tickets._cli.output import is_terminal, printing, words_of
from openssl_tickets._cli.serve.arguments import check, make_parser
from openssl_tickets._cli.serve.events import Events, complain, note
from openssl_tickets._cli.serve.libraries import CannotServe
from openssl_tickets._cli.serve.lines import as_json, as_text
from openssl_tickets._cli.serve.policy import Policy, policy_of
from openssl_tickets._cli.serve.visits import Visits
from openssl_tickets._testing.certificates import make_certificate
from openssl_tickets._testing.server import Server
from openssl_tickets.ticket_key_files import load_ticket_keys, watch_ticket_keys

_GRACE = 5.0  # seconds that open connections have to end when the server stops
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str]) -> int:
    """Runs the command that *arguments* name, and returns the exit status."""
    parser = make_parser()
    if {"-h", "--help"}.intersection(arguments):
        return printing(lambda: bool(parser.parse_args(arguments)))
    options = parser.parse_args(arguments)
    check(options, parser.error)
    if sys.stdout is None:
        complain("nobody reads the events: the standard output is closed")
        return 1
    line_of = as_text if is_terminal(sys.stdout) and not options.json else as_json
    with contextlib.ExitStack() as at_the_end:
        # A policy may print too. Its output must not mix with the events.
        at_the_end.callback(setattr, sys, "stdout", sys.stdout)
        descriptor, sys.stdout = sys.stdout.fileno(), sys.stderr
        policy = policy_of(options, parser.error)
        at_the_end.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: note(f"warning: {message}")
        try:
            events = functools.partial(Events, descriptor, line_of)
            ended_well = _serve(options, policy, events, at_the_end)
        except (
            CannotServe,
            OSError,
            ValueError,
            ImportError,
            RuntimeError,
            OverflowError,
        ) as error:
            complain(words_of(error) or type(error).__name__)
            return 1
    if not ended_well:
        # Python's normal exit would wait for stuck threads, and would flush a broken pipe.
        os._exit(1)
    return 0


def _serve(
    options: argparse.Namespace,
    policy: Policy,
    make_events: Callable[[Callable[[], object]], Events],
    at_the_end: contextlib.ExitStack,
) -> bool:
    """Serves until it is stopped. Returns whether all threads ended and all events were written."""
    reasons: queue.SimpleQueue[str] = queue.SimpleQueue()  # safe in a signal handler
    events = make_events(lambda: reasons.put("output"))
    at_the_end.enter_context(_signals(reasons, events))
    keys = _ticket_keys(options, at_the_end)
    certificate = Path(options.cert) if options.cert else _made(at_the_end)
    visits = Visits(options, policy, certificate, keys, events.tell)
    server = Server(
        visits.serve,
        options.host,
        options.port,
        limit=options.timeout,
        connections=options.connections,
        ended=lambda: reasons.put("connections"),
    )
    events.tell(
        "listening",
        host=server.host,
        port=server.port,
        library=options.library,
        openssl=OPENSSL_VERSION,
        certificate=str(certificate),
    )
    reason = None
    while reason is None:
        events.look()
        with contextlib.suppress(queue.Empty):
            reason = reasons.get(timeout=0.5)
    events.hurry(_GRACE)
    server.end(_GRACE)
    stuck = server.close()
    if stuck:
        complain(f"the policy does not return: {', '.join(stuck)}")
    events.tell("stopped", reason=reason, connections=server.taken)
    return not stuck and not events.are_lost


@contextlib.contextmanager
def _signals(reasons: queue.SimpleQueue[str], events: Events) -> Iterator[None]:
    """Lets signals stop the server, also while it waits for a reader that has stalled."""

    def stop(number: int, _: object) -> None:
        reasons.put(signal.Signals(number).name)
        events.hurry(_GRACE)

    # A program that a shell starts in the background ignores SIGINT. A script may send it, so it is
    # handled here in any case. nohup makes a program ignore SIGHUP on purpose, so that stays.
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


def _made(at_the_end: contextlib.ExitStack) -> Path:
    return make_certificate(
        at_the_end.enter_context(tempfile.TemporaryDirectory(prefix="openssl_tickets-serve-"))
    )


def _ticket_keys(options: argparse.Namespace, at_the_end: contextlib.ExitStack) -> TicketKeys:
    # A ring with a random key does what libssl does by itself, and its key name is known.
    keys = TicketKeys([TicketKey.generate()])
    if options.keys is not None:
        load = functools.partial(
            load_ticket_keys,
            options.keys_format or "nginx",
            options.keys,
            aes=options.keys_aes,
        )
        at_the_end.enter_context(watch_ticket_keys(keys, load, options.keys))
    return keys
