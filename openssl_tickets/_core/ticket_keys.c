/*
 * The program's own ticket keys: libssl calls this file to encrypt and decrypt a ticket. No Python
 * runs here.
 *
 *   SSL_CTX --> slot --> keyring --current--> key_set --purposes--> key_set
 *
 * Many SSL_CTXs can share one keyring. A key_set never changes. New keys are a new key_set in the
 * keyring, and the old key_set is wiped when the last handshake has released it. The keys for a
 * purpose are derived once for a key_set, and are freed with it.
 */
#include <string.h>
#include <time.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include "openssl_tickets.h"

typedef struct key_set {
    int references;            /* under the lock */
    struct key_set *purposes;  /* under the lock: a list of the keys derived from these */
    struct key_set *next;      /* the next in such a list; never changes once it is set */
    unsigned char *purpose;    /* what these keys are derived for, or NULL */
    size_t purpose_len;
    size_t count;
    openssl_tickets_key keys[1]; /* count keys; the first encrypts */
} key_set;

typedef struct {
    unsigned char *bytes;
    size_t len;
} secret;

struct openssl_tickets_keyring {
    int references;            /* under the lock */
    key_set *current;          /* under the lock; NULL before the first keys are set */
    openssl_tickets_key_counts *counts; /* under the lock: one for each key of current */
    size_t counted;
    uint64_t unknown;          /* under the lock: tickets of a key that is not in current */
    /* For keys that are derived from secrets and the clock. Without secrets, all of these are 0.
       Only the last two change later. */
    secret *secrets;           /* the first encrypts */
    size_t secret_count;
    int64_t period;            /* seconds */
    int64_t accept_for;        /* seconds */
    int64_t since, until;      /* under the lock: when current is valid, in seconds since 1970 */
};

static EVP_CIPHER *aes_128 = NULL, *aes_256 = NULL; /* under the lock until they are set */

/*
 * Fetches a cipher, unless that is done. A fetch takes locks in OpenSSL that do not survive a fork,
 * so no ticket may need one. Returns 0 on failure.
 */
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

/*
 * Returns a key, or NULL on failure. If name is NULL, the key is random. The caller frees it with
 * openssl_tickets_free_key.
 */
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

static key_set *new_keys(size_t count)
{
    key_set *made = OPENSSL_zalloc(size_of_keys(count));

    if (made != NULL) {
        made->references = 1;
        made->count = count;
    }
    return made;
}

static void release_keys(key_set *released)
{
    key_set *next;
    int references;

    if (released == NULL)
        return;
    openssl_tickets_lock();
    references = --released->references;
    openssl_tickets_unlock();
    if (references != 0)
        return;
    while ((next = released->purposes) != NULL) {
        released->purposes = next->next;
        release_keys(next);
    }
    OPENSSL_free(released->purpose);
    OPENSSL_clear_free(released, size_of_keys(released->count));
}

/* Runs HKDF-SHA256 without a salt. Returns 0 if there is no memory or no HKDF. */
int openssl_tickets_hkdf(const unsigned char *key, size_t key_len, const unsigned char *info,
                         size_t info_len, unsigned char *derived, size_t len)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *kdf_ctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    OSSL_PARAM params[4];
    int result;

    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, "SHA256", 0);
    params[1] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key, key_len);
    params[2] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_len);
    params[3] = OSSL_PARAM_construct_end();
    result = kdf_ctx != NULL && EVP_KDF_derive(kdf_ctx, derived, len, params) > 0;
    EVP_KDF_CTX_free(kdf_ctx);
    EVP_KDF_free(kdf);
    return result;
}

/*
 * Derives the key for a purpose. Its name, HMAC key and AES key are, in this order, the output of
 * HKDF-SHA256. They are as long as those of the ring's key. The key of HKDF is the ring key's HMAC
 * key and AES key. Its info is the label below, the ring key's name, and the purpose. Hosts with
 * other versions of this package must get the same key, so this must never change.
 */
