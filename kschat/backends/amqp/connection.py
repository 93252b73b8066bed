"""One RabbitMQ connection in use: its bindings, its publishes and its liveness check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final, Protocol

from pika.exceptions import ChannelClosed
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from kschat.backends.amqp.compat import answered, plain_channel
from kschat.backends.amqp.keys import Keys
from kschat.backends.amqp.measuring import Measuring
from kschat.backends.amqp.neighbours import Card, Neighbours
from kschat.backends.amqp.protocol import AmqpProtocol, why
from kschat.backends.amqp.publisher import Publisher
from kschat.backends.amqp.queues import PREFETCH, Consumer, DaemonQueue, SocketQueues
from kschat.backends.amqp.settings import Settings
from kschat.chat.interfaces import RouterUnavailable

#: Users (or sockets) that are bound together when a connection begins: between two such parts others have their turn.
AT_ONCE: Final = 500

#: Seconds after which RabbitMQ is asked something, where nothing else was: whether it is still there.
ASK_EVERY: Final = 5.0

SHORT: Final = "RabbitMQ accepts no messages at the moment: it is short of memory or disk"


class Owner(Consumer, Protocol):
    """Who uses it (the router)."""

    def blocked(self) -> None:
        """RabbitMQ takes no messages, and reads no wishes."""

    def unblocked(self) -> None:
        """It does again, and has done what was wished meanwhile."""

    def met(self, card: Card) -> None:
        """There is another daemon."""

    def unmet(self, reason: str) -> None:
        """It can't be known which other daemons there are."""

    def met_exchange(self) -> None:
        """The tutorial's exchange is there, which this daemon does not use."""


