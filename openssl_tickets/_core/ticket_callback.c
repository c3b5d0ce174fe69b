/*
 * The C half of the ticket callbacks: libssl calls these functions, and they call Python.
 *
 * libssl calls the callbacks of an SSL's first SSL_CTX, with that SSL_CTX's slot as the argument.
 * The first SSL_CTX lives as long as the SSL.
 */
#include <Python.h>
#include <string.h>
#include "openssl_tickets.h"

/*
 * Returns the pointer that the library on top of libssl keeps with ssl. _ssl keeps its own object.
 */
static uintptr_t app_data_of(const SSL *ssl)
{
    return (uintptr_t)SSL_get_app_data(ssl);
}

/*
 * Returns 1 if the ticket that ssl is about to make is stateful: a key into the server's session
 * cache. libssl resumes from such tickets without calling the decrypt callback. This is libssl's
 * own test. For unknown future protocol versions, it errs on the safe side.
 */
static int is_stateful(const SSL *ssl)
{
    if (openssl_tickets_before_tls13(ssl))
        return 0;
    if (SSL_get_options(ssl) & SSL_OP_NO_TICKET)
        return 1;
    return SSL_get_max_early_data(ssl) > 0 && !(SSL_get_options(ssl) & SSL_OP_NO_ANTI_REPLAY);
}

/*
 * Returns 1 if ssl may have resumed a session from the cache. Before TLS 1.3, libssl then makes the
 * ticket from that cached session, and reads it without a lock. Other connections may be using the
 * session at the same time, so nothing may be written to it.
 */
static int is_cached(SSL *ssl)
{
    return openssl_tickets_before_tls13(ssl) && SSL_session_reused(ssl)
           && !(openssl_tickets_marks(ssl) & OPENSSL_TICKETS_ACCEPTED);
}

/*
 * Returns 1 if ssl asks for client certificates and its session has no session id context. libssl
 * would end any handshake in which a client offers the ticket of such a session.
 */
static int lacks_id_context(SSL *ssl)
{
    unsigned int len = 0;

    if (!(SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER))
        return 0;
    SSL_SESSION_get0_id_context(SSL_get_session(ssl), &len);
    return len == 0;
}

/*
 * Stops libssl from looking into its internal session cache while there are ticket callbacks.
 * libssl would resume from the cache without calling the decrypt callback, and a session in the
 * cache must not be written to. The program may set another mode at any time, so each client's
 * hello calls this again.
 */
static void close_cache(const openssl_tickets_slot *slot)
{
    const long closed = SSL_SESS_CACHE_NO_INTERNAL_LOOKUP;

    /* Without the lock, as libssl itself reads it in each handshake. */
    if (SSL_CTX_get_session_cache_mode(slot->ctx) & closed)
        return;
    openssl_tickets_lock();
    SSL_CTX_set_session_cache_mode(slot->ctx, SSL_CTX_get_session_cache_mode(slot->ctx) | closed);
    openssl_tickets_unlock();
}

/* new_session.c keeps the sessions of clients out of the cache. This context is a server's. */
static void open_store(openssl_tickets_slot *slot)
{
    openssl_tickets_lock();
    if (slot->stores_nothing)
        SSL_CTX_set_session_cache_mode(slot->ctx, SSL_CTX_get_session_cache_mode(slot->ctx)
                                                      & ~SSL_SESS_CACHE_NO_INTERNAL_STORE);
    slot->stores_nothing = 0;
    openssl_tickets_unlock();
}

/*
 * Returns 1 if this is the client's second hello in one handshake, after a HelloRetryRequest. In
 * that case libssl has already made the server's random, at the first hello, and no handshake has
 * finished yet. SSL_clear removes both signs.
 */
static int is_second_hello(const SSL *ssl)
{
    static const unsigned char none[SSL3_RANDOM_SIZE];
    unsigned char random[SSL3_RANDOM_SIZE];
    char any;

    return SSL_get_server_random(ssl, random, sizeof(random)) == sizeof(random)
           && memcmp(random, none, sizeof(none)) != 0 && SSL_get_finished(ssl, &any, 0) == 0;
}

