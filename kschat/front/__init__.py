"""Sockets and HTTP come in here.

- ``site``       the resource tree on one port: page, static files, /socket.io/, /healthz, /readyz, /metrics
- ``channel``    one HTTP connection and its requests, bounded; the access log
- ``engine``     the requests that begin a session, the sessions there are
- ``websocket``  Autobahn's protocol as a session's transport
- ``deflate``    compression of WebSocket messages, bounded
- ``metrics``    what is counted, as Prometheus reads it
- ``page``       templates/ -> HTML
- ``static``     the page's files, and npm's socket.io-client where there is one
- ``timetable``  one alarm clock for all sessions
- ``standalone`` a ``Server`` of one's own on a port, without the chat
"""
