"""Several daemons' chats that hear each other: what crosses, what it costs, and what is true when they hear nothing."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.memory import MemoryStore
from kschat.chat import admission, copies, notifier, outgoing
from kschat.chat.admission import LISTEN_WAIT
from kschat.chat.cluster_commands import CursorRequest, CursorWritten, Receipt, Replaced
from kschat.chat.cursors import CURSOR_WAIT
from kschat.chat.interfaces import Stored
from kschat.chat.notifier import CLAIM_WAIT, FEW_USERS, FLUSH_WAIT
from kschat.wire.errors import Reason
from tests.chat.daemon import NOW
from tests.chat.peers import Client, Daemon
from tests.contracts.circle import Circle, CircleBus
from tests.contracts.made import message

MS = int(NOW * 1000)


class Neighbour(Daemon):
    """One of several daemons; of each a turn goes by when a client connects to any."""

    def __init__(self, store: MemoryStore, circle: Circle, all_of_them: list[Neighbour]) -> None:
        super().__init__(store, bus=circle.bus())
        self.all = all_of_them
        self.all.append(self)
        self.bus.start()

    def joined(self, user: str, *arguments: Any, **more: Any) -> Client:
        return self.turn(super().joined(user, *arguments, **more))

    def turn(self, client: Client) -> Client:
        """``client``, a turn later."""
        for daemon in self.all:
            daemon.clock.advance(0)
        return client


class DaemonsTestCase(SynchronousTestCase):
    """Two daemons on one store; their routers carry nothing."""

    def setUp(self) -> None:
        self.store = MemoryStore(10_000, 10_000_000)
        self.circle = Circle()
        self.all: list[Neighbour] = []
        self.one = self.daemon()
        self.other = self.daemon()

    def daemon(self) -> Neighbour:
        return Neighbour(self.store, self.circle, self.all)

    def bus(self, daemon: Daemon) -> CircleBus:
        bus = daemon.bus
        assert isinstance(bus, CircleBus)
        return bus

    def send(self, client: Client, to: str, msg: object = "hi", on: Daemon | None = None, **more: object) -> str:
        """A message; its mid."""
        number = client.emit("Send", {"uId": client.user, "pId": to, "msg": msg, **more})
        (on or self.one).clock.advance(0)
        return str(client.answer(number)["mid"])

    def brought(self, client: Client, mid: str, on: Daemon) -> None:
        """A message arrives on a daemon, and is read there."""
        (entry,) = [
            one for one in self.successResultOf(self.store.read(client.user, 0, 99)).entries if one.message.mid == mid
        ]
        on.news(Stored(entry.message, ((client.user, entry.offset),)))
        client.pong()

    @property
    def commands(self) -> list[Any]:
        return [command for _, _, command in self.circle.told if type(command) not in (CursorRequest, CursorWritten)]


class Crossing(DaemonsTestCase):
    """What is told to a user's sockets on other daemons."""

    def test_receipts_reach_the_sender_wherever_it_is(self) -> None:
        ann = self.one.joined("ann", {"receipts": "1"})
        silent = self.one.joined("ann")
        ben = self.other.joined("ben")
        mid = self.send(ann, "ben")
        self.brought(ben, mid, self.other)
        self.assertEqual(ann.events("RESPSTATUS"), [{"pId": "ben", "mid": mid, "STATUS": 2}])
        self.assertEqual(ben.ask("Read", {"pId": "ann", "mid": mid}), {"ER": 0})
        self.assertEqual(ann.events("RESPSTATUS")[1:], [{"pId": "ben", "mid": mid, "STATUS": 3}])
        self.assertEqual(silent.events("RESPSTATUS"), [])

    def test_a_receipt_says_the_peer_as_the_sender_wrote_it(self) -> None:
        ann, seven = self.one.joined("ann", {"receipts": "1"}), self.other.joined("7")
        number = ann.emit("Send", b'{"uId":"ann","pId":7,"msg":1}')
        self.one.clock.advance(0)
        mid = ann.answer(number)["mid"]
        self.brought(seven, mid, self.other)
        self.assertEqual(ann.events("RESPSTATUS"), [{"pId": 7, "mid": mid, "STATUS": 2}])

    def test_typing_reaches_those_of_the_peer_s_sockets_that_know_more(self) -> None:
        ann = self.one.joined("ann")
        here, there = self.one.joined("ben", {"typing": "1"}), self.other.joined("ben", {"typing": "1"})
        plain = self.other.joined("ben")
        ann.ask("Typing", {"pId": "ben"})
        self.assertEqual([client.events("RESPTYPING") for client in (here, there)], [[{"uId": "ann"}]] * 2)
        self.assertEqual(plain.events("RESPTYPING"), [])

    def test_typing_to_a_room_goes_nowhere(self) -> None:
        ann = self.one.joined("ann")
        self.assertEqual(ann.ask("Typing", {"pId": "#room"}), {"ER": 0})
        self.assertEqual(self.commands, [])

    def test_carbons_reach_the_sender_s_other_sockets_once(self) -> None:
        ann, here, there = (on.joined("ann", {"carbons": "1"}) for on in (self.one, self.one, self.other))
        plain = self.other.joined("ann")
        mid = self.send(ann, "ben", {"a": 1})
        for client in (here, there):
            ((carbon,),) = [event["MSG"] for event in client.events("RESPCARBON")]
            self.assertEqual((carbon["mid"], carbon["msg"], carbon["pId"]), (mid, {"a": 1}, "ben"))
        self.assertEqual([client.events("RESPCARBON") for client in (ann, plain)], [[], []])

    def test_what_was_read_is_told_to_the_reader_s_other_sockets(self) -> None:
        ann, here, there = (on.joined("ann", {"carbons": "1"}) for on in (self.one, self.one, self.other))
        mid = self.send(self.one.joined("ben"), "ann", "hello")
        self.assertEqual(ann.ask("Read", {"pId": "ben", "mid": mid}), {"ER": 0})
        told = [client.events("RESPREAD") for client in (ann, here, there)]
        self.assertEqual(told, [[], [{"pId": "ben", "mid": mid}], [{"pId": "ben", "mid": mid}]])

    def test_a_carbon_carries_what_is_binary(self) -> None:
        ann, there = self.one.joined("ann"), self.other.joined("ann", {"carbons": "1"})
        ann.emit("Send", b'{"uId":"ann","pId":"ben","msg":{"_placeholder":true,"num":0}}', parts=[b"\0\xff"])
        self.one.clock.advance(0)
        self.assertEqual(there.events("RESPCARBON")[0]["MSG"][0]["msg"], b"\0\xff")

    def test_one_who_does_not_keep_up_is_not_told_there_either(self) -> None:
        ann, ben = self.one.joined("ann"), self.other.joined("ben", {"receipts": "1"})
        ben.pipe.congested = True
        ann.ask("Typing", {"pId": "ben"})
        self.bus(self.one).publish(["ben"], Receipt("ann", False, "0" * 24, 2))
        self.assertEqual([*ben.events("RESPTYPING"), *ben.events("RESPSTATUS")], [])

    def test_who_asked_for_nothing_sees_the_tutorial_s_events_alone(self) -> None:
        ann = self.one.joined("ann", {"receipts": "1", "carbons": "1"})
        ben, mine = self.other.joined("ben"), self.other.joined("ann")
        self.brought(ben, self.send(ann, "ben"), self.other)
        ann.ask("Typing", {"pId": "ben"})
        ben.drop()
        self.assertEqual({one.name for client in (ben, mine) for one in client.read()}, {"RESPRECEIVER"})


