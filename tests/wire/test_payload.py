"""Bodies of long-polling of both revisions, and as scripts and forms."""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import urlencode

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.wire import jsonp
from kschat.wire.engineio import Frame, Packet, Revision, decode_binary, decode_text
from kschat.wire.engineio import encode as encode_packet
from kschat.wire.errors import ProtocolError
from kschat.wire.payload import decode, encode
from tests.wire.costs import calls

NO_LIMIT: Final = 10**9

texts = st.text(st.characters(exclude_categories=["Cs"]))
packets = st.one_of(
    st.builds(lambda text: Packet(4, text.replace("\x1e", "").encode()), texts),
    st.builds(lambda data: Packet(4, data, True), st.binary(max_size=300)),
    st.builds(Packet, st.integers(0, 6)),
)
revisions: st.SearchStrategy[Revision] = st.sampled_from((3, 4))


def read(body: bytes, revision: Revision) -> list[Packet]:
    return [
        decode_binary(frame.payload, revision) if frame.binary else decode_text(frame.payload, revision)
        for frame in decode(body, revision)
    ]


def code_units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


class RoundTrips(SynchronousTestCase):
    @given(st.lists(packets, min_size=1, max_size=20), revisions, st.booleans())
    @example([Packet(4, "😀".encode()), Packet(4, b"x", True), Packet(4, "é".encode())], 3, False)
    def test_what_one_side_encodes_the_other_decodes(
        self, sent: list[Packet], revision: Revision, text_only: bool
    ) -> None:
        body, count = encode([encode_packet(one, revision) for one in sent], revision, NO_LIMIT, text_only=text_only)
        self.assertEqual(count, len(sent))
        self.assertEqual(read(body.payload, revision), sent)
        binary = revision == 3 and not text_only and any(one.binary for one in sent)
        self.assertEqual(body.binary, binary)
        if not binary:
            body.payload.decode()

    @given(st.lists(packets, min_size=1, max_size=20), revisions, st.booleans(), st.integers(0, 600))
    def test_bodies_are_cut_at_the_limit_and_nothing_is_lost(
        self, sent: list[Packet], revision: Revision, text_only: bool, limit: int
    ) -> None:
        frames = [encode_packet(one, revision) for one in sent]
        received: list[Packet] = []
        while frames:
            body, count = encode(frames, revision, limit, text_only=text_only)
            self.assertGreaterEqual(count, 1)
            if count > 1:
                self.assertLessEqual(len(body.payload), limit)
            received += read(body.payload, revision)
            del frames[:count]
        self.assertEqual(received, sent)

    @given(st.binary(max_size=200), revisions)
    @example(b"\x00\xff", 3)
    @example(b"\x01" + b"\x09" * 12, 3)
    @example(b"1:\xed\xa0\x80", 3)
    @example(b"99999999999:4x", 3)
    def test_any_bytes_decode_or_are_refused(self, body: bytes, revision: Revision) -> None:
        try:
            frames = list(decode(body, revision))
        except ProtocolError:
            return
        for frame in frames:
            if not frame.binary:
                frame.payload.decode()

    @given(st.text(max_size=50), st.text(max_size=50))
    def test_lengths_of_revision_3_count_utf_16_code_units(self, first: str, second: str) -> None:
        one, two = (text.encode("utf-8", "replace").decode() for text in (first, second))
        body = f"{code_units(one) + 1}:4{one}{code_units(two) + 1}:4{two}".encode()
        self.assertEqual([frame.payload.decode() for frame in decode(body, 3)], ["4" + one, "4" + two])


