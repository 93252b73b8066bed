"""Messages in Redis, for any number of daemons.

- ``store``        ``RedisStore``: what the chat asks of a store, by scripts
- ``client``       the two connections, and whether Redis is still the same and takes writes
- ``write_queue``  what writes, in order, and no more at once than Redis does in a moment
- ``codec``        messages as Redis keeps them
- ``retention``    deletes what is kept no longer
- ``restored``     tells a Redis that an older copy was put in its place
"""