class Cost(DaemonsTestCase):
    """Nothing is told of what nobody asked for."""

    def test_a_message_costs_no_word_while_nobody_asks(self) -> None:
        ann, ben = self.one.joined("ann"), self.other.joined("ben")
        self.brought(ben, self.send(ann, "ben"), self.other)
        self.assertEqual(self.commands, [])

    def test_receipts_are_told_while_any_socket_anywhere_asks(self) -> None:
        ben = self.other.joined("ben")
        ann = self.one.joined("ann")
        asking = self.one.joined("cem", {"receipts": "1"})
        self.brought(ben, self.send(ann, "ben"), self.other)
        self.assertEqual([type(command) for command in self.commands], [Receipt])
        asking.drop()
        self.brought(ben, self.send(ann, "ben"), self.other)
        self.assertEqual(len(self.commands), 1)

    def test_a_message_is_told_as_delivered_once_wherever_its_recipient_and_its_sender_are(self) -> None:
        third = self.daemon()
        senders = [daemon.joined("ann", {"receipts": "1"}) for daemon in (self.one, self.other, self.other)]
        recipients = [self.one.joined("ben"), self.other.joined("ben"), third.joined("ben")]
        mids = []
        for _ in range(5):
            mids.append(self.send(senders[0], "ben"))
            for client, daemon in zip(recipients, (self.one, self.other, third), strict=True):
                self.brought(client, mids[-1], daemon)
        told = [{"pId": "ben", "mid": mid, "STATUS": 2} for mid in mids]
        self.assertEqual([sender.events("RESPSTATUS") for sender in senders], [told] * 3)
        recipients[0].emit("Read", {"pId": "ann", "mid": mids[-1]})
        self.assertEqual(senders[1].events("RESPSTATUS")[5:], [{"pId": "ben", "mid": mids[-1], "STATUS": 3}])

    def test_what_a_client_shows_to_have_when_it_comes_back_is_told_as_delivered(self) -> None:
        ann = self.one.joined("ann", {"receipts": "1"})
        ben = self.other.turn(self.other.client("ben").join(recover="1"))
        ben.read()
        mids = [self.send(ann, "ben") for _ in range(130)]
        ben.drop()  # before any pong
        back = self.other.turn(self.other.client("ben").join(recover="1", pid=ben.pid, offset="120"))
        self.assertEqual(back.offsets(), list(range(121, 131)))
        self.assertEqual([one["mid"] for one in ann.events("RESPSTATUS")], mids[:120])
        back.pong()
        self.assertEqual([one["mid"] for one in ann.events("RESPSTATUS")], mids)

    def test_who_shows_to_have_very_much_makes_no_more_than_so_much_be_told(self) -> None:
        self.patch(admission, "MAX_CLAIMED", 3)
        ann = self.one.joined("ann", {"receipts": "1"})
        ben = self.other.turn(self.other.client("ben").join(recover="1"))
        ben.read()
        mids = [self.send(ann, "ben") for _ in range(9)]
        ben.drop()
        self.other.turn(self.other.client("ben").join(recover="1", pid=ben.pid, offset="8"))
        self.assertEqual([one["mid"] for one in ann.events("RESPSTATUS")], mids[5:8])

    def test_how_many_are_remembered_to_have_been_delivered_is_bounded(self) -> None:
        self.patch(notifier, "MAX_DELIVERED", 3)
        ann = self.one.joined("ann", {"receipts": "1"})
        for number in (1, 2, 3, 2, 4, 1, 4):
            self.one.hub.notifier.receipt("ann", Receipt("ben", False, f"{number:024x}", 2))
        self.assertEqual([int(one["mid"]) for one in ann.events("RESPSTATUS")], [1, 2, 3, 4, 1])

    def test_who_asks_on_the_same_daemon_alone_costs_no_word(self) -> None:
        ann, ben = self.one.joined("ann", {"receipts": "1", "carbons": "1"}), self.one.joined("ben")
        mid = self.send(ann, "ben")
        self.brought(ben, mid, self.one)
        self.assertEqual(len(ann.events("RESPSTATUS")), 1)
        self.assertEqual(self.commands, [])

    def test_what_is_heard_is_counted(self) -> None:
        ann, ben = self.one.joined("ann"), self.other.joined("ben")
        ann.ask("Typing", {"pId": "ben"})
        self.one.chat.operations.emit_to_users(["ben", "cem"], outgoing.event("hello"))
        self.assertEqual((self.one.counters.commands_received, self.other.counters.commands_received), (0, 2))
        self.assertTrue(ben.alive)


