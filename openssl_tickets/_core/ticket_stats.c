/* Counters: what happened to the tickets of an SSL_CTX. Each event is counted where it happens. */
#include "openssl_tickets.h"

/* Adds one to a counter of a slot. */
void openssl_tickets_count(uint64_t *count)
{
    openssl_tickets_lock();
    ++*count;
    openssl_tickets_unlock();
}

/* Copies the counters of ctx. They start when its slot is made. Returns 0 if there is no memory. */
int openssl_tickets_get_counts(SSL_CTX *ctx, openssl_tickets_counts *counts)
{
    const openssl_tickets_slot *slot = openssl_tickets_slot_of_ctx(ctx);

    if (slot == NULL)
        return 0;
    openssl_tickets_lock();
    *counts = slot->counts;
    openssl_tickets_unlock();
    return 1;
}
