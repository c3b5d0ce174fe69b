/* The callback for new sessions. */

/* libssl calls the functions in new_session.c, and these call this one. */
extern "Python+C" void openssl_tickets_new_session(SSL *ssl, uintptr_t app_data,
                                                  SSL_SESSION *session, uintptr_t number);

void openssl_tickets_set_new_session(SSL_CTX *ctx, int is_wanted, int announces);
