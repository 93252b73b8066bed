"""The operator's settings for PostgreSQL."""

from __future__ import annotations

from typing import Final

import msgspec

#: Seconds that PostgreSQL may take to answer.
PATIENCE: Final = 4.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a database is used.

    Attributes:
        url: a URL of libpq.
        alone: whether no other daemon may use it: there is no router between them.
        patience: seconds that PostgreSQL may take to answer before the connection is given up.
        first_retry, last_retry: seconds until it is tried to connect again; each time longer, up to the second.
        retention_seconds: the age at which messages go; 0 for none.
        retention_messages: messages that are kept in an inbox and in a conversation; 0 for all.
    """

    url: str
    alone: bool = False
    patience: float = PATIENCE
    first_retry: float = 0.1
    last_retry: float = 3.0
    retention_seconds: float = 0.0
    retention_messages: int = 0

    def __repr__(self) -> str:
        # The struct's own would show the password in a log line or a traceback.
        return "Settings()"
