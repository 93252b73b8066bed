"""Erases a user from Redis, in small steps."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kschat.backends.redis.client.packing import pack
from kschat.backends.redis.store import outbox
from kschat.backends.redis.store.client import StoreClient
from kschat.backends.redis.store.rounds import STEP_BOUNDS
from kschat.backends.rounds import rest

#: Keys that one call looks at for rooms and block lists.
SCAN_COUNT: Final = 500

#: See ``rounds.REST``. Somebody waits for the end, and most steps are short: a room has few messages of one user.
REST: Final = 1.0


class Erasure:
    """Erases one user.

    Args:
        client: of the store.
        clock: the reactor, for the rests.
        user: who is erased.
        done: turns the answer of a script that did nothing into an error.
        unblock: takes the user out of somebody's block list.
    """

    def __init__(
        self,
        client: StoreClient,
        clock: IReactorTime,
        user: str,
        *,
        done: Callable[[Any], None],
        unblock: Callable[[str], Deferred[bool]],
    ) -> None:
        self._client = client
        self._clock = clock
        self._user = user
        self._done = done
        self._unblock = unblock

    async def run(self) -> int:
        """Do it all; how many messages were deleted. Fails with StoreUnavailable: another call goes on."""
        erased = await self._own()
        # Whoever wrote in a room and left it is not known to have been there: all rooms are looked through.
        cursor = b"0"
        while True:
            prefix = re.sub(r"([*?\[\]\\])", r"\\\1", self._client.prefix)
            cursor, keys = await self._client.ask("SCAN", cursor, "MATCH", f"{prefix}[bck]:*", "COUNT", SCAN_COUNT)
            for key in keys:
                erased += await self._elsewhere(key.decode()[len(self._client.prefix) :])
            if cursor == b"0":
                break
        await outbox.erase(self._client, self._user)
        # And what came meanwhile.
        return erased + await self._own()

    async def _elsewhere(self, key: str) -> int:
        """What is in the block list of another user, or in a room; the number of messages that were deleted."""
        kind, _, name = key.partition(":")
        if kind == "b" and name != self._user:
            await self._unblock(name)
        if key.startswith(f"k:{len(self._user)}:{self._user}"):
            await self._client.ask("UNLINK", self._client.prefix + key)
        return await self._in_room(name) if kind == "c" and name.startswith("#") else 0

    async def _own(self) -> int:
        """What is the user's own."""
        erased = 0
        more = 1
        while more:
            more, count = await self._step("erase", self._user)
            erased += count
        return erased

    async def _in_room(self, room: str) -> int:
        erased = 0
        after: bytes | str = "-"
        while after:
            after, count = await self._step("eraseInRoom", self._user, room, after)
            erased += count
        return erased

    async def _step(self, script: str, *arguments: str | bytes) -> Any:
        texts = [one.decode() if isinstance(one, bytes) else one for one in arguments]
        began = self._clock.seconds()
        answer = await self._client.write(script, lambda: pack(*self._client.head(), *texts, *STEP_BOUNDS))
        self._done(answer)
        await rest(self._clock, self._clock.seconds() - began, times=REST, least=0)
        return answer
