/*
 * The slot of an SSL_CTX: the data that this package keeps for it.
 *
 *   SSL --> slot <--> SSL_CTX
 *           number --> Python's dicts of callbacks
 *           keyring --> ticket_keys.c
 *
 * A slot is made once for an SSL_CTX, and freed with it. Only its number leads to Python. No number
 * is used twice: a late look-up finds nothing, while a pointer could lead to freed memory.
 *
 * This is what the package stores in libssl's objects:
 *
 *   kept as                    in       owner, lifetime                     written by
 *   ctx_index                  SSL_CTX  the slot; freed with the SSL_CTX    slot_of_ctx, once
 *   record padding's argument  SSL_CTX  the slot; not owned                 slot_of_ctx, once
 *   record padding's argument  SSL      the slot of the SSL's first         libssl's SSL_new
 *                                       SSL_CTX; not owned
 *   asked_index                SSL      the session that decrypt is asked   begin_callback and
 *                                       about, or a plain mark; not owned;  end_callback
 *                                       set while a callback runs
 *   attempt_index              SSL      a client's handshake; freed with    client_sessions.c
 *                                       the SSL, or at the next handshake
 *   marks_index                SSL      OPENSSL_TICKETS_ACCEPTED and        ticket_callback.c
 *                                       _AGAIN, as a number
 *   began_index                SSL      when its handshake began, as a      session_lifetime.c
 *                                       number
 *   deadline_index             session  when it ends, even if it is         session_lifetime.c
 *                                       renewed, as a number; libssl copies
 *                                       it into sessions of later tickets
 */
#include <Python.h>
#include "openssl_tickets.h"

static int ctx_index = -1, asked_index = -1, marks_index = -1;
static uintptr_t numbers = 0; /* under the lock: the last number that was given out */

/* Python's dicts that have numbers as keys: see callbacks.py. */
#define TABLES 3
static PyObject *tables[TABLES]; /* written at the package's import, and never again */

/*
 * Registers the Python dict at this address: when an SSL_CTX is freed, its number is removed from
 * it.
 */
void openssl_tickets_forget_in(uintptr_t table)
{
    PyGILState_STATE state = PyGILState_Ensure();
    int place;

    for (place = 0; place < TABLES; place++)
        if (tables[place] == NULL || tables[place] == (PyObject *)table) {
            Py_XDECREF(tables[place]);
            tables[place] = (PyObject *)table;
            Py_IncRef(tables[place]);
            break;
        }
    PyGILState_Release(state);
}

/*
 * Removes a number from Python's dicts.
 *
 * _ssl frees an SSL_CTX wherever the last reference goes, even while an exception is on its way up.
 * That exception must stay as it is. This calls no Python function: a signal handler could run in
 * it, and the handler's exception would be lost.
 */
static void forget(uintptr_t number)
{
    PyGILState_STATE state;
    PyObject *type, *value, *traceback, *key;
    int place;

    /* Once the interpreter has begun to finalize, there is nothing to tidy up. */
    if (!Py_IsInitialized())
        return;
    state = PyGILState_Ensure();
    PyErr_Fetch(&type, &value, &traceback);
    key = PyLong_FromVoidPtr((void *)number);
    for (place = 0; key != NULL && place < TABLES; place++)
        if (tables[place] != NULL && PyDict_DelItem(tables[place], key) != 0)
            PyErr_Clear(); /* the number was not in it */
    Py_XDECREF(key);
    PyErr_Restore(type, value, traceback);
    PyGILState_Release(state);
}

/* libssl calls this when it frees an SSL_CTX, on the thread that drops the last reference. */
static void free_slot(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
    openssl_tickets_slot *slot = ptr;

    (void)parent, (void)ad, (void)index, (void)argl, (void)argp;
    if (slot == NULL)
        return;
    forget(slot->number);
    openssl_tickets_release_keyring(slot->keyring);
    openssl_tickets_release_store(slot->store);
    openssl_tickets_release_digests(slot);
    OPENSSL_free(slot->purpose);
    OPENSSL_free(slot);
}

/* The copy that SSL_dup makes starts without our data. */
int openssl_tickets_dup_nothing(CRYPTO_EX_DATA *to, const CRYPTO_EX_DATA *from, void **from_d,
                                int index, long argl, void *argp)
{
    (void)to, (void)from, (void)index, (void)argl, (void)argp;
    *from_d = NULL;
    return 1;
}

static CRYPTO_ONCE indexes_once = CRYPTO_ONCE_STATIC_INIT;

