/*
 * Sessions and their application data. This file makes sure that the data fits a ticket when it is
 * set, and that one thread can read it while another sets it.
 *
 * libssl accepts any amount of application data, and fails only when it makes the ticket: a session
 * whose encoding has more than 0xFF00 bytes ends the connection. Then it is too late to report an
 * error, so the size is checked when the data is set.
 *
 * libssl has no lock around the data: set1 in one thread would free what get0 has just returned in
 * another. Here, both hold the package's lock. libssl itself does not hold it when it reads the
 * data to make a ticket: see is_cached in ticket_callback.c.
 */
#include <string.h>
#include <openssl/pem.h>
#include "openssl_tickets.h"

/*
 * The rest of a server's session (ids, keys, names, protocols) needs far less than this. So if
 * there is no peer certificate, small application data need not be measured.
 */
#define OPENSSL_TICKETS_ROOM_FOR_THE_REST 0x4000

/*
 * Returns 1 if the data is set, 0 if libssl failed, and -1 if the data would not fit. Returns -2 if
 * the data is large and cannot be measured, because the handshake has not chosen a cipher. In those
 * three cases the session keeps its old data.
 */
static int set_fitting_appdata(SSL_SESSION *session, const void *data, size_t len)
{
    void *old = NULL, *copy = NULL;
    size_t old_len = 0;
    int encoded, result;

    if (SSL_SESSION_get0_peer(session) == NULL
        && len <= OPENSSL_TICKETS_MAX_ENCODED_SESSION - OPENSSL_TICKETS_ROOM_FOR_THE_REST)
        return SSL_SESSION_set1_ticket_appdata(session, data, len);
    if (len > OPENSSL_TICKETS_MAX_ENCODED_SESSION)
        return -1;
    if (SSL_SESSION_get0_cipher(session) == NULL)
        return -2; /* i2d_SSL_SESSION would fail and give no reason */

    if (!SSL_SESSION_get0_ticket_appdata(session, &old, &old_len))
        return 0;
    if (old_len != 0 && (copy = OPENSSL_memdup(old, old_len)) == NULL)
        return 0;
    result = SSL_SESSION_set1_ticket_appdata(session, data, len);
    if (result == 1) {
        encoded = i2d_SSL_SESSION(session, NULL);
        if (encoded <= 0 || encoded > OPENSSL_TICKETS_MAX_ENCODED_SESSION) {
            result = encoded <= 0 ? 0 : -1;
            if (!SSL_SESSION_set1_ticket_appdata(session, copy, old_len))
                result = 0;
        }
    }
    OPENSSL_clear_free(copy, old_len);
    return result;
}

int openssl_tickets_set_appdata(SSL_SESSION *session, const void *data, size_t len)
{
    int result;

    if (session == NULL)
        return 0;
    openssl_tickets_lock();
    result = set_fitting_appdata(session, data, len);
    openssl_tickets_unlock();
    return result;
}

/*
 * Copies the application data. The caller frees the copy with openssl_tickets_free_copy. If there
 * is no data, the copy is NULL. Returns 1, or 0 if there is no memory.
 */
int openssl_tickets_copy_appdata(SSL_SESSION *session, void **copy, size_t *len)
{
    void *data = NULL;
    int result;

    *copy = NULL;
    *len = 0;
    openssl_tickets_lock();
    result = SSL_SESSION_get0_ticket_appdata(session, &data, len);
    if (result && *len != 0) {
        *copy = OPENSSL_memdup(data, *len);
        result = *copy != NULL;
    }
    openssl_tickets_unlock();
    return result;
}

/*
 * Encodes the other side's certificate. The caller frees the copy with openssl_tickets_free_copy.
 * Returns its length in bytes, 0 if there is no certificate, or -1 if there is no memory.
 */
int openssl_tickets_copy_peer(SSL_SESSION *session, unsigned char **copy)
{
    X509 *peer = SSL_SESSION_get0_peer(session);

    *copy = NULL;
    return peer != NULL ? i2d_X509(peer, copy) : 0;
}

void openssl_tickets_free_copy(void *copy, size_t len)
{
    OPENSSL_clear_free(copy, len);
}

/*
 * Returns a copy of the session, or NULL if there is no memory. No thread can set application data
 * at the same time.
 */
SSL_SESSION *openssl_tickets_copy_session(SSL_SESSION *session)
{
    SSL_SESSION *copy;

    openssl_tickets_lock();
    copy = SSL_SESSION_dup(session);
    openssl_tickets_unlock();
    return copy;
}

/* More bytes than the longest master key in a libssl session. */
#define OPENSSL_TICKETS_MAX_MASTER_KEY 1024

/*
 * Returns 1 if both sessions are from the same handshake and the same ticket. This ignores all that
 * may change later.
 */
int openssl_tickets_same_session(const SSL_SESSION *one, const SSL_SESSION *other)
{
    unsigned char key[OPENSSL_TICKETS_MAX_MASTER_KEY], other_key[OPENSSL_TICKETS_MAX_MASTER_KEY];
    const unsigned char *id, *other_id, *ticket = NULL, *other_ticket = NULL;
    unsigned int id_len, other_id_len;
    size_t len = 0, other_len = 0, key_len, other_key_len;
    int same;

    id = SSL_SESSION_get_id(one, &id_len);
    other_id = SSL_SESSION_get_id(other, &other_id_len);
    SSL_SESSION_get0_ticket(one, &ticket, &len);
    SSL_SESSION_get0_ticket(other, &other_ticket, &other_len);
    key_len = SSL_SESSION_get_master_key(one, key, sizeof(key));
    other_key_len = SSL_SESSION_get_master_key(other, other_key, sizeof(other_key));
    if (key_len == 0 && other_key_len == 0)
        return one == other; /* there is nothing to compare yet */
    same = SSL_SESSION_get_protocol_version(one) == SSL_SESSION_get_protocol_version(other)
           && id_len == other_id_len && CRYPTO_memcmp(id, other_id, id_len) == 0
           && len == other_len && (len == 0 || CRYPTO_memcmp(ticket, other_ticket, len) == 0)
           && key_len == other_key_len && CRYPTO_memcmp(key, other_key, key_len) == 0;
    OPENSSL_cleanse(key, sizeof(key));
    OPENSSL_cleanse(other_key, sizeof(other_key));
    return same;
}

