"""What every store must do. A backend's own tests mix these in and say how one is made."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.structs import replace
from twisted.internet.defer import Deferred, gatherResults
from zope.interface.verify import verifyObject

from kschat.chat.interfaces import (
    MAX_UNREAD,
    PAGE_BYTES,
    BlockListFull,
    Blocks,
    Conversation,
    Entry,
    InboxState,
    IStore,
    Page,
    Progress,
    RevocationsFull,
    RoomFull,
    Stored,
    StoreUnavailable,
    TooManyRooms,
)
from kschat.chat.lines import MAX_LINE
from kschat.chat.message import Error, Message
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import FOREVER, Revocation
from tests.contracts.base import Contract
from tests.contracts.made import awkward_messages, message, mid, to
from tests.contracts.updates import ReadersContract, UpdateContract, edit


def offsets(answers: list[Stored]) -> list[int]:
    """The offsets of messages to one recipient each."""
    return [offset for answer in answers for _, offset in answer.places]


def entries(answers: list[Stored]) -> list[Entry]:
    """The same messages as they stand in their recipient's inbox."""
    return [Entry(answer.places[0][1], answer.message) for answer in answers]


def kept(one: Message, offset: int, repeat: bool = False) -> Stored:
    """What is said of a message to a user."""
    return Stored(one, ((one.recipient, offset),), repeat)


class AppendContract(Contract):
    """How messages are kept and answered."""

    async def test_it_provides_the_interface(self) -> None:
        self.assertTrue(verifyObject(IStore, await self.make_store()))

    async def test_a_message_is_answered_as_it_was_given_with_the_first_offset(self) -> None:
        store = await self.make_store()
        one = message()
        self.assertEqual(await store.append([one]), [kept(one, 1)])

    async def test_offsets_of_an_inbox_are_dense_whoever_sends(self) -> None:
        store = await self.make_store()
        seen: list[int] = []
        for sender in ("ann", "cem", "ann", "dan", "ben"):
            seen += offsets(await store.append([message(sender, "ben")]))
            await self.settle(store)
        self.assertEqual(seen, [1, 2, 3, 4, 5])

    async def test_each_inbox_has_its_own_offsets_within_a_batch(self) -> None:
        store = await self.make_store()
        answers = await store.append(to("ben", "cem", "ben", "ben", "cem", "dan"))
        self.assertEqual(offsets(answers), [1, 1, 2, 3, 2, 1])

    async def test_offsets_go_on_from_batch_to_batch(self) -> None:
        store = await self.make_store()
        await store.append(to("ben", "cem", "ben"))
        await self.settle(store)
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
        answers = await store.append([message("ann", "ann")])
        await self.settle(store)
        self.assertEqual((await store.read("ann", 0, 10)).entries, entries(answers))

    async def test_a_mid_that_is_not_later_than_all_before_is_made_later(self) -> None:
        store = await self.make_store()
        await store.append([message(mid=mid(1 << 56))])
        await self.settle(store)
        answers = await store.append([message(mid=mid(1000), cid="c1"), message(mid=mid(1 << 56))])
        mids = [answer.message.mid for answer in answers]
        self.assertEqual(mids, [mid((1 << 56) + 1), mid((1 << 56) + 2)])
        await self.settle(store)
        self.assertEqual([entry.message.mid for entry in (await store.read("ben", 1, 10)).entries], mids)
        (again,) = await store.append([message(mid=mid(1001), cid="c1")])
        self.assertEqual((again.message.mid, again.repeat), (mids[0], True))

    async def test_what_is_read_is_what_was_given_however_odd(self) -> None:
        store = await self.make_store()
        for what, one in awkward_messages().items():
            (answer,) = await store.append([one])
            self.assertEqual(answer.message, one, what)
            await self.settle(store)
            place = answer.places[0][1]
            (read,) = (await store.read(one.recipient, place - 1, 10)).entries
            self.assertEqual(read, Entry(place, one), what)
            self.assertEqual((type(read.message.uId), type(read.message.pId)), (type(one.uId), type(one.pId)), what)
            self.assertEqual(bytes(read.message.msg), bytes(one.msg), what)
            page = await store.history(one.sender, one.recipient, before=None, limit=1)
            self.assertEqual(page.messages, (one,), what)

    async def test_a_large_batch_of_odd_messages_is_kept_whole(self) -> None:
        store = await self.make_store()
        odd = [one for one in awkward_messages().values() if one.cid is None and len(bytes(one.msg)) < 1000]
        batch = [message(one.sender, one.recipient, uId=one.uId, pId=one.pId, msg=one.msg) for one in odd * 20]
        answers = await store.append(batch)
        self.assertEqual([answer.message for answer in answers], batch)
        await self.settle(store)
        for user in {one.recipient for one in batch}:
            expected = [answer for answer in answers if answer.message.recipient == user]
            self.assertEqual((await store.read(user, 0, 1000)).entries, entries(expected))
            self.assertEqual(offsets(expected), list(range(1, len(expected) + 1)))


