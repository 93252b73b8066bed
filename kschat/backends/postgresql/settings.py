"""The operator's settings for PostgreSQL."""

from __future__ import annotations

from typing import Final

import msgspec

#: Seconds that PostgreSQL may take to answer.
PATIENCE: Final = 4.0


class SendRate(msgspec.Struct, frozen=True):
    """The rate of a sender, in microseconds (see ``kschat/rates.py``).

    Attributes:
        cost: what a message takes of a bucket; 0 for no limit.
        span: what a bucket holds.
    """

    cost: int = 0
    span: int = 0

    @classmethod
    def of(cls, settings: Settings) -> SendRate:
        """That of a database."""
        if not settings.send_rate:
            return cls()
        cost = max(round(1_000_000 / settings.send_rate), 1)
        return cls(cost, max(round(1_000_000 * settings.send_burst), cost))


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a database is used.

    Attributes:
        url: a URL of libpq.
        alone: whether no other daemon may use it: there is no router between them.
        patience: seconds that PostgreSQL may take to answer before the connection is given up.
        first_retry, last_retry: seconds until it is tried to connect again; each time longer, up to the second.
        retention_seconds: the age at which messages go; 0 for none.
        retention_messages: messages that are kept in an inbox and in a conversation; 0 for all.
        send_rate: messages a second that a user may send, on all daemons together; 0 for no limit.
        send_burst: seconds of that rate that may come at once.
        hooks: whether there is an outbox.
    """

    url: str
    alone: bool = False
    patience: float = PATIENCE
    first_retry: float = 0.1
    last_retry: float = 3.0
    retention_seconds: float = 0.0
    retention_messages: int = 0
    send_rate: float = 0.0
    send_burst: float = 10.0
    hooks: bool = False

    def __repr__(self) -> str:
        # The struct's own would show the password in a log line or a traceback.
        return "Settings()"
