/* The part of <openssl/asn1.h> that cryptography offers. */

#define MBSTRING_UTF8 ...
#define V_ASN1_GENERALIZEDTIME ...

void ASN1_ENUMERATED_free(ASN1_ENUMERATED *a);
ASN1_ENUMERATED *ASN1_ENUMERATED_new(void);
int ASN1_ENUMERATED_set(ASN1_ENUMERATED *a, long v);
void ASN1_GENERALIZEDTIME_free(ASN1_GENERALIZEDTIME *a);
void ASN1_INTEGER_free(ASN1_INTEGER *a);
int ASN1_INTEGER_set(ASN1_INTEGER *a, long v);
BIGNUM *ASN1_INTEGER_to_BN(const ASN1_INTEGER *ai, BIGNUM *bn);
const unsigned char *ASN1_STRING_get0_data(const ASN1_STRING *x);
int ASN1_STRING_length(const ASN1_STRING *x);
int ASN1_STRING_to_UTF8(unsigned char **out, const ASN1_STRING *in);
int ASN1_STRING_type(const ASN1_STRING *x);
void ASN1_TIME_free(ASN1_TIME *a);
ASN1_TIME *ASN1_TIME_new(void);
int ASN1_TIME_set_string(ASN1_TIME *s, const char *str);
ASN1_GENERALIZEDTIME *ASN1_TIME_to_generalizedtime(const ASN1_TIME *t, ASN1_GENERALIZEDTIME **out);
ASN1_INTEGER *BN_to_ASN1_INTEGER(const BIGNUM *bn, ASN1_INTEGER *ai);
int i2a_ASN1_INTEGER(BIO *bp, const ASN1_INTEGER *a);
