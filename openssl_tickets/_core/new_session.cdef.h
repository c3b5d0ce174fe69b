/* A callback for sessions that are new. */

/* libssl calls new_session.c, which calls this. */
extern "Python+C" void openssl_tickets_new_session(SSL *ssl, uintptr_t app_data,
                                                  SSL_SESSION *session, uintptr_t number);

void openssl_tickets_set_new_session(SSL_CTX *ctx, int is_wanted, int announces);
