/*
 * What stands between libssl and the ticket callbacks in Python: see policy.c. An SSL keeps the
 * policy of a handshake's first callback, so that each handshake sees one whole pair.
 */
#define OPENSSL_TICKETS_STATEFUL 1
#define OPENSSL_TICKETS_CACHED 2

static int openssl_tickets_generate(SSL *ssl, uintptr_t app_data, uintptr_t policy);
static int openssl_tickets_refuse(SSL *ssl, uintptr_t app_data, uintptr_t policy, int reason);
static SSL_TICKET_RETURN openssl_tickets_decrypt(SSL *ssl, uintptr_t app_data, const char *keyname,
                                                 size_t keyname_len, SSL_TICKET_STATUS status,
                                                 uintptr_t policy, const char *appdata,
                                                 size_t appdata_len);

/* session_callback.c */
static void pin_announcing(SSL *ssl, const slot *of_ctx);
static void announce(SSL *ssl, slot *of_ctx, SSL_SESSION *session);
static void deliver_removed(void);

/* ticket_keys.c */
static void openssl_tickets_release_keyring(openssl_tickets_keyring *keyring);
static int ssl_index = -1, birth_index = -1, accepted_index = -1, offered_index = -1;
static int announcing_index = -1, renewed_index = -1, encrypting_index = -1, first_ctx_index = -1;
static uintptr_t slots = 0; /* under the lock: how many there have been */

/* Two that are never freed: "no callbacks", and "what is current when it is asked for". */
static policy no_policy = {1, 0, 0, 0};
static policy current_policy = {1, 0, 0, 0};

/* What the library on top of libssl keeps with ssl there: _ssl its own object. */
static uintptr_t app_data_of(const SSL *ssl)
{
    return (uintptr_t)SSL_get_app_data(ssl);
}

static int pin_policy(SSL *ssl, policy *pinned)
{
    policy *replaced = SSL_get_ex_data(ssl, ssl_index);

    if (!SSL_set_ex_data(ssl, ssl_index, pinned)) {
        release_policy(pinned);
        return 0;
    }
    release_policy(replaced);
    return 1;
}

/*
 * Whether the ticket that ssl is about to make is only a key into the server's session cache:
 * libssl resumes from those without asking the decrypt callback. It is libssl's own test, taken
 * on the safe side for protocol versions that are yet to come.
 */
static int is_stateful(const SSL *ssl)
{
    if (before_tls13(ssl))
        return 0;
    if (SSL_get_options(ssl) & SSL_OP_NO_TICKET)
        return 1;
    return SSL_get_max_early_data(ssl) > 0 && !(SSL_get_options(ssl) & SSL_OP_NO_ANTI_REPLAY);
}

/*
 * Whether ssl has resumed a session out of the cache. Before TLS 1.3, libssl then makes the ticket
 * from the very session that other connections may be using at this moment, and reads it without a
 * lock: nothing may be written to it.
 */
static int is_cached(SSL *ssl)
{
    return before_tls13(ssl) && SSL_session_reused(ssl)
           && SSL_get_ex_data(ssl, accepted_index) == NULL;
}

/*
 * Whether ssl has resumed a session from a ticket that nobody was asked about, since there were no
 * callbacks yet when it came. (One that is younger than the slot resumed from something else than a
 * ticket, a PSK of the program's own say.)
 */
static int resumed_before(SSL *ssl, const slot *of_ctx)
{
    return SSL_session_reused(ssl) && !is_stateful(ssl)
           && (uintptr_t)SSL_get_ex_data(ssl, birth_index) < of_ctx->born;
}

/*
 * Returns the policy of ssl's handshake, which ssl holds; NULL when there is no memory.
 *
 * When decrypt is asked after a handshake that was finished, another one has begun. The first policy
 * of an SSL_CTX may come while handshakes run: they go on without. Then of_ctx is NULL where libssl
 * has been told of the callbacks but not yet of the slot.
 */
