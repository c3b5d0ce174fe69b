"""
Full control of TLS session tickets, through the system's libssl.

Every function takes the contexts and connections that your program already has. They can be
pyOpenSSL's or those of the standard library's ``ssl``. :mod:`openssl_tickets.SSL` is a drop-in for
``OpenSSL.SSL`` with the same operations as methods.

(PYTEST_DONT_REWRITE: pytest rewrites the asserts of a package that has a plugin. It warns if the
package was imported before pytest started, as in ``python -m openssl_tickets run -m pytest``.)
"""

from openssl_tickets._core.client_sessions import resume_sessions
from openssl_tickets._core.new_session import set_new_session_callback
from openssl_tickets._core.num_tickets import get_num_tickets, new_session_ticket, set_num_tickets
from openssl_tickets._core.post_handshake_auth import (
    VERIFY_POST_HANDSHAKE,
    set_post_handshake_auth,
    verify_client_post_handshake,
)
from openssl_tickets._core.session import Session, get_session, session_reused, set_session
from openssl_tickets._core.session_lifetime import (
    get_max_session_lifetime,
    get_session_timeout,
    set_max_session_lifetime,
    set_session_timeout,
)
from openssl_tickets._core.session_stats import SessionStats, session_stats
from openssl_tickets._core.session_stores import (
    FileSessionStore,
    MemorySessionStore,
    SessionStore,
)
from openssl_tickets._core.ticket_callback import (
    ReceivedTicket,
    TicketReturn,
    TicketStatus,
    set_server_name_binding,
    set_session_ticket_callback,
)
from openssl_tickets._core.ticket_keys import (
    KeyStats,
    TicketKey,
    TicketKeys,
    TicketKeysStats,
    set_ticket_keys,
)
from openssl_tickets._core.ticket_stats import TicketStats, ticket_stats
from openssl_tickets._native._libssl import lib as _lib
from openssl_tickets._native.errors import Error, LibraryMismatchError
from openssl_tickets._native.library import OPENSSL_VERSION
from openssl_tickets._system_openssl.stand_in import use_system_openssl

if not _lib.openssl_tickets_init():
    raise MemoryError("pthread_atfork failed")

# The only place that states the version. pyproject.toml reads it from here, without an import.
__version__ = "0.1.0"

__all__ = [
    "OPENSSL_VERSION",
    "VERIFY_POST_HANDSHAKE",
    "Error",
    "FileSessionStore",
    "KeyStats",
    "LibraryMismatchError",
    "MemorySessionStore",
    "ReceivedTicket",
    "Session",
    "SessionStats",
    "SessionStore",
    "TicketKey",
    "TicketKeys",
    "TicketKeysStats",
    "TicketReturn",
    "TicketStats",
    "TicketStatus",
    "get_max_session_lifetime",
    "get_num_tickets",
    "get_session",
    "get_session_timeout",
    "new_session_ticket",
    "resume_sessions",
    "session_reused",
    "session_stats",
    "set_max_session_lifetime",
    "set_new_session_callback",
    "set_num_tickets",
    "set_post_handshake_auth",
    "set_server_name_binding",
    "set_session",
    "set_session_ticket_callback",
    "set_session_timeout",
    "set_ticket_keys",
    "ticket_stats",
    "use_system_openssl",
    "verify_client_post_handshake",
]
