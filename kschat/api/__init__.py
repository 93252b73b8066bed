"""What programs ask of a daemon, without a socket of the chat.

- ``control``   the control socket: HTTP over a UNIX socket that only the daemon's own user can open
- ``http``      the HTTP API: keys and scopes, bodies, answers, the audit log
- ``methods``   its operations, in one table
- ``shared``    one answer for all who ask at about the same time
- ``types``     what they take and return
- ``problems``  their errors (RFC 9457)
- ``keys``      the file of keys
- ``openapi``   the document, made from ``types``

The requests are those of ``chat/operations.py``; this package knows no store and no client.
"""
