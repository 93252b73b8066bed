"""Socket.IO packets: what one side encodes the other decodes, and what is refused, by name."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kschat.wire import engineio, jsontext, socketio
from kschat.wire.engineio import Frame, Revision
from kschat.wire.errors import ProtocolError
from kschat.wire.jsonnumbers import as_javascript
from kschat.wire.limits import Limits
from kschat.wire.socketio import (
    RESERVED_EVENTS,
    Ack,
    Connect,
    ConnectError,
    Decoder,
    Disconnect,
    Event,
    Packet,
    placeholders,
    renumber,
)
from tests.wire.strategies import (
    PROPERTY,
    any_bytes,
    as_read,
    binary_values,
    depth,
    events,
    frames_of,
    mended,
    mutated,
    packets,
    revisions,
    stringify,
    values,
    with_binary,
    without_binary,
)

#: Wider than any packet that is drawn.
LIMITS = Limits(max_attachments=1000)


def decode(*parts: bytes, limits: Limits = LIMITS) -> Packet | None:
    """What comes of a text and the attachments after it."""
    decoder = Decoder(limits)
    packet = decoder.text(parts[0])
    for part in parts[1:]:
        packet = decoder.binary(part)
    return packet


def as_decoded(packet: Packet) -> Packet:
    """``packet`` as its receiver has it: with halves of surrogate pairs mended."""
    match packet:
        case Connect() | ConnectError():
            return replace(packet, data=jsontext.mend_surrogates(packet.data))
        case Event() | Ack():
            return replace(packet, args=tuple(Raw(jsontext.mend_surrogates(bytes(one))) for one in packet.args))
        case Disconnect():
            return packet


class CodecTests(SynchronousTestCase):
    """``encode`` and ``Decoder``."""

    @PROPERTY
    @given(packets, revisions, st.booleans())
    def test_every_packet_survives_encode_and_decode(self, packet: Packet, revision: Revision, as_base64: bool) -> None:
        """Through Engine.IO's frames and back, in both revisions, binary as it is or as base64."""
        decoder = Decoder(LIMITS)
        received: list[Packet | None] = []
        for frame in frames_of(packet, revision, as_base64):
            inner = self.unwrapped(frame, revision)
            received.append((decoder.binary if inner.binary else decoder.text)(inner.data))
        self.assertEqual(received, [None] * (len(received) - 1) + [as_decoded(packet)])

    def unwrapped(self, frame: Frame, revision: Revision) -> engineio.Packet:
        decode = engineio.decode_binary if frame.binary else engineio.decode_text
        return decode(frame.payload, revision)

    @PROPERTY
    @given(st.lists(packets, max_size=5))
    def test_one_decoder_reads_packets_after_each_other(self, given_packets: list[Packet]) -> None:
        decoder = Decoder(LIMITS)
        received = []
        for packet in given_packets:
            text, attachments = socketio.encode(packet)
            received += [decoder.text(text), *map(decoder.binary, attachments)]
        self.assertEqual([one for one in received if one is not None], list(map(as_decoded, given_packets)))

    @PROPERTY
    @given(
        packets.map(lambda packet: socketio.encode(packet)[0]).flatmap(lambda text: mutated(st.just(text))) | any_bytes
    )
    @example(b"0  ")
    @example(b'0{"a":1},{"b":2}')
    @example(b'2["\xff"]')
    def test_any_text_is_decoded_or_refused(self, text: bytes) -> None:
        decoder = Decoder(LIMITS)
        try:
            packet = decoder.text(text)
            for _ in range(LIMITS.max_attachments):
                if packet is not None:
                    break
                packet = decoder.binary(b"")
        except ProtocolError:
            return
        assert packet is not None
        try:
            text.decode()
        except UnicodeDecodeError:
            return  # whoever reads a socket refuses that before
        again, attachments = socketio.encode(packet)
        self.assertEqual(decode(again, *attachments), packet)

    @PROPERTY
    @given(events())
    def test_arguments_are_handed_on_as_they_were_written(self, event: Event) -> None:
        text, attachments = socketio.encode(event)
        packet = decode(text, *attachments)
        assert isinstance(packet, Event)
        self.assertEqual(
            b",".join(map(bytes, packet.args)), jsontext.mend_surrogates(b",".join(map(bytes, event.args)))
        )

    def test_packets_are_frozen(self) -> None:
        for packet in (Connect(), Disconnect(), Event("x"), Ack(1), ConnectError()):
            with self.assertRaises(AttributeError):
                packet.namespace = "/other"  # type: ignore[misc]


