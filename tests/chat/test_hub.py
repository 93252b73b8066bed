"""Who is here, and how what is for them is written: once for each socket and batch."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import catchup, hub
from kschat.chat.interfaces import RETRY_WAIT, RouterEvent, Stored
from kschat.chat.write_behind import MAX_WRITE_BEHIND, WRITE_BEHIND_WAIT
from kschat.wire.engineio import Revision
from kschat.wire.errors import Reason
from tests.chat.house import Guest, House
from tests.contracts.doubles import LateRouter
from tests.contracts.made import message

REVISIONS: tuple[Revision, ...] = (3, 4)


class HubTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.hub = self.house.hub

    def deliver(self, *recipients: str) -> list[Stored]:
        """Messages are stored by another daemon, and its router's news of them comes here."""
        batch = self.successResultOf(self.house.store.append([message("zoe", recipient) for recipient in recipients]))
        self.hub.deliver(batch)
        return batch

    def offsets(self, guest: Guest) -> list[int]:
        return [one["offset"] for event in guest.events("RESPRECEIVER") for one in event["MSG"]]

    def writes(self, guest: Guest) -> int:
        return len(guest.line.writes)


class Counting(HubTests):
    def test_sockets_are_counted_as_they_come_and_go(self) -> None:
        guests = [self.house.guest(user) for user in ("ann", "ann", "ben")]
        self.assertEqual((3, 2), (self.hub.sockets, self.hub.users))
        session = self.hub.sessions("ben")[0]
        self.hub.add(session)
        self.assertEqual(3, self.hub.sockets)
        for _ in range(2):
            self.hub.remove(session)
            self.assertEqual((2, 1), (self.hub.sockets, self.hub.users))
        self.assertEqual(3, len(guests))
        for session in self.hub.sessions(None):
            self.hub.remove(session)
        self.assertEqual((0, 0), (self.hub.sockets, self.hub.users))


