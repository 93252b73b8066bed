"""Limits of sockets, users and addresses, as clients meet them: each is gone beyond."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.chat import limiter
from kschat.chat.interfaces import Stored
from kschat.chat.limiter import ASSUMED_ROOM, MAX_TYPED, UNKNOWN_ROOM
from kschat.chat.message import Error, Message
from kschat.rates import MIN_REFUSALS, RateSettings
from kschat.wire.errors import Reason
from tests.chat.peers import Client, Daemon


class LimitTestCase(SynchronousTestCase):
    """Bursts are one second's worth here."""

    def daemon_with(self, **settings: float) -> Daemon:
        rates: Any = {"burst": 1.0, **settings}
        self.daemon = Daemon(MemoryStore(100_000, 100_000_000), MemoryRouter(), rates=RateSettings(**rates))
        return self.daemon

    @property
    def limited(self) -> dict[str, int]:
        return dict(self.daemon.counters.limited)

    def send(self, client: Client, to: str = "ben", msg: object = "hi", **more: object) -> int:
        return client.emit("Send", {"uId": client.user, "pId": to, "msg": msg, "rno": 7, **more})

    def answers(self, client: Client, numbers: list[int]) -> list[int]:
        """The ER codes of what was sent; 0 where it was done."""
        self.daemon.clock.advance(0)
        return [(client.answer(number) or {}).get("ER", 0) for number in numbers]

    def sent(self, client: Client, count: int, **more: Any) -> list[int]:
        return self.answers(client, [self.send(client, **more) for _ in range(count)])


class TestSends(LimitTestCase):
    def test_beyond_the_limit_they_are_refused_with_the_seconds_to_wait(self) -> None:
        ann = self.daemon_with(user_sends=4).joined("ann")
        self.assertEqual(self.sent(ann, 4), [0] * 4)
        number = self.send(ann)
        why = "You send too many messages; slow down."
        self.assertEqual(
            ann.answer(number),
            {"RESPONSE": "Send Emit is failed.", "uId": "ann", "ER": 4, "WHY": why, "retryIn": 0.25},
        )
        self.assertEqual(ann.events("RESPSEND")[-1], {"RC": 1, "ER": 4, "RANDOMNO": 7, "WHY": why, "retryIn": 0.25})
        self.assertEqual((self.limited, self.daemon.counters.refused), ({"user_sends": 1}, {4: 1}))
        self.daemon.clock.advance(0.25)
        self.assertEqual(self.sent(ann, 2), [0, 4])

    def test_another_limit_holds_for_a_socket_that_is_here_and_had_none(self) -> None:
        daemon = self.daemon_with()
        ann = daemon.joined("ann")
        self.assertEqual(self.sent(ann, 10), [0] * 10)
        daemon.context.use_rates(RateSettings(burst=1.0, user_sends=2, socket_events=4))
        self.assertEqual(self.sent(ann, 5), [0, 0, 4, 4, 4])
        daemon.context.use_rates(RateSettings(burst=1.0))
        self.assertEqual(self.sent(ann, 10), [0] * 10)

    def test_all_sockets_of_a_user_share_them_and_no_other_user(self) -> None:
        daemon = self.daemon_with(user_sends=4)
        one, two, ben = daemon.joined("ann"), daemon.joined("ann"), daemon.joined("ben")
        self.assertEqual([self.sent(one, 2), self.sent(two, 3), self.sent(ben, 4)], [[0, 0], [0, 0, 4], [0] * 4])

    def test_a_new_connection_has_no_new_ones(self) -> None:
        daemon = self.daemon_with(user_sends=4)
        ann = daemon.joined("ann")
        self.sent(ann, 4)
        ann.drop()
        for number in range(100):
            daemon.joined(str(number)).drop()
        self.assertEqual(self.sent(daemon.joined("ann"), 1), [4])

    def test_other_events_are_not_counted_among_them(self) -> None:
        ann = self.daemon_with(user_sends=2).joined("ann")
        for _ in range(10):
            ann.emit("Typing", {"pId": "ben"})
        self.assertEqual(self.sent(ann, 2), [0, 0])

    def test_a_refused_message_can_be_sent_again(self) -> None:
        ann = self.daemon_with(user_sends=1).joined("ann")
        numbers = [self.send(ann, cid="a"), self.send(ann, cid="b")]
        self.assertEqual(self.answers(ann, numbers), [0, 4])
        self.daemon.clock.advance(1)
        self.assertEqual(self.answers(ann, [self.send(ann, cid="b")]), [0])

    def test_a_multiple_of_them_ends_the_connection_with_goodbye(self) -> None:
        daemon = self.daemon_with(user_sends=10)
        ann, other = daemon.joined("ann", {"goodbye": "1"}), daemon.joined("ann")
        sent = 0
        while ann.alive:
            self.send(ann)
            sent += 1
            self.assertLess(sent, 1000)
        self.assertEqual(sent, 10 + MIN_REFUSALS + 1)
        (goodbye,) = ann.events("Goodbye")
        self.assertEqual(goodbye["reason"], "rate")
        self.assertGreaterEqual(goodbye["retryIn"], 1)
        self.assertEqual(ann.pipe.closed, Reason.RATE)
        self.assertEqual(daemon.counters.closed, {"rate": 1})
        self.assertTrue(other.alive)

    def test_many_limits_at_the_defaults_let_normal_use_pass(self) -> None:
        ann = self.daemon_with(burst=10, user_sends=500, socket_events=1000, user_events=2000).joined("ann")
        self.assertEqual(self.sent(ann, 5000), [0] * 5000)
        self.assertLess(self.sent(ann, 100).count(0), 40)


