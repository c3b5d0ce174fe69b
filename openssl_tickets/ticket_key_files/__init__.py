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
``"apache"``  48    name 16, HMAC 16, AES 16 there is only one
``"envoy"``   80    name 16, HMAC 32, AES 32 the first of several files
============= ===== ======================== ====================================================

nginx and Envoy have one key per file. ``python -m openssl_tickets keys rotate FILE`` and
:func:`save_ticket_keys` keep the older keys in FILE.1, FILE.2 and so on. To read such a set, name
its first file.

The first 48 bytes of an 80-byte file of nginx look like a complete file of 48 bytes. A file that is
still being written, or was truncated, can have 48 bytes. So 48 bytes are read as a key only if you
say that the keys are for AES-128 (``aes=128``). In that case, 80 bytes are refused. To load keys of
both sizes, load one size after the other.

These programs and a Python server can resume each other's tickets if they have the same keys and
the same session id context. If the contexts differ, a ticket is decrypted and a ``decrypt``
callback gets ``SUCCESS``, but libssl still does a full handshake. This was tested with nginx 1.22
and HAProxy 2.6, in TLS 1.2 and 1.3, with keys of both sizes:

- HAProxy's context is ``b"haproxy"``. Call ``Context.set_session_id(b"haproxy")`` of pyOpenSSL to
  match it.
- nginx's context is the SHA-1 of ``b"HTTP"``, the SHA-1 of each of its own certificates in DER (not
  of those that sign them), and the SHA-1 of each name in ``ssl_client_certificate``. A pyOpenSSL
  context can be set to match it.
- The context of the standard ``ssl`` is always ``b"Python\\0"``. So ``ssl`` and these programs
  decrypt each other's tickets, and never resume them.
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
