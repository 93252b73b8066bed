"""kschat: a Socket.IO chat server daemon on Twisted and Autobahn.

Imports point down only (``tests/test_imports.py`` enforces this):

- ``tap``      wires the parts together; the only place that knows them all
- ``daemon``   the daemon's life: the order in which its parts start and stop
- ``cli``      the command ``kschat``, and the options of ``twistd kschat``
- ``settings`` one frozen ``Config`` from defaults < TOML file < environment < command line
- ``front``    HTTP and sockets
- ``api``      what programs ask of a daemon: the control socket
- ``backends`` one module for each thing outside the process
- ``chat``     the chat itself; knows no socket, no broker, no SQL
- ``server``   a Socket.IO server for any application: namespaces, rooms, acks; the chat is mounted on one
- ``wire``     bytes <-> packets, no I/O: the ground floor
"""

__version__ = "0.1.0"
