"""Asks all daemons for the sockets of a user. This costs nothing while nobody asks."""

from __future__ import annotations

from secrets import token_urlsafe
from typing import Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kschat.chat.bus import IBus
from kschat.chat.cluster_commands import SocketInfo, SocketsListed, SocketsRequest

#: Seconds that the answers of other daemons are waited for.
SOCKETS_WAIT: Final = 2.0


class SocketList(msgspec.Struct, frozen=True):
    """The sockets of a user.

    Attributes:
        sockets: on all daemons that answered.
        complete: whether all daemons that have the user answered.
    """

    sockets: list[SocketInfo]
    complete: bool


class _Question:
    __slots__ = ("answers", "expected", "fires", "found")

    def __init__(self, found: list[SocketInfo]) -> None:
        self.fires: Deferred[None] = Deferred()
        self.expected: int | None = None
        self.answers = 0
        self.found = found

    def look(self) -> None:
        if self.expected is not None and self.answers >= self.expected and not self.fires.called:
            self.fires.callback(None)

    def expect(self, count: int) -> None:
        self.expected = count
        self.look()


class SocketLists:
    """Asks other daemons, and takes their answers.

    Args:
        clock: the reactor.
        bus: reaches the others.
    """

    def __init__(self, clock: IReactorTime, bus: IBus) -> None:
        self._clock = clock
        self._bus = bus
        self._questions: dict[str, _Question] = {}

    async def of(self, user: str, here: list[SocketInfo]) -> SocketList:
        """The sockets of ``user`` on all daemons, within ``SOCKETS_WAIT``. ``here``: those of this daemon."""
        id_ = token_urlsafe(6)
        question = self._questions[id_] = _Question(list(here))
        # A bus that is down reaches nobody, and says so by 0: then it is unknown who else has the user.
        known = bool(self._bus.up)
        asked = self._bus.ask(user, SocketsRequest(id_)).addCallback(question.expect)
        question.fires.addTimeout(SOCKETS_WAIT, self._clock, _give_up)
        try:
            await question.fires
            await asked
        finally:
            del self._questions[id_]
        complete = known and question.expected is not None and question.answers >= question.expected
        return SocketList(question.found, complete)

    def answered(self, command: SocketsListed) -> None:
        """Another daemon has answered. Those who did not ask hear of it as well."""
        question = self._questions.get(command.id)
        if question is not None:
            question.answers += 1
            question.found += command.sockets
            question.look()


def _give_up(_: object, __: float) -> None:
    """Nobody waits longer; the answer says that it is not complete."""
