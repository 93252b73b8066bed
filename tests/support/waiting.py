"""Waits that are bounded, and that say what they had seen when they end in vain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from twisted.internet import defer

T = TypeVar("T")

#: Seconds. Everything on this machine answers within milliseconds; this is for a loaded one.
PATIENCE = 20.0


class WaitedTooLong(AssertionError):
    """A wait ended in vain. Its text says for what, for how long, and what had been seen until then."""


def within(
    waited: defer.Deferred[T], what: str, seen: Callable[[], str], seconds: float = PATIENCE
) -> defer.Deferred[T]:
    """``waited``, failing with :class:`WaitedTooLong` after ``seconds``; ``seen`` then gives the text of the logs."""

    def too_late(_result: object, _seconds: float) -> NoReturn:
        raise WaitedTooLong(f"waited {seconds} s in vain for {what}\n{seen()}")

    return waited.addTimeout(seconds, real_reactor(), too_late)


async def repeated_until(
    ask: Callable[[], Awaitable[T]], right: Callable[[T], bool], what: str, seconds: float = PATIENCE
) -> T:
    """The first answer of ``ask`` that is ``right``. It asks again at once: ``ask`` is a round trip, no busy loop."""
    reactor = real_reactor()
    deadline = reactor.seconds() + seconds
    while True:
        answer = await ask()
        if right(answer):
            return answer
        if reactor.seconds() > deadline:
            raise WaitedTooLong(f"waited {seconds} s in vain for {what}; the last answer was {answer!r}")


def real_reactor() -> Any:
    """The reactor that trial runs. (Its type is a module to mypy, hence Any.)"""
    from twisted.internet import reactor

    return reactor
