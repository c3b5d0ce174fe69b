/*
 * The headers behind cdef/, and the few things that pyOpenSSL expects of its binding and OpenSSL's
 * headers do not offer by that name: its types, and its switches for what an OpenSSL may lack.
 */
#ifndef OPENSSL_TICKETS_PYOPENSSL_H
#define OPENSSL_TICKETS_PYOPENSSL_H

#include "openssl_tickets.h"

#include <openssl/conf.h>
#include <openssl/dh.h>
#include <openssl/dsa.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/srtp.h>
#include <openssl/x509v3.h>

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
#define SSL_get0_group_name openssl_tickets_no_group_name
const char *openssl_tickets_no_group_name(SSL *ssl);
#endif

long Cryptography_DTLSv1_get_timeout(SSL *ssl, time_t *seconds, long *microseconds);

#endif