class RepeatContract(Contract):
    """The same sender and ``cid`` is the same message."""

    async def test_a_repeat_in_a_later_batch_is_answered_with_the_first(self) -> None:
        store = await self.make_store()
        before, first = message(), message(cid="c1")
        await store.append([before, first])
        await self.settle(store)
        after = message()
        answers = await store.append([message(cid="c1"), after])
        self.assertEqual(answers, [kept(first, 2, True), kept(after, 3)])

    async def test_a_repeat_within_a_batch_is_answered_with_the_first(self) -> None:
        store = await self.make_store()
        first, again, after = message(cid="c1"), message(cid="c1"), message()
        answers = await store.append([first, again, after])
        self.assertEqual(answers, [kept(first, 1), kept(first, 1, True), kept(after, 2)])

    async def test_a_repeat_of_what_is_not_answered_yet_is_answered_with_the_first(self) -> None:
        store = await self.make_store()
        first = message(cid="c1")
        answers = await gatherResults([store.append([first]), store.append([message(cid="c1")])])
        self.assertEqual(answers, [[kept(first, 1)], [kept(first, 1, True)]])

    async def test_a_repeat_is_not_kept(self) -> None:
        store = await self.make_store()
        first, other = message(cid="c1"), message()
        await store.append([first])
        await self.settle(store)
        await store.append([message(cid="c1"), message(cid="c1")])
        await store.append([other])
        await self.settle(store)
        self.assertEqual((await store.read("ben", 0, 10)).entries, [Entry(1, first), Entry(2, other)])
        self.assertEqual((await store.history("ann", "ben", before=None, limit=10)).messages, (first, other))

    async def test_a_repeat_to_somebody_else_is_a_repeat_all_the_same(self) -> None:
        store = await self.make_store()
        first = message("ann", "ben", cid="c1")
        await store.append([first])
        self.assertEqual(await store.append([message("ann", "cem", cid="c1")]), [kept(first, 1, True)])
        await self.settle(store)
        self.assertEqual(await store.append([message("ann", "cem", cid="c1")]), [kept(first, 1, True)])
        self.assertEqual((await store.read("cem", 0, 10)).entries, [])
        self.assertEqual(await store.conversations("cem", 10), [])

    async def test_the_same_cid_of_two_senders_is_no_repeat(self) -> None:
        store = await self.make_store()
        answers = await store.append([message("ann", cid="c1"), message("cem", cid="c1")])
        self.assertEqual([answer.repeat for answer in answers], [False, False])

    async def test_the_same_message_without_a_cid_is_no_repeat(self) -> None:
        store = await self.make_store()
        one = message()
        two = message(msg=one.msg)
        self.assertEqual(await store.append([one, two]), [kept(one, 1), kept(two, 2)])

    async def test_sender_and_cid_are_not_run_together(self) -> None:
        store = await self.make_store()
        pairs = [("a", "b:c"), ("a:b", "c"), ("a", "b\0c"), ("a\0b", "c"), ("a", "b c"), ("a b", "c"), ("ab", "c")]
        answers = await store.append([message(sender, cid=cid) for sender, cid in pairs])
        await self.settle(store)
        self.assertEqual([answer.repeat for answer in answers], [False] * len(pairs))
        again = await store.append([message(sender, cid=cid) for sender, cid in pairs])
        self.assertEqual([answer.message for answer in again], [answer.message for answer in answers])

    async def test_cids_differ_by_every_character(self) -> None:
        store = await self.make_store()
        cids = ["x", "X", "x ", " x", "é", "e\N{COMBINING ACUTE ACCENT}", "1", "01", "1.0", "x" * 64, "x" * 63]
        for cid in cids:
            (answer,) = await store.append([message(cid=cid)])
            await self.settle(store)
            self.assertFalse(answer.repeat, cid)
        again = await store.append([message(cid=cid) for cid in cids])
        self.assertEqual([answer.repeat for answer in again], [True] * len(cids))

    async def test_a_large_first_message_is_not_read_for_its_repeats(self) -> None:
        """A repeat of a few bytes would make the store read a megabyte: it has what it came with."""
        store = await self.make_store()
        for user in ("ann", "ben", "cem"):
            await store.join("#r", user, 10)
        large = Raw(b'"%b"' % (b"x" * 1_000_000))
        firsts = [
            message(cid="text", msg=large, uId="ann", pId="ben"),
            message("7", "8", cid="binary", msg=Raw(b'{"_placeholder":true,"num":0}'), attachments=(bytes(100_000),)),
            message("7", "8", cid="numbers", msg=large, uId=7, pId=8),
            message("ann", "#r", cid="room", msg=large),
        ]
        first = await store.append(firsts)
        for _ in range(2):
            repeats = [message(one.sender, "dan", cid=one.cid, attachments=(b"a",)) for one in firsts]
            again = await store.append([*repeats, *repeats])
            expected = [
                Stored(replace(one.message, msg=repeat.msg, attachments=(b"a",)), one.places, True, whole=False)
                for one, repeat in zip(first, repeats, strict=True)
            ]
            self.assertEqual(again, expected * 2)
            await self.settle(store)
        self.assertEqual((await store.history("7", "8", before=None, limit=1)).messages, (first[2].message,))
        self.assertEqual((await store.history("dan", "ann", before=None, limit=1)).messages, ())

    async def test_a_small_first_message_is_told_whole(self) -> None:
        store = await self.make_store()
        first = message(
            cid="c", msg=Raw(b'[%b,{"_placeholder":true,"num":0}]' % (b"1," * 200 + b"1")), attachments=(b"x",)
        )
        await store.append([first])
        for _ in range(2):
            self.assertEqual(await store.append([message(cid="c")]), [kept(first, 1, True)])
            await self.settle(store)

    async def test_a_repeat_of_a_message_to_a_room_has_its_places(self) -> None:
        store = await self.make_store()
        for user in ("ann", "ben", "cem"):
            await store.join("#r", user, 10)
        (first,) = await store.append([message("ann", "#r", cid="c1")])
        await self.settle(store)
        await store.leave("#r", "ann")
        (again,) = await store.append([message("ann", "#r", cid="c1")])
        self.assertEqual(again, Stored(first.message, first.places, True))
        self.assertEqual(sorted(again.places), [("ben", 1), ("cem", 1)])


class InboxContract(Contract):
    """Inboxes, and what is noted beside them."""

    async def test_an_inbox_is_read_in_pages_from_any_offset(self) -> None:
        store = await self.make_store()
        all_ = entries(await store.append(to(*["ben"] * 5)))
        await self.settle(store)
        all_ += entries(await store.append(to(*["ben"] * 5)))
        for after in range(11):
            for limit in (1, 3, 10, 100):
                page = (await store.read("ben", after, limit)).entries
                self.assertEqual(page, all_[after : after + limit], (after, limit))

    async def test_beyond_the_end_there_is_nothing(self) -> None:
        store = await self.make_store()
        await store.append(to("ben"))
        await self.settle(store)
        self.assertEqual((await store.read("ben", 1, 10)).entries, [])
        self.assertEqual((await store.read("ben", 2**40, 10)).entries, [])

    async def test_a_page_says_how_far_the_inbox_goes(self) -> None:
        store = await self.make_store()
        await store.append(to("ben", "cem", "ben"))
        for settled in (False, True):
            if settled:
                await self.settle(store)
            for after, limit, count in ((0, 10, 2), (0, 1, 1), (1, 10, 1), (2, 10, 0), (2**40, 10, 0)):
                page = await store.read("ben", after, limit)
                self.assertEqual((len(page.entries), page.first, page.last), (count, 1, 2), (after, limit))
                self.assertGreaterEqual(page.ceiling, 2)
        await store.append(to("ben"))
        self.assertEqual((await store.read("ben", 2, 10)).last, 3)
        nothing = await store.read("nobody", 0, 10)
        self.assertEqual((list(nothing.entries), nothing.first, nothing.last), ([], 1, 0))

    async def test_an_offset_that_no_store_gave_changes_nothing(self) -> None:
        store = await self.make_store()
        answers = await store.append(to("ben"))
        for offset in (2, 2**31, 2**40, 2**63 - 1, 2**70):
            store.is_outdated(offset)
        self.assertEqual((await store.read("ben", 0, 10)).entries, entries(answers))
        self.assertEqual(offsets(await store.append(to("ben"))), [2])

    async def test_an_inbox_that_nobody_wrote_to_is_empty(self) -> None:
        store = await self.make_store()
        await store.append(to("ben"))
        self.assertEqual((await store.read("ann", 0, 10)).entries, [])
        self.assertEqual(await store.inbox("ann"), InboxState())
        self.assertEqual(await store.inbox("nobody"), InboxState())

    async def test_an_inbox_knows_its_ends(self) -> None:
        store = await self.make_store()
        await store.append(to("ben", "ben"))
        self.assertEqual(await store.inbox("ben"), InboxState(0, 1, 2))
        await self.settle(store)
        await store.append(to("ben"))
        self.assertEqual(await store.inbox("ben"), InboxState(0, 1, 3))

    async def test_a_cursor_only_rises(self) -> None:
        store = await self.make_store()
        await store.append(to(*["ben"] * 5))
        for cursor, expected in ((2, 2), (1, 2), (5, 5), (0, 5)):
            await store.save_progress(Progress({"ben": cursor}, {}))
            self.assertEqual((await store.inbox("ben")).cursor, expected)

    async def test_a_cursor_beyond_the_end_counts_as_the_end(self) -> None:
        store = await self.make_store()
        await store.append(to("ben", "ben"))
        await store.save_progress(Progress({"ben": 100, "nobody": 7}, {}))
        await store.append(to("ben"))
        self.assertEqual(await store.inbox("ben"), InboxState(2, 1, 3))
        self.assertEqual(await store.inbox("nobody"), InboxState())

    async def test_who_was_seen_is_known_and_nobody_else(self) -> None:
        store = await self.make_store()
        await store.append(to("ben"))
        await store.save_progress(Progress({}, {"ben": 1000, "cem": 2**41}))
        await store.save_progress(Progress({"ben": 1}, {"ben": 2000}))
        self.assertEqual(await store.last_seen(["ann", "cem", "ben", "nobody"]), {"ben": 2000, "cem": 2**41})
        self.assertEqual(await store.last_seen([]), {})

    async def test_who_was_seen_later_was_not_seen_earlier(self) -> None:
        # Two daemons lose a user's sockets at once, and what they note comes in any order.
        store = await self.make_store()
        await store.append(to("ben"))
        for time in (2**41, 2**41 - 5, 7):
            await store.save_progress(Progress({}, {"ben": time, "nobody": time}))
        self.assertEqual(await store.last_seen(["ben", "nobody"]), {"ben": 2**41, "nobody": 2**41})

    async def test_many_may_be_asked_for_at_once(self) -> None:
        store = await self.make_store()
        seen = {f"user {n}": n for n in range(1200)}
        await store.save_progress(Progress({}, seen))
        self.assertEqual(await store.last_seen(list(seen)), seen)


