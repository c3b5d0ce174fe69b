/*
 * Clients that resume by themselves. When a client's handshake begins, it offers a session. If the
 * server does not take the session, it is forgotten.
 *
 * The sessions of a MemorySessionStore are found in C. Python is called only if the program has
 * another store, to tell one verify callback from another, or for a server name that libssl does not
 * know.
 *
 * libssl reports the beginning and the end of a handshake to the info callback of the SSL_CTX. An
 * SSL_CTX has only one, and the program may have set its own. So ours is set only if there is none,
 * and no pointer to another one is ever called.
 */
#include <Python.h>
#include <netdb.h>
#include <string.h>
#include <time.h>
#include <sys/socket.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include "openssl_tickets.h"

#define DIGEST_LEN OPENSSL_TICKETS_DIGEST_LEN
#define MAX_LIFETIME (7 * 86400) /* seconds, for which a client may keep a ticket (RFC 8446, 4.6.1) */
#define MAX_ERRORS 16            /* in libssl's queue, which has a ring of 16: 4.0 hides its size */
#define TRIES 16                 /* sessions that are looked at for one handshake */

/* What a connection shows and how it verifies, without the trust anchors: see read_strictness. */
typedef struct {
    unsigned char bytes[4096]; /* of a few hundred: a host name has at most 255 */
    size_t len;
} settings;

/*
 * One handshake of a client. A resumption verifies nothing, so a session is worth only what its
 * first handshake verified. That is read twice: when the handshake begins and a session may be
 * offered, and when it ends and sessions may be kept.
 *
 * Between the two, libssl may add certificates to the trust anchors, because it reads a folder of
 * them while it verifies. If anything else changed, nobody can tell what was verified. That includes
 * the number of CRLs: the server's certificate may have been verified before a new one came.
 */
typedef struct {
    char *key;                 /* in the store: server and verify callback, then the digests of */
    size_t server_len;         /* the settings and of the anchors, in hex */
    SSL_verify_cb callback;    /* compared, never called */
    unsigned char *settings;   /* see read_strictness */
    size_t settings_len;
    X509 *shown;               /* a reference to the client's own certificate, or NULL */
    X509_STORE *trusted;       /* a reference to the store of the anchors */
    int crls;                  /* the number of CRLs in it */
    enum { RUNS, AS_IT_BEGAN, CHANGED } state;
    SSL_SESSION *offered;      /* a reference, until the handshake ends; or NULL */
    SSL_SESSION *stored;       /* a reference to the session that it is a copy of, in this store */
    openssl_tickets_store *store; /* a reference; or NULL */
} attempt;

/* The index of an SSL's attempt. The SSL owns it. */
static int attempt_index = -1;

static size_t key_len_of(const attempt *a)
{
    return a->server_len + 1 + 4 * DIGEST_LEN;
}

/* Lets go of the session in the store. If it is forgotten, no other connection will offer it. */
static void release_stored(attempt *a, int forgets)
{
    if (a->stored != NULL && forgets)
        openssl_tickets_remove(a->store, a->key, key_len_of(a), a->stored);
    SSL_SESSION_free(a->stored);
    openssl_tickets_release_store(a->store);
    a->stored = NULL;
    a->store = NULL;
}

static void end_attempt(attempt *a)
{
    if (a == NULL)
        return;
    SSL_SESSION_free(a->offered);
    release_stored(a, 1); /* if it is still there, the handshake has not ended */
    X509_free(a->shown);
    X509_STORE_free(a->trusted);
    OPENSSL_free(a->key);
    OPENSSL_free(a->settings);
    OPENSSL_free(a);
}

static void free_attempt(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl,
                         void *argp)
{
    (void)parent, (void)ad, (void)index, (void)argl, (void)argp;
    end_attempt(ptr);
}

static CRYPTO_ONCE index_once = CRYPTO_ONCE_STATIC_INIT;

static void make_index(void)
{
    attempt_index = SSL_get_ex_new_index(0, NULL, NULL, openssl_tickets_dup_nothing, free_attempt);
}

