"""A client of libgnutls: connects a few times, and prints what it saw as lines of JSON."""

from __future__ import annotations

import ctypes
import json
import socket
import struct
import sys
from ctypes import byref, c_char_p, c_int, c_uint, c_void_p
from typing import Any

CLIENT, CERTIFICATE, PEM, DNS = 2, 1, 1, 1  # as in gnutls.h, and those below
NEW_SESSION_TICKET, AFTER = 4, 1
SHUT_RDWR = 0
FATAL_ALERT_RECEIVED = -12

Hook = ctypes.CFUNCTYPE(c_int, c_void_p, c_uint, c_uint, c_uint, c_void_p)

gnutls = ctypes.CDLL("libgnutls.so.30")
gnutls.gnutls_strerror.restype = c_char_p
gnutls.gnutls_alert_get_name.restype = c_char_p
gnutls.gnutls_record_send.restype = gnutls.gnutls_record_recv.restype = ctypes.c_ssize_t
gnutls.gnutls_record_send.argtypes = [c_void_p, c_char_p, ctypes.c_size_t]
gnutls.gnutls_record_recv.argtypes = [c_void_p, c_char_p, ctypes.c_size_t]
gnutls.gnutls_server_name_set.argtypes = [c_void_p, c_int, c_char_p, ctypes.c_size_t]
gnutls.gnutls_session_set_data.argtypes = [c_void_p, c_char_p, ctypes.c_size_t]


class Datum(ctypes.Structure):
    _fields_ = (("data", ctypes.POINTER(ctypes.c_ubyte)), ("size", c_uint))


class Failure(Exception):
    """What libgnutls says of a call that failed."""


def connect(
    port: int, version: str, credentials: c_void_p, kept: bytes | None
) -> tuple[dict[str, Any], bytes | None]:
    """Returns what was seen, and the session to offer the next time."""
    seen: dict[str, Any] = {
        "connected": False,
        "resumed": False,
        "tickets": 0,
        "data": "",
        "error": "",
    }
    session = c_void_p()

    def count(*_: Any) -> int:
        seen["tickets"] += 1
        return 0

    hook = Hook(count)

    def call(function: Any, *arguments: Any) -> int:
        """Calls until it succeeds, or for good fails."""
        while (result := int(function(session, *arguments))) < 0:
            if not gnutls.gnutls_error_is_fatal(result):
                continue
            message = gnutls.gnutls_strerror(result).decode()
            if result == FATAL_ALERT_RECEIVED:
                alert = gnutls.gnutls_alert_get_name(gnutls.gnutls_alert_get(session)).decode()
                message = f"received alert: {alert}"
            raise Failure(message)
        return result

    with socket.create_connection(("127.0.0.1", port)) as plain:
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            plain.setsockopt(socket.SOL_SOCKET, direction, struct.pack("ll", 20, 0))
        gnutls.gnutls_init(byref(session), CLIENT)
        try:
            priority = f"NORMAL:-VERS-ALL:+VERS-TLS{version}".encode()
            call(gnutls.gnutls_priority_set_direct, priority, None)
            call(gnutls.gnutls_credentials_set, CERTIFICATE, credentials)
            call(gnutls.gnutls_server_name_set, DNS, b"localhost", len(b"localhost"))
            gnutls.gnutls_session_set_verify_cert(session, b"localhost", 0)
            gnutls.gnutls_transport_set_int2(session, plain.fileno(), plain.fileno())
            gnutls.gnutls_handshake_set_hook_function(session, NEW_SESSION_TICKET, AFTER, hook)
            if kept is not None:
                call(gnutls.gnutls_session_set_data, kept, len(kept))
            call(gnutls.gnutls_handshake)
            seen["connected"] = True
            seen["resumed"] = bool(gnutls.gnutls_session_is_resumed(session))
            call(gnutls.gnutls_record_send, b"hello\n", len(b"hello\n"))
            buffer = ctypes.create_string_buffer(1000)
            while not seen["data"].endswith("\n"):
                length = call(gnutls.gnutls_record_recv, buffer, len(buffer))
                if not length:
                    raise Failure("the server has closed the connection")
                seen["data"] += buffer.raw[:length].decode()
            datum = Datum()
            call(gnutls.gnutls_session_get_data2, byref(datum))
            kept = ctypes.string_at(datum.data, datum.size)
            call(gnutls.gnutls_bye, SHUT_RDWR)
        except Failure as failure:
            seen["error"] = str(failure)
        finally:
            gnutls.gnutls_deinit(session)
    return seen, kept


def main(port: str, version: str, ca_file: str, connections: str) -> None:
    credentials = c_void_p()
    gnutls.gnutls_certificate_allocate_credentials(byref(credentials))
    if gnutls.gnutls_certificate_set_x509_trust_file(credentials, ca_file.encode(), PEM) != 1:
        sys.exit(f"no certificate in {ca_file}")
    kept = None
    for _ in range(int(connections)):
        seen, kept = connect(int(port), version, credentials, kept)
        print(json.dumps(seen), flush=True)
        if seen["error"]:
            sys.exit(1)


main(*sys.argv[1:])
