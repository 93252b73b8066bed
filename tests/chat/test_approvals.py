"""What users send and want while the operator's back end decides: in order, bounded, answered in any case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.budget import Budget
from kschat.chat import approvals
from kschat.chat.approvals import HELD_PART, MAX_HELD_USER, USER_PART
from kschat.chat.composer import Draft
from kschat.chat.interfaces import Decision, IAuthorizer
from kschat.chat.message import Error, Message
from kschat.chat.revocation import RevocationRequest
from kschat.chat.tokens import Identity
from kschat.rates import RateSettings
from kschat.wire.limits import Limits
from tests.chat.peers import Client, Daemon

YES = Decision(True)
NO = Decision(False, "Not now.")
SILENT = Decision(False, silent=True)
UPDATES = {"updates": "1"}


class Asked:
    """A question that the test answers."""

    def __init__(self, kind: str, *about: Any) -> None:
        self.kind = kind
        self.about = about
        self.fires: Deferred[Decision] = Deferred()

    def answer(self, decision: Decision = YES) -> None:
        self.fires.callback(decision)


@implementer(IAuthorizer)
class LateAuthorizer:
    """Decides when the test does.

    Attributes:
        known: what is decided at once, by kind.
        asked: the rest.
    """

    def __init__(self) -> None:
        self.known: dict[str, Decision] = {}
        self.asked: list[Asked] = []

    def _ask(self, kind: str, *about: Any) -> Decision | Deferred[Decision]:
        if kind in self.known:
            return self.known[kind]
        self.asked.append(Asked(kind, *about))
        return self.asked[-1].fires

    def may_join(self, user: str, room: str) -> Decision | Deferred[Decision]:
        return self._ask("join", user, room)

    def may_write(self, user: str, to: str) -> Decision | Deferred[Decision]:
        return self._ask("write", user, to)

    def may_send(self, message: Message) -> Decision | Deferred[Decision]:
        return self._ask("send", message)

    def take(self) -> list[Asked]:
        """What was asked since the last time."""
        asked, self.asked = self.asked, []
        return asked


class ApprovalsTestCase(SynchronousTestCase):
    """Ann writes to Ben; whether a message may be sent is decided when the test says so, all else at once."""

    def setUp(self) -> None:
        self.made()

    def made(self, known: Sequence[str] = ("join", "write"), **more: Any) -> None:
        self.authorizer = LateAuthorizer()
        self.authorizer.known = dict.fromkeys(known, YES)
        self.store = MemoryStore(100_000, 100_000_000)
        self.daemon = Daemon(self.store, MemoryRouter(), authorizer=self.authorizer, **more)
        self.ann, self.ben = (self.daemon.joined(user, UPDATES, rooms="*") for user in ("ann", "ben"))

    def send(self, msg: object = "hi", to: object = "ben", sender: Client | None = None, **more: object) -> int:
        """Say something; the number of its ack."""
        client = sender or self.ann
        return client.emit("Send", {"uId": client.user, "pId": to, "msg": msg, "rno": 7, **more})

    def turn(self) -> None:
        self.daemon.clock.advance(0)

    @property
    def held(self) -> int:
        """Messages that wait."""
        assert self.daemon.context.approvals is not None
        return self.daemon.context.approvals.held

    def decide(self, *decisions: Decision) -> None:
        """Answer what is asked, in order."""
        for asked, decision in zip(self.authorizer.take(), decisions, strict=True):
            asked.answer(decision)
        self.turn()

    def texts(self, client: Client | None = None) -> list[Any]:
        """What a client has received."""
        return [one["msg"] for one in (client or self.ben).messages()]

    def sent(self, msg: object = "hi", to: str = "ben") -> str:
        """A message that was sent: its mid."""
        number = self.send(msg, to)
        self.decide(YES)
        return str(self.ann.answer(number)["mid"])


class SendTests(ApprovalsTestCase):
    """Messages."""

    def test_the_double_is_an_authorizer(self) -> None:
        self.assertTrue(verifyObject(IAuthorizer, self.authorizer))

    def test_a_message_is_stored_when_it_is_allowed_and_not_before(self) -> None:
        number = self.send("hi")
        self.turn()
        (asked,) = self.authorizer.take()
        message = asked.about[0]
        self.assertEqual(("ann", "ben", b'"hi"'), (message.sender, message.recipient, bytes(message.msg)))
        self.assertEqual((None, [], 1), (self.ann.answer(number), self.texts(), self.held))
        asked.answer()
        self.turn()
        self.assertEqual("Send Emit is success.", self.ann.answer(number)["RESPONSE"])
        self.assertEqual((["hi"], 0), (self.texts(), self.held))

    def test_a_refused_one_is_answered_with_er_6_and_the_reason_and_reaches_nobody(self) -> None:
        for decision, why in ((NO, "Not now."), (Decision(False), "You may not send this message.")):
            number = self.send()
            self.decide(decision)
            answer = self.ann.answer(number)
            self.assertEqual((6, why), (answer["ER"], answer["WHY"]))
            self.assertEqual("Send Emit is failed.", answer["RESPONSE"])
            told = self.ann.events("RESPSEND")[-1]
            self.assertEqual((6, 7, why), (told["ER"], told["RANDOMNO"], told["WHY"]))
        self.assertEqual([], self.texts())
        self.assertEqual(2, self.daemon.counters.refused[Error.NOT_ALLOWED])

    def test_where_nobody_answers_the_default_holds(self) -> None:
        numbers = [self.send("a"), self.send("b")]
        self.decide(SILENT, Decision(True, silent=True))
        answer = self.ann.answer(numbers[0])
        self.assertEqual(
            (8, "It could not be checked whether you may do that; try again."), (answer["ER"], answer["WHY"])
        )
        self.assertEqual(["b"], self.texts())

    def test_a_fault_of_ours_refuses_the_message_and_holds_up_nothing(self) -> None:
        numbers = [self.send("a"), self.send("b")]
        bad, good = self.authorizer.take()
        good.answer()
        bad.fires.errback(ZeroDivisionError())
        self.turn()
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(
            (8, "Send Emit is success."), (self.ann.answer(numbers[0])["ER"], self.ann.answer(numbers[1])["RESPONSE"])
        )
        self.assertEqual((["b"], 0), (self.texts(), self.held))

    def test_whether_one_may_write_is_asked_before_what_is_written(self) -> None:
        self.made(known=())
        self.send("hi")
        (asked,) = self.authorizer.take()
        self.assertEqual(("write", ("ann", "ben")), (asked.kind, asked.about))
        asked.answer()
        (asked,) = self.authorizer.take()
        self.assertEqual("send", asked.kind)
        asked.answer()
        self.turn()
        self.assertEqual(["hi"], self.texts())
        number = self.send("no")
        self.decide(NO)
        self.assertEqual(6, self.ann.answer(number)["ER"])
        self.assertEqual([], self.authorizer.asked)

    def test_what_is_known_at_once_goes_the_same_way_as_without_asking(self) -> None:
        self.authorizer.known["send"] = YES
        number = self.send()
        self.assertEqual(0, self.held)
        self.turn()
        self.assertEqual("Send Emit is success.", self.ann.answer(number)["RESPONSE"])
        self.authorizer.known["send"] = NO
        self.assertEqual(6, self.ann.ask("Send", {"uId": "ann", "pId": "ben", "msg": "no"})["ER"])

    def test_without_an_authorizer_messages_go_straight_to_the_pipeline(self) -> None:
        context = Daemon(MemoryStore(10, 1000), MemoryRouter()).context
        self.assertIsNone(context.approvals)
        self.assertEqual((context.delivery.submit, context.delivery.update), (context.submit, context.update))

    def test_rates_are_counted_before_anything_is_asked(self) -> None:
        self.made(rates=RateSettings(user_sends=1.0, burst=2.0))
        numbers = [self.send() for _ in range(3)]
        self.assertEqual(2, len(self.authorizer.asked))
        self.assertEqual(4, self.ann.answer(numbers[2])["ER"])

    def test_a_refused_message_to_a_room_costs_no_copies(self) -> None:
        self.made(rates=RateSettings(user_copies=100.0))
        for client in (self.ann, self.ben):
            self.assertEqual({"ER": 0}, client.ask("Join", {"room": "r"}))
        for _ in range(20):
            self.send(to="#r")
            self.decide(NO)
        self.send("hi", to="#r")
        self.decide(YES)
        self.assertEqual(["hi"], self.texts())

    def test_the_api_and_other_servers_are_not_asked_about(self) -> None:
        answer = self.daemon.context.operations.send(Identity("system", None), Draft(recipient="ben", msg=Raw(b'"hi"')))
        self.turn()
        self.successResultOf(answer)
        self.assertEqual((["hi"], []), (self.texts(), self.authorizer.asked))


class OrderTests(ApprovalsTestCase):
    """One user's messages keep their order; others do not wait."""

    def test_answers_in_any_order_and_messages_in_the_order_sent(self) -> None:
        for number in range(5):
            self.send(number)
        asked = self.authorizer.take()
        for one, decision, texts in (
            (4, YES, []),
            (2, NO, []),
            (0, YES, [0]),
            (3, YES, [0]),
            (1, YES, [0, 1, 3, 4]),
        ):
            asked[one].answer(decision)
            self.turn()
            self.assertEqual(texts, self.texts())

    def test_one_known_at_once_waits_behind_one_that_is_not(self) -> None:
        self.send("first")
        self.authorizer.known["send"] = YES
        number = self.send("second")
        self.turn()
        self.assertEqual((None, []), (self.ann.answer(number), self.texts()))
        self.decide(YES)
        self.assertEqual(["first", "second"], self.texts())

    def test_refusals_keep_their_place_too(self) -> None:
        numbers = [self.send(), self.send()]
        first, second = self.authorizer.take()
        second.answer(NO)
        self.assertIsNone(self.ann.answer(numbers[1]))
        first.answer(NO)
        self.assertEqual([6, 6], [self.ann.answer(one)["ER"] for one in numbers])

    def test_the_two_sockets_of_a_user_are_one_sender(self) -> None:
        other = self.daemon.joined("ann")
        self.send("first")
        self.send("second", sender=other)
        first, second = self.authorizer.take()
        second.answer()
        self.turn()
        self.assertEqual([], self.texts())
        first.answer()
        self.turn()
        self.assertEqual(["first", "second"], self.texts())

    def test_others_are_not_held_up(self) -> None:
        eve = self.daemon.joined("eve")
        self.send("late")
        self.send("soon", sender=eve)
        _, asked = self.authorizer.take()
        asked.answer()
        self.turn()
        self.assertEqual(["soon"], self.texts())

    def test_all_that_goes_on_together_is_one_batch_and_one_write_a_socket(self) -> None:
        for number in range(10):
            self.send(number)
        asked = self.authorizer.take()
        for one in reversed(asked):
            one.answer()
        self.turn()
        self.assertEqual((1, list(range(10))), (self.daemon.counters.batches, self.texts()))

    def test_an_edit_waits_behind_a_message_and_a_deletion_behind_an_edit(self) -> None:
        mid = self.sent("old")
        self.send("first")
        edit = self.ann.emit("Edit", {"mid": mid, "msg": "new"})
        delete = self.ann.emit("Delete", {"mid": mid})
        first, edited = self.authorizer.take()
        edited.answer()
        self.turn()
        self.assertEqual((None, None), (self.ann.answer(edit), self.ann.answer(delete)))
        first.answer()
        self.turn()
        self.assertEqual([0, 0], [self.ann.answer(one)["ER"] for one in (edit, delete)])
        self.assertEqual(["edit", "delete"], [one["kind"] for one in self.ben.events("RESPUPDATE")])


