"""All of pyOpenSSL on the system's libssl."""
