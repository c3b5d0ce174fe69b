/* Finds the file of a loaded library. */
#define _GNU_SOURCE /* for Dl_info */
#include <dlfcn.h>
#include "openssl_tickets.h"

const char *openssl_tickets_file_of(const void *address)
{
    Dl_info info;

    return dladdr(address, &info) ? info.dli_fname : NULL;
}

void *openssl_tickets_symbol_of(const char *file, const char *symbol)
{
    void *handle = dlopen(file, RTLD_LAZY | RTLD_NOLOAD);
    void *address;

    if (handle == NULL)
        return NULL;
    address = dlsym(handle, symbol);
    dlclose(handle);
    return address;
}
