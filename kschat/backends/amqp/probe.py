"""Checks whether a daemon that starts now could use RabbitMQ: connects and inspects, and creates nothing.

Of several hosts a daemon needs one. Each is looked at, and what is wrong with one is said beside what is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from pika.exceptions import ChannelClosedByBroker
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import Factory

from kschat.backends.amqp import address
from kschat.backends.amqp.protocol import AmqpProtocol, why
from kschat.backends.amqp.settings import Settings
from kschat.chat.interfaces import RouterUnavailable

#: AMQP's number for what is not there.
NOT_FOUND = 404


async def probe(settings: Settings, reactor: Any) -> str:
    """Connect, log in, and look for the exchange, on each host.

    Args:
        settings: which RabbitMQ, and which exchange.
        reactor: the real one.

    Returns:
        Where it is and what is there, for a line that says that all is well.

    Raises:
        RouterUnavailable: a daemon could not use any; the text is one sentence, with host and port.
        address.AddressError: the settings can't be used.
    """
    brokers = address.brokers(reactor, settings, "kschat check-config")
    looks = [Deferred.fromCoroutine(_probe(one, settings, reactor)) for one in brokers]
    found: Sequence[tuple[bool, Any]] = await DeferredList(looks, consumeErrors=True)
    text = "; ".join(one if was_good else one.getErrorMessage() for was_good, one in found)
    if not any(was_good for was_good, _ in found):
        raise RouterUnavailable(text)
    return text


async def _probe(broker: address.Broker, settings: Settings, reactor: Any) -> str:
    place = broker.place
    link: AmqpProtocol | None = None
    try:
        factory = Factory.forProtocol(lambda: AmqpProtocol(broker.parameters, reactor, broker.distrust))
        factory.noisy = False
        link = cast(AmqpProtocol, await broker.endpoint.connect(factory))
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
