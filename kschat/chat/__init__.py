"""What the server is for: knows no socket, no broker, no SQL.

- ``interfaces``   IRouter, IStore: what backends provide
- ``messages``     the typed payloads of every event, and what makes each valid; ``Message``
- ``tokens``       JWT -> ``Identity``
- ``handshake``    where a client may put its token, and whose it must be
- ``application``  ``Chat``: who may join, which event is which command
- ``commands``     a table: event name -> function
- ``delivery``     the pipeline: one batch a turn of the reactor, stored, routed, acknowledged
- ``hub``          who is connected to this daemon; encode once, write to each socket
- ``counters``     what is counted, in one place
"""
