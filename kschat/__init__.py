"""kschat: a Socket.IO chat server daemon on Twisted and Autobahn.

Imports point down only (``tests/test_imports.py`` holds that):

- ``tap``      wires the parts together; the only place that knows them all
- ``config``   one frozen ``Config`` from defaults < TOML file < environment < command line
- ``relations``  what must hold between settings; ``keyfiles`` reads the keys that they name, ``sources`` where each is
  given, ``settings`` and ``options`` what one is in a file and on the command line
- ``hints``    how a value that cannot be used was probably meant
- ``backing``  what a ``Config`` means for each backend
- ``cli``      the command ``kschat``; ``connect`` opens what a configuration names
- ``front``    sockets and HTTP come in here
- ``backends`` one module for each thing outside the process
- ``chat``     what the server is for; knows no socket, no broker, no SQL
- ``server``   a Socket.IO server for any application: namespaces, rooms, acks; the chat is mounted on one
- ``wire``     bytes <-> packets, no I/O: the ground floor
"""

__version__ = "0.1.0"
