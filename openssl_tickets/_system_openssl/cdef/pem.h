/* What pyOpenSSL uses of <openssl/pem.h>. */

typedef int pem_password_cb(char *buf, int size, int rwflag, void *userdata);

DH *PEM_read_bio_DHparams(BIO *out, DH **x, pem_password_cb *cb, void *u);
EVP_PKEY *PEM_read_bio_PrivateKey(BIO *out, EVP_PKEY **x, pem_password_cb *cb, void *u);
EVP_PKEY *PEM_read_bio_PUBKEY(BIO *out, EVP_PKEY **x, pem_password_cb *cb, void *u);
X509 *PEM_read_bio_X509(BIO *out, X509 **x, pem_password_cb *cb, void *u);
X509_REQ *PEM_read_bio_X509_REQ(BIO *out, X509_REQ **x, pem_password_cb *cb, void *u);
int PEM_write_bio_PrivateKey(BIO *out, const EVP_PKEY *x, const EVP_CIPHER *enc, const unsigned char
                             *kstr, int klen, pem_password_cb *cb, void *u);
int PEM_write_bio_PUBKEY(BIO *out, const EVP_PKEY *x);
int PEM_write_bio_X509(BIO *out, const X509 *x);
int PEM_write_bio_X509_REQ(BIO *out, const X509_REQ *x);
