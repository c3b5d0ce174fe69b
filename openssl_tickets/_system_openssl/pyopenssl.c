/* Functions that pyOpenSSL expects from its binding and that OpenSSL does not have. */
#define _GNU_SOURCE /* for Dl_info */
#include <dlfcn.h>
#include <sys/time.h>
#include "pyopenssl.h"
#undef SSL_get0_group_name

typedef const char *(*group_name_function)(SSL *);

/* Returns the running libssl's SSL_get0_group_name, or NULL if it is older than 3.2. */
static group_name_function find_group_name(void)
{
    Dl_info info;
    void *handle = NULL, *function = NULL;

    /* dlsym needs the loaded file, because libssl's symbols may not be in the global scope. */
    if (dladdr(TLS_method(), &info))
        handle = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (handle != NULL) {
        function = dlsym(handle, "SSL_get0_group_name");
        dlclose(handle);
    }
    return (group_name_function)function;
}

int openssl_tickets_has_group_name(void)
{
    return find_group_name() != NULL;
}

/* Call it only if openssl_tickets_has_group_name() returns 1. */
const char *openssl_tickets_group_name(SSL *ssl)
{
    group_name_function group_name = find_group_name();

    return group_name != NULL ? group_name(ssl) : NULL;
}

long Cryptography_DTLSv1_get_timeout(SSL *ssl, time_t *seconds, long *microseconds)
{
    struct timeval left = {0, 0};
    long result = DTLSv1_get_timeout(ssl, &left);

    *seconds = left.tv_sec;
    *microseconds = left.tv_usec;
    return result;
}