static policy *pinned_policy(SSL *ssl, slot *of_ctx, int generating)
{
    policy *pinned = SSL_get_ex_data(ssl, ssl_index);
    char any;

    if (!generating && SSL_get_finished(ssl, &any, 0) > 0)
        pinned = &current_policy;
    if (pinned != NULL && pinned != &current_policy)
        return pinned;
    if (of_ctx == NULL || (pinned == NULL && generating && resumed_before(ssl, of_ctx))) {
        pinned = hold_policy(&no_policy);
    } else {
        lock_acquire();
        pinned = of_ctx->current;
        pinned->references++;
        lock_release();
    }
    return pin_policy(ssl, pinned) ? pinned : NULL;
}

/* See note_first_ctx. */
static void note_ctx_of_hello(SSL *ssl)
{
    SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);

    if (SSL_get_ex_data(ssl, first_ctx_index) == NULL && SSL_CTX_up_ref(ctx)
        && !SSL_set_ex_data(ssl, first_ctx_index, ctx))
        SSL_CTX_free(ctx);
}

static int hello_came(SSL *ssl, int *alert, void *arg)
{
    slot *of_ctx = arg;

    (void)alert;
    if (of_ctx != NULL) {
        lock_acquire();
        of_ctx->has_accepted = 1;
        update_mode(of_ctx, of_ctx->current->has_decrypt);
        lock_release();
        note_ctx_of_hello(ssl);
        pin_announcing(ssl, of_ctx);
        deliver_removed();
    }
    return SSL_CLIENT_HELLO_SUCCESS;
}

/*
 * The two callbacks that libssl knows. They do what must not depend on Python being able to run:
 * they fail closed once the interpreter has begun to finalize, and keep the error queue as libssl
 * left it. Where the policy has nothing to say they do not enter Python at all.
 */
static int ask_generate(SSL *ssl, void *arg)
{
    policy *pinned = pinned_policy(ssl, arg, 1);
    int refused = 0, answer;

    if (pinned == NULL)
        return 0;
    if (!pinned->has_generate && !pinned->has_decrypt)
        return 1;
    if (is_cached(ssl))
        refused = OPENSSL_TICKETS_CACHED;
    else if (pinned->has_decrypt && is_stateful(ssl))
        refused = OPENSSL_TICKETS_STATEFUL;
    if (!pinned->has_generate && !refused)
        return 1;
    if (!Py_IsInitialized())
        return 0;
    ERR_set_mark();
    answer = refused ? openssl_tickets_refuse(ssl, app_data_of(ssl), pinned->number, refused)
                     : openssl_tickets_generate(ssl, app_data_of(ssl), pinned->number);
    ERR_pop_to_mark();
    return answer == 1 && !refused;
}

/*
 * A server's new sessions are announced from here, since libssl itself only tells of those that it
 * could cache: of no ticket in TLS 1.2, and of none in the mode SSL_SESS_CACHE_OFF.
 */
static int generate_ticket(SSL *ssl, void *arg)
{
    if (!ask_generate(ssl, arg))
        return 0;
    if (arg != NULL)
        announce(ssl, arg, SSL_get_session(ssl));
    return SSL_set_ex_data(ssl, encrypting_index, arg);
}

