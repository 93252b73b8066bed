"""The store and the router in memory: the contracts, and what is forgotten when."""

import gc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat.backends.memory import OVERHEAD, PLACE, MemoryRouter, MemoryStore
from kschat.chat.interfaces import Entry, InboxState, IStore, Notes, Stored
from kschat.chat.messages import Message
from tests.contracts import istore, router
from tests.contracts.istore import entries, offsets
from tests.contracts.made import message, to


class MemoryStoreContractTests(istore.StoreContract, TestCase):
    async def make_store(self) -> IStore:
        return MemoryStore(10_000, 100_000_000)


class MemoryRouterContractTests(router.RouterContract, TestCase):
    async def make_router(self) -> MemoryRouter:
        return MemoryRouter()


def sized(count: int, size: int, recipient: str = "ben") -> list[Message]:
    """Messages of ``size`` bytes each, the store's own overhead counted in."""
    return [message(recipient=recipient, msg=Raw(b"1" * (size - OVERHEAD - PLACE))) for _ in range(count)]


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

    def read(self, store: MemoryStore, user: str) -> list[Entry]:
        return self.successResultOf(store.read(user, 0, 10_000))

    def test_the_oldest_messages_are_forgotten_beyond_the_count(self) -> None:
        store = MemoryStore(3, 10**9)
        kept = entries(self.append(store, to("ben", "cem", "ben", "ben", "cem")))
        self.assertEqual(self.read(store, "ben"), kept[2:4])
        self.assertEqual(self.read(store, "cem"), kept[4:])
        self.assertEqual(self.successResultOf(store.inbox("ben")), InboxState(0, 2, 3))

    def test_what_is_forgotten_is_no_history(self) -> None:
        store = MemoryStore(2, 10**9)
        kept = self.append(store, to("ben", "ben", "ben"))
        page = self.successResultOf(store.history("ann", "ben", None, 10))
        self.assertEqual(page.messages, tuple(one.message for one in kept[1:]))
        self.append(store, to("cem", "cem"))
        self.assertEqual(self.successResultOf(store.conversations("ben", 10)), [])

    def test_the_oldest_messages_are_forgotten_beyond_the_bytes(self) -> None:
        store = MemoryStore(10**6, 10_000)
        kept = entries(self.append(store, sized(15, 1000)))
        self.assertEqual(self.read(store, "ben"), kept[5:])

    def test_a_large_message_puts_several_small_ones_out(self) -> None:
        store = MemoryStore(10**6, 10_000)
        small = self.append(store, sized(10, 1000))
        large = self.append(store, sized(1, 4500))
        self.assertEqual(self.read(store, "ben"), entries(small[5:] + large))

    def test_attachments_count(self) -> None:
        store = MemoryStore(10**6, 10_000)
        for _ in range(4):
            self.append(store, [message(attachments=(b"x" * 2000, b"y" * 2000))])
        self.assertEqual([one.offset for one in self.read(store, "ben")], [3, 4])

    def test_the_members_of_a_room_count(self) -> None:
        store = MemoryStore(10**6, 2 * (OVERHEAD + 50 * PLACE + 100))
        for number in range(51):
            self.successResultOf(store.join("#room", f"user {number}", 100))
        for _ in range(4):
            self.append(store, [message("user 0", "#room")])
        self.assertEqual([one.offset for one in self.read(store, "user 1")], [3, 4])

    def test_each_message_of_a_batch_larger_than_the_store_is_answered(self) -> None:
        store = MemoryStore(3, 10**9)
        self.assertEqual(offsets(self.append(store, to(*["ben"] * 10))), list(range(1, 11)))

    def test_a_message_larger_than_the_store_leaves_it_working(self) -> None:
        store = MemoryStore(10, 10_000)
        self.append(store, sized(1, 50_000))
        answers = self.append(store, sized(1, 1000))
        self.assertEqual(offsets(answers), [2])
        self.assertEqual(self.read(store, "ben"), entries(answers))

    def test_no_offset_comes_twice_when_a_whole_inbox_was_forgotten(self) -> None:
        store = MemoryStore(3, 10**9)
        self.append(store, to(*["ben"] * 5))
        self.append(store, to("cem", "dan", "eve"))
        self.assertEqual(self.read(store, "ben"), [])
        (answer,) = self.append(store, to("ben"))
        self.assertGreater(answer.places[0][1], 5)

    def test_a_repeat_is_known_for_as_long_as_its_message_is(self) -> None:
        store = MemoryStore(3, 10**9)
        first, *_ = self.append(store, [message(cid="c1"), *to("cem", "cem")])
        self.assertEqual(self.append(store, [message(cid="c1")]), [Stored(first.message, first.places, True)])
        self.append(store, to("cem"))
        (anew,) = self.append(store, [message(cid="c1")])
        self.assertFalse(anew.repeat)

    def test_a_repeat_of_what_its_own_batch_pushes_out_is_one_all_the_same(self) -> None:
        store = MemoryStore(2, 10**9)
        answers = self.append(store, [message(cid="c1"), *to("ben", "ben", "ben"), message(cid="c1")])
        self.assertEqual([answer.repeat for answer in answers], [False] * 4 + [True])

    def test_neither_users_nor_cids_nor_read_marks_nor_cursors_pile_up(self) -> None:
        store = MemoryStore(100, 10**9)

        def fill(first: int) -> None:
            for number in range(first, first + 1000):
                sender, recipient = f"from {number}", f"to {number}"
                (one,) = self.append(store, [message(sender, recipient, cid=f"cid {number}")])
                self.successResultOf(store.mark_read(recipient, sender, one.message.mid))
                self.successResultOf(store.note(Notes({recipient: 1}, {recipient: number})))

        fill(0)
        before = reachable(store)
        fill(1000)
        self.assertLessEqual(reachable(store), before + 10)

    def test_neither_rooms_nor_members_pile_up(self) -> None:
        store = MemoryStore(100, 10**9)

        def fill(first: int) -> None:
            for number in range(first, first + 500):
                room, user = f"#room {number}", f"user {number}"
                self.successResultOf(store.join(room, user, 10))
                self.successResultOf(store.join(room, f"other {number}", 10))
                self.append(store, [message(user, room)])
                if number % 3 == 0:
                    self.successResultOf(store.leave(room, user))

        fill(0)
        before = reachable(store)
        fill(500)
        self.assertLessEqual(reachable(store), before * 1.05)

    def test_the_newest_rooms_keep_their_members(self) -> None:
        store = MemoryStore(10, 10**9)
        for number in range(20):
            self.successResultOf(store.join(f"#room {number}", "ann", 10))
        answers = self.append(store, [message("ann", f"#room {number}") for number in range(20)])
        self.assertEqual([answer.refused is None for answer in answers], [False] * 10 + [True] * 10)

    def test_nothing_asked_of_who_is_not_there_leaves_anything_behind(self) -> None:
        store = MemoryStore(100, 10**9)
        self.append(store, [message(cid="c1")])
        before = reachable(store)
        for number in range(1000):
            user = f"user {number}"
            self.append(store, [message(cid="c1"), message(user, f"#{number}")])
            self.read(store, user)
            asked: list[Deferred[Any]] = [
                store.inbox(user),
                store.last_seen([user]),
                store.history(user, "ann", None, 10),
                store.conversations(user, 10),
                store.mark_read(user, "ann", "0" * 24),
                store.leave("#room", user),
                store.note(Notes({user: 5}, {})),
            ]
            for one in asked:
                self.successResultOf(one)
        self.assertLessEqual(reachable(store), before + 10)

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
                message(sender, recipient, cid=cid, msg=Raw(b"1" * (1000 - OVERHEAD - PLACE)))
                for sender, recipient, cid in names
            ]
            fresh += [answer for answer in self.append(store, batch) if not answer.repeat]
        kept = fresh[-min(most, most_kilobytes) :]
        for user in "def":
            self.assertEqual(self.read(store, user), entries([one for one in kept if one.message.recipient == user]))
            given_out = offsets([one for one in fresh if one.message.recipient == user])
            self.assertEqual(given_out, sorted(set(given_out)))
