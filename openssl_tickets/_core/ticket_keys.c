/*
 * Ticket keys of the program's own: what libssl calls to encrypt and decrypt a ticket. No Python
 * runs here.
 *
 *   SSL_CTX --> slot --> keyring --current--> key_set
 *
 * One keyring may serve many SSL_CTXs. A key_set is never changed: new keys are a new key_set in the
 * keyring, and the old one is wiped when the last handshake that is using it has let go.
 */
#include <string.h>
#include <time.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include "openssl_tickets.h"

typedef struct {
    int references;            /* under the lock */
    size_t count;
    openssl_tickets_key keys[1]; /* count of them: the first encrypts */
} key_set;

struct openssl_tickets_keyring {
    int references;            /* under the lock */
    key_set *current;          /* under the lock; NULL before the first */
    /* Where the keys follow from a secret and the clock; else secret is NULL. All but the last two
       never change. */
    unsigned char *secret;
    size_t secret_len;
    int64_t period;            /* seconds */
    int64_t accept_for;        /* seconds */
    int64_t since, until;      /* under the lock: when current holds, in seconds since the Epoch */
};

static EVP_CIPHER *aes_128 = NULL, *aes_256 = NULL; /* under the lock until they are there */

/* Once is enough, also since libssl's own locks, which it takes, do not survive a fork. */
static int fetch_cipher(EVP_CIPHER **place, const char *name)
{
    EVP_CIPHER *fetched;
    int is_there;

    openssl_tickets_lock();
    is_there = *place != NULL;
    openssl_tickets_unlock();
    if (is_there)
        return 1;
    fetched = EVP_CIPHER_fetch(NULL, name, NULL);
    openssl_tickets_lock();
    if (*place == NULL) {
        *place = fetched;
        fetched = NULL;
    }
    is_there = *place != NULL;
    openssl_tickets_unlock();
    EVP_CIPHER_free(fetched);
    return is_there;
}

/* Returns a key, freed with openssl_tickets_free_key; random where name is NULL; NULL on failure. */
openssl_tickets_key *openssl_tickets_new_key(const unsigned char *name,
                                             const unsigned char *hmac_key,
                                             const unsigned char *aes_key,
                                             size_t secret_len)
{
    openssl_tickets_key *key = OPENSSL_zalloc(sizeof(*key));

    if (key == NULL || secret_len > OPENSSL_TICKETS_MAX_SECRET_LEN) {
        OPENSSL_free(key);
        return NULL;
    }
    key->secret_len = secret_len;
    if (name != NULL) {
        memcpy(key->name, name, sizeof(key->name));
        memcpy(key->hmac_key, hmac_key, secret_len);
        memcpy(key->aes_key, aes_key, secret_len);
    } else if (RAND_bytes(key->name, sizeof(key->name)) <= 0
               || RAND_priv_bytes(key->hmac_key, (int)secret_len) <= 0
               || RAND_priv_bytes(key->aes_key, (int)secret_len) <= 0) {
        OPENSSL_clear_free(key, sizeof(*key));
        return NULL;
    }
    return key;
}

void openssl_tickets_free_key(openssl_tickets_key *key)
{
    OPENSSL_clear_free(key, sizeof(*key));
}

int openssl_tickets_same_key(const openssl_tickets_key *one,
                             const openssl_tickets_key *other)
{
    return CRYPTO_memcmp(one, other, sizeof(*one)) == 0;
}

static size_t size_of_keys(size_t count)
{
    return offsetof(key_set, keys) + count * sizeof(openssl_tickets_key);
}

static void release_keys(key_set *released)
{
    int references;

    if (released == NULL)
        return;
    openssl_tickets_lock();
    references = --released->references;
    openssl_tickets_unlock();
    if (references == 0)
        OPENSSL_clear_free(released, size_of_keys(released->count));
}

openssl_tickets_keyring *openssl_tickets_new_keyring(void)
{
    openssl_tickets_keyring *keyring = OPENSSL_zalloc(sizeof(*keyring));

    if (keyring != NULL)
        keyring->references = 1;
    return keyring;
}

