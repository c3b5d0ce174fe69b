/*
 * The C half of MemorySessionStore. A client's handshake uses a store without calling Python: see
 * client_sessions.c.
 *
 * All fields are read and written under the lock of lock.c. No session is freed under the lock,
 * since that may call functions of other libraries.
 */
#include <string.h>
#include <unistd.h>
#include <openssl/lhash.h>
#include "openssl_tickets.h"

/* The sessions of one key. */
typedef struct entry {
    struct entry *older, *newer; /* in the order in which they got their last session */
    char *key;
    size_t key_len;
    unsigned long hash;          /* of the key */
    SSL_SESSION **sessions;      /* references; the newest is the last */
    size_t count, room;
} entry;

struct openssl_tickets_store {
    int references;
    pid_t pid;                   /* of the process whose sessions these are */
    size_t max_entries, max_sessions;
    size_t entry_count, session_count;
    OPENSSL_LHASH *entries;      /* by their keys */
    entry *oldest, *newest;
};

/*
 * FNV-1a in steps of 8 bytes. An attacker cannot choose the keys: they are digests and the program's
 * server names.
 */
static unsigned long hash(const char *key, size_t key_len)
{
    uint64_t value = 0xcbf29ce484222325, word = 0;
    size_t place = key_len % sizeof(word);

    memcpy(&word, key, place);
    value ^= word;
    for (; place < key_len; place += sizeof(word)) {
        memcpy(&word, key + place, sizeof(word));
        value = (value ^ word) * 0x100000001b3;
        value ^= value >> 32;
    }
    return (unsigned long)value;
}

static unsigned long hash_of(const void *e)
{
    return ((const entry *)e)->hash;
}

static int compare(const void *one, const void *other)
{
    const entry *a = one, *b = other;

    return a->key_len != b->key_len || memcmp(a->key, b->key, a->key_len) != 0;
}

openssl_tickets_store *openssl_tickets_new_store(size_t max_servers, size_t max_sessions)
{
    openssl_tickets_store *store = OPENSSL_zalloc(sizeof(*store));

    if (store == NULL)
        return NULL;
    store->references = 1;
    store->pid = getpid();
    store->max_entries = max_servers;
    store->max_sessions = max_sessions;
    store->entries = OPENSSL_LH_new(hash_of, compare);
    if (store->entries == NULL) {
        OPENSSL_free(store);
        return NULL;
    }
    return store;
}

/* The caller holds the lock. */
openssl_tickets_store *openssl_tickets_hold_store(openssl_tickets_store *store)
{
    if (store != NULL)
        store->references++;
    return store;
}

static void take_out(openssl_tickets_store *store, entry *e)
{
    if (e->older != NULL)
        e->older->newer = e->newer;
    else
        store->oldest = e->newer;
    if (e->newer != NULL)
        e->newer->older = e->older;
    else
        store->newest = e->older;
    e->older = e->newer = NULL;
}

static void put_last(openssl_tickets_store *store, entry *e)
{
    e->older = store->newest;
    if (e->older != NULL)
        e->older->newer = e;
    else
        store->oldest = e;
    store->newest = e;
}

/* Removes e and its sessions from the store. Returns e, which the caller frees without the lock. */
static entry *drop(openssl_tickets_store *store, entry *e)
{
    take_out(store, e);
    OPENSSL_LH_delete(store->entries, e);
    store->entry_count--;
    store->session_count -= e->count;
    return e;
}

/* Frees a chain of entries that are in no store any more. */
static void free_entries(entry *e)
{
    while (e != NULL) {
        entry *next = e->newer;

        while (e->count > 0)
            SSL_SESSION_free(e->sessions[--e->count]);
        OPENSSL_free(e->sessions);
        OPENSSL_free(e->key);
        OPENSSL_free(e);
        e = next;
    }
}

/* Removes all entries. Returns them as a chain, which the caller frees without the lock. */
static entry *drop_all(openssl_tickets_store *store)
{
    entry *e, *all = store->oldest;

    for (e = all; e != NULL; e = e->newer)
        OPENSSL_LH_delete(store->entries, e);
    store->oldest = store->newest = NULL;
    store->entry_count = store->session_count = 0;
    return all;
}

/*
 * Locks the store. In a forked child it is emptied first, because the parent offers its sessions.
 */
static void lock(openssl_tickets_store *store)
{
    entry *all = NULL;

    openssl_tickets_lock();
    while (store->pid != getpid()) {
        store->pid = getpid();
        all = drop_all(store);
        openssl_tickets_unlock();
        free_entries(all);
        openssl_tickets_lock();
    }
}

void openssl_tickets_release_store(openssl_tickets_store *store)
{
    int references;

    if (store == NULL)
        return;
    openssl_tickets_lock();
    references = --store->references;
    openssl_tickets_unlock();
    if (references > 0)
        return;
    free_entries(drop_all(store));
    OPENSSL_LH_free(store->entries);
    OPENSSL_free(store);
}