static attempt *attempt_of(const SSL *ssl)
{
    return attempt_index >= 0 ? SSL_get_ex_data(ssl, attempt_index) : NULL;
}

static int add(EVP_MD_CTX *md, const void *data, size_t len)
{
    uint64_t size = len;

    /* The length comes first, so that two lists of parts never give the same bytes. */
    return EVP_DigestUpdate(md, &size, sizeof(size)) && EVP_DigestUpdate(md, data, len);
}

static int add_object(EVP_MD_CTX *md, const X509_OBJECT *object)
{
    unsigned char *der = NULL;
    int len = -1, added;

    switch (X509_OBJECT_get_type(object)) {
    case X509_LU_X509:
        len = i2d_X509_AUX(X509_OBJECT_get0_X509(object), &der); /* with what it is trusted for */
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

/* Digests and counts certificates and CRLs, in the order in which libcrypto sorts them. */
static int digest_objects(STACK_OF(X509_OBJECT) *objects, openssl_tickets_anchors *anchors)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int done = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL);

    sk_X509_OBJECT_sort(objects);
    anchors->crls = 0;
    for (anchors->count = 0; done && anchors->count < sk_X509_OBJECT_num(objects);
         anchors->count++) {
        const X509_OBJECT *object = sk_X509_OBJECT_value(objects, anchors->count);

        anchors->crls += X509_OBJECT_get_type(object) == X509_LU_CRL;
        done = add_object(md, object);
    }
    done = done && EVP_DigestFinal_ex(md, anchors->digest, NULL);
    EVP_MD_CTX_free(md);
    return done;
}

/*
 * Digests the trust anchors. The digest is kept, because for 140 authorities it takes longer than a
 * handshake. Certificates and CRLs can only be added to a store, so a store with as many as before
 * has not changed. The result has no reference to the store.
 */
static int digest_anchors(openssl_tickets_slot *slot, X509_STORE *store,
                          openssl_tickets_anchors *anchors)
{
    openssl_tickets_anchors *kept = &slot->anchors;
    X509_STORE *old = NULL;
    STACK_OF(X509_OBJECT) *objects;
    int done;

    if (store == NULL || !X509_STORE_lock(store))
        return 0;
    objects = X509_STORE_get0_objects(store);
    openssl_tickets_lock();
    done = kept->store == store && kept->count == sk_X509_OBJECT_num(objects);
    if (done)
        *anchors = *kept;
    openssl_tickets_unlock();
    if (!done) {
        anchors->store = store;
        done = digest_objects(objects, anchors);
        if (done && X509_STORE_up_ref(store)) {
            openssl_tickets_lock();
            old = kept->store;
            *kept = *anchors; /* with a reference, so that no other store can get this address */
            openssl_tickets_unlock();
        }
    }
    X509_STORE_unlock(store);
    X509_STORE_free(old);
    return done;
}

static int append(settings *to, const void *data, size_t len)
{
    uint32_t size = (uint32_t)len;

    if (len > sizeof(to->bytes) - to->len - sizeof(size) || to->len > sizeof(to->bytes) / 2)
        return 0;
    /* The length comes first, so that two lists of parts never give the same bytes. */
    memcpy(to->bytes + to->len, &size, sizeof(size));
    memcpy(to->bytes + to->len + sizeof(size), data, len);
    to->len += sizeof(size) + len;
    return 1;
}

static int append_text(settings *to, const char *text)
{
    return text != NULL ? append(to, text, strlen(text)) : append(to, "\xff", 1);
}

/* Appends how certificates are verified. OpenSSL 3.0 does not tell purpose, trust and policies. */
static int append_param(settings *to, X509_VERIFY_PARAM *param)
{
    const int64_t numbers[] = {
        (int64_t)X509_VERIFY_PARAM_get_flags(param),
        X509_VERIFY_PARAM_get_depth(param),
        X509_VERIFY_PARAM_get_auth_level(param),
        X509_VERIFY_PARAM_get_hostflags(param),
        (int64_t)X509_VERIFY_PARAM_get_time(param),
    };
    char *ip;
    const char *host;
    int number, done = append(to, numbers, sizeof(numbers));

    ip = X509_VERIFY_PARAM_get1_ip_asc(param); /* raises an error if there is none */
    for (number = 0; done && (host = X509_VERIFY_PARAM_get0_host(param, number)) != NULL; number++)
        done = append_text(to, host);
    done = done && append_text(to, NULL)
           && append_text(to, X509_VERIFY_PARAM_get0_email(param)) && append_text(to, ip);
    OPENSSL_free(ip);
    return done;
}

