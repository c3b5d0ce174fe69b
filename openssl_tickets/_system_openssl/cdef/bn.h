/* What pyOpenSSL uses of <openssl/bn.h>. */

typedef ... BIGNUM;
typedef ... BN_GENCB;

char *BN_bn2hex(const BIGNUM *a);
void BN_free(BIGNUM *a);
int BN_hex2bn(BIGNUM **a, const char *str);
BIGNUM *BN_new(void);
int BN_set_word(BIGNUM *a, unsigned long w);
