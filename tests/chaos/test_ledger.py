"""The ledger finds each thing that may be wrong: what counts nothing must not look like what lost nothing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chaos.cast import ROOM, Actor, make_cast
from chaos.ledger import Ledger

ANN, BEN = Actor("ann.0", "ann", 2), Actor("ben.0", "ben", 4)
BEN_TOO = Actor("ben.1", "ben", 4, asks={"recover": 1})
CEM = Actor("cem.0", "cem", 4)


class LedgerTests(SynchronousTestCase):
    """Ann writes to Ben, who has two devices, of which one recovers."""

    def setUp(self) -> None:
        self.ledger = Ledger([ANN, BEN, BEN_TOO, CEM], ("ann", "ben", "cem"))
        for actor in (ANN, BEN, BEN_TOO, CEM):
            self.ledger.opened(actor.name, False, False)

    def send(self, *numbers: int, target: str = "ben") -> None:
        """Sent and acknowledged."""
        for number in numbers:
            self.ledger.sent("ann.0", number, target)
            self.ledger.acknowledged("ann.0", number, f"mid{number}", False)

    def got(self, name: str, *numbers: int) -> None:
        """Received, each at the offset that is its number."""
        for number in numbers:
            self.ledger.received(name, f"ann.0/{number}", f"mid{number}", number)

    def wrong(self) -> dict[str, int]:
        """What is not 0."""
        return {name: count for name, count in self.ledger.verdict().items() if count}

    def test_all_is_well(self) -> None:
        self.send(1, 2, 3)
        self.got("ben.0", 1, 2, 3)
        self.got("ben.1", 1, 2, 3)
        self.assertEqual(({}, True), (self.wrong(), self.ledger.quiet))

    def test_a_message_without_an_ack(self) -> None:
        self.ledger.sent("ann.0", 1, "ben")
        self.assertEqual(({"never answered": 1}, False), (self.wrong(), self.ledger.quiet))

    def test_an_acknowledged_message_that_never_came(self) -> None:
        self.send(1, 2)
        self.got("ben.0", 1)
        self.assertEqual(({"acknowledged but never received": 1}, False), (self.wrong(), self.ledger.quiet))

    def test_a_change_without_an_ack(self) -> None:
        self.send(1)
        self.got("ben.0", 1)
        self.ledger.changes("ann.0", 1, "mid1", "edited")
        self.assertEqual(({"changes never answered": 1}, False), (self.wrong(), self.ledger.quiet))
        self.ledger.changed("ann.0", 1, "mid1", 0)
        self.assertEqual(({}, True), (self.wrong(), self.ledger.quiet))

    def test_a_device_that_shows_what_was_before(self) -> None:
        self.send(1)
        self.got("ben.0", 1)
        self.ledger.shows("ben.0", "mid1", "ann.0/1")
        self.ledger.changes("ann.0", 1, "mid1", "edited")
        self.ledger.changed("ann.0", 1, "mid1", 0)
        self.assertEqual(({"shown otherwise than it was changed to": 1}, False), (self.wrong(), self.ledger.quiet))
        self.ledger.shows("ben.0", "mid1", "edited")
        self.assertEqual(({}, True), (self.wrong(), self.ledger.quiet))

    def test_a_deleted_message_need_not_come_and_its_deletion_must(self) -> None:
        self.send(1, 2)
        self.got("ben.0", 2)
        self.ledger.shows("ben.0", "mid2", "ann.0/2")
        for number in (1, 2):
            self.ledger.changes("ann.0", number, f"mid{number}", None)
            self.ledger.changed("ann.0", number, f"mid{number}", 0)
        self.ledger.shows("ben.0", "mid1", None)
        self.assertEqual({"shown otherwise than it was changed to": 1}, self.wrong())
        self.ledger.shows("ben.0", "mid2", None)
        self.assertEqual(({}, True), (self.wrong(), self.ledger.quiet))

    def test_a_change_that_is_refused_for_good(self) -> None:
        self.send(1)
        self.got("ben.0", 1)
        self.ledger.changes("ann.0", 1, "mid1", "edited")
        self.ledger.changed("ann.0", 1, "mid1", 6)
        self.assertEqual({"changes refused": 1}, self.wrong())

    def test_a_message_may_come_before_its_ack(self) -> None:
        self.ledger.sent("ann.0", 1, "ben")
        self.got("ben.0", 1)
        self.ledger.acknowledged("ann.0", 1, "mid1", False)
        self.assertEqual(({}, True), (self.wrong(), self.ledger.quiet))

    def test_a_message_to_a_room_is_awaited_from_each_member_but_the_sender(self) -> None:
        self.send(1, target=ROOM)
        self.got("ben.0", 1)
        self.assertEqual({"ann.0/1": {"cem"}}, self.ledger.awaited)
        self.got("cem.0", 1)
        self.assertTrue(self.ledger.quiet)

    def test_a_device_that_does_not_recover_may_miss_what_another_had(self) -> None:
        self.send(1, 2, 3)
        self.got("ben.1", 1, 2, 3)
        self.got("ben.0", 1, 3)
        self.assertEqual({}, self.wrong())

    def test_a_device_that_recovers_may_not(self) -> None:
        self.send(1, 2, 3, 4)
        self.got("ben.0", 1, 2, 3, 4)
        self.got("ben.1", 2, 4)
        self.assertEqual({"missed by a device that recovers": 1}, self.wrong())

    def test_a_device_that_is_not_recovered(self) -> None:
        self.ledger.shut("ben.1")
        self.ledger.opened("ben.1", False, True)
        self.assertEqual({"not recovered though it had an offset": 1}, self.wrong())

    def test_a_repeat_with_the_same_mid_is_cut(self) -> None:
        self.send(1, 2)
        self.got("ben.0", 1, 2, 1, 2)
        self.assertEqual(({}, (2, 2)), (self.wrong(), self.ledger.receipts))

    def test_a_repeat_with_another_mid(self) -> None:
        self.send(1)
        self.got("ben.0", 1)
        self.ledger.received("ben.0", "ann.0/1", "another", 2)
        self.assertEqual({"received twice after the cut by mid": 1}, self.wrong())

    def test_another_order_than_that_of_the_acks(self) -> None:
        self.send(1, 3, 2)
        self.got("ben.0", 1, 2, 3)
        self.assertEqual({"out of order for a pair": 1}, self.wrong())
        self.assertEqual([("ben.0", "ann.0/3")], self.ledger.disordered())

    def test_an_offset_that_is_given_twice(self) -> None:
        self.send(1)
        self.got("ben.0", 1)
        self.ledger.received("ben.0", "ann.0/9", "mid9", 1)
        self.ledger.sent("ann.0", 9, "ben")
        self.ledger.acknowledged("ann.0", 9, "mid9", False)
        self.assertEqual({"an offset with two messages": 1}, self.wrong())

    def test_another_mid_than_was_acknowledged(self) -> None:
        self.send(1)
        self.ledger.received("ben.0", "ann.0/1", "another", 1)
        self.assertEqual({"received with another mid than acknowledged": 1}, self.wrong())

    def test_a_seed_makes_one_cast_in_which_both_versions_ask_for_everything(self) -> None:
        actors, members = make_cast(7)
        self.assertEqual((actors, members), make_cast(7))
        for version in (2, 4):
            mine = [actor for actor in actors if actor.version == version]
            self.assertTrue(any("batch" in actor.asks for actor in mine))
            self.assertTrue(any(not actor.answers for actor in mine))
            self.assertTrue(any(ROOM in actor.targets for actor in actors))
        self.assertTrue(any(actor.recovers for actor in actors))
        self.assertTrue(any("retries" in actor.options for actor in actors))

    def test_where_answers_may_be_lost_a_repeat_tells_no_order_but_an_ack_before_the_next_send_does(self) -> None:
        self.ledger = Ledger([ANN, BEN, BEN_TOO, CEM], (), unsure=True)
        self.ledger.opened("ben.0", False, False)
        # 1 was stored, and told as refused; 2 was sent with it; 3 when both were acknowledged.
        self.ledger.sent("ann.0", 1, "ben")
        self.ledger.sent("ann.0", 2, "ben")
        self.ledger.refused("ann.0", 1, 3)
        self.ledger.acknowledged("ann.0", 2, "mid2", False)
        self.ledger.acknowledged("ann.0", 1, "mid1", True)
        self.send(3)
        self.got("ben.0", 1, 2, 3)
        self.assertEqual([], self.ledger.disordered())
        self.send(4, 5)
        self.got("ben.0", 5, 4)
        self.assertEqual([("ben.0", "ann.0/4")], self.ledger.disordered())

    def test_what_came_last_tells_when_it_was_sent(self) -> None:
        self.assertEqual(0, self.ledger.newest("ben.0"))
        self.send(1)
        before = self.ledger.events
        self.got("ben.0", 1)
        self.assertLessEqual(self.ledger.newest("ben.0"), before)
        self.send(2)
        self.got("ben.0", 2)
        self.assertGreater(self.ledger.newest("ben.0"), before)
