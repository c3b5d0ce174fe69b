/* Clients that resume by themselves. */

/* libssl calls client_sessions.c, which calls these. */
extern "Python+C" void openssl_tickets_offer(SSL *ssl, uintptr_t app_data, uintptr_t number);
extern "Python+C" void openssl_tickets_refused(SSL *ssl, uintptr_t app_data, SSL_SESSION *session,
                                              uintptr_t number);

int openssl_tickets_has_other_info_callback(SSL_CTX *ctx);
void openssl_tickets_set_resumes(SSL_CTX *ctx, int resumes, int watches);
int openssl_tickets_is_server_only(SSL_CTX *ctx);
int openssl_tickets_offer_session(SSL *ssl, SSL_SESSION *session);
void openssl_tickets_state_changed(const SSL *ssl, int where, int ret);
const char *openssl_tickets_server_name(const SSL *ssl);
int openssl_tickets_has_verify_callback(const SSL *ssl);
int openssl_tickets_strictness(SSL *ssl, unsigned char *digest);