class Delivering(HubTests):
    def test_each_socket_of_a_user_gets_each_message_in_its_revision_s_form(self) -> None:
        guests = [self.house.guest("ann", revision) for revision in REVISIONS * 2]
        self.deliver("ann", "ann", "ann")
        self.assertEqual([self.offsets(guest) for guest in guests], [[1, 2, 3]] * 4)

    def test_a_batch_is_one_write_to_each_socket(self) -> None:
        guests = [self.house.guest(user) for user in ("ann", "ann", "ben", "cem")]
        before = [self.writes(guest) for guest in guests]
        self.deliver("ann", "ben", "ann", "ben", "ann")
        after = [self.writes(guest) for guest in guests]
        self.assertEqual([now - then for now, then in zip(after, before, strict=True)], [1, 1, 1, 0])

    def test_one_who_asked_for_it_gets_a_batch_as_one_event(self) -> None:
        plain, grouped = self.house.guest("ann"), self.house.guest("ann", batch="1")
        self.deliver("ann", "ann", "ann")
        self.assertEqual(len(plain.events("RESPRECEIVER")), 3)
        (event,) = grouped.events("RESPRECEIVER")
        self.assertEqual([one["offset"] for one in event["MSG"]], [1, 2, 3])

    def test_very_many_writes_take_several_turns_and_keep_the_order(self) -> None:
        self.patch(hub, "MAX_WRITES", 5)
        more = self.hub._deliver_more
        counts: list[int] = []

        def turn() -> None:
            more()
            counts.append(self.house.counters.delivered)

        self.patch(self.hub, "_deliver_more", turn)
        guests = {user: [self.house.guest(user) for _ in range(3)] for user in ("ann", "ben")}
        self.deliver("ann", "ben", "ann", "ben", "ann")
        self.assertTrue(self.hub.is_behind)
        self.deliver("ben", "ann")  # what comes meanwhile stands behind it
        counts.append(self.house.counters.delivered)
        self.house.turn()
        self.assertEqual(counts, [6, 12, 18, 21])
        for user, sent in (("ann", [1, 2, 3, 4]), ("ben", [1, 2, 3])):
            self.assertEqual([self.offsets(guest) for guest in guests[user]], [sent] * 3)

    def test_a_room_of_very_many_takes_several_turns_too(self) -> None:
        self.patch(hub, "MAX_WRITES", 4)
        users = [f"u{number}" for number in range(10)]
        guests = [self.house.guest(user) for user in users]
        stored = Stored(message("zoe", "#r"), tuple((user, 1) for user in users))
        self.hub.deliver([stored, Stored(message("zoe", "u0"), (("u0", 2),))])
        self.assertEqual([len(self.offsets(guest)) for guest in guests], [1] * 4 + [0] * 6)
        self.hub.deliver_rest()
        self.assertFalse(self.hub.is_behind)
        self.house.turn()
        self.assertEqual([self.offsets(guest) for guest in guests[1:]], [[]] * 3 + [[1]] * 6)
        self.assertEqual(self.offsets(guests[0]), [2])

    def test_while_messages_wait_to_be_written_none_are_stored(self) -> None:
        self.patch(hub, "MAX_WRITES", 2)
        sockets = [self.house.guest("ann") for _ in range(3)]
        ben = self.house.guest("ben")
        self.deliver("ann", "ann", "ann")
        ben.send("ben", "cem")
        self.house.delivery._turn()
        self.assertEqual((self.hub.is_behind, self.house.delivery.waiting), (True, 1))
        self.house.turn()
        self.house.turn()
        self.assertEqual((self.hub.is_behind, self.house.delivery.waiting), (False, 0))
        self.assertEqual([self.offsets(socket) for socket in sockets], [[1, 2, 3]] * 3)

    def test_proof_of_a_batch_is_asked_for_once_a_socket(self) -> None:
        guest = self.house.guest("ann")
        self.deliver("ann", "ann", "ann")
        self.assertEqual(guest.line.pings, [3])

    def test_messages_for_those_who_are_not_here_are_nothing(self) -> None:
        self.house.guest("ann")
        self.deliver("ben", "cem")
        self.assertEqual(self.house.counters.delivered, 0)

    def test_what_is_delivered_is_counted_by_socket(self) -> None:
        for user in ("ann", "ann", "ben"):
            self.house.guest(user)
        self.deliver("ann", "ben", "nobody")
        self.assertEqual(self.house.counters.delivered, 3)

    def test_a_socket_that_is_not_let_in_yet_gets_it_afterwards_and_once(self) -> None:
        self.house.router.binds.held = True
        guest = self.house.stranger().join({"token": self.house.token("ann")})
        self.deliver("ann")
        self.assertEqual(guest.heard(), [])
        self.house.router.binds.give()
        self.assertEqual(self.offsets(guest), [1])

    def test_a_socket_that_leaves_in_the_middle_of_a_delivery_costs_the_others_nothing(self) -> None:
        """A line finds at the end of the batch that its peer is gone, while its user has another."""
        first, second, third = (self.house.guest(user) for user in ("ann", "ann", "ben"))
        first.line.flush = first.leave  # type: ignore[method-assign]
        self.deliver("ann", "ben", "ann")
        self.assertEqual((self.offsets(second), self.offsets(third)), ([1, 2], [1]))
        self.assertEqual((self.hub.sockets, self.house.router.bound), (2, {"ann", "ben"}))

    def test_a_user_who_leaves_in_the_middle_of_a_delivery_is_unbound(self) -> None:
        guest, other = self.house.guest("ann"), self.house.guest("ben")
        guest.line.flush = guest.leave  # type: ignore[method-assign]
        self.deliver("ann", "ben", "ann")
        self.assertEqual(self.house.router.bound, {"ben"})
        self.assertEqual(self.offsets(other), [1])
        self.deliver("ann", "ben")
        self.assertEqual(self.offsets(other), [2])

    def test_news_that_come_twice_are_written_once(self) -> None:
        guest = self.house.guest("ann")
        batch = self.deliver("ann", "ann")
        self.hub.deliver(batch)
        self.hub.deliver(batch[:1])
        self.assertEqual(self.offsets(guest), [1, 2])

    def test_a_message_to_a_room_is_written_to_each_member_with_its_own_offset(self) -> None:
        ann, ben = self.house.guest("ann"), self.house.guest("ben")
        self.deliver("ben", "ben")
        self.hub.deliver([Stored(message("zoe", "#room"), (("ann", 1), ("ben", 3), ("cem", 9)))])
        self.assertEqual((self.offsets(ann), self.offsets(ben)), ([1], [1, 2, 3]))


