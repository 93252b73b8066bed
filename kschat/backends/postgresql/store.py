"""``PostgresqlStore``: ``IStore`` on top of the threads; what happens while PostgreSQL cannot be used."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeVar

import psycopg
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.logger import Logger, LogLevel
from zope.interface import implementer

from kschat.backends.generations import generation_of
from kschat.backends.lag import Lag
from kschat.backends.postgresql import erasure, outbox, queries, updates
from kschat.backends.postgresql.address import places
from kschat.backends.postgresql.faults import why
from kschat.backends.postgresql.hooks import JOIN
from kschat.backends.postgresql.outbox import PostgresqlOutbox
from kschat.backends.postgresql.readers import ReaderPool, Target
from kschat.backends.postgresql.retention import Retention
from kschat.backends.postgresql.schema_versions import shipped
from kschat.backends.postgresql.session import Hello, Session, find
from kschat.backends.postgresql.settings import SendRate, Settings
from kschat.backends.postgresql.wire import Call, Parameters
from kschat.backends.postgresql.writer import Link, Writer
from kschat.backends.reconnect import ReconnectingClient, RetryPolicy
from kschat.backends.ticker import Ticker
from kschat.chat.clocks import WallClock
from kschat.chat.interfaces import (
    NO_BOUND,
    BlockListFull,
    Blocks,
    Conversation,
    IMeasured,
    InboxPage,
    InboxState,
    IStore,
    LimitReached,
    Page,
    Progress,
    RevocationsFull,
    RoomFull,
    Stored,
    StoreListener,
    StoreUnavailable,
    TooManyRooms,
)
from kschat.chat.message import Message
from kschat.chat.mids import number_of, parse_number
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation, Revocation
from kschat.outage_log import OutageLog
from kschat.tls import AddressError

T = TypeVar("T")

#: Seconds between two looks whether PostgreSQL answers.
CHECK_INTERVAL: Final = 1.0

#: Seconds between two looks at all hosts, where there are several: whether a newer primary is among them.
SEARCH_INTERVAL: Final = 5.0

#: Threads, each with a connection: for inboxes and other short questions, which clients wait for when they connect; and
#: for history.
READERS: Final = 2
BROWSERS: Final = 2

_JOIN: Final = "SELECT join_room(%(room)s, %(user)s, %(most)s, %(most_rooms)s)"

#: Revocations that are deleted in one transaction because they are kept no longer.
MAX_PRUNED: Final = 1000


@implementer(IStore, IMeasured)
class PostgresqlStore:
    """Keeps messages in PostgreSQL, for any number of daemons.

    Args:
        settings: which, and how.
        reactor: the real one.
        wall: tells how old messages are.

    Raises:
        AddressError: the settings can't be used.
    """

    log = Logger()
    keeps = True
    measures: Mapping[str, float] = MappingProxyType({})

    def __init__(self, settings: Settings, reactor: Any, wall: WallClock = time.time) -> None:
        #: See ``IStore``: "" until PostgreSQL was connected.
        self.epoch = ""
        try:
            self._places = places(settings.url)
        except ValueError as error:
            raise AddressError(f"the URL of PostgreSQL can't be read: {error}") from None
        self._settings = settings
        self._reactor = reactor
        self._schema = shipped()
        self._rate = SendRate.of(settings)
        self._writer = Writer(reactor, self._deadline, self._rate, hooks=settings.hooks)
        self._reader = ReaderPool(reactor, settings.patience, READERS, "kschat store reader", self._not_read)
        self._browser = ReaderPool(reactor, settings.patience, BROWSERS, "kschat store browser", self._not_read)
        self._pools = [self._reader, self._browser]
        self.outbox: PostgresqlOutbox | None = None
        if settings.hooks:
            hooked = ReaderPool(reactor, settings.patience, 1, "kschat store hooks", self._not_read)
            self._pools.append(hooked)
            self.outbox = PostgresqlOutbox(hooked)
        policy = RetryPolicy(settings.first_retry, settings.last_retry)
        self._client: ReconnectingClient[Link] = ReconnectingClient(self, reactor, policy, 2 * settings.patience)
        self._look = Ticker(reactor, CHECK_INTERVAL, self._look_after, "the check of the store failed")
        self._retention = Retention(
            self._transaction, settings.retention_seconds, settings.retention_messages, reactor, wall
        )
        self._outages = OutageLog(self.log, name="the store")
        # Of reading: never over, since nothing tells when it is.
        self._reading_outages = OutageLog(self.log, name="the store")
        self._warnings = OutageLog(self.log, LogLevel.warn)
        self._listener: StoreListener | None = None
        self._hello: Hello | None = None
        self._running = False
        # The session that is prepared, and what is called so that it may take as long again.
        self._preparing: tuple[Session, Callable[[], object]] | None = None
        # What the server's clock says more than this one, in seconds.
        self._ahead = 0.0
        self._lag = Lag(reactor)
        self._searched = -SEARCH_INTERVAL
        self._searching = False
        # The session that the search waits for, and since when.
        self._searched_by: tuple[Session, float] | None = None

    @property
    def up(self) -> bool:
        return self._client.connection is not None

    @property
    def lag(self) -> float | None:
        """See ``IMeasured``."""
        return self._lag.seconds

    def attach(self, listener: StoreListener) -> None:
        self._listener = listener

    def start(self) -> None:
        self._running = True
        self._outages.begin(self)
        self._writer.start()
        for pool in self._pools:
            pool.start()
        self._look.start()
        self._client.start()
        self._retention.start()

    def stop(self) -> Deferred[None]:
        """See ``IStore``. What PostgreSQL takes longer for than it may is given up."""
        if not self._running:
            return succeed(None)
        self._running = False
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._retention.stop()
        await self._client.stop()
        await gatherResults([pool.stop() for pool in self._pools])
        await self._writer.stop()
        # The last: it gives up whatever a thread waits for too long.
        self._look.stop()

    # IStore: what writes.

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        """See ``IStore``. What is answered is committed, as durable as ``synchronous_commit`` says."""
        return self._writer.append(batch) if self.up and self._running else self._refusal()

    def change(self, update: Message) -> Deferred[Stored]:
        """See ``IStore``. What is answered is as durable as a message."""

        def change(session: Session) -> Stored:
            numbers = self._writer.numbers
            stored = updates.change(
                session.connection, update, deadline=self._deadline(), beyond=numbers.last, rate=self._rate
            )
            if stored.places:
                numbers.saw(number_of(stored.message.mid))
            return stored

        return self._work(change)

    def save_progress(self, progress: Progress) -> Deferred[None]:
        names, seen = list(progress.cursors), list(progress.seen)
        return self._call(
            "save_progress",
            lambda: (
                Parameters()
                .byte_strings([name.encode() for name in names])
                .bigints([progress.cursors[name] for name in names])
                .byte_strings([name.encode() for name in seen])
                .bigints([progress.seen[name] for name in seen])
            ),
            lambda rows: None,
        )

    def mark_read(self, user: str, peer: str, mid: str) -> Deferred[bool]:
        number = parse_number(mid)
        if number is None:
            return succeed(False)
        return self._call("mark_read", lambda: Parameters().names(user, peer).numbers(number), _flag)

    def join(self, room: str, user: str, most: int, *, most_rooms: int = NO_BOUND) -> Deferred[bool]:
        statement = JOIN if self._settings.hooks else _JOIN
        arguments = {"room": room.encode(), "user": user.encode(), "most": most, "most_rooms": most_rooms}
        return self._work(lambda session: _join(session, statement, arguments))

    def leave(self, room: str, user: str) -> Deferred[bool]:
        return self._call("leave_room", lambda: Parameters().names(room, user), _flag)

    def block(self, user: str, peer: str, most: int) -> Deferred[bool]:
        return self._call(
            "block_user",
            lambda: Parameters().names(user, peer).numbers(most),
            lambda rows: _outcome(rows[0][0], {2: BlockListFull}),
        )

    def unblock(self, user: str, peer: str) -> Deferred[bool]:
        return self._call("unblock_user", lambda: Parameters().names(user, peer), _flag)

    def subscribe(self, user: str, subscription: PushSubscription, most: int) -> Deferred[None]:
        one = subscription
        return self._call(
            "subscribe",
            lambda: Parameters().names(user, one.endpoint, one.p256dh, one.auth).numbers(most),
            lambda rows: None,
        )

    def unsubscribe(self, user: str, endpoint: str | None) -> Deferred[int]:
        return self._call("unsubscribe", lambda: Parameters().names(user, endpoint), lambda rows: int(rows[0][0]))

    def revoke(self, revocation: Revocation, *, now: int, most: int) -> Deferred[None]:
        return self._work(partial(_revoke, revocation=revocation, now=now, most=most))

    def erase(self, user: str) -> Deferred[int]:
        """See ``IStore``. All rooms and all changed messages are looked through, in steps."""
        return Deferred.fromCoroutine(self._erase(user))

    async def _erase(self, user: str) -> int:
        await outbox.erase(self._transaction, user)
        return await erasure.erase(self._transaction, user)

    # IStore: what reads.

    def find(self, user: str, mid: str, peer: str | None) -> Deferred[Message | None]:
        return self._reader.ask(lambda connection: queries.find(connection, user, mid, peer))

    def readers(self, room: str, user: str, mid: str) -> Deferred[list[str] | None]:
        return self._browser.ask(lambda connection: queries.readers(connection, room, user, mid))

    def inbox(self, user: str) -> Deferred[InboxState]:
        return self._reader.ask(lambda connection: queries.inbox(connection, user))

    def ends(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self._reader.ask(lambda connection: queries.ends(connection, users))

    def read(self, user: str, after: int, limit: int) -> Deferred[InboxPage]:
        return self._reader.ask(lambda connection: queries.read(connection, user, after, limit))

    def is_outdated(self, offset: int) -> None:
        """See ``IStore``: such a server is looked for among the hosts of the URL."""
        if self._hello is not None and generation_of(offset) > self._hello.generation:
            self._search()

    def last_seen(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self._reader.ask(lambda connection: queries.last_seen(connection, users))

    def history(self, user: str, peer: str, *, before: str | None, limit: int) -> Deferred[Page]:
        return self._browser.ask(lambda connection: queries.history(connection, user, peer, before, limit))

    def conversations(self, user: str, limit: int, *, before: str | None = None) -> Deferred[list[Conversation]]:
        return self._browser.ask(lambda connection: queries.conversations(connection, user, limit, before))

    def members(self, room: str) -> Deferred[list[str]]:
        return self._reader.ask(lambda connection: queries.members(connection, room))

    def rooms(self, user: str) -> Deferred[list[str]]:
        return self._reader.ask(lambda connection: queries.rooms(connection, user))

    def blocked(self, user: str) -> Deferred[list[str]]:
        return self._reader.ask(lambda connection: queries.blocked(connection, user))

    def blocks(self, user: str, peers: Sequence[str]) -> Deferred[Blocks]:
        return self._reader.ask(lambda connection: queries.blocks(connection, user, peers))

    def subscriptions(self, user: str) -> Deferred[list[PushSubscription]]:
        return self._browser.ask(lambda connection: queries.subscriptions(connection, user))

    def revocations(self, after: int, limit: int) -> Deferred[list[NumberedRevocation]]:
        return self._reader.ask(lambda connection: queries.revocations(connection, after, limit))

    def sweep(self) -> Deferred[None]:
        """Run a round of retention now, unless another daemon runs one. For tests and benches."""
        return self._retention.sweep()

    def _call(
        self, function: str, parameters: Callable[[], Parameters], decode: Callable[[list[Any]], T]
    ) -> Deferred[T]:
        """Call a function of the schema, in the order of the calls."""
        if not (self.up and self._running):
            return self._refusal()

        def call() -> Call:
            return parameters().call(function)

        return self._writer.statement(call, decode)

    def _work(self, work: Callable[[Session], T]) -> Deferred[T]:
        return self._writer.work(work) if self.up and self._running else self._refusal()

    def _transaction(self, work: Callable[[psycopg.Connection[Any]], T]) -> Deferred[T]:
        """Do a step of upkeep, in a transaction."""

        def do(session: Session) -> T:
            with session.connection.transaction():
                return work(session.connection)

        return self._work(do)

    def _refusal(self) -> Deferred[Any]:
        return fail(StoreUnavailable(self._writer.why if self._running else "the store is not running"))

    def _deadline(self) -> float:
        """When what is sent now is given up, in seconds since 1970 of the server's clock."""
        return float(self._reactor.seconds()) + self._ahead + self._settings.patience

    # Connector.

    async def connect(self) -> Link:
        return await self._writer.open(lambda watch: find(self._places, self._settings.patience, watch))

    async def prepare(self, connection: Link, progress: Callable[[], object]) -> None:
        def begins(what: str) -> None:
            """On the writer thread."""
            self._reactor.callFromThread(self.log.info, "the store: {what}", what=what)

        def greet(session: Session) -> Hello:
            return session.greet(self._schema, alone=self._settings.alone, begins=begins)

        self._preparing = (connection.session, progress)
        try:
            hello = await self._writer.use(connection, greet)
        finally:
            self._preparing = None
        self._ahead = hello.clock - float(self._reactor.seconds())
        before, self.epoch, self._hello = self.epoch, hello.epoch, hello
        for warning in hello.warnings:
            self._warnings.down("the store: {reason}", warning)
        if hello.begun:
            self.log.warn(
                "the store begins a new generation of offsets: PostgreSQL may have less than it had confirmed"
            )
        if before and before != self.epoch:
            self.log.warn("PostgreSQL has lost its data, or has other data now: all sockets are closed")
            if self._listener is not None:
                self._listener.renewed()

    def end(self, connection: Link) -> None:
        self._writer.close(connection, "this daemon is shutting down")

    def give_up(self, connection: Link, error: BaseException) -> None:
        connection.abort(_reason(error))
        self._writer.close(connection, _reason(error))

    def on_up(self, connection: Link) -> None:
        back = " again" if self._outages.is_open else ""
        self._outages.up(self)
        assert self._hello is not None
        place = connection.session.place
        self.log.info(
            "the store: connected to PostgreSQL {version} at {place}{back}",
            version=self._hello.version,
            place=place.name,
            back=back,
        )
        target = Target(place, self._hello.server)
        for pool in self._pools:
            pool.use(target)
        if self._listener is not None:
            self._listener.reconnected()

    def on_down(self, connection: Link) -> None:
        self._lag.lost()
        for pool in self._pools:
            pool.lose(connection.why)
        self._down(f"PostgreSQL at {connection.session.place.name} is lost", connection.why)

    def on_failure(self, connection: Link | None, error: BaseException) -> None:
        at = f" at {connection.session.place.name}" if connection is not None else ""
        self._down(f"PostgreSQL{at} can't be used", (connection.session.why if connection else "") or _reason(error))

    def _down(self, what: str, reason: str) -> None:
        self._writer.why = f"{what}: {reason}"
        if self._client.running:
            self._outages.down("the store: {what}: {reason}", reason, self, what=what)

    def _not_read(self, reason: str) -> None:
        self._reading_outages.down("the store could not be read: {reason}", reason)

    def _look_after(self) -> None:
        now, patience = float(self._reactor.seconds()), self._settings.patience
        if self._preparing is not None and self._preparing[0].long_work:
            self._preparing[1]()
        self._writer.look_after(now, patience)
        for pool in self._pools:
            pool.look_after(now, patience)
        searched_by = self._searched_by
        if searched_by is not None and now - searched_by[1] > patience:
            searched_by[0].abort(f"it answered nothing for {patience:g} seconds")
        self._check()
        if len(self._places) > 1:
            self._search()

    def _check(self) -> None:
        """Ask whether the tables are still the same: also where nobody writes, a server that is gone is noticed."""
        link = self._client.connection
        if link is None or self._lag.waits or not self._running:
            return
        began = self._lag.ask()

        def checked(result: Any) -> None:
            # (Of a failure the writer thread tells, if the connection has ended by it.)
            self._lag.answered(began)
            if isinstance(result, str) and result != self.epoch:
                link.abort("its data is gone, or was replaced")

        asked = self._writer.statement(lambda: Call(b"SELECT epoch FROM state"), lambda rows: str(rows[0][0]))
        asked.addBoth(checked)

    def _search(self) -> None:
        """Look whether another host has a newer primary; then connect to that."""
        link, now = self._client.connection, float(self._reactor.seconds())
        if link is None or self._searching or now - self._searched < SEARCH_INTERVAL:
            return
        self._searched, self._searching = now, True
        own = link.session.place
        others = [place for place in self._places if place != own]

        def watch(session: Session | None) -> None:
            """On a reader's thread."""
            self._searched_by = None if session is None else (session, float(self._reactor.seconds()))

        def newer(connection: psycopg.Connection[Any]) -> bool:
            """On a reader's thread."""
            row = connection.execute("SELECT generation, server() FROM state").fetchone()
            assert row is not None
            here = (int(row[0]), int(row[1].split()[1], 16))
            try:
                found = find(others, patience, watch)
            except StoreUnavailable:
                return False
            try:
                return found.standing() > here
            finally:
                found.close()

        patience = self._settings.patience

        def searched(result: Any) -> None:
            self._searching = False
            if result is True:
                link.abort("another server is the primary now")

        self._browser.ask(newer).addBoth(searched)


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, StoreUnavailable) else why(error)


