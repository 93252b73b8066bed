"""How Redis, as the store and the bus, describes itself to the settings and the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kschat.backends.kinds import StoreKind
from kschat.backends.redis.client.settings import PATIENCE, Settings
from kschat.backends.redis.store.archive import RedisArchive
from kschat.backends.redis.store.store import RedisStore
from kschat.chat.clocks import WallClock
from kschat.counters import Counters


class Configured(Protocol):
    """What is read of the daemon's configuration."""

    @property
    def redis(self) -> str:
        """The store's URL."""

    @property
    def redis_prefix(self) -> str:
        """See ``Settings``; so the others."""

    @property
    def redis_wait(self) -> int:
        """See above."""

    @property
    def redis_wait_timeout(self) -> float:
        """See above."""

    @property
    def redis_wait_disk(self) -> bool:
        """See above."""

    @property
    def redis_ca(self) -> str:
        """See above."""

    @property
    def redis_cert(self) -> str:
        """See above."""

    @property
    def redis_key(self) -> str:
        """See above."""

    @property
    def retention_days(self) -> float:
        """See above."""

    @property
    def retention_messages(self) -> int:
        """See above."""

    @property
    def rate_cluster_sends(self) -> float:
        """See ``Settings.send_rate``."""

    @property
    def rate_burst(self) -> float:
        """See ``Settings.send_burst``."""

    @property
    def hooks(self) -> bool:
        """See ``Settings.hooks``."""


def settings_of(config: Configured, url: str) -> Settings:
    """How the Redis at ``url`` is used, which is one of those that the configuration names."""
    return Settings(
        url=url,
        prefix=config.redis_prefix,
        wait=config.redis_wait,
        wait_timeout=config.redis_wait_timeout,
        wait_disk=config.redis_wait_disk,
        patience=patience(config.redis_wait, config.redis_wait_timeout),
        ca=config.redis_ca,
        cert=config.redis_cert,
        key=config.redis_key,
        retention_seconds=config.retention_days * 86400,
        retention_messages=config.retention_messages,
        send_rate=config.rate_cluster_sends,
        send_burst=config.rate_burst,
        hooks=config.hooks,
    )


def given_settings(given: Mapping[str, str], url: str) -> Settings:
    """How the Redis at ``url`` is used by a command; ``given``: the values of all settings, as text, by name."""
    wait, wait_timeout = int(given["redis_wait"]), float(given["redis_wait_timeout"])
    return Settings(
        url=url,
        prefix=given["redis_prefix"],
        ca=given["redis_ca"],
        cert=given["redis_cert"],
        key=given["redis_key"],
        wait=wait,
        wait_timeout=wait_timeout,
        patience=patience(wait, wait_timeout),
    )


def _archive(given: Mapping[str, str], argument: str, reactor: Any) -> RedisArchive:
    if not given["redis"]:
        raise ValueError("name the Redis: --redis redis://host:6379/0")
    buses = [url for name in ("redis_pub", "redis_sub") if (url := given[name]) and url != given["redis"]]
    store = given_settings(given, given["redis"])
    return RedisArchive(store, [given_settings(given, url) for url in dict.fromkeys(buses)], reactor)


def patience(wait: int, wait_timeout: float) -> float:
    """Seconds that Redis may take to answer: more than what waits behind one wait, and for another, may take."""
    return max(PATIENCE, 2 * wait_timeout + 0.5) if wait else PATIENCE


def _make(config: Configured, argument: str, *, reactor: Any, wall: WallClock, counters: Counters) -> RedisStore:
    return RedisStore(settings_of(config, config.redis), reactor, wall, counters)


STORE = StoreKind(
    name="redis",
    example="redis",
    shared=True,
    keeps=True,
    needs={
        "redis": "needs the URL of Redis: give redis too, such as redis://localhost:6379/0",
        "amqp": "needs RabbitMQ: without it users on other daemons would not get their messages; give amqp "
        "too, such as amqp://guest:guest@localhost:5672/ (one daemon alone is best off with sqlite:kschat.db)",
    },
    settings=(
        "retention_days",
        "retention_messages",
        "redis_wait",
        "redis_wait_timeout",
        "redis_wait_disk",
        "rate_cluster_sends",
    ),
    make=_make,
    reads=_archive,
)
