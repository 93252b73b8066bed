"""A store that keeps the newest messages: which are left, whatever was written."""

from __future__ import annotations

import random
from typing import Any

from kschat.chat.message import Message
from tests.contracts.bounded import BoundedContract
from tests.contracts.made import message


class NewestContract(BoundedContract):
    """Mixed into a ``TestCase``."""

    #: Random sequences.
    seeds = range(12)

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