/*
 * Returns the session to encode: a new reference to session, or a copy. A client's session is
 * encoded without its session id context. Only servers need it, but libssl compares it on clients
 * too. Returns NULL if there is no memory.
 */
static SSL_SESSION *to_write(SSL_SESSION *session)
{
    unsigned int len;

    SSL_SESSION_get0_id_context(session, &len);
    if (len == 0 || !SSL_SESSION_has_ticket(session))
        return SSL_SESSION_up_ref(session) ? session : NULL;
    session = openssl_tickets_copy_session(session);
    if (session != NULL)
        SSL_SESSION_set1_id_context(session, (const unsigned char *)"", 0);
    return session;
}

/*
 * Encodes the session in DER. The caller frees the result with openssl_tickets_free_copy. Returns
 * its length in bytes. Returns 0 or less if the session has no cipher yet, or if there is no
 * memory.
 */
int openssl_tickets_to_der(SSL_SESSION *session, unsigned char **der)
{
    SSL_SESSION *written = to_write(session);
    int len = 0;

    *der = NULL;
    if (written != NULL) {
        openssl_tickets_lock();
        len = i2d_SSL_SESSION(written, der);
        openssl_tickets_unlock();
        SSL_SESSION_free(written);
    }
    return len;
}

/* Decodes a session. Returns NULL unless der is one session and nothing else. */
SSL_SESSION *openssl_tickets_from_der(const unsigned char *der, size_t len)
{
    const unsigned char *end = der;
    SSL_SESSION *session = d2i_SSL_SESSION(NULL, &end, (long)len);

    if (session != NULL && end != der + len) {
        SSL_SESSION_free(session);
        session = NULL;
    }
    return session;
}

/* Encodes the session in PEM, in the same way as openssl_tickets_to_der. */
int openssl_tickets_to_pem(SSL_SESSION *session, unsigned char **pem)
{
    SSL_SESSION *written = to_write(session);
    BIO *memory = BIO_new(BIO_s_mem());
    char *data;
    long len = 0;
    int done = 0;

    *pem = NULL;
    if (written != NULL && memory != NULL) {
        openssl_tickets_lock();
        done = PEM_write_bio_SSL_SESSION(memory, written);
        openssl_tickets_unlock();
    }
    if (done && (len = BIO_get_mem_data(memory, &data)) > 0) {
        *pem = OPENSSL_memdup(data, len);
        if (*pem == NULL)
            len = 0;
    }
    BIO_free(memory);
    SSL_SESSION_free(written);
    return (int)len;
}

/*
 * Decodes the first block of pem. The caller frees the result with openssl_tickets_free_copy.
 * Returns 1 if the block is a session, 0 if there is no valid block, -1 if the block is of another
 * kind, and -2 if it is encrypted. rest is the number of bytes after the block.
 */
int openssl_tickets_from_pem(const char *pem, size_t len, unsigned char **der,
                             size_t *der_len, size_t *rest)
{
    BIO *memory = BIO_new_mem_buf(pem, (int)len);
    char *name = NULL, *header = NULL;
    long data_len = 0;
    int result = 0;

    *der = NULL;
    *der_len = 0;
    if (memory == NULL)
        return 0;
    /* PEM_read_bio_SSL_SESSION would ask for a passphrase on the terminal. */
    if (PEM_read_bio(memory, &name, &header, der, &data_len)) {
        if (strcmp(name, PEM_STRING_SSL_SESSION) != 0)
            result = -1;
        else if (*header != '\0')
            result = -2;
        else
            result = 1;
        *der_len = data_len;
        *rest = BIO_ctrl_pending(memory);
    }
    OPENSSL_free(name);
    OPENSSL_free(header);
    BIO_free(memory);
    return result;
}

/*
 * Returns 1 if ssl was told that it is a server. Its handshake has not begun. SSL_is_server also
 * returns 1 for an SSL that was not told its side yet. SSL_shutdown shows the difference: before
 * the handshake it does nothing, and fails with another error if no side is set.
 */
int openssl_tickets_is_told_server(SSL *ssl)
{
    int told;

    if (!SSL_is_server(ssl) || !SSL_in_init(ssl))
        return SSL_is_server(ssl);
    ERR_set_mark();
    told = SSL_shutdown(ssl) >= 0 || ERR_GET_REASON(ERR_peek_last_error()) != SSL_R_UNINITIALIZED;
    ERR_pop_to_mark();
    return told;
}

/*
 * Makes ssl offer the session. libssl compares the session id contexts on clients too, and ends the
 * handshake if they differ. ssl and other programs set different ones, so this sets the session's.
 */
int openssl_tickets_set_session(SSL *ssl, SSL_SESSION *session)
{
    unsigned int len;
    const unsigned char *id_context = SSL_SESSION_get0_id_context(session, &len);

    return SSL_set_session(ssl, session) && SSL_set_session_id_context(ssl, id_context, len);
}
