"""The commands of `python -m openssl_tickets`."""
