/*
 * The one private header of this package's C files. Each file compiles alone with it.
 *
 * The checks come first, so that the preprocessor can say what a build lacks: the headers of
 * OpenSSL's own libssl, 3.0 or newer. An older OpenSSL lacks SSL_new_session_ticket. LibreSSL and
 * BoringSSL lack the ticket callbacks.
 */
#ifndef OPENSSL_TICKETS_H
#define OPENSSL_TICKETS_H

#include <openssl/opensslv.h>
#include <openssl/crypto.h>

#if defined(LIBRESSL_VERSION_NUMBER)
#error "openssl_tickets needs OpenSSL 3.0 or newer, and these headers are LibreSSL's: set OPENSSL_DIR"
#elif defined(OPENSSL_IS_BORINGSSL) || defined(OPENSSL_IS_AWSLC)
#error "openssl_tickets needs OpenSSL 3.0 or newer, and these headers are BoringSSL's: set OPENSSL_DIR"
#elif !defined(OPENSSL_VERSION_NUMBER) || OPENSSL_VERSION_NUMBER < 0x30000000L
#error "openssl_tickets needs OpenSSL 3.0 or newer, and these headers are older: set OPENSSL_DIR"
#endif

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

/* _native/lock.c */
int openssl_tickets_init(void);
void openssl_tickets_lock(void);
void openssl_tickets_unlock(void);

/* _native/interpreter.c */
int openssl_tickets_enters(uintptr_t builtins);

/* _native/shared_object.c */
const char *openssl_tickets_file_of(const void *address);
void *openssl_tickets_symbol_of(const char *file, const char *symbol);

/* _native/errors.c */
void openssl_tickets_write_unraisable(void *exception, void *object);

/* _core/slot.c: the data of an SSL_CTX. "Under the lock" means the lock of lock.c. */
typedef struct openssl_tickets_keyring openssl_tickets_keyring;
typedef struct openssl_tickets_store openssl_tickets_store;

/* Digests that the clients of an SSL_CTX need for each handshake: see client_sessions.c. */
#define OPENSSL_TICKETS_DIGEST_LEN 32

typedef struct {
    X509_STORE *store;         /* a reference; NULL if there is no digest yet */
    int count;                 /* the number of certificates and CRLs in the store then */
    int crls;                  /* the number of CRLs among them */
    unsigned char digest[OPENSSL_TICKETS_DIGEST_LEN];
} openssl_tickets_anchors;

typedef struct {
    unsigned char *bytes;      /* what was digested last; NULL if nothing was */
    size_t len;
    unsigned char digest[OPENSSL_TICKETS_DIGEST_LEN];
} openssl_tickets_digested;

/* What happened to the tickets of an SSL_CTX: see ticket_stats.py. */
typedef struct {
    uint64_t issued, received, used, renewed, ignored, aborted, undecryptable, failed;
} openssl_tickets_counts;

typedef struct {
    uintptr_t number;          /* Python keeps the callbacks under it; no number is used twice */
    SSL_CTX *ctx;              /* the owner of the slot */
    atomic_int asks_generate;  /* whether Python has a generate callback */
    atomic_int asks_decrypt;   /* whether Python has a decrypt callback */
    atomic_int announces;      /* whether Python has a callback for new sessions */
    atomic_int resumes;        /* whether clients offer sessions by themselves */
    atomic_int binds_names;    /* whether a ticket is bound to its server name */
    atomic_int stores_nothing; /* whether we set SESS_CACHE_NO_INTERNAL_STORE */
    atomic_long max_lifetime;  /* seconds from the full handshake; 0 for no limit */
    openssl_tickets_store *store; /* under the lock: the store of the sessions; NULL if Python has it */
    openssl_tickets_anchors anchors; /* under the lock: a digest of what clients trust, */
    openssl_tickets_digested identity; /* of the certificates that they show, */
    openssl_tickets_digested settings; /* and of how they verify */
    openssl_tickets_keyring *keyring; /* under the lock; NULL if libssl uses its own keys */
    unsigned char *purpose;    /* under the lock: the purpose of the derived keys, or NULL */
    size_t purpose_len;
    openssl_tickets_counts counts; /* under the lock */
} openssl_tickets_slot;

/* Marks of an SSL. */
#define OPENSSL_TICKETS_ACCEPTED 1 /* decrypt has accepted the last ticket; not in TLS 1.3 */
#define OPENSSL_TICKETS_AGAIN 2    /* the client's hello is the second one of this handshake */

openssl_tickets_slot *openssl_tickets_slot_of_ctx(SSL_CTX *ctx);
openssl_tickets_slot *openssl_tickets_slot_of(const SSL *ssl);
uintptr_t openssl_tickets_number_of(SSL_CTX *ctx);
void openssl_tickets_forget_in(uintptr_t table);
int openssl_tickets_dup_nothing(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from, void **from_d,
                                int index, long argl, void *argp);
int openssl_tickets_marks(const SSL *ssl);
int openssl_tickets_set_marks(SSL *ssl, int marks);
int openssl_tickets_begin_callback(SSL *ssl, SSL_SESSION *offered, void **before);
void openssl_tickets_end_callback(SSL *ssl, void *before);
SSL_SESSION *openssl_tickets_offered_session(SSL *ssl);
int openssl_tickets_is_asked(const void *ssl);

