/* Counters: what happened to the tickets of a context. */

typedef struct {
    uint64_t issued, received, used, renewed, ignored, aborted, undecryptable, failed;
} openssl_tickets_counts;

int openssl_tickets_get_counts(SSL_CTX *ctx, openssl_tickets_counts *counts);
