"""When sockets are asked to confirm what they were sent."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.confirmations import GATHER_SECONDS, MAX_GATHER_SECONDS, MAX_GATHERED, MAX_GATHERED_BYTES
from kschat.wire.errors import Reason
from tests.chat.house import Guest, House

LINGER = 0.001


class Asking(SynchronousTestCase):
    def setUp(self, *, gathers: bool = True) -> None:
        self.house = House(linger=LINGER, gathers=gathers)
        self.ann = self.house.guest("ann")
        self.ben = self.house.guest("ben")

    def write(self, count: int = 1, msg: object = "hi") -> None:
        """So many messages to ben, each in a batch of its own, at one time."""
        for _ in range(count):
            self.ann.send("ann", "ben", msg)
            self.house.turn()

    def advance(self, seconds: float) -> None:
        """So much time passes, in steps in which timers that follow others have their turn too."""
        for _ in range(100):
            self.house.clock.advance(seconds / 100)

    def pong(self, guest: Guest | None = None) -> None:
        """What was asked last is confirmed."""
        guest = guest or self.ben
        guest.session.confirmed(guest.line.pings[-1])

    def cursor(self) -> int:
        """All up to it is confirmed of ben's inbox."""
        inbox = self.house.hub.inbox("ben")
        assert inbox is not None
        return inbox.cursor

    def timers(self) -> list[object]:
        """The calls that are to ask."""
        calls: Any = self.house.clock.getDelayedCalls()
        return [call for call in calls if call.func == self.house.hub.confirmations._due]

    def test_a_message_now_and_then_is_asked_about_at_once(self) -> None:
        for number in range(1, 5):
            self.write()
            self.assertEqual(self.ben.line.pings[-1], number)
            self.pong()
            self.assertEqual(self.cursor(), number)
            self.advance(GATHER_SECONDS)
        self.assertEqual(len(self.house.hub.confirmations), 0)

    def test_messages_that_follow_closely_are_asked_about_together(self) -> None:
        self.write()
        self.pong()
        for _ in range(5):
            self.write()
            self.advance(GATHER_SECONDS / 5)
        self.assertEqual(self.ben.line.pings, [1])
        self.write()
        self.assertEqual(self.ben.line.pings, [1, 7])
        self.pong()
        self.assertEqual(self.cursor(), 7)
        # The timer that was set for them finds that it is done.
        self.advance(2 * MAX_GATHER_SECONDS)
        self.assertEqual(self.ben.line.pings, [1, 7])
        self.assertEqual(len(self.house.hub.confirmations), 0)

    def test_without_another_write_a_timer_asks(self) -> None:
        self.write()
        self.pong()
        self.write(3)
        self.assertEqual(self.ben.line.pings, [1])
        self.advance(MAX_GATHER_SECONDS)
        self.assertEqual(self.ben.line.pings, [1, 4])
        self.pong()
        self.assertEqual(self.cursor(), 4)
        self.assertEqual(len(self.house.hub.confirmations), 0)

    def test_one_timer_serves_all_sockets(self) -> None:
        guests = [self.house.guest(f"u{number}") for number in range(20)]
        self.house.hub.catch_up.rest()
        for _ in range(2):
            for number in range(20):
                self.ann.send("ann", f"u{number}")
            self.house.turn()
            for guest in guests:
                guest.session.confirmed(guest.line.pings[-1])
        self.assertEqual(len(self.timers()), 1)
        self.advance(MAX_GATHER_SECONDS)
        self.assertEqual([guest.line.pings for guest in guests], [[1, 2]] * 20)

    def test_what_is_written_before_the_pong_arrives_is_asked_about_after_it(self) -> None:
        self.write(3)
        self.assertEqual(self.ben.line.pings, [1])
        self.advance(2 * MAX_GATHER_SECONDS)
        self.assertEqual(self.ben.line.pings, [1])
        self.pong()
        self.assertEqual(self.ben.line.pings, [1, 3])
        self.pong()
        self.assertEqual(self.cursor(), 3)

    def test_a_pong_right_after_the_question_begins_no_other_at_once(self) -> None:
        self.write(3)
        self.pong()
        self.assertEqual((self.ben.line.pings, self.cursor()), ([1], 1))
        self.advance(MAX_GATHER_SECONDS)
        self.assertEqual(self.ben.line.pings, [1, 3])

    def test_many_messages_or_bytes_are_asked_about_at_once(self) -> None:
        self.write()
        self.pong()
        self.write(MAX_GATHERED - 1)
        self.assertEqual(self.ben.line.pings, [1])
        self.write()
        self.assertEqual(self.ben.line.pings, [1, 1 + MAX_GATHERED])
        self.setUp()
        self.write()
        self.pong()
        size = MAX_GATHERED_BYTES // 5
        self.write(4, "x" * size)
        self.assertEqual(self.ben.line.pings, [1])
        self.write(1, "x" * size)
        self.assertEqual(self.ben.line.pings, [1, 6])

    def test_a_backlog_is_asked_about_page_by_page(self) -> None:
        self.ben.leave()
        for _ in range(300):
            self.ann.send("ann", "ben")
        self.house.turn()
        self.ben = self.house.stranger()
        self.ben.join({"token": self.house.token("ben")})
        for _ in range(20):
            if self.cursor() == 300:
                break
            self.pong()
        self.assertEqual(self.cursor(), 300)

    def test_a_transport_that_confirms_without_a_ping_is_asked_at_once(self) -> None:
        self.ben.line.asks_by_ping = False
        for number in range(1, 4):
            self.write()
            self.assertEqual(self.ben.line.pings[-1], number)
            self.pong()

    def test_a_socket_that_is_gone_is_not_asked(self) -> None:
        self.write()
        self.pong()
        self.write()
        self.ben.leave()
        self.advance(MAX_GATHER_SECONDS)
        self.assertEqual(self.ben.line.pings, [1])
        self.assertEqual(len(self.house.hub.confirmations), 0)

    def test_what_is_not_confirmed_when_a_connection_breaks_is_written_again(self) -> None:
        self.write()
        self.pong()
        self.write(2)
        self.ben.session.close(Reason.TRANSPORT_CLOSE)
        self.ben = self.house.stranger()
        self.ben.join({"token": self.house.token("ben")})
        mids = [one["MSG"][0]["mid"] for one in self.ben.events("RESPRECEIVER")]
        self.assertEqual(len(mids), 2)
        self.pong()
        self.assertEqual(self.cursor(), 3)

    def test_when_the_daemon_goes_down_all_are_asked_at_once(self) -> None:
        self.write()
        self.pong()
        self.write()
        self.house.chat.close()
        self.assertEqual(self.ben.line.pings, [1, 2])
        self.pong()
        self.assertEqual(self.cursor(), 2)
        self.assertEqual(self.timers(), [])

    def test_where_nothing_is_gathered_each_write_asks(self) -> None:
        self.setUp(gathers=False)
        for number in range(1, 4):
            self.write()
            self.assertEqual(self.ben.line.pings[-1], number)
            self.pong()

    def test_the_sender_is_told_that_a_message_was_delivered_when_it_is_confirmed(self) -> None:
        told = self.house.guest("ann", receipts="1")
        self.write()
        self.pong()
        self.write(2)
        self.assertEqual(len(told.events("RESPSTATUS")), 1)
        self.advance(MAX_GATHER_SECONDS)
        self.pong()
        self.assertEqual(len(told.events("RESPSTATUS")), 2)