def _flag(rows: list[Any]) -> bool:
    return bool(rows[0][0])


def _outcome(answer: int, limits: dict[int, type[LimitReached]]) -> bool:
    if answer in limits:
        raise limits[answer]
    return answer == 1


def _join(session: Session, statement: str, arguments: dict[str, Any]) -> bool:
    for _ in range(2):
        (answer,) = session.connection.execute(statement.encode(), arguments).fetchone() or (0,)
        if answer >= 0:
            return _outcome(answer, {2: RoomFull, 3: TooManyRooms})
        session.connection.execute("SELECT make_room(%(room)s, %(user)s)", arguments)
    raise StoreUnavailable("the user was erased meanwhile")


def _revoke(session: Session, revocation: Revocation, now: int, most: int) -> None:
    key = revocation.key.encode()
    with session.connection.transaction():
        row = session.connection.execute(
            "SELECT * FROM begin_revoking(%s, %s, %s, %s)", (key, now, most, MAX_PRUNED)
        ).fetchone()
        assert row is not None
        before, until, lifted, is_full = row
        if is_full:
            raise RevocationsFull
        after = revocation.after(None if before is None else Revocation(revocation.key, before, until, lifted))
        session.connection.execute(
            "SELECT finish_revoking(%s, %s, %s, %s)", (after.key.encode(), after.before, after.until, after.lifted)
        )