static SSL_TICKET_RETURN ask_decrypt(SSL *ssl, SSL_SESSION *session, const unsigned char *keyname,
                                     size_t keyname_len, SSL_TICKET_STATUS status, void *arg)
{
    policy *pinned = pinned_policy(ssl, arg, 0);
    SSL_TICKET_RETURN answer;
    void *appdata = NULL;
    size_t appdata_len = 0;

    if (pinned == NULL)
        return SSL_TICKET_RETURN_ABORT;
    if (!pinned->has_decrypt) {
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
    if (!Py_IsInitialized())
        return SSL_TICKET_RETURN_ABORT;
    ERR_set_mark();
    /* The session was made from this ticket just now: no other thread knows of it yet. */
    if (status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW) {
        SSL_SESSION_get0_ticket_appdata(session, &appdata, &appdata_len);
        SSL_set_ex_data(ssl, offered_index, session);
    }
    answer = openssl_tickets_decrypt(ssl, app_data_of(ssl), (const char *)keyname, keyname_len,
                                     status, pinned->number, appdata, appdata_len);
    SSL_set_ex_data(ssl, offered_index, NULL);
    ERR_pop_to_mark();
    if (arg != NULL) {
        lock_acquire();
        update_mode(arg, 1);
        lock_release();
    }
    return answer;
}

/*
 * Returns a new reference to the session of the ticket that decrypt is being asked about, NULL where
 * there is none. To be called on the thread of the callback.
 */
static SSL_SESSION *openssl_tickets_offered_session(SSL *ssl)
{
    SSL_SESSION *session = SSL_get_ex_data(ssl, offered_index);

    return session != NULL && SSL_SESSION_up_ref(session) ? session : NULL;
}

/* Sets the data of the ticket that generate is being asked about; returns as set_appdata does. */
static int openssl_tickets_set_generated(SSL *ssl, const void *data, size_t len)
{
    return openssl_tickets_set_appdata(SSL_get_session(ssl), data, len);
}

static SSL_TICKET_RETURN decrypt_ticket(SSL *ssl, SSL_SESSION *session,
                                        const unsigned char *keyname, size_t keyname_len,
                                        SSL_TICKET_STATUS status, void *arg)
{
    SSL_TICKET_RETURN answer = ask_decrypt(ssl, session, keyname, keyname_len, status, arg);
    int accepted = answer == SSL_TICKET_RETURN_USE || answer == SSL_TICKET_RETURN_USE_RENEW;

    if (!SSL_set_ex_data(ssl, accepted_index, accepted ? ssl : NULL))
        return SSL_TICKET_RETURN_ABORT;
    return answer;
}

/* Run as an SSL_CTX or an SSL is freed, on whichever thread drops the last reference to it. */
static void free_slot(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
    slot *freed = ptr;

    (void)parent, (void)ad, (void)index, (void)argl, (void)argp;
    if (freed == NULL)
        return;
    release_policy(freed->current);
    release_policy(freed->announcing);
    release_policy(freed->removing);
    openssl_tickets_release_keyring(freed->keyring);
    OPENSSL_free(freed);
}

static void unpin_policy(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl,
                         void *argp)
{
    (void)parent, (void)ad, (void)index, (void)argl, (void)argp;
    release_policy(ptr);
}

static void note_birth(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl,
                       void *argp)
{
    uintptr_t born;

    (void)parent, (void)ptr, (void)argl, (void)argp;
    lock_acquire();
    born = slots;
    lock_release();
    CRYPTO_set_ex_data(ad, index, (void *)born);
}

/*
 * libssl says only which SSL_CTX is a connection's now, and keeps to the first one's ticket keys. From
 * OpenSSL 3.2 on it is not known yet when the SSL is made; then it is noted as the first hello comes,
 * which is too late where the program has set another SSL_CTX before.
 */
static void note_first_ctx(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl,
                           void *argp)
{
    SSL_CTX *ctx = SSL_get_SSL_CTX(parent);

    (void)ptr, (void)argl, (void)argp;
    if (ctx != NULL && SSL_CTX_up_ref(ctx) && !CRYPTO_set_ex_data(ad, index, ctx))
        SSL_CTX_free(ctx);
}

/* An SSL_dup has a first SSL_CTX of its own, noted as it was made. */
static int keep_first_ctx(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from, void **from_d, int index,
                          long argl, void *argp)
{
    (void)from, (void)argl, (void)argp;
    *from_d = CRYPTO_get_ex_data(to, index);
    return 1;
}

static void free_first_ctx(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl,
                           void *argp)
{
    (void)parent, (void)ad, (void)index, (void)argl, (void)argp;
    SSL_CTX_free(ptr);
}

static CRYPTO_ONCE indexes_once = CRYPTO_ONCE_STATIC_INIT;

static void make_indexes(void)
{
    ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, dup_nothing, free_slot);
    ssl_index = SSL_get_ex_new_index(0, NULL, NULL, dup_nothing, unpin_policy);
    birth_index = SSL_get_ex_new_index(0, NULL, note_birth, NULL, NULL);
    accepted_index = SSL_get_ex_new_index(0, NULL, NULL, dup_nothing, NULL);
    offered_index = SSL_get_ex_new_index(0, NULL, NULL, dup_nothing, NULL);
    announcing_index = SSL_get_ex_new_index(0, NULL, NULL, dup_nothing, unpin_policy);
    renewed_index = SSL_get_ex_new_index(0, NULL, NULL, dup_nothing, NULL);
    encrypting_index = SSL_get_ex_new_index(0, NULL, NULL, dup_nothing, NULL);
    first_ctx_index = SSL_get_ex_new_index(0, NULL, note_first_ctx, keep_first_ctx, free_first_ctx);
}

