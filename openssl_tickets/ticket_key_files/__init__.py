"""
Reads, writes and watches the ticket key files of nginx, HAProxy, Apache and Envoy.

Do not read one program's file as another's. They differ in the order of the secrets, in their
sizes, and in which key encrypts. Often the wrong file has the right size: you get no error, and no
ticket works.

============= ===== ======================== ====================================================
format        bytes layout                   the key that encrypts
============= ===== ======================== ====================================================
``"nginx"``   80    name 16, HMAC 32, AES 32 the first of several files
``"nginx"``   48    name 16, AES 16, HMAC 16 the first of several files
``"haproxy"`` 80    name 16, AES 32, HMAC 32 the last but one of the lines, which are in base64
``"haproxy"`` 48    name 16, AES 16, HMAC 16 the last but one of the lines, which are in base64
``"apache"``  48    name 16, HMAC 16, AES 16 there is one
``"envoy"``   80    name 16, HMAC 32, AES 32 the first of several files
============= ===== ======================== ====================================================

nginx and Envoy have one key per file. ``python -m openssl_tickets keys rotate FILE`` and
:func:`save_ticket_keys` keep the older keys in FILE.1, FILE.2 and so on. Such a set is read by the
name of its first file.

The first 48 bytes of an 80-byte file of nginx look like a complete file of 48 bytes, and a file
that is still being written, or was truncated, can have 48 bytes. So 48 bytes are read as a key only
if the caller says that the keys are for AES-128 (``aes=128``). Then 80 bytes are refused. To load
keys of both sizes, load one size after the other.

A ticket crosses between one of these programs and a Python server, and back, if they have the same
keys and the same session id context. If the contexts differ, a ticket is decrypted, and a
``decrypt`` callback sees ``SUCCESS``, but libssl makes a full handshake all the same. Found with
nginx 1.22 and HAProxy 2.6, in TLS 1.2 and 1.3, with keys of both sizes:

- HAProxy has ``b"haproxy"``: with ``Context.set_session_id(b"haproxy")`` of pyOpenSSL, tickets
  cross;
- nginx has the SHA-1 of ``b"HTTP"``, the SHA-1 of each of its certificates in DER (of the server's
  own, not of those that sign it), and the SHA-1 of each name in ``ssl_client_certificate``: with
  that they cross too;
- the standard ``ssl`` has ``b"Python\\0"``, with no way to set another: its tickets and those of
  nginx and HAProxy are decrypted by the other side, and resumed by neither.
"""

from openssl_tickets.ticket_key_files.files import (
    TicketKeyFileWarning,
    load_ticket_keys,
    save_ticket_keys,
)
from openssl_tickets.ticket_key_files.formats import TicketKeyFormat, encode_ticket_keys
from openssl_tickets.ticket_key_files.watching import TicketKeyWatcher, watch_ticket_keys

__all__ = [
    "TicketKeyFileWarning",
    "TicketKeyFormat",
    "TicketKeyWatcher",
    "encode_ticket_keys",
    "load_ticket_keys",
    "save_ticket_keys",
    "watch_ticket_keys",
]