class ComingAndGoing(HubTests):
    def test_numbers_and_bindings_follow(self) -> None:
        ann, also_ann, ben = (self.house.guest(user) for user in ("ann", "ann", "ben"))
        self.assertEqual((self.hub.users, self.hub.sockets, self.house.router.bound), (2, 3, {"ann", "ben"}))
        ann.leave()
        self.assertEqual((self.hub.users, self.hub.sockets, self.house.router.bound), (2, 2, {"ann", "ben"}))
        also_ann.leave()
        ben.leave()
        self.assertEqual((self.hub.users, self.hub.sockets, self.house.router.bound), (0, 0, set()))

    def test_to_leave_twice_is_to_leave_once(self) -> None:
        guest = self.house.guest("ann")
        session = next(iter(guest.connection.sockets.values())).record
        self.house.guest("ann")
        self.assertFalse(self.house.context.admission.leave(session))
        self.assertFalse(self.house.context.admission.leave(session))
        self.assertEqual(self.hub.sockets, 1)
        self.assertTrue(self.hub.is_here("ann"))

    def test_many_come_and_go_and_nothing_is_left(self) -> None:
        for number in range(50):
            self.house.guest(f"user {number}").leave()
        self.house.clock.advance(WRITE_BEHIND_WAIT)
        self.assertEqual((self.hub.users, self.house.router.bound), (0, set()))
        self.assertEqual(self.house.clock.getDelayedCalls(), [])
        self.assertEqual(
            (len(self.hub.write_behind._cursors), len(self.hub.write_behind._seen), len(self.hub.write_behind._dirty)),
            (0, 0, 0),
        )


class Renewing(HubTests):
    """The store is another one, whose offsets mean something else."""

    def test_each_socket_is_closed_and_its_client_begins_where_the_new_store_says(self) -> None:
        guests = [self.house.guest("ann", revision) for revision in REVISIONS]
        self.deliver("ann", "ann")
        self.hub.renewed()
        self.assertEqual([guest.line.closed for guest in guests], [Reason.SERVER_ERROR] * 2)
        self.assertEqual((self.hub.users, self.hub.sockets), (0, 0))
        again = self.house.stranger(token=self.house.token("ann")).join()
        self.assertEqual(self.offsets(again), [1, 2])

    def test_cursors_of_the_old_one_are_not_told_to_the_new_one(self) -> None:
        guest = self.house.guest("ann")
        self.deliver("ann", "ann")
        guest.session.confirmed(2)
        self.hub.renewed()
        self.house.clock.advance(WRITE_BEHIND_WAIT)
        self.assertEqual(self.successResultOf(self.house.store.inbox("ann")).cursor, 0)

    def test_the_hub_is_told_by_its_store(self) -> None:
        self.assertIs(self.house.store.listener, self.hub)


