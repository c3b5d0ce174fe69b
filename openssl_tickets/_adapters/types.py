"""
What the public functions take, for type checkers.

No library is imported for it, and what is made like a library's own (gevent's, trio's) fits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import ssl
    from typing import TypeAlias

    import OpenSSL.SSL

    ForeignSession: TypeAlias = OpenSSL.SSL.Session | ssl.SSLSession
else:
    ForeignSession = Any


class TLSContext(Protocol):
    """An ``OpenSSL.SSL.Context`` or an ``ssl.SSLContext``: what they have in common."""

    def load_verify_locations(self, cafile: Any, capath: Any = ..., /) -> object: ...


class _Connection(Protocol):
    """
    An ``OpenSSL.SSL.Connection``, an ``ssl.SSLSocket``, an ``ssl.SSLObject`` or trio's
    ``SSLStream``: what they have in common.
    """

    def do_handshake(self) -> object: ...


class _AnyioStream(Protocol):
    """anyio's ``TLSStream``, whose method ``extra`` leads to its ``ssl.SSLObject``."""

    @property
    def extra(self) -> Any: ...


TLSConnection = _Connection | _AnyioStream
