"""Messages of servers that keep none are stored, once, and delivered by the place they have then."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import ingest
from kschat.chat.interfaces import RETRY_WAIT, Stored
from kschat.chat.message import Message
from tests.chat.house import Guest, House
from tests.contracts.made import message


class AdoptionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.store, self.hub = self.house.store, self.house.hub
        self.ann, self.ben = self.house.guest("ann"), self.house.guest("ben")

    def arrive(self, *messages: Message) -> None:
        """They come by the router, with no place."""
        self.hub.deliver([Stored(one, ((one.recipient, 0),)) for one in messages])

    def received(self, guest: Guest) -> list[tuple[int, str]]:
        """Offsets and texts."""
        events = guest.events("RESPRECEIVER")
        return [(one["offset"], one["msg"]) for event in events for one in event["MSG"]]

    def texts(self, *messages: Message) -> list[str]:
        return [bytes(one.msg).decode()[1:-1] for one in messages]

    def test_one_is_stored_and_delivered_with_its_place(self) -> None:
        self.ann.send("ann", "ben", "ours")
        self.house.turn()
        theirs = message("zoe", "ben")
        self.arrive(theirs)
        self.ann.send("ann", "ben", "ours again")
        self.house.turn()
        self.assertEqual(self.received(self.ben), [(1, "ours"), (2, *self.texts(theirs)), (3, "ours again")])
        self.assertEqual(self.house.counters.ingested, 1)

    def test_it_is_there_for_who_comes_back(self) -> None:
        self.ben.leave()
        theirs = message("zoe", "ben")
        self.arrive(theirs)
        self.assertEqual(self.store.batches, [])  # it is for daemons where the recipient is
        ben = self.house.guest("ben")
        self.arrive(theirs)
        ben.leave()
        again = self.house.stranger().join({"token": self.house.token("ben")})
        self.assertEqual(self.received(again), [(1, *self.texts(theirs))])

    def test_two_daemons_that_hear_of_one_store_it_once_and_both_deliver_it(self) -> None:
        theirs = message("zoe", "ben")
        other = message("zoe", "ben", mid="f" * 24, msg=theirs.msg, time=theirs.time)
        self.arrive(theirs)
        self.assertEqual(self.received(self.ben), [(1, *self.texts(theirs))])
        # The other daemon gave it another mid, as it had none.
        self.arrive(other)
        self.assertEqual(self.received(self.ben), [])
        self.assertEqual(self.house.counters.ingested, 1)
        self.assertEqual(self.successResultOf(self.store.ends(["ben"])), {"ben": 1})

    def test_of_a_daemon_that_names_its_messages_two_that_say_the_same_are_two(self) -> None:
        one = message("zoe", "ben", cid="1")
        other = message("zoe", "ben", cid="2", msg=one.msg, time=one.time)
        self.arrive(one, other, one)
        self.assertEqual([offset for offset, _ in self.received(self.ben)], [1, 2])
        self.assertEqual(self.house.counters.ingested, 2)

    def test_what_was_said_twice_is_two_messages(self) -> None:
        theirs = message("zoe", "ben")
        later = message("zoe", "ben", msg=theirs.msg, time=theirs.time + 1)
        self.arrive(theirs, later)
        self.assertEqual([offset for offset, _ in self.received(self.ben)], [1, 2])

    def test_no_client_s_cid_can_pass_for_one(self) -> None:
        theirs = message("ann", "ben")
        number = self.ann.send("ann", "ben", "forged", cid=ingest.cid_of(theirs))
        self.house.turn()
        self.assertEqual(self.ann.acks()[number]["ER"], 1)
        self.arrive(theirs)
        self.assertEqual(self.received(self.ben), [(1, *self.texts(theirs))])

    def test_order_stays_while_the_store_is_slow_or_away(self) -> None:
        messages = [message("zoe", "ben") for _ in range(6)]
        self.store.answers.held = True
        self.arrive(*messages[:2])
        self.arrive(*messages[2:3])
        self.store.answers.away = True
        self.store.answers.held = False
        self.store.answers.give()
        self.arrive(*messages[3:])
        self.assertEqual(self.received(self.ben), [])
        self.store.answers.away = False
        self.house.clock.advance(RETRY_WAIT)
        self.assertEqual([text for _, text in self.received(self.ben)], self.texts(*messages))

    def test_of_too_many_the_oldest_are_lost_and_counted(self) -> None:
        self.patch(ingest, "MAX_WAITING", 3)
        messages = [message("zoe", "ben") for _ in range(6)]
        self.store.answers.held = True
        self.arrive(messages[0])
        self.arrive(*messages[1:])
        self.store.answers.held = False
        self.store.answers.give()
        wanted = self.texts(messages[0], *messages[3:])
        self.assertEqual([text for _, text in self.received(self.ben)], wanted)
        self.assertEqual((self.house.counters.ingested, self.house.counters.not_ingested), (4, 2))

    def test_many_are_appended_part_by_part(self) -> None:
        self.patch(ingest, "MAX_BATCH", 2)
        self.arrive(*[message("zoe", "ben") for _ in range(5)])
        self.assertEqual([len(batch) for batch in self.store.batches], [2, 2, 1])

    def test_a_bug_of_the_store_is_logged_and_it_is_tried_again(self) -> None:
        self.store.answers.broken = "answer"
        self.arrive(message("zoe", "ben"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.store.answers.broken = ""
        self.house.clock.advance(RETRY_WAIT)
        self.assertEqual(len(self.received(self.ben)), 1)

    def test_what_the_router_can_t_bring_whole_is_read_from_the_store(self) -> None:
        self.successResultOf(self.store.append([message("zoe", "ben")]))
        self.hub.missed(["ben", "nobody"])
        self.assertEqual(len(self.received(self.ben)), 1)
