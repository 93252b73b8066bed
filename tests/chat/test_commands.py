"""Each event, valid and not: what it does, what it is answered, and that it never costs anybody a connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import commands
from kschat.chat.commands import COMMANDS, MAX_REQUESTS, Answer, Command, Request
from kschat.chat.message import Error
from kschat.wire.engineio import Revision
from kschat.wire.errors import Reason
from kschat.wire.jsonnumbers import MAX_REWRITTEN
from tests.chat.daemon import NOW
from tests.chat.house import Guest, House
from tests.chat.test_incoming import FIELDS, VALUES
from tests.wire.test_jsonnumbers import NUMBERS

REVISIONS: tuple[Revision, ...] = (3, 4)
MILLISECONDS = int(NOW * 1000)


class CommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.ann = self.house.guest("ann")
        self.ben = self.house.guest("ben")

    def answer(self, guest: Guest, name: str, *args: object) -> Any:
        """The ack of an event."""
        guest.heard()
        guest.say(name, *args, ack=7)
        self.house.turn()
        return guest.acks()[7]


class Sending(CommandTests):
    def test_a_message_is_acknowledged_confirmed_and_delivered_as_the_tutorial_does(self) -> None:
        for revision in REVISIONS:
            self.house = House()
            ann, ben = self.house.guest("ann", revision), self.house.guest("ben", revision)
            ann.say("Send", {"uId": "ann", "pId": "ben", "msg": "hi", "rno": 11, "time": 5}, ack=0)
            self.house.turn()
            ack, confirmed = ann.heard()
            mid = ack.body["mid"]
            self.assertEqual(
                (ack.kind, ack.id, ack.body),
                ("ack", 0, {"RESPONSE": "Send Emit is success.", "uId": "ann", "mid": mid, "msgTime": MILLISECONDS}),
            )
            self.assertEqual(
                (confirmed.name, confirmed.body),
                (
                    "RESPSEND",
                    {
                        "RC": 1,
                        "ER": 0,
                        "SID": "ann",
                        "RID": "ben",
                        "MSG": "hi",
                        "RANDOMNO": 11,
                        "MSGTIME": MILLISECONDS,
                        "STATUS": 1,
                        "mid": mid,
                    },
                ),
            )
            (delivered,) = ben.heard()
            self.assertIsNotNone(delivered.id)
            message = {
                "uId": "ann",
                "pId": "ben",
                "msg": "hi",
                "rStatus": 1,
                "msgTime": MILLISECONDS,
                "mid": mid,
                "offset": 1,
            }
            self.assertEqual((delivered.name, delivered.body), ("RESPRECEIVER", {"RC": 1, "ER": 0, "MSG": [message]}))

    def test_without_an_ack_respsend_alone_answers(self) -> None:
        self.ann.say("Send", {"uId": "ann", "pId": "ben", "msg": 1})
        self.ann.say("Send", {"uId": "ann", "pId": "", "msg": 1, "rno": 5})
        self.house.turn()
        refused, sent = self.ann.heard()
        self.assertEqual((refused.name, refused.body["ER"], refused.body["RANDOMNO"]), ("RESPSEND", 1, 5))
        self.assertEqual((sent.name, sent.body["ER"], sent.body["RANDOMNO"]), ("RESPSEND", 0, None))

    def test_any_json_arrives_as_it_was_sent(self) -> None:
        for text in (
            "null",
            "0",
            "1.0",
            "0.10",
            "9007199254740991",
            '""',
            '"\\u00e9\\n"',
            "[]",
            "{}",
            '{ "a" : [ 1 ] }',
            '{"_placeholder":true,"num":0}',
            '"é😀"',
        ):
            self.ann.text('2/kschat,["Send",{"uId":"ann","pId":"ben","msg":' + text + "}]")
            self.house.turn()
            self.ben.heard()
            raw = self.ben.line.writes[-1][0].payload.decode()
            self.assertIn(f'"msg":{text},', raw)

    def test_numbers_that_no_double_holds_arrive_as_javascript_writes_them_with_binary_and_without(self) -> None:
        for text, expected in NUMBERS.items():
            for msg, arrives, parts in (
                (text, expected, []),
                (f'{{"a":[{{"b":{text}}}]}}', f'{{"a":[{{"b":{expected}}}]}}', []),
                (f'[{text},{{"_placeholder":true,"num":0}}]', f'[{expected},{{"_placeholder":true,"num":0}}]', [b"x"]),
            ):
                self.ann.heard()
                head = f"{5 if parts else 2}{'1-' if parts else ''}/kschat,"
                self.ann.text(f'{head}7["Send",{{"uId":"ann","pId":"ben","msg":{msg},"rno":{text[:200]}}}]', *parts)
                self.house.turn()
                (ack,) = self.ann.acks().values()
                self.assertIn("mid", ack)
                raw = self.ben.line.writes[-1][0].payload.decode()
                self.assertIn(f'"msg":{arrives},', raw)
                offset = self.ben.heard()[-1].body["MSG"][0]["offset"]
                before = len(self.ben.line.writes)
                self.ben.say("History", {"pId": "ann", "limit": 1}, ack=5)
                self.ben.say("Sync", {"offset": offset - 1}, ack=6)
                answers = b"".join(write[0].payload for write in self.ben.line.writes[before:]).decode()
                self.assertEqual(answers.count(f'"msg":{arrives},'), 2, answers)

    def test_of_several_attachments_in_another_order_as_well(self) -> None:
        self.ann.text(
            '52-/kschat,["Send",{"uId":"ann","pId":"ben","msg":[1e21,-0.0,{"_placeholder":true,"num":1},'
            '{"_placeholder":true,"num":0},9007199254740993,1e400]}]',
            b"a",
            b"b",
        )
        self.house.turn()
        self.assertIn(b'"msg":[1e+21,0,', self.ben.line.writes[-1][0].payload)
        self.assertIn(b",9007199254740992,null]", self.ben.line.writes[-1][0].payload)

    def test_so_many_of_them_are_rewritten_and_a_message_with_more_is_refused(self) -> None:
        for count, error in ((MAX_REWRITTEN, 0), (MAX_REWRITTEN + 1, 1)):
            for head, tail, parts in (("2", "", []), ("51-", ',{"_placeholder":true,"num":0}', [b"x"])):
                msg = f"[{','.join(['1e5'] * count)}{tail}]"
                self.ann.text(f'{head}/kschat,["Send",{{"uId":"ann","pId":"ben","msg":{msg}}}]', *parts)
                self.house.turn()
                self.assertEqual(self.ann.events("RESPSEND")[0]["ER"], error)

    def test_a_large_message_beside_ids_with_a_point_is_not_looked_into(self) -> None:
        guest = self.house.guest("42")
        msg = f"[{','.join(['0.5', '1.0'] * MAX_REWRITTEN)}]"
        guest.text(f'2/kschat,["Send",{{"uId":42.0,"pId":42.0,"msg":{msg},"rno":1.5,"cid":"c1"}}]')
        self.house.turn()
        self.assertEqual(guest.events("RESPSEND")[0]["ER"], 0)
        self.assertIn(f'"msg":{msg},', guest.line.writes[-1][0].payload.decode())

    def test_other_fields_of_a_send_may_hold_any_number(self) -> None:
        for text in NUMBERS:
            if len(text) <= 256:
                self.ann.text(
                    f'2/kschat,3["Send",{{"uId":"ann","pId":"ben","msg":1,"rno":{text},"time":{text},"more":[{text}]}}]'
                )
                self.house.turn()
                (answer,) = self.ann.events("RESPSEND")
                self.assertEqual(answer["RANDOMNO"], json.loads(NUMBERS[text]))
                self.ann.text(f'2/kschat,3["Send",{{"uId":"ann","pId":"","msg":1,"rno":{text}}}]')
                (answer,) = self.ann.events("RESPSEND")
                self.assertEqual((answer["ER"], answer["RANDOMNO"]), (1, json.loads(NUMBERS[text])))

    def test_a_whole_number_is_the_same_user_however_it_is_written(self) -> None:
        guest = self.house.guest("42")
        for text in ("42", "42.0", "4.2e1", "420E-1"):
            guest.text(f'2/kschat,["Send",{{"uId":{text},"pId":{text},"msg":1}}]')
            self.house.turn()
            heard = {one.name: one.body for one in guest.heard()}
            self.assertEqual((heard["RESPSEND"]["SID"], heard["RESPRECEIVER"]["MSG"][0]["uId"]), (42, 42))
        # Not a fraction, nor what a double may have been rounded to.
        for text in ("42.5", "1e22", "9007199254740993.0", "1e400"):
            guest.text(f'2/kschat,["Send",{{"uId":{text},"pId":1,"msg":1}}]')
            self.assertEqual(guest.events("RESPSEND")[0]["ER"], 1)

    def test_ids_beyond_a_double_are_exact(self) -> None:
        user = "9007199254740993"
        other, guest = self.house.guest("9007199254740992"), self.house.guest(user)
        self.ann.text(f'2/kschat,["Send",{{"uId":"ann","pId":{user},"msg":1}}]')
        self.house.turn()
        self.assertEqual([one["MSG"][0]["pId"] for one in guest.events("RESPRECEIVER")], [user])
        self.assertEqual(other.events("RESPRECEIVER"), [])

    def test_ids_come_back_as_they_were_written(self) -> None:
        guest = self.house.guest("42")
        guest.send(42, 42)
        self.house.turn()
        heard = guest.heard()
        bodies = {one.name: one.body for one in heard if one.kind == "event"}
        self.assertEqual((bodies["RESPSEND"]["SID"], bodies["RESPSEND"]["RID"]), (42, 42))
        message = bodies["RESPRECEIVER"]["MSG"][0]
        self.assertEqual((message["uId"], message["pId"]), (42, 42))

    def test_a_number_and_its_string_are_the_same_user(self) -> None:
        guest = self.house.guest("42")
        for recipient in (42, "42"):
            self.ann.send("ann", recipient)
        self.house.turn()
        self.assertEqual(len(guest.events("RESPRECEIVER")), 2)

    def test_an_id_of_128_digits_is_served_to_the_end(self) -> None:
        user = "9" * 128
        guest = self.house.guest(user)
        guest.send(int(user), int(user))
        self.house.turn()
        (event,) = guest.events("RESPRECEIVER")
        self.assertEqual(event["MSG"][0]["uId"], user)

    def test_a_bad_payload_is_refused_with_what_can_be_told_of_it(self) -> None:
        table: list[tuple[object, object, object]] = [
            ({"uId": "ann", "pId": "ben", "rno": 5}, "ann", 5),
            ({"uId": 1.5, "pId": "ben", "msg": 1, "rno": "r"}, None, "r"),
            ({"uId": "ann", "pId": "ben", "msg": 1, "cid": 5, "rno": [1]}, "ann", [1]),
            ({"uId": "ann", "pId": "ben", "msg": 1, "rno": "x" * 300}, "ann", None),
            ({}, None, None),
            ("text", None, None),
            (None, None, None),
        ]
        for payload, uid, rno in table:
            self.ann.say("Send", payload, ack=3)
            ack, event = self.ann.heard()
            self.assertEqual((ack.kind, ack.id, ack.body["ER"], ack.body["uId"]), ("ack", 3, 1, uid), payload)
            self.assertEqual(ack.body["RESPONSE"], "Send Emit is failed.")
            self.assertEqual(
                (event.name, event.body["RC"], event.body["ER"], event.body["RANDOMNO"]), ("RESPSEND", 1, 1, rno)
            )
            self.assertEqual(ack.body["WHY"], event.body["WHY"])
            self.assertTrue(ack.body["WHY"].endswith("."), ack.body["WHY"])
        self.assertEqual(self.house.counters.refused, {1: len(table)})
        self.assertIsNone(self.ann.line.closed)

    def test_one_may_not_send_as_another(self) -> None:
        values: list[Any] = ["ben", "Ann", "ann ", "#ann", 7]
        for uid in values:
            ack = self.answer(self.ann, "Send", {"uId": uid, "pId": "ben", "msg": 1})
            self.assertEqual((ack["ER"], ack["uId"]), (6, uid))
        self.assertEqual(self.house.store.batches, [])

    def test_a_recipient_s_id_is_128_characters_at_the_most(self) -> None:
        for good in ("x" * 128, int("9" * 128), -int("9" * 127)):
            self.assertNotIn("ER", self.answer(self.ann, "Send", {"uId": "ann", "pId": good, "msg": 1}))
        for bad in ("x" * 129, int("9" * 129), -int("9" * 128)):
            ack = self.answer(self.ann, "Send", {"uId": "ann", "pId": bad, "msg": 1})
            self.assertEqual(ack["ER"], 1)
            self.assertIn(
                "pId" if isinstance(bad, str) else "id", ack["WHY"].lower() if isinstance(bad, int) else ack["WHY"]
            )

    def test_who_is_no_member_may_not_write_to_a_room(self) -> None:
        for room in ("#room", "#"):
            ack = self.answer(self.ann, "Send", {"uId": "ann", "pId": room, "msg": 1})
            self.assertEqual((ack["ER"], ack["WHY"]), (6, "You are not a member of that room."))

    def test_each_message_has_the_time_of_the_daemon_and_an_id_of_its_own(self) -> None:
        for _ in range(3):
            self.ann.send("ann", "ben", time=1)
            self.ann.send("ann", "ben", time=1)
            self.house.turn()
            self.house.clock.advance(1.5)
        messages = [event["MSG"][0] for event in self.ben.events("RESPRECEIVER")]
        self.assertEqual([one["msgTime"] - MILLISECONDS for one in messages], [0, 0, 1500, 1500, 3000, 3000])
        mids = [one["mid"] for one in messages]
        self.assertEqual(mids, sorted(set(mids)))

    def test_what_goes_on_holds_nothing_of_the_frame_that_it_came_in(self) -> None:
        """A small message in a large frame would keep the whole of it in the store."""
        self.ann.send("ann", "ben", "small", more="x" * 100_000)
        self.house.turn()
        ((message,),) = self.house.store.batches
        memory = memoryview(message.msg)
        self.assertLess(len(memory.obj) if isinstance(memory.obj, bytes) else len(memory), 1000)


class SendingBinary(CommandTests):
    def send(self, msg: object, *attachments: bytes, rno: object = 1) -> None:
        """Send ``msg`` with its placeholders."""
        payload = json.dumps(["Send", {"rno": rno, "uId": "ann", "pId": "ben", "msg": msg}])
        self.ann.text(f"5{len(attachments)}-/kschat,9{payload}", *attachments)
        self.house.turn()

    def hole(self, number: int) -> dict[str, Any]:
        return {"_placeholder": True, "num": number}

    def test_binary_arrives_in_each_revision(self) -> None:
        for ours in REVISIONS:
            for theirs in REVISIONS:
                self.house = House()
                self.ann, self.ben = self.house.guest("ann", ours), self.house.guest("ben", theirs)
                self.send({"a": self.hole(1), "b": [self.hole(0)]}, b"\0\xff", b"")
                (event,) = self.ben.heard()
                message = event.body["MSG"][0]["msg"]
                parts = event.attachments
                self.assertEqual(parts[message["a"]["num"]], b"")
                self.assertEqual(parts[message["b"][0]["num"]], b"\0\xff")
                self.assertEqual(len(parts), 2)
                confirmed = next(one for one in self.ann.heard() if one.kind == "event")
                self.assertEqual((confirmed.name, sorted(confirmed.attachments)), ("RESPSEND", [b"", b"\0\xff"]))

    def test_an_attachment_beside_msg_stays_behind(self) -> None:
        self.send(self.hole(1), b"beside", b"in it", rno=self.hole(0))
        (event,) = self.ben.heard()
        self.assertEqual((event.body["MSG"][0]["msg"], event.attachments), (self.hole(0), (b"in it",)))

    def test_an_attachment_that_is_named_twice_is_sent_once(self) -> None:
        self.send([self.hole(0), self.hole(0)], b"x")
        (event,) = self.ben.heard()
        self.assertEqual((event.body["MSG"][0]["msg"], event.attachments), ([self.hole(0)] * 2, (b"x",)))

    def test_what_looks_like_a_placeholder_in_text_stays_an_object(self) -> None:
        self.ann.send("ann", "ben", {"_placeholder": True, "num": 5})
        self.house.turn()
        (event,) = self.ben.heard()
        self.assertEqual((event.body["MSG"][0]["msg"], event.attachments), ({"_placeholder": True, "num": 5}, ()))


class Goodbyes(CommandTests):
    def test_logout_is_answered_and_ends_the_socket(self) -> None:
        for revision in REVISIONS:
            guest = self.house.guest("cem", revision)
            guest.say("Logout", ack=4)
            ack, event, end = guest.heard()
            self.assertEqual((ack.id, ack.body), (4, {"RC": 1, "ERR": 0}))
            self.assertEqual((event.name, event.body), ("RESPLOGOUT", {"RC": 1, "ERR": 0}))
            self.assertEqual(end.kind, "disconnect")
            self.assertNotIn("cem", self.house.router.bound)

    def test_logout_takes_any_arguments_and_no_ack(self) -> None:
        self.ann.say("Logout", {"uId": 1}, [2], None)
        self.assertEqual([one.kind for one in self.ann.heard()], ["event", "disconnect"])

    def test_one_who_logged_out_may_come_again(self) -> None:
        self.ann.say("Logout")
        self.ann.heard()
        self.ann.join({"token": self.house.token("ann")})
        self.assertEqual([one.kind for one in self.ann.heard()], ["connect"])

    def test_logout_is_for_this_socket_alone(self) -> None:
        other = self.house.guest("ann")
        self.ann.say("Logout")
        self.ben.send("ben", "ann")
        self.house.turn()
        self.assertEqual(len(other.events("RESPRECEIVER")), 1)

    def test_logout_works_however_many_requests_are_unanswered(self) -> None:
        self.house.store.answers.held = True
        for _ in range(MAX_REQUESTS + 2):
            self.ann.say("Conversations", {}, ack=1)
        self.ann.say("Logout", ack=2)
        self.assertEqual(self.ann.heard()[-1].kind, "disconnect")


class Requests(CommandTests):
    """What the events that ask the store have in common."""

    CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
        ("Read", {"pId": "ben", "mid": "0" * 24}),
        ("History", {"pId": "ben"}),
        ("Sync", {"offset": 0}),
        ("Conversations", {}),
        ("Join", {"room": "r"}),
        ("Leave", {"room": "r"}),
    )

    def setUp(self) -> None:
        super().setUp()
        self.ann = self.house.guest("ann", rooms="*")

    def test_each_is_answered_once(self) -> None:
        for name, payload in (*self.CALLS, ("Presence", {"ids": ["ben"]})):
            self.ann.heard()
            self.ann.say(name, payload, ack=5)
            acks = [one for one in self.ann.heard() if one.kind == "ack"]
            self.assertEqual([one.id for one in acks], [5], name)
            self.assertIn(acks[0].body.get("ER", 0) if isinstance(acks[0].body, dict) else 0, (0,), name)

    def test_each_may_come_without_an_ack(self) -> None:
        for name, payload in (*self.CALLS, ("Presence", {"ids": ["ben"]}), ("Typing", {"pId": "ben"})):
            self.ann.say(name, payload)
            self.ann.say(name, "nonsense")
        self.assertEqual([one for one in self.ann.heard() if one.kind == "ack"], [])
        self.assertIsNone(self.ann.line.closed)

    def test_a_bad_payload_is_refused_with_the_reason(self) -> None:
        for name, _ in (*self.CALLS, ("Presence", {}), ("Typing", {})):
            if name == "Conversations":
                continue
            bads: tuple[Any, ...] = (None, [], "x", {"pId": []})
            for bad in bads:
                ack = self.answer(self.ann, name, bad)
                self.assertEqual(sorted(ack), ["ER", "WHY"], name)
                self.assertEqual(ack["ER"], 1, name)
                self.assertIn(name, ack["WHY"])

    def test_whole_numbers_may_be_written_otherwise(self) -> None:
        guest = self.house.guest("42", rooms=("#7",))
        self.answer(guest, "Send", {"uId": 42, "pId": 42, "msg": 1})
        mid = self.answer(guest, "Send", {"uId": 42, "pId": 42, "msg": 2})["mid"]
        for name, payload, right in (
            ("History", '{"pId":42.0,"limit":1.0}', lambda ack: len(ack["MSG"]) == 1 and ack["more"]),
            ("History", '{"pId":4.2e1,"limit":1e2}', lambda ack: len(ack["MSG"]) == 2),
            ("Sync", '{"offset":1.0}', lambda ack: len(ack["MSG"]) == 1),
            ("Sync", '{"offset":0e0}', lambda ack: len(ack["MSG"]) == 2),
            ("Presence", '{"ids":[42.0,"ann",4.2e1]}', lambda ack: list(ack) == ["42", "ann"]),
            ("Read", f'{{"pId":42.0,"mid":"{mid}"}}', lambda ack: ack == {"ER": 0}),
            ("Typing", '{"pId":42.0}', lambda ack: ack == {"ER": 0}),
            ("Join", '{"room":7.0}', lambda ack: ack == {"ER": 0}),
            ("Leave", '{"room":70e-1}', lambda ack: ack == {"ER": 0}),
            ("History", '{"pId":42,"limit":1.5}', lambda ack: ack["ER"] == 1),
            ("History", '{"pId":42,"limit":1e400}', lambda ack: ack["ER"] == 1),
            ("Sync", '{"offset":-1.0}', lambda ack: ack["ER"] == 1),
            ("Sync", '{"offset":1e400}', lambda ack: ack["ER"] == 1),
            ("Presence", '{"ids":[42.5]}', lambda ack: ack["ER"] == 1),
            # What is not looked at may be anything.
            ("Typing", '{"pId":42,"more":[1e400,%s]}' % ("9" * 5000), lambda ack: ack == {"ER": 0}),
        ):
            guest.heard()
            guest.text(f'2/kschat,7["{name}",{payload}]')
            self.house.turn()
            ack = guest.acks()[7]
            self.assertTrue(right(ack), (name, payload, ack))

    def test_a_store_that_is_away_is_said_so(self) -> None:
        self.house.store.answers.away = self.house.store.looks.away = True
        for name, payload in self.CALLS:
            self.assertEqual(self.answer(self.ann, name, payload)["ER"], 3, name)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_store_that_fails_otherwise_is_logged_and_said_so(self) -> None:
        self.house.store.answers.broken = self.house.store.looks.broken = "answer"
        for name, payload in self.CALLS:
            self.assertEqual(self.answer(self.ann, name, payload)["ER"], 3, name)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1, name)

    def test_who_leaves_before_the_answer_is_not_answered(self) -> None:
        self.house.store.answers.held = self.house.store.looks.held = True
        for number, (name, payload) in enumerate(self.CALLS):
            self.ann.say(name, payload, ack=number)
        self.ann.text("1/kschat,")
        self.ann.heard()
        self.house.store.answers.give()
        self.house.store.looks.give()
        self.assertEqual(self.ann.heard(), [])

    def test_requests_that_are_unanswered_have_a_bound(self) -> None:
        self.house.store.answers.held = True
        for number in range(MAX_REQUESTS + 3):
            self.ann.say("History", {"pId": "ben"}, ack=number)
        refused = self.ann.acks()
        self.assertEqual(
            {number: ack["ER"] for number, ack in refused.items()}, {MAX_REQUESTS + n: 8 for n in range(3)}
        )
        for _ in range(MAX_REQUESTS):  # one at a time
            self.house.store.answers.give()
            self.house.turn()
        self.assertEqual(len(self.ann.acks()), MAX_REQUESTS)
        self.house.store.answers.held = False
        self.assertIn("MSG", self.answer(self.ann, "History", {"pId": "ben"}))

    def test_messages_are_taken_while_requests_are_unanswered(self) -> None:
        self.house.store.answers.held = True
        for _ in range(MAX_REQUESTS + 3):
            self.ann.say("Conversations", {})
        number = self.ann.send("ann", "ben")
        self.house.turn()
        self.house.store.answers.give()
        self.assertNotIn("ER", self.ann.acks()[number])


class Rooms(CommandTests):
    def test_what_a_token_allows_can_be_joined(self) -> None:
        some, all_, none = (self.house.guest("cem", rooms=rooms) for rooms in (("a", "#b"), "*", ()))
        for guest, allowed in ((some, {"a", "#a", "b", "#b"}), (all_, {"a", "#a", "b", "#b", "c", 7}), (none, set())):
            names: list[str | int] = ["a", "#a", "b", "#b", "c", 7]
            for room in names:
                ack = self.answer(guest, "Join", {"room": room})
                self.assertEqual(ack["ER"], 0 if room in allowed else 6, room)

    def test_a_message_to_a_room_reaches_its_members_but_the_sender(self) -> None:
        guests = [self.house.guest(user, rooms="*") for user in ("ann", "ben", "cem")]
        for guest in guests:
            self.answer(guest, "Join", {"room": "r"})
        self.ann.send("ann", "#r", "all")
        self.house.turn()
        self.assertEqual([len(guest.events("RESPRECEIVER")) for guest in guests], [0, 1, 1])
        self.answer(guests[1], "Leave", {"room": "#r"})
        self.ann.send("ann", "#r", "fewer")
        self.house.turn()
        self.assertEqual([len(guest.events("RESPRECEIVER")) for guest in guests], [0, 0, 1])

    def test_a_room_has_a_bound(self) -> None:
        self.house = House(max_room=2)
        acks = [self.answer(self.house.guest(f"user {n}", rooms="*"), "Join", {"room": "r"}) for n in range(3)]
        self.assertEqual([ack["ER"] for ack in acks], [0, 0, 4])

    def test_a_room_s_name_has_a_bound(self) -> None:
        guest = self.house.guest("ann", rooms="*")
        for good in ("x" * 127, "#" + "x" * 127):
            self.assertEqual(self.answer(guest, "Join", {"room": good})["ER"], 0)
        for bad in ("x" * 128, "#" + "x" * 128, "#", "", 10**127):
            ack = self.answer(guest, "Join", {"room": bad})
            self.assertEqual(ack["ER"], 1, bad)
            self.assertIn("room", ack["WHY"])


class Hearsay(CommandTests):
    """Typing and presence."""

    def test_typing_is_told_to_the_peer_s_sockets(self) -> None:
        asked = self.house.guest("ben", typing="1")
        user = self.house.guest("ben")
        user.say("Typing", {"pId": "nobody"})
        self.ann.say("Typing", {"pId": "ben"})
        for guest in (asked, user):
            self.assertEqual(guest.events("RESPTYPING"), [{"uId": "ann"}])
        self.assertEqual(self.ben.heard(), [], "it asked for nothing and never used anything new")
        self.assertEqual(self.ann.heard(), [])

    def test_typing_to_nobody_and_to_a_room_is_nothing(self) -> None:
        for peer in ("nobody", "#r"):
            self.ann.say("Typing", {"pId": peer})
        self.assertEqual(self.ann.heard(), [])

    def test_typing_is_dropped_for_those_who_do_not_keep_up(self) -> None:
        self.ben.say("Typing", {"pId": "nobody"})
        self.ben.line.congested = True
        self.ann.say("Typing", {"pId": "ben"})
        self.assertEqual(self.ben.heard(), [])

    def test_presence_is_told_and_then_each_change_until_none_is_asked_for(self) -> None:
        ack = self.answer(self.ann, "Presence", {"ids": ["ben", "cem", "ben", 7]})
        self.assertEqual(
            ack,
            {
                "ben": {"online": True, "lastSeen": None},
                "cem": {"online": False, "lastSeen": None},
                "7": {"online": False, "lastSeen": None},
            },
        )
        cem = self.house.guest("cem")
        self.assertEqual(self.ann.events("RESPPRESENCE"), [{"id": "cem", "online": True, "lastSeen": None}])
        second = self.house.guest("cem")
        self.house.clock.advance(5)
        cem.leave()
        self.assertEqual(self.ann.heard(), [])
        second.leave()
        seen = MILLISECONDS + 5000
        self.assertEqual(self.ann.events("RESPPRESENCE"), [{"id": "cem", "online": False, "lastSeen": seen}])
        self.assertEqual(
            self.answer(self.ann, "Presence", {"ids": ["cem"]})["cem"], {"online": False, "lastSeen": seen}
        )
        self.answer(self.ann, "Presence", {"ids": []})
        self.house.guest("cem")
        self.assertEqual(self.ann.heard(), [])

    def test_who_is_gone_is_told_nothing_of_it(self) -> None:
        self.answer(self.ann, "Presence", {"ids": ["cem"]})
        self.ann.leave()
        self.house.guest("cem").leave()
        self.assertEqual(self.ann.heard(), [])


class Anything(CommandTests):
    def test_events_that_are_not_known_are_passed_over(self) -> None:
        for name in ("send", "SEND", "", "constructor", "__proto__", "RESPSEND", "token", 5):
            self.ann.say(name, {"uId": "ann", "pId": "ben", "msg": 1}, ack=1)  # type: ignore[arg-type]
        self.assertEqual(self.ann.heard(), [])
        self.assertIsNone(self.ann.line.closed)

    @settings(max_examples=150)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(COMMANDS)),
                st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6) | VALUES, max_size=2),
                st.none() | st.integers(0, 5),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def test_whatever_is_sent_costs_nobody_a_connection(self, events: list[tuple[str, list[Any], int | None]]) -> None:
        self.setUp()
        ann = self.house.guest("ann", rooms="*")
        for name, args, ack in events:
            ann.say(name, *args, ack=ack)
            self.house.turn()
            if name == "Logout":
                ann.join({"token": self.house.token("ann", "*")})
            ann.heard()
        self.assertIsNone(ann.line.closed)
        self.assertIsNone(self.ben.line.closed)
        self.ben.heard()
        self.ben.send("ben", "ben")
        self.house.turn()
        self.assertEqual(len(self.ben.heard()), 3)

    @settings(max_examples=100)
    @given(st.binary(max_size=80).map(lambda noise: noise.decode("utf-8", "replace")))
    def test_any_text_is_an_event_or_ends_that_connection_alone(self, text: str) -> None:
        self.setUp()
        self.ann.text("2/kschat," + text)
        self.house.turn()
        self.assertIn(self.ann.line.closed, (None, Reason.PARSE_ERROR, Reason.TOO_LARGE))
        self.assertIsNone(self.ben.line.closed)

    def test_every_er_code_has_a_name(self) -> None:
        self.assertEqual([code.value for code in Error], list(range(9)))


class Table(SynchronousTestCase):
    """What the table of commands says of each event."""

    def test_an_entry_has_its_event_s_name_and_a_payload_that_is_decoded_by_its_type(self) -> None:
        for name, command in COMMANDS.items():
            self.assertEqual(command.name, name)
            self.assertTrue(issubclass(command.payload, msgspec.Struct), name)

    def test_what_each_event_needs(self) -> None:
        def named(asked: Callable[[Command[Any]], bool]) -> set[str]:
            return {command.name for command in COMMANDS.values() if asked(command)}

        kept = {"Read", "History", "Sync", "Conversations", "Join", "Leave", "Block", "Unblock", "Blocked"}
        kept |= {"Edit", "Delete", "React", "Readers", "PushSubscribe", "PushUnsubscribe"}
        self.assertEqual(named(lambda command: command.needs_store), {*kept, "PushKey"})
        self.assertEqual(named(lambda command: command.waits), {*kept, "Presence", "Token"})
        self.assertEqual(named(lambda command: command.tutorial), {"Send", "Logout"})

    def test_an_event_is_one_entry_and_its_function(self) -> None:
        class Echo(msgspec.Struct, frozen=True):
            text: str

        def echo(request: Request[Echo]) -> Answer:
            return Answer(msgspec.json.encode([request.payload.text]))

        entry = Command(name="Echo", payload=Echo, do=echo, needs_store=False, waits=False)
        self.patch(commands, "COMMANDS", {**COMMANDS, "Echo": entry})
        ann = House().guest("ann")
        for payload, answer in (({"text": "é"}, "é"), ({"text": 5}, 1)):
            ann.say("Echo", payload, ack=0)
            found = ann.acks()[0]
            self.assertEqual(found["ER"] if isinstance(found, dict) else found, answer)
