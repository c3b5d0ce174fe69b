"""
Hostile input: what a client may send that is no honest ticket, or no honest hello.

:mod:`tests.hostile.servers` has the servers and one way to shake hands with them,
:mod:`tests.hostile.tickets` the tickets, :mod:`tests.hostile.hellos` the hellos. The tests take a
part of all cases; ``python tests/hostile`` takes them all and writes down the figures.
"""
