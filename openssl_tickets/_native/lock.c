/*
 * The one lock of this package. It is held for a few instructions at a time, never while libssl or
 * Python runs a callback, and by no thread while the process is forked. (A lock of OpenSSL's would
 * not do: it is a pthread_rwlock, which glibc lets only the very thread unlock that locked it, and
 * in a forked child that thread has another id.)
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

/* To be called before anything else, any number of times. Returns 0 when there is no memory. */
int openssl_tickets_init(void)
{
    return pthread_once(&once, guard_forks) == 0 && fork_is_safe;
}
