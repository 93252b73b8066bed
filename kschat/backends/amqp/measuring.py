"""Measures how far RabbitMQ is behind: how long it takes to answer, and how much waits in the daemon's queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pika.exceptions import AMQPError, ChannelClosed
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed as TransportClosed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.backends.amqp.protocol import AmqpProtocol
from kschat.backends.amqp.queues import PREFETCH
from kschat.backends.lag import Lag


class Measuring:
    """Asks after the daemon's queue, on a channel of its own: RabbitMQ closes that if the queue was deleted.

    Args:
        link: the connection.
        queue: the name of the queue now; "" for none, and then RabbitMQ is asked for something else.
        clock: the reactor.

    Attributes:
        lag: of the connection.
        depth: messages in the queue that RabbitMQ has not sent yet; None if unknown.
    """

    log = Logger()

    def __init__(self, link: AmqpProtocol, queue: Callable[[], str], clock: IReactorTime) -> None:
        self._link = link
        self._queue = queue
        self._channel: Any = None
        self.lag = Lag(clock)
        self.depth: int | None = None

    def look(self) -> None:
        """Ask, unless RabbitMQ has not answered yet. To be called once a second."""
        if not self.lag.waits:
            Deferred.fromCoroutine(self._ask(self.lag.ask())).addErrback(self._failed)

    async def _ask(self, asked: float) -> None:
        try:
            if self._channel is None:
                self._channel = await self._link.channel()
            if queue := self._queue():
                # A passive declaration only looks.
                declared = await self._channel.queue_declare(queue, passive=True)
                self.depth = declared.method.message_count
            else:
                await self._channel.basic_qos(prefetch_count=PREFETCH)
        except ChannelClosed:  # which is an answer, too
            self._channel = self.depth = None
        self.lag.answered(asked)

    def _failed(self, failure: Failure) -> None:
        # Where the connection has ended, which pika or TCP says, that is told by others.
        if failure.check(AMQPError, TransportClosed) is None:
            self.log.failure("the lag of RabbitMQ could not be measured", failure)
