"""The ticket callbacks of the benchmark, written in C and compiled when it runs."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from cffi import FFI

SOURCE = r"""
#include <string.h>
#include <openssl/ssl.h>

static unsigned char appdata[32];
static unsigned char seen[32];

static int generate(SSL *ssl, void *arg)
{
    return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), appdata, sizeof(appdata));
}

static SSL_TICKET_RETURN decrypt(SSL *ssl, SSL_SESSION *session, const unsigned char *key_name,
                                 size_t key_name_len, SSL_TICKET_STATUS status, void *arg)
{
    void *data = NULL;
    size_t length = 0;

    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    if (!SSL_SESSION_get0_ticket_appdata(session, &data, &length) || length != sizeof(seen))
        return SSL_TICKET_RETURN_ABORT;
    memcpy(seen, data, length);
    return SSL_TICKET_RETURN_USE_RENEW;
}

static int install(void *ctx)
{
    return SSL_CTX_set_session_ticket_cb(ctx, generate, decrypt, NULL);
}

static int reused(void *ssl)
{
    return SSL_session_reused(ssl);
}
"""


def compile_c_callbacks(**flags: Any) -> Any:
    """Returns a module whose ``lib.install(ctx)`` sets the callbacks on an ``SSL_CTX *``."""
    ffi = FFI()
    ffi.cdef("int install(void *ctx); int reused(void *ssl);")
    ffi.set_source("openssl_tickets_bench", SOURCE, **flags)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(ffi.compile(tmpdir=folder))
        spec = importlib.util.spec_from_file_location("openssl_tickets_bench", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module
