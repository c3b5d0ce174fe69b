/* The part of <openssl/pkcs12.h> that cryptography offers. */

#define PKCS12_R_PKCS12_CIPHERFINAL_ERROR ...

PKCS12 *d2i_PKCS12_bio(BIO *bp, PKCS12 **p12);
int i2d_PKCS12_bio(BIO *bp, const PKCS12 *p12);
PKCS12 *PKCS12_create(const char *pass, const char *name, EVP_PKEY *pkey, X509 *cert,
                      Cryptography_STACK_OF_X509 *ca, int nid_key, int nid_cert, int iter, int
                      mac_iter, int keytype);
void PKCS12_free(PKCS12 *a);
int PKCS12_parse(PKCS12 *p12, const char *pass, EVP_PKEY **pkey, X509 **cert,
                 Cryptography_STACK_OF_X509 **ca);
int PKCS12_set_mac(PKCS12 *p12, const char *pass, int passlen, unsigned char *salt, int saltlen, int
                   iter, const EVP_MD *md_type);
