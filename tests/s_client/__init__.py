"""The driver of `openssl s_client`."""
