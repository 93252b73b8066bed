"""Bytes to packets and back: no I/O, no clock, no Twisted; the ground floor.

- ``errors``      why a connection ends: ``Reason``, and ``ProtocolError`` for the peer's faults
- ``limits``      every bound on what a peer may send, in one frozen ``Limits``
- ``engineio``    Engine.IO packets, revision 3 and revision 4
- ``payload``     bodies of long-polling: several packets in one
- ``outbox``      what waits for such a body, and what of it the peer has read
- ``jsonp``       the same as scripts and forms
- ``jsontext``    raw JSON: split, checked for depth, mended where browsers send halves of pairs
- ``jsonnumbers`` numbers in raw JSON that no double holds: what JavaScript would write
- ``socketio``    Socket.IO packets and their decoder, binary attachments
- ``msgpack``     the same packets in msgpack, of clients with another parser
- ``roles``       what a session knows of its transport, its listener and its timers
- ``session``     ``EngineSession``: open, heartbeat, upgrade, close as one table of transitions
- ``handshake``   what the request that began a session said
- ``connection``  the Socket.IO server's side of one session: sockets in namespaces, and who is above them: the
  ``Application``, the ``Handler`` of each namespace
- ``cork``        holds small writes back, so that each socket is written to once a batch
"""
