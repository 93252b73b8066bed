"""``RedisStore``: the scripts behind ``IStore``, and what is done while Redis can't be used.

Keys, each behind the prefix and a colon (conversations are ``#room``, or the two users behind the first one's length):

::

    g          hash    epoch, run id of the server, generation of offsets, the greatest number (ms, seq)
    i:USER     stream  the inbox: an offset is the id; which message (n) of which conversation (c)
    u:USER     hash    cursor (c), last seen (s)
    v:USER     zset    the conversations, by when they were written to, but for a minute
    d:USER     hash    cids of what the user sent: which message of which conversation
    c:CONV     stream  the conversation: a number is the id; the message (m), facts (s), cid (d), places in a room (p)
    h:CONV     hash    its counts (t, a), read marks (r1, r2), what of it is hidden (f, ft, fa), when it was listed (z)
    m:#ROOM    hash    the members, with their counts
    n:#ROOM    hash    how many inboxes still hold a message, where so many are kept only
    x:age, x:full, x:lock      what may be to be deleted, and who does it
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_urlsafe
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kschat.backends.order import number_of
from kschat.backends.redis.connection import Connection, RedisUnavailable, ResponseError
from kschat.backends.redis.faults import is_forbidden, said
from kschat.backends.redis.link import Link
from kschat.backends.redis.packed import Packer, answers, id_of, message_of, packed, peer_of
from kschat.backends.redis.retention import Retention
from kschat.backends.redis.scripts import READING, WRITING, Scripts
from kschat.backends.redis.settings import Settings
from kschat.backends.redis.teller import Teller
from kschat.chat.interfaces import (
    MAX_UNREAD,
    Conversation,
    Entry,
    InboxState,
    IStore,
    Notes,
    Page,
    RoomFull,
    Stored,
    StoreListener,
    StoreUnavailable,
)
from kschat.chat.messages import Message

T = TypeVar("T")

#: Seconds between two looks whether this is still the Redis that it was, and whether it takes writes again.
LOOK: Final = 1.0

#: Users that are asked of at once.
MOST_USERS: Final = 1000

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


@implementer(IStore)
class RedisStore:
    """Keeps messages in Redis, for any number of daemons.

    What writes goes over one connection, and so keeps its order; what only reads has another, so that a long backlog
    delays no batch. Each script that writes is told a time of the server's after which it does nothing: what its
    sender was told to have failed is not done later, by a server that had been stopped.

    Args:
        settings: where it is, and how long messages are kept.
        reactor: the real one.

    Raises:
        AddressError: the settings can't be used.
    """

    log = Logger()
    keeps = True

    def __init__(self, settings: Settings, reactor: Any) -> None:
        #: See ``IStore``: "" until Redis was connected.
        self.epoch = ""
        self._settings = settings
        self._reactor = reactor
        self._prefix = f"{settings.prefix}:"
        self._scripts = Scripts()
        self._packer = Packer()
        self._teller = Teller("the store")
        self._writes = Link(settings, reactor, self._teller, prepare=self._hello)
        self._reads = Link(settings, reactor, self._teller, prepare=self._load_reading)
        self._retention = Retention(
            lambda *command: self._do(self._reads, *command),
            lambda argument: self._read("sweep", argument),
            self._prefix,
            settings.retention_seconds,
            settings.retention_messages,
            reactor,
        )
        self._look = LoopingCall(self._look_after)
        self._look.clock = reactor
        self._listener: StoreListener | None = None
        self._running = False
        self._generation = 0
        # What the server's clock says more than this one, in milliseconds.
        self._ahead = 0
        self._warned: set[str] = set()

    @property
    def up(self) -> bool:
        """See ``IStore``."""
        return self._writes.up and self._reads.up

    def attach(self, listener: StoreListener) -> None:
        """See ``IStore``."""
        self._listener = listener

    def start(self) -> None:
        """See ``IStore``."""
        self._running = True
        self._writes.start()
        self._reads.start()
        self._retention.start()
        self._look.start(LOOK, now=False)

    def stop(self) -> Deferred[None]:
        """See ``IStore``. What is on its way is waited for, as long as Redis may take to answer."""
        if not self._running:
            return succeed(None)
        self._running = False
        self._look.stop()
        self._retention.stop()
        last = self._writes.do("PING").addErrback(lambda _: None)
        ended = last.addCallback(lambda _: gatherResults([self._writes.stop(), self._reads.stop()]))
        return ended.addCallback(lambda _: None)

    # IStore: what writes.

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        """See ``IStore``. What is answered is as durable as Redis is set up to make it."""
        argument = self._packer.batch(batch, self._deadline(), self._settings.retention_messages)
        return self._write("append", argument).addCallback(self._appended, batch)

    def note(self, notes: Notes) -> Deferred[None]:
        """See ``IStore``."""
        cursors = [part for pair in notes.cursors.items() for part in pair]
        seen = [part for pair in notes.seen.items() for part in pair]
        noted = self._write("note", packed(self._deadline(), self.epoch, cursors, seen))
        return noted.addCallback(lambda answer: self._done(answer, None))

    def mark_read(self, user: str, peer: str, mid: str) -> Deferred[bool]:
        """See ``IStore``."""
        number = number_of(mid)
        if number is None:
            return succeed(False)
        name, side = self._packer.name(user, peer)
        marked = self._write("mark", packed(self._deadline(), user, name, side, id_of(number)))
        return marked.addCallback(lambda answer: self._done(answer, answer == 1))

    def join(self, room: str, user: str, most: int) -> Deferred[bool]:
        """See ``IStore``."""
        joined = self._write("room", packed(self._deadline(), "join", room, user, most))
        return joined.addCallback(lambda answer: self._done(answer, answer == 1))

    def leave(self, room: str, user: str) -> Deferred[bool]:
        """See ``IStore``."""
        left = self._write("room", packed(self._deadline(), "leave", room, user, 0))
        return left.addCallback(lambda answer: self._done(answer, answer == 1))

    # IStore: what reads.

    def inbox(self, user: str) -> Deferred[InboxState]:
        """See ``IStore``."""
        return self._read("inbox", user).addCallback(lambda answer: InboxState(*answer))

    def ends(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        """See ``IStore``."""
        return self._of_each("ends", users)

    def read(self, user: str, after: int, limit: int) -> Deferred[list[Entry]]:
        """See ``IStore``."""
        return self._read("read", user, after, limit).addCallback(_entries)

    def last_seen(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        """See ``IStore``."""
        return self._of_each("seen", users)

    def history(self, user: str, peer: str, before: str | None, limit: int) -> Deferred[Page]:
        """See ``IStore``."""
        name, side = self._packer.name(user, peer)
        upto = ""
        if before is not None:
            number = number_of(before)
            if not number:
                return succeed(Page((), False))
            upto = id_of(number)
        found = self._read("history", user, name, int(side == 0), upto, limit + 1)
        return found.addCallback(_page, limit)

    def conversations(self, user: str, limit: int) -> Deferred[list[Conversation]]:
        """See ``IStore``."""
        return self._read("conversations", user, limit).addCallback(_conversations)

    def members(self, room: str) -> Deferred[list[str]]:
        """See ``IStore``."""
        found = self._do(self._reads, "HKEYS", f"{self._prefix}m:{room}")
        return found.addCallback(lambda names: [name.decode() for name in names])

    def sweep(self) -> Deferred[None]:
        """Delete now what is deleted by and by, unless another daemon does. For tests and benches."""
        return self._retention.sweep()

    # The scripts.

    def _write(self, name: str, argument: bytes) -> Deferred[Any]:
        return self._do(self._writes, "EVALSHA", self._scripts.hashes[name], 1, self._prefix, argument)

    def _read(self, name: str, *arguments: str | bytes | int) -> Deferred[Any]:
        return self._do(self._reads, "EVALSHA", self._scripts.hashes[name], 1, self._prefix, *arguments)

    def _of_each(self, name: str, users: Sequence[str]) -> Deferred[dict[str, int]]:
        parts = [users[start : start + MOST_USERS] for start in range(0, len(users), MOST_USERS)]
        asked = gatherResults([self._read(name, packed(*part)) for part in parts], consumeErrors=True)

        def found(answers: list[list[Any]]) -> dict[str, int]:
            return {
                user: int(value)
                for part, answer in zip(parts, answers, strict=True)
                for user, value in zip(part, answer, strict=True)
                if value != b""
            }

        done: Deferred[dict[str, int]] = asked.addCallbacks(found, lambda failure: failure.value.subFailure)
        return done

    def _do(self, link: Link, *command: str | bytes | int) -> Deferred[Any]:
        if not self._running:
            return fail(StoreUnavailable("the store is not running"))
        return link.do(*command).addErrback(self._unavailable, link)

    def _unavailable(self, failure: Failure, link: Link) -> Failure:
        if failure.check(RedisUnavailable) is not None:
            return Failure(StoreUnavailable(str(failure.value)))
        failure.trap(ResponseError)
        reason = said(failure.value)
        if str(failure.value).startswith(_WHOLE) or is_forbidden(failure.value):
            # The next connection is prepared anew, which fails for as long as Redis takes no writes.
            link.abort(reason)
        else:
            self._warn(f"Redis could not do it: {reason}")
        return Failure(StoreUnavailable(f"Redis refused: {reason}"))

    def _done(self, answer: Any, result: T) -> T:
        """What a script that writes has answered; ``result`` is for the good case."""
        if answer == b"full":
            raise RoomFull
        if answer == b"late":
            raise StoreUnavailable("Redis came to it too late, and did nothing")
        if answer == b"new":
            self._writes.abort("its data are gone")
            raise StoreUnavailable("Redis has lost its data")
        return result

    def _appended(self, answer: list[Any], batch: Sequence[Message]) -> list[Stored]:
        now, outcome, *rest = answer
        self._ahead = now - self._milliseconds()
        if outcome == b"ok":
            return answers(batch, rest[0], rest[1:])
        if outcome == b"error":
            error = ResponseError(rest[0].decode("utf-8", "replace"))
            reason = said(error)
            if is_forbidden(error):
                self._writes.abort(reason)
            else:
                self._warn(f"Redis could not keep a batch, and has undone it: {reason}")
            raise StoreUnavailable(f"Redis refused: {reason}")
        self._done(outcome, None)
        raise AssertionError(outcome)

    # The connections.

    async def _hello(self, connection: Connection) -> None:
        do = connection.execute_command
        about = _about(await do("INFO"))
        if int(about.get("redis_version", "0").split(".")[0]) < 7:
            raise RedisUnavailable(f"it is of version {about.get('redis_version')}, and must be of 7 or newer")
        await self._load(connection, WRITING)
        known = (self.epoch, self._generation, token_urlsafe(6))
        said_hello = await do("EVALSHA", self._scripts.hashes["hello"], 1, self._prefix, about["run_id"], *known)
        epoch, generation, now = said_hello
        self._ahead = now - self._milliseconds()
        before, self.epoch, self._generation = self.epoch, epoch.decode(), generation
        if about.get("maxmemory", "0") != "0" and about.get("maxmemory_policy") != "noeviction":
            self._warn(
                f"Redis deletes what it likes when memory is short: set maxmemory-policy noeviction, "
                f"and not {about.get('maxmemory_policy')}"
            )
        if about.get("aof_enabled") != "1":
            self._warn("Redis keeps what was acknowledged only up to its last snapshot: set appendonly yes")
        if before and before != self.epoch:
            self._warn("Redis has lost its data, or other data are there now: all begins anew")
            if self._listener is not None:
                self._listener.renewed()

    async def _load_reading(self, connection: Connection) -> None:
        await self._load(connection, (*READING, "sweep"))

    async def _load(self, connection: Connection, names: Sequence[str]) -> None:
        for name in names:
            await connection.execute_command("SCRIPT", "LOAD", self._scripts.text(name))

    def _warn(self, what: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self.log.warn("the store: {what}", what=what)

    def _look_after(self) -> None:
        if self._writes.up:
            looked = self._writes.do("HGET", f"{self._prefix}g", "epoch").addCallback(self._looked)
            looked.addErrback(self._not_looked)

    def _looked(self, epoch: bytes | None) -> None:
        if epoch is None or epoch.decode() != self.epoch:
            self._writes.abort("its data are gone, or others")

    def _not_looked(self, failure: Failure) -> None:
        if failure.check(RedisUnavailable, ResponseError) is None:
            self.log.failure("the store could not be looked after", failure)

    def _milliseconds(self) -> int:
        return int(self._reactor.seconds() * 1000)

    def _deadline(self) -> int:
        return self._milliseconds() + self._ahead + int(self._settings.patience * 1000)


def _about(info: bytes) -> dict[str, str]:
    lines = info.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _entries(found: list[Any]) -> list[Entry]:
    return [
        Entry(offset, message_of(id_, rest))
        for offset, id_, rest in zip(found[::3], found[1::3], found[2::3], strict=True)
    ]


def _page(found: list[Any], limit: int) -> Page:
    messages = [message_of(id_, rest) for id_, rest in zip(found[::2], found[1::2], strict=True)]
    return Page(tuple(reversed(messages[:limit])), len(messages) > limit)


def _conversations(found: list[Any]) -> list[Conversation]:
    return [
        Conversation(peer_of(int(name[:1]), name[1:]), message_of(id_, rest), min(unread, MAX_UNREAD))
        for name, id_, rest, unread in found
    ]
