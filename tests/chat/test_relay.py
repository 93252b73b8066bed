"""Relay mode: nothing is kept, and what can't be carried is said."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from kschat.backends.null import NullStore
from kschat.chat import inflight
from kschat.chat.interfaces import InboxPage, IStore, Progress, RouterEvent, Stored, StoreUnavailable
from kschat.chat.message import Error
from kschat.chat.stream import StreamState
from tests.chat.peers import Client, Daemon, message
from tests.contracts.doubles import LateRouter

NO_BROKER = {"RC": 1, "ER": 2}


class NullStoreTests(TestCase):
    """It keeps nothing, and says so."""

    async def test_it_is_a_store(self) -> None:
        self.assertTrue(verifyObject(IStore, NullStore()))

    async def test_each_message_has_one_place_that_is_in_no_inbox(self) -> None:
        batch = [message("ben"), message("cem")]
        self.assertEqual(
            await NullStore().append(batch),
            [Stored(batch[0], (("ben", 0),)), Stored(batch[1], (("cem", 0),))],
        )

    async def test_a_room_has_no_members(self) -> None:
        (one,) = await NullStore().append([message("#room")])
        self.assertEqual((one.places, one.refused), ((), Error.NOT_ALLOWED))

    async def test_what_was_kept_can_t_be_asked_for(self) -> None:
        store = NullStore()
        for asked in (
            store.history("a", "b", before=None, limit=1),
            store.conversations("a", 1),
            store.mark_read("a", "b", "x"),
            store.join("#r", "a", 1),
            store.leave("#r", "a"),
            store.members("#r"),
        ):
            with self.assertRaises(StoreUnavailable):
                await asked

    async def test_inboxes_are_empty(self) -> None:
        store = NullStore()
        await store.save_progress(Progress({"a": 1}, {"a": 2}))
        state = await store.inbox("a")
        self.assertEqual((state.cursor, state.last), (0, 0))
        self.assertEqual(await store.read("a", 0, 10), InboxPage([], 1, 0))
        store.is_outdated(7)
        self.assertEqual((await store.ends(["a"]), await store.last_seen(["a"])), ({}, {}))


class RelayTestCase(SynchronousTestCase):
    """A daemon of relay mode."""

    def setUp(self) -> None:
        self.router = LateRouter()
        self.daemon = Daemon(NullStore(), self.router)

    def send(self, client: Client, peer: str, msg: Any = "hi") -> Any:
        """Send, and let the batch go; the ack."""
        number = client.emit("Send", {"uId": client.user, "pId": peer, "msg": msg, "rno": 7})
        self.daemon.clock.advance(0)
        return client.answer(number)

    def relay(self, client: Client, count: int = 1) -> None:
        """Messages come by the router."""
        self.daemon.news(*[Stored(message(client.user), ((client.user, 0),)) for _ in range(count)])


class Relaying(RelayTestCase):
    def test_a_message_reaches_every_socket_and_names_no_offset(self) -> None:
        ann, first, second = (self.daemon.joined(user) for user in ("ann", "ben", "ben"))
        self.assertEqual(self.send(ann, "ben")["RESPONSE"], "Send Emit is success.")
        for client in (first, second):
            (got,) = client.messages()
            self.assertEqual((got["msg"], "offset" in got), ("hi", False))

    def test_what_a_socket_missed_is_gone(self) -> None:
        ann = self.daemon.joined("ann")
        self.assertEqual(self.send(ann, "ben")["RESPONSE"], "Send Emit is success.")
        self.assertEqual(self.daemon.joined("ben").messages(), [])

    def test_one_socket_s_queue_is_for_that_socket(self) -> None:
        first, second = self.daemon.joined("ben"), self.daemon.joined("ben")
        socket = second.connection.sockets["/kschat"].id
        self.daemon.hub.deliver([Stored(message("ben"), (("ben", 0),))], socket)
        self.assertEqual((len(first.messages()), len(second.messages())), (0, 1))

    def test_an_offset_that_another_daemon_s_store_gave_is_no_gap_here(self) -> None:
        client = self.daemon.joined("ben")
        for offset in (7, 0, 9, 8, 7):
            self.daemon.hub.deliver([Stored(message("ben"), (("ben", offset),))])
        self.assertEqual(["offset" in one for one in client.messages()], [False] * 5)

    def test_recovery_is_a_new_beginning_without_the_extra_argument(self) -> None:
        client = self.daemon.client("ben", {"recover": "1"}).join()
        self.relay(client)
        self.assertIsNone(client.pid)
        (event,) = [one for one in client.read() if one.name == "RESPRECEIVER"]
        self.assertEqual(len(event.args), 1)

    def test_who_groups_gets_a_batch_as_one_event(self) -> None:
        client = self.daemon.joined("ben", {"batch": "1"})
        self.relay(client, 3)
        self.assertEqual([len(event["MSG"]) for event in client.events("RESPRECEIVER")], [3])

    def test_a_socket_that_proves_nothing_is_written_on_and_held_in_bounds(self) -> None:
        self.patch(inflight, "MAX_IN_FLIGHT", 5)
        client = self.daemon.joined("ben")
        for _ in range(10):
            self.relay(client, 2)
        self.assertEqual(len(client.messages()), 20)
        self.assertLessEqual(len(client.stream.in_flight), 5)
        self.assertIs(client.stream.state, StreamState.LIVE)

    def test_what_a_store_would_know_is_refused(self) -> None:
        client = self.daemon.joined("ben")
        for name, body in (
            ("History", {"pId": "ann"}),
            ("Conversations", {}),
            ("Sync", {"offset": 0}),
            ("Read", {"pId": "ann", "mid": "0" * 24}),
            ("Join", {"room": "r"}),
            ("Leave", {"room": "r"}),
        ):
            self.assertEqual(client.ask(name, body), {"ER": 3, "WHY": "This server keeps no messages."}, name)
        self.assertEqual(self.send(client, "#room")["ER"], 6)


class Receipts(RelayTestCase):
    """RESPSTATUS: 2 when a socket has it, 0 when it reached nobody."""

    def test_of_what_reached_nobody_the_sender_is_told_where_it_asked(self) -> None:
        ann, other = self.daemon.joined("ann", {"receipts": "1"}), self.daemon.joined("ann")
        ack = self.send(ann, "ben")
        self.assertEqual(ann.events("RESPSTATUS"), [{"pId": "ben", "mid": ack["mid"], "STATUS": 0}])
        self.assertEqual(other.events("RESPSTATUS"), [])

    def test_of_what_a_socket_has_as_well(self) -> None:
        ann, ben = self.daemon.joined("ann", {"receipts": "1"}), self.daemon.joined("ben")
        ack = self.send(ann, "ben")
        self.assertEqual(ann.events("RESPSTATUS"), [])
        ben.pong()
        self.assertEqual(ann.events("RESPSTATUS"), [{"pId": "ben", "mid": ack["mid"], "STATUS": 2}])

    def test_only_senders_that_asked_are_worth_an_exact_word(self) -> None:
        ann, cem = self.daemon.joined("ann", {"receipts": "1"}), self.daemon.joined("cem")
        for client in (ann, cem, ann, cem):
            client.emit("Send", {"uId": client.user, "pId": "dan", "msg": 1, "rno": 1})
        self.daemon.clock.advance(0)
        senders = [[one.message.sender for one in batch] for batch in self.router.batches]
        self.assertEqual(
            list(zip(senders, self.router.exact, strict=True)), [(["cem"] * 2, False), (["ann"] * 2, True)]
        )
        self.assertEqual([len(ann.events("RESPSTATUS")), len(cem.events("RESPSTATUS"))], [2, 0])


class WithoutBroker(RelayTestCase):
    def test_a_message_is_refused(self) -> None:
        ann, ben = self.daemon.joined("ann"), self.daemon.joined("ben")
        self.router.answers.away = True
        ack = self.send(ann, "ben")
        why = "There is no broker; try again."
        self.assertEqual(ack, {"RESPONSE": "Send Emit is failed.", "uId": "ann", "ER": 2, "WHY": why})
        self.assertEqual(ann.events("RESPSEND"), [{"RC": 1, "ER": 2, "RANDOMNO": 7, "WHY": why}])
        self.assertEqual(ben.messages(), [])
        self.router.answers.away = False
        self.assertEqual(self.send(ann, "ben")["RESPONSE"], "Send Emit is success.")

    def test_of_both_ways_one_failing_refuses_all_once(self) -> None:
        ann, cem = self.daemon.joined("ann", {"receipts": "1"}), self.daemon.joined("cem")
        self.router.answers.away = True
        numbers = [one.emit("Send", {"uId": one.user, "pId": "dan", "msg": 1, "rno": 1}) for one in (ann, cem)]
        self.daemon.clock.advance(0)
        for client, number in zip((ann, cem), numbers, strict=True):
            self.assertEqual(client.answer(number)["ER"], 2)
            self.assertEqual(len(client.events("RESPSEND")), 1)

    def test_who_connects_is_let_in_and_told(self) -> None:
        self.router.answers.away = self.router.binds.away = True
        client = self.daemon.joined("ben")
        self.assertEqual(client.events("RESPRECEIVER"), [NO_BROKER])
        self.assertTrue(client.sid)
        self.assertEqual(self.router.bound, {"ben"})

    def test_a_queue_that_was_taken_away_is_told_to_its_sockets(self) -> None:
        first, second = self.daemon.joined("ann"), self.daemon.joined("ben")
        self.daemon.hub.on_router_event(RouterEvent.CANCELLED)
        self.daemon.hub.on_router_event(RouterEvent.CANCELLED, second.connection.sockets["/kschat"].id)
        self.assertEqual(first.events("RESPRECEIVER"), [{"RC": 1, "ER": 0}])
        self.assertEqual(second.events("RESPRECEIVER"), [{"RC": 1, "ER": 0}] * 2)
        self.assertEqual(self.daemon.counters.router_events, {"cancelled": 2})

    def test_a_router_s_bug_refuses_what_it_was_given(self) -> None:
        ann = self.daemon.joined("ann")
        for broken in ("call", "answer"):
            self.router.answers.broken = broken
            self.assertEqual(self.send(ann, "ben")["ER"], 2)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
