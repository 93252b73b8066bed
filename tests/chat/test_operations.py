"""Messages that are sent without a socket."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.backends.null import NullStore
from kschat.chat.composer import Draft
from kschat.chat.interfaces import Stored
from kschat.chat.message import Error, Refused
from kschat.chat.tokens import Identity
from kschat.wire.limits import Limits
from tests.chat.house import House
from tests.chat.peers import Daemon
from tests.contracts.doubles import LateRouter


class SendTestCase(SynchronousTestCase):
    store: Any

    def setUp(self) -> None:
        self.store = MemoryStore(10_000, 10_000_000)
        self.daemon = Daemon(
            self.store, MemoryRouter(), limits=Limits(max_payload=1000, max_attachments=2, max_depth=8)
        )

    def begin(self, recipient: int | str, msg: bytes = b'"hi"', user: str = "ann", **more: Any) -> Deferred[Stored]:
        identity = Identity(user, None, ())
        return self.daemon.chat.operations.send(identity, Draft(recipient=recipient, msg=Raw(msg), **more))

    def send(self, recipient: int | str, msg: bytes = b'"hi"', user: str = "ann", **more: Any) -> Stored:
        sent = self.begin(recipient, msg, user, **more)
        self.daemon.clock.advance(0)
        return self.successResultOf(sent)

    def refused(self, sent: Deferred[Stored]) -> Error:
        self.daemon.clock.advance(0)
        refused = self.failureResultOf(sent, Refused).value
        assert isinstance(refused, Refused)
        self.assertTrue(refused.why)
        return refused.error


class Sending(SendTestCase):
    def test_a_message_is_stored_and_its_recipient_s_sockets_have_it(self) -> None:
        sockets = [self.daemon.joined("ben"), self.daemon.joined("ben", {"batch": "1"})]
        stored = self.send("ben", b'{"a":[1,2]}')
        self.assertEqual((stored.places, stored.repeat, stored.refused), ((("ben", 1),), False, None))
        for socket in sockets:
            (message,) = socket.messages()
            self.assertEqual((message["uId"], message["pId"], message["msg"]), ("ann", "ben", {"a": [1, 2]}))
            self.assertEqual((message["mid"], message["offset"]), (stored.message.mid, 1))

    def test_one_who_is_away_finds_it(self) -> None:
        self.send(7)
        (message,) = self.daemon.joined("7").messages()
        self.assertEqual(message["pId"], 7)

    def test_it_stands_in_the_order_of_what_sockets_send(self) -> None:
        ann, ben = self.daemon.joined("ann"), self.daemon.joined("ben")
        for number in range(3):
            ann.emit("Send", {"uId": "ann", "pId": "ben", "msg": f"socket {number}"})
            self.begin("ben", b'"none %d"' % number)
        self.daemon.clock.advance(0)
        said = [f"{who} {number}" for number in range(3) for who in ("socket", "none")]
        self.assertEqual([one["msg"] for one in ben.messages()], said)
        self.assertEqual(self.daemon.counters.batches, 1)

    def test_the_sender_s_sockets_have_a_carbon_and_a_receipt_and_no_answer(self) -> None:
        ann, ben = self.daemon.joined("ann", {"carbons": "1", "receipts": "1"}), self.daemon.joined("ben")
        mid = self.send("ben").message.mid
        ben.pong()
        self.assertEqual([one["MSG"][0]["mid"] for one in ann.events("RESPCARBON")], [mid])
        self.assertEqual([one["mid"] for one in ann.events("RESPSTATUS")], [mid])
        self.assertEqual(ann.events("RESPSEND"), [])

    def test_a_message_to_a_room_reaches_its_members(self) -> None:
        for user in ("ann", "ben", "cem"):
            self.successResultOf(self.store.join("#team", user, 10))
        cem = self.daemon.joined("cem")
        self.assertEqual({user for user, _ in self.send("#team").places}, {"ben", "cem"})
        self.assertEqual(len(cem.messages()), 1)

    def test_the_same_cid_is_stored_once(self) -> None:
        ben = self.daemon.joined("ben")
        first, again = self.send("ben", cid="c"), self.send("ben", b'"other"', cid="c")
        self.assertEqual((again.repeat, again.message), (True, first.message))
        self.assertEqual(len(ben.messages()), 1)
        self.assertEqual((self.daemon.counters.sent, self.daemon.counters.repeated), (2, 1))

    def test_binary_arrives_as_it_was_sent(self) -> None:
        ben = self.daemon.joined("ben")
        self.send("ben", b'{"pic":{"_placeholder":true,"num":0}}', attachments=[b"\0\xff"])
        self.assertEqual(ben.messages()[0]["msg"], {"pic": b"\0\xff"})


class Refusing(SendTestCase):
    """What a socket's Send would be refused for is refused here."""

    def test_what_is_not_valid(self) -> None:
        table: list[tuple[int | str, bytes, dict[str, Any]]] = [
            ("", b"1", {}),
            ("x" * 129, b"1", {}),
            (10**129, b"1", {}),
            ("\ud800", b"1", {}),
            ("ben", b"", {}),
            ("ben", b"1,", {}),
            ("ben", b'1,"uId":"eve"', {}),
            ("ben", b"1}", {}),
            ("ben", b"[" * 9 + b"]" * 9, {}),
            ("ben", b'"\xff"', {}),
            ("ben", b"1", {"cid": ""}),
            ("ben", b"1", {"cid": "c" * 65}),
            ("ben", b"1", {"attachments": [b"x"] * 3}),
            ("ben", b'{"_placeholder":true,"num":1}', {"attachments": [b"x"]}),
        ]
        for recipient, msg, more in table:
            self.assertEqual(self.refused(self.begin(recipient, msg, **more)), Error.INVALID, (recipient, msg, more))
        self.assertEqual(self.daemon.counters.refused, {Error.INVALID: len(table)})
        self.assertEqual(self.successResultOf(self.store.conversations("ann", 10)), [])

    def test_what_is_too_large(self) -> None:
        self.assertEqual(self.refused(self.begin("ben", b'"%b"' % (b"x" * 1000))), Error.TOO_LARGE)
        self.assertEqual(self.refused(self.begin("ben", b"1", attachments=[b"x" * 1000])), Error.TOO_LARGE)

    def test_a_room_of_others(self) -> None:
        self.assertEqual(self.refused(self.begin("#team")), Error.NOT_ALLOWED)

    def test_a_daemon_that_goes_down(self) -> None:
        self.daemon.chat.close()
        self.assertEqual(self.refused(self.begin("ben")), Error.GOING_DOWN)

    def test_a_store_that_is_away_and_one_that_is_back(self) -> None:
        house = House(max_waiting=1)
        house.store.answers.away = True
        operations, ann = house.chat.operations, Identity("ann", None, ())
        sent = operations.send(ann, Draft(recipient="ben", msg=Raw(b"1")))
        busy = operations.send(ann, Draft(recipient="ben", msg=Raw(b"1")))
        house.turn()
        for failed, error in ((sent, Error.NO_STORE), (busy, Error.BUSY)):
            self.assertIs(self.failureResultOf(failed, Refused).value.error, error)
        house.store.answers.away = False
        sent = operations.send(ann, Draft(recipient="ben", msg=Raw(b"1")))
        house.turn()
        self.assertEqual(self.successResultOf(sent).places, (("ben", 1),))

    def test_no_broker_in_relay_mode(self) -> None:
        router = LateRouter()
        self.daemon = Daemon(NullStore(), router)
        self.assertEqual(self.send("ben").places, (("ben", 0),))
        router.answers.away = True
        self.assertEqual(self.refused(self.begin("ben")), Error.NO_BROKER)
