"""A long run of a daemon under clients that come, go, poll and sleep, to see whether anything grows: ``make soak``.

- ``__main__``    the command: starts services, daemons and the load, reads figures, says what grows
- ``servers``     the daemons, on SQLite or as a cluster
- ``sampler``     reads the figures of a daemon and of its store
- ``verdict``     decides from the figures whether they grow
- ``picture``     draws them as SVG
- ``load``        the load, a process of its own: ``python -m soak.load``
- ``crowd``       its clients: when each connects, what it does, how it ends
- ``life``        one connection of a client, from the handshake to its end
- ``links``       the TCP connections: a WebSocket, and HTTP requests of long-polling
"""
