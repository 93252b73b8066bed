"""A store and a router that make spans of some batches, and pass all on to those of the daemon.

They stand in front of them only while tracing is on: the pipeline itself knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from kschat.chat.interfaces import IRouter, IStore, Stored
from kschat.chat.message import Message
from kschat.tracing.spans import Span, TracerBackend

T = TypeVar("T")

#: Names of spans.
STORE: Final = "store"
ROUTE: Final = "route"


class Tracing:
    """Chooses batches, and remembers which was stored a moment ago: its publish follows in the same turn.

    Args:
        tracer: makes the spans.
        sample: the part of batches that is chosen, from 0 to 1.
        random: gives a number from 0 up to 1.
        clock: the reactor.

    Attributes:
        tracer: see above.
    """

    def __init__(
        self, tracer: TracerBackend, *, sample: float, random: Callable[[], float], clock: IReactorTime
    ) -> None:
        self.tracer = tracer
        self._sample = sample
        self._random = random
        self._clock = clock
        # Of the batch: its span, and what the store said of each message, by identity. (The span holds none of it.)
        self._stored: tuple[Span, dict[int, Stored]] | None = None

    @property
    def chooses(self) -> bool:
        """Whether this batch is one of those."""
        return self._random() < self._sample

    def store(self, original: IStore) -> IStore:
        """A store, with spans of some batches."""
        return cast(IStore, _TracedStore(original, self))

    def router(self, original: IRouter) -> IRouter:
        """A router, with spans of the same batches."""
        return cast(IRouter, _TracedRouter(original, self))

    def append(self, batch: Sequence[Message], append: Callable[[], Deferred[list[Stored]]]) -> Deferred[list[Stored]]:
        """Append a chosen batch."""
        span = self.tracer.work(STORE, len(batch))
        return _timed(span, append).addCallback(self._was_stored, span)

    def publish(self, batch: Sequence[Stored], publish: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Publish a batch, or a part of one, perhaps a chosen one."""
        if self._stored is None or id(batch[0]) not in self._stored[1]:
            return publish()
        return _timed(self.tracer.work(ROUTE, len(batch), self._stored[0]), publish)

    def _was_stored(self, stored: list[Stored], span: Span) -> list[Stored]:
        self._stored = kept = (span, {id(one): one for one in stored})
        self._clock.callLater(0, self._forget, kept)
        return stored

    def _forget(self, kept: object) -> None:
        if self._stored is kept:
            self._stored = None


class _Before:
    """Stands before another object, and is as that one but for what it has itself.

    Args:
        original: the object.
        interface: that it provides.
    """

    def __init__(self, original: Any, interface: Any) -> None:
        self._original = original
        directlyProvides(self, interface)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _TracedStore(_Before):
    """A store, with spans of some batches.

    Args:
        original: the store.
        batches: chooses.
    """

    def __init__(self, original: IStore, batches: Tracing) -> None:
        super().__init__(original, IStore)
        self._append = original.append
        self._batches = batches

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        """See ``IStore``."""
        append = self._append
        return self._batches.append(batch, lambda: append(batch)) if self._batches.chooses else append(batch)


class _TracedRouter(_Before):
    """A router, with spans of the same batches.

    Args:
        original: the router.
        batches: has chosen them.
    """

    def __init__(self, original: IRouter, batches: Tracing) -> None:
        super().__init__(original, IRouter)
        self._publish = original.publish
        self._batches = batches

    def publish(self, batch: Sequence[Stored], exact: bool = False) -> Deferred[list[bool]]:
        """See ``IRouter``."""
        publish = self._publish
        return self._batches.publish(batch, lambda: publish(batch, exact))


def _timed(span: Span, begin: Callable[[], Deferred[T]]) -> Deferred[T]:
    try:
        answer = begin()
    except BaseException as error:
        span.end(error=type(error).__name__)
        raise
    return answer.addBoth(_ended, span)


def _ended(result: Any, span: Span) -> Any:
    # The kind alone: what a failure says may name a server's address.
    span.end(error=type(result.value).__name__ if isinstance(result, Failure) else "")
    return result
