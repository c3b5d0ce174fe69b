/*
 * Application data: sure to fit a ticket when it is set, and safe to get while it is being set.
 *
 * libssl takes any amount of application data and only fails when the ticket is made: a session
 * whose encoding is longer than 0xFF00 bytes ends the connection. By then it is too late to tell
 * anyone, so the size is checked as the data is set.
 *
 * libssl has no lock around the data either: one thread's set1 would free what another has just
 * been given by get0. Both go through the one lock here. It does not bind libssl itself, which reads
 * the data as it makes a ticket: see is_cached in ticket_callback.c.
 */
#define OPENSSL_TICKETS_MAX_ENCODED_SESSION 0xFF00

/*
 * Everything in a server's session but the application data and the peer's certificate (ids, keys,
 * names, protocols) encodes to far less than this, so small data needs no measuring.
 */
#define OPENSSL_TICKETS_ROOM_FOR_THE_REST 0x4000

/* Returns 1 when set, 0 when libssl failed, -1 when the data would not fit (nothing is changed). */
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

static int openssl_tickets_set_appdata(SSL_SESSION *session, const void *data, size_t len)
{
    int result;

    if (session == NULL)
        return 0;
    lock_acquire();
    result = set_fitting_appdata(session, data, len);
    lock_release();
    return result;
}

/*
 * Copies the data to a new place, which the caller frees with openssl_tickets_free_copy.
 * Returns 1, or 0 when there is no memory; no data is a copy that is NULL.
 */
static int openssl_tickets_copy_appdata(SSL_SESSION *session, void **copy, size_t *len)
{
    void *data = NULL;
    int result;

    *copy = NULL;
    *len = 0;
    lock_acquire();
    result = SSL_SESSION_get0_ticket_appdata(session, &data, len);
    if (result && *len != 0) {
        *copy = OPENSSL_memdup(data, *len);
        result = *copy != NULL;
    }
    lock_release();
    return result;
}

/*
 * Encodes the certificate of the other side to a new place, freed in the same way; returns its
 * length, 0 where there is no certificate, or -1 when there is no memory.
 */
static int openssl_tickets_copy_peer(SSL_SESSION *session, unsigned char **copy)
{
    X509 *peer = SSL_SESSION_get0_peer(session);

    *copy = NULL;
    return peer != NULL ? i2d_X509(peer, copy) : 0;
}

static void openssl_tickets_free_copy(void *copy, size_t len)
{
    OPENSSL_clear_free(copy, len);
}
