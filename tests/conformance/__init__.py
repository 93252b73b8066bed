"""The conformance application: what the public suites of Engine.IO, Socket.IO and WebSocket ask of a server.

``python -m tests.conformance --port N`` serves, on 127.0.0.1 by the daemon's own front, both revisions in one server:

- ``/engine.io/``  Engine.IO alone, an echo: text as text, binary as binary (``engine``)
- ``/socket.io/``  Socket.IO with the namespaces ``/`` and ``/custom`` (``sockets``)
- ``/echo``        WebSocket alone, an echo, by ``front.websocket`` with its short ways (``echo``)

``python -m tests.conformance.autobahn`` (`make conformance`) runs the cases of the Autobahn test suite there.
"""
