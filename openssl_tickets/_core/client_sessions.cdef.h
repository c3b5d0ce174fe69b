/* Clients that resume by themselves. */

/* libssl calls client_sessions.c, which calls these. */
extern "Python+C" void openssl_tickets_offer(SSL *ssl, uintptr_t app_data, uintptr_t number);
extern "Python+C" void openssl_tickets_refused(SSL *ssl, uintptr_t app_data, SSL_SESSION *session,
                                              uintptr_t number);

#define OPENSSL_TICKETS_STRICTNESS_LEN ...

int openssl_tickets_set_resumes(SSL_CTX *ctx, int resumes, int is_chained);
int openssl_tickets_is_server_only(SSL_CTX *ctx);
const char *openssl_tickets_server_name(const SSL *ssl);
int openssl_tickets_has_verify_callback(const SSL *ssl);
int openssl_tickets_begin_attempt(SSL *ssl, const char *server);
int openssl_tickets_offer_session(SSL *ssl, SSL_SESSION *session);
const char *openssl_tickets_attempt_of(SSL *ssl, int is_over, unsigned char *strictness);
void openssl_tickets_state_changed(const SSL *ssl, int where, int ret);