class PageContract(Contract):
    """Pages are cut by bytes where they are read."""

    #: More of these than two do not fit into one page.
    LARGE = PAGE_BYTES * 2 // 5

    async def make_large(self) -> tuple[IStore, list[Message]]:
        """A store with messages of Ann to Ben: large ones, one that is larger than a page, with binary, small ones."""
        store = await self.make_store()
        large = Raw(b'"%b"' % (b"x" * self.LARGE))
        batch = [message(msg=large) for _ in range(5)]
        batch += [message(msg=Raw(b'"%b"' % (b"y" * (PAGE_BYTES + 1)))), message()]
        placeholder = Raw(b'{"_placeholder":true,"num":0}')
        batch += [message(msg=placeholder, attachments=(bytes(self.LARGE),)) for _ in range(3)]
        batch += to("ben", "ben")
        half = len(batch) // 2
        answers = [*await store.append(batch[:half]), *await store.append(batch[half:])]
        await self.settle(store)
        return store, [answer.message for answer in answers]

    def assertWithinPage(self, page: list[Message]) -> None:
        self.assertTrue(len(page) == 1 or sum(one.size for one in page) <= PAGE_BYTES, [one.size for one in page])

    async def test_a_page_of_an_inbox_has_so_many_bytes_or_one_message(self) -> None:
        store, written = await self.make_large()
        found: list[Message] = []
        pages = 0
        while page := [entry.message for entry in (await store.read("ben", len(found), 100)).entries]:
            self.assertWithinPage(page)
            found += page
            pages += 1
        self.assertEqual(found, written)
        self.assertEqual(pages, 6)

    async def test_a_page_of_a_conversation_has_so_many_bytes_or_one_message(self) -> None:
        store, written = await self.make_large()
        found: list[Message] = []
        more = True
        while more:
            page = await store.history("ben", "ann", before=found[0].mid if found else None, limit=100)
            self.assertWithinPage(list(page.messages))
            found[:0] = page.messages
            more = page.more
        self.assertEqual(found, written)


class ListContract(Contract):
    """What a list of conversations shows of messages that are large, or have binary."""

    async def listed(self, *batch: Message) -> list[tuple[str, object, bool]]:
        """With whom Ann's conversations are, what is shown of the newest message, and whether it is cut."""
        store = await self.make_store()
        answers = await store.append(batch)
        found: list[list[Conversation]] = []
        for _ in range(2):
            found.append(await store.conversations("ann", 100))
            await self.settle(store)
        self.assertEqual(found[0], found[1])
        sent = {answer.message.recipient: answer.message for answer in answers}
        for one in found[0]:
            shown = replace(sent[one.peer], msg=one.last.msg, attachments=())
            self.assertEqual(one.last, shown, "all else is the message's")
            self.assertLessEqual(len(one.last.msg), MAX_LINE)
        return [(one.peer, bytes(one.last.msg), one.cut) for one in found[0]]

    async def test_a_short_message_is_shown_whole(self) -> None:
        just = b'"%b"' % (b"x" * (MAX_LINE - 2))
        self.assertEqual(
            await self.listed(message(msg=Raw(b'{ "a" : 1 }')), message("ann", "cem", msg=Raw(just))),
            [("cem", just, False), ("ben", b'{ "a" : 1 }', False)],
        )

    async def test_of_a_long_string_its_beginning_is_shown(self) -> None:
        long = message(msg=Raw(b'"%b"' % (b"x" * (MAX_LINE - 1))), cid="c")
        huge = message("ann", "cem", msg=Raw(b'"%b"' % (b"x" * 1_000_000)))
        shown = b'"%b"' % (b"x" * (MAX_LINE - 2))
        self.assertEqual(await self.listed(long, huge), [("cem", shown, True), ("ben", shown, True)])

    async def test_of_another_long_value_nothing_is_shown(self) -> None:
        self.assertEqual(await self.listed(message(msg=Raw(b"[%b0]" % (b"0," * MAX_LINE)))), [("ben", b"null", True)])

    async def test_binary_is_null(self) -> None:
        placeholder = b'{"_placeholder":true,"num":0}'
        small = message(msg=Raw(b'{"a":[%b],"b":1}' % placeholder), attachments=(bytes(100_000),))
        long = message(
            "ann", "cem", msg=Raw(b'{"a":%b,"b":"%b"}' % (placeholder, b"x" * MAX_LINE)), attachments=(b"x",)
        )
        self.assertEqual(await self.listed(small, long), [("cem", b"null", True), ("ben", b'{"a":[null],"b":1}', True)])

    async def test_its_sender_is_called_as_in_the_message(self) -> None:
        long = message("ann", "cem", msg=Raw(b'"%b"' % (b"x" * 100_000)), cid="c", name="Ann", uId="ann")
        listed = await self.listed(message(msg=Raw(b"1"), name="Ann Ω"), long)
        self.assertEqual([(peer, cut) for peer, _, cut in listed], [("cem", True), ("ben", False)])

    async def test_a_message_to_a_room_is_shown_likewise(self) -> None:
        store = await self.make_store()
        await store.join("#r", "ann", 10)
        await store.append([message("ann", "#r", msg=Raw(b'"%b"' % (b"x" * MAX_LINE)))])
        await self.settle(store)
        (one,) = await store.conversations("ann", 10)
        self.assertEqual((bytes(one.last.msg), one.cut), (b'"%b"' % (b"x" * (MAX_LINE - 2)), True))

    async def test_the_newest_message_is_the_one_that_is_shown(self) -> None:
        store = await self.make_store()
        large = message(msg=Raw(b'"%b"' % (b"x" * MAX_LINE)))
        for one, cut in ((large, True), (message(), False), (message(msg=large.msg), True), (message(), False)):
            (answer,) = await store.append([one])
            for _ in range(2):
                (listed,) = await store.conversations("ann", 10)
                self.assertEqual((listed.last.mid, listed.cut), (answer.message.mid, cut))
                await self.settle(store)


