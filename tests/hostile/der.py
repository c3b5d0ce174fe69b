"""The DER of a session, to put another ticket into one."""

from __future__ import annotations

from openssl_tickets import Session

# The tag of the ticket in OpenSSL's SSL_SESSION_ASN1.
_TICKET = 0xAA


def with_ticket(session: Session, ticket: bytes) -> Session:
    """Returns *session* with another ticket: a client offers it, with a right binder for it."""
    fields = [
        (tag, _encoded(0x04, ticket) if tag == _TICKET else value)
        for tag, value in _fields(session.to_der())
    ]
    changed = Session.from_der(_encoded(0x30, b"".join(_encoded(*field) for field in fields)))
    assert changed.ticket == ticket
    return changed


def secret_of(session: Session) -> bytes:
    """Returns the secret of a session; a client's in TLS 1.3 is its ticket's PSK."""
    octets = [value for tag, value in _fields(session.to_der()) if tag == 0x04]
    # The cipher, the session id, the secret.
    return octets[2]


def _fields(der: bytes) -> list[tuple[int, bytes]]:
    (tag, rest), behind = _field(der)
    assert (tag, behind) == (0x30, b"")
    fields = []
    while rest:
        field, rest = _field(rest)
        fields.append(field)
    return fields


def _field(der: bytes) -> tuple[tuple[int, bytes], bytes]:
    tag, size, start = der[0], der[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(der[2:start], "big")
    return (tag, der[start : start + size]), der[start + size :]


def _encoded(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 0x80:
        return bytes([tag, size]) + value
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + value
