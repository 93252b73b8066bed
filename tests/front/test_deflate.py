"""permessage-deflate: what is agreed on, what is compressed, what a peer may inflate (RFC 7692)."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from random import Random
from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.front import deflate
from kschat.front.websocket import EngineProtocol
from kschat.wire.errors import Reason
from kschat.wire.limits import Limits
from tests.front.daemon import V3, V4, Daemon, Peer
from tests.front.frames import BINARY, CLOSE, CONTINUATION, TEXT, Seen, client_frame, deflated, inflated

OFFER = "permessage-deflate; client_max_window_bits"
LONG = "x" * 1000


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon = Daemon(deflate=True)

    def peer(self, query: str = V4, offer: str = OFFER, window: int = deflate.WINDOW_BITS) -> Peer:
        """A client that has joined, and that compresses."""
        peer = self.daemon.websocket(query, Sec_WebSocket_Extensions=offer)
        self.assertIn(b"permessage-deflate", peer.head)
        peer.inflates = window
        peer.send("40/kschat,")
        peer.texts()
        self.daemon.recorder.log.clear()
        return peer

    def answer(self, offer: str, deflate: bool = True) -> str | None:
        """What is answered to an offer."""
        daemon = Daemon(deflate=deflate)
        peer = daemon.websocket(Sec_WebSocket_Extensions=offer)
        for line in peer.head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            if name.lower() == "sec-websocket-extensions":
                return value
        return None


class Negotiation(Case):
    """Section 7.1."""

    def test_it_is_off_unless_it_is_set(self) -> None:
        self.assertIsNone(self.answer(OFFER, deflate=False))
        peer = Daemon().websocket(Sec_WebSocket_Extensions=OFFER)
        peer.arrive(client_frame(deflated(b"2"), rsv=4))
        self.assertEqual(peer.closing().code, 1002)

    def test_a_client_shall_keep_no_context_and_a_small_window_where_it_can(self) -> None:
        base = "permessage-deflate; client_no_context_takeover"
        self.assertEqual(self.answer("permessage-deflate"), base)
        self.assertEqual(
            self.answer("permessage-deflate; client_max_window_bits"), f"{base}; client_max_window_bits=10"
        )
        self.assertEqual(
            self.answer("permessage-deflate; client_max_window_bits=12"), f"{base}; client_max_window_bits=10"
        )

    def test_what_a_client_asks_of_the_server_is_agreed_to(self) -> None:
        for asked in ("server_no_context_takeover", *(f"server_max_window_bits={bits}" for bits in range(9, 16))):
            answer = self.answer(f"permessage-deflate; {asked}")
            assert answer is not None
            self.assertIn(asked, answer.split("; "))

    def test_the_first_of_several_offers_is_taken(self) -> None:
        answer = self.answer("permessage-deflate; server_max_window_bits=9, permessage-deflate")
        self.assertEqual(answer, "permessage-deflate; server_max_window_bits=9; client_no_context_takeover")

    def test_other_extensions_are_passed_over(self) -> None:
        self.assertIsNone(self.answer("x-webkit-deflate-frame, something; a=1"))

    def test_an_offer_that_is_none_is_refused_as_other_bad_handshakes_are(self) -> None:
        for offer in ("permessage-deflate; server_max_window_bits=99", "permessage-deflate; nonsense"):
            wire = Daemon(deflate=True).upgrade(Sec_WebSocket_Extensions=offer)
            self.assertTrue(bytes(wire.taken).startswith(b"HTTP/1.1 400 "), offer)
            self.assertEqual(json.loads(bytes(wire.taken).partition(b"\r\n\r\n")[2])["code"], 3)

    def test_a_client_that_offers_nothing_is_served_without(self) -> None:
        peer = self.daemon.joined()
        peer.send(f'42/kschat,["e","{LONG}"]')
        self.assertEqual(self.daemon.recorder.of("event"), [("e", LONG)])


class Sending(Case):
    def test_large_messages_are_compressed_small_ones_are_not(self) -> None:
        peer = self.peer()
        socket = self.daemon.recorder.sockets[-1]
        for size, compressed in ((1, False), (230, False), (256, True), (100_000, True)):
            before = len(peer.wire.taken)
            socket.emit(b'["%b"]' % (b"x" * size))
            peer.wire.pump()
            self.assertEqual(bool(peer.wire.taken[before] & 0x40), compressed, size)
            self.assertEqual(peer.frames(), [Seen(TEXT, b'42/kschat,["%b"]' % (b"x" * size))])
            if compressed:
                self.assertLess(len(peer.wire.taken) - before, size / 2)

    def test_binary_is_compressed_too(self) -> None:
        for query, first in ((V3, b"\x04"), (V4, b"")):
            peer = self.peer(query)
            self.daemon.recorder.sockets[-1].emit(b'["e"]', [bytes(1000)])
            self.assertEqual(peer.frames()[1:], [Seen(BINARY, first + bytes(1000))])

    def test_order_is_kept_between_those_that_are_and_those_that_are_not(self) -> None:
        peer = self.peer()
        socket = self.daemon.recorder.sockets[-1]
        writes = peer.wire.writes
        self.daemon.cork.hold()
        expected = []
        for number in range(6):
            body = b'["%d%b"]' % (number, b"x" * (500 if number % 2 else 1))
            socket.emit(body)
            expected.append(Seen(TEXT, b"42/kschat," + body))
        self.daemon.cork.release()
        self.assertEqual(peer.frames(), expected)
        self.assertLessEqual(peer.wire.writes - writes, 1)

    def test_the_window_is_no_larger_than_the_client_asked_for(self) -> None:
        peer = self.peer(offer="permessage-deflate; server_max_window_bits=9", window=9)
        noise = "".join(chr(97 + (number * number) % 26) for number in range(5000))
        body = f'["{noise}{noise}"]'.encode()
        self.daemon.recorder.sockets[-1].emit(body)
        self.assertEqual(peer.frames(), [Seen(TEXT, b"42/kschat," + body)])

    @given(st.binary(max_size=5000), st.integers(9, 15))
    def test_what_is_compressed_is_what_a_peer_inflates(self, payload: bytes, bits: int) -> None:
        self.assertEqual(inflated(deflate.deflated(payload, bits), bits), payload)


class Receiving(Case):
    def compressed(self, text: str, **changed: object) -> bytes:
        return client_frame(deflated(text.encode()), rsv=4)

    def test_compressed_and_plain_messages_come_in_their_order(self) -> None:
        peer = self.peer()
        data = b""
        for number in range(6):
            text = f'42/kschat,["e",{number}]'
            data += self.compressed(text) if number % 2 else client_frame(text.encode())
        for size in (len(data), 7, 1):
            for start in range(0, len(data), size):
                peer.arrive(data[start : start + size])
            self.assertEqual(self.daemon.recorder.of("event"), [("e", number) for number in range(6)])
            self.daemon.recorder.log.clear()

    def test_a_compressed_message_may_come_in_fragments(self) -> None:
        peer = self.peer()
        payload = deflated(f'42/kschat,["e","{LONG}é"]'.encode())
        peer.arrive(client_frame(payload[:5], fin=False, rsv=4))
        peer.arrive(client_frame(payload[5:9], CONTINUATION, fin=False))
        peer.arrive(client_frame(payload[9:], CONTINUATION))
        self.assertEqual(self.daemon.recorder.of("event"), [("e", LONG + "é")])

    def test_text_that_is_no_utf_8_when_inflated_ends_the_connection(self) -> None:
        peer = self.peer()
        peer.arrive(client_frame(deflated(b"4\xff"), rsv=4))
        self.assertEqual(peer.closing().code, 1007)

    def test_what_cannot_be_inflated_ends_the_connection(self) -> None:
        peer = self.peer()
        peer.arrive(client_frame(b"\xff" * 20, rsv=4))
        self.assertEqual(peer.closing().code, 1007)

    def test_a_continuation_or_a_control_frame_that_claims_to_be_compressed_ends_it(self) -> None:
        for opcode in (CONTINUATION, 9):
            peer = self.peer()
            if opcode == CONTINUATION:
                peer.arrive(client_frame(b"", fin=False, rsv=4))
            peer.arrive(client_frame(b"x", opcode, rsv=4))
            self.assertEqual(peer.closing().code, 1002)

    def test_nothing_is_kept_between_messages(self) -> None:
        peer = self.peer()
        peer.arrive(self.compressed(f'42/kschat,["e","{LONG}"]'))
        self.daemon.recorder.sockets[-1].emit(b'["%b"]' % LONG.encode())
        peer.frames()
        compress = cast("EngineProtocol", peer.wire.protocol).compression
        self.assertEqual((compress._compressor, compress._decompressor), (None, None))


class Bombs(Case):
    """A few bytes that become many: no more is inflated than one message may have."""

    def setUp(self) -> None:
        self.daemon = Daemon(deflate=True, limits=Limits(max_payload=100_000))

    def test_a_message_of_the_largest_size_is_taken_and_one_byte_more_is_not(self) -> None:
        head, tail = '42/kschat,["e","', '"]'
        room = 100_000 - len(head) - len(tail)
        peer = self.peer()
        text = Random(1).randbytes(room).hex()[:room]  # it is compressed to half its size
        peer.arrive(client_frame(deflate.deflated(f"{head}{text}{tail}".encode(), deflate.WINDOW_BITS), rsv=4))
        self.daemon.take_turns()
        self.assertEqual(len(self.daemon.recorder.of("event")), 1)
        peer.arrive(client_frame(deflate.deflated(f"{head}{text}x{tail}".encode(), deflate.WINDOW_BITS), rsv=4))
        closing = peer.closing()
        self.assertEqual((closing.code, closing.reason), (1009, "too large"))
        self.assertEqual(len(self.daemon.recorder.of("event")), 1)
        self.assertEqual(self.daemon.recorder.of("ended")[0][0], Reason.TOO_LARGE)

    def test_a_message_is_inflated_to_so_many_times_its_size_and_small_ones_whatever_it_is(self) -> None:
        head, tail = '42/kschat,["e","', '"]'
        for size, taken in ((deflate.ALWAYS_INFLATED - 20, True), (deflate.ALWAYS_INFLATED + 20, False)):
            data = deflated(f"{head}{'x' * (size - len(head) - len(tail))}{tail}".encode())
            self.assertLess(len(data) * deflate.MAX_RATIO, size)
            for frames in (
                [client_frame(data, rsv=4)],
                [client_frame(data[:9], fin=False, rsv=4), client_frame(data[9:], CONTINUATION)],
            ):
                self.daemon.recorder.log.clear()
                peer = self.peer()
                for one in frames:
                    peer.arrive(one)
                self.daemon.take_turns()
                self.assertEqual(len(self.daemon.recorder.of("event")), taken)
                self.assertEqual(len(self.daemon.recorder.of("ended")), not taken)

    def test_messages_that_are_inflated_wait_for_the_rotation(self) -> None:
        peer = self.peer()
        data = deflated(b'42/kschat,["e","' + Random(1).randbytes(1000).hex().encode() + b'"]')
        peer.arrive(client_frame(data, rsv=4) * 3)
        self.assertEqual(self.daemon.recorder.of("event"), [])
        self.daemon.take_turns()
        self.assertEqual(len(self.daemon.recorder.of("event")), 3)

    def test_no_more_is_inflated_than_a_message_may_have(self) -> None:
        compressor = zlib.compressobj(9, wbits=-15)
        bomb = b"".join(compressor.compress(bytes(2**20)) for _ in range(90)) + compressor.flush(zlib.Z_SYNC_FLUSH)
        self.assertLess(len(bomb), 100_000)
        whole = client_frame(bomb[:-4], BINARY, rsv=4)
        pieces = [client_frame(bomb[:40_000], BINARY, fin=False, rsv=4), client_frame(bomb[40_000:-4], CONTINUATION)]
        for frames in ([whole], pieces):
            peer = self.peer()
            tracemalloc.start()
            try:
                for frame in frames:
                    peer.arrive(frame)
                    self.daemon.take_turns()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            self.assertLess(peak, 2_000_000)
            last = peer.frames()[-1]
            self.assertEqual((last.opcode, last.code), (CLOSE, 1009))
