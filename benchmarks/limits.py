"""
What any layer on cffi costs: ticket callbacks in ``extern "Python"`` that do nothing, and ones that
call the program's two functions straight away.

The second kind is the limit of this package. It has no connection, no ticket object and no checks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from benchmarks import in_c
from benchmarks.handshakes import APPDATA, SEEN
from openssl_tickets._adapters import to_ssl_ctx

CDEF = """
extern "Python" int empty_generate(void *ssl);
extern "Python" int empty_decrypt(void *ssl);
extern "Python" int bare_generate(void *ssl);
extern "Python" int bare_decrypt(void *ssl, const char *appdata, size_t len);
int set_appdata(void *ssl, const char *appdata, size_t len);
int install_empty(void *ctx);
int install_bare(void *ctx);
"""

SOURCE = r"""
#include <openssl/ssl.h>

static int empty_generate(void *ssl);
static int empty_decrypt(void *ssl);
static int bare_generate(void *ssl);
static int bare_decrypt(void *ssl, const char *appdata, size_t len);

static int set_appdata(void *ssl, const char *appdata, size_t len)
{
    return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), appdata, len);
}

static int is_decrypted(SSL_TICKET_STATUS status)
{
    return status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;
}

static int generate_empty(SSL *ssl, void *arg)
{
    return empty_generate(ssl);
}

static SSL_TICKET_RETURN decrypt_empty(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                       size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
    empty_decrypt(ssl);
    return is_decrypted(status) ? SSL_TICKET_RETURN_USE_RENEW : SSL_TICKET_RETURN_IGNORE_RENEW;
}

static int generate_bare(SSL *ssl, void *arg)
{
    return bare_generate(ssl);
}

static SSL_TICKET_RETURN decrypt_bare(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                      size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
    void *appdata = NULL;
    size_t len = 0;

    if (is_decrypted(status))
        SSL_SESSION_get0_ticket_appdata(session, &appdata, &len);
    bare_decrypt(ssl, appdata, len);
    return is_decrypted(status) ? SSL_TICKET_RETURN_USE_RENEW : SSL_TICKET_RETURN_IGNORE_RENEW;
}

static int install_empty(void *ctx)
{
    return SSL_CTX_set_session_ticket_cb(ctx, generate_empty, decrypt_empty, NULL);
}

static int install_bare(void *ctx)
{
    return SSL_CTX_set_session_ticket_cb(ctx, generate_bare, decrypt_bare, NULL);
}
"""


@functools.cache
def limits() -> Any:
    """Returns the module of the C code above, with its functions in Python."""

    def generate() -> bytes:
        return APPDATA

    def decrypt(appdata: bytes) -> None:
        SEEN[0] = appdata

    module = in_c.compiled("openssl_tickets_limits", CDEF, SOURCE)
    lib, unpack = module.lib, module.ffi.unpack

    def empty(ssl: Any) -> int:
        return 1

    def bare_generate(ssl: Any) -> int:
        appdata = generate()
        return int(lib.set_appdata(ssl, appdata, len(appdata)))

    def bare_decrypt(ssl: Any, appdata: Any, size: int) -> int:
        decrypt(unpack(appdata, size) if appdata else b"")
        return 1

    functions: dict[str, Callable[..., int]] = {
        "empty_generate": empty,
        "empty_decrypt": empty,
        "bare_generate": bare_generate,
        "bare_decrypt": bare_decrypt,
    }
    for name, function in functions.items():
        module.ffi.def_extern(name)(function)
    return module


def empty_callbacks(context: Any) -> None:
    """Sets callbacks in Python that do nothing."""
    module = limits()
    assert module.lib.install_empty(module.ffi.cast("void *", to_ssl_ctx(context).pointer))


def bare_callbacks(context: Any) -> None:
    """Sets callbacks in Python that call the program's functions straight away."""
    module = limits()
    assert module.lib.install_bare(module.ffi.cast("void *", to_ssl_ctx(context).pointer))
