"""What the server is for: knows no socket, no broker, no SQL.

- ``interfaces``   IRouter, IStore: what backends provide
- ``bus``          IBus: what daemons tell each other about sockets
- ``message``      ``Message``, its id, and why one is refused
- ``incoming``     the typed payload of each event, and what makes it valid
- ``outgoing``     the JSON of what the server sends; each message is encoded once
- ``keys``         what tokens are verified with, parsed once
- ``tokens``       JWT -> ``Identity``
- ``connect_request``  where a client may put its token, and whose it must be
- ``context``      ``ChatContext``: the parts of a chat, built once, given to its commands
- ``application``  ``Chat``: sockets' coming and going; hands events to their commands
- ``commands``     the table of events: an entry an event
- ``stream``       ``DeliveryStream``: an inbox on its way to a socket, in order and each message once; no I/O
- ``inflight``     ``InFlightWindow``: what was written to a socket, and whether its client has it
- ``session``      ``ChatSession``: a socket of a user, and the I/O of its stream
- ``inbox``        a user on this daemon: the cursor and the sockets
- ``composer``     messages, made of what senders give, with a socket or without
- ``replies``      whom the pipeline answers: a socket, or a Deferred
- ``delivery``     the pipeline: one batch a turn of the reactor, stored, routed, acknowledged
- ``ingest``       messages of servers that keep none, taken into the store
- ``catchup``      what news did not tell: looked up in the store, told to other daemons later
- ``hub``          who is connected to this daemon; encode once, write to each socket
- ``cluster_commands``  what daemons tell each other about sockets
- ``notifier``     cluster commands to a user's sockets, wherever they are
- ``operations``   what can be asked without a socket, and at the word of other daemons
- ``write_behind`` cursors and last seen, on their way to the store
- ``cursors``      cursors that other daemons have not written yet, asked for when a socket connects
- ``presence``     who is told when somebody comes or goes
"""
