"""Checks whether a daemon that starts now could use RabbitMQ: connects and inspects, and creates nothing."""

from __future__ import annotations

from typing import Any, cast

from pika.exceptions import ChannelClosedByBroker
from twisted.internet.protocol import Factory

from kschat.backends.amqp import address
from kschat.backends.amqp.protocol import AmqpProtocol, why
from kschat.backends.amqp.settings import Settings
from kschat.chat.interfaces import RouterUnavailable

#: AMQP's number for what is not there.
NOT_FOUND = 404


async def probe(settings: Settings, reactor: Any) -> str:
    """Connect, log in, and look for the exchange.

    Args:
        settings: which RabbitMQ, and which exchange.
        reactor: the real one.

    Returns:
        Where it is and what is there, for a line that says that all is well.

    Raises:
        RouterUnavailable: a daemon could not use it; the text is one sentence, with host and port.
        address.AddressError: the settings can't be used.
    """
    parameters = address.parameters(settings, "kschat check-config")
    endpoint, distrust = address.endpoint(reactor, settings, parameters)
    place = f"{parameters.host}:{parameters.port}"
    link: AmqpProtocol | None = None
    try:
        factory = Factory.forProtocol(lambda: AmqpProtocol(parameters, reactor, distrust))
        factory.noisy = False
        link = cast(AmqpProtocol, await endpoint.connect(factory))
        timer = reactor.callLater(2 * settings.patience, link.abort, "it did not answer")
        try:
            await link.ready
            found = await _look(link, settings)
        finally:
            if timer.active():
                timer.cancel()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        reason = why(error)
        if link is not None and not link.is_open:
            if not link.ended and link.transport is not None:
                link.transport.abortConnection()
            await link.gone
            reason = link.why
        raise RouterUnavailable(f"{place}: {reason}") from None
    finally:
        if link is not None and not link.ended:
            link.abort("it was looked at")
            await link.gone
    return f"{place}, {found}"


async def _look(link: AmqpProtocol, settings: Settings) -> str:
    channel = await link.channel()
    try:
        await channel.exchange_declare(settings.own_exchange, settings.exchange_type, passive=True)
    except ChannelClosedByBroker as error:
        if error.reply_code == NOT_FOUND:
            return f"the exchange {settings.own_exchange} is made at the first start"
        raise
    # It is there: to declare it makes nothing, and says whether it is as the settings say.
    await channel.exchange_declare(settings.own_exchange, settings.exchange_type, durable=settings.durable)
    return f"the exchange {settings.own_exchange} is there"
