"""Frames in both directions: what is framed here and what Autobahn reads are the same to a peer."""

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.front.frames import frame
from kschat.wire.errors import Reason
from kschat.wire.limits import Limits
from tests.front.daemon import V3, V4, Daemon, Peer
from tests.front.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Seen,
    client_frame,
    close_frame,
    read_frames,
)


def event(text: str) -> str:
    return f'42/kschat,["x","{text}"]'


class FramesThatWeWrite(SynchronousTestCase):
    def test_lengths_are_as_rfc_6455_5_2_wants_them(self) -> None:
        table = {
            0: b"\x81\x00",
            1: b"\x81\x01",
            125: b"\x81\x7d",
            126: b"\x81\x7e\x00\x7e",
            127: b"\x81\x7e\x00\x7f",
            255: b"\x81\x7e\x00\xff",
            256: b"\x81\x7e\x01\x00",
            65535: b"\x81\x7e\xff\xff",
            65536: b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00",
            100_000: b"\x81\x7f\x00\x00\x00\x00\x00\x01\x86\xa0",
        }
        for size, head in table.items():
            self.assertEqual(frame(b"x" * size), head + b"x" * size, size)
            self.assertEqual(frame(b"x" * size, True), b"\x82" + head[1:] + b"x" * size, size)

    def test_the_examples_of_rfc_6455_5_7(self) -> None:
        self.assertEqual(frame(b"Hello"), bytes.fromhex("810548656c6c6f"))
        self.assertEqual(frame(bytes(256), True), bytes.fromhex("827e0100") + bytes(256))
        self.assertEqual(frame(bytes(65536), True), bytes.fromhex("827f0000000000010000") + bytes(65536))

    @given(st.lists(st.tuples(st.binary(max_size=400), st.booleans()), max_size=5))
    def test_a_reader_finds_what_was_framed(self, payloads: list[tuple[bytes, bool]]) -> None:
        payloads = [(p if binary else p.hex().encode(), binary) for p, binary in payloads]
        frames, rest = read_frames(b"".join(frame(*one) for one in payloads))
        self.assertEqual(frames, [Seen(BINARY if binary else TEXT, p) for p, binary in payloads])
        self.assertEqual(rest, b"")