static void make_indexes(void)
{
    asked_index = SSL_get_ex_new_index(0, NULL, NULL, openssl_tickets_dup_nothing, NULL);
    marks_index = SSL_get_ex_new_index(0, NULL, NULL, openssl_tickets_dup_nothing, NULL);
    ctx_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, openssl_tickets_dup_nothing, free_slot);
}

/*
 * Returns the slot of ctx. The first call makes it. Returns NULL if there is no memory, or if
 * another user has taken the record padding argument, for example another copy of this package.
 */
openssl_tickets_slot *openssl_tickets_slot_of_ctx(SSL_CTX *ctx)
{
    openssl_tickets_slot *made, *found;

    if (!CRYPTO_THREAD_run_once(&indexes_once, make_indexes) || ctx_index < 0
        || asked_index < 0 || marks_index < 0)
        return NULL;
    made = OPENSSL_zalloc(sizeof(*made));
    if (made == NULL)
        return NULL;
    openssl_tickets_lock();
    found = SSL_CTX_get_ex_data(ctx, ctx_index);
    if (SSL_CTX_get_record_padding_callback_arg(ctx) != found) {
        found = NULL;
    } else if (found == NULL && SSL_CTX_set_ex_data(ctx, ctx_index, made)) {
        made->number = ++numbers;
        made->ctx = ctx;
        SSL_CTX_set_record_padding_callback_arg(ctx, made);
        openssl_tickets_tell_libssl(made);
        found = made;
        made = NULL;
    }
    openssl_tickets_unlock();
    OPENSSL_free(made);
    return found;
}

/*
 * Returns the slot of the first SSL_CTX of ssl: the one that ssl was made from. Returns NULL if it
 * has no slot. The slot lives as long as ssl: libssl keeps the first SSL_CTX alive for its keys and
 * callbacks, even after SSL_set_SSL_CTX.
 *
 * libssl has no public function that returns the first SSL_CTX. But SSL_new copies the argument of
 * the record padding callback, and nobody reads it if there is no such callback. Neither pyOpenSSL
 * nor ssl can set one. An SSL that is older than the slot has no argument. For such an SSL, this
 * looks in its current SSL_CTX.
 */
openssl_tickets_slot *openssl_tickets_slot_of(const SSL *ssl)
{
    openssl_tickets_slot *slot = SSL_get_record_padding_callback_arg(ssl);

    if (slot == NULL && ctx_index >= 0)
        slot = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), ctx_index);
    return slot;
}

/*
 * Returns the number under which Python stores the callbacks of ctx. Returns 0 if slot_of_ctx
 * fails.
 */
uintptr_t openssl_tickets_number_of(SSL_CTX *ctx)
{
    openssl_tickets_slot *slot = openssl_tickets_slot_of_ctx(ctx);

    return slot != NULL ? slot->number : 0;
}

/* Marks an SSL while its callback runs, if there is no session to store. */
static char no_session;

/*
 * Call this before a callback in Python, with the session that decrypt is asked about, or NULL.
 * Call end_callback with *before after it. Returns 0 if there is no memory: do not call Python
 * then.
 */
int openssl_tickets_begin_callback(SSL *ssl, SSL_SESSION *offered, void **before)
{
    *before = SSL_get_ex_data(ssl, asked_index);
    return SSL_set_ex_data(ssl, asked_index, offered != NULL ? (void *)offered : &no_session);
}

void openssl_tickets_end_callback(SSL *ssl, void *before)
{
    SSL_set_ex_data(ssl, asked_index, before);
}

/*
 * Returns a new reference to the session of the ticket that decrypt is asked about. Returns NULL if
 * there is none. Call it on the callback's thread only.
 */
SSL_SESSION *openssl_tickets_offered_session(SSL *ssl)
{
    void *offered = SSL_get_ex_data(ssl, asked_index);

    if (offered == NULL || offered == &no_session)
        return NULL;
    return SSL_SESSION_up_ref(offered) ? offered : NULL;
}

/*
 * Returns 1 while a callback of ssl is running: libssl is in the middle of a handshake or a read.
 */
int openssl_tickets_is_asked(const void *ssl)
{
    return asked_index >= 0 && SSL_get_ex_data(ssl, asked_index) != NULL;
}

/* The marks of ssl: see OPENSSL_TICKETS_ACCEPTED. set_marks returns 0 if there is no memory. */
int openssl_tickets_marks(const SSL *ssl)
{
    return (int)(intptr_t)SSL_get_ex_data(ssl, marks_index);
}

int openssl_tickets_set_marks(SSL *ssl, int marks)
{
    return openssl_tickets_marks(ssl) == marks
           || SSL_set_ex_data(ssl, marks_index, (void *)(intptr_t)marks);
}