class PresenceOfAll(DaemonsTestCase):
    """A user is online while any daemon has a socket of it."""

    def setUp(self) -> None:
        super().setUp()
        self.eve = self.one.joined("eve")

    def told(self) -> list[tuple[str, bool, int | None]]:
        return [(one["id"], one["online"], one["lastSeen"]) for one in self.eve.events("RESPPRESENCE")]

    def test_who_is_elsewhere_is_online_and_changes_are_told_once(self) -> None:
        first = self.other.joined("ann")
        self.assertEqual(self.eve.ask("Presence", {"ids": ["ann"]}), {"ann": {"online": True, "lastSeen": None}})
        second = self.one.joined("ann")
        first.drop()
        self.assertEqual(self.told(), [])
        second.drop()
        self.one.joined("ann")
        self.assertEqual(self.told(), [("ann", False, MS), ("ann", True, None)])

    def test_last_seen_is_known_on_every_daemon_once_the_store_is_told(self) -> None:
        self.other.joined("ann").drop()
        self.other.clock.advance(1)
        self.assertEqual(self.eve.ask("Presence", {"ids": ["ann"]}), {"ann": {"online": False, "lastSeen": MS}})

    def test_last_seen_does_not_go_back_when_two_daemons_lose_a_user_at_once(self) -> None:
        here, there, eve = self.one.joined("ann"), self.other.joined("ann"), self.other.joined("eve")
        self.one.clock.advance(5)
        here.drop()
        self.one.clock.advance(0.25)
        there.drop()
        latest = {"ann": {"online": False, "lastSeen": MS + 5000}}
        self.assertEqual(eve.ask("Presence", {"ids": ["ann"]}), latest)
        self.other.clock.advance(0.25)
        self.assertEqual(eve.ask("Presence", {"ids": ["ann"]}), latest)
        self.assertEqual(self.successResultOf(self.store.last_seen(["ann"])), {"ann": MS + 5000})

    def test_who_was_on_a_daemon_that_died_is_told_and_noted(self) -> None:
        self.other.joined("ann")
        self.other.joined("ben")
        self.one.joined("ben")
        self.eve.ask("Presence", {"ids": ["ann", "ben"]})
        self.bus(self.other).cut(MS + 5)
        self.assertEqual(self.told(), [("ann", False, MS + 5)])
        self.one.clock.advance(1)
        self.assertEqual(self.successResultOf(self.store.last_seen(["ann", "ben"])), {"ann": MS + 5})

    def test_what_is_known_to_be_later_is_not_overwritten_by_a_daemon_s_death(self) -> None:
        self.one.joined("ann").drop()
        self.one.chat.operations.on_daemon_lost(["ann"], MS - 9000)
        self.one.clock.advance(1)
        self.assertEqual(self.successResultOf(self.store.last_seen(["ann"])), {"ann": MS})

    def test_without_the_others_presence_is_unknown_and_nothing_wrong_is_told(self) -> None:
        self.other.joined("ann")
        self.eve.ask("Presence", {"ids": ["ann", "ben"]})
        self.bus(self.one).cut(MS)
        unknown = {"online": None, "lastSeen": None}
        here = {"online": True, "lastSeen": None}
        self.assertEqual(
            self.eve.ask("Presence", {"ids": ["ann", "ben", "eve"]}), {"ann": unknown, "ben": unknown, "eve": here}
        )
        self.one.clock.advance(60)
        self.assertEqual(self.told(), [])
        self.bus(self.one).mend()
        self.assertEqual(self.told(), [("ann", True, None), ("ben", False, None)])

    def test_when_the_others_are_heard_again_what_differs_is_told_and_no_more(self) -> None:
        gone, _ = self.other.joined("ann"), self.other.joined("ben")
        self.eve.ask("Presence", {"ids": ["ann", "ben", "cem", "dan"]})
        self.bus(self.one).cut(MS)
        gone.drop()
        self.other.clock.advance(1)
        self.other.joined("cem")
        self.assertEqual(self.told(), [])
        self.bus(self.one).mend()
        self.assertEqual(self.told(), [("ann", False, MS), ("cem", True, None)])

    def test_who_comes_here_meanwhile_is_told(self) -> None:
        self.eve.ask("Presence", {"ids": ["ann"]})
        self.bus(self.one).cut(MS)
        ann = self.one.joined("ann")
        self.assertEqual(self.told(), [("ann", True, None)])
        ann.drop()
        self.bus(self.one).mend()
        self.assertEqual(self.told(), [("ann", True, None), ("ann", False, MS)])

    def test_what_is_unknown_is_asked_for_until_it_is_known(self) -> None:
        self.circle.settled = False
        self.other.joined("ann")
        answer = self.eve.ask("Presence", {"ids": ["ann", "ben"]})
        self.assertEqual([answer[user]["online"] for user in ("ann", "ben")], [True, None])
        for _ in range(3):
            self.one.clock.advance(1)
        self.assertEqual(self.told(), [])
        self.circle.settled = True
        self.one.clock.advance(1)
        self.assertEqual(self.told(), [("ben", False, None)])
        self.assertEqual(self.one.clock.getDelayedCalls(), [])

    def test_what_is_unknown_to_one_who_leaves_is_asked_for_no_more(self) -> None:
        self.circle.settled = False
        self.eve.ask("Presence", {"ids": ["ann"]})
        self.eve.ask("Presence", {"ids": []})
        self.one.clock.advance(0)
        self.assertEqual(self.one.clock.getDelayedCalls(), [])

    def test_what_is_heard_while_the_answer_is_on_its_way_is_newer(self) -> None:
        bus = self.bus(self.one)
        bus.answers.held = True
        number = self.eve.emit("Presence", {"ids": ["ann", "ben"]})
        ann = self.other.joined("ann")
        bus.answers.give()
        answer = self.eve.answer(number)
        self.assertEqual([answer[user]["online"] for user in ("ann", "ben")], [True, False])
        number = self.eve.emit("Presence", {"ids": ["ann", "ben"]})
        ann.drop()
        bus.answers.give()
        self.assertEqual(self.eve.answer(number)["ann"], {"online": False, "lastSeen": MS})
        self.assertEqual(self.told(), [("ann", True, None), ("ann", False, MS)])

    def test_what_is_heard_while_all_are_asked_anew_is_newer(self) -> None:
        self.eve.ask("Presence", {"ids": ["ann"]})
        bus = self.bus(self.one)
        bus.cut(MS)
        bus.answers.held = True
        bus.mend()
        self.other.joined("ann")
        bus.answers.give()
        self.assertEqual(self.told(), [("ann", True, None)])

    def test_to_ask_again_for_the_same_tells_nothing_twice(self) -> None:
        self.other.joined("ann")
        self.circle.settled = False
        for _ in range(3):
            self.eve.ask("Presence", {"ids": ["ann", "ben"]})
            self.one.clock.advance(1)
        self.assertEqual(self.told(), [])

    def test_one_who_watches_nobody_any_more_costs_nothing(self) -> None:
        self.eve.ask("Presence", {"ids": ["ann", "ben"]})
        self.eve.ask("Presence", {"ids": ["ben", "cem"]})
        self.assertEqual(self.bus(self.one).watched, {"ben", "cem"})
        self.eve.drop()
        self.assertEqual(self.bus(self.one).watched, set())


