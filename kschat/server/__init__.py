"""A Socket.IO server for applications of one's own: namespaces, rooms, acks. docs/library.md shows how.

- ``server``     ``Server``: which namespace is served by whom; the wire's ``Application``
- ``namespace``  ``Namespace``: middleware and handlers of events, by their names
- ``functions``  an application's functions, and how many arguments each takes
- ``socket``     ``Socket``: one client in one namespace; ``BroadcastOperator``: some of them
- ``rooms``      who is in which room
- ``acks``       acks that are awaited
- ``values``     Python values to JSON with attachments, and back
- ``errors``     what is raised, and what may be

Stands on ``wire`` alone: it knows no port and no chat. The chat is one handler that is mounted on a ``Server``.
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
