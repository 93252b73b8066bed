"""A store and a router that answer when they are told to, and fail when they are told to.

Around the ones in memory, whose answers they hold back; they pass the contracts like every other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.chat.interfaces import Deliver, IRouter, IStore, RouterUnavailable, Stored, StoreUnavailable
from kschat.chat.messages import Message

T = TypeVar("T")


class _Held:
    """Answers that wait for ``answer``, in order."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], object]] = []
        self.held = False

    def __len__(self) -> int:
        return len(self._waiting)

    def give(self, begin: Callable[[], Deferred[T]]) -> Deferred[T]:
        """What ``begin`` returns, when ``answer`` comes to it; at once where nothing is held."""
        if not self.held:
            return begin()
        later: Deferred[T] = Deferred()
        self._waiting.append(lambda: begin().chainDeferred(later))
        return later

    def answer(self, count: int | None = None) -> None:
        """Let the first ``count`` have their answers, or all."""
        waiting, self._waiting = self._waiting[:count], self._waiting[count:] if count is not None else []
        for one in waiting:
            one()


@implementer(IStore)
class LateStore:
    """A store whose answers wait for ``answers.answer()`` while ``answers.held``.

    Attributes:
        away: fail with StoreUnavailable.
        broken: raise what no store may raise: ``"call"`` out of the call, ``"answer"`` by the Deferred.
        batches: what it was asked to append, also what failed.
    """

    def __init__(self, max_messages: int = 1000, max_bytes: int = 10_000_000) -> None:
        self._memory = MemoryStore(max_messages, max_bytes)
        self.epoch = self._memory.epoch
        self.answers = _Held()
        self.away = False
        self.broken = ""
        self.batches: list[list[Message]] = []

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        self.batches.append(list(batch))
        if self.broken == "call":
            raise ZeroDivisionError("a bug in the store")
        return self.answers.give(lambda: self._append(batch))

    def _append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        if self.broken:
            return fail(ZeroDivisionError("a bug in the store"))
        return fail(StoreUnavailable("the test took it away")) if self.away else self._memory.append(batch)

    def read(self, user: str, after: int, limit: int) -> Deferred[list[Stored]]:
        if self.away:
            return fail(StoreUnavailable("the test took it away"))
        return self.answers.give(lambda: self._memory.read(user, after, limit))


@implementer(IRouter)
class LateRouter:
    """A router whose answers wait for ``answers.answer()`` while ``answers.held``.

    Attributes: as of ``LateStore``; ``bound`` are the users it was last told of.
    """

    def __init__(self) -> None:
        self._memory = MemoryRouter()
        self.answers = _Held()
        self.away = False
        self.broken = ""
        self.batches: list[list[Stored]] = []
        self.bound: set[str] = set()

    def attach(self, deliver: Deliver) -> None:
        self._memory.attach(deliver)

    def bind(self, user: str) -> Deferred[None]:
        self.bound.add(user)
        if self.broken == "call":
            raise ZeroDivisionError("a bug in the router")
        return self.answers.give(lambda: self._bind(user))

    def _bind(self, user: str) -> Deferred[None]:
        if self.broken:
            return fail(ZeroDivisionError("a bug in the router"))
        if self.away:
            return fail(RouterUnavailable("the test took it away"))
        return self._memory.bind(user) if user in self.bound else succeed(None)

    def unbind(self, user: str) -> None:
        self.bound.discard(user)
        self._memory.unbind(user)

    def publish(self, batch: Sequence[Stored]) -> Deferred[list[bool]]:
        self.batches.append(list(batch))
        if self.broken == "call":
            raise ZeroDivisionError("a bug in the router")
        return self.answers.give(lambda: self._publish(batch))

    def _publish(self, batch: Sequence[Stored]) -> Deferred[list[bool]]:
        if self.broken:
            return fail(ZeroDivisionError("a bug in the router"))
        return fail(RouterUnavailable("the test took it away")) if self.away else self._memory.publish(batch)
