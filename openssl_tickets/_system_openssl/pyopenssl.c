/* What pyOpenSSL expects of its binding, and OpenSSL has no function for. */
#include <sys/time.h>
#include "pyopenssl.h"

#if OPENSSL_VERSION_NUMBER < 0x30200000L
const char *openssl_tickets_no_group_name(SSL *ssl)
{
    (void)ssl;
    return NULL;
}
#endif

long Cryptography_DTLSv1_get_timeout(SSL *ssl, time_t *seconds, long *microseconds)
{
    struct timeval left = {0, 0};
    long result = DTLSv1_get_timeout(ssl, &left);

    *seconds = left.tv_sec;
    *microseconds = left.tv_usec;
    return result;
}
