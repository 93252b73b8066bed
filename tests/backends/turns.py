"""A reactor that turns only while a test waits, so that a store with threads can be asked as if it had none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from kschat.backends.sqlite import Settings, SqliteStore

T = TypeVar("T")

#: Seconds after which a test that waits is given up.
PATIENCE = 60


@implementer(IReactorFromThreads)
class Turns(Clock):
    """The clock and the reactor of a store."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = SimpleQueue()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:  # noqa: A002
        """See ``IReactorFromThreads``."""
        self._calls.put((callable, args, kwargs))

    def turn(self) -> None:
        """Do one call, for which it waits. Raises queue.Empty."""
        call, arguments, named = self._calls.get(timeout=PATIENCE)
        call(*arguments, **named)

    def result(self, answer: Deferred[T]) -> T:
        """Turn until ``answer`` is there; raises what it failed with."""
        results: list[Any] = []
        answer.addBoth(results.append)
        while not results:
            self.turn()
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]  # type: ignore[no-any-return]

    def turn_until(self, done: Callable[[], bool]) -> None:
        """Turn until ``done()``."""
        while not done():
            self.turn()


class StoreTestCase(SynchronousTestCase):
    """Stores in files, which answer when they are asked."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = str(self.directory / "kschat.db")
        self.turns = Turns()
        #: The time of day, in seconds since 1970; None for what ``turns`` says.
        self.wall: float | None = None

    def _now(self) -> float:
        return self.turns.seconds() if self.wall is None else self.wall

    def started(self, **changes: Any) -> SqliteStore:
        """A store in the file of this test."""
        settings = Settings(**{"path": self.path, "sync": "normal", **changes})
        store = SqliteStore(settings, self.turns, self.turns, wall=self._now)
        store.start()
        self.addCleanup(lambda: self.turns.result(store.stop()))
        return store

    def restarted(self, store: SqliteStore) -> SqliteStore:
        """The next one after it."""
        self.turns.result(store.stop())
        return self.started()
