"""Moves pyOpenSSL to the system's libssl."""
