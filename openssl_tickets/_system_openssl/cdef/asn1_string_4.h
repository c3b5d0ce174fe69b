/* From OpenSSL 4.0 on, a string's fields are hidden; pyOpenSSL 26.0 and newer do without. */

typedef ... ASN1_IA5STRING;
