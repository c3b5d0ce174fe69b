/*
 * The native part under libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer, on the system's
 * libssl. TARGET says what the input is:
 *
 *   hello      what a client sends, to a server with callbacks and a ring
 *   ticket     a ticket that a real client offers
 *   plaintext  what is in a ticket that is encrypted with the ring's own key
 *   session    a session in DER or PEM, as a program imports it
 *
 * What must hold is checked by must(), which ends the process: libFuzzer takes that for a crash.
 *
 * The first byte of an input says how; see each target. The ring's keys are fixed, and the sessions
 * that the clients have are read from a folder, so that an input means the same in each process.
 * libssl itself is not instrumented: to lead the fuzzer on into it, its states, alerts and errors
 * are counted as if they were edges.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "openssl_tickets.h"

#define must(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

enum { HELLO, TICKET, PLAINTEXT, SESSION };

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[2048];

static void count(int base, unsigned int number, unsigned int size)
{
    counters[base + number % size] |= 1;
}

/* What the callbacks of this connection do, and what they have seen. */
static int answers;              /* how decrypt answers, see openssl_tickets_decrypt */
static int decrypted, asked;     /* how often the status was a success; how often it was asked */
static volatile unsigned int touched; /* what was read, for AddressSanitizer to look at */

static void touch(const void *data, size_t len)
{
    const unsigned char *bytes = data;
    size_t number;

    for (number = 0; number < len; number++)
        touched += bytes[number];
}

static openssl_tickets_key *ring_keys[2];

/* Whether ticket is one that the server has made: nobody else can make its MAC. */
static int is_genuine(const unsigned char *ticket, size_t len)
{
    unsigned char mac[32];
    unsigned int mac_len = sizeof(mac);
    int number;

    if (len < 16 + 16 + 32)
        return 0;
    for (number = 0; number < 2; number++) {
        if (memcmp(ticket, ring_keys[number]->name, 16) != 0)
            continue;
        must(HMAC(EVP_sha256(), ring_keys[number]->hmac_key, (int)ring_keys[number]->secret_len,
                  ticket, len - 32, mac, &mac_len));
        return memcmp(mac, ticket + len - 32, 32) == 0;
    }
    return 0;
}

/* The last hello that a server has read, all in one piece. */
static unsigned char hello[1 << 18];
static size_t hello_len;

static void note_message(int write_p, int version, int content_type, const void *data, size_t len,
                         SSL *ssl, void *arg)
{
    (void)version, (void)ssl, (void)arg;
    if (write_p || content_type != SSL3_RT_HANDSHAKE || len == 0
        || *(const unsigned char *)data != SSL3_MT_CLIENT_HELLO)
        return;
    must(len <= sizeof(hello));
    memcpy(hello, data, len);
    hello_len = len;
}

/* Whether there is a genuine ticket in the hello, behind its length; of this key, or any for NULL. */
static int offers_genuine(const char *keyname)
{
    size_t at, size;

    for (at = 2; at + 16 <= hello_len; at++) {
        size = (size_t)(hello[at - 2] << 8 | hello[at - 1]);
        if ((keyname == NULL || memcmp(hello + at, keyname, 16) == 0) && size <= hello_len - at
            && is_genuine(hello + at, size))
            return 1;
    }
    return 0;
}

