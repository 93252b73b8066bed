"""Numbers that no double holds: what JavaScript would write, asked of JavaScript itself."""

from __future__ import annotations

import json
import math
import random
import subprocess

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.wire.errors import ProtocolError
from kschat.wire.jsonnumbers import MAX_REWRITTEN, MAX_SAFE, as_javascript, stringified, whole, whole_number
from tests.support.needs import require_node
from tests.wire.costs import calls
from tests.wire.strategies import PROPERTY, any_bytes, mutated, stringify, values

#: A number as it came, and as it goes on.
NUMBERS = {
    "9007199254740993": "9007199254740992",
    "-9007199254740993": "-9007199254740992",
    "9007199254740991": "9007199254740991",
    "12345678901234567890": "12345678901234567000",
    "1" + "0" * 120: "1e+120",
    "9" * 400: "null",
    "-" + "9" * 5000: "null",
    "1e400": "null",
    "-1E+400": "null",
    "1e99999999999999999999": "null",
    "1e-99999999999999999999": "0",
    "1e5": "100000",
    "1E5": "100000",
    "1.5e-7": "1.5e-7",
    "12e-8": "1.2e-7",
    "1e21": "1e+21",
    "123e18": "123000000000000000000",
    "5e-324": "5e-324",
    "-0": "0",
    "-0.0": "0",
    "-0e7": "0",
    "0.000000000000000000000000": "0",
    "-123456789.123456789012345678901234": "-123456789.12345679",
    "0." + "3" * 100_000: "0.3333333333333333",
}

#: Numbers that every reader reads alike, which stay as they came.
PLAIN = (
    "0",
    "7",
    "-7",
    "-0.5",
    "1.0",
    "0.10",
    "123456789012345",
    "1795398416145",
    "12345678.12345678",
    "-0.5",
    "0.1000000000000000055",
    "0.8444218515250481",
)


class AsJavascriptTests(SynchronousTestCase):
    """``as_javascript``."""

    def test_each_number_is_written_as_the_table_says(self) -> None:
        for text, expected in NUMBERS.items():
            for form in ("%s", "[%s]", '{"a":%s}', '[{"a":{"b":[1,%s]}}]', "[ %s ]", '{"a":\n%s}', '["-0",%s,"1e5"]'):
                self.assertEqual(as_javascript((form % text).encode()), (form % expected).encode())

    def test_all_else_stays_as_it_came(self) -> None:
        for text in (*PLAIN, '""', '"1e5"', '["-0 1e5","\\"1e5","' + "9" * 40 + '"]', '{"1e5":"2020-01-02"}', "null"):
            for form in ("%s", "[%s]", '{ "a" : %s }'):
                written = (form % text).encode()
                self.assertEqual(as_javascript(written), written)

    def test_javascript_writes_the_same(self) -> None:
        """Of the table and of some thousand doubles of every size."""
        numbers = random.Random(7)
        found = [math.ldexp(numbers.random(), numbers.randint(-1074, 1023)) for _ in range(3000)]
        for _ in range(3000):
            found.append(float(f"{numbers.randint(1, 10 ** numbers.randint(1, 17))}e{numbers.randint(-30, 30)}"))  # noqa: PERF401
        asked = [*NUMBERS, *map(repr, found)]
        script = (
            "const l=[];process.stdin.on('data',d=>l.push(d)).on('end',()=>console.log(JSON.stringify("
            "JSON.parse(Buffer.concat(l)).map(t=>JSON.stringify(JSON.parse(t))))))"
        )
        command = [require_node(), "-e", script]
        node = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=True, timeout=60)
        answers = json.loads(node.stdout)
        self.assertEqual(answers[: len(NUMBERS)], list(NUMBERS.values()))
        self.assertEqual(answers[len(NUMBERS) :], list(map(stringified, found)))

    @PROPERTY
    @given(st.floats(allow_nan=False, allow_infinity=False))
    @example(1e21)
    @example(5e-324)
    def test_a_double_is_read_back_from_what_is_written(self, value: float) -> None:
        self.assertEqual(float(stringified(value)), value)

    @PROPERTY
    @given(values)
    def test_what_is_written_once_is_written_so_again(self, value: object) -> None:
        once = as_javascript(json.dumps(value).encode())
        self.assertEqual(as_javascript(once), once)

    @PROPERTY
    @given(any_bytes | values.map(stringify).flatmap(lambda text: mutated(st.just(text))))
    def test_what_is_no_json_does_no_harm(self, text: bytes) -> None:
        as_javascript(text)
        whole(text)

    def test_json_without_such_numbers_is_not_taken_apart(self) -> None:
        text = json.dumps({"text": "Hello there, how are you? " * 40, "at": 1795398416145, "list": [1, 2.5] * 100})
        self.assertLess(calls(as_javascript, text.encode()), 8)

    def test_a_client_may_have_so_many_numbers_rewritten_and_no_more(self) -> None:
        for number in (b"1e5", b"-0", b"1" * 16):
            most = b"[" + b",".join([number] * MAX_REWRITTEN) + b"]"
            as_javascript(most, MAX_REWRITTEN)
            with self.assertRaises(ProtocolError):
                as_javascript(b"[0,1e5," + most[1:], MAX_REWRITTEN)
            as_javascript(b"[0,1e5," + most[1:])

    def test_what_stays_is_skipped_without_a_call_for_each_value(self) -> None:
        for value in (b"1", b"0.5", b"-7", b'""', b'"1e5"', b"null", b"[]"):
            text = b"[" + b",".join([value] * 10_000) + b",1e5]"
            self.assertEqual(as_javascript(text), text[:-4] + b"100000]")
            self.assertLess(calls(as_javascript, text), 40)
            if value != b"0.5":  # which is not whole
                self.assertLess(calls(whole, text), 40)


class WholeTests(SynchronousTestCase):
    """``whole`` and ``whole_number``."""

    def test_whole_numbers_are_written_as_integers(self) -> None:
        for text, expected in {
            "42.0": "42",
            "4.2e1": "42",
            "4200E-2": "42",
            "-42.000": "-42",
            "-0.0": "0",
            "9007199254740991.0": "9007199254740991",
            # Not those that a double may have been rounded to, nor fractions, nor what is no number.
            "9007199254740993.0": "9007199254740993.0",
            "9007199254740993": "9007199254740993",
            "1e22": "1e22",
            "1e400": "1e400",
            "42.5": "42.5",
            '"42.0"': '"42.0"',
            "null": "null",
        }.items():
            self.assertEqual(whole(f'{{"a":[{text}]}}'.encode()), f'{{"a":[{expected}]}}'.encode())

    def test_whole_numbers_are_told_from_others(self) -> None:
        self.assertEqual(whole_number(42.0), 42)
        self.assertEqual(whole_number(float(MAX_SAFE)), MAX_SAFE)
        for value in (42.5, 2.0**53, math.inf, math.nan):
            self.assertIsNone(whole_number(value))
