"""Random sequences of what clients do, on every store, on one daemon and on three; an oracle beside says what is right.

- ``operations``  what clients do, as plain data: made at random from a seed, and shrunk where it shows a fault
- ``oracle``      what clients must see, from docs/clients.md alone: knows no store, no daemon, no time
- ``players``     the clients: they prove what they are sent, or do not
- ``play``        does the operations, and compares what clients see with what the oracle says
- ``worlds``      the daemons, in this process: with the network of ``simulate.services``, or a real SQLite file, Redis,
                  RabbitMQ
- ``kept``        sequences that once showed a fault; each is played in every world

``make differential`` plays many, with ``--seed`` others. What fails is shrunk, and printed as a file for ``kept``.
"""
