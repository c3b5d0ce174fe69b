"""
The drop-in for ``OpenSSL.SSL``: change ``from OpenSSL import SSL`` to
``from openssl_tickets import SSL``, and nothing else.

It has everything that ``OpenSSL.SSL`` has. :class:`Context` and :class:`Connection` also have the
ticket functions as methods. If a callback raises an exception, the call that was running raises it.

Importing it moves pyOpenSSL to the system's libssl. See
:func:`openssl_tickets.use_system_openssl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openssl_tickets._core.post_handshake_auth import VERIFY_POST_HANDSHAKE as VERIFY_POST_HANDSHAKE
from openssl_tickets._system_openssl.stand_in import use_system_openssl

use_system_openssl()

import OpenSSL.SSL  # noqa: E402 (after use_system_openssl, so that it uses the system's libssl)

if TYPE_CHECKING:
    # mypy keeps the first of several imports of a name, and pyright the last.
    from openssl_tickets._drop_in import (
        Connection as Connection,
        Context as Context,
        Session as Session,
    )
from OpenSSL.SSL import *  # type: ignore[assignment]  # noqa: E402, F403

from openssl_tickets._drop_in import (  # noqa: E402
    Connection as Connection,
    Context as Context,
    Session as Session,
)

__all__ = list(OpenSSL.SSL.__all__)


def __getattr__(name: str) -> Any:
    # OpenSSL.SSL has names that its __all__ does not list.
    return getattr(OpenSSL.SSL, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(OpenSSL.SSL)})
