"""Deletes expired messages: in rounds of small steps (``rounds``), by one daemon at a time.

While a forked child of Redis writes a snapshot or a
new append-only file, retention waits: each page of memory that changes meanwhile is copied first, and the child needs
CPU time as well.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_urlsafe
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from kschat.backends.age import MOST_LATE, Late, oldest_kept
from kschat.backends.redis.client.packing import pack
from kschat.backends.redis.store.codec import id_of, number_of_id
from kschat.backends.redis.store.rounds import STEP_BOUNDS, STEP_ENTRIES
from kschat.backends.rounds import REST, ROUND_INTERVAL, STEP_PAUSE, Rounds, rest
from kschat.chat.clocks import WallClock, milliseconds
from kschat.chat.mids import COUNT_BITS

#: In the place of ``REST``, once a round takes longer than the time between two rounds.
HURRIED_REST: Final = 1.0

#: Seconds between two checks whether Redis saves.
SAVING_INTERVAL: Final = 1.0

#: Seconds that one round waits for Redis to save, in all. A Redis that always saves does not stop retention.
MAX_SAVING: Final = 600.0

#: Milliseconds after which another daemon may go on for one that does not.
LOCK_MILLISECONDS: Final = 50_000


class Retention:
    """The rounds of one daemon.

    Args:
        do: a command of Redis.
        run: a script by its name, with its argument.
        prefix: of keys.
        seconds: the age at which messages go; 0 for none.
        most: messages that are kept in an inbox and in a conversation; 0 for all.
        clock: the reactor, for the waits.
        wall: tells how old messages are.
    """

    def __init__(
        self,
        do: Callable[..., Deferred[Any]],
        run: Callable[[str, bytes], Deferred[Any]],
        prefix: str,
        seconds: float,
        most: int,
        clock: IReactorTime,
        wall: WallClock,
    ) -> None:
        self._do = do
        self._run = run
        self._prefix = prefix
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._wall = wall
        self._me = token_urlsafe(6)
        self._found = False
        # Of this round: when it began, how long it has waited for Redis to save, and when it asked about that last.
        self._begun = self._waited = self._checked = 0.0
        self._rounds = Rounds(clock, self._sweep, "old messages could not be deleted")

    def start(self) -> None:
        """Begin, where anything is bounded."""
        if self._seconds or self._most:
            self._rounds.start()

    def stop(self) -> Deferred[None]:
        """End, also amid a round: what was begun is done by the next."""
        return self._rounds.stop()

    def sweep(self) -> Deferred[None]:
        """One round, unless one is on its way, here or at another daemon."""
        return self._rounds.begin()

    async def _sweep(self) -> None:
        lock = f"{self._prefix}x:lock"
        if await self._do("SET", lock, self._me, "NX", "PX", LOCK_MILLISECONDS) is None:
            if await self._do("PTTL", lock) > LOCK_MILLISECONDS:
                # The server's clock was set back meanwhile, and its end by as much; the next round begins.
                await self._do("DEL", lock)
            return
        self._begun, self._waited = self._clock.seconds(), 0.0
        self._checked = self._begun - SAVING_INTERVAL
        await self._until_saved(lock)
        if self._most and not self._found:
            # What was written while no such bound was set.
            await self._find_full()
            self._found = True
        if self._seconds:
            kept = await self._oldest_kept()
            # From all inboxes first, so that none names what is gone.
            for script in ("sweepInboxes", "sweepConversations"):
                await self._steps(lock, script, id_of(kept))
        if self._most:
            await self._steps(lock, "sweepFull", self._most)
        await self._do("DEL", lock)

    async def _oldest_kept(self) -> int:
        """The number from which on messages are kept by their age."""
        key, now = f"{self._prefix}x:late", milliseconds(self._wall)
        before = max(now - int(self._seconds * 1000), 0)
        old = await self._do("ZREVRANGEBYSCORE", key, f"({before}", "-inf", "WITHSCORES", "LIMIT", 0, 1)
        newest = await self._do("ZREVRANGE", key, 0, 0, "WITHSCORES")
        last = await self._do("HGET", f"{self._prefix}g", "ms")
        kept = oldest_kept(before, now, int(last or 0) << COUNT_BITS, _late(old), _late(newest))
        # Those whose messages are old by their number too tell nothing any more.
        await self._do("ZREMRANGEBYSCORE", key, "-inf", f"({before - MOST_LATE}")
        return kept

    async def _steps(self, lock: str, script: str, bound: int | str) -> None:
        argument = pack(bound, *STEP_BOUNDS)
        began = self._clock.seconds()
        while await self._run(script, argument):
            ended = self._clock.seconds()
            hurried = ended - self._begun - self._waited >= ROUND_INTERVAL
            await self._do("PEXPIRE", lock, LOCK_MILLISECONDS)
            await rest(self._clock, ended - began, times=HURRIED_REST if hurried else REST)
            await self._until_saved(lock)
            began = self._clock.seconds()

    async def _until_saved(self, lock: str) -> None:
        """Wait while Redis saves. What it says of that is known for ``SAVING_INTERVAL``."""
        now = self._clock.seconds()
        if now - self._checked < SAVING_INTERVAL:
            return
        self._checked = now
        while self._waited < MAX_SAVING and _saves(await self._do("INFO", "persistence")):
            await self._do("PEXPIRE", lock, LOCK_MILLISECONDS)
            await deferLater(self._clock, SAVING_INTERVAL)
            self._waited += SAVING_INTERVAL
            self._checked = self._clock.seconds()

    async def _find_full(self) -> None:
        for index in ("x:age:i", "x:age:c"):
            cursor = b"0"
            while True:
                cursor, found = await self._do("ZSCAN", f"{self._prefix}{index}", cursor, "COUNT", STEP_ENTRIES)
                names = [name.decode() for name in found[::2]]
                await self._run("findFull", pack(self._most, *names))
                if cursor == b"0":
                    break
                await deferLater(self._clock, STEP_PAUSE)


def _saves(info: bytes) -> bool:
    """Whether a child of Redis writes a snapshot, or a new append-only file."""
    lines = info.split()
    return b"rdb_bgsave_in_progress:1" in lines or b"aof_rewrite_in_progress:1" in lines


def _late(found: list[bytes]) -> Late | None:
    return Late(number_of_id(found[0]), int(float(found[1]))) if found else None
