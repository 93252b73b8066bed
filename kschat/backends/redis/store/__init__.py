"""Messages in Redis, for any number of daemons.

- ``store``        ``RedisStore``: implements ``IStore`` with the scripts
- ``client``       the two connections, and the check that Redis is the same server and accepts writes
- ``write_queue``  writes in order, each call small enough to take Redis only a moment
- ``codec``        converts messages to their form in Redis and back
- ``listing``      lists the conversations of a user, in slices
- ``rounds``       upkeep: one round at a time, in small steps with rests
- ``retention``    deletes expired messages
- ``rewriting``    writes changed messages over the ones before
- ``erasure``      erases a user
- ``outbox``       ``RedisOutbox``: ``IOutbox``, for hooks
- ``revoked``      packs and unpacks revocations of tokens
- ``copies``       how many copies of the data count as stored: ``redis_wait``
- ``archive``      reads all keys, to move them to another store
- ``restored``     marks a Redis as restored from an older copy
"""
