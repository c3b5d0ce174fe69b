/*
 * The one lock of this package. It is held for a few instructions at a time, never while libssl or
 * Python runs a callback, and never across a fork.
 */
#include <pthread.h>

static CRYPTO_ONCE lock_once = CRYPTO_ONCE_STATIC_INIT;
static CRYPTO_RWLOCK *the_lock = NULL;

static void lock_acquire(void)
{
    CRYPTO_THREAD_write_lock(the_lock);
}

static void lock_release(void)
{
    CRYPTO_THREAD_unlock(the_lock);
}

static void lock_make(void)
{
    CRYPTO_RWLOCK *made = CRYPTO_THREAD_lock_new();

    if (made == NULL)
        return;
    the_lock = made;
    if (pthread_atfork(lock_acquire, lock_release, lock_release) != 0)
        the_lock = NULL;
}

/* To be called before anything that locks. Returns 1, or 0 when there is no memory. */
static int openssl_tickets_init_lock(void)
{
    return CRYPTO_THREAD_run_once(&lock_once, lock_make) && the_lock != NULL;
}
