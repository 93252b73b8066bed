"""The pipeline: messages of one turn of the reactor are stored, routed and acknowledged together.

When the daemon is idle, a batch is one message and waits for nothing; under load, batches grow and share the cost of a
commit, a publish and a write. The messages of a batch, the batches in flight and the waiting messages are bounded.
Beyond that ``submit`` refuses, and the client gets a refusal.

Between the two, at some thousand messages a second, each turn would carry one or two messages, and each batch would
cost as much as a large one. So a batch may *linger*: it waits a moment (``Bounds.linger``) for others. That is decided
by what came before it::

    the last messages came with long pauses           it begins at once: nobody would join it
    its sender was answered a moment ago              at once: such a sender waits for each answer before it sends more
    it has ``ENOUGH`` messages                        at once: more would save little
    else                                              it waits, and begins when one of the last two becomes true
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
from twisted.internet.defer import Deferred, FirstError, fail, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from kschat.budget import PENDING_PART, Budget
from kschat.chat.changes import MAX_REACTIONS, update_of
from kschat.chat.cluster_commands import Receipt
from kschat.chat.conversations import is_room
from kschat.chat.editing import GONE
from kschat.chat.hub import Hub
from kschat.chat.interfaces import IRouter, IStore, RouterUnavailable, Stored, StoreUnavailable
from kschat.chat.message import Error, Message, Refused
from kschat.chat.outgoing import Status
from kschat.chat.session import ChatSession
from kschat.counters import Counters
from kschat.outage_log import OutageLog

#: What a sender is told where the store refuses its message.
_REFUSALS: Final = {
    Error.NO_BROKER: "There is no broker; try again.",
    Error.NO_STORE: "The store is not available; try again.",
    Error.NOT_ALLOWED: "You are not a member of that room.",
    Error.TOO_MANY: "You send too many messages; slow down.",
}

#: The same, where the recipient blocks the sender, who is told so by setting.
_BLOCKED: Final = "This user does not accept messages from you."

#: And while the daemon is going down.
GOING_DOWN: Final = "The server is going down; connect again."

#: Bytes of the messages of one batch, if it has several, and of those that are begun in one turn of the reactor.
MAX_BATCH_BYTES: Final = 2_000_000

#: Bytes of a large message. Large ones have batches of their own, one at a time, and others do not wait for them.
LARGE: Final = 16_384

#: Bytes of a batch of large messages, if it has several.
MAX_LARGE_BYTES: Final = 500_000

#: Bytes of large messages that wait, beyond which no other one is read from a client, for as long as the front allows.
MAX_LARGE_WAITING: Final = 2_000_000

#: Seconds of the rest after a batch of large messages, which is as long as the batch took, at most. The disk, Redis and
#: RabbitMQ are free for others then.
MAX_LARGE_REST: Final = 0.05

#: A batch that lingers begins when it has so many messages.
ENOUGH: Final = 16

#: Messages that came before, of which each must have brought one more within ``linger``, on average.
RECENT: Final = 8

#: A sender that sends within so many times ``linger`` after an answer may have waited for it, and would be much slower
#: with another wait.
PROMPT: Final = 10

#: Updates that are being stored. Each is stored alone: they are few beside messages.
MAX_UPDATES: Final = 500

#: What the sender of an update is told where the store refuses it.
_UPDATE_REFUSALS: Final = {
    **_REFUSALS,
    Error.INVALID: GONE,
    Error.TOO_MANY: f"A message has at most {MAX_REACTIONS} reactions.",
}


class Reply(Protocol):
    """Is told what became of a message: one of these, once. It must not raise."""

    def stored(self, stored: Stored) -> None:
        """The message is durable (in relay mode: the broker has it), or was before: ``stored.repeat``."""

    def refused(self, refused: Refused) -> None:
        """The message was not taken."""


class Submission(msgspec.Struct, frozen=True, gc=False):
    """A message, and whom to answer.

    Attributes:
        message: what to deliver.
        reply: is told what became of it.
        origin: the socket that sent it, which gets no carbon of it; None for a sender without one.
    """

    message: Message
    reply: Reply
    origin: ChatSession | None = None


class _Batch(msgspec.Struct):
    """Messages that go together.

    Attributes:
        submissions: the messages.
        size: their bytes.
        since: when the first of them came, at the earliest.
        began: when they were given to the store.
        stored: what the store has answered, while they are routed.
    """

    submissions: Sequence[Submission]
    size: int
    since: float
    began: float
    stored: Sequence[Stored] = ()


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much the pipeline holds.

    Attributes:
        max_batch: messages of one batch.
        max_in_flight: batches that are being stored or routed.
        max_waiting: messages that wait for a place in a batch.
        linger: seconds that a batch may wait for others; 0 for none.
        gathers: whether sockets that get several messages a second are asked to confirm several at once
            (``confirmations``); otherwise each is asked at each write.
    """

    max_batch: int = 500
    max_in_flight: int = 8
    max_waiting: int = 10_000
    linger: float = 0.0
    gathers: bool = False


