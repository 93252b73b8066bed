"""What writes goes in one lane: in order, and no more at once than Redis does in a moment.

A message to a room of a thousand is a thousand writes. Batches of such would keep Redis from all else for seconds, and
what waits for it that long counts as lost. So batches are split, and the parts of a batch wait for each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from kschat.backends.redis.connection import RedisUnavailable
from kschat.backends.redis.link import Link
from kschat.chat.interfaces import Stored
from kschat.chat.messages import Message

#: Writes of one script call: about a tenth of a second of Redis's time.
MOST_WRITES: Final = 20_000

#: Bytes of messages of one script call.
MOST_BYTES: Final = 8_000_000

#: Writes that are on their way at once.
MOST_ON_THE_WAY: Final = 2 * MOST_WRITES

#: Rooms of which it is remembered how many members they had.
MOST_ROOMS: Final = 10_000

#: What a room has whose size is not known.
UNKNOWN: Final = 1000

#: Makes the command, when its time has come.
Command = Callable[[], Sequence[str | bytes | int]]


class Lane:
    """Sends commands over a link in order. What waits here fails as soon as the link is down: nothing is done later.

    Args:
        link: over which.
        replicas: how many replicas must have what was written before it is answered; 0 for none.
        replicas_wait: milliseconds that they may take.
    """

    def __init__(self, link: Link, replicas: int = 0, replicas_wait: int = 0) -> None:
        self._link = link
        self._replicas = replicas
        self._replicas_wait = replicas_wait
        self._waiting: deque[tuple[int, Command, Deferred[Any]]] = deque()
        self._on_the_way = 0
        self._rooms: dict[str, int] = {}

    def do(self, writes: int, command: Command) -> Deferred[Any]:
        """Send a command that makes so many writes, about. See ``Link.do``."""
        if not self._waiting and (not self._on_the_way or self._on_the_way + writes <= MOST_ON_THE_WAY):
            return self._send(writes, command)
        answer: Deferred[Any] = Deferred()
        self._waiting.append((writes, command, answer))
        return answer

    def down(self) -> None:
        """The link is down."""
        waiting, self._waiting = self._waiting, deque()
        for _, _, answer in waiting:
            answer.errback(RedisUnavailable(self._link.why))

    def parts(self, batch: Sequence[Message]) -> Iterator[tuple[int, Sequence[Message]]]:
        """A batch in parts that are not too much at once, each with how many writes it makes."""
        start = writes = size = 0
        for at, message in enumerate(batch):
            recipient = message.recipient
            more = 1 if recipient[0] != "#" else self._rooms.get(recipient, UNKNOWN)
            length = len(message.msg)
            if message.attachments:
                length += sum(map(len, message.attachments))
            if at > start and (writes + more > MOST_WRITES or size + length > MOST_BYTES):
                yield writes, batch[start:at]
                start, writes, size = at, 0, 0
            writes += more
            size += length
        yield writes, batch[start:]

    def learn(self, stored: Sequence[Stored]) -> None:
        """How many members rooms have is seen by what became of messages to them."""
        for one in stored:
            recipient = one.message.recipient
            if recipient[0] == "#" and not one.repeat:
                if len(self._rooms) >= MOST_ROOMS:
                    self._rooms.clear()
                self._rooms[recipient] = len(one.places) + 1

    def _send(self, writes: int, command: Command) -> Deferred[Any]:
        self._on_the_way += writes
        answer = self._link.do(*command())
        if self._replicas:
            # Over the same connection and right behind it: so it waits for this write, and for whatever was before it.
            waited = self._link.do("WAIT", self._replicas, self._replicas_wait)
            answer = gatherResults([answer, waited], consumeErrors=True).addCallbacks(self._replicated, _unwrapped)
        return answer.addBoth(self._answered, writes)

    def _replicated(self, answers: list[Any]) -> Any:
        answer, count = answers
        if count < self._replicas:
            # A replica is gone, or has become the master. The next connection says which.
            reason = f"only {count} of {self._replicas} replicas have what was written"
            self._link.abort(reason)
            raise RedisUnavailable(reason)
        return answer

    def _answered(self, result: Any, writes: int) -> Any:
        self._on_the_way -= writes
        while self._waiting and (not self._on_the_way or self._on_the_way + self._waiting[0][0] <= MOST_ON_THE_WAY):
            if isinstance(result, Failure) and not self._link.up:
                self.down()
                break
            more, command, answer = self._waiting.popleft()
            self._send(more, command).chainDeferred(answer)
        return result


def _unwrapped(failure: Failure) -> Failure:
    first = failure.value
    return first.subFailure if isinstance(first, FirstError) else failure
