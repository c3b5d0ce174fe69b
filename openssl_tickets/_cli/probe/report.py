"""Prints what a survey has found, as JSON or for people."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from openssl_tickets._cli.output import GREEN, RED, YELLOW, coloured
from openssl_tickets._cli.probe.survey import Findings, Handshake, Survey
from openssl_tickets._testing.certificates import printable

_KEY_NAMES_SHOWN = 5
_WHEN = {"handshake": "with the handshake", "data": "with the first data"}


def fields_of(survey: Survey, target: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields for JSON: the target, and what was found."""
    fields = {**target, **dataclasses.asdict(survey)}
    for told, findings in zip(fields["versions"], survey.versions, strict=True):
        told["rate"] = round(findings.rate, 4)
    return fields


def text_of(survey: Survey, target: dict[str, Any]) -> str:
    """Returns what was found, for people."""
    starttls = f", STARTTLS for {target['starttls']}" if target["starttls"] else ""
    name = f", asked for {target['server_name']}" if target["server_name"] else ""
    lines = [
        f"{target['host']}, port {target['port']}, at {survey.address}{starttls}{name}",
        f"The server chooses {survey.negotiated}. Its certificate is not verified.",
    ]
    for findings in survey.versions:
        lines += ["", findings.protocol]
        lines += [f"  {what and what + ':':<20}{words}" for what, words in _rows(findings)]
    if not survey.complete:
        lines += ["", "The time is over (see --limit): not all connections were made."]
    return "\n".join(lines)


def _rows(findings: Findings) -> Iterator[tuple[str, str]]:
    if findings.error is not None:
        yield "not available", printable(findings.error)
        return
    yield "cipher suite", str(findings.cipher)
    yield "full handshake", _handshake(findings.full_handshake)
    if findings.resumes_by is None:
        yield "resumption", _red("not possible: there is neither a ticket nor a session id")
        return
    if findings.resumption is None:
        yield "resumption", _red("refused")
    else:
        yield "resumption", _handshake(findings.resumption)
    yield "resumes by", findings.resumes_by
    if findings.full_handshake is not None and findings.full_handshake.lifetime_hints:
        hints = sorted(set(findings.full_handshake.lifetime_hints))
        yield "lifetime hint", f"{' or '.join(map(str, hints))} seconds"
    twice = {True: "taken again", False: "refused the second time", None: "not tried"}
    yield "same ticket twice", twice[findings.taken_twice]
    yield "resumed", _resumed(findings)
    yield from _key_names(findings)
    for address, resumed in findings.other_addresses.items():
        words = {True: "takes the ticket", False: _red("refuses the ticket"), None: _red("failed")}
        yield address, words[resumed]


def _handshake(handshake: Handshake | None) -> str:
    if handshake is None or not handshake.tickets:
        return "no ticket"
    plural = "s" if handshake.tickets > 1 else ""
    when = ", then ".join(_WHEN[each] for each in dict.fromkeys(handshake.when))
    return f"{handshake.tickets} ticket{plural}, {when}"


def _resumed(findings: Findings) -> str:
    words = f"{findings.resumed} of {findings.connections}"
    if findings.failed:
        words += f" ({findings.failed} failed, the last one: {printable(str(findings.last_error))})"
    colour = GREEN if findings.resumed == findings.connections else YELLOW
    return coloured(words, colour if findings.resumed else RED, sys.__stdout__)


def _key_names(findings: Findings) -> Iterator[tuple[str, str]]:
    names = findings.key_names
    different = len({each.key_name for each in names})
    if not names:
        return
    if different == findings.tickets_seen > 2:
        yield "key names", "another in each ticket: the server does not name its keys there"
        return
    changes = len(names) - 1
    yield "key names", f"{different}, changed {changes} time{'' if changes == 1 else 's'}"
    for each in names[:_KEY_NAMES_SHOWN]:
        where = f"{each.first}" if each.first == each.last else f"{each.first} to {each.last}"
        yield "", f"{each.key_name} in connection {where}"
    if len(names) > _KEY_NAMES_SHOWN:
        yield "", f"and {len(names) - _KEY_NAMES_SHOWN} more, see --json"


def _red(text: str) -> str:
    return coloured(text, RED, sys.__stdout__)


def failures(survey: Survey, options: argparse.Namespace) -> list[str]:
    """Returns a sentence for each version that resumed less than ``--expect-resumed``."""
    if options.expect_resumed is None:
        return []
    if all(findings.error is not None for findings in survey.versions):
        return [f"nothing was resumed: {survey.negotiated} is not a version that is looked at"]
    return [
        f"{findings.protocol}: resumed {findings.resumed} of {findings.connections}, which is less "
        f"than {options.expect_resumed:g}"
        for findings in survey.versions
        if (findings.error is None or not survey.complete)
        and findings.rate < options.expect_resumed
    ]