class TestSendsOnAllDaemons(LimitTestCase):
    def test_the_store_s_refusal_says_when_to_try_again(self) -> None:
        daemon = self.daemon_with()
        ann = daemon.joined("ann")
        keep = daemon.store.append

        def append(batch: list[Message]) -> Deferred[list[Stored]]:
            found: Deferred[list[Stored]] = keep(batch[:1])
            rest = [Stored(one, (), False, Error.TOO_MANY, 0.5) for one in batch[1:]]
            return found.addCallback(lambda kept: kept + rest)

        self.patch(daemon.store, "append", append)
        numbers = [self.send(ann), self.send(ann)]
        self.assertEqual(self.answers(ann, numbers), [0, 4])
        self.assertEqual(ann.answer(numbers[1])["retryIn"], 0.5)
        self.assertEqual(self.limited, {"cluster_sends": 1})


class TestEvents(LimitTestCase):
    def test_all_events_of_a_socket_count(self) -> None:
        daemon = self.daemon_with(socket_events=4)
        ann, two = daemon.joined("ann"), daemon.joined("ann")
        for name in ("Nonsense", "Typing", "Presence"):
            ann.emit(name, {"pId": "ben", "ids": []})
        self.assertEqual(self.sent(ann, 1), [0])
        why = "This connection sends too many events; slow down."
        self.assertEqual(ann.ask("Conversations", {}), {"ER": 4, "WHY": why, "retryIn": 0.25})
        self.assertEqual(self.sent(ann, 1), [4])
        self.assertEqual(self.sent(two, 1), [0])
        self.assertEqual(self.limited, {"socket_events": 2})

    def test_what_is_passed_over_ends_the_connection_too(self) -> None:
        ann = self.daemon_with(socket_events=5).joined("ann")
        for _ in range(5 + MIN_REFUSALS):
            ann.emit("Nonsense")
            self.assertTrue(ann.alive)
        ann.emit("Nonsense")
        self.assertEqual(ann.pipe.closed, Reason.RATE)
        self.assertEqual(ann.events("Goodbye"), [])  # it asked for nothing beyond the tutorial

    def test_all_sockets_of_a_user_share_the_user_s(self) -> None:
        daemon = self.daemon_with(user_events=4, socket_events=3)
        one, two = daemon.joined("ann"), daemon.joined("ann")
        self.assertEqual(self.sent(one, 4), [0, 0, 0, 4])
        self.assertEqual(self.sent(two, 2), [0, 4])
        self.assertEqual(self.limited, {"socket_events": 1, "user_events": 1})

    def test_what_is_taken_ahead_is_within_the_limit(self) -> None:
        ann = self.daemon_with(burst=10, socket_events=100).joined("ann")
        self.assertEqual(self.sent(ann, 1100).count(0), 1000)