/* A session is looked at with all that there is for it. */
static void examine(SSL_SESSION *session)
{
    unsigned char *der = NULL, *pem = NULL, *peer = NULL, *back = NULL;
    void *appdata = NULL;
    size_t appdata_len = 0, back_len = 0, rest = 0;
    int der_len, pem_len, peer_len;
    SSL_SESSION *copy = openssl_tickets_copy_session(session), *again;

    must(copy == NULL || openssl_tickets_same_session(session, copy)
         || SSL_SESSION_get_master_key(session, NULL, 0) == 0);
    SSL_SESSION_free(copy);
    if (openssl_tickets_copy_appdata(session, &appdata, &appdata_len))
        touch(appdata, appdata_len);
    openssl_tickets_free_copy(appdata, appdata_len);
    peer_len = openssl_tickets_copy_peer(session, &peer);
    if (peer_len > 0)
        touch(peer, (size_t)peer_len);
    openssl_tickets_free_copy(peer, peer_len > 0 ? (size_t)peer_len : 0);
    der_len = openssl_tickets_to_der(session, &der);
    pem_len = openssl_tickets_to_pem(session, &pem);
    if (der_len > 0 && pem_len > 0) {
        must(openssl_tickets_from_pem((char *)pem, (size_t)pem_len, &back, &back_len, &rest) == 1);
        must(rest == 0 && back_len == (size_t)der_len && memcmp(back, der, back_len) == 0);
        openssl_tickets_free_copy(back, back_len);
        again = openssl_tickets_from_der(der, (size_t)der_len);
        count(1900, again != NULL, 2);
        SSL_SESSION_free(again);
    }
    openssl_tickets_free_copy(der, der_len > 0 ? (size_t)der_len : 0);
    openssl_tickets_free_copy(pem, pem_len > 0 ? (size_t)pem_len : 0);
}

/* The stand-ins for Python: what the callbacks of a program might do. */
int openssl_tickets_generate(SSL *ssl, uintptr_t app_data, uintptr_t number, char *room)
{
    (void)app_data, (void)number;
    if (answers & 8)
        return OPENSSL_TICKETS_NOTHING;
    if (answers & 4)
        return openssl_tickets_set_generated(ssl, "alice", 5) == 1 ? OPENSSL_TICKETS_NOTHING : 0;
    memcpy(room, "alice", 5);
    return 5 + OPENSSL_TICKETS_WRITTEN;
}

int openssl_tickets_refuse(SSL *ssl, uintptr_t app_data, uintptr_t number, int reason)
{
    (void)ssl, (void)app_data, (void)number, (void)reason;
    return 0;
}

SSL_TICKET_RETURN openssl_tickets_decrypt(SSL *ssl, uintptr_t app_data, const char *keyname,
                                          size_t keyname_len, SSL_TICKET_STATUS status,
                                          uintptr_t number, const char *appdata,
                                          size_t appdata_len)
{
    SSL_SESSION *session = openssl_tickets_offered_session(ssl);
    const char *name;
    size_t name_len;
    int success = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;

    (void)app_data, (void)number;
    asked++;
    count(1910, (unsigned int)status, 8);
    must(keyname_len <= 16);
    touch(keyname, keyname_len);
    touch(appdata, appdata_len);
    if (openssl_tickets_hello_server_name(ssl, &name, &name_len))
        touch(name, name_len);
    must(success == (session != NULL));
    if (success) {
        must(keyname_len == 16 && offers_genuine(keyname));
        decrypted++;
        examine(session);
    }
    SSL_SESSION_free(session);
    switch (answers & 7) {
    case 1:
        return SSL_TICKET_RETURN_IGNORE;
    case 2:
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    case 3: /* the second of several */
        return success && asked > 1 ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_IGNORE_RENEW;
    case 4:
        return success ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_IGNORE_RENEW;
    case 5:
        return success ? SSL_TICKET_RETURN_ABORT : SSL_TICKET_RETURN_IGNORE;
    default:
        return !success ? SSL_TICKET_RETURN_IGNORE_RENEW
               : status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE
                                              : SSL_TICKET_RETURN_USE_RENEW;
    }
}

void openssl_tickets_new_session(SSL *ssl, uintptr_t app_data, SSL_SESSION *session,
                                 uintptr_t number)
{
    (void)ssl, (void)app_data, (void)number;
    examine(session);
}

/* No client here asks for sessions. */
void openssl_tickets_offer(SSL *ssl, uintptr_t app_data, uintptr_t number, const char *server_name,
                           uintptr_t verify_callback)
{
    (void)ssl, (void)app_data, (void)number, (void)server_name, (void)verify_callback;
}