class UpdateTests(ApprovalsTestCase):
    """Edits, deletions and reactions."""

    def test_an_edit_is_asked_about_as_what_it_says(self) -> None:
        mid = self.sent("old")
        number = self.ann.emit("Edit", {"mid": mid, "msg": "rude"})
        (asked,) = self.authorizer.take()
        self.assertEqual(b'"rude"', bytes(asked.about[0].msg))
        asked.answer(NO)
        self.assertEqual({"ER": 6, "WHY": "Not now."}, self.ann.answer(number))
        self.assertEqual("old", self.ben.ask("History", {"pId": "ann"})["MSG"][0]["msg"])
        number = self.ann.emit("Edit", {"mid": mid, "msg": "kind"})
        self.decide(YES)
        self.assertEqual(0, self.ann.answer(number)["ER"])
        self.assertEqual("kind", self.ben.ask("History", {"pId": "ann"})["MSG"][0]["msg"])

    def test_a_reaction_is_asked_about_as_writing_to_that_one(self) -> None:
        mid = self.sent()
        del self.authorizer.known["write"]
        number = self.ben.emit("React", {"mid": mid, "emoji": "+"})
        (asked,) = self.authorizer.take()
        self.assertEqual(("write", ("ben", "ann")), (asked.kind, asked.about))
        asked.answer(NO)
        self.assertEqual(6, self.ben.answer(number)["ER"])

    def test_a_deletion_is_not_asked_about(self) -> None:
        mid = self.sent()
        self.authorizer.known.clear()
        self.assertEqual(0, self.ann.ask("Delete", {"mid": mid})["ER"])
        self.assertEqual([], self.authorizer.asked)