class TestBytes(LimitTestCase):
    def test_bytes_of_a_socket(self) -> None:
        ann = self.daemon_with(socket_bytes=10_000).joined("ann")
        self.assertEqual(self.sent(ann, 3, msg="x" * 4000), [0, 0, 4])
        self.assertEqual(self.sent(ann, 1), [0])
        self.assertEqual(self.limited, {"socket_bytes": 1})

    def test_bytes_of_a_user(self) -> None:
        daemon = self.daemon_with(user_bytes=10_000)
        one, two = daemon.joined("ann"), daemon.joined("ann")
        self.assertEqual([self.sent(one, 2, msg="x" * 4000), self.sent(two, 1, msg="x" * 4000)], [[0, 0], [4]])
        self.assertEqual(self.limited, {"user_bytes": 1})

    def test_attachments_and_other_arguments_count(self) -> None:
        ann = self.daemon_with(socket_bytes=10_000).joined("ann")
        payload = {"uId": "ann", "pId": "ben", "msg": {"_placeholder": True, "num": 0}}
        numbers = [ann.emit("Send", payload, parts=[b"x" * 8000]), ann.emit("Send", payload, parts=[b"x" * 8000])]
        self.assertEqual(self.answers(ann, numbers), [0, 4])
        ann.emit("Nonsense", "x" * 1500, "y" * 1500)
        self.assertEqual(self.limited, {"socket_bytes": 2})

    def test_one_packet_of_more_than_a_burst_passes_and_is_paid_for(self) -> None:
        ann = self.daemon_with(socket_bytes=1000).joined("ann")
        self.assertEqual(self.sent(ann, 2, msg="x" * 5000), [0, 4])
        self.daemon.clock.advance(5.2)
        self.assertEqual(self.sent(ann, 1), [0])


class TestCopies(LimitTestCase):
    """Small in, many out."""

    def room(self, count: int, **settings: float) -> list[Client]:
        daemon = self.daemon_with(**settings)
        members = [daemon.joined(f"u{number}", rooms="*") for number in range(count)]
        for member in members:
            member.ask("Join", {"room": "#r"})
        return members

    def test_the_members_of_a_room_count(self) -> None:
        ann, *_ = self.room(11, user_copies=30)
        self.assertEqual([self.sent(ann, 1, to="#r") for _ in range(4)], [[0]] * 4)
        number = self.send(ann, to="#r")
        answer = ann.answer(number)
        self.assertEqual((answer["ER"], answer["retryIn"]), (4, 0.334))
        self.assertEqual(self.sent(ann, 1), [4])
        self.daemon.clock.advance(0.334)
        self.assertEqual(self.sent(ann, 1), [0])
        self.assertEqual(self.limited, {"user_copies": 2})

    def test_messages_of_one_turn_to_a_room_count_before_they_are_stored(self) -> None:
        ann, *_ = self.room(11, user_copies=30)
        numbers = [self.send(ann, to="#r") for _ in range(5)]
        # The room's size is not known yet, and is taken for large.
        self.assertEqual(self.answers(ann, numbers), [0, 4, 4, 4, 4])
        self.daemon.clock.advance(1)
        numbers = [self.send(ann, to="#r") for _ in range(5)]
        self.assertEqual(self.answers(ann, numbers), [0, 0, 0, 0, 4])

    def test_more_messages_to_a_room_that_is_not_known_yet_count_as_to_a_large_one(self) -> None:
        ann, *_ = self.room(11, user_copies=UNKNOWN_ROOM + 3 * ASSUMED_ROOM)
        numbers = [self.send(ann, to="#r") for _ in range(8)]
        self.assertEqual(self.answers(ann, numbers), [0, 0, 0, 0, 0, 4, 4, 4])
        self.daemon.clock.advance(1)
        numbers = [self.send(ann, to="#r") for _ in range(80)]
        self.assertEqual(self.answers(ann, numbers), [0] * 80)

    def test_the_size_of_a_room_outlasts_messages_to_rooms_that_nobody_has(self) -> None:
        ann, *_ = self.room(11, user_copies=10_000)
        self.patch(limiter, "MAX_ROOMS", 5)
        self.assertEqual(self.sent(ann, 1, to="#r"), [0])
        for number in range(20):
            self.assertEqual(self.sent(ann, 1, to=f"#other{number}"), [6])
        self.assertEqual(self.daemon.chat.context.limiter.room_copies("#r"), 10)

    def test_what_a_room_refuses_is_given_back(self) -> None:
        ann, *_ = self.room(3, user_copies=30)
        self.assertEqual([self.sent(ann, 1, to="#other") for _ in range(20)], [[6]] * 20)

    def test_the_sockets_of_a_recipient_count(self) -> None:
        daemon = self.daemon_with(user_copies=50)
        ann = daemon.joined("ann")
        for _ in range(20):
            daemon.joined("ben")
        self.assertEqual([self.sent(ann, 1) for _ in range(4)], [[0], [0], [0], [4]])

    def test_ids_of_presence_count(self) -> None:
        ann = self.daemon_with(user_copies=900).joined("ann")
        ids = [f"u{number}" for number in range(500)]
        self.assertEqual([len(ann.ask("Presence", {"ids": ids})) for _ in range(2)], [500, 500])
        self.assertEqual(ann.ask("Presence", {"ids": ids})["ER"], 4)
        self.assertEqual(len(ann.served.watched), 500)
        self.daemon.clock.advance(1)
        self.assertEqual(len(ann.ask("Presence", {"ids": ids})), 500)

    def test_carbons_and_receipts_to_own_sockets_count(self) -> None:
        daemon = self.daemon_with(user_copies=50)
        own = [daemon.joined("ann", {"carbons": "1", "receipts": "1"}) for _ in range(11)]
        ben = daemon.joined("ben")
        done = self.sent(own[0], 20)
        self.assertEqual(done.count(0), 20)  # in one turn: counted once they are stored
        self.assertEqual(self.sent(own[0], 1), [4])
        ben.pong()
        self.assertLess(sum(len(one.events("RESPCARBON")) for one in own), 80)
        self.assertEqual(sum(len(one.events("RESPSTATUS")) for one in own), 0)
        self.assertEqual(self.limited, {"user_copies": 14 + 1 + 20})

    def test_read_to_and_fro_is_told_once(self) -> None:
        daemon = self.daemon_with(user_copies=1000)
        ann, ben = daemon.joined("ann", {"receipts": "1"}), daemon.joined("ben")
        self.sent(ann, 2)
        first, second = [message["mid"] for message in ben.messages()]
        for _ in range(10):
            for mid in (first, second):
                ben.ask("Read", {"pId": "ann", "mid": mid})
        self.assertEqual([one["STATUS"] for one in ann.events("RESPSTATUS")].count(3), 2)