class ConversationContract(Contract):
    """History, conversations, and what is read."""

    async def test_history_goes_back_in_pages(self) -> None:
        store = await self.make_store()
        both = [message("ann", "ben") if n % 3 else message("ben", "ann") for n in range(10)]
        await store.append(both[:5])
        await self.settle(store)
        await store.append(both[5:])
        await store.append([message("ann", "cem"), message("cem", "ben")])
        for user, peer in (("ann", "ben"), ("ben", "ann")):
            self.assertEqual(await store.history(user, peer, before=None, limit=10), Page(tuple(both), False))
            self.assertEqual(await store.history(user, peer, before=None, limit=9), Page(tuple(both[1:]), True))
            for index in range(10):
                for limit in (1, 4, 10):
                    page = await store.history(user, peer, before=both[index].mid, limit=limit)
                    start = max(index - limit, 0)
                    self.assertEqual(page, Page(tuple(both[start:index]), start > 0), (index, limit))

    async def test_a_page_tells_how_far_the_peer_has_got_and_read_it(self) -> None:
        store = await self.make_store()
        said = [message("ann", "ben"), message("ben", "ann"), message("ann", "ben"), message("ann", "ben")]
        await store.append(said)
        await store.append([message("ann", "ann")])
        await self.settle(store)

        async def reached(user: str, peer: str, before: str | None = None) -> tuple[str, str]:
            page = await store.history(user, peer, before=before, limit=10)
            return page.read, page.delivered

        self.assertEqual(await reached("ann", "ben"), ("", ""))
        await store.save_progress(Progress({"ben": 2}, {}))
        self.assertEqual(await reached("ann", "ben"), ("", said[2].mid))
        self.assertEqual(await reached("ann", "ben", said[2].mid), ("", said[0].mid))
        await store.mark_read("ben", "ann", said[0].mid)
        self.assertEqual(await reached("ann", "ben"), (said[0].mid, said[2].mid))
        await store.save_progress(Progress({"ben": 3}, {}))
        await store.mark_read("ben", "ann", said[3].mid)
        self.assertEqual(await reached("ann", "ben"), (said[3].mid, said[3].mid))
        self.assertEqual(await reached("ann", "ben", said[3].mid), (said[2].mid, said[2].mid))
        # What the user has read itself is nothing to tell it.
        self.assertEqual(await reached("ben", "ann"), ("", ""))
        self.assertEqual(await reached("ann", "ann"), ("", ""))

    async def test_there_is_no_history_of_those_who_never_wrote(self) -> None:
        store = await self.make_store()
        await store.append(to("ben"))
        self.assertEqual(await store.history("ann", "cem", before=None, limit=10), Page((), False))
        self.assertEqual(await store.history("cem", "dan", before=None, limit=10), Page((), False))

    async def test_before_may_be_any_mid(self) -> None:
        store = await self.make_store()
        (answer,) = await store.append(to("ben"))
        self.assertEqual(await store.history("ann", "ben", before=mid(2**62), limit=10), Page((answer.message,), False))
        for before in (mid(0), "f" * 24, "", "no mid"):
            self.assertEqual(await store.history("ann", "ben", before=before, limit=10), Page((), False), before)

    async def test_conversations_come_newest_first(self) -> None:
        store = await self.make_store()
        first, second = message("ann", "ben"), message("cem", "ann")
        await store.append([first, second])
        await self.settle(store)
        third = message("ben", "ann")
        await store.append([third, message("ben", "cem")])
        listed = [(one.peer, one.last, one.unread) for one in await store.conversations("ann", 10)]
        self.assertEqual(listed, [("ben", third, 1), ("cem", second, 1)])
        self.assertEqual([one.peer for one in await store.conversations("ann", 1)], ["ben"])
        self.assertEqual(await store.conversations("nobody", 10), [])

    async def test_a_conversation_with_oneself_is_never_unread(self) -> None:
        store = await self.make_store()
        one = message("ann", "ann")
        await store.append([one])
        for _ in range(2):
            (note,) = await store.conversations("ann", 10)
            self.assertEqual((note.peer, note.last, note.unread), ("ann", one, 0))
            self.assertFalse(await store.mark_read("ann", "ann", one.mid))
            await self.settle(store)

    async def test_what_others_wrote_is_unread_until_it_is_marked(self) -> None:
        store = await self.make_store()
        batch = [message(*names) for names in (("ben", "ann"), ("ann", "ben"), *[("ben", "ann")] * 2, ("ann", "ben"))]
        batch.append(message("ben", "ann"))
        theirs = [one for one in batch if one.sender == "ben"]
        await store.append(batch[:3])
        await self.settle(store)
        await store.append(batch[3:])
        self.assertEqual(await self.unread(store, "ann"), {"ben": 4})
        self.assertEqual(await self.unread(store, "ben"), {"ann": 2})
        for one, left, fresh in ((1, 2, True), (0, 2, False), (1, 2, False), (2, 1, True), (3, 0, True)):
            self.assertEqual(await store.mark_read("ann", "ben", theirs[one].mid), fresh)
            self.assertEqual(await self.unread(store, "ann"), {"ben": left})
            await self.settle(store)
            self.assertEqual(await self.unread(store, "ann"), {"ben": left})
        self.assertEqual(await self.unread(store, "ben"), {"ann": 2})
        await store.append([message("ben", "ann")])
        self.assertEqual(await self.unread(store, "ann"), {"ben": 1})

    async def test_to_mark_one_s_own_messages_is_no_news(self) -> None:
        store = await self.make_store()
        own = message("ann", "ben")
        await store.append([own])
        self.assertFalse(await store.mark_read("ann", "ben", own.mid))
        await store.append([message("ben", "ann")])
        self.assertEqual(await self.unread(store, "ann"), {"ben": 1})

    async def test_what_is_not_written_yet_can_not_be_read(self) -> None:
        store = await self.make_store()
        await store.append([message("ben", "ann")])
        self.assertTrue(await store.mark_read("ann", "ben", mid(2**62)))
        await self.settle(store)
        await store.append([message("ben", "ann")])
        self.assertEqual(await self.unread(store, "ann"), {"ben": 1})

    async def test_marking_what_is_not_there_does_nothing(self) -> None:
        store = await self.make_store()
        (answer,) = await store.append([message("ben", "ann")])
        for user, peer, which in (
            ("ann", "ben", "no mid"),
            ("ann", "ben", "f" * 24),
            ("ann", "cem", answer.message.mid),
            ("cem", "dan", answer.message.mid),
            ("ann", "#r", answer.message.mid),
        ):
            self.assertFalse(await store.mark_read(user, peer, which))
        self.assertEqual(await self.unread(store, "ann"), {"ben": 1})

    async def test_unread_messages_are_counted_up_to_a_bound(self) -> None:
        store = await self.make_store()
        await store.join("#r", "ann", 10)
        await store.join("#r", "ben", 10)
        for number in (MAX_UNREAD - 1, 1, 1):
            for peer in ("ann", "#r"):
                await store.append([message("ben", peer) for _ in range(number)])
            await self.settle(store)
            listed = await self.unread(store, "ann")
            expected = MAX_UNREAD - 1 if number > 1 else MAX_UNREAD
            self.assertEqual(listed, {"ben": expected, "#r": expected})

    async def unread(self, store: IStore, user: str) -> dict[str, int]:
        """Unread messages by peer."""
        return {one.peer: one.unread for one in await store.conversations(user, 100)}