class ContentTests(ApprovalsTestCase):
    """A back end may have a message say something else."""

    def test_everybody_has_the_other_content_the_sender_too(self) -> None:
        carbon = self.daemon.joined("ann", {"carbons": "1"})
        self.send("rude words")
        self.decide(Decision(True, msg=Raw(b'"*** words"')))
        self.assertEqual(["*** words"], self.texts())
        self.assertEqual("*** words", self.ann.events("RESPSEND")[-1]["MSG"])
        self.assertEqual("*** words", carbon.events("RESPCARBON")[0]["MSG"][0]["msg"])
        self.assertEqual("*** words", self.ann.ask("History", {"pId": "ben"})["MSG"][0]["msg"])

    def test_an_edit_as_well(self) -> None:
        mid = self.sent("old")
        self.ann.emit("Edit", {"mid": mid, "msg": "rude"})
        self.decide(Decision(True, msg=Raw(b'"***"')))
        self.assertEqual("***", self.ben.ask("History", {"pId": "ann"})["MSG"][0]["msg"])

    def test_attachments_stay_where_it_refers_to_them(self) -> None:
        place = b'{"_placeholder":true,"num":%d}'
        payload = b'{"uId":"ann","pId":"ben","msg":[' + place % 0 + b"," + place % 1 + b"]}"
        self.ann.emit("Send", payload, parts=[b"\x01", b"\x02"])
        self.decide(Decision(True, msg=Raw(b'{"kept":' + place % 1 + b"}")))
        self.assertEqual([{"kept": b"\x02"}], self.texts())

    def test_one_that_no_client_could_send_is_refused_and_logged_without_it(self) -> None:
        self.made(limits=Limits(max_payload=500, max_depth=10))
        bad = (b'"' + b"x" * 500 + b'"', b"[" * 11 + b"]" * 11, b'{"_placeholder":true,"num":0}')
        for msg in bad:
            number = self.send()
            with capturedLogs() as logs:
                self.decide(Decision(True, msg=Raw(msg)))
            answer = self.ann.answer(number)
            self.assertEqual((6, "You may not send this message."), (answer["ER"], answer["WHY"]))
            self.assertIn("the msg that a back end wants", formatEvent(logs[0]))
            self.assertNotIn(msg.decode(), formatEvent(logs[0]))
        self.assertEqual(([], 3), (self.texts(), self.daemon.counters.ask_silent["invalid"]))


