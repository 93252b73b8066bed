"""``RedisStore``: implements ``IStore`` with the scripts, and handles the time when Redis cannot be used.

Keys, each after the prefix and a colon (a conversation is ``#room``, or the two users after the first one's length):

::

    g          hash    epoch, run id of the server, generation of offsets, the greatest message id (ms, seq)
    i:USER     stream  the inbox: the entry id is the offset; which message (n) of which conversation (c); or an
                       update: its own number (n), itself (u), the message whose text it is read with (t)
    u:USER     hash    cursor (c), last seen (s), how many rooms the user is in (n)
    v:USER     zset    the conversations, by their last message, up to a minute out of date
    d:USER     hash    cids of the user's own messages: which message of which conversation
    e:USER     hash    the same of large messages: what a repeat is told
    c:CONV     stream  the conversation; entry id = message id; message (m), facts (s), cid (d), room places (p)
    w:CONV     hash    messages that were changed, as they are now, until they are written over those in the stream
    y:CONV     stream  a copy of the stream, with those, that is being made to replace it
    z:CONV     set     messages that were changed after they had been copied: they are written over by the next copy
    x:changed  set     the conversations with any
    k:N:USERCID text   the cid of an update, for ``KNOWN_MILLISECONDS``
    h:CONV     hash    its counts (t, a), read marks (r1, r2), the hidden part (f, ft, fa), when it was listed (z);
                       whether there was any update (u), and how far an inbox was looked through to erase those (x)
    j:#ROOM    hash    how many messages there were when each member joined
    m:#ROOM    hash    the members: how many messages each has sent, and how many of others each has read
    o:N:#ROOMUSER zset each message of a member in a room: its number among the member's, by its number in the room
    b:USER  set     whom the user blocks; how many these are of all users stands in g (blocks)
    p:USER     hash    the user's push subscriptions: of each endpoint a number that rises, and the two keys
    p          hash    whose each endpoint is
    t, t:n, t:u  hash, zsets  revoked tokens: each by its key; their numbers; when they are forgotten
    q:USER     text    when the user may send a full burst again, in milliseconds; only if sending is limited
    n:#ROOM    hash    how many inboxes still hold a message; only if the number of messages is limited
    x:age:i, x:age:c, x:full, x:lock      candidates for deletion, and the lock of the daemon that deletes
    x:late  zset    ids that run ahead of their messages' times, by those times
    x:hook, x:hook:…  what is kept for hooks: see ``outbox.py``
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, FirstError, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from kschat.backends.generations import ceiling_of, generation_of
from kschat.backends.redis.client import packing
from kschat.backends.redis.client.connection import ResponseError
from kschat.backends.redis.client.settings import Settings
from kschat.backends.redis.store import write_queue
from kschat.backends.redis.store.client import StoreClient
from kschat.backends.redis.store.codec import (
    BatchEncoder,
    answers,
    id_of,
    listed_of,
    listed_rest,
    looked_up,
    message_of,
    missing,
    number_of_id,
    peer_of,
    rest_of,
    update_as_read,
)
from kschat.backends.redis.store.erasure import Erasure
from kschat.backends.redis.store.listing import SLICE, Listing
from kschat.backends.redis.store.outbox import RedisOutbox
from kschat.backends.redis.store.retention import Retention
from kschat.backends.redis.store.revoked import listed_revocations, revoke_argument
from kschat.backends.redis.store.rewriting import Rewriting
from kschat.backends.redis.store.write_queue import BatchPart
from kschat.chat.changes import changed, update_of, without_text
from kschat.chat.clocks import WallClock
from kschat.chat.conversations import is_room
from kschat.chat.interfaces import (
    MAX_UNREAD,
    NO_BOUND,
    BlockListFull,
    Blocks,
    Conversation,
    Entry,
    IMeasured,
    InboxPage,
    InboxState,
    IStore,
    LimitReached,
    Page,
    Progress,
    RevocationsFull,
    RoomFull,
    Stored,
    StoreListener,
    StoreUnavailable,
    TooManyRooms,
)
from kschat.chat.message import DELETE, EDIT, Error, Message
from kschat.chat.mids import COUNT_BITS, MAX_COUNT, number_of, parse_number, renumbered
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation, Revocation
from kschat.counters import Counters

T = TypeVar("T")

#: Users that are asked of at once, or of whom something is noted.
MAX_SCRIPT_USERS: Final = 1000

#: Messages, or conversations, that are looked up at once; fewer, where they are large.
MAX_LOOKUPS: Final = 100

#: Milliseconds for which the cid of an update is known. Each is a key of its own, which goes by itself.
KNOWN_MILLISECONDS: Final = 86_400_000

#: How often a change is tried again because another daemon has changed the same message meanwhile.
MAX_TRIES: Final = 20

#: Conversations in which a message is looked for whose conversation is not given.
MAX_CANDIDATES: Final = 1500


@implementer(IStore, IMeasured)
class RedisStore:
    """Keeps messages in Redis, for any number of daemons.

    Each script that writes is told a time of the server's after which it does nothing: what its sender was told to
    have failed is not done later, by a server that had been stopped.

    Args:
        settings: where it is, and how long messages are kept.
        reactor: the real one.
        wall: tells how old messages are.
        counters: count what became of waits for copies.

    Raises:
        AddressError: the settings can't be used.
    """

    keeps = True

    def __init__(
        self, settings: Settings, reactor: Any, wall: WallClock = time.time, counters: Counters | None = None
    ) -> None:
        self._client = client = StoreClient(
            settings, reactor, self._renewed, self._reconnected, counters if counters is not None else Counters()
        )
        self._clock: IReactorTime = reactor
        self._most = settings.retention_messages
        # Milliseconds: what a message costs its sender, and what a sender may spend at once.
        cost = 1000 / settings.send_rate if settings.send_rate else 0.0
        self._send_rate = (cost, max(settings.send_burst * 1000, cost))
        self._encoder = BatchEncoder()
        self._retention = Retention(
            client.ask,
            client.read,
            client.prefix,
            settings.retention_seconds,
            settings.retention_messages,
            reactor,
            wall,
        )
        self._rewriting = Rewriting(client.ask, client.read, client.prefix, reactor)
        # Changes are made one after another: each reads the message that it changes.
        self._changes = DeferredLock()
        self._listener: StoreListener | None = None
        self.outbox = RedisOutbox(client) if settings.hooks else None

    @property
    def epoch(self) -> str:
        """See ``IStore``: "" until Redis was connected."""
        return self._client.epoch

    @property
    def up(self) -> bool:
        return self._client.up

    @property
    def lag(self) -> float | None:
        """See ``IMeasured``."""
        return self._client.lag.seconds

    @property
    def measures(self) -> Mapping[str, float]:
        """See ``IMeasured``: with ``redis_wait``, what the replicas lack."""
        return self._client.measures

    def attach(self, listener: StoreListener) -> None:
        self._listener = listener

    def start(self) -> None:
        self._client.start()
        self._retention.start()
        self._rewriting.start()

    def stop(self) -> Deferred[None]:
        self._retention.stop()
        self._rewriting.stop()
        return self._client.stop()

    def _renewed(self) -> None:
        if self._listener is not None:
            self._listener.renewed()

    def _reconnected(self) -> None:
        if self._listener is not None:
            self._listener.reconnected()

    # IStore: what writes.

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        """See ``IStore``. What is answered is as durable as Redis is set up to make it."""
        asked = self._client.append(batch, self._argument)
        return asked.addCallback(self._appended)

    def _argument(self, part: Sequence[Message]) -> bytes:
        client = self._client
        return self._encoder.encode(
            part, *client.head(), write_queue.MAX_SCRIPT_WRITES, self._most, *client.last, *self._send_rate
        )

    def _appended(self, parts: Sequence[BatchPart]) -> list[Stored] | Deferred[list[Stored]]:
        if len(parts) == 1:
            return self._kept(parts[0])
        return Deferred.fromCoroutine(self._together(parts))

    async def _together(self, parts: Sequence[BatchPart]) -> list[Stored]:
        """What became of a batch that was split. Where some of it is kept, the messages of the rest are refused."""
        found: list[Stored] = []
        failed: StoreUnavailable | None = None
        kept = False
        for part in parts:
            try:
                stored = self._kept(part)
                found += await stored if isinstance(stored, Deferred) else stored
                kept = True
            except StoreUnavailable as error:
                failed = error
                found += [Stored(message, (), False, Error.NO_STORE) for message in part.messages]
        if failed is not None and not kept:
            raise failed
        return found

    def _kept(self, part: BatchPart) -> list[Stored] | Deferred[list[Stored]]:
        """What became of a part."""
        if isinstance(part.result, Failure):
            self._client.unavailable(part.result).raiseException()
        now, outcome, *rest = part.result
        self._client.told_time(now)
        if outcome == b"error":
            raise self._client.refused(ResponseError(rest[0].decode("utf-8", "replace")))
        if outcome != b"ok":
            return self._done(outcome, [])
        ms, seq, offsets, *told = rest
        self._client.last = max(self._client.last, (ms, seq))
        wanted = missing(told)
        if wanted:
            return Deferred.fromCoroutine(self._looked_up(part.messages, offsets, told, wanted))
        stored = answers(part.messages, offsets, told)
        if told:
            self._client.queue.learn(stored)
        return stored

    async def _looked_up(
        self,
        batch: Sequence[Message],
        offsets: Sequence[int],
        told: Sequence[Sequence[Any]],
        wanted: Sequence[tuple[bytes, bytes]],
    ) -> list[Stored]:
        found = dict(zip(wanted, await self._messages(wanted), strict=True))
        return answers(batch, offsets, looked_up(told, found))

    async def _messages(self, wanted: Sequence[tuple[bytes, bytes]]) -> list[list[bytes]]:
        """Messages by conversation and id: each one's rest, facts and places; of one that is gone nothing."""
        found: list[list[bytes]] = []
        while len(found) < len(wanted):
            some = wanted[len(found) : len(found) + MAX_LOOKUPS]
            found += await self._client.read("messages", packing.texts([part for one in some for part in one]))
        return found

    def change(self, update: Message) -> Deferred[Stored]:
        """See ``IStore``. What is answered is as durable as Redis is set up to make it."""
        return self._changes.run(lambda: Deferred.fromCoroutine(self._change(update)))

    async def _change(self, update: Message) -> Stored:
        about = update_of(update)
        number = parse_number(about.target)
        cid = "" if update.cid is None else f"k:{len(update.sender)}:{update.sender}{update.cid}"
        if cid and await self._client.ask("EXISTS", self._client.prefix + cid):
            # It was refused, perhaps, since too few copies had it.
            await self._client.replicated()
            return Stored(update, (), True)
        if number is None:
            return Stored(update, (), False, Error.INVALID)
        name, _ = self._encoder.conversation(update.sender, update.recipient)
        for _ in range(MAX_TRIES):
            read = await self._client.read("find", "", name, id_of(number), 0)
            target = message_of(id_of(number).encode(), read) if read else None
            if target is None or target.mid != about.target:
                return Stored(update, (), False, Error.INVALID)
            after = changed(target, update)
            if isinstance(after, Error):
                return Stored(update, (), False, after)
            if after is target:
                await self._client.replicated()
                return Stored(update, (), True)
            now, outcome, *rest = await self._write_change(update, name, read, after, cid=cid)
            self._client.told_time(now)
            if outcome == b"ok":
                ms, count, places = rest
                self._client.last = max(self._client.last, (ms, count))
                self._rewriting.sweep()
                numbered = renumbered(update, number_of_id(b"%d-%d" % (ms, count)))
                pairs = zip(places[::2], places[1::2], strict=True)
                return Stored(numbered, tuple([(user.decode(), offset) for user, offset in pairs]))
            if outcome == b"repeat":
                return Stored(update, (), True)
            if outcome == b"t":
                return Stored(update, (), False, Error.TOO_MANY, rest[0] / 1000)
            if outcome in (b"x", b"gone"):
                return Stored(update, (), False, Error.NOT_ALLOWED if outcome == b"x" else Error.INVALID)
            self._done(outcome, None)
        raise StoreUnavailable("other daemons change the same message all the time")

    def _write_change(
        self, update: Message, name: str, read: bytes, after: Message, *, cid: str
    ) -> Deferred[list[Any]]:
        about, number = update_of(update), number_of(update.mid)
        to_room = is_room(update.recipient)
        line = listed_rest(after)
        return self._client.write(
            "change",
            lambda: packing.pack(
                *self._client.head(),
                name,
                update.sender,
                "" if to_room else update.recipient,
                int(about.kind == DELETE),
                cid,
                KNOWN_MILLISECONDS,
                number >> COUNT_BITS,
                number & MAX_COUNT,
                id_of(number_of(about.target)),
                hashlib.sha1(read, usedforsecurity=False).hexdigest(),
                packing.text(rest_of(after)),
                "" if line is None else packing.text(line),
                packing.text(rest_of(without_text(update))),
                int(about.kind == EDIT),
                self._most,
                *self._send_rate,
            ),
            write_queue.ASSUMED_ROOM_SIZE if to_room else 2,
        )

    def save_progress(self, progress: Progress) -> Deferred[None]:
        users = list(dict.fromkeys((*progress.cursors, *progress.seen)))
        parts = [
            self._save_progress(progress, users[start : start + MAX_SCRIPT_USERS])
            for start in range(0, max(len(users), 1), MAX_SCRIPT_USERS)
        ]
        return parts[0] if len(parts) == 1 else Deferred.fromCoroutine(_all(parts))

    def _save_progress(self, progress: Progress, users: Sequence[str]) -> Deferred[None]:
        cursors = [part for user in users if user in progress.cursors for part in (user, progress.cursors[user])]
        seen = [part for user in users if user in progress.seen for part in (user, progress.seen[user])]
        noted = self._client.write(
            "note",
            lambda: packing.pack(*self._client.head(), self._client.epoch, cursors, seen),
            len(cursors) + len(seen),
        )
        return noted.addCallback(lambda answer: self._done(answer, None))

    def mark_read(self, user: str, peer: str, mid: str) -> Deferred[bool]:
        number = parse_number(mid)
        if number is None:
            return succeed(False)
        name, side = self._encoder.conversation(user, peer)
        marked = self._client.write("mark", lambda: packing.pack(*self._client.head(), user, name, side, id_of(number)))
        return marked.addCallback(lambda answer: self._done(answer, answer == 1))

    def join(self, room: str, user: str, most: int, *, most_rooms: int = NO_BOUND) -> Deferred[bool]:
        joined = self._client.write(
            "membership", lambda: packing.pack(*self._client.head(), "join", room, user, most, most_rooms)
        )
        return joined.addCallback(lambda answer: self._done(answer, answer == 1))

    def leave(self, room: str, user: str) -> Deferred[bool]:
        left = self._client.write("membership", lambda: packing.pack(*self._client.head(), "leave", room, user, 0, 0))
        return left.addCallback(lambda answer: self._done(answer, answer == 1))

    def block(self, user: str, peer: str, most: int) -> Deferred[bool]:
        return self._change_block("block", user, peer, most)

    def unblock(self, user: str, peer: str) -> Deferred[bool]:
        return self._change_block("unblock", user, peer, 0)

    def _change_block(self, what: str, user: str, peer: str, most: int) -> Deferred[bool]:
        asked = self._client.write("block", lambda: packing.pack(*self._client.head(), what, user, peer, most))
        return asked.addCallback(lambda answer: self._done(answer, answer == 1, BlockListFull))

    def subscribe(self, user: str, subscription: PushSubscription, most: int) -> Deferred[None]:
        one = subscription
        asked = self._client.write(
            "subscribe",
            lambda: packing.pack(*self._client.head(), user, one.endpoint, one.p256dh, one.auth, most),
        )
        return asked.addCallback(lambda answer: self._done(answer, None))

    def unsubscribe(self, user: str, endpoint: str | None) -> Deferred[int]:
        asked = self._client.write(
            "unsubscribe", lambda: packing.pack(*self._client.head(), user, "" if endpoint is None else endpoint)
        )
        return asked.addCallback(lambda answer: self._done(answer, answer))

    def erase(self, user: str) -> Deferred[int]:
        """See ``IStore``. All keys are looked through, and all messages in rooms."""
        erasure = Erasure(
            self._client,
            self._clock,
            user,
            done=lambda answer: self._done(answer, None),
            unblock=lambda owner: self.unblock(owner, user),
        )
        return Deferred.fromCoroutine(erasure.run())

    def revoke(self, revocation: Revocation, *, now: int, most: int) -> Deferred[None]:
        asked = self._client.write("revoke", lambda: revoke_argument(self._client.head(), revocation, now, most))
        return asked.addCallback(lambda answer: self._done(answer, None, RevocationsFull))

    # IStore: what reads.

    def find(self, user: str, mid: str, peer: str | None) -> Deferred[Message | None]:
        number = parse_number(mid)
        if number is None:
            return succeed(None)
        id_ = id_of(number)
        name = "" if peer is None else self._encoder.conversation(user, peer)[0]

        def found(rest: bytes) -> Message | None:
            message = message_of(id_.encode(), rest) if rest else None
            return message if message is not None and message.mid == mid else None

        return self._client.read("find", user, name, id_, MAX_CANDIDATES).addCallback(found)

    def readers(self, room: str, user: str, mid: str) -> Deferred[list[str] | None]:
        number = parse_number(mid)
        if number is None:
            return succeed(None)
        asked = self._client.read("readers", room, user, id_of(number))
        return asked.addCallback(lambda found: [name.decode() for name in found[1:]] if found[0] else None)

    def inbox(self, user: str) -> Deferred[InboxState]:
        return self._client.read("inbox", user).addCallback(lambda answer: InboxState(*answer))

    def ends(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self._of_each("ends", users)

    def read(self, user: str, after: int, limit: int) -> Deferred[InboxPage]:
        return Deferred.fromCoroutine(self._read(user, after, limit))

    async def _read(self, user: str, after: int, limit: int) -> InboxPage:
        page = _inbox_page(await self._client.read("read", user, after, limit))
        if page.entries:
            # What only this server has may be gone after a failover. It was not acknowledged, and so is sent again; its
            # recipient would see it twice, with two mids.
            await self._client.replicated()
        return page

    def is_outdated(self, offset: int) -> None:
        """See ``IStore``: such a server is looked for behind the same address, or where any Sentinel says."""
        self._client.is_outdated(generation_of(offset))

    def last_seen(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return self._of_each("seen", users)

    def history(self, user: str, peer: str, *, before: str | None, limit: int) -> Deferred[Page]:
        name, side = self._encoder.conversation(user, peer)
        upto = ""
        if before is not None:
            number = parse_number(before)
            if not number:
                return succeed(Page((), False))
            upto = id_of(number)
        of_two = 0 if user == peer else side
        return self._client.read("history", user, name, int(side == 0), upto, limit, of_two, peer).addCallback(_page)

    def conversations(self, user: str, limit: int, *, before: str | None = None) -> Deferred[list[Conversation]]:
        upto = ""
        if before is not None:
            number = parse_number(before)
            if not number:
                return succeed([])
            upto = id_of(number)
        return Deferred.fromCoroutine(self._conversations(user, limit, upto))

    async def _conversations(self, user: str, limit: int, upto: str) -> list[Conversation]:
        listing = Listing(self._client.read, user, upto)
        found: list[Conversation] = []
        # (Some that were listed may have been deleted, or left.)
        while len(found) < limit and (some := await listing.take(min(limit - len(found), MAX_LOOKUPS))):
            found += await self._listed(user, some)
        return found

    async def _listed(self, user: str, asked: Sequence[bytes]) -> list[Conversation]:
        """What is listed of some conversations: ``asked`` has each one's side and name, and its newest message's id."""
        listed = await self._client.read("conversations", user, packing.texts(asked))
        found: list[Conversation] = []
        beyond = [(name[1:], id_) for name, id_, rest, *_ in listed if not rest]
        looked_up = iter(await self._messages(beyond))
        for name, id_, rest, unread, cut in listed:
            if not rest:
                told = next(looked_up)
                if not told:
                    continue  # it was deleted in this very moment
                rest = told[0]
            last, is_cut = listed_of(id_, rest, bool(cut))
            found.append(Conversation(peer_of(int(name[:1]), name[1:]), last, min(unread, MAX_UNREAD), is_cut))
        return found

    def members(self, room: str) -> Deferred[list[str]]:
        found = self._client.ask("HKEYS", f"{self._client.prefix}m:{room}")
        return found.addCallback(lambda names: [name.decode() for name in names])

    def rooms(self, user: str) -> Deferred[list[str]]:
        return Deferred.fromCoroutine(self._rooms(user))

    async def _rooms(self, user: str) -> list[str]:
        # Rooms are listed with the conversations, each after a 0 ("0#" and all that begins so).
        found: set[str] = set()
        cursor = b"0"
        while True:
            cursor, pairs = await self._client.ask(
                "ZSCAN", f"{self._client.prefix}v:{user}", cursor, "MATCH", "0#*", "COUNT", SLICE
            )
            found.update([name[1:].decode() for name in pairs[::2]])
            if cursor == b"0":
                return list(found)

    def blocked(self, user: str) -> Deferred[list[str]]:
        found = self._client.ask("SMEMBERS", f"{self._client.prefix}b:{user}")
        return found.addCallback(lambda names: [name.decode() for name in names])

    def blocks(self, user: str, peers: Sequence[str]) -> Deferred[Blocks]:
        asked = self._client.read("blocks", packing.pack(user, list(peers)))
        return asked.addCallback(_blocks, peers)

    def subscriptions(self, user: str) -> Deferred[list[PushSubscription]]:
        return self._client.ask("HGETALL", f"{self._client.prefix}p:{user}").addCallback(_subscriptions)

    def revocations(self, after: int, limit: int) -> Deferred[list[NumberedRevocation]]:
        return self._client.read("revocations", after, limit).addCallback(listed_revocations)

    def rewritten(self) -> Deferred[None]:
        """Write over now what was changed. For tests."""
        return self._rewriting.sweep()

    def sweep(self) -> Deferred[None]:
        """Delete now what is deleted by and by, unless another daemon does. For tests and benches."""
        return self._retention.sweep()

    def _of_each(self, script: str, users: Sequence[str]) -> Deferred[dict[str, int]]:
        parts = [users[start : start + MAX_SCRIPT_USERS] for start in range(0, len(users), MAX_SCRIPT_USERS)]
        asked = [(part, self._client.read(script, packing.pack(*part))) for part in parts]
        return Deferred.fromCoroutine(_known(asked))

    def _done(self, answer: Any, result: T, full: type[LimitReached] = RoomFull) -> T:
        """What a script that writes has answered; ``result`` is for the good case."""
        if answer == b"full":
            raise full
        if answer == b"rooms":
            raise TooManyRooms
        if answer == b"late":
            raise StoreUnavailable("Redis came to it too late, and did nothing")
        if answer == b"new":
            raise self._client.lost()
        return result


async def _all(asked: Sequence[Deferred[None]]) -> None:
    """Wait for all; fails as the first that does."""
    try:
        await gatherResults(asked, consumeErrors=True)
    except FirstError as error:
        raise StoreUnavailable(error.subFailure.getErrorMessage()) from None


async def _known(asked: Sequence[tuple[Sequence[str], Deferred[list[Any]]]]) -> dict[str, int]:
    """Of each user a number, for those of whom there is one."""
    try:
        answers = await gatherResults([answer for _, answer in asked], consumeErrors=True)
    except FirstError as error:
        raise StoreUnavailable(error.subFailure.getErrorMessage()) from None
    return {
        user: int(value)
        for (users, _), answer in zip(asked, answers, strict=True)
        for user, value in zip(users, answer, strict=True)
        if value != b""
    }


def _inbox_page(answer: list[Any]) -> InboxPage:
    first, last, generation, found = answer
    entries = [
        Entry(offset, update_as_read(id_, *rest) if isinstance(rest, list) else message_of(id_, rest))
        for offset, id_, rest in zip(found[::3], found[1::3], found[2::3], strict=True)
    ]
    return InboxPage(entries, first, last, ceiling_of(generation))


def _page(answer: list[Any]) -> Page:
    more, found, read, delivered = answer
    messages = [message_of(id_, rest) for id_, rest in zip(found[::2], found[1::2], strict=True)]
    mids = {id_: message.mid for id_, message in zip(found[::2], messages, strict=True)}
    return Page(tuple(reversed(messages)), bool(more), mids.get(read, ""), mids.get(delivered, ""))


def _blocks(answer: Sequence[int], peers: Sequence[str]) -> Blocks:
    """What the script ``blocks`` has answered: 1 if the user blocks the peer, and 2 if it is the other way round."""
    pairs = list(zip(peers, answer, strict=True))
    return Blocks(frozenset(peer for peer, how in pairs if how & 1), frozenset(peer for peer, how in pairs if how & 2))


def _subscriptions(found: Sequence[bytes]) -> list[PushSubscription]:
    """The hash of a user's push subscriptions, in the order of their numbers."""
    kept = [(endpoint, value.split()) for endpoint, value in zip(found[::2], found[1::2], strict=True)]
    kept.sort(key=lambda one: int(one[1][0]))
    return [PushSubscription(endpoint.decode(), key.decode(), auth.decode()) for endpoint, (_, key, auth) in kept]
