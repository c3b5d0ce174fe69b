/*
 * What stands between libssl and the ticket callbacks in Python.
 *
 *   SSL_CTX --ex_data--> slot --current--> policy <--ex_data-- SSL
 *
 * A policy is a pair of callbacks. Python holds the callables, in a dict under the policy's number;
 * what is here tells when the number is needed no more. The slot is made once per SSL_CTX and
 * libssl is given its address once, since libssl reads its two callbacks and their argument one by
 * one while handshakes run; a new pair of callbacks is a new policy in the old slot. An SSL keeps
 * the policy of its first callback, so that each handshake sees one whole pair.
 */
typedef struct {
    int references;            /* under the lock: the slot's and those of the SSLs */
    uintptr_t number;
    int has_generate;
    int has_decrypt;
} policy;

typedef struct {
    policy *current;           /* under the lock; NULL before the first policy */
    int closed_cache;          /* under the lock: see keep_out_of_cache */
} slot;

static int openssl_tickets_generate(SSL *ssl, SSL_SESSION *session, uintptr_t policy, int stateful);
static SSL_TICKET_RETURN openssl_tickets_decrypt(SSL *ssl, SSL_SESSION *session,
                                                 const char *keyname, size_t keyname_len,
                                                 SSL_TICKET_STATUS status, uintptr_t policy,
                                                 const char *appdata, size_t appdata_len);
static void openssl_tickets_forget(uintptr_t policy);

static int ctx_index = -1, ssl_index = -1;

static void release_policy(policy *released)
{
    int references;

    if (released == NULL)
        return;
    lock_acquire();
    references = --released->references;
    lock_release();
    if (references > 0)
        return;
    /* After the interpreter has begun to finalize there is nothing left to tidy up in Python. */
    if (Py_IsInitialized())
        openssl_tickets_forget(released->number);
    OPENSSL_free(released);
}

/* For a handshake into which another thread installs the first policy; never freed. */
static policy no_policy = {1, 0, 0, 0};

/*
 * Returns the policy of ssl's handshake, which ssl holds; NULL when there is no memory. The slot is
 * NULL where libssl has been told of the callbacks, by another thread, but not yet of the slot.
 */
static policy *pinned_policy(SSL *ssl, slot *of_ctx)
{
    policy *pinned = SSL_get_ex_data(ssl, ssl_index);

    if (pinned != NULL)
        return pinned;
    lock_acquire();
    pinned = of_ctx == NULL ? &no_policy : of_ctx->current;
    pinned->references++;
    lock_release();
    if (!SSL_set_ex_data(ssl, ssl_index, pinned)) {
        release_policy(pinned);
        return NULL;
    }
    return pinned;
}

/*
 * Whether the ticket that ssl is about to make is only a key into the server's session cache:
 * libssl resumes from those without asking the decrypt callback. It is libssl's own test, taken
 * on the safe side for protocol versions that are yet to come.
 */
static int is_stateful(const SSL *ssl)
{
    switch (SSL_version(ssl)) {
    case TLS1_VERSION:
    case TLS1_1_VERSION:
    case TLS1_2_VERSION:
    case DTLS1_VERSION:
    case DTLS1_2_VERSION:
        return 0;
    }
    if (SSL_get_options(ssl) & SSL_OP_NO_TICKET)
        return 1;
    return SSL_get_max_early_data(ssl) > 0 && !(SSL_get_options(ssl) & SSL_OP_NO_ANTI_REPLAY);
}

/*
 * The two callbacks that libssl knows. They do what must not depend on Python being able to run:
 * they fail closed once the interpreter has begun to finalize, and keep the error queue as libssl
 * left it. Where the policy has nothing to say they do not enter Python at all.
 */
static int generate_ticket(SSL *ssl, void *arg)
{
    policy *pinned = pinned_policy(ssl, arg);
    int stateful, answer;

    if (pinned == NULL)
        return 0;
    stateful = pinned->has_decrypt && is_stateful(ssl);
    if (!pinned->has_generate && !stateful)
        return 1;
    if (!Py_IsInitialized())
        return 0;
    ERR_set_mark();
    answer = openssl_tickets_generate(ssl, SSL_get_session(ssl), pinned->number, stateful);
    ERR_pop_to_mark();
    return answer == 1;
}

