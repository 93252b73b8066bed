"""JSON that stays text: what is counted, split, mended and refused."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.wire import jsontext
from kschat.wire.errors import ProtocolError, Reason
from tests.wire.costs import calls
from tests.wire.strategies import PROPERTY, any_bytes, as_read, depth, mended, mutated, stringify, texts, values

MAX_DEPTH = 64


class DepthTests(SynchronousTestCase):
    """``check_depth``."""

    def refused(self, text: bytes, limit: int) -> bool:
        try:
            jsontext.check_depth(text, limit)
        except ProtocolError as error:
            self.assertIs(error.reason, Reason.PARSE_ERROR)
            return True
        return False

    @PROPERTY
    @given(values, st.integers(0, 6))
    def test_json_is_refused_exactly_where_it_is_nested_deeper_than_the_limit(self, value: Any, limit: int) -> None:
        self.assertEqual(self.refused(stringify(value), limit), depth(value) > limit)

    def test_the_limit_itself_is_allowed(self) -> None:
        for opening, closing in ((b"[", b"]"), (b'{"":', b"}"), (b'[{"a":', b"}]")):
            half = 2 if closing == b"}]" else 1
            text = opening * (MAX_DEPTH // half) + b"1" + closing * (MAX_DEPTH // half)
            self.assertFalse(self.refused(text, MAX_DEPTH))
            self.assertTrue(self.refused(b"[" + text + b"]", MAX_DEPTH))

    def test_brackets_in_strings_are_text(self) -> None:
        for text in (b'["' + b"[{" * 100 + b'"]', b'["\\"' + b"[" * 100 + b'\\\\","' + b"{" * 100 + b'"]'):
            json.loads(text)
            self.assertFalse(self.refused(text, 1))

    def test_an_escaped_quote_does_not_end_a_string_and_an_escaped_backslash_does_not_escape(self) -> None:
        self.assertFalse(self.refused(b'["\\"' + b"[" * 9 + b'"]', 1))
        self.assertTrue(self.refused(b'["\\\\",' + b"[" * 9 + b"]" * 10, 9))

    def test_many_small_values_side_by_side_are_not_deep(self) -> None:
        self.assertFalse(self.refused(b"[" + b"[],{}," * 10_000 + b"[]]", 2))

    def test_the_work_does_not_grow_with_the_nesting(self) -> None:
        """Once: a round for each level, and so a second for one frame of 1 MB."""
        for nested in (0, 10, 60, 64):
            text = b"[" * 100_000 + b"[" * nested + b"]" * nested
            self.assertLess(calls(self.refused, text, 64), 30)


def weight(value: Any) -> int:
    """What ``check_values`` counts: commas, and four for each array and object."""
    if isinstance(value, dict):
        return 4 + max(len(value) - 1, 0) + sum(map(weight, value.values()))
    if isinstance(value, list):
        return 4 + max(len(value) - 1, 0) + sum(map(weight, value))
    return 0


class ValuesTests(SynchronousTestCase):
    """``check_values``."""

    def refused(self, text: bytes, most: int = jsontext.MAX_VALUES) -> bool:
        try:
            jsontext.check_values(text, most)
        except ProtocolError as error:
            self.assertIs(error.reason, Reason.PARSE_ERROR)
            return True
        return False

    @PROPERTY
    @given(values, st.integers(1, 40))
    def test_more_values_are_refused_and_fewer_are_not(self, value: Any, most: int) -> None:
        text = json.dumps(value).encode()
        if weight(value) > most:
            self.assertTrue(self.refused(text, most))
        elif text.count(b'"') <= 2 * most:
            self.assertFalse(self.refused(text, most))

    def test_the_bound(self) -> None:
        for unit, cost in ((b"1", 1), (b"[]", 5), (b'""', 1), (b'{"a":1}', 5)):
            most = jsontext.MAX_VALUES // cost - 4
            self.assertFalse(self.refused(b"[" + b",".join([unit] * most) + b"]"), unit)
            self.assertTrue(self.refused(b"[" + b",".join([unit] * (most + 8)) + b"]"), unit)

    def test_commas_and_brackets_in_strings_are_text(self) -> None:
        self.assertFalse(self.refused(b'["' + b",[{" * 300_000 + b'"]'))
        self.assertFalse(self.refused(b'["' + b'\\",' * 300_000 + b'"]'))

    def test_the_work_does_not_grow_with_the_values(self) -> None:
        for text in (b"[" * 900_000, b"[]," * 300_000, b'"",' * 300_000, b'",' * 300_000, b'"[",' * 240_000):
            self.assertLess(calls(self.refused, text), 60)

    def test_a_packet_is_bounded_before_its_values_are_made(self) -> None:
        self.assertRaises(ProtocolError, jsontext.split_array, b"[" + b"1," * 400_000 + b"1]", MAX_DEPTH)


class MendTests(SynchronousTestCase):
    """``mend_surrogates``."""

    @PROPERTY
    @given(values)
    def test_what_javascript_writes_can_be_read_by_strict_decoders_afterwards(self, value: Any) -> None:
        text = jsontext.mend_surrogates(stringify(value))
        self.assertEqual(json.loads(text), json.loads(json.dumps(mended(value))))
        json.dumps(json.loads(text), ensure_ascii=False).encode()

    @PROPERTY
    @given(texts)
    @example("\ud83d\ude00")
    @example("\ud83d\ud83d\ude00\ude00")
    @example("\\ud800")
    def test_pairs_stay_pairs_and_halves_become_replacement_characters(self, text: str) -> None:
        escaped = json.dumps(text).encode()
        self.assertEqual(json.loads(jsontext.mend_surrogates(escaped)), mended(text))

    def test_an_escaped_backslash_before_u_is_text(self) -> None:
        for same in (rb'"\\ud800"', rb'"\\\\ud800"', rb'"\n\\udc00\""', b'"plain"', rb'"\ud83d\ude00 \u00e9"'):
            self.assertEqual(jsontext.mend_surrogates(same), same)
        self.assertEqual(jsontext.mend_surrogates(rb'"\\\ud800"'), rb'"\\\ufffd"')
        self.assertEqual(jsontext.mend_surrogates(rb'"\uD800\uDc00\uDFFF"'), rb'"\uD800\uDc00\ufffd"')

    def test_they_are_bounded_and_their_work_does_not_grow(self) -> None:
        for half in (b"\\ud800", b"\\uDc00"):
            most = half * jsontext.MAX_HALVES
            self.assertEqual(jsontext.mend_surrogates(most), b"\\ufffd" * jsontext.MAX_HALVES)
            self.assertLess(calls(jsontext.mend_surrogates, most), 20)
            self.assertRaises(ProtocolError, jsontext.mend_surrogates, most + half)

    @PROPERTY
    @given(any_bytes)
    def test_it_takes_any_bytes_and_keeps_their_size(self, junk: bytes) -> None:
        self.assertEqual(len(jsontext.mend_surrogates(junk)), len(junk))


class SplitTests(SynchronousTestCase):
    """``split_array``."""

    @PROPERTY
    @given(st.lists(values, max_size=6))
    def test_the_elements_of_an_array_are_given_as_they_were_written(self, elements: list[Any]) -> None:
        written = [stringify(element) for element in elements]
        given_back = jsontext.split_array(b"[" + b",".join(written) + b"]", MAX_DEPTH)
        # Where there is a half of a pair, the whole is mended; else not a byte is touched.
        self.assertEqual(list(map(bytes, given_back)), [jsontext.mend_surrogates(text) for text in written])

    @PROPERTY
    @given(st.lists(values, max_size=3).map(stringify).flatmap(lambda text: mutated(st.just(text))) | any_bytes)
    def test_anything_is_split_or_refused(self, text: bytes) -> None:
        try:
            elements = jsontext.split_array(text, MAX_DEPTH)
        except ProtocolError:
            return
        try:
            text.decode()
        except UnicodeDecodeError:
            return  # whoever reads a socket refuses that before
        read = json.loads(text)
        self.assertEqual(len(read), len(elements))
        for element, value in zip(elements, read, strict=True):
            self.assertEqual(mended(json.loads(bytes(element))), mended(value))

    def test_what_is_no_array_is_refused(self) -> None:
        for text in (
            b"",
            b" ",
            b"{}",
            b'"x"',
            b"1",
            b"null",
            b"[",
            b"]",
            b"[1",
            b"[1,]",
            b"[,]",
            b"[1]]",
            b"[1][2]",
            b"[01]",
        ):
            with self.assertRaises(ProtocolError):
                jsontext.split_array(text, MAX_DEPTH)

    def test_whitespace_around_elements_is_not_part_of_them(self) -> None:
        elements = jsontext.split_array(b' [ 1 ,\n{ "a" : 2 }\t] ', MAX_DEPTH)
        self.assertEqual(list(map(bytes, elements)), [b"1", b'{ "a" : 2 }'])


class DecodeTests(SynchronousTestCase):
    """``decode``."""

    @PROPERTY
    @given(values)
    def test_values_come_out_as_they_went_in_but_for_halves_of_pairs(self, value: Any) -> None:
        self.assertEqual(jsontext.decode(stringify(value), MAX_DEPTH), as_read(mended(value)))

    @PROPERTY
    @given(values.map(stringify).flatmap(lambda text: mutated(st.just(text))) | any_bytes)
    def test_anything_is_decoded_or_refused(self, text: bytes) -> None:
        try:
            value = jsontext.decode(text, MAX_DEPTH)
        except ProtocolError:
            return
        self.assertLessEqual(depth(value), MAX_DEPTH)

    def test_numbers_are_read_as_by_javascript(self) -> None:
        for text in (b"9" * 400, b"9" * 4301, b"-" + b"9" * 1_000_000, b"1e400", b"-1e400"):
            self.assertIsNone(jsontext.decode(text, 1))
        self.assertEqual(jsontext.decode(b"[9007199254740993,1e120]", 1), [9007199254740992, 1e120])

    def test_bytes_that_are_no_utf_8_are_refused(self) -> None:
        for text in (b'"\xff"', b'{"\xed\xa0\x80":1}', b'["\xc3"]'):
            with self.assertRaises(ProtocolError):
                jsontext.decode(text, 2)
