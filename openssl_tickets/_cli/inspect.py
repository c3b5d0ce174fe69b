"""Prints what a session file holds: ``openssl-tickets inspect``."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from openssl_tickets._cli.output import complain, words_of
from openssl_tickets._cli.parser import parser_of
from openssl_tickets._core.session import MAX_ENCODED, Session
from openssl_tickets._testing.certificates import printable, subject

_DESCRIPTION = """\
Prints what a session file holds. `openssl s_client -sess_out`, `openssl
sess_id`, Session.to_pem() and Session.to_der() write such files. The secret
that resumes the session, its ticket and its application data are printed only
with --secrets."""

_EPILOG = """\
examples:
  openssl s_client -connect localhost:4433 -ign_eof -sess_out session.pem
  openssl-tickets inspect session.pem
  openssl-tickets inspect --json session.pem
  openssl-tickets inspect --secrets - < session.pem

"valid" compares the session's lifetime with this machine's clock. Only the
server knows whether it still takes the ticket.

A client's session has a ticket, and the application data is encrypted in it. A
server's session has the application data, and no ticket. The key name is the
first 16 bytes of the ticket: servers with OpenSSL put it there.

fields of --json, null if there is no value:
  file, format (pem, der), encoded_size, protocol, cipher, created, lifetime
  (seconds), expires, valid, lifetime_hint, timeout, resumes (ticket, session
  id), has_ticket, ticket_size, key_name, session_id, server_name, alpn,
  max_early_data, appdata_size, peer_certificate (subject, sha256, size)
With --secrets there are also secret, ticket and appdata, in hexadecimal. Times
are seconds since the Epoch.

exit status: 0 if the session was printed; 1 if the file cannot be read or holds
no session; 2 if the command line is wrong."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command that *arguments* name, and returns the exit status."""
    parser = parser_of("inspect", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "file", metavar="FILE", help="the session, PEM or DER; - for standard input"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--secrets",
        action="store_true",
        help="also print the secret, the ticket and the application data. Keep them as secret as a "
        "private key: they resume the session, and may decrypt it",
    )
    options = parser.parse_args(arguments)
    try:
        data = _read(options.file)
        fields = _fields(options.file, data, options.secrets)
    except (OSError, ValueError) as error:
        complain(printable(words_of(error)))
        return 1
    print(json.dumps(fields, indent=2) if options.json else _text(fields))
    return 0


def _read(path: str) -> bytes:
    if path == "-":
        if sys.stdin is None:
            raise ValueError("-: the standard input is closed")
        data = sys.stdin.buffer.read(MAX_ENCODED + 1)
    else:
        with open(path, "rb") as file:
            data = file.read(MAX_ENCODED + 1)
    if not data:
        raise ValueError(f"{path} is empty")
    if len(data) > MAX_ENCODED:
        raise ValueError(f"{path} is too large to be a session: more than {MAX_ENCODED} bytes")
    return data


