/* Sessions, and the application data that their tickets carry. */

SSL_SESSION *SSL_get_session(const SSL *ssl);
SSL_SESSION *SSL_get1_session(SSL *ssl);
int SSL_SESSION_up_ref(SSL_SESSION *session);
const unsigned char *SSL_SESSION_get_id(const SSL_SESSION *session, unsigned int *len);
void SSL_SESSION_free(SSL_SESSION *session);
int SSL_SESSION_get0_ticket_appdata(SSL_SESSION *session, void **data, size_t *len);
int SSL_SESSION_set1_ticket_appdata(SSL_SESSION *session, const void *data, size_t len);

/* csrc/session.c */
#define OPENSSL_TICKETS_MAX_ENCODED_SESSION ...
int openssl_tickets_set_appdata(SSL_SESSION *session, const void *data, size_t len);
int openssl_tickets_copy_appdata(SSL_SESSION *session, void **copy, size_t *len);
int openssl_tickets_copy_peer(SSL_SESSION *session, unsigned char **copy);
void openssl_tickets_free_copy(void *copy, size_t len);
