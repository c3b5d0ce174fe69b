"""Writes the events as lines: JSON for programs, sentences for people."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from typing import Any

from openssl_tickets._cli.output import GREEN, RED, YELLOW, coloured
from openssl_tickets._testing.certificates import printable

_COLOURS = {"resumption": GREEN, "refusal": YELLOW, "error": RED}


def as_json(event: str, fields: dict[str, Any]) -> str:
    """Returns an event as one JSON object."""
    return json.dumps({"event": event, **fields})


def as_text(event: str, fields: dict[str, Any]) -> str:
    """Returns an event for people. It escapes what a client has sent."""
    words = "\n".join(map(printable, _SENTENCES[event](fields)))
    connection = fields.get("connection")
    text = words if connection is None else f"#{connection} {words}"
    # Events go to the real standard output. sys.stdout is replaced, for the policy's own output.
    colour = _COLOURS.get(event)
    return text if colour is None else coloured(text, colour, sys.__stdout__)


def _listening(fields: dict[str, Any]) -> list[str]:
    host, port = fields["host"], fields["port"]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    at = f"[{reachable}]:{port}" if ":" in reachable else f"{reachable}:{port}"
    trusted = shlex.quote(fields["certificate"])
    return [
        f"Listening on {host}, port {port}, with {fields['library']} on {fields['openssl']}.",
        f"Connect: openssl s_client -connect {at} -CAfile {trusted} -ign_eof",
        "Stop: Ctrl-C",
    ]


def _handshake(fields: dict[str, Any]) -> list[str]:
    kind = "resumed" if fields["resumed"] else "full handshake"
    name = fields["server_name"]
    client = fields["client"]
    return [
        f"{kind}, {fields['tls']}, {fields['cipher']}"
        + (f", for {name}" if name is not None else "")
        + (f", client {client['subject']}" if client else "")
    ]


def _offer(what: str, fields: dict[str, Any]) -> list[str]:
    answer = fields["answer"] or "OpenSSL's"
    return [
        f"  {what}: key {fields['key_name']}, {fields['status']}, answer {answer}{_data(fields)}"
    ]


def _data(fields: dict[str, Any]) -> str:
    if not fields["appdata_hex"]:
        return ""
    text = fields["appdata"]
    return f", carries {text!r}" if text is not None else f", carries hex {fields['appdata_hex']}"


def _closed(fields: dict[str, Any]) -> list[str]:
    count = fields["tickets"]
    return [
        f"closed{'' if fields['ok'] else ' after an error'}: {count} "
        f"ticket{'' if count == 1 else 's'}, {fields['received']} bytes received, "
        f"{fields['sent']} sent, {fields['seconds']} seconds"
    ]


_SENTENCES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "listening": _listening,
    "handshake": _handshake,
    "resumption": lambda fields: _offer("ticket used", fields),
    "refusal": lambda fields: _offer("ticket not used", fields),
    "ticket": lambda fields: [f"  new ticket: key {fields['key_name']}{_data(fields)}"],
    "error": lambda fields: ["{kind} error in the {during}: {error}".format_map(fields)],
    "closed": _closed,
    "stopped": lambda fields: [
        f"Stopped ({fields['reason']}), connections: {fields['connections']}"
    ],
}
