/* Ticket keys: what tickets are encrypted with. */

typedef struct {
    unsigned char name[...];
    unsigned char hmac_key[...];
    unsigned char aes_key[...];
    size_t secret_len;
    ...;
} openssl_tickets_key;
typedef ... openssl_tickets_keyring;

#define OPENSSL_TICKETS_MAX_PURPOSE_LEN ...

typedef struct {
    unsigned char name[...];
    uint64_t encrypted;
    uint64_t decrypted;
    ...;
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