static entry *find(openssl_tickets_store *store, const char *key, size_t key_len)
{
    entry wanted = { .key = (char *)key, .key_len = key_len, .hash = hash(key, key_len) };

    return OPENSSL_LH_retrieve(store->entries, &wanted);
}

/* Adds an entry to the store and returns it. Returns NULL if there is no memory. */
static entry *add(openssl_tickets_store *store, const char *key, size_t key_len)
{
    entry *e = OPENSSL_zalloc(sizeof(*e));

    if (e == NULL)
        return NULL;
    e->key = OPENSSL_malloc(key_len + 1);
    if (e->key != NULL) {
        memcpy(e->key, key, key_len);
        e->key_len = key_len;
        e->hash = hash(key, key_len);
        OPENSSL_LH_insert(store->entries, e);
        if (OPENSSL_LH_retrieve(store->entries, e) == e) {
            put_last(store, e);
            store->entry_count++;
            return e;
        }
    }
    free_entries(e);
    return NULL;
}

static int make_room(entry *e, size_t max)
{
    size_t room = e->room < max / 2 ? 2 * e->room + 2 : max;
    SSL_SESSION **sessions;

    if (e->count < e->room)
        return 1;
    sessions = OPENSSL_realloc(e->sessions, room * sizeof(*sessions));
    if (sessions == NULL)
        return 0;
    e->sessions = sessions;
    e->room = room;
    return 1;
}

/* Takes over the reference to the session. If there is no memory, frees it and returns 0. */
int openssl_tickets_put(openssl_tickets_store *store, const char *key, size_t key_len,
                        SSL_SESSION *session)
{
    entry *e, *dropped = NULL;
    SSL_SESSION *out = NULL;
    int is_put = 0;

    lock(store);
    e = find(store, key, key_len);
    if (e == NULL)
        e = add(store, key, key_len);
    if (e != NULL && e->count == store->max_sessions) {
        out = e->sessions[0];
        memmove(e->sessions, e->sessions + 1, --e->count * sizeof(*e->sessions));
        store->session_count--;
    }
    if (e != NULL && make_room(e, store->max_sessions)) {
        e->sessions[e->count++] = session;
        store->session_count++;
        is_put = 1;
        take_out(store, e);
        put_last(store, e);
        if (store->entry_count > store->max_entries)
            dropped = drop(store, store->oldest);
    } else if (e != NULL && e->count == 0) {
        dropped = drop(store, e);
    }
    openssl_tickets_unlock();
    free_entries(dropped);
    SSL_SESSION_free(out);
    if (!is_put)
        SSL_SESSION_free(session);
    return is_put;
}

static SSL_SESSION *take(openssl_tickets_store *store, const char *key, size_t key_len, int shares)
{
    SSL_SESSION *session = NULL;
    entry *e, *dropped = NULL;

    lock(store);
    e = find(store, key, key_len);
    if (e != NULL && shares && openssl_tickets_uses_of(e->sessions[e->count - 1]) > 1) {
        session = e->sessions[e->count - 1];
        if (!SSL_SESSION_up_ref(session))
            session = NULL;
    } else if (e != NULL) {
        session = e->sessions[--e->count];
        store->session_count--;
        if (e->count == 0)
            dropped = drop(store, e);
    }
    openssl_tickets_unlock();
    free_entries(dropped);
    return session;
}

/* Removes and returns the newest session of the key. Returns NULL if there is none. */
SSL_SESSION *openssl_tickets_take(openssl_tickets_store *store, const char *key, size_t key_len)
{
    return take(store, key, key_len, 0);
}

/*
 * Like openssl_tickets_take, but a session that may be used again stays in the store. Do not change
 * it.
 */
SSL_SESSION *openssl_tickets_use(openssl_tickets_store *store, const char *key, size_t key_len)
{
    return take(store, key, key_len, 1);
}

/* Removes this session of the key. If session is NULL, removes all sessions of the key. */
void openssl_tickets_remove(openssl_tickets_store *store, const char *key, size_t key_len,
                            const SSL_SESSION *session)
{
    SSL_SESSION *out = NULL;
    entry *e, *dropped = NULL;
    size_t place;

    lock(store);
    e = find(store, key, key_len);
    if (e != NULL && session == NULL)
        dropped = drop(store, e);
    for (place = 0; e != NULL && session != NULL && out == NULL && place < e->count; place++)
        if (e->sessions[place] == session) {
            out = e->sessions[place];
            memmove(e->sessions + place, e->sessions + place + 1,
                    (--e->count - place) * sizeof(*e->sessions));
            store->session_count--;
            if (e->count == 0)
                dropped = drop(store, e);
        }
    openssl_tickets_unlock();
    free_entries(dropped);
    SSL_SESSION_free(out);
}

void openssl_tickets_clear_store(openssl_tickets_store *store)
{
    entry *all;

    lock(store);
    all = drop_all(store);
    openssl_tickets_unlock();
    free_entries(all);
}

size_t openssl_tickets_count_stored(openssl_tickets_store *store)
{
    size_t count;

    lock(store);
    count = store->session_count;
    openssl_tickets_unlock();
    return count;
}
