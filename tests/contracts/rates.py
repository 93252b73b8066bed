"""The rate of a sender on all daemons together, of a store that counts it as it stores a batch."""

from __future__ import annotations

from kschat.chat.interfaces import IStore, Stored
from kschat.chat.message import Error
from tests.backends.stores import WaitingTestCase
from tests.contracts.made import message
from tests.contracts.updates import edit


class RateContract(WaitingTestCase):
    """Each test begins with an empty store."""

    async def begun(self, *, send_rate: float = 0.0, send_burst: float = 10.0) -> IStore:
        """Another daemon's store, which is up, on the same data."""
        raise NotImplementedError

    @staticmethod
    def refused(stored: list[Stored]) -> list[bool]:
        return [one.refused is Error.TOO_MANY for one in stored]

    async def test_two_daemons_share_it_and_other_senders_have_their_own(self) -> None:
        one = await self.begun(send_rate=0.01, send_burst=500)
        two = await self.begun(send_rate=0.01, send_burst=500)
        first = await one.append([message("ann", "ben") for _ in range(3)])
        second = await two.append([message("ann", "ben"), *(message(user, "ben") for user in ("ann", "ann", "cem"))])
        self.assertEqual(self.refused(first + second), [False] * 5 + [True, False])
        waits = second[2].retry_in
        assert waits is not None
        self.assertTrue(0 < waits <= 100, waits)
        self.assertEqual((second[2].places, second[2].repeat), ((), False))
        self.assertEqual([one.places[0][1] for one in first + second if one.places], [1, 2, 3, 4, 5, 6])
        self.assertEqual(len(await self.whole(one, "ann", "ben")), 5)

    async def test_what_was_refused_is_no_repeat_when_it_is_tried_again(self) -> None:
        store = await self.begun(send_rate=0.001, send_burst=1)
        await store.append([message("ann", "ben")])
        tried = message("ann", "ben", cid="a")
        (refused,) = await store.append([tried])
        self.assertEqual(refused.refused, Error.TOO_MANY)
        await store.stop()
        store = await self.begun()
        (stored,) = await store.append([tried])
        self.assertEqual((stored.refused, stored.repeat, stored.places), (None, False, (("ben", 2),)))

    async def test_a_repeat_costs_nothing_and_is_answered(self) -> None:
        store = await self.begun(send_rate=0.001, send_burst=1)
        sent = message("ann", "ben", cid="a")
        await store.append([sent])
        found = await store.append([sent, message("ann", "ben")])
        self.assertEqual([(one.repeat, one.refused) for one in found], [(True, None), (False, Error.TOO_MANY)])

    async def test_changes_count_as_messages(self) -> None:
        store = await self.begun(send_rate=0.001, send_burst=2000)
        (sent,) = await store.append([message("ann", "ben")])
        answers = [await store.change(edit(sent.message, b"%d" % number)) for number in range(2)]
        self.assertEqual([one.refused for one in answers], [None, Error.TOO_MANY])
        self.assertTrue(0 < (answers[1].retry_in or 0) <= 1000)
        (late,) = await store.append([message("ann", "ben")])
        self.assertEqual(late.refused, Error.TOO_MANY)

    async def test_rooms_count_and_who_is_no_member_is_told_that(self) -> None:
        store = await self.begun(send_rate=0.001, send_burst=1)
        for user in ("ann", "ben"):
            await store.join("#r", user, 10)
        found = await store.append([message(user, "#r") for user in ("cem", "ann", "ann", "cem")])
        self.assertEqual([one.refused for one in found], [Error.NOT_ALLOWED, None, Error.TOO_MANY, Error.NOT_ALLOWED])

    async def test_a_batch_may_have_the_same_cid_twice(self) -> None:
        store = await self.begun(send_rate=0.001, send_burst=2000)
        batch = [message("ann", "ben", cid=cid) for cid in ("a", "a", "b", "c", "c")]
        found = await store.append(batch)
        self.assertEqual(self.refused(found), [False, False, False, True, True])
        self.assertEqual([one.repeat for one in found], [False, True, False, False, False])
        self.assertEqual(len(await self.whole(store, "ann", "ben")), 2)

    async def test_one_who_is_blocked_pays_as_well(self) -> None:
        store = await self.begun(send_rate=0.001, send_burst=1)
        await store.block("ben", "ann", 10)
        found = await store.append([message("ann", "ben"), message("ann", "cem")])
        self.assertEqual([one.refused for one in found], [Error.NOT_ALLOWED, Error.TOO_MANY])
