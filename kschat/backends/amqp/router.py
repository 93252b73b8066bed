"""``AmqpRouter``: reconnects, restores all bindings, publishes, and reports the result of each message."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from pika.exceptions import AMQPError
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.protocol import Factory
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from kschat.backends.amqp import address, codec, publish_plan
from kschat.backends.amqp.connection import SHORT, AmqpConnection
from kschat.backends.amqp.keys import Keys
from kschat.backends.amqp.neighbours import Card
from kschat.backends.amqp.protocol import AmqpProtocol, why
from kschat.backends.amqp.queues import Arrived
from kschat.backends.amqp.settings import Settings
from kschat.backends.reconnect import ReconnectingClient, RetryPolicy
from kschat.backends.ticker import Ticker
from kschat.chat.clocks import WallClock, milliseconds
from kschat.chat.interfaces import IMeasured, IRouter, RouterEvent, RouterListener, RouterUnavailable, Stored
from kschat.chat.mids import Mids
from kschat.outage_log import OutageLog
from kschat.repeated_log import RepeatedLog

#: Bytes of a large publish. It does not come back if it goes to no queue, unless somebody has to know.
LARGE: Final = 16_384

#: Seconds between two looks whether RabbitMQ answers.
LOOK: Final = 1.0


@implementer(IRouter, IMeasured)
class AmqpRouter:
    """Carries messages by RabbitMQ.

    Args:
        settings: where it is, and how it is used.
        reactor: the real one.
        wall: gives messages of other servers their ids.

    Raises:
        address.AddressError: the settings can't be used.
    """

    log = Logger()

    def __init__(self, settings: Settings, reactor: Any, wall: WallClock = time.time) -> None:
        self._settings = settings
        self._reactor = reactor
        self._wall = wall
        #: what tells this daemon's messages from others
        self.app_id = secrets.token_hex(8)
        self._brokers = address.brokers(reactor, settings, f"kschat {self.app_id}")
        # The one that is used, or is tried next.
        self._broker = 0
        self._keys = Keys(settings)
        self._mids = Mids(secrets.token_hex(4))
        # Of what this daemon publishes in its own format its own users need no copy from the broker.
        self._direct = settings.queue == "daemon" and settings.format == "kschat"
        self._listener: RouterListener | None = None
        self._bound: dict[str, dict[str, None]] = {}
        policy = RetryPolicy(settings.first_retry, settings.last_retry)
        # A broker that accepts connections and answers nothing keeps a daemon from the others.
        patience = settings.patience if len(self._brokers) > 1 else 2 * settings.patience
        self._client: ReconnectingClient[AmqpProtocol] = ReconnectingClient(self, reactor, policy, patience)
        self._began = 0.0
        self._link: AmqpProtocol | None = None
        self._opening: AmqpConnection | None = None
        self._session: AmqpConnection | None = None
        self._why = "it is not connected yet"
        self._look = Ticker(reactor, LOOK, self._look_after, "the check of RabbitMQ failed")
        self._outages = OutageLog(self.log)
        # What is said once for as long as the daemon lives.
        self._warnings = OutageLog(self.log, LogLevel.warn)
        self._repeated = RepeatedLog(reactor)
        self._met = 0
        self._connections = 0
        self._malformed = 0
        self._returned = 0

    alone = False

    @property
    def up(self) -> bool:
        return self._session is not None and self._session.up

    @property
    def lag(self) -> float | None:
        """See ``IMeasured``."""
        return self._session.lag if self._session is not None and self._session.up else None

    @property
    def measures(self) -> Mapping[str, float]:
        """See ``IMeasured``: the depth of the daemon's queue, if it has one."""
        depth = self._session.depth if self._session is not None and self._session.up else None
        return {} if depth is None else {"router_queue_messages": depth}

    @property
    def figures(self) -> Mapping[str, int]:
        returned = self._returned + (0 if self._session is None else self._session.returned)
        return {
            "tries": self._client.tries,
            "connections": self._connections,
            "returned": returned,
            "malformed": self._malformed,
        }

    # IRouter.

    def attach(self, listener: RouterListener) -> None:
        self._listener = listener

    def start(self) -> None:
        self._look.start()
        self._client.start()

    def stop(self) -> Deferred[None]:
        self._look.stop()
        return self._client.stop()

    def bind(self, user: str, socket: str) -> Deferred[None]:
        self._bound.setdefault(user, {})[socket] = None
        if self._session is None:
            return fail(RouterUnavailable(self._why))
        return self._session.bind(user, socket)

    def unbind(self, user: str, socket: str) -> None:
        sockets = self._bound.get(user)
        if sockets is None or socket not in sockets:
            return
        del sockets[socket]
        if not sockets:
            del self._bound[user]
        if self._session is not None and (not sockets or self._settings.queue == "connection"):
            self._session.unbind(user, socket)

    def publish(self, batch: Sequence[Stored], exact: bool = False) -> Deferred[list[bool]]:
        bound, session = self._bound, self._session
        up = session is not None and session.up
        if self._direct and self._listener is not None:
            here = [one for one in batch if (up or one.places[0][1]) and any(user in bound for user, _ in one.places)]
            if here:
                self._listener.deliver(here)
        if session is None or not up:
            return fail(RouterUnavailable(self._why))
        words = [self._direct and any(user in bound for user, _ in one.places) for one in batch]
        plan = publish_plan.together
        if self._settings.format == "tutorial":
            plan = publish_plan.as_tutorial
        elif exact:
            plan = publish_plan.by_key
        sent = []
        holds = session.link.hold()
        try:
            for one in plan(batch, self._keys):
                mandatory = exact or len(one.body) < LARGE
                confirmed = session.publish(one.key, one.headers, one.content_type, one.body, mandatory)
                sent.append(confirmed.addCallback(_say, words, one.indices))
        finally:
            if holds:
                session.link.release()
        done: Deferred[list[bool]] = gatherResults(sent, consumeErrors=True).addCallbacks(lambda _: words, _unwrapped)
        return done

    # The connection.

    @property
    def _place(self) -> str:
        return self._brokers[self._broker].place

    def _use_next(self) -> None:
        self._broker = (self._broker + 1) % len(self._brokers)

    async def connect(self) -> AmqpProtocol:
        """See ``Connector``. All hosts are tried, beginning with the one whose turn it is, and then all wait."""
        for _ in self._brokers[1:]:
            try:
                return await self._connect()
            except Exception as error:
                if not self._client.running:  # an endpoint that is cancelled says so in words of its own
                    raise
                self._not_reached(error)
                self._use_next()
        return await self._connect()

    async def _connect(self) -> AmqpProtocol:
        self._began = self._reactor.seconds()
        broker = self._brokers[self._broker]
        factory = Factory.forProtocol(lambda: AmqpProtocol(broker.parameters, self._reactor, broker.distrust))
        factory.noisy = False
        return cast(AmqpProtocol, await broker.endpoint.connect(factory))

    async def prepare(self, connection: AmqpProtocol, progress: Callable[[], object]) -> None:
        self._link = connection
        self._opening = AmqpConnection(connection, self._settings, self._keys, self.app_id, self, self._reactor)
        await self._opening.open(self._wanted, progress)

    def give_up(self, connection: AmqpProtocol, error: BaseException) -> None:
        if connection.ready is not None:  # else it was fired, and nobody else waits for it
            connection.ready.addErrback(lambda _: None)
        if connection.is_open:
            connection.abort(self._explained(why(error)))
        else:  # it knows better itself why
            connection.transport.abortConnection()

    def end(self, connection: AmqpProtocol) -> None:
        if connection.is_open:
            connection.close()
            cut = self._reactor.callLater(self._settings.patience, connection.abort, "it did not end")
            connection.gone.addCallback(lambda _: cut.active() and cut.cancel())
        else:
            connection.abort("this daemon is shutting down")

    def on_up(self, connection: AmqpProtocol) -> None:
        self._session, self._opening = self._opening, None
        self._connections += 1
        self._outages.up()
        ms = round(1000 * (self._reactor.seconds() - self._began))
        self.log.info("connected to RabbitMQ at {place} in {ms} ms", place=self._place, ms=ms)
        self._turn(RouterEvent.UP)

    def on_down(self, connection: AmqpProtocol) -> None:
        session, self._link, self._session = self._session, None, None
        if session is not None:
            self._end(session, f"RabbitMQ at {self._place} is lost: {connection.why}")
        self._use_next()

    def on_failure(self, connection: AmqpProtocol | None, error: BaseException) -> None:
        session, self._link, self._opening = self._opening, None, None
        if connection is None:
            self._not_reached(error)
        else:
            if session is not None:
                session.end(connection.why)
            self._down(f"RabbitMQ at {self._place} can't be used: {connection.why}")
        self._use_next()

    def _not_reached(self, error: BaseException) -> None:
        self._down(f"RabbitMQ at {self._place} can't be reached: {why(error)}")

    def _wanted(self) -> set[tuple[str, str]]:
        if self._settings.queue == "daemon":
            return {(user, "") for user in self._bound}
        return {(user, socket) for user, sockets in self._bound.items() for socket in sockets}

    def _explained(self, reason: str) -> str:
        if "inequivalent arg" in reason:
            return (
                f"{reason}. The exchange {self._settings.own_exchange!r} is there already, otherwise: name another by "
                "amqp_exchange, or set amqp_exchange_type and amqp_durable to what it is"
            )
        return reason

    def _look_after(self) -> None:
        if self._session is not None:
            self._session.look()

    def _end(self, session: AmqpConnection, reason: str) -> None:
        was_up = session.up
        self._why = reason
        self._returned += session.returned
        session.end(reason)
        self._down(reason)
        if was_up:
            self._turn(RouterEvent.DOWN)

    def _down(self, reason: str) -> None:
        self._why = reason
        if self._client.running:
            self._outages.down("{reason}", reason)

    def _turn(self, event: RouterEvent, socket: str | None = None) -> None:
        if self._listener is not None:
            try:
                self._listener.on_router_event(event, socket)
            except Exception:  # noqa: BLE001 - and is logged; what the listener does must not end the connection
                self.log.failure("a RabbitMQ event could not be handled")

    # Of the session: see ``connection.Owner``.

    def blocked(self) -> None:
        """Say that nothing can be published."""
        self._down(SHORT)
        self._turn(RouterEvent.DOWN)

    def unblocked(self) -> None:
        """Say that it can again."""
        self._outages.up()
        self.log.info("RabbitMQ accepts messages again")
        self._turn(RouterEvent.UP)

    def arrived(self, messages: list[Arrived], socket: str | None) -> None:
        """Hand on what is for users here."""
        bound, batch, missed = self._bound, [], []
        for properties, body in messages:
            if self._direct and properties.app_id == self.app_id:
                continue  # they had it when it was published
            try:
                found, lacks = codec.read(properties.content_type, properties.headers, body, self._mid)
            except codec.CodecError as error:
                self._malformed += 1
                text = "a message from RabbitMQ could not be decoded: {error}"
                self._repeated.emit(self.log, text, level=LogLevel.warn, error=error)
                continue
            if lacks and self._settings.keeps:  # else the tutorial's form of it must do
                missed += [user for one in found for user, _ in one.places if user in bound]
            elif socket is None:
                batch += [one for one in found if any(user in bound for user, _ in one.places)]
            else:  # what travelled together may be for others
                batch += [one for one in found if any(socket in bound.get(user, ()) for user, _ in one.places)]
        if self._listener is not None:
            if batch:
                self._listener.deliver(batch, socket)
            if missed:
                self._listener.missed(missed)

    def met(self, card: Card) -> None:
        """Say what of another daemon does not go together with this one."""
        self._met += 1
        mine = self._settings
        if card.format != mine.format:
            self._say_once(
                f"another daemon has amqp_format={card.format}, and this one {mine.format}: their users do not hear "
                "each other; give all daemons the same"
            )
        elif card.keeps != mine.keeps:
            which = "this daemon is" if card.keeps else "another daemon is"
            self._say_once(
                f"{which} in relay mode (store none) beside one that keeps messages: messages cross, but a user who "
                "moves between the two gets some of them twice; give all daemons the same store"
            )

    def unmet(self, reason: str) -> None:
        """Say that others can't be met."""
        self._say_once(f"it can't be known which other daemons there are: {reason}")

    def met_exchange(self) -> None:
        """Say that there may be a server that is not heard."""
        self._say_once(
            f"RabbitMQ also has the exchange {self._settings.exchange!r}, which this daemon does not use: to serve "
            "beside the tutorial's server, give all daemons amqp_format=tutorial"
        )

    def _say_once(self, what: str) -> None:
        self._warnings.down("{reason}", what)

    def cancelled(self, socket: str | None) -> None:
        """Tell whose queue it was, and that there is another."""
        self.log.warn("RabbitMQ deleted a queue; another one is declared")
        self._turn(RouterEvent.CANCELLED, socket)
        self._turn(RouterEvent.UP)

    def broken(self, failure: Failure) -> None:
        """Close the connection. The next one declares the queue and its bindings again."""
        if self._link is not None and self._link.ended:
            return  # that is all that is wrong, and it is told
        if failure.check(AMQPError) is None:
            self.log.failure("a message from RabbitMQ could not be handled", failure)
        if self._link is not None:
            self._link.abort(why(failure.value))

    def _mid(self) -> str:
        return self._mids.make(milliseconds(self._wall))


def _say(carried_on: bool, words: list[bool], indices: Sequence[int]) -> None:
    if carried_on:
        for index in indices:
            words[index] = True


def _unwrapped(failure: Failure) -> Failure:
    inner = getattr(failure.value, "subFailure", None)
    return inner if isinstance(inner, Failure) else failure
