"""The wall clock is set while the daemon runs: what people see follows it, and nothing waits for it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.chat.daemon import NOW
from tests.chat.house import Guest, House

HOUR = 3600


class ClocksTests(SynchronousTestCase):
    """One daemon, whose two clocks the test turns apart from each other."""

    def setUp(self) -> None:
        self.house = House()
        self.ann, self.ben = self.house.guest("ann"), self.house.guest("ben")

    def said(self, step: float) -> tuple[str, int]:
        """The mid and the time of a message that is sent after the wall clock was set so far from where it stood."""
        self.house.step = step
        number = self.ann.send("ann", "ben")
        self.house.turn()
        answer = self.ann.acks()[number]
        self.assertEqual(answer["RESPONSE"], "Send Emit is success.")
        self.assertEqual([one["mid"] for one in self.got(self.ben)], [answer["mid"]])
        return answer["mid"], answer["msgTime"]

    def got(self, guest: Guest) -> list[dict[str, str]]:
        return [one for event in guest.events("RESPRECEIVER") for one in event["MSG"]]

    def test_messages_have_the_wall_s_time_and_their_ids_go_on_rising(self) -> None:
        steps = (0, -HOUR, HOUR, 0, -3 * 24 * HOUR, 1)
        answers = [self.said(step) for step in steps]
        self.assertEqual([time for _, time in answers], [int(NOW + step) * 1000 for step in steps])
        self.assertEqual([mid for mid, _ in answers], sorted({mid for mid, _ in answers}))

    def test_a_step_between_a_send_and_its_turn_delays_no_answer(self) -> None:
        for step in (-HOUR, 0, HOUR, 0):
            number = self.ann.send("ann", "ben")
            self.house.step = step
            self.house.turn()
            self.assertIn("mid", self.ann.acks()[number])

    def test_a_store_that_is_away_is_tried_again_though_the_clock_went_back(self) -> None:
        self.house.store.answers.away = True
        ben = self.house.guest("cem")
        self.house.step = -HOUR
        self.house.store.answers.away = False
        self.house.clock.pump([0.5] * 6)
        self.ann.send("ann", "cem")
        self.house.turn()
        self.assertEqual(len(self.got(ben)), 1)

    def test_a_token_ends_by_the_wall_clock(self) -> None:
        token = self.house.token("dan", lasts=HOUR)
        self.house.clock.advance(HOUR - 1)
        self.house.step = 2.0
        late = self.house.stranger().join({"token": token})
        self.assertEqual(late.heard()[0].kind, "connect_error")
        self.house.step = 0.0
        self.assertEqual(self.house.stranger().join({"token": token}).heard()[0].kind, "connect")

    def test_users_were_last_seen_by_the_wall_clock(self) -> None:
        self.house.step = -HOUR
        self.ben.leave()
        self.ann.say("Presence", {"ids": ["ben"]}, ack=99)
        self.assertEqual(self.ann.acks()[99]["ben"], {"online": False, "lastSeen": (NOW - HOUR) * 1000})