class JoinTests(ApprovalsTestCase):
    """Rooms."""

    def setUp(self) -> None:
        self.made(known=("write", "send"))

    def test_a_user_is_a_member_when_it_is_allowed(self) -> None:
        number = self.ann.emit("Join", {"room": "r"})
        (asked,) = self.authorizer.take()
        self.assertEqual((("ann", "#r"), None), (asked.about, self.ann.answer(number)))
        asked.answer()
        self.assertEqual({"ER": 0}, self.ann.answer(number))
        self.assertEqual(["ann"], self.successResultOf(self.store.members("#r")))

    def test_a_refusal_says_why(self) -> None:
        for decision, answer in (
            (NO, {"ER": 6, "WHY": "Not now."}),
            (Decision(False), {"ER": 6, "WHY": "You may not join this room."}),
            (SILENT, {"ER": 8, "WHY": "It could not be checked whether you may do that; try again."}),
        ):
            number = self.ann.emit("Join", {"room": "r"})
            self.decide(decision)
            self.assertEqual(answer, self.ann.answer(number))
        self.assertEqual([], self.successResultOf(self.store.members("#r")))

    def test_a_room_that_the_token_does_not_allow_is_not_asked_about(self) -> None:
        client = self.daemon.joined("eve", rooms=("a",))
        self.assertEqual(6, client.ask("Join", {"room": "r"})["ER"])
        self.assertEqual([], self.authorizer.asked)

    def test_of_a_socket_that_has_left_meanwhile_nothing_is_done(self) -> None:
        self.ann.emit("Join", {"room": "r"})
        self.ann.drop()
        self.decide(YES)
        self.assertEqual([], self.successResultOf(self.store.members("#r")))
        self.assertEqual([], self.flushLoggedErrors())

    def test_how_many_a_socket_may_await_is_bounded(self) -> None:
        numbers = [self.ann.emit("Join", {"room": f"r{one}"}) for one in range(40)]
        self.assertEqual(32, len(self.authorizer.asked))
        self.assertEqual(8, self.ann.answer(numbers[-1])["ER"])