/* _core/session.c */
#define OPENSSL_TICKETS_MAX_ENCODED_SESSION 0xFF00

int openssl_tickets_set_appdata(SSL_SESSION *session, const void *data, size_t len);
int openssl_tickets_copy_appdata(SSL_SESSION *session, void **copy, size_t *len);
int openssl_tickets_copy_peer(SSL_SESSION *session, unsigned char **copy);
void openssl_tickets_free_copy(void *copy, size_t len);
SSL_SESSION *openssl_tickets_copy_session(SSL_SESSION *session);
int openssl_tickets_is_told_server(SSL *ssl);
int openssl_tickets_same_session(const SSL_SESSION *one, const SSL_SESSION *other);
int openssl_tickets_to_der(SSL_SESSION *session, unsigned char **der);
SSL_SESSION *openssl_tickets_from_der(const unsigned char *der, size_t len);
int openssl_tickets_to_pem(SSL_SESSION *session, unsigned char **pem);
int openssl_tickets_from_pem(const char *pem, size_t len, unsigned char **der, size_t *der_len,
                             size_t *rest);
int openssl_tickets_set_session(SSL *ssl, SSL_SESSION *session);

/* _core/session_lifetime.c */
int openssl_tickets_set_max_lifetime(SSL_CTX *ctx, long seconds);
long openssl_tickets_get_max_lifetime(SSL_CTX *ctx);
int openssl_tickets_begin_session(SSL *ssl, const openssl_tickets_slot *slot);
int openssl_tickets_limit_ticket(SSL *ssl, const openssl_tickets_slot *slot);
int openssl_tickets_has_time_left(SSL_SESSION *session, const openssl_tickets_slot *slot);

/* _core/ticket_stats.c */
void openssl_tickets_count(uint64_t *count);
int openssl_tickets_get_counts(SSL_CTX *ctx, openssl_tickets_counts *counts);

/* _core/ticket_callback.c. Python defines _generate, _refuse and _decrypt. */
#define OPENSSL_TICKETS_STATEFUL 1
#define OPENSSL_TICKETS_CACHED 2
#define OPENSSL_TICKETS_NO_ID_CONTEXT 3
#define OPENSSL_TICKETS_NOT_STORED 4

/*
 * What generate returns: 0 if it failed (which is also what cffi returns if it cannot call it at
 * all), 1 if it has written nothing into the room for data, or the number of bytes there plus 2.
 */
#define OPENSSL_TICKETS_NOTHING 1
#define OPENSSL_TICKETS_WRITTEN 2
#define OPENSSL_TICKETS_ROOM 256 /* bytes */

void openssl_tickets_tell_libssl(openssl_tickets_slot *slot);
void openssl_tickets_set_ticket_callback(SSL_CTX *ctx, int has_generate, int has_decrypt);
int openssl_tickets_generate(SSL *ssl, uintptr_t app_data, uintptr_t number, char *room);
int openssl_tickets_refuse(SSL *ssl, uintptr_t app_data, uintptr_t number, int reason);
SSL_TICKET_RETURN openssl_tickets_decrypt(SSL *ssl, uintptr_t app_data, const char *keyname,
                                          size_t keyname_len, SSL_TICKET_STATUS status,
                                          uintptr_t number, const char *appdata,
                                          size_t appdata_len);
int openssl_tickets_set_generated(SSL *ssl, const void *data, size_t len);
int openssl_tickets_hello_server_name(SSL *ssl, const char **name, size_t *name_len);
int openssl_tickets_bind_names(SSL_CTX *ctx, int enabled);

/* _core/new_session.c. Python defines the last function. */
void openssl_tickets_set_new_session(SSL_CTX *ctx, int is_wanted, int announces);
void openssl_tickets_announce(SSL *ssl, const openssl_tickets_slot *slot, SSL_SESSION *session);
void openssl_tickets_new_session(SSL *ssl, uintptr_t app_data, SSL_SESSION *session,
                                 uintptr_t number);

/* _core/session_stores.c */
openssl_tickets_store *openssl_tickets_new_store(size_t max_servers, size_t max_sessions);
openssl_tickets_store *openssl_tickets_hold_store(openssl_tickets_store *store);
void openssl_tickets_release_store(openssl_tickets_store *store);
int openssl_tickets_put(openssl_tickets_store *store, const char *key, size_t key_len,
                        SSL_SESSION *session);
SSL_SESSION *openssl_tickets_take(openssl_tickets_store *store, const char *key, size_t key_len);
SSL_SESSION *openssl_tickets_use(openssl_tickets_store *store, const char *key, size_t key_len);
void openssl_tickets_remove(openssl_tickets_store *store, const char *key, size_t key_len,
                            const SSL_SESSION *session);
void openssl_tickets_clear_store(openssl_tickets_store *store);
size_t openssl_tickets_count_stored(openssl_tickets_store *store);

