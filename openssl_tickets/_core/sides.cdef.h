/* Which side a context is for: clients, servers or both. */

const SSL_METHOD *SSL_CTX_get_ssl_method(const SSL_CTX *ctx);
const SSL_METHOD *TLS_client_method(void);
const SSL_METHOD *DTLS_client_method(void);
