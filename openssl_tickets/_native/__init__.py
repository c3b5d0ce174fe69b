"""The loaded libssl: which one it is, how it was proved, its lock and its error queue."""

# What cannot be supported is refused before anything is imported from here: first an interpreter,
# then a libssl.
from openssl_tickets._native import interpreter as _interpreter, library as _library  # noqa: F401