/* _core/client_sessions.c. Python defines the last two functions. */
void openssl_tickets_release_digests(openssl_tickets_slot *slot);
int openssl_tickets_set_resumes(SSL_CTX *ctx, int resumes, openssl_tickets_store *store,
                                int is_chained);
int openssl_tickets_is_server_only(SSL_CTX *ctx);
void openssl_tickets_know_verify_callback(uintptr_t callback, const char *verifier);
const char *openssl_tickets_begin_attempt(SSL *ssl, const char *name, const char *verifier);
int openssl_tickets_offer_session(SSL *ssl, SSL_SESSION *session);
const char *openssl_tickets_key_of_offer(SSL *ssl);
const char *openssl_tickets_key_to_keep(SSL *ssl);
int openssl_tickets_uses_of(const SSL_SESSION *session);
void openssl_tickets_state_changed(const SSL *ssl, int where, int ret);
void openssl_tickets_keep(SSL *ssl, openssl_tickets_store *store, SSL_SESSION *session);
void openssl_tickets_offer(SSL *ssl, uintptr_t app_data, uintptr_t number, const char *server_name,
                           uintptr_t verify_callback);
void openssl_tickets_refused(SSL *ssl, uintptr_t app_data, SSL_SESSION *session, uintptr_t number);

/* _core/ticket_keys.c */
#define OPENSSL_TICKETS_KEY_NAME_LEN 16
#define OPENSSL_TICKETS_MAX_SECRET_LEN 32
#define OPENSSL_TICKETS_MAX_PURPOSE_LEN 255

typedef struct {
    unsigned char name[OPENSSL_TICKETS_KEY_NAME_LEN];
    unsigned char hmac_key[OPENSSL_TICKETS_MAX_SECRET_LEN];
    unsigned char aes_key[OPENSSL_TICKETS_MAX_SECRET_LEN];
    size_t secret_len;         /* of each key: 32 bytes for AES-256, 16 for AES-128 */
} openssl_tickets_key;

/* How often a key of a keyring was used. */
typedef struct {
    unsigned char name[OPENSSL_TICKETS_KEY_NAME_LEN];
    uint64_t encrypted, decrypted;
} openssl_tickets_key_counts;

openssl_tickets_key *openssl_tickets_new_key(const unsigned char *name,
                                             const unsigned char *hmac_key,
                                             const unsigned char *aes_key, size_t secret_len);
void openssl_tickets_free_key(openssl_tickets_key *key);
int openssl_tickets_same_key(const openssl_tickets_key *one, const openssl_tickets_key *other);
openssl_tickets_keyring *openssl_tickets_new_keyring(void);
openssl_tickets_key *openssl_tickets_key_for_purpose(const openssl_tickets_key *key,
                                                     const unsigned char *purpose,
                                                     size_t purpose_len);
openssl_tickets_keyring *openssl_tickets_new_derived_keyring(const unsigned char **secrets,
                                                             size_t *secret_lens, size_t count,
                                                             int64_t period, int64_t accept_for);
void openssl_tickets_release_keyring(openssl_tickets_keyring *keyring);
int openssl_tickets_set_keys(openssl_tickets_keyring *keyring, openssl_tickets_key **keys,
                             size_t count);
int openssl_tickets_rotate_keys(openssl_tickets_keyring *keyring, const openssl_tickets_key *key,
                                size_t keep);
int openssl_tickets_forget_key(openssl_tickets_keyring *keyring, const unsigned char *name);
size_t openssl_tickets_get_keys(openssl_tickets_keyring *keyring, int64_t at,
                                openssl_tickets_key **copies, size_t room);
int openssl_tickets_use_keyring(SSL_CTX *ctx, openssl_tickets_keyring *keyring,
                                const unsigned char *purpose, size_t purpose_len);
size_t openssl_tickets_get_key_counts(openssl_tickets_keyring *keyring,
                                      openssl_tickets_key_counts *counts, size_t room,
                                      uint64_t *unknown);

int openssl_tickets_hkdf(const unsigned char *key, size_t key_len, const unsigned char *info,
                         size_t info_len, unsigned char *derived, size_t len);

/* _core/sealed.c */
#define OPENSSL_TICKETS_SEAL_LEN 28

int openssl_tickets_seal(const unsigned char *secret, size_t secret_len, const unsigned char *plain,
                         size_t plain_len, const unsigned char *also, size_t also_len,
                         unsigned char *sealed);
int openssl_tickets_open_sealed(const unsigned char *secret, size_t secret_len,
                                const unsigned char *sealed, size_t sealed_len,
                                const unsigned char *also, size_t also_len, unsigned char *plain);

/* _adapters/stdlib.c */
int openssl_tickets_append_object_at(uintptr_t list);

/* Whether ssl speaks a version before TLS 1.3. There a ticket contains the session itself. */
static inline int openssl_tickets_before_tls13(const SSL *ssl)
{
    switch (SSL_version(ssl)) {
    case TLS1_VERSION:
    case TLS1_1_VERSION:
    case TLS1_2_VERSION:
    case DTLS1_VERSION:
    case DTLS1_2_VERSION:
        return 1;
    }
    return 0;
}

#endif
