"""
Full control of TLS session tickets, through the system's libssl.

Every function takes the contexts and connections that a program already has: pyOpenSSL's, or those
of the standard library's ``ssl``. :mod:`openssl_tickets.SSL` is a drop-in for ``OpenSSL.SSL`` with
the same operations as methods.
"""

from openssl_tickets import interpreter as _interpreter  # noqa: F401 (first: it refuses others)
from openssl_tickets._libssl import lib as _lib
from openssl_tickets.errors import Error, LibraryMismatchError
from openssl_tickets.library import OPENSSL_VERSION
from openssl_tickets.num_tickets import get_num_tickets, new_session_ticket, set_num_tickets
from openssl_tickets.post_handshake_auth import (
    VERIFY_POST_HANDSHAKE,
    set_post_handshake_auth,
    verify_client_post_handshake,
)
from openssl_tickets.session import Session, get_session, session_reused, set_session
from openssl_tickets.session_cache import (
    SessionStats,
    get_session_timeout,
    session_stats,
    set_session_timeout,
)
from openssl_tickets.session_callback import (
    set_new_session_callback,
    set_remove_session_callback,
)
from openssl_tickets.system_openssl import use_system_openssl
from openssl_tickets.ticket_callback import (
    ReceivedTicket,
    TicketReturn,
    TicketStatus,
    set_session_ticket_callback,
)
from openssl_tickets.ticket_keys import TicketKey, TicketKeys, set_ticket_keys

if not _lib.openssl_tickets_init():
    raise MemoryError("pthread_atfork failed")

# The only place that states it: pyproject.toml reads it here, without an import.
__version__ = "0.1.0"

__all__ = [
    "OPENSSL_VERSION",
    "VERIFY_POST_HANDSHAKE",
    "Error",
    "LibraryMismatchError",
    "ReceivedTicket",
    "Session",
    "SessionStats",
    "TicketKey",
    "TicketKeys",
    "TicketReturn",
    "TicketStatus",
    "get_num_tickets",
    "get_session",
    "get_session_timeout",
    "new_session_ticket",
    "session_reused",
    "session_stats",
    "set_new_session_callback",
    "set_num_tickets",
    "set_post_handshake_auth",
    "set_remove_session_callback",
    "set_session",
    "set_session_ticket_callback",
    "set_session_timeout",
    "set_ticket_keys",
    "use_system_openssl",
    "verify_client_post_handshake",
]