static SSL_TICKET_RETURN decrypt_ticket(SSL *ssl, SSL_SESSION *session,
                                        const unsigned char *keyname, size_t keyname_len,
                                        SSL_TICKET_STATUS status, void *arg)
{
    policy *pinned = pinned_policy(ssl, arg);
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
    if (status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW)
        SSL_SESSION_get0_ticket_appdata(session, &appdata, &appdata_len);
    answer = openssl_tickets_decrypt(ssl, session, (const char *)keyname, keyname_len, status,
                                     pinned->number, appdata, appdata_len);
    ERR_pop_to_mark();
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
    OPENSSL_free(freed);
}

static void unpin_policy(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl,
                         void *argp)
{
    (void)parent, (void)ad, (void)index, (void)argl, (void)argp;
    release_policy(ptr);
}

/* An SSL_dup begins without a policy; copying the pointer would release it twice. */
static int dup_nothing(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from, void **from_d, int index,
                       long argl, void *argp)
{
    (void)to, (void)from, (void)index, (void)argl, (void)argp;
    *from_d = NULL;
    return 1;
}

static CRYPTO_ONCE indexes_once = CRYPTO_ONCE_STATIC_INIT;

static void make_indexes(void)
{
    ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, dup_nothing, free_slot);
    ssl_index = SSL_get_ex_new_index(0, NULL, NULL, dup_nothing, unpin_policy);
}

/* Returns the slot of ctx, which is made and told to libssl the first time; NULL on failure. */
static slot *slot_of(SSL_CTX *ctx)
{
    slot *made, *found;

    if (!CRYPTO_THREAD_run_once(&indexes_once, make_indexes) || ctx_index < 0 || ssl_index < 0)
        return NULL;
    made = OPENSSL_zalloc(sizeof(*made));
    if (made == NULL)
        return NULL;
    lock_acquire();
    found = SSL_CTX_get_ex_data(ctx, ctx_index);
    if (found == NULL && SSL_CTX_set_ex_data(ctx, ctx_index, made)) {
        found = made;
        made = NULL;
    }
    lock_release();
    OPENSSL_free(made);
    return found;
}

/*
 * A TLS 1.2 client without tickets is resumed from the internal cache by its session id, and a
 * decrypt callback would never hear of it. So while there is one, libssl is not to look there.
 */
static void keep_out_of_cache(SSL_CTX *ctx, slot *of_ctx, int has_decrypt)
{
    long mode = SSL_CTX_get_session_cache_mode(ctx);

    if (has_decrypt && !(mode & SSL_SESS_CACHE_NO_INTERNAL_LOOKUP)) {
        SSL_CTX_set_session_cache_mode(ctx, mode | SSL_SESS_CACHE_NO_INTERNAL_LOOKUP);
        of_ctx->closed_cache = 1;
    } else if (!has_decrypt && of_ctx->closed_cache) {
        SSL_CTX_set_session_cache_mode(ctx, mode & ~SSL_SESS_CACHE_NO_INTERNAL_LOOKUP);
        of_ctx->closed_cache = 0;
    }
}

/*
 * Makes the callables that Python holds under number the policy of ctx. Returns 1, or 0 when there
 * is no memory: then nothing has changed and Python may forget the number.
 */
static int openssl_tickets_set_policy(SSL_CTX *ctx, uintptr_t number, int has_generate,
                                      int has_decrypt)
{
    policy *added = OPENSSL_zalloc(sizeof(*added)), *replaced;
    slot *of_ctx = slot_of(ctx);

    if (added == NULL || of_ctx == NULL) {
        OPENSSL_free(added);
        return 0;
    }
    added->references = 1;
    added->number = number;
    added->has_generate = has_generate;
    added->has_decrypt = has_decrypt;
    lock_acquire();
    keep_out_of_cache(ctx, of_ctx, has_decrypt);
    replaced = of_ctx->current;
    of_ctx->current = added;
    if (replaced == NULL)
        SSL_CTX_set_session_ticket_cb(ctx, generate_ticket, decrypt_ticket, of_ctx);
    lock_release();
    release_policy(replaced);
    return 1;
}

/* What ssl does next is no part of its handshake: it takes the policy that is current then. */
static void openssl_tickets_unpin(SSL *ssl)
{
    policy *pinned = ssl_index < 0 ? NULL : SSL_get_ex_data(ssl, ssl_index);

    if (pinned != NULL && SSL_set_ex_data(ssl, ssl_index, NULL))
        release_policy(pinned);
}
