/*
 * What Python is to be asked by libssl, for each SSL_CTX.
 *
 *   SSL_CTX --ex_data--> slot --current, announcing, removing--> policy <--ex_data-- SSL
 *
 * A policy is what was set in one call: the callbacks around a ticket, one for new sessions, or one
 * for removed ones. Python holds the callables, in a dict under the policy's number; what is here
 * tells when the number is needed no more. The slot is made once per SSL_CTX, and libssl is given
 * its address once, since libssl reads its callbacks and their argument one by one while handshakes
 * run; what is set anew is a new policy in the old slot.
 */
typedef struct {
    int references;            /* under the lock: the slot's and those of the SSLs */
    uintptr_t number;
    int has_generate;
    int has_decrypt;
} policy;

typedef struct openssl_tickets_keyring openssl_tickets_keyring; /* ticket_keys.c */

typedef struct {
    SSL_CTX *ctx;              /* the one that holds the slot */
    uintptr_t born;            /* how many slots there were, with this one */
    policy *current;           /* under the lock; of the tickets; NULL before the first policy */
    policy *announcing;        /* under the lock; of new sessions, or NULL */
    policy *removing;          /* under the lock; of removed sessions, or NULL */
    openssl_tickets_keyring *keyring; /* under the lock; NULL where libssl has keys of its own */
    int has_accepted;          /* under the lock: whether a client's hello has come */
    long own_mode;             /* under the lock: see update_mode */
    long mode;
    int has_mode;
    void (*own_info)(const SSL *ssl, int where, int ret); /* under the lock: see watch_states */
} slot;

static void openssl_tickets_forget(uintptr_t policy);

static int ctx_index = -1;
static uintptr_t numbers = 0; /* under the lock: how many have been given out */

/*
 * An SSL_CTX or SSL of _ssl is freed in the midst of whatever drops it, also of an exception that is
 * on its way up: Python must not be entered with that one set.
 */
static void forget_number(uintptr_t number)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    openssl_tickets_forget(number);
    PyErr_Restore(type, value, traceback);
    PyGILState_Release(state);
}

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
        forget_number(released->number);
    OPENSSL_free(released);
}

static policy *hold_policy(policy *held)
{
    lock_acquire();
    held->references++;
    lock_release();
    return held;
}

static int before_tls13(const SSL *ssl)
{
    switch (SSL_version(ssl)) {
    case TLS1_VERSION:
    case TLS1_1_VERSION:
    case TLS1_2_VERSION:
    case DTLS1_VERSION:
    case DTLS1_2_VERSION:
        return 1;
    }
    return 0;
}

/* An SSL_dup begins without a policy; copying the pointer would release it twice. */
static int dup_nothing(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from, void **from_d, int index,
                       long argl, void *argp)
{
    (void)to, (void)from, (void)index, (void)argl, (void)argp;
    *from_d = NULL;
    return 1;
}

/* Returns a number for a policy. None is ever given out twice. */
static uintptr_t openssl_tickets_new_number(void)
{
    uintptr_t number;

    lock_acquire();
    number = ++numbers;
    lock_release();
    return number;
}

/*
 * Keeps the mode of the session cache as the callbacks need it. Called with the lock held whenever a
 * policy is set; again as each client's hello comes in, since the program may have set another mode
 * in between; and once more, closed, when decrypt has been asked, since it may have been removed
 * meanwhile, and libssl looks into the cache after it.
 *
 * libssl resumes from its internal cache without asking the decrypt callback: a TLS 1.2 client by
 * its session id, a TLS 1.3 client by a stateful ticket. So while there is a decrypt callback it is
 * not to look there.
 *
 * Sessions of clients are announced in the mode that caches them only. libssl never looks into that
 * cache, so nothing is put there, unless the program would like to be told when it is removed again;
 * but where clients have come, the cache is the server's, and is left to be what it was.
 */
static void update_mode(slot *of_ctx, int closed)
{
    long mode = SSL_CTX_get_session_cache_mode(of_ctx->ctx), added, wanted;

    if (!of_ctx->has_mode || mode != of_ctx->mode) {
        /* The program's; but what was added for clients may only have been read and set again. */
        added = of_ctx->has_mode ? of_ctx->mode & ~of_ctx->own_mode : 0;
        added &= SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE;
        of_ctx->own_mode = (added & SSL_SESS_CACHE_NO_INTERNAL_STORE) && (mode & added) == added
                               ? mode & ~added
                               : mode;
    }
    wanted = of_ctx->own_mode;
    if (closed)
        wanted |= SSL_SESS_CACHE_NO_INTERNAL_LOOKUP;
    if ((of_ctx->announcing != NULL || of_ctx->removing != NULL)
        && !(wanted & SSL_SESS_CACHE_CLIENT)) {
        if (!of_ctx->has_accepted && (of_ctx->removing == NULL || !(wanted & SSL_SESS_CACHE_SERVER)))
            wanted |= SSL_SESS_CACHE_NO_INTERNAL_STORE;
        wanted |= SSL_SESS_CACHE_CLIENT;
    }
    if (wanted != mode)
        SSL_CTX_set_session_cache_mode(of_ctx->ctx, wanted);
    of_ctx->mode = wanted;
    of_ctx->has_mode = 1;
}

