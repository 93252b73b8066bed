"""A connection to Redis that is made again and again: for the store and for the bus.

- ``redis_client``  one connection at a time; a command fails at once while there is none
- ``connection``    one connection: txredisapi's, mended; and one that is told what is published
- ``sentinels``     where Redis is now: at its address, or where Sentinels say that the master is
- ``address``       what a URL means
- ``settings``      what an operator chooses
- ``packing``       values as one argument of a script
- ``faults``        why Redis can't be used, in words
- ``probe``         whether a daemon that starts now could use it

txredisapi is used nowhere else.
"""
