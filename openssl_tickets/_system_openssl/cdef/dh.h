/* The part of <openssl/dh.h> that cryptography offers. */

#define DH_NOT_SUITABLE_GENERATOR ...

void DH_free(DH *dh);
