"""What clients of today ask beyond the tutorial: pages that fit, lists that end, reads that are told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.chat.commands import MAX_REQUESTS
from kschat.chat.incoming import MAX_PAGE
from kschat.chat.lines import MAX_LINE
from kschat.chat.write_behind import WRITE_BEHIND_WAIT
from kschat.wire.limits import Limits
from tests.chat.peers import Client, Daemon
from tests.chat.stores import AskedStore

#: Bytes of a page in these tests.
ROOM = 40_000

PLACEHOLDER = b'{"_placeholder":true,"num":0}'


class BeyondTestCase(SynchronousTestCase):
    """A daemon with a store in memory; Ann writes to Ben."""

    def setUp(self) -> None:
        self.store = AskedStore(MemoryStore(10_000, 100_000_000))
        self.daemon = Daemon(self.store, MemoryRouter(), limits=Limits(max_payload=ROOM), max_room=2, max_rooms=3)
        self.ann = self.daemon.joined("ann")

    def send(self, msg: Any, to: str = "ben", sender: Client | None = None, parts: tuple[bytes, ...] = ()) -> str:
        """Ann says something; its mid."""
        client = sender or self.ann
        raw = msg if isinstance(msg, bytes) else msgspec.json.encode(msg)
        send = b'{"uId":"%b","pId":"%b","msg":%b}' % (client.user.encode(), to.encode(), raw)
        number = client.emit("Send", send, parts=parts)
        self.daemon.clock.advance(0)
        return str(client.answer(number)["mid"])


class TestPages(BeyondTestCase):
    """History and Sync."""

    def setUp(self) -> None:
        super().setUp()
        self.ben = self.daemon.joined("ben")

    def all_history(self) -> list[list[Any]]:
        """Ben's conversation with Ann, page by page, each oldest first."""
        pages = []
        before: dict[str, str] = {}
        while True:
            answer = self.ben.ask("History", {"pId": "ann", **before})
            pages.append([one["msg"] for one in answer["MSG"]])
            if not answer["more"]:
                return pages
            before = {"before": answer["MSG"][0]["mid"]}

    def all_sync(self) -> list[list[Any]]:
        """Ben's inbox, page by page."""
        pages = []
        offset = 0
        while True:
            answer = self.ben.ask("Sync", {"offset": offset})
            pages.append([one["msg"] for one in answer["MSG"]])
            if not answer["more"]:
                return pages
            offset = answer["MSG"][-1]["offset"]

    def check(self, expected: list[Any], pages: int) -> None:
        """Both tell all of it, in so many pages."""
        for found, name in ((self.all_history()[::-1], "History"), (self.all_sync(), "Sync")):
            self.assertEqual([one for page in found for one in page], expected, name)
            self.assertEqual(len(found), pages, name)

    def test_a_conversation_is_told_oldest_first(self) -> None:
        for number in range(3):
            self.send(number)
        self.check([0, 1, 2], 1)

    def test_an_empty_conversation_is_an_empty_page(self) -> None:
        self.check([], 1)

    def test_a_page_has_100_messages(self) -> None:
        for number in range(2 * MAX_PAGE + 1):
            self.send(number)
        self.check(list(range(2 * MAX_PAGE + 1)), 3)

    def test_a_page_that_is_just_full_is_the_last_one(self) -> None:
        for number in range(MAX_PAGE):
            self.send(number)
        self.check(list(range(MAX_PAGE)), 1)

    def test_a_page_is_as_long_as_was_asked_for(self) -> None:
        for number in range(5):
            self.send(number)
        answer = self.ben.ask("History", {"pId": "ann", "limit": 2})
        self.assertEqual([one["msg"] for one in answer["MSG"]], [3, 4])
        self.assertTrue(answer["more"])

    def test_a_page_is_bounded_in_bytes(self) -> None:
        texts = [str(number) * 12_000 for number in range(7)]
        for text in texts:
            self.send(text)
        self.check(texts, 3)

    def test_a_message_that_is_larger_than_a_page_has_one_of_its_own(self) -> None:
        limits = Limits(max_payload=100 * ROOM)
        self.daemon.chat.context = replace(self.daemon.context, limits=limits)
        texts = ["a", "b" * 2 * ROOM, "c"]
        for text in texts:
            self.send(text)
        self.daemon.chat.context = self.daemon.context
        self.check(texts, 3)

    def test_attachments_of_a_page_count_through(self) -> None:
        for number in range(3):
            self.send(PLACEHOLDER, parts=(b"part %d" % number,))
            self.send(number)
        self.check([b"part 0", 0, b"part 1", 1, b"part 2", 2], 1)

    def test_a_page_has_10_attachments_which_is_what_clients_take(self) -> None:
        msgs = [[{"_placeholder": True, "num": number} for number in range(4)] for _ in range(6)]
        for msg in msgs:
            self.send(msg, parts=(b"0", b"1", b"2", b"3"))
        self.check([[b"0", b"1", b"2", b"3"]] * 6, 3)

    def test_attachments_count_for_the_bytes_of_a_page(self) -> None:
        for _ in range(4):
            self.send(PLACEHOLDER, parts=(bytes(18_000),))
        self.check([bytes(18_000)] * 4, 2)

    def test_messages_with_binary_beside_much_json_have_pages_of_their_own(self) -> None:
        """To renumber their placeholders, the reactor would have to decode it."""
        for _ in range(4):
            self.send(b"[%b%b]" % (b"[]," * 1000, PLACEHOLDER), parts=(b"x",))
        self.check([[*([[]] * 1000), b"x"]] * 4, 2)

    def test_what_looks_like_a_placeholder_is_not_mixed_with_attachments(self) -> None:
        for look_alike in (
            b'{"_placeholder":true,"num":0}',
            b'{"_placeholder":true,"num":99}',
            b'{"a":[{"_placeholder":1,"num":0}]}',
            # The same name to whoever parses it.
            b'{"\\u005fplaceholder":true,"num":99}',
            b'{"_pl\\u0061ceholder":true,"num":0}',
        ):
            self.setUp()
            self.send(PLACEHOLDER, parts=(b"part",))
            self.send(look_alike)
            self.send(PLACEHOLDER, parts=(b"part",))
            self.check([b"part", msgspec.json.decode(look_alike), b"part"], 3)

    def test_what_merely_speaks_of_a_placeholder_stands_beside_attachments(self) -> None:
        for text in ("a _placeholder", "ünd \\u005fplaceholder é", "\\"):
            self.setUp()
            self.send(PLACEHOLDER, parts=(b"part",))
            self.send(msgspec.json.encode(text).replace("ü".encode(), b"\\u00fc"))
            self.check([b"part", text], 1)

    def test_a_sync_page_is_without_the_offsets_before(self) -> None:
        for number in range(4):
            self.send(number)
        answer = self.ben.ask("Sync", {"offset": 2})
        self.assertEqual([(one["offset"], one["msg"]) for one in answer["MSG"]], [(3, 2), (4, 3)])
        self.assertFalse(answer["more"])

    def test_a_sync_beyond_the_end_is_empty(self) -> None:
        self.assertEqual(self.ben.ask("Sync", {"offset": 2**60}), {"MSG": [], "more": False})

    def test_history_has_what_both_said_and_nothing_of_others(self) -> None:
        self.send("to ben")
        self.send("to ann", "ann", self.ben)
        self.send("to cem", "cem")
        self.check_history(self.ben, "ann", ["to ben", "to ann"])
        self.check_history(self.ann, "ben", ["to ben", "to ann"])

    def check_history(self, client: Client, peer: str, expected: list[Any]) -> None:
        self.assertEqual([one["msg"] for one in client.ask("History", {"pId": peer})["MSG"]], expected)

    def test_history_of_a_room_is_for_members_alone(self) -> None:
        member = self.daemon.joined("cem", rooms="*")
        self.assertEqual(member.ask("Join", {"room": "tea"}), {"ER": 0})
        self.send("hello", "#tea", member)
        self.check_history(member, "#tea", ["hello"])
        self.check_history(self.ben, "#tea", [])


