"""A store and a router that answer when they are told to, and fail when they are told to.

They are those in memory, with their answers held back; they pass the contracts like every other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.chat.interfaces import (
    NO_BOUND,
    Blocks,
    Conversation,
    InboxPage,
    InboxState,
    IRouter,
    IStore,
    Page,
    Progress,
    RouterUnavailable,
    Stored,
    StoreListener,
    StoreUnavailable,
)
from kschat.chat.message import Message
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation, Revocation

T = TypeVar("T")


class Answers:
    """What was asked and is not answered yet, in order.

    Attributes:
        held: whether answers wait for ``give``.
        away: fail with ``unavailable``.
        broken: do what no backend may do: ``"call"`` raises out of a call, ``"answer"`` fails with another error.
    """

    def __init__(self, unavailable: Exception) -> None:
        self.held = False
        self.away = False
        self.broken = ""
        self._unavailable = unavailable
        self._waiting: list[Callable[[], object]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def to(self, begin: Callable[[], Deferred[T]]) -> Deferred[T]:
        """The answer that ``begin`` finds, when its turn comes."""
        if self.broken == "call":
            raise ZeroDivisionError("a bug of the backend")
        if not self.held:
            return self._now(begin)
        later: Deferred[T] = Deferred()
        self._waiting.append(lambda: self._now(begin).chainDeferred(later))
        return later

    def give(self, count: int | None = None) -> None:
        """Let the first ``count`` have their answers, or all."""
        number = len(self._waiting) if count is None else count
        waiting, self._waiting = self._waiting[:number], self._waiting[number:]
        for one in waiting:
            one()

    def _now(self, begin: Callable[[], Deferred[T]]) -> Deferred[T]:
        if self.broken:
            return fail(ZeroDivisionError("a bug of the backend"))
        return fail(self._unavailable) if self.away else begin()


@implementer(IStore)
class LateStore:
    """A store whose answers wait, each kind in the order of the calls.

    Attributes:
        answers: to everything but ``inbox``, ``read`` and ``last_seen``, whose are ``looks``.
        lists: those to ``revocations``.
        batches: what it was asked to append, also what failed.
    """

    def __init__(self, max_messages: int = 100_000, max_bytes: int = 100_000_000) -> None:
        self._memory = MemoryStore(max_messages, max_bytes)
        self.epoch = self._memory.epoch
        self.epoch = self._memory.epoch
        self.answers = Answers(StoreUnavailable("the test took it away"))
        self.looks = Answers(StoreUnavailable("the test took it away"))
        self.lists = Answers(StoreUnavailable("the test took it away"))
        self.batches: list[list[Message]] = []
        self.running = False
        self.keeps = True
        self.outbox = None

    @property
    def up(self) -> bool:
        return not self.answers.away

    def attach(self, listener: StoreListener) -> None:
        self.listener = listener

    def start(self) -> None:
        self.running = True

    def stop(self) -> Deferred[None]:
        self.running = False
        return self.answers.to(self._memory.stop)

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        self.batches.append(list(batch))
        return self.answers.to(lambda: self._memory.append(batch))

    def change(self, update: Message) -> Deferred[Stored]:
        return self.answers.to(lambda: self._memory.change(update))

    def find(self, user: str, mid: str, peer: str | None) -> Deferred[Message | None]:
        return self.answers.to(lambda: self._memory.find(user, mid, peer))

    def readers(self, room: str, user: str, mid: str) -> Deferred[list[str] | None]:
        return self.answers.to(lambda: self._memory.readers(room, user, mid))

    def inbox(self, user: str) -> Deferred[InboxState]:
        return self.looks.to(lambda: self._memory.inbox(user))

    def ends(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self.looks.to(lambda: self._memory.ends(users))

    def members(self, room: str) -> Deferred[list[str]]:
        return self.answers.to(lambda: self._memory.members(room))

    def read(self, user: str, after: int, limit: int) -> Deferred[InboxPage]:
        return self.looks.to(lambda: self._memory.read(user, after, limit))

    def is_outdated(self, offset: int) -> None:
        self._memory.is_outdated(offset)

    def save_progress(self, progress: Progress) -> Deferred[None]:
        return self.answers.to(lambda: self._memory.save_progress(progress))

    def last_seen(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self.looks.to(lambda: self._memory.last_seen(users))

    def history(self, user: str, peer: str, *, before: str | None, limit: int) -> Deferred[Page]:
        return self.answers.to(lambda: self._memory.history(user, peer, before=before, limit=limit))

    def conversations(self, user: str, limit: int, *, before: str | None = None) -> Deferred[list[Conversation]]:
        return self.answers.to(lambda: self._memory.conversations(user, limit, before=before))

    def rooms(self, user: str) -> Deferred[list[str]]:
        return self.answers.to(lambda: self._memory.rooms(user))

    def erase(self, user: str) -> Deferred[int]:
        return self.answers.to(lambda: self._memory.erase(user))

    def mark_read(self, user: str, peer: str, mid: str) -> Deferred[bool]:
        return self.answers.to(lambda: self._memory.mark_read(user, peer, mid))

    def join(self, room: str, user: str, most: int, *, most_rooms: int = NO_BOUND) -> Deferred[bool]:
        return self.answers.to(lambda: self._memory.join(room, user, most, most_rooms=most_rooms))

    def leave(self, room: str, user: str) -> Deferred[bool]:
        return self.answers.to(lambda: self._memory.leave(room, user))

    def block(self, user: str, peer: str, most: int) -> Deferred[bool]:
        return self.answers.to(lambda: self._memory.block(user, peer, most))

    def unblock(self, user: str, peer: str) -> Deferred[bool]:
        return self.answers.to(lambda: self._memory.unblock(user, peer))

    def blocked(self, user: str) -> Deferred[list[str]]:
        return self.answers.to(lambda: self._memory.blocked(user))

    def blocks(self, user: str, peers: Sequence[str]) -> Deferred[Blocks]:
        return self.answers.to(lambda: self._memory.blocks(user, peers))

    def subscribe(self, user: str, subscription: PushSubscription, most: int) -> Deferred[None]:
        return self.answers.to(lambda: self._memory.subscribe(user, subscription, most))

    def unsubscribe(self, user: str, endpoint: str | None) -> Deferred[int]:
        return self.answers.to(lambda: self._memory.unsubscribe(user, endpoint))

    def subscriptions(self, user: str) -> Deferred[list[PushSubscription]]:
        return self.answers.to(lambda: self._memory.subscriptions(user))

    def revoke(self, revocation: Revocation, *, now: int, most: int) -> Deferred[None]:
        return self.answers.to(lambda: self._memory.revoke(revocation, now=now, most=most))

    def revocations(self, after: int, limit: int) -> Deferred[list[NumberedRevocation]]:
        return self.lists.to(lambda: self._memory.revocations(after, limit))


@implementer(IRouter)
class LateRouter:
    """A router whose answers wait.

    Attributes:
        answers: to ``publish``.
        binds: those to ``bind``.
        batches: what it was asked to publish, also what failed.
        exact: whether each of them was to be answered exactly.
        bound: the users it was last told of.
        alone: as other daemons are to be thought of, or not.
    """

    alone = False
    figures = MappingProxyType({"tries": 3})

    def __init__(self) -> None:
        self._memory = MemoryRouter()
        self.answers = Answers(RouterUnavailable("the test took it away"))
        self.binds = Answers(RouterUnavailable("the test took it away"))
        self.batches: list[list[Stored]] = []
        self.exact: list[bool] = []
        self.sockets: set[tuple[str, str]] = set()
        self.attach = self._memory.attach
        self.start = self._memory.start
        self.stop = self._memory.stop

    @property
    def up(self) -> bool:
        return not self.answers.away

    @property
    def bound(self) -> set[str]:
        return {user for user, _ in self.sockets}

    def bind(self, user: str, socket: str) -> Deferred[None]:
        self.sockets.add((user, socket))
        return self.binds.to(lambda: self._bind(user, socket))

    def _bind(self, user: str, socket: str) -> Deferred[None]:
        return self._memory.bind(user, socket) if (user, socket) in self.sockets else succeed(None)

    def unbind(self, user: str, socket: str) -> None:
        self.sockets.discard((user, socket))
        self._memory.unbind(user, socket)

    def publish(self, batch: Sequence[Stored], exact: bool = False) -> Deferred[list[bool]]:
        self.batches.append(list(batch))
        self.exact.append(exact)
        return self.answers.to(lambda: self._memory.publish(batch, exact))
