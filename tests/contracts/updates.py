"""What every store must do with edits, deletions and reactions, and of who has read a message in a room."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.structs import replace
from twisted.internet.defer import gatherResults

from kschat.chat.changes import MAX_REACTIONS, NO_TEXT
from kschat.chat.interfaces import PAGE_BYTES, InboxPage, IStore, Stored
from kschat.chat.lines import MAX_LINE
from kschat.chat.message import DELETE, EDIT, REACT, VOID, Changes, Error, Message, Update
from tests.contracts.base import Contract
from tests.contracts.made import message, to


def edit(target: Message, msg: bytes = b'"edited"', sender: str | None = None, **changes: Any) -> Message:
    """An edit, by the message's sender unless another is given."""
    return _update(target, Update(EDIT, target.mid), sender, msg=Raw(msg), **changes)


def delete(target: Message, sender: str | None = None, **changes: Any) -> Message:
    """A deletion."""
    return _update(target, Update(DELETE, target.mid), sender, msg=NO_TEXT, **changes)


def react(target: Message, emoji: str, sender: str | None = None, **changes: Any) -> Message:
    """A reaction."""
    return _update(target, Update(REACT, target.mid, emoji), sender, msg=NO_TEXT, **changes)


def _update(target: Message, update: Update, sender: str | None, **changes: Any) -> Message:
    sender = target.sender if sender is None else sender
    peer = target.recipient if target.recipient[0] == "#" or sender == target.sender else target.sender
    return message(sender, peer, extra=update, **changes)


def told(page: InboxPage) -> list[tuple[int, str, str, bytes]]:
    """The entries of a page: offset, what it is, of which message, with which text."""
    listed = []
    for entry in page.entries:
        extra = entry.message.extra
        kind, mid = (extra.kind, extra.target) if isinstance(extra, Update) else ("message", entry.message.mid)
        listed.append((entry.offset, kind, mid, bytes(entry.message.msg)))
    return listed


