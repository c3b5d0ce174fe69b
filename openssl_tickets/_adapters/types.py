"""
The argument types of the public functions, for type checkers.

They import no library. Objects that look like a library's own, as gevent's and trio's do, fit too.
"""

from __future__ import annotations

from openssl_tickets._typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import ssl
    from typing import TypeAlias

    import OpenSSL.SSL

    ForeignSession: TypeAlias = OpenSSL.SSL.Session | ssl.SSLSession
else:
    ForeignSession = Any


class TLSContext(Protocol):
    """What an ``OpenSSL.SSL.Context`` and an ``ssl.SSLContext`` have in common."""

    def load_verify_locations(self, cafile: Any, capath: Any = ..., /) -> object: ...


class _Connection(Protocol):
    """
    What an ``OpenSSL.SSL.Connection``, an ``ssl.SSLSocket``, an ``ssl.SSLObject`` and trio's
    ``SSLStream`` have in common.
    """

    def do_handshake(self) -> object: ...


class _AnyioStream(Protocol):
    """anyio's ``TLSStream``."""

    @property
    def extra(self) -> Any: ...


TLSConnection = _Connection | _AnyioStream