/* Returns a keyring whose keys follow from a secret and the clock; NULL when there is no memory. */
openssl_tickets_keyring *openssl_tickets_new_derived_keyring(const unsigned char *secret,
                                                             size_t secret_len,
                                                             int64_t period,
                                                             int64_t accept_for)
{
    openssl_tickets_keyring *keyring = openssl_tickets_new_keyring();

    if (keyring == NULL)
        return NULL;
    keyring->secret = OPENSSL_memdup(secret, secret_len);
    if (keyring->secret == NULL) {
        OPENSSL_free(keyring);
        return NULL;
    }
    keyring->secret_len = secret_len;
    keyring->period = period;
    keyring->accept_for = accept_for;
    return keyring;
}

void openssl_tickets_release_keyring(openssl_tickets_keyring *keyring)
{
    int references;

    if (keyring == NULL)
        return;
    openssl_tickets_lock();
    references = --keyring->references;
    openssl_tickets_unlock();
    if (references == 0) {
        release_keys(keyring->current);
        OPENSSL_clear_free(keyring->secret, keyring->secret_len);
        OPENSSL_free(keyring);
    }
}

/*
 * The key of a period: 80 bytes of HKDF-SHA256, with the number of the period as eight bytes, most
 * significant first, behind the text below as its info. Hosts of other versions must get the same.
 */
static int derive_key(const openssl_tickets_keyring *keyring, int64_t period,
                      openssl_tickets_key *key)
{
    static const char label[] = "openssl_tickets ticket key 1";
    unsigned char info[sizeof(label) - 1 + 8], derived[80];
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *kdf_ctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    OSSL_PARAM params[4];
    int number, result;

    memcpy(info, label, sizeof(label) - 1);
    for (number = 0; number < 8; number++)
        info[sizeof(label) - 1 + number] = (unsigned char)((uint64_t)period >> (8 * (7 - number)));
    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, "SHA256", 0);
    params[1] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, keyring->secret,
                                                  keyring->secret_len);
    params[2] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, sizeof(info));
    params[3] = OSSL_PARAM_construct_end();
    result = kdf_ctx != NULL && EVP_KDF_derive(kdf_ctx, derived, sizeof(derived), params) > 0;
    if (result) {
        memcpy(key->name, derived, 16);
        memcpy(key->hmac_key, derived + 16, 32);
        memcpy(key->aes_key, derived + 48, 32);
        key->secret_len = 32;
    }
    OPENSSL_cleanse(derived, sizeof(derived));
    EVP_KDF_CTX_free(kdf_ctx);
    EVP_KDF_free(kdf);
    return result;
}

/*
 * The keys at the time now: that of this period, which encrypts; that of the next, for hosts whose
 * clocks are ahead; and those of the periods before, as long as a ticket of theirs may be of use.
 * Returns NULL when there is no memory, or no HKDF.
 */
static key_set *derive_keys(const openssl_tickets_keyring *keyring, int64_t now, int64_t *since,
                            int64_t *until)
{
    int64_t period = now / keyring->period, oldest = 0, dropped, number;
    key_set *made;

    if (now > keyring->accept_for)
        oldest = (now - keyring->accept_for) / keyring->period;
    made = OPENSSL_zalloc(size_of_keys((size_t)(period - oldest + 2)));
    if (made == NULL)
        return NULL;
    made->references = 1;
    made->count = (size_t)(period - oldest + 2);
    for (number = oldest; number <= period + 1; number++)
        if (!derive_key(keyring, number,
                        &made->keys[number > period ? 1 : number == period ? 0
                                                    : period - number + 1])) {
            release_keys(made);
            return NULL;
        }
    *since = now;
    *until = (period + 1) * keyring->period;
    dropped = (oldest + 1) * keyring->period + keyring->accept_for;
    if (dropped < *until)
        *until = dropped;
    return made;
}

