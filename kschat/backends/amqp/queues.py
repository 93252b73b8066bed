"""The queue of one connection: bindings and incoming messages. There are two kinds of queue."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final, Protocol

import pika
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from kschat.backends.amqp.compat import answered, plain_channel
from kschat.backends.amqp.keys import Keys

#: Messages that the broker sends ahead of their being acknowledged: batches, as a rule.
PREFETCH: Final = 1000

#: Messages that are acknowledged together, and seconds after which fewer are.
ACK_AT: Final = 200
ACK_WAIT: Final = 0.1

#: Bindings that are wished in one turn of the reactor: it has others to serve.
MAX_WISHES: Final = 500

#: What arrived: its properties, its body.
Arrived = tuple[pika.BasicProperties, bytes]


class Consumer(Protocol):
    """Who is told."""

    def arrived(self, messages: list[Arrived], socket: str | None) -> None:
        """Messages, in order; from the queue of ``socket`` where each has one."""

    def cancelled(self, socket: str | None) -> None:
        """The broker took a queue away. There is another one."""

    def broken(self, why: Failure) -> None:
        """The channel can't be used any more."""


class _Queues:
    """What both kinds do with a channel.

    It stands on pika's own channel, below the wrapper for Twisted, which has a Deferred for each message that arrives.

    Args:
        channel: a ``TwistedChannel`` for this alone.
        exchange, keys: what is bound to what.
        consumer: is told.
        clock: the reactor.
    """

    def __init__(self, channel: Any, exchange: str, keys: Keys, consumer: Consumer, clock: IReactorTime) -> None:
        self._channel = channel
        self._exchange = exchange
        self._keys = keys
        self._consumer = consumer
        self._clock = clock
        # By the queue's name, which is the consumer's too: whose it is, and what to do when it is taken away.
        self._consumers: dict[str, tuple[str | None, Callable[[], Deferred[None]]]] = {}
        self._arrived: dict[str, list[Arrived]] = {}
        self._unacked = 0
        self._newest = 0
        self._timer: IDelayedCall | None = None
        self._plain = plain_channel(channel)
        self._plain.add_on_cancel_callback(self._taken_away)

    async def _consume(self, queue: str, socket: str | None, again: Callable[[], Deferred[None]]) -> None:
        """Begin to consume. What arrives together is handed on together."""
        self._consumers[queue] = (socket, again)
        await answered(self._channel, "basic_consume", queue=queue, on_message_callback=self._came, consumer_tag=queue)

    def _came(self, _: object, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        self._unacked += 1
        self._newest = method.delivery_tag
        self._arrived.setdefault(method.consumer_tag, []).append((properties, body))

    def hand_on(self) -> None:
        """What came in one piece has come."""
        if not self._arrived:
            return
        arrived, self._arrived = self._arrived, {}
        try:
            for queue, messages in arrived.items():
                if queue in self._consumers:
                    self._consumer.arrived(messages, self._consumers[queue][0])
        except Exception:  # noqa: BLE001 - whatever it is, it is told, and the connection ended
            self._consumer.broken(Failure())
            return
        if self._unacked >= ACK_AT:
            self._ack()
        elif self._timer is None:
            self._timer = self._clock.callLater(ACK_WAIT, self._ack)

    def _ack(self) -> None:
        """All that has come was handed on."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._unacked = 0
        if self._channel.is_open:
            self._plain.basic_ack(self._newest, multiple=True)

    def close(self) -> None:
        """The connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _taken_away(self, frame: Any) -> None:
        _, again = self._consumers.pop(frame.method.consumer_tag, (None, None))
        if again is not None:
            again().addErrback(self._consumer.broken)


class DaemonQueue(_Queues):
    """One queue for the daemon, with a binding for each key of a user here.

    What is wished in one turn of the reactor, or while RabbitMQ does what was wished before, goes out together: it does
    them in order, so that only the last one need be answered.
    """

    def __init__(self, channel: Any, exchange: str, keys: Keys, consumer: Consumer, clock: IReactorTime) -> None:
        super().__init__(channel, exchange, keys, consumer, clock)
        self._queue = ""
        self._users: dict[str, set[str]] = {}
        self._wishes: deque[tuple[bool, str, Mapping[str, Any]]] = deque()
        # How many were wished, and done, in all; and who waits until so many are done.
        self._wished = 0
        self._done = 0
        self._answers: deque[tuple[int, Deferred[None]]] = deque()
        self._turn_set = False
        self._sent: float | None = None

    @property
    def waits(self) -> float | None:
        """Since when RabbitMQ has something to do; None where it has nothing."""
        return self._sent

    @property
    def name(self) -> str:
        """The queue's name; "" while there is none."""
        return self._queue

    async def open(self) -> None:
        """Make the queue, and begin to consume."""
        declared = await self._channel.queue_declare("", exclusive=True, auto_delete=True)
        await self._consume(declared.method.queue, None, lambda: Deferred.fromCoroutine(self._again()))
        self._queue = declared.method.queue
        self._send()

    async def _again(self) -> None:
        self._queue = ""  # so that nothing more is bound to what is not there
        await self.open()
        self._wished = self._wished - len(self._wishes) + len(self._users)
        self._wishes = deque(
            (True, key, self._keys.binding(next(iter(users)))[1]) for key, users in self._users.items()
        )
        self._answers = deque((self._wished, answer) for _, answer in self._answers)
        self._send()
        await self._when_done()
        self._consumer.cancelled(None)

    def bind(self, user: str, socket: str) -> Deferred[None]:
        """Bind a user; fires when the broker has it, and all that was wished before."""
        key, arguments = self._keys.binding(user)
        users = self._users.setdefault(key, set())
        if not users:
            self._wish(True, key, arguments)
        users.add(user)
        return self._when_done()

    def unbind(self, user: str, socket: str) -> None:
        """Bind a user no more."""
        key, arguments = self._keys.binding(user)
        users = self._users.get(key, set())
        users.discard(user)
        if not users and self._users.pop(key, None) is not None:
            self._wish(False, key, arguments)

    def _wish(self, bind: bool, key: str, arguments: Mapping[str, Any]) -> None:
        self._wished += 1
        self._wishes.append((bind, key, arguments))
        if not self._turn_set:
            self._turn_set = True
            self._clock.callLater(0, self._turn)

    def _when_done(self) -> Deferred[None]:
        if self._done == self._wished:
            return succeed(None)
        answer: Deferred[None] = Deferred()
        self._answers.append((self._wished, answer))
        return answer

    def _turn(self) -> None:
        self._turn_set = False
        self._send()

    def _send(self) -> None:
        """Send a part of the wishes, unless one is being done."""
        if not self._wishes or self._sent is not None or not self._queue or not self._channel.is_open:
            return  # (where the connection has ended, who waits is told so by the router)
        count = min(len(self._wishes), MAX_WISHES)
        self._sent = self._clock.seconds()
        try:
            for _ in range(count - 1):
                bind, key, arguments = self._wishes.popleft()
                if bind:
                    # pika's wrapper asks for an answer of each, which is three times as slow.
                    self._plain.queue_bind(self._queue, self._exchange, key, dict(arguments))
                else:
                    self._ignore(self._channel.queue_unbind(self._queue, self._exchange, key, dict(arguments)))
            bind, key, arguments = self._wishes.popleft()
            method = self._channel.queue_bind if bind else self._channel.queue_unbind
            last = method(self._queue, self._exchange, key, dict(arguments))
        except pika.exceptions.AMQPError:
            return  # as above
        last.addCallbacks(self._part_done, self._consumer.broken, callbackArgs=(count,))

    @staticmethod
    def _ignore(answer: Deferred[Any]) -> None:
        answer.addErrback(lambda _: None)  # the last one's failure is told

    def _part_done(self, _: object, count: int) -> None:
        self._sent = None
        self._done += count
        while self._answers and self._answers[0][0] <= self._done:
            self._answers.popleft()[1].callback(None)
        self._send()


class _Own:
    """The queue of one socket; it has no name until there is one."""

    __slots__ = ("queue", "socket", "user")

    def __init__(self, user: str, socket: str) -> None:
        self.user = user
        self.socket = socket
        self.queue = ""


class SocketQueues(_Queues):
    """The tutorial's way: an exclusive queue for each socket, deleted when it ends."""

    def __init__(self, channel: Any, exchange: str, keys: Keys, consumer: Consumer, clock: IReactorTime) -> None:
        super().__init__(channel, exchange, keys, consumer, clock)
        self._queues: dict[str, _Own] = {}
        self._began: dict[_Own, float] = {}
        self._answered = 0.0
        # A queue whose name is known beforehand need not be waited for.
        self._prefix = f"kschat-{secrets.token_hex(8)}"
        self._numbers = count(1)

    @property
    def waits(self) -> float | None:
        """Since when RabbitMQ has something to do, and has done nothing; None where it has nothing."""
        return max(self._answered, next(iter(self._began.values()))) if self._began else None

    @property
    def name(self) -> str:
        """There is no queue of the daemon."""
        return ""

    async def open(self) -> None:
        """Each socket will have its own."""

    def bind(self, user: str, socket: str) -> Deferred[None]:
        """Make a queue for a socket; fires when it is bound and consumed."""
        if socket in self._queues:
            return succeed(None)
        own = self._queues[socket] = _Own(user, socket)
        self._began[own] = self._clock.seconds()
        return Deferred.fromCoroutine(self._bind(own))

    async def _bind(self, own: _Own) -> None:
        try:
            own.queue = f"{self._prefix}.{next(self._numbers)}"
            key, arguments = self._keys.binding(own.user)
            # Below pika's wrapper, which asks for an answer of each: that of the third comes when all is done.
            self._plain.queue_declare(own.queue, exclusive=True)
            self._plain.queue_bind(own.queue, self._exchange, key, dict(arguments))
            await self._consume(own.queue, own.socket, lambda: Deferred.fromCoroutine(self._again(own)))
        finally:
            self._began.pop(own, None)
            self._answered = self._clock.seconds()
        if self._queues.get(own.socket) is not own:
            self._delete(own.queue)  # it left meanwhile

    async def _again(self, own: _Own) -> None:
        if self._queues.get(own.socket) is own:  # else it was deleted by ourselves
            await self._bind(own)
            self._consumer.cancelled(own.socket)

    def unbind(self, user: str, socket: str) -> None:
        """Delete a socket's queue, and its binding with it."""
        own = self._queues.pop(socket, None)
        if own is not None and own not in self._began:
            self._delete(own.queue)

    def _delete(self, queue: str) -> None:
        if self._channel.is_open:
            self._channel.queue_delete(queue).addErrback(lambda _: None)  # it goes with the connection in any case
