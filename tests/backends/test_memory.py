"""The store and the router inside one process."""

import gc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat.backends import memory, memory_outbox
from kschat.backends.memory import OVERHEAD, PLACE, MemoryRouter, MemoryStore
from kschat.backends.memory_index import MemoryConversation
from kschat.chat.interfaces import Entry, InboxState, IStore, Page, Progress, Stored
from kschat.chat.message import Message
from kschat.counters import Counters
from tests.contracts import istore, outbox, router, unread
from tests.contracts.istore import entries, kept, offsets
from tests.contracts.made import message, to


class MemoryStoreContractTests(istore.StoreContract, TestCase):
    async def make_store(self) -> IStore:
        return MemoryStore(10_000, 100_000_000)


class MemoryOutboxContractTests(outbox.OutboxContract, TestCase):
    async def make_store(self) -> IStore:
        return MemoryStore(1000, 10**7, hooks=True)

    async def test_a_page_of_the_log_ends_when_it_has_many_places(self) -> None:
        self.patch(memory_outbox, "MAX_PLACES", 3)
        store, outbox = await self.started()
        await store.join("#r", "ann", 10)
        await store.join("#r", "ben", 10)
        sent = await store.append([message("ann", "#r") for _ in range(5)])
        page = await outbox.log(await outbox.end(), 100)
        self.assertEqual([one.mid for one in page.messages], [one.message.mid for one in sent[:3]])
        self.assertEqual(len(await self.logged(outbox)), 5)


class ManyConversationsTests(MemoryStoreContractTests):
    """All the same, where each user counts as one with very many conversations."""

    def setUp(self) -> None:
        self.patch(memory, "MANY_CONVERSATIONS", 0)
        super().setUp()


class MemoryStoreUnreadTests(unread.UnreadContract, TestCase):
    of_all = True
    least = len(unread.USERS)  # a membership takes as much as a message

    async def make_bounded_store(self, most: int) -> IStore:
        return MemoryStore(most, 100_000_000)


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


class MemoryTestCase(SynchronousTestCase):
    """Asks a store that answers at once."""

    def result(self, answer: "Deferred[Any]") -> Any:
        return self.successResultOf(answer)

    def append(self, store: MemoryStore, batch: list[Message]) -> list[Stored]:
        answers: list[Stored] = self.result(store.append(batch))
        return answers

    def read(self, store: MemoryStore, user: str) -> list[Entry]:
        page: list[Entry] = self.result(store.read(user, 0, 10_000)).entries
        return page


