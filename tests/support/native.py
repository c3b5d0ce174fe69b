"""
The C functions that only the tests need. They are compiled once per test run.

They ask libssl what neither pyOpenSSL nor the package asks, and there is a ticket key callback with
fixed answers.
"""

from __future__ import annotations

import atexit
import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cffi import FFI

from build_ffi import openssl_flags

CDEF = """
int reused(void *ssl);
int set_ciphersuites(void *ctx, const char *names);
void duplicate(void *ssl);
int clear(void *ssl);
int renegotiate(void *ssl);
void set_session_cache_mode(void *ctx, long mode);
long get_session_cache_mode(void *ctx);
void set_session_cache_size(void *ctx, long size);
void open_cache_after_hello(void *ctx);
void flush_sessions(void *ctx, long seconds_from_now);
void set_external_session(void *ctx, void *session);
int has_info_callback(void *ctx);
void set_verify_callback(void *ctx);
void set_info_callback(void *ctx);
int add_host(void *ctx, const char *name);
int set_chain(void *ctx, int more);
void abort_tickets(void *ctx);
void set_ticket_key_answers(void *ctx, int encrypt, int decrypt);
int set_max_early_data(void *ctx, unsigned int bytes);
int set_connection_max_early_data(void *ssl, unsigned int bytes);
unsigned long set_options(void *ctx, unsigned long options);
unsigned long clear_options(void *ctx, unsigned long options);
unsigned long set_connection_options(void *ssl, unsigned long options);
unsigned long peek_error(void);
void clear_errors(void);
void put_error(void);
void put_ssl_error(void);
void allow_post_handshake_auth(void *ssl);
int request_client_certificate(void *ssl);
#define SSL_OP_NO_TICKET ...
#define SSL_OP_NO_ANTI_REPLAY ...
"""