class FramesThatWeRead(SynchronousTestCase):
    """Each way that bytes may come, on a client that has joined. What arrives is told by the application."""

    def setUp(self) -> None:
        self.daemon = Daemon()
        self.peer = self.daemon.joined()

    def arrived(self) -> list[object]:
        """The arguments of the events that arrived, and forget them."""
        self.daemon.take_turns()
        events = [argument for _, argument in self.daemon.recorder.of("event")]
        self.daemon.recorder.log.clear()
        return events

    def renew(self, query: str = V4) -> Peer:
        """Another daemon, with another client."""
        self.daemon = Daemon()
        self.peer = self.daemon.joined(query)
        return self.peer

    def still_serves(self) -> None:
        """Nothing is left over from what was read before."""
        self.peer.send(event("still"))
        self.assertEqual(self.arrived(), ["still"])
        self.assertEqual(self.peer.frames(), [])

    def test_a_whole_frame(self) -> None:
        self.peer.arrive(client_frame(event("one").encode()))
        self.assertEqual(self.arrived(), ["one"])
        self.still_serves()

    def test_every_mask_is_taken_off(self) -> None:
        for mask in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x01", b"\x80\0\0\0", b"abcd"):
            for size in range(9):
                self.peer.arrive(client_frame(event("x" * size).encode(), mask=mask))
                self.assertEqual(self.arrived(), ["x" * size], (mask, size))

    def test_every_size_around_a_change_of_the_length_s_form(self) -> None:
        around = len(event(""))
        for size in (around, 125, 126, 127, 128, 255, 256, 257, 65534, 65535, 65536, 65537, 200_000):
            text = "x" * (size - around)
            self.peer.send(event(text))
            self.assertEqual(self.arrived(), [text], size)
        self.still_serves()

    def test_a_frame_split_at_every_byte(self) -> None:
        for text in ("é" * 20, "x" * 300):
            data = client_frame(event(text).encode())
            for at in range(1, len(data)):
                self.peer.arrive(data[:at])
                self.assertEqual(self.arrived(), [], at)
                self.peer.arrive(data[at:])
                self.assertEqual(self.arrived(), [text], at)
        self.still_serves()

    def test_a_frame_byte_by_byte(self) -> None:
        for byte in client_frame(event("héllo " * 30).encode()):
            self.peer.arrive(bytes((byte,)))
        self.assertEqual(self.arrived(), ["héllo " * 30])
        self.still_serves()

    def test_several_frames_in_one_read(self) -> None:
        texts = ["a", "b" * 125, "c" * 126, "d" * 70_000, "e", "é"]
        self.peer.arrive(b"".join(client_frame(event(text).encode()) for text in texts))
        self.assertEqual(self.arrived(), texts)
        self.still_serves()

    def test_several_frames_split_at_every_byte(self) -> None:
        texts = ["a", "b" * 130, "é", ""]
        data = b"".join(client_frame(event(text).encode()) for text in texts)
        for at in range(1, len(data)):
            self.peer.arrive(data[:at])
            self.peer.arrive(data[at:])
            self.assertEqual(self.arrived(), texts, at)

    def test_frames_of_every_kind_in_one_read(self) -> None:
        """The short way and Autobahn's take turns without a byte or a message lost or out of order."""
        self.peer.arrive(
            client_frame(event("1").encode())
            + client_frame(b"ping", PING)
            + client_frame(event("2").encode())
            + client_frame(event("3").encode()[:10], fin=False)
            + client_frame(event("3").encode()[10:], CONTINUATION)
            + client_frame(event("4").encode())
            + client_frame(b"", PONG)
            + client_frame(b'451-/kschat,["x",{"_placeholder":true,"num":0}]')
            + client_frame(b"\x01\x02", BINARY)
            + client_frame(event("6").encode())
        )
        events = self.daemon.recorder.of("event")
        self.assertEqual([one[1] for one in events[:4]], ["1", "2", "3", "4"])
        self.assertEqual(events[4], ("x", {"_placeholder": True, "num": 0}, b"\x01\x02"))
        self.assertEqual(events[5], ("x", "6"))
        self.assertEqual(self.peer.frames(), [Seen(PONG, b"ping")])

    def test_fragments(self) -> None:
        data = event("héllo").encode()
        for at in range(len(data) + 1):
            self.peer.arrive(client_frame(data[:at], fin=False))
            self.assertEqual(self.arrived(), [], at)
            self.peer.arrive(client_frame(b"", CONTINUATION, fin=False))
            self.peer.arrive(client_frame(data[at:], CONTINUATION))
            self.assertEqual(self.arrived(), ["héllo"], at)
        self.still_serves()

    def test_control_frames_between_fragments(self) -> None:
        data = event("one").encode()
        self.peer.arrive(client_frame(data[:5], fin=False))
        self.peer.arrive(client_frame(b"are you there", PING))
        self.assertEqual(self.peer.frames(), [Seen(PONG, b"are you there")])
        self.peer.arrive(client_frame(b"unasked", PONG))
        self.peer.arrive(client_frame(data[5:], CONTINUATION))
        self.assertEqual(self.arrived(), ["one"])
        self.still_serves()

    def test_a_control_frame_before_the_rest_of_a_split_frame_does_not_stand_in_it(self) -> None:
        data = client_frame(event("one").encode())
        self.peer.arrive(client_frame(b"p", PING)[:3])
        self.peer.arrive(client_frame(b"p", PING)[3:] + data[:7])
        self.peer.arrive(data[7:])
        self.assertEqual(self.arrived(), ["one"])
        self.assertEqual(self.peer.frames(), [Seen(PONG, b"p")])

    def test_text_beyond_ascii(self) -> None:
        for text in ("é", "😀", "\u2028", "\ufffd", "\ue000", "x" * 130 + "é"):
            self.peer.send(event(text))
            self.assertEqual(self.arrived(), [text])

    def test_binary_of_revision_4_is_the_bytes_alone(self) -> None:
        self.peer.send('451-/kschat,["x",{"_placeholder":true,"num":0}]')
        self.peer.arrive(client_frame(b"\x04\x00\xff", BINARY))
        self.assertEqual(self.daemon.recorder.of("event")[0][2], b"\x04\x00\xff")

    def test_binary_of_revision_3_begins_with_its_type(self) -> None:
        self.renew(V3)
        self.peer.send('451-/kschat,["x",{"_placeholder":true,"num":0}]')
        self.peer.arrive(client_frame(b"\x04\x00\xff", BINARY))
        self.assertEqual(self.daemon.recorder.of("event")[0][2], b"\x00\xff")

    def test_binary_goes_out_in_each_revision_s_form(self) -> None:
        table = {
            V4: Seen(BINARY, b"\x00\xff"),
            V3: Seen(BINARY, b"\x04\x00\xff"),
            V3 + "&b64=1": Seen(TEXT, b"b4AP8="),
            V4 + "&b64=1": Seen(TEXT, b"bAP8="),
        }
        for query, expected in table.items():
            peer = self.renew(query)
            self.daemon.recorder.sockets[-1].emit(b'["x",{"_placeholder":true,"num":0}]', (b"\x00\xff",))
            self.assertEqual(
                peer.frames(), [Seen(TEXT, b'451-/kschat,["x",{"_placeholder":true,"num":0}]'), expected], query
            )

    @settings(max_examples=150)
    @given(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), max_size=300), max_size=6
        ),
        st.lists(st.integers(0, 3000), max_size=8),
        st.lists(st.sampled_from(["whole", "fragments", "ping"]), min_size=6, max_size=6),
    )
    def test_however_it_is_cut_what_arrives_is_what_was_sent(
        self, texts: list[str], cuts: list[int], ways: list[str]
    ) -> None:
        self.renew()
        data = b""
        for text, way in zip(texts, ways, strict=False):
            payload = event(text).encode()
            if way == "fragments":
                half = len(payload) // 2
                data += client_frame(payload[:half], fin=False) + client_frame(payload[half:], CONTINUATION)
            else:
                data += client_frame(b"p", PING) if way == "ping" else b""
                data += client_frame(payload)
        places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
        for start, stop in pairwise(places):
            self.peer.arrive(data[start:stop])
        self.assertEqual(self.arrived(), texts)


