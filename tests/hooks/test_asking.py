"""``Asker``, on a clock that the test turns: what is asked, what an answer means, and what holds without one."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from kschat.chat.interfaces import Decision, IAuthorizer
from kschat.chat.message import EDIT, Message, Update
from kschat.counters import Counters
from kschat.hooks import asking
from kschat.hooks.asking import MAX_WAITING_USER, MAX_WHY, Asker, AskSettings
from kschat.hooks.breaker import FAILURES, PAUSE
from kschat.repeated_log import LINES
from kschat.wire.jsontext import MAX_HALVES
from tests.chat.peers import message
from tests.hooks.posters import FakePoster

ALL = frozenset(("join", "write", "send"))
NOW = 1_700_000_000.0


class AskerTestCase(SynchronousTestCase):
    """One asker."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.poster = FakePoster()
        self.counters = Counters()
        self.asker = self.made()

    def made(self, about: frozenset[str] = ALL, **settings: Any) -> Asker:
        self.settings = AskSettings(**settings)
        return Asker(
            self.poster,
            url="https://u.example/hook",
            about=about,
            settings=self.settings,
            clock=self.clock,
            wall=lambda: NOW + self.clock.seconds(),
            counters=self.counters,
        )

    def decided(self, asked: Decision | Deferred[Decision]) -> Decision:
        """A decision that is there."""
        return asked if isinstance(asked, Decision) else self.successResultOf(asked)

    def waits(self, asked: Decision | Deferred[Decision]) -> Deferred[Decision]:
        """One that is not."""
        assert isinstance(asked, Deferred)
        self.assertNoResult(asked)
        return asked

    def silent(self) -> dict[str, int]:
        return dict(self.counters.ask_silent)


