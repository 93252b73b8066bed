"""Engine.IO packets of both revisions: what one side encodes the other decodes, and nothing else is a packet."""

from __future__ import annotations

import base64
import json

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.wire import engineio
from kschat.wire.engineio import Frame, Packet, Revision
from kschat.wire.errors import ProtocolError, Reason
from tests.wire.strategies import PROPERTY, any_bytes, engine_packets, mutated, revisions, whole_texts


def decode(frame: Frame, revision: Revision) -> Packet:
    if frame.binary:
        return engineio.decode_binary(frame.payload, revision)
    return engineio.decode_text(frame.payload, revision)


class CodecTests(SynchronousTestCase):
    """``encode``, ``decode_text``, ``decode_binary``."""

    @PROPERTY
    @given(engine_packets(), revisions, st.booleans())
    def test_every_packet_survives_encode_and_decode(self, packet: Packet, revision: Revision, as_base64: bool) -> None:
        frame = engineio.encode(packet, revision, as_base64)
        self.assertEqual(frame.binary, packet.binary and not as_base64)
        self.assertEqual(decode(frame, revision), packet)

    @PROPERTY
    @given(
        st.builds(engineio.encode, engine_packets(), revisions, st.booleans())
        .map(lambda frame: frame.payload)
        .flatmap(lambda payload: mutated(st.just(payload)))
        | any_bytes,
        revisions,
        st.booleans(),
    )
    def test_any_frame_is_decoded_or_refused(self, payload: bytes, revision: Revision, binary: bool) -> None:
        try:
            packet = decode(Frame(payload, binary), revision)
        except ProtocolError as error:
            self.assertIs(error.reason, Reason.PARSE_ERROR)
        else:
            self.assertEqual(decode(engineio.encode(packet, revision), revision), packet)
            self.assertLessEqual(len(packet.data), len(payload))

    def test_binary_is_written_as_each_revision_wants_it(self) -> None:
        packet = Packet(engineio.MESSAGE, b"\x01\x02\x03", True)
        self.assertEqual(engineio.encode(packet, 4), Frame(b"\x01\x02\x03", True))
        self.assertEqual(engineio.encode(packet, 3), Frame(b"\x04\x01\x02\x03", True))
        self.assertEqual(engineio.encode(packet, 4, base64=True), Frame(b"bAQID"))
        self.assertEqual(engineio.encode(packet, 3, base64=True), Frame(b"b4AQID"))

    def test_base64_is_said_only_of_binary(self) -> None:
        self.assertEqual(engineio.encode(Packet(engineio.MESSAGE, b"hi"), 3, base64=True), Frame(b"4hi"))

    def test_binary_of_no_byte_is_a_message(self) -> None:
        nothing = Packet(engineio.MESSAGE, b"", True)
        for frame in (Frame(b"", True), Frame(b"b")):
            self.assertEqual(decode(frame, 4), nothing)
        for frame in (Frame(b"\x04", True), Frame(b"b4")):
            self.assertEqual(decode(frame, 3), nothing)

    @PROPERTY
    @given(whole_texts, revisions)
    def test_text_of_a_message_is_not_looked_into(self, text: str, revision: Revision) -> None:
        packet = engineio.decode_text(b"4" + text.encode(), revision)
        self.assertEqual(packet, Packet(engineio.MESSAGE, text.encode()))


class RefusedFramesTests(SynchronousTestCase):
    """Frames that are no packets."""

    def refused(self, payload: bytes, revision: Revision, binary: bool = False) -> None:
        with self.assertRaises(ProtocolError):
            decode(Frame(payload, binary), revision)

    def test_an_empty_text_frame(self) -> None:
        self.refused(b"", 3)
        self.refused(b"", 4)

    def test_every_first_byte_that_is_no_type(self) -> None:
        for first in set(range(256)) - set(b"0123456b"):
            self.refused(bytes((first,)) + b"x", 3)
            self.refused(bytes((first,)) + b"x", 4)

    def test_binary_of_revision_3_that_is_no_message(self) -> None:
        self.refused(b"", 3, binary=True)
        for first in set(range(256)) - {engineio.MESSAGE}:
            self.refused(bytes((first, 1, 2)), 3, binary=True)

    def test_base64_of_revision_3_that_is_no_message(self) -> None:
        for payload in (b"b", b"bAQID", b"b2AQID", b"b\x04AQID"):
            self.refused(payload, 3)

    def test_base64_that_is_none(self) -> None:
        for junk in (
            b"A",
            b"AQ",
            b"AQ=",
            b"AQI",
            b"A===",
            b"=",
            b"AQ==AQ==",
            b"AQ==\n",
            b"AQ ID",
            b"A\xffID",
            b"-_==",
        ):
            self.refused(b"b" + junk, 4)
            self.refused(b"b4" + junk, 3)

    def test_a_megabyte_that_is_no_base64_is_not_decoded_in_part(self) -> None:
        for junk in (b"=" * 1_000_000, b"A" * 1_000_001, b"A" * 999_996 + b"A=A="):
            self.refused(b"b" + junk, 4)

    @PROPERTY
    @given(st.binary(max_size=100))
    def test_base64_is_that_of_rfc_4648(self, data: bytes) -> None:
        self.assertEqual(engineio.decode_text(b"b" + base64.b64encode(data), 4).data, data)
        self.assertEqual(engineio.decode_text(b"b4" + base64.b64encode(data), 3).data, data)


class OpenPacketTests(SynchronousTestCase):
    """``open_data``."""

    def test_it_says_what_clients_read(self) -> None:
        self.assertEqual(
            json.loads(
                engineio.open_data(
                    "abc", upgrades=("websocket",), ping_interval=25, ping_timeout=20, max_payload=1_000_000
                )
            ),
            {
                "sid": "abc",
                "upgrades": ["websocket"],
                "pingInterval": 25000,
                "pingTimeout": 20000,
                "maxPayload": 1_000_000,
            },
        )

    @PROPERTY
    @given(st.integers(1, 3_600_000), st.integers(1, 3_600_000))
    @example(1001, 25)  # 1.001 * 1000 is a little less than 1001
    def test_times_are_announced_in_milliseconds_exactly(self, interval: int, timeout: int) -> None:
        """Also below a second, and however the division comes out in binary."""
        data = engineio.open_data(
            "abc", upgrades=(), ping_interval=interval / 1000, ping_timeout=timeout / 1000, max_payload=1
        )
        announced = json.loads(data)
        self.assertEqual((announced["pingInterval"], announced["pingTimeout"]), (interval, timeout))
        self.assertIs(type(announced["pingInterval"]), int)
