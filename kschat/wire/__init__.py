"""Bytes to packets and back: no I/O, no clock, no Twisted; the ground floor.

- ``errors``      why a connection ends: ``Reason``, and ``ProtocolError`` for the peer's faults
- ``limits``      every bound on what a peer may send, in one frozen ``Limits``
- ``engineio``    Engine.IO packets, revision 3 and revision 4
- ``payload``     bodies of long-polling: several packets in one
- ``outbox``      the frames that wait for such a body, and those that the peer has read
- ``jsonp``       the same bodies as scripts and forms
- ``jsontext``    raw JSON: split, checked for depth, halves of surrogate pairs replaced
- ``jsonnumbers`` numbers in raw JSON that no double holds, written as JavaScript would
- ``socketio``    Socket.IO packets and their decoder, binary attachments
- ``msgpack``     the same packets in msgpack, for clients with npm's msgpack parser
- ``roles``       what a session knows of its transport, its listener and its timers
- ``session``     ``EngineSession``: open, heartbeat, upgrade, close as one table of transitions
- ``handshake``   the facts of the request that began a session
- ``connection``  the Socket.IO server's side of one session: its sockets, and the interfaces above them,
  ``Application`` and ``Handler``
- ``cork``        holds small writes back, so that each socket is written to once a batch
"""
