"""
The same ticket keys for all contexts and workers of gunicorn, so that clients can resume.

    gunicorn --config gunicorn_conf.py --certfile server.pem --keyfile server.pem application:app

gunicorn's sync and gthread workers make a new context for each connection. libssl gives each
context its own random ticket keys, so no ticket could ever be used. The keys in this file are made
once, before gunicorn forks its workers.
"""

import secrets

from openssl_tickets import TicketKeys, set_ticket_keys

keys = TicketKeys.derived(secrets.token_bytes(32), period=3600, accept_for=7200)


def ssl_context(config, default_ssl_context_factory):  # type: ignore[no-untyped-def]
    context = default_ssl_context_factory()
    set_ticket_keys(context, keys)
    return context
