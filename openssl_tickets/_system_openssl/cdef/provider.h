/* What this package uses of <openssl/provider.h> to give pyOpenSSL the algorithms it expects. */

typedef ... OSSL_LIB_CTX;
typedef ... OSSL_PROVIDER;

OSSL_PROVIDER *OSSL_PROVIDER_try_load(OSSL_LIB_CTX *libctx, const char *name, int retain_fallbacks);
