"""The pipeline: batches, bounds, order, and what is said when the store or the router is away."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.interfaces import MAX_READ_BACK
from kschat.wire.errors import Reason
from tests.chat.house import Heard, House
from tests.contracts.made import message

SUCCESS, FAILURE = "Send Emit is success.", "Send Emit is failed."


class PipelineTests(SynchronousTestCase):
    def setUp(self, **bounds: Any) -> None:
        self.house = House(None, 1000, **bounds)
        self.store = self.house.store
        self.router = self.house.router
        self.ann = self.house.guest("ann")
        self.ben = self.house.guest("ben")

    def sizes(self) -> list[int]:
        """Messages of each batch that the store was given."""
        return [len(batch) for batch in self.store.batches]

    def assertDrained(self) -> None:
        """Nothing is under way, and another message is answered."""
        self.successResultOf(self.house.delivery.drained())
        self.ann.heard()
        number = self.ann.send("ann", "ben")
        self.house.turn()
        self.assertIn(number, self.ann.acks())


class Batches(PipelineTests):
    def test_what_comes_in_one_turn_travels_together(self) -> None:
        for number in range(5):
            self.ann.send("ann", "ben", number)
            self.ben.send("ben", "ann", number)
        self.assertEqual(self.sizes(), [])
        self.house.turn()
        self.assertEqual(self.sizes(), [10])
        self.assertEqual([len(batch) for batch in self.router.batches], [10])
        self.ann.send("ann", "ben")
        self.house.turn()
        self.assertEqual(self.sizes(), [10, 1])
        self.assertEqual(self.house.counters.batches, 2)

    def test_each_socket_is_written_to_once_a_batch(self) -> None:
        """Twice where the store answers at once and both its news and its answer are in the batch: as one piece."""
        for number in range(5):
            self.ann.send("ann", "ben", number)
            self.ann.send("ann", "ann", number)
            self.ben.send("ben", "ann", number)
        before = [len(guest.line.writes) for guest in (self.ann, self.ben)]
        self.house.turn()
        self.assertEqual([len(guest.line.writes) for guest in (self.ann, self.ben)], [count + 1 for count in before])

    def test_nothing_waits_for_a_clock_when_nothing_came(self) -> None:
        self.house.hub.catch_up.rest()
        self.assertEqual(self.house.clock.getDelayedCalls(), [])
        self.ann.send("ann", "ben")
        self.house.turn()
        self.assertEqual(self.store.batches[0][0].recipient, "ben")
        self.successResultOf(self.house.delivery.drained())

    def test_a_batch_has_a_bound(self) -> None:
        self.setUp(max_batch=3)
        for _ in range(8):
            self.ann.send("ann", "ben")
        self.house.turn()
        self.assertEqual(self.sizes(), [3, 3, 2])
        self.assertEqual(len(self.ann.acks()), 8)

    def test_batches_in_flight_have_a_bound_and_what_comes_meanwhile_joins_the_next(self) -> None:
        self.setUp(max_batch=4, max_in_flight=2)
        self.store.answers.held = True
        for _ in range(5):
            self.ann.send("ann", "ben")
            self.house.turn()
        self.assertEqual(self.sizes(), [1, 1])
        self.store.answers.give(1)
        self.house.turn()
        self.assertEqual(self.sizes(), [1, 1, 3])
        self.store.answers.give()
        self.house.turn()
        self.assertEqual(len(self.ann.acks()), 5)
        self.store.answers.held = False
        self.assertDrained()

    def test_the_time_until_the_ack_is_that_of_each_batch_s_first_message(self) -> None:
        self.setUp(max_batch=2, max_in_flight=1)
        self.store.answers.held = True
        took = self.house.counters.message_seconds["acknowledged"]
        # At 0 s one that is stored at once; then three at 1 s and one at 2 s, which wait for it.
        for seconds, count in ((0, 1), (1, 3), (1, 1)):
            self.house.clock.advance(seconds)
            for _ in range(count):
                self.ann.send("ann", "ben")
            self.house.turn()
        sums = []
        for _ in range(3):
            self.house.clock.advance(1)
            self.store.answers.give(1)
            self.house.turn()
            sums.append(round(took.sum, 3))
        # 3 s; two of 3 s each; then one of 4 s and one of 3 s, of which the first counts for both.
        self.assertEqual(sums, [3, 3 + 2 * 3, 3 + 2 * 3 + 2 * 4])
        self.assertEqual(sum(took.counts), 5)

    def test_a_store_that_answers_nothing_is_stuck_and_one_that_is_slow_is_not(self) -> None:
        self.setUp(max_batch=1, max_in_flight=2)
        self.store.answers.held = True
        delivery = self.house.delivery
        self.house.clock.advance(7)
        self.assertEqual(delivery.stuck, 0)
        for _ in range(3):
            self.ann.send("ann", "ben")
            self.house.turn()
        self.house.clock.advance(100)
        self.assertEqual(delivery.stuck, 100)
        self.store.answers.give(1)
        self.house.turn()
        self.house.clock.advance(50)
        self.assertEqual(delivery.stuck, 50)
        self.store.answers.held = False
        self.store.answers.give()
        self.house.turn()
        self.assertEqual(delivery.stuck, 0)

    def test_beyond_the_bound_of_those_that_wait_a_message_is_refused(self) -> None:
        self.setUp(max_batch=1, max_in_flight=1, max_waiting=3)
        self.store.answers.held = True
        self.ann.send("ann", "ben", "in flight")
        self.house.turn()
        for _ in range(3):
            self.ann.send("ann", "ben", "waits")
        refused = self.ann.send("ann", "ben", "too many")
        heard = self.ann.heard()
        self.assertEqual([one.kind for one in heard], ["ack", "event"])
        self.assertEqual((heard[0].id, heard[0].body["ER"], heard[0].body["RESPONSE"]), (refused, 8, FAILURE))
        self.assertEqual((heard[1].name, heard[1].body["ER"], heard[1].body["RANDOMNO"]), ("RESPSEND", 8, refused))
        self.assertEqual(heard[0].body["WHY"], heard[1].body["WHY"])
        self.assertEqual(self.house.counters.refused, {8: 1})
        self.assertIsNone(self.ann.line.closed)
        self.store.answers.held = False
        self.store.answers.give()
        self.house.turn()
        self.assertEqual([ack["RESPONSE"] for ack in self.ann.acks().values()], [SUCCESS] * 4)
        self.assertDrained()

    def test_a_refused_one_is_neither_stored_nor_delivered(self) -> None:
        self.setUp(max_batch=1, max_in_flight=1, max_waiting=1)
        for number in range(5):
            self.ann.send("ann", "ben", number)
        self.house.turn()
        self.assertEqual([one["MSG"][0]["msg"] for one in self.ben.events("RESPRECEIVER")], [0])

    def test_so_many_bytes_of_messages_wait_and_no_more(self) -> None:
        self.setUp(max_batch=2, max_in_flight=1)
        delivery = self.house.delivery
        delivery._max_size = 10_000
        self.store.answers.held = True
        for number in range(5):
            self.ann.send("ann", "ben", "x" * 1900)
            if number == 1:
                self.house.turn()
        self.ann.heard()
        self.ann.send("ann", "ben", "x" * 1900)
        self.assertEqual([one.body["ER"] for one in self.ann.heard() if one.kind == "ack"], [8])
        self.assertEqual(self.house.counters.full, {"buffered": 1})
        self.ann.send("ann", "ben", "a small one")
        self.assertEqual(self.ann.heard(), [])
        self.assertEqual(self.house.context.delivery._budget.held, 2 * 1902)
        self.store.answers.held = False
        self.store.answers.give()
        self.house.turn()
        self.assertEqual((delivery._size, delivery._waiting_size, delivery._budget.held), (0, 0, 0))
        self.assertDrained()

    @settings(max_examples=100)
    @given(
        st.integers(1, 4),
        st.integers(1, 3),
        st.integers(1, 12),
        st.lists(st.sampled_from(["send", "turn", "store", "router", "away", "back"]), max_size=60),
    )
    def test_whatever_happens_each_message_is_answered_once_and_the_bounds_hold(
        self, max_batch: int, max_in_flight: int, max_waiting: int, steps: list[str]
    ) -> None:
        self.setUp(max_batch=max_batch, max_in_flight=max_in_flight, max_waiting=max_waiting)
        self.store.answers.held = self.router.answers.held = True
        sent: list[int] = []
        acks: list[Heard] = []
        for step in [*steps, "back"]:
            if step == "send":
                sent.append(self.ann.send("ann", "ben", len(sent)))
            elif step == "turn":
                self.house.turn()
            elif step == "store":
                self.store.answers.give(1)
            elif step == "router":
                self.router.answers.give(1)
            else:
                self.store.answers.away = step == "away"
            self.assertLessEqual(len(self.store.answers) + len(self.router.answers), max_in_flight)
            acks += [one for one in self.ann.heard() if one.kind == "ack"]
        self.store.answers.held = self.router.answers.held = False
        for _ in range(40):
            self.store.answers.give()
            self.router.answers.give()
            self.house.turn()
        acks += [one for one in self.ann.heard() if one.kind == "ack"]
        self.assertEqual(sorted(one.id or 0 for one in acks), sent)
        stored = {one.id for one in acks if one.body["RESPONSE"] == SUCCESS}
        received = [one["MSG"][0]["msg"] for one in self.ben.events("RESPRECEIVER")]
        self.assertEqual(received, [number for number, ack in enumerate(sent) if ack in stored])
        self.successResultOf(self.house.delivery.drained())


class Orders(PipelineTests):
    def test_acks_and_messages_come_in_the_order_of_the_sends_from_a_store_that_answers_late(self) -> None:
        self.setUp(max_batch=2, max_in_flight=3)
        self.store.answers.held = True
        sent = []
        for number in range(12):
            sent.append(self.ann.send("ann", "ben", number))
            self.house.turn()
        for _ in range(12):
            self.store.answers.give(1)
            self.house.turn()
        self.assertEqual(list(self.ann.acks()), sent)
        self.assertEqual([one["MSG"][0]["msg"] for one in self.ben.events("RESPRECEIVER")], list(range(12)))

    def test_offsets_rise_with_the_order(self) -> None:
        self.setUp(max_batch=2)
        for number in range(7):
            self.ann.send("ann", "ben", number)
        self.house.turn()
        self.assertEqual([one["MSG"][0]["offset"] for one in self.ben.events("RESPRECEIVER")], list(range(1, 8)))

    def test_the_ack_comes_before_respsend_and_after_the_router_s_word(self) -> None:
        self.router.answers.held = True
        number = self.ann.send("ann", "ben")
        self.house.turn()
        self.assertEqual(self.ann.heard(), [])
        self.router.answers.give()
        self.assertEqual([(one.kind, one.id is not None) for one in self.ann.heard()], [("ack", True), ("event", True)])
        self.assertGreater(number, 0)

    def test_nothing_is_routed_before_it_is_stored(self) -> None:
        self.store.answers.held = True
        self.ann.send("ann", "ben")
        self.house.turn()
        self.assertEqual(self.router.batches, [])
        self.assertEqual(self.ben.heard(), [])


class Failures(PipelineTests):
    def test_a_store_that_is_away_refuses_exactly_that_batch(self) -> None:
        self.setUp(max_batch=2, max_in_flight=3)
        self.store.answers.held = True
        sent = [self.ann.send("ann", "ben", number) for number in range(6)]
        self.house.turn()
        self.store.answers.give(1)
        self.store.answers.away = True
        self.store.answers.give(1)
        self.store.answers.away = False
        self.store.answers.give(1)
        acks = self.ann.acks()
        self.assertEqual([acks[number].get("ER", 0) for number in sent], [0, 0, 3, 3, 0, 0])
        self.assertEqual([one["MSG"][0]["msg"] for one in self.ben.events("RESPRECEIVER")], [0, 1, 4, 5])
        self.assertEqual(self.house.counters.refused, {3: 2})
        self.store.answers.held = False
        self.assertDrained()

    def test_the_refusal_is_an_ack_and_a_respsend_with_the_number_that_was_sent(self) -> None:
        self.store.answers.away = True
        number = self.ann.send("ann", 7)
        self.house.turn()
        ack, event = self.ann.heard()
        why = "The store is not available; try again."
        self.assertEqual(ack.body, {"RESPONSE": FAILURE, "uId": "ann", "ER": 3, "WHY": why})
        self.assertEqual((event.name, event.body), ("RESPSEND", {"RC": 1, "ER": 3, "RANDOMNO": number, "WHY": why}))
        self.assertEqual(self.router.batches, [])

    def test_a_router_that_is_away_does_not_matter_to_the_sender(self) -> None:
        for late in (False, True):
            self.router.answers.away = True
            self.router.answers.held = late
            self.ann.send("ann", "ben", cid=f"c{late}")
            self.house.turn()
            self.router.answers.give()
            (ack,) = self.ann.acks().values()
            self.assertEqual(ack["RESPONSE"], SUCCESS)
        # The news did not come, and so the store was asked for them.
        self.assertEqual([one["MSG"][0]["offset"] for one in self.ben.events("RESPRECEIVER")], [1, 2])
        self.router.answers.away = self.router.answers.held = False
        self.assertDrained()

    def test_a_store_that_breaks_its_word_refuses_the_batch_and_goes_on(self) -> None:
        for broken in ("call", "answer"):
            self.store.answers.broken = broken
            self.ann.send("ann", "ben")
            self.house.turn()
            (ack,) = self.ann.acks().values()
            self.assertEqual(ack["ER"], 3)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.store.answers.broken = ""
            self.assertDrained()

    def test_a_store_that_breaks_its_word_for_long_leaves_no_batch_in_flight(self) -> None:
        self.setUp(max_batch=1, max_in_flight=2)
        self.store.answers.broken = "call"
        for _ in range(10):
            self.ann.send("ann", "ben")
            self.house.turn()
        self.assertEqual([ack["ER"] for ack in self.ann.acks().values()], [3] * 10)
        self.flushLoggedErrors(ZeroDivisionError)
        self.store.answers.broken = ""
        self.assertDrained()

    def test_a_router_that_breaks_its_word_does_not_undo_what_is_stored(self) -> None:
        for broken in ("call", "answer"):
            self.router.answers.broken = broken
            number = self.ann.send("ann", "ben", cid=broken)
            self.house.turn()
            heard = [one for one in self.ann.heard() if one.kind == "ack"]
            self.assertEqual([(one.id, one.body["RESPONSE"]) for one in heard], [(number, SUCCESS)], broken)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.router.answers.broken = ""
            self.assertDrained()


class Repeats(PipelineTests):
    def test_a_repeat_is_answered_with_the_first_and_not_received_again(self) -> None:
        self.ann.send("ann", "ben", "first", cid="c1")
        self.house.turn()
        (first,) = self.ann.acks().values()
        self.ann.send("ann", "ben", "again", cid="c1")
        self.house.turn()
        (again,) = self.ann.acks().values()
        self.assertEqual(again, {**first, "repeat": True})
        self.assertNotIn("repeat", first)
        self.assertEqual([one["MSG"][0]["msg"] for one in self.ben.events("RESPRECEIVER")], ["first"])
        self.assertEqual((self.house.counters.sent, self.house.counters.repeated), (2, 1))

    def test_a_repeat_is_told_again_since_the_first_try_may_have_been_stored_and_told_as_failed(self) -> None:
        # The store's answer to the first try was lost: it is stored, and no news went out.
        self.successResultOf(self.store.append([message("ann", "ben", cid="c1")]))
        self.ann.send("ann", "ben", "again", cid="c1")
        self.house.turn()
        self.assertEqual([ack["repeat"] for ack in self.ann.acks().values()], [True])
        self.assertEqual([one["MSG"][0]["offset"] for one in self.ben.events("RESPRECEIVER")], [1])

    def test_respsend_of_a_repeat_has_the_first_message_and_the_new_number(self) -> None:
        self.ann.send("ann", "ben", "first", cid="c1")
        number = self.ann.send("ann", "ben", "again", cid="c1")
        self.house.turn()
        first, again = self.ann.events("RESPSEND")
        self.assertEqual(again, {**first, "RANDOMNO": number})
        self.assertEqual(first["MSG"], "first")

    def test_respsend_of_a_repeat_of_a_large_message_has_what_it_came_with(self) -> None:
        self.ann.send("ann", "ben", "x" * MAX_READ_BACK, cid="c1")
        self.house.turn()
        (first,) = self.ann.events("RESPSEND")
        number = self.ann.send("ann", "ben", "again", cid="c1")
        self.house.turn()
        (again,) = self.ann.events("RESPSEND")
        self.assertEqual(again, {**first, "RANDOMNO": number, "MSG": "again"})
        self.assertEqual(len(self.ben.events("RESPRECEIVER")), 1)
        self.assertEqual(len(self.router.batches), 1, "what it came with is not the message")

    def test_a_repeat_of_a_large_message_that_nobody_heard_of_lets_it_be_read(self) -> None:
        text = b'"%b"' % (b"x" * MAX_READ_BACK)
        self.successResultOf(self.store.append([message("ann", "ben", cid="c1", msg=Raw(text))]))
        self.ann.send("ann", "ben", "again", cid="c1")
        self.house.turn()
        self.assertEqual([ack["repeat"] for ack in self.ann.acks().values()], [True])
        ((one,),) = [event["MSG"] for event in self.ben.events("RESPRECEIVER")]
        self.assertEqual((one["offset"], one["msg"]), (1, "x" * MAX_READ_BACK))

    def test_a_repeat_within_a_batch_is_published_once(self) -> None:
        self.ann.send("ann", "ben", "first", cid="c1")
        self.ann.send("ann", "ben", "again", cid="c1")
        self.ann.send("ann", "ben", "other")
        self.house.turn()
        self.assertEqual(
            [[bytes(one.message.msg) for one in batch] for batch in self.router.batches], [[b'"first"', b'"other"']]
        )
        self.assertEqual([ack.get("repeat", False) for ack in self.ann.acks().values()], [False, True, False])

    def test_a_batch_of_repeats_alone_is_answered_without_a_router(self) -> None:
        self.ann.send("ann", "ben", cid="c1")
        self.house.turn()
        self.ann.heard()
        self.router.answers.away = True
        self.ann.send("ann", "ben", cid="c1")
        self.ann.send("ann", "ben", cid="c1")
        self.house.turn()
        self.assertEqual([ack["repeat"] for ack in self.ann.acks().values()], [True, True])
        self.assertDrained()


class SendersThatLeave(PipelineTests):
    def test_a_sender_that_is_gone_is_not_answered_and_its_message_arrives(self) -> None:
        for way in ("line", "packet", "logout"):
            self.setUp()
            self.store.answers.held = True
            self.ann.send("ann", "ben", way)
            self.house.turn()
            if way == "line":
                self.ann.leave()
            elif way == "packet":
                self.ann.text("1/kschat,")
            else:
                self.ann.say("Logout")
                self.ann.heard()
            self.store.answers.give()
            self.assertEqual(self.ann.heard(), [], way)
            self.assertEqual([one["MSG"][0]["msg"] for one in self.ben.events("RESPRECEIVER")], [way])

    def test_one_that_leaves_between_store_and_router(self) -> None:
        self.router.answers.held = True
        self.ann.send("ann", "ben")
        self.house.turn()
        self.ann.leave()
        self.router.answers.give()
        self.assertEqual(self.ann.heard(), [])
        self.assertEqual(len(self.ben.events("RESPRECEIVER")), 1)

    def test_one_that_leaves_before_the_turn(self) -> None:
        self.ann.send("ann", "ben")
        self.ann.leave()
        self.house.turn()
        self.assertEqual(len(self.ben.events("RESPRECEIVER")), 1)

    def test_one_that_leaves_is_not_told_of_a_failure_either(self) -> None:
        self.store.answers.held = self.store.answers.away = True
        self.ann.send("ann", "ben")
        self.house.turn()
        self.ann.leave()
        self.store.answers.give()
        self.assertEqual(self.ann.heard(), [])
        self.successResultOf(self.house.delivery.drained())

    def test_one_that_comes_back_is_not_given_another_socket_s_answer(self) -> None:
        self.store.answers.held = True
        self.ann.send("ann", "ben")
        self.house.turn()
        self.ann.text("1/kschat,")
        self.ann.join({"token": self.house.token("ann")})
        self.ann.heard()
        self.store.answers.give()
        self.assertEqual(self.ann.heard(), [])


class Drains(PipelineTests):
    def test_it_is_drained_when_nothing_is_under_way(self) -> None:
        self.successResultOf(self.house.delivery.drained())

    def test_it_is_drained_when_all_is_answered(self) -> None:
        self.setUp(max_batch=1, max_in_flight=1)
        self.store.answers.held = self.router.answers.held = True
        for _ in range(3):
            self.ann.send("ann", "ben")
        waits = [self.house.delivery.drained(), self.house.delivery.drained()]
        for _ in range(3):
            self.house.turn()
            for backend in (self.store, self.router):
                for one in waits:
                    self.assertNoResult(one)
                backend.answers.give(1)
        for one in waits:
            self.successResultOf(one)
        self.assertEqual(len(self.ann.acks()), 3)

    def test_it_is_drained_also_by_failures(self) -> None:
        self.store.answers.held = self.store.answers.away = True
        self.ann.send("ann", "ben")
        self.house.turn()
        drained = self.house.delivery.drained()
        self.assertNoResult(drained)
        self.store.answers.give()
        self.successResultOf(drained)

    def test_it_can_be_awaited_again(self) -> None:
        for _ in range(3):
            self.ann.send("ann", "ben")
            drained = self.house.delivery.drained()
            self.assertNoResult(drained)
            self.house.turn()
            self.successResultOf(drained)

    def test_when_the_daemon_goes_down_nothing_new_is_taken_and_the_rest_is_answered(self) -> None:
        self.store.answers.held = True
        taken = self.ann.send("ann", "ben")
        self.house.turn()
        self.house.chat.close()
        late = self.ann.send("ann", "ben")
        self.assertEqual({number: ack["ER"] for number, ack in self.ann.acks().items()}, {late: 7})
        self.store.answers.give()
        self.assertEqual({number: ack["RESPONSE"] for number, ack in self.ann.acks().items()}, {taken: SUCCESS})
        self.successResultOf(self.house.delivery.drained())


class Lines(PipelineTests):
    """A line that ends in the middle of a batch's answers and deliveries."""

    def test_a_session_that_ends_when_it_is_written_to_costs_nobody_else_a_word(self) -> None:
        guests = [self.ann, self.ben, self.house.guest("ben"), self.house.guest("cem")]
        bad = guests[1]

        def flush() -> None:
            bad.session.close(Reason.SLOW_READER)

        bad.line.flush = flush  # type: ignore[method-assign]
        for recipient in ("ben", "cem", "ann"):
            self.ann.send("ann", recipient)
        self.house.turn()
        received = [
            [one.body["MSG"][0]["pId"] for one in guest.heard() if one.kind == "event" and one.name == "RESPRECEIVER"]
            for guest in guests
        ]
        self.assertEqual(received, [["ann"], [], ["ben"], ["cem"]])
        self.assertEqual(self.house.hub.sockets, 3)
        self.assertDrained()

    def test_a_line_that_breaks_its_word_does_not_hold_back_what_is_written_to_others(self) -> None:
        self.ann.leave()
        for _ in range(3):
            self.ben.send("ben", "ann")
        self.house.turn()

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        for method in ("send", "prove"):
            late = self.house.stranger()
            setattr(late.line, method, broken)
            with contextlib.suppress(ZeroDivisionError):
                late.join({"token": self.house.token("ann")})
            self.flushLoggedErrors(ZeroDivisionError)
            self.assertFalse(self.house.cork.held, method)
            late.leave()
            self.ben.heard()
            self.ben.send("ben", "ben")
            self.house.turn()
            self.assertEqual(len(self.ben.heard()), 3)
