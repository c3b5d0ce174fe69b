/*
 * The C half of the callback for new sessions. A session is announced on its connection's thread,
 * when a server makes it or when it arrives at a client:
 *
 *   server  each ticket: generate_ticket in ticket_callback.c; without a ticket: new_session
 *   client  new_session
 *
 * libssl does not report a session that replaces a resumed one in TLS 1.2.
 */
#include <Python.h>
#include "openssl_tickets.h"

static void ask_python(SSL *ssl, const openssl_tickets_slot *slot, SSL_SESSION *session)
{
    void *before;

    if (Py_IsInitialized() && openssl_tickets_begin_callback(ssl, NULL, &before)) {
        openssl_tickets_new_session(ssl, (uintptr_t)SSL_get_app_data(ssl), session, slot->number);
        openssl_tickets_end_callback(ssl, before);
    }
}

/*
 * Returns a copy of a client's session, NULL if there is no memory. If the connection ends without
 * a shutdown, libssl will not resume the original.
 */
static SSL_SESSION *clients_copy(SSL_SESSION *session)
{
    SSL_SESSION *copy = SSL_SESSION_dup(session);

    if (copy != NULL)
        SSL_SESSION_set1_id_context(copy, (const unsigned char *)"", 0);
    return copy;
}

void openssl_tickets_announce(SSL *ssl, const openssl_tickets_slot *slot, SSL_SESSION *session)
{
    openssl_tickets_store *store = NULL;
    SSL_SESSION *copy = NULL;
    int announces = slot->announces;

    if (!SSL_is_server(ssl)) {
        openssl_tickets_lock();
        store = openssl_tickets_hold_store(slot->store);
        openssl_tickets_unlock();
    }
    if (!announces && store == NULL)
        return;
    ERR_set_mark();
    if (store != NULL && session != NULL && (copy = clients_copy(session)) != NULL)
        openssl_tickets_keep(ssl, store, copy);
    SSL_SESSION_free(copy);
    copy = NULL;
    if (announces && session != NULL) {
        /* A second copy, because Python may change it. Never the original, which libssl changes. */
        if (!SSL_is_server(ssl))
            session = copy = clients_copy(session);
        if (session != NULL)
            ask_python(ssl, slot, session);
    }
    SSL_SESSION_free(copy);
    ERR_pop_to_mark();
    openssl_tickets_release_store(store);
}

/* libssl calls this with each session that it could cache. The reference stays with libssl. */
static int new_session(SSL *ssl, SSL_SESSION *session)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of(ssl);

    /* A server's TLS 1.3 sessions were announced when their tickets were made. */
    if (slot != NULL && (!SSL_is_server(ssl) || openssl_tickets_before_tls13(ssl)))
        openssl_tickets_announce(ssl, slot, session);
    return 0;
}

/*
 * Records whether anyone wants the new sessions of ctx, and whether Python does. The caller has
 * made the slot of ctx.
 *
 * libssl reports a client's sessions only in the mode that caches them. But it never looks for them
 * in its cache, so this keeps them out. It does look for a server's sessions. The first client
 * hello shows that ctx is a server's, before anything is stored.
 */
void openssl_tickets_set_new_session(SSL_CTX *ctx, int is_wanted, int announces)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of_ctx(ctx);
    long mode;

    if (slot == NULL)
        return;
    openssl_tickets_lock();
    slot->announces = announces;
    if (is_wanted) {
        mode = SSL_CTX_get_session_cache_mode(ctx);
        if (!(mode & (SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE))) {
            slot->stores_nothing = 1;
            mode |= SSL_SESS_CACHE_NO_INTERNAL_STORE;
        }
        SSL_CTX_set_session_cache_mode(ctx, mode | SSL_SESS_CACHE_CLIENT);
        SSL_CTX_sess_set_new_cb(ctx, new_session);
    }
    openssl_tickets_unlock();
}
