"""One connection to Redis: txredisapi's protocol with its faults fixed.

- After a failed AUTH or SELECT its factory stops reconnecting for good. Here the caller logs in and retries.
- It runs a timer for each command. Here one check a second finds unanswered commands (``RedisClient``).
- By default it converts each element of a reply with a separate call. Here replies stay as hiredis returns them: bytes,
  integers, lists, None, and ``ResponseError``.
- Each command waits for another round through the reactor before it is sent. Here it is sent at once.
- An unsolicited error from Redis (too many clients) would be taken for the reply to the next command.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from txredisapi import HiredisProtocol, InvalidData, ResponseError

from kschat.compat_tcp import is_direct, write_now


class RedisUnavailable(Exception):
    """Redis can't be asked now. What was on its way when a connection ended may have been done."""


class Connection(HiredisProtocol):  # type: ignore[misc]
    """A connection, from TCP's beginning to its end. Commands are answered in their order.

    Args:
        clock: says since when an answer is awaited.

    Attributes:
        why: what ended it, in words; or what will. "" where nobody knows better than the transport.
        ended: whether it has.
        gone: fires then.
        reason: what the transport says of the end.
        heard: when Redis last said anything.
    """

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self._clock = clock
        self._waiting: deque[tuple[float, Deferred[Any]]] = deque()
        self._direct = False
        self.why = ""
        self.ended = False
        self.gone: Deferred[None] = Deferred()
        self.reason = connectionDone
        self.heard = 0.0

    @property
    def oldest(self) -> float | None:
        """Since when the oldest unanswered command waits; None where none does."""
        return self._waiting[0][0] if self._waiting else None

    @property
    def waiting(self) -> int:
        """How many commands wait for an answer."""
        return len(self._waiting)

    def execute_command(self, *arguments: str | bytes | int, **_: Any) -> Deferred[Any]:
        """Send a command. Fails with ``ResponseError``, what Redis said, or ``RedisUnavailable``."""
        if self.ended or self.why:
            return fail(RedisUnavailable(self.why or "the connection has ended"))
        answer: Deferred[Any] = Deferred()
        self._waiting.append((self._clock.seconds(), answer))
        data = hiredis.pack_command(arguments)  # type: ignore[arg-type] # it takes tuples of any length
        if self._direct:
            data = write_now(self.transport, data)
        if data:
            self.transport.write(data)
        return answer

    def abort(self, why: str) -> None:
        """End it now, whatever waits to be sent."""
        self.why = self.why or why
        if self.transport is not None and not self.ended:
            self.transport.abortConnection()

    # Called by Twisted and txredisapi.

    def connectionMade(self) -> None:
        """TCP stands, and TLS is on its way."""
        self.connected = 1
        self.heard = self._clock.seconds()
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Bytes came."""
        self.heard = self._clock.seconds()
        # Not before: where Redis refuses a client, its reason is lost if a write meets the end of the connection first.
        self._direct = is_direct(self.transport)
        try:
            super().dataReceived(data, unpause)
        except (InvalidData, TypeError) as error:
            # A TypeError: hiredis makes a dict of what RESP 3 calls a map, and its keys may be lists.
            self.abort(f"it does not speak as Redis does: {error}")

    def tryConvertData(self, data: Any) -> Any:
        """An answer stays what it is."""
        return data

    def handleTransactionData(self, reply: Any) -> Any:
        """There are no transactions: scripts do what belongs together."""
        return reply

    def replyReceived(self, reply: Any) -> None:
        """The answer to the oldest command."""
        if not self._waiting:
            self.abort(str(reply) if isinstance(reply, Exception) else "it sent a reply without a request")
            return
        _, answer = self._waiting.popleft()
        answer.callback(reply if not isinstance(reply, Exception) else Failure(reply))

    def connectionLost(self, why: Failure = connectionDone) -> None:
        """It has ended, and so has all that was on its way."""
        self.ended = True
        self.connected = 0
        waiting, self._waiting = self._waiting, deque()
        reason = self.why or "the connection was lost"
        for _, answer in waiting:
            answer.errback(RedisUnavailable(reason))
        self.reason = why
        self.gone.callback(None)


class Subscriber(Connection):
    """A connection that is told what is published. ``SUBSCRIBE`` and its like are answered once all of it is done.

    Args:
        clock: as above.
        arrived: called with the channel and what was published there, in order.
    """

    def __init__(self, clock: IReactorTime, arrived: Callable[[bytes, bytes], None]) -> None:
        super().__init__(clock)
        self._arrived = arrived
        self._parts: deque[int] = deque()

    def execute_command(self, *arguments: str | bytes | int, **_: Any) -> Deferred[Any]:
        """Send SUBSCRIBE, UNSUBSCRIBE (each with channels), PING or the like. See ``Connection``."""
        if not self.ended and not self.why:
            subscribes = str(arguments[0]).upper().endswith("SUBSCRIBE")
            self._parts.append(len(arguments) - 1 if subscribes else 1)
        return super().execute_command(*arguments)

    def replyReceived(self, reply: Any) -> None:
        """Something was published, or this is a part of an answer."""
        if isinstance(reply, list) and reply[:1] == [b"message"]:
            channel, body = reply[1:] if len(reply) == 3 else (None, None)
            if isinstance(channel, bytes) and isinstance(body, bytes):
                self._arrived(channel, body)
            else:
                self.abort("it does not speak as Redis does: what was published is not a channel and bytes")
            return
        if self._parts and not isinstance(reply, Exception) and self._parts[0] > 1:
            self._parts[0] -= 1
            return
        if self._parts:
            self._parts.popleft()
        super().replyReceived(reply)


__all__ = ["Connection", "RedisUnavailable", "ResponseError", "Subscriber"]
