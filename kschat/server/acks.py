"""The pending acks of one socket: each arrives, or fails, in bounded time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from kschat.server import values
from kschat.server.errors import Gone, TimedOut, TooMany, Unanswered
from kschat.wire.socketio import Ack


class Acks:
    """The acks that one socket awaits.

    Args:
        clock: for their timeouts.
        most: how many may be awaited.
    """

    __slots__ = ("_awaited", "_clock", "_most", "_over")

    def __init__(self, clock: IReactorTime, most: int) -> None:
        self._awaited: dict[int, Deferred[Any]] = {}
        self._clock = clock
        self._most = most
        self._over = False

    def ask(self, send: Callable[[], int | None], seconds: float) -> Deferred[Any]:
        """Await the ack of what ``send`` sends; it returns the ack's id.

        Returns:
            The answer (see ``values.one``). Fails with TimedOut, Gone, or TooMany.
        """
        if len(self._awaited) >= self._most:
            return fail(TooMany("too many acks of a socket are awaited"))
        number = send()
        assert number is not None, "sent without asking for an ack"
        if self._over:
            return fail(Gone("the socket has ended"))  # its reader was too slow for what was sent here

        def forget(_: object) -> None:
            self._awaited.pop(number, None)

        answer: Deferred[Any] = Deferred(forget)
        self._awaited[number] = answer
        return answer.addTimeout(seconds, self._clock, _timed_out)

    def came(self, ack: Ack) -> None:
        """An ack arrived; one that nobody awaits (any more) is nothing. Raises ProtocolError."""
        answer = self._awaited.pop(ack.id, None)
        if answer is not None:
            answer.callback(values.one(values.decode(ack.args, ack.attachments)))

    def end(self) -> None:
        """The socket has ended: no ack will come."""
        self._over = True
        awaited, self._awaited = self._awaited, {}
        for answer in awaited.values():
            answer.errback(Gone("the socket has ended"))


def all_of(asked: Sequence[Deferred[Any]]) -> Deferred[list[Any]]:
    """The answers of several sockets, in their order.

    Returns:
        Fires when of each the answer is there or known not to come. Fails with Unanswered where one is missing; its
        ``answers`` are the others.
    """

    def gather(results: list[tuple[bool, Any]]) -> list[Any]:
        answers = [result for good, result in results if good]
        missing = len(results) - len(answers)
        if missing:
            raise Unanswered(f"{missing} of {len(results)} sockets did not answer", answers)
        return answers

    return DeferredList(asked, consumeErrors=True).addCallback(gather)


def _timed_out(result: Any, seconds: float) -> Any:
    if isinstance(result, Failure):
        raise TimedOut(f"no ack within {seconds} seconds")
    return result
