"""
What a ring of ticket keys costs.

It measures TLS 1.3 resumptions with libssl's own keys, with those of a ring (its key callback is in
C), and with a key callback in Python that makes the same calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import openssl_tickets
from benchmarks.in_c import compiled
from benchmarks.libraries import (
    LIBRARIES,
    Certificates,
    Install,
    make_certificates,
    nothing,
)
from benchmarks.measure import measure, ratios, spread, table
from openssl_tickets import TicketKey, TicketKeys
from openssl_tickets._adapters import to_ssl_ctx

CDEF = """
typedef ... EVP_CIPHER;
typedef ... EVP_CIPHER_CTX;
typedef ... EVP_MAC_CTX;
typedef struct { ...; } OSSL_PARAM;

const EVP_CIPHER *EVP_aes_256_cbc(void);
int EVP_CipherInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *type, void *engine,
                      const unsigned char *key, const unsigned char *iv, int enc);
int EVP_MAC_CTX_set_params(EVP_MAC_CTX *ctx, const OSSL_PARAM *params);
void mac_params(OSSL_PARAM *params, unsigned char *key);
void install(void *ctx);

extern "Python" int ticket_key(unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                               EVP_MAC_CTX *mac, int encrypt);
"""

SOURCE = r"""
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

static int ticket_key(unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int encrypt);

static void mac_params(OSSL_PARAM *params, unsigned char *key)
{
    params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, 32);
    params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0);
    params[2] = OSSL_PARAM_construct_end();
}

static int key_callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                        EVP_MAC_CTX *mac, int encrypt)
{
    return ticket_key(name, iv, cipher, mac, encrypt);
}

static void install(void *ctx)
{
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, key_callback);
}
"""


def python_key_callback() -> Callable[[Any], None]:
    """Returns a function that sets, on a context, a ticket key callback written in Python."""
    module = compiled("openssl_tickets_bench_keys", CDEF, SOURCE)
    ffi, lib = module.ffi, module.lib
    key = TicketKey.generate()
    key_name, aes_key, hmac_key = key.name, key.aes_key, ffi.new("unsigned char[]", key.hmac_key)
    params = ffi.new("OSSL_PARAM[3]")
    lib.mac_params(params, hmac_key)

    @ffi.def_extern(error=-1)  # type: ignore[untyped-decorator]
    def ticket_key(name: Any, iv: Any, cipher: Any, mac: Any, encrypt: int) -> int:
        if encrypt:
            ffi.memmove(name, key_name, 16)
            ffi.memmove(iv, os.urandom(16), 16)
        elif ffi.buffer(name, 16) != key_name:
            return 0
        if not lib.EVP_CipherInit_ex(
            cipher, lib.EVP_aes_256_cbc(), ffi.NULL, aes_key, iv, encrypt
        ) or not lib.EVP_MAC_CTX_set_params(mac, params):
            return -1
        return 1 if encrypt else 2  # 2 makes libssl send a new ticket, as it does with its own keys

    return lambda context: lib.install(ffi.cast("void *", to_ssl_ctx(context).pointer))


def report(folder: Path, scale: float) -> Iterator[str]:
    """Yields the page's sections."""
    rounds, times = max(4, round(600 * scale)), 10
    certificates = make_certificates(folder)
    in_python = python_key_callback()
    rows = [
        row for name in LIBRARIES for row in of_keys(name, certificates, in_python, rounds, times)
    ]
    yield (
        "## Ticket keys\n\n"
        f"Rate of TLS 1.3 resumptions (ECDSA), {rounds} rounds of {times}: medians (quartiles). "
        "`libssl's own again` shows the noise.\n\n" + table(("library", "keys", "rate"), rows)
    )


ALL = "ring, purpose, limit, name binding, counts"
PURPOSE, LIMIT = b"members", 3600


def set_all(context: Any, ring: TicketKeys) -> None:
    """Sets everything that a server sets once. All of it works in C."""
    openssl_tickets.set_ticket_keys(context, ring, PURPOSE)
    openssl_tickets.set_max_session_lifetime(context, LIMIT)
    openssl_tickets.set_server_name_binding(context, True)
    openssl_tickets.ticket_stats(context)


def of_keys(
    library: str,
    certificates: Certificates,
    in_python: Callable[[Any], None],
    rounds: int,
    times: int,
) -> Iterator[list[str]]:
    ring = TicketKeys([TicketKey.generate()])
    installs: dict[str, Install] = {
        "libssl's own": nothing,
        "libssl's own again": nothing,
        "ring": lambda context: openssl_tickets.set_ticket_keys(context, ring),
        ALL: lambda context: set_all(context, ring),
        "Python": in_python,
    }
    variants = {
        name: LIBRARIES[library](certificates, install) for name, install in installs.items()
    }
    for name, variant in variants.items():
        client, server = variant.handshake(variant.session)
        assert openssl_tickets.session_reused(server), f"{name}: this is no resumption"
        offered = openssl_tickets.get_session(variant.session)
        received = openssl_tickets.get_session(client)
        assert offered is not None
        assert received is not None
        assert received.ticket != offered.ticket, f"{name}: there is no new ticket"
        if name == "ring":
            assert received.key_name == ring.keys[0].name
        elif name == ALL:
            assert received.key_name == ring.keys[0].for_purpose(PURPOSE).name
            assert received.ticket_lifetime_hint <= LIMIT
            assert openssl_tickets.ticket_stats(variant.server_context).renewed > 0
    seconds = measure(
        {name: partial(each.seconds, each.session, times) for name, each in variants.items()},
        rounds,
    )
    for one, other in (
        ("ring", "libssl's own"),
        (ALL, "libssl's own"),
        ("libssl's own again", "libssl's own"),
        ("Python", "libssl's own"),
        ("ring", "Python"),
    ):
        rate = spread(ratios(seconds[other], seconds[one]), ".4f")
        yield [library, f"{one} / {other}", rate]
