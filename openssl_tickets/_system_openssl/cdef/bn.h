/* The part of <openssl/bn.h> that cryptography offers. */

typedef int... BN_ULONG;

#define BN_FLG_CONSTTIME ...

BIGNUM *BN_bin2bn(const unsigned char *s, int len, BIGNUM *ret);
int BN_bn2bin(const BIGNUM *a, unsigned char *to);
char *BN_bn2hex(const BIGNUM *a);
void BN_clear_free(BIGNUM *a);
void BN_CTX_end(BN_CTX *ctx);
void BN_CTX_free(BN_CTX *c);
BIGNUM *BN_CTX_get(BN_CTX *ctx);
BN_CTX *BN_CTX_new(void);
void BN_CTX_start(BN_CTX *ctx);
void BN_free(BIGNUM *a);
int BN_generate_prime_ex(BIGNUM *ret, int bits, int safe, const BIGNUM *add, const BIGNUM *rem,
                         BN_GENCB *cb);
int BN_hex2bn(BIGNUM **a, const char *str);
int BN_is_negative(const BIGNUM *b);
int BN_is_odd(const BIGNUM *a);
int BN_is_prime_ex(const BIGNUM *p, int nchecks, BN_CTX *ctx, BN_GENCB *cb);
int BN_mod_exp_mont(BIGNUM *r, const BIGNUM *a, const BIGNUM *p, const BIGNUM *m, BN_CTX *ctx,
                    BN_MONT_CTX *m_ctx);
int BN_mod_exp_mont_consttime(BIGNUM *rr, const BIGNUM *a, const BIGNUM *p, const BIGNUM *m, BN_CTX
                              *ctx, BN_MONT_CTX *in_mont);
BIGNUM *BN_mod_inverse(BIGNUM *ret, const BIGNUM *a, const BIGNUM *n, BN_CTX *ctx);
void BN_MONT_CTX_free(BN_MONT_CTX *mont);
BN_MONT_CTX *BN_MONT_CTX_new(void);
int BN_MONT_CTX_set(BN_MONT_CTX *mont, const BIGNUM *mod, BN_CTX *ctx);
BIGNUM *BN_new(void);
int BN_num_bits(const BIGNUM *a);
int BN_num_bytes(const BIGNUM *a);
int BN_prime_checks_for_size(int b);
int BN_rand_range(BIGNUM *rnd, const BIGNUM *range);
void BN_set_flags(BIGNUM *b, int n);
int BN_set_word(BIGNUM *a, BN_ULONG w);
