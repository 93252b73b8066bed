"""Block lists: whose messages are kept, who sees whom, and what is told to other daemons."""

from __future__ import annotations

from typing import Any

import jwt
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.backends.null import NullStore
from kschat.chat import blocks
from kschat.chat.interfaces import RETRY_WAIT
from kschat.chat.message import Error
from tests.chat.daemon import SECRET
from tests.chat.peers import Client, Daemon
from tests.chat.stores import AskedStore
from tests.chat.test_daemons import MS, DaemonsTestCase


def sent(client: Client, peer: object, daemon: Daemon, **more: object) -> Any:
    """The answer to a message."""
    number = client.emit("Send", {"uId": client.user, "pId": peer, "msg": "hi", "rno": 1, **more})
    daemon.clock.advance(0)
    return client.answer(number)


class BlockTestCase(SynchronousTestCase):
    """One daemon."""

    def setUp(self) -> None:
        self.daemon = self.made()

    def made(self, **more: Any) -> Daemon:
        return Daemon(MemoryStore(1000, 10**6), MemoryRouter(), **more)

    def sent(self, client: Client, peer: object, **more: object) -> Any:
        return sent(client, peer, self.daemon, **more)

    def mids(self, client: Client, peer: str) -> list[str]:
        """The messages of a conversation, as a client's History has it."""
        return [one["mid"] for one in client.ask("History", {"pId": peer})["MSG"]]


class ListTests(BlockTestCase):
    """``Block``, ``Unblock`` and ``Blocked``."""

    def test_a_list_is_kept_of_each_user(self) -> None:
        ann, ben = self.daemon.joined("ann"), self.daemon.joined("ben")
        self.assertEqual(ann.ask("Blocked"), {"ids": []})
        for peer in ("eve", 42, "dan", "eve"):
            self.assertEqual(ann.ask("Block", {"pId": peer}), {"ER": 0})
        self.assertEqual(ann.ask("Blocked"), {"ids": ["42", "dan", "eve"]})
        self.assertEqual(ben.ask("Blocked"), {"ids": []})
        for peer in ("42", "nobody"):
            self.assertEqual(ann.ask("Unblock", {"pId": peer}), {"ER": 0})
        self.assertEqual(self.daemon.joined("ann").ask("Blocked"), {"ids": ["dan", "eve"]})

    def test_what_can_not_be_blocked_is_refused(self) -> None:
        ann = self.daemon.joined("ann")
        for peer in ("#team", "ann", "x" * 129, "", None):
            self.assertEqual(ann.ask("Block", {"pId": peer})["ER"], Error.INVALID, peer)
        self.assertEqual(ann.ask("Blocked"), {"ids": []})

    def test_a_full_list_takes_nobody_else(self) -> None:
        self.daemon = self.made(max_blocked=2)
        ann = self.daemon.joined("ann")
        for peer in ("eve", "dan", "eve"):
            self.assertEqual(ann.ask("Block", {"pId": peer}), {"ER": 0})
        self.assertEqual(ann.ask("Block", {"pId": "ben"}), {"ER": 4, "WHY": "You block 2 users already."})

    def test_where_nothing_is_kept_there_are_no_lists(self) -> None:
        self.daemon = Daemon(NullStore(), MemoryRouter())
        ann = self.daemon.joined("ann")
        for name, payload in (("Block", [{"pId": "eve"}]), ("Unblock", [{"pId": "eve"}]), ("Blocked", [])):
            self.assertEqual(ann.ask(name, *payload)["ER"], Error.NO_STORE)

    def test_while_the_store_is_away_it_is_refused(self) -> None:
        store = AskedStore(MemoryStore(1000, 10**6))
        self.daemon = Daemon(store, MemoryRouter())
        ann = self.daemon.joined("ann")
        store.away = True
        self.assertEqual(ann.ask("Block", {"pId": "eve"})["ER"], Error.NO_STORE)


