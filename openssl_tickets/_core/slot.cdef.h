/* The slot of an SSL_CTX, and the numbers under which Python stores callbacks. */

uintptr_t openssl_tickets_number_of(SSL_CTX *ctx);
void openssl_tickets_forget_in(uintptr_t table);
SSL_SESSION *openssl_tickets_offered_session(SSL *ssl);
int openssl_tickets_is_asked(const void *ssl); /* an SSL of any cffi module */
