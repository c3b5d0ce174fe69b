/* TLS 1.3: a server asks for the client's certificate after the handshake. */

#define SSL_VERIFY_POST_HANDSHAKE ...

void SSL_CTX_set_post_handshake_auth(SSL_CTX *ctx, int enabled);
void SSL_set_post_handshake_auth(SSL *ssl, int enabled);
int SSL_verify_client_post_handshake(SSL *ssl);
