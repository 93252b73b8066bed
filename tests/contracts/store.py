"""What every store must do. A backend's own tests mix these in and say how one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import gatherResults
from zope.interface.verify import verifyObject

from kschat.chat.interfaces import IStore, Stored, StoreUnavailable
from tests.contracts.made import awkward_messages, message, to

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object


def offsets(answers: list[Stored]) -> list[int]:
    return [answer.offset for answer in answers]


class StoreContract(TestCase):
    """Mixed into a ``TestCase``. Each test gets a store of its own, which is empty."""

    async def make_store(self) -> IStore:
        """An empty store. Who makes it cleans up after it (``addCleanup``)."""
        raise NotImplementedError

    async def settle(self) -> None:
        """Give the backend the time it needs, where its answers alone don't tell that it is done."""

    async def test_it_provides_the_interface(self) -> None:
        self.assertTrue(verifyObject(IStore, await self.make_store()))

    async def test_a_message_is_answered_as_it_was_given_with_the_first_offset(self) -> None:
        store = await self.make_store()
        one = message()
        self.assertEqual(await store.append([one]), [Stored(one, 1)])

    async def test_offsets_of_an_inbox_are_dense_whoever_sends(self) -> None:
        store = await self.make_store()
        seen: list[int] = []
        for sender in ("ann", "cem", "ann", "dan", "ben"):
            seen += offsets(await store.append([message(sender, "ben")]))
        self.assertEqual(seen, [1, 2, 3, 4, 5])

    async def test_each_inbox_has_its_own_offsets_within_a_batch(self) -> None:
        store = await self.make_store()
        answers = await store.append(to("ben", "cem", "ben", "ben", "cem", "dan"))
        self.assertEqual(offsets(answers), [1, 1, 2, 3, 2, 1])

    async def test_offsets_go_on_from_batch_to_batch(self) -> None:
        store = await self.make_store()
        await store.append(to("ben", "cem", "ben"))
        self.assertEqual(offsets(await store.append(to("cem", "ben", "dan"))), [2, 3, 1])

    async def test_a_batch_is_answered_in_its_own_order(self) -> None:
        store = await self.make_store()
        batch = to(*(f"user {n % 7}" for n in range(100)))
        self.assertEqual([answer.message for answer in await store.append(batch)], batch)

    async def test_batches_that_do_not_wait_for_each_other_are_kept_and_answered_in_order(self) -> None:
        store = await self.make_store()
        order: list[int] = []

        def answered(answers: list[Stored], number: int) -> list[Stored]:
            order.append(number)
            return answers

        answers = await gatherResults(
            [store.append(to("ben", "cem")).addCallback(answered, number) for number in range(20)]
        )
        self.assertEqual(order, list(range(20)))
        self.assertEqual([offsets(one) for one in answers], [[n, n] for n in range(1, 21)])

    async def test_a_message_to_oneself_is_kept_once(self) -> None:
        store = await self.make_store()
        one = message("ann", "ann")
        await store.append([one])
        await self.settle()
        self.assertEqual(await store.read("ann", 0, 10), [Stored(one, 1)])

    # Repeats.

    async def test_a_repeat_in_a_later_batch_is_answered_with_the_first(self) -> None:
        store = await self.make_store()
        first = message(cid="c1")
        await store.append([message(), first])
        after = message()
        answers = await store.append([message(cid="c1"), after])
        self.assertEqual(answers, [Stored(first, 2, True), Stored(after, 3)])

    async def test_a_repeat_within_a_batch_is_answered_with_the_first(self) -> None:
        store = await self.make_store()
        first, again, after = message(cid="c1"), message(cid="c1"), message()
        answers = await store.append([first, again, after])
        self.assertEqual(answers, [Stored(first, 1), Stored(first, 1, True), Stored(after, 2)])

    async def test_a_repeat_of_what_is_not_answered_yet_is_answered_with_the_first(self) -> None:
        store = await self.make_store()
        first = message(cid="c1")
        answers = await gatherResults([store.append([first]), store.append([message(cid="c1")])])
        self.assertEqual(answers, [[Stored(first, 1)], [Stored(first, 1, True)]])

    async def test_a_repeat_is_not_kept(self) -> None:
        store = await self.make_store()
        first, other = message(cid="c1"), message()
        await store.append([first])
        await store.append([message(cid="c1"), message(cid="c1")])
        await store.append([other])
        await self.settle()
        self.assertEqual(await store.read("ben", 0, 10), [Stored(first, 1), Stored(other, 2)])

    async def test_a_repeat_to_somebody_else_is_a_repeat_all_the_same(self) -> None:
        store = await self.make_store()
        first = message("ann", "ben", cid="c1")
        await store.append([first])
        self.assertEqual(await store.append([message("ann", "cem", cid="c1")]), [Stored(first, 1, True)])
        await self.settle()
        self.assertEqual(await store.read("cem", 0, 10), [])

    async def test_a_repeat_is_answered_again_and_again(self) -> None:
        store = await self.make_store()
        first = message(cid="c1")
        await store.append([first])
        for _ in range(3):
            self.assertEqual(await store.append([message(cid="c1")]), [Stored(first, 1, True)])

    async def test_the_same_cid_of_two_senders_is_no_repeat(self) -> None:
        store = await self.make_store()
        answers = await store.append([message("ann", cid="c1"), message("cem", cid="c1")])
        self.assertEqual([(answer.offset, answer.repeat) for answer in answers], [(1, False), (2, False)])

    async def test_the_same_message_without_a_cid_is_no_repeat(self) -> None:
        store = await self.make_store()
        one = message()
        self.assertEqual(await store.append([one]), [Stored(one, 1)])
        two = message(msg=one.msg)
        self.assertEqual(await store.append([two]), [Stored(two, 2)])

    async def test_sender_and_cid_are_not_run_together(self) -> None:
        store = await self.make_store()
        pairs = [
            ("a", "b:c"),
            ("a:b", "c"),
            ("a", "b\0c"),
            ("a\0b", "c"),
            ("a", "b c"),
            ("a b", "c"),
            ("ab", "c"),
            ("a", "bc"),
        ]
        answers = await store.append([message(sender, cid=cid) for sender, cid in pairs])
        self.assertEqual([answer.repeat for answer in answers], [False] * len(pairs))

    async def test_cids_differ_by_every_character(self) -> None:
        store = await self.make_store()
        cids = ["x", "X", "x ", " x", "é", "e\N{COMBINING ACUTE ACCENT}", "1", "01", "1.0", "x" * 64, "x" * 63]
        answers = await store.append([message(cid=cid) for cid in cids])
        self.assertEqual([answer.repeat for answer in answers], [False] * len(cids))

    # Pages of an inbox.

    async def test_an_inbox_is_read_in_pages_from_any_offset(self) -> None:
        store = await self.make_store()
        kept = await store.append(to(*["ben"] * 10))
        await self.settle()
        for after in range(11):
            for limit in (1, 3, 10, 100):
                page = await store.read("ben", after, limit)
                self.assertEqual(page, kept[after : after + limit], (after, limit))

    async def test_beyond_the_end_there_is_nothing(self) -> None:
        store = await self.make_store()
        await store.append(to("ben"))
        await self.settle()
        self.assertEqual(await store.read("ben", 1, 10), [])
        self.assertEqual(await store.read("ben", 2**40, 10), [])

    async def test_an_inbox_that_nobody_wrote_to_is_empty(self) -> None:
        store = await self.make_store()
        await store.append(to("ben"))
        self.assertEqual(await store.read("cem", 0, 10), [])

    async def test_reading_does_not_take_away(self) -> None:
        store = await self.make_store()
        kept = await store.append(to("ben", "ben"))
        await self.settle()
        self.assertEqual(await store.read("ben", 0, 10), kept)
        self.assertEqual(await store.read("ben", 0, 10), kept)

    async def test_what_is_read_is_what_was_given_however_odd(self) -> None:
        store = await self.make_store()
        for what, one in awkward_messages().items():
            (answer,) = await store.append([one])
            self.assertEqual(answer.message, one, what)
            await self.settle()
            (read,) = await store.read(one.recipient, answer.offset - 1, 10)
            self.assertEqual(read, answer, what)
            self.assertEqual(type(read.message.uId), type(one.uId), what)
            self.assertEqual(bytes(read.message.msg), bytes(one.msg), what)

    async def test_a_large_batch_of_odd_messages_is_kept_whole(self) -> None:
        store = await self.make_store()
        batch = [one for _ in range(20) for one in awkward_messages().values() if one.cid is None][:400]
        batch = [one for one in batch if len(bytes(one.msg)) < 1000]
        answers = await store.append(batch)
        self.assertEqual([answer.message for answer in answers], batch)
        await self.settle()
        for user in {one.recipient for one in batch}:
            expected = [answer for answer in answers if answer.message.recipient == user]
            self.assertEqual(await store.read(user, 0, 1000), expected)
            self.assertEqual(offsets(expected), list(range(1, len(expected) + 1)))


