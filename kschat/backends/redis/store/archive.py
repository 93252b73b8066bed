"""Reads all keys of a store, for ``kschat migrate-store``. No daemon writes to them meanwhile."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, FirstError, gatherResults

from kschat.backends.archive import (
    PAGE_BYTES,
    PAGE_RECORDS,
    BlockRecord,
    ConversationRecord,
    EntryRecord,
    MessageRecord,
    Origin,
    Page,
    ParticipantRecord,
    Record,
    Section,
    SubscriptionRecord,
    UserRecord,
)
from kschat.backends.generations import GENERATION
from kschat.backends.redis.bus.presence_registry import STALE_AFTER
from kschat.backends.redis.client.connection import RedisUnavailable, ResponseError
from kschat.backends.redis.client.faults import why
from kschat.backends.redis.client.once import connected, once
from kschat.backends.redis.client.redis_client import RedisClient
from kschat.backends.redis.client.settings import Settings
from kschat.backends.redis.scripts import Scripts
from kschat.backends.redis.store.codec import (
    StoredError,
    message_of,
    number_of_id,
    offset_of_id,
    peer_of,
    unpacked_places,
)
from kschat.backends.redis.store.revoked import listed_revocations
from kschat.chat.changes import without_text
from kschat.chat.conversations import ConversationKey, is_room, pair_key
from kschat.chat.interfaces import StoreUnavailable
from kschat.chat.push import PushSubscription

#: Keys of one call of SCAN.
SCANNED: Final = 1000

#: Users or conversations that are asked for at once.
AT_ONCE: Final = 50

#: What the keys of users, and of conversations, begin with after the prefix.
_USERS: Final = (b"i:", b"u:", b"v:", b"b:", b"p:")
_CONVERSATIONS: Final = (b"c:", b"h:", b"m:")

_position: Final = msgspec.msgpack.Decoder(tuple[bytes, bytes]).decode


class RedisArchive:
    """``ArchiveReader``.

    All names of users and conversations are in memory, since Redis lists its keys in no order to go on with.

    Args:
        settings: where the store is.
        buses: other Redis that its daemons may use as the bus.
        reactor: the real one.
    """

    def __init__(self, settings: Settings, buses: Sequence[Settings], reactor: Any) -> None:
        self._settings = settings
        self._buses = buses
        self._reactor = reactor
        self._prefix = f"{settings.prefix}:".encode()
        self._store = Scripts("store")
        self._archive = Scripts("archive")
        self._client: RedisClient | None = None
        self._erased = 0
        self._users: list[bytes] = []
        self._conversations: list[bytes] = []

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.stop()

    async def origin(self) -> Origin:
        for settings in (self._settings, *self._buses):
            await self._no_daemon(settings)
        found = await self._asked("HMGET", self._prefix + b"g", "epoch", "generation", "floor", "revoked")
        epoch, generation, floor, revoked = found
        if epoch is None:
            raise StoreUnavailable(f"kschat has kept nothing there with the prefix {self._settings.prefix}")
        await self._list()
        events = await self._all(
            [
                ("HLEN", self._prefix + b"x:hook:events"),
                ("XLEN", self._prefix + b"x:hook:log"),
                ("XLEN", self._prefix + b"x:hook:joins"),
            ]
        )
        base = (int(generation) - 1) * GENERATION
        self._erased = base + int(floor) if int(floor or 0) else 0
        return Origin(epoch.decode(), base + 1, self._erased, int(revoked or 0), sum(events))

    async def count(self) -> int:
        return 0

    async def page(self, section: Section, position: bytes) -> Page:
        try:
            return await _READERS[section](self, *(_position(position) if position else (b"", b"")))
        except StoredError as error:
            raise StoreUnavailable(str(error)) from None

    async def _no_daemon(self, settings: Settings) -> None:
        """Raises StoreUnavailable: a daemon is registered there."""

        async def beats(client: RedisClient) -> int:
            seconds, microseconds = await client.do("TIME")
            since = int(seconds) * 1000 + int(microseconds) // 1000 - STALE_AFTER
            return int(await client.do("ZCOUNT", f"{settings.prefix}:r:daemons", since, "+inf"))

        if await once(settings, self._reactor, beats):
            raise StoreUnavailable("a kschat uses it: stop all of its daemons first")

    async def _asked(self, *command: Any) -> Any:
        return await self._told(lambda client: client.do(*command))

    async def _told(self, ask: Callable[[RedisClient], Awaitable[Any]]) -> Any:
        if self._client is None:
            self._client = await connected(self._settings, self._reactor)
        try:
            return await ask(self._client)
        except (RedisUnavailable, ResponseError) as error:
            raise StoreUnavailable(why(error)) from None

    async def _run(self, scripts: Scripts, name: str, *arguments: Any) -> Any:
        return await self._told(lambda client: scripts.run(client.do, name, self._prefix, *arguments))

    async def _all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """What Redis answers to each of some commands."""
        return await self._each(lambda client: [client.do(*command) for command in commands])

    async def _each(self, ask: Callable[[RedisClient], list[Deferred[Any]]]) -> list[Any]:
        async def ask_all(client: RedisClient) -> list[Any]:
            try:
                return list(await gatherResults(ask(client), consumeErrors=True))
            except FirstError as error:
                assert error.subFailure.value is not None
                raise error.subFailure.value from None

        found: list[Any] = await self._told(ask_all)
        return found

    async def _list(self) -> None:
        """List the names of users and conversations."""
        users, conversations = set(), set()
        cursor = b"0"
        pattern = b"".join(b"\\" + bytes((byte,)) if byte in b"*?[]\\^-" else bytes((byte,)) for byte in self._prefix)
        while True:
            cursor, keys = await self._asked("SCAN", cursor, "MATCH", pattern + b"*", "COUNT", SCANNED)
            for key in keys:
                kind, name = key[len(self._prefix) :][:2], key[len(self._prefix) + 2 :]
                if kind in _USERS:
                    users.add(name)
                elif kind in _CONVERSATIONS:
                    conversations.add(name)
            if cursor == b"0":
                break
        self._users, self._conversations = sorted(users), sorted(conversations)

    async def _of_names(
        self, names: list[bytes], after: bytes, read: Callable[[Sequence[bytes]], Awaitable[list[Record]]]
    ) -> Page:
        """What ``read`` makes of the next names."""
        begin = bisect_right(names, after) if after else 0
        some = names[begin : begin + AT_ONCE]
        return Page(await read(some), _encoded(some[-1]) if some else None)

    # Each gets the name and the id after which it goes on.

    async def _read_users(self, after: bytes, _: bytes) -> Page:
        async def read(names: Sequence[bytes]) -> list[Record]:
            found = await self._each(
                lambda client: [
                    *(self._store.run(client.do, "inbox", self._prefix, name) for name in names),
                    *(client.do("HGET", self._prefix + b"u:" + name, "s") for name in names),
                ]
            )
            return [
                # An inbox that was deleted may have given offsets.
                UserRecord(name.decode(), cursor, last or self._erased, None if seen is None else int(seen))
                for name, (cursor, _, last), seen in zip(names, found[: len(names)], found[len(names) :], strict=True)
            ]

        return await self._of_names(self._users, after, read)

    async def _read_conversations(self, after: bytes, _: bytes) -> Page:
        async def read(names: Sequence[bytes]) -> list[Record]:
            found = await self._all([("HMGET", self._prefix + b"h:" + name, "t", "ft") for name in names])
            return [
                ConversationRecord(_key(name), int(total or 0), int(gone or 0))
                for name, (total, gone) in zip(names, found, strict=True)
            ]

        return await self._of_names(self._conversations, after, read)

    async def _read_participants(self, after: bytes, _: bytes) -> Page:
        begin = bisect_right(self._conversations, after) if after else 0
        records: list[Record] = []
        for name in self._conversations[begin:]:
            after = name
            records += await (self._members(name) if name[:1] == b"#" else self._pair(name))
            if len(records) >= PAGE_RECORDS:
                break
        else:
            return Page(records, _encoded(after) if records else None)
        return Page(records, _encoded(after))

    async def _pair(self, name: bytes) -> list[Record]:
        fields = ("t", "a", "r1", "r2", "ft", "fa", "f")
        found = await self._asked("HMGET", self._prefix + b"h:" + name, *fields)
        total, first, *read, gone, first_gone = [int(one or 0) for one in found[:6]]
        own, own_gone = (first, total - first), (first_gone, gone - first_gone)
        key = _key(name)
        assert not isinstance(key, str)
        is_alone = key[0] == key[1]
        facts = _Facts() if is_alone else await self._facts(name, found[6])
        records: list[Record] = []
        for side in range(1 if is_alone else 2):
            other = 1 - side
            user = peer_of(2 - side, name)
            unread = max(0, own[other] - max(read[side], own_gone[other]))
            mark = facts.newest_of(b"%d" % (other + 1), read[side])
            records.append(ParticipantRecord(key, user, unread, mark, own[side], own_gone[side], 0))
        return records

    async def _members(self, room: bytes) -> list[Record]:
        members, joins, (total, gone, begin) = await self._all(
            [
                ("HGETALL", self._prefix + b"m:" + room),
                ("HGETALL", self._prefix + b"j:" + room),
                ("HMGET", self._prefix + b"h:" + room, "t", "ft", "f"),
            ]
        )
        total, gone = int(total or 0), int(gone or 0)
        joined = dict(zip(joins[::2], map(int, joins[1::2]), strict=True))
        facts = await self._facts(room, begin)
        records: list[Record] = []
        for name, standing in zip(members[::2], members[1::2], strict=True):
            own, read = map(int, standing.split())
            own_gone = await self._own_among(room, name, gone, own) if gone else 0
            unread = max(0, total - own - max(read, gone - own_gone))
            since = joined.get(name, 0)
            records.append(
                ParticipantRecord(
                    room.decode(),
                    name.decode(),
                    unread,
                    facts.newest_read(name, read, since, own),
                    own,
                    own_gone,
                    facts.number_at(since),
                )
            )
        return records

    async def _own_among(self, room: bytes, name: bytes, total: int, own: int) -> int:
        """As the scripts' ``own_among``."""
        key = self._prefix + b"o:%d:" % len(room) + room + name
        last, first = await self._all([("ZREVRANGEBYSCORE", key, total, "-inf", "LIMIT", 0, 1), ("ZRANGE", key, 0, 0)])
        return int(last[0]) if last else int(first[0]) - 1 if first else own

    async def _facts(self, conversation: bytes, begin: bytes | None) -> _Facts:
        """The facts of all messages of a conversation. ``begin``: the id of the first that is shown; None for all."""
        facts, after = _Facts(), b""
        shown_from = 0 if begin is None else number_of_id(begin)
        more = 1
        while more:
            more, page = await self._run(self._archive, "messages", conversation, after, PAGE_RECORDS, 0, 0)
            for id_, _, told, _ in page:
                facts.add(number_of_id(id_), told, shown_from)
                after = id_
        return facts

    async def _read_messages(self, after: bytes, id_: bytes) -> Page:
        begin = bisect_right(self._conversations, after) - (1 if id_ else 0) if after else 0
        records: list[Record] = []
        size = 0
        for name in self._conversations[begin:]:
            limits = (PAGE_RECORDS - len(records), PAGE_BYTES - size)
            more, page = await self._run(self._archive, "messages", name, id_, *limits, 1)
            for of, rest, told, packed in page:
                message = message_of(of, rest)
                size += message.size
                total, own, place, _ = told.split(b" ", 3)
                held = unpacked_places(packed) if packed else None
                records.append(
                    MessageRecord(message, int(total), int(own), 0 if place == b"-" else offset_of_id(place), held)
                )
            if more or len(records) >= PAGE_RECORDS or size >= PAGE_BYTES:
                return Page(records, _encoded(name, page[-1][0] if more else b""))
            id_ = b""
        return Page(records, None)

    async def _read_inboxes(self, after: bytes, id_: bytes) -> Page:
        begin = bisect_right(self._users, after) - (1 if id_ else 0) if after else 0
        records: list[Record] = []
        for name in self._users[begin:]:
            id_, page = await self._run(self._archive, "inbox", name, id_, PAGE_RECORDS)
            for place, of, conversation, update in page:
                told = without_text(message_of(of, update)) if update else None
                key = _key(conversation)
                records.append(EntryRecord(name.decode(), offset_of_id(place), key, number_of_id(of), told))
            if id_ or len(records) >= PAGE_RECORDS:
                return Page(records, _encoded(name, id_))
        return Page(records, None)

    async def _read_blocks(self, after: bytes, _: bytes) -> Page:
        async def read(names: Sequence[bytes]) -> list[Record]:
            found = await self._all([("SMEMBERS", self._prefix + b"b:" + name) for name in names])
            return [
                BlockRecord(name.decode(), peer.decode())
                for name, peers in zip(names, found, strict=True)
                for peer in sorted(peers)
            ]

        return await self._of_names(self._users, after, read)

    async def _read_revocations(self, after: bytes, _: bytes) -> Page:
        found = listed_revocations(await self._run(self._store, "revocations", after or b"0", PAGE_RECORDS))
        return Page(found, _encoded(b"%d" % found[-1].number) if found else None)

    async def _read_subscriptions(self, after: bytes, _: bytes) -> Page:
        async def read(names: Sequence[bytes]) -> list[Record]:
            found = await self._all([("HGETALL", self._prefix + b"p:" + name) for name in names])
            return [one for name, kept in zip(names, found, strict=True) for one in _subscriptions(name, kept)]

        return await self._of_names(self._users, after, read)


