"""The operator's settings for Redis."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How one Redis is used.

    Attributes:
        url: see ``address.parse``.
        prefix: what keys and channels begin with.
        ca: file with the certificates that Redis's is trusted by; empty for the system's.
        cert, key: files with this daemon's own certificate and its key; empty for none.
        patience: seconds that Redis may take to answer before the connection is given up.
        first_retry, last_retry: seconds until it is tried to connect again; each time longer, up to the second.
        replicas: how many replicas must have what was written before it counts as done; 0 for none.
        retention_seconds: the age at which messages go; 0 for none.
        retention_messages: messages that are kept in an inbox and in a conversation; 0 for all.
        send_rate: messages of one sender, on average a second, on all daemons together; 0 for no limit.
        send_burst: seconds' worth of them that may be sent at once.
    """

    url: str
    prefix: str = "ks"
    ca: str = ""
    cert: str = ""
    key: str = ""
    patience: float = 3.0
    first_retry: float = 0.1
    last_retry: float = 3.0
    replicas: int = 0
    retention_seconds: float = 0.0
    retention_messages: int = 0
    send_rate: float = 0.0
    send_burst: float = 10.0
