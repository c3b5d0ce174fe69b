"""
What do ticket keys of one's own cost, and do threads get in each other's way?

TLS 1.3 resumptions over memory BIOs: with libssl's own keys, with those of a ring (the key callback
is in C), and with a key callback in Python that makes the same calls. Then handshakes in 2 threads
on one context with a ring, against one thread; 2 processes show what the machine has to give. Run
it with ``tox run -e bench``.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import trustme
from cffi import FFI

import openssl_tickets
from openssl_tickets import TicketKey, TicketKeys, adapters

sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import measure, ratios, spread
from benchmarks.resumption import LIBRARIES, Variant
from build_ffi import openssl_flags

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
    ffi = FFI()
    ffi.cdef(CDEF)
    ffi.set_source("openssl_tickets_bench_keys", SOURCE, **openssl_flags())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(ffi.compile(tmpdir=folder))
        spec = importlib.util.spec_from_file_location("openssl_tickets_bench_keys", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
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
        return 1 if encrypt else 2  # so that libssl sends another ticket, as it does on its own

    return lambda context: lib.install(ffi.cast("void *", adapters.to_ssl_ctx(context).pointer))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=600)
    parser.add_argument("--resumptions", type=int, default=10, help="per variant and round")
    parser.add_argument("--thread-rounds", type=int, default=60)
    parser.add_argument("--library", choices=LIBRARIES, action="append", help="both by default")
    options = parser.parse_args()

    print(f"{openssl_tickets.OPENSSL_VERSION}, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder, "certificate.pem")
        issued = trustme.CA().issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        certificate.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
        in_python = python_key_callback()
        for library in options.library or LIBRARIES:
            show_keys(library, certificate, in_python, options.rounds, options.resumptions)
            for session_offered in (False, True):
                show_threads(library, certificate, session_offered, options.thread_rounds)


def show_keys(
    library: str,
    certificate: Path,
    in_python: Callable[[Any], None],
    rounds: int,
    resumptions: int,
) -> None:
    ring = TicketKeys([TicketKey.generate()])
    installs: dict[str, Callable[[Any], object]] = {
        "libssl's own": lambda context: None,
        "libssl's own again": lambda context: None,
        "ring": lambda context: openssl_tickets.set_ticket_keys(context, ring),
        "Python": in_python,
    }
    variants: dict[str, Variant] = {
        name: LIBRARIES[library](certificate, install) for name, install in installs.items()
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
    times = measure(
        {name: partial(each.seconds, resumptions) for name, each in variants.items()}, rounds
    )
    print(f"\n{library}: rate of resumptions, in {rounds} rounds of {resumptions} for each variant")
    print("rate against rate, in the same round: median (quartiles)\n")
    for one, other in (
        ("ring", "libssl's own"),
        ("libssl's own again", "libssl's own"),
        ("Python", "libssl's own"),
        ("ring", "Python"),
    ):
        print(f"{one + ' / ' + other:34} {spread(ratios(times[other], times[one]), '.4f')}")


def show_threads(library: str, certificate: Path, session_offered: bool, rounds: int) -> None:
    ring = TicketKeys([TicketKey.generate()])
    variants: list[Variant] = [
        LIBRARIES[library](
            certificate, lambda context: openssl_tickets.set_ticket_keys(context, ring)
        )
        for _ in range(2)
    ]
    # The one server's context for both; the clients have contexts and sessions of their own.
    variants[1].server_context = variants[0].server_context
    for variant in variants:
        if not session_offered:
            variant.session = None
        _, server = variant.handshake(variant.session)
        assert openssl_tickets.session_reused(server) is session_offered
    number = 100

    def one() -> float:
        return variants[0].seconds(number)

    def two_threads() -> float:
        threads = [threading.Thread(target=each.seconds, args=(number,)) for each in variants]
        begin = perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (perf_counter() - begin) / (2 * number)

    with Processes(variants, number) as processes:
        times = measure(
            {"one": one, "2 threads": two_threads, "2 processes": processes.seconds}, rounds
        )
    what = "resumptions" if session_offered else "full handshakes"
    print(f"\n{library}: {what}, in {rounds} rounds; rate against one thread's\n")
    for name in ("2 threads", "2 processes"):
        print(f"{name:34} {spread(ratios(times['one'], times[name]), '.3f')}")


class Processes:
    """Forked processes that each shake hands with the contexts that they have inherited."""

    def __init__(self, variants: list[Variant], number: int) -> None:
        self._number = number
        self._pipes = []
        self._processes = []
        context = multiprocessing.get_context("fork")
        for variant in variants:
            ours, theirs = context.Pipe()
            process = context.Process(target=self._run, args=(variant, theirs), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def _run(self, variant: Variant, pipe: Any) -> None:
        while pipe.recv():
            variant.seconds(self._number)
            pipe.send(True)

    def seconds(self) -> float:
        begin = perf_counter()
        for pipe in self._pipes:
            pipe.send(True)
        for pipe in self._pipes:
            pipe.recv()
        return (perf_counter() - begin) / (len(self._pipes) * self._number)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.send(False)
        for process in self._processes:
            process.join()


if __name__ == "__main__":
    main()