class _Facts:
    """Of the messages of one conversation, the oldest first: number, total, sender; and each sender's own."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._totals: list[int] = []
        self._senders: list[bytes] = []
        self._own: dict[bytes, tuple[list[int], list[int]]] = {}
        self._shown = 0

    def add(self, number: int, told: bytes, shown_from: int) -> None:
        """The next one, with its facts."""
        total, own, _, sender = told.split(b" ", 3)
        if number < shown_from:
            self._shown += 1
        self._numbers.append(number)
        self._totals.append(int(total))
        self._senders.append(sender)
        totals, owns = self._own.setdefault(sender, ([], []))
        totals.append(int(total))
        owns.append(int(own))

    def number_at(self, total: int) -> int:
        """The number of the newest message up to this total; 0 if there is none."""
        at = bisect_right(self._totals, total)
        return self._numbers[at - 1] if at else 0

    def newest_of(self, sender: bytes, own: int) -> int:
        """The number of the newest message of a sender that is no later than the sender's ``own``-th, and shown."""
        _, owns = self._own.get(sender, ([], []))
        at = bisect_right(owns, own)
        if not at or self._shown == len(self._numbers):
            return 0
        number = self.number_at(self._own[sender][0][at - 1])
        return number if number >= self._numbers[self._shown] else 0

    def newest_read(self, user: bytes, read: int, joined: int, own: int) -> int:
        """The number of the newest message of others that a member has read, and that is shown.

        Args:
            user: the member.
            read: how many messages of others are read.
            joined: the total when the user joined.
            own: how many messages the user has written since.
        """
        totals, owns = self._own.get(user, ([], []))
        begin = bisect_right(totals, joined)
        totals, owns = totals[begin:], owns[begin:]

        def others(at: int) -> int:
            """How many messages of others there were with this message."""
            before = bisect_right(totals, self._totals[at])
            mine = owns[before - 1] if before else owns[0] - 1 if owns else own
            return self._totals[at] - mine

        at = bisect_right(range(len(self._totals)), read, key=others) - 1
        while at >= self._shown and self._senders[at] == user:
            at -= 1
        return self._numbers[at] if at >= self._shown else 0