class QuestionTests(AskerTestCase):
    """What a back end is asked, and what its answer means."""

    def test_it_is_an_authorizer(self) -> None:
        self.assertTrue(verifyObject(IAuthorizer, self.asker))

    def test_a_question_is_of_the_form_of_the_specification(self) -> None:
        asked = self.waits(self.asker.may_join("ann", "#r"))
        question = self.poster.take()
        self.assertEqual(
            {"type": "ask.join", "timestamp": "2023-11-14T22:13:20.000Z", "data": {"user": "ann", "room": "#r"}},
            question.body,
        )
        self.assertRegex(question.id, r"^ask_[0-9a-f]{24}$")
        question.answer(allow=True)
        self.assertEqual(Decision(True), self.successResultOf(asked))

    def test_a_message_is_asked_about_with_all_that_it_says(self) -> None:
        parts = Message("m", "7", "#r", 7, "#r", Raw(b'{"a":{"_placeholder":true,"num":0}}'), 1, "c", (b"\x00\xff",))
        self.asker.may_send(parts)
        self.assertEqual(
            {
                "user": "7",
                "to": "#r",
                "msg": {"a": {"_placeholder": True, "num": 0}},
                "attachments": ["AP8="],
                "cid": "c",
            },
            self.poster.take().data,
        )
        self.asker.may_send(msgspec.structs.replace(message("ben", msg=Raw(b'"x"')), extra=Update(EDIT, "t" * 24)))
        self.assertEqual({"user": "ann", "to": "ben", "msg": "x", "edits": "t" * 24}, self.poster.take().data)

    def test_half_of_a_surrogate_pair_is_shown_as_it_is_read(self) -> None:
        """Many parsers of JSON refuse it, and whoever sends one would get past a default that allows."""
        self.asker.may_send(message("ben", msg=Raw(b'["\\ud800 rude", "\\ud83d\\ude00", "\xff", "\\\\ud800"]')))
        self.assertEqual(["\ufffd rude", "\U0001f600", "\ufffd", "\\ud800"], self.poster.take().data["msg"])

    def test_too_many_of_them_are_refused_unasked(self) -> None:
        many = b'"' + b"\\ud800" * (MAX_HALVES + 1) + b'"'
        decision = self.decided(self.made(silent=True).may_send(message("ben", msg=Raw(many))))
        self.assertEqual((False, False), (decision.allowed, decision.silent))
        self.assertEqual([], self.poster.asked)

    def test_each_question_has_an_id_of_its_own(self) -> None:
        for _ in range(2):
            self.asker.may_join("ann", "#r")
        self.assertEqual(2, len({one.id for one in self.poster.asked}))

    def test_what_is_not_asked_about_is_allowed(self) -> None:
        asker = self.made(frozenset())
        for asked in (asker.may_join("a", "#r"), asker.may_write("a", "b"), asker.may_send(message("b"))):
            self.assertEqual(Decision(True), asked)
        self.assertEqual([], self.poster.asked)

    def answered(self, kind: str = "join", status: int = 200, body: bytes | None = None, **fields: Any) -> Decision:
        asker = self.made(cache=0.0)
        asks = {
            "join": lambda: asker.may_join("ann", "#r"),
            "write": lambda: asker.may_write("ann", "ben"),
            "send": lambda: asker.may_send(message("ben")),
        }
        asked = self.waits(asks[kind]())
        self.poster.take().answer(status, body, **fields)
        return self.decided(asked)

    def test_a_refusal_and_its_reason(self) -> None:
        self.assertEqual(Decision(False), self.answered(allow=False))
        self.assertEqual(Decision(False, "Not at night."), self.answered("send", allow=False, why=" Not at\nnight. "))
        self.assertEqual(Decision(False), self.answered(allow=False, why=None))
        long = self.answered(allow=False, why="x" * 1000).why
        self.assertEqual((MAX_WHY, "…"), (len(long), long[-1]))
        self.assertEqual({"refused": 4}, dict(self.counters.ask_answers))

    def test_another_content_is_taken_for_a_message_alone(self) -> None:
        self.assertEqual(Decision(True, msg=Raw(b'{"a": [1]}')), self.answered("send", allow=True, msg={"a": [1]}))
        self.assertEqual(Decision(True), self.answered("send", allow=True, msg=None))
        self.assertEqual(Decision(True), self.answered("write", allow=True, msg="x"))
        self.assertEqual(Decision(False), self.answered("send", allow=False, msg="x"))
        self.assertEqual({"changed": 1, "allowed": 2, "refused": 1}, dict(self.counters.ask_answers))

    def test_fields_that_are_not_known_mean_nothing(self) -> None:
        self.assertEqual(Decision(True), self.answered(allow=True, ttl=3, user={"a": []}))

    def test_anything_else_is_no_answer(self) -> None:
        bodies = [b"", b"true", b"[]", b"{}", b'{"allow":1}', b'{"allow":"true"}', b'{"allow":null}', b"<html>"]
        bodies += [b'{"allow":true', b'{"allow":true}x', b'{"Allow":true}', b"\xff", b"[" * 9000]
        bodies += [b'{"allow":true,"why":3}', b'{"allow":true,"x":' + b"[" * 5000 + b"]" * 5000 + b"}"]
        for body in bodies:
            self.assertEqual(Decision(False, silent=True), self.answered("send", body=body), body[:30])
        self.assertEqual({"invalid": len(bodies)}, self.silent())
        for status in (201, 204, 302, 400, 403, 500, 503):
            self.assertEqual(Decision(False, silent=True), self.answered(status=status, allow=True), status)
        self.assertEqual(7, self.silent()["status"])

    def test_a_log_line_an_outage_and_one_at_its_end_and_no_text(self) -> None:
        with capturedLogs() as logs:
            for _ in range(3):
                self.answered("send", status=500)
            self.asker = self.made()
        lines = [formatEvent(one) for one in logs]
        self.assertEqual(3, len(lines))  # an asker each
        self.assertEqual(
            "what users want to do is refused, since questions to u.example are not answered: the answer is status 500",
            lines[0],
        )
        with capturedLogs() as logs:
            for kind in ("timeout", "timeout", "unreachable"):
                self.asker.may_join("ann", "#r")
                self.poster.take().fail(kind)
            self.asker.may_join("ann", "#r")
            self.poster.take().answer(allow=True)
            self.asker.may_join("ann", "#r")
            self.poster.take().answer(allow=True)
        self.assertEqual(["u.example answers questions again"], [formatEvent(one) for one in logs][1:])

    def test_a_back_end_that_fails_on_every_other_question_does_not_fill_the_log(self) -> None:
        with capturedLogs() as logs:
            for number in range(200):
                self.asker.may_join("ann", "#r")
                self.poster.take().answer(500 if number % 2 else 200, allow=True)
            self.successResultOf(self.asker.stop())
        self.assertLess(len(logs), 2 * (LINES + 2))
        self.assertIn("90 more like this", formatEvent(logs[-2]) or "")
        self.assertEqual([], self.clock.getDelayedCalls())


