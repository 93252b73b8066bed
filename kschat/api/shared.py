"""An answer that takes work, shared by all who ask for it at about the same time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

T = TypeVar("T")


class SharedAnswer(Generic[T]):
    """The last answer, and those who wait for the next one.

    Args:
        make: makes an answer.
        seconds: the clock.
    """

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]], seconds: Callable[[], float]) -> None:
        self._make = make
        self._seconds = seconds
        self._latest: _Making[T] | None = None

    def within(self, max_age: float) -> Deferred[T]:
        """An answer that somebody asked for up to ``max_age`` seconds ago, or a new one. Fails as ``make`` does.

        So ``make`` is called once in ``max_age`` seconds, however many ask. 0: it is called.
        """
        now = self._seconds()
        latest = self._latest
        if latest is None or latest.failed or not max_age or now - latest.began > max_age:
            latest = self._latest = _Making(now)
            answer = latest.wait()  # first, so that somebody hears of a failure in this turn
            Deferred.fromCoroutine(self._make()).addCallbacks(latest.made, latest.not_made)
            return answer
        return latest.wait()


class _Making(Generic[T]):
    """One answer. ``began``: when it was asked for."""

    __slots__ = ("_answer", "_waiting", "began", "failed")

    def __init__(self, began: float) -> None:
        self.began = began
        self.failed = False
        self._answer: T | None = None
        self._waiting: list[Deferred[T]] = []

    def wait(self) -> Deferred[T]:
        if self._answer is not None:
            return succeed(self._answer)
        waits: Deferred[T] = Deferred()
        self._waiting.append(waits)
        return waits

    def made(self, answer: T) -> None:
        self._answer = answer
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(answer)

    def not_made(self, failure: Failure) -> None:
        self.failed = True
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.errback(failure)
