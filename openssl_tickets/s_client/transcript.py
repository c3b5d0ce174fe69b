"""Parses what s_client writes to its three pipes, as it comes."""

from __future__ import annotations

import re
import struct

from openssl_tickets.s_client.result import Alert, SClientResult, Ticket

# `-msg` writes a line that names the message, and then its bytes in hex, 16 on a line.
_MESSAGE = re.compile(rb"<<< (\S+ \S+), (Handshake|Alert) \[length ([0-9a-f]{1,8})\]")

# Handshake messages, by their first byte, RFC 8446, 4 and RFC 5246, 7.4.
_SERVER_HELLO, _NEW_SESSION_TICKET, _ENCRYPTED_EXTENSIONS, _FINISHED = 2, 4, 8, 20
# A server sends one of these in a full handshake: ServerHelloDone in TLS 1.2, CertificateVerify in
# TLS 1.3. It sends neither in a resumption.
_OF_A_FULL_HANDSHAKE = (14, 15)

_ALPN, _EARLY_DATA = 16, 42  # extensions

# `-brief` writes these lines to standard error after the handshake.
_COMPLETED = re.compile(rb"^CONNECTION ESTABLISHED\nProtocol version: (\S+)\n", re.MULTILINE)
_VERIFICATION = re.compile(rb"^Verification(?: error)?: (.*)$", re.MULTILINE)
_VERIFY_ERROR = re.compile(rb"^verify error:num=(\d{1,9}):(.*)$", re.MULTILINE)
_NOT_SAVED = b"Error writing session file "
_UNSPECIFIED = 1  # X509_V_ERR_UNSPECIFIED

_FATAL = 2
_ALERT_NAMES = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    21: "decryption_failed",
    22: "record_overflow",
    30: "decompression_failure",
    40: "handshake_failure",
    41: "no_certificate",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    60: "export_restriction",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    90: "user_canceled",
    100: "no_renegotiation",
    109: "missing_extension",
    110: "unsupported_extension",
    111: "certificate_unobtainable",
    112: "unrecognized_name",
    113: "bad_certificate_status_response",
    114: "bad_certificate_hash_value",
    115: "unknown_psk_identity",
    116: "certificate_required",
    120: "no_application_protocol",
}


class Transcript:
    """Standard output (the server's data), standard error, and the protocol messages."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self.data = bytearray()
        #: Whether a TLS message was sent or received, so that there is a connection.
        self.connected = False
        self.ended = False
        self._output = bytearray()
        self._stderr = bytearray()
        self._line = b""  # the last line of the protocol messages, which is not complete
        self._message: _Message | None = None
        self._alert: Alert | None = None
        self._full_handshake = False
        self._finished = False
        self._alpn: str | None = None
        self._early_data_accepted = False

    def feed(self, stdout: bytes, stderr: bytes, messages: bytes) -> None:
        """Adds output. *stderr* and *messages* hold everything that was written before *stdout*."""
        if messages:
            self.connected = True
            *lines, self._line = (self._line + messages).split(b"\n")
            for line in lines:
                self._feed_line(line)
        self._output += stderr + stdout
        self._stderr += stderr
        self.data += stdout

    def _feed_line(self, line: bytes) -> None:
        if not line.startswith(b" "):
            found = _MESSAGE.match(line)
            self._message = _Message(found) if found else None
        elif self._message:
            self._message.body += bytes.fromhex(line.decode())
            if len(self._message.body) == self._message.length:
                self._take(self._message)

    def _take(self, message: _Message) -> None:
        """Evaluates a message of the server."""
        body = bytes(message.body)
        if message.is_alert:
            self._alert = _alert(body) or self._alert
        elif body[0] == _NEW_SESSION_TICKET:
            self.tickets += _tickets(body[4:], message.is_tls13)
        elif body[0] == _FINISHED:
            self._finished = True
        elif body[0] in _OF_A_FULL_HANDSHAKE and not self._finished:
            self._full_handshake = True
        elif body[0] in (_SERVER_HELLO, _ENCRYPTED_EXTENSIONS):
            self._take_extensions(_extensions(body))

    def _take_extensions(self, extensions: dict[int, bytes]) -> None:
        # With -brief, s_client does not report these two. These are its lines without -brief.
        if _ALPN in extensions:  # a list of one name, after two lengths
            self._alpn = extensions[_ALPN][3:].decode("ascii", "backslashreplace")
            self._output += f"ALPN protocol: {self._alpn}\n".encode()
        if _EARLY_DATA in extensions:
            self._early_data_accepted = True
            self._output += b"Early data was accepted\n"

    @property
    def session_is_lost(self) -> bool:
        """Whether the program could not write the file of *sess_out*."""
        return _NOT_SAVED in self._stderr

    def text(self) -> str:
        return self._output.decode(errors="backslashreplace")

    def result(self, exit_code: int) -> SClientResult:
        completed = _COMPLETED.search(self._stderr) if self._finished else None
        verified = _VERIFICATION.search(self._stderr, completed.end()) if completed else None
        error = verified[1] if verified and verified[1] != b"OK" else None
        return SClientResult(
            tickets=tuple(self.tickets),
            reused=not self._full_handshake if completed else None,
            protocol=completed[1].decode() if completed else None,
            alert=self._alert,
            verify_code=(self._code_of(error) if error else 0) if completed else None,
            verify_error=error.decode() if error else None,
            exit_code=exit_code,
            output=self.text(),
            alpn=self._alpn if completed else None,
            early_data_accepted=self._early_data_accepted,
        )

    def _code_of(self, error: bytes) -> int:
        """Returns the number of a verify *error*. In a resumption, s_client does not print it."""
        codes = {words: int(code) for code, words in _VERIFY_ERROR.findall(self._stderr)}
        return codes.get(error, _UNSPECIFIED)


class _Message:
    """A message of the server, while it is being read."""

    def __init__(self, found: re.Match[bytes]) -> None:
        self.is_tls13 = found[1] == b"TLS 1.3"
        self.is_alert = found[2] == b"Alert"
        self.length = int(found[3], 16)
        self.body = bytearray()


def _alert(body: bytes) -> Alert | None:
    """Returns the alert if it is fatal, else None."""
    level, number = body[0], body[-1]
    return Alert(number, _ALERT_NAMES.get(number, "unknown")) if level == _FATAL else None


def _tickets(body: bytes, is_tls13: bool) -> list[Ticket]:
    """Returns the ticket of a NewSessionTicket, or nothing if it is empty or incomplete."""
    at = 4
    if is_tls13:  # an age and a nonce come before the ticket
        at += 5 + int.from_bytes(body[8:9], "big")
    length = int.from_bytes(body[at : at + 2], "big")
    ticket = body[at + 2 : at + 2 + length]
    if not ticket or len(ticket) != length:
        return []
    return [Ticket(lifetime_hint=int.from_bytes(body[:4], "big"), ticket=ticket)]


def _extensions(body: bytes) -> dict[int, bytes]:
    """Returns the extensions of a ServerHello or an EncryptedExtensions message."""
    at = 4
    if body[0] == _SERVER_HELLO:  # version, random, session id, cipher suite, compression
        at += 2 + 32
        at += 1 + int.from_bytes(body[at : at + 1], "big") + 2 + 1
    left = body[at + 2 :]
    found = {}
    while len(left) >= 4:
        kind, length = struct.unpack_from("!HH", left)
        found[kind] = left[4 : 4 + length]
        left = left[4 + length :]
    return found
