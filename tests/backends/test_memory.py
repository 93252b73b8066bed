"""The store and the router in memory: the contracts, and what is forgotten when."""

import gc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat.backends.memory import OVERHEAD, MemoryRouter, MemoryStore
from kschat.chat.interfaces import Stored
from kschat.chat.messages import Message
from tests.contracts import router, store
from tests.contracts.made import message, to


class MemoryStoreContractTests(store.StoreContract, TestCase):
    async def make_store(self) -> MemoryStore:
        return MemoryStore(10_000, 100_000_000)


class MemoryRouterContractTests(router.RouterContract, TestCase):
    async def make_router(self) -> MemoryRouter:
        return MemoryRouter()


def sized(count: int, size: int, recipient: str = "ben") -> list[Message]:
    """Messages of ``size`` bytes each, the store's own overhead counted in."""
    return [message(recipient=recipient, msg=Raw(b"1" * (size - OVERHEAD))) for _ in range(count)]


def reachable(root: object) -> int:
    """How many objects ``root`` holds, directly or not."""
    seen, found = {id(root)}, [root]
    for one in found:
        for other in gc.get_referents(one):
            if id(other) not in seen and not isinstance(other, type):
                seen.add(id(other))
                found.append(other)
    return len(found)


class BoundsOfTheMemoryStore(SynchronousTestCase):
    def append(self, store: MemoryStore, batch: list[Message]) -> list[Stored]:
        return self.successResultOf(store.append(batch))

    def read(self, store: MemoryStore, user: str) -> list[Stored]:
        return self.successResultOf(store.read(user, 0, 10_000))

    def test_the_oldest_messages_are_forgotten_beyond_the_count(self) -> None:
        store = MemoryStore(3, 10**9)
        kept = self.append(store, to("ben", "cem", "ben", "ben", "cem"))
        self.assertEqual(self.read(store, "ben"), kept[2:4])
        self.assertEqual(self.read(store, "cem"), kept[4:])

    def test_the_oldest_messages_are_forgotten_beyond_the_bytes(self) -> None:
        store = MemoryStore(10**6, 10_000)
        kept = self.append(store, sized(15, 1000))
        self.assertEqual(self.read(store, "ben"), kept[5:])

    def test_a_large_message_puts_several_small_ones_out(self) -> None:
        store = MemoryStore(10**6, 10_000)
        small = self.append(store, sized(10, 1000))
        large = self.append(store, sized(1, 4500))
        self.assertEqual(self.read(store, "ben"), small[5:] + large)

    def test_attachments_count(self) -> None:
        store = MemoryStore(10**6, 10_000)
        for _ in range(4):
            self.append(store, [message(attachments=(b"x" * 2000, b"y" * 2000))])
        self.assertEqual([one.offset for one in self.read(store, "ben")], [3, 4])

    def test_each_message_of_a_batch_larger_than_the_store_is_answered(self) -> None:
        store = MemoryStore(3, 10**9)
        answers = self.append(store, to(*["ben"] * 10))
        self.assertEqual([answer.offset for answer in answers], list(range(1, 11)))

    def test_a_message_larger_than_the_store_leaves_it_working(self) -> None:
        store = MemoryStore(10, 10_000)
        self.append(store, sized(1, 50_000))
        (after,) = self.append(store, sized(1, 1000))
        self.assertEqual(after.offset, 2)
        self.assertEqual(self.read(store, "ben"), [after])

    def test_offsets_go_on_when_the_messages_before_are_forgotten(self) -> None:
        store = MemoryStore(3, 10**9)
        self.append(store, to(*["ben"] * 10))
        (answer,) = self.append(store, to("ben"))
        self.assertEqual(answer.offset, 11)

    def test_no_offset_comes_twice_when_a_whole_inbox_was_forgotten(self) -> None:
        store = MemoryStore(3, 10**9)
        self.append(store, to(*["ben"] * 5))
        self.append(store, to("cem", "dan", "eve"))
        self.assertEqual(self.read(store, "ben"), [])
        (answer,) = self.append(store, to("ben"))
        self.assertGreater(answer.offset, 5)

    def test_a_repeat_is_known_for_as_long_as_its_message_is(self) -> None:
        store = MemoryStore(3, 10**9)
        first, *_ = self.append(store, [message(cid="c1"), *to("cem", "cem")])
        self.assertEqual(self.append(store, [message(cid="c1")]), [Stored(first.message, 1, True)])
        self.append(store, to("cem"))
        (anew,) = self.append(store, [message(cid="c1")])
        self.assertFalse(anew.repeat)

    def test_a_repeat_of_what_its_own_batch_pushes_out_is_one_all_the_same(self) -> None:
        store = MemoryStore(2, 10**9)
        answers = self.append(store, [message(cid="c1"), *to("ben", "ben", "ben"), message(cid="c1")])
        self.assertEqual([answer.repeat for answer in answers], [False] * 4 + [True])

    def test_neither_users_nor_cids_nor_messages_pile_up(self) -> None:
        store = MemoryStore(100, 10**9)

        def fill(first: int) -> None:
            for number in range(first, first + 1000):
                self.append(store, [message(f"from {number}", f"to {number}", cid=f"cid {number}")])

        fill(0)
        before = reachable(store)
        fill(1000)
        self.assertLessEqual(reachable(store), before + 10)

    def test_repeats_do_not_pile_up(self) -> None:
        store = MemoryStore(100, 10**9)
        self.append(store, [message(cid="c1")])
        before = reachable(store)
        for _ in range(1000):
            self.append(store, [message(cid="c1")])
        self.assertLessEqual(reachable(store), before + 10)

    def test_reading_who_has_no_inbox_leaves_nothing_behind(self) -> None:
        store = MemoryStore(100, 10**9)
        before = reachable(store)
        for number in range(1000):
            self.read(store, f"user {number}")
        self.assertLessEqual(reachable(store), before)

    @settings(max_examples=200, deadline=None)
    @given(
        st.integers(1, 6),
        st.integers(1, 6),
        st.lists(
            st.lists(
                st.tuples(st.sampled_from("abc"), st.sampled_from("def"), st.sampled_from([None, "1", "2"])),
                min_size=1,
                max_size=5,
            ),
            max_size=12,
        ),
    )
    def test_whatever_comes_offsets_rise_and_the_newest_are_kept(
        self, most: int, most_kilobytes: int, batches: list[list[tuple[str, str, Any]]]
    ) -> None:
        store = MemoryStore(most, most_kilobytes * 1000)
        fresh: list[Stored] = []
        for names in batches:
            batch = [
                message(sender, recipient, cid=cid, msg=Raw(b"1" * (1000 - OVERHEAD)))
                for sender, recipient, cid in names
            ]
            fresh += [answer for answer in self.append(store, batch) if not answer.repeat]
        kept = fresh[-min(most, most_kilobytes) :]
        for user in "def":
            self.assertEqual(self.read(store, user), [one for one in kept if one.message.recipient == user])
            offsets = [one.offset for one in fresh if one.message.recipient == user]
            self.assertEqual(offsets, sorted(set(offsets)))
