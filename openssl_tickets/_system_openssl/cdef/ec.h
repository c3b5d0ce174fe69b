/* The part of <openssl/ec.h> that cryptography offers. */

typedef struct {
    int nid;
    const char *comment;
} EC_builtin_curve;
typedef int... point_conversion_form_t;

#define OPENSSL_EC_NAMED_CURVE ...
#define POINT_CONVERSION_COMPRESSED ...
#define POINT_CONVERSION_UNCOMPRESSED ...

const char *EC_curve_nid2nist(int nid);
size_t EC_get_builtin_curves(EC_builtin_curve *r, size_t nitems);
void EC_GROUP_free(EC_GROUP *group);
int EC_GROUP_get_asn1_flag(const EC_GROUP *group);
int EC_GROUP_get_curve_name(const EC_GROUP *group);
EC_GROUP *EC_GROUP_new_by_curve_name(int nid);
void EC_KEY_free(EC_KEY *key);
int EC_KEY_generate_key(EC_KEY *key);
const EC_GROUP *EC_KEY_get0_group(const EC_KEY *key);
const BIGNUM *EC_KEY_get0_private_key(const EC_KEY *key);
const EC_POINT *EC_KEY_get0_public_key(const EC_KEY *key);
EC_KEY *EC_KEY_new_by_curve_name(int nid);
void EC_KEY_set_asn1_flag(EC_KEY *eckey, int asn1_flag);
int EC_KEY_set_private_key(EC_KEY *key, const BIGNUM *prv);
int EC_KEY_set_public_key(EC_KEY *key, const EC_POINT *pub);
int EC_POINT_cmp(const EC_GROUP *group, const EC_POINT *a, const EC_POINT *b, BN_CTX *ctx);
void EC_POINT_free(EC_POINT *point);
int EC_POINT_get_affine_coordinates(const EC_GROUP *group, const EC_POINT *p, BIGNUM *x, BIGNUM *y,
                                    BN_CTX *ctx);
int EC_POINT_is_at_infinity(const EC_GROUP *group, const EC_POINT *p);
int EC_POINT_mul(const EC_GROUP *group, EC_POINT *r, const BIGNUM *n, const EC_POINT *q, const
                 BIGNUM *m, BN_CTX *ctx);
EC_POINT *EC_POINT_new(const EC_GROUP *group);
int EC_POINT_oct2point(const EC_GROUP *group, EC_POINT *p, const unsigned char *buf, size_t len,
                       BN_CTX *ctx);
size_t EC_POINT_point2oct(const EC_GROUP *group, const EC_POINT *p, point_conversion_form_t form,
                          unsigned char *buf, size_t len, BN_CTX *ctx);
int EC_POINT_set_affine_coordinates(const EC_GROUP *group, EC_POINT *p, const BIGNUM *x, const
                                    BIGNUM *y, BN_CTX *ctx);
int ECDSA_sign(int type, const unsigned char *dgst, int dgstlen, unsigned char *sig, unsigned int
               *siglen, EC_KEY *eckey);
int ECDSA_size(const EC_KEY *eckey);
int ECDSA_verify(int type, const unsigned char *dgst, int dgstlen, const unsigned char *sig, int
                 siglen, EC_KEY *eckey);
