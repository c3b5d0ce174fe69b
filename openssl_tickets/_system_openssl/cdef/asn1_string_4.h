/* OpenSSL 4.0 hides the fields of a string. pyOpenSSL 26.0 and newer do not need them. */

typedef ... ASN1_IA5STRING;
