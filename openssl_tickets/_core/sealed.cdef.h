/* Encrypts bytes that are stored where others can read them. */

#define OPENSSL_TICKETS_SEAL_LEN ...

int openssl_tickets_seal(const unsigned char *secret, size_t secret_len, const unsigned char *plain,
                         size_t plain_len, const unsigned char *also, size_t also_len,
                         unsigned char *sealed);
int openssl_tickets_open_sealed(const unsigned char *secret, size_t secret_len,
                                const unsigned char *sealed, size_t sealed_len,
                                const unsigned char *also, size_t also_len, unsigned char *plain);