class Noting(HubTests):
    """What is kept beside the messages is gathered, and told to the store now and then."""

    def seen(self, user: str) -> int | None:
        return self.successResultOf(self.house.store.last_seen([user])).get(user)

    def test_it_is_told_after_a_moment_all_at_once(self) -> None:
        guest = self.house.guest("ann")
        self.deliver("ann")
        guest.session.confirmed(1)
        guest.leave()
        self.assertEqual(self.successResultOf(self.house.store.inbox("ann")).cursor, 0)
        self.house.clock.advance(WRITE_BEHIND_WAIT)
        self.assertEqual(self.successResultOf(self.house.store.inbox("ann")).cursor, 1)
        self.assertEqual(self.seen("ann"), int(self.house.clock.seconds() * 1000 - WRITE_BEHIND_WAIT * 1000))

    def test_where_there_are_other_daemons_they_find_at_once_how_far_one_who_leaves_was(self) -> None:
        for alone in (True, False):
            self.patch(LateRouter, "alone", alone)
            self.setUp()
            guest = self.house.guest("ann")
            self.deliver("ann")
            guest.session.confirmed(1)
            guest.leave()
            self.house.turn()
            self.assertEqual(self.successResultOf(self.house.store.inbox("ann")).cursor, int(not alone))
            self.assertEqual(self.seen("ann") is None, alone)

    def test_where_the_store_is_away_it_is_told_later(self) -> None:
        for broken in ("", "answer"):
            self.setUp()
            self.house.store.answers.away, self.house.store.answers.broken = True, broken
            self.house.guest("ann").leave()
            self.house.clock.advance(WRITE_BEHIND_WAIT)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), bool(broken))
            self.house.store.answers.away, self.house.store.answers.broken = False, ""
            self.house.clock.advance(RETRY_WAIT)
            self.assertIsNotNone(self.seen("ann"))
            self.assertEqual(self.house.clock.getDelayedCalls(), [])

    def test_a_store_that_breaks_its_word_is_told_later_as_well(self) -> None:
        self.house.store.answers.broken = "call"
        self.house.guest("ann").leave()
        self.house.clock.advance(WRITE_BEHIND_WAIT)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.house.store.answers.broken = ""
        self.house.clock.advance(RETRY_WAIT)
        self.assertIsNotNone(self.seen("ann"))

    def test_what_waits_for_a_store_that_is_away_has_a_bound(self) -> None:
        self.house.store.answers.away = True
        for number in range(MAX_WRITE_BEHIND + 100):
            self.hub.write_behind._seen[f"user {number}"] = number
            self.hub.write_behind._dirty.add(f"user {number}")
        self.house.guest("ann").leave()
        self.house.clock.advance(WRITE_BEHIND_WAIT)
        self.assertLessEqual(len(self.hub.write_behind._seen), MAX_WRITE_BEHIND)
        self.assertLessEqual(len(self.hub.write_behind._dirty), MAX_WRITE_BEHIND)
        self.assertIn("ann", self.hub.write_behind._seen)
        self.assertEqual(self.house.counters.cursors_dropped, 101)


class Resync(HubTests):
    """What no news told of is looked up in the store."""

    def store(self, *recipients: str) -> None:
        """Messages of which no news come."""
        self.successResultOf(self.house.store.append([message("zoe", recipient) for recipient in recipients]))

    def test_when_the_router_is_back_each_socket_gets_what_it_missed(self) -> None:
        ann, ben = self.house.guest("ann"), self.house.guest("ben")
        self.deliver("ann")
        self.store("ann", "ann", "cem")
        self.hub.on_router_event(RouterEvent.DOWN)
        self.assertEqual(self.offsets(ann), [1])
        self.hub.on_router_event(RouterEvent.UP)
        self.assertEqual((self.offsets(ann), self.offsets(ben)), ([2, 3], []))
        self.deliver("ann")
        self.assertEqual(self.offsets(ann), [4])
        self.assertEqual(self.house.counters.router_events, {"down": 1, "up": 1})

    def test_a_store_that_is_away_is_asked_again(self) -> None:
        ann = self.house.guest("ann")
        self.store("ann")
        self.house.store.looks.away = True
        self.hub.on_router_event(RouterEvent.UP)
        self.assertEqual(self.offsets(ann), [])
        self.house.store.looks.away = False
        self.house.clock.advance(RETRY_WAIT)
        self.assertEqual(self.offsets(ann), [1])

    def test_many_users_are_asked_for_part_by_part(self) -> None:
        self.patch(catchup, "MAX_ENDS", 2)
        guests = [self.house.guest(f"user {number}") for number in range(5)]
        self.store(*[f"user {number}" for number in range(5)])
        self.house.store.looks.held = True
        self.hub.on_router_event(RouterEvent.UP)
        for _ in range(5):
            self.assertLessEqual(len(self.house.store.looks), 3)
            self.house.store.looks.give()
        self.house.store.looks.held = False
        self.house.store.looks.give()
        self.assertEqual([self.offsets(guest) for guest in guests], [[1]] * 5)

    def test_what_could_not_be_routed_is_read_from_the_store(self) -> None:
        ann, ben = self.house.guest("ann"), self.house.guest("ben")
        self.house.router.answers.away = True
        ann.send("ann", "ben")
        self.house.turn()
        self.assertEqual(self.offsets(ben), [1])
        self.assertEqual(self.house.counters.unrouted, 1)

    def test_early_news_give_way_to_what_is_read(self) -> None:
        ann = self.house.guest("ann")
        self.store("ann", "ann")
        self.deliver("ann")
        self.assertEqual(self.offsets(ann), [])
        self.hub.on_router_event(RouterEvent.UP)
        self.assertEqual(self.offsets(ann), [1, 2, 3])