class RoomContract(Contract):
    """Rooms."""

    async def test_a_message_to_a_room_goes_to_each_member_but_the_sender(self) -> None:
        store = await self.make_store()
        for user in ("ann", "ben", "cem"):
            self.assertTrue(await store.join("#r", user, 10))
        await store.append(to("cem"))
        one = message("ann", "#r")
        (answer,) = await store.append([one])
        self.assertEqual((answer.message, sorted(answer.places)), (one, [("ben", 1), ("cem", 2)]))
        await self.settle(store)
        self.assertEqual((await store.read("ben", 0, 10)).entries, [Entry(1, one)])
        self.assertEqual((await store.read("cem", 1, 10)).entries, [Entry(2, one)])
        self.assertEqual((await store.read("ann", 0, 10)).entries, [])

    async def test_who_is_no_member_is_refused_and_the_others_of_the_batch_are_not(self) -> None:
        store = await self.make_store()
        await store.join("#r", "ann", 10)
        await store.join("#r", "ben", 10)
        before, stranger, nowhere, after = message("ann", "#r"), message("cem", "#r"), message("ann", "#s"), message()
        answers = await store.append([before, stranger, nowhere, after])
        self.assertEqual(
            answers,
            [
                Stored(before, (("ben", 1),)),
                Stored(stranger, (), False, Error.NOT_ALLOWED),
                Stored(nowhere, (), False, Error.NOT_ALLOWED),
                Stored(after, (("ben", 2),)),
            ],
        )
        await self.settle(store)
        self.assertEqual((await store.history("ann", "#r", before=None, limit=10)).messages, (before,))

    async def test_a_refused_message_is_no_first_of_a_repeat(self) -> None:
        store = await self.make_store()
        await store.append([message("ann", "#r", cid="c1")])
        await store.join("#r", "ann", 10)
        (answer,) = await store.append([message("ann", "#r", cid="c1")])
        self.assertEqual((answer.repeat, answer.refused), (False, None))

    async def test_a_room_with_one_member_is_written_to_all_the_same(self) -> None:
        store = await self.make_store()
        await store.join("#r", "ann", 10)
        one = message("ann", "#r")
        self.assertEqual(await store.append([one]), [Stored(one)])
        await self.settle(store)
        self.assertEqual((await store.history("ann", "#r", before=None, limit=10)).messages, (one,))

    async def test_joining_and_leaving_tell_whether_anything_changed(self) -> None:
        store = await self.make_store()
        self.assertFalse(await store.leave("#r", "ann"))
        self.assertTrue(await store.join("#r", "ann", 10))
        self.assertFalse(await store.join("#r", "ann", 10))
        self.assertTrue(await store.leave("#r", "ann"))
        self.assertFalse(await store.leave("#r", "ann"))
        self.assertTrue(await store.join("#r", "ann", 10))

    async def test_a_full_room_takes_nobody_and_still_knows_its_members(self) -> None:
        store = await self.make_store()
        await store.join("#r", "ann", 2)
        await store.join("#r", "ben", 2)
        with self.assertRaises(RoomFull):
            await store.join("#r", "cem", 2)
        self.assertFalse(await store.join("#r", "ann", 2))
        (answer,) = await store.append([message("ann", "#r")])
        self.assertEqual(answer.places, (("ben", 1),))
        await store.leave("#r", "ben")
        self.assertTrue(await store.join("#r", "cem", 2))

    async def test_a_user_is_in_so_many_rooms_at_the_most(self) -> None:
        store = await self.make_store()
        await store.append([message("ann", "ben"), message("cem", "ann")])
        for room in ("#r", "#s"):
            self.assertTrue(await store.join(room, "ann", 10, most_rooms=2))
            self.assertFalse(await store.join(room, "ann", 10, most_rooms=2))
        with self.assertRaises(TooManyRooms):
            await store.join("#t", "ann", 10, most_rooms=2)
        await self.settle(store)
        self.assertFalse(await store.join("#r", "ann", 10, most_rooms=2), "a member stays one")
        with self.assertRaises(TooManyRooms):
            await store.join("#t", "ann", 10, most_rooms=1)
        self.assertEqual(await store.members("#t"), [])
        self.assertTrue(await store.join("#t", "ben", 10, most_rooms=2), "others have their own")
        self.assertFalse(await store.leave("#t", "ann"))
        self.assertTrue(await store.leave("#r", "ann"))
        self.assertFalse(await store.leave("#r", "ann"))
        self.assertTrue(await store.join("#t", "ann", 10, most_rooms=2))
        with self.assertRaises(TooManyRooms):
            await store.join("#r", "ann", 10, most_rooms=2)
        self.assertTrue(await store.join("#r", "ann", 10, most_rooms=3))

    async def test_who_left_gets_nothing_more_and_keeps_what_came(self) -> None:
        store = await self.make_store()
        for user in ("ann", "ben"):
            await store.join("#r", user, 10)
        first = message("ann", "#r")
        await store.append([first])
        await store.leave("#r", "ben")
        (second,) = await store.append([message("ann", "#r")])
        await self.settle(store)
        self.assertEqual(second.places, ())
        self.assertEqual((await store.read("ben", 0, 10)).entries, [Entry(1, first)])
        self.assertEqual(await store.history("ben", "#r", before=None, limit=10), Page((), False))
        self.assertEqual(await store.conversations("ben", 10), [])
        self.assertFalse(await store.mark_read("ben", "#r", second.message.mid))

    async def test_joins_and_messages_are_done_in_the_order_they_were_asked_for(self) -> None:
        store = await self.make_store()
        asked: list[Deferred[Any]] = [
            store.append([message("ann", "#r")]),
            store.join("#r", "ann", 10),
            store.append([message("ann", "#r")]),
            store.join("#r", "ben", 10),
            store.append([message("ann", "#r")]),
            store.leave("#r", "ann"),
            store.append([message("ann", "#r")]),
        ]
        results: list[Any] = await gatherResults(asked)
        refused = [results[index][0].refused for index in (0, 2, 4, 6)]
        self.assertEqual(refused, [Error.NOT_ALLOWED, None, None, Error.NOT_ALLOWED])
        self.assertEqual([results[index][0].places for index in (2, 4)], [(), (("ben", 1),)])

    async def test_a_room_is_among_the_conversations_of_its_members(self) -> None:
        store = await self.make_store()
        await store.join("#r", "ann", 10)
        self.assertEqual(await store.conversations("ann", 10), [])
        await store.join("#r", "ben", 10)
        first, second = message("ben", "#r"), message("ann", "#r")
        await store.append([first])
        await self.settle(store)
        await store.append([second])
        for user, unread in (("ann", 1), ("ben", 1)):
            (one,) = await store.conversations(user, 10)
            self.assertEqual((one.peer, one.last, one.unread), ("#r", second, unread))
        self.assertTrue(await store.mark_read("ann", "#r", second.mid))
        self.assertFalse(await store.mark_read("ann", "#r", second.mid))
        (one,) = await store.conversations("ann", 10)
        self.assertEqual(one.unread, 0)

    async def test_what_was_written_before_joining_counts_as_read(self) -> None:
        store = await self.make_store()
        await store.join("#r", "ben", 10)
        first = message("ben", "#r")
        await store.append([first])
        await self.settle(store)
        await store.append([message("ben", "#r")])
        await store.join("#r", "ann", 10)
        (one,) = await store.conversations("ann", 10)
        self.assertEqual(one.unread, 0)
        self.assertEqual(len((await store.history("ann", "#r", before=None, limit=10)).messages), 2)
        await store.append([message("ben", "#r")])
        (one,) = await store.conversations("ann", 10)
        self.assertEqual(one.unread, 1)

    async def test_a_name_without_its_sign_is_another(self) -> None:
        store = await self.make_store()
        await store.join("#r", "ann", 10)
        one, two = message("ann", "#r"), message("ann", "r")
        await store.append([one, two])
        self.assertEqual((await store.history("ann", "#r", before=None, limit=10)).messages, (one,))
        self.assertEqual((await store.history("ann", "r", before=None, limit=10)).messages, (two,))


class RevocationContract(Contract):
    """Revoked tokens."""

    async def kept(self, store: IStore, after: int = 0, limit: int = 100) -> list[Revocation]:
        """What is kept, in its order."""
        found = await store.revocations(after, limit)
        self.assertEqual([one.number for one in found], sorted({one.number for one in found}))
        return [one.revocation for one in found]

    async def test_revocations_are_kept_as_they_were_given_in_their_order(self) -> None:
        store = await self.make_store()
        self.assertEqual(await self.kept(store), [])
        given = [
            Revocation("uann"),
            Revocation("tan id", 0, 1_800_000_000_000),
            Revocation("i", 1_700_000_000_001, FOREVER),
            Revocation("i\U0001f600 \t#\x00'%", 1_700_000_000_002, FOREVER),
        ]
        for one in given:
            await store.revoke(one, now=0, most=10)
        self.assertEqual(await self.kept(store), given)

    async def test_they_are_read_in_pages_after_a_number(self) -> None:
        store = await self.make_store()
        given = [Revocation(f"u{number}") for number in range(7)]
        for one in given:
            await store.revoke(one, now=0, most=10)
        found: list[Revocation] = []
        after = 0
        while page := await store.revocations(after, 3):
            self.assertLessEqual(len(page), 3)
            found += [one.revocation for one in page]
            after = page[-1].number
        self.assertEqual(found, given)
        await store.revoke(Revocation("u7"), now=0, most=10)
        self.assertEqual(await self.kept(store, after), [Revocation("u7")])

    async def test_a_change_comes_after_all_others_and_revoking_less_lifts_nothing(self) -> None:
        store = await self.make_store()
        await store.revoke(Revocation("i", 5000, 9000), now=0, most=10)
        await store.revoke(Revocation("uann"), now=0, most=10)
        (_, last) = await store.revocations(0, 10)
        await store.revoke(Revocation("i", 4000, 9500), now=0, most=10)
        self.assertEqual(await self.kept(store, last.number), [Revocation("i", 5000, 9500)])
        self.assertEqual(await self.kept(store), [Revocation("uann"), Revocation("i", 5000, 9500)])

    async def test_one_that_is_lifted_says_so_and_may_be_revoked_again(self) -> None:
        store = await self.make_store()
        await store.revoke(Revocation("i", 5000, FOREVER), now=0, most=10)
        await store.revoke(Revocation("i", 0, 9000, True), now=0, most=10)
        self.assertEqual(await self.kept(store), [Revocation("i", 0, 9000, True)])
        await store.revoke(Revocation("i", 10, 20), now=0, most=10)
        self.assertEqual(await self.kept(store), [Revocation("i", 10, 20)])

    async def test_what_is_kept_no_longer_is_deleted_when_another_is_kept(self) -> None:
        store = await self.make_store()
        for number in range(4):
            await store.revoke(Revocation(f"t{number}", 0, 1000 + number), now=0, most=10)
        await store.revoke(Revocation("uann"), now=1001, most=10)
        self.assertEqual(
            await self.kept(store), [Revocation("t2", 0, 1002), Revocation("t3", 0, 1003), Revocation("uann")]
        )

    async def test_beyond_the_bound_another_one_is_refused_and_a_change_is_not(self) -> None:
        store = await self.make_store()
        for user in ("ann", "ben"):
            await store.revoke(Revocation(f"u{user}", 0, 2000), now=0, most=2)
        with self.assertRaises(RevocationsFull):
            await store.revoke(Revocation("ucem"), now=1000, most=2)
        await store.revoke(Revocation("uann", 0, 3000), now=1000, most=2)
        self.assertEqual(await self.kept(store), [Revocation("uben", 0, 2000), Revocation("uann", 0, 3000)])
        await store.revoke(Revocation("ucem"), now=2000, most=2)
        self.assertEqual(await self.kept(store), [Revocation("uann", 0, 3000), Revocation("ucem")])