class HeadTests(SynchronousTestCase):
    """Type, attachments, namespace, query and ack id."""

    def refused(self, *parts: bytes) -> None:
        with self.assertRaises(ProtocolError):
            decode(*parts)

    def test_ack_id_0_is_an_id(self) -> None:
        event = decode(b'2/kschat,0["x"]')
        assert isinstance(event, Event)
        self.assertEqual(event.id, 0)
        self.assertEqual(socketio.encode(event)[0], b'2/kschat,0["x"]')
        self.assertEqual(decode(b'30["x"]'), Ack(0, (Raw(b'"x"'),)))

    def test_the_largest_id_that_javascript_counts_to_is_an_id(self) -> None:
        event = decode(b'2%d["x"]' % (2**53 - 1))
        assert isinstance(event, Event)
        self.assertEqual(event.id, 2**53 - 1)
        self.assertEqual(decode(b"3%d[]" % (2**53 - 1)), Ack(2**53 - 1))

    def test_an_ack_id_that_is_no_number_is_refused(self) -> None:
        for digits in (
            b"1a",
            b"-1",
            b"1.5",
            b"0x1",
            b'"1"',
            b" 1",
            b"1 2",
            b"9" * 17,
            b"9" * 1_000_000,
            "\u0661".encode(),
        ):
            self.refused(b"2" + digits + b'["x"]')
            self.refused(b"2/kschat," + digits + b'["x"]')
            self.refused(b"3" + digits + b"[]")

    def test_an_ack_without_an_id_is_refused(self) -> None:
        self.refused(b"3[]")
        self.refused(b"3/kschat,[]")
        self.refused(b'61-[{"_placeholder":true,"num":0}]')

    def test_the_comma_after_a_namespace_may_be_missing_where_nothing_follows(self) -> None:
        self.assertEqual(decode(b"0/kschat"), decode(b"0/kschat,"))
        self.assertEqual(decode(b"1/kschat"), Disconnect("/kschat"))

    def test_the_query_of_a_namespace_stands_apart_from_it(self) -> None:
        self.assertEqual(decode(b"0/kschat?token=a.b&x=?"), Connect("/kschat", b"", "token=a.b&x=?"))
        self.assertEqual(decode(b"0/kschat?token=a,"), Connect("/kschat", b"", "token=a"))
        self.assertEqual(decode(b'0/?token=a,{"b":1}'), Connect("/", b'{"b":1}', "token=a"))
        event = decode(b'2/kschat?token=a,["x"]')
        self.assertEqual(event, Event("x", namespace="/kschat"))

    def test_text_of_no_byte_and_unknown_types_are_refused(self) -> None:
        self.refused(b"")
        for first in set(range(256)) - set(b"0123456"):
            self.refused(bytes((first,)) + b'["x"]')

    def test_a_count_of_attachments_where_none_belongs_or_none_where_one_does_is_refused(self) -> None:
        for text in (
            b'21-["x"]',
            b"31-1[]",
            b"01-",
            b"11-",
            b"41-",
            b'5["x"]',
            b'5-["x"]',
            b"6-1[]",
            b'51["x"]',
            b"51",
            b"5",
        ):
            self.refused(text)

    def test_a_count_of_no_attachments_is_refused(self) -> None:
        self.refused(b'50-["x"]')
        self.refused(b'5000-["x"]')
        self.refused(b"60-1[]")


