/* Sessions and their application data. */

typedef ... SSL_CIPHER;

#define SSL3_VERSION ...
#define TLS1_VERSION ...
#define TLS1_1_VERSION ...
#define TLS1_2_VERSION ...
#define DTLS1_VERSION ...
#define DTLS1_2_VERSION ...

SSL_SESSION *SSL_get_session(const SSL *ssl);
SSL_SESSION *SSL_get1_session(SSL *ssl);
int SSL_session_reused(const SSL *ssl);
int SSL_in_before(const SSL *ssl);
int SSL_SESSION_up_ref(SSL_SESSION *session);
void SSL_SESSION_free(SSL_SESSION *session);

const unsigned char *SSL_SESSION_get_id(const SSL_SESSION *session, unsigned int *len);
int SSL_SESSION_get_protocol_version(const SSL_SESSION *session);
const SSL_CIPHER *SSL_SESSION_get0_cipher(const SSL_SESSION *session);
const char *SSL_CIPHER_get_name(const SSL_CIPHER *cipher);
const char *SSL_SESSION_get0_hostname(const SSL_SESSION *session);
void SSL_SESSION_get0_alpn_selected(const SSL_SESSION *session, const unsigned char **alpn,
                                    size_t *len);
int SSL_SESSION_has_ticket(const SSL_SESSION *session);
void SSL_SESSION_get0_ticket(const SSL_SESSION *session, const unsigned char **ticket,
                             size_t *len);
unsigned long SSL_SESSION_get_ticket_lifetime_hint(const SSL_SESSION *session);
uint32_t SSL_SESSION_get_max_early_data(const SSL_SESSION *session);
int SSL_SESSION_is_resumable(const SSL_SESSION *session);
long SSL_SESSION_get_time(const SSL_SESSION *session);
long SSL_SESSION_set_time(SSL_SESSION *session, long seconds);
long SSL_SESSION_get_timeout(const SSL_SESSION *session);
long SSL_SESSION_set_timeout(SSL_SESSION *session, long seconds);
int SSL_SESSION_get0_ticket_appdata(SSL_SESSION *session, void **data, size_t *len);
int SSL_SESSION_set1_ticket_appdata(SSL_SESSION *session, const void *data, size_t len);

#define OPENSSL_TICKETS_MAX_ENCODED_SESSION ...
int openssl_tickets_set_appdata(SSL_SESSION *session, const void *data, size_t len);
int openssl_tickets_copy_appdata(SSL_SESSION *session, void **copy, size_t *len);
int openssl_tickets_copy_peer(SSL_SESSION *session, unsigned char **copy);
void openssl_tickets_free_copy(void *copy, size_t len);
SSL_SESSION *openssl_tickets_copy_session(SSL_SESSION *session);
int openssl_tickets_same_session(const SSL_SESSION *one, const SSL_SESSION *other);
int openssl_tickets_to_der(SSL_SESSION *session, unsigned char **der);
SSL_SESSION *openssl_tickets_from_der(const unsigned char *der, size_t len);
int openssl_tickets_is_told_server(SSL *ssl);
int openssl_tickets_set_session(SSL *ssl, SSL_SESSION *session);
int openssl_tickets_to_pem(SSL_SESSION *session, unsigned char **pem);
int openssl_tickets_from_pem(const char *pem, size_t len, unsigned char **der, size_t *der_len,
                             size_t *rest);
