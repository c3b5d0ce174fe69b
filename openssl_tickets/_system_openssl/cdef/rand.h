/* What pyOpenSSL uses of <openssl/rand.h>. */

void RAND_add(const void *buf, int num, double randomness);
int RAND_status(void);
