"""The commands of `openssl-tickets`."""