class Ending(DaemonsTestCase):
    """Sockets that are ended from elsewhere."""

    def test_logout_of_all_ends_every_socket_of_the_user(self) -> None:
        ann, here, there = self.one.joined("ann"), self.one.joined("ann"), self.other.joined("ann", {"goodbye": "1"})
        ben = self.other.joined("ben")
        self.assertEqual(ann.ask("Logout", {"all": True}), {"RC": 1, "ERR": 0})
        self.assertEqual(len(ann.events("RESPLOGOUT")), 1)
        for client in (here, there, ben):
            client.read()
        self.assertEqual([client.dismissed for client in (ann, here, there, ben)], [True, True, True, False])
        self.assertEqual(there.events("Goodbye"), [{"reason": "logout", "retryIn": 0}])
        self.assertEqual(here.events("Goodbye"), [])
        self.assertFalse(self.circle.has("ann"))

    def test_logout_of_one_ends_one_whatever_else_it_carries(self) -> None:
        for carried in ((), ({"uId": "ann"},), ({"all": 1},), ("all",), (None,)):
            ann, other = self.one.joined("ann"), self.other.joined("ann")
            ann.emit("Logout", *carried)
            ann.read()
            self.assertEqual((ann.dismissed, other.alive, other.dismissed), (True, True, False), carried)

    def recovering(self, daemon: Neighbour, **auth: Any) -> Client:
        client = daemon.turn(daemon.client("ben").join(recover="1", **auth))
        client.read()
        return client

    def test_a_client_that_comes_back_on_another_daemon_replaces_the_socket_that_it_had(self) -> None:
        ben, bystander = self.recovering(self.one), self.recovering(self.one)
        mid = self.send(self.one.joined("ann"), "ben")
        self.brought(ben, mid, self.one)
        pid, noted = ben.pid, ben.noted or "1"
        back = self.recovering(self.other, pid=pid, offset=noted)
        self.assertEqual(back.pid, pid)
        self.assertIs(ben.pipe.closed, Reason.REPLACED)
        self.assertEqual(ben.events("Goodbye"), [{"reason": "replaced", "retryIn": 0.0}])
        self.assertIsNone(bystander.pipe.closed)
        self.assertIsNone(back.pipe.closed)
        self.assertEqual([command.pid for command in self.commands if isinstance(command, Replaced)], [pid])

    def test_a_client_that_comes_back_on_the_same_daemon_does_so_too_and_was_never_away(self) -> None:
        eve = self.other.joined("eve")
        ben = self.recovering(self.one)
        eve.ask("Presence", {"ids": ["ben"]})
        back = self.recovering(self.one, pid=ben.pid, offset="0")
        self.assertIs(ben.pipe.closed, Reason.REPLACED)
        self.assertTrue(back.alive)
        self.assertEqual(eve.events("RESPPRESENCE"), [])

    def test_a_pid_of_another_user_replaces_nobody(self) -> None:
        ben = self.recovering(self.one)
        self.other.turn(self.other.client("cem").join(recover="1", pid=ben.pid, offset="0"))
        self.assertIsNone(ben.pipe.closed)
        self.assertEqual(self.commands, [])

    def test_of_two_that_come_back_at_once_on_two_daemons_the_last_one_stays(self) -> None:
        for order in (1, -1):
            ben = self.recovering(self.one)
            daemons = [self.one, self.other][::order]
            self.circle.held = True
            both = [daemon.client("ben").join(recover="1", pid=ben.pid, offset="0") for daemon in daemons]
            for daemon in daemons:
                daemon.clock.advance(CURSOR_WAIT)  # each lets its own in, and has heard nothing of the other
            self.assertEqual([client.alive for client in (ben, *both)], [False, True, True])
            self.circle.release()
            self.assertEqual([client.alive for client in both], [False, True], order)
            self.assertIs(both[0].pipe.closed, Reason.REPLACED)
            self.assertTrue(self.circle.has("ben"))
            both[1].drop()
            self.assertEqual([self.one.hub.notifier._claims, self.other.hub.notifier._claims], [{}, {}])

    def test_of_many_that_come_back_at_once_on_two_daemons_the_last_one_stays(self) -> None:
        ben = self.recovering(self.one)
        self.circle.held = True
        clients = []
        for daemon in (self.one, self.other, self.one, self.one, self.other, self.one):
            clients.append(daemon.client("ben").join(recover="1", pid=ben.pid, offset="0"))
            daemon.clock.advance(CURSOR_WAIT)
        self.circle.release()
        self.assertEqual([client.alive for client in clients], [False] * 5 + [True])

    def test_two_that_can_t_be_recovered_and_come_back_at_once_are_one_as_well(self) -> None:
        ben = self.recovering(self.one)
        self.circle.held = True
        both = [one.client("ben").join(recover="1", pid=ben.pid, offset="99") for one in (self.other, self.one)]
        for daemon in self.all:
            daemon.clock.advance(CURSOR_WAIT)
        self.circle.release()
        for client in both:
            client.read()
        self.assertEqual(len({ben.pid, *(client.pid for client in both)}), 3)
        self.assertEqual([client.alive for client in (ben, *both)].count(True), 1)

    def test_a_claim_that_is_never_heard_does_not_keep_a_socket_for_ever(self) -> None:
        ben = self.recovering(self.one)
        back = self.recovering(self.one, pid=ben.pid, offset="0")
        self.assertEqual(self.one.hub.notifier._claims, {})
        self.bus(self.one).listening.clear()  # what is told is lost
        again = self.recovering(self.one, pid=ben.pid, offset="0")
        self.assertEqual((back.alive, again.alive), (False, True))
        self.one.clock.advance(CLAIM_WAIT)
        self.bus(self.one).listening.add("ben")
        there = self.recovering(self.other, pid=ben.pid, offset="0")
        self.assertEqual((again.alive, there.alive), (False, True))

    def test_logout_of_all_is_answered_when_all_daemons_were_told(self) -> None:
        ann = self.one.joined("ann")
        self.bus(self.one).flushes.held = True
        number = ann.emit("Logout", {"all": True})
        self.assertIsNone(ann.answer(number))
        self.bus(self.one).flushes.give()
        self.assertEqual(ann.answer(number), {"RC": 1, "ERR": 0})
        self.assertTrue(ann.dismissed)

    def test_logout_of_all_is_answered_though_others_can_t_be_told(self) -> None:
        ann = self.one.joined("ann")
        self.bus(self.one).flushes.held = True
        number = ann.emit("Logout", {"all": True})
        self.one.clock.advance(FLUSH_WAIT)
        self.assertEqual(ann.answer(number), {"RC": 1, "ERR": 0})
        self.bus(self.one).flushes.give()


