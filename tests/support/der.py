"""Reads and changes the fields in the DER of a session."""

from __future__ import annotations

from openssl_tickets import Session

# The positions of the first fields in OpenSSL's SSL_SESSION_ASN1. These are never left out.
SSL_VERSION, CIPHER, SESSION_ID, MASTER_KEY = 1, 2, 3, 4
TICKET = 0xAA  # its tag, [10]


def with_ticket(session: Session, ticket: bytes) -> Session:
    """Returns *session* with another ticket. A client can offer it with a correct binder."""
    changed = Session.from_der(
        sequence(
            [
                (tag, encoded(0x04, ticket) if tag == TICKET else value)
                for tag, value in fields_of(session.to_der())
            ]
        )
    )
    assert changed.ticket == ticket
    return changed


def secret_of(session: Session) -> bytes:
    """Returns the secret of a session. In TLS 1.3, a client's is the PSK of its ticket."""
    return fields_of(session.to_der())[MASTER_KEY][1]


def fields_of(der: bytes) -> list[tuple[int, bytes]]:
    """Returns the tags and values in a DER sequence."""
    (tag, rest), behind = _field(der)
    assert (tag, behind) == (0x30, b"")
    fields = []
    while rest:
        field, rest = _field(rest)
        fields.append(field)
    return fields


def _field(der: bytes) -> tuple[tuple[int, bytes], bytes]:
    """Returns the first tag and value in *der*, and the bytes after them."""
    tag, size, start = der[0], der[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(der[2:start], "big")
    return (tag, der[start : start + size]), der[start + size :]


def sequence(fields: list[tuple[int, bytes]]) -> bytes:
    """Returns the DER sequence of *fields*."""
    return encoded(0x30, b"".join(encoded(tag, value) for tag, value in fields))


def encoded(tag: int, value: bytes) -> bytes:
    """Returns one field in DER."""
    size = len(value)
    if size < 0x80:
        return bytes([tag, size]) + value
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + value