/* Returns the keys of the keyring as of now, held; NULL when they could not be derived. */
static key_set *hold_keys(openssl_tickets_keyring *keyring)
{
    int64_t now = keyring->secret != NULL ? (int64_t)time(NULL) : 0, since, until;
    key_set *held = NULL, *made, *replaced = NULL;

    if (now < 0)
        now = 0; /* a clock that is before the Epoch */
    openssl_tickets_lock();
    if (keyring->secret == NULL || (keyring->since <= now && now < keyring->until))
        held = keyring->current;
    if (held != NULL)
        held->references++;
    openssl_tickets_unlock();
    if (held != NULL || keyring->secret == NULL)
        return held;
    made = derive_keys(keyring, now, &since, &until);
    if (made == NULL)
        return NULL;
    openssl_tickets_lock();
    replaced = keyring->current;
    keyring->current = made;
    keyring->since = since;
    keyring->until = until;
    made->references++;
    openssl_tickets_unlock();
    release_keys(replaced);
    return made;
}

/* Puts copies of the keys in the place of those of the keyring. Returns 0 when there is no memory. */
int openssl_tickets_set_keys(openssl_tickets_keyring *keyring,
                             openssl_tickets_key **keys, size_t count)
{
    key_set *added = OPENSSL_zalloc(size_of_keys(count)), *replaced;
    size_t number;

    if (added == NULL)
        return 0;
    added->references = 1;
    added->count = count;
    for (number = 0; number < count; number++)
        added->keys[number] = *keys[number];
    openssl_tickets_lock();
    replaced = keyring->current;
    keyring->current = added;
    openssl_tickets_unlock();
    release_keys(replaced);
    return 1;
}

/*
 * Puts a copy of the key ahead of those of the keyring, of which at most keep stay. Returns 0 when
 * there is no memory, -1 when one that would stay has its name.
 */
int openssl_tickets_rotate_keys(openssl_tickets_keyring *keyring,
                                const openssl_tickets_key *key, size_t keep)
{
    key_set *seen, *added, *replaced = NULL;
    size_t stay, number;

    for (;;) {
        seen = hold_keys(keyring);
        stay = seen->count < keep ? seen->count : keep;
        added = OPENSSL_zalloc(size_of_keys(stay + 1));
        if (added == NULL) {
            release_keys(seen);
            return 0;
        }
        added->references = 1;
        added->count = stay + 1;
        added->keys[0] = *key;
        for (number = 0; number < stay; number++) {
            added->keys[number + 1] = seen->keys[number];
            if (memcmp(seen->keys[number].name, key->name, sizeof(key->name)) == 0) {
                release_keys(seen);
                release_keys(added);
                return -1;
            }
        }
        openssl_tickets_lock();
        if (keyring->current == seen) {
            replaced = seen;
            keyring->current = added;
            added = NULL;
        }
        openssl_tickets_unlock();
        release_keys(seen);
        if (added == NULL)
            break;
        release_keys(added); /* another thread has set others meanwhile */
    }
    release_keys(replaced);
    return 1;
}

/*
 * Copies the keys of the keyring to new places, at most room of them, each freed with
 * openssl_tickets_free_key: those of now, or where at is not negative and they are derived, those of
 * that time. Returns how many there are, 0 when there is no memory.
 */
size_t openssl_tickets_get_keys(openssl_tickets_keyring *keyring, int64_t at,
                                openssl_tickets_key **copies, size_t room)
{
    int64_t since, until;
    key_set *held = at >= 0 && keyring->secret != NULL ? derive_keys(keyring, at, &since, &until)
                                                       : hold_keys(keyring);
    size_t count = held != NULL ? held->count : 0, number;

    for (number = 0; number < count && number < room; number++) {
        copies[number] = OPENSSL_memdup(&held->keys[number], sizeof(held->keys[number]));
        if (copies[number] == NULL) {
            while (number-- > 0)
                openssl_tickets_free_key(copies[number]);
            count = 0;
            break;
        }
    }
    release_keys(held);
    return count;
}