void openssl_tickets_refused(SSL *ssl, uintptr_t app_data, SSL_SESSION *session, uintptr_t number)
{
    (void)ssl, (void)app_data, (void)session, (void)number;
}

/* The contexts: a server whose tickets have callbacks, one without, and clients. */
static SSL_CTX *server_ctx[2], *client_ctx[2];
static SSL_SESSION *kept[2];          /* of the clients, TLS 1.2 and 1.3 */
static unsigned char *kept_der[2];
static int kept_der_len[2];
static const int versions[2] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void use_new_certificate(SSL_CTX *ctx)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();

    must(key != NULL && certificate != NULL);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    must(X509_set_pubkey(certificate, key) && X509_sign(certificate, key, EVP_sha256()));
    must(SSL_CTX_use_certificate(ctx, certificate) && SSL_CTX_use_PrivateKey(ctx, key));
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void note_state(const SSL *ssl, int where, int ret)
{
    count(0, (unsigned int)SSL_get_state(ssl) + (SSL_is_server((SSL *)ssl) ? 64u : 0u), 128);
    if (where & SSL_CB_ALERT)
        count(128, (unsigned int)ret, 256);
}

/* As Python does: the number first, under which it would keep the callbacks. */
static void give_callbacks(SSL_CTX *ctx, int around_tickets)
{
    must(openssl_tickets_number_of(ctx));
    openssl_tickets_set_new_session(ctx, 1, 1);
    if (around_tickets)
        openssl_tickets_set_ticket_callback(ctx, 1, 1);
}

static void make_contexts(void)
{
    static const unsigned char names[2][17] = {"the first of two", "the other of two"};
    static const unsigned char secrets[4][32] = {"h1", "a1", "h2", "a2"};
    openssl_tickets_keyring *ring = openssl_tickets_new_keyring();
    int number;

    must(openssl_tickets_init());
    ring_keys[0] = openssl_tickets_new_key(names[0], secrets[0], secrets[1], 32);
    ring_keys[1] = openssl_tickets_new_key(names[1], secrets[2], secrets[3], 16);
    must(openssl_tickets_set_keys(ring, ring_keys, 2));
    for (number = 0; number < 2; number++) {
        server_ctx[number] = SSL_CTX_new(TLS_server_method());
        use_new_certificate(server_ctx[number]);
        SSL_CTX_set_session_id_context(server_ctx[number], (const unsigned char *)"fuzz", 4);
        SSL_CTX_set_timeout(server_ctx[number], 604800);
        SSL_CTX_set_info_callback(server_ctx[number], note_state);
        SSL_CTX_set_msg_callback(server_ctx[number], note_message);
        must(openssl_tickets_use_keyring(server_ctx[number], ring, NULL, 0));
        give_callbacks(server_ctx[number], number == 0);
        client_ctx[number] = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(client_ctx[number], versions[number]);
        SSL_CTX_set_max_proto_version(client_ctx[number], versions[number]);
        SSL_CTX_set_info_callback(client_ctx[number], note_state);
        give_callbacks(client_ctx[number], 0);
    }
    openssl_tickets_release_keyring(ring);
}

/* libssl's errors are the program's to clear, and it has said what they are by then. */
static void count_errors(void)
{
    unsigned long error;

    while ((error = ERR_get_error()) != 0)
        count(384, (unsigned int)ERR_GET_REASON(error) + 64u * (unsigned int)ERR_GET_LIB(error),
              1500);
}

static SSL *new_ssl(SSL_CTX *ctx)
{
    SSL *ssl = SSL_new(ctx);

    must(ssl != NULL);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    BIO_set_mem_eof_return(SSL_get_rbio(ssl), -1);
    BIO_set_mem_eof_return(SSL_get_wbio(ssl), -1);
    return ssl;
}

static void move(SSL *from, SSL *to)
{
    char *data;
    long len = BIO_get_mem_data(SSL_get_wbio(from), &data);

    if (len > 0)
        BIO_write(SSL_get_rbio(to), data, (int)len);
    (void)BIO_reset(SSL_get_wbio(from));
}