class TestConversations(BeyondTestCase):
    def test_they_are_listed_newest_first_with_what_is_unread(self) -> None:
        ben = self.daemon.joined("ben")
        cem = self.daemon.joined("cem")
        self.send("one")
        self.send("two")
        self.send("three", "ben", cem)
        listed = ben.ask("Conversations", {})
        self.assertEqual([(one["pId"], one["last"]["msg"], one["unread"]) for one in listed], [
            ("cem", "three", 1),
            ("ann", "two", 2),
        ])  # fmt: skip

    def test_without_any_the_list_is_empty(self) -> None:
        self.assertEqual(self.ann.ask("Conversations", {}), [])

    def test_binary_is_left_out(self) -> None:
        self.send(b'{"a":' + PLACEHOLDER + b"}", parts=(b"part",))
        (one,) = self.ann.ask("Conversations", {})
        self.assertEqual((one["last"]["msg"], one["last"]["cut"]), ({"a": None}, True))

    def test_a_long_message_is_cut_and_that_is_said(self) -> None:
        self.send("x" * 12_000)
        self.send("short", "cem")
        short, long = self.ann.ask("Conversations", {})
        self.assertEqual((short["last"]["msg"], "cut" in short["last"]), ("short", False))
        self.assertEqual((long["last"]["msg"], long["last"]["cut"]), ("x" * (MAX_LINE - 2), True))

    def test_what_does_not_fit_into_one_answer_is_left_out_and_its_conversation_listed(self) -> None:
        for number in range(40):
            self.send("x" * 1200, f"ben {number}")
        self.send("short", "ben")
        listed = self.ann.ask("Conversations", {})
        self.assertEqual([one["pId"] for one in listed], ["ben", *(f"ben {number}" for number in range(39, -1, -1))])
        said = [one["last"]["msg"] for one in listed]
        self.assertEqual(said[:34], ["short", *["x" * 1200] * 33])
        self.assertEqual(said[34:], [None] * 7)
        self.assertEqual(["cut" in one["last"] for one in listed], [False] * 34 + [True] * 7)