static int start_ticket(const openssl_tickets_key *key, const unsigned char *iv,
                        EVP_CIPHER_CTX *cipher_ctx, EVP_MAC_CTX *mac_ctx, int encrypt)
{
    OSSL_PARAM params[3];

    params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key->hmac_key,
                                                  key->secret_len);
    params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0);
    params[2] = OSSL_PARAM_construct_end();
    return EVP_CipherInit_ex2(cipher_ctx, key->secret_len == 16 ? aes_128 : aes_256, key->aes_key,
                              iv, encrypt, NULL)
           && EVP_MAC_CTX_set_params(mac_ctx, params);
}

/*
 * What libssl calls for each ticket, with the keys of the connection's first SSL_CTX.
 *
 * libssl renews by itself what is resumed in TLS 1.3, but not where there is a key callback: there 2
 * asks for it, as it does where the ticket is of an older key.
 */
static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher_ctx,
                      EVP_MAC_CTX *mac_ctx, int encrypt)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of(ssl);
    openssl_tickets_keyring *keyring = NULL;
    key_set *keys = NULL;
    size_t number = 0;
    int answer = 0;

    if (slot != NULL) {
        openssl_tickets_lock();
        keyring = slot->keyring;
        if (keyring != NULL)
            keyring->references++;
        openssl_tickets_unlock();
    }
    if (keyring != NULL) {
        ERR_set_mark();
        keys = hold_keys(keyring);
        /* What is left in the queue would be taken for a failure of a later call. */
        ERR_pop_to_mark();
        openssl_tickets_release_keyring(keyring);
    }
    if (keys == NULL)
        return 0; /* no ticket can be made, and this one cannot be opened */
    if (encrypt) {
        memcpy(name, keys->keys[0].name, OPENSSL_TICKETS_KEY_NAME_LEN);
        answer = RAND_bytes(iv, 16) > 0 && start_ticket(&keys->keys[0], iv, cipher_ctx, mac_ctx, 1)
                     ? 1
                     : -1;
    } else {
        while (number < keys->count
               && memcmp(name, keys->keys[number].name, OPENSSL_TICKETS_KEY_NAME_LEN) != 0)
            number++;
        if (number < keys->count) {
            if (!start_ticket(&keys->keys[number], iv, cipher_ctx, mac_ctx, 0))
                answer = -1;
            else
                answer = number > 0 || !openssl_tickets_before_tls13(ssl) ? 2 : 1;
        }
    }
    release_keys(keys);
    return answer;
}

/*
 * Has ctx take its ticket keys from the keyring, or from one of its own with a random key where it is
 * NULL: libssl's callback stays, since libssl reads it twice, and other threads may be in between.
 * Returns 0 when there is no memory, or no AES.
 */
int openssl_tickets_use_keyring(SSL_CTX *ctx, openssl_tickets_keyring *keyring)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of_ctx(ctx);
    openssl_tickets_keyring *replaced, *own = NULL;

    if (slot == NULL || !fetch_cipher(&aes_128, "AES-128-CBC")
        || !fetch_cipher(&aes_256, "AES-256-CBC"))
        return 0;
    if (keyring == NULL) {
        openssl_tickets_key *key;
        int made;

        if (slot->keyring == NULL)
            return 1;
        key = openssl_tickets_new_key(NULL, NULL, NULL, 32);
        own = openssl_tickets_new_keyring();
        made = key != NULL && own != NULL && openssl_tickets_set_keys(own, &key, 1);
        openssl_tickets_free_key(key);
        if (!made) {
            openssl_tickets_release_keyring(own);
            return 0;
        }
        keyring = own;
    }
    openssl_tickets_lock();
    replaced = slot->keyring;
    slot->keyring = keyring;
    keyring->references++;
    openssl_tickets_tell_libssl(slot); /* which tickets are of use is looked at in C there */
    openssl_tickets_unlock();
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key);
    openssl_tickets_release_keyring(own);
    openssl_tickets_release_keyring(replaced);
    return 1;
}
