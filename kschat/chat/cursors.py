"""Reads a user's cursor after other daemons have written what they have buffered.

A daemon buffers cursors for a moment before it writes them. A socket that connects to another daemon in that moment
would receive again what the user's first device has just confirmed. So the daemon asks the daemons that have the user,
and they write the cursor at once. This costs nothing while no socket connects.
"""

from __future__ import annotations

from secrets import token_urlsafe
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat.bus import IBus
from kschat.chat.cluster_commands import CursorRequest, CursorWritten
from kschat.chat.write_behind import WriteBehindBuffer

#: Seconds that a socket which connects waits for other daemons to write its user's cursor. One that stands still does
#: not answer; then messages may come again.
CURSOR_WAIT: Final = 0.5


class Cursors:
    """Asks other daemons for users' cursors, and answers them.

    Args:
        clock: the reactor.
        write_behind: has the cursors of this daemon that the store does not know yet.
        bus: reaches the others.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, write_behind: WriteBehindBuffer, bus: IBus) -> None:
        self._clock = clock
        self._write_behind = write_behind
        self._bus = bus
        self._questions: dict[str, _Question] = {}

    def settled(self, user: str) -> Deferred[None]:
        """Fires when the store has what each daemon knows of the cursor of ``user``, soon in any case. Never fails.

        This daemon must listen to what is told to ``user``.
        """
        id_ = token_urlsafe(6)
        question = _Question()
        told = self._bus.ask(user, CursorRequest(id_)).addCallback(question.expect)
        if not question.fires.called:
            self._questions[id_] = question
            question.fires.addTimeout(CURSOR_WAIT, self._clock, _give_up)
            question.fires.addBoth(self._done, id_)
        told.addErrback(self._failed)
        return self._write_behind.confirmed(user).addCallback(lambda _: question.fires)

    def asked(self, user: str, command: CursorRequest) -> None:
        """Another daemon asks: write the cursor of ``user``, then answer."""
        # In a later turn: the confirmation of a message may have arrived before the question, and be read after it.
        self._clock.callLater(0, self._answer, user, command.id)

    def answered(self, command: CursorWritten) -> None:
        """Another daemon has written a cursor. Those who did not ask hear of it as well."""
        question = self._questions.get(command.id)
        if question is not None:
            question.answered()

    def _answer(self, user: str, id_: str) -> None:
        written = self._write_behind.confirmed(user)
        written.addCallback(lambda _: self._bus.publish((user,), CursorWritten(id_))).addErrback(self._failed)

    def _done(self, _: object, id_: str) -> None:
        self._questions.pop(id_, None)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("other daemons could not be asked for a cursor", failure)


class _Question:
    """How many answers are awaited; the first may come before that is known."""

    def __init__(self) -> None:
        self.fires: Deferred[None] = Deferred()
        self._expected: int | None = None
        self._answers = 0

    def expect(self, count: int) -> None:
        self._expected = count
        self._look()

    def answered(self) -> None:
        self._answers += 1
        self._look()

    def _look(self) -> None:
        if self._expected is not None and self._answers >= self._expected and not self.fires.called:
            self.fires.callback(None)


def _give_up(_: object, __: float) -> None:
    """Nobody waits longer; what a later answer says is found in the store by the next socket."""
