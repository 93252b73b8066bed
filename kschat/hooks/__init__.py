"""Events for programs of others: webhooks and other consumers. They are made from the store: no crash loses one.

- ``engine``     one daemon of a cluster at a time makes the events, and passes them to their consumers
- ``deriver``    looks at what the store has logged, and makes events of it
- ``events``     the events: their types, ids and data
- ``dispatcher`` passes the queued events of one consumer to it, and tries again what failed
- ``consumer``   what a consumer is
- ``marks``      tells the store whose sockets came or went on this daemon
- ``webhook``    the consumer that sends events to a URL
- ``signing``    secrets and signatures, as the Standard Webhooks specification has them

What it does not know: sockets, HTTP requests of others, which store there is.
"""
