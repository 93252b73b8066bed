"""``Approvals``: what users send, until the operator's back end has said whether they may. Off unless it is asked.

Answers come in any order. What one user has sent goes on in the order in which it was sent, each message as soon as all
before it are decided; what others send does not wait for it. What waits is bounded, of one user and of all.

Messages of the HTTP API and of other servers do not pass through here: the operator's own back end is not asked
about itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.budget import Budget
from kschat.chat.changes import is_update, update_of
from kschat.chat.composer import Composer
from kschat.chat.delivery import GOING_DOWN, Delivery, Submission
from kschat.chat.hub import Hub
from kschat.chat.interfaces import Decision, IAuthorizer
from kschat.chat.message import DELETE, REACT, Error, Message, Refused
from kschat.chat.session import ChatSession
from kschat.chat.tokens import Identity
from kschat.counters import Counters

#: Messages of one user that wait, and of all users of a daemon.
MAX_HELD_USER: Final = 100
MAX_HELD: Final = 10_000

#: The part of the bytes that a daemon may hold which may be such messages; and the part of that, of one user.
HELD_PART: Final = 0.125
USER_PART: Final = 0.25

_ALLOWED: Final = Decision(True)

_NOT_SEND: Final = "You may not send this message."
_NOT_JOIN: Final = "You may not join this room."

#: A decision, or when there will be one.
_Asked: TypeAlias = Decision | Deferred[Decision]


class _Held:
    """A message that waits. ``decision``: on it; None while there is none. ``go_on``: takes it then."""

    __slots__ = ("decision", "go_on", "submission")

    def __init__(self, submission: Submission, go_on: Callable[[Submission], None]) -> None:
        self.submission = submission
        self.go_on = go_on
        self.decision: Decision | None = None


class _Queue:
    """What one user has sent, the oldest first. ``size``: its bytes."""

    __slots__ = ("messages", "size")

    def __init__(self) -> None:
        self.messages: deque[_Held] = deque()
        self.size = 0


class Approvals:
    """The approvals of one daemon.

    Args:
        authorizer: decides.
        delivery: takes what is allowed.
        composer: makes a message with another content.
        hub: lets each socket be written to once.
        budget: counts the bytes that wait.
        counters: counts.
        revoked: whether a token was revoked, perhaps while a message of its socket waited.

    Attributes:
        held: messages that wait.
    """

    log = Logger()

    def __init__(
        self,
        authorizer: IAuthorizer,
        *,
        delivery: Delivery,
        composer: Composer,
        hub: Hub,
        budget: Budget,
        counters: Counters,
        revoked: Callable[[Identity], bool],
    ) -> None:
        self._authorizer = authorizer
        self._delivery = delivery
        self._composer = composer
        self._hub = hub
        self._budget = budget
        self._counters = counters
        self._revoked = revoked
        self._max_size = int(budget.limit * HELD_PART)
        self._size = 0
        self.held = 0
        # By sender, in the order in which they came.
        self._queues: dict[str, _Queue] = {}
        self._settled: list[Deferred[None]] = []

    def submit(self, submission: Submission) -> None:
        """Take a message, as ``Delivery.submit`` does, which gets it when it is allowed.

        Raises:
            Refused: as there; BUSY if too many or too much wait; as the back end says, if that is known at once.
        """
        self._take(submission, self._delivery.submit)

    def update(self, submission: Submission) -> None:
        """Take an update, as ``Delivery.update`` does; see ``submit``. Only an edit is asked about as a message is."""
        self._take(submission, self._delivery.update)

    def join(self, session: ChatSession, room: str) -> Deferred[None]:
        """Ask whether the user of ``session`` may become a member of ``room``.

        Returns:
            Fails with Refused if not; with CancelledError if the socket has left meanwhile.
        """
        asked = self._authorizer.may_join(session.user, room)

        def decided(decision: Decision) -> None:
            if session.closed:
                raise CancelledError
            self._ensure_allowed(decision, session, _NOT_JOIN)

        return (asked if isinstance(asked, Deferred) else succeed(asked)).addCallback(decided)

    def if_may_write(self, user: str, to: str, then: Callable[[], None]) -> None:
        """Call ``then`` if ``user`` may write to ``to``, now or when that is known."""

        def decided(decision: Decision) -> None:
            if decision.allowed:
                then()

        asked = self._authorizer.may_write(user, to)
        if isinstance(asked, Deferred):
            asked.addCallback(decided).addErrback(self._failed)
        else:
            decided(asked)

    def forget(self, user: str) -> None:
        """What ``user`` has sent, and waits, is dropped: the user is erased."""
        queue = self._queues.pop(user, None)
        while queue is not None and queue.messages:
            self._next(queue)
        self._look_if_settled()

    def close(self) -> None:
        """The daemon is going down: refuse what waits. Senders send it again to another daemon, by its ``cid``."""
        queues, self._queues = self._queues, {}
        with self._hub.writing():
            for queue in queues.values():
                while queue.messages:
                    self._refuse(self._next(queue), Refused(Error.GOING_DOWN, GOING_DOWN))
        self._look_if_settled()

    def settled(self) -> Deferred[None]:
        """Fires when nothing waits."""
        if not self.held:
            return succeed(None)
        fires: Deferred[None] = Deferred()
        self._settled.append(fires)
        return fires

    def _take(self, submission: Submission, go_on: Callable[[Submission], None]) -> None:
        self._delivery.ensure_open()
        message = submission.message
        queue = self._queues.get(message.sender)
        if self._is_full(queue, message.size):
            self._counters.full["held"] += 1
            raise Refused(Error.BUSY, "Too many messages wait to be allowed; try again.")
        asked = self._decide(message)
        if queue is None and isinstance(asked, Decision):
            go_on(self._allowed(submission, asked))
            return
        one = _Held(submission, go_on)
        if queue is None:
            queue = self._queues[message.sender] = _Queue()
        queue.messages.append(one)
        self._count(queue, 1, message.size)
        if isinstance(asked, Deferred):
            asked.addErrback(self._undecided).addCallback(self._decided, one).addErrback(self._failed)
        else:
            one.decision = asked

    def _is_full(self, queue: _Queue | None, size: int) -> bool:
        """Whether a message of so many bytes is too much to wait. ``queue``: its sender's, if there is one."""
        if self.held >= MAX_HELD or self._size + size > self._max_size:
            return True
        if queue is None:
            return False
        return len(queue.messages) >= MAX_HELD_USER or queue.size + size > self._max_size * USER_PART

    def _decide(self, message: Message) -> _Asked:
        authorizer = self._authorizer
        kind = update_of(message).kind if is_update(message) else None
        if kind == DELETE:
            return _ALLOWED  # what was sent may be taken back
        may: _Asked = authorizer.may_write(message.sender, message.recipient)
        if kind == REACT:
            return may
        if isinstance(may, Deferred):
            return may.addCallback(self._decide_content, message)
        return self._decide_content(may, message)

    def _decide_content(self, may: Decision, message: Message) -> _Asked:
        if not may.allowed:
            return may
        asked: _Asked = self._authorizer.may_send(message)
        return asked

    def _decided(self, decision: Decision, one: _Held) -> None:
        one.decision = decision
        sender = one.submission.message.sender
        queue = self._queues.get(sender)
        if queue is None:
            return
        with self._hub.writing():
            while queue.messages and (decided := queue.messages[0].decision) is not None:
                self._go_on(self._next(queue), decided)
        if not queue.messages and self._queues.get(sender) is queue:
            del self._queues[sender]
        self._look_if_settled()

    def _go_on(self, one: _Held, decision: Decision) -> None:
        try:
            one.go_on(self._allowed(one.submission, decision))
        except Refused as refused:
            self._refuse(one, refused)

    def _allowed(self, submission: Submission, decision: Decision) -> Submission:
        """The message as it is to be sent. Raises Refused if it is not."""
        self._ensure_allowed(decision, submission.origin, _NOT_SEND)
        if decision.msg is None:
            return submission
        try:
            message = self._composer.with_content(submission.message, decision.msg)
        except Refused as refused:
            self._counters.ask_silent["invalid"] += 1
            self.log.warn("the msg that a back end wants to be sent instead can't be: {why}", why=refused.why)
            raise Refused(Error.NOT_ALLOWED, _NOT_SEND) from None
        return msgspec.structs.replace(submission, message=message)

    def _ensure_allowed(self, decision: Decision, session: ChatSession | None, otherwise: str) -> None:
        """Raises Refused if it is not allowed. ``otherwise``: what the user is told without a reason."""
        if session is not None and self._revoked(session.identity):
            raise Refused(Error.NOT_ALLOWED, "Your token was revoked.")
        if decision.allowed:
            return
        if decision.silent:
            raise Refused(Error.BUSY, "It could not be checked whether you may do that; try again.")
        raise Refused(Error.NOT_ALLOWED, decision.why or otherwise)

    def _refuse(self, one: _Held, refused: Refused) -> None:
        self._counters.refused[refused.error] += 1
        one.submission.reply.refused(refused)

    def _next(self, queue: _Queue) -> _Held:
        """The oldest message, which waits no longer."""
        one = queue.messages.popleft()
        self._count(queue, -1, -one.submission.message.size)
        return one

    def _count(self, queue: _Queue, count: int, size: int) -> None:
        self.held += count
        queue.size += size
        self._size += size
        self._budget.add(size)

    def _look_if_settled(self) -> None:
        if self._settled and not self.held:
            settled, self._settled = self._settled, []
            for fires in settled:
                fires.callback(None)

    def _undecided(self, failure: Failure) -> Decision:
        """A fault of ours: the message is refused. Without a decision all that its sender sends would wait for ever."""
        self._failed(failure)
        return Decision(False, silent=True)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("what a user wants to do could not be decided", failure)
