"""What is bound at the broker, and what arrives. One a connection; of two kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import pika
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from kschat.backends.amqp.keys import Keys

#: Messages that the broker sends ahead of their being acknowledged: batches, as a rule.
PREFETCH: Final = 1000


class Consumer(Protocol):
    """Who is told."""

    def arrived(self, messages: list[Any], socket: str | None) -> None:
        """Messages, as pika has them, in order; from the queue of ``socket`` where each has one."""

    def cancelled(self, socket: str | None) -> None:
        """The broker took a queue away. There is another one."""

    def broken(self, why: Failure) -> None:
        """The channel can't be used any more."""


class _Channel:
    """What both kinds do with a channel."""

    def __init__(self, channel: Any, exchange: str, keys: Keys, consumer: Consumer, clock: IReactorTime) -> None:
        self._channel = channel
        self._exchange = exchange
        self._keys = keys
        self._consumer = consumer
        self._clock = clock

    async def _consume(self, queue: str, socket: str | None, again: Callable[[], Deferred[None]]) -> None:
        """Begin to consume. What arrives in one turn of the reactor is handed on together."""
        arriving, _ = await self._channel.basic_consume(queue)
        Deferred.fromCoroutine(self._hand_on(arriving, socket, again)).addErrback(self._consumer.broken)

    async def _hand_on(self, arriving: Any, socket: str | None, again: Callable[[], Deferred[None]]) -> None:
        while True:
            try:
                messages = [await arriving.get()]
            except pika.exceptions.ConsumerCancelled:
                await again()
                return
            except Exception:  # noqa: BLE001 - pika's or Twisted's: channel or connection have ended, which others are told
                return
            await deferLater(self._clock, 0)
            while arriving.pending:
                messages.append(await arriving.get())
            self._consumer.arrived(messages, socket)
            if self._channel.is_open:
                self._channel.basic_ack(messages[-1].method.delivery_tag, multiple=True)


class DaemonQueue(_Channel):
    """One queue for the daemon, with a binding for each key of a user here."""

    def __init__(self, channel: Any, exchange: str, keys: Keys, consumer: Consumer, clock: IReactorTime) -> None:
        super().__init__(channel, exchange, keys, consumer, clock)
        self._queue = ""
        self._users: dict[str, set[str]] = {}
        self._wishes: list[tuple[bool, str, Mapping[str, Any]]] = []
        self._answers: list[Deferred[None]] = []
        self._sent: dict[Deferred[None], float] = {}

    @property
    def oldest(self) -> float | None:
        """Since when the oldest unanswered wish waits; None where none does."""
        return next(iter(self._sent.values())) if self._sent else None

    async def open(self, sockets: Iterable[tuple[str, str]]) -> None:
        """Make the queue, bind it for all users, and begin to consume."""
        await self._channel.basic_qos(prefetch_count=PREFETCH)
        await self._open({user for user, _ in sockets})

    async def _open(self, users: Iterable[str]) -> None:
        declared = await self._channel.queue_declare("", exclusive=True, auto_delete=True)
        self._queue = declared.method.queue
        self._users.clear()
        self._wishes.clear()
        bound = [self.bind(user, "") for user in users]
        for one in bound[-1:]:
            await one
        await self._consume(self._queue, None, lambda: Deferred.fromCoroutine(self._again()))

    async def _again(self) -> None:
        users = [user for users in self._users.values() for user in users]
        await self._open(users)
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
        if not self._wishes:
            self._clock.callLater(0, self._send)
        self._wishes.append((bind, key, arguments))

    def _when_done(self) -> Deferred[None]:
        if self._wishes:
            answer: Deferred[None] = Deferred()
            self._answers.append(answer)
            return answer
        if self._sent:
            answer = Deferred()
            last = next(reversed(self._sent))
            last.addCallback(lambda _: answer.callback(None))
            return answer
        return succeed(None)

    def _send(self) -> None:
        """Send the wishes of a turn. The broker does them in order, so only the last one need be answered."""
        wishes, self._wishes = self._wishes, []
        answers, self._answers = self._answers, []
        if not wishes or not self._channel.is_open:
            return  # the connection has ended: who waits is told so by the router
        done: Deferred[None] = Deferred()
        self._sent[done] = self._clock.seconds()
        try:
            for bind, key, arguments in wishes[:-1]:
                if bind:
                    # pika's wrapper asks for an answer of each, which is three times as slow.
                    self._channel._channel.queue_bind(self._queue, self._exchange, key, dict(arguments))
                else:
                    self._ignore(self._channel.queue_unbind(self._queue, self._exchange, key, dict(arguments)))
            bind, key, arguments = wishes[-1]
            method = self._channel.queue_bind if bind else self._channel.queue_unbind
            last = method(self._queue, self._exchange, key, dict(arguments))
        except pika.exceptions.AMQPError:
            del self._sent[done]
            return  # as above
        last.addCallbacks(self._done, self._consumer.broken, callbackArgs=(done, answers))

    @staticmethod
    def _ignore(answer: Deferred[Any]) -> None:
        answer.addErrback(lambda _: None)  # the last one's failure is told

    def _done(self, _: object, done: Deferred[None], answers: list[Deferred[None]]) -> None:
        del self._sent[done]
        for answer in answers:
            answer.callback(None)
        done.callback(None)


class _Own:
    """The queue of one socket; it has no name until there is one."""

    __slots__ = ("queue", "socket", "user")

    def __init__(self, user: str, socket: str) -> None:
        self.user = user
        self.socket = socket
        self.queue = ""


class SocketQueues(_Channel):
    """The tutorial's way: an exclusive queue for each socket, deleted when it ends."""

    def __init__(self, channel: Any, exchange: str, keys: Keys, consumer: Consumer, clock: IReactorTime) -> None:
        super().__init__(channel, exchange, keys, consumer, clock)
        self._queues: dict[str, _Own] = {}
        self._began: dict[_Own, float] = {}

    @property
    def oldest(self) -> float | None:
        """Since when the oldest socket waits for its queue; None where none does."""
        return next(iter(self._began.values())) if self._began else None

    async def open(self, sockets: Iterable[tuple[str, str]]) -> None:
        """Make a queue for each socket."""
        await self._channel.basic_qos(prefetch_count=PREFETCH)
        for bound in [self.bind(user, socket) for user, socket in sockets]:
            await bound

    def bind(self, user: str, socket: str) -> Deferred[None]:
        """Make a queue for a socket; fires when it is bound and consumed."""
        if socket in self._queues:
            return succeed(None)
        own = self._queues[socket] = _Own(user, socket)
        self._began[own] = self._clock.seconds()
        return Deferred.fromCoroutine(self._bind(own))

    async def _bind(self, own: _Own) -> None:
        try:
            declared = await self._channel.queue_declare("", exclusive=True)
            own.queue = declared.method.queue
            key, arguments = self._keys.binding(own.user)
            await self._channel.queue_bind(own.queue, self._exchange, key, dict(arguments))
            await self._consume(own.queue, own.socket, lambda: Deferred.fromCoroutine(self._again(own)))
        finally:
            self._began.pop(own, None)
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
