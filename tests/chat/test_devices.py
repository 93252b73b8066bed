"""Several devices of one user: where the next one begins, so that none sees messages in another order after a crash."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.chat.house import House


class NextDevice(SynchronousTestCase):
    """The cursor is told to the store by and by; a crash takes what it was not told."""

    def setUp(self) -> None:
        self.house = House()
        self.ann = self.house.guest("ann")
        self.first = self.house.guest("ben")
        for number in range(3):
            self.ann.send("ann", "ben", number)
        self.house.turn()
        self.first.session.confirmed(self.first.line.pings[-1])

    def stored_cursor(self) -> int:
        """What a daemon after a crash would go on from."""
        return self.successResultOf(self.house.store.inbox("ben")).cursor

    def test_it_begins_at_a_cursor_that_the_store_knows(self) -> None:
        self.assertEqual(0, self.stored_cursor())
        second = self.house.guest("ben")
        # Else: what it was not shown now it would be shown after a crash, behind messages that came later.
        self.assertEqual(3, self.stored_cursor())
        self.assertEqual([], second.events("RESPRECEIVER"))

    def test_it_waits_for_a_note_that_is_on_its_way(self) -> None:
        self.house.store.answers.held = True
        self.house.clock.advance(0.25)
        second = self.house.stranger().join({"token": self.house.token("ben")})
        self.assertEqual([], second.heard())
        self.house.store.answers.held = False
        self.house.store.answers.give()
        self.assertEqual(["connect"], [one.kind for one in second.heard()])
        self.assertEqual(3, self.stored_cursor())

    def test_what_is_proved_while_the_store_is_asked_is_shown_again(self) -> None:
        self.ann.send("ann", "ben", "later")
        self.house.turn()
        self.house.store.looks.held = True
        second = self.house.stranger().join({"token": self.house.token("ben")})
        self.first.session.confirmed(self.first.line.pings[-1])
        self.house.store.looks.held = False
        self.house.store.looks.give()
        self.assertEqual(["later"], [body["MSG"][0]["msg"] for body in second.events("RESPRECEIVER")])

    def test_it_is_let_in_while_the_store_is_away(self) -> None:
        store = self.house.store
        store.answers.away = store.looks.away = True
        second = self.house.guest("ben")
        store.answers.away = store.looks.away = False
        self.house.clock.advance(5)
        self.ann.send("ann", "ben", "now")
        self.house.turn()
        self.assertEqual(["now"], [body["MSG"][0]["msg"] for body in second.events("RESPRECEIVER")])
