/* The standard library's ssl: finds the object that _ssl made for an SSL. */

SSL_CTX *SSL_get_SSL_CTX(const SSL *ssl);
void *SSL_get_ex_data(const SSL *ssl, int idx);

int openssl_tickets_append_object_at(uintptr_t list);
