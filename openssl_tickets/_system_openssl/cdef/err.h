/* The part of <openssl/err.h> that cryptography offers. */

#define ERR_LIB_EVP ...
#define ERR_LIB_PKCS12 ...
#define ERR_LIB_PROV ...

void ERR_clear_error(void);
const char *ERR_func_error_string(unsigned long e);
unsigned long ERR_get_error(void);
int ERR_GET_REASON(unsigned long errcode);
const char *ERR_lib_error_string(unsigned long e);
unsigned long ERR_peek_error(void);
void ERR_put_error(int lib, int func, int reason, const char *file, int line);
const char *ERR_reason_error_string(unsigned long e);
