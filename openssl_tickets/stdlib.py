"""More for programs on the standard library's ``ssl``."""

from __future__ import annotations

import contextlib
import functools
import ssl
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from openssl_tickets._adapters import stdlib as adapter, to_ssl
from openssl_tickets._core.callbacks import Unraised, is_asked, raise_nested_handshake


def raise_callback_errors(context: ssl.SSLContext) -> None:
    """
    Lets the connections of *context* raise the exceptions of their callbacks.

    Without it, a connection of ``ssl`` raises an ``ssl.SSLError``, and the callback's exception
    goes to ``sys.unraisablehook``. With it, the method that was running raises the callback's
    exception. Such methods are ``do_handshake``, ``recv``, ``send`` and the like, and ``accept`` or
    ``wrap_socket`` if they do the handshake. An ``asyncio`` server passes the exception to the
    event loop's exception handler.

    It affects connections that are made later. They belong to a subclass of the context's
    ``sslsocket_class`` and ``sslobject_class``. A second call does nothing.

    Args:
        context: an ``ssl.SSLContext``.

    Raises:
        TypeError: *context* is not an ``ssl.SSLContext``; or it is eventlet's, whose connections
            always have eventlet's own class.

    Example::

        from openssl_tickets import set_session_ticket_callback, stdlib

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        set_session_ticket_callback(context, generate, decrypt)
        stdlib.raise_callback_errors(context)
    """
    if not adapter.is_context(context) or not hasattr(context, "sslsocket_class"):
        raise TypeError(f"expected an ssl.SSLContext, not {context!r:.80}")
    if isinstance(context, getattr(sys.modules.get("eventlet.green.ssl"), "GreenSSLContext", ())):
        raise TypeError(
            "the connections of eventlet's contexts are all of its class GreenSSLSocket, which "
            "cannot raise the exceptions of callbacks: these go to sys.unraisablehook"
        )
    for attribute in ("sslsocket_class", "sslobject_class"):
        setattr(context, attribute, _raising(getattr(context, attribute)))


# The methods that call libssl. The other methods of the two classes call these.
_METHODS = ("do_handshake", "read", "write", "send", "unwrap", "verify_client_post_handshake")


# From each class to its subclass, while a context or a connection uses the subclass.
_subclasses: WeakValueDictionary[Any, Any] = WeakValueDictionary()


def _raising(plain: Any) -> Any:
    """Returns a subclass of *plain* whose methods raise the exceptions of callbacks."""
    if hasattr(plain, "_keep_callback_exception"):
        return plain
    subclass = _subclasses.get(plain)
    if subclass is None:
        names: dict[str, Any] = {
            name: _wrapped(getattr(plain, name)) for name in _METHODS if hasattr(plain, name)
        }
        names.update(_keep_callback_exception=_keep_callback_exception, __doc__=plain.__doc__)
        subclass = _subclasses[plain] = type(plain.__name__, (plain,), names)
    return subclass


def _keep_callback_exception(connection: Any, exception: BaseException) -> None:
    """Keeps *exception* until the method of *connection* that called libssl can raise it."""
    unraised = vars(connection).get(_UNRAISED)
    if unraised is None:
        vars(connection)[_UNRAISED] = Unraised(connection, exception)
    else:
        unraised.exceptions.append(exception)


# A connection keeps the exceptions of its callbacks in this attribute. A thread cannot keep them,
# because one thread may switch between several connections, as with greenlets.
_UNRAISED = "_openssl_tickets_unraised"


def _runs_callback(connection: Any) -> bool:
    try:
        return bool(is_asked(to_ssl(connection)))
    except (TypeError, ValueError):
        # It has no TLS, or the interpreter is ending. The method itself raises an error.
        return False


def _wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps *method*, so that it raises the exceptions of the callbacks that libssl ran in it."""

    is_handshake = method.__name__ == "do_handshake"

    @functools.wraps(method)
    def wrapper(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        if is_handshake and _runs_callback(self):
            raise_nested_handshake()
        try:
            result = method(self, *args, **kwargs)
        except ssl.SSLError:
            unraised = vars(self).pop(_UNRAISED, None)
            if unraised is None:
                raise
        except BaseException:
            # This exception does not come from the callbacks.
            if _UNRAISED in vars(self):
                vars(self).pop(_UNRAISED).report()
            raise
        else:
            # A client that resumes has no error if Ctrl-C interrupts its session store.
            unraised = vars(self).pop(_UNRAISED, None)
            if unraised is None:
                if is_handshake:
                    vars(self)["_has_shaken_hands"] = True
                return result
        shakes_at_connect = getattr(self, "do_handshake_on_connect", False)
        try:
            if is_handshake and shakes_at_connect and "_has_shaken_hands" not in vars(self):
                # wrap_socket and accept have not returned the socket yet. Before CPython 3.12 they
                # close it only after an OSError.
                with contextlib.suppress(OSError):
                    self.close()
            # Outside of the except clause, so that the exception keeps its own context.
            unraised.raise_first()
        finally:
            del unraised  # otherwise the traceback would keep the connection alive

    return wrapper
