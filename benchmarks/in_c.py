"""The C code of the benchmarks: ticket callbacks and whole handshakes, compiled at run time."""

from __future__ import annotations

import functools
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

from cffi import FFI

sys.path.append(str(Path(__file__).resolve().parent.parent))

from build_ffi import openssl_flags

CDEF = """
int install(void *ctx);
void *new_context(const char *chain_file, const char *ca_file);
void *new_session(void *server_ctx, void *client_ctx);
double handshakes(void *server_ctx, void *client_ctx, void *session, int times);
int hold(void *server_ctx, void *client_ctx, void *session, int times);
"""

SOURCE = r"""
#include <string.h>
#include <time.h>
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

/* Makes a context for either side. With ca_file, a server asks for a certificate. */
static void *new_context(const char *chain_file, const char *ca_file)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());

    if (chain_file != NULL
        && (!SSL_CTX_use_PrivateKey_file(ctx, chain_file, SSL_FILETYPE_PEM)
            || !SSL_CTX_use_certificate_chain_file(ctx, chain_file)))
        return NULL;
    if (ca_file != NULL) {
        if (!SSL_CTX_load_verify_locations(ctx, ca_file, NULL)
            || !SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"benchmark", 9))
            return NULL;
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    return ctx;
}

/* Does a handshake until the client has its tickets. Returns whether it succeeded. */
static int handshake(SSL *server, SSL *client, SSL_SESSION *session)
{
    BIO *to_server = BIO_new(BIO_s_mem()), *to_client = BIO_new(BIO_s_mem());
    char any;
    int i;

    BIO_set_mem_eof_return(to_server, -1);
    BIO_set_mem_eof_return(to_client, -1);
    BIO_up_ref(to_server);
    BIO_up_ref(to_client);
    SSL_set_bio(server, to_server, to_client);
    SSL_set_bio(client, to_client, to_server);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    if (session != NULL && !SSL_set_session(client, session))
        return 0;
    for (i = 0; i < 2; i++) {
        SSL_do_handshake(client);
        SSL_do_handshake(server);
    }
    if (!SSL_is_init_finished(client) || !SSL_is_init_finished(server))
        return 0;
    SSL_read(client, &any, 1);
    /* Without these, freeing the client would mark the session as not resumable. */
    SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    return SSL_session_reused(server) == (session != NULL);
}

static void *new_session(void *server_ctx, void *client_ctx)
{
    SSL *server = SSL_new(server_ctx), *client = SSL_new(client_ctx);
    SSL_SESSION *session = NULL;

    if (handshake(server, client, NULL))
        session = SSL_get1_session(client);
    SSL_free(server);
    SSL_free(client);
    return session;
}

/* Returns the mean time of a handshake in seconds; negative if a handshake fails. */
static double handshakes(void *server_ctx, void *client_ctx, void *session, int times)
{
    struct timespec begin, end;
    int i, good = 1;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (i = 0; i < times && good; i++) {
        SSL *server = SSL_new(server_ctx), *client = SSL_new(client_ctx);

        good = handshake(server, client, session);
        SSL_free(server);
        SSL_free(client);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (!good)
        return -1;
    return (end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) * 1e-9) / times;
}

/* Makes connections, and keeps the servers until the process ends. */
static int hold(void *server_ctx, void *client_ctx, void *session, int times)
{
    int i;

    for (i = 0; i < times; i++) {
        SSL *server = SSL_new(server_ctx), *client = SSL_new(client_ctx);

        if (!handshake(server, client, session))
            return 0;
        SSL_free(client);
    }
    return 1;
}
"""


def compiled(name: str, cdef: str, source: str) -> Any:
    """Compiles the cffi module *name* for the libssl that this package uses, and returns it."""
    ffi = FFI()
    ffi.cdef(cdef)
    ffi.set_source(name, source, **openssl_flags())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(ffi.compile(tmpdir=folder))
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@functools.cache
def benchmark() -> Any:
    """Returns the module of the C code above."""
    return compiled("openssl_tickets_bench", CDEF, SOURCE)