class LettingIn(DaemonsTestCase):
    """When a socket is told that it is connected."""

    def is_in(self, client: Client) -> bool:
        client.read()
        return client.sid is not None

    def test_a_socket_is_let_in_when_its_daemon_hears_what_is_told_to_its_user(self) -> None:
        ann = self.one.joined("ann")
        self.bus(self.other).listens.held = True
        there = self.other.joined("ann", {"carbons": "1"})
        self.assertFalse(self.is_in(there))
        self.bus(self.other).listens.give()
        self.one.clock.advance(0)
        self.assertTrue(self.is_in(there))
        self.send(ann, "ben")
        self.assertEqual(len(there.events("RESPCARBON")), 1)
        ann.emit("Logout", {"all": True})
        self.assertFalse(there.alive)

    def test_the_second_of_a_user_waits_as_the_first_does(self) -> None:
        self.bus(self.one).listens.held = True
        both = [self.one.joined("ann") for _ in range(2)]
        self.assertEqual([self.is_in(client) for client in both], [False, False])
        self.bus(self.one).listens.give()
        self.assertEqual([self.is_in(client) for client in both], [True, True])

    def test_a_redis_that_stands_still_keeps_a_socket_waiting_for_a_moment_only(self) -> None:
        self.bus(self.one).listens.held = True
        ann = self.one.joined("ann")
        self.one.clock.advance(LISTEN_WAIT)
        self.assertTrue(self.is_in(ann))
        self.bus(self.one).listens.give()
        self.assertTrue(ann.alive)

    def test_without_the_others_a_socket_is_let_in_at_once(self) -> None:
        self.bus(self.one).cut(MS)
        self.assertTrue(self.is_in(self.one.joined("ann")))

    def test_one_that_goes_meanwhile_is_not_let_in_and_leaves_nothing_behind(self) -> None:
        self.bus(self.one).listens.held = True
        ann = self.one.joined("ann")
        ann.drop()
        self.one.clock.advance(LISTEN_WAIT)
        self.assertFalse(self.circle.has("ann"))
        self.assertEqual((self.one.hub.users, self.one.clock.getDelayedCalls()), (0, []))


