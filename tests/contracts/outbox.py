"""What every store must keep for hooks. A backend's own tests mix this in and say how such a store is made."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from zope.interface.verify import verifyObject

from kschat.chat.interfaces import IStore, Progress
from kschat.chat.outbox import (
    MAX_DROPPED,
    MAX_MARKS,
    Backlog,
    Commit,
    Event,
    IOutbox,
    LeaseLost,
    Logged,
    Mark,
    Retry,
    WaitingUser,
)
from tests.contracts.base import Contract
from tests.contracts.made import message, to
from tests.contracts.updates import edit

#: A time, in milliseconds.
NOW = 1_700_000_000_000


def event(name: str, user: str = "ben", at: int = NOW, **changes: Any) -> Event:
    """An event unlike others with other names."""
    fields = {"data": Raw(b'{"user":"%b","text":"\xc3\xa9"}' % user.encode()), **changes}
    return Event(f"msg_{name}", "message.undelivered", user, at, **fields)


class OutboxContract(Contract):
    """The log, the marks, the users who wait, and the queues."""

    async def make_store(self) -> IStore:
        """An empty store with an outbox. Who makes it cleans up after it (``addCleanup``)."""
        raise NotImplementedError

    async def started(self) -> tuple[IStore, Any]:
        """A store, and its outbox, which ``me`` has the lease of."""
        store = await self.make_store()
        self.assertTrue(await store.outbox.acquire("me", 60))
        return store, store.outbox

    async def logged(self, outbox: Any, limit: int = 100) -> list[Logged]:
        """All of the log, which is looked at."""
        found: list[Logged] = []
        upto = await outbox.end()
        while (page := await outbox.log(upto, limit)).upto is not None:
            found += page.messages
            await outbox.commit("me", Commit(log=page.upto))
        return found

    async def test_it_provides_the_interface(self) -> None:
        store = await self.make_store()
        self.assertTrue(verifyObject(IOutbox, store.outbox))
        self.assertTrue(verifyObject(IStore, store))

    async def test_one_holder_has_the_lease_until_it_gives_it_back(self) -> None:
        outbox = (await self.make_store()).outbox
        self.assertTrue(await outbox.acquire("one", 60))
        self.assertTrue(await outbox.acquire("one", 60))
        self.assertFalse(await outbox.acquire("two", 60))
        await outbox.release("two")
        self.assertFalse(await outbox.acquire("two", 60))
        await outbox.release("one")
        self.assertTrue(await outbox.acquire("two", 60))

    async def test_who_has_no_lease_commits_nothing(self) -> None:
        store, outbox = await self.started()
        await store.append(to("ben"))
        page = await outbox.log(await outbox.end(), 10)
        with self.assertRaises(LeaseLost):
            await outbox.commit("you", Commit(log=page.upto, events={"webhook": [event("a")]}, connected=["ben"]))
        self.assertEqual(await outbox.log(await outbox.end(), 10), page)
        self.assertEqual(await outbox.queued("webhook", NOW, 10), [])
        self.assertEqual(await outbox.connected(["ben"]), set())

    async def test_the_log_has_each_message_once_with_its_places_in_order(self) -> None:
        store, outbox = await self.started()
        await store.join("#r", "ann", 10)
        await store.join("#r", "ben", 10)
        await store.join("#r", "cem", 10)
        sent = await store.append([*to("ben", "cem"), message("ann", "#r"), *to("ben", sender="dan")])
        sent += await store.append(to("ben"))
        await self.settle(store)
        found = await self.logged(outbox, 2)
        self.assertEqual([one.mid for one in found], [one.message.mid for one in sent])
        self.assertEqual([one.sender for one in found], ["ann", "ann", "ann", "dan", "ann"])
        self.assertEqual([one.room for one in found], [None, None, "#r", None, None])
        self.assertEqual([sorted(one.places) for one in found], [sorted(one.places) for one in sent])
        self.assertTrue(all(one.at > 0 for one in found))
        self.assertEqual(await self.logged(outbox), [])

    async def test_what_was_not_committed_is_read_again(self) -> None:
        store, outbox = await self.started()
        await store.append(to("ben"))
        upto = await outbox.end()
        page = await outbox.log(upto, 10)
        self.assertEqual(len(page.messages), 1)
        self.assertEqual(await outbox.log(upto, 10), page)
        await outbox.commit("me", Commit())
        self.assertEqual(await outbox.log(upto, 10), page)
        await outbox.commit("me", Commit(log=page.upto))
        self.assertIsNone((await outbox.log(upto, 10)).upto)

    async def test_what_comes_after_the_end_is_not_in_the_page(self) -> None:
        store, outbox = await self.started()
        await store.append(to("ben"))
        upto = await outbox.end()
        await store.append(to("cem"))
        (one,) = (await outbox.log(upto, 10)).messages
        self.assertEqual(one.places, (("ben", 1),))

    async def test_repeats_refusals_and_updates_are_not_logged(self) -> None:
        store, outbox = await self.started()
        (first, *_) = await store.append([message(cid="c"), message(cid="c"), message("ann", "#nowhere")])
        await store.append([message(cid="c")])
        await store.change(edit(first.message))
        await store.block("ben", "eve", 10)
        await store.append([message("eve", "ben")])
        self.assertEqual([one.mid for one in await self.logged(outbox)], [first.message.mid])

    async def test_a_message_with_a_later_mid_than_was_proposed_is_logged_with_its_own(self) -> None:
        store, outbox = await self.started()
        await store.append([message(mid="0000000000ffffff0a0b0c0d")])
        (late,) = await store.append([message(mid="00000000000000010a0b0c0d")])
        self.assertEqual([one.mid for one in await self.logged(outbox)][1:], [late.message.mid])

    async def test_joins_are_kept_until_they_were_looked_at(self) -> None:
        store, outbox = await self.started()
        await store.join("#r", "ann", 10)
        await store.join("#r", "ann", 10)
        await store.join("#r", "ben", 10)
        await store.leave("#r", "ben")
        first, second = await outbox.joins(10)
        self.assertEqual([(one.room, one.user) for one in (first, second)], [("#r", "ann"), ("#r", "ben")])
        self.assertGreater(second.number, first.number)
        await outbox.commit("me", Commit(joins=first.number))
        self.assertEqual(await outbox.joins(10), [second])
        self.assertEqual(await outbox.joins(1), [second])
        await outbox.commit("me", Commit(joins=second.number))
        self.assertEqual(await outbox.joins(10), [])

    async def test_marks_are_gone_when_they_were_looked_at_unless_they_have_come_again(self) -> None:
        _, outbox = await self.started()
        await outbox.mark(["ann", "ben"])
        marks = await outbox.marks(10)
        self.assertEqual([mark.user for mark in marks], ["ann", "ben"])
        await outbox.mark(["ben", "cem"])
        await outbox.commit("me", Commit(marks=marks))
        left = await outbox.marks(10)
        self.assertEqual([mark.user for mark in left], ["ben", "cem"])
        await outbox.commit("me", Commit(marks=[*left, Mark("dan", 1)]))
        self.assertEqual(await outbox.marks(10), [])

    async def test_who_is_known_as_connected(self) -> None:
        _, outbox = await self.started()
        await outbox.commit("me", Commit(connected=["ann", "ben"]))
        await outbox.commit("me", Commit(connected=["ben", "cem"], disconnected=["ann", "dan"]))
        self.assertEqual(await outbox.connected(["ann", "ben", "cem", "dan"]), {"ben", "cem"})
        await outbox.mark_connected()
        self.assertEqual({mark.user for mark in await outbox.marks(10)}, {"ben", "cem"})

    async def test_cursors_of_many(self) -> None:
        store, outbox = await self.started()
        await store.append(to("ben", "ben", "cem"))
        await self.settle(store)
        await store.save_progress(Progress({"ben": 2}, {}))
        found = await outbox.cursors(["ben", "cem", "nobody"])
        self.assertEqual([found.get(user, 0) for user in ("ben", "cem", "nobody")], [2, 0, 0])

    async def test_users_wait_until_they_are_due(self) -> None:
        _, outbox = await self.started()
        await outbox.commit("me", Commit(undelivered={"ann": NOW + 2, "ben": NOW + 1, "cem": NOW + 9}))
        self.assertEqual(await outbox.waiting(NOW, 10), [])
        ben, ann = WaitingUser("ben", NOW + 1), WaitingUser("ann", NOW + 2)
        self.assertEqual(await outbox.waiting(NOW + 2, 10), [ben, ann])
        self.assertEqual(await outbox.waiting(NOW + 2, 1), [ben])
        again = WaitingUser("ben", NOW + 5, 7)
        await outbox.commit("me", Commit(waiting=[again], settled=["ann", "nobody"]))
        self.assertEqual(await outbox.waiting(NOW + 5, 10), [again])

    async def test_who_waits_already_is_not_looked_at_earlier_or_later(self) -> None:
        _, outbox = await self.started()
        await outbox.commit("me", Commit(waiting=[WaitingUser("ben", NOW + 5, 7)]))
        await outbox.commit("me", Commit(undelivered={"ben": NOW}))
        self.assertEqual(await outbox.waiting(NOW + 4, 10), [])
        self.assertEqual(await outbox.waiting(NOW + 5, 10), [WaitingUser("ben", NOW + 5, 7)])

    async def test_each_consumer_has_its_events_the_oldest_first(self) -> None:
        _, outbox = await self.started()
        a, b = event("a", named=("ann", "dé")), event("b", at=NOW + 1)
        await outbox.commit("me", Commit(events={"webhook": [a, b], "push": [b]}))
        first, second = await outbox.queued("webhook", NOW + 1, 10)
        self.assertEqual((first.event, first.attempts, first.note), (a, 0, b""))
        self.assertEqual(second.event, b)
        self.assertGreater(second.number, first.number)
        self.assertEqual([one.event for one in await outbox.queued("push", NOW + 1, 10)], [b])
        self.assertEqual([one.event for one in await outbox.queued("webhook", NOW, 10)], [a])
        self.assertEqual([one.event for one in await outbox.queued("webhook", NOW + 1, 1)], [a])
        self.assertEqual(await outbox.queued("nobody", NOW + 1, 10), [])

    async def test_an_event_is_there_until_it_is_settled(self) -> None:
        _, outbox = await self.started()
        await outbox.commit("me", Commit(events={"webhook": [event("a"), event("b"), event("c")]}))
        a, b, c = await outbox.queued("webhook", NOW, 10)
        note = b"\x00\xff\xc3 note"
        await outbox.settle("webhook", [a.number], [Retry(b.number, NOW + 5, 3, note)])
        self.assertEqual(await outbox.queued("webhook", NOW, 10), [c])
        found = await outbox.queued("webhook", NOW + 5, 10)
        self.assertEqual(
            [(one.number, one.attempts, one.note) for one in found], [(c.number, 0, b""), (b.number, 3, note)]
        )
        self.assertEqual(found[1].event, b.event)
        # What is there no more is no fault.
        await outbox.settle("webhook", [a.number, b.number], [Retry(a.number, NOW, 1)])
        self.assertEqual(await outbox.queued("webhook", NOW + 9, 10), [c])

    async def test_beyond_the_bound_the_oldest_events_are_dropped(self) -> None:
        _, outbox = await self.started()
        self.assertEqual(await outbox.commit("me", Commit(events={"w": [event("a"), event("b")]}, most=3)), 0)
        dropped = await outbox.commit("me", Commit(events={"w": [event("c")], "p": [event("d"), event("e")]}, most=3))
        self.assertEqual(dropped, 2)
        self.assertEqual([one.event.id for one in await outbox.queued("w", NOW, 10)], ["msg_c"])
        self.assertEqual((await outbox.backlog()).events, 3)

    async def test_a_bound_that_was_lowered_is_reached_in_parts(self) -> None:
        _, outbox = await self.started()
        made = [event(str(number)) for number in range(MAX_DROPPED + 20)]
        await outbox.commit("me", Commit(events={"w": made}))
        dropped = [await outbox.commit("me", Commit(most=5)) for _ in range(3)]
        self.assertEqual(dropped, [MAX_DROPPED, 15, 0])
        self.assertEqual([one.event for one in await outbox.queued("w", NOW, 10)], made[-5:])
        dropped = [await outbox.commit("me", Commit(events={"w": made}, most=5)) for _ in range(2)]
        self.assertEqual(dropped, [len(made)] * 2)

    async def test_the_oldest_events_expire(self) -> None:
        _, outbox = await self.started()
        made = [event("a"), event("b", at=NOW + 1), event("c", at=NOW + 2)]
        await outbox.commit("me", Commit(events={"w": made}))
        self.assertEqual(await outbox.backlog(), Backlog(3, NOW))
        self.assertEqual(await outbox.expire(NOW, 10), 0)
        self.assertEqual(await outbox.expire(NOW + 2, 1), 1)
        self.assertEqual(await outbox.expire(NOW + 2, 10), 1)
        self.assertEqual(await outbox.expire(NOW + 2, 10), 0)
        self.assertEqual([one.event.id for one in await outbox.queued("w", NOW + 9, 10)], ["msg_c"])
        self.assertEqual(await outbox.backlog(), Backlog(1, NOW + 2))

    async def test_users_beyond_the_bound_are_not_marked_and_counted_once(self) -> None:
        _, outbox = await self.started()
        for start in range(0, MAX_MARKS - 1, 20_000):
            await outbox.mark([f"u{number}" for number in range(start, min(start + 20_000, MAX_MARKS - 1))])
        await outbox.mark(["ann", "ben", "cem"])
        await outbox.mark(["ann", "u5"])
        self.assertEqual([(await outbox.backlog()).lost_marks for _ in range(2)], [2, 0])
        marked = {mark.user for mark in await outbox.marks(MAX_MARKS + 10)}
        self.assertEqual((len(marked), marked & {"ann", "ben", "cem", "u5"}), (MAX_MARKS, {"ann", "u5"}))

    async def test_nothing_is_left_of_a_user_who_is_erased(self) -> None:
        store, outbox = await self.started()
        await store.append(to("ben"))
        await self.settle(store)
        await self.logged(outbox)
        kept = event("kept", user="cem", named=("benny",))
        made = [event("his"), event("names", user="cem", named=("dan", "ben")), kept]
        await outbox.mark(["ben", "cem"])
        await outbox.commit(
            "me", Commit(events={"w": made}, connected=["ben", "cem"], undelivered={"ben": NOW, "cem": NOW})
        )
        await store.erase("ben")
        self.assertEqual([one.event for one in await outbox.queued("w", NOW, 10)], [kept])
        self.assertEqual([mark.user for mark in await outbox.marks(10)], ["cem"])
        self.assertEqual(await outbox.connected(["ben", "cem"]), {"cem"})
        self.assertEqual([one.user for one in await outbox.waiting(NOW, 10)], ["cem"])
        self.assertEqual((await outbox.backlog()).events, 1)
