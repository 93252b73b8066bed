"""A reconnecting connection to Redis, for the store and for the bus.

- ``redis_client``  one connection at a time; a command fails at once while there is none
- ``connection``    one connection: txredisapi's with its faults fixed, and a variant for subscriptions
- ``sentinels``     finds the current master: a fixed address, or the answer of the Sentinels
- ``address``       parses a Redis URL
- ``settings``      the operator's settings
- ``packing``       packs values into one script argument
- ``faults``        explains why Redis cannot be used
- ``once``          one connection for one task, for the command line
- ``probe``         checks whether a daemon that starts now could use Redis

No other package uses txredisapi.
"""
