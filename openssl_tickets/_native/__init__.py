"""The loaded libssl: which one it is, how it was proved, its lock and its error queue."""

# Whatever is imported from here, an interpreter that cannot be supported is refused first.
from openssl_tickets._native import interpreter as _interpreter  # noqa: F401
