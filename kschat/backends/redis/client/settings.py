"""The operator's settings for Redis."""

from __future__ import annotations

from typing import Final

import msgspec

#: Seconds that Redis may take to answer.
PATIENCE: Final = 3.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How one Redis is used.

    Attributes:
        url: see ``address.parse``.
        prefix: what keys and channels begin with.
        ca: file with the certificates that Redis's is trusted by; empty for the system's.
        cert, key: files with this daemon's own certificate and its key; empty for none.
        patience: seconds that Redis may take to answer before the connection is given up.
        first_retry, last_retry: seconds until it is tried to connect again; each time longer, up to the second.
        wait: how many replicas must have what was written before it counts as done; 0 for none.
        wait_timeout: seconds that they may take.
        wait_disk: whether it must be on their disks, and on Redis's own, where Redis can tell.
        retention_seconds: the age at which messages go; 0 for none.
        retention_messages: messages that are kept in an inbox and in a conversation; 0 for all.
        send_rate: messages of one sender, on average a second, on all daemons together; 0 for no limit.
        send_burst: seconds' worth of them that may be sent at once.
        hooks: whether the store has an outbox.
    """

    url: str
    prefix: str = "ks"
    ca: str = ""
    cert: str = ""
    key: str = ""
    patience: float = PATIENCE
    first_retry: float = 0.1
    last_retry: float = 3.0
    wait: int = 0
    wait_timeout: float = 1.0
    wait_disk: bool = False
    retention_seconds: float = 0.0
    retention_messages: int = 0
    send_rate: float = 0.0
    send_burst: float = 10.0
    hooks: bool = False