class SecondDevices(DaemonsTestCase):
    """A device that connects to another daemon is not sent what the first one was proved to have."""

    def setUp(self) -> None:
        super().setUp()
        self.ann, self.ben = self.one.joined("ann"), self.one.joined("ben")

    def has_one(self) -> None:
        """Ben's device is proved to have a message, and the store is not told yet."""
        self.brought(self.ben, self.send(self.ann, "ben"), self.one)
        self.assertEqual(self.successResultOf(self.store.inbox("ben")).cursor, 0)

    def test_what_the_first_device_has_is_not_sent_to_the_second(self) -> None:
        self.has_one()
        self.assertEqual(self.other.joined("ben").offsets(), [])

    def test_nor_where_a_third_daemon_has_the_user_as_well(self) -> None:
        third = self.daemon()
        third.joined("ben")
        self.has_one()
        self.assertEqual(self.other.joined("ben").offsets(), [])

    def test_nor_where_the_first_device_left_a_moment_ago(self) -> None:
        self.has_one()
        self.ben.drop()
        self.assertEqual(self.other.joined("ben").offsets(), [])
        self.one.clock.advance(1)
        self.assertNotIn("ben", self.bus(self.one).listening)

    def test_nor_where_it_came_back_to_its_daemon_meanwhile(self) -> None:
        self.has_one()
        self.ben.drop()
        again = self.one.joined("ben")
        self.one.clock.advance(1)
        self.assertIn("ben", self.bus(self.one).listening)
        self.assertEqual(again.offsets(), [])

    def test_a_proof_that_arrives_with_the_question_counts(self) -> None:
        mid = self.send(self.ann, "ben")
        (entry,) = self.successResultOf(self.store.read("ben", 0, 9)).entries
        self.one.news(Stored(entry.message, (("ben", 1),)))
        self.assertEqual(entry.message.mid, mid)
        second = self.other.client("ben").join()
        self.ben.pong()
        self.one.clock.advance(0)
        self.assertEqual((second.offsets(), second.sid is not None), ([], True))

    def test_a_daemon_that_stands_still_keeps_nobody_waiting_for_long(self) -> None:
        self.has_one()
        second = self.other.client("ben").join()
        second.read()
        self.assertIsNone(second.sid)
        self.other.clock.advance(CURSOR_WAIT)
        self.assertEqual(second.offsets(), [1])

    def test_a_message_costs_nothing(self) -> None:
        self.circle.told.clear()
        self.has_one()
        self.assertEqual(self.circle.told, [])


