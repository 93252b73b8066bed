"""Asks the other daemons, and gathers their answers. Between two questions this costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_urlsafe
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

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
    """One question. ``expected``: the number of answers; None while it is not known."""

    __slots__ = ("expected", "fires", "found")

    def __init__(self) -> None:
        self.fires: Deferred[None] = Deferred()
        self.expected: int | None = None
        self.found: list[Any] = []

    @property
    def complete(self) -> bool:
        return self.expected is not None and len(self.found) >= self.expected

    def expect(self, count: int | None) -> None:
        """Wait for the answers of ``count`` other daemons. None if their number is not known: then wait no longer."""
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
    """The questions of one daemon to the others.

    Args:
        clock: the reactor.
        bus: carries questions and answers.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, bus: IBus) -> None:
        self._clock = clock
        self._bus = bus
        self._open: dict[str, _Inquiry] = {}

    async def ask(self, question: Callable[[str], ClusterCommand]) -> Answers:
        """Ask all other daemons, and wait ``INQUIRY_WAIT`` for their answers. Never fails.

        Args:
            question: makes the command; its argument is an id that the answers return.
        """

        def send(id_: str) -> Deferred[int | None]:
            self._bus.publish_all(question(id_))
            return self._bus.daemons().addCallback(lambda count: None if count is None else count - 1)

        return await self._gather(send)

    async def ask_about(self, user: str, question: Callable[[str], ClusterCommand]) -> Answers:
        """The same of the other daemons that have sockets of ``user``."""
        # A bus that is down reaches no daemon, and says so by 0: then it is unknown which of them have the user.
        was_up = bool(self._bus.up)
        answers = await self._gather(lambda id_: self._bus.ask(user, question(id_)))
        return Answers(answers.found, was_up and answers.complete)

    async def _gather(self, send: Callable[[str], Deferred[Any]]) -> Answers:
        """The answers to a question. ``send``: sends it, and returns how many daemons will answer; None: unknown."""
        id_ = token_urlsafe(6)
        inquiry = self._open[id_] = _Inquiry()
        try:
            send(id_).addCallback(inquiry.expect).addErrback(self._not_sent)
            inquiry.fires.addTimeout(INQUIRY_WAIT, self._clock, _give_up)
            await inquiry.fires
        finally:
            del self._open[id_]
        return Answers(inquiry.found, inquiry.complete)

    def _not_sent(self, failure: Failure) -> None:
        self.log.failure("a question could not be sent to the other daemons", failure)

    def answered(self, id_: str, answer: Any) -> None:
        """Another daemon has answered. Daemons that did not ask receive the answer as well."""
        inquiry = self._open.get(id_)
        if inquiry is not None:
            inquiry.found.append(answer)
            inquiry.look()


def _give_up(_: object, __: float) -> None:
    """The time is over; ``Answers`` says that they are not complete."""