/*
 * Returns one of the certificates that ssl shows to a server that asks: its own, then those of the
 * two chains that libssl may send with it. Returns NULL after the last one.
 */
static X509 *shown_by(SSL *ssl, int number)
{
    X509 *certificate = SSL_get_certificate(ssl);
    STACK_OF(X509) *chains[2] = { NULL, NULL };
    int which, count;

    if (certificate == NULL || number == 0)
        return certificate;
    number--;
    SSL_get0_chain_certs(ssl, &chains[0]);
    SSL_CTX_get_extra_chain_certs_only(SSL_get_SSL_CTX(ssl), &chains[1]);
    for (which = 0; which < 2; which++) {
        count = chains[which] != NULL ? sk_X509_num(chains[which]) : 0;
        if (number < count)
            return sk_X509_value(chains[which], number);
        number -= count;
    }
    return NULL;
}

/*
 * Digests bytes. If they are the same as last time, it takes the digest of last time: that is faster,
 * because libcrypto looks for SHA-256 each time.
 */
static int digest(openssl_tickets_digested *last, const unsigned char *bytes, size_t len,
                  unsigned char *to)
{
    unsigned char *copy, *old;
    int is_known;

    openssl_tickets_lock();
    is_known = last->bytes != NULL && last->len == len && memcmp(last->bytes, bytes, len) == 0;
    if (is_known)
        memcpy(to, last->digest, DIGEST_LEN);
    openssl_tickets_unlock();
    if (is_known)
        return 1;
    copy = OPENSSL_memdup(bytes, len);
    if (copy == NULL || !EVP_Digest(bytes, len, to, NULL, EVP_sha256(), NULL)) {
        OPENSSL_free(copy);
        return 0;
    }
    openssl_tickets_lock();
    old = last->bytes;
    last->bytes = copy;
    last->len = len;
    memcpy(last->digest, to, DIGEST_LEN);
    openssl_tickets_unlock();
    OPENSSL_free(old);
    return 1;
}

/* Digests the certificates that ssl shows; without any, the digest is zeros. */
static int digest_identity(SSL *ssl, openssl_tickets_slot *slot, unsigned char *to)
{
    X509 *certificate;
    unsigned char *all = NULL, *more, *end;
    size_t len = 0;
    int number, size, done = 1;

    memset(to, 0, DIGEST_LEN);
    for (number = 0; done && (certificate = shown_by(ssl, number)) != NULL; number++) {
        /* As DER, so that a certificate which the program has changed is seen as another one. */
        size = i2d_X509(certificate, NULL);
        done = size > 0 && (more = OPENSSL_realloc(all, len + (size_t)size)) != NULL;
        if (done) {
            all = more;
            end = all + len;
            len += (size_t)size;
            done = i2d_X509(certificate, &end) == size;
        }
    }
    done = done && (number == 0 || digest(&slot->identity, all, len, to));
    OPENSSL_free(all);
    return done;
}

/*
 * Returns 0 if the host names and the email address that ssl checks may have no end. OpenSSL 4.0
 * (seen in 4.0.3) copies them from an SSL_CTX into an SSL without the zero byte after them. If they
 * were set in the SSL itself, as Python's ssl does, they have it.
 */
static int has_readable_names(SSL *ssl)
{
    X509_VERIFY_PARAM *of_ctx = SSL_CTX_get0_param(SSL_get_SSL_CTX(ssl));

    return OpenSSL_version_num() < 0x40000000UL
           || (X509_VERIFY_PARAM_get0_host(of_ctx, 0) == NULL
               && X509_VERIFY_PARAM_get0_email(of_ctx) == NULL);
}

