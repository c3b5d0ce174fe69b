/* Which file a piece of a loaded library came from; <dlfcn.h>. */

/* The path of the loaded shared object that holds *address*; NULL if there is none. */
const char *openssl_tickets_file_of(const void *address);

/* What *symbol* is to the loaded shared object *file*; NULL if it is not loaded or has none. */
void *openssl_tickets_symbol_of(const char *file, const char *symbol);
