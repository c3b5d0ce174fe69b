/* What pyOpenSSL and mitmproxy use of <openssl/x509v3.h>. */

typedef ... CONF;
typedef struct {
    X509 *issuer_cert;
    X509 *subject_cert;
    ...;
} X509V3_CTX;
typedef struct {
    int type;
    union {
        ASN1_IA5STRING *ia5;
    } d;
    ...;
} GENERAL_NAME;
typedef ... GENERAL_NAMES;

#define GEN_DNS ...
#define GEN_EMAIL ...
#define GEN_URI ...
#define X509_CHECK_FLAG_NEVER_CHECK_SUBJECT ...
#define X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS ...

int GENERAL_NAME_print(BIO *out, GENERAL_NAME *gen);
void GENERAL_NAMES_free(GENERAL_NAMES *a);
int sk_GENERAL_NAME_num(GENERAL_NAMES *sk);
GENERAL_NAME *sk_GENERAL_NAME_value(GENERAL_NAMES *sk, int idx);
void *X509V3_EXT_d2i(X509_EXTENSION *ext);
X509_EXTENSION *X509V3_EXT_nconf(CONF *conf, X509V3_CTX *ctx, const char *name, const char *value);
int X509V3_EXT_print(BIO *out, X509_EXTENSION *ext, unsigned long flag, int indent);
void X509V3_set_ctx(X509V3_CTX *ctx, X509 *issuer, X509 *subject, X509_REQ *req, X509_CRL *crl, int
                    flags);
void X509V3_set_ctx_nodb(X509V3_CTX *ctx);
