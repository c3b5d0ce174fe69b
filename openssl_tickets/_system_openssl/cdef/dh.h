/* What cryptography offers of <openssl/dh.h>. */

#define DH_NOT_SUITABLE_GENERATOR ...

void DH_free(DH *dh);
