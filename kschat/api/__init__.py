"""What programs ask of a daemon, without a socket of the chat.

- ``control``  the control socket: HTTP over a UNIX socket that only the daemon's own user can open

The requests are those of ``chat/operations.py``; this package knows no store and no client.
"""