class SilenceTests(AskerTestCase):
    """What holds if nobody answers."""

    def test_the_default_is_the_setting_s(self) -> None:
        for silent in (False, True):
            asker = self.made(silent=silent)
            asked = self.waits(asker.may_join("ann", "#r"))
            self.poster.take().fail()
            self.assertEqual(Decision(silent, silent=True), self.decided(asked))
        self.assertEqual({"timeout": 2}, self.silent())

    def test_a_question_is_given_its_time(self) -> None:
        self.asker = self.made(timeout=3.0)
        self.asker.may_join("ann", "#r")
        self.assertEqual(3.0, self.poster.take().timeout)

    def test_a_dead_back_end_is_left_alone_and_nobody_waits_for_it(self) -> None:
        for _ in range(FAILURES):
            asked = self.waits(self.asker.may_join("ann", "#r"))
            self.poster.take().fail()
            self.decided(asked)
        self.assertTrue(self.asker.is_open)
        for _ in range(100):
            self.assertEqual(Decision(False, silent=True), self.asker.may_join("ann", "#r"))
        self.assertEqual([], self.poster.asked)
        self.assertEqual({"timeout": FAILURES, "open": 100}, self.silent())
        self.clock.advance(PAUSE)
        asked = self.waits(self.asker.may_join("ann", "#r"))
        self.assertIsInstance(self.asker.may_join("ben", "#r"), Decision)
        self.poster.take().answer(allow=True)
        self.assertEqual(Decision(True), self.decided(asked))
        self.assertFalse(self.asker.is_open)
        self.waits(self.asker.may_join("ben", "#r"))

    def test_those_that_wait_need_not_wait_when_it_is_left_alone(self) -> None:
        self.asker = self.made(concurrent=FAILURES)
        sent = [self.waits(self.asker.may_join("ann", "#r")) for _ in range(FAILURES)]
        waiting = [self.waits(self.asker.may_join("ben", "#r")) for _ in range(3)]
        for _ in range(FAILURES - 1):
            question = self.poster.asked.pop(0)
            question.fail()
        # Each that ended made place for one that waited.
        self.assertEqual(0, self.asker.waiting)
        waiting += [self.waits(self.asker.may_join("ben", "#s")) for _ in range(2)]
        self.assertEqual(1, self.asker.waiting)
        self.poster.asked.pop(0).fail()
        self.assertTrue(self.asker.is_open)
        self.assertEqual(Decision(False, silent=True), self.decided(waiting[-1]))
        self.assertEqual([Decision(False, silent=True)] * FAILURES, [self.decided(one) for one in sent])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_a_back_end_that_answers_wrongly_but_soon_is_asked_on(self) -> None:
        for _ in range(3 * FAILURES):
            self.asker.may_join("ann", "#r")
            self.poster.take().answer(500)
        self.assertFalse(self.asker.is_open)

    def test_a_fault_of_ours_is_logged_and_the_default_holds(self) -> None:
        self.poster.post = lambda *_, **__: 1 / 0  # type: ignore[method-assign, assignment]
        self.assertEqual(Decision(False, silent=True), self.decided(self.asker.may_join("ann", "#r")))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual((0, {"broken": 1}), (self.asker.in_flight, self.silent()))

    def test_after_stop_nothing_is_asked(self) -> None:
        self.asker = self.made(concurrent=1)
        sent, waiting = self.asker.may_join("ann", "#r"), self.asker.may_join("ann", "#r")
        self.successResultOf(self.asker.stop())
        self.assertEqual([Decision(False, silent=True)] * 2, [self.decided(sent), self.decided(waiting)])
        self.assertEqual(Decision(False, silent=True), self.asker.may_join("ann", "#r"))
        self.assertEqual({"stopped": 3}, self.silent())
        self.assertEqual([], self.clock.getDelayedCalls())