def _fields(path: str, data: bytes, with_secrets: bool) -> dict[str, Any]:
    is_pem = b"-----BEGIN " in data
    try:
        session = Session.from_pem(data) if is_pem else Session.from_der(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    der = session.to_der()
    ticket = session.ticket
    # A TLS 1.3 client uses only the hint. In TLS 1.2, most servers send one.
    hint = session.ticket_lifetime_hint
    has_hint = bool(hint) or (session.has_ticket and session.protocol == "TLSv1.3")
    lifetime = hint if has_hint else session.timeout
    expires = session.time + lifetime
    certificate = session.peer_certificate_der
    alpn = session.alpn_selected
    fields: dict[str, Any] = {
        "file": path,
        "format": "pem" if is_pem else "der",
        "encoded_size": len(der),
        "protocol": session.protocol,
        "cipher": session.cipher,
        "created": session.time,
        "lifetime": lifetime,
        "expires": expires,
        "valid": time.time() < expires,
        "lifetime_hint": hint if session.has_ticket else None,
        "timeout": session.timeout,
        "resumes": _resumes(session),
        "has_ticket": session.has_ticket,
        "ticket_size": len(ticket),
        "key_name": session.key_name.hex() or None,
        "session_id": session.session_id.hex() or None,
        "server_name": _text_of(session.server_name),
        "alpn": _text_of(alpn),
        "max_early_data": session.max_early_data,
        "appdata_size": len(session.ticket_appdata),
        "peer_certificate": certificate
        and {
            "subject": subject(certificate),
            "sha256": hashlib.sha256(certificate).hexdigest(),
            "size": len(certificate),
        },
    }
    if with_secrets:
        fields.update(
            secret=_secret(der).hex(), ticket=ticket.hex(), appdata=session.ticket_appdata.hex()
        )
    return fields


def _resumes(session: Session) -> str | None:
    """Returns what a client offers to resume the session, or None if it cannot be resumed."""
    if not session.is_resumable:
        return None
    return "ticket" if session.has_ticket else "session id"


def _text_of(name: bytes | None) -> str | None:
    return None if name is None else name.decode(errors="backslashreplace")


def _secret(der: bytes) -> bytes:
    """
    Returns the secret of a session that libssl has encoded.

    It is the fifth value, after the version, the protocol, the cipher and the session id.

    Raises:
        ValueError: the fifth value is not an OCTET STRING.
    """
    _, content, _ = _part(der)
    for _ in range(4):
        _, _, content = _part(content)
    tag, secret, _ = _part(content)
    if tag != 4:  # OCTET STRING
        raise ValueError("this libssl encodes sessions in another way: the secret was not found")
    return secret


def _part(der: bytes) -> tuple[int, bytes, bytes]:
    """Returns the tag and the content of the first value in *der*, and the bytes after it."""
    tag, length, begin = der[0], der[1], 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[2:begin], "big")
    return tag, der[begin : begin + length], der[begin + length :]


def _text(fields: dict[str, Any]) -> str:
    """Returns *fields* for people."""
    hint, certificate = fields["lifetime_hint"], fields["peer_certificate"]
    state = "still valid" if fields["valid"] else "over"
    rows = [
        (
            "session",
            f"{fields['file']}, {fields['format'].upper()}, {fields['encoded_size']} bytes",
        ),
        ("resumes", _sentence(fields)),
        ("protocol", f"{fields['protocol']}, {fields['cipher']}"),
        ("created", _date(fields["created"])),
        ("expires", f"{_date(fields['expires'])}, after {fields['lifetime']} seconds: {state}"),
        ("lifetime hint", "none" if hint is None else f"{hint} seconds"),
        ("timeout", f"{fields['timeout']} seconds"),
        ("ticket", f"{fields['ticket_size']} bytes" if fields["has_ticket"] else "none"),
        ("key name", fields["key_name"]),
        ("session id", fields["session_id"]),
        ("server name", fields["server_name"]),
        ("ALPN", fields["alpn"]),
        ("early data", f"{fields['max_early_data']} bytes at most"),
        ("application data", f"{fields['appdata_size']} bytes"),
        ("peer", certificate and f"{certificate['subject']}, {certificate['size']} bytes"),
        ("peer's SHA-256", certificate and certificate["sha256"]),
    ]
    if "secret" in fields:
        rows += [
            ("secret", fields["secret"]),
            ("ticket itself", fields["ticket"]),
            ("the data itself", fields["appdata"]),
        ]
    return "\n".join(f"{name + ':':<18}{printable(value or 'none')}" for name, value in rows)


def _sentence(fields: dict[str, Any]) -> str:
    if fields["resumes"] is None:
        return "nothing: it has neither a ticket nor a session id, or cannot be resumed"
    whose = f" with {fields['server_name']}" if fields["server_name"] else ""
    return f"a {fields['protocol']} connection{whose}, by its {fields['resumes']}"


def _date(seconds: int) -> str:
    try:
        date = datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, OSError, ValueError):  # the session is made up
        return f"{seconds} seconds after 1970"
    return date.strftime("%Y-%m-%d %H:%M:%S UTC")
