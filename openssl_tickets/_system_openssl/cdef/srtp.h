/* What pyOpenSSL uses of <openssl/srtp.h>. */

typedef struct {
    const char *name;
    ...;
} SRTP_PROTECTION_PROFILE;

int SSL_CTX_set_tlsext_use_srtp(SSL_CTX *ctx, const char *profiles);
SRTP_PROTECTION_PROFILE *SSL_get_selected_srtp_profile(SSL *s);