class AmqpConnection:
    """A connection, from TCP's beginning on.

    Args:
        link: the connection.
        settings, keys, app_id: the router's.
        owner: is told.
        clock: the reactor.
    """

    def __init__(
        self, link: AmqpProtocol, settings: Settings, keys: Keys, app_id: str, owner: Owner, clock: IReactorTime
    ) -> None:
        self.link = link
        self._settings = settings
        self._keys = keys
        self._app_id = app_id
        self._owner = owner
        self._clock = clock
        self._channel: Any = None
        self._queues: DaemonQueue | SocketQueues | None = None
        self._publisher: Publisher | None = None
        self._measuring: Measuring | None = None
        self._binding: set[Deferred[None]] = set()
        # Bindings that RabbitMQ has not answered, whether anybody still waits for them or not.
        self._unbound = 0
        self._blocked = False
        self._short = False
        self._heard = 0.0
        self._asked: float | None = None

    @property
    def up(self) -> bool:
        """Whether messages are carried."""
        return self._publisher is not None and not self._blocked

    @property
    def lag(self) -> float | None:
        """See ``IMeasured``: also for how long the oldest publish has not been confirmed."""
        if self._measuring is None or self._publisher is None:
            return None
        oldest, measured = self._publisher.oldest, self._measuring.lag.seconds
        return measured if oldest is None else max(measured or 0.0, self._clock.seconds() - oldest)

    @property
    def depth(self) -> int | None:
        """Messages in the daemon's queue that RabbitMQ has not sent yet; None if unknown."""
        return None if self._measuring is None else self._measuring.depth

    @property
    def returned(self) -> int:
        """How many publishes came back, since nobody was bound."""
        return 0 if self._publisher is None else self._publisher.returned

    async def open(self, wanted: Callable[[], set[tuple[str, str]]], progress: Callable[[], object]) -> None:
        """Make the exchange and what is bound to it, and get ready to publish.

        Args:
            wanted: the users, each with a socket (or "" where all of a user's share one queue), as they are when asked.
            progress: is called whenever RabbitMQ has done a part.
        """
        settings, link = self._settings, self.link
        await link.ready
        self._channel = channel = await link.channel()
        await channel.exchange_declare(settings.own_exchange, settings.exchange_type, durable=settings.durable)
        await channel.basic_qos(prefetch_count=PREFETCH)
        kind = DaemonQueue if settings.queue == "daemon" else SocketQueues
        queues = kind(channel, settings.own_exchange, self._keys, self._owner, self._clock)
        self._queues = queues
        link.after_read = queues.hand_on
        await queues.open()
        publishing = await link.channel()
        publisher = Publisher(plain_channel(publishing), settings.own_exchange, self._app_id, self._clock)
        await answered(publishing, "confirm_delivery", ack_nack_callback=publisher.confirmed)
        for one in (channel, publishing):
            one.on_closed.addBoth(self._channel_closed)
        await self._look_around()
        # Some come and go while the others are bound.
        known: set[tuple[str, str]] = set()
        while (now := wanted()) != known:
            for user, socket in known - now:
                queues.unbind(user, socket)
            for part in _parts(now - known):
                await gatherResults([queues.bind(user, socket) for user, socket in part], consumeErrors=True)
                progress()
            known = now
        channel.connection.add_on_connection_blocked_callback(lambda *_: self._block())
        channel.connection.add_on_connection_unblocked_callback(lambda *_: self._unblock())
        self._publisher = publisher
        self._measuring = Measuring(link, lambda: queues.name, self._clock)
        self._heard = self._clock.seconds()

    async def _look_around(self) -> None:
        """See who else is there. Each on a channel of its own, since RabbitMQ closes that at a refusal."""
        settings = self._settings
        try:
            card = Card(self._app_id, settings.format, settings.keeps)
            await Neighbours(await self.link.channel(), settings.cards_exchange, card, self._owner.met).open()
        except ChannelClosed as closed:
            self._owner.unmet(why(closed))
        if settings.format == "tutorial":
            return
        try:
            looking = await self.link.channel()
            await looking.exchange_declare(settings.exchange, settings.exchange_type, passive=True)
        except ChannelClosed:
            return  # there is no such exchange
        plain_channel(looking).close()  # (pika's wrapper answers this by the exception that it was closed)
        self._owner.met_exchange()

    def bind(self, user: str, socket: str) -> Deferred[None]:
        """See ``IRouter``. A connection that ends or is blocked answers none of these; then it is said here."""
        assert self._queues is not None
        answer: Deferred[None] = Deferred()
        self._binding.add(answer)
        self._unbound += 1
        self._queues.bind(user, socket).addCallbacks(
            self._is_bound, self._not_bound, callbackArgs=(answer,), errbackArgs=(answer,)
        )
        if self._blocked and answer in self._binding:
            self._binding.discard(answer)
            return fail(RouterUnavailable(SHORT))
        return answer

    def unbind(self, user: str, socket: str) -> None:
        """See ``IRouter``; in the daemon's queue a user's bindings have no socket of their own."""
        assert self._queues is not None
        self._queues.unbind(user, socket)

    def publish(
        self, key: str, headers: Mapping[str, Any], content_type: str, body: bytes, mandatory: bool = True
    ) -> Deferred[bool]:
        """See ``Publisher.publish``."""
        assert self._publisher is not None
        return self._publisher.publish(key, headers, content_type, body, mandatory)

    def look(self) -> None:
        """End the connection if RabbitMQ does not answer. To be called now and then."""
        publisher, queues = self._publisher, self._queues
        if publisher is None or queues is None or self._short:
            return
        if self._measuring is not None:
            self._measuring.look()
        now = self._clock.seconds()
        waits = [since for since in (publisher.waits, queues.waits, self._asked) if since is not None]
        if not waits:
            if now - self._heard >= ASK_EVERY:
                self._ask(now)
        elif now - max(min(waits), self._heard) > self._settings.patience:
            self.link.abort(f"it answered nothing for {self._settings.patience:g} seconds")

    def end(self, reason: str) -> None:
        """It has ended: whoever waits is told."""
        if self._queues is not None:
            self._queues.close()
        if self._publisher is not None:
            self._publisher.give_up(reason)
        self._give_up_binding(reason)

    def _ask(self, now: float) -> None:
        # What it is set to already: the cheapest question that is answered.
        if self._channel.is_open:
            self._asked = now
            self._channel.basic_qos(prefetch_count=PREFETCH).addCallbacks(self._answered, lambda _: None)

    def _answered(self, _: object) -> None:
        self._asked = None
        self._heard = self._clock.seconds()

    def _channel_closed(self, reason: Any) -> None:
        if self.link.is_open:
            error = reason.value if isinstance(reason, Failure) else reason
            self.link.abort(why(error) if isinstance(error, BaseException) else "a channel was closed")

    # While it is short of memory or disk it reads nothing that comes by this connection.

    def _block(self) -> None:
        self._short = True
        if not self._blocked and not self.link.ended:
            self._blocked = True
            if self._publisher is not None:
                self._publisher.give_up(SHORT)
            self._give_up_binding(SHORT)
            self._owner.blocked()

    def _unblock(self) -> None:
        self._short = False
        self._heard = self._clock.seconds()
        self._maybe_usable()

    def _maybe_usable(self) -> None:
        if self._blocked and not self._short and not self._unbound and not self.link.ended:
            self._blocked = False
            self._owner.unblocked()

    def _give_up_binding(self, reason: str) -> None:
        binding, self._binding = self._binding, set()
        for answer in binding:
            answer.errback(RouterUnavailable(reason))

    def _is_bound(self, _: object, answer: Deferred[None]) -> None:
        self._unbound -= 1
        if answer in self._binding:
            self._binding.discard(answer)
            answer.callback(None)
        self._maybe_usable()

    def _not_bound(self, failure: Failure, answer: Deferred[None]) -> None:
        if answer in self._binding:
            self._binding.discard(answer)
            answer.errback(RouterUnavailable(f"RabbitMQ did not bind it: {why(failure.value)}"))


def _parts(wishes: Iterable[tuple[str, str]]) -> Iterable[list[tuple[str, str]]]:
    rest = iter(wishes)
    while part := list(islice(rest, AT_ONCE)):
        yield part