class TestTyping(LimitTestCase):
    def test_it_is_passed_on_once_an_interval_a_pair(self) -> None:
        daemon = self.daemon_with(typing_interval=1)
        ann, second = daemon.joined("ann"), daemon.joined("ann")
        ben, cem = daemon.joined("ben", {"typing": "1"}), daemon.joined("cem", {"typing": "1"})
        for _ in range(5):
            self.assertEqual(ann.ask("Typing", {"pId": "ben"}), {"ER": 0})
            second.emit("Typing", {"pId": "ben"})
        ann.emit("Typing", {"pId": "cem"})
        cem.emit("Typing", {"pId": "ben"})
        self.assertEqual([one["uId"] for one in ben.events("RESPTYPING")], ["ann", "cem"])
        self.assertEqual(len(cem.events("RESPTYPING")), 1)
        self.assertEqual(self.limited, {"typing": 9})
        daemon.clock.advance(1)
        ann.emit("Typing", {"pId": "ben"})
        self.assertEqual(len(ben.events("RESPTYPING")), 3)

    def test_to_so_many_others_at_once(self) -> None:
        daemon = self.daemon_with(typing_interval=1)
        ann = daemon.joined("ann")
        for number in range(MAX_TYPED + 5):
            ann.emit("Typing", {"pId": str(number)})
        self.assertEqual(self.limited, {"typing": 5})
        daemon.clock.advance(1)
        ben = daemon.joined("ben", {"typing": "1"})
        ann.emit("Typing", {"pId": "ben"})
        self.assertEqual(len(ben.events("RESPTYPING")), 1)
        self.assertEqual(len(ann.served.allowance.user.typed or ()), 1)

    def test_the_sockets_of_the_other_count(self) -> None:
        daemon = self.daemon_with(user_copies=10, typing_interval=0)
        ann = daemon.joined("ann")
        sockets = [daemon.joined("ben", {"typing": "1"}) for _ in range(8)]
        for _ in range(10):
            self.assertEqual(ann.ask("Typing", {"pId": "ben"}), {"ER": 0})
        self.assertEqual(len(sockets[0].events("RESPTYPING")), 2)
        self.assertEqual(self.limited, {"user_copies": 8})


