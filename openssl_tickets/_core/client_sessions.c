/*
 * Clients that resume by themselves: when libssl begins a client's handshake, Python is asked for a
 * session to offer; when the server has not taken it, Python is told to forget it.
 *
 * libssl tells of both through the info callback of the SSL_CTX. Each SSL_CTX has one, and a program
 * may have its own: ours is set only where there is none, and no pointer to another is ever called.
 */
#include <Python.h>
#include <string.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include "openssl_tickets.h"

/* Of an SSL: the session that was offered by us; it owns a reference, from the offer to the end. */
static int offered_index = -1;
/* Of an SSL_CTX: the digest of its trust anchors, as long as they are as many. */
static int anchors_index = -1;

typedef struct {
    X509_STORE *store;         /* only compared; the SSL_CTX holds it while it is its own */
    int count;
    unsigned char digest[EVP_MAX_MD_SIZE];
} anchors;

static void free_session(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl,
                         void *argp)
{
    (void)parent, (void)ad, (void)index, (void)argl, (void)argp;
    SSL_SESSION_free(ptr);
}

static void free_anchors(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl,
                         void *argp)
{
    (void)parent, (void)ad, (void)index, (void)argl, (void)argp;
    OPENSSL_free(ptr);
}

static int dup_nothing(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from, void **from_d, int index,
                       long argl, void *argp)
{
    (void)to, (void)from, (void)index, (void)argl, (void)argp;
    *from_d = NULL;
    return 1;
}

static CRYPTO_ONCE indexes_once = CRYPTO_ONCE_STATIC_INIT;

static void make_indexes(void)
{
    offered_index = SSL_get_ex_new_index(0, NULL, NULL, dup_nothing, free_session);
    anchors_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, dup_nothing, free_anchors);
}

static int has_indexes(void)
{
    return CRYPTO_THREAD_run_once(&indexes_once, make_indexes) && offered_index >= 0
           && anchors_index >= 0;
}

/* Lets go of what was offered; returns it with its reference, or NULL. */
static SSL_SESSION *take_offered(SSL *ssl)
{
    SSL_SESSION *offered = SSL_get_ex_data(ssl, offered_index);

    if (offered != NULL && !SSL_set_ex_data(ssl, offered_index, NULL))
        return NULL;
    return offered;
}

/*
 * Has a client that is about to begin its handshake offer the session. Returns 0 when there is no
 * memory, or when the program has set a session itself.
 */
int openssl_tickets_offer_session(SSL *ssl, SSL_SESSION *session)
{
    if (!has_indexes() || SSL_get_session(ssl) != NULL || !SSL_SESSION_up_ref(session))
        return 0;
    if (!SSL_set_ex_data(ssl, offered_index, session)) {
        SSL_SESSION_free(session);
        return 0;
    }
    if (openssl_tickets_set_session(ssl, session))
        return 1;
    SSL_SESSION_free(take_offered(ssl));
    return 0;
}

static void begin_handshake(SSL *ssl, const openssl_tickets_slot *slot)
{
    void *before;

    /* A renegotiation has the connection's own session. */
    if (SSL_get_session(ssl) != NULL || !openssl_tickets_begin_callback(ssl, NULL, &before))
        return;
    ERR_set_mark();
    openssl_tickets_offer(ssl, (uintptr_t)SSL_get_app_data(ssl), slot->number);
    ERR_pop_to_mark();
    openssl_tickets_end_callback(ssl, before);
}

static void end_handshake(SSL *ssl, const openssl_tickets_slot *slot, int failed)
{
    SSL_SESSION *offered = take_offered(ssl);
    void *before;

    if (offered == NULL)
        return;
    if (!failed && SSL_session_reused(ssl)) {
        /* In TLS 1.2 libssl tells nobody of a new ticket that comes with a resumption. */
        if (openssl_tickets_before_tls13(ssl) && SSL_get_session(ssl) != offered)
            openssl_tickets_announce(ssl, slot, SSL_get_session(ssl));
    } else if (openssl_tickets_begin_callback(ssl, NULL, &before)) {
        ERR_set_mark();
        openssl_tickets_refused(ssl, (uintptr_t)SSL_get_app_data(ssl), offered, slot->number);
        ERR_pop_to_mark();
        openssl_tickets_end_callback(ssl, before);
    }
    SSL_SESSION_free(offered);
}