class FramesThatAreWrong(SynchronousTestCase):
    """Each ends that connection alone, with RFC 6455's code, in one piece or in two, at once or after good ones."""

    def refused(self, data: bytes, code: int, limits: Limits | None = None) -> None:
        before = client_frame(event("before").encode())
        table = {
            "alone": [data],
            "after a good one": [before, data],
            "after a good one in the same read": [before + data],
            "split": [data[:1], data[1:]],
            "before a good one in the same read": [data + client_frame(event("after").encode())],
        }
        for way, reads in table.items():
            daemon = Daemon(limits=limits)
            peer, other = daemon.joined(), daemon.joined()
            for read in reads:
                peer.arrive(read)
            self.assertEqual(peer.closing().code, code, way)
            self.assertNotIn(("event", "x", "after"), daemon.recorder.log, way)
            peer.arrive(close_frame(code))
            daemon.clock.advance(0)
            self.assertIsNotNone(peer.wire.lost, way)
            self.assertEqual(daemon.connections.open, 1, way)
            self.assertEqual(len(daemon.sessions), 1, way)
            other.send(event("other"))
            self.assertEqual(daemon.recorder.log[-1], ("event", "x", "other"), way)

    def test_unmasked(self) -> None:
        for size in (3, 126, 70_000):
            self.refused(client_frame(b"x" * size, mask=None), 1002)

    def test_reserved_bits(self) -> None:
        for rsv in (1, 2, 4, 7):
            self.refused(client_frame(event("x").encode(), rsv=rsv), 1002)

    def test_reserved_opcodes(self) -> None:
        for opcode in (3, 7, 11, 15):
            self.refused(client_frame(b"x", opcode), 1002)

    def test_lengths_in_more_bytes_than_they_need(self) -> None:
        self.refused(client_frame(event("x").encode(), length_bytes=2), 1002)
        self.refused(client_frame(event("x").encode(), length_bytes=8), 1002)
        self.refused(client_frame(event("x" * 200).encode(), length_bytes=8), 1002)

    def test_a_length_beyond_63_bits(self) -> None:
        self.refused(client_frame(b"", length_bytes=8, claimed=2**63), 1002)

    def test_a_continuation_of_nothing(self) -> None:
        self.refused(client_frame(event("x").encode(), CONTINUATION), 1002)

    def test_a_new_message_within_one_in_fragments(self) -> None:
        self.refused(client_frame(b"42", fin=False) + client_frame(event("x").encode()), 1002)
        self.refused(client_frame(b"42", fin=False) + client_frame(b"x", BINARY), 1002)

    def test_control_frames_that_are_long_or_in_fragments(self) -> None:
        self.refused(client_frame(b"x" * 126, PING), 1002)
        self.refused(client_frame(b"x", PING, fin=False), 1002)

    def test_text_that_is_no_utf_8(self) -> None:
        for bad in (b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"):
            for around in (b"", b"x" * 200):
                self.refused(client_frame(event("").encode()[:-2] + around + bad + b'"]'), 1007)

    def test_fragments_that_are_no_utf_8_together(self) -> None:
        self.refused(client_frame(b"42\xc3", fin=False) + client_frame(b"\x28", CONTINUATION), 1007)

    def test_a_close_frame_of_one_byte(self) -> None:
        self.refused(client_frame(b"\x03", CLOSE), 1002)

    def test_a_close_frame_with_a_code_that_may_not_be_sent(self) -> None:
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000):
            self.refused(close_frame(code), 1002)

    def test_a_close_frame_whose_reason_is_no_utf_8(self) -> None:
        self.refused(client_frame(b"\x03\xe8\xff", CLOSE), 1007)

    def test_too_large(self) -> None:
        limits = Limits(max_payload=1000)
        self.refused(client_frame(b"4" + b"x" * 1000), 1009, limits)
        self.refused(client_frame(b"\x04" + b"x" * 1000, BINARY), 1009, limits)

    def test_too_large_already_by_what_its_head_says(self) -> None:
        limits = Limits(max_payload=100_000)
        daemon = Daemon(limits=limits)
        for claimed in (100_001, 2**62):
            peer = daemon.joined()
            peer.arrive(client_frame(b"", claimed=claimed))
            self.assertEqual(peer.closing().code, 1009)

    def test_too_large_in_fragments(self) -> None:
        limits = Limits(max_payload=1000)
        half = client_frame(b"4" + b"x" * 599, fin=False)
        self.refused(half + client_frame(b"x" * 600, CONTINUATION), 1009, limits)

    def test_as_large_as_allowed(self) -> None:
        daemon = Daemon(limits=Limits(max_payload=1000))
        peer = daemon.joined()
        text = "x" * (1000 - len(event("")))
        peer.send(event(text))
        half = event(text).encode()
        peer.arrive(client_frame(half[:500], fin=False) + client_frame(half[500:], CONTINUATION))
        self.assertEqual(daemon.recorder.of("event"), [("x", text)] * 2)

    def test_what_follows_what_was_too_large_is_not_kept(self) -> None:
        daemon = Daemon(limits=Limits(max_payload=1000))
        peer = daemon.joined()
        peer.arrive(client_frame(b"", claimed=2**40))
        for _ in range(100):
            peer.arrive(b"x" * 65536)
        protocol: Any = peer.wire.protocol
        held = [protocol.data, *(protocol.frame_data or ()), *(protocol.message_data or ())]
        self.assertLess(sum(map(len, held)), 100_000)

    def test_what_has_not_arrived_whole_is_not_held_when_the_connection_has_ended(self) -> None:
        fragment = client_frame(b"4" + b"x" * 800, fin=False)
        awaits = client_frame(b'452-/kschat,["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
        attachment = bytes(range(256)) * 3
        for half, marker in (
            (fragment, b"x" * 800),
            (client_frame(b"4" + b"x" * 900)[:-10], b"x" * 800),
            (awaits + client_frame(attachment, BINARY), attachment),
        ):
            daemon = Daemon(limits=Limits(max_payload=1000))
            peer = daemon.joined()
            connection = next(iter(daemon.sessions.values()))
            peer.arrive(half)
            protocol: Any = peer.wire.protocol
            peer.wire.hang_up()
            decoder: Any = connection._decoder
            held = [protocol.data, *protocol.frame_data, *protocol.message_data, *decoder._parts]
            self.assertFalse([part for part in held if marker[:100] in part])

    def test_the_session_of_a_wrong_frame_ends_with_its_connection(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        peer.arrive(client_frame(b"x", mask=None))
        peer.arrive(close_frame(1002))
        daemon.clock.advance(0)
        self.assertEqual(daemon.recorder.of("disconnected"), [("/kschat", Reason.TRANSPORT_CLOSE)])
        self.assertEqual(len(daemon.recorder.of("ended")), 1)
        self.assertEqual(list(daemon.sessions), [])


class PacketsThatAreWrong(SynchronousTestCase):
    """Frames that are good and hold no packet: the session ends with Engine.IO's reason."""

    def test_what_is_no_packet_closes_with_a_parse_error(self) -> None:
        for text in ("", "9", "x", "0", "5", "4", "49", "42/kschat,{}", "42/kschat,", "42/kschat,[]", "bx"):
            for query in (V3, V4):
                daemon = Daemon()
                peer = daemon.joined(query)
                peer.send(text)
                closing = peer.closing()
                self.assertEqual((closing.code, closing.reason), (1002, "parse error"), (text, query))
                self.assertIn(("disconnected", "/kschat", Reason.PARSE_ERROR), daemon.recorder.log, (text, query))
                self.assertEqual(list(daemon.sessions), [])
                peer.arrive(close_frame(1002))
                daemon.clock.advance(0)
                self.assertEqual(daemon.connections.open, 0)

    def test_binary_of_revision_3_that_is_no_message(self) -> None:
        for payload in (b"", b"\x02", b"4"):
            peer = Daemon().joined(V3)
            peer.arrive(client_frame(payload, BINARY))
            self.assertEqual(peer.closing().code, 1002, payload)

    def test_binary_that_nobody_awaits(self) -> None:
        peer = Daemon().joined()
        peer.arrive(client_frame(b"x", BINARY))
        self.assertEqual(peer.closing().code, 1002)

    def test_packets_after_the_end_in_the_same_read_are_not_handled(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        peer.arrive(client_frame(b"9") + client_frame(event("after").encode()) + client_frame("é".encode()))
        self.assertEqual(daemon.recorder.of("event"), [])

    def test_the_peer_s_answer_in_the_read_that_ended_the_session_is_understood(self) -> None:
        for good in (b"", client_frame(event("x").encode())):
            daemon = Daemon()
            peer = daemon.joined()
            peer.arrive(good + client_frame(b"9") + close_frame(1000))
            daemon.clock.advance(0)
            self.assertIsNotNone(peer.wire.lost)
            self.assertEqual(daemon.connections.open, 0)

    def test_half_a_frame_behind_the_one_that_ended_the_session_is_not_taken_for_a_whole(self) -> None:
        daemon = Daemon()
        peer = daemon.joined()
        data = client_frame(b"9") + client_frame(event("x" * 50).encode()) + close_frame(1000)
        peer.arrive(data[:40])
        peer.arrive(data[40:])
        daemon.clock.advance(0)
        self.assertIsNotNone(peer.wire.lost)
        self.assertEqual([frame.opcode for frame in peer.frames()], [CLOSE])
