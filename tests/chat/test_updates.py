"""``Edit``, ``Delete``, ``React`` and ``Readers``: who may, who is told, and what is shown then."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.backends.null import NullStore
from kschat.chat.changes import MAX_EMOJI, MAX_REACTIONS
from kschat.chat.cluster_commands import InboxGrew
from kschat.chat.commands import SEARCH_COPIES
from kschat.chat.delivery import MAX_UPDATES
from kschat.chat.interfaces import RETRY_WAIT
from kschat.chat.message import Error
from kschat.chat.tokens import Rooms
from kschat.rates import RateSettings
from tests.chat.peers import Client, Daemon
from tests.chat.stores import AskedStore
from tests.chat.test_daemons import DaemonsTestCase
from tests.contracts.updates import react

UPDATES = {"updates": "1"}

#: Three hundred pages.
MANY_UPDATES = 30_000


def moderator(daemon: Daemon, user: str, moderates: Rooms) -> Client:
    """A client whose token says that it moderates rooms."""
    client = daemon.client(user, UPDATES)
    client.token = daemon.issuer.issue(user, 10**9, "*", moderates=moderates)
    return client.join()


class UpdatesTestCase(SynchronousTestCase):
    """Ann writes to Ben; both ask for updates."""

    def setUp(self) -> None:
        self.daemon = self.made()
        self.ann, self.ben = (self.daemon.joined(user, UPDATES) for user in ("ann", "ben"))

    def made(self, **more: Any) -> Daemon:
        self.store = AskedStore(MemoryStore(100_000, 100_000_000))
        return Daemon(self.store, MemoryRouter(), **more)

    def send(self, msg: object = "hi", to: object = "ben", sender: Client | None = None, **more: object) -> str:
        """Say something; its mid."""
        client = sender or self.ann
        number = client.emit("Send", {"uId": client.user, "pId": to, "msg": msg, **more})
        self.daemon.clock.advance(0)
        return str(client.answer(number)["mid"])

    def updates(self, client: Client) -> list[dict[str, Any]]:
        """The updates that a client was told, without their times."""
        found = client.events("RESPUPDATE")
        for one in found:
            del one["at"]
        return found

    def history(self, client: Client, peer: str) -> list[dict[str, Any]]:
        """A conversation as History shows it."""
        listed: list[dict[str, Any]] = client.ask("History", {"pId": peer})["MSG"]
        return listed

    def room(self, *users: str) -> list[Client]:
        """Members of the room ``#r``, with sockets that ask for updates."""
        clients = [self.daemon.joined(user, UPDATES, rooms="*") for user in users]
        for client in clients:
            self.assertEqual(client.ask("Join", {"room": "r"}), {"ER": 0})
        return clients


