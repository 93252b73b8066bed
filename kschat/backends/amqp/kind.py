"""How RabbitMQ describes itself to the settings and the daemon."""

from __future__ import annotations

from typing import Protocol, cast

from kschat.backends.amqp.settings import ExchangeType, Settings


class Configured(Protocol):
    """What is read of the daemon's configuration: see ``Settings`` for each."""

    @property
    def amqp(self) -> str:
        """Its URL."""

    @property
    def amqp_exchange(self) -> str:
        """See above."""

    @property
    def amqp_exchange_type(self) -> str:
        """See above."""

    @property
    def amqp_durable(self) -> bool:
        """See above."""

    @property
    def amqp_prefix(self) -> str:
        """See above."""

    @property
    def amqp_queue(self) -> str:
        """See above."""

    @property
    def amqp_format(self) -> str:
        """See above."""

    @property
    def store(self) -> str:
        """Whether there is one: not ``none``."""

    @property
    def amqp_ca(self) -> str:
        """See above."""

    @property
    def amqp_cert(self) -> str:
        """See above."""

    @property
    def amqp_key(self) -> str:
        """See above."""


def settings_of(config: Configured) -> Settings:
    """How RabbitMQ is used, where the configuration names one."""
    return Settings(
        url=config.amqp,
        exchange=config.amqp_exchange,
        exchange_type=cast(ExchangeType, config.amqp_exchange_type),
        durable=config.amqp_durable,
        prefix=config.amqp_prefix,
        queue="connection" if config.amqp_queue == "connection" else "daemon",
        format="tutorial" if config.amqp_format == "tutorial" else "kschat",
        keeps=config.store != "none",
        ca=config.amqp_ca,
        cert=config.amqp_cert,
        key=config.amqp_key,
    )
