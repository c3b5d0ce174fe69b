/* What pyOpenSSL uses of <openssl/dsa.h>. */

typedef ... DSA;

void DSA_free(DSA *r);
int DSA_generate_key(DSA *a);
int DSA_generate_parameters_ex(DSA *dsa, int bits, const unsigned char *seed, int seed_len, int
                               *counter_ret, unsigned long *h_ret, BN_GENCB *cb);
DSA *DSA_new(void);