class TestBounds(MemoryTestCase):
    """What is kept, and what gives way."""

    def test_the_oldest_messages_are_forgotten_beyond_the_count(self) -> None:
        counters = Counters()
        store = MemoryStore(3, 10**9, counters=counters)
        answers = self.append(store, to("ben", "cem", "ben", "ben", "cem"))
        self.assertEqual(counters.forgotten, 2)
        self.assertEqual(self.read(store, "ben"), entries(answers[2:4]))
        self.assertEqual(self.read(store, "cem"), entries(answers[4:]))
        self.assertEqual(self.result(store.inbox("ben")), InboxState(0, 2, 3))

    def test_the_oldest_messages_are_forgotten_beyond_the_bytes(self) -> None:
        store = MemoryStore(10**6, 10_000)
        answers = self.append(store, sized(15, 1000))
        self.assertEqual(self.read(store, "ben"), entries(answers[5:]))

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

    def test_each_recipient_of_a_message_to_a_room_counts(self) -> None:
        store = MemoryStore(10**6, 2 * (OVERHEAD + 10 * PLACE) + 100)
        for number in range(11):
            self.result(store.join("#r", f"user {number}", 100))
        for _ in range(3):
            self.append(store, [message("user 0", "#r", msg=Raw(b"1"))])
        self.assertEqual([one.offset for one in self.read(store, "user 5")], [2, 3])

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
        (offset,) = offsets(self.append(store, to("ben")))
        self.assertGreater(offset, 5)
        self.assertEqual(self.result(store.inbox("ben")), InboxState(0, offset, offset))

    def test_a_repeat_is_known_for_as_long_as_its_message_is(self) -> None:
        store = MemoryStore(3, 10**9)
        first, *_ = self.append(store, [message(cid="c1"), *to("cem", "cem")])
        self.assertEqual(self.append(store, [message(cid="c1")]), [kept(first.message, 1, True)])
        self.append(store, to("cem"))
        (anew,) = self.append(store, [message(cid="c1")])
        self.assertFalse(anew.repeat)

    def test_a_repeat_of_what_its_own_batch_pushes_out_is_one_all_the_same(self) -> None:
        store = MemoryStore(2, 10**9)
        answers = self.append(store, [message(cid="c1"), *to("ben", "ben", "ben"), message(cid="c1")])
        self.assertEqual([answer.repeat for answer in answers], [False] * 4 + [True])

    def test_a_conversation_is_forgotten_with_its_last_message(self) -> None:
        store = MemoryStore(2, 10**9)
        self.append(store, to("ben"))
        self.append(store, [message("cem", "ben"), message("cem", "ben")])
        self.assertEqual(self.result(store.conversations("ann", 10)), [])
        self.assertEqual(self.result(store.history("ann", "ben", before=None, limit=10)), Page((), False))
        self.assertEqual([one.unread for one in self.result(store.conversations("ben", 10))], [2])

    def test_a_room_outlives_its_messages(self) -> None:
        store = MemoryStore(2, 10**9)
        for user in ("ann", "ben"):
            self.result(store.join("#r", user, 10))
        self.append(store, [message("ann", "#r")])
        self.append(store, to("cem", "cem", sender="dan"))
        self.assertEqual(self.result(store.conversations("ann", 10)), [])
        (answer,) = self.append(store, [message("ann", "#r")])
        self.assertEqual([user for user, _ in answer.places], ["ben"])

    def test_members_beyond_the_bound_make_the_oldest_room_lose_its_own(self) -> None:
        store = MemoryStore(3, 10**9)
        for room in ("#r", "#s"):
            for user in ("ann", "ben"):
                self.assertTrue(self.result(store.join(room, user, 10)))
        answers = self.append(store, [message("ann", "#r"), message("ann", "#s"), message("ben", "#r")])
        self.assertEqual([answer.refused is None for answer in answers], [False, True, True])

    def test_who_was_seen_longest_ago_is_forgotten_first(self) -> None:
        store = MemoryStore(2, 10**9)
        for user in ("ann", "ben", "ann", "cem"):
            self.result(store.save_progress(Progress({}, {user: 1})))
        self.assertEqual(self.result(store.last_seen(["ann", "ben", "cem"])), {"ann": 1, "cem": 1})


class TestManyConversations(MemoryTestCase):
    """What one user has very many of is not looked through."""

    def setUp(self) -> None:
        self.patch(memory, "MANY_CONVERSATIONS", 10)
        self.store = MemoryStore(10_000, 10**9)
        self.stored = self.append(self.store, to(*[f"u{number}" for number in range(50)]))

    def looked_into(self, kind: str) -> list[str]:
        """The names of the conversations that ``kind`` is called of from now on."""
        names: list[str] = []
        before = getattr(MemoryConversation, kind)

        def counted(thread: MemoryConversation, *arguments: Any) -> Any:
            names.append(thread.key[-1])
            return before(thread, *arguments)

        self.patch(MemoryConversation, kind, counted)
        return names

    def test_a_message_is_found_in_its_conversation_alone(self) -> None:
        names = self.looked_into("find")
        wanted = self.stored[20].message
        self.assertEqual(self.result(self.store.find("ann", wanted.mid, None)), wanted)
        self.assertEqual(names, ["u20"])
        self.assertIsNone(self.result(self.store.find("u21", wanted.mid, None)))
        self.assertIsNone(self.result(self.store.find("ann", "0" * 24, None)))
        self.assertEqual(names, ["u20"])

    def test_the_newest_are_listed_whatever_was_forgotten_and_erased(self) -> None:
        self.append(self.store, to("u7", "u3"))
        self.result(self.store.erase("u49"))
        store = self.store
        first, second, third = self.result(store.conversations("ann", 3))
        self.assertEqual([one.peer for one in (first, second, third)], ["u3", "u7", "u48"])
        again = self.result(store.conversations("ann", 2, before=second.last.mid))
        self.assertEqual([one.peer for one in again], ["u48", "u47"])
        self.assertEqual(len(self.result(store.conversations("ann", 500))), 49)