class TestRead(BeyondTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann = self.daemon.joined("ann", {"receipts": "1"})
        self.ben = self.daemon.joined("ben")

    def test_the_peer_is_told_once(self) -> None:
        mid = self.send("hello")
        for _ in range(2):
            self.assertEqual(self.ben.ask("Read", {"pId": "ann", "mid": mid}), {"ER": 0})
        self.assertEqual(self.ann.events("RESPSTATUS"), [{"pId": "ben", "mid": mid, "STATUS": 3}])
        self.assertEqual(self.ben.ask("Conversations", {})[0]["unread"], 0)

    def test_all_before_it_is_read_as_well(self) -> None:
        for _ in range(3):
            mid = self.send("hello")
        self.send("unread")
        self.ben.ask("Read", {"pId": "ann", "mid": mid})
        self.assertEqual(self.ben.ask("Conversations", {})[0]["unread"], 1)

    def test_delivered_comes_before_read(self) -> None:
        mid = self.send("hello")
        self.ben.pong()
        self.ben.ask("Read", {"pId": "ann", "mid": mid})
        self.assertEqual([one["STATUS"] for one in self.ann.events("RESPSTATUS")], [2, 3])

    def test_a_device_that_comes_later_learns_it_with_the_history(self) -> None:
        mids = []
        for text in ("one", "two", "three"):
            mids.append(self.send(text))
            self.ben.pong()
        first, second, third = mids
        self.ben.ask("Read", {"pId": "ann", "mid": first})
        self.daemon.clock.advance(WRITE_BEHIND_WAIT)
        late, plain = self.daemon.joined("ann", {"receipts": "1"}), self.daemon.joined("ann")
        for client in (late, plain):
            answer = client.ask("History", {"pId": "ben", "limit": 10})
            self.assertEqual([one["mid"] for one in answer["MSG"]], [first, second, third])
        told = [{"pId": "ben", "mid": third, "STATUS": 2}, {"pId": "ben", "mid": first, "STATUS": 3}]
        self.assertEqual(late.events("RESPSTATUS"), told)
        self.assertEqual(plain.events("RESPSTATUS"), [])
        # Of an earlier page, what stands in it.
        late.ask("History", {"pId": "ben", "limit": 10, "before": second})
        self.assertEqual(late.events("RESPSTATUS")[2:], [{"pId": "ben", "mid": first, "STATUS": n} for n in (2, 3)])
        # Who has read nothing of the user's is told of nothing.
        self.ben.ask("History", {"pId": "ann", "limit": 10})
        self.assertEqual(self.ben.events("RESPSTATUS"), [])

    def test_a_page_that_was_read_is_answered_though_the_store_then_fails(self) -> None:
        mid = self.send("one")
        self.ben.pong()
        self.daemon.clock.advance(WRITE_BEHIND_WAIT)
        late = self.daemon.joined("ann", {"receipts": "1"})
        self.store.held = self.store.holds_blocks = True
        number = late.emit("History", {"pId": "ben", "limit": 10})
        (page,) = self.store.pending("history")
        page.answer()
        (blocks,) = self.store.pending("blocks")
        blocks.refuse()
        self.assertEqual([one["mid"] for one in late.answer(number)["MSG"]], [mid])
        self.assertEqual(late.events("RESPSTATUS"), [])

    def test_whom_the_peer_blocks_is_not_told_with_the_history_what_was_read(self) -> None:
        mid = self.send("one")
        self.ben.pong()
        self.ben.ask("Read", {"pId": "ann", "mid": mid})
        self.ben.ask("Block", {"pId": "ann"})
        self.daemon.clock.advance(WRITE_BEHIND_WAIT)
        late = self.daemon.joined("ann", {"receipts": "1"})
        late.ask("History", {"pId": "ben", "limit": 10})
        self.assertEqual([one["STATUS"] for one in late.events("RESPSTATUS")], [2])

    def test_of_a_room_nobody_is_told(self) -> None:
        for client in (self.daemon.joined("ann", {"receipts": "1"}, rooms="*"), self.daemon.joined("ben", rooms="*")):
            client.ask("Join", {"room": "tea"})
        mid = self.send("hello", "#tea")
        self.assertEqual(self.ben.ask("Read", {"pId": "#tea", "mid": mid}), {"ER": 0})
        self.assertEqual(self.ann.events("RESPSTATUS"), [])


class TestRefusals(BeyondTestCase):
    """Each with its ER, and one plain sentence."""

    def refused(self, client: Client, name: str, args: dict[str, Any], error: int) -> str:
        answer = client.ask(name, args)
        self.assertEqual((set(answer), answer["ER"]), ({"ER", "WHY"}, error), name)
        why: str = answer["WHY"]
        self.assertTrue(why.endswith("."), why)
        return why

    def test_payloads_that_are_not_valid(self) -> None:
        mid = "0" * 24
        for name, args in (
            ("Read", {"pId": "ben"}),
            ("Read", {"pId": "ben", "mid": "z" * 24}),
            ("Read", {"pId": "", "mid": mid}),
            ("Read", {"pId": 1.5, "mid": mid}),
            ("Read", {"pId": True, "mid": mid}),
            ("Read", {"pId": 10**200, "mid": mid}),
            ("Typing", {}),
            ("Typing", {"pId": "b" * 129}),
            ("Presence", {}),
            ("Presence", {"ids": "ben"}),
            ("Presence", {"ids": [""]}),
            ("Presence", {"ids": ["b"] * 501}),
            ("Presence", {"ids": [10**300]}),
            ("History", {"pId": "ben", "limit": 0}),
            ("History", {"pId": "ben", "limit": 101}),
            ("History", {"pId": "ben", "before": "x"}),
            ("Sync", {}),
            ("Sync", {"offset": -1}),
            ("Sync", {"offset": 2**62}),
            ("Sync", {"offset": "1"}),
            ("Join", {}),
            ("Join", {"room": ""}),
            ("Join", {"room": "#"}),
            ("Join", {"room": "r" * 128}),
            ("Leave", {"room": "#"}),
            ("Leave", {"room": None}),
        ):
            self.refused(self.ann, name, args, 1)
        self.assertTrue(self.ann.alive)

    def test_a_room_that_the_token_does_not_allow(self) -> None:
        client = self.daemon.joined("cem", rooms=("tea", "#milk"))
        self.refused(client, "Join", {"room": "sugar"}, 6)
        self.refused(self.ann, "Join", {"room": "tea"}, 6)
        for room in ("tea", "#tea", "milk", "#milk"):
            self.assertEqual(client.ask("Join", {"room": room}), {"ER": 0})

    def test_a_room_that_is_full(self) -> None:
        for name in ("one", "two"):
            self.assertEqual(self.daemon.joined(name, rooms="*").ask("Join", {"room": "tea"}), {"ER": 0})
        third = self.daemon.joined("three", rooms="*")
        self.refused(third, "Join", {"room": "tea"}, 4)
        for room in ("milk", "sugar", "honey"):
            self.assertEqual(third.ask("Join", {"room": room}), {"ER": 0})
        self.refused(third, "Join", {"room": "lemon"}, 4)
        self.assertEqual(third.ask("Leave", {"room": "milk"}), {"ER": 0})
        self.daemon.joined("one").ask("Leave", {"room": "tea"})
        self.assertEqual(third.ask("Join", {"room": "tea"}), {"ER": 0})

    def test_a_store_that_is_away(self) -> None:
        client = self.daemon.joined("cem", rooms="*")
        self.store.away = True
        for name, args in (
            ("Read", {"pId": "ben", "mid": "0" * 24}),
            ("History", {"pId": "ben"}),
            ("Sync", {"offset": 0}),
            ("Conversations", {}),
            ("Join", {"room": "tea"}),
            ("Leave", {"room": "tea"}),
        ):
            self.refused(client, name, args, 3)

    def test_presence_is_told_without_a_store(self) -> None:
        self.store.away = True
        self.assertEqual(
            self.ann.ask("Presence", {"ids": ["ann", "ben"]}),
            {"ann": {"online": True, "lastSeen": None}, "ben": {"online": False, "lastSeen": None}},
        )

    def test_more_requests_at_a_time_than_one_may_have(self) -> None:
        self.store.held = True
        numbers = [self.ann.emit("Sync", {"offset": 0}) for _ in range(MAX_REQUESTS)]
        self.refused(self.ann, "History", {"pId": "ben"}, 8)
        self.store.questions.pop().answer()
        self.daemon.clock.advance(0)
        numbers.append(self.ann.emit("Conversations", {}))
        while self.store.questions:  # one at a time
            self.store.answer_all()
            self.daemon.clock.advance(0)
        self.assertNotIn(None, [self.ann.answer(number) for number in numbers])

    def test_requests_of_one_are_not_counted_for_another(self) -> None:
        self.store.held = True
        for _ in range(8):
            self.ann.emit("Sync", {"offset": 0})
        ben = self.daemon.joined("ben")
        self.store.answer_all()
        self.store.held = False
        self.daemon.clock.advance(0)
        self.assertEqual(ben.ask("Sync", {"offset": 0}), {"MSG": [], "more": False})

    def test_each_is_counted(self) -> None:
        self.refused(self.ann, "Sync", {}, 1)
        self.assertEqual(self.daemon.counters.refused[1], 1)


class TestCarbons(BeyondTestCase):
    """The sender's other sockets that asked for it see what it sends."""

    def setUp(self) -> None:
        super().setUp()
        self.other = self.daemon.joined("ann", {"carbons": "1"})

    def said(self, client: Client) -> list[Any]:
        return [one["msg"] for event in client.events("RESPCARBON") for one in event["MSG"]]

    def test_it_is_shown_once_as_the_recipient_sees_it(self) -> None:
        mid = self.send("hello")
        (event,) = self.other.events("RESPCARBON")
        (one,) = event.pop("MSG")
        self.assertEqual(event, {"RC": 1, "ER": 0})
        self.assertEqual((one["uId"], one["pId"], one["msg"], one["mid"]), ("ann", "ben", "hello", mid))
        self.assertNotIn("offset", one)

    def test_neither_the_socket_that_sent_it_nor_those_that_did_not_ask_are_shown_it(self) -> None:
        silent = self.daemon.joined("ann")
        self.send("hello", sender=self.other)
        for client in (self.ann, self.other, silent, self.daemon.joined("eve", {"carbons": "1"})):
            self.assertEqual(self.said(client), [])

    def test_binary_comes_with_it(self) -> None:
        self.send(PLACEHOLDER, parts=(b"part",))
        self.assertEqual(self.said(self.other), [b"part"])

    def test_what_is_sent_again_is_not_shown_again(self) -> None:
        for _ in range(2):
            self.ann.emit("Send", {"uId": "ann", "pId": "ben", "msg": "hello", "cid": "c"})
            self.daemon.clock.advance(0)
        self.assertEqual(self.said(self.other), ["hello"])

    def test_what_was_refused_is_not_shown(self) -> None:
        self.store.away = True
        self.ann.emit("Send", {"uId": "ann", "pId": "ben", "msg": "hello"})
        self.daemon.clock.advance(0)
        self.assertEqual(self.ann.events("RESPSEND")[0]["ER"], 3)
        self.assertEqual(self.said(self.other), [])

    def test_what_another_device_has_read_is_told_once(self) -> None:
        mid = self.send("hello", "ann", self.daemon.joined("ben"))
        silent = self.daemon.joined("ann")
        for _ in range(2):
            self.assertEqual(self.ann.ask("Read", {"pId": "ben", "mid": mid}), {"ER": 0})
        self.assertEqual(self.other.events("RESPREAD"), [{"pId": "ben", "mid": mid}])
        for client in (self.ann, silent, self.daemon.joined("ben", {"carbons": "1"})):
            self.assertEqual(client.events("RESPREAD"), [])

    def test_what_another_device_has_read_of_a_room_is_told(self) -> None:
        ann, ben = self.daemon.joined("ann", rooms="*"), self.daemon.joined("ben", rooms="*")
        for client in (ann, ben):
            client.ask("Join", {"room": "tea"})
        mid = self.send("hello", "#tea", ben)
        self.assertEqual(ann.ask("Read", {"pId": "#tea", "mid": mid}), {"ER": 0})
        self.assertEqual(self.other.events("RESPREAD"), [{"pId": "#tea", "mid": mid}])

    def test_a_message_to_a_room_is_shown(self) -> None:
        sender = self.daemon.joined("ann", rooms="*")
        sender.ask("Join", {"room": "tea"})
        self.send("hello", "#tea", sender)
        self.assertEqual(self.said(self.other), ["hello"])

    def test_a_message_to_oneself_is_received_by_all_and_shown_to_the_others(self) -> None:
        self.send("note", "ann")
        self.assertEqual(([one["msg"] for one in self.other.messages()], self.said(self.other)), (["note"], ["note"]))
        self.assertEqual([one["msg"] for one in self.ann.messages()], ["note"])