class MessageTests(BlockTestCase):
    """What becomes of a blocked sender's messages."""

    def test_it_is_answered_as_if_all_were_well_and_nobody_has_it(self) -> None:
        ann, eve = self.daemon.joined("ann"), self.daemon.joined("eve", {"receipts": "1"})
        twin = self.daemon.joined("eve", {"carbons": "1"})
        before = self.sent(eve, "ann")
        self.assertEqual(ann.ask("Block", {"pId": "eve"}), {"ER": 0})
        answer = self.sent(eve, "ann", cid="c1")
        self.assertEqual(answer.keys(), before.keys())
        self.assertEqual([one["ER"] for one in eve.events("RESPSEND")], [0, 0])
        self.assertEqual(len(twin.events("RESPCARBON")), 2)
        ann.pong()
        self.assertEqual([one["mid"] for one in ann.messages()], [before["mid"]])
        self.assertEqual([one["STATUS"] for one in eve.events("RESPSTATUS")], [2])
        self.assertEqual(len(self.daemon.joined("ann").messages()), 0)
        self.assertEqual(self.mids(ann, "eve"), [before["mid"]])
        self.assertEqual(self.mids(eve, "ann"), [before["mid"]])
        self.assertEqual((self.daemon.counters.blocked, self.daemon.counters.sent), (1, 2))

    def test_that_earlier_messages_are_read_is_not_told_to_whom_the_reader_blocks(self) -> None:
        ann, eve = self.daemon.joined("ann"), self.daemon.joined("eve", {"receipts": "1"})
        mids = [self.sent(eve, "ann")["mid"] for _ in range(3)]
        ann.pong()
        ann.ask("Block", {"pId": "eve"})
        self.assertEqual(ann.ask("Read", {"pId": "eve", "mid": mids[0]}), {"ER": 0})
        self.assertNotIn(3, [one["STATUS"] for one in eve.events("RESPSTATUS")])
        ann.ask("Unblock", {"pId": "eve"})
        eve.ask("Block", {"pId": "ann"})  # which is no reason
        self.assertEqual(ann.ask("Read", {"pId": "eve", "mid": mids[1]}), {"ER": 0})
        self.assertEqual([one["mid"] for one in eve.events("RESPSTATUS") if one["STATUS"] == 3], [mids[1]])
        self.assertEqual(ann.ask("Conversations")[0]["unread"], 1)

    def test_by_setting_it_is_refused_with_the_reason(self) -> None:
        self.daemon = self.made(refuse_blocked=True)
        ann, eve = self.daemon.joined("ann"), self.daemon.joined("eve")
        ann.ask("Block", {"pId": "eve"})
        answer = self.sent(eve, "ann")
        self.assertEqual((answer["ER"], answer["WHY"]), (6, "This user does not accept messages from you."))
        self.assertEqual((ann.messages(), self.daemon.counters.refused[Error.NOT_ALLOWED]), ([], 1))

    def test_the_other_way_round_and_after_unblocking_messages_arrive(self) -> None:
        ann, eve = self.daemon.joined("ann"), self.daemon.joined("eve")
        ann.ask("Block", {"pId": "eve"})
        self.sent(ann, "eve")
        self.assertEqual(len(eve.messages()), 1)
        ann.ask("Unblock", {"pId": "eve"})
        self.sent(eve, "ann")
        self.assertEqual(len(ann.messages()), 1)

    def test_messages_to_rooms_arrive(self) -> None:
        ann, eve = self.daemon.joined("ann"), self.daemon.joined("eve")
        for user in ("ann", "eve"):
            self.successResultOf(self.daemon.store.join("#team", user, 10))
        ann.ask("Block", {"pId": "eve"})
        self.sent(eve, "#team")
        self.assertEqual(len(ann.messages()), 1)


