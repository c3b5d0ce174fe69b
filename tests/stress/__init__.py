"""
What the suite is too short for: memory over 100,000 resumptions, contexts that come and go, and
eight threads. ``python tests/stress`` runs it (``tox run -e stress``), each part in a process of
its own, so that what one leaves free does not hide what the next one takes.
"""
