"""One module for each thing outside the process.

- ``amqp``     the router between daemons: RabbitMQ
- ``redis``    the store and the bus of daemons that act as one
- ``sqlite``   the default store: an SQLite file, for one daemon
- ``local``    the bus of a daemon without Redis
- ``memory``   a store and a router inside this process, for one daemon
- ``none``     no store: relay mode
- ``held``     what that store is made of
- ``ids``      how a sender wrote the names in a message, in few bytes
- ``kinds``    what a store says of itself to the settings and the daemon; ``table``: those that there are
- ``tls``      what is reached by TLS: whom to trust, and why one is not trusted
- ``compat_openssl``  what touches privates of pyOpenSSL
- ``age``      how old messages are whose numbers run ahead of the clock
"""