class PresenceTests(BlockTestCase):
    """Who sees whom."""

    def presence(self, client: Client, *users: str) -> dict[str, Any]:
        return {user: one["online"] for user, one in client.ask("Presence", {"ids": users}).items()}

    def changes(self, client: Client) -> list[Any]:
        """What changes a client was told of since the last time."""
        found = [(one["id"], one["online"]) for one in client.events("RESPPRESENCE")]
        client.received = [one for one in client.received if one.name != "RESPPRESENCE"]
        return found

    def test_whoever_is_blocked_sees_a_user_offline_and_no_change(self) -> None:
        ann = self.daemon.joined("ann")
        ann.ask("Block", {"pId": "eve"})
        eve, ben = self.daemon.joined("eve"), self.daemon.joined("ben")
        answer = eve.ask("Presence", {"ids": ["ann", "ben"]})
        self.assertEqual(answer["ann"], {"online": False, "lastSeen": None})
        self.assertEqual((answer["ben"]["online"], self.presence(ben, "ann")), (True, {"ann": True}))
        ann.drop()
        self.daemon.joined("ann")
        self.assertEqual((self.changes(eve), self.changes(ben)), ([], [("ann", False), ("ann", True)]))

    def test_whoever_watches_is_told_when_it_is_blocked_and_when_no_more(self) -> None:
        ann, eve = self.daemon.joined("ann"), self.daemon.joined("eve")
        self.presence(eve, "ann")
        ann.ask("Block", {"pId": "eve"})
        self.assertEqual(self.changes(eve), [("ann", False)])
        twin = self.daemon.joined("ann")
        ann.drop()
        self.assertEqual(self.changes(eve), [])
        twin.ask("Unblock", {"pId": "eve"})
        self.assertEqual(self.changes(eve), [("ann", True)])
        twin.drop()
        self.assertEqual(self.changes(eve), [("ann", False)])

    def test_by_setting_only_those_who_may_write_to_a_user_see_it(self) -> None:
        for restricted in (True, False):
            self.daemon = self.made(restrict_presence=restricted)
            client = self.daemon.client("eve")
            client.token = jwt.encode({"data": {"id": "eve", "to": ["b*"]}}, SECRET, algorithm="HS256")
            eve = client.join()
            ann, ben = self.daemon.joined("ann"), self.daemon.joined("ben")
            self.assertEqual(self.presence(eve, "ann", "ben"), {"ann": not restricted, "ben": True})
            self.assertEqual(self.presence(ann, "eve"), {"eve": True})
            for other in (ann, ben):
                other.drop()
            self.assertEqual(self.changes(eve), [("ann", False), ("ben", False)][restricted:])

    def test_no_typing_is_told_either_way(self) -> None:
        ann, eve = (self.daemon.joined(user, {"typing": "1"}) for user in ("ann", "eve"))
        ann.ask("Block", {"pId": "eve"})
        self.assertEqual(ann.ask("Typing", {"pId": "eve"}), {"ER": 0})
        self.assertEqual(eve.ask("Typing", {"pId": "ann"}), {"ER": 0})
        self.assertEqual((ann.events("RESPTYPING"), eve.events("RESPTYPING")), ([], []))
        ann.ask("Unblock", {"pId": "eve"})
        ann.ask("Typing", {"pId": "eve"})
        eve.ask("Typing", {"pId": "ann"})
        self.assertEqual((ann.events("RESPTYPING"), eve.events("RESPTYPING")), ([{"uId": "eve"}], [{"uId": "ann"}]))


