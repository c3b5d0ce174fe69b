/* The part of <openssl/rand.h> that cryptography offers. */

void RAND_add(const void *buf, int num, double randomness);
int RAND_bytes(unsigned char *buf, int num);
int RAND_status(void);