static int derive_for_purpose(const openssl_tickets_key *key, const unsigned char *purpose,
                              size_t purpose_len, openssl_tickets_key *derived)
{
    static const char label[] = "openssl_tickets purpose 1";
    unsigned char material[2 * OPENSSL_TICKETS_MAX_SECRET_LEN];
    unsigned char made[OPENSSL_TICKETS_KEY_NAME_LEN + 2 * OPENSSL_TICKETS_MAX_SECRET_LEN];
    size_t info_len = sizeof(label) - 1 + sizeof(key->name) + purpose_len;
    unsigned char *info = OPENSSL_malloc(info_len);
    int result;

    if (info == NULL)
        return 0;
    memcpy(info, label, sizeof(label) - 1);
    memcpy(info + sizeof(label) - 1, key->name, sizeof(key->name));
    memcpy(info + sizeof(label) - 1 + sizeof(key->name), purpose, purpose_len);
    memcpy(material, key->hmac_key, key->secret_len);
    memcpy(material + key->secret_len, key->aes_key, key->secret_len);
    result = openssl_tickets_hkdf(material, 2 * key->secret_len, info, info_len, made,
                                  sizeof(key->name) + 2 * key->secret_len);
    if (result) {
        memcpy(derived->name, made, sizeof(derived->name));
        memcpy(derived->hmac_key, made + sizeof(derived->name), key->secret_len);
        memcpy(derived->aes_key, made + sizeof(derived->name) + key->secret_len, key->secret_len);
        derived->secret_len = key->secret_len;
    }
    OPENSSL_cleanse(material, sizeof(material));
    OPENSSL_cleanse(made, sizeof(made));
    OPENSSL_free(info);
    return result;
}

openssl_tickets_key *openssl_tickets_key_for_purpose(const openssl_tickets_key *key,
                                                     const unsigned char *purpose,
                                                     size_t purpose_len)
{
    openssl_tickets_key *derived = OPENSSL_zalloc(sizeof(*derived));

    if (derived != NULL && !derive_for_purpose(key, purpose, purpose_len, derived)) {
        openssl_tickets_free_key(derived);
        derived = NULL;
    }
    return derived;
}

/*
 * Returns a reference to the keys for a purpose if they have been derived already, or NULL. The
 * caller holds the lock.
 */
static key_set *find_for_purpose(key_set *keys, const unsigned char *purpose, size_t purpose_len)
{
    key_set *found = keys->purposes;

    while (found != NULL && (found->purpose_len != purpose_len
                             || memcmp(found->purpose, purpose, purpose_len) != 0))
        found = found->next;
    if (found != NULL)
        found->references++;
    return found;
}

/* Returns a reference to the keys for a purpose. Returns NULL if there is no memory or no HKDF. */
static key_set *hold_for_purpose(key_set *keys, const unsigned char *purpose, size_t purpose_len)
{
    key_set *held, *made;
    size_t number;
    int done;

    openssl_tickets_lock();
    held = find_for_purpose(keys, purpose, purpose_len);
    openssl_tickets_unlock();
    if (held != NULL)
        return held;
    made = new_keys(keys->count);
    done = made != NULL && (made->purpose = OPENSSL_memdup(purpose, purpose_len)) != NULL;
    for (number = 0; done && number < keys->count; number++)
        done = derive_for_purpose(&keys->keys[number], purpose, purpose_len, &made->keys[number]);
    if (!done) {
        release_keys(made);
        return NULL;
    }
    made->purpose_len = purpose_len;
    openssl_tickets_lock();
    held = find_for_purpose(keys, purpose, purpose_len);
    if (held == NULL) {
        made->next = keys->purposes;
        keys->purposes = held = made;
        made->references++;
        made = NULL;
    }
    openssl_tickets_unlock();
    release_keys(made);
    return held;
}

/*
 * Replaces the keys of the keyring, and returns the old ones. Keys that stay keep their counts.
 * spare has room for the new counts on entry, and is the old counts on return. The caller holds the
 * lock.
 */
