"""The store's two connections and scripts, and the check that Redis is the same server and accepts writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from secrets import token_urlsafe
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from kschat.backends.lag import Lag
from kschat.backends.redis.client.connection import Connection, RedisUnavailable, ResponseError
from kschat.backends.redis.client.faults import is_forbidden, said
from kschat.backends.redis.client.probe import enough_follow
from kschat.backends.redis.client.redis_client import RedisClient
from kschat.backends.redis.client.settings import Settings
from kschat.backends.redis.scripts import Scripts
from kschat.backends.redis.store.copies import Copies
from kschat.backends.redis.store.write_queue import BatchPart, WriteQueue
from kschat.backends.ticker import Ticker
from kschat.chat.interfaces import StoreUnavailable
from kschat.chat.message import Message
from kschat.counters import Counters
from kschat.outage_log import OutageLog

#: Seconds between two looks whether this is still the Redis that it was.
CHECK_INTERVAL: Final = 1.0

#: Errors that are of Redis as a whole, and not of what was asked.
_WHOLE: Final = (
    "NOSCRIPT",
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "NOAUTH",
    "NOPERM",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    "BUSY",
)


class StoreClient:
    """Writes go over one connection, in order. Reads have another, so that a long backlog delays no batch.

    Each method that asks fails with StoreUnavailable, at once if Redis is down.

    Args:
        settings: where it is.
        reactor: the real one.
        renewed: called when other data are there than before.
        reconnected: called when it can be read again.
        counters: count what became of waits for copies.

    Attributes:
        epoch: of the data; "" until Redis was connected.
        lag: of the connection that writes.
        queue: what writes, in order.
        last: the last number that is known to have been given, in milliseconds and a count.

    Raises:
        AddressError: the settings can't be used.
    """

    log = Logger()

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        renewed: Callable[[], None],
        reconnected: Callable[[], None],
        counters: Counters,
    ) -> None:
        self.epoch = ""
        self.prefix = f"{settings.prefix}:"
        self._patience = int(settings.patience * 1000)
        self._reactor = reactor
        self._renewed = renewed
        self._reconnected = reconnected
        self._scripts = Scripts("store", ("outbox",) if settings.hooks else ())
        outages = OutageLog(self.log, name="the store")
        self._writes = RedisClient(settings, reactor, outages, prepare=self._hello, turned=self._turned)
        self._reads = RedisClient(settings, reactor, outages, prepare=self._prepare_reading, turned=self._reads_turned)
        self._copies = Copies(settings, counters) if settings.wait else None
        self._asks_disks = settings.wait_disk
        self.lag = Lag(reactor)
        # Bytes of what the replicas that are waited for have not said that they have; None if that is not known.
        self._replicas_lack: int | None = None
        # Who waits until the replicas have what was read, and is not asked for yet; and whether somebody is.
        self._unproved: list[Deferred[None]] = []
        self._proving = False
        self.queue = WriteQueue(self._writes, self._copies)
        self._look = Ticker(reactor, CHECK_INTERVAL, self._look_after, "the check of the store failed")
        self._running = False
        # The generation of offsets that was last known, and the life of the server that it was learned from.
        self._generation = 0
        self._run = ""
        # A Redis that knows less than this has had an older copy put in place.
        self.last: tuple[int, int] = (0, 0)
        self._read_run = ""
        # What the server's clock says more than this one, in milliseconds.
        self._ahead = 0
        # What is said once for as long as the daemon lives.
        self._warnings = OutageLog(self.log, LogLevel.warn)

    @property
    def up(self) -> bool:
        """Whether Redis is there, and takes writes."""
        return self._writes.up and self._reads.up

    @property
    def measures(self) -> dict[str, float]:
        """See ``IMeasured``."""
        return {} if self._replicas_lack is None else {"redis_replica_lag_bytes": self._replicas_lack}

    def start(self) -> None:
        """Begin; Redis is waited for."""
        self._running = True
        self._writes.start()
        self._reads.start()
        self._look.start()

    def stop(self) -> Deferred[None]:
        """Wait for what is on its way, as long as Redis may take to answer, and end."""
        if not self._running:
            return succeed(None)
        self._running = False
        self._look.stop()
        last = self.queue.do(0, lambda: ("PING",)).addErrback(lambda _: None)
        ended = last.addCallback(lambda _: gatherResults([self._writes.stop(), self._reads.stop()]))
        return ended.addCallback(lambda _: None)

    def write(self, script: str, argument: Callable[[], bytes], writes: int = 1) -> Deferred[Any]:
        """Run a script that writes, in the order of the calls.

        Args:
            script: its name.
            argument: called when it is sent.
            writes: how many it makes, about.
        """
        if not self._running:
            return _stopped()
        asked = self.queue.do(writes, lambda: self._scripts.command(script, self.prefix, argument()))
        return asked.addErrback(self._unavailable, self._writes)

    def append(
        self, batch: Sequence[Message], argument: Callable[[Sequence[Message]], bytes]
    ) -> Deferred[list[BatchPart]]:
        """Run ``append`` for a batch, or for each of its parts. See ``WriteQueue.append``.

        Args:
            batch: what is to be kept.
            argument: called with a part of it when that is sent.
        """
        if not self._running:
            return _stopped()
        return self.queue.append(batch, lambda part: self._scripts.command("append", self.prefix, argument(part)))

    def read(self, script: str, *arguments: str | bytes | int) -> Deferred[Any]:
        """Run a script that writes nothing (or deletes what is too old, in no order with the others)."""
        return self.ask(*self._scripts.command(script, self.prefix, *arguments))

    def ask(self, *command: str | bytes | int) -> Deferred[Any]:
        """A command in no order with what is written."""
        if not self._running:
            return _stopped()
        return self._reads.do(*command).addErrback(self._unavailable, self._reads)

    def replicated(self) -> Deferred[None]:
        """Fires once the replicas have what was read until now, where they must have what is written."""
        copies = self._copies
        if copies is None:
            return succeed(None)
        asked: Deferred[None] = Deferred()
        self._unproved.append(asked)
        if not self._proving:
            self._prove(copies)
        return asked

    def _prove(self, copies: Copies) -> None:
        """Ask for all who wait. Redis reads nothing else of this connection meanwhile: one WAIT at a time."""
        waiting, self._unproved, self._proving = self._unproved, [], True
        # WAIT is about the writes of its own connection, so this makes one.
        self.ask("HSET", f"{self.prefix}g", "read", 1).addErrback(lambda _: None)
        self.ask(*copies.in_memory).addBoth(self._proved, waiting, copies)

    def _proved(self, answer: int | Failure, waiting: list[Deferred[None]], copies: Copies) -> None:
        self._proving = False
        if self._unproved:
            self._prove(copies)
        for asked in waiting:
            if isinstance(answer, Failure):
                asked.errback(answer)
            elif reason := copies.missing(answer, "what was read"):
                asked.errback(StoreUnavailable(reason))
            else:
                asked.callback(None)

    def head(self) -> tuple[int, str, int]:
        """What each argument of a script that writes begins with.

        The server's time, in milliseconds, after which what is sent now is given up, and may not be done; who writes;
        and the turn of that.
        """
        return self._milliseconds() + self._ahead + self._patience, self.queue.writer, self.queue.turn

    def told_time(self, server: int) -> None:
        """What the server's clock said, a moment ago."""
        self._ahead = server - self._milliseconds()

    def refused(self, error: ResponseError, client: RedisClient | None = None) -> StoreUnavailable:
        """What Redis said instead of doing it."""
        reason = said(error)
        if str(error).startswith(_WHOLE) or is_forbidden(error):
            # The next connection is prepared again, which fails while Redis accepts no writes.
            (client or self._writes).abort(reason)
        else:
            self._warn(f"Redis could not do it: {reason}")
        return StoreUnavailable(f"Redis refused: {reason}")

    def lost(self) -> StoreUnavailable:
        """The data was lost or replaced: every inbox is read again."""
        self._writes.abort("its data are gone, or others")
        return StoreUnavailable("Redis has lost its data")

    def unavailable(self, failure: Failure) -> Failure:
        """Why something was not written, as StoreUnavailable."""
        return self._unavailable(failure, self._writes)

    def is_outdated(self, generation: int) -> None:
        """An offset of this generation was seen. Where it is later than what is known here, look for its server."""
        if generation > self._generation:
            self._writes.look_for_newer()
            self._reads.look_for_newer()

    def _unavailable(self, failure: Failure, client: RedisClient) -> Failure:
        if failure.check(RedisUnavailable) is not None:
            return Failure(StoreUnavailable(str(failure.value)))
        failure.trap(ResponseError)
        return Failure(self.refused(failure.value, client))

    def _turned(self, up: bool) -> None:
        if not up:
            self.lag.lost()
            self._replicas_lack = None
            self.queue.down()

    async def _hello(self, connection: Connection) -> None:
        do = connection.execute_command
        about = _about(await do("INFO"))
        if int(about.get("redis_version", "0").split(".")[0]) < 7:
            raise RedisUnavailable(f"it is of version {about.get('redis_version')}, and must be of 7 or newer")
        if self._copies is not None:
            await self._look_for_copies(self._copies, about, do)
        await self._scripts.load(do)
        known = (self.epoch, self._generation, self._run, *self.last, token_urlsafe(6))
        answer = await do(*self._scripts.command("hello", self.prefix, about["run_id"], *known))
        epoch, generation, now, *last = answer
        self._ahead = now - self._milliseconds()
        before, self.epoch = self.epoch, epoch.decode()
        self._generation, self._run, self.last = generation, about["run_id"], (last[0], last[1])
        if about.get("maxmemory", "0") != "0" and about.get("maxmemory_policy") != "noeviction":
            self._warn(
                f"Redis evicts data when memory is short: set maxmemory-policy noeviction, "
                f"and not {about.get('maxmemory_policy')}"
            )
        if about.get("aof_enabled") != "1":
            self._warn("Redis keeps what was acknowledged only up to its last snapshot: set appendonly yes")
        if before and before != self.epoch:
            self._warn("Redis has lost its data, or has other data now: all sockets are closed")
            self._renewed()

        # What is written on one server must not be looked for on another.
        if self._reads.up and self._read_run != self._run:
            self._reads.abort("another server is the master now")
        # At the end, since it may fail. Redis does not miss a silent replica for a minute; no Send has to wait for it.
        if self._copies is not None and (reason := self._copies.missing(await do(*self._copies.command))):
            raise RedisUnavailable(reason)

    async def _look_for_copies(
        self, copies: Copies, about: Mapping[str, str], do: Callable[..., Deferred[Any]]
    ) -> None:
        """Whether enough replicas follow, and what they can be asked. Raises RedisUnavailable."""
        enough_follow(await do("ROLE"), copies.wanted)
        if not self._asks_disks:
            return
        copies.on_disk = bool((await do("COMMAND", "INFO", "WAITAOF"))[0])
        if not copies.on_disk:
            self._warn(
                f"Redis {about.get('redis_version')} can't say what is on disks, as redis_wait_disk asks (7.2 can): a "
                "message counts as stored once the replicas have it in memory"
            )
        elif about.get("aof_enabled") != "1":
            raise RedisUnavailable("it has no append-only file, and redis_wait_disk asks for it: set appendonly yes")

    async def _prepare_reading(self, connection: Connection) -> None:
        self._read_run = _about(await connection.execute_command("INFO", "server")).get("run_id", "")
        if self._writes.up and self._read_run != self._run:
            self._writes.look_for_newer()
            raise RedisUnavailable("another server is the master")
        await self._scripts.load(connection.execute_command)

    def _reads_turned(self, up: bool) -> None:
        if up:
            self._reconnected()

    def _warn(self, what: str) -> None:
        self._warnings.down("the store: {reason}", what)

    def _look_after(self) -> None:
        if self._writes.up:
            looked = self._writes.do("HMGET", f"{self.prefix}g", "epoch", "generation", "ms", "seq")
            looked.addBoth(self._answered, self.lag.ask())
            looked.addCallback(self._looked)
            looked.addErrback(self._not_looked)
            if self._copies is not None:
                self._writes.do("ROLE").addCallback(self._compared, self._copies).addErrback(self._not_looked)
            # Also where nothing is appended: its clock may be set, and then all that is written would be too late.
            self._writes.do("TIME").addCallback(self._timed).addErrback(self._not_looked)

    def _looked(self, found: list[bytes | None]) -> None:
        epoch, generation, *last = found
        number = (int(last[0] or 0), int(last[1] or 0))
        if epoch is None or epoch.decode() != self.epoch or number < self.last:
            self.lost()
        else:
            self._generation, self.last = max(int(generation or 0), self._generation), number

    def _answered(self, found: Any, asked: float) -> Any:
        if not isinstance(found, Failure) or found.check(ResponseError) is not None:
            self.lag.answered(asked)
        return found

    def _compared(self, role: list[Any], copies: Copies) -> None:
        self._replicas_lack = copies.lacking(role)

    def _timed(self, time: list[bytes]) -> None:
        seconds, microseconds = time
        self.told_time(int(seconds) * 1000 + int(microseconds) // 1000)

    def _not_looked(self, failure: Failure) -> None:
        if failure.check(RedisUnavailable, ResponseError) is None:
            self.log.failure("the check of the store failed", failure)

    def _milliseconds(self) -> int:
        return int(self._reactor.seconds() * 1000)


def _stopped() -> Deferred[Any]:
    return fail(StoreUnavailable("the store is not running"))


def _about(info: bytes) -> dict[str, str]:
    lines = info.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