class PayloadTests(SynchronousTestCase):
    """What follows the head."""

    def refused(self, *parts: bytes) -> None:
        with self.assertRaises(ProtocolError):
            decode(*parts)

    def test_an_event_that_is_empty_or_no_array_is_refused(self) -> None:
        for payload in (
            b"",
            b"[]",
            b"[ ]",
            b"{}",
            b'"x"',
            b"1",
            b"null",
            b'["x"',
            b'["x"]]',
            b'["x"]y',
            b'["x"],["y"]',
            b"[,]",
        ):
            self.refused(b"2" + payload)
            self.refused(b"2/kschat," + payload)

    def test_an_event_whose_name_is_none_is_refused(self) -> None:
        for name in (b"null", b"true", b"[]", b"{}", b'["x"]'):
            self.refused(b"2[" + name + b"]")

    def test_a_name_may_be_a_number(self) -> None:
        self.assertEqual(decode(b"2[1,2]"), Event("1", (Raw(b"2"),)))

    def test_reserved_event_names_are_refused(self) -> None:
        self.assertIn("connect", RESERVED_EVENTS)
        for name in RESERVED_EVENTS:
            self.refused(b'2["%b"]' % name.encode())
            self.refused(b'2/kschat,1["%b",{}]' % name.encode())
            self.refused(b'51-["%b",{"_placeholder":true,"num":0}]' % name.encode())
        # However it is written.
        self.refused(rb'2["\u0063onnect"]')
        self.refused(b'2[ "connect" ]')

    def test_halves_of_surrogate_pairs_are_mended_in_names_and_arguments(self) -> None:
        event = decode(rb'2["a\ud800","b\udc00c","\ud83d\ude00"]')
        self.assertEqual(event, Event("a\ufffd", (Raw(rb'"b\ufffdc"'), Raw(rb'"\ud83d\ude00"'))))
        self.assertEqual(decode(rb'0{"token":"\ud800"}'), Connect(data=rb'{"token":"\ufffd"}'))

    def test_a_name_that_is_no_utf_8_is_refused(self) -> None:
        self.refused(b'2["\xff"]')
        self.refused(b'2["\xed\xa0\x80"]')

    def test_a_connect_carries_one_object_or_nothing(self) -> None:
        self.assertEqual(decode(b'0{"a":[1]}'), Connect(data=b'{"a":[1]}'))
        self.assertEqual(decode(b'0/kschat, {"a":1} '), Connect("/kschat", b'{"a":1}'))
        for payload in (
            b'"x"',
            b"1",
            b"12",
            b"null",
            b"true",
            b"[]",
            b" [1]",
            b" ",
            b"\n",
            b"{}{}",
            b'{},{"a":1}',
            b"{",
            b"{}]",
        ):
            self.refused(b"0" + payload)
            self.refused(b"0/kschat," + payload)

    def test_an_error_carries_one_value_and_no_array(self) -> None:
        for payload in (b"", b'"no"', b'{"message":"no"}', b"12"):
            self.assertEqual(decode(b"4/kschat," + payload), ConnectError("/kschat", payload))
        for payload in (b"[]", b" [1]", b" ", b'"a","b"', b'"'):
            self.refused(b"4/kschat," + payload)

    def test_a_disconnect_carries_nothing(self) -> None:
        for payload in (b"{}", b"[]", b'"x"', b"1", b" "):
            self.refused(b"1" + payload)
            self.refused(b"1/kschat," + payload)


class AttachmentTests(SynchronousTestCase):
    """Binary events and acks."""

    ONE = b'51-["x",{"_placeholder":true,"num":0}]'

    def refused(self, *parts: bytes) -> ProtocolError:
        with self.assertRaises(ProtocolError) as caught:
            decode(*parts)
        error: ProtocolError = caught.exception
        return error

    def test_the_packet_comes_with_its_last_attachment(self) -> None:
        decoder = Decoder(LIMITS)
        text = b'52-/kschat,7["x",{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]'
        self.assertIsNone(decoder.text(text))
        self.assertIsNone(decoder.binary(b"a"))
        event = decoder.binary(b"b")
        assert isinstance(event, Event)
        self.assertEqual((event.namespace, event.id, event.attachments), ("/kschat", 7, (b"a", b"b")))

    def test_missing_attachments_are_refused_when_text_comes_instead(self) -> None:
        decoder = Decoder(LIMITS)
        decoder.text(self.ONE)
        with self.assertRaises(ProtocolError):
            decoder.text(b'2["x"]')

    def test_surplus_attachments_are_refused(self) -> None:
        self.refused(self.ONE, b"a", b"b")
        self.refused(b'2["x"]', b"a")
        with self.assertRaises(ProtocolError):
            Decoder(LIMITS).binary(b"a")

    def test_the_number_of_a_placeholder_may_be_written_as_javascript_reads_it(self) -> None:
        for number in (b"0.0", b"-0.0", b"0e0", b"0.00E+7", b"1.0", b"1e0", b"10e-1", b"1000.0e-3"):
            event = decode(
                b'52-["x",{"a":{"_placeholder":true, "num" : %b},"num":0.5,"\\"num":0.0,"t":"\\"num\\":0.0,"}]'
                % number,
                b"a",
                b"b",
            )
            assert isinstance(event, Event)
            placeholder = b'{"_placeholder":true, "num" : %d}' % float(number)
            self.assertEqual(
                [bytes(argument) for argument in event.args],
                [b'{"a":%b,"num":0.5,"\\"num":0.0,"t":"\\"num\\":0.0,"}' % placeholder],
            )
        ack = decode(b'61-1[{"num":0.0,"_placeholder":true},9007199254740993]', b"a")
        assert isinstance(ack, Ack)
        self.assertEqual([bytes(one) for one in ack.args], [b'{"num":0,"_placeholder":true}', b"9007199254740993"])
        # Where no attachment is meant, nothing is changed.
        event = decode(b'2["x",{"num":0.0}]')
        assert isinstance(event, Event)
        self.assertEqual(bytes(event.args[0]), b'{"num":0.0}')

    def test_a_placeholder_that_is_none_is_refused(self) -> None:
        for number in (
            b"1",
            b"-1",
            b'"0"',
            b"1.0",
            b"1e0",
            b"0.5",
            b"true",
            b"null",
            b"[]",
            b"99999999999999999999",
            b"1e400",
        ):
            self.refused(b'51-["x",{"_placeholder":true,"num":%b}]' % number)
            self.refused(b'51-["x",[{"a":{"num":%b,"_placeholder":true}}]]' % number)
        self.refused(b'51-["x",{"_placeholder":true}]')
        self.refused(b'52-["x",{"_placeholder":true,"num":true}]')
        self.refused(b'61-1[{"_placeholder":true,"num":1}]')

    def test_an_object_that_looks_like_a_placeholder_stays_an_object_in_a_packet_without_attachments(self) -> None:
        for number in (b"0", b"-1", b'"0"', b"null"):
            lookalike = b'{"_placeholder":true,"num":%b}' % number
            self.assertEqual(decode(b'2["x",%b]' % lookalike), Event("x", (Raw(lookalike),)))
            self.assertEqual(decode(b"31[%b]" % lookalike), Ack(1, (Raw(lookalike),)))

    def test_an_object_is_a_placeholder_only_where_it_says_true(self) -> None:
        for word in (b"false", b"1", b'"true"', b"null"):
            other = b'{"_placeholder":%b,"num":7}' % word
            event = decode(b'51-["x",%b]' % other, b"a")
            self.assertEqual(event, Event("x", (Raw(other),), attachments=(b"a",)))

    def test_one_attachment_may_be_meant_twice_or_not_at_all(self) -> None:
        twice = decode(b'52-["x",{"_placeholder":true,"num":1},{"_placeholder":true,"num":1}]', b"a", b"b")
        assert isinstance(twice, Event)
        self.assertEqual(twice.attachments, (b"a", b"b"))