class ToldTests(UpdatesTestCase):
    """What clients are told, and shown."""

    def test_an_edit_is_told_to_all_sockets_of_both(self) -> None:
        others = [self.daemon.joined(user, UPDATES) for user in ("ann", "ben")]
        mid = self.send()
        now = int(self.daemon.clock.seconds() * 1000)
        self.assertEqual(self.ann.ask("Edit", {"mid": mid, "msg": {"a": [1]}}), {"ER": 0, "mid": mid, "at": now})
        expected = {"mid": mid, "kind": "edit", "uId": "ann", "pId": "ben", "msg": {"a": [1]}}
        for client, offset in ((self.ann, 1), (others[0], 1), (self.ben, 2), (others[1], 2)):
            self.assertEqual(self.updates(client), [{**expected, "offset": offset}])
        for client, peer in ((self.ann, "ben"), (self.ben, "ann")):
            (shown,) = self.history(client, peer)
            self.assertEqual((shown["msg"], shown["edited"], shown["mid"]), ({"a": [1]}, now, mid))

    def test_a_deleted_text_is_shown_to_nobody(self) -> None:
        mid = self.send("a secret")
        self.assertEqual(self.ann.ask("Delete", {"mid": mid})["ER"], 0)
        self.assertEqual(
            self.updates(self.ben), [{"mid": mid, "kind": "delete", "uId": "ann", "pId": "ben", "offset": 2}]
        )
        (shown,) = self.history(self.ben, "ann")
        self.assertIsNone(shown["msg"])
        self.assertIn("deleted", shown)
        (listed,) = self.ben.ask("Conversations")
        self.assertEqual((listed["last"]["msg"], "deleted" in listed["last"]), (None, True))

    def test_reactions_are_listed_by_emoji(self) -> None:
        mid = self.send()
        for client, emoji in ((self.ben, "+1"), (self.ann, "+1"), (self.ben, "\N{HEAVY BLACK HEART}")):
            self.assertEqual(client.ask("React", {"mid": mid, "emoji": emoji})["ER"], 0)
        self.assertEqual(
            self.history(self.ann, "ben")[0]["reactions"], {"+1": ["ann"], "\N{HEAVY BLACK HEART}": ["ben"]}
        )
        told = [(one["uId"], one["pId"], one["emoji"], one["offset"]) for one in self.updates(self.ann)]
        self.assertEqual(
            told, [("ben", "ann", "+1", 1), ("ann", "ben", "+1", 2), ("ben", "ann", "\N{HEAVY BLACK HEART}", 3)]
        )
        for client in (self.ann, self.ben):
            client.ask("React", {"mid": mid, "emoji": ""})
        self.assertNotIn("reactions", self.history(self.ann, "ben")[0])

    def test_ids_are_written_as_the_message_has_them(self) -> None:
        one, two = self.daemon.joined("1", UPDATES), self.daemon.joined("2", UPDATES)
        number = one.emit("Send", {"uId": 1, "pId": 2, "msg": "hi"})
        self.daemon.clock.advance(0)
        mid = one.answer(number)["mid"]
        one.ask("Edit", {"mid": mid, "msg": "ho"})
        two.ask("React", {"mid": mid, "emoji": "+1"})
        self.assertEqual([(told["uId"], told["pId"]) for told in self.updates(one)], [(1, 2), (2, 1)])

    def test_binary_is_edited_too(self) -> None:
        mid = self.send()
        placed = b'{"mid":"%b","msg":[{"_placeholder":true,"num":0}]}' % mid.encode()
        number = self.ann.emit("Edit", placed, parts=[b"\0\xff"])
        self.assertEqual(self.ann.answer(number)["ER"], 0)
        self.assertEqual(self.updates(self.ben)[0]["msg"], [b"\0\xff"])
        self.assertEqual(self.history(self.ben, "ann")[0]["msg"], [b"\0\xff"])

    def test_whoever_was_away_learns_of_it_in_the_order_of_the_inbox(self) -> None:
        self.ben.drop()
        first, second = self.send("first"), self.send("second")
        self.ann.ask("Edit", {"mid": first, "msg": "better"})
        third = self.send("third")
        ben = self.daemon.joined("ben", UPDATES)
        events = [(one.name, one.args[0]) for one in ben.read() if one.name.startswith("RESP")]
        shown = [
            (name, body["MSG"][0]["mid"], body["MSG"][0]["msg"])
            if name == "RESPRECEIVER"
            else (name, body["mid"], body["msg"])
            for name, body in events
        ]
        self.assertEqual(
            shown,
            [
                ("RESPRECEIVER", first, "better"),
                ("RESPRECEIVER", second, "second"),
                ("RESPUPDATE", first, "better"),
                ("RESPRECEIVER", third, "third"),
            ],
        )

    def test_what_was_deleted_is_not_delivered_any_more(self) -> None:
        self.ben.drop()
        first, second = self.send("a secret"), self.send("second")
        self.ann.ask("Edit", {"mid": first, "msg": "still a secret"})
        self.ann.ask("Delete", {"mid": first})
        for query, updates in ((UPDATES, [{"kind": "delete", "offset": 4}]), ({}, [])):
            ben = self.daemon.joined("ben", query)
            self.assertEqual([one["mid"] for one in ben.messages()], [second])
            self.assertEqual([{key: one[key] for key in ("kind", "offset")} for one in self.updates(ben)], updates)
            ben.drop()

    def test_a_client_of_the_tutorial_sees_none_of_it(self) -> None:
        self.ben.drop()
        plain = self.daemon.joined("ben")
        ann = self.daemon.joined("ann")
        mid = self.send()
        plain.pong()
        before = [one.name for one in plain.read()], [one.name for one in ann.read()]
        for name, payload in (("Edit", {"msg": 1}), ("React", {"emoji": "+1"}), ("Delete", {})):
            self.assertEqual(self.ann.ask(name, {"mid": mid, **payload})["ER"], 0)
            plain.pong()
        self.assertEqual(([one.name for one in plain.read()], [one.name for one in ann.read()]), before)
        # What it was not shown counts as delivered all the same.
        plain.drop()
        self.daemon.clock.advance(10)
        self.assertEqual(self.successResultOf(self.store.inbox("ben")).cursor, 4)
        later = self.send("later")
        self.assertEqual([one["mid"] for one in self.daemon.joined("ben").messages()], [later])

    def test_a_client_that_calls_acks_is_not_held_up_by_updates(self) -> None:
        self.ben.drop()
        plain = self.daemon.joined("ben")
        mid = self.send()
        plain.ack(plain.read()[-1].id or 0)
        plain.pong()
        for number in range(3):
            self.ann.ask("Edit", {"mid": mid, "msg": number})
            plain.pong()
        plain.drop()
        self.daemon.clock.advance(10)
        self.assertEqual(self.successResultOf(self.store.inbox("ben")).cursor, 4)

    def test_acks_that_come_before_the_pong_cover_the_updates_between(self) -> None:
        self.ben.drop()
        first = self.send("first")
        self.ann.ask("Edit", {"mid": first, "msg": "better"})
        self.send("second")
        self.ann.ask("React", {"mid": first, "emoji": "+1"})
        plain = self.daemon.joined("ben")
        for one in plain.read():
            if one.name == "RESPRECEIVER":
                plain.ack(one.id or 0)
        plain.pong()
        plain.drop()
        self.daemon.clock.advance(10)
        self.assertEqual(self.successResultOf(self.store.inbox("ben")).cursor, 4)

    def test_messages_in_one_event_stay_in_order_with_updates(self) -> None:
        self.ben.drop()
        mids = [self.send(number) for number in range(3)]
        self.ann.ask("React", {"mid": mids[0], "emoji": "+1"})
        self.ann.ask("Delete", {"mid": mids[1]})
        mids.append(self.send(3))
        for query, expected in (
            ({**UPDATES, "batch": "1"}, [[0], [2], "react", "delete", [3]]),
            ({"batch": "1"}, [[0], [2], [3]]),
        ):
            ben = self.daemon.joined("ben", query)
            events = [(one.name, one.args[0]) for one in ben.read() if one.name.startswith("RESP")]
            found = [
                [one["msg"] for one in body["MSG"]] if name == "RESPRECEIVER" else body["kind"] for name, body in events
            ]
            self.assertEqual(found, expected)
            ben.drop()

    def test_sync_shows_updates_to_those_who_asked_for_them(self) -> None:
        mid = self.send("old")
        for number in range(150):
            self.ann.ask("Edit", {"mid": mid, "msg": number})
        last = self.send("last")
        page = self.ben.ask("Sync", {"offset": 1})
        self.assertEqual((len(page["MSG"]), page["more"]), (100, True))
        self.assertEqual({one["kind"] for one in page["MSG"]}, {"edit"})
        page = self.ben.ask("Sync", {"offset": 101})
        self.assertEqual([one.get("kind") for one in page["MSG"]], ["edit"] * 50 + [None])
        plain = self.daemon.joined("ben")
        page = plain.ask("Sync", {"offset": 1})
        self.assertEqual([(one["mid"], one["offset"]) for one in page["MSG"]], [(last, 152)])
        self.assertFalse(page["more"])

    def test_sync_goes_past_many_pages_of_updates(self) -> None:
        mid = self.send()
        target = self.successResultOf(self.store.find("ann", mid, "ben"))
        assert target is not None
        for number in range(MANY_UPDATES):
            self.successResultOf(self.store.change(react(target, str(number), sender="ben")))
        last = self.send(to="ann", sender=self.ben)
        plain = self.daemon.joined("ann")
        page = plain.ask("Sync", {"offset": 0})
        self.assertEqual([one["mid"] for one in page["MSG"]], [last])
        self.assertFalse(page["more"])
        self.assertEqual(plain.ask("Sync", {"offset": page["MSG"][0]["offset"]}), {"MSG": [], "more": False})

    def test_recovery_goes_on_behind_an_update(self) -> None:
        self.ben.drop()
        ben = self.daemon.joined("ben", {**UPDATES, "recover": "1"})
        mid = self.send()
        self.ann.ask("Edit", {"mid": mid, "msg": "1"})
        ben.read()
        self.assertEqual(ben.noted, "2")
        pid, noted = ben.pid, ben.noted
        ben.drop()
        self.ann.ask("Edit", {"mid": mid, "msg": "2"})
        ben = self.daemon.client("ben", {**UPDATES, "recover": "1"}).join(pid=pid, offset=noted)
        self.assertEqual([(one["msg"], one["offset"]) for one in self.updates(ben)], [("2", 3)])
        self.assertEqual(ben.messages(), [])

    def test_an_update_is_no_message_to_receipts_and_carbons(self) -> None:
        ann = self.daemon.joined("ann", {"receipts": "1", "carbons": "1"})
        mid = self.send()
        self.ben.pong()
        self.ann.ask("Edit", {"mid": mid, "msg": 1})
        self.ben.pong()
        self.assertEqual(ann.events("RESPSTATUS"), [{"pId": "ben", "mid": mid, "STATUS": 2}])
        self.assertEqual(len(ann.events("RESPCARBON")), 1)

    def test_a_repeat_is_answered_and_not_done_twice(self) -> None:
        mid = self.send()
        for repeat in (False, True):
            answer = self.ann.ask("Edit", {"mid": mid, "msg": 1, "cid": "e1"})
            self.assertEqual((answer["ER"], answer.get("repeat", False)), (0, repeat))
        self.assertEqual(len(self.updates(self.ben)), 1)

    def test_a_message_that_is_sent_again_is_not_what_it_was(self) -> None:
        mid = self.send("a secret", cid="c1")
        self.ann.ask("Delete", {"mid": mid})
        ben = self.daemon.joined("ben")
        self.assertEqual(self.send("a secret", cid="c1"), mid)
        self.assertEqual((len(self.ben.messages()), ben.messages()), (1, []))
        self.assertEqual(len(self.history(self.ann, "ben")), 1)


