"""
Clients of gunicorn are resumed: ticket keys for all of its contexts and all of its workers.

    gunicorn --config gunicorn_conf.py --certfile server.pem --keyfile server.pem application:app

gunicorn's sync and gthread workers make a context for each connection, and each context of libssl
makes up ticket keys of its own: no ticket is ever good. These keys are made once, before gunicorn
forks its workers.
"""

import secrets

from openssl_tickets import TicketKeys, set_ticket_keys

keys = TicketKeys.derived(secrets.token_bytes(32), period=3600, accept_for=7200)


def ssl_context(config, default_ssl_context_factory):  # type: ignore[no-untyped-def]
    context = default_ssl_context_factory()
    set_ticket_keys(context, keys)
    return context