class RenumberTests(SynchronousTestCase):
    """``placeholders`` and ``renumber``: a part of a packet moved into another."""

    @PROPERTY
    @given(binary_values.map(mended), st.lists(st.binary(max_size=3), max_size=3), st.integers(0, 3), st.randoms())
    def test_a_part_keeps_its_meaning_wherever_it_goes(
        self, value: Any, others: list[bytes], first: int, random: Any
    ) -> None:
        """Whatever other attachments its packet had, and in whatever order."""
        own: list[bytes] = []
        marked = without_binary(value, own)
        order = list(range(len(own) + len(others)))
        random.shuffle(order)
        attachments = [b""] * len(order)
        for place, data in zip(order, own + others, strict=True):
            attachments[place] = data
        text = stringify(moved(marked, order))
        rest, taken = renumber(text, attachments, 64, first=first)
        self.assertEqual(list(placeholders(json.loads(rest))), list(range(first, first + len(own))))
        self.assertEqual(with_binary(json.loads(rest), (b"",) * first + taken), as_read(value))

    @PROPERTY
    @given(binary_values.map(mended))
    def test_a_part_that_has_all_attachments_in_order_is_given_back_as_it_was_written(self, value: Any) -> None:
        own: list[bytes] = []
        text = stringify(without_binary(value, own))
        self.assertEqual(renumber(text, own, 64), (as_javascript(text), tuple(own)))

    @PROPERTY
    @given(values.map(stringify).flatmap(lambda text: mutated(st.just(text))) | any_bytes, st.integers(0, 2))
    def test_anything_is_renumbered_or_refused(self, text: bytes, count: int) -> None:
        try:
            rest, taken = renumber(text, (b"a",) * count, 64)
        except ProtocolError:
            return
        self.assertLessEqual(len(taken), count)
        self.assertLessEqual(depth(jsontext.decode(rest, 64)), 64)

    def test_a_number_that_no_attachment_has_is_refused(self) -> None:
        for number in (1, -1, 2**64):
            with self.assertRaises(ProtocolError):
                renumber(b'{"_placeholder":true,"num":%d}' % number, (b"a",), 64)

    def test_one_attachment_that_is_meant_twice_is_carried_once(self) -> None:
        text = b'[{"_placeholder":true,"num":1},{"_placeholder":true,"num":1}]'
        rest, taken = renumber(text, (b"a", b"b"), 64, first=5)
        self.assertEqual([one["num"] for one in json.loads(rest)], [5, 5])
        self.assertEqual(taken, (b"b",))


def moved(value: Any, order: list[int]) -> Any:
    if isinstance(value, list):
        return [moved(element, order) for element in value]
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return {"_placeholder": True, "num": order[value["num"]]}
        return {key: moved(element, order) for key, element in value.items()}
    return value
