/*
 * The headers for the declarations in cdef/. It also has what cryptography offers to pyOpenSSL and
 * OpenSSL's headers do not have under that name: types, and switches for optional features.
 */
#ifndef OPENSSL_TICKETS_PYOPENSSL_H
#define OPENSSL_TICKETS_PYOPENSSL_H

#include "openssl_tickets.h"

#include <openssl/cmac.h>
#include <openssl/conf.h>
#include <openssl/dh.h>
#include <openssl/dsa.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/pkcs7.h>
#include <openssl/provider.h>
#include <openssl/proverr.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/srtp.h>
#include <openssl/x509v3.h>

typedef STACK_OF(ASN1_OBJECT) Cryptography_STACK_OF_ASN1_OBJECT;
typedef STACK_OF(X509) Cryptography_STACK_OF_X509;
typedef STACK_OF(X509_CRL) Cryptography_STACK_OF_X509_CRL;
typedef STACK_OF(X509_NAME) Cryptography_STACK_OF_X509_NAME;
typedef STACK_OF(X509_NAME_ENTRY) Cryptography_STACK_OF_X509_NAME_ENTRY;
typedef STACK_OF(X509_OBJECT) Cryptography_STACK_OF_X509_OBJECT;
typedef STACK_OF(X509_REVOKED) Cryptography_STACK_OF_X509_REVOKED;

#define Cryptography_SSL_SESSION_new SSL_SESSION_new
/* OpenSSL 4.0 passes a const certificate to this callback. cffi can have one declaration only. */
#define X509_STORE_set_get_issuer(store, callback) \
    X509_STORE_set_get_issuer(store, (X509_STORE_CTX_get_issuer_fn)(callback))

/*
 * Features that came after OpenSSL 3.0. They depend on the libssl that runs, not on the headers of
 * the build, because one wheel runs on many. IMPLICIT_RSA_REJECTION: with PKCS#1 v1.5, a wrong
 * padding decrypts to random bytes from OpenSSL 3.2 on.
 */
#define Cryptography_HAS_IMPLICIT_RSA_REJECTION (OpenSSL_version_num() >= 0x30200000L)
#define Cryptography_HAS_SSL_GET0_GROUP_NAME openssl_tickets_has_group_name()
#define SSL_get0_group_name openssl_tickets_group_name
int openssl_tickets_has_group_name(void);
const char *openssl_tickets_group_name(SSL *ssl);

long Cryptography_DTLSv1_get_timeout(SSL *ssl, time_t *seconds, long *microseconds);

#endif