class Reading(SynchronousTestCase):
    def refused(self, body: bytes, revision: Revision) -> None:
        self.assertRaises(ProtocolError, lambda: list(decode(body, revision)))

    def test_an_empty_body_is_refused(self) -> None:
        self.refused(b"", 3)
        self.refused(b"", 4)

    def test_lengths_of_revision_3_that_are_none_are_refused(self) -> None:
        for body in (b"abc", b":4x", b"x:4x", b"-1:4x", b"+2:4x", b"1.5:4x", b" 2:4x", b"2 :4x", "٢:4x".encode(), b"2"):
            self.refused(body, 3)

    def test_bodies_of_revision_3_that_end_too_early_are_refused(self) -> None:
        for body in (
            b"3:4x",
            b"2:4x3:4",
            b"2:4x3",
            "3:4😀".encode()[:-4],
            b"\x00\x03\xff4x",
            b"\x01\x01",
            b"\x00\x01\xff",
        ):
            self.refused(body, 3)

    def test_packed_lengths_that_are_none_are_refused(self) -> None:
        for body in (b"\x00\xff4", b"\x00\x0a\xff4", b"\x02\x01\xff4", b"\x00\x01\xff4\x03\x01\xff4"):
            self.refused(body, 3)

    def test_an_empty_packet_of_revision_3_means_nothing(self) -> None:
        self.assertEqual(list(decode(b"0:", 3)), [Frame(b"6")])
        self.assertEqual(list(decode(b"0:2:4x0:", 3)), [Frame(b"6"), Frame(b"4x"), Frame(b"6")])

    def test_a_body_may_hold_as_many_packets_as_fit_into_it(self) -> None:
        count = 100_000
        self.assertEqual(sum(1 for _ in decode(b"\x1e".join([b"2"] * count), 4)), count)
        self.assertEqual(sum(1 for _ in decode(b"1:2" * count, 3)), count)
        self.assertEqual(sum(1 for _ in decode(b"\x00\x01\xff2" * count, 3)), count)

    def test_frames_before_a_fault_are_given(self) -> None:
        for body in (b"2:4x1", b"\x00\x02\xff4x\x00"):
            frames = decode(body, 3)
            self.assertEqual(next(frames), Frame(b"4x"))
            self.assertRaises(ProtocolError, next, frames)

    def test_bytes_that_are_no_utf_8_are_replaced(self) -> None:
        self.assertEqual(list(decode(b"4a\xffb", 4)), [Frame("4a\ufffdb".encode())])
        self.assertEqual(list(decode(b"4:4a\xffb", 3)), [Frame("4a\ufffdb".encode())])
        self.assertEqual(list(decode(b"\x00\x04\xff4a\xffb", 3)), [Frame("4a\ufffdb".encode())])

    def test_a_length_that_cuts_a_pair_in_two_is_refused(self) -> None:
        self.refused("2:4😀".encode(), 3)

    def test_the_examples_of_the_document_of_revision_3(self) -> None:
        self.assertEqual(read("6:4hello2:4€".encode(), 3), [Packet(4, b"hello"), Packet(4, "€".encode())])
        both = [Packet(4, "€".encode()), Packet(4, b"\x01\x02\x03\x04", True)]
        self.assertEqual(read(bytes.fromhex("0004ff34e282ac0105ff0401020304"), 3), both)
        self.assertEqual(read("2:4€10:b4AQIDBA==".encode(), 3), both)

    def test_the_examples_of_the_document_of_revision_4(self) -> None:
        self.assertEqual(read(b"4hello\x1e2\x1e4world", 4), [Packet(4, b"hello"), Packet(2), Packet(4, b"world")])
        self.assertEqual(read(b"4hello\x1ebAQIDBA==", 4), [Packet(4, b"hello"), Packet(4, b"\x01\x02\x03\x04", True)])


class Scripts(SynchronousTestCase):
    @given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from([b"", b"0", b"12"]))
    @example("\u2028\u2029</script>\"'\\", b"1")
    def test_a_script_hands_over_the_body(self, body: str, number: bytes) -> None:
        script = jsonp.script(number, body.encode()).decode()
        head, foot = f"___eio[{number.decode()}](", ");"
        self.assertTrue(script.startswith(head) and script.endswith(foot))
        self.assertEqual(json.loads(script[len(head) : -len(foot)]), body)
        self.assertNotIn("\u2028", script)
        self.assertNotIn("\u2029", script)
        self.assertNotIn("\n", script)

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    @example("a\nb\\nc\\\\nd\\")
    def test_a_form_gives_the_body_as_the_client_escaped_it(self, body: str) -> None:
        # As client 1.7.4 does: \n in two characters becomes a backslash and a line end, then every line end \n in two.
        escaped = body.replace("\\n", "\\\n").replace("\n", "\\n")
        expected = body
        self.assertEqual(jsonp.form(urlencode({"d": escaped}).encode()).decode(), expected)

    def test_the_first_field_d_counts_and_no_other(self) -> None:
        self.assertEqual(jsonp.form(b"sid=x&d=6%3A4a+b+c&d=1%3A2"), b"6:4a b c")
        for form in (b"", b"x=1", b"dd=1", b"d"):
            self.assertEqual(jsonp.form(form), b"")

    def test_the_work_on_a_form_is_bounded(self) -> None:
        most = b"d=" + b"%41" * jsonp.MAX_ESCAPES
        self.assertEqual(jsonp.form(most), b"A" * jsonp.MAX_ESCAPES)
        self.assertRaises(ProtocolError, jsonp.form, most + b"%41")
        for filler in (b"&", b"+", b"\\n", b"\\\\n", b"\xff"):
            self.assertLess(calls(jsonp.form, b"d=" + filler * 100_000), 30, filler)
