/*
 * What a build needs, said by the preprocessor: the headers of OpenSSL's own libssl, 3.0 or newer.
 * An older OpenSSL lacks SSL_new_session_ticket; LibreSSL and BoringSSL lack the ticket callbacks.
 */
#ifndef OPENSSL_TICKETS_REQUIRES_H
#define OPENSSL_TICKETS_REQUIRES_H

#include <openssl/opensslv.h>
#include <openssl/crypto.h>

#if defined(LIBRESSL_VERSION_NUMBER)
#error "openssl_tickets needs OpenSSL 3.0 or newer, and these headers are LibreSSL's: set OPENSSL_DIR"
#elif defined(OPENSSL_IS_BORINGSSL) || defined(OPENSSL_IS_AWSLC)
#error "openssl_tickets needs OpenSSL 3.0 or newer, and these headers are BoringSSL's: set OPENSSL_DIR"
#elif !defined(OPENSSL_VERSION_NUMBER) || OPENSSL_VERSION_NUMBER < 0x30000000L
#error "openssl_tickets needs OpenSSL 3.0 or newer, and these headers are older: set OPENSSL_DIR"
#endif

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#endif
