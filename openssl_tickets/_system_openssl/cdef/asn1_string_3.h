/* The fields of a string that pyOpenSSL before 26.0 reads. OpenSSL before 4.0 shows them. */

typedef struct {
    int length;
    unsigned char *data;
    ...;
} ASN1_IA5STRING;
