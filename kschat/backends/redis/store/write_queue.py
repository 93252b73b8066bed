"""Sends writes in order, each call small enough to take Redis only a moment.

A message to a room of a thousand members is a thousand writes. A batch of such messages would block Redis for seconds,
and commands that wait that long count as lost. The queue therefore splits batches and sends their parts one after
another.

The queue knows the size of a room from the results of earlier messages, and more members may have joined since. A
script that finds its batch too large therefore does nothing and reports that; the queue splits the batch again. The
calls already sent behind it do nothing either: the script has recorded the writer's turn in Redis, and the queue
sends everything from that turn again in the next.

Where copies of the data must have what was written (``redis_wait``), a ``WAIT`` follows it over the same connection.
Redis takes nothing else from a connection that waits. So there is one ``WAIT`` at a time: what is sent behind it is
done together when it is answered, and shares the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from secrets import token_urlsafe
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kschat.backends.redis.client.connection import RedisUnavailable
from kschat.backends.redis.client.redis_client import RedisClient
from kschat.backends.redis.store.copies import Copies
from kschat.chat.conversations import is_room
from kschat.chat.interfaces import Stored
from kschat.chat.message import Message

#: Writes of one script call: some 20 milliseconds of Redis's time. One message to a larger room goes beyond.
MAX_SCRIPT_WRITES: Final = 4000

#: Bytes of messages of one script call.
MAX_SCRIPT_BYTES: Final = 4_000_000

#: Writes that are on their way at once.
MAX_WRITES_IN_FLIGHT: Final = 2 * MAX_SCRIPT_WRITES

#: Rooms of which it is remembered how many members they had.
MAX_ROOM_SIZES: Final = 10_000

#: What a room has whose size is not known.
ASSUMED_ROOM_SIZE: Final = 1000

#: Makes a command, when its time has come.
Command = Callable[[], Sequence[str | bytes | int]]


class BatchPart:
    """A part of a batch.

    Attributes:
        messages: in their order.
        writes: how many it makes, about.
        result: what Redis has answered, or a Failure.
    """

    __slots__ = ("messages", "result", "writes")

    def __init__(self, messages: Sequence[Message], writes: int) -> None:
        self.messages = messages
        self.writes = writes
        self.result: Any = None


class _Write:
    """A command in the queue. ``split`` is called where it was too much, and gives what is sent instead.

    ``result`` is what Redis has answered, until its copies have it too.
    """

    __slots__ = ("command", "done", "result", "split", "writes")

    def __init__(
        self,
        writes: int,
        command: Command,
        done: Callable[[Any], None],
        split: Callable[[Any], list[_Write]] | None = None,
    ) -> None:
        self.writes = writes
        self.command = command
        self.done = done
        self.split = split
        self.result: Any = None

    def heard(self, result: Any) -> None:
        """Redis has answered."""
        self.result = result


class _Append:
    """A batch on its way. (Its writes know it, and it knows none of them: no circle keeps a batch in memory.)

    Args:
        queue: the queue.
        command: what keeps some messages.
        parts: all, in order. Those that were too much are replaced by smaller ones.

    Attributes:
        all_done: fires with the parts, once each has its result.
    """

    __slots__ = ("_command", "_left", "_parts", "_queue", "all_done")

    def __init__(
        self,
        queue: WriteQueue,
        command: Callable[[Sequence[Message]], Sequence[str | bytes | int]],
        parts: list[BatchPart],
    ) -> None:
        self._queue = queue
        self._command = command
        self._parts = parts
        self._left = len(parts)
        self.all_done: Deferred[list[BatchPart]] = Deferred()

    def write(self, part: BatchPart) -> _Write:
        """What keeps a part."""
        command = partial(self._command, part.messages)
        return _Write(part.writes, command, partial(self._done, part), partial(self._split, part))

    def _done(self, part: BatchPart, result: Any) -> None:
        part.result = result
        self._left -= 1
        if not self._left:
            self.all_done.callback(self._parts)

    def _split(self, part: BatchPart, answer: list[Any]) -> list[_Write]:
        for room, size in zip(answer[2][::2], answer[2][1::2], strict=True):
            self._queue.learn_size(room.decode(), size)
        smaller = [BatchPart(messages, writes) for writes, messages in self._queue.parts(part.messages)]
        at = self._parts.index(part)
        self._parts[at : at + 1] = smaller
        self._left += len(smaller) - 1
        return [self.write(one) for one in smaller]


class WriteQueue:
    """Sends commands in order. What waits here fails as soon as the connection is down: nothing is done later.

    Args:
        client: sends them.
        copies: what must have what was written before it is answered; None for Redis alone.

    Attributes:
        writer: what tells this queue from others, in Redis.
        turn: rises when what was sent is sent again.
    """

    def __init__(self, client: RedisClient, copies: Copies | None = None) -> None:
        self._client = client
        self._copies = copies
        # What was sent and no WAIT follows yet; what the one WAIT is about that is not answered.
        self._uncovered: list[_Write] = []
        self._covered: list[_Write] = []
        self._waiting: deque[_Write] = deque()
        self._again: list[_Write] = []
        self._on_the_way = 0
        self._unanswered = 0
        self._rooms: dict[str, int] = {}
        self.writer = token_urlsafe(6)
        self.turn = 1

    def do(self, writes: int, command: Command) -> Deferred[Any]:
        """Send a command that makes so many writes, about. See ``RedisClient.do``."""
        answer: Deferred[Any] = Deferred()
        self._put(_Write(writes, command, answer.callback))
        return answer

    def append(
        self, batch: Sequence[Message], command: Callable[[Sequence[Message]], Sequence[str | bytes | int]]
    ) -> Deferred[list[BatchPart]]:
        """Send a batch in parts.

        Args:
            batch: in the order in which it is to be kept.
            command: what keeps some messages.

        Returns:
            All parts, in order, once each has its result. It never fails.
        """
        parts = [BatchPart(messages, writes) for writes, messages in self.parts(batch)]
        appending = _Append(self, command, parts)
        for part in list(parts):
            self._put(appending.write(part))
        return appending.all_done

    def down(self) -> None:
        """The connection is down."""
        waiting, again, self._waiting, self._again = self._waiting, self._again, deque(), []
        for write in (*again, *waiting):
            write.done(Failure(RedisUnavailable(self._client.why)))

    def learn(self, stored: Sequence[Stored]) -> None:
        """How many members rooms have is seen by what became of messages to them."""
        for one in stored:
            recipient = one.message.recipient
            if is_room(recipient) and not one.repeat:
                self.learn_size(recipient, len(one.places) + 1)

    def learn_size(self, room: str, size: int) -> None:
        """How many members a room has."""
        if len(self._rooms) >= MAX_ROOM_SIZES:
            self._rooms.clear()
        self._rooms[room] = size

    def parts(self, batch: Sequence[Message]) -> Iterator[tuple[int, Sequence[Message]]]:
        """A batch in parts that are not too much at once, each with how many writes it makes."""
        start = writes = size = 0
        for at, message in enumerate(batch):
            recipient = message.recipient
            more = 1 if not is_room(recipient) else self._rooms.get(recipient, ASSUMED_ROOM_SIZE)
            length = len(message.msg)
            if message.attachments:
                length += sum(map(len, message.attachments))
            if at > start and (writes + more > MAX_SCRIPT_WRITES or size + length > MAX_SCRIPT_BYTES):
                yield writes, batch[start:at]
                start, writes, size = at, 0, 0
            writes += more
            size += length
        yield writes, batch[start:]

    def _put(self, write: _Write) -> None:
        if not self._waiting and self._has_room(write):
            self._send(write)
        else:
            self._waiting.append(write)

    def _has_room(self, write: _Write) -> bool:
        return not self._again and (not self._on_the_way or self._on_the_way + write.writes <= MAX_WRITES_IN_FLIGHT)

    def _send(self, write: _Write) -> None:
        self._on_the_way += write.writes
        self._unanswered += 1
        answer = self._client.do(*write.command())
        if self._copies is None:
            answer.addBoth(self._answered, write)
            return
        answer.addBoth(write.heard)
        self._uncovered.append(write)
        if not self._covered:
            self._wait(self._copies)

    def _wait(self, copies: Copies) -> None:
        self._covered, self._uncovered = self._uncovered, []
        # Over the same connection and behind all of it, so all of it has been answered when this is.
        self._client.do(*copies.command).addBoth(self._waited, copies)

    def _waited(self, answer: Any, copies: Copies) -> None:
        covered, self._covered = self._covered, []
        failure: Failure | None = None
        if isinstance(answer, Failure):
            failure = answer
            copies.counts["unanswered"] += len(covered)
        elif reason := copies.missing(answer):
            # A replica is gone, or has become the master. The next connection says which.
            copies.counts["too_few"] += len(covered)
            self._client.abort(reason)
            failure = Failure(RedisUnavailable(reason))
        else:
            copies.counts["enough"] += len(covered)
            if self._uncovered:
                self._wait(copies)
        for write in covered:
            self._answered(failure or write.result, write)
        if self._uncovered and not self._covered:
            self._wait(copies)

    def _answered(self, result: Any, write: _Write) -> None:
        self._on_the_way -= write.writes
        self._unanswered -= 1
        outcome = result[1] if isinstance(result, list) and len(result) > 1 else result
        if outcome == b"much" and write.split is not None:
            self._again += write.split(result)
            write = _NOTHING
        elif outcome == b"again":
            self._again.append(write)
            write = _NOTHING
        if self._again and not self._unanswered:
            self.turn += 1
            self._waiting.extendleft(reversed(self._again))
            self._again = []
        if isinstance(result, Failure) and not self._client.up:
            self.down()
        while self._waiting and self._has_room(self._waiting[0]):
            self._send(self._waiting.popleft())
        write.done(result)


_NOTHING: Final = _Write(0, tuple, lambda _: None)
