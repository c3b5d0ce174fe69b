/*
 * What stands between libssl and the Python callbacks.
 *
 * Each guard does the three things that must not depend on Python being able to run: it fails
 * closed once the interpreter has begun to finalize, it keeps the error queue as libssl left it,
 * and it passes on no answer but those that libssl defines.
 */
typedef struct {
    uintptr_t slot;        /* the number that openssl_tickets_install was given */
    int stateful;          /* generate: the ticket would be a mere key into the session cache */
    const void *appdata;   /* decrypt: what the ticket carries; valid during the callback */
    size_t appdata_len;
} openssl_tickets_call;

static int openssl_tickets_generate(SSL *ssl, openssl_tickets_call *call);
static SSL_TICKET_RETURN openssl_tickets_decrypt(SSL *ssl, SSL_SESSION *session,
                                                 const unsigned char *keyname, size_t keyname_len,
                                                 SSL_TICKET_STATUS status,
                                                 openssl_tickets_call *call);
static void openssl_tickets_ssl_ctx_freed(uintptr_t slot);

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

static int guarded_generate(SSL *ssl, void *arg)
{
    openssl_tickets_call call = {(uintptr_t)arg, is_stateful(ssl), NULL, 0};
    int answer;

    if (!Py_IsInitialized())
        return 0;
    ERR_set_mark();
    answer = openssl_tickets_generate(ssl, &call);
    ERR_pop_to_mark();
    return answer == 1;
}

static SSL_TICKET_RETURN guarded_decrypt(SSL *ssl, SSL_SESSION *session,
                                         const unsigned char *keyname, size_t keyname_len,
                                         SSL_TICKET_STATUS status, void *arg)
{
    openssl_tickets_call call = {(uintptr_t)arg, 0, NULL, 0};
    SSL_TICKET_RETURN answer;
    void *appdata = NULL;

    if (!Py_IsInitialized())
        return SSL_TICKET_RETURN_ABORT;
    ERR_set_mark();
    /* The session was made from this ticket a moment ago: no other thread knows of it yet. */
    if ((status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW)
        && SSL_SESSION_get0_ticket_appdata(session, &appdata, &call.appdata_len))
        call.appdata = appdata;
    answer = openssl_tickets_decrypt(ssl, session, keyname, keyname_len, status, &call);
    ERR_pop_to_mark();
    return answer;
}

/*
 * Runs as the SSL_CTX is freed, on whichever thread drops the last reference to it. After the
 * interpreter has begun to finalize there is nothing left to tidy up.
 */
static void ssl_ctx_freed(void *parent, void *arg, CRYPTO_EX_DATA *ad, int index, long argl,
                          void *argp)
{
    (void)parent, (void)ad, (void)index, (void)argl, (void)argp;
    if (arg != NULL && Py_IsInitialized())
        openssl_tickets_ssl_ctx_freed((uintptr_t)arg);
}

static int openssl_tickets_new_ex_data_index(void)
{
    return SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, ssl_ctx_freed);
}

/*
 * Once per SSL_CTX. The ex_data goes first: with the argument in place, the freeing of the SSL_CTX
 * is seen however the rest fares. A ctx is never taken back to "no callbacks" either, since libssl
 * reads its three pointers one by one while handshakes run.
 */
static int openssl_tickets_install(SSL_CTX *ctx, int index, uintptr_t slot)
{
    return SSL_CTX_set_ex_data(ctx, index, (void *)slot)
           && SSL_CTX_set_session_ticket_cb(ctx, guarded_generate, guarded_decrypt, (void *)slot);
}

/* Returns the number that the ctx was installed with, or 0. */
static uintptr_t openssl_tickets_installed(const SSL_CTX *ctx, int index)
{
    return (uintptr_t)SSL_CTX_get_ex_data(ctx, index);
}
