/* The part of <openssl/pkcs7.h> that cryptography offers. */

#define PKCS7_TEXT ...

PKCS7 *d2i_PKCS7_bio(BIO *bp, PKCS7 **p7);
int PEM_write_bio_PKCS7_stream(BIO *out, PKCS7 *p7, BIO *in, int flags);
int PKCS7_final(PKCS7 *p7, BIO *data, int flags);
void PKCS7_free(PKCS7 *a);
Cryptography_STACK_OF_X509 *PKCS7_get0_signers(PKCS7 *p7, Cryptography_STACK_OF_X509 *certs, int
                                               flags);
PKCS7_SIGNER_INFO *PKCS7_sign_add_signer(PKCS7 *p7, X509 *signcert, EVP_PKEY *pkey, const EVP_MD
                                         *md, int flags);
int PKCS7_type_is_data(PKCS7 *p7);
int PKCS7_type_is_enveloped(PKCS7 *p7);
int PKCS7_type_is_signed(PKCS7 *p7);
int PKCS7_type_is_signedAndEnveloped(PKCS7 *p7);
int PKCS7_verify(PKCS7 *p7, Cryptography_STACK_OF_X509 *certs, X509_STORE *store, BIO *indata, BIO
                 *out, int flags);
PKCS7 *SMIME_read_PKCS7(BIO *bio, BIO **bcont);
int SMIME_write_PKCS7(BIO *bio, PKCS7 *p7, BIO *data, int flags);
