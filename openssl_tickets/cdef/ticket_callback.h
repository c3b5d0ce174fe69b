/* The callbacks around a ticket: one as it is generated, one as it is received. */

typedef int SSL_TICKET_STATUS;
typedef int SSL_TICKET_RETURN;

#define SSL_TICKET_EMPTY ...
#define SSL_TICKET_NO_DECRYPT ...
#define SSL_TICKET_SUCCESS ...
#define SSL_TICKET_SUCCESS_RENEW ...

#define SSL_TICKET_RETURN_ABORT ...
#define SSL_TICKET_RETURN_IGNORE ...
#define SSL_TICKET_RETURN_IGNORE_RENEW ...
#define SSL_TICKET_RETURN_USE ...
#define SSL_TICKET_RETURN_USE_RENEW ...

#define SSL_OP_NO_TICKET ...
#define SSL_OP_NO_ANTI_REPLAY ...

typedef int (*SSL_CTX_generate_session_ticket_fn)(SSL *ssl, void *arg);
typedef SSL_TICKET_RETURN (*SSL_CTX_decrypt_session_ticket_fn)(
    SSL *ssl, SSL_SESSION *session, const unsigned char *keyname, size_t keyname_len,
    SSL_TICKET_STATUS status, void *arg);

int SSL_CTX_set_session_ticket_cb(SSL_CTX *ctx, SSL_CTX_generate_session_ticket_fn gen_cb,
                                  SSL_CTX_decrypt_session_ticket_fn dec_cb, void *arg);
uint64_t SSL_CTX_get_options(const SSL_CTX *ctx);
uint32_t SSL_CTX_get_max_early_data(const SSL_CTX *ctx);

/* csrc/ticket_callback.c: its callbacks are the ones that libssl calls; they call these. */
#define OPENSSL_TICKETS_STATEFUL ...
#define OPENSSL_TICKETS_CACHED ...

extern "Python" int openssl_tickets_generate(SSL *ssl, uintptr_t app_data, uintptr_t policy);
extern "Python" int openssl_tickets_refuse(SSL *ssl, uintptr_t app_data, uintptr_t policy,
                                          int reason);
extern "Python" SSL_TICKET_RETURN openssl_tickets_decrypt(
    SSL *ssl, uintptr_t app_data, const char *keyname, size_t keyname_len,
    SSL_TICKET_STATUS status, uintptr_t policy, const char *appdata, size_t appdata_len);
extern "Python" void openssl_tickets_forget(uintptr_t policy);

uintptr_t openssl_tickets_new_number(void);
int openssl_tickets_set_policy(SSL_CTX *ctx, uintptr_t number, int has_generate, int has_decrypt);
void openssl_tickets_unpin(SSL *ssl);
int openssl_tickets_hello_server_name(SSL *ssl, const char **name, size_t *name_len);
SSL_SESSION *openssl_tickets_offered_session(SSL *ssl);
int openssl_tickets_set_generated(SSL *ssl, const void *data, size_t len);
