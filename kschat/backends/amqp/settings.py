"""The operator's settings for RabbitMQ."""

from __future__ import annotations

from typing import Literal

import msgspec

ExchangeType = Literal["direct", "topic", "fanout", "headers"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How RabbitMQ is used.

    Attributes:
        url: ``amqp://user:password@host:port,host:port/vhost?heartbeat=60``, or ``amqps://…``. Of several hosts, which
            are one cluster, one is used as long as it can be.
        exchange: the tutorial's exchange. Only the tutorial's JSON is published there; batches of the ``kschat``
            format have one of their own (``own_exchange``).
        exchange_type: the type of both.
        durable: whether it outlives a restart of the broker.
        prefix: what routing keys begin with.
        queue: one for the ``daemon``, or one for each socket (``connection``).
        format: what is published: ``kschat`` or ``tutorial``.
        keeps: whether this daemon has a store, so that an offset that comes with a message means something.
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
    keeps: bool = True
    ca: str = ""
    cert: str = ""
    key: str = ""
    patience: float = 5.0
    first_retry: float = 0.1
    last_retry: float = 3.0

    @property
    def own_exchange(self) -> str:
        """The exchange that messages go through: the tutorial's only where they have the tutorial's form.

        A server that expects JSON may end by anything else (the tutorial's ends by an exception of ``JSON.parse``). The
        name begins with our own word: no name may be made that begins with ``amq.``, as RabbitMQ's own do.
        """
        return self.exchange if self.format == "tutorial" else f"kschat.{self.exchange}"

    @property
    def cards_exchange(self) -> str:
        """The exchange by which daemons tell each other what they are."""
        return f"kschat.{self.exchange}.daemons"
