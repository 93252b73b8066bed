"""Writes changed messages over the ones before: in small steps, soon after each change, by whichever daemon.

A change leaves the new text beside the stream, where every reader looks first. Only when the stream was copied is the
old one gone from Redis's memory, and from its next snapshot or rewritten append-only file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.backends.redis.client.packing import pack
from kschat.backends.ticker import Ticker
from kschat.chat.interfaces import StoreUnavailable

#: Entries of a stream, bytes of their messages, and milliseconds that one step may take; the last entry may go beyond.
STEP_ENTRIES: Final = 500
STEP_BYTES: Final = 1_000_000
STEP_MILLISECONDS: Final = 2

#: Rest after a step: so many times as long as it took, as its sender saw it; and seconds, at the least.
REST: Final = 3.0
STEP_PAUSE: Final = 0.005

#: Seconds between two looks for conversations that other daemons have left: one was killed, say.
ROUND_INTERVAL: Final = 60.0


class Rewriting:
    """The rounds of one daemon.

    Args:
        do: a command of Redis.
        run: a script by its name, with its argument.
        prefix: of keys.
        clock: the reactor, for the waits.
    """

    log = Logger()

    def __init__(
        self,
        do: Callable[..., Deferred[Any]],
        run: Callable[[str, bytes], Deferred[Any]],
        prefix: str,
        clock: IReactorTime,
    ) -> None:
        self._do = do
        self._run = run
        self._key = f"{prefix}x:changed"
        self._clock = clock
        self._loop = Ticker(clock, ROUND_INTERVAL, self._begin, "changed messages could not be written over")
        self._round: Deferred[None] = succeed(None)
        # Whether something was changed since the round that is under way last looked.
        self._again = False

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    def stop(self) -> Deferred[None]:
        """End, also amid a round: the next one goes on."""
        self._loop.stop()
        self._round.cancel()
        return self._round

    def sweep(self) -> Deferred[None]:
        """Write over what was changed until now; fires when that is done."""
        self._again = True
        if self._round.called:
            self._round = Deferred.fromCoroutine(self._sweep()).addErrback(self._failed)
        return self._round

    def _begin(self) -> None:
        self.sweep()

    async def _sweep(self) -> None:
        while self._again:
            self._again = False
            await self._rewrite_all()

    async def _rewrite_all(self) -> None:
        while (name := await self._do("SRANDMEMBER", self._key)) is not None:
            argument = pack(name.decode(), STEP_ENTRIES, STEP_BYTES, STEP_MILLISECONDS)
            more = 1
            while more:
                began = self._clock.seconds()
                more = await self._run("rewrite", argument)
                await deferLater(self._clock, max(REST * (self._clock.seconds() - began), STEP_PAUSE))

    def _failed(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable, CancelledError) is None:
            self.log.failure("changed messages could not be written over", failure)