class BlockContract(Contract):
    """Users who do not want each other's messages."""

    async def test_a_list_is_changed_and_says_whether_it_was(self) -> None:
        store = await self.make_store()
        self.assertEqual(await store.blocked("ann"), [])
        self.assertFalse(await store.unblock("ann", "ben"))
        self.assertTrue(await store.block("ann", "ben", 10))
        self.assertFalse(await store.block("ann", "ben", 10))
        self.assertTrue(await store.block("ann", "cem", 10))
        self.assertEqual(sorted(await store.blocked("ann")), ["ben", "cem"])
        self.assertEqual(await store.blocked("ben"), [])
        self.assertTrue(await store.unblock("ann", "ben"))
        self.assertFalse(await store.unblock("ann", "ben"))
        self.assertEqual(await store.blocked("ann"), ["cem"])

    async def test_a_full_list_takes_nobody_else(self) -> None:
        store = await self.make_store()
        for user in ("ben", "cem"):
            await store.block("ann", user, 2)
        with self.assertRaises(BlockListFull):
            await store.block("ann", "dan", 2)
        self.assertFalse(await store.block("ann", "ben", 2))
        self.assertTrue(await store.block("ben", "dan", 2))
        await store.unblock("ann", "ben")
        self.assertTrue(await store.block("ann", "dan", 2))

    async def test_who_blocks_whom_among_some(self) -> None:
        store = await self.make_store()
        self.assertEqual(await store.blocks("ann", ["ben", "nobody"]), Blocks())
        for user, peer in (("ann", "ben"), ("cem", "ann"), ("dan", "ann"), ("ann", "dan"), ("ben", "cem")):
            await store.block(user, peer, 10)
        everybody = ["ben", "cem", "dan", "eve", "ann"]
        found = await store.blocks("ann", everybody)
        self.assertEqual(found, Blocks(frozenset({"ben", "dan"}), frozenset({"cem", "dan"})))
        self.assertEqual(await store.blocks("ann", ["cem"]), Blocks(frozenset(), frozenset({"cem"})))
        self.assertEqual(await store.blocks("ann", []), Blocks())
        self.assertEqual(await store.blocks("eve", everybody), Blocks())
        many = [f"user {number}" for number in range(1200)]
        await store.block("user 1199", "ann", 10)
        self.assertEqual((await store.blocks("ann", many)).blockers, frozenset({"user 1199"}))

    async def test_a_message_to_who_blocks_its_sender_is_refused_and_the_others_of_its_batch_are_not(self) -> None:
        store = await self.make_store()
        await store.append([message("ann", "ben")])
        await self.settle(store)
        await store.block("ben", "ann", 10)
        batch = [message("ann", "ben"), message("ann", "cem"), message("ben", "ann"), message("cem", "ben")]
        answers = await store.append(batch)
        self.assertEqual([one.refused for one in answers], [Error.NOT_ALLOWED, None, None, None])
        self.assertEqual([one.places for one in answers], [(), (("cem", 1),), (("ann", 1),), (("ben", 2),)])
        self.assertEqual(answers[0].message, batch[0])
        await self.settle(store)
        self.assertEqual(len((await store.read("ben", 0, 10)).entries), 2)
        self.assertEqual(len((await store.history("ann", "ben", before=None, limit=10)).messages), 2)
        await store.unblock("ben", "ann")
        (again,) = await store.append([message("ann", "ben")])
        self.assertEqual(again.places, (("ben", 3),))

    async def test_one_who_never_wrote_before_is_blocked_too_and_appears_nowhere(self) -> None:
        store = await self.make_store()
        await store.block("ben", "ann", 10)
        (answer,) = await store.append([message("ann", "ben")])
        self.assertEqual((answer.refused, answer.places), (Error.NOT_ALLOWED, ()))
        await self.settle(store)
        for user in ("ann", "ben"):
            self.assertEqual(await store.conversations(user, 10), [])
        self.assertEqual(await store.history("ann", "ben", before=None, limit=10), Page((), False))
        self.assertEqual((await store.inbox("ben")).last, 0)

    async def test_a_repeat_of_what_was_kept_before_is_answered_and_one_of_what_was_refused_is_none(self) -> None:
        store = await self.make_store()
        first = message("ann", "ben", cid="c1")
        await store.append([first])
        await self.settle(store)
        await store.block("ben", "ann", 10)
        again, refused, twice = await store.append(
            [message("ann", "ben", cid="c1"), message("ann", "ben", cid="c2"), message("ann", "ben", cid="c2")]
        )
        self.assertEqual(again, kept(first, 1, True))
        self.assertEqual([refused.refused, twice.refused], [Error.NOT_ALLOWED] * 2)
        await store.unblock("ben", "ann")
        last = message("ann", "ben", cid="c2")
        self.assertEqual(await store.append([last]), [kept(last, 2)])

    async def test_messages_to_rooms_are_kept(self) -> None:
        store = await self.make_store()
        for user in ("ann", "ben"):
            await store.join("#r", user, 10)
        await store.block("ben", "ann", 10)
        (answer,) = await store.append([message("ann", "#r")])
        self.assertEqual((answer.refused, answer.places), (None, (("ben", 1),)))

    async def test_blocks_and_messages_are_done_in_the_order_they_were_asked_for(self) -> None:
        store = await self.make_store()
        asked: list[Deferred[Any]] = [
            store.append([message("ann", "ben")]),
            store.block("ben", "ann", 10),
            store.append([message("ann", "ben")]),
            store.unblock("ben", "ann"),
            store.append([message("ann", "ben")]),
        ]
        results: list[Any] = await gatherResults(asked)
        refused = [results[index][0].refused for index in (0, 2, 4)]
        self.assertEqual(refused, [None, Error.NOT_ALLOWED, None])

    async def test_names_are_not_run_together(self) -> None:
        store = await self.make_store()
        pairs = [("a", "b:c"), ("a:b", "c"), ("a", "b\0c"), ("a\0b", "c"), ("ab", "c"), ("a", "bc"), ("1", "01")]
        for user, peer in pairs[::2]:
            await store.block(user, peer, 10)
        answers = await store.append([message(peer, user) for user, peer in pairs])
        self.assertEqual([one.refused is not None for one in answers], [n % 2 == 0 for n in range(len(pairs))])