class TestNothingPilesUp(MemoryTestCase):
    """Whatever comes, a store that is full holds as much afterwards as before."""

    def assert_stays(self, step: Any, most: int = 100) -> None:
        store = MemoryStore(most, 10**9)
        for number in range(1000):
            step(store, number)
        before = reachable(store)
        for number in range(1000, 2000):
            step(store, number)
        self.assertLessEqual(reachable(store), before + 20)

    def test_messages_users_cids_and_conversations(self) -> None:
        self.assert_stays(
            lambda store, n: self.append(store, [message(f"from {n}", f"to {n}", cid=f"cid {n}")]),
        )

    def test_marks_cursors_and_times(self) -> None:
        def step(store: MemoryStore, n: int) -> None:
            (answer,) = self.append(store, [message(f"from {n}", f"to {n}")])
            self.result(store.mark_read(f"to {n}", f"from {n}", answer.message.mid))
            self.result(
                store.save_progress(Progress({f"to {n}": 1, f"nobody {n}": 1}, {f"to {n}": 1, f"other {n}": 2}))
            )

        self.assert_stays(step)

    def test_rooms_and_members(self) -> None:
        def step(store: MemoryStore, n: int) -> None:
            for user in ("ann", f"user {n}"):
                self.result(store.join(f"#room {n}", user, 10))
            self.append(store, [message("ann", f"#room {n}")])
            if n % 2:
                self.result(store.leave(f"#room {n}", "ann"))

        self.assert_stays(step)

    def test_questions_and_repeats_leave_nothing_behind(self) -> None:
        store = MemoryStore(100, 10**9)
        self.append(store, [message(cid="c1")])
        before = reachable(store)
        for number in range(1000):
            self.append(store, [message(cid="c1"), message("ann", f"#nowhere {number}")])
            self.read(store, f"user {number}")
            self.result(store.inbox(f"user {number}"))
            self.result(store.conversations(f"user {number}", 10))
            self.result(store.history("ann", f"user {number}", before=None, limit=10))
            self.result(store.mark_read("ann", f"user {number}", "0" * 24))
            self.result(store.leave(f"#nowhere {number}", "ann"))
            self.failureResultOf(store.join(f"#nowhere {number}", "ann", 0))
        self.assertLessEqual(reachable(store), before + 5)


class TestAnything(MemoryTestCase):
    """Whatever comes."""

    texts = st.tuples(st.sampled_from("abc"), st.sampled_from("def"), st.sampled_from([None, "1", "2"]))

    @settings(max_examples=200)
    @given(st.integers(1, 6), st.integers(1, 6), st.lists(st.lists(texts, min_size=1, max_size=5), max_size=12))
    def test_offsets_rise_and_the_newest_are_kept(
        self, most: int, most_kilobytes: int, batches: list[list[tuple[str, str, Any]]]
    ) -> None:
        store = MemoryStore(most, most_kilobytes * 1000)
        fresh: list[Stored] = []
        for names in batches:
            body = Raw(b"1" * (1000 - OVERHEAD - PLACE))
            batch = [message(sender, recipient, cid=cid, msg=body) for sender, recipient, cid in names]
            fresh += [answer for answer in self.append(store, batch) if not answer.repeat]
        newest = fresh[-min(most, most_kilobytes) :]
        for user in "def":
            theirs = [one for one in newest if one.message.recipient == user]
            self.assertEqual(self.read(store, user), entries(theirs))
            rising = [offset for one in fresh for name, offset in one.places if name == user]
            self.assertEqual(rising, sorted(set(rising)))
            for peer in "abc":
                between = tuple(one.message for one in theirs if one.message.sender == peer)
                self.assertEqual(self.result(store.history(user, peer, before=None, limit=100)).messages, between)