def _encoded(name: bytes, id_: bytes = b"") -> bytes:
    return msgspec.msgpack.encode((name, id_))


def _key(conversation: bytes) -> ConversationKey:
    name = conversation.decode()
    return name if is_room(name) else pair_key(peer_of(1, conversation), peer_of(2, conversation))


def _subscriptions(name: bytes, kept: Sequence[bytes]) -> list[Record]:
    pairs = zip(kept[::2], kept[1::2], strict=True)
    parts = sorted((int(value.split(b" ")[0]), endpoint, value) for endpoint, value in pairs)
    records: list[Record] = []
    for rank, (_, endpoint, value) in enumerate(parts, 1):
        _, public, auth = value.decode().split(" ")
        records.append(SubscriptionRecord(name.decode(), rank, PushSubscription(endpoint.decode(), public, auth)))
    return records


_READERS: Final[dict[Section, Callable[[RedisArchive, bytes, bytes], Awaitable[Page]]]] = {
    Section.USERS: RedisArchive._read_users,
    Section.CONVERSATIONS: RedisArchive._read_conversations,
    Section.PARTICIPANTS: RedisArchive._read_participants,
    Section.MESSAGES: RedisArchive._read_messages,
    Section.INBOXES: RedisArchive._read_inboxes,
    Section.BLOCKS: RedisArchive._read_blocks,
    Section.REVOCATIONS: RedisArchive._read_revocations,
    Section.SUBSCRIPTIONS: RedisArchive._read_subscriptions,
}