static key_set *put_keys(openssl_tickets_keyring *keyring, key_set *keys,
                         openssl_tickets_key_counts **spare)
{
    openssl_tickets_key_counts *counts = *spare;
    key_set *replaced = keyring->current;
    size_t number, other;

    for (number = 0; number < keys->count; number++) {
        memcpy(counts[number].name, keys->keys[number].name, sizeof(counts[number].name));
        for (other = 0; other < keyring->counted; other++)
            if (memcmp(counts[number].name, keyring->counts[other].name,
                       sizeof(counts[number].name)) == 0) {
                counts[number] = keyring->counts[other];
                break;
            }
    }
    *spare = keyring->counts;
    keyring->counts = counts;
    keyring->counted = keys->count;
    keyring->current = keys;
    return replaced;
}

static openssl_tickets_key_counts *new_counts(size_t count)
{
    return OPENSSL_zalloc(count * sizeof(openssl_tickets_key_counts));
}

/* Counts a ticket for the key with this name. If name is NULL, the key is unknown. */
static void count_ticket(openssl_tickets_keyring *keyring, const unsigned char *name, int encrypt)
{
    size_t number;

    openssl_tickets_lock();
    if (name == NULL)
        keyring->unknown++;
    for (number = 0; name != NULL && number < keyring->counted; number++)
        if (memcmp(keyring->counts[number].name, name, OPENSSL_TICKETS_KEY_NAME_LEN) == 0) {
            if (encrypt)
                keyring->counts[number].encrypted++;
            else
                keyring->counts[number].decrypted++;
            break;
        }
    openssl_tickets_unlock();
}

openssl_tickets_keyring *openssl_tickets_new_keyring(void)
{
    openssl_tickets_keyring *keyring = OPENSSL_zalloc(sizeof(*keyring));

    if (keyring != NULL)
        keyring->references = 1;
    return keyring;
}

static void free_secrets(openssl_tickets_keyring *keyring)
{
    size_t number;

    for (number = 0; number < keyring->secret_count; number++)
        OPENSSL_clear_free(keyring->secrets[number].bytes, keyring->secrets[number].len);
    OPENSSL_free(keyring->secrets);
}

/*
 * Returns a keyring whose keys are derived from secrets and the clock. Returns NULL if there is no
 * memory.
 */
openssl_tickets_keyring *openssl_tickets_new_derived_keyring(const unsigned char **secrets,
                                                             size_t *secret_lens, size_t count,
                                                             int64_t period, int64_t accept_for)
{
    openssl_tickets_keyring *keyring = openssl_tickets_new_keyring();

    if (keyring == NULL)
        return NULL;
    keyring->secrets = OPENSSL_zalloc(count * sizeof(secret));
    for (; keyring->secrets != NULL && keyring->secret_count < count; keyring->secret_count++) {
        secret *copy = &keyring->secrets[keyring->secret_count];

        copy->len = secret_lens[keyring->secret_count];
        copy->bytes = OPENSSL_memdup(secrets[keyring->secret_count], copy->len);
        if (copy->bytes == NULL)
            break;
    }
    if (keyring->secret_count < count) {
        free_secrets(keyring);
        OPENSSL_free(keyring);
        return NULL;
    }
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
        OPENSSL_free(keyring->counts);
        free_secrets(keyring);
        OPENSSL_free(keyring);
    }
}

/*
 * Derives the key of a period: 80 bytes of HKDF-SHA256. Its info is the label below and the number
 * of the period as eight bytes, most significant first. Hosts with other versions of this package
 * must get the same key, so this must never change.
 */
static int derive_key(const secret *from, int64_t period, openssl_tickets_key *key)
{
    static const unsigned char label[] = "openssl_tickets ticket key 1";
    unsigned char info[sizeof(label) - 1 + 8], derived[80];
    int number, result;

    memcpy(info, label, sizeof(label) - 1);
    for (number = 0; number < 8; number++)
        info[sizeof(label) - 1 + number] = (unsigned char)((uint64_t)period >> (8 * (7 - number)));
    result = openssl_tickets_hkdf(from->bytes, from->len, info, sizeof(info), derived,
                                  sizeof(derived));
    if (result) {
        memcpy(key->name, derived, 16);
        memcpy(key->hmac_key, derived + 16, 32);
        memcpy(key->aes_key, derived + 48, 32);
        key->secret_len = 32;
    }
    OPENSSL_cleanse(derived, sizeof(derived));
    return result;
}

