"""Sockets and HTTP come in here.

- ``site``       the resource tree on one port: page, static files, /socket.io/, /healthz, /readyz, /metrics
- ``channel``    one HTTP connection and its requests, bounded; the access log
- ``target``     what a request line names, in each of its forms
- ``resource``   /socket.io/: each request to the session it is for
- ``asking``     what a request asks for, and how it is answered: CORS, gzip, JSONP
- ``refusals``   what is wrong with it, in Engine.IO's words
- ``engine``     the sessions there are, and which requests may begin one or belong to one
- ``origins``    which pages may connect
- ``websocket``  Autobahn's protocol as a session's transport
- ``factory``    makes its protocols
- ``quiet``      what Autobahn logs, quieter
- ``frames``     frames as this side writes them
- ``polling``    HTTP long-polling as a session's transport
- ``deflate``    compression of WebSocket messages, bounded
- ``handover``   gives an HTTP connection over to another protocol
- ``sids``       ids of sessions, which say to the daemons of a cluster where a session is
- ``peers``      hands requests on to the daemon that has their session
- ``metrics``    what is counted, as Prometheus reads it
- ``page``       templates/ -> HTML
- ``static``     the page's files, and npm's socket.io-client where there is one
- ``timetable``  one alarm clock for all sessions
- ``endpoints``  TLS with a chain, the PROXY protocol with a line in the log
- ``port``       the one port that all comes in by
- ``service``    how a daemon begins, and how it ends in order
- ``standalone`` a ``Server`` of one's own on a port, without the chat
"""