class Operations(DaemonsTestCase):
    """What is asked without a socket reaches the sockets on all daemons."""

    def setUp(self) -> None:
        super().setUp()
        self.clients = [on.joined(user) for user in ("ann", "ben") for on in (self.one, self.other)]
        self.operations = self.one.chat.operations

    def heard(self) -> list[list[Any]]:
        return [client.events("News") for client in self.clients]

    def test_an_event_for_users(self) -> None:
        self.operations.emit_to_users(["ben", "cem"], outgoing.event("News", Raw(b'{"a":1}')))
        self.assertEqual(self.heard(), [[], [], [{"a": 1}], [{"a": 1}]])

    def test_an_event_for_many_users_is_told_once(self) -> None:
        users = [f"user {number}" for number in range(FEW_USERS)]
        for extra, is_for_all in ((["ben"], True), ([], False)):
            self.circle.told.clear()
            self.operations.emit_to_users([*users, *extra], outgoing.event("News", 1))
            self.assertEqual([told is None for _, told, _ in self.circle.told], [is_for_all])
        self.assertEqual(self.heard(), [[], [], [1], [1]])

    def test_what_is_told_once_is_spread_over_turns_by_each_daemon(self) -> None:
        users = [f"user {number}" for number in range(20)]
        clients = [self.other.joined(user) for user in users]
        self.patch(copies, "MAX_WRITES", 3)
        self.operations.emit_to_users(users, outgoing.event("News", 1))
        self.assertEqual(sum(len(client.events("News")) for client in clients), 0)
        for _ in range(10):
            self.other.clock.advance(0.1)
        self.assertEqual([client.events("News") for client in clients], [[1]] * 20)

    def test_an_event_for_everybody_with_binary_in_it(self) -> None:
        self.operations.emit_to_all(outgoing.event("News", {"_placeholder": True, "num": 0}), [b"\0part"])
        self.assertEqual(self.heard(), [[b"\0part"]] * 4)

    def test_an_event_for_the_members_of_a_room(self) -> None:
        for user in ("ben", "cem"):
            self.successResultOf(self.store.join("#team", user, 10))
        self.assertEqual(self.successResultOf(self.operations.emit_to_room("#team", outgoing.event("News", 1))), 2)
        self.assertEqual(self.heard(), [[], [], [1], [1]])
        self.assertEqual(self.successResultOf(self.operations.emit_to_room("#none", outgoing.event("News", 1))), 0)

    def test_a_user_is_disconnected_everywhere(self) -> None:
        self.operations.disconnect("ann", "banned")
        for client in self.clients:
            client.read()
        self.assertEqual([client.dismissed for client in self.clients], [True, True, False, False])

    def test_presence_and_history_are_the_same_from_each_daemon(self) -> None:
        self.successResultOf(self.store.append([message("ann", "ben")]))
        self.clients[0].drop()
        for daemon in (self.one, self.other):
            operations = daemon.chat.operations
            states = self.successResultOf(operations.presence(["ann", "cem"]))
            self.assertEqual(states, {"ann": (True, None), "cem": (False, None)})
            self.assertEqual(
                len(self.successResultOf(operations.history("ann", "ben", before=None, limit=10)).messages), 1
            )

    def test_without_the_others_the_sockets_here_are_reached(self) -> None:
        self.bus(self.one).cut(MS)
        self.operations.emit_to_all(outgoing.event("News", 1))
        self.clients[0].ask("Typing", {"pId": "ben"})
        self.assertEqual(self.heard(), [[1], [], [1], []])


class Turns(DaemonsTestCase):
    """What befalls the bus."""

    def test_it_is_counted(self) -> None:
        self.bus(self.one).cut(MS)
        self.bus(self.one).mend()
        self.assertEqual(self.one.counters.bus_events, {"up": 2, "down": 1})

    def test_when_it_is_up_again_messages_that_were_missed_are_read(self) -> None:
        ben = self.one.joined("ben")
        self.successResultOf(self.store.append([message("ann", "ben")]))
        self.bus(self.one).cut(MS)
        self.bus(self.one).mend()
        self.assertEqual(ben.offsets(), [1])
