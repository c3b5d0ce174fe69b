/* The one lock of this package. */

int openssl_tickets_init(void);
