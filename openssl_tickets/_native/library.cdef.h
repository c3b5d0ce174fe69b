/* The types of libssl that this package uses, and the version of libssl. */

typedef ... SSL_CTX;
typedef ... SSL;
typedef ... SSL_METHOD;
typedef ... SSL_SESSION;

#define OPENSSL_VERSION ...
#define TLS1_3_VERSION ...

const SSL_METHOD *TLS_method(void);
const char *OpenSSL_version(int type);
int SSL_is_server(const SSL *ssl);
int SSL_is_init_finished(const SSL *ssl);
int SSL_version(const SSL *ssl);
const char *SSL_get_version(const SSL *ssl);