class SubscriptionContract(Contract):
    """Web Push subscriptions."""

    def subscribed(self, *numbers: int) -> list[PushSubscription]:
        """Some that differ."""
        return [
            PushSubscription(f"https://push.example.org/{number}?a=%20", f"key{number}", "auth") for number in numbers
        ]

    async def test_they_are_kept_as_they_were_given_the_oldest_first(self) -> None:
        store = await self.make_store()
        self.assertEqual(await store.subscriptions("ann"), [])
        given = self.subscribed(2, 1, 3)
        for one in given:
            await store.subscribe("ann", one, 10)
        self.assertEqual(await store.subscriptions("ann"), given)
        self.assertEqual(await store.subscriptions("ben"), [])

    async def test_one_that_is_given_again_is_the_newest_and_has_its_new_keys(self) -> None:
        store = await self.make_store()
        one, two = self.subscribed(1, 2)
        for given in (one, two, PushSubscription(one.endpoint, "other", "secret")):
            await store.subscribe("ann", given, 10)
        self.assertEqual(await store.subscriptions("ann"), [two, PushSubscription(one.endpoint, "other", "secret")])

    async def test_beyond_the_bound_the_oldest_is_forgotten(self) -> None:
        store = await self.make_store()
        given = self.subscribed(*range(5))
        for one in given:
            await store.subscribe("ann", one, 3)
        self.assertEqual(await store.subscriptions("ann"), given[2:])
        # It may be another user's from then on, or the same one's again.
        await store.subscribe("ben", given[0], 3)
        await store.subscribe("ann", given[1], 3)
        self.assertEqual(await store.subscriptions("ann"), [*given[3:], given[1]])
        self.assertEqual(await store.subscriptions("ben"), given[:1])

    async def test_a_browser_that_another_user_uses_is_that_user_s(self) -> None:
        store = await self.make_store()
        one, two = self.subscribed(1, 2)
        await store.subscribe("ann", one, 10)
        await store.subscribe("ann", two, 10)
        await store.subscribe("ben", one, 10)
        self.assertEqual(await store.subscriptions("ann"), [two])
        self.assertEqual(await store.subscriptions("ben"), [one])
        self.assertEqual(await store.unsubscribe("ann", one.endpoint), 0)
        self.assertEqual(await store.subscriptions("ben"), [one])

    async def test_one_or_all_are_forgotten(self) -> None:
        store = await self.make_store()
        given = self.subscribed(1, 2, 3)
        self.assertEqual(await store.unsubscribe("ann", None), 0)
        for one in given:
            await store.subscribe("ann", one, 10)
        await store.subscribe("ben", self.subscribed(4)[0], 10)
        self.assertEqual(await store.unsubscribe("ann", given[1].endpoint), 1)
        self.assertEqual(await store.unsubscribe("ann", given[1].endpoint), 0)
        self.assertEqual(await store.subscriptions("ann"), [given[0], given[2]])
        self.assertEqual(await store.unsubscribe("ann", None), 2)
        self.assertEqual(await store.subscriptions("ann"), [])
        self.assertEqual(await store.subscriptions("ben"), self.subscribed(4))

    async def test_they_are_erased_with_their_user(self) -> None:
        store = await self.make_store()
        given = self.subscribed(1, 2)
        for one in given:
            await store.subscribe("ann", one, 10)
        await store.subscribe("ben", self.subscribed(3)[0], 10)
        await store.erase("ann")
        self.assertEqual(await store.subscriptions("ann"), [])
        self.assertEqual(await store.subscriptions("ben"), self.subscribed(3))
        # The endpoint is free.
        await store.subscribe("ann", given[0], 10)
        self.assertEqual(await store.subscriptions("ann"), given[:1])


class ListPageContract(Contract):
    """Conversations in pages, and the rooms of a user."""

    async def test_conversations_are_read_in_pages(self) -> None:
        store = await self.make_store()
        for room in ("#r", "#s", "#empty"):
            await store.join(room, "ann", 10)
            await store.join(room, "ben", 10)
        peers = ["a", "#r", "b", "c", "#s", "d", "e"]
        await store.append([message("ben", peer) if peer[0] == "#" else message(peer, "ann") for peer in peers[:4]])
        await self.settle(store)
        await store.append([message("ben", peer) if peer[0] == "#" else message(peer, "ann") for peer in peers[4:]])
        # One of the older ones is a newer one now.
        await store.append([message("ann", "b")])
        expected = ["b", "e", "d", "#s", "c", "#r", "a"]
        for settled in (False, True):
            if settled:
                await self.settle(store)
            for limit in (1, 2, 3, 7, 10):
                found: list[Conversation] = []
                while True:
                    page = await store.conversations("ann", limit, before=found[-1].last.mid if found else None)
                    found += page
                    if not page:
                        break
                self.assertEqual([one.peer for one in found], expected, limit)
        self.assertEqual(await store.conversations("ann", 10, before="no mid"), [])
        self.assertEqual(await store.conversations("nobody", 10, before=mid(2**62)), [])

    async def test_the_rooms_of_a_user_are_listed(self) -> None:
        store = await self.make_store()
        for room in ("#r", "#s", "#t"):
            await store.join(room, "ann", 10)
        await store.append([message("ann", "#r"), message("ann", "ben")])
        await store.leave("#t", "ann")
        self.assertEqual(sorted(await store.rooms("ann")), ["#r", "#s"])
        self.assertEqual(await store.rooms("ben"), [])
        self.assertEqual(await store.rooms("nobody"), [])


