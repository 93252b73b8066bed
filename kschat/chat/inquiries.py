"""Asks all daemons for something, and gathers what they answer. This costs nothing while nobody asks."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_urlsafe
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kschat.chat.bus import IBus
from kschat.chat.cluster_commands import ClusterCommand

#: Seconds that the answers of other daemons are waited for.
INQUIRY_WAIT: Final = 2.0


class Answers(msgspec.Struct, frozen=True):
    """What the other daemons answered.

    Attributes:
        found: one answer a daemon.
        complete: whether all daemons answered in time.
    """

    found: list[Any]
    complete: bool


class _Inquiry:
    """One question. ``expected``: how many answers there will be; None while that is not known."""

    __slots__ = ("expected", "fires", "found")

    def __init__(self) -> None:
        self.fires: Deferred[None] = Deferred()
        self.expected: int | None = None
        self.found: list[Any] = []

    @property
    def complete(self) -> bool:
        return self.expected is not None and len(self.found) >= self.expected

    def expect(self, count: int | None) -> None:
        """Set how many daemons will answer. None if that is unknown: the answers so far are all."""
        self.expected = count
        if count is None:
            self._end()
        else:
            self.look()

    def look(self) -> None:
        if self.complete:
            self._end()

    def _end(self) -> None:
        if not self.fires.called:
            self.fires.callback(None)


class Inquiries:
    """Asks the other daemons, and takes their answers.

    Args:
        clock: the reactor.
        bus: reaches the others.
    """

    def __init__(self, clock: IReactorTime, bus: IBus) -> None:
        self._clock = clock
        self._bus = bus
        self._open: dict[str, _Inquiry] = {}

    async def ask(self, question: Callable[[str], ClusterCommand]) -> Answers:
        """What all other daemons answer within ``INQUIRY_WAIT``. Never fails.

        Args:
            question: makes the command, of an id that the answers bring back.
        """
        id_ = token_urlsafe(6)
        inquiry = self._open[id_] = _Inquiry()
        try:
            self._bus.publish_all(question(id_))
            counted = self._bus.daemons()
            counted.addCallback(lambda count: inquiry.expect(None if count is None else count - 1))
            inquiry.fires.addTimeout(INQUIRY_WAIT, self._clock, _give_up)
            await inquiry.fires
            await counted
        finally:
            del self._open[id_]
        return Answers(inquiry.found, inquiry.complete)

    def answered(self, id_: str, answer: Any) -> None:
        """Another daemon has answered. Those who did not ask hear of it as well."""
        inquiry = self._open.get(id_)
        if inquiry is not None:
            inquiry.found.append(answer)
            inquiry.look()


def _give_up(_: object, __: float) -> None:
    """Nobody waits longer; the answer says that it is not complete."""
