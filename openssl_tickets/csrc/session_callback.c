/*
 * What stands between libssl and the callbacks for new and for removed sessions: see policy.c.
 *
 * A new session is announced where it is made or has come, on its own thread:
 *
 *   server  every ticket: generate_ticket; a TLS 1.2 session without one: new_session
 *   client  new_session; a ticket that comes in a TLS 1.2 resumption: watch_states, as libssl has
 *           no callback for it
 *
 * libssl tells of a removed session while it holds the lock of the SSL_CTX, which another thread may
 * be waiting for that holds the GIL (_ssl frees its SSLs so). Waiting for the GIL there would be a
 * deadlock. So a removed session is queued, and announced as soon as Python can be entered.
 */
static void openssl_tickets_new_session(SSL *ssl, uintptr_t app_data, SSL_SESSION *session,
                                        uintptr_t policy);
static void openssl_tickets_removed_session(SSL_SESSION *session, uintptr_t policy);

typedef struct removed {
    SSL_SESSION *session;
    policy *told;
    struct removed *next;
} removed;

static removed *first_removed = NULL, **last_removed = &first_removed; /* under the lock */
static int is_pending = 0; /* under the lock: whether the main thread has been asked to deliver */

/* Tells the policy of a new session; takes over the reference to the policy, which may be NULL. */
static void tell(SSL *ssl, policy *told, SSL_SESSION *session)
{
    SSL_SESSION *copy = NULL;

    if (told == NULL)
        return;
    if (session != NULL && Py_IsInitialized()) {
        ERR_set_mark();
        /* A client's own session ends with its connection, unless that is shut down in order. */
        if (!SSL_is_server(ssl) && (copy = SSL_SESSION_dup(session)) != NULL)
            SSL_SESSION_set1_id_context(copy, (const unsigned char *)"", 0);
        openssl_tickets_new_session(ssl, app_data_of(ssl), copy != NULL ? copy : session,
                                    told->number);
        ERR_pop_to_mark();
        SSL_SESSION_free(copy);
    }
    release_policy(told);
}

static policy *hold_announcing(const slot *of_ctx)
{
    policy *held;

    lock_acquire();
    held = of_ctx->announcing;
    if (held != NULL)
        held->references++;
    lock_release();
    return held;
}

static void announce(SSL *ssl, slot *of_ctx, SSL_SESSION *session)
{
    tell(ssl, hold_announcing(of_ctx), session);
}

/*
 * After an SNI switch, libssl still tells the first SSL_CTX, and offers no way back to it. (Nor with
 * the hello of a renegotiation: what is there stays.)
 */
static void pin_announcing(SSL *ssl, const slot *of_ctx)
{
    policy *pinned;

    if (SSL_get_ex_data(ssl, announcing_index) != NULL)
        return;
    pinned = hold_announcing(of_ctx);
    if (!SSL_set_ex_data(ssl, announcing_index, pinned))
        release_policy(pinned);
}

static slot *slot_of_connection(const SSL *ssl)
{
    return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ctx_index);
}

static void state_changed(const SSL *ssl, int where, int ret);

/* Puts state_changed in front of the program's own info callback. Called with the lock held. */
static void watch_states(slot *of_ctx)
{
    void (*info)(const SSL *ssl, int where, int ret) = SSL_CTX_get_info_callback(of_ctx->ctx);

    if (info != state_changed) {
        of_ctx->own_info = info;
        SSL_CTX_set_info_callback(of_ctx->ctx, state_changed);
    }
}

/* What libssl calls with a session that it could cache. The reference stays with libssl. */
static int new_session(SSL *ssl, SSL_SESSION *session)
{
    policy *pinned = SSL_get_ex_data(ssl, announcing_index);
    slot *of_ctx = slot_of_connection(ssl);

    deliver_removed();
    if (SSL_is_server(ssl)) {
        /* In TLS 1.3 it was announced as it was generated. */
        if (pinned != NULL && before_tls13(ssl))
            tell(ssl, hold_policy(pinned), session);
        return 0;
    }
    if (of_ctx != NULL) {
        lock_acquire();
        if (of_ctx->announcing != NULL)
            watch_states(of_ctx); /* a callback that was set meanwhile has taken its place */
        lock_release();
        announce(ssl, of_ctx, session);
    }
    return 0;
}

/*
 * libssl's info callback while new sessions are announced. In a TLS 1.2 resumption a new ticket
 * replaces the client's session with a copy, and nobody is told.
 */
static void state_changed(const SSL *const_ssl, int where, int ret)
{
    SSL *ssl = (SSL *)const_ssl; /* as every info callback has to, to do anything */
    slot *of_ctx = slot_of_connection(ssl);
    void (*own_info)(const SSL *ssl, int where, int ret) = NULL;
    SSL_SESSION *resumed;

    if (of_ctx != NULL) {
        lock_acquire();
        own_info = of_ctx->own_info;
        if (where & SSL_CB_HANDSHAKE_START)
            update_mode(of_ctx, of_ctx->current->has_decrypt);
        lock_release();
    }
    if (own_info != NULL)
        own_info(const_ssl, where, ret);
    if (of_ctx == NULL || SSL_is_server(ssl))
        return;
    if (where & SSL_CB_HANDSHAKE_START) {
        SSL_set_ex_data(ssl, renewed_index, NULL);
        deliver_removed();
    } else if (where == SSL_CB_CONNECT_LOOP) {
        /* The first time that it is known to be resumed, which is before a ticket is looked at. */
        if (SSL_get_ex_data(ssl, renewed_index) == NULL && SSL_session_reused(ssl)
            && before_tls13(ssl))
            SSL_set_ex_data(ssl, renewed_index, SSL_get_session(ssl));
    } else if (where & SSL_CB_HANDSHAKE_DONE) {
        /* Only compared: it may have been freed by now. */
        resumed = SSL_get_ex_data(ssl, renewed_index);
        if (resumed != NULL && SSL_get_session(ssl) != resumed)
            announce(ssl, of_ctx, SSL_get_session(ssl));
        SSL_set_ex_data(ssl, renewed_index, NULL);
    }
}

