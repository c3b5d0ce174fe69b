/* What pyOpenSSL uses of <openssl/dh.h>. */

typedef ... DH;

void DH_free(DH *dh);
