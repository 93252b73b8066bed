"""HTTP and sockets: requests come in here and become sessions.

Assembly and life:

- ``assembly``        ``Front``: the parts put together, for the daemon, ``standalone`` and tests alike
- ``service``         starts a front, and shuts it down in order
- ``drain``           closes sessions evenly over a time, before the daemon ends
- ``standalone``      a ``Server`` on a port, without the chat
- ``endpoints``       the PROXY protocol with a line in the log, TLS
- ``tls_endpoint``    TLS with a chain of certificates, whose files can be read again
- ``certificates``    what a certificate says of itself
- ``port``            listens at one endpoint
- ``bindable``        whether an endpoint is free
- ``descriptors``     how many connections the limit of file descriptors allows
- ``monotonic``       makes a reactor use the monotonic clock
- ``backlog``         how many connections may wait to be accepted
- ``readiness``       logs a line while a part that the daemon needs is down

- ``compat_twisted``  all uses of private names of Twisted; ``compat_autobahn``: of Autobahn

Requests:

- ``channel``         one HTTP connection and its requests, bounded; the access log
- ``clients``         the client's address, behind proxies too
- ``pool``            bounded numbers of connections and sessions, in all and by address
- ``turns``           reads what one connection sent in several turns of the reactor
- ``target``          the target of a request line, in each of its forms
- ``site``            the resource tree: page, static files, /healthz, /livez, /readyz, /metrics
- ``page``            templates/ -> HTML
- ``admin_page``      the admin page, for the port of the HTTP API
- ``browser_policy``  headers that restrict the pages in a browser
- ``static``          the page's files, and npm's socket.io-client where it is installed
- ``metrics``         the counters in Prometheus' format

Sessions:

- ``resource``        /socket.io/: passes each request to its session
- ``engine_request``  the parsed query of a request
- ``handshake_queue`` where handshakes beyond the rate wait
- ``handshake``       which requests are served: pure, from facts to a refusal
- ``origins``         which pages may connect
- ``engine``          gathers those facts, and begins polling sessions
- ``refusals``        counts and logs refused requests
- ``responses``       answers to requests: CORS, gzip, JSONP
- ``registry``        the open sessions, by their ids
- ``context``         what all transports of a daemon share
- ``polling``         HTTP long-polling as a session's transport
- ``websocket``       Autobahn's protocol as a session's transport
- ``factory``         makes the WebSocket protocols
- ``frames``          encodes outgoing WebSocket frames
- ``deflate``         compression of WebSocket messages, bounded
- ``handover``        hands an HTTP connection to another protocol
- ``autobahn_log``    makes Autobahn's log quieter
- ``timers``          one timer wheel for all sessions
- ``peer_proof``      the proof that a request comes from a daemon
- ``session_ids``     session ids that name the daemon of a session
- ``peers``           forwards requests to the daemon that has their session
"""