static int deliver_when_pending(void *unused)
{
    (void)unused;
    lock_acquire();
    is_pending = 0;
    lock_release();
    deliver_removed();
    return 0;
}

/* What libssl calls with a session that it will not resume any more. */
static void remove_session(SSL_CTX *ctx, SSL_SESSION *session)
{
    slot *of_ctx = SSL_CTX_get_ex_data(ctx, ctx_index);
    removed *added;
    int ask = 0;

    if (of_ctx == NULL || !Py_IsInitialized())
        return;
    added = OPENSSL_zalloc(sizeof(*added));
    if (added == NULL || !SSL_SESSION_up_ref(session)) {
        OPENSSL_free(added);
        return;
    }
    added->session = session;
    lock_acquire();
    added->told = of_ctx->removing;
    if (added->told != NULL) {
        added->told->references++;
        *last_removed = added;
        last_removed = &added->next;
        added = NULL;
        ask = !is_pending;
        is_pending = 1;
    }
    lock_release();
    if (added != NULL) {
        SSL_SESSION_free(session);
        OPENSSL_free(added);
        return;
    }
    /*
     * The main thread comes round to it with its next bytecode. Where it is busy in C, or has too
     * much pending, the next handshake of a context with these callbacks does.
     */
    if (ask && Py_AddPendingCall(deliver_when_pending, NULL) != 0) {
        lock_acquire();
        is_pending = 0;
        lock_release();
    }
}

/* Announces what has been removed by now. To be called where libssl holds no lock. */
static void deliver_removed(void)
{
    removed *taken, *next;

    lock_acquire();
    taken = first_removed;
    first_removed = NULL;
    last_removed = &first_removed;
    lock_release();
    for (; taken != NULL; taken = next) {
        next = taken->next;
        if (Py_IsInitialized()) {
            ERR_set_mark();
            openssl_tickets_removed_session(taken->session, taken->told->number);
            ERR_pop_to_mark();
        }
        SSL_SESSION_free(taken->session);
        release_policy(taken->told);
        OPENSSL_free(taken);
    }
}

static int has_no_slot(SSL_CTX *ctx)
{
    int has_none;

    lock_acquire();
    has_none = ctx_index < 0 || SSL_CTX_get_ex_data(ctx, ctx_index) == NULL;
    lock_release();
    return has_none;
}

static slot *slot_told_to_libssl(SSL_CTX *ctx)
{
    slot *of_ctx = slot_of(ctx);

    if (of_ctx != NULL) {
        lock_acquire();
        if (of_ctx->current == NULL) {
            no_policy.references++;
            replace_current(of_ctx, &no_policy);
        }
        lock_release();
    }
    return of_ctx;
}

/* Has libssl tell of new sessions, or not any more. Called with the lock held. */
static void tell_of_new(slot *of_ctx)
{
    if (of_ctx->announcing != NULL) {
        watch_states(of_ctx);
        SSL_CTX_sess_set_new_cb(of_ctx->ctx, new_session);
    } else if (SSL_CTX_get_info_callback(of_ctx->ctx) == state_changed) {
        SSL_CTX_set_info_callback(of_ctx->ctx, of_ctx->own_info);
    }
}

/* The same of removed ones. Not left behind: a TLS 1.3 server caches each session because of it. */
static void tell_of_removed(slot *of_ctx)
{
    SSL_CTX_sess_set_remove_cb(of_ctx->ctx, of_ctx->removing != NULL ? remove_session : NULL);
}

static int set_announced(SSL_CTX *ctx, uintptr_t number, int is_removed)
{
    policy *added = NULL, *replaced, **place;
    slot *of_ctx;

    if (number == 0 && has_no_slot(ctx))
        return 1;
    of_ctx = slot_told_to_libssl(ctx);
    if (of_ctx == NULL || (number != 0 && (added = new_policy(number, 0, 0)) == NULL))
        return 0;
    place = is_removed ? &of_ctx->removing : &of_ctx->announcing;
    lock_acquire();
    replaced = *place;
    *place = added;
    if (is_removed)
        tell_of_removed(of_ctx);
    else
        tell_of_new(of_ctx);
    update_mode(of_ctx, of_ctx->current->has_decrypt);
    lock_release();
    release_policy(replaced);
    return 1;
}

/* These return as openssl_tickets_set_policy does; number is 0 to have none. */
static int openssl_tickets_set_new_session(SSL_CTX *ctx, uintptr_t number)
{
    return set_announced(ctx, number, 0);
}

static int openssl_tickets_set_removed_session(SSL_CTX *ctx, uintptr_t number)
{
    return set_announced(ctx, number, 1);
}