/* libssl's info callback; Python calls it too, from a program's own info callback. */
void openssl_tickets_state_changed(const SSL *const_ssl, int where, int ret)
{
    SSL *ssl = (SSL *)const_ssl; /* as every info callback has to, to do anything */
    openssl_tickets_slot *slot;
    int resumes;

    if (!(where & (SSL_CB_HANDSHAKE_START | SSL_CB_HANDSHAKE_DONE | SSL_CB_ALERT))
        || SSL_is_server(ssl) || !Py_IsInitialized() || !has_indexes())
        return;
    slot = openssl_tickets_slot_of(ssl);
    if (slot == NULL)
        return;
    openssl_tickets_lock();
    resumes = slot->resumes;
    openssl_tickets_unlock();
    if (where & SSL_CB_HANDSHAKE_START) {
        if (resumes)
            begin_handshake(ssl, slot);
    } else if (where & SSL_CB_HANDSHAKE_DONE) {
        end_handshake(ssl, slot, 0);
    } else if (ret >> 8 == SSL3_AL_FATAL) {
        end_handshake(ssl, slot, 1);
    }
}

/* Whether the program has set an info callback for ctx. */
int openssl_tickets_has_other_info_callback(SSL_CTX *ctx)
{
    void (*set)(const SSL *ssl, int where, int ret) = SSL_CTX_get_info_callback(ctx);

    return set != NULL && set != openssl_tickets_state_changed;
}

/*
 * Has clients of ctx, whose slot has been made, ask Python for sessions, or not any more. If watches
 * is 0, the program's own info callback calls state_changed.
 */
void openssl_tickets_set_resumes(SSL_CTX *ctx, int resumes, int watches)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of_ctx(ctx);

    if (slot == NULL)
        return;
    openssl_tickets_lock();
    slot->resumes = resumes;
    openssl_tickets_unlock();
    if (resumes && watches)
        SSL_CTX_set_info_callback(ctx, openssl_tickets_state_changed);
    else if (SSL_CTX_get_info_callback(ctx) == openssl_tickets_state_changed)
        SSL_CTX_set_info_callback(ctx, NULL);
}

/* Whether no client can come of ctx. A context for both sides has another method. */
int openssl_tickets_is_server_only(SSL_CTX *ctx)
{
    const SSL_METHOD *method = SSL_CTX_get_ssl_method(ctx);

    return method == TLS_server_method() || method == DTLS_server_method();
}

/* The server name that a client asks for, NULL where it asks for none. */
const char *openssl_tickets_server_name(const SSL *ssl)
{
    return SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
}

int openssl_tickets_has_verify_callback(const SSL *ssl)
{
    return SSL_get_verify_callback(ssl) != NULL;
}

static int add(EVP_MD_CTX *md, const void *data, size_t len)
{
    uint64_t size = len;

    /* With its length, so that no two lists of parts give the same bytes. */
    return EVP_DigestUpdate(md, &size, sizeof(size)) && EVP_DigestUpdate(md, data, len);
}

static int add_number(EVP_MD_CTX *md, int64_t number)
{
    return add(md, &number, sizeof(number));
}

static int add_text(EVP_MD_CTX *md, const char *text)
{
    return text != NULL ? add(md, text, strlen(text)) : add_number(md, -1);
}

