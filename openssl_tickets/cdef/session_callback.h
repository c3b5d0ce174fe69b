/* Callbacks for sessions that are new, and for those that libssl will not resume any more. */

/* csrc/session_callback.c: its callbacks are the ones that libssl calls; they call these. */
extern "Python" void openssl_tickets_new_session(SSL *ssl, uintptr_t app_data, SSL_SESSION *session,
                                                uintptr_t policy);
extern "Python" void openssl_tickets_removed_session(SSL_SESSION *session, uintptr_t policy);

int openssl_tickets_set_new_session(SSL_CTX *ctx, uintptr_t number);
int openssl_tickets_set_removed_session(SSL_CTX *ctx, uintptr_t number);