class BoundTests(AskerTestCase):
    """How many questions there are."""

    def test_so_many_at_once_and_so_many_wait_and_beyond_the_default_holds(self) -> None:
        self.asker = self.made(concurrent=2, waiting=3, silent=True)
        asked = [self.waits(self.asker.may_join(f"user{one}", "#r")) for one in range(5)]
        self.assertEqual((2, 2, 3), (len(self.poster.asked), self.asker.in_flight, self.asker.waiting))
        self.assertEqual(Decision(True, silent=True), self.asker.may_join("late", "#r"))
        self.assertEqual({"busy": 1}, self.silent())
        self.poster.allow()
        self.assertEqual([Decision(True)] * 5, [self.decided(one) for one in asked])
        self.assertEqual((0, 0), (self.asker.in_flight, self.asker.waiting))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_users_take_turns(self) -> None:
        self.asker = self.made(concurrent=1)
        for user, count in (("ann", 5), ("ben", 2), ("eve", 1)):
            for number in range(count):
                self.asker.may_join(user, f"#{number}")
        order = []
        while self.poster.asked:
            question = self.poster.take()
            order.append((question.data["user"], question.data["room"]))
            question.answer(allow=True)
        users = [user for user, _ in order]
        self.assertEqual(["ann", "ann", "ben", "eve", "ann", "ben", "ann", "ann"], users)
        self.assertEqual([f"#{one}" for one in range(5)], [room for user, room in order if user == "ann"])

    def test_who_asks_too_much_is_refused_whatever_the_default_is_and_others_are_not(self) -> None:
        self.asker = self.made(concurrent=1, silent=True)
        self.asker.may_join("ann", "#r")
        for _ in range(MAX_WAITING_USER):
            self.waits(self.asker.may_join("ann", "#r"))
        self.assertEqual(Decision(False, silent=True), self.asker.may_join("ann", "#r"))
        self.waits(self.asker.may_join("ben", "#r"))
        self.assertEqual({"user": 1}, self.silent())

    def test_the_wait_for_its_turn_is_part_of_the_time_of_a_question(self) -> None:
        self.asker = self.made(concurrent=1, timeout=2.0)
        self.asker.may_join("ann", "#r")
        second, third = (self.waits(self.asker.may_join("ben", "#r")) for _ in range(2))
        self.clock.advance(1.5)
        self.poster.take().answer(allow=True)
        self.assertEqual(0.5, self.poster.asked[0].timeout)
        self.clock.advance(0.5)
        self.assertEqual(Decision(False, silent=True), self.decided(third))
        self.assertNoResult(second)
        self.poster.take().fail()
        self.assertEqual(Decision(False, silent=True), self.decided(second))
        self.assertEqual({"busy": 2}, self.silent())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_a_question_whose_timer_is_late_is_not_sent(self) -> None:
        self.asker = self.made(concurrent=1, timeout=2.0)
        self.asker.may_join("ann", "#r")
        late = self.waits(self.asker.may_join("ben", "#r"))
        self.clock.advance(1.0)
        fresh = self.waits(self.asker.may_join("eve", "#r"))
        # A turn of the reactor that takes long: an answer is read, and no timer has run.
        self.clock.rightNow += 1.0
        self.poster.take().answer(allow=True)
        self.assertEqual(Decision(False, silent=True), self.decided(late))
        self.assertEqual(["eve"], [one.data["user"] for one in self.poster.asked])
        self.poster.allow()
        self.assertEqual(Decision(True), self.decided(fresh))
        self.assertEqual(({"busy": 1}, []), (self.silent(), self.clock.getDelayedCalls()))

    def test_what_waited_too_long_here_does_not_count_against_the_back_end(self) -> None:
        self.asker = self.made(concurrent=1, timeout=2.0)
        for _ in range(2 * FAILURES):
            self.asker.may_join("ann", "#r")
            late = self.asker.may_join("ben", "#r")
            self.clock.advance(1.5)
            self.poster.take().answer(allow=True)
            self.poster.take().fail()
            self.decided(late)
        self.assertFalse(self.asker.is_open)

    def test_settings_change_while_it_runs(self) -> None:
        self.asker = self.made(concurrent=1)
        for user in ("ann", "ben", "eve"):
            self.asker.may_join(user, "#r")
        self.asker.use(AskSettings(concurrent=2, silent=True, timeout=9.0))
        self.assertEqual((2, 2), (len(self.poster.asked), self.poster.kept))
        self.poster.allow()
        asked = self.asker.may_join("ann", "#r")
        self.assertEqual(9.0, self.poster.asked[0].timeout)
        self.poster.take().fail()
        self.assertEqual(Decision(True, silent=True), self.decided(asked))


