/* Which interpreter the callbacks of libssl enter. */

/* csrc/interpreter.c */
int openssl_tickets_enters(uintptr_t builtins);
