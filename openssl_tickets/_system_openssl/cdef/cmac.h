/* The part of <openssl/cmac.h> that cryptography offers. */

int CMAC_CTX_copy(CMAC_CTX *out, const CMAC_CTX *in);
void CMAC_CTX_free(CMAC_CTX *ctx);
CMAC_CTX *CMAC_CTX_new(void);
int CMAC_Final(CMAC_CTX *ctx, unsigned char *out, size_t *poutlen);
int CMAC_Init(CMAC_CTX *ctx, const void *key, size_t keylen, const EVP_CIPHER *cipher, ENGINE
              *impl);
int CMAC_Update(CMAC_CTX *ctx, const void *data, size_t dlen);
