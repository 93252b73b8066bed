"""Announcements between the daemons on one exchange, so that incompatible daemons are reported in the log.

Each daemon has its own queue on a fanout exchange. It announces itself there when it connects, and every daemon that
hears a new one replies. Messages to users do not use this exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
import pika

from kschat.backends.amqp.compat import answered, plain_channel

#: What says that a body is a ``Card``.
CARD: Final = "application/x-kschat-card"


class Card(msgspec.Struct, frozen=True, gc=False):
    """What one daemon says of itself.

    Attributes:
        id: what tells it from others.
        format: what it publishes.
        keeps: whether it has a store.
    """

    id: str
    format: Literal["kschat", "tutorial"]
    keeps: bool


_decode: Final = msgspec.json.Decoder(Card).decode


class Neighbours:
    """The other daemons, as one connection knows them.

    Args:
        channel: a ``TwistedChannel`` for this alone.
        exchange: the name of the fanout exchange.
        card: this daemon's own.
        met: called with each card of another daemon, perhaps not for the first time.
    """

    def __init__(self, channel: Any, exchange: str, card: Card, met: Callable[[Card], None]) -> None:
        self._channel = channel
        self._exchange = exchange
        self._card = card
        self._met = met
        self._queue = ""

    async def open(self) -> None:
        """Listen, and say what this daemon is. Fails as pika does, and then the channel alone is closed."""
        channel = self._channel
        await channel.exchange_declare(self._exchange, "fanout", auto_delete=True)
        declared = await channel.queue_declare("", exclusive=True, auto_delete=True)
        self._queue = declared.method.queue
        await channel.queue_bind(self._queue, self._exchange)
        await answered(channel, "basic_consume", queue=self._queue, on_message_callback=self._heard, auto_ack=True)
        self._say(self._exchange, "", self._queue)

    def _say(self, exchange: str, key: str, reply_to: str | None) -> None:
        properties = pika.BasicProperties(content_type=CARD, reply_to=reply_to)
        plain_channel(self._channel).basic_publish(exchange, key, msgspec.json.encode(self._card), properties)

    def _heard(self, _: object, __: object, properties: pika.BasicProperties, body: bytes) -> None:
        try:
            card = _decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return  # of a later version, perhaps; or it is somebody's who means nothing by it
        if card.id == self._card.id:
            return
        self._met(card)
        if properties.reply_to and self._channel.is_open:
            # Straight to it: of many that start at once each would else tell all the others again.
            self._say("", properties.reply_to, None)
