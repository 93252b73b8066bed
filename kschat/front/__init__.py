"""HTTP and sockets: requests come in here and become sessions.

Made and run:

- ``assembly``        ``Front``: the parts put together, for the daemon, ``standalone`` and tests alike
- ``service``         listens for a front, and ends it in good order
- ``standalone``      a ``Server`` of one's own on a port, without the chat
- ``endpoints``       TLS with a chain of certificates, the PROXY protocol with a line in the log
- ``port``            listens at one endpoint
- ``bindable``        whether an endpoint could be listened at
- ``backlog``         how many connections may wait to be accepted
- ``readiness``       a line in the log while something that the daemon needs is down

- ``compat_twisted``  what touches privates of Twisted; ``compat_autobahn`` the same of Autobahn

Requests:

- ``channel``         one HTTP connection and its requests, bounded; the access log
- ``target``          the target of a request line, in each of its forms
- ``site``            the resource tree: page, static files, /healthz, /readyz, /metrics
- ``page``            templates/ -> HTML
- ``static``          the page's files, and npm's socket.io-client where it is installed
- ``metrics``         counters, as Prometheus reads them

Sessions:

- ``resource``        /socket.io/: each request to the session it is for
- ``engine_request``  what a request asks for
- ``handshake``       which requests are served: pure, from facts to a refusal
- ``origins``         which pages may connect
- ``engine``          gathers those facts, and begins sessions that poll
- ``refusals``        counts and logs refused requests
- ``responses``       how requests are answered: CORS, gzip, JSONP
- ``registry``        the open sessions, by their ids
- ``context``         what all transports of a daemon share
- ``polling``         HTTP long-polling as a session's transport
- ``websocket``       Autobahn's protocol as a session's transport
- ``factory``         makes its protocols
- ``frames``          WebSocket frames as this side writes them
- ``deflate``         compression of WebSocket messages, bounded
- ``handover``        gives an HTTP connection over to another protocol
- ``autobahn_log``    makes Autobahn's log quieter
- ``timers``          one timer wheel for all sessions
- ``session_ids``     session ids that tell the daemons of a cluster where a session is
- ``peers``           hands requests on to the daemon that has their session
"""
