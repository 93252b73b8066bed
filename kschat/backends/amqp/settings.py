"""What an operator chooses."""

from __future__ import annotations

from typing import Literal

import msgspec

ExchangeType = Literal["direct", "topic", "fanout", "headers"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How RabbitMQ is used.

    Attributes:
        url: ``amqp://user:password@host:port/vhost?heartbeat=60``, or ``amqps://…``.
        exchange: its name.
        exchange_type: its type.
        durable: whether it outlives a restart of the broker.
        prefix: what routing keys begin with.
        queue: one for the ``daemon``, or one for each socket (``connection``).
        format: what is published: ``kschat`` or ``tutorial``.
        ca: file with the certificates that the broker's is trusted by; empty for the system's.
        cert, key: files with this daemon's own certificate and its key; empty for none.
        patience: seconds that RabbitMQ may take to answer or confirm before the connection is given up.
        first_retry, last_retry: seconds until it is tried to connect again; each time longer, up to the second.
    """

    url: str
    exchange: str = "direct_logs"
    exchange_type: ExchangeType = "direct"
    durable: bool = False
    prefix: str = "ks_"
    queue: Literal["daemon", "connection"] = "daemon"
    format: Literal["kschat", "tutorial"] = "kschat"
    ca: str = ""
    cert: str = ""
    key: str = ""
    patience: float = 5.0
    first_retry: float = 0.1
    last_retry: float = 3.0
