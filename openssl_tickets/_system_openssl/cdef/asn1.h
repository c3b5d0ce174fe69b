/* What pyOpenSSL uses of <openssl/asn1.h>. */

typedef ... ASN1_OBJECT;
typedef ... ASN1_TIME;
typedef ... ASN1_GENERALIZEDTIME;
typedef ... ASN1_INTEGER;
typedef ... ASN1_OCTET_STRING;
typedef ... ASN1_STRING;

#define MBSTRING_UTF8 ...
#define V_ASN1_GENERALIZEDTIME ...

void ASN1_GENERALIZEDTIME_free(ASN1_GENERALIZEDTIME *a);
void ASN1_INTEGER_free(ASN1_INTEGER *a);
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
