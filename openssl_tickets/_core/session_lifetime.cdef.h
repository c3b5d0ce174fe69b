/* How long a context's sessions last. */

long SSL_CTX_set_timeout(SSL_CTX *ctx, long seconds);
long SSL_CTX_get_timeout(const SSL_CTX *ctx);

int openssl_tickets_set_max_lifetime(SSL_CTX *ctx, long seconds);
long openssl_tickets_get_max_lifetime(SSL_CTX *ctx);
