"""kschat: a Socket.IO chat server daemon on Twisted and Autobahn.

Imports point down only (``tests/test_imports.py`` enforces this):

- ``tap``      wires the parts together; the only place that knows them all
- ``daemon``   the daemon's life: the order in which its parts start and stop
- ``cli``      the command ``kschat``, and the options of ``twistd kschat``
- ``settings`` one frozen ``Config`` from defaults < TOML file < environment < command line
- ``front``    HTTP and sockets
- ``api``      what programs ask of a daemon: the HTTP API, the control socket
- ``hooks``    what a daemon asks and tells other people's servers
- ``tracing``  spans of OpenTelemetry, which is optional
- ``backends`` one module for each thing outside the process
- ``chat``     the chat itself; knows no socket, no broker, no SQL
- ``server``   a Socket.IO server for any application: namespaces, rooms, acks; the chat is mounted on one
- ``wire``     bytes <-> packets, no I/O: the ground floor

Beside the floors:

- ``processes``, ``launch``, ``worker``  several daemons on one port: ``kschat run --processes N``
- ``process``     what signals do, twistd's options, notices at the start
- ``reloading``   what SIGHUP reads again
- ``logs``        the daemon's log
- ``notify``      tells systemd how the daemon is
- ``free_memory``, ``garbage``  when free memory is returned, and when Python looks for garbage
- ``assets``      finds the templates, static files and the admin page
- ``counters``    all counters
- ``budget``      the bytes that the daemon holds for its clients
- ``rates``       token buckets
- ``outage_log``, ``repeated_log``, ``log_text``  lines of the log: of outages, repeated ones, and the text of strangers
- ``unix_paths``  paths of UNIX sockets
- ``domains``     domain names
- ``http_client``, ``http_answers``  requests to HTTP servers of others, bounded in time and bytes; how answers are read
- ``tls``         endpoints reached by TLS: trusted authorities, and the reason why a certificate is rejected
- ``compat_tcp``, ``compat_openssl``  uses of private names of Twisted that several floors need, and of pyOpenSSL
"""

__version__ = "0.1.0"
