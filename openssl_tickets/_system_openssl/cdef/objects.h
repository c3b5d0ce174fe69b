/* What pyOpenSSL uses of <openssl/objects.h>. */

#define NID_subject_alt_name ...
#define NID_undef ...

const char *OBJ_nid2ln(int n);
const char *OBJ_nid2sn(int n);
int OBJ_obj2nid(const ASN1_OBJECT *o);
int OBJ_txt2nid(const char *s);
