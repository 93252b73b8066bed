"""The presence registry: this daemon's part of the data that the scripts in ``scripts/bus`` keep in Redis, atomically.

Keys, after the prefix and ``:r:``: ::

    daemons    sorted set: the live daemons, by their last heartbeat (the server's clock, milliseconds)
    dead       sorted set: dead daemons whose users are being removed, by their last heartbeat
    wants      hash: the events each daemon's sockets ask for, and whether it listens at another server (``REMOTE``)
    beat       the last heartbeat of any daemon
    settled    the time from which a user on no daemon counts as offline (after Redis was down, or lost its data)
    of:ID      set: the users on a daemon
    on:USER    set: the daemons that a user is on; the key is missing if there are none
    seen       hash: for users who left one daemon and are on another, the latest time that they left one
    p:USER     channel: "1" the user is online; "0" and milliseconds: offline since then
    w          channel: the events that a daemon's sockets ask for now: the daemon's id, and the number

A daemon that was declared dead by mistake (it was stopped, or cut off) returns under a new id. The old id is never used
again, so that removing its users affects no live daemon.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.backends.redis.bus.heartbeat import Heartbeat
from kschat.backends.redis.client import packing
from kschat.backends.redis.client.connection import RedisUnavailable
from kschat.backends.redis.client.faults import why
from kschat.backends.redis.client.redis_client import RedisClient
from kschat.backends.redis.scripts import Do, Scripts
from kschat.chat.bus import Wants
from kschat.chat.clocks import WallClock, milliseconds

#: Users that one call enters, asks for or takes off. Redis does nothing else meanwhile: some milliseconds.
MAX_CALL_USERS: Final = 500

#: Users that went while Redis was away, of whom it is told when.
MAX_LEFT: Final = 10_000

#: Milliseconds after which a command is not told any more, by a Redis that stood still meanwhile.
STALE_AFTER: Final = 5000

#: Stands among a daemon's ``Wants`` in Redis: it listens at another server than the one that is published to.
REMOTE: Final = 4

_NOTHING: Final = packing.texts(())


class PresenceRegistry:
    """This daemon's users, entered under an id that is good for one connection.

    Args:
        client: of Redis.
        prefix: of all names.
        heartbeat: how often, how long.
        reactor: the real one.
        wall: tells when users went.
        lost: called with the users who were on a daemon that died and are nowhere now, and when it last lived.
        wanted: called with what the sockets of all other daemons ask for.
        ready: called when all were entered, also again.
        remote: whether this daemon listens at another server than it publishes to.

    Attributes:
        id: the one of now; "" before the first connection.
        users: who is here.
        wants: what the sockets here ask for.
        remote: whether any daemon listens at another server than it publishes to, which then does not see it listen.
    """

    log = Logger()

    def __init__(
        self,
        client: Callable[[], RedisClient],
        prefix: bytes,
        heartbeat: Heartbeat,
        reactor: Any,
        wall: WallClock,
        lost: Callable[[Sequence[str], int], None],
        wanted: Callable[[Wants], None],
        ready: Callable[[], None],
        remote: bool,
    ) -> None:
        self._remote = REMOTE if remote else 0
        self._scripts = Scripts("bus")
        self._client = client
        self._prefix = prefix
        self._heartbeat = heartbeat
        self._reactor = reactor
        self._wall = wall
        self._lost = lost
        self._wanted = wanted
        self._ready = ready
        self.id = ""
        self.users: set[str] = set()
        self.wants = Wants.NOTHING
        self.remote = remote
        self._moves: dict[str, bytes] = {}
        self._left: dict[str, bytes] = {}
        self._entered = False
        self._entering = False
        self._timer: IDelayedCall | None = None
        self._taking_off = False
        self._elsewhere = Wants.NOTHING
        self._heard = Wants.NOTHING
        # Signs of life that are not answered, and who waits for them.
        self._beating = 0
        self._waiting: list[Deferred[None]] = []
        # By how many milliseconds the server's clock is ahead of ours.
        self._ahead = 0

    def _run(self, do: Do, script: str, *arguments: str | bytes | int) -> Deferred[Any]:
        return self._scripts.run(do, script, self._prefix, *arguments)

    def here(self, user: str) -> None:
        """``user`` has come."""
        self.users.add(user)
        self._moves[user] = b"1"

    def gone(self, user: str, seen: int) -> None:
        """``user`` has gone."""
        self.users.discard(user)
        self._moves[user] = b"0%d" % seen

    # With a connection.

    async def enter(self, do: Do) -> None:
        """Enter all who are here under a new id, then take the old one off: so that nobody seems to go."""
        self._entering = True
        try:
            self.keep_moves()
            old, self.id = self.id, secrets.token_hex(8)
            await self._beat(do, new=True)
            users = list(self.users)
            for start in range(0, len(users), MAX_CALL_USERS):
                await self._turn(do, dict.fromkeys(users[start : start + MAX_CALL_USERS], b"1"))
            if old:
                left, self._left = self._left, {}
                while left:
                    await self._run(do, "turn", old, _packed(_taken(left)), _NOTHING, 0, _NOTHING, 0)
                await self._run(do, "retire", old)
                await self._take_off(do, old)
            self._entered = True
        finally:
            self._entering = False
        self._ready()

    def up(self) -> None:
        """The connection is up: say now and then that this daemon lives."""
        self._beat_later()

    def down(self) -> None:
        """The connection is down."""
        self._entered = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def ready(self) -> bool:
        """Whether moves can be told."""
        return self._entered and not self._entering

    @property
    def moved(self) -> bool:
        """Whether anybody came or went since."""
        return bool(self._moves)

    def turn(self, commands: bytes, asks: bytes) -> Deferred[list[int]]:
        """Tell who came and went, and publish ``commands`` and ``asks``. Fails as the client does.

        Where many moved, some are left for the next call.

        Args:
            commands: packed, each after its channel.
            asks: packed, each after its user, its channel, and whether this daemon listens there (1 or 0).

        Returns:
            Of each of ``asks``, how many other daemons there are to answer; nothing where it was too late to ask.
        """
        moves = _taken(self._moves)
        arguments = (self.id, _packed(moves), commands, self._deadline(), asks, int(self.remote))
        told = self._run(self._client().do, "turn", *arguments)
        return told.addCallbacks(self._turned, self._not_turned, callbackArgs=(self.id,), errbackArgs=(moves,))

    def _turned(self, answer: list[int], of: str) -> list[int]:
        known, *others = answer
        if not known and of == self.id:
            self._again()
        return others

    def _not_turned(self, failure: Failure, moves: dict[str, bytes]) -> Failure:
        self._keep(moves)
        return failure

    def _milliseconds(self) -> int:
        return int(self._reactor.seconds() * 1000)

    def _deadline(self) -> int:
        """The server's time after which what is told now is stale."""
        return self._milliseconds() + self._ahead + STALE_AFTER

    def keep_moves(self) -> None:
        """Nothing can be told now: keep when users went."""
        moves, self._moves = self._moves, {}
        self._keep(moves)

    def _keep(self, moves: dict[str, bytes]) -> None:
        for user, what in moves.items():
            self._left.pop(user, None)
            if what != b"1":
                self._left[user] = what
        while len(self._left) > MAX_LEFT:
            del self._left[next(iter(self._left))]

    async def _turn(self, do: Do, moves: dict[str, bytes]) -> None:
        known, *_ = await self._run(do, "turn", self.id, _packed(moves), _NOTHING, 0, _NOTHING, 0)
        if not known:
            raise RedisUnavailable("it forgets who is there")

    async def online(self, users: Sequence[str]) -> dict[str, bool | None]:
        """Who is on any daemon; None of one who was not entered yet, perhaps."""
        found: dict[str, bool | None] = {}
        for start in range(0, len(users), MAX_CALL_USERS):
            some = users[start : start + MAX_CALL_USERS]
            packed = packing.texts([user.encode() for user in some])
            settled, flags = await self._run(self._client().do, "online", packed)
            absent = False if settled else None
            found.update({user: True if flag == 0x31 else absent for user, flag in zip(some, flags, strict=True)})
        return found

    def count(self) -> Deferred[Any]:
        """How many daemons there are. Fails as the client does."""
        return self._client().do("ZCARD", self._prefix + b"daemons")

    async def leave(self) -> None:
        """Take all who are here off, and this daemon: it ends in good order."""
        now = b"0%d" % milliseconds(self._wall)
        do, users = self._client().do, list(self.users)
        for start in range(0, len(users), MAX_CALL_USERS):
            await self._turn(do, dict.fromkeys(users[start : start + MAX_CALL_USERS], now))
        await self._run(do, "retire", self.id)

    # That it lives.

    def want(self, wants: Wants) -> None:
        """What the sockets here ask for; what is new of it is told at once."""
        fresh = wants & ~self.wants
        self.wants = wants
        if fresh and self.ready:
            self._beat_now()

    def wants_told(self) -> Deferred[None]:
        """Fires when the others were told what is wanted here, or can't be now. Never fails."""
        if not self._beating:
            return succeed(None)
        waits: Deferred[None] = Deferred()
        self._waiting.append(waits)
        return waits

    def heard_wants(self, number: int) -> None:
        """Another daemon's sockets ask for this."""
        wants = Wants(number & ~REMOTE)
        self.remote = self.remote or bool(number & REMOTE)
        self._heard |= wants
        self._set_elsewhere(self._elsewhere | wants)

    def _set_elsewhere(self, wants: Wants) -> None:
        if wants != self._elsewhere:
            self._elsewhere = wants
            self._wanted(wants)

    async def _beat(self, do: Do, new: bool = False) -> bool:
        """Say that this daemon lives; whether Redis knew it."""
        self._heard = Wants.NOTHING
        wants = int(self.wants) | self._remote
        answer = await self._run(do, "beat", self.id, int(new), wants, *self._heartbeat.milliseconds)
        known, now, others, *dead = answer
        self._ahead = now - self._milliseconds()
        if known:
            self.remote = bool((others | self._remote) & REMOTE)
            # What was heard meanwhile may be newer than the answer.
            self._set_elsewhere(Wants(others & ~REMOTE) | self._heard)
            if dead and not self._taking_off:
                self._taking_off = True
                Deferred.fromCoroutine(self._take_all_off(do, dead)).addErrback(self._failed)
        return bool(known)

    def _beat_later(self) -> None:
        if self._timer is None:
            self._timer = self._reactor.callLater(self._heartbeat.beat, self._beat_now)

    def _beat_now(self) -> None:
        if self._timer is not None:
            if self._timer.active():
                self._timer.cancel()
            self._timer = None
        if self._client().up:
            self._beat_later()
            if not self._entering:
                Deferred.fromCoroutine(self._live()).addErrback(self._failed)

    async def _live(self) -> None:
        self._beating += 1
        try:
            known = await self._beat(self._client().do)
        finally:
            self._beating -= 1
            if not self._beating:
                waiting, self._waiting = self._waiting, []
                for waits in waiting:
                    waits.callback(None)
        if not known:
            self._again()

    def _again(self) -> None:
        """Others took this daemon for dead, or Redis forgot all."""
        if not self._entering and self._client().up:
            self.log.warn(
                "other daemons took this daemon for dead: {count} users are registered again", count=len(self.users)
            )
            Deferred.fromCoroutine(self.enter(self._client().do)).addErrback(self._failed)

    async def _take_all_off(self, do: Do, dead: Iterable[bytes]) -> None:
        try:
            for one in dead:
                await self._take_off(do, one)
        finally:
            self._taking_off = False

    async def _take_off(self, do: Do, one: str | bytes) -> None:
        """Take the users of a dead daemon off. Others may do so at the same time: each user is taken off once."""
        done = 0
        while not done:
            done, beat, *nowhere = await self._run(do, "takeOff", one, MAX_CALL_USERS)
            if nowhere:
                self._lost([user.decode() for user in nowhere], int(float(beat)))

    def _failed(self, failure: Failure) -> None:
        if failure.check(RedisUnavailable) is None:
            # Whatever Redis refuses: the next connection finds out whether it still does.
            self._client().abort(why(failure.value))


def _taken(moves: dict[str, bytes]) -> dict[str, bytes]:
    """As many as one call tells, the first ones, out of all."""
    some = dict(islice(moves.items(), MAX_CALL_USERS))
    for user in some:
        del moves[user]
    return some


def _packed(moves: dict[str, bytes]) -> bytes:
    parts: list[bytes] = []
    for user, what in moves.items():
        parts += (user.encode(), what)
    return packing.texts(parts)
