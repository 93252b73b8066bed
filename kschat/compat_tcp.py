"""Private names of Twisted that more than one floor uses, each with the symptom that made it necessary.

``tests/test_compat_tcp.py`` lists them, and fails with one sentence if a name is gone.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection

__all__ = ["is_direct", "write_now"]

# tcp.Connection. Its ``write`` puts data into a list that is sent one round through the reactor later, by two calls of
# epoll_ctl beside the one that sends: at many small messages that costs more than the system call.


def is_direct(transport: object) -> bool:
    """Whether ``write_now`` can write to it: a TCP or Unix connection without TLS."""
    return isinstance(transport, Connection)


def write_now(transport: Any, data: bytes) -> bytes:
    """Write to a direct connection at once if its buffer is empty.

    Returns:
        The bytes that remain for ``transport.write``: the rest, or all if the write failed (Twisted meets the error
        again then).
    """
    if transport.connected and not transport.dataBuffer and not transport._tempDataBuffer:
        sent = transport.writeSomeData(data)
        if type(sent) is int:
            return data[sent:]
    return data