/* Returns whether both have shaken hands, and data went to and fro. */
static int shake(SSL *client, SSL *server)
{
    char reply[4];
    int done[2] = {0, 0}, round;

    for (round = 0; round < 6 && !(done[0] && done[1]); round++) {
        if (!done[0] && (done[0] = SSL_connect(client) == 1))
            must(ERR_peek_error() == 0);
        move(client, server);
        count_errors();
        if (!done[1] && (done[1] = SSL_accept(server) == 1))
            must(ERR_peek_error() == 0);
        move(server, client);
        count_errors();
    }
    if (!done[0] || !done[1])
        return 0;
    must(SSL_session_reused(client) == SSL_session_reused(server));
    must(SSL_write(client, "ping", 4) == 4);
    move(client, server);
    must(SSL_read(server, reply, 4) == 4 && memcmp(reply, "ping", 4) == 0);
    must(SSL_write(server, "pong", 4) == 4);
    move(server, client);
    must(SSL_read(client, reply, 4) == 4 && memcmp(reply, "pong", 4) == 0);
    must(ERR_peek_error() == 0);
    return 1;
}

static void reset(int mode)
{
    answers = mode;
    asked = decrypted = 0;
    hello_len = 0;
    ERR_clear_error();
}

/* DER: returns where the value of the element at der begins; its length goes to len. */
static const unsigned char *element(const unsigned char *der, size_t *len)
{
    size_t size = der[1], start = 2, number;

    if (size & 0x80) {
        start += size & 0x7F;
        for (size = 0, number = 2; number < start; number++)
            size = size << 8 | der[number];
    }
    *len = size;
    return der + start;
}

static unsigned char *put_header(unsigned char *to, unsigned char tag, size_t len)
{
    *to++ = tag;
    *to++ = 0x83;
    *to++ = (unsigned char)(len >> 16);
    *to++ = (unsigned char)(len >> 8);
    *to++ = (unsigned char)len;
    return to;
}

/* Returns the kept session with another ticket. */
static SSL_SESSION *with_ticket(int which, const unsigned char *ticket, size_t len)
{
    static unsigned char made[1 << 18];
    unsigned char *end = made + 5;
    const unsigned char *at, *last, *value;
    size_t size;
    SSL_SESSION *session;

    at = element(kept_der[which], &size);
    last = at + size;
    while (at < last) {
        value = element(at, &size);
        if (*at == 0xAA) {
            end = put_header(end, 0xAA, len + 5);
            end = put_header(end, 0x04, len);
            memcpy(end, ticket, len);
            end += len;
        } else {
            memcpy(end, at, (size_t)(value + size - at));
            end += value + size - at;
        }
        at = value + size;
    }
    put_header(made, 0x30, (size_t)(end - made - 5));
    session = openssl_tickets_from_der(made, (size_t)(end - made));
    must(session != NULL);
    must(ERR_peek_error() == 0);
    return session;
}

/* Has a client offer the kept session with this ticket. */
static void offer(int mode, const unsigned char *ticket, size_t len)
{
    int which = mode & 16 ? 1 : 0, reused;
    SSL *client = new_ssl(client_ctx[which]), *server = new_ssl(server_ctx[mode & 32 ? 1 : 0]);
    SSL_SESSION *session = with_ticket(which, ticket, len);

    must(openssl_tickets_set_session(client, session));
    SSL_SESSION_free(session);
    reset(mode);
    reused = shake(client, server) && SSL_session_reused(server);
    /* Also where a connection has failed it must not have resumed what is not genuine. */
    must(!SSL_session_reused(server) || is_genuine(ticket, len));
    count(1920, (unsigned int)(reused + 2 * asked), 8);
    SSL_free(client);
    SSL_free(server);
    count_errors();
}

