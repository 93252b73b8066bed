"""Writes changed messages over the ones before: in small steps, soon after each change, by whichever daemon.

A change leaves the new text beside the stream, where every reader looks first. Only when the stream was copied is the
old one gone from Redis's memory, and from its next snapshot or rewritten append-only file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kschat.backends.redis.client.packing import pack
from kschat.backends.redis.store.rounds import STEP_BOUNDS
from kschat.backends.rounds import Rounds, rest


class Rewriting:
    """What one daemon does of this. A round also finds conversations that a daemon left when it was killed.

    Args:
        do: a command of Redis.
        run: a script by its name, with its argument.
        prefix: of keys.
        clock: the reactor, for the waits.
    """

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
        self._rounds = Rounds(clock, self._sweep, "changed messages could not be written over")
        # Whether something was changed since the round that is under way last looked.
        self._again = False

    def start(self) -> None:
        """Begin."""
        self._rounds.start()

    def stop(self) -> Deferred[None]:
        """End, also amid a round: the next one goes on."""
        return self._rounds.stop()

    def sweep(self) -> Deferred[None]:
        """Write over what was changed until now; fires when that is done."""
        self._again = True
        return self._rounds.begin()

    async def _sweep(self) -> None:
        more = True
        while more:
            self._again = False
            await self._rewrite_all()
            more = self._again

    async def _rewrite_all(self) -> None:
        while (name := await self._do("SRANDMEMBER", self._key)) is not None:
            argument = pack(name.decode(), *STEP_BOUNDS)
            more = 1
            while more:
                began = self._clock.seconds()
                more = await self._run("rewrite", argument)
                await rest(self._clock, self._clock.seconds() - began)