class UpdateContract(Contract):
    """Edits, deletions, and reactions."""

    async def sent(self, store: IStore, *messages: Message) -> list[Message]:
        """Messages as they are kept."""
        answers = await store.append(list(messages))
        await self.settle(store)
        return [answer.message for answer in answers]

    async def newest(self, store: IStore, user: str = "ann", peer: str = "ben") -> Message:
        """The newest message of a conversation."""
        page = await store.history(user, peer, before=None, limit=1)
        return page.messages[0]

    async def test_an_edit_has_a_place_in_the_inboxes_of_both(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message())
        update = edit(one)
        stored = await store.change(update)
        self.assertEqual(sorted(stored.places), [("ann", 1), ("ben", 2)])
        self.assertEqual((stored.message, stored.repeat, stored.refused), (update, False, None))
        await self.settle(store)
        for user, entry in (("ann", (1, EDIT, one.mid, b'"edited"')), ("ben", (2, EDIT, one.mid, b'"edited"'))):
            self.assertEqual(told(await store.read(user, entry[0] - 1, 10)), [entry])
        self.assertEqual(await store.ends(["ann", "ben"]), {"ann": 1, "ben": 2})

    async def test_what_is_read_of_an_update_is_what_was_stored(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message("7", "8", uId=7, pId=8))
        update = edit(one, sender="7", uId=7, pId=8, name="Ann", cid="e1")
        stored = await store.change(update)
        self.assertEqual(stored.message, update)
        await self.settle(store)
        (entry,) = (await store.read("8", 1, 10)).entries
        self.assertEqual(entry.message, update)
        self.assertEqual((type(entry.message.uId), type(entry.message.pId)), (int, int))

    async def test_an_edit_shows_in_history_and_in_inboxes_and_in_lists(self) -> None:
        store = await self.make_store()
        one, _ = await self.sent(store, message(), message("cem", "ben"))
        update = edit(one)
        await store.change(update)
        for _ in range(2):
            after = replace(one, msg=update.msg, extra=Changes(edited=update.time))
            self.assertEqual(await self.newest(store), after)
            self.assertEqual(await store.find("ben", one.mid, "ann"), after)
            self.assertEqual((await store.read("ben", 0, 1)).entries[0].message, after)
            listed = {found.peer: found.last for found in await store.conversations("ben", 10)}
            self.assertEqual(listed["ann"], after)
            await self.settle(store)

    async def test_attachments_are_edited_too(self) -> None:
        store = await self.make_store()
        placed = b'{"_placeholder":true,"num":0}'
        (one,) = await self.sent(store, message(msg=Raw(placed), attachments=(b"old",)))
        await store.change(edit(one, placed, attachments=(b"new" * 1000,)))
        await self.settle(store)
        self.assertEqual((await self.newest(store)).attachments, (b"new" * 1000,))
        self.assertEqual((await store.read("ben", 1, 10)).entries[0].message.attachments, (b"new" * 1000,))
        await store.change(edit(one))
        self.assertEqual((await self.newest(store)).attachments, ())

    async def test_a_line_in_lists_is_of_the_text_that_is_there_now(self) -> None:
        store = await self.make_store()
        long = b'"%b"' % (b"x" * (3 * MAX_LINE))
        (one,) = await self.sent(store, message())
        for text, cut in ((long, True), (b'"short"', False), (b'"%b"' % (b"y" * (3 * MAX_LINE)), True)):
            await store.change(edit(one, text))
            for _ in range(2):
                (listed,) = await store.conversations("ben", 10)
                self.assertEqual((bytes(listed.last.msg)[:5], listed.cut), (text[:5], cut))
                await self.settle(store)
        await store.change(delete(one))
        (listed,) = await store.conversations("ben", 10)
        self.assertEqual((listed.last.msg, listed.cut), (NO_TEXT, False))

    async def test_a_deleted_text_is_nowhere(self) -> None:
        store = await self.make_store()
        one, other = await self.sent(store, message(), message())
        await store.change(edit(one, b'"first edit"'))
        await self.settle(store)
        update = delete(one)
        stored = await store.change(update)
        self.assertEqual(sorted(stored.places), [("ann", 2), ("ben", 4)])
        for _ in range(2):
            gone = replace(one, msg=NO_TEXT, extra=Changes(deleted=update.time))
            page = await store.history("ann", "ben", before=None, limit=10)
            self.assertEqual(page.messages, (gone, other))
            self.assertEqual(
                told(await store.read("ben", 0, 10)),
                [
                    (1, "message", one.mid, b"null"),
                    (2, "message", other.mid, bytes(other.msg)),
                    (3, VOID, one.mid, b"null"),
                    (4, DELETE, one.mid, b"null"),
                ],
            )
            await self.settle(store)

    async def test_an_earlier_edit_is_read_with_the_later_text(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message())
        for text in (b'"first"', b'"second"'):
            await store.change(edit(one, text))
            await self.settle(store)
        self.assertEqual(
            told(await store.read("ann", 0, 10)), [(1, EDIT, one.mid, b'"second"'), (2, EDIT, one.mid, b'"second"')]
        )

    async def test_what_was_deleted_stays_deleted(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message())
        await store.change(delete(one))
        await self.settle(store)
        for late, refused in ((edit(one), Error.INVALID), (react(one, "x"), Error.INVALID), (delete(one), None)):
            stored = await store.change(late)
            self.assertEqual((stored.refused, stored.places), (refused, ()))
        self.assertEqual((await self.newest(store)).msg, NO_TEXT)
        self.assertEqual(await store.ends(["ben"]), {"ben": 2})

    async def test_a_user_has_one_reaction_to_a_message_and_may_take_it_back(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message())
        steps: list[tuple[str, str, tuple[tuple[str, str], ...]]] = [
            ("ben", "+1", (("ben", "+1"),)),
            ("ann", "+1", (("ben", "+1"), ("ann", "+1"))),
            ("ben", "\N{HEAVY BLACK HEART}", (("ann", "+1"), ("ben", "\N{HEAVY BLACK HEART}"))),
            ("ann", "", (("ben", "\N{HEAVY BLACK HEART}"),)),
        ]
        for user, emoji, reactions in steps:
            stored = await store.change(react(one, emoji, user))
            self.assertEqual({name for name, _ in stored.places}, {"ann", "ben"})
            await self.settle(store)
            self.assertEqual((await self.newest(store)).extra, Changes(reactions=reactions))
            offset = dict(stored.places)["ben"]
            (entry,) = (await store.read("ben", offset - 1, 1)).entries
            self.assertEqual(entry.message.extra, Update(REACT, one.mid, emoji))
        await store.change(react(one, "", "ben"))
        self.assertEqual(await self.newest(store), one)

    async def test_a_reaction_that_is_there_already_changes_nothing(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message())
        await store.change(react(one, "+1", "ben"))
        for again in (react(one, "+1", "ben"), react(one, "", "ann")):
            stored = await store.change(again)
            self.assertEqual((stored.places, stored.repeat), ((), True))
        self.assertEqual(await store.ends(["ann"]), {"ann": 1})

    async def test_an_edit_leaves_the_reactions(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message())
        await store.change(react(one, "+1", "ben"))
        update = edit(one)
        await store.change(update)
        await store.change(react(one, "-1", "ann"))
        extra = Changes(edited=update.time, reactions=(("ben", "+1"), ("ann", "-1")))
        self.assertEqual((await self.newest(store)).extra, extra)

    async def test_reactions_are_bounded(self) -> None:
        store = await self.make_store()
        users = [f"user {n}" for n in range(MAX_REACTIONS + 1)]
        for user in ("ann", *users):
            await store.join("#r", user, 1000)
        (one,) = await self.sent(store, message("ann", "#r"))
        answers = [await store.change(react(one, "+1", user)) for user in users]
        self.assertEqual([answer.refused for answer in answers], [None] * MAX_REACTIONS + [Error.TOO_MANY])
        self.assertIsNone((await store.change(react(one, "-1", users[0]))).refused)

    async def test_a_repeat_by_cid_is_done_once(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message())
        first, second = edit(one, b'"1"', cid="e1"), edit(one, b'"2"', cid="e2")
        await store.change(first)
        await self.settle(store)
        await store.change(second)
        for again in (edit(one, b'"1"', cid="e1"), edit(one, b'"2"', cid="e2")):
            await self.settle(store)
            stored = await store.change(again)
            self.assertEqual((stored.repeat, stored.places), (True, ()))
        self.assertEqual((await self.newest(store)).msg, Raw(b'"2"'))
        self.assertEqual(await store.ends(["ben"]), {"ben": 3})

    async def test_a_repeat_of_a_message_that_was_changed_does_not_carry_its_text(self) -> None:
        store = await self.make_store()
        one, two = await self.sent(store, message(cid="c1"), message(cid="c2"))
        await store.change(edit(one))
        await store.change(delete(two))
        for _ in range(2):
            again, more = await store.append([replace(one, msg=Raw(b"1")), replace(two, msg=Raw(b"2"))])
            for answer, first, msg in ((again, one, b"1"), (more, two, b"2")):
                self.assertEqual((answer.repeat, answer.whole, answer.message.mid), (True, False, first.mid))
                self.assertEqual((bytes(answer.message.msg), answer.message.extra), (msg, None))
            self.assertEqual((again.places, more.places), ((("ben", 1),), (("ben", 2),)))
            await self.settle(store)

    async def test_updates_are_not_counted_as_messages(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message())
        await store.change(edit(one))
        await store.change(react(one, "+1", "ann"))
        await self.settle(store)
        (listed,) = await store.conversations("ben", 10)
        self.assertEqual((listed.unread, listed.last.mid), (1, one.mid))
        self.assertTrue(await store.mark_read("ben", "ann", one.mid))
        (listed,) = await store.conversations("ben", 10)
        self.assertEqual(listed.unread, 0)
        later = await self.sent(store, message(), message())
        (listed,) = await store.conversations("ben", 10)
        self.assertEqual((listed.unread, listed.last.mid), (2, later[-1].mid))
        self.assertEqual(len((await store.history("ben", "ann", before=None, limit=10)).messages), 3)

    async def test_messages_and_updates_share_offsets_and_numbers(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message())
        batches: list[Any] = [store.change(edit(one, b"1")), store.append([message()]), store.change(edit(one, b"2"))]
        first, (second,), third = await gatherResults(batches)
        # Changes are in the order of their calls, and a batch may overtake them.
        by_offset = sorted((dict(stored.places)["ben"], stored.message.mid) for stored in (first, second, third))
        self.assertEqual([offset for offset, _ in by_offset], [2, 3, 4])
        self.assertEqual([mid for _, mid in by_offset], sorted({mid for _, mid in by_offset}))
        self.assertLess(dict(first.places)["ben"], dict(third.places)["ben"])
        await self.settle(store)
        found = [entry[1] for entry in told(await store.read("ben", 1, 10))]
        self.assertEqual(sorted(found), sorted([EDIT, "message", EDIT]))

    async def test_what_is_not_there_cannot_be_changed(self) -> None:
        store = await self.make_store()
        one, other = await self.sent(store, message(), message("cem", "dan"))
        update = edit(one)
        await store.change(update)
        await self.settle(store)
        strangers = [
            edit(message()),
            edit(other),
            edit(replace(one, mid=one.mid[:16] + "ffffffff")),
            edit(replace(one, mid=update.mid)),
        ]
        for strange in strangers:
            stored = await store.change(replace(strange, sender="ann", recipient="ben"))
            self.assertEqual((stored.refused, stored.places), (Error.INVALID, ()))
        self.assertEqual((await store.ends(["ben"])), {"ben": 2})

    async def test_an_update_in_a_room_goes_to_all_members_that_there_are_now(self) -> None:
        store = await self.make_store()
        for user in ("ann", "ben", "cem"):
            await store.join("#r", user, 10)
        (one,) = await self.sent(store, message("ann", "#r"))
        await store.leave("#r", "ben")
        await store.join("#r", "dan", 10)
        stored = await store.change(edit(one, sender="cem"))
        self.assertEqual(sorted(stored.places), [("ann", 1), ("cem", 2), ("dan", 1)])
        await self.settle(store)
        for user in ("ann", "cem", "dan"):
            self.assertEqual(told(await store.read(user, 0, 10))[-1][1:], (EDIT, one.mid, b'"edited"'))
        refused = await store.change(edit(one, sender="ben"))
        self.assertEqual((refused.refused, refused.places), (Error.NOT_ALLOWED, ()))

    async def test_who_is_blocked_may_delete_and_nothing_else(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message())
        await store.block("ben", "ann", 10)
        for update in (edit(one), react(one, "+1", "ann")):
            stored = await store.change(update)
            self.assertEqual((stored.refused, stored.places), (Error.NOT_ALLOWED, ()))
        self.assertEqual(await self.newest(store), one)
        self.assertIsNone((await store.change(react(one, "+1", "ben"))).refused)
        self.assertIsNone((await store.change(delete(one))).refused)

    async def test_notes_to_oneself_have_one_place(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message("ann", "ann"))
        stored = await store.change(edit(one))
        self.assertEqual(stored.places, (("ann", 2),))

    async def test_a_message_is_found_by_those_who_may_see_it(self) -> None:
        store = await self.make_store()
        for user in ("ann", "ben"):
            await store.join("#r", user, 10)
        one, two = await self.sent(store, message(), message("ann", "#r"))
        await self.sent(store, *to("cem", "dan"), *to("ann", sender="eve"))
        for user, found, named in (("ann", one, "ben"), ("ben", one, "ann"), ("ben", two, "#r")):
            for peer in (None, named):
                self.assertEqual(await store.find(user, found.mid, peer), found)
        strangers = [("cem", one.mid, None), ("cem", one.mid, "ann"), ("cem", two.mid, None), ("cem", two.mid, "#r")]
        for user, mid, peer in [*strangers, ("ann", one.mid, "#r"), ("ann", one.mid, "cem"), ("ann", "f" * 24, None)]:
            self.assertIsNone(await store.find(user, mid, peer), (user, mid, peer))
        await store.leave("#r", "ben")
        self.assertIsNone(await store.find("ben", two.mid, None))

    async def test_an_update_is_not_found_as_a_message(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message())
        stored = await store.change(edit(one))
        await self.settle(store)
        self.assertIsNone(await store.find("ann", stored.message.mid, None))

    async def test_pages_hold_edits_by_their_size(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message())
        large = b'"%b"' % (b"x" * (PAGE_BYTES // 2))
        for _ in range(3):
            await store.change(edit(one, large))
        await self.settle(store)
        found: list[tuple[int, str, str, bytes]] = []
        while True:
            page = told(await store.read("ben", len(found), 100))
            if not page:
                break
            self.assertTrue(len(page) == 1 or sum(len(text) for *_, text in page) <= PAGE_BYTES)
            found += page
        self.assertEqual([offset for offset, *_ in found], [1, 2, 3, 4])

    async def test_a_user_who_only_ever_sent_gets_the_first_offset(self) -> None:
        store = await self.make_store()
        (one,) = await self.sent(store, message("eve", "ben"))
        self.assertEqual((await store.read("eve", 0, 10)).entries, [])
        stored = await store.change(react(one, "+1", "ben"))
        self.assertEqual(dict(stored.places)["eve"], 1)


class ReadersContract(Contract):
    """Who has read a message in a room."""

    async def room(self, store: IStore, *members: str) -> None:
        """A room ``#r`` with members."""
        for user in members:
            await store.join("#r", user, 100)

    async def said(self, store: IStore, *senders: str) -> list[str]:
        """The mids of messages to the room."""
        answers: list[Stored] = await store.append([message(sender, "#r") for sender in senders])
        await self.settle(store)
        return [answer.message.mid for answer in answers]

    async def test_readers_are_those_that_marked_it_or_a_later_one(self) -> None:
        store = await self.make_store()
        await self.room(store, "ann", "ben", "cem", "dan")
        first, second, third = await self.said(store, "ann", "ben", "ann")
        await store.mark_read("ben", "#r", first)
        await store.mark_read("cem", "#r", second)
        await store.mark_read("dan", "#r", third)
        expected = {first: ["ben", "cem", "dan"], second: ["cem", "dan"], third: ["dan"]}
        for mid, users in expected.items():
            self.assertEqual(sorted(await store.readers("#r", "ann", mid) or ()), users)
        await self.said(store, "cem", "dan", "ann")
        for mid, users in expected.items():
            self.assertEqual(sorted(await store.readers("#r", "ben", mid) or ()), users)

    async def test_who_came_later_or_has_left_is_no_reader(self) -> None:
        store = await self.make_store()
        await self.room(store, "ann", "ben", "cem")
        (mid,) = await self.said(store, "ann")
        await self.room(store, "dan")
        for user in ("ben", "cem"):
            await store.mark_read(user, "#r", mid)
        await store.leave("#r", "cem")
        self.assertEqual(await store.readers("#r", "ann", mid), ["ben"])

    async def test_strangers_are_told_nothing(self) -> None:
        store = await self.make_store()
        await self.room(store, "ann", "ben")
        (mid,) = await self.said(store, "ann")
        self.assertIsNone(await store.readers("#r", "eve", mid))
        self.assertIsNone(await store.readers("#none", "ann", mid))
        self.assertIsNone(await store.readers("#r", "ann", "f" * 24))
        self.assertEqual(await store.readers("#r", "ann", mid), [])