/* libssl calls this for each client's hello, before it reads tickets and session ids. */
static int hello_came(SSL *ssl, int *alert, void *arg)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of(ssl);

    (void)alert, (void)arg;
    if (!openssl_tickets_set_marks(ssl, is_second_hello(ssl) ? OPENSSL_TICKETS_AGAIN : 0))
        return SSL_CLIENT_HELLO_ERROR;
    if (slot == NULL)
        return SSL_CLIENT_HELLO_SUCCESS;
    if (!openssl_tickets_begin_session(ssl, slot))
        return SSL_CLIENT_HELLO_ERROR;
    if (slot->asks_generate || slot->asks_decrypt || slot->binds_names)
        close_cache(slot);
    if (slot->stores_nothing)
        open_store(slot);
    return SSL_CLIENT_HELLO_SUCCESS;
}

static int has_keys(const openssl_tickets_slot *slot)
{
    int has;

    openssl_tickets_lock();
    has = slot->keyring != NULL;
    openssl_tickets_unlock();
    return has;
}

/*
 * Calls the generate callback in Python, if there is one. Returns 0 if no ticket may be made.
 *
 * This does not rely on Python. Once the interpreter has begun to finalize, it refuses the ticket.
 * OpenSSL's error queue stays as libssl left it. If there is nothing to ask, it does not enter
 * Python.
 */
static int ask_generate(SSL *ssl, openssl_tickets_slot *slot)
{
    int asks_generate = slot->asks_generate, asks_decrypt = slot->asks_decrypt;
    int refused = 0, answer = 0, size;
    char room[OPENSSL_TICKETS_ROOM];
    void *before;

    if (!asks_generate && !asks_decrypt && !has_keys(slot))
        return 1;
    if (lacks_id_context(ssl))
        refused = OPENSSL_TICKETS_NO_ID_CONTEXT;
    else if ((asks_generate || asks_decrypt) && is_cached(ssl))
        refused = OPENSSL_TICKETS_CACHED;
    else if (asks_decrypt && is_stateful(ssl))
        refused = OPENSSL_TICKETS_STATEFUL;
    if (!asks_generate && !refused)
        return 1;
    if (!Py_IsInitialized() || !openssl_tickets_begin_callback(ssl, NULL, &before))
        return 0;
    ERR_set_mark();
    if (!refused)
        answer = openssl_tickets_generate(ssl, app_data_of(ssl), slot->number, room);
    size = answer - OPENSSL_TICKETS_WRITTEN;
    if (size >= 0 && size <= OPENSSL_TICKETS_ROOM
        && openssl_tickets_set_appdata(SSL_get_session(ssl), room, (size_t)size) != 1)
        refused = OPENSSL_TICKETS_NOT_STORED;
    if (refused)
        openssl_tickets_refuse(ssl, app_data_of(ssl), slot->number, refused);
    ERR_pop_to_mark();
    openssl_tickets_end_callback(ssl, before);
    if (refused || answer < OPENSSL_TICKETS_NOTHING || size > OPENSSL_TICKETS_ROOM) {
        openssl_tickets_count(&slot->counts.failed);
        return 0;
    }
    return 1;
}

static char lower(char letter)
{
    return letter >= 'A' && letter <= 'Z' ? (char)(letter - 'A' + 'a') : letter;
}

/*
 * Stores the name that the client asks for in the session, if libssl has not. Returns 0 on failure.
 */
static int keep_server_name(SSL *ssl, SSL_SESSION *session, const openssl_tickets_slot *slot)
{
    const char *name;

    if (!slot->binds_names || SSL_session_reused(ssl) || SSL_SESSION_get0_hostname(session) != NULL)
        return 1;
    name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    return name == NULL || SSL_SESSION_set1_hostname(session, name);
}

/*
 * libssl calls this before it makes a ticket. This is also where a server's new session is
 * announced, because libssl's own callback reports only sessions that libssl could cache: no TLS
 * 1.2 tickets, and nothing at all in the mode SSL_SESS_CACHE_OFF.
 */
static int generate_ticket(SSL *ssl, void *arg)
{
    openssl_tickets_slot *slot = arg;
    SSL_SESSION *session;

    if (!ask_generate(ssl, slot))
        return 0;
    session = SSL_get_session(ssl);
    if (!keep_server_name(ssl, session, slot) || !openssl_tickets_limit_ticket(ssl, slot))
        return 0;
    openssl_tickets_count(&slot->counts.issued);
    openssl_tickets_announce(ssl, slot, session);
    return 1;
}

static int is_decrypted(SSL_TICKET_STATUS status)
{
    return status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;
}

