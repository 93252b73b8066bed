"""What news did not tell is looked up for the users here, and told to other daemons once that can be done."""

from __future__ import annotations

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import catchup
from kschat.chat.catchup import LOOK_EVERY
from kschat.chat.interfaces import InboxPage, RouterEvent
from tests.chat.house import Guest, House
from tests.contracts.made import message


class CatchUpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.store, self.router = self.house.store, self.house.router
        self.ann = self.house.guest("ann")

    def offsets(self, guest: Guest) -> list[int]:
        return [one["offset"] for event in guest.events("RESPRECEIVER") for one in event["MSG"]]

    def told(self) -> list[tuple[str, int]]:
        """For whom, up to which offset, news went out since the last time."""
        batches = self.router.batches[:]
        self.router.batches.clear()
        return [place for batch in batches for one in batch for place in one.places]

    def send_while_away(self, *recipients: str) -> None:
        """Stored and not routed."""
        self.router.answers.away = True
        for recipient in recipients:
            self.ann.send("ann", recipient)
        self.house.turn()
        self.told()


class Notifier(CatchUpTests):
    """The users of these messages are on other daemons."""

    def back(self) -> None:
        self.router.answers.away = False
        self.house.hub.on_router_event(RouterEvent.UP)

    def test_what_could_not_be_routed_is_told_when_the_router_is_back(self) -> None:
        self.send_while_away("ben", "cem")
        self.back()
        self.assertEqual(self.told(), [("ben", 1), ("cem", 1)])
        self.back()
        self.assertEqual(self.told(), [])

    def test_the_newest_of_each_user_is_enough(self) -> None:
        self.send_while_away("ben", "ben", "cem", "ben")
        self.back()
        self.assertEqual(sorted(self.told()), [("ben", 3), ("cem", 1)])

    def test_a_router_that_fails_again_leaves_it_for_the_next_time(self) -> None:
        self.send_while_away("ben")
        self.router.answers.away = False
        self.router.answers.held = True
        self.house.hub.on_router_event(RouterEvent.UP)
        self.router.answers.away = True
        self.router.answers.held = False
        self.router.answers.give()
        self.told()
        self.back()
        self.assertEqual(self.told(), [("ben", 1)])

    def test_a_store_that_is_away_meanwhile_is_asked_at_the_next_look(self) -> None:
        self.send_while_away("ben")
        self.store.looks.away = True
        self.back()
        self.assertEqual(self.told(), [])
        self.store.looks.away = False
        self.house.clock.advance(LOOK_EVERY)
        self.assertEqual(self.told(), [("ben", 1)])

    def test_what_a_store_that_is_out_of_date_does_not_have_is_told_once_it_has_it(self) -> None:
        self.send_while_away("ben")
        behind = self.store.read
        self.patch(self.store, "read", lambda *_: succeed(InboxPage([], 1, 0, 0)))
        self.back()
        self.assertEqual(self.told(), [])
        self.patch(self.store, "read", behind)
        self.house.hub.reconnected()
        self.assertEqual(self.told(), [("ben", 1)])
        self.back()
        self.assertEqual(self.told(), [])

    def test_what_the_store_has_lost_is_told_to_nobody_and_forgotten(self) -> None:
        self.send_while_away("ben")
        self.patch(self.store, "read", lambda *_: succeed(InboxPage([], 1, 0)))
        self.back()
        self.assertEqual((self.told(), self.house.hub.catch_up._untold), ([], {}))

    def test_what_comes_while_others_are_told_is_told_as_well(self) -> None:
        self.send_while_away("ben")
        self.store.looks.held = True
        self.back()
        self.send_while_away("ben", "cem")
        self.router.answers.away = False
        self.store.looks.held = False
        self.store.looks.give()
        self.assertEqual(self.told(), [("ben", 1), ("ben", 2), ("cem", 1)])

    def test_many_are_told_part_by_part(self) -> None:
        self.patch(catchup, "TOLD_AT_ONCE", 2)
        users = [f"user {number}" for number in range(5)]
        self.send_while_away(*users)
        self.back()
        self.assertEqual([len(batch) for batch in self.router.batches], [2, 2, 1])

    def test_no_more_users_are_remembered_than_the_bound(self) -> None:
        self.patch(catchup, "MAX_UNTOLD", 2)
        self.send_while_away("ben", "cem", "dee")
        self.back()
        self.assertEqual(self.told(), [("cem", 1), ("dee", 1)])

    def test_a_bug_of_the_router_is_logged_and_does_not_end_the_telling_for_ever(self) -> None:
        self.send_while_away("ben")
        self.router.answers.away = False
        self.router.answers.broken = "call"
        self.house.hub.on_router_event(RouterEvent.UP)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.router.answers.broken = ""
        self.told()
        self.back()
        self.assertEqual(self.told(), [("ben", 1)])


class Looking(CatchUpTests):
    """Another daemon stored a message and was killed before it could tell of it."""

    def store_silently(self) -> None:
        self.successResultOf(self.store.append([message("zoe", "ann")]))

    def test_it_is_found_at_the_next_look_and_at_each_after_it(self) -> None:
        for offset in (1, 2, 3):
            self.store_silently()
            self.assertEqual(self.offsets(self.ann), [])
            self.house.clock.advance(LOOK_EVERY)
            self.assertEqual(self.offsets(self.ann), [offset])

    def test_nobody_looks_where_nobody_is(self) -> None:
        self.ann.leave()
        self.house.clock.advance(1)  # what is noted of who leaves
        self.assertEqual(self.house.clock.getDelayedCalls(), [])

    def test_a_daemon_that_is_alone_need_not_look(self) -> None:
        self.ann.leave()
        self.router.alone = True
        self.house.guest("ann")
        self.house.clock.advance(1)  # what is noted of who leaves
        self.assertEqual(self.house.clock.getDelayedCalls(), [])

    def test_a_daemon_that_is_alone_has_nobody_to_tell(self) -> None:
        self.router.alone = True
        self.send_while_away("ben")
        self.router.answers.away = False
        self.house.hub.on_router_event(RouterEvent.UP)
        self.assertEqual(self.told(), [])
