"""The channels of one daemon: subscribed once a reactor turn, and all again on a new connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from kschat.backends.redis.client.connection import Connection, RedisUnavailable, Subscriber
from kschat.backends.redis.client.faults import why
from kschat.backends.redis.client.redis_client import RedisClient
from kschat.backends.redis.client.settings import Settings
from kschat.outage_log import OutageLog

#: Channels of one command.
MAX_COMMAND_CHANNELS: Final = 1000


class Subscriptions:
    """What is listened to.

    Args:
        settings: of the Redis to subscribe at.
        reactor: the real one.
        outages: says in the log why Redis can't be used.
        arrived: called with a channel and what was published there; must not raise.
        turned: called with True when all is listened to, and with False when nothing is.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        outages: OutageLog,
        arrived: Callable[[bytes, bytes], None],
        turned: Callable[[bool], None],
    ) -> None:
        self._reactor = reactor
        self._turned = turned
        self._wanted: set[bytes] = set()
        # What Redis was asked for on this connection; and what differs, perhaps.
        self._asked: set[bytes] = set()
        self._changed: dict[bytes, None] = {}
        self._flush_set = False
        # How many commands were sent, and answered, in order; and who waits for which of them.
        self._sent = 0
        self._answered = 0
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()
        # Who waits for what is asked for at the end of this turn, and never fails.
        self._listening: list[Deferred[None]] = []
        self._client = RedisClient(
            settings, reactor, outages, lambda: Subscriber(reactor, arrived), self._prepare, self._client_turned
        )
        self.start = self._client.start
        self.stop = self._client.stop

    @property
    def up(self) -> bool:
        """Whether all that is wanted is listened to, or will be in a moment."""
        return self._client.up

    def __contains__(self, channel: bytes) -> bool:
        """Whether ``channel`` is listened to, or soon will be."""
        return channel in self._wanted

    def add(self, channel: bytes) -> None:
        """Listen to ``channel`` as well."""
        self._wanted.add(channel)
        self._change(channel)

    def drop(self, channel: bytes) -> None:
        """Listen to it no more."""
        self._wanted.discard(channel)
        self._change(channel)

    def settled(self) -> Deferred[None]:
        """Fires when all that was added until now is listened to. Fails with RedisUnavailable."""
        self._flush()
        if not self._client.up:
            return fail(RedisUnavailable(self._client.why))
        if self._answered == self._sent:
            return succeed(None)
        waits: Deferred[None] = Deferred()
        self._waiting.append((self._sent, waits))
        return waits

    def listening(self) -> Deferred[None]:
        """Fires when all that was added until now is listened to, or can't be now. Never fails.

        What many ask for in one turn of the reactor is one command. It fires in a later turn also where there is
        nothing to ask for: what had arrived here before is then handed on.
        """
        if not self._client.up:
            return succeed(None)
        waits: Deferred[None] = Deferred()
        self._listening.append(waits)
        self._flush_soon()
        return waits

    def _change(self, channel: bytes) -> None:
        self._changed[channel] = None
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_set and self._client.up:
            self._flush_set = True
            self._reactor.callLater(0, self._flush_of_turn)

    def _flush_of_turn(self) -> None:
        self._flush_set = False
        self._flush()
        listening, self._listening = self._listening, []
        for waits in listening:
            self.settled().addErrback(_none_if_away).chainDeferred(waits)

    def _flush(self) -> None:
        if not self._client.up or not self._changed:
            return
        changed, self._changed = self._changed, {}
        wanted, asked = self._wanted, self._asked
        for part in self._parts([one for one in changed if (one in wanted) != (one in asked)]):
            self._sent += 1
            self._client.do(*part).addCallbacks(self._done, self._failed)

    def _done(self, _: object) -> None:
        self._answered += 1
        while self._waiting and self._waiting[0][0] <= self._answered:
            self._waiting.popleft()[1].callback(None)

    def _failed(self, failure: Failure) -> None:
        # The next connection subscribes to every channel again.
        self._client.abort(why(failure.value))
        self._give_up()

    def _give_up(self) -> None:
        self._answered = self._sent
        waiting, self._waiting = self._waiting, deque()
        for _, waits in waiting:
            waits.errback(RedisUnavailable(self._client.why))

    def _parts(self, channels: Sequence[bytes]) -> list[tuple[str | bytes, ...]]:
        """The commands that make of what Redis was asked for what is wanted."""
        added = [one for one in channels if one in self._wanted]
        dropped = [one for one in channels if one not in self._wanted]
        self._asked.update(added)
        self._asked.difference_update(dropped)
        return [
            (command, *some[start : start + MAX_COMMAND_CHANNELS])
            for command, some in (("SUBSCRIBE", added), ("UNSUBSCRIBE", dropped))
            for start in range(0, len(some), MAX_COMMAND_CHANNELS)
        ]

    async def _prepare(self, connection: Connection) -> None:
        self._asked = set()
        self._changed.clear()
        for part in self._parts(sorted(self._wanted)):
            await connection.execute_command(*part)

    def _client_turned(self, up: bool) -> None:
        if up:
            self._flush()
        else:
            self._give_up()
        self._turned(up)


def _none_if_away(failure: Failure) -> None:
    failure.trap(RedisUnavailable)