/* Returns 1 if the session in a ticket has another server name than the client asks for now. */
static int is_of_another_name(SSL *ssl, const SSL_SESSION *session,
                              const openssl_tickets_slot *slot)
{
    const char *name, *issued_for;
    size_t name_len, number;

    if (!slot->binds_names)
        return 0;
    issued_for = SSL_SESSION_get0_hostname(session);
    if (!openssl_tickets_hello_server_name(ssl, &name, &name_len))
        return issued_for != NULL;
    if (issued_for == NULL || strlen(issued_for) != name_len)
        return 1;
    for (number = 0; number < name_len; number++)
        if (lower(name[number]) != lower(issued_for[number]))
            return 1;
    return 0;
}

/* Returns the callback's answer, or less than 0 if the callback failed. */
static int ask_decrypt(SSL *ssl, SSL_SESSION *session, const unsigned char *keyname,
                       size_t keyname_len, SSL_TICKET_STATUS status,
                       const openssl_tickets_slot *slot)
{
    int answer;
    SSL_SESSION *offered = NULL;
    void *appdata = NULL, *before;
    size_t appdata_len = 0;

    if (!slot->asks_decrypt) {
        switch (status) {
        case SSL_TICKET_EMPTY:
        case SSL_TICKET_NO_DECRYPT:
            return SSL_TICKET_RETURN_IGNORE_RENEW;
        case SSL_TICKET_SUCCESS:
            return SSL_TICKET_RETURN_USE;
        case SSL_TICKET_SUCCESS_RENEW:
            return SSL_TICKET_RETURN_USE_RENEW;
        default:
            return SSL_TICKET_RETURN_ABORT;
        }
    }
    /* libssl has just made the session from this ticket, so no other thread can use it yet. */
    if (is_decrypted(status)) {
        SSL_SESSION_get0_ticket_appdata(session, &appdata, &appdata_len);
        offered = session;
    }
    /* If this fails, the callback could not get the session of the ticket. */
    if (!Py_IsInitialized() || !openssl_tickets_begin_callback(ssl, offered, &before))
        return SSL_TICKET_RETURN_ABORT;
    ERR_set_mark();
    answer = openssl_tickets_decrypt(ssl, app_data_of(ssl), (const char *)keyname, keyname_len,
                                     status, slot->number, appdata, appdata_len);
    ERR_pop_to_mark();
    openssl_tickets_end_callback(ssl, before);
    /* If this client has no ticket, libssl would look into its cache next. */
    close_cache(slot);
    return answer;
}

/*
 * Returns 1 if the chosen TLS 1.3 cipher suite has another hash than the session's. libssl compares
 * them after the decrypt callback, and then does a full handshake. Before OpenSSL 3.0.21 it sent no
 * ticket after that handshake, so the client had nothing to resume from.
 */
static int has_other_hash(const SSL *ssl, const SSL_SESSION *session)
{
    const SSL_CIPHER *chosen = SSL_get_pending_cipher(ssl);
    const SSL_CIPHER *before = SSL_SESSION_get0_cipher(session);

    return !openssl_tickets_before_tls13(ssl) && chosen != NULL && before != NULL
           && SSL_CIPHER_get_id(chosen) != SSL_CIPHER_get_id(before) /* looking up hashes is slow */
           && SSL_CIPHER_get_handshake_digest(chosen) != SSL_CIPHER_get_handshake_digest(before);
}

/* Counts what happens to a ticket. The answer is less than 0 if the decrypt callback failed. */
static void count_received(openssl_tickets_slot *slot, SSL_TICKET_STATUS status, int answer)
{
    openssl_tickets_counts *counts = &slot->counts;

    openssl_tickets_lock();
    counts->received++;
    if (answer < 0)
        counts->failed++;
    else if (!is_decrypted(status))
        counts->undecryptable++;
    else if (answer == SSL_TICKET_RETURN_ABORT)
        counts->aborted++;
    else if (answer == SSL_TICKET_RETURN_IGNORE || answer == SSL_TICKET_RETURN_IGNORE_RENEW)
        counts->ignored++;
    else
        counts->used++;
    if (answer == SSL_TICKET_RETURN_USE_RENEW)
        counts->renewed++;
    openssl_tickets_unlock();
}

