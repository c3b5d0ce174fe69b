"""The loaded libssl: which one it is, the lock, and the error queue."""

# These imports come first, because they refuse an interpreter or a libssl that is not supported.
from openssl_tickets._native import interpreter as _interpreter, library as _library  # noqa: F401
