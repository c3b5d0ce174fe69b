/*
 * The few things that pyOpenSSL expects of its binding and OpenSSL's headers do not offer by that
 * name, and its switches for what an OpenSSL may lack.
 */
typedef STACK_OF(X509) STACK_OF_X509;
typedef STACK_OF(X509_NAME) STACK_OF_X509_NAME;
typedef STACK_OF(X509_OBJECT) STACK_OF_X509_OBJECT;

#define Cryptography_HAS_KEYLOG 1
#define Cryptography_HAS_NEXTPROTONEG 0
#define Cryptography_HAS_SSL_COOKIE 1

#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING
#define Cryptography_HAS_UNEXPECTED_EOF_WHILE_READING 1
#else
#define Cryptography_HAS_UNEXPECTED_EOF_WHILE_READING 0
#define SSL_R_UNEXPECTED_EOF_WHILE_READING 0
#endif

#if OPENSSL_VERSION_NUMBER >= 0x30200000L
#define Cryptography_HAS_SSL_GET0_GROUP_NAME 1
#else
#define Cryptography_HAS_SSL_GET0_GROUP_NAME 0
static const char *SSL_get0_group_name(SSL *ssl)
{
    (void)ssl;
    return NULL;
}
#endif

static long Cryptography_DTLSv1_get_timeout(SSL *ssl, time_t *seconds, long *microseconds)
{
    struct timeval left = {0, 0};
    long result = DTLSv1_get_timeout(ssl, &left);

    *seconds = left.tv_sec;
    *microseconds = left.tv_usec;
    return result;
}
