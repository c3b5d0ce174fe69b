/* What pyOpenSSL before 26.0 uses of a string's fields, which OpenSSL has shown until 4.0. */

typedef struct {
    int length;
    unsigned char *data;
    ...;
} ASN1_IA5STRING;
