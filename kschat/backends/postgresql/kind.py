"""How the PostgreSQL store describes itself to the settings and the daemon.

psycopg, which all other modules of this package import, is optional. So it is imported here when the store is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Protocol

from kschat.backends.kinds import StoreKind
from kschat.backends.postgresql.settings import Settings
from kschat.chat.clocks import WallClock
from kschat.chat.interfaces import IStore
from kschat.counters import Counters


class Configured(Protocol):
    """What it reads of the daemon's configuration."""

    @property
    def amqp(self) -> str:
        """RabbitMQ, which carries messages between daemons; "" for none."""

    @property
    def retention_days(self) -> float:
        """See ``Settings.retention_seconds``."""

    @property
    def retention_messages(self) -> int:
        """See ``Settings.retention_messages``."""

    @property
    def rate_cluster_sends(self) -> float:
        """See ``Settings.send_rate``."""

    @property
    def rate_burst(self) -> float:
        """See ``Settings.send_burst``."""

    @property
    def hooks(self) -> bool:
        """See ``Settings.hooks``."""


def settings_of(config: Configured, argument: str) -> Settings:
    """How the database is used."""
    return Settings(
        url=f"postgresql:{argument}",
        alone=not config.amqp,
        retention_seconds=config.retention_days * 86400,
        retention_messages=config.retention_messages,
        send_rate=config.rate_cluster_sends,
        send_burst=config.rate_burst,
        hooks=config.hooks,
    )


def _make(config: Configured, argument: str, *, reactor: Any, wall: WallClock, counters: Counters) -> IStore:
    from kschat.backends.postgresql.store import PostgresqlStore

    store: IStore = PostgresqlStore(settings_of(config, argument), reactor, wall)
    return store


def _check(argument: str) -> None:
    """Raises ValueError: it is no URL of PostgreSQL, or psycopg is missing."""
    if find_spec("psycopg") is None:
        raise ValueError("needs psycopg, which is not installed: pip install 'kschat[postgresql]'")
    from kschat.backends.postgresql.address import check_url

    try:
        check_url(f"postgresql:{argument}")
    except ValueError as error:
        raise ValueError(f"is not like postgresql://user:password@host:5432/database: {error}") from None


async def _probe(config: Configured, argument: str, reactor: Any) -> str:
    from kschat.backends.postgresql.probe import probe

    return await probe(settings_of(config, argument), reactor)


def tell_restored(argument: str) -> bool:
    """See ``restored``. Raises ValueError, whose text ends a sentence, and StoreUnavailable.

    Args:
        argument: what follows the store's name.
    """
    _check(argument)
    from kschat.backends.postgresql.restored import restored

    return restored(Settings(url=f"postgresql:{argument}"))


def _archive(given: Mapping[str, str], argument: str, reactor: Any) -> Any:
    from kschat.backends.postgresql.archive import PostgresqlArchive

    return PostgresqlArchive(Settings(url=f"postgresql:{argument}"), reactor)


STORE = StoreKind(
    name="postgresql",
    argument="//USER:PASSWORD@HOST/DATABASE",
    example="postgresql://kschat@localhost/kschat",
    shared=True,
    keeps=True,
    settings=("retention_days", "retention_messages", "rate_cluster_sends"),
    make=_make,
    check=_check,
    probe=_probe,
    reads=_archive,
    fills=_archive,
)