class TestJoins(LimitTestCase):
    def test_a_user_s(self) -> None:
        daemon = self.daemon_with(user_joins=3)
        clients = [daemon.joined("ann") for _ in range(3)]
        late = daemon.joined("ann")
        self.assertEqual((late.alive, late.pipe.closed, late.refused), (False, Reason.RATE, None))
        self.assertTrue(all(client.alive for client in clients) and daemon.joined("ben").alive)
        self.assertEqual((self.limited, daemon.counters.denied), ({"user_joins": 1}, {"rate": 1}))
        daemon.clock.advance(0.34)
        self.assertTrue(daemon.joined("ann").alive)

    def test_a_backlog_is_not_read_again_and_again(self) -> None:
        daemon = self.daemon_with(user_joins=3)
        ann = daemon.joined("ann")
        self.sent(ann, 5)
        read = 0
        for _ in range(20):
            ben = daemon.client("ben", {"recover": "1"}).join()
            read += len(ben.messages())
            ben.drop()
        self.assertEqual(read, 3 * 5)

    def test_an_address_s_are_refused_before_the_token_is_looked_at(self) -> None:
        daemon = self.daemon_with(address_joins=3)
        self.assertTrue(all(daemon.joined(user).alive for user in ("ann", "ben", "cem")))
        looked_at: list[object] = []
        authenticator = daemon.context.authenticator
        self.patch(authenticator, "identify", looked_at.append)
        self.assertEqual(daemon.joined("dan").pipe.closed, Reason.RATE)
        self.assertEqual(looked_at, [])
        self.assertEqual(self.limited, {"address_joins": 1})

    def test_an_address_that_shows_wrong_tokens(self) -> None:
        daemon = self.daemon_with(address_failed_tokens=5)
        refused = 0
        while True:
            client = daemon.client("ann").join(token="wrong")
            if client.pipe.closed:
                break
            client.read()
            self.assertEqual(client.refused, {"message": "Authentication error"})
            refused += 1
            self.assertLess(refused, 100)
        self.assertEqual(refused, 6)
        self.assertEqual(daemon.joined("ann").pipe.closed, Reason.RATE)
        daemon.clock.advance(1)
        self.assertTrue(daemon.joined("ann").alive)

    def test_tokens_of_live_sockets_count_too(self) -> None:
        ann = self.daemon_with(address_failed_tokens=5).joined("ann")
        found = [ann.ask("Token", {"token": "wrong"})["ER"] for _ in range(7)]
        self.assertEqual(found, [6] * 6 + [4])
        self.assertAlmostEqual(ann.ask("Token", {"token": ann.token})["retryIn"], 0.2, places=2)
        self.daemon.clock.advance(0.21)
        self.assertEqual(ann.ask("Token", {"token": ann.token}), {"ER": 0})

    def test_the_end_of_a_socket_lets_its_user_be_forgotten(self) -> None:
        daemon = self.daemon_with(user_joins=100)
        for number in range(200):
            daemon.joined(str(number)).drop()
            daemon.clock.advance(0.1)
        self.assertLess(len(daemon.context.limiter._users), 5)


class TestSocketsOfAUser(LimitTestCase):
    def test_the_oldest_is_ended_for_the_newest(self) -> None:
        daemon = self.daemon_with(user_sockets=3)
        clients = [daemon.joined("ann", {"goodbye": "1"}) for _ in range(5)]
        self.assertEqual([client.alive for client in clients], [False, False, True, True, True])
        self.assertEqual(clients[0].events("Goodbye"), [{"reason": "replaced", "retryIn": 0.0}])
        # A stock client does not come back by itself.
        self.assertEqual((clients[0].dismissed, clients[0].pipe.closed), (True, None))
        self.assertEqual(self.limited, {"user_sockets": 2})
        self.assertTrue(daemon.joined("ben").alive)

    def test_one_that_goes_makes_place(self) -> None:
        daemon = self.daemon_with(user_sockets=2)
        first, second = daemon.joined("ann"), daemon.joined("ann")
        second.drop()
        self.assertTrue(daemon.joined("ann").alive and first.alive)
        self.assertEqual(self.limited, {})
