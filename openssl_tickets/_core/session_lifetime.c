/*
 * A limit on renewals. In TLS 1.3 each ticket has its own lifetime, so a client that keeps coming
 * back could resume forever. So the session carries a deadline, and each new ticket lives only
 * until then. In TLS 1.2 a session keeps its start time, and its timeout is enough.
 */
#include <limits.h>
#include <time.h>
#include "openssl_tickets.h"

static int deadline_index = -1, began_index = -1;

static CRYPTO_ONCE indexes_once = CRYPTO_ONCE_STATIC_INIT;

static void make_indexes(void)
{
    /* libssl copies this value into the sessions of later tickets. */
    deadline_index = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    /* The time when the handshake of an SSL began. A copy by SSL_dup starts without it. */
    began_index = SSL_get_ex_new_index(0, NULL, NULL, openssl_tickets_dup_nothing, NULL);
}

/* Limits the sessions of ctx, in seconds; 0 for no limit. Returns 0 if there is no memory. */
int openssl_tickets_set_max_lifetime(SSL_CTX *ctx, long seconds)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of_ctx(ctx);

    if (slot == NULL || !CRYPTO_THREAD_run_once(&indexes_once, make_indexes) || deadline_index < 0
        || began_index < 0)
        return 0;
    slot->max_lifetime = seconds;
    if (seconds != 0)
        SSL_CTX_set_timeout(ctx, seconds);
    return 1;
}

long openssl_tickets_get_max_lifetime(SSL_CTX *ctx)
{
    const openssl_tickets_slot *slot = openssl_tickets_slot_of_ctx(ctx);

    return slot != NULL ? slot->max_lifetime : 0;
}

static long shorter(long one, long other)
{
    return one < other ? one : other;
}

/* On some machines a long has 32 bits, and the time in seconds is close to its maximum. */
static long later(long when, long seconds)
{
    return when > 0 && seconds > LONG_MAX - when ? LONG_MAX : when + seconds;
}

static long deadline_of(const SSL_SESSION *session)
{
    return (long)(intptr_t)SSL_SESSION_get_ex_data(session, deadline_index);
}

static int set_deadline(SSL_SESSION *session, long deadline)
{
    return SSL_SESSION_set_ex_data(session, deadline_index, (void *)(intptr_t)deadline);
}

/*
 * Stores when the handshake began. Called for each client's hello. It must be stored, because a
 * ticket may be requested hours later, and libssl then sets the session's time to the later moment.
 * Returns 0 if there is no memory.
 */
int openssl_tickets_begin_session(SSL *ssl, const openssl_tickets_slot *slot)
{
    long max_lifetime = slot->max_lifetime;

    if (max_lifetime == 0)
        return 1;
    /* The program may have set a longer timeout in another way. In TLS 1.2 it is the only limit. */
    openssl_tickets_lock();
    if (SSL_CTX_get_timeout(slot->ctx) > max_lifetime)
        SSL_CTX_set_timeout(slot->ctx, max_lifetime);
    openssl_tickets_unlock();
    return SSL_set_ex_data(ssl, began_index, (void *)(intptr_t)time(NULL));
}

/*
 * Limits the ticket that ssl is about to make to the time left until the deadline. Returns 0 if
 * there is no memory. A timeout of 0 would end the connection, so if no time is left, the ticket is
 * made already expired.
 *
 * In TLS 1.3 this may change the session: libssl has made a copy if the original may be in its
 * cache.
 */
int openssl_tickets_limit_ticket(SSL *ssl, const openssl_tickets_slot *slot)
{
    long max_lifetime = slot->max_lifetime, deadline, left, timeout, now, began;
    SSL_SESSION *session = SSL_get_session(ssl);

    if (max_lifetime == 0 || openssl_tickets_before_tls13(ssl))
        return 1;
    now = (long)SSL_SESSION_get_time(session);
    timeout = shorter(SSL_SESSION_get_timeout(session), max_lifetime);
    deadline = deadline_of(session);
    if (deadline == 0) {
        began = (long)(intptr_t)SSL_get_ex_data(ssl, began_index);
        if (began <= 0 || began > now) /* the limit was set after the connection began */
            began = now;
        deadline = later(began, timeout);
        if (!set_deadline(session, deadline))
            return 0;
    }
    left = deadline - now;
    if (left > 0) {
        SSL_SESSION_set_timeout(session, shorter(timeout, left));
    } else {
        SSL_SESSION_set_time(session, deadline - 1);
        SSL_SESSION_set_timeout(session, 1);
    }
    return 1;
}

/*
 * Applies the limit to the session of a received ticket, and returns 1 if a new ticket would have
 * time left. The ticket may come from another host, or from before the limit was set. With the
 * shorter timeout that this sets, libssl does not resume a session that is too old.
 */
int openssl_tickets_has_time_left(SSL_SESSION *session, const openssl_tickets_slot *slot)
{
    long max_lifetime = slot->max_lifetime, timeout, deadline;

    if (max_lifetime == 0)
        return 1;
    timeout = SSL_SESSION_get_timeout(session);
    if (timeout > max_lifetime) {
        timeout = max_lifetime;
        SSL_SESSION_set_timeout(session, timeout);
    }
    deadline = later((long)SSL_SESSION_get_time(session), timeout);
    if (deadline <= (long)time(NULL)) {
        SSL_SESSION_set_timeout(session, 0); /* libssl would still accept it within this second */
        return 0;
    }
    return set_deadline(session, deadline);
}