class EraseContract(Contract):
    """A user is erased, and others keep what is theirs."""

    async def talked(self) -> tuple[IStore, list[Message]]:
        """A store in which Ann talks with everybody, and the messages in which she has no part."""
        store = await self.make_store()
        for room, users in (("#r", ("ann", "ben", "cem")), ("#left", ("ann", "ben")), ("#hers", ("ann",))):
            for user in users:
                await store.join(room, user, 10)
        large = Raw(b'"%b"' % (b"x" * 5000))
        batches = [
            [message("ann", "ben", cid="1"), message("ben", "ann", cid="1"), message("cem", "ben")],
            [message("ann", "ann"), message("ann", "#hers"), message("ann", "#left", cid="2", msg=large)],
            [message("ben", "#r", cid="2"), message("ann", "#r", attachments=(b"x",)), message("cem", "#r")],
            [message("ben", "#left"), message("ann", "cem", msg=large, cid="3"), message("ben", "cem")],
        ]
        kept: list[Message] = []
        for batch in batches:
            kept += [
                one.message
                for one in await store.append(batch)
                if "ann" not in (one.message.sender, one.message.recipient)
            ]
            await self.settle(store)
        await store.leave("#left", "ann")
        await store.block("ann", "dan", 10)
        await store.block("ben", "ann", 10)
        await store.block("ben", "dan", 10)
        await store.mark_read("ann", "ben", kept[0].mid)
        await store.save_progress(Progress({"ann": 2, "ben": 1}, {"ann": 1000, "ben": 2000}))
        return store, kept

    async def test_nothing_of_the_user_is_found_any_more(self) -> None:
        store, _ = await self.talked()
        before = (await store.read("ann", 0, 100)).last
        self.assertEqual(await store.erase("ann"), 7)
        await self.settle(store)
        self.assertEqual(
            (list((await store.read("ann", 0, 100)).entries), await store.conversations("ann", 10)), ([], [])
        )
        self.assertEqual((await store.rooms("ann"), await store.blocked("ann")), ([], []))
        self.assertEqual(await store.blocks("ben", ["ann", "dan"]), Blocks(frozenset(["dan"])))
        self.assertEqual(await store.last_seen(["ann", "ben"]), {"ben": 2000})
        self.assertEqual((await store.inbox("ann")).cursor, 0)
        for room in ("#r", "#left", "#hers"):
            self.assertNotIn("ann", await store.members(room))
        for user in ("ben", "cem"):
            self.assertEqual(await store.history(user, "ann", before=None, limit=10), Page((), False))
            self.assertNotIn("ann", [one.peer for one in await store.conversations(user, 10)])
        # Who comes back is a new user, and no offset is given twice.
        (again,) = await store.append([message("cem", "ann")])
        self.assertGreater(again.places[0][1], before)
        self.assertEqual((await store.read("ann", 0, 10)).entries, [Entry(again.places[0][1], again.message)])
        self.assertEqual([one.repeat for one in await store.append([message("ann", "cem", cid="3")])], [False])

    async def test_others_keep_what_is_theirs(self) -> None:
        store, kept = await self.talked()
        ends = {user: (await store.read(user, 0, 100)).last for user in ("ben", "cem")}
        await store.erase("ann")
        await self.settle(store)
        for user in ("ben", "cem"):
            expected = [
                one
                for one in kept
                if one.sender != user and (one.recipient in (user, "#r") or (user, one.recipient) == ("ben", "#left"))
            ]
            found: list[Entry] = []
            while True:
                page = await store.read(user, found[-1].offset if found else 0, 1)
                if not page.entries:
                    break
                found += page.entries
            self.assertEqual([entry.message for entry in found], expected, user)
            self.assertGreaterEqual(page.last, ends[user])
        self.assertEqual(
            [one.sender for one in (await store.history("ben", "#r", before=None, limit=10)).messages], ["ben", "cem"]
        )
        listed = {one.peer: one.last for one in await store.conversations("ben", 10)}
        self.assertEqual(set(listed), {"cem", "#r", "#left"})
        self.assertEqual(listed["#left"].sender, "ben")
        # Offsets go on beyond those that were given.
        for user in ("ben", "cem"):
            (one,) = await store.append([message("dan", user)] if user == "cem" else [message("eve", user)])
            self.assertGreater(one.places[0][1], ends[user])
            page = await store.read(user, ends[user], 10)
            self.assertEqual([entry.message for entry in page.entries], [one.message])
        self.assertEqual((await store.append([message("ben", "#r", cid="2")]))[0].repeat, True)
        self.assertIsNone((await store.append([message("cem", "ann")]))[0].refused)
        self.assertIsNone((await store.append([message("ann", "ben")]))[0].refused)

    async def test_erasing_again_or_nobody_changes_nothing(self) -> None:
        store, _ = await self.talked()
        self.assertEqual(await store.erase("nobody"), 0)
        await store.erase("ann")
        before = [await store.conversations(user, 10) for user in ("ben", "cem")]
        self.assertEqual(await store.erase("ann"), 0)
        self.assertEqual([await store.conversations(user, 10) for user in ("ben", "cem")], before)

    async def test_many_messages_are_erased_in_steps_beside_others(self) -> None:
        store = await self.make_store()
        for user in ("ann", "ben"):
            await store.join("#r", user, 10)
        for number in range(10):
            batch = [message("ann", f"user {number}{n % 10}") for n in range(100)]
            batch += [message("ann" if n % 2 else "ben", "#r") for n in range(50)]
            await store.append(batch)
        await self.settle(store)
        erasing = store.erase("ann")
        (beside,) = await store.append([message("ben", "cem")])
        self.assertEqual(await erasing, 10 * 125)
        self.assertEqual((await store.read("cem", 0, 10)).entries, [Entry(beside.places[0][1], beside.message)])
        self.assertEqual(await store.conversations("user 55", 10), [])
        page = await store.history("ben", "#r", before=None, limit=1000)
        self.assertEqual((len(page.messages), {one.sender for one in page.messages}), (250, {"ben"}))


class StoreContract(
    BlockContract,
    AppendContract,
    RepeatContract,
    InboxContract,
    PageContract,
    ListContract,
    ListPageContract,
    EraseContract,
    ConversationContract,
    RoomContract,
    RevocationContract,
    SubscriptionContract,
    UpdateContract,
    ReadersContract,
):
    """All of it."""


class FailingStoreContract(Contract):
    """For stores that can be away. Mixed in beside ``StoreContract``."""

    async def break_off(self, store: IStore) -> None:
        """From here on what ``store`` needs is away, also for a batch that is half written."""
        raise NotImplementedError

    async def bring_back(self, store: IStore) -> None:
        """It is there again; fires when ``store`` has noticed."""
        raise NotImplementedError

    async def test_whatever_is_asked_while_the_store_is_away_fails(self) -> None:
        store = await self.make_store()
        await store.append(to("ben"))
        await self.break_off(store)
        for asked in (
            store.append(to("ben", "cem")),
            store.inbox("ben"),
            store.read("ben", 0, 10),
            store.save_progress(Progress({"ben": 1}, {"ben": 1})),
            store.last_seen(["ben"]),
            store.history("ann", "ben", before=None, limit=10),
            store.conversations("ann", 10),
            store.mark_read("ben", "ann", mid(1)),
            store.join("#r", "ann", 10),
            store.leave("#r", "ann"),
            store.revoke(Revocation("uann"), now=0, most=10),
            store.revocations(0, 10),
            store.subscribe("ann", PushSubscription("https://push.example.org/1", "key", "auth"), 10),
            store.unsubscribe("ann", None),
            store.subscriptions("ann"),
            store.block("ann", "ben", 10),
            store.unblock("ann", "ben"),
            store.blocked("ann"),
            store.blocks("ann", ["ben"]),
            store.change(edit(message())),
            store.find("ann", mid(1), None),
            store.readers("#r", "ann", mid(1)),
        ):
            with self.assertRaises(StoreUnavailable):
                await asked

    async def test_nothing_of_a_batch_that_failed_is_kept_nor_takes_an_offset(self) -> None:
        store = await self.make_store()
        answers = await store.append(to("ben"))
        await self.break_off(store)
        with self.assertRaises(StoreUnavailable):
            await store.append([*to("ben", "cem"), message(cid="c1"), *to("ben")])
        await self.bring_back(store)
        last = message(cid="c1")
        self.assertEqual(await store.append([last]), [kept(last, 2)])
        await self.settle(store)
        self.assertEqual((await store.read("ben", 0, 10)).entries, [*entries(answers), Entry(2, last)])
        self.assertEqual((await store.read("cem", 0, 10)).entries, [])

    async def test_what_was_answered_is_there_after_the_store_was_away(self) -> None:
        store = await self.make_store()
        await store.join("#r", "ann", 10)
        answers = await store.append([*to("ben", "ben"), message(cid="c1")])
        await store.mark_read("ben", "ann", answers[1].message.mid)
        await store.save_progress(Progress({"ben": 2}, {"ben": 1000}))
        await store.revoke(Revocation("uann"), now=0, most=10)
        await store.block("ann", "eve", 10)
        subscription = PushSubscription("https://push.example.org/1", "key", "auth")
        await store.subscribe("ann", subscription, 10)
        await self.break_off(store)
        await self.bring_back(store)
        self.assertEqual((await store.read("ben", 0, 10)).entries, entries(answers))
        self.assertEqual(await store.append([message(cid="c1")]), [kept(answers[2].message, 3, True)])
        self.assertEqual(await store.inbox("ben"), InboxState(2, 1, 3))
        self.assertEqual(await store.last_seen(["ben"]), {"ben": 1000})
        self.assertEqual([one.unread for one in await store.conversations("ben", 10)], [1])
        self.assertFalse(await store.join("#r", "ann", 10))
        self.assertEqual([one.revocation for one in await store.revocations(0, 10)], [Revocation("uann")])
        self.assertEqual(await store.blocked("ann"), ["eve"])
        self.assertEqual(await store.subscriptions("ann"), [subscription])
        (refused,) = await store.append([message("eve", "ann")])
        self.assertEqual(refused.refused, Error.NOT_ALLOWED)
