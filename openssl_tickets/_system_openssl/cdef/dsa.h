/* The part of <openssl/dsa.h> that cryptography offers. */

void DSA_free(DSA *r);
int DSA_generate_key(DSA *a);
int DSA_generate_parameters_ex(DSA *dsa, int bits, const unsigned char *seed, int seed_len, int
                               *counter_ret, unsigned long *h_ret, BN_GENCB *cb);
DSA *DSA_new(void);
int DSA_set0_key(DSA *d, BIGNUM *pub_key, BIGNUM *priv_key);
int DSA_set0_pqg(DSA *d, BIGNUM *p, BIGNUM *q, BIGNUM *g);
int DSA_sign(int type, const unsigned char *dgst, int dlen, unsigned char *sig, unsigned int
             *siglen, DSA *dsa);
int DSA_size(const DSA *);
int DSA_verify(int type, const unsigned char *dgst, int dgst_len, const unsigned char *sigbuf, int
               siglen, DSA *dsa);
DSA *DSAparams_dup(const DSA *a);