/*
 * Reads how ssl verifies its server: the settings, and a digest of the trust anchors. The verify
 * callback is not part of it. Returns 0 if that fails; then nothing may be resumed. The settings
 * begin with the digest of what ssl shows, which the caller puts there.
 *
 * It also returns 0 if ssl asks for an OCSP response. A resumption brings none: in TLS 1.2 libssl
 * does not call the callback that judges the response, and in TLS 1.3 it calls it with nothing.
 */
static int read_strictness(SSL *ssl, openssl_tickets_slot *slot, settings *to,
                           openssl_tickets_anchors *anchors)
{
    const int64_t numbers[] = {
        SSL_get_verify_mode(ssl),
        SSL_get_verify_depth(ssl),
        SSL_get_security_level(ssl),
    };
    X509_STORE *store = NULL;
    int done;

    SSL_get0_verify_cert_store(ssl, &store);
    if (store == NULL)
        store = SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl));
    if (store == NULL || SSL_get_tlsext_status_type(ssl) >= 0 || !has_readable_names(ssl))
        return 0;
    ERR_set_mark();
    to->len = DIGEST_LEN;
    done = append(to, numbers, sizeof(numbers))
           && append_param(to, SSL_get0_param(ssl))
           && append_param(to, X509_STORE_get0_param(store))
           && digest_anchors(slot, store, anchors);
    ERR_pop_to_mark();
    return done;
}

/* Lets go of what the slot keeps. The slot is freed then. */
void openssl_tickets_release_digests(openssl_tickets_slot *slot)
{
    X509_STORE_free(slot->anchors.store);
    OPENSSL_free(slot->identity.bytes);
    OPENSSL_free(slot->settings.bytes);
}

static char *write_hex(char *to, const unsigned char *digest)
{
    size_t place;

    for (place = 0; place < DIGEST_LEN; place++) {
        *to++ = "0123456789abcdef"[digest[place] >> 4];
        *to++ = "0123456789abcdef"[digest[place] & 15];
    }
    return to;
}

static char *anchors_in(const attempt *a)
{
    return a->key + a->server_len + 1 + 2 * DIGEST_LEN;
}

/*
 * Returns a new string "name:port", or "address:port" if there is no name. If the port is not known,
 * the string ends with the colon. Returns NULL if neither name nor address is known.
 */
static char *name_server(SSL *ssl, const char *name)
{
    char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "", *server;
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    int fd = SSL_get_fd(ssl);
    size_t name_len, port_size;

    if (fd >= 0 && getpeername(fd, (struct sockaddr *)&address, &len) == 0
        && (address.ss_family == AF_INET || address.ss_family == AF_INET6)
        && getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), port, sizeof(port),
                       NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        *host = *port = '\0';
    if (name == NULL || *name == '\0')
        name = host;
    if (*name == '\0')
        return NULL;
    name_len = strlen(name);
    port_size = strlen(port) + 1;
    server = OPENSSL_malloc(name_len + 1 + port_size);
    if (server != NULL) {
        memcpy(server, name, name_len);
        server[name_len] = ':';
        memcpy(server + name_len + 1, port, port_size);
    }
    return server;
}

/*
 * Call this when a handshake begins, before anything is offered. The name is the server's, or NULL.
 * The verifier is the name of the verify callback, or NULL if there is none. Returns the key, or NULL
 * if nothing can be offered or kept.
 */
