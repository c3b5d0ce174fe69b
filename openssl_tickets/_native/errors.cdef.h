/* The error queue of the calling thread, and sys.unraisablehook. */

unsigned long ERR_get_error(void);
const char *ERR_lib_error_string(unsigned long code);
const char *ERR_reason_error_string(unsigned long code);

void openssl_tickets_write_unraisable(void *exception, void *object);