class Delivery:
    """The pipeline of one daemon.

    Args:
        clock: whose turns make the batches.
        store, router: what a batch goes through, in this order.
        hub: knows the sockets, and lets each be written to once a batch.
        bounds: how much it holds.
        counters: counts.
        refuse_blocked: whether a sender whom the recipient blocks is told so; else it is answered as if all were well.
        budget: counts the bytes of messages that wait; they may be ``PENDING_PART`` of it.

    Attributes:
        closed: whether the daemon is going down; then nothing new is taken.
    """

    log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        store: IStore,
        router: IRouter,
        hub: Hub,
        bounds: Bounds,
        counters: Counters,
        budget: Budget,
        refuse_blocked: bool = False,
    ) -> None:
        self._clock = clock
        self._store = store
        self._router = router
        self._hub = hub
        self._counters = counters
        self._refuse_blocked = refuse_blocked
        self._budget = budget
        self._max_size = int(budget.limit * PENDING_PART)
        self._waiting: list[Submission] = []
        # How many of those were put into batches, since the start.
        self._begun = 0
        # Large messages that wait, and later ones of their senders: each with the ``_begun`` that must be reached
        # before it, and the time when it came. And how many each sender has there.
        self._large: deque[tuple[int, float, Submission]] = deque()
        self._large_senders: Counter[str] = Counter()
        # Whether such a batch is in flight, or was a moment ago; and whether one may be begun before others.
        self._large_in_flight = False
        self._large_may = True
        # Bytes of those that wait.
        self._large_size = 0
        # Bytes of what waits, without those, and of all that is not answered.
        self._waiting_size = self._size = 0
        self._in_flight = 0
        # When a batch was answered last, or when the first one of those that are in flight began.
        self._moved = 0.0
        # When those that wait came, at the earliest: from each number on, as ``_begun`` counts, a time.
        self._marks: deque[tuple[int, float]] = deque()
        self._updates = 0
        # Whether a turn is set; its call, while it lingers; and when the last messages came.
        self._turn_set = False
        self._lingers: IDelayedCall | None = None
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._drained: list[Deferred[None]] = []
        self.closed = False
        hub.caught_up = self._begin_again
        self.use(bounds)
        #: why the store or the router failed, until a batch goes all the way
        self._outages = OutageLog(self.log, LogLevel.warn)

    def use(self, bounds: Bounds) -> None:
        """Other bounds hold from now on. What is there already stays."""
        self._bounds = bounds
        self._recent.clear()
        self._hub.confirmations.on = bounds.gathers and not self.closed

    def submit(self, submission: Submission) -> None:
        """Take a message into the batch of this turn. Its sender is answered later.

        Raises:
            Refused: BUSY, when too many or too much wait already; GOING_DOWN, when the daemon is.
        """
        if self.closed:
            self.ensure_open()
        waiting = self._waiting
        if (self.waiting if self._large else len(waiting)) >= self._bounds.max_waiting:
            raise Refused(Error.BUSY, "Too many messages wait to be stored; try again.")
        message = submission.message
        size = message.size if message.attachments else len(message.msg)
        if self._size + size > self._max_size:
            self._counters.full["buffered"] += 1
            raise Refused(Error.BUSY, "Too much waits to be stored; try again.")
        self._size += size
        now = self._clock.seconds()
        self._recent.append(now)
        if size >= LARGE or (self._large and message.sender in self._large_senders):
            self._large.append((self._begun + len(waiting), now, submission))
            self._large_senders[message.sender] += 1
            self._large_size += size
        else:
            self._waiting_size += size
            if not waiting:
                self._marks.append((self._begun, now))
            waiting.append(submission)
        if not self._turn_set:
            if self._in_flight < self._bounds.max_in_flight:
                self._turn_set = True
                linger = self._bounds.linger
                if linger and self._may_linger(submission, now, linger):
                    self._lingers = self._clock.callLater(linger, self._turn)
                else:
                    self._clock.callLater(0, self._turn)
        elif self._lingers is not None and (
            len(waiting) >= ENOUGH or not self._may_linger(submission, now, self._bounds.linger)
        ):
            self._hurry()

    def _may_linger(self, submission: Submission, now: float, linger: float) -> bool:
        """Whether a batch may wait for others though it has this message."""
        recent = self._recent
        origin = submission.origin
        return (
            len(recent) == RECENT
            and now - recent[0] < linger * (RECENT - 1)
            and origin is not None
            and now - origin.answered > linger * PROMPT
            and submission.message.size < LARGE
        )

    def _hurry(self) -> None:
        """The batch that lingers begins in the next turn."""
        if self._lingers is not None:
            self._lingers.cancel()
            self._lingers = None
            self._clock.callLater(0, self._turn)

    def close(self) -> None:
        """Take nothing new, and wait for nothing: the daemon is going down."""
        self.closed = True
        self._hurry()
        self._hub.confirmations.ask_all()

    def update(self, submission: Submission) -> None:
        """Store an update, and tell everybody in its conversation. Its sender is answered when it is stored.

        It goes through no batch and no router: other daemons are told to look into the inboxes.

        Raises:
            Refused: BUSY, when too many or too much wait already; GOING_DOWN, when the daemon is.
        """
        self.ensure_open()
        size = submission.message.size
        if self._updates >= MAX_UPDATES or self._size + size > self._max_size:
            self._counters.full["updates"] += 1
            raise Refused(Error.BUSY, "Too many changes wait to be stored; try again.")
        self._updates += 1
        self._size += size
        self._budget.add(size)
        with self._hub.writing():
            try:
                finished = self._store.change(submission.message)
            except Exception:  # noqa: BLE001 - no store may, but it must be answered
                finished = fail()
            finished.addCallbacks(
                self._updated, self._not_stored, callbackArgs=(submission,), errbackArgs=((submission,),)
            )
            finished.addErrback(self._not_answered)
            finished.addBoth(self._finish_update, size)

    def _updated(self, stored: Stored, submission: Submission) -> None:
        counters, hub = self._counters, self._hub
        message = stored.message
        with hub.writing():
            if stored.refused is Error.NOT_ALLOWED and not is_room(message.recipient):
                counters.blocked += 1
                if self._refuse_blocked:
                    self._refuse(submission, Refused(Error.NOT_ALLOWED, _BLOCKED))
                    return
                stored = Stored(message, ())
            elif stored.refused is not None:
                why = _UPDATE_REFUSALS[stored.refused]
                if stored.retry_in is not None:
                    counters.limited["cluster_sends"] += 1
                    why = _REFUSALS[Error.TOO_MANY]
                self._refuse(submission, Refused(stored.refused, why, stored.retry_in))
                return
            counters.updates[update_of(message).kind] += 1
            submission.reply.stored(stored)
            if stored.places:
                hub.deliver((stored,))
                hub.notifier.hint([user for user, _ in stored.places])

    def _finish_update(self, _: object, size: int) -> None:
        self._updates -= 1
        self._size -= size
        self._budget.add(-size)
        self._look_if_drained()

    def ensure_open(self) -> None:
        """Raises Refused with GOING_DOWN when the daemon is going down."""
        if self.closed:
            raise Refused(Error.GOING_DOWN, GOING_DOWN)

    @property
    def waiting(self) -> int:
        """Messages that wait for a place in a batch."""
        return len(self._waiting) + len(self._large)

    @property
    def busy(self) -> bool:
        """Whether more than a batch waits."""
        return self.waiting >= self._bounds.max_batch

    @property
    def is_full(self) -> bool:
        """Whether so many bytes of large messages wait that others had better not be read yet."""
        return self._large_size > MAX_LARGE_WAITING

    @property
    def stuck(self) -> float:
        """Seconds since which batches are in flight and none was answered; 0.0 where none is in flight."""
        return self._clock.seconds() - self._moved if self._in_flight else 0.0

    @property
    def in_flight(self) -> int:
        """Batches that are being stored or routed."""
        return self._in_flight

    def drained(self) -> Deferred[None]:
        """Fires when all that was submitted is answered."""
        if not self.waiting and not self._in_flight and not self._updates:
            return succeed(None)
        fires: Deferred[None] = Deferred()
        self._drained.append(fires)
        return fires

    def _begin_again(self) -> None:
        """There is room for more."""
        if (self._waiting or self._large) and not self._turn_set:
            self._turn_set = True
            self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._turn_set = False
        self._lingers = None
        if self._waiting and self._marks[-1][0] != (number := self._begun + len(self._waiting)):
            # Later messages come later than now.
            self._marks.append((number, self._clock.seconds()))
        large = (self._large_may or not self._waiting) and self._begin_large()
        # What is stored faster than it is written would only wait elsewhere.
        while self._waiting and self._in_flight < self._bounds.max_in_flight and not self._hub.is_behind:
            waiting, most = self._waiting, self._bounds.max_batch
            self._large_may = True
            since = self._since()
            if len(waiting) <= most and self._waiting_size <= MAX_BATCH_BYTES:
                self._begun += len(waiting)
                size, self._waiting, self._waiting_size = self._waiting_size, [], 0
                self._marks.clear()
                self._begin(waiting, size, since=since)
                continue
            count, size = self._fit(most)
            self._begun += count
            batch, self._waiting = waiting[:count], waiting[count:]
            self._waiting_size -= size
            if not self._waiting:
                self._marks.clear()
            self._begin(batch, size, since=since)
            if count < most:
                self._begin_again()  # such a batch is a turn's work
                return
        if not large:
            self._begin_large()

    def _begin_large(self) -> bool:
        """Begin a batch of large messages, if any may be begun. Returns whether it has."""
        large = self._large
        if not large or self._large_in_flight:
            return False
        # Small messages do not wait until large ones are written to everybody in a room.
        if self._in_flight >= self._bounds.max_in_flight or self._hub.is_behind or self._hub.is_full:
            return False
        batch: list[Submission] = []
        size, since = 0, self._clock.seconds()
        while large and len(batch) < self._bounds.max_batch and large[0][0] <= self._begun:
            more = large[0][2].message.size
            if batch and size + more > MAX_LARGE_BYTES:
                break
            _, came, submission = large.popleft()
            since = min(since, came)
            sender = submission.message.sender
            self._large_senders[sender] -= 1
            if not self._large_senders[sender]:
                del self._large_senders[sender]
            batch.append(submission)
            size += more
        self._large_size -= size
        if batch:
            self._large_in_flight, self._large_may = True, False
            self._begin(batch, size, since=since, large=True)
        return bool(batch)

    def _fit(self, most: int) -> tuple[int, int]:
        """How many messages the next batch may have, up to ``most``, and their bytes."""
        count = size = 0
        for one in self._waiting[:most]:
            count += 1
            size += one.message.size
            if size >= MAX_BATCH_BYTES:
                break
        return count, size

    def _since(self) -> float:
        """When the first of those that wait came, at the earliest."""
        marks = self._marks
        while len(marks) > 1 and marks[1][0] <= self._begun:
            marks.popleft()
        return marks[0][1]

    def _begin(self, submissions: Sequence[Submission], size: int, *, since: float, large: bool = False) -> None:
        if not self._in_flight:
            self._moved = self._clock.seconds()
        self._in_flight += 1
        self._budget.add(size)
        self._counters.batches += 1
        self._counters.batch_messages.observe(len(submissions))
        with self._hub.writing():
            batch = _Batch(submissions, size, since, self._clock.seconds())
            try:
                finished = self._store.append([submission.message for submission in submissions])
            except Exception:  # noqa: BLE001 - no store may, but the batch must be answered and its place made free
                finished = fail()
            finished.addCallbacks(self._route, self._not_stored, callbackArgs=(batch,), errbackArgs=(submissions,))
            finished.addBoth(self._finish, batch, large)

    def _route(self, stored: list[Stored], batch: _Batch) -> Deferred[None]:
        # Where the router answers at once, a socket is written to once with what it gets and what it is answered.
        with self._hub.writing():
            return self._route_together(stored, batch)

    def _route_together(self, stored: list[Stored], batch: _Batch) -> Deferred[None]:
        now = self._clock.seconds()
        self._counters.batch_seconds["store"].observe(now - batch.began)
        fresh = [one for one in stored if one.places and not one.repeat]
        if len(fresh) != len(stored):
            fresh += _again(stored, fresh)
            large = [one for one in stored if not one.whole]
            if large:
                # They can't be carried: who has not heard of them is told that they are there.
                self._hub.catch_up.not_routed(large)
        if not fresh:
            self._answer(batch, stored)
            return succeed(None)
        if not self._store.keeps:
            return self._relay(fresh, stored, batch)
        batch.stored = stored
        published = self._publish(fresh)
        answered: Deferred[None] = published.addCallbacks(
            self._routed_and_answer, self._not_routed, callbackArgs=(now, batch), errbackArgs=(fresh, batch)
        )
        return answered

    def _publish(self, batch: Sequence[Stored], exact: bool = False) -> Deferred[list[bool]]:
        try:
            return self._router.publish(batch, exact)
        except Exception:  # noqa: BLE001 - no router may, but the batch must be answered
            return fail()

    def _routed(self, words: list[bool], began: float) -> list[bool]:
        self._counters.batch_seconds["route"].observe(self._clock.seconds() - began)
        self._outages.up()
        return words

    def _routed_and_answer(self, words: list[bool], began: float, batch: _Batch) -> None:
        self._routed(words, began)
        self._answer(batch, batch.stored)

    def _not_routed(self, failure: Failure, fresh: Sequence[Stored], batch: _Batch) -> None:
        # The store has it, which is what the ack promises; the news is read from there later.
        if failure.check(RouterUnavailable) is None:
            self.log.failure("the router failed", failure)
        else:
            self._say("messages are stored but not routed: {reason}", failure)
        self._counters.unrouted += len(fresh)
        self._hub.catch_up.not_routed(fresh)
        self._answer(batch, batch.stored)

    def _relay(self, fresh: list[Stored], stored: list[Stored], batch: _Batch) -> Deferred[None]:
        """Nothing is kept: what can't be carried is refused, and whoever asked is told what reached nobody."""
        asking = [one for one in fresh if self._hub.notifier.asks_receipts(one.message.sender)]
        # Of one sender all goes the same way, and so stays in order. The exact way costs the broker more.
        parts = [(fresh, False)]
        if asking:
            others = [one for one in fresh if not self._hub.notifier.asks_receipts(one.message.sender)]
            parts = [(part, exact) for part, exact in ((others, False), (asking, True)) if part]
        began = self._clock.seconds()
        publishes = [self._publish(part, exact).addCallback(self._routed, began) for part, exact in parts]
        published = gatherResults(publishes, consumeErrors=True)

        def relayed(carried: list[list[bool]]) -> None:
            self._answer(batch, stored)
            if asking:
                self._tell_lost(asking, carried[-1])

        done: Deferred[None] = published.addCallbacks(relayed, self._not_relayed, errbackArgs=(batch,))
        return done

    def _tell_lost(self, asking: list[Stored], carried: list[bool]) -> None:
        with self._hub.writing():
            for one, was_carried in zip(asking, carried, strict=True):
                if not was_carried:
                    message = one.message
                    self._hub.notifier.receipt(message.sender, Receipt.of(message, Status.LOST))

    def _not_relayed(self, failure: Failure, batch: _Batch) -> None:
        reason = failure.value.subFailure if isinstance(failure.value, FirstError) else failure
        if reason.check(RouterUnavailable) is None:
            self.log.failure("the router failed", reason)
        for submission in batch.submissions:
            self._refuse(submission, Refused(Error.NO_BROKER, _REFUSALS[Error.NO_BROKER]))

    def _answer(self, batch: _Batch, stored: Sequence[Stored]) -> None:
        counters, hub = self._counters, self._hub
        before, now = counters.sent, self._clock.seconds()
        carbons = hub.notifier.carbons
        with hub.writing():
            for submission, one in zip(batch.submissions, stored, strict=True):
                if one.refused is not None:
                    if one.refused is Error.NOT_ALLOWED and not is_room(one.message.recipient):
                        self._blocked(submission, one.message)
                        continue
                    if one.refused is Error.TOO_MANY:
                        counters.limited["cluster_sends"] += 1
                    self._refuse(submission, Refused(one.refused, _REFUSALS[one.refused], one.retry_in))
                    continue
                counters.sent += 1
                submission.reply.stored(one)
                if submission.origin is not None:
                    submission.origin.answered = now
                if one.repeat:
                    counters.repeated += 1
                elif carbons:
                    hub.notifier.carbon(one.message, submission.origin)
        if counters.sent != before:
            counters.message_seconds["acknowledged"].observe(now - batch.since, counters.sent - before)

    def _blocked(self, submission: Submission, message: Message) -> None:
        """A message was not kept, because its recipient blocks the sender."""
        self._counters.blocked += 1
        if self._refuse_blocked:
            self._refuse(submission, Refused(Error.NOT_ALLOWED, _BLOCKED))
            return
        self._counters.sent += 1
        submission.reply.stored(Stored(message, ()))
        if self._hub.notifier.carbons:
            self._hub.notifier.carbon(message, submission.origin)

    def _not_stored(self, failure: Failure, submissions: Sequence[Submission]) -> None:
        if failure.check(StoreUnavailable) is None:
            self.log.failure("the store failed", failure)
        else:
            self._say("messages are refused: {reason}", failure)
        for submission in submissions:
            self._refuse(submission, Refused(Error.NO_STORE, _REFUSALS[Error.NO_STORE]))

    def _say(self, text: str, failure: Failure) -> None:
        # Under load there are hundreds of batches a second.
        self._outages.down(text, failure.getErrorMessage())

    def _not_answered(self, failure: Failure) -> None:
        self.log.failure("a batch could not be answered", failure)

    def _refuse(self, submission: Submission, refused: Refused) -> None:
        self._counters.refused[refused.error] += 1
        submission.reply.refused(refused)

    def _finish(self, result: Failure | None, batch: _Batch, large: bool) -> None:
        if result is not None:
            self._not_answered(result)
        self._in_flight -= 1
        self._moved = now = self._clock.seconds()
        self._size -= batch.size
        self._budget.add(-batch.size)
        if large:
            took = now - batch.began
            if took > 0 and not self.closed:
                self._clock.callLater(min(took, MAX_LARGE_REST), self._rested)
            else:
                self._large_in_flight = False
        self._begin_again()
        if not self._in_flight:
            self._look_if_drained()

    def _rested(self) -> None:
        """The rest after a batch of large messages is over."""
        self._large_in_flight = False
        self._begin_again()

    def _look_if_drained(self) -> None:
        if self._drained and not self._in_flight and not self.waiting and not self._updates:
            drained, self._drained = self._drained, []
            for fires in drained:
                fires.callback(None)


def _again(stored: Sequence[Stored], fresh: Sequence[Stored]) -> list[Stored]:
    """The repeats whose news go out as well, each message once.

    Its first try may have been stored and yet told as failed (the store's answer was lost), and then nobody has heard
    of it. Who has, cuts it by its offset.
    """
    told = {one.message.mid for one in fresh}
    repeats = [one for one in stored if one.repeat and one.whole and one.places]
    return list({one.message.mid: one for one in repeats if one.message.mid not in told}.values())