class TypingTests(ApprovalsTestCase):
    """Who may not write is not seen to type."""

    def test_typing_is_asked_about_as_writing(self) -> None:
        self.made(known=())
        ben = self.daemon.joined("ben", {"receipts": "1"})
        for decision, told in ((NO, []), (YES, [{"uId": "ann"}])):
            self.ann.emit("Typing", {"pId": "ben"})
            (asked,) = self.authorizer.take()
            self.assertEqual(("write", ("ann", "ben")), (asked.kind, asked.about))
            self.assertEqual([], ben.events("RESPTYPING"))
            asked.answer(decision)
            self.assertEqual(told, ben.events("RESPTYPING"))
            self.daemon.clock.advance(10)


class MeanwhileTests(ApprovalsTestCase):
    """What happens while nobody has decided."""

    def test_a_message_of_a_socket_that_has_left_is_sent_all_the_same(self) -> None:
        self.send("hi")
        self.ann.drop()
        self.decide(YES)
        self.assertEqual(["hi"], self.texts())
        self.assertEqual([], self.flushLoggedErrors())

    def test_a_refusal_for_a_socket_that_has_left_tells_nobody(self) -> None:
        self.send()
        self.ann.drop()
        self.decide(NO)
        self.assertEqual(([], []), (self.texts(), self.flushLoggedErrors()))

    def test_a_retry_by_cid_is_asked_about_again_and_stored_once(self) -> None:
        self.send("hi", cid="c")
        self.ann.drop()
        self.ann = self.daemon.joined("ann")
        number = self.send("hi", cid="c")
        self.decide(YES, YES)
        self.assertTrue(self.ann.answer(number)["repeat"])
        self.assertEqual(["hi"], self.texts())

    def test_a_token_that_was_revoked_meanwhile_sends_nothing_more(self) -> None:
        self.send("hi")
        self.successResultOf(self.daemon.context.operations.revoke(RevocationRequest(user="ann")))
        self.decide(YES)
        self.daemon.clock.advance(1)
        self.assertEqual([], self.texts())

    def test_what_an_erased_user_had_sent_is_dropped(self) -> None:
        self.send("hi")
        erased = Deferred.fromCoroutine(self.daemon.context.operations.erase("ann"))
        self.daemon.clock.advance(1)
        self.assertEqual(0, self.successResultOf(erased))
        self.decide(YES)
        self.assertEqual(([], 0), (self.texts(), self.held))

    def test_at_the_end_of_the_daemon_what_waits_is_refused_to_be_sent_again(self) -> None:
        numbers = [self.send("a"), self.send("b")]
        settled = self.daemon.chat.settled()
        self.assertNoResult(settled)
        self.daemon.chat.close()
        self.successResultOf(settled)
        self.assertEqual([7, 7], [self.ann.answer(one)["ER"] for one in numbers])
        self.decide(YES, YES)
        self.assertEqual(([], []), (self.texts(), self.flushLoggedErrors()))
        self.assertEqual(7, self.ann.answer(self.send("c"))["ER"])
        self.assertEqual([], self.authorizer.asked)

    def test_a_drain_waits_until_what_was_sent_is_decided_and_stored(self) -> None:
        self.send("a")
        settled = self.daemon.chat.settled()
        (asked,) = self.authorizer.take()
        asked.answer()
        self.assertNoResult(settled)
        self.turn()
        self.successResultOf(settled)
        self.assertEqual(["a"], self.texts())


