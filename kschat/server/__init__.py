"""A Socket.IO server for any application: namespaces, rooms, acks. docs/library.md shows how to use it.

- ``server``     ``Server``: namespaces and their handlers; the wire's ``Application``
- ``namespace``  ``Namespace``: middleware and handlers of events, by their names
- ``functions``  an application's functions, and how many arguments each accepts
- ``socket``     ``Socket``: one client in one namespace; ``BroadcastOperator``: a set of sockets
- ``rooms``      the members of each room
- ``acks``       pending acks
- ``values``     Python values to JSON with attachments, and back
- ``errors``     exceptions that the library or an application raises

It uses ``wire`` only, and knows neither ports nor the chat. The chat is a handler that is mounted on a ``Server``.
"""

from kschat.server.errors import Gone, Refused, TimedOut, TooMany, Unanswered
from kschat.server.namespace import Namespace
from kschat.server.server import Bounds, Server
from kschat.server.socket import BroadcastOperator, Socket

__all__ = [
    "Bounds",
    "BroadcastOperator",
    "Gone",
    "Namespace",
    "Refused",
    "Server",
    "Socket",
    "TimedOut",
    "TooMany",
    "Unanswered",
]
