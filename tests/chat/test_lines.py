"""The line of a message in a list of conversations."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.lines import MAX_LINE, NO_LINE, line_of
from tests.contracts.made import message


class LineTests(SynchronousTestCase):
    def line(self, text: bytes) -> bytes:
        line = line_of(message(msg=Raw(text)))
        assert line is not None
        return bytes(line)

    def test_a_short_message_is_its_own_line(self) -> None:
        for text in (b"1", b'"x"', b'{"a":[]}', b'"%b"' % (b"x" * (MAX_LINE - 2))):
            self.assertIsNone(line_of(message(msg=Raw(text))))

    def test_a_string_is_cut_between_characters(self) -> None:
        for character in ("x", "é", "€", "😀"):
            for before in range(5):
                text = "." * before + character * MAX_LINE
                line = self.line(json.dumps(text, ensure_ascii=False).encode())
                self.assertTrue(text.startswith(json.loads(line)), (character, before))
                self.assertGreater(len(line), MAX_LINE - 6)
                self.assertLessEqual(len(line), MAX_LINE)

    def test_a_string_is_cut_between_escapes(self) -> None:
        for escape in (r"\n", r"\u0041", r"\\", r"\"", r"\\u0041"):
            for before in range(8):
                text = '"' + "." * before + escape * MAX_LINE + '"'
                shown = json.loads(self.line(text.encode()))
                self.assertTrue(json.loads(text).startswith(shown), (escape, before))

    def test_half_of_a_pair_of_escapes_is_none_of_it(self) -> None:
        for before in range(12):
            text = '"' + "." * before + r"\ud83d\ude00" * MAX_LINE + '"'
            shown = json.loads(self.line(text.encode()))
            self.assertTrue(json.loads(text).startswith(shown.removesuffix("\ufffd")), before)

    def test_other_long_values_have_no_line(self) -> None:
        for text in (b"[%b1]" % (b"1," * MAX_LINE), b"1" * (MAX_LINE + 1), b'{"a":"%b"}' % (b"x" * MAX_LINE)):
            self.assertEqual(self.line(text), bytes(NO_LINE))

    def test_with_binary_it_is_decoded_only_where_it_is_short(self) -> None:
        placeholder = b'{"_placeholder":true,"num":0}'
        short = message(msg=Raw(b'["x",%b]' % placeholder), attachments=(b"x",))
        self.assertEqual(line_of(short), Raw(b'["x",null]'))
        long = message(msg=Raw(b"[%b%b]" % (b"[]," * MAX_LINE, placeholder)), attachments=(b"x",))
        self.assertEqual(line_of(long), NO_LINE)

    @given(st.text(min_size=MAX_LINE, max_size=MAX_LINE + 20), st.booleans())
    def test_of_any_string_it_is_the_beginning(self, text: str, escaped: bool) -> None:
        try:
            body = json.dumps(text, ensure_ascii=escaped).encode()
        except UnicodeEncodeError:
            return
        line = line_of(message(msg=Raw(body)))
        shown = json.loads(bytes(body if line is None else line))
        self.assertTrue(text.startswith(shown.removesuffix("\ufffd")))