SOURCE = r"""
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

static int reused(void *ssl) { return SSL_session_reused(ssl); }

static int set_ciphersuites(void *ctx, const char *names)
{
    return SSL_CTX_set_ciphersuites(ctx, names);
}

static int accept_as_before(int preverified, X509_STORE_CTX *ctx)
{
    (void)ctx;
    return preverified;
}
static void set_verify_callback(void *ctx)
{
    SSL_CTX_set_verify(ctx, SSL_CTX_get_verify_mode(ctx), accept_as_before);
}

static int add_host(void *ctx, const char *name)
{
    return X509_VERIFY_PARAM_add1_host(SSL_CTX_get0_param(ctx), name, strlen(name));
}

static int set_chain(void *ctx, int more)
{
    int done = SSL_CTX_clear_chain_certs(ctx);

    while (done && more-- > 0)
        done = SSL_CTX_add1_chain_cert(ctx, SSL_CTX_get0_certificate(ctx));
    return done;
}

static void duplicate(void *ssl) { SSL_free(SSL_dup(ssl)); }

static int clear(void *ssl) { return SSL_clear(ssl); }

/* A client renegotiates, and offers its session again. */
static int renegotiate(void *ssl) { return SSL_renegotiate_abbreviated(ssl); }

static void set_session_cache_mode(void *ctx, long mode)
{
    SSL_CTX_set_session_cache_mode(ctx, mode);
}
static long get_session_cache_mode(void *ctx) { return SSL_CTX_get_session_cache_mode(ctx); }
static void set_session_cache_size(void *ctx, long size)
{
    SSL_CTX_sess_set_cache_size(ctx, size);
}
static void flush_sessions(void *ctx, long seconds_from_now)
{
#if OPENSSL_VERSION_NUMBER >= 0x30400000L
    SSL_CTX_flush_sessions_ex(ctx, time(NULL) + seconds_from_now);
#else
    SSL_CTX_flush_sessions(ctx, (long)time(NULL) + seconds_from_now);
#endif
}

/*
 * Sets the mode after the client hello callback, and before libssl looks into the cache. Another
 * thread could do so.
 */
static int (*security)(const SSL *, const SSL_CTX *, int, int, int, void *, void *) = NULL;

static int open_cache(const SSL *ssl, const SSL_CTX *ctx, int op, int bits, int nid, void *other,
                      void *ex)
{
    if (ssl != NULL && op == SSL_SECOP_VERSION)
        SSL_CTX_set_session_cache_mode(SSL_get_SSL_CTX(ssl), SSL_SESS_CACHE_SERVER);
    return security(ssl, ctx, op, bits, nid, other, ex);
}
static void open_cache_after_hello(void *ctx)
{
    security = SSL_CTX_get_security_callback(ctx);
    SSL_CTX_set_security_callback(ctx, open_cache);
}

/* An external cache with one session, which it returns for each session id. */
static SSL_SESSION *external = NULL;

static SSL_SESSION *find_external(SSL *ssl, const unsigned char *id, int len, int *copy)
{
    *copy = 1; /* libssl adds a reference */
    return external;
}
static void set_external_session(void *ctx, void *session)
{
    if (session != NULL)
        SSL_SESSION_up_ref(session);
    SSL_SESSION_free(external);
    external = session;
    SSL_CTX_sess_set_get_cb(ctx, session != NULL ? find_external : NULL);
}

static void ignore_state(const SSL *ssl, int where, int ret) { (void)ssl, (void)where, (void)ret; }

static void set_info_callback(void *ctx) { SSL_CTX_set_info_callback(ctx, ignore_state); }

static int has_info_callback(void *ctx) { return SSL_CTX_get_info_callback(ctx) != NULL; }

static unsigned char key_name[16] = "tests' only key";
static unsigned char secret[32] = "no secret at all";

/* The two answers of each SSL_CTX, each from -1 to 2, as one number above 0. */
static int answers_index = -1;
static CRYPTO_ONCE answers_once = CRYPTO_ONCE_STATIC_INIT;

static void make_answers_index(void)
{
    answers_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

static int ticket_key(SSL *ssl, unsigned char name[16], unsigned char iv[EVP_MAX_IV_LENGTH],
                      EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
    OSSL_PARAM params[3];
    uintptr_t answers = (uintptr_t)SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), answers_index);

    if (!encrypt && memcmp(name, key_name, 16) != 0)
        return 0;
    params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, secret, 32);
    params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0);
    params[2] = OSSL_PARAM_construct_end();
    if (encrypt) {
        memcpy(name, key_name, 16);
        if (RAND_bytes(iv, 16) <= 0)
            return -1;
    }
    if (!EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, secret, iv, encrypt)
        || !EVP_MAC_CTX_set_params(mac, params))
        return -1;
    return encrypt ? (int)(answers >> 4) - 2 : (int)(answers & 15) - 2;
}

static void set_ticket_key_answers(void *ctx, int encrypt, int decrypt)
{
    uintptr_t answers = (uintptr_t)(encrypt + 2) << 4 | (uintptr_t)(decrypt + 2);

    CRYPTO_THREAD_run_once(&answers_once, make_answers_index);
    SSL_CTX_set_ex_data(ctx, answers_index, (void *)answers);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key);
}

static SSL_TICKET_RETURN abort_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *key_name,
                                      size_t key_name_len, SSL_TICKET_STATUS status, void *arg)
{
    return status == SSL_TICKET_EMPTY ? SSL_TICKET_RETURN_IGNORE_RENEW : SSL_TICKET_RETURN_ABORT;
}
static void abort_tickets(void *ctx)
{
    SSL_CTX_set_session_ticket_cb(ctx, NULL, abort_ticket, NULL);
}

static int set_max_early_data(void *ctx, unsigned int bytes)
{
    return SSL_CTX_set_max_early_data(ctx, bytes);
}
static int set_connection_max_early_data(void *ssl, unsigned int bytes)
{
    return SSL_set_max_early_data(ssl, bytes);
}
static unsigned long set_options(void *ctx, unsigned long options)
{
    return SSL_CTX_set_options(ctx, options);
}
static unsigned long clear_options(void *ctx, unsigned long options)
{
    return SSL_CTX_clear_options(ctx, options);
}
static unsigned long set_connection_options(void *ssl, unsigned long options)
{
    return SSL_set_options(ssl, options);
}
static unsigned long peek_error(void) { return ERR_peek_error(); }
static void clear_errors(void) { ERR_clear_error(); }
static void put_error(void) { ERR_raise(ERR_LIB_USER, 99); }
static void put_ssl_error(void) { ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH); }

static void allow_post_handshake_auth(void *ssl) { SSL_set_post_handshake_auth(ssl, 1); }
static int request_client_certificate(void *ssl)
{
    return SSL_verify_client_post_handshake(ssl);
}
"""


def _compiled() -> Any:
    ffi = FFI()
    ffi.cdef(CDEF)
    ffi.set_source("openssl_tickets_tests_native", SOURCE, **openssl_flags())
    folder = tempfile.mkdtemp(prefix="openssl_tickets-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(ffi.compile(tmpdir=folder))
    spec = importlib.util.spec_from_file_location("openssl_tickets_tests_native", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_module = _compiled()
lib: Any = _module.lib
NULL: Any = _module.ffi.NULL
