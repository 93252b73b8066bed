"""Every limit, by name: what reaches it is taken, what goes beyond it is refused.

``max_payload`` bounds the attachments of a packet here; one frame's size is bounded by the transport that reads it,
before it is put together. ``max_namespaces`` is about a connection (``test_connection``).
"""

from __future__ import annotations

from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.limits import Limits
from kschat.wire.socketio import Ack, Connect, Decoder, Event, Packet

BINARY = b'5%d-["x",{"_placeholder":true,"num":0}]'


class LimitsTests(SynchronousTestCase):
    """``Limits`` as the decoder keeps them."""

    def taken(self, limits: Limits, *parts: bytes) -> Packet:
        decoder = Decoder(limits)
        packet = decoder.text(parts[0])
        for part in parts[1:]:
            self.assertIsNone(packet)
            packet = decoder.binary(part)
        assert packet is not None
        return packet

    def refused(self, limits: Limits, *parts: bytes, reason: Reason = Reason.PARSE_ERROR) -> None:
        decoder = Decoder(limits)
        with self.assertRaises(ProtocolError) as caught:
            decoder.text(parts[0])
            for part in parts[1:]:
                decoder.binary(part)
        self.assertIs(caught.exception.reason, reason)

    def test_max_payload_bounds_one_attachment(self) -> None:
        limits = Limits(max_payload=100)
        self.taken(limits, BINARY % 1, b"x" * 100)
        self.refused(limits, BINARY % 1, b"x" * 101, reason=Reason.TOO_LARGE)

    def test_max_payload_bounds_all_attachments_of_a_packet_together(self) -> None:
        limits = Limits(max_payload=100)
        self.taken(limits, BINARY % 3, b"x" * 60, b"x" * 40, b"")
        # At once, without waiting for the last.
        self.refused(limits, BINARY % 3, b"x" * 60, b"x" * 41, reason=Reason.TOO_LARGE)

    def test_max_payload_begins_anew_with_each_packet(self) -> None:
        decoder = Decoder(Limits(max_payload=100))
        for _ in range(3):
            decoder.text(BINARY % 2)
            decoder.binary(b"x" * 50)
            self.assertIsInstance(decoder.binary(b"x" * 50), Event)

    def test_max_attachments(self) -> None:
        limits = Limits(max_attachments=3)
        self.taken(limits, BINARY % 3, b"", b"", b"")
        for count in (4, 10, 999_999):
            self.refused(limits, BINARY % count)

    def test_max_attachments_of_more_digits_than_any_limit_has(self) -> None:
        self.refused(Limits(max_attachments=10**9), b"5" + b"9" * 7 + b'-["x"]')
        self.refused(Limits(), b"5" + b"9" * 1_000_000 + b'-["x"]')

    def test_max_attachments_is_known_before_anything_is_kept(self) -> None:
        """The refusal comes with the text, not after a million attachments."""
        decoder = Decoder(Limits(max_attachments=3))
        with self.assertRaises(ProtocolError):
            decoder.text(BINARY % 4)
        with self.assertRaises(ProtocolError):
            decoder.binary(b"x")

    def test_max_depth_counts_the_array_of_an_event_and_of_an_ack(self) -> None:
        limits = Limits(max_depth=5)
        nested = b"[" * 4 + b"]" * 4
        self.assertEqual(self.taken(limits, b'2["x",%b]' % nested), Event("x", (Raw(nested),)))
        self.assertEqual(self.taken(limits, b"31[%b]" % nested), Ack(1, (Raw(nested),)))
        for text in (b'2["x",[%b]]', b"31[[%b]]", b'2["x",{"a":%b}]', b'51-["x",[%b]]', b"61-1[[%b]]"):
            self.refused(limits, text % nested)

    def test_max_depth_of_what_connect_carries(self) -> None:
        limits = Limits(max_depth=5)
        nested = b'{"a":' * 5 + b"1" + b"}" * 5
        self.assertEqual(self.taken(limits, b"0/kschat," + nested), Connect("/kschat", nested))
        self.refused(limits, b'0/kschat,{"a":%b}' % nested)
        self.refused(limits, b'4/kschat,{"a":%b}' % nested)

    def test_max_event_name_counts_bytes_as_json(self) -> None:
        limits = Limits(max_event_name=12)
        for name in (b'"1234567890"', '"ééééé"'.encode(), rb'"\u1234\n\n"', b"123456789012"):
            self.assertEqual(len(name), 12)
            self.taken(limits, b"2[%b]" % name)
        for name in (
            b'"12345678901"',
            '"ééééée"'.encode(),
            rb'"\u1234\u1234"',
            b"1234567890123",
            b'"' + b"x" * 1_000_000 + b'"',
        ):
            self.refused(limits, b"2[%b]" % name)
            self.refused(limits, b"51-[%b]" % name)

    def test_max_arguments(self) -> None:
        limits = Limits(max_arguments=3)
        self.taken(limits, b'2["x",1,2,3]')
        self.taken(limits, b"30[1,2,3]")
        self.refused(limits, b'2["x",1,2,3,4]')
        self.refused(limits, b"30[1,2,3,4]")
        self.refused(limits, b'51-["x",1,2,3,{"_placeholder":true,"num":0}]')

    def test_max_namespace_counts_the_query(self) -> None:
        limits = Limits(max_namespace=12)
        for space in (b"/0123456789a", b"/a?012345678", b"/?0123456789", "/ééééée".encode()):
            self.assertEqual(len(space), 12)
            self.taken(limits, b"0" + space)
            self.taken(limits, b"2" + space + b',["x"]')
            self.refused(limits, b"0" + space + b"x")
            self.refused(limits, b"1" + space + b"x,")
            self.refused(limits, b"2" + space + b'x,["x"]')
        self.refused(limits, b"0/" + b"x" * 1_000_000)

    def test_a_token_has_room_in_the_query_of_a_namespace(self) -> None:
        """Tokens of up to 8192 characters are read."""
        token = "x" * 8192
        wish = self.taken(Limits(), f"0/kschat?token={token}&ksId={'9' * 128}".encode())
        self.assertEqual(wish, Connect("/kschat", query=f"token={token}&ksId={'9' * 128}"))

    def test_every_limit_is_tested_here_or_with_connections(self) -> None:
        tested = {field for field in Limits.__struct_fields__ if any(f"test_{field}" in name for name in dir(self))}
        elsewhere = {"max_namespaces", "max_refused", "max_payload_unjoined", "max_joins"}
        self.assertEqual(set(Limits.__struct_fields__) - tested, elsewhere)

    def test_limits_are_frozen(self) -> None:
        with self.assertRaises(AttributeError):
            Limits().max_depth = 1  # type: ignore[misc]