const char *openssl_tickets_begin_attempt(SSL *ssl, const char *name, const char *verifier)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of(ssl);
    settings now;
    openssl_tickets_anchors anchors;
    unsigned char of_settings[DIGEST_LEN];
    X509 *shown = SSL_get_certificate(ssl);
    size_t verifier_len = verifier != NULL ? 1 + strlen(verifier) : 0;
    attempt *a = OPENSSL_zalloc(sizeof(*a));
    char *server = name_server(ssl, name);

    if (a != NULL && server != NULL) {
        a->server_len = strlen(server) + verifier_len;
        a->callback = SSL_get_verify_callback(ssl);
        a->key = OPENSSL_malloc(key_len_of(a) + 1);
    }
    if (a != NULL && shown != NULL && X509_up_ref(shown))
        a->shown = shown;
    if (a != NULL && a->key != NULL && a->shown == shown && slot != NULL
        && digest_identity(ssl, slot, now.bytes)
        && read_strictness(ssl, slot, &now, &anchors)
        && digest(&slot->settings, now.bytes, now.len, of_settings)
        && (a->settings = OPENSSL_memdup(now.bytes, now.len)) != NULL
        && X509_STORE_up_ref(anchors.store) && (a->trusted = anchors.store) != NULL
        && SSL_set_ex_data(ssl, attempt_index, a)) {
        a->settings_len = now.len;
        a->crls = anchors.crls;
        memcpy(a->key, server, a->server_len - verifier_len);
        if (verifier != NULL) {
            a->key[a->server_len - verifier_len] = ' ';
            memcpy(a->key + a->server_len - verifier_len + 1, verifier, verifier_len - 1);
        }
        a->key[a->server_len] = ' ';
        write_hex(a->key + a->server_len + 1, of_settings);
        *write_hex(anchors_in(a), anchors.digest) = '\0';
    } else {
        end_attempt(a);
        a = NULL;
    }
    OPENSSL_free(server);
    return a != NULL ? a->key : NULL;
}

/*
 * Compares how ssl verifies now, and which certificate it shows, with what was so when its handshake
 * began.
 */
static void settle(SSL *ssl, attempt *a)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of(ssl);
    settings now;
    openssl_tickets_anchors anchors;

    if (a->state != RUNS)
        return;
    a->state = CHANGED;
    memcpy(now.bytes, a->settings, DIGEST_LEN);
    if (slot != NULL && a->callback == SSL_get_verify_callback(ssl)
        && a->shown == SSL_get_certificate(ssl) && read_strictness(ssl, slot, &now, &anchors)
        && now.len == a->settings_len && memcmp(now.bytes, a->settings, now.len) == 0
        && anchors.store == a->trusted && anchors.crls == a->crls) {
        write_hex(anchors_in(a), anchors.digest);
        a->state = AS_IT_BEGAN;
    }
}

/* Returns the key of the current attempt, or NULL if there is none. */
const char *openssl_tickets_key_of_offer(SSL *ssl)
{
    attempt *a = attempt_of(ssl);

    return a != NULL ? a->key : NULL;
}

/*
 * Returns 1 if a key that both sides have was used in place of certificates. Nobody can tell with
 * which one another connection would show who it is.
 */
static int has_psk(const SSL *ssl)
{
#ifndef OPENSSL_NO_PSK
    return SSL_get_psk_identity(ssl) != NULL;
#else
    (void)ssl;
    return 0;
#endif
}

/*
 * Returns the key under which to keep a session that came to ssl. NULL if it must not be kept.
 *
 * A ticket may come long after the handshake. If the connection has shown another certificate of its
 * own in between (post-handshake authentication), the ticket stands for that certificate.
 */
const char *openssl_tickets_key_to_keep(SSL *ssl)
{
    attempt *a = attempt_of(ssl);

    if (a == NULL)
        return NULL;
    settle(ssl, a);
    if (a->state == AS_IT_BEGAN && (has_psk(ssl) || a->shown != SSL_get_certificate(ssl)))
        a->state = CHANGED;
    return a->state == AS_IT_BEGAN ? a->key : NULL;
}

/*
 * Returns how often a session may be offered: never (0), once (1), or again and again (2). A client
 * must discard a TLS 1.3 ticket with a lifetime of 0 at once (RFC 8446, 4.6.1).
 */
int openssl_tickets_uses_of(const SSL_SESSION *session)
{
    if (!SSL_SESSION_is_resumable(session))
        return 0;
    if (SSL_SESSION_get_protocol_version(session) != TLS1_3_VERSION)
        return 2;
    return SSL_SESSION_get_ticket_lifetime_hint(session) != 0;
}

