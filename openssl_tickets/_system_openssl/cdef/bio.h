/* The part of <openssl/bio.h> that cryptography offers. */

void BIO_ADDR_free(BIO_ADDR *);
BIO_ADDR *BIO_ADDR_new(void);
int BIO_free(BIO *a);
long BIO_get_mem_data(BIO *b, char **pp);
BIO *BIO_new(const BIO_METHOD *type);
BIO *BIO_new_file(const char *filename, const char *mode);
BIO *BIO_new_mem_buf(const void *buf, int len);
int BIO_read(BIO *b, void *data, int dlen);
int BIO_reset(BIO *b);
const BIO_METHOD *BIO_s_mem(void);
long BIO_set_mem_eof_return(BIO *b, int v);
int BIO_should_io_special(BIO *b);
int BIO_should_read(BIO *b);
int BIO_should_retry(BIO *b);
int BIO_should_write(BIO *b);
int BIO_write(BIO *b, const void *data, int dlen);
