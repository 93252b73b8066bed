"""What a ``Config`` means for each backend: the settings that it is made with."""

from __future__ import annotations

from typing import cast

from kschat.backends import amqp, redis, sqlite
from kschat.settings import Config


def amqp_settings(config: Config) -> amqp.Settings:
    """Of RabbitMQ, where ``config.amqp`` names one."""
    return amqp.Settings(
        url=config.amqp,
        exchange=config.amqp_exchange,
        exchange_type=cast(amqp.ExchangeType, config.amqp_exchange_type),
        durable=config.amqp_durable,
        prefix=config.amqp_prefix,
        queue="connection" if config.amqp_queue == "connection" else "daemon",
        format="tutorial" if config.amqp_format == "tutorial" else "kschat",
        keeps=config.store != "none",
        ca=config.amqp_ca,
        cert=config.amqp_cert,
        key=config.amqp_key,
    )


def redis_settings(config: Config, url: str) -> redis.Settings:
    """Of the Redis at ``url``, which one of ``redis``, ``redis_pub`` and ``redis_sub`` is."""
    return redis.Settings(
        url=url,
        prefix=config.redis_prefix,
        replicas=config.redis_replicas,
        ca=config.redis_ca,
        cert=config.redis_cert,
        key=config.redis_key,
        retention_seconds=config.retention_days * 86400,
        retention_messages=config.retention_messages,
    )


def sqlite_settings(config: Config) -> sqlite.Settings:
    """Of the SQLite store, where ``config.store`` names one."""
    return sqlite.Settings(
        path=config.store.removeprefix("sqlite:"),
        sync="normal" if config.store_sync == "normal" else "full",
        retention_seconds=config.retention_days * 86400,
        retention_messages=config.retention_messages,
    )