/*
 * Returns 1 if a handshake with the session ends like one without it. libssl does not check this. A
 * server ends the handshake if the client does not offer the session's cipher. And a resumption does
 * not notice that the server's certificate was never verified, or that it has expired since.
 */
static int may_offer(SSL *ssl, SSL_SESSION *session)
{
    STACK_OF(SSL_CIPHER) *ciphers = SSL_get_ciphers(ssl);
    const SSL_CIPHER *cipher = SSL_SESSION_get0_cipher(session);
    X509 *peer = SSL_SESSION_get0_peer(session);
    int number;

    if (SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER
        && (peer == NULL || X509_cmp_current_time(X509_get0_notAfter(peer)) <= 0))
        return 0;
    for (number = 0; cipher != NULL && number < sk_SSL_CIPHER_num(ciphers); number++)
        if (SSL_CIPHER_get_id(sk_SSL_CIPHER_value(ciphers, number)) == SSL_CIPHER_get_id(cipher))
            return 1;
    return 0;
}

/* Makes a client whose handshake begins offer the session. Returns 0 if it does not. */
int openssl_tickets_offer_session(SSL *ssl, SSL_SESSION *session)
{
    attempt *a = attempt_of(ssl);

    if (a == NULL || a->offered != NULL || !may_offer(ssl, session)
        || !openssl_tickets_set_session(ssl, session) || !SSL_SESSION_up_ref(session))
        return 0;
    a->offered = session;
    return 1;
}

/* Returns 1 if the server still accepts the session. A program may have stored it with any times. */
static int has_time_left(const SSL_SESSION *session)
{
    int64_t lifetime = SSL_SESSION_get_timeout(session), made = SSL_SESSION_get_time(session);
    int64_t hint = (int64_t)SSL_SESSION_get_ticket_lifetime_hint(session), now = time(NULL);

    /* In TLS 1.2 the server need not say how long it accepts a ticket. */
    if (hint > 0 && hint < lifetime)
        lifetime = hint;
    if (lifetime > MAX_LIFETIME)
        lifetime = MAX_LIFETIME;
    return made >= 0 && lifetime > 0 && (made >= now || now - made < lifetime);
}

/* Makes ssl offer a copy of a session in the store, if one may be offered. */
static void offer_stored(SSL *ssl, attempt *a, openssl_tickets_store *store)
{
    SSL_SESSION *session, *copy;
    int number, is_good;

    for (number = 0; number < TRIES; number++) {
        session = openssl_tickets_use(store, a->key, key_len_of(a));
        if (session == NULL)
            return;
        is_good = openssl_tickets_uses_of(session) && has_time_left(session);
        if (is_good) {
            /* libssl spoils a session if its connection is not closed in order. */
            copy = openssl_tickets_copy_session(session);
            if (copy != NULL && openssl_tickets_offer_session(ssl, copy)) {
                a->stored = session;
                session = NULL;
                openssl_tickets_lock();
                a->store = openssl_tickets_hold_store(store);
                openssl_tickets_unlock();
            }
            SSL_SESSION_free(copy);
        } else {
            openssl_tickets_remove(store, a->key, key_len_of(a), session);
        }
        SSL_SESSION_free(session);
        if (is_good)
            return;
    }
}

/* Returns a reference to the store of the slot. NULL if Python has the sessions. */
static openssl_tickets_store *store_of(const openssl_tickets_slot *slot)
{
    openssl_tickets_store *store;

    openssl_tickets_lock();
    store = openssl_tickets_hold_store(slot->store);
    openssl_tickets_unlock();
    return store;
}

/* ssl's own verify callback, if this CPython has one, and its name. Under the lock. */
static uintptr_t known_callback = 0;
static char known_verifier[64];

/* From now on C knows the name of this verify callback. Only the first call in a process counts. */
void openssl_tickets_know_verify_callback(uintptr_t callback, const char *verifier)
{
    openssl_tickets_lock();
    if (known_callback == 0 && strlen(verifier) < sizeof(known_verifier)) {
        known_callback = callback;
        strcpy(known_verifier, verifier);
    }
    openssl_tickets_unlock();
}

