/*
 * Encrypts bytes that are stored where others can read them, with AES-256-GCM. The key is derived
 * from a secret. The result is a random nonce of 12 bytes, the encrypted bytes, and a tag of 16
 * bytes.
 */
#include <limits.h>
#include <string.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include "openssl_tickets.h"

#define NONCE_LEN 12
#define TAG_LEN 16
#define KEY_LEN 32

/*
 * Encrypts or decrypts the bytes. also is authenticated with them, and not encrypted. Returns 0 on
 * failure.
 */
static int run(const unsigned char *secret, size_t secret_len, const unsigned char *nonce,
               const unsigned char *from, size_t len, const unsigned char *also, size_t also_len,
               unsigned char *to, unsigned char *tag, int encrypt)
{
    static const unsigned char label[] = "openssl_tickets sealed 1";
    unsigned char key[KEY_LEN];
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int done, written;

    done = len <= INT_MAX && also_len <= INT_MAX && cipher != NULL && ctx != NULL
           && openssl_tickets_hkdf(secret, secret_len, label, sizeof(label) - 1, key, sizeof(key))
           && EVP_CipherInit_ex2(ctx, cipher, key, nonce, encrypt, NULL)
           && EVP_CipherUpdate(ctx, NULL, &written, also, (int)also_len)
           && EVP_CipherUpdate(ctx, to, &written, from, (int)len)
           && (encrypt || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) > 0)
           && EVP_CipherFinal_ex(ctx, to + written, &written) > 0
           && (!encrypt || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, tag) > 0);
    OPENSSL_cleanse(key, sizeof(key));
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(cipher);
    return done;
}

/* Encrypts plain. The result has OPENSSL_TICKETS_SEAL_LEN bytes more. Returns 0 on failure. */
int openssl_tickets_seal(const unsigned char *secret, size_t secret_len, const unsigned char *plain,
                         size_t plain_len, const unsigned char *also, size_t also_len,
                         unsigned char *sealed)
{
    return RAND_bytes(sealed, NONCE_LEN) > 0
           && run(secret, secret_len, sealed, plain, plain_len, also, also_len, sealed + NONCE_LEN,
                  sealed + NONCE_LEN + plain_len, 1);
}

/*
 * Decrypts a result of openssl_tickets_seal. plain has OPENSSL_TICKETS_SEAL_LEN bytes less. If the
 * result is not genuine, this wipes plain, leaves nothing in the error queue, and returns 0.
 */
int openssl_tickets_open_sealed(const unsigned char *secret, size_t secret_len,
                                const unsigned char *sealed, size_t sealed_len,
                                const unsigned char *also, size_t also_len, unsigned char *plain)
{
    size_t len = sealed_len - OPENSSL_TICKETS_SEAL_LEN;
    unsigned char tag[TAG_LEN];
    int done;

    if (sealed_len < OPENSSL_TICKETS_SEAL_LEN)
        return 0;
    memcpy(tag, sealed + NONCE_LEN + len, TAG_LEN);
    ERR_set_mark();
    done = run(secret, secret_len, sealed, sealed + NONCE_LEN, len, also, also_len, plain, tag, 0);
    ERR_pop_to_mark();
    if (!done)
        OPENSSL_cleanse(plain, len);
    return done;
}
