"""What others put on RabbitMQ's exchanges beside batches: each refusal is the codec's own, and nothing goes further."""

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.amqp.codec import PLACE, CodecError, read
from kschat.backends.amqp.neighbours import Card, Neighbours

MID = "000000000000000100000000"
BODY = b'{"uId":1,"pId":2,"msg":"x","msgTime":1}'


class PlaceTests(SynchronousTestCase):
    """The header that says where a message of the tutorial's form stands."""

    def placed(self, header: object) -> object:
        (stored,), _ = read(None, {PLACE: header}, BODY, lambda: MID)
        return stored.message.mid, stored.places

    def test_a_whole_one_is_read(self) -> None:
        self.assertEqual(self.placed(msgspec.msgpack.encode((MID, "ben", 7, False))), (MID, (("ben", 7),)))

    def test_what_no_daemon_wrote_is_refused(self) -> None:
        for header in (
            b"",
            7,
            b"\x94\xa1\xff\xa1x\x01\xc2",  # a mid that is no UTF-8
            msgspec.msgpack.encode(("", "ben", 7, False)),
            msgspec.msgpack.encode(("no mid", "ben", 7, False)),
            msgspec.msgpack.encode((MID + "0" * 100, "ben", 7, False)),
            msgspec.msgpack.encode((MID, "", 7, False)),
            msgspec.msgpack.encode((MID, "b" * 1000, 7, False)),
            msgspec.msgpack.encode((MID, "ben", -1, False)),
        ):
            self.assertRaises(CodecError, self.placed, header)


class Properties:
    reply_to = None


class CardTests(SynchronousTestCase):
    """What is announced between daemons."""

    def test_what_is_no_card_is_passed_over(self) -> None:
        met: list[Card] = []
        neighbours = Neighbours(None, "exchange", Card("1", "kschat", True), met.append)
        for body in (
            b"",
            b"{}",
            b'{"id":"\xff","format":"kschat","keeps":true}',
            b'{"x":' + b"[" * 100_000,
            msgspec.json.encode(Card("2", "kschat", True)),
        ):
            neighbours._heard(None, None, Properties(), body)
        self.assertEqual([card.id for card in met], ["2"])