/* Copies the name of the verify callback, or "" if there is none. Returns 0 if Python must name it. */
static int name_verifier(uintptr_t callback, char *verifier)
{
    int is_known;

    *verifier = '\0';
    if (callback == 0)
        return 1;
    openssl_tickets_lock();
    is_known = callback == known_callback;
    if (is_known)
        strcpy(verifier, known_verifier);
    openssl_tickets_unlock();
    return is_known;
}

static void begin_handshake(SSL *ssl, const openssl_tickets_slot *slot)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    openssl_tickets_store *store = store_of(slot);
    uintptr_t verify_callback = (uintptr_t)SSL_get_verify_callback(ssl);
    char verifier[sizeof(known_verifier)];
    void *before;

    if (store != NULL && name != NULL && *name != '\0'
        && name_verifier(verify_callback, verifier)) {
        if (openssl_tickets_begin_attempt(ssl, name, *verifier != '\0' ? verifier : NULL) != NULL)
            offer_stored(ssl, attempt_of(ssl), store);
    } else if (Py_IsInitialized() && openssl_tickets_begin_callback(ssl, NULL, &before)) {
        openssl_tickets_offer(ssl, (uintptr_t)SSL_get_app_data(ssl), slot->number, name,
                              verify_callback);
        openssl_tickets_end_callback(ssl, before);
    }
    openssl_tickets_release_store(store);
}

/* An error of the thread's queue. The data is a copy, or NULL. */
typedef struct {
    unsigned long code;
    char *data;
} error;

/*
 * Takes all errors out of the queue, and returns their number. When the client itself ends the
 * handshake, the queue has libssl's reason. A store in Python must not take that for an error of its
 * own connection to a database, nor empty the queue.
 */