static SSL_TICKET_RETURN decrypt_ticket(SSL *ssl, SSL_SESSION *session,
                                        const unsigned char *keyname, size_t keyname_len,
                                        SSL_TICKET_STATUS status, void *arg)
{
    openssl_tickets_slot *slot = arg;
    int answer, accepted, marks = openssl_tickets_marks(ssl);

    if (is_decrypted(status) && is_of_another_name(ssl, session, slot))
        answer = SSL_TICKET_RETURN_IGNORE_RENEW;
    else
        answer = ask_decrypt(ssl, session, keyname, keyname_len, status, slot);
    if (is_decrypted(status) && !openssl_tickets_has_time_left(session, slot)
        && answer == SSL_TICKET_RETURN_USE_RENEW)
        answer = SSL_TICKET_RETURN_USE; /* a new ticket with no time left would end the handshake */
    /* After a HelloRetryRequest the client sends the same ticket again: it counts once. */
    if (status == SSL_TICKET_EMPTY && answer < 0)
        openssl_tickets_count(&slot->counts.failed);
    else if (status != SSL_TICKET_EMPTY && !(marks & OPENSSL_TICKETS_AGAIN))
        count_received(slot, status, answer);
    accepted = answer == SSL_TICKET_RETURN_USE || answer == SSL_TICKET_RETURN_USE_RENEW;
    if (accepted && has_other_hash(ssl, session)) {
        answer = SSL_TICKET_RETURN_IGNORE_RENEW;
        accepted = 0;
    }
    /* Only is_cached asks for it. */
    if (accepted && openssl_tickets_before_tls13(ssl))
        marks |= OPENSSL_TICKETS_ACCEPTED;
    else
        marks &= ~OPENSSL_TICKETS_ACCEPTED;
    if (answer < 0 || !openssl_tickets_set_marks(ssl, marks))
        return SSL_TICKET_RETURN_ABORT;
    return answer;
}

/* Makes libssl call the functions above. The caller holds the lock and is making the slot. */
void openssl_tickets_tell_libssl(openssl_tickets_slot *slot)
{
    /* The argument first: other threads may be in the middle of handshakes. */
    SSL_CTX_set_session_ticket_cb(slot->ctx, NULL, NULL, slot);
    SSL_CTX_set_session_ticket_cb(slot->ctx, generate_ticket, decrypt_ticket, slot);
    SSL_CTX_set_client_hello_cb(slot->ctx, hello_came, NULL);
}

/* Records which callbacks Python has for ctx. The caller has made the slot of ctx. */
void openssl_tickets_set_ticket_callback(SSL_CTX *ctx, int has_generate, int has_decrypt)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of_ctx(ctx);

    if (slot == NULL)
        return;
    openssl_tickets_lock(); /* so that no other thread sets one of the two in between */
    slot->asks_generate = has_generate;
    slot->asks_decrypt = has_decrypt;
    openssl_tickets_unlock();
    if (has_generate || has_decrypt)
        close_cache(slot);
}

/*
 * Sets whether a ticket is good only for the server name it was issued for. Returns 0 if ctx cannot
 * have a slot.
 */
int openssl_tickets_bind_names(SSL_CTX *ctx, int enabled)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of_ctx(ctx);

    if (slot == NULL)
        return 0;
    slot->binds_names = enabled;
    if (enabled)
        close_cache(slot);
    return 1;
}

/* Sets the data of the ticket that generate is asked about. Returns what set_appdata returns. */
int openssl_tickets_set_generated(SSL *ssl, const void *data, size_t len)
{
    return openssl_tickets_set_appdata(SSL_get_session(ssl), data, len);
}

/*
 * Finds the server name in the client's hello. SSL_get_servername does not know it yet in a decrypt
 * callback, because libssl reads the tickets first. Returns 1 if there is a name. Returns 0 if
 * there is none, or if libssl would not accept it. The result points into the hello.
 */
int openssl_tickets_hello_server_name(SSL *ssl, const char **name, size_t *name_len)
{
    const unsigned char *list;
    size_t len;

    /* Two bytes of length, then one entry: its type, two bytes of length, and the name. */
    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &list, &len) || len < 6
        || (size_t)(list[0] << 8 | list[1]) != len - 2 || list[2] != TLSEXT_NAMETYPE_host_name
        || (size_t)(list[3] << 8 | list[4]) != len - 5
        || len - 5 > TLSEXT_MAXLEN_host_name || memchr(list + 5, 0, len - 5) != NULL)
        return 0;
    *name = (const char *)list + 5;
    *name_len = len - 5;
    return 1;
}
