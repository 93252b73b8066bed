"""Stores for tests: one whose answers the test gives out, and a small one whose contents the test sees and drops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from kschat.chat.interfaces import (
    NO_BOUND,
    Blocks,
    Conversation,
    Entry,
    InboxPage,
    InboxState,
    IStore,
    Page,
    Progress,
    Stored,
    StoreListener,
    StoreUnavailable,
)
from kschat.chat.message import Message
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation, Revocation


class Question:
    """A call to a store that was not answered yet.

    Attributes:
        name: of the method.
        args: of the call.
    """

    def __init__(self, name: str, args: tuple[Any, ...], begin: Callable[[], Deferred[Any]]) -> None:
        self.name = name
        self.args = args
        self.fires: Deferred[Any] = Deferred()
        self._begin = begin
        self._found: Deferred[Any] | None = None

    def look(self) -> None:
        """Let the store find the answer now, and keep it to itself."""
        if self._found is None:
            self._found = self._begin()

    def answer(self) -> None:
        """Give the answer, found now unless ``look`` had found it."""
        self.look()
        assert self._found is not None
        self._found.chainDeferred(self.fires)

    def refuse(self, error: Exception | None = None) -> None:
        """Fail it. What the store was to change is changed all the same where ``look`` was called."""
        self.fires.errback(error or StoreUnavailable("the test took it away"))


@implementer(IStore)
class AskedStore:
    """A store around another.

    Attributes:
        epoch: as of ``IStore``.
        held: calls wait in ``questions`` for the test to answer them.
        prompt: what is held is found when it is asked for, and not when it is answered.
        holds_blocks: also calls of ``blocks``.
        away: calls fail with StoreUnavailable.
        error: what calls fail with where it is away.
        asked: the name of each call, with its arguments.
    """

    epoch = ""
    keeps = True
    up = True
    outbox = None

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.epoch = "the first"
        self.held = False
        self.prompt = False
        self.holds_blocks = False
        self.away = False
        self.error: Exception = StoreUnavailable("the test took it away")
        self.questions: list[Question] = []
        self.asked: list[tuple[Any, ...]] = []

    def calls(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of each call of one method."""
        return [one[1:] for one in self.asked if one[0] == name]

    def pending(self, name: str) -> list[Question]:
        """The calls of one method that wait for an answer."""
        return [one for one in self.questions if one.name == name]

    def answer_all(self) -> None:
        """Answer what waits, and what is asked because of that."""
        while self.questions:
            self.questions.pop(0).answer()

    def attach(self, listener: StoreListener) -> None:
        self.listener = listener

    def start(self) -> None:
        self.inner.start()

    def stop(self) -> Deferred[None]:
        stopped: Deferred[None] = self.inner.stop()
        return stopped

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        return self._ask("append", list(batch))

    def change(self, update: Message) -> Deferred[Stored]:
        return self._ask("change", update)

    def find(self, user: str, mid: str, peer: str | None) -> Deferred[Message | None]:
        return self._ask("find", user, mid, peer)

    def readers(self, room: str, user: str, mid: str) -> Deferred[list[str] | None]:
        return self._ask("readers", room, user, mid)

    def inbox(self, user: str) -> Deferred[InboxState]:
        return self._ask("inbox", user)

    def ends(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self._ask("ends", list(users))

    def members(self, room: str) -> Deferred[list[str]]:
        return self._ask("members", room)

    def read(self, user: str, after: int, limit: int) -> Deferred[InboxPage]:
        return self._ask("read", user, after, limit)

    def is_outdated(self, offset: int) -> None:
        self.asked.append(("is_outdated", offset))

    def save_progress(self, progress: Progress) -> Deferred[None]:
        return self._ask("save_progress", progress)

    def last_seen(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self._ask("last_seen", list(users))

    def history(self, user: str, peer: str, *, before: str | None, limit: int) -> Deferred[Page]:
        return self._ask("history", user, peer, before=before, limit=limit)

    def conversations(self, user: str, limit: int, *, before: str | None = None) -> Deferred[list[Conversation]]:
        return self._ask("conversations", user, limit, **({} if before is None else {"before": before}))

    def rooms(self, user: str) -> Deferred[list[str]]:
        return self._ask("rooms", user)

    def erase(self, user: str) -> Deferred[int]:
        return self._ask("erase", user)

    def mark_read(self, user: str, peer: str, mid: str) -> Deferred[bool]:
        return self._ask("mark_read", user, peer, mid)

    def join(self, room: str, user: str, most: int, *, most_rooms: int = NO_BOUND) -> Deferred[bool]:
        return self._ask("join", room, user, most, most_rooms=most_rooms)

    def leave(self, room: str, user: str) -> Deferred[bool]:
        return self._ask("leave", room, user)

    def block(self, user: str, peer: str, most: int) -> Deferred[bool]:
        return self._ask("block", user, peer, most)

    def unblock(self, user: str, peer: str) -> Deferred[bool]:
        return self._ask("unblock", user, peer)

    def blocked(self, user: str) -> Deferred[list[str]]:
        return self._ask("blocked", user)

    def blocks(self, user: str, peers: Sequence[str]) -> Deferred[Blocks]:
        """At once, also while others are held, unless ``holds_blocks``."""
        held, self.held = self.held, self.held and self.holds_blocks
        asked = self._ask("blocks", user, list(peers))
        self.held = held
        return asked

    def subscribe(self, user: str, subscription: PushSubscription, most: int) -> Deferred[None]:
        return self._ask("subscribe", user, subscription, most)

    def unsubscribe(self, user: str, endpoint: str | None) -> Deferred[int]:
        return self._ask("unsubscribe", user, endpoint)

    def subscriptions(self, user: str) -> Deferred[list[PushSubscription]]:
        return self._ask("subscriptions", user)

    def revoke(self, revocation: Revocation, *, now: int, most: int) -> Deferred[None]:
        return self._ask("revoke", revocation, now=now, most=most)

    def revocations(self, after: int, limit: int) -> Deferred[list[NumberedRevocation]]:
        """At once, also while others are held: nobody is let in before."""
        return succeed([])

    def _ask(self, name: str, *args: Any, **named: Any) -> Deferred[Any]:
        self.asked.append((name, *args, *named.values()))
        if self.away:
            return fail(self.error)
        question = Question(name, args, lambda: getattr(self.inner, name)(*args, **named))
        if self.held:
            self.questions.append(question)
            if self.prompt:
                question.look()
        else:
            question.answer()
        return question.fires


class _Shelf:
    def __init__(self) -> None:
        self.first = 1
        self.kept: list[Message | None] = []
        self.cursor = 0

    @property
    def last(self) -> int:
        return self.first + len(self.kept) - 1


class Shelves:
    """Inboxes and nothing else, open to the test. Pages are as short as it likes.

    Attributes:
        page: entries that ``read`` gives at the most.
        shelves: by user.
        dropped: by user, the offsets that are kept no longer.
    """

    def __init__(self, page: int = 1000) -> None:
        self.page = page
        self.shelves: dict[str, _Shelf] = {}
        self.dropped: dict[str, set[int]] = {}

    def shelf(self, user: str) -> _Shelf:
        return self.shelves.setdefault(user, _Shelf())

    def put(self, message: Message) -> Stored:
        """Keep one message to a user."""
        shelf = self.shelf(message.recipient)
        shelf.kept.append(message)
        return Stored(message, ((message.recipient, shelf.last),))

    def drop(self, user: str, count: int) -> None:
        """What retention does: the oldest are kept no longer."""
        shelf = self.shelf(user)
        count = min(count, len(shelf.kept))
        self.dropped.setdefault(user, set()).update(range(shelf.first, shelf.first + count))
        del shelf.kept[:count]
        shelf.first += count

    def lose(self, user: str, count: int, beyond: int = 1000) -> None:
        """What a server does that comes back with less: the newest are gone, and the next offset is far beyond."""
        shelf = self.shelf(user)
        shelf.kept[len(shelf.kept) - count :] = [None] * (count + beyond)

    def kept(self, user: str) -> range:
        """The offsets that are kept."""
        shelf = self.shelf(user)
        return range(shelf.first, shelf.last + 1)

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        return succeed([self.put(message) for message in batch])

    def inbox(self, user: str) -> Deferred[InboxState]:
        shelf = self.shelf(user)
        return succeed(InboxState(shelf.cursor, shelf.first, shelf.last))

    def read(self, user: str, after: int, limit: int) -> Deferred[InboxPage]:
        shelf = self.shelf(user)
        there = [(offset, shelf.kept[offset - shelf.first]) for offset in self.kept(user) if offset > after]
        found = [Entry(offset, message) for offset, message in there if message is not None]
        return succeed(InboxPage(found[: min(limit, self.page)], shelf.first, shelf.last))

    def ends(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return succeed({user: self.shelf(user).last for user in users})

    def save_progress(self, progress: Progress) -> Deferred[None]:
        for user, cursor in progress.cursors.items():
            shelf = self.shelf(user)
            shelf.cursor = max(shelf.cursor, min(cursor, shelf.last))
        return succeed(None)


class Behind:
    """A store that another has replaced: it answers with what there was then. What is noted goes to the new one.

    Args:
        shelves: the new one, whose contents it has now.
    """

    def __init__(self, shelves: Shelves) -> None:
        self._old = Shelves(shelves.page)
        for user, shelf in shelves.shelves.items():
            mine = self._old.shelf(user)
            mine.first, mine.kept, mine.cursor = shelf.first, list(shelf.kept), shelf.cursor
        self.save_progress = shelves.save_progress
        self.inbox, self.ends, self.read = self._old.inbox, self._old.ends, self._old.read
