"""
The conformance table: what libssl's manual promises about tickets, for every combination.

``table.toml`` has the rows. ``python tests/conformance`` runs each combination in memory, and for
each row the real ``openssl s_client`` and ``s_server`` beside it, and writes a page of Markdown.
"""
