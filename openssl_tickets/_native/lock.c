/*
 * The one lock of this package. A thread holds it for a few instructions at a time, never while
 * libssl or Python runs a callback. During a fork no other thread holds it. (A lock of OpenSSL is a
 * pthread_rwlock. glibc lets only the thread that locked it unlock it, and in a forked child that
 * thread has another id. So it cannot be used here.)
 */
#include <pthread.h>
#include "openssl_tickets.h"

static pthread_mutex_t the_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int fork_is_safe = 0;

void openssl_tickets_lock(void)
{
    pthread_mutex_lock(&the_lock);
}

void openssl_tickets_unlock(void)
{
    pthread_mutex_unlock(&the_lock);
}

static void guard_forks(void)
{
    fork_is_safe = pthread_atfork(openssl_tickets_lock, openssl_tickets_unlock,
                                  openssl_tickets_unlock) == 0;
}

/* Call it before anything else; more calls do no harm. Returns 0 if there is no memory. */
int openssl_tickets_init(void)
{
    return pthread_once(&once, guard_forks) == 0 && fork_is_safe;
}