static void fuzz_ticket(int mode, const uint8_t *data, size_t size)
{
    static unsigned char changed[1 << 16];
    const unsigned char *genuine;
    size_t len, number;

    if (!(mode & 64)) {
        offer(mode, data, size);
        return;
    }
    /* The input is what is changed in a genuine ticket. */
    SSL_SESSION_get0_ticket(kept[mode & 16 ? 1 : 0], &genuine, &len);
    memcpy(changed, genuine, len);
    for (number = 0; number < size && number < len; number++)
        changed[number] ^= data[number];
    offer(mode, changed, len);
    must(!decrypted || memcmp(changed, genuine, len) == 0);
}

/* Returns the length of the ticket that holds this, of the ring's key of that number. */
static size_t seal(int number, const uint8_t *data, size_t size, unsigned char *ticket)
{
    const openssl_tickets_key *key = ring_keys[number];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len = 0, last = 0;
    unsigned int mac_len = 32;

    memcpy(ticket, key->name, 16);
    memset(ticket + 16, 7, 16);
    must(EVP_EncryptInit_ex(ctx, key->secret_len == 16 ? EVP_aes_128_cbc() : EVP_aes_256_cbc(),
                            NULL, key->aes_key, ticket + 16));
    must(EVP_EncryptUpdate(ctx, ticket + 32, &len, data, (int)size));
    must(EVP_EncryptFinal_ex(ctx, ticket + 32 + len, &last));
    EVP_CIPHER_CTX_free(ctx);
    must(HMAC(EVP_sha256(), key->hmac_key, (int)key->secret_len, ticket, 32u + (size_t)(len + last),
              ticket + 32 + len + last, &mac_len));
    return 64u + (size_t)(len + last);
}

static void fuzz_plaintext(int mode, const uint8_t *data, size_t size)
{
    static unsigned char ticket[1 << 17];

    offer(mode, ticket, seal(mode & 64 ? 1 : 0, data, size, ticket));
}

/*
 * A whole stream (mode & 48 = 0), the body of a hello (16), or its extensions, as a type, a length
 * and a body each, behind a hello that is in order (32, 48): then lengths are what they must be.
 */
static void fuzz_hello(int mode, const uint8_t *data, size_t size)
{
    static unsigned char stream[1 << 17];
    static const unsigned char start[] = {3, 3, [34] = 0, 0, 6, 0x13, 0x01, 0xC0, 0x2B, 0xC0, 0x2C,
                                          1, 0};
    static const unsigned char usual[] = {
        0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3, 0, 45, 0, 2, 1, 1,
        0, 11, 0, 2, 1, 0};
    static const unsigned char tls13[] = {0, 43, 0, 3, 2, 3, 4};
    SSL *server = new_ssl(server_ctx[mode & 64 ? 1 : 0]);
    unsigned char *end = stream;
    size_t pos, len, chunk;
    int step;
    char buffer[256];

    if (size > 60000)
        size = 60000;
    if (!(mode & 48)) {
        memcpy(end, data, size);
        end += size;
    } else {
        unsigned char *body = stream + 32768;

        len = 0;
        if (!(mode & 32)) {
            if (size > 16000)
                size = 16000;
            memcpy(body, data, size);
            len = size;
        } else {
            size_t extensions;

            memcpy(body, start, sizeof(start));
            len = sizeof(start) + 2;
            memcpy(body + len, usual, sizeof(usual));
            len += sizeof(usual);
            if (mode & 16) {
                memcpy(body + len, tls13, sizeof(tls13));
                len += sizeof(tls13);
            }
            for (pos = 0; pos + 3 <= size && len < 15000; pos += 3 + chunk) {
                chunk = data[pos + 1] << 8 | data[pos + 2];
                if (chunk > size - pos - 3)
                    chunk = size - pos - 3;
                if (chunk > 15000 - len)
                    chunk = 15000 - len;
                body[len++] = 0;
                body[len++] = data[pos];
                body[len++] = (unsigned char)(chunk >> 8);
                body[len++] = (unsigned char)chunk;
                memcpy(body + len, data + pos + 3, chunk);
                len += chunk;
            }
            extensions = len - sizeof(start) - 2;
            body[sizeof(start)] = (unsigned char)(extensions >> 8);
            body[sizeof(start) + 1] = (unsigned char)extensions;
        }
        *end++ = SSL3_RT_HANDSHAKE, *end++ = 3, *end++ = 1;
        *end++ = (unsigned char)((len + 4) >> 8), *end++ = (unsigned char)(len + 4);
        *end++ = SSL3_MT_CLIENT_HELLO, *end++ = 0;
        *end++ = (unsigned char)(len >> 8), *end++ = (unsigned char)len;
        memmove(end, body, len);
        end += len;
    }
    reset(mode & 15);
    len = (size_t)(end - stream);
    for (pos = 0, step = 0; pos < len && step < 4; pos += chunk, step++) {
        chunk = step < 3 && mode & 128 ? 1 + (len - pos) / 3 : len - pos;
        if (chunk > len - pos)
            chunk = len - pos;
        BIO_write(SSL_get_rbio(server), stream + pos, (int)chunk);
        if (SSL_accept(server) == 1) {
            /* Whoever has not the secret of a key exchange cannot come here. */
            must(0);
        }
        if (SSL_get_error(server, -1) != SSL_ERROR_WANT_READ)
            break;
        count_errors();
    }
    must(!SSL_session_reused(server) || offers_genuine(NULL));
    (void)SSL_read(server, buffer, sizeof(buffer));
    count_errors();
    SSL_free(server);
    count_errors();
}

