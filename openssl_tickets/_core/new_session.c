/*
 * What stands between libssl and the callback for new sessions. Each is announced where it is made
 * or has come, on its own thread:
 *
 *   server  every ticket: generate_ticket in ticket_callback.c; else: new_session
 *   client  new_session
 *
 * libssl tells of no session that replaces a resumed one in TLS 1.2.
 */
#include <Python.h>
#include "openssl_tickets.h"

void openssl_tickets_announce(SSL *ssl, const openssl_tickets_slot *slot, SSL_SESSION *session)
{
    SSL_SESSION *copy = NULL;
    void *before;
    int announces;

    openssl_tickets_lock();
    announces = slot->announces;
    openssl_tickets_unlock();
    if (!announces || session == NULL || !Py_IsInitialized()
        || !openssl_tickets_begin_callback(ssl, NULL, &before))
        return;
    ERR_set_mark();
    /* A client's own session ends with its connection, unless that is shut down in order. */
    if (!SSL_is_server(ssl) && (copy = SSL_SESSION_dup(session)) != NULL)
        SSL_SESSION_set1_id_context(copy, (const unsigned char *)"", 0);
    openssl_tickets_new_session(ssl, (uintptr_t)SSL_get_app_data(ssl),
                                copy != NULL ? copy : session, slot->number);
    ERR_pop_to_mark();
    openssl_tickets_end_callback(ssl, before);
    SSL_SESSION_free(copy);
}

/* What libssl calls with a session that it could cache. The reference stays with libssl. */
static int new_session(SSL *ssl, SSL_SESSION *session)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of(ssl);

    /* A server's in TLS 1.3 was announced as it was generated. */
    if (slot != NULL && (!SSL_is_server(ssl) || openssl_tickets_before_tls13(ssl)))
        openssl_tickets_announce(ssl, slot, session);
    return 0;
}

/*
 * Tells whether Python has a callback for ctx, whose slot has been made.
 *
 * libssl tells of a client's sessions only in the mode that caches them. It never looks for a
 * client's in its cache, so nothing is to be put there; but a server's may be looked for. Whether
 * ctx is a server's is seen when the first hello comes, which is before anything is stored.
 */
void openssl_tickets_set_new_session(SSL_CTX *ctx, int has_callback)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of_ctx(ctx);
    long mode = SSL_CTX_get_session_cache_mode(ctx);

    if (slot == NULL)
        return;
    openssl_tickets_lock();
    slot->announces = has_callback;
    if (has_callback) {
        if (!(mode & (SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE))) {
            slot->stores_nothing = 1;
            mode |= SSL_SESS_CACHE_NO_INTERNAL_STORE;
        }
        SSL_CTX_set_session_cache_mode(ctx, mode | SSL_SESS_CACHE_CLIENT);
        SSL_CTX_sess_set_new_cb(ctx, new_session);
    }
    openssl_tickets_unlock();
}
