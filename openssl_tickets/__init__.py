"""
Full control of TLS session tickets, through the system's libssl.

Every function takes the contexts and connections that a program already has: pyOpenSSL's, or those
of the standard library's ``ssl``. :mod:`openssl_tickets.SSL` is a drop-in for ``OpenSSL.SSL`` with
the same operations as methods.
"""

from openssl_tickets._libssl import lib as _lib
from openssl_tickets.errors import Error, LibraryMismatchError
from openssl_tickets.library import OPENSSL_VERSION
from openssl_tickets.num_tickets import get_num_tickets, new_session_ticket, set_num_tickets
from openssl_tickets.session import Session, get_session
from openssl_tickets.system_openssl import use_system_openssl
from openssl_tickets.ticket_callback import (
    ReceivedTicket,
    TicketReturn,
    TicketStatus,
    set_session_ticket_callback,
)

if not _lib.openssl_tickets_init():
    raise MemoryError("pthread_atfork failed")

__all__ = [
    "OPENSSL_VERSION",
    "Error",
    "LibraryMismatchError",
    "ReceivedTicket",
    "Session",
    "TicketReturn",
    "TicketStatus",
    "get_num_tickets",
    "get_session",
    "new_session_ticket",
    "set_num_tickets",
    "set_session_ticket_callback",
    "use_system_openssl",
]