/* Reads the input as what is in a block of PEM that is in order, or of another kind, or encrypted. */
static SSL_SESSION *from_block(int mode, const uint8_t *data, size_t size)
{
    BIO *memory = BIO_new(BIO_s_mem());
    SSL_SESSION *session = NULL;
    unsigned char *der = NULL;
    char *pem;
    size_t len = 0, rest = 0;
    long pem_len;
    int found, expected = mode & 8 ? -1 : mode & 16 ? -2 : 1;

    if (size == 0) {
        BIO_free(memory);
        return NULL; /* there is no such block */
    }
    must(PEM_write_bio(memory, mode & 8 ? "CERTIFICATE" : PEM_STRING_SSL_SESSION,
                       mode & 16 ? "Proc-Type: 4,ENCRYPTED\n" : "", data, (long)size));
    pem_len = BIO_get_mem_data(memory, &pem);
    found = openssl_tickets_from_pem(pem, (size_t)pem_len, &der, &len, &rest);
    must(found == expected && rest == 0 && len == size && memcmp(der, data, size) == 0);
    if (found == 1)
        session = openssl_tickets_from_der(der, len);
    openssl_tickets_free_copy(der, len);
    BIO_free(memory);
    return session;
}

/*
 * DER (mode & 1), what is in a block of PEM (4), or PEM as it is. A session must take up all of its
 * DER.
 */
static void fuzz_session(int mode, const uint8_t *data, size_t size)
{
    unsigned char *der = NULL;
    size_t len = 0, rest = 0;
    SSL_SESSION *session = NULL, *again;
    SSL *client;
    int found;

    ERR_clear_error();
    if (mode & 1) {
        session = openssl_tickets_from_der(data, size);
        if (session != NULL) {
            must(ERR_peek_error() == 0);
            must(openssl_tickets_from_der(data, size - 1) == NULL);
            der = OPENSSL_zalloc(size + 1);
            memcpy(der, data, size);
            must(openssl_tickets_from_der(der, size + 1) == NULL);
            OPENSSL_free(der);
        }
    } else if (mode & 4) {
        session = from_block(mode, data, size);
    } else {
        found = openssl_tickets_from_pem((const char *)data, size, &der, &len, &rest);
        count(1930, (unsigned int)(found + 2), 8);
        must(found != 1 || rest <= size);
        if (found == 1)
            session = openssl_tickets_from_der(der, len);
        openssl_tickets_free_copy(der, len);
    }
    count_errors();
    if (session == NULL)
        return;
    examine(session);
    found = openssl_tickets_set_appdata(session, data, size);
    /* Less than 0xBF00 bytes fit what a server makes, and are not measured. */
    must(found != 1 || i2d_SSL_SESSION(session, NULL) <= OPENSSL_TICKETS_MAX_ENCODED_SESSION
         || size <= 0xBF00);
    again = openssl_tickets_copy_session(session);
    count_errors();
    client = new_ssl(client_ctx[mode & 2 ? 1 : 0]);
    if (openssl_tickets_set_session(client, session))
        SSL_connect(client);
    count_errors();
    SSL_free(client);
    SSL_SESSION_free(again);
    SSL_SESSION_free(session);
    count_errors();
}

