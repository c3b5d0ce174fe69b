"""
Calls into C, checked by mypy --strict and never run: a wrong argument is an error.
"""

from __future__ import annotations

from openssl_tickets._native._libssl import SSL, SSL_CTX, Pointer, char, ffi, lib
from openssl_tickets._system_openssl._pyopenssl import ffi as pyopenssl_ffi, lib as pyopenssl_lib

ctx: Pointer[SSL_CTX] = ffi.cast("SSL_CTX *", 0)
ssl: Pointer[SSL] = ffi.cast("SSL *", 0)

# Pointers, each of its own kind; integers; constants.
done: int = lib.SSL_set_num_tickets(ssl, 2)
lib.SSL_set_num_tickets(ctx, 2)  # type: ignore[arg-type]
lib.SSL_set_num_tickets(ssl, "2")  # type: ignore[arg-type]
lib.SSL_set_num_tickets(ssl, 2.0)  # type: ignore[arg-type]
lib.SSL_set_num_tickets(ssl)  # type: ignore[call-arg]
lib.SSL_set_num_tickets(ssl, 2, 3)  # type: ignore[call-arg]
lib.SSL_set_num_tickets(ssl, num_tickets=2)  # type: ignore[call-arg]
lib.SSL_set_number_of_tickets(ssl, 2)  # type: ignore[attr-defined]
version: int = lib.TLS1_3_VERSION
lib.TLS1_4_VERSION  # type: ignore[attr-defined]  # noqa: B018

# Bytes are a pointer to bytes, and NULL is one to anything.
session = lib.openssl_tickets_from_der(b"der", 3)
lib.openssl_tickets_from_der("der", 3)  # type: ignore[arg-type]
lib.openssl_tickets_from_der(bytearray(3), 3)  # type: ignore[arg-type]
lib.openssl_tickets_from_der(ffi.NULL, 0)
lib.SSL_SESSION_up_ref(b"session")  # type: ignore[arg-type]
lib.SSL_SESSION_up_ref(None)  # type: ignore[arg-type]
lib.openssl_tickets_set_appdata(session, b"alice", 5)
lib.openssl_tickets_set_appdata(session, "alice", 5)  # type: ignore[arg-type]

# What C writes to.
copy = ffi.new("unsigned char **")
length = ffi.new("size_t *")
lib.SSL_SESSION_get0_ticket(session, copy, length)
lib.SSL_SESSION_get0_ticket(session, copy[0], length)  # type: ignore[arg-type]
lib.SSL_SESSION_get0_ticket(session, copy, ffi.new("unsigned int *"))  # type: ignore[arg-type]
lib.SSL_SESSION_get0_ticket(session, copy, length[0])  # type: ignore[arg-type]
data: bytes = bytes(ffi.buffer(copy[0], length[0]))
text: bytes = ffi.string(lib.SSL_get_version(ssl))
ffi.string(ssl)  # type: ignore[arg-type]
ffi.new("SSL *")  # type: ignore[call-overload]
ffi.new("no_such_type *")  # type: ignore[call-overload]
ffi.cast("no_such_type *", ssl)  # type: ignore[call-overload]

# Who frees what.
owned = ffi.gc(session, lib.SSL_SESSION_free)
lib.SSL_SESSION_get_time(owned)
ffi.gc(ctx, lib.SSL_SESSION_free)  # type: ignore[arg-type]

# Structs.
key = lib.openssl_tickets_new_key(ffi.NULL, ffi.NULL, ffi.NULL, 32)
secret: bytes = bytes(ffi.buffer(key.aes_key, key.secret_len))
key.no_such_field  # type: ignore[attr-defined]  # noqa: B018
ctx.secret_len  # type: ignore[misc]  # noqa: B018
keys = ffi.new("openssl_tickets_key *[]", [key])
lib.openssl_tickets_set_keys(lib.openssl_tickets_new_keyring(), keys, len(keys))
lib.openssl_tickets_set_keys(lib.openssl_tickets_new_keyring(), key, 1)  # type: ignore[arg-type]


# What C calls has the arguments that C gives it.
def surface(kind: type[BaseException], exception: BaseException, traceback: object) -> None:
    pass


@ffi.def_extern("openssl_tickets_generate", onerror=surface)
def generate(ssl: Pointer[SSL], app_data: int, number: int, room: Pointer[char]) -> int:
    return 1


@ffi.def_extern("openssl_tickets_generate", onerror=surface)  # type: ignore[arg-type]
def generate_for_ctx(ctx: Pointer[SSL_CTX], app_data: int, number: int, room: Pointer[char]) -> int:
    return 1


@ffi.def_extern("openssl_tickets_generate", onerror=surface)  # type: ignore[arg-type]
def generate_text(ssl: Pointer[SSL], app_data: int, number: int, room: Pointer[char]) -> str:
    return ""


ffi.def_extern("openssl_tickets_no_such_callback", onerror=surface)  # type: ignore[call-overload]

# pyOpenSSL's half is of another ffi, whose pointers are its own.
bio = pyopenssl_ffi.gc(pyopenssl_lib.BIO_new_mem_buf(b"pem", 3), pyopenssl_lib.BIO_free)
pyopenssl_lib.BIO_read(bio, pyopenssl_ffi.new("char[]", 3), 3)
pyopenssl_lib.BIO_read(bio, "pem", 3)  # type: ignore[arg-type]
pyopenssl_lib.SSL_free(ssl)  # type: ignore[arg-type]