static int take_errors(error *errors)
{
    const char *data;
    int count = 0, flags;

    while (count < MAX_ERRORS
           && (errors[count].code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0)
        errors[count++].data = flags & ERR_TXT_STRING ? OPENSSL_strdup(data) : NULL;
    return count;
}

/* Puts the errors back into the queue. Nothing else stays in it. */
static void put_errors(error *errors, int count)
{
    int number;

    ERR_clear_error();
    for (number = 0; number < count; number++) {
        const char *data = errors[number].data;

        ERR_new();
        ERR_set_error(ERR_GET_LIB(errors[number].code), ERR_GET_REASON(errors[number].code),
                      data != NULL ? "%s" : NULL, data);
        OPENSSL_free(errors[number].data);
    }
}

/* Removes a refused session from the store. A TLS 1.3 session is no longer in it. */
static void forget_refused(SSL *ssl, const openssl_tickets_slot *slot, attempt *a,
                           SSL_SESSION *offered)
{
    error errors[MAX_ERRORS];
    int count;
    void *before;

    if (a->stored != NULL) {
        release_stored(a, 1);
    } else if (Py_IsInitialized() && openssl_tickets_begin_callback(ssl, NULL, &before)) {
        count = take_errors(errors);
        openssl_tickets_refused(ssl, (uintptr_t)SSL_get_app_data(ssl), offered, slot->number);
        put_errors(errors, count);
        ERR_set_mark(); /* again, because state_changed has set one on the old queue */
        openssl_tickets_end_callback(ssl, before);
    }
}

static void end_handshake(SSL *ssl, const openssl_tickets_slot *slot, attempt *a, int failed)
{
    SSL_SESSION *offered = a->offered;

    a->offered = NULL;
    if (offered != NULL && (failed || !SSL_session_reused(ssl)))
        forget_refused(ssl, slot, a, offered);
    a = attempt_of(ssl); /* Python may have run */
    if (a != NULL) {
        release_stored(a, 0);
        settle(ssl, a);
        /* In TLS 1.3, libssl takes a pre-shared key for a session: see has_psk. */
        if (offered == NULL && !failed && SSL_session_reused(ssl))
            a->state = CHANGED;
    }
    /* libssl does not report a new ticket that comes with a TLS 1.2 resumption. */
    if (offered != NULL && !failed && SSL_session_reused(ssl) && openssl_tickets_before_tls13(ssl)
        && SSL_get_session(ssl) != offered)
        openssl_tickets_announce(ssl, slot, SSL_get_session(ssl));
    SSL_SESSION_free(offered);
}

/* Puts a session that came to a client into the store, if it may be offered later. */
void openssl_tickets_keep(SSL *ssl, openssl_tickets_store *store, SSL_SESSION *session)
{
    int uses = openssl_tickets_uses_of(session);
    attempt *a = attempt_of(ssl);

    if (!uses || openssl_tickets_key_to_keep(ssl) == NULL)
        return;
    if (uses > 1) /* the newest one is enough */
        openssl_tickets_remove(store, a->key, key_len_of(a), NULL);
    if (SSL_SESSION_up_ref(session))
        openssl_tickets_put(store, a->key, key_len_of(a), session);
}

/* The info callback for libssl. Python calls it too, from a program's own info callback. */
void openssl_tickets_state_changed(const SSL *const_ssl, int where, int ret)
{
    SSL *ssl = (SSL *)const_ssl; /* as every info callback has to, to do anything */
    openssl_tickets_slot *slot;
    attempt *a;

    if (!(where & (SSL_CB_HANDSHAKE_START | SSL_CB_HANDSHAKE_DONE | SSL_CB_ALERT))
        || SSL_is_server(ssl) || (slot = openssl_tickets_slot_of(ssl)) == NULL)
        return;
    ERR_set_mark();
    a = attempt_of(ssl);
    if (where & SSL_CB_HANDSHAKE_START) {
        /* An earlier handshake is over, and so is what it verified. */
        if (a != NULL && SSL_set_ex_data(ssl, attempt_index, NULL))
            end_attempt(a);
        /*
         * A session that the program set itself is left alone, because nobody can tell what was
         * verified for it. The same is true for the session of a renegotiation.
         */
        if (slot->resumes && SSL_get_session(ssl) == NULL)
            begin_handshake(ssl, slot);
    } else if (a != NULL && where & SSL_CB_HANDSHAKE_DONE) {
        end_handshake(ssl, slot, a, 0);
    } else if (a != NULL && where & SSL_CB_ALERT && ret >> 8 == SSL3_AL_FATAL) {
        end_handshake(ssl, slot, a, 1);
    }
    ERR_pop_to_mark();
}

/*
 * Turns resuming on or off for the clients of ctx, whose slot the caller has made. The sessions are in
 * the store; if that is NULL, Python has them. If is_chained, the program's own info callback calls
 * state_changed. Returns 0 and does nothing if the info callback is neither ours nor chained.
 */
int openssl_tickets_set_resumes(SSL_CTX *ctx, int resumes, openssl_tickets_store *store,
                                int is_chained)
{
    openssl_tickets_store *before;
    openssl_tickets_slot *slot = openssl_tickets_slot_of_ctx(ctx);
    void (*callback)(const SSL *ssl, int where, int ret) = SSL_CTX_get_info_callback(ctx);
    int is_ours = callback == openssl_tickets_state_changed;

    if (slot == NULL || !CRYPTO_THREAD_run_once(&index_once, make_index) || attempt_index < 0
        || (resumes && !is_chained && !is_ours && callback != NULL))
        return 0;
    openssl_tickets_lock();
    before = slot->store;
    slot->store = openssl_tickets_hold_store(store);
    slot->resumes = resumes;
    openssl_tickets_unlock();
    openssl_tickets_release_store(before);
    if (resumes && !is_chained)
        SSL_CTX_set_info_callback(ctx, openssl_tickets_state_changed);
    else if (is_ours)
        SSL_CTX_set_info_callback(ctx, NULL);
    return 1;
}

/* Returns 1 if ctx is for servers only. A context for both sides has another method. */
int openssl_tickets_is_server_only(SSL_CTX *ctx)
{
    const SSL_METHOD *method = SSL_CTX_get_ssl_method(ctx);

    return method == TLS_server_method() || method == DTLS_server_method();
}