class RefusedTests(UpdatesTestCase):
    """Who may not, and why."""

    def refused(self, client: Client, name: str, payload: dict[str, object]) -> tuple[int, str]:
        answer = client.ask(name, payload)
        return answer["ER"], answer.get("WHY", "")

    def test_a_message_of_another_can_only_be_reacted_to(self) -> None:
        mid = self.send()
        for name, more, verb in (("Edit", {"msg": 1}, "edit"), ("Delete", {}, "delete")):
            refusal = self.refused(self.ben, name, {"mid": mid, **more})
            self.assertEqual(refusal, (Error.NOT_ALLOWED, f"You may {verb} your own messages only."))
        self.assertEqual(self.history(self.ben, "ann")[0]["msg"], "hi")

    def test_what_a_user_may_not_see_is_not_there(self) -> None:
        eve = self.daemon.joined("eve", UPDATES)
        mid = self.send()
        said = set()
        for asked in (mid, "0" * 24):
            for name, more in (("Edit", {"msg": 1}), ("Delete", {}), ("React", {"emoji": "+1"})):
                for peer in ({}, {"pId": "ann"}, {"pId": "#r"}):
                    said.add(self.refused(eve, name, {"mid": asked, **more, **peer}))
        self.assertEqual(said, {(Error.INVALID, "There is no such message in your conversations.")})

    def test_the_conversation_may_be_named(self) -> None:
        mid = self.send()
        self.assertEqual(self.refused(self.ann, "Edit", {"mid": mid, "msg": 1, "pId": "eve"})[0], Error.INVALID)
        self.assertEqual(self.refused(self.ann, "Edit", {"mid": mid, "msg": 1, "pId": "ben"})[0], 0)

    def test_a_message_can_be_changed_for_a_while(self) -> None:
        self.daemon = self.made(edit_within=60.0)
        self.ann, self.ben = (self.daemon.joined(user, UPDATES) for user in ("ann", "ben"))
        mid = self.send()
        self.daemon.clock.advance(60)
        self.assertEqual(self.refused(self.ann, "Edit", {"mid": mid, "msg": 1})[0], 0)
        self.daemon.clock.advance(0.001)
        for name, more, verb in (("Edit", {"msg": 1}, "edit"), ("Delete", {}, "delete")):
            refusal = self.refused(self.ann, name, {"mid": mid, **more})
            self.assertEqual(refusal, (Error.NOT_ALLOWED, f"The message is too old to {verb}."))
        self.assertEqual(self.refused(self.ben, "React", {"mid": mid, "emoji": "+1"})[0], 0)

    def test_by_setting_nothing_can_be_changed(self) -> None:
        self.daemon = self.made(edit_within=0.0)
        self.ann = self.daemon.joined("ann")
        mid = self.send()
        self.assertEqual(self.refused(self.ann, "Delete", {"mid": mid})[0], Error.NOT_ALLOWED)

    def test_who_moderates_a_room_may_delete_there(self) -> None:
        ann, ben = self.room("ann", "ben")
        eve = moderator(self.daemon, "eve", ("r",))
        eve.ask("Join", {"room": "r"})
        mid, direct = self.send(to="#r", sender=ann), self.send(to="eve", sender=ann)
        self.daemon.clock.advance(10**6)
        self.assertEqual(self.refused(eve, "Edit", {"mid": mid, "msg": 1})[0], Error.NOT_ALLOWED)
        self.assertEqual(self.refused(eve, "Delete", {"mid": direct})[0], Error.NOT_ALLOWED)
        self.assertEqual(self.refused(eve, "Delete", {"mid": mid})[0], 0)
        for client in (ann, ben, eve):
            told = [(one["kind"], one["uId"], one["pId"]) for one in self.updates(client)]
            self.assertEqual(told, [("delete", "eve", "#r")])
        other = self.send(to="#r", sender=ann)
        for moderates, error in ((("#x",), Error.NOT_ALLOWED), (("#r",), 0)):
            eve.drop()
            eve = moderator(self.daemon, "eve", moderates)
            self.assertEqual(self.refused(eve, "Delete", {"mid": other})[0], error)

    def test_what_was_deleted_can_not_be_changed(self) -> None:
        mid = self.send()
        self.ann.ask("Delete", {"mid": mid})
        for name, more in (("Edit", {"msg": 1}), ("React", {"emoji": "+1"})):
            self.assertEqual(
                self.refused(self.ann, name, {"mid": mid, **more}), (Error.INVALID, "The message was deleted.")
            )
        self.assertTrue(self.ann.ask("Delete", {"mid": mid})["repeat"])

    def test_payloads_that_are_not_valid_are_refused(self) -> None:
        mid = self.send()
        bad: list[tuple[str, object]] = [
            ("Edit", {"mid": mid}),
            ("Edit", {"msg": 1}),
            ("Edit", {"mid": "x", "msg": 1}),
            ("Edit", {"mid": mid, "msg": 1, "pId": ""}),
            ("Edit", {"mid": mid, "msg": 1, "cid": "x" * 65}),
            ("Delete", {}),
            ("React", {"mid": mid}),
            ("React", {"mid": mid, "emoji": 1}),
            ("React", {"mid": mid, "emoji": "x" * (MAX_EMOJI + 1)}),
            ("Readers", {"pId": "ben", "mid": mid}),
            ("Readers", {"pId": "#r"}),
        ]
        for name, payload in bad:
            self.assertEqual(self.ann.ask(name, payload)["ER"], Error.INVALID, (name, payload))
        self.assertEqual(self.updates(self.ben), [])

    def test_odd_texts_are_edited_as_they_are_sent(self) -> None:
        mid = self.send()
        for text, shown in (
            (b'"\\ud83d"', "\ufffd"),
            (b"123456789012345678901234567890", 1.2345678901234568e29),
            (b'{"a":1,"a":2}', {"a": 2}),
        ):
            payload = b'{"mid":"%b","pId":"ben","msg":%b}' % (mid.encode(), text)
            self.assertEqual(self.ann.ask("Edit", payload)["ER"], 0, text)
            found = self.history(self.ben, "ann")[0]["msg"]
            self.assertIn(found, (shown, "\ud83d"))

    def test_a_message_has_so_many_reactions(self) -> None:
        clients = self.room("ann", *[f"u{number}" for number in range(MAX_REACTIONS)])
        mid = self.send(to="#r", sender=clients[0])
        for client in clients[1:]:
            self.assertEqual(client.ask("React", {"mid": mid, "emoji": "+1"})["ER"], 0)
        refusal = self.refused(clients[0], "React", {"mid": mid, "emoji": "+1"})
        self.assertEqual(refusal, (Error.TOO_MANY, f"A message has at most {MAX_REACTIONS} reactions."))

    def test_updates_count_as_messages_that_are_sent(self) -> None:
        self.daemon = self.made(rates=RateSettings(user_sends=5, burst=1))
        self.ann, self.ben = (self.daemon.joined(user, UPDATES) for user in ("ann", "ben"))
        mid = self.send()
        answers = [self.ann.ask("Edit", {"mid": mid, "msg": number})["ER"] for number in range(8)]
        self.assertEqual(answers[:4] + answers[-1:], [0] * 4 + [Error.TOO_MANY])

    def test_a_search_for_a_message_counts_as_many_copies(self) -> None:
        self.daemon = self.made(rates=RateSettings(user_copies=2 * SEARCH_COPIES, burst=1))
        self.ann, self.ben = (self.daemon.joined(user, UPDATES) for user in ("ann", "ben"))
        mid = self.send()
        for more, refused in (({"pId": "ben"}, False), ({}, True)):
            answers = [self.ann.ask("Edit", {"mid": mid, "msg": number, **more})["ER"] for number in range(4)]
            self.assertEqual(Error.TOO_MANY in answers, refused, answers)

    def test_who_is_blocked_is_answered_as_of_send(self) -> None:
        mid = self.send()
        self.ben.ask("Block", {"pId": "ann"})
        self.assertEqual(self.refused(self.ann, "Edit", {"mid": mid, "msg": 1})[0], 0)
        self.assertEqual((self.updates(self.ben), self.history(self.ben, "ann")[0]["msg"]), ([], "hi"))
        self.daemon = self.made(refuse_blocked=True)
        self.ann, self.ben = (self.daemon.joined(user, UPDATES) for user in ("ann", "ben"))
        mid = self.send()
        self.ben.ask("Block", {"pId": "ann"})
        self.assertEqual(self.refused(self.ann, "Edit", {"mid": mid, "msg": 1})[0], Error.NOT_ALLOWED)
        self.assertEqual(self.refused(self.ann, "Delete", {"mid": mid})[0], 0)

    def test_where_nothing_is_kept_nothing_is_changed(self) -> None:
        ann = Daemon(NullStore(), MemoryRouter()).joined("ann")
        for name in ("Edit", "Delete", "React", "Readers"):
            self.assertEqual(ann.ask(name, {})["ER"], Error.NO_STORE)

    def test_while_the_store_is_away_it_is_refused(self) -> None:
        mid = self.send()
        self.store.away = True
        self.assertEqual(self.refused(self.ann, "Edit", {"mid": mid, "msg": 1})[0], Error.NO_STORE)
        self.store.away = False
        self.store.held = True
        number = self.ann.emit("Edit", {"mid": mid, "msg": 1})
        self.store.questions.pop(0).answer()
        self.store.questions.pop(0).refuse()
        self.assertEqual(self.ann.answer(number)["ER"], Error.NO_STORE)

    def test_too_many_at_once_are_refused(self) -> None:
        mid = self.send()
        clients = [self.daemon.joined("ann") for _ in range(MAX_UPDATES // 30 + 2)]
        self.store.held = True
        answers: list[Any] = []
        for client in clients:
            for _ in range(30):
                client.emit("Delete", {"mid": mid})
                while self.store.pending("find"):
                    question = self.store.pending("find")[0]
                    self.store.questions.remove(question)
                    question.answer()
        for client in clients:
            answers += [one.args[0] for one in client.read() if not one.name]
        self.assertEqual({answer["ER"] for answer in answers}, {Error.BUSY})
        self.assertEqual(len(self.store.pending("change")), MAX_UPDATES)
        self.assertEqual(self.daemon.counters.full["updates"], len(answers))
        drained = self.daemon.context.delivery.drained()
        self.assertNoResult(drained)
        self.store.answer_all()
        self.successResultOf(drained)

    def test_a_daemon_that_is_going_down_takes_none(self) -> None:
        mid = self.send()
        self.daemon.context.delivery.closed = True
        self.assertEqual(self.refused(self.ann, "Edit", {"mid": mid, "msg": 1})[0], Error.GOING_DOWN)


class ReadersTests(UpdatesTestCase):
    """Who has read a message in a room."""

    def test_members_that_marked_it_as_read_are_listed(self) -> None:
        ann, ben, cem = self.room("ann", "ben", "cem")
        first, second = self.send(to="#r", sender=ann), self.send(to="#r", sender=ann)
        self.assertEqual(ann.ask("Readers", {"pId": "#r", "mid": first}), {"mid": first, "ids": []})
        cem.ask("Read", {"pId": "#r", "mid": second})
        ben.ask("Read", {"pId": "#r", "mid": first})
        self.assertEqual(ben.ask("Readers", {"pId": "#r", "mid": first}), {"mid": first, "ids": ["ben", "cem"]})
        self.assertEqual(ann.ask("Readers", {"pId": "#r", "mid": second}), {"mid": second, "ids": ["cem"]})

    def test_strangers_are_told_nothing(self) -> None:
        (ann,) = self.room("ann")
        mid = self.send(to="#r", sender=ann)
        answer = self.ben.ask("Readers", {"pId": "#r", "mid": mid})
        self.assertEqual(answer["ER"], Error.INVALID)


class DaemonsTests(DaemonsTestCase):
    """Updates cross daemons."""

    def test_sockets_on_another_daemon_are_told(self) -> None:
        ann, ben = self.one.joined("ann", UPDATES), self.other.joined("ben", UPDATES)
        there = self.other.joined("ann", UPDATES)
        mid = self.send(ann, "ben")
        self.brought(ben, mid, self.other)
        self.assertEqual(ann.ask("Edit", {"mid": mid, "msg": "ho"})["ER"], 0)
        self.assertEqual([type(command) for command in self.commands], [InboxGrew])
        self.turn()
        for client, offset in ((ann, 1), (there, 1), (ben, 2)):
            self.assertEqual([(one["msg"], one["offset"]) for one in client.events("RESPUPDATE")], [("ho", offset)])

    def turn(self) -> None:
        for daemon in self.all:
            daemon.clock.advance(RETRY_WAIT)


class PayloadTests(SynchronousTestCase):
    """What is on the wire."""

    def test_a_plain_message_has_no_field_more(self) -> None:
        daemon = Daemon(MemoryStore(100, 10**6), MemoryRouter())
        ann, ben = daemon.joined("ann"), daemon.joined("ben")
        ann.emit("Send", {"uId": "ann", "pId": "ben", "msg": "hi"})
        daemon.clock.advance(0)
        (shown,) = ben.messages()
        self.assertEqual(set(shown), {"uId", "pId", "msg", "rStatus", "msgTime", "mid", "offset"})
        self.assertEqual(msgspec.json.decode(b"null"), None)
