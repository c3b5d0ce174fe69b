/* Which interpreter the callbacks of libssl enter. */

int openssl_tickets_enters(uintptr_t builtins);
