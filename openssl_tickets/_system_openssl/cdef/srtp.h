/* The part of <openssl/srtp.h> that cryptography offers. */

typedef struct {
    const char *name;
    ...;
} SRTP_PROTECTION_PROFILE;

int SSL_CTX_set_tlsext_use_srtp(SSL_CTX *ctx, const char *profiles);
SRTP_PROTECTION_PROFILE *SSL_get_selected_srtp_profile(SSL *s);
int SSL_set_tlsext_use_srtp(SSL *ssl, const char *profiles);