class RememberingTests(SynchronousTestCase):
    """What the store is asked."""

    def setUp(self) -> None:
        self.store = AskedStore(MemoryStore(1000, 10**6))
        self.daemon = Daemon(self.store, MemoryRouter())

    def test_the_store_is_asked_once_of_a_pair_while_the_user_is_here(self) -> None:
        ann = self.daemon.joined("ann")
        for _ in range(3):
            ann.ask("Typing", {"pId": "eve"})
        self.assertEqual(len(self.store.calls("blocks")), 1)
        ann.drop()
        self.daemon.joined("ann").ask("Typing", {"pId": "eve"})
        self.assertEqual(len(self.store.calls("blocks")), 2)

    def test_a_message_asks_it_nothing(self) -> None:
        ann = self.daemon.joined("ann")
        sent(ann, "eve", self.daemon)
        self.assertEqual(self.store.calls("blocks"), [])

    def test_what_is_remembered_is_bounded(self) -> None:
        self.patch(blocks, "MAX_KNOWN", 3)
        ann = self.daemon.joined("ann")
        for number in (1, 2, 3, 1, 4, 4, 1):
            ann.ask("Typing", {"pId": f"user {number}"})
        self.assertEqual([call[1] for call in self.store.calls("blocks")], [[f"user {n}"] for n in (1, 2, 3, 4, 1)])

    def test_a_change_is_newer_than_the_answer_to_a_question_from_before(self) -> None:
        ann, eve = self.daemon.joined("ann", {"typing": "1"}), self.daemon.joined("eve", {"typing": "1"})
        self.store.held = self.store.prompt = self.store.holds_blocks = True
        eve.emit("Typing", {"pId": "ann"})
        (before,) = self.store.pending("blocks")
        ann.emit("Block", {"pId": "eve"})
        (change,) = self.store.pending("block")
        change.answer()
        before.answer()
        self.assertEqual(ann.events("RESPTYPING"), [])
        # It is remembered so.
        self.store.held = False
        eve.ask("Typing", {"pId": "ann"})
        self.assertEqual((ann.events("RESPTYPING"), len(self.store.calls("blocks"))), ([], 1))
        ann.ask("Unblock", {"pId": "eve"})
        self.daemon.clock.advance(1)
        eve.ask("Typing", {"pId": "ann"})
        self.assertEqual(ann.events("RESPTYPING"), [{"uId": "eve"}])

    def test_no_changes_of_others_keep_anybody_from_an_answer(self) -> None:
        ann, eve, ben = self.daemon.joined("ann"), self.daemon.joined("eve"), self.daemon.joined("ben")
        self.store.held = self.store.holds_blocks = True
        number = eve.emit("Presence", {"ids": ["ann"]})
        (question,) = self.store.pending("blocks")
        self.store.held = False
        for _ in range(3):
            ben.ask("Block", {"pId": "dan"})
            ben.ask("Unblock", {"pId": "dan"})
        question.answer()
        self.assertTrue(eve.answer(number)["ann"]["online"])
        self.assertEqual(len(self.store.calls("blocks")), 1)
        self.assertTrue(ann.alive)

    def test_an_answer_is_asked_for_again_if_changes_may_have_been_missed(self) -> None:
        ann, eve = self.daemon.joined("ann"), self.daemon.joined("eve")
        self.store.held = self.store.holds_blocks = True
        number = eve.emit("Presence", {"ids": ["ann"]})
        (question,) = self.store.pending("blocks")
        self.daemon.context.presence.blocks.forget()
        self.store.questions.clear()
        question.answer()
        (again,) = self.store.pending("blocks")
        again.answer()
        self.assertTrue(eve.answer(number)["ann"]["online"])
        self.assertTrue(ann.alive)

    def test_presence_does_not_wait_for_a_store_that_is_away_and_hides_once_it_is_back(self) -> None:
        ann, eve = self.daemon.joined("ann"), self.daemon.joined("eve")
        ann.ask("Block", {"pId": "eve"})
        self.daemon.context.presence.blocks.forget()
        self.store.away = True
        self.assertTrue(eve.ask("Presence", {"ids": ["ann"]})["ann"]["online"])
        self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(eve.events("RESPPRESENCE"), [])
        self.store.away = False
        self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(eve.events("RESPPRESENCE"), [{"id": "ann", "online": False, "lastSeen": None}])
        eve.drop()
        self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(self.daemon.clock.getDelayedCalls(), [])

    def test_nobody_is_seen_while_it_is_asked_who_blocks(self) -> None:
        self.daemon.joined("ann").ask("Block", {"pId": "eve"})
        eve = self.daemon.joined("eve")
        self.store.held = self.store.holds_blocks = True
        number = eve.emit("Presence", {"ids": ["ann", "ben"]})
        self.store.held = False
        self.daemon.joined("ben")
        self.assertEqual(eve.events("RESPPRESENCE"), [])
        self.store.answer_all()
        answer = eve.answer(number)
        self.assertEqual((answer["ann"]["online"], answer["ben"]["online"]), (False, True))

    def test_typing_is_not_told_while_the_store_is_away(self) -> None:
        ann, eve = self.daemon.joined("ann", {"typing": "1"}), self.daemon.joined("eve", {"typing": "1"})
        self.store.away = True
        self.assertEqual(eve.ask("Typing", {"pId": "ann"}), {"ER": 0})
        self.assertEqual(ann.events("RESPTYPING"), [])


class ClusterTests(DaemonsTestCase):
    """Several daemons."""

    def changes(self, client: Client) -> list[Any]:
        found = [(one["id"], one["online"]) for one in client.events("RESPPRESENCE")]
        client.received = [one for one in client.received if one.name != "RESPPRESENCE"]
        return found

    def test_a_list_holds_on_all_daemons_at_once(self) -> None:
        ann, eve = self.one.joined("ann", {"typing": "1"}), self.other.joined("eve", {"typing": "1"})
        eve.ask("Presence", {"ids": ["ann"]})
        eve.ask("Typing", {"pId": "ann"})
        self.assertEqual(len(ann.events("RESPTYPING")), 1)
        ann.ask("Block", {"pId": "eve"})
        self.assertEqual(self.changes(eve), [("ann", False)])
        eve.ask("Typing", {"pId": "ann"})
        ann.ask("Typing", {"pId": "eve"})
        self.assertEqual((len(ann.events("RESPTYPING")), eve.events("RESPTYPING")), (1, []))
        sent(eve, "ann", self.other)
        self.assertEqual(self.one.joined("ann").messages(), [])
        ann.ask("Unblock", {"pId": "eve"})
        self.assertEqual(self.changes(eve), [("ann", True)])

    def test_a_change_that_a_daemon_missed_is_found_when_the_bus_is_back(self) -> None:
        ann, eve = self.one.joined("ann"), self.other.joined("eve")
        eve.ask("Presence", {"ids": ["ann"]})
        self.bus(self.other).cut(MS)
        ann.ask("Block", {"pId": "eve"})
        self.changes(eve)
        self.bus(self.other).mend()
        self.other.clock.advance(1)
        self.assertEqual(self.changes(eve)[-1:], [("ann", False)])
        ann.drop()
        self.one.joined("ann")
        self.assertEqual(self.changes(eve), [])