static int add_object(EVP_MD_CTX *md, const X509_OBJECT *object)
{
    unsigned char *der = NULL;
    int len = -1, added;

    switch (X509_OBJECT_get_type(object)) {
    case X509_LU_X509:
        len = i2d_X509(X509_OBJECT_get0_X509(object), &der);
        break;
    case X509_LU_CRL:
        len = i2d_X509_CRL(X509_OBJECT_get0_X509_CRL(object), &der);
        break;
    default:
        return 1;
    }
    added = len > 0 && add(md, der, (size_t)len);
    OPENSSL_free(der);
    return added;
}

/* Digests certificates and CRLs in the order of the store, which is sorted by libcrypto. */
static int digest_objects(STACK_OF(X509_OBJECT) *objects, unsigned char *digest)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int number, done = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL);

    sk_X509_OBJECT_sort(objects);
    for (number = 0; done && number < sk_X509_OBJECT_num(objects); number++)
        done = add_object(md, sk_X509_OBJECT_value(objects, number));
    done = done && EVP_DigestFinal_ex(md, digest, NULL);
    EVP_MD_CTX_free(md);
    return done;
}

/*
 * Adds what ctx trusts. Its digest is kept: of 140 authorities it takes longer than a handshake.
 * Certificates are only ever added to a store, so one of as many is the same.
 */
static int add_anchors(EVP_MD_CTX *md, SSL_CTX *ctx)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    anchors *kept, *made = NULL;
    STACK_OF(X509_OBJECT) *objects;
    int added = 0;

    if (store == NULL || !X509_STORE_lock(store))
        return 0;
    objects = X509_STORE_get0_objects(store);
    kept = SSL_CTX_get_ex_data(ctx, anchors_index);
    if (kept == NULL) {
        made = OPENSSL_zalloc(sizeof(*made));
        if (made != NULL && SSL_CTX_set_ex_data(ctx, anchors_index, made)) {
            kept = made;
            made = NULL;
        }
    }
    if (kept != NULL) {
        if (kept->store != store || kept->count != sk_X509_OBJECT_num(objects)) {
            kept->store = NULL;
            if (digest_objects(objects, kept->digest)) {
                kept->count = sk_X509_OBJECT_num(objects);
                kept->store = store;
            }
        }
        added = kept->store != NULL && add(md, kept->digest, 32);
    }
    X509_STORE_unlock(store);
    OPENSSL_free(made);
    return added;
}

/*
 * A digest, of 32 bytes, of all that ssl verifies of a server, and of who it says that it is itself:
 * a resumption verifies nothing anew. Returns 0 if it could not be made; nothing must be resumed then.
 * A verify callback is not in it: no two can be compared here.
 */
int openssl_tickets_strictness(SSL *ssl, unsigned char *digest)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    X509 *certificate = SSL_get_certificate(ssl);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned char fingerprint[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    const char *host;
    char *ip = X509_VERIFY_PARAM_get1_ip_asc(param);
    int number, done;

    done = has_indexes() && md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL)
           && add_number(md, SSL_get_verify_mode(ssl))
           && add_number(md, SSL_get_verify_depth(ssl))
           && add_number(md, SSL_get_security_level(ssl))
           && add_number(md, (int64_t)X509_VERIFY_PARAM_get_flags(param))
           && add_number(md, X509_VERIFY_PARAM_get_depth(param))
           && add_number(md, X509_VERIFY_PARAM_get_auth_level(param))
           && add_number(md, X509_VERIFY_PARAM_get_hostflags(param));
    for (number = 0; done && (host = X509_VERIFY_PARAM_get0_host(param, number)) != NULL; number++)
        done = add_text(md, host);
    done = done && add_number(md, number) && add_text(md, X509_VERIFY_PARAM_get0_email(param))
           && add_text(md, ip) && add_anchors(md, SSL_get_SSL_CTX(ssl));
    if (done && certificate != NULL)
        done = X509_digest(certificate, EVP_sha256(), fingerprint, &len);
    done = done && add(md, fingerprint, len) && EVP_DigestFinal_ex(md, digest, NULL);
    EVP_MD_CTX_free(md);
    OPENSSL_free(ip);
    return done;
}
