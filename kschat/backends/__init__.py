"""Adapters to everything outside the process: stores, routers and buses.

- ``amqp``     the router between daemons: RabbitMQ
- ``redis``    the store and the bus of a cluster: Redis
- ``postgresql``  a store for one daemon or many: PostgreSQL
- ``sqlite``   the default store: an SQLite file, for one daemon
- ``local``    the bus of a daemon without Redis
- ``memory``   a store and a router inside this process, for one daemon
- ``null``     no store: relay mode
- ``memory_index``  the indexes of the memory store; ``memory_outbox`` its outbox
- ``local_outbox``  the parts of an outbox that only one daemon has
- ``ids``      a compact encoding of the user and room ids in a message
- ``packed``   the parts of a message that SQL stores keep as msgpack
- ``kinds``    how a backend describes itself to the settings and the daemon; ``table`` lists the backends
- ``archive``  the whole content of a store as records; ``moving`` moves it from one store to another
- ``generations``  generations of offsets, of stores that may come back with less
- ``rounds``   rounds of upkeep in a store, in small steps
- ``reconnect``  keeps a connection to a server and reconnects when it is lost
- ``lag``      how far behind a service is
- ``ticker``   a periodic call that survives exceptions
- ``jwks``     the keys of tokens, from a URL
- ``age``      the age of messages whose ids run ahead of the clock
"""
