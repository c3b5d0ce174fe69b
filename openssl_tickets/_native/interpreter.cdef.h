/* Which interpreter libssl's callbacks enter. */

int openssl_tickets_enters(uintptr_t builtins);
