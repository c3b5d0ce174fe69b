/* How many TLS 1.3 tickets a server sends, and when. */

int SSL_CTX_set_num_tickets(SSL_CTX *ctx, size_t num_tickets);
size_t SSL_CTX_get_num_tickets(const SSL_CTX *ctx);
int SSL_set_num_tickets(SSL *ssl, size_t num_tickets);
size_t SSL_get_num_tickets(const SSL *ssl);
int SSL_new_session_ticket(SSL *ssl);