/*
 * Derives the keys for the time now. For each secret these are the key of this period, the key of
 * the next period (for tickets of hosts whose clocks are ahead), and the keys of earlier periods
 * that are still accepted. This period's key of the first secret encrypts. Returns NULL if there is
 * no memory or no HKDF.
 */
static key_set *derive_keys(const openssl_tickets_keyring *keyring, int64_t now, int64_t *since,
                            int64_t *until)
{
    int64_t period = now / keyring->period, oldest = 0, dropped, number;
    size_t count, place;
    key_set *made;

    if (now > keyring->accept_for)
        oldest = (now - keyring->accept_for) / keyring->period;
    count = (size_t)(period - oldest + 2);
    made = new_keys(count * keyring->secret_count);
    if (made == NULL)
        return NULL;
    for (place = 0; place < keyring->secret_count; place++)
        for (number = oldest; number <= period + 1; number++)
            if (!derive_key(&keyring->secrets[place], number,
                            &made->keys[place * count
                                        + (number > period    ? 1
                                           : number == period ? 0
                                                              : period - number + 1)])) {
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

/* Returns a reference to the keyring's keys of now. Returns NULL if they cannot be derived. */
static key_set *hold_keys(openssl_tickets_keyring *keyring)
{
    int64_t now = keyring->secrets != NULL ? (int64_t)time(NULL) : 0, since, until;
    openssl_tickets_key_counts *spare;
    key_set *held = NULL, *made, *replaced = NULL;

    if (now < 0)
        now = 0; /* the clock shows a time before the Epoch */
    openssl_tickets_lock();
    if (keyring->secrets == NULL || (keyring->since <= now && now < keyring->until))
        held = keyring->current;
    if (held != NULL)
        held->references++;
    openssl_tickets_unlock();
    if (held != NULL || keyring->secrets == NULL)
        return held;
    made = derive_keys(keyring, now, &since, &until);
    spare = made != NULL ? new_counts(made->count) : NULL;
    if (spare == NULL) {
        release_keys(made);
        return NULL;
    }
    openssl_tickets_lock();
    replaced = put_keys(keyring, made, &spare);
    keyring->since = since;
    keyring->until = until;
    made->references++;
    openssl_tickets_unlock();
    OPENSSL_free(spare);
    release_keys(replaced);
    return made;
}

/* Replaces the keys of the keyring with copies of keys. Returns 0 if there is no memory. */
int openssl_tickets_set_keys(openssl_tickets_keyring *keyring, openssl_tickets_key **keys,
                             size_t count)
{
    key_set *added = new_keys(count), *replaced;
    openssl_tickets_key_counts *spare = new_counts(count);
    size_t number;

    if (added == NULL || spare == NULL) {
        release_keys(added);
        OPENSSL_free(spare);
        return 0;
    }
    for (number = 0; number < count; number++)
        added->keys[number] = *keys[number];
    openssl_tickets_lock();
    replaced = put_keys(keyring, added, &spare);
    openssl_tickets_unlock();
    OPENSSL_free(spare);
    release_keys(replaced);
    return 1;
}

/*
 * Adds a copy of the key in front of the keyring's keys. At most keep of the old keys stay. Returns
 * 0 if there is no memory, and -1 if a key that would stay has the same name.
 */
int openssl_tickets_rotate_keys(openssl_tickets_keyring *keyring,
                                const openssl_tickets_key *key, size_t keep)
{
    key_set *seen, *added, *replaced = NULL;
    openssl_tickets_key_counts *spare;
    size_t stay, number;

    for (;;) {
        seen = hold_keys(keyring);
        stay = seen->count < keep ? seen->count : keep;
        added = new_keys(stay + 1);
        spare = new_counts(stay + 1);
        if (added == NULL || spare == NULL) {
            release_keys(seen);
            release_keys(added);
            OPENSSL_free(spare);
            return 0;
        }
        added->keys[0] = *key;
        for (number = 0; number < stay; number++) {
            added->keys[number + 1] = seen->keys[number];
            if (memcmp(seen->keys[number].name, key->name, sizeof(key->name)) == 0) {
                release_keys(seen);
                release_keys(added);
                OPENSSL_free(spare);
                return -1;
            }
        }
        openssl_tickets_lock();
        if (keyring->current == seen) {
            replaced = put_keys(keyring, added, &spare);
            added = NULL;
        }
        openssl_tickets_unlock();
        release_keys(seen);
        OPENSSL_free(spare);
        if (added == NULL)
            break;
        release_keys(added); /* another thread has changed the keys in the meantime */
    }
    release_keys(replaced);
    return 1;
}

/*
 * Removes the key with this name from the keyring. Returns 0 if there is no memory, -1 if no key
 * has this name, and -2 if it is the only key.
 */
int openssl_tickets_forget_key(openssl_tickets_keyring *keyring, const unsigned char *name)
{
    key_set *seen, *left, *replaced = NULL;
    openssl_tickets_key_counts *spare;
    size_t number, place = 0;
    int result = 0;

    while (result == 0) {
        seen = hold_keys(keyring);
        for (place = 0; place < seen->count; place++)
            if (memcmp(seen->keys[place].name, name, OPENSSL_TICKETS_KEY_NAME_LEN) == 0)
                break;
        if (place == seen->count || seen->count == 1) {
            result = place == seen->count ? -1 : -2;
            release_keys(seen);
            return result;
        }
        left = new_keys(seen->count - 1);
        spare = new_counts(seen->count - 1);
        if (left == NULL || spare == NULL) {
            release_keys(seen);
            release_keys(left);
            OPENSSL_free(spare);
            return 0;
        }
        for (number = 0; number < left->count; number++)
            left->keys[number] = seen->keys[number + (number >= place)];
        openssl_tickets_lock();
        if (keyring->current == seen) {
            replaced = put_keys(keyring, left, &spare);
            left = NULL;
            result = 1;
        }
        openssl_tickets_unlock();
        release_keys(seen);
        OPENSSL_free(spare);
        release_keys(left); /* another thread has changed the keys in the meantime */
    }
    release_keys(replaced);
    return result;
}

/*
 * Copies at most room keys of the keyring. The caller frees each copy with
 * openssl_tickets_free_key. These are the keys of now; but if they are derived and at is not
 * negative, the keys of that time. Returns how many keys the keyring has, or 0 if there is no
 * memory.
 */
size_t openssl_tickets_get_keys(openssl_tickets_keyring *keyring, int64_t at,
                                openssl_tickets_key **copies, size_t room)
{
    int64_t since, until;
    key_set *held = at >= 0 && keyring->secrets != NULL ? derive_keys(keyring, at, &since, &until)
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
 * libssl calls this for each ticket that it encrypts or decrypts. It uses the keys of the
 * connection's first SSL_CTX.
 *
 * The answer 2 asks libssl for a new ticket. With a key callback, libssl no longer renews TLS 1.3
 * tickets by itself, so the answer is 2 for all of them. It is also 2 for a ticket of an older key.
 */
static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher_ctx,
                      EVP_MAC_CTX *mac_ctx, int encrypt)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of(ssl);
    openssl_tickets_keyring *keyring = NULL;
    unsigned char purpose[OPENSSL_TICKETS_MAX_PURPOSE_LEN];
    size_t purpose_len = 0, number = 0;
    key_set *of_ring = NULL, *keys = NULL;
    int answer = 0, is_again = openssl_tickets_marks(ssl) & OPENSSL_TICKETS_AGAIN;

    if (slot != NULL) {
        openssl_tickets_lock();
        keyring = slot->keyring;
        if (keyring != NULL)
            keyring->references++;
        purpose_len = slot->purpose_len;
        if (purpose_len != 0)
            memcpy(purpose, slot->purpose, purpose_len);
        openssl_tickets_unlock();
    }
    if (keyring == NULL)
        return 0;
    ERR_set_mark();
    of_ring = hold_keys(keyring);
    if (of_ring != NULL && purpose_len != 0) {
        keys = hold_for_purpose(of_ring, purpose, purpose_len);
    } else if (of_ring != NULL) {
        keys = of_ring;
        openssl_tickets_lock();
        keys->references++;
        openssl_tickets_unlock();
    }
    /* If an error stayed in the queue, a later call would seem to have failed. */
    ERR_pop_to_mark();
    if (keys == NULL) {
        answer = 0; /* no ticket can be encrypted or decrypted */
    } else if (encrypt) {
        memcpy(name, keys->keys[0].name, OPENSSL_TICKETS_KEY_NAME_LEN);
        answer = RAND_bytes(iv, 16) > 0 && start_ticket(&keys->keys[0], iv, cipher_ctx, mac_ctx, 1)
                     ? 1
                     : -1;
        if (answer == 1)
            count_ticket(keyring, of_ring->keys[0].name, 1);
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
        /* After a HelloRetryRequest the client sends the same ticket again: it counts once. */
        if (!is_again)
            count_ticket(keyring, answer > 0 ? of_ring->keys[number].name : NULL, 0);
    }
    release_keys(keys);
    release_keys(of_ring);
    openssl_tickets_release_keyring(keyring);
    return answer;
}

/*
 * Makes ctx use the keys of the keyring. If keyring is NULL, ctx gets a new keyring with a random
 * key. In that case libssl's callback is not removed: libssl reads it twice, and another thread may
 * be between the two. If purpose_len is not 0, ctx uses keys that are derived from the keyring's
 * for the purpose. Returns 0 if there is no memory or no AES.
 */
int openssl_tickets_use_keyring(SSL_CTX *ctx, openssl_tickets_keyring *keyring,
                                const unsigned char *purpose, size_t purpose_len)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of_ctx(ctx);
    openssl_tickets_keyring *replaced, *own = NULL;
    unsigned char *copy = NULL, *old_purpose;

    if (purpose_len > OPENSSL_TICKETS_MAX_PURPOSE_LEN)
        return 0;
    if (slot == NULL || !fetch_cipher(&aes_128, "AES-128-CBC")
        || !fetch_cipher(&aes_256, "AES-256-CBC"))
        return 0;
    if (keyring == NULL) {
        openssl_tickets_key *key;
        int made, has_ring;

        openssl_tickets_lock();
        has_ring = slot->keyring != NULL;
        openssl_tickets_unlock();
        if (!has_ring)
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
    if (purpose_len != 0 && (copy = OPENSSL_memdup(purpose, purpose_len)) == NULL) {
        openssl_tickets_release_keyring(own);
        return 0;
    }
    openssl_tickets_lock();
    replaced = slot->keyring;
    old_purpose = slot->purpose;
    slot->keyring = keyring;
    slot->purpose = copy;
    slot->purpose_len = purpose_len;
    keyring->references++;
    openssl_tickets_tell_libssl(slot); /* so that C refuses tickets that libssl would not resume */
    openssl_tickets_unlock();
    OPENSSL_free(old_purpose);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key);
    openssl_tickets_release_keyring(own);
    openssl_tickets_release_keyring(replaced);
    return 1;
}

/*
 * Copies the counts of at most room keys, in the order of the keys. unknown is the number of
 * tickets with the name of no key. Returns how many keys there are, or 0 if there is no memory.
 */
size_t openssl_tickets_get_key_counts(openssl_tickets_keyring *keyring,
                                      openssl_tickets_key_counts *counts, size_t room,
                                      uint64_t *unknown)
{
    key_set *held = hold_keys(keyring); /* this derives the keys of now, if they are derived */
    size_t number, count;

    if (held == NULL)
        return 0;
    openssl_tickets_lock();
    count = keyring->counted;
    for (number = 0; number < count && number < room; number++)
        counts[number] = keyring->counts[number];
    *unknown = keyring->unknown;
    openssl_tickets_unlock();
    release_keys(held);
    return count;
}
