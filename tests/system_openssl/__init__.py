"""pyOpenSSL on the system's libssl."""