class FailingStoreContract(TestCase):
    """For stores that can be away. Mixed in beside ``StoreContract``."""

    async def make_store(self) -> IStore:
        """An empty store."""
        raise NotImplementedError

    async def settle(self) -> None:
        """See ``StoreContract``."""

    async def break_off(self, store: IStore) -> None:
        """From here on what ``store`` needs is away, also for a batch that is half written."""
        raise NotImplementedError

    async def bring_back(self, store: IStore) -> None:
        """It is there again; fires when ``store`` has noticed."""
        raise NotImplementedError

    async def test_a_batch_while_the_store_is_away_fails(self) -> None:
        store = await self.make_store()
        await self.break_off(store)
        with self.assertRaises(StoreUnavailable):
            await store.append(to("ben", "cem"))

    async def test_reading_while_the_store_is_away_fails(self) -> None:
        store = await self.make_store()
        await store.append(to("ben"))
        await self.break_off(store)
        with self.assertRaises(StoreUnavailable):
            await store.read("ben", 0, 10)

    async def test_nothing_of_a_batch_that_failed_is_kept_nor_takes_an_offset(self) -> None:
        store = await self.make_store()
        (first,) = await store.append(to("ben"))
        await self.break_off(store)
        with self.assertRaises(StoreUnavailable):
            await store.append([*to("ben", "cem"), message(cid="c1"), *to("ben")])
        await self.bring_back(store)
        last = message(cid="c1")
        self.assertEqual(await store.append([last]), [Stored(last, 2)])
        await self.settle()
        self.assertEqual(await store.read("ben", 0, 10), [first, Stored(last, 2)])
        self.assertEqual(await store.read("cem", 0, 10), [])

    async def test_what_was_answered_is_there_after_the_store_was_away(self) -> None:
        store = await self.make_store()
        kept = await store.append([*to("ben", "ben"), message(cid="c1")])
        await self.break_off(store)
        await self.bring_back(store)
        self.assertEqual(await store.read("ben", 0, 10), kept)
        self.assertEqual(await store.append([message(cid="c1")]), [Stored(kept[2].message, 3, True)])
