/* What pyOpenSSL uses of <openssl/evp.h>. */

typedef ... EVP_PKEY;
typedef ... EVP_CIPHER;
typedef ... EVP_MD;

#define EVP_MAX_MD_SIZE ...
#define EVP_PKEY_DH ...
#define EVP_PKEY_DSA ...
#define EVP_PKEY_EC ...
#define EVP_PKEY_RSA ...

const EVP_CIPHER *EVP_get_cipherbyname(const char *name);
const EVP_MD *EVP_get_digestbyname(const char *name);
int EVP_PKEY_assign_RSA(EVP_PKEY *pkey, RSA *key);
int EVP_PKEY_bits(const EVP_PKEY *pkey);
void EVP_PKEY_free(EVP_PKEY *pkey);
RSA *EVP_PKEY_get1_RSA(EVP_PKEY *pkey);
int EVP_PKEY_id(const EVP_PKEY *pkey);
EVP_PKEY *EVP_PKEY_new(void);
int EVP_PKEY_set1_DSA(EVP_PKEY *pkey, DSA *key);
int EVP_PKEY_type(int type);