class BoundTests(ApprovalsTestCase):
    """How much waits."""

    def test_messages_of_one_user_are_bounded_and_others_have_room(self) -> None:
        numbers = [self.send() for _ in range(MAX_HELD_USER + 1)]
        answer = self.ann.answer(numbers[-1])
        self.assertEqual((8, "Too many messages wait to be allowed; try again."), (answer["ER"], answer["WHY"]))
        self.assertEqual(MAX_HELD_USER, len(self.authorizer.asked))
        self.send(sender=self.ben, to="ann")
        self.assertEqual(MAX_HELD_USER + 1, len(self.authorizer.asked))
        self.assertEqual(1, self.daemon.counters.full["held"])
        self.decide(*[YES] * (MAX_HELD_USER + 1))
        self.assertEqual(MAX_HELD_USER, len(self.texts()))

    def test_messages_of_all_are_bounded(self) -> None:
        self.patch(approvals, "MAX_HELD", 3)
        numbers = [self.send() for _ in range(4)]
        self.assertEqual(8, self.ann.answer(numbers[-1])["ER"])

    def test_their_bytes_are_bounded_and_counted(self) -> None:
        budget = Budget(80_000, self.daemon.counters.evicted)
        self.made(budget=budget)
        most = int(80_000 * HELD_PART)
        part = int(most * USER_PART)
        numbers = [self.send("x" * (part // 2 - 2)) for _ in range(3)]
        self.assertEqual(8, self.ann.answer(numbers[-1])["ER"])
        self.assertEqual(part, budget.held)
        number = self.send("y" * (most - part - 2), sender=self.ben, to="ann")
        self.assertIsNone(self.ben.answer(number))
        self.assertEqual(most, budget.held)
        eve = self.daemon.joined("eve")
        self.assertEqual(8, eve.answer(self.send("z", sender=eve))["ER"])
        self.decide(NO, YES, YES)
        self.assertEqual((0, 0), (budget.held, self.held))
        self.send("x" * (most - 2))
        self.daemon.chat.close()
        self.assertEqual(0, budget.held)
