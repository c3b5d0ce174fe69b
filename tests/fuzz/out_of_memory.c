/*
 * Clients that resume while memory runs out: one allocation after the other fails, in a handshake
 * with a store in C and a callback for new sessions. AddressSanitizer finds what is used after it
 * was freed, and what is never freed.
 *
 * The arguments are the server's key and certificates in one file, the authority's certificate, and
 * whose allocations fail: "ours", or "all" with those of libssl.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "openssl_tickets.h"

#define must(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

#define NEVER (-1L)

static int all;                  /* whether libssl's allocations fail too */
static int forever;              /* whether all later allocations fail with the first */
static long remaining = NEVER;   /* allocations until the first that fails */
static long allocations;

static int fails(const char *file)
{
    /* OpenSSL 3.6 does not always name its file. */
    if (!all && (file == NULL || strstr(file, "/_core/") == NULL))
        return 0;
    allocations++;
    if (remaining == NEVER)
        return 0;
    if (remaining > 0) {
        remaining--;
        return 0;
    }
    if (!forever)
        remaining = NEVER;
    return 1;
}

static void *allocate(size_t size, const char *file, int line)
{
    (void)line;
    return fails(file) ? NULL : malloc(size);
}

static void *reallocate(void *memory, size_t size, const char *file, int line)
{
    (void)line;
    return fails(file) ? NULL : realloc(memory, size);
}

static void release(void *memory, const char *file, int line)
{
    (void)file, (void)line;
    free(memory);
}

/* The stand-ins for Python. */
int openssl_tickets_generate(SSL *ssl, uintptr_t app_data, uintptr_t number, char *room)
{
    (void)ssl, (void)app_data, (void)number;
    memcpy(room, "alice", 5);
    return 5 + OPENSSL_TICKETS_WRITTEN;
}

int openssl_tickets_refuse(SSL *ssl, uintptr_t app_data, uintptr_t number, int reason)
{
    (void)ssl, (void)app_data, (void)number, (void)reason;
    return 0;
}

SSL_TICKET_RETURN openssl_tickets_decrypt(SSL *ssl, uintptr_t app_data, const char *keyname,
                                          size_t keyname_len, SSL_TICKET_STATUS status,
                                          uintptr_t number, const char *appdata,
                                          size_t appdata_len)
{
    (void)ssl, (void)app_data, (void)keyname, (void)keyname_len, (void)number, (void)appdata;
    (void)appdata_len;
    if (status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW)
        return SSL_TICKET_RETURN_USE_RENEW;
    return SSL_TICKET_RETURN_IGNORE_RENEW;
}

void openssl_tickets_new_session(SSL *ssl, uintptr_t app_data, SSL_SESSION *session,
                                 uintptr_t number)
{
    (void)app_data, (void)number;
    must(SSL_is_server(ssl) || session != SSL_get_session(ssl));
}

void openssl_tickets_offer(SSL *ssl, uintptr_t app_data, uintptr_t number, const char *server_name,
                           uintptr_t verify_callback)
{
    (void)app_data, (void)number, (void)server_name, (void)verify_callback;
    openssl_tickets_begin_attempt(ssl, "another name", NULL);
}

void openssl_tickets_refused(SSL *ssl, uintptr_t app_data, SSL_SESSION *session, uintptr_t number)
{
    (void)ssl, (void)app_data, (void)session, (void)number;
}

static SSL_CTX *server_ctx, *client_ctx;
static int resumed; /* whether the last visit was a resumption */

/* Makes a connection. Returns 1 if it works. */
static int visit(void)
{
    SSL *server = SSL_new(server_ctx), *client = SSL_new(client_ctx);
    BIO *of_server = NULL, *of_client = NULL;
    int step, done = 0;
    char data;

    resumed = 0;
    if (server != NULL && client != NULL && BIO_new_bio_pair(&of_server, 0, &of_client, 0)) {
        SSL_set_bio(server, of_server, of_server);
        SSL_set_bio(client, of_client, of_client);
        SSL_set_accept_state(server);
        SSL_set_connect_state(client);
        SSL_set_tlsext_host_name(client, "localhost");
        for (step = 0; step < 8; step++) {
            SSL_do_handshake(client);
            SSL_do_handshake(server);
        }
        done = SSL_is_init_finished(client) && SSL_is_init_finished(server)
               && SSL_write(server, "x", 1) == 1 && SSL_read(client, &data, 1) == 1;
        resumed = done && SSL_session_reused(client);
        SSL_shutdown(client);
        SSL_shutdown(server);
    }
    SSL_free(client);
    SSL_free(server);
    ERR_clear_error();
    return done;
}

static void run_out(int version, const char *server_file, const char *ca_file)
{
    openssl_tickets_store *store;
    long number, count, failed = 0;

    must((server_ctx = SSL_CTX_new(TLS_method())) != NULL);
    must((client_ctx = SSL_CTX_new(TLS_method())) != NULL);
    must(SSL_CTX_set_max_proto_version(server_ctx, version));
    must(SSL_CTX_use_certificate_file(server_ctx, server_file, SSL_FILETYPE_PEM) == 1);
    must(SSL_CTX_use_PrivateKey_file(server_ctx, server_file, SSL_FILETYPE_PEM) == 1);
    must(SSL_CTX_load_verify_file(client_ctx, ca_file) == 1);
    SSL_CTX_set_verify(client_ctx, SSL_VERIFY_PEER, NULL);
    must((store = openssl_tickets_new_store(2, 2)) != NULL);
    openssl_tickets_set_ticket_callback(server_ctx, 1, 1);
    openssl_tickets_set_new_session(client_ctx, 1, 1);
    must(openssl_tickets_set_resumes(client_ctx, 1, store, 0));
    must(visit() && !resumed);
    must(visit() && resumed);
    allocations = 0;
    must(visit() && resumed);
    count = allocations;
    for (forever = 0; forever < 2; forever++)
        for (number = 0; number <= count; number++) {
            if (number % 3 == 0)
                openssl_tickets_clear_store(store); /* so that full handshakes are among them */
            remaining = number;
            failed += !visit() || !resumed;
            remaining = NEVER;
            must(visit());
        }
    must(failed > 0);
    must(visit() && resumed);
    printf("%s: %ld allocations, %ld visits without a resumption\n",
           version == TLS1_3_VERSION ? "TLS 1.3" : "TLS 1.2", count, failed);
    openssl_tickets_release_store(store);
    SSL_CTX_free(client_ctx);
    SSL_CTX_free(server_ctx);
}

int main(int argc, char **argv)
{
    must(argc == 4);
    all = strcmp(argv[3], "all") == 0;
    must(CRYPTO_set_mem_functions(allocate, reallocate, release));
    must(openssl_tickets_init());
    run_out(TLS1_2_VERSION, argv[1], argv[2]);
    run_out(TLS1_3_VERSION, argv[1], argv[2]);
    return 0;
}
