/* Clients that resume by themselves. */

/* libssl calls client_sessions.c, which calls these. */
extern "Python+C" void openssl_tickets_offer(SSL *ssl, uintptr_t app_data, uintptr_t number,
                                            const char *server_name, uintptr_t verify_callback);
extern "Python+C" void openssl_tickets_refused(SSL *ssl, uintptr_t app_data, SSL_SESSION *session,
                                              uintptr_t number);

int openssl_tickets_set_resumes(SSL_CTX *ctx, int resumes, openssl_tickets_store *store,
                                int is_chained);
int openssl_tickets_is_server_only(SSL_CTX *ctx);
void openssl_tickets_know_verify_callback(uintptr_t callback, const char *verifier);
const char *openssl_tickets_begin_attempt(SSL *ssl, const char *name, const char *verifier);
int openssl_tickets_offer_session(SSL *ssl, SSL_SESSION *session);
const char *openssl_tickets_key_of_offer(SSL *ssl);
const char *openssl_tickets_key_to_keep(SSL *ssl);
int openssl_tickets_uses_of(const SSL_SESSION *session);
void openssl_tickets_state_changed(const SSL *ssl, int where, int ret);
