/* Where clients store their sessions: in memory. */

typedef ... openssl_tickets_store;

openssl_tickets_store *openssl_tickets_new_store(size_t max_servers, size_t max_sessions);
void openssl_tickets_release_store(openssl_tickets_store *store);
int openssl_tickets_put(openssl_tickets_store *store, const char *key, size_t key_len,
                        SSL_SESSION *session);
SSL_SESSION *openssl_tickets_take(openssl_tickets_store *store, const char *key, size_t key_len);
void openssl_tickets_clear_store(openssl_tickets_store *store);
size_t openssl_tickets_count_stored(openssl_tickets_store *store);
