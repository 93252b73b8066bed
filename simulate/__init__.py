"""``make simulate``: whole clusters in one process, on a clock and by chances that a seed decides.

- ``clock``       the virtual time; each daemon's own view of it, which ends when the daemon is killed
- ``services``    a store, a router and a bus behind wires, which can be held, cut and repeated
- ``network``     TCP between clients and daemons
- ``speech``      Engine.IO and Socket.IO as clients speak them, both revisions, on each transport
- ``devices``     what the users do with these clients
- ``daemons``     a daemon in this world: the code of kschat from its bytes to its stores
- ``ledger``      what must be true, looked at as it happens
- ``plans``       what happens in a world, made from a seed; which of it is a fault
- ``world``       plays a plan
- ``shrinking``   the few steps of a plan that still fail
- ``mutants``     planted bugs, each of which must be found

Nothing here waits for real time, and nothing depends on the order of a set: the same seed is the same world, to the
last byte that is noted (``world.Result.digest``).
"""
