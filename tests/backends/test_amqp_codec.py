"""What travels by RabbitMQ, read without one."""

import msgspec
from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.amqp.codec import CodecError, as_tutorial, from_tutorial, packed, unpacked
from kschat.chat.ingest import cid_of
from kschat.chat.interfaces import Stored
from kschat.chat.message import Message
from kschat.wire.jsonnumbers import MAX_SAFE


class TutorialTests(SynchronousTestCase):
    """Messages of the tutorial's server."""

    def test_a_time_that_no_store_holds_does_not_end_what_came_with_it(self) -> None:
        for text, time in (
            ("1e300", MAX_SAFE),
            ("-1e300", -MAX_SAFE),
            ("18446744073709551616", MAX_SAFE),
            ("9223372036854775808", MAX_SAFE),
            ("-9223372036854775809", -MAX_SAFE),
            ("1.5e3", 1500),
        ):
            body = f'{{"uId":7,"pId":"8","msg":"x","msgTime":{text}}}'.encode()
            read = from_tutorial(body, lambda: "0" * 24)
            self.assertEqual(read.message.time, time, text)
            # Each of these packs the message's time.
            self.assertTrue(cid_of(read.message))
            self.assertEqual(unpacked(packed([read])), [read])
            self.assertIn(b'"msg":"x"', as_tutorial(read.message))

    def test_what_is_no_utf8_is_read_as_javascript_reads_it(self) -> None:
        # A client of a WebSocket closes the connection at text that is no UTF-8, each time that it comes.
        for msg, shown in (
            (b'"a\xe1b"', b'"a\xef\xbf\xbdb"'),
            (b'{"k\xff":["\xc3\xa9"]}', b'{"k\xef\xbf\xbd":["\xc3\xa9"]}'),
        ):
            body = b'{"uId":"ann","pId":"ben","msg":%b,"msgTime":7}' % msg
            self.assertEqual(bytes(from_tutorial(body, lambda: "0" * 24).message.msg), shown)

    def test_a_name_goes_along_and_nothing_else_changes(self) -> None:
        message = Message("0" * 24, "ann", "ben", "ann", "ben", Raw(b'"x"'), 7)
        self.assertNotIn(b"name", as_tutorial(message))
        named = msgspec.structs.replace(message, name="Ann")
        self.assertEqual(from_tutorial(as_tutorial(named), lambda: "0" * 24).message, named)

    def test_a_name_that_can_not_be_shown_is_mended(self) -> None:
        for text, name in (
            (b'"a\\nb"', "a b"),
            (b'"%b"' % (b"x" * 999), "x" * 64),
            (b"7", None),
            (b"null", None),
            (b"[]", None),
        ):
            body = b'{"uId":"ann","pId":"ben","msg":"x","msgTime":7,"name":%b}' % text
            self.assertEqual(from_tutorial(body, lambda: "0" * 24).message.name, name)


class BatchTests(SynchronousTestCase):
    """A batch of a daemon, or of whoever may publish on its exchange."""

    def good(self, **changes: object) -> Stored:
        message = Message(
            "018c" + "0" * 20, "ann", "ben", "ann", "ben", Raw(b'{"a":[1,"\xc3\xa9"]}'), 1_700_000_000_000
        )
        return Stored(msgspec.structs.replace(message, **changes), (("ben", 7),))

    def test_what_is_whole_is_read(self) -> None:
        placeholder = Raw(b'{"_placeholder":true,"num":0}')
        for batch in (
            [self.good()],
            [self.good(msg=placeholder)],
            [self.good(msg=placeholder, attachments=(b"x",)), self.good(cid="c")],
            [self.good(name="Ann Ω"), self.good(uId="other", pId=7, name='"],[')],
        ):
            self.assertEqual(unpacked(packed(batch)), batch)

    def test_a_name_that_can_not_be_shown_is_mended(self) -> None:
        (read,) = unpacked(packed([self.good(name="a\nb" + "x" * 999)]))
        self.assertEqual(read.message.name, ("a b" + "x" * 999)[:64])

    def test_what_no_client_or_store_could_read_is_refused(self) -> None:
        for changes in (
            {"msg": Raw(b'{"a":}')},
            {"msg": Raw(b'"\xff"')},
            {"msg": Raw(b"")},
            {"msg": Raw(b'1],"x":[2')},
            {"msg": Raw(b"[" * 2000 + b"]" * 2000 + b" ")},
            {"msg": Raw(b'{"_placeholder":true,"num":1}'), "attachments": (b"x",)},
            {"msg": Raw(b"[%b0]" % (b"0," * 300_000)), "attachments": (b"x",)},
            {"mid": "no mid"},
            {"mid": "0" * 65},
            {"sender": ""},
            {"sender": "x" * 129},
            {"recipient": "x" * 129},
            {"time": 2**63},
        ):
            self.assertRaises(CodecError, unpacked, packed([self.good(), self.good(**changes)]))
