/* What has become of the tickets of an SSL_CTX. They are counted where it happens. */
#include "openssl_tickets.h"

/* Counts one more in a count of the slot. */
void openssl_tickets_count(uint64_t *count)
{
    openssl_tickets_lock();
    ++*count;
    openssl_tickets_unlock();
}

/* Copies the counts of ctx, which begin with its slot. Returns 0 when there is no memory. */
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
