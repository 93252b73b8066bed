"""What programs ask of a daemon, without a socket of the chat.

- ``control``  the control socket: HTTP over a UNIX socket that only the daemon's own user can open
- ``paths``    paths of UNIX sockets, which may be too long

The requests are those of ``chat/operations.py``; this package knows no store and no client.
"""