class CacheTests(AskerTestCase):
    """Answers to ``write`` hold for a time."""

    def test_yes_and_no_are_remembered_for_a_pair(self) -> None:
        for allow in (True, False):
            to = f"peer{allow}"
            asked = self.asker.may_write("ann", to)
            self.poster.take().answer(allow=allow, why="No.")
            decision = self.decided(asked)
            self.clock.advance(59.9)
            self.assertEqual(decision, self.asker.may_write("ann", to))
            self.clock.advance(0.1)
            self.waits(self.asker.may_write("ann", to))
            self.poster.asked.clear()
        self.assertEqual(2, self.counters.ask_cached)

    def test_other_pairs_are_asked_about(self) -> None:
        self.asker.may_write("ann", "ben")
        self.poster.allow()
        self.waits(self.asker.may_write("ben", "ann"))
        self.waits(self.asker.may_write("ann", "eve"))

    def test_who_asks_meanwhile_shares_the_answer(self) -> None:
        asked = [self.waits(self.asker.may_write("ann", "ben")) for _ in range(50)]
        self.assertEqual(1, len(self.poster.asked))
        self.poster.take().answer(allow=False, why="No.")
        self.assertEqual([Decision(False, "No.")] * 50, [self.decided(one) for one in asked])

    def test_silence_is_not_remembered(self) -> None:
        asked = [self.asker.may_write("ann", "ben") for _ in range(2)]
        self.poster.take().fail()
        self.assertEqual([Decision(False, silent=True)] * 2, [self.decided(one) for one in asked])
        self.waits(self.asker.may_write("ann", "ben"))

    def test_messages_and_joins_are_never_remembered(self) -> None:
        for _ in range(2):
            self.waits(self.asker.may_join("ann", "#r"))
            self.waits(self.asker.may_send(message("ben")))
        self.assertEqual(4, len(self.poster.asked))

    def test_without_a_time_nothing_is_remembered(self) -> None:
        self.asker = self.made(cache=0.0)
        for _ in range(2):
            self.waits(self.asker.may_write("ann", "ben"))
            self.poster.allow()
        self.assertEqual(0, self.counters.ask_cached)

    def test_it_is_bounded_and_the_oldest_go_first(self) -> None:
        self.patch(asking, "MAX_CACHED", 3)
        for to in ("a", "b", "c", "d"):
            self.asker.may_write("ann", to)
            self.poster.allow()
        self.assertIsInstance(self.asker.may_write("ann", "b"), Decision)
        self.waits(self.asker.may_write("ann", "a"))

    def test_other_settings_forget_it(self) -> None:
        self.asker.may_write("ann", "ben")
        self.poster.allow()
        self.asker.use(self.settings)
        self.waits(self.asker.may_write("ann", "ben"))

    def test_an_answer_to_a_question_of_before_is_not_remembered_and_not_shared(self) -> None:
        before = self.waits(self.asker.may_write("ann", "ben"))
        question = self.poster.take()
        self.asker.use(self.settings)
        after = self.waits(self.asker.may_write("ann", "ben"))
        question.answer(allow=True)
        self.assertEqual(Decision(True), self.decided(before))
        self.waits(after)
        self.poster.take().answer(allow=False)
        self.assertEqual(Decision(False), self.decided(after))
        self.assertEqual(Decision(False), self.asker.may_write("ann", "ben"))

    def test_the_body_of_a_question_is_json_of_the_message_as_it_came(self) -> None:
        text = json.dumps({"a": ["ü", 1.5, None, "\u2028"]})
        self.asker.may_send(message("ben", msg=Raw(text.encode())))
        self.assertEqual(json.loads(text), self.poster.take().data["msg"])
