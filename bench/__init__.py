"""What kschat costs, measured: ``python -m bench`` prints one table.

From the ground up; each knows only what stands above it in this list:

- ``frames``   WebSocket frames of a client, made from templates masked beforehand
- ``tally``    was every number seen once, in order?
- ``stats``    percentiles, medians
- ``process``  CPU and memory of a process, read from /proc; the machine's own line
- ``spawn``    starting a process, and waiting until it serves
- ``services`` RabbitMQ, Redis and PostgreSQL of one run, which all peers stand on
- ``clients``  one socket of the load as a state machine without I/O: bytes in, bytes out
- ``options``  the load generator's command line
- ``links``    the load's sockets and the epoll they are read by
- ``load``     the load generator, a process of its own: closed loop, open loop, idle connections
- ``peers``    what can be measured: how to start it and how to speak to it
- ``measure``  starts a peer and a load, and takes the figures of one round
- ``beside``   one peer's figures as multiples of another's
- ``report``   rounds in turns, medians, the tables
- ``backlog``  what a pair sees while others get 10,000 messages that they missed
- ``asker``    one chat client that asks and waits for the answer
- ``others``   what two users see who write to each other all the time, a process of its own
- ``fill``     fills a store as months of use would, a process of its own
- ``users``    what users that come once leave in Redis
- ``store``    what the stores cost without a daemon
- ``copied``   fills the tables of the PostgreSQL store by COPY
- ``history``  how long questions to a PostgreSQL take that holds many messages
- ``disk``     how long the disk takes
- ``page``     the page in Chromium
- ``admin``    what an open admin page costs a daemon
- ``receiver`` a receiver of hooks, a process of its own
- ``hooks``    what hooks cost those who send
- ``large``    large stores: what each thing takes, and what others see of it
- ``outage``   a crash of RabbitMQ, and when what of it happened
- ``bindings`` many users on one daemon, and a restart of RabbitMQ
- ``profile``  the same load while the daemon is profiled

Run its modules with ``-m`` from the repository's root (``python -m bench.load``): run by path, ``bench/profile.py``
would hide the standard library's ``profile``.
"""
