/* What pyOpenSSL uses of <openssl/rsa.h>. */

typedef ... RSA;

#define RSA_F4 ...

int RSA_check_key(const RSA *);
void RSA_free(RSA *r);
int RSA_generate_key_ex(RSA *rsa, int bits, BIGNUM *e, BN_GENCB *cb);
RSA *RSA_new(void);
int RSA_print(BIO *bp, const RSA *r, int offset);
