"""How unread messages are counted in every store: those of others, beyond the mark, that History has."""

from __future__ import annotations

import random

from kschat.chat.interfaces import MAX_UNREAD, IStore
from kschat.chat.message import Message
from tests.contracts.bounded import BoundedContract
from tests.contracts.made import message

USERS = ("ann", "ben", "cem")
ROOM = "#r"


class Oracle:
    """The rule, in the simplest way.

    Args:
        most: messages that are kept.
        of_all: whether that is of all conversations together, and not of each.
    """

    def __init__(self, most: int, of_all: bool) -> None:
        self._most = most
        self._of_all = of_all
        self._all: list[Message] = []
        self._read: dict[tuple[str, str], str] = {}
        self._members: set[str] = set()

    def wrote(self, one: Message) -> None:
        """A message was stored."""
        self._all.append(one)

    def joined(self, user: str) -> None:
        """What was written in the room before counts as read."""
        if user not in self._members:
            self._members.add(user)
            self._read[(user, ROOM)] = self._all[-1].mid if self._all else ""

    def left(self, user: str) -> None:
        """The room is the user's no more."""
        self._members.discard(user)
        self._read.pop((user, ROOM), None)

    def mark(self, user: str, peer: str, mid: str) -> bool:
        """The user has read up to a message; whether any of others' was not read before."""
        seen = self.seen(user, peer)
        if peer == ROOM and user not in self._members:
            return False
        fresh = [one for one in self._unread(user, peer, seen) if one.mid <= mid]
        if fresh:
            self._read[(user, peer)] = max(one.mid for one in seen if one.mid <= mid)
        return bool(fresh)

    def seen(self, user: str, peer: str) -> list[Message]:
        """What History has."""
        kept = self._all[-self._most :] if self._of_all else self._all
        talk = [
            one
            for one in kept
            if (one.recipient == ROOM if peer == ROOM else {one.sender, one.recipient} == {user, peer})
        ]
        return talk[-self._most :]

    def conversations(self, user: str) -> dict[str, int]:
        """Unread messages of each conversation in which anything is kept, the newest first."""
        found = {}
        for peer in (*USERS, ROOM):
            seen = self.seen(user, peer)
            if seen and (peer != ROOM or user in self._members):
                found[peer] = (seen[-1].mid, min(len(self._unread(user, peer, seen)), MAX_UNREAD))
        newest = sorted(found, key=lambda peer: found[peer][0], reverse=True)
        return {peer: found[peer][1] for peer in newest}

    def _unread(self, user: str, peer: str, seen: list[Message]) -> list[Message]:
        read = self._read.get((user, peer), "")
        return [one for one in seen if one.sender != user and one.mid > read]


class UnreadContract(BoundedContract):
    """Mixed into a ``TestCase``."""

    #: Whether the bound is of all conversations together, and not of each.
    of_all = False
    #: The smallest bound with which all users may be members of a room.
    least = 1
    #: Random sequences.
    seeds = range(12)

    async def test_own_messages_after_the_mark_do_not_hide_nor_add_others_messages(self) -> None:
        store = await self.make_bounded_store(10)
        names = {"a": "ann", "b": "ben", "c": "cem"}
        for user in USERS:
            await store.join(ROOM, user, 10)
        written = []
        for senders in ("bcbcbcbcbc", "aaaab", "aaaab", "aaaab"):
            answers = await store.append([message(names[sender], ROOM) for sender in senders])
            written += [answer.message for answer in answers]
            if len(written) == 10:
                await store.mark_read("ann", ROOM, written[4].mid)
            await self.tidy(store)
        page = await store.history("ann", ROOM, before=None, limit=100)
        self.assertEqual([one.sender for one in page.messages], [names[letter] for letter in "aaaabaaaab"])
        (one,) = await store.conversations("ann", 10)
        self.assertEqual(one.unread, 2)

    async def test_who_writes_only_has_nothing_unread_and_marks_nothing(self) -> None:
        store = await self.make_bounded_store(5)
        await store.join(ROOM, "ann", 10)
        answers = await store.append([message("ann", ROOM) for _ in range(12)])
        await self.tidy(store)
        for answer in answers:
            self.assertFalse(await store.mark_read("ann", ROOM, answer.message.mid))
        (one,) = await store.conversations("ann", 10)
        self.assertEqual(one.unread, 0)

    async def test_whatever_happens_the_counts_are_those_of_the_rule(self) -> None:
        for seed in self.seeds:
            chance = random.Random(seed)
            most = chance.randint(self.least, 9)
            store = await self.make_bounded_store(most)
            oracle = Oracle(most, self.of_all)
            for number in range(40):
                await self._step(chance, store, oracle)
                await self.tidy(store)
                for user in USERS:
                    listed = {one.peer: one.unread for one in await store.conversations(user, 10)}
                    expected = oracle.conversations(user)
                    self.assertEqual(list(listed.items()), list(expected.items()), (seed, number, user))
            await store.stop()

    async def _step(self, chance: random.Random, store: IStore, oracle: Oracle) -> None:
        """Something happens."""
        user, peer = chance.choice(USERS), chance.choice((*USERS, ROOM, ROOM))
        do = chance.choice(("write", "write", "write", "mark", "mark", "join", "leave"))
        if do == "join":
            await store.join(ROOM, user, 10)
            oracle.joined(user)
        elif do == "leave" and chance.random() < 0.5:
            await store.leave(ROOM, user)
            oracle.left(user)
        elif do == "mark":
            seen = oracle.seen(user, peer)
            if seen:
                mid = chance.choice(seen).mid
                self.assertEqual(await store.mark_read(user, peer, mid), oracle.mark(user, peer, mid))
        elif do == "write":
            # Runs of one sender: those are what counts go wrong by.
            for _ in range(chance.randint(1, 3)):
                sender = chance.choice(USERS)
                batch = [message(sender, peer) for _ in range(chance.randint(1, 6))]
                for answer in await store.append(batch):
                    if answer.refused is None:
                        oracle.wrote(answer.message)
