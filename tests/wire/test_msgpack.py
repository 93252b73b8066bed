"""Packets of npm's msgpack parser: each becomes what JSON's packet would be, and what is none is refused."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.msgpack import Ext
from twisted.trial.unittest import SynchronousTestCase

from kschat.wire import msgpack
from kschat.wire.errors import ProtocolError
from kschat.wire.limits import Limits
from kschat.wire.msgpack import MAX_VALUES, MsgpackDecoder
from kschat.wire.socketio import ACK, EVENT, Ack, Connect, ConnectError, Disconnect, Event, Packet
from tests.support.needs import NODE_DIRECTORY, require_node
from tests.wire.strategies import PROPERTY, any_bytes, as_read, binary_values, mended, mutated, with_binary

pack = msgspec.msgpack.encode


def decode(data: bytes, **limits: int) -> Packet:
    return MsgpackDecoder(Limits(**limits)).binary(data)


def event(*data: Any, **more: Any) -> bytes:
    return pack({"type": 2, "nsp": "/", "data": data, **more})


def packable(value: Any) -> Any:
    """``value`` as npm's parser can have it: with numbers that a double holds."""
    if isinstance(value, dict):
        return {key: packable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [packable(inner) for inner in value]
    return float(value) if type(value) is int and abs(value) >= 2**63 else value


javascript_values = binary_values.map(lambda value: packable(as_read(mended(value))))


class Reading(SynchronousTestCase):
    def args(self, value: Any) -> tuple[str, tuple[bytes, ...]]:
        """The JSON and the attachments that an argument becomes."""
        packet = decode(value if isinstance(value, bytes) else event("x", value))
        assert isinstance(packet, Event)
        (argument,) = packet.args
        return bytes(argument).decode(), packet.attachments

    def test_each_type_is_read(self) -> None:
        options = {"compress": True}
        for fields, expected in (
            ({"type": 0, "nsp": "/kschat", "data": {"token": "t"}}, Connect("/kschat", b'{"token":"t"}')),
            ({"type": 0, "nsp": "/", "data": Ext(0, b"\0"), "options": options}, Connect("/")),
            ({"type": 1, "nsp": "/kschat"}, Disconnect("/kschat")),
            ({"type": 2, "nsp": "/", "data": ["e", 1], "id": Ext(0, b"\0")}, Event("e", (Raw(b"1"),))),
            ({"nsp": "/a", "data": ["e"], "id": 0, "type": 2}, Event("e", (), "/a", 0)),
            ({"type": 2, "nsp": "/", "data": [5, b"\x01"]}, Event("5", (placeholder(0),), attachments=(b"\x01",))),
            ({"type": 3, "nsp": "/", "data": ["a", None], "id": 7}, Ack(7, (Raw(b'"a"'), Raw(b"null")))),
            ({"type": 3, "nsp": "/", "data": [], "id": 2**53 - 1}, Ack(2**53 - 1)),
            ({"type": 4, "nsp": "/", "data": {"message": "no"}}, ConnectError("/", b'{"message":"no"}')),
        ):
            self.assertEqual(decode(pack(fields)), expected, fields)

    def test_what_is_no_packet_is_refused(self) -> None:
        good: dict[str, Any] = {"type": 2, "nsp": "/", "data": ["e"]}
        bads: tuple[Any, ...] = (
            {**good, "type": 5},
            {**good, "type": -1},
            {**good, "type": 2.5},
            {**good, "type": True},
            {**good, "type": "2"},
            {**good, "nsp": None},
            {**good, "nsp": 5},
            {**good, "nsp": "/" + "x" * 9000},
            {**good, "id": -1},
            {**good, "id": 1.5},
            {**good, "id": "7"},
            {**good, "id": 2**53},
            {**good, "data": []},
            {**good, "data": {}},
            {**good, "data": [None]},
            {**good, "data": [["e"]]},
            {**good, "data": ["connect"]},
            {**good, "data": ["e" * 200]},
            {**good, "data": ["e", *range(65)]},
            {**good, "data": ["e", *[b"x"] * 11]},
            {"type": 3, "nsp": "/", "data": []},
            {"type": 3, "nsp": "/", "data": {}, "id": 1},
            {"type": 0, "nsp": "/", "data": "token"},
            {"type": 0, "nsp": "/", "data": {"a": b"x"}},
            {"type": 0, "nsp": "/", "data": []},
            {"type": 1, "nsp": "/", "data": {}},
            {**good, 1.5: 2},
            {},
            [],
            "2",
            5,
            None,
        )
        for bad in bads:
            with self.assertRaises(ProtocolError, msg=str(bad)):
                decode(pack(bad))
        for bad in (b"", b"\xc1", pack(good)[:-1], pack(good) + b"\xc0", b"\xdf\xff\xff\xff\xff", b"0", b'2["e"]'):
            self.assertRaises(ProtocolError, decode, bad)
        self.assertRaises(ProtocolError, MsgpackDecoder(Limits()).text, b'2["e"]')

    def test_values_of_javascript_that_msgpack_has_not(self) -> None:
        self.assertEqual(self.args({"a": Ext(0, b"\0"), "b": 1}), ('{"b":1}', ()))
        self.assertEqual(self.args([Ext(0, b"\0"), 1]), ("[null,1]", ()))
        # A Date is a fixext of 8 bytes, an ArrayBuffer of as many an ext: they differ by their first byte alone.
        date = b"\xd7\x00" + (1795398416145).to_bytes(8, "big")
        buffer = b"\xc7\x08\x00" + (1795398416145).to_bytes(8, "big")
        head = event("x", None)[:-1]
        self.assertEqual(self.args(head + date), ('"2026-11-23T01:46:56.145Z"', ()))
        self.assertEqual(self.args(head + buffer), ('{"_placeholder":true,"num":0}', (buffer[3:],)))
        self.assertEqual(self.args(head + b"\xc7\x01\x00\x00")[1], (b"\x00",))
        early = b"\xd7\x00" + b"\xff" * 8
        self.assertEqual(self.args(head + early)[0], '"1969-12-31T23:59:59.999Z"')
        self.assertEqual(self.args(head + b"\xd7\x00\x7f" + b"\xff" * 7)[0], "null")
        self.assertEqual(self.args(Ext(5, b"abcd")), ('[5,{"_placeholder":true,"num":0}]', (b"abcd",)))
        self.assertEqual(self.args(head + b"\xcb" + b"\x7f\xf0" + b"\0" * 6)[0], "null")
        self.assertEqual(self.args({1: 2, "1": 3})[0], '{"1":2,"1":3}')

    def test_text_that_is_no_utf_8_is_replaced(self) -> None:
        for data, text in ((b"\xff", "\ufffd"), (b"a\xed\xa0\x80b", "a\ufffdb"), (b"\xc3", "\ufffd")):
            packet = event("x", None)[:-1] + bytes((0xA0 | len(data),)) + data
            self.assertEqual(json.loads(self.args(packet)[0]), text)

    def test_nesting_is_bounded_as_in_json(self) -> None:
        def nested(depth: int) -> Any:
            return [] if depth == 1 else [nested(depth - 1)]

        decode(event("x", nested(63)))
        self.assertRaises(ProtocolError, decode, event("x", nested(64)))
        self.assertRaises(ProtocolError, decode, b"\x91" * 1_000_000)
        self.assertRaises(ProtocolError, decode, b"\x81\xa4data" * 100_000)

    def test_names_of_objects_are_text_or_integers_and_so_are_not_nested(self) -> None:
        head = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e\x81"
        for name in (b"\x81", b"\x91", b"\xdc\x00\x01", b"\xdf\x00\x00\x00\x01"):
            for depth in (1, 70, 5000):
                self.assertRaises(ProtocolError, decode, head + name * depth + b"\x01" * 9000)
                # The packet itself is such an object.
                self.assertRaises(ProtocolError, decode, b"\x81" + name * depth + b"\x01" * 9000)
        for name in (b"\xc4\x01x", b"\xd4\x00\x00", b"\xd7\x00" + bytes(8)):
            self.assertRaises(ProtocolError, decode, head + name + b"\x01")
        binary = b"\xc4\x01x"  # so that each byte is read here
        for text, names in (
            (b"a", (b"\xa1a", b"\xd9\x01a")),
            (b"5", (b"\x05", b"\xcc\x05", b"\xd3" + b"\0" * 7 + b"\x05")),
            (b"-1", (b"\xff", b"\xd0\xff")),
        ):
            for name in names:
                packet = decode(head + name + binary)
                assert isinstance(packet, Event)
                self.assertEqual(bytes(packet.args[0]), b'{"%b":{"_placeholder":true,"num":0}}' % text)

    @PROPERTY
    @given(javascript_values)
    def test_what_is_written_is_read_as_json_would_be(self, value: Any) -> None:
        packet = decode(event("x", value), max_attachments=1000)
        assert isinstance(packet, Event)
        self.assertEqual(with_binary(json.loads(bytes(packet.args[0])), packet.attachments), as_read(value))

    @PROPERTY
    @given(javascript_values)
    def test_a_packet_without_binary_is_read_alike_at_both_speeds(self, value: Any) -> None:
        plain, beside = decode(event("x", value)), decode(event("x", value, b""), max_attachments=1000)
        assert isinstance(plain, Event) and isinstance(beside, Event)
        if not plain.attachments:
            self.assertEqual(json.loads(bytes(plain.args[0])), json.loads(bytes(beside.args[0])))

    def test_values_are_bounded_where_each_is_read_by_itself(self) -> None:
        values = [1] * (MAX_VALUES - 20)
        self.args([b"", values])
        with self.assertRaises(ProtocolError):
            self.args([b"", values, [1] * 20])
        argument, _ = self.args([1] * 90_000)
        self.assertEqual(len(argument), 180_001)

    def test_a_packet_is_bounded_by_its_size_as_json(self) -> None:
        self.assertRaises(ProtocolError, decode, event("x", [[]] * 400_000))

    @PROPERTY
    @given(mutated(javascript_values.map(lambda value: event("x", value))) | any_bytes)
    def test_any_bytes_are_a_packet_or_refused(self, data: bytes) -> None:
        try:
            packet = decode(data)
        except ProtocolError:
            return
        for text in packet.args if isinstance(packet, Event | Ack) else ():
            json.loads(bytes(text))


class Writing(SynchronousTestCase):
    def test_packets_without_attachments(self) -> None:
        for packet, expected in (
            (Connect("/kschat", b'{"sid":"s"}'), {"type": 0, "nsp": "/kschat", "data": {"sid": "s"}}),
            (Disconnect("/kschat"), {"type": 1, "nsp": "/kschat"}),
            (ConnectError("/", b'{"message":"no"}'), {"type": 4, "nsp": "/", "data": {"message": "no"}}),
        ):
            self.assertEqual(msgspec.msgpack.decode(msgpack.encode(packet)), expected)

    def test_events_and_acks(self) -> None:
        body = b'["e",{"a":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0},9007199254740993]'
        event = msgpack.encode_array(EVENT, body, (b"x", b"y"), namespace="/a", number=7, max_depth=64)
        self.assertEqual(
            msgspec.msgpack.decode(event),
            {"type": 2, "nsp": "/a", "id": 7, "data": ["e", {"a": b"y"}, b"x", 9007199254740992]},
        )
        self.assertEqual(
            msgspec.msgpack.decode(
                msgpack.encode_array(ACK, b'[{"_placeholder":true,"num":0}]', (), namespace="/", number=0, max_depth=64)
            ),
            {"type": 3, "nsp": "/", "id": 0, "data": [{"_placeholder": True, "num": 0}]},
        )

    def test_integers_beyond_64_bits_are_the_doubles_that_javascript_reads(self) -> None:
        for written, expected in (
            (b"18446744073709551616", 2.0**64),
            (b"-100000000000000000000", -1e20),
            (b"1" + b"0" * 400, None),
            (b"-9007199254740992", -(2**53)),
        ):
            for attachments in ((), (b"x",)):
                body = b'["e",{"n":[%b,1]},%b]' % (written, b'{"_placeholder":true,"num":0}' if attachments else b"0")
                event = msgpack.encode_array(EVENT, body, attachments, namespace="/", number=None, max_depth=64)
                data = msgspec.msgpack.decode(event)["data"]
                self.assertEqual(data, ["e", {"n": [expected, 1]}, b"x" if attachments else 0])
        joined = msgpack.encode(Connect("/", b'{"n":18446744073709551616}'))
        self.assertEqual(msgspec.msgpack.decode(joined)["data"], {"n": 2.0**64})

    def test_npm_reads_what_is_written_and_writes_what_is_read(self) -> None:
        body = b'["e",{"a":[1,-1,255,65536,4294967296,-4294967296,0.5,"\\u00e9\\ud83d\\ude00",null,true]},{"":{}}]'
        script = (
            "const p=require('socket.io-msgpack-parser');const d=new p.Decoder();"
            "d.on('decoded',x=>console.log(new p.Encoder().encode(x)[0].toString('hex')));"
            "d.add(Buffer.from(process.argv[1],'hex'))"
        )
        written = msgpack.encode_array(EVENT, body, (), namespace="/kschat", number=7, max_depth=64)
        command = [require_node(), "-e", script, written.hex()]
        node = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=NODE_DIRECTORY)
        packet = decode(bytes.fromhex(node.stdout))
        assert isinstance(packet, Event)
        self.assertEqual((packet.name, packet.namespace, packet.id), ("e", "/kschat", 7))
        self.assertEqual([json.loads(bytes(one)) for one in packet.args], json.loads(body)[1:])


def placeholder(number: int) -> Raw:
    return Raw(b'{"_placeholder":true,"num":%d}' % number)


class Fields(SynchronousTestCase):
    @PROPERTY
    @given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(), max_size=3))
    def test_fields_that_are_not_known_mean_nothing(self, more: dict[str, Any]) -> None:
        more = {key: value for key, value in more.items() if key not in ("type", "nsp", "id", "data")}
        more = {key: value if isinstance(value, str) else value % 2**63 for key, value in more.items()}
        self.assertEqual(decode(pack({**more, "type": 2, "nsp": "/", "data": ["e"]})), Event("e"))
