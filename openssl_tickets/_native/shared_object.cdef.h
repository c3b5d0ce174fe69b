/* Finds the file of a loaded library, with <dlfcn.h>. */

/* Returns the path of the loaded shared object that holds *address*; NULL if there is none. */
const char *openssl_tickets_file_of(const void *address);

/*
 * Returns the address of *symbol* in the loaded shared object *file* or the libraries that it is
 * linked to; NULL if *file* is not loaded, or there is no such symbol.
 */
void *openssl_tickets_symbol_of(const char *file, const char *symbol);