/* The folder with the kept sessions, and the seeds. */
static void write_file(const char *folder, const char *name, int mode, const void *data, size_t len)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "wb");
    must(file != NULL);
    if (mode >= 0)
        fputc(mode, file);
    must(fwrite(data, 1, len, file) == len && fclose(file) == 0);
}

static void keep(int which, const unsigned char *der, long len)
{
    kept[which] = openssl_tickets_from_der(der, (size_t)len);
    must(kept[which] != NULL);
    kept_der_len[which] = openssl_tickets_to_der(kept[which], &kept_der[which]);
    must(kept_der_len[which] > 0);
}

/* Real handshakes: their sessions are kept, and what went over the wire and is in it are seeds. */
static void make_seeds(const char *folder)
{
    static const char *const targets[] = {"hello", "ticket", "plaintext", "session"};
    static unsigned char ticket[1 << 16], plain[1 << 16];
    char path[4096], name[64];
    int which, mode;

    for (mode = 0; mode < 4; mode++) {
        snprintf(path, sizeof(path), "%s/%s", folder, targets[mode]);
        mkdir(path, 0700);
    }
    for (which = 0; which < 2; which++) {
        SSL *client = new_ssl(client_ctx[which]), *server = new_ssl(server_ctx[0]);
        unsigned char *der = NULL, *pem = NULL;
        const unsigned char *genuine;
        char *wire;
        int der_len, pem_len, len = 0, last = 0;
        size_t ticket_len;
        long wire_len;
        EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

        reset(0);
        must(shake(client, server));
        der_len = openssl_tickets_to_der(SSL_get_session(client), &der);
        pem_len = openssl_tickets_to_pem(SSL_get_session(client), &pem);
        snprintf(name, sizeof(name), "kept-%d.der", which);
        write_file(folder, name, -1, der, (size_t)der_len);
        keep(which, der, der_len);
        SSL_SESSION_get0_ticket(kept[which], &genuine, &ticket_len);
        memcpy(ticket, genuine, ticket_len);
        SSL_free(client);
        SSL_free(server);

        snprintf(path, sizeof(path), "%s/session", folder);
        snprintf(name, sizeof(name), "der-%d", which);
        write_file(path, name, 1 | which << 1, der, (size_t)der_len);
        for (mode = 4; mode <= 20; mode += mode == 4 ? 4 : 8) {
            snprintf(name, sizeof(name), "block-%d-%d", which, mode);
            write_file(path, name, mode | which << 1 | 4, der, (size_t)der_len);
        }
        snprintf(name, sizeof(name), "pem-%d", which);
        write_file(path, name, which << 1, pem, (size_t)pem_len);
        openssl_tickets_free_copy(der, (size_t)der_len);
        openssl_tickets_free_copy(pem, (size_t)pem_len);

        must(EVP_DecryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, ring_keys[0]->aes_key, ticket + 16));
        must(EVP_DecryptUpdate(ctx, plain, &len, ticket + 32, (int)ticket_len - 64));
        must(EVP_DecryptFinal_ex(ctx, plain + len, &last));
        EVP_CIPHER_CTX_free(ctx);

        for (mode = 0; mode < 6; mode++) {
            snprintf(path, sizeof(path), "%s/ticket", folder);
            snprintf(name, sizeof(name), "genuine-%d-%d", which, mode);
            write_file(path, name, which << 4 | mode, ticket, ticket_len);
            snprintf(name, sizeof(name), "changed-%d-%d", which, mode);
            write_file(path, name, which << 4 | mode | 64, "\0\0\0\0", (size_t)mode % 5);
            snprintf(path, sizeof(path), "%s/plaintext", folder);
            snprintf(name, sizeof(name), "genuine-%d-%d", which, mode);
            write_file(path, name, which << 4 | mode | (mode & 1 ? 64 : 0), plain,
                       (size_t)(len + last));
        }

        /* The hello of a client with this session, whole and in the parts that the modes take. */
        for (mode = 0; mode < 2; mode++) {
            const unsigned char *at, *body_end;
            unsigned char extensions[1 << 14], *end = extensions;
            size_t skip;

            client = new_ssl(client_ctx[which]);
            if (mode)
                must(openssl_tickets_set_session(client, kept[which]));
            SSL_set_tlsext_host_name(client, "localhost");
            SSL_connect(client);
            count_errors();
            wire_len = BIO_get_mem_data(SSL_get_wbio(client), &wire);
            snprintf(path, sizeof(path), "%s/hello", folder);
            snprintf(name, sizeof(name), "stream-%d-%d", which, mode);
            write_file(path, name, 4, wire, (size_t)wire_len);
            snprintf(name, sizeof(name), "pieces-%d-%d", which, mode);
            write_file(path, name, 128, wire, (size_t)wire_len);
            snprintf(name, sizeof(name), "body-%d-%d", which, mode);
            write_file(path, name, 16, wire + 9, (size_t)wire_len - 9);
            /* version, random; session id; ciphers; compression; length of the extensions */
            at = (unsigned char *)wire + 9 + 34;
            body_end = (unsigned char *)wire + wire_len;
            at += 1 + at[0];
            at += 2 + (at[0] << 8 | at[1]);
            at += 1 + at[0];
            at += 2;
            for (; at + 4 <= body_end; at += 4 + skip) {
                skip = (size_t)(at[2] << 8 | at[3]);
                if (at[0] == 0 && (at[1] == 0 || at[1] == 35 || at[1] == 41 || at[1] == 51)) {
                    memcpy(end, at + 1, 3 + skip);
                    end += 3 + skip;
                }
            }
            snprintf(name, sizeof(name), "extensions-%d-%d", which, mode);
            write_file(path, name, which ? 48 : 32, extensions, (size_t)(end - extensions));
            SSL_free(client);
        }
    }
}

static void read_kept(const char *folder)
{
    static unsigned char der[1 << 16];
    char path[4096];
    size_t len;
    FILE *file;
    int which;

    for (which = 0; which < 2; which++) {
        snprintf(path, sizeof(path), "%s/kept-%d.der", folder, which);
        file = fopen(path, "rb");
        must(file != NULL);
        len = fread(der, 1, sizeof(der), file);
        fclose(file);
        keep(which, der, (long)len);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *folder = getenv("OPENSSL_TICKETS_FUZZ");

    (void)argc, (void)argv;
    must(folder != NULL);
    make_contexts();
    if (getenv("OPENSSL_TICKETS_FUZZ_SEEDS")) {
        make_seeds(folder);
        exit(0);
    }
    read_kept(folder);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (TARGET) {
    case HELLO:
        fuzz_hello(data[0], data + 1, size - 1);
        break;
    case TICKET:
        if (size <= 65536)
            fuzz_ticket(data[0], data + 1, size - 1);
        break;
    case PLAINTEXT:
        if (size <= 65536)
            fuzz_plaintext(data[0], data + 1, size - 1);
        break;
    default:
        fuzz_session(data[0], data + 1, size - 1);
    }
    return 0;
}
