"""Which messages are left in a store that keeps a number of messages, or messages of an age."""

from __future__ import annotations

import random
import time
from typing import Any

from kschat.backends.generations import GENERATION
from kschat.chat.interfaces import InboxPage, InboxState, Progress
from kschat.chat.message import Message
from tests.contracts.bounded import BoundedContract
from tests.contracts.istore import kept
from tests.contracts.made import message, mid


def aged(age: float, **changes: Any) -> Message:
    """A message that is ``age`` seconds old."""
    return message(mid=mid(int((time.time() - age) * 1000) << 16), **changes)


class RetentionContract(BoundedContract):
    """Mixed into a ``TestCase``."""

    #: Random sequences.
    seeds = range(12)

    async def make_store_of_age(self, seconds: float) -> Any:
        """An empty store that keeps messages for ``seconds``."""
        raise NotImplementedError

    async def test_a_message_to_a_room_stays_until_no_member_s_inbox_holds_it(self) -> None:
        store = await self.make_bounded_store(2)
        for user in ("ann", "ben", "cem"):
            await store.join("#r", user, 10)
        answers = await store.append([message("ann" if n < 3 else "ben", "#r", cid=f"c{n}") for n in range(6)])
        await self.tidy(store)
        room = tuple(answer.message for answer in answers)
        self.assertEqual((await store.history("ann", "#r", before=None, limit=10)).messages, room[4:])
        self.assertEqual([entry.message for entry in (await store.read("cem", 0, 10)).entries], list(room[4:]))
        self.assertEqual([entry.message for entry in (await store.read("ben", 0, 10)).entries], list(room[1:3]))
        repeats = await store.append([message("ann", "#r", cid=f"c{n}") for n in range(3)])
        self.assertEqual([one.repeat for one in repeats], [False, True, True])

    async def test_no_offset_comes_twice_though_the_inbox_is_empty(self) -> None:
        store = await self.make_store_of_age(3600.0)
        await store.append([aged(9000 - n) for n in range(5)])
        await store.save_progress(Progress({"ben": 3}, {}))
        await self.tidy(store)
        self.assertEqual(await store.inbox("ben"), InboxState(3, 6, 5))
        self.assertEqual(await store.ends(["ben"]), {"ben": 5})
        self.assertEqual(await store.read("ben", 0, 10), InboxPage([], 6, 5, GENERATION))
        self.assertEqual(await store.conversations("ben", 10), [])
        last = aged(0)
        self.assertEqual(await store.append([last]), [kept(last, 6)])
        self.assertEqual(await store.inbox("ben"), InboxState(3, 6, 6))

    async def test_whatever_is_written_the_newest_stay_without_a_hole(self) -> None:
        names = ("ann", "ben", "cem")
        for seed in self.seeds:
            chance = random.Random(seed)
            most = chance.randint(1, 4)
            store = await self.make_bounded_store(most)
            for user in names:
                await store.join("#r", user, 10)
            inboxes: dict[str, list[Any]] = {user: [] for user in names}
            threads: dict[Any, list[Message]] = {}
            for _ in range(5):
                texts = [(chance.choice(names), chance.choice([*names, "#r"])) for _ in range(chance.randint(1, 12))]
                for answer in await store.append([message(*pair) for pair in texts]):
                    one = answer.message
                    for user, offset in answer.places:
                        inboxes[user].append((offset, one))
                    key = "#r" if one.recipient == "#r" else frozenset((one.sender, one.recipient))
                    threads.setdefault(key, []).append(one)
                await self.tidy(store)
            for user, expected in inboxes.items():
                read = [(entry.offset, entry.message) for entry in (await store.read(user, 0, 1000)).entries]
                self.assertEqual(read, expected[-most:], (seed, user))
                state = await store.inbox(user)
                self.assertEqual((state.first, state.last), (len(expected) - len(read) + 1, len(expected)))
            for key, messages in threads.items():
                user, peer = ("ann", "#r") if key == "#r" else (min(key), max(key))
                self.assertEqual(
                    (await store.history(user, peer, before=None, limit=1000)).messages, tuple(messages[-most:])
                )