/* Returns the slot of ctx, which is made the first time; NULL on failure. */
static slot *slot_of(SSL_CTX *ctx)
{
    slot *made, *found;

    if (!CRYPTO_THREAD_run_once(&indexes_once, make_indexes) || ctx_index < 0 || ssl_index < 0
        || birth_index < 0 || accepted_index < 0 || offered_index < 0 || announcing_index < 0
        || renewed_index < 0 || encrypting_index < 0 || first_ctx_index < 0)
        return NULL;
    made = OPENSSL_zalloc(sizeof(*made));
    if (made == NULL)
        return NULL;
    lock_acquire();
    found = SSL_CTX_get_ex_data(ctx, ctx_index);
    if (found == NULL && SSL_CTX_set_ex_data(ctx, ctx_index, made)) {
        made->ctx = ctx;
        found = made;
        made = NULL;
    }
    lock_release();
    OPENSSL_free(made);
    return found;
}

/* Makes a policy, which one reference is to; NULL when there is no memory. */
static policy *new_policy(uintptr_t number, int has_generate, int has_decrypt)
{
    policy *made = OPENSSL_zalloc(sizeof(*made));

    if (made != NULL) {
        made->references = 1;
        made->number = number;
        made->has_generate = has_generate;
        made->has_decrypt = has_decrypt;
    }
    return made;
}

/*
 * Makes ticket_policy the one of the slot, and tells libssl of the slot if it is the first. Called
 * with the lock held; returns the policy that has been replaced.
 */
static policy *replace_current(slot *of_ctx, policy *ticket_policy)
{
    policy *replaced = of_ctx->current;

    of_ctx->current = ticket_policy;
    if (replaced == NULL) {
        /* In one piece with the callbacks: note_birth waits for the lock. */
        of_ctx->born = ++slots;
        SSL_CTX_set_client_hello_cb(of_ctx->ctx, hello_came, of_ctx);
        SSL_CTX_set_session_ticket_cb(of_ctx->ctx, generate_ticket, decrypt_ticket, of_ctx);
    }
    return replaced;
}

/*
 * Makes the callables that Python holds under number the ticket callbacks of ctx. Returns 1, or 0
 * when there is no memory: then nothing has changed and Python may forget the number.
 */
static int openssl_tickets_set_policy(SSL_CTX *ctx, uintptr_t number, int has_generate,
                                      int has_decrypt)
{
    policy *added = new_policy(number, has_generate, has_decrypt), *replaced;
    slot *of_ctx = slot_of(ctx);

    if (added == NULL || of_ctx == NULL) {
        OPENSSL_free(added);
        return 0;
    }
    lock_acquire();
    replaced = replace_current(of_ctx, added);
    update_mode(of_ctx, has_decrypt);
    lock_release();
    release_policy(replaced);
    return 1;
}

/* What ssl does next is no part of its handshake: it takes the policy that is current then. */
static void openssl_tickets_unpin(SSL *ssl)
{
    if (ssl_index >= 0)
        pin_policy(ssl, hold_policy(&current_policy));
}

/*
 * The server name that the client asks for in the hello which is being looked at. SSL_get_servername
 * does not know it in a decrypt callback: libssl looks at the tickets first. Returns 1, or 0 where
 * there is no name, or none that libssl would take. The name is part of the hello.
 */
static int openssl_tickets_hello_server_name(SSL *ssl, const char **name, size_t *name_len)
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
